//! The clients of another language against each other, in turn.
//!
//! A script does one run of one client in a process of its own. This starts the server, has the runs made, and makes a
//! table of them.

mod report;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use self::report::Table;
use super::report::{Conditions, write_section};
use super::roles::ServerProcess;
use super::{data, read};
use crate::process::runtime;

#[derive(Args)]
pub(super) struct Arguments {
    /// Runs only the measurements whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How often each client runs, after once that does not count
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Puts the results into docs/benchmarks.md; those of other measurements stay as they are
    #[arg(long)]
    write: bool,
}

/// The clients of a language.
pub(super) struct Language {
    /// What `--write` looks for in docs/benchmarks.md.
    pub(super) command: &'static str,
    pub(super) measurements: &'static [Measurement],
    /// Starts the server.
    pub(super) serve: fn() -> Result<ServerProcess>,
    /// Installs the clients, ours as it is now, and gives what runs the script: a run appends the name of the measurement,
    /// the client, the URL and the amount.
    pub(super) install: fn() -> Result<Runner>,
}

/// Makes the command that runs the script.
pub(super) type Runner = Box<dyn Fn() -> Command>;

/// One thing that clients do.
pub(super) struct Measurement {
    /// As the script calls it.
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) stream: Stream,
    /// Operations, messages or bytes in a run.
    pub(super) amount: u64,
    pub(super) unit: Unit,
    pub(super) comparisons: &'static [Comparison],
}

/// What a run reads or writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// It creates what it needs, and deletes it again.
    Own,
    /// So many JSON messages, which are there before.
    Json,
    /// Bytes, which are there before.
    Bytes,
}

/// What CPU time is counted by.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    /// Microseconds for an operation or a message.
    One,
    /// Milliseconds for 1,000,000 bytes.
    Megabyte,
    /// Milliseconds for a start of an interpreter.
    Start,
}

/// Two clients, by their files, and what we want of ours.
pub(super) struct Comparison {
    ours: &'static str,
    theirs: &'static str,
    aim: &'static str,
}

pub(super) const fn held(ours: &'static str, theirs: &'static str, aim: &'static str) -> Comparison {
    Comparison { ours, theirs, aim }
}

impl Stream {
    /// The name of a stream that is there before, of this size.
    fn name(self, measurement: &Measurement) -> String {
        match self {
            Self::Own => measurement.name.to_owned(),
            Self::Json => format!("json-{}", measurement.amount),
            Self::Bytes => format!("bytes-{}", measurement.amount),
        }
    }
}

impl Measurement {
    /// The clients in the order in which they run.
    fn clients(&self) -> Vec<&'static str> {
        let mut clients = Vec::new();
        for client in self.comparisons.iter().flat_map(|comparison| [comparison.ours, comparison.theirs]) {
            if !clients.contains(&client) {
                clients.push(client);
            }
        }
        clients
    }
}

/// What the script tells about a run. Times are seconds.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Sample {
    wall: f64,
    cpu: f64,
    peak_rss: u64,
    threads: u32,
    /// Of the operations one by one, if they were timed so.
    p50: Option<f64>,
    p99: Option<f64>,
}

pub(super) fn run(language: &Language, arguments: &Arguments) -> Result<()> {
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| name.contains(only));
    let measurements: Vec<&Measurement> = language.measurements.iter().filter(|one| wanted(one.name)).collect();
    ensure!(!measurements.is_empty(), "there is no such measurement");
    let runner = (language.install)()?;
    let server = (language.serve)()?;
    let mut filled = Vec::new();
    for measurement in &measurements {
        let name = measurement.stream.name(measurement);
        if filled.contains(&name) {
            continue;
        }
        match measurement.stream {
            Stream::Own => {}
            Stream::Json => drop(runtime()?.block_on(data::fill_json(&server.url(&name), measurement.amount))?),
            Stream::Bytes => drop(runtime()?.block_on(read::fill(&server.url(&name), measurement.amount))?),
        }
        filled.push(name);
    }
    let names: Vec<&str> = language.measurements.iter().map(|one| one.name).collect();
    for measurement in measurements {
        let mut conditions = Conditions::now(arguments.rounds as usize)?;
        let samples = rounds(measurement, arguments.rounds, &runner, &server)?;
        conditions.end()?;
        let table = Table { measurement, samples };
        eprint!("{}", table.medians());
        let text = table.markdown(&conditions);
        println!("{text}");
        // Each at once: what was measured is not lost when a later run fails.
        if arguments.write {
            write_section(language.command, &names, measurement.name, &text)?;
        }
    }
    Ok(())
}

/// The samples of each client, in the order of [`Measurement::clients`].
fn rounds(
    measurement: &Measurement,
    rounds: u32,
    runner: &Runner,
    server: &ServerProcess,
) -> Result<Vec<(&'static str, Vec<Sample>)>> {
    let mut samples: Vec<_> = measurement.clients().into_iter().map(|client| (client, Vec::new())).collect();
    let url = server.url(&measurement.stream.name(measurement));
    // One round that does not count: caches are cold and frequencies low.
    for round in 0..=rounds {
        for (client, samples) in &mut samples {
            let mut command = runner();
            command.args([measurement.name, client, &url, &measurement.amount.to_string()]);
            let sample = sample(command).with_context(|| format!("{}, {client}", measurement.name))?;
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

fn sample(mut command: Command) -> Result<Sample> {
    command.env("NO_PROXY", "127.0.0.1").stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("cannot start the run")?;
    ensure!(output.status.success(), "the run failed: {}", output.status);
    serde_json::from_slice(&output.stdout).context("the run did not tell what it cost")
}
