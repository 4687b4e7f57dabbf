//! The Python client against other clients for Python, in turn.
//!
//! `bindings-python/bench/measure.py` does one run of one client in an interpreter of its own. This puts the clients
//! into a virtual environment, starts the server, and makes a table of the runs.

mod report;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use self::report::Table;
use super::report::{Conditions, write};
use super::roles::ServerProcess;
use super::{data, read};
use crate::process::runtime;
use crate::python::{Python, package};

#[derive(Args)]
pub(super) struct Arguments {
    /// Runs only the measurements whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How often each client runs, after once that does not count
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Puts the results into docs/benchmarks.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// One thing that clients do.
struct Measurement {
    /// As measure.py calls it.
    name: &'static str,
    what: &'static str,
    stream: Stream,
    /// Operations, messages or bytes in a run.
    amount: u64,
    unit: Unit,
    comparisons: &'static [Comparison],
}

/// What a run reads or writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// It creates what it needs, and deletes it again.
    Own,
    /// JSON messages, which are there before.
    Json,
    /// Bytes, which are there before.
    Bytes,
}

/// What CPU time is counted by.
#[derive(Clone, Copy)]
enum Unit {
    /// Microseconds for an operation or a message.
    One,
    /// Milliseconds for 1,000,000 bytes.
    Megabyte,
    /// Milliseconds for a start of an interpreter.
    Start,
}

/// Two clients, by their files, and what we want of ours.
struct Comparison {
    ours: &'static str,
    theirs: &'static str,
    aim: &'static str,
}

const fn held(ours: &'static str, theirs: &'static str, aim: &'static str) -> Comparison {
    Comparison { ours, theirs, aim }
}

const MESSAGES: u64 = 500_000;
const BYTES: u64 = 256 << 20;

const CATCH_UP: &[Comparison] = &[
    held("everstream_async", "durable_streams_async", "speed 1.50"),
    held("everstream_async", "aiohttp_async", "speed 1.00"),
    held("everstream_sync", "durable_streams_sync", "speed 1.50"),
    held("everstream_sync", "httpx_sync", "-"),
    held("everstream_sync", "aiohttp_async", "speed 1.00"),
];
const EACH_ITS_LIKE: &[Comparison] = &[
    held("everstream_async", "durable_streams_async", "-"),
    held("everstream_async", "aiohttp_async", "-"),
    held("everstream_sync", "durable_streams_sync", "-"),
    held("everstream_sync", "httpx_sync", "-"),
];

const MEASUREMENTS: [Measurement; 9] = [
    Measurement {
        name: "produce",
        what: "Writes 200,000 messages of 100 bytes, given as dicts, to a JSON stream",
        stream: Stream::Own,
        amount: 200_000,
        unit: Unit::One,
        comparisons: &[
            held("everstream_async", "durable_streams_async", "speed 3.00, CPU 0.35"),
            held("everstream_async", "aiohttp_async", "-"),
            held("everstream_sync", "durable_streams_async", "speed 3.00, CPU 0.35"),
            held("everstream_sync", "httpx_sync", "-"),
        ],
    },
    Measurement {
        name: "produce_text",
        what: "Writes 200,000 messages of 100 bytes, given as JSON text",
        stream: Stream::Own,
        amount: 200_000,
        unit: Unit::One,
        comparisons: &[held("everstream_async", "aiohttp_async", "-"), held("everstream_sync", "httpx_sync", "-")],
    },
    Measurement {
        name: "append",
        what: "Appends 2,000 messages of 100 bytes, given as dicts, and waits for each",
        stream: Stream::Own,
        amount: 2_000,
        unit: Unit::One,
        comparisons: &[
            held("everstream_async", "durable_streams_async", "speed 2.00"),
            held("everstream_async", "aiohttp_async", "-"),
            held("everstream_sync", "durable_streams_sync", "speed 2.00"),
            held("everstream_sync", "httpx_sync", "-"),
        ],
    },
    Measurement {
        name: "read_json",
        what: "Reads 500,000 JSON messages of 100 bytes into a list",
        stream: Stream::Json,
        amount: MESSAGES,
        unit: Unit::One,
        comparisons: CATCH_UP,
    },
    Measurement {
        name: "iter_json",
        what: "Reads 500,000 JSON messages of 100 bytes, one by one",
        stream: Stream::Json,
        amount: MESSAGES,
        unit: Unit::One,
        comparisons: CATCH_UP,
    },
    Measurement {
        name: "read_bytes",
        what: "Reads 256 MiB into one object",
        stream: Stream::Bytes,
        amount: BYTES,
        unit: Unit::Megabyte,
        comparisons: EACH_ITS_LIKE,
    },
    Measurement {
        name: "iter_bytes",
        what: "Reads 256 MiB, piece by piece",
        stream: Stream::Bytes,
        amount: BYTES,
        unit: Unit::Megabyte,
        comparisons: EACH_ITS_LIKE,
    },
    Measurement {
        name: "tail",
        what: "Follows 500 JSON streams by SSE, with 500 events a second in all, for ten seconds",
        stream: Stream::Own,
        amount: 5_000,
        unit: Unit::One,
        comparisons: &[held("everstream_async", "durable_streams_async", "CPU and memory 0.50")],
    },
    Measurement {
        name: "import",
        what: "What an interpreter takes longer that imports the client",
        stream: Stream::Own,
        amount: 11,
        unit: Unit::Start,
        comparisons: &[
            held("everstream_sync", "durable_streams_sync", "50 ms"),
            held("everstream_sync", "httpx_sync", "-"),
            held("everstream_sync", "aiohttp_async", "-"),
        ],
    },
];

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

/// What measure.py tells about a run. Times are seconds.
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

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| name.contains(only));
    let measurements: Vec<&Measurement> = MEASUREMENTS.iter().filter(|one| wanted(one.name)).collect();
    ensure!(!measurements.is_empty(), "there is no such measurement");
    let python = installed()?;
    let server = ServerProcess::start()?;
    if measurements.iter().any(|one| one.stream == Stream::Json) {
        runtime()?.block_on(data::fill_json(&server.url("json"), MESSAGES))?;
    }
    if measurements.iter().any(|one| one.stream == Stream::Bytes) {
        runtime()?.block_on(read::fill(&server.url("bytes"), BYTES))?;
    }
    let mut conditions = Conditions::now(arguments.rounds as usize)?;
    let mut text = String::new();
    for measurement in measurements {
        let table = Table { measurement, samples: rounds(measurement, arguments.rounds, &python, &server)? };
        eprint!("{}", table.medians());
        text.push_str(&table.markdown());
    }
    conditions.end()?;
    let text = conditions.markdown() + &text;
    println!("{text}");
    if arguments.write {
        write("bench python", &text)?;
    }
    Ok(())
}

/// A Python with the clients in it, ours as it is now.
fn installed() -> Result<PathBuf> {
    let python = Python::environment("bench")?;
    python.pip(["--requirement".as_ref(), package().join("bench/requirements.txt").as_path(), &package()])?;
    Ok(python.program("python"))
}

/// The samples of each client, in the order of [`Measurement::clients`].
fn rounds(
    measurement: &Measurement,
    rounds: u32,
    python: &PathBuf,
    server: &ServerProcess,
) -> Result<Vec<(&'static str, Vec<Sample>)>> {
    let mut samples: Vec<_> = measurement.clients().into_iter().map(|client| (client, Vec::new())).collect();
    // One round that does not count: caches are cold and frequencies low.
    for round in 0..=rounds {
        for (client, samples) in &mut samples {
            let url = server.url(match measurement.stream {
                Stream::Own => measurement.name,
                Stream::Json => "json",
                Stream::Bytes => "bytes",
            });
            let mut command = Command::new(python);
            command.current_dir(package().join("bench"));
            command.args(["measure.py", measurement.name, client, &url, &measurement.amount.to_string()]);
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
    let output = command.output().context("cannot run Python")?;
    ensure!(output.status.success(), "the run failed: {}", output.status);
    serde_json::from_slice(&output.stdout).context("the run did not tell what it cost")
}
