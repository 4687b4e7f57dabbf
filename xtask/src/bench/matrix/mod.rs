//! Our server against the crates.io one, as both run in production: on disk, each in a process of its own, under the
//! load of dsbench, a generator that is no part of this repository and checks every answer.
//!
//! Each run has a fresh server and an empty folder. Both sides run in turn, A B A B.

mod servers;
mod workloads;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use self::servers::{Kept, Peer, Programs};
use self::workloads::{Measure, SECTIONS, WORKLOADS, Workload};
use super::report::{Conditions, write_section};

#[derive(Args)]
pub(super) struct Arguments {
    /// The load generator
    #[arg(long, value_name = "PATH", env = "DSBENCH")]
    dsbench: PathBuf,
    /// The program of the other server; installed into the target folder if it is not given
    #[arg(long, value_name = "PATH")]
    rival: Option<PathBuf>,
    /// Our program; built for release if it is not given
    #[arg(long, value_name = "PATH")]
    ours: Option<PathBuf>,
    /// Both servers keep their streams in memory
    #[arg(long)]
    memory: bool,
    /// Runs only the workloads whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Runs only the sections whose name contains this
    #[arg(long, value_name = "NAME")]
    section: Option<String>,
    /// Puts the results into docs/benchmarks.md; sections that did not run stay as they are
    #[arg(long, conflicts_with_all = ["only", "memory"])]
    write: bool,
    /// Runs of each server
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that are measured in each run
    #[arg(long, default_value_t = 3.0)]
    secs: f64,
}

/// The runs of one workload.
struct Row {
    workload: &'static Workload,
    ours: Vec<Value>,
    theirs: Vec<Value>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let programs = Programs::find(arguments.ours.clone(), arguments.rival.clone())?;
    let kept = if arguments.memory { Kept::InMemory } else { Kept::OnDisk };
    let has = |part: &Option<String>, name: &str| part.as_deref().is_none_or(|part| name.contains(part));
    let wanted =
        |workload: &&Workload| has(&arguments.only, workload.name) && has(&arguments.section, workload.section);
    let mut is_any = false;
    for section in SECTIONS {
        let mut conditions = Conditions::now(arguments.rounds)?;
        let mut rows = Vec::new();
        for workload in WORKLOADS.iter().filter(wanted).filter(|workload| workload.section == section) {
            rows.push(measure_row(arguments, &programs, kept, workload)?);
        }
        if rows.is_empty() {
            continue;
        }
        is_any = true;
        conditions.end()?;
        let text = markdown(section, &rows, &conditions);
        println!("{text}");
        if arguments.write {
            write_section("bench server", &SECTIONS, section, &text)?;
        }
    }
    ensure!(is_any, "there is no such workload");
    Ok(())
}

/// All runs of one workload.
fn measure_row(arguments: &Arguments, programs: &Programs, kept: Kept, workload: &'static Workload) -> Result<Row> {
    let mut row = Row { workload, ours: Vec::new(), theirs: Vec::new() };
    for _ in 0..arguments.rounds {
        for peer in [Peer::Ours, Peer::Rival] {
            let outcome = measure(arguments, programs, peer, kept, workload)
                .with_context(|| format!("{} of {}", workload.name, peer.name()))?;
            let value = outcome[workload.measure.field()].as_f64().unwrap_or(f64::NAN);
            eprintln!("{:16} {:16} {value:.2}", workload.name, peer.name());
            match peer {
                Peer::Ours => row.ours.push(outcome),
                Peer::Rival => row.theirs.push(outcome),
            }
        }
    }
    Ok(row)
}

/// One run: what the generator prints.
fn measure(arguments: &Arguments, programs: &Programs, peer: Peer, kept: Kept, workload: &Workload) -> Result<Value> {
    let server = programs.start(peer, kept)?;
    let mut command = Command::new(&arguments.dsbench);
    command.args(workload.load.split(' ')).args(["--url", &format!("http://127.0.0.1:{}", server.port())]);
    command.args(["--base-path", peer.root(), "--server-pid", &server.pid().to_string(), "--label", peer.name()]);
    command.args(["--secs", &arguments.secs.to_string(), "--warmup", "0.4"]);
    if workload.restarts {
        command.args(["--restart-cmd", &server.command_line()]);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", arguments.dsbench.display()))?;
    let text = String::from_utf8(output.stdout).context("the generator writes what is not text")?;
    let line = text.lines().last().context("the generator wrote nothing")?;
    let outcome: Value = serde_json::from_str(line).context("the generator does not write JSON")?;
    ensure!(outcome.get("failed").is_none(), "the run failed: {line}");
    // The other server loses what it loses; ours must not.
    ensure!(peer == Peer::Rival || outcome["errors"].as_f64() == Some(0.0), "wrong answers: {line}");
    Ok(outcome)
}

impl Row {
    fn ours(&self, field: &str) -> f64 {
        median(&self.ours, field)
    }

    fn theirs(&self, field: &str) -> f64 {
        median(&self.theirs, field)
    }
}

fn median(outcomes: &[Value], field: &str) -> f64 {
    let mut values: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome[field].as_f64()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(outcomes: &[Value], field: &str) -> String {
    let values = || outcomes.iter().filter_map(|outcome| outcome[field].as_f64());
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    format!("{low:.2} to {high:.2}")
}

fn markdown(section: &str, rows: &[Row], conditions: &Conditions) -> String {
    let mut text = format!("#### {section}\n\n{}", conditions.markdown());
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes everything");
    let (resting, busy): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.workload.measure == Measure::Resting);
    if !busy.is_empty() {
        line(format_args!(
            "\n| Workload | Unit | Ours | Theirs | Ours / theirs | Aim | Ops/s, ours and theirs | p99, ours and theirs |"
        ));
        line(format_args!("|---|---|---|---|---|---|---|---|"));
    }
    for row in busy {
        let field = row.workload.measure.field();
        let (ours, theirs) = (row.ours(field), row.theirs(field));
        line(format_args!(
            "| {} | {} | {ours:.2} ({}) | {theirs:.2} ({}) | {:.2} | {:.1}, {} | {:.0}, {:.0} | {:.2}, {:.2} ms |",
            row.workload.what,
            row.workload.measure.unit(),
            spread(&row.ours, field),
            spread(&row.theirs, field),
            ours / theirs,
            row.workload.aim,
            if ours / theirs <= row.workload.aim { "met" } else { "missed" },
            row.ours("ops_s"),
            row.theirs("ops_s"),
            row.ours("p99_us") / 1000.0,
            row.theirs("p99_us") / 1000.0,
        ));
    }
    if !resting.is_empty() {
        line(format_args!(
            "\n| Streams at rest, ours and theirs | KB of memory each | File handles each | Ready after SIGKILL, s | Memory after the start, MB |"
        ));
        line(format_args!("|---|---|---|---|---|"));
    }
    for row in resting {
        let both = |field: &str| format!("{:.2}, {:.2}", row.ours(field), row.theirs(field));
        line(format_args!(
            "| {} | {} | {} | {} | {} |",
            row.workload.what,
            both("rss_kb_per_stream"),
            both("fds_per_stream"),
            both("restart_first_answer_s"),
            both("restart_rss_mb"),
        ));
    }
    text
}
