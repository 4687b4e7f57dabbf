//! The processes of a measurement: this program runs itself, once as a server, and once for each run.

use std::env;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use everstream_server::Server;
use serde::{Deserialize, Serialize};

use super::measure::Sample;
use super::{codec, json, load, produce, read};
use crate::process::runtime;

/// Who does the work of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Side {
    Ours,
    Yardstick,
}

/// One run of one side, as it is told to the process that does it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Job {
    Frame(codec::Frame),
    Json(json::Read),
    Load(load::Load),
    Produce(produce::Produce),
    Read(read::CatchUp),
    Sse(codec::Sse),
}

/// Does a job and tells what it cost; in a process of its own.
pub(super) fn work(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job).context("not a job")?;
    let sample = match &job {
        Job::Frame(job) => job.run(),
        Job::Json(job) => runtime()?.block_on(job.run()),
        Job::Load(job) => job.run(),
        Job::Produce(job) => runtime()?.block_on(job.run()),
        Job::Read(job) => runtime()?.block_on(job.run()),
        Job::Sse(job) => job.run(),
    }?;
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

/// Has a job done by another process.
///
/// # Errors
/// The job failed.
pub(super) fn run_apart(job: &Job) -> Result<Sample> {
    let output = itself()?
        .args(["run", &serde_json::to_string(job)?])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run this program")?;
    ensure!(output.status.success(), "the run failed: {}", output.status);
    serde_json::from_slice(&output.stdout).context("the run did not tell what it cost")
}

/// Serves from memory until nobody holds the other end of its input; in a process of its own.
pub(super) fn serve(whole: bool) -> Result<()> {
    let runtime = runtime()?;
    // Some clients ask for compressed answers and some do not. What is measured is the same bytes for all.
    let mut builder = Server::builder().bind(([127, 0, 0, 1], 0)).compression(false);
    if whole {
        builder = builder.max_read_bytes(1 << 30);
    }
    let server = runtime.block_on(builder.start())?;
    println!("{}", server.addr().port());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    drop(server);
    Ok(())
}

/// A server in a process of its own, which ends with this value.
pub(super) struct ServerProcess {
    child: Child,
    pub(super) port: u16,
    /// Where its streams are: a path without trailing slash.
    pub(super) root: &'static str,
}

impl ServerProcess {
    /// Ours, with its data in memory.
    pub(super) fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), and gives each stream in one answer, as the official servers do.
    pub(super) fn start_whole() -> Result<Self> {
        Self::start_with(&["--whole"])
    }

    fn start_with(options: &[&str]) -> Result<Self> {
        let mut command = itself()?;
        command.arg("serve-for-bench").args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run this program")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut server = Self { child, port: 0, root: everstream::proto::names::STREAM_ROOT };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        server.port = line.trim().parse().context("the server did not start")?;
        Ok(server)
    }

    /// Takes over a server that listens on this port.
    pub(super) fn of(child: Child, port: u16, root: &'static str) -> Self {
        Self { child, port, root }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn url(&self, stream: &str) -> String {
        format!("http://127.0.0.1:{}{}/{stream}", self.port, self.root)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn itself() -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("this program does not know where it is")?);
    command.arg("bench").stdin(Stdio::null());
    Ok(command)
}
