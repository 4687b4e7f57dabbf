//! What a run costs: wall time, CPU time and memory of one process.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The cost of one run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) wall: Duration,
    /// User and system time of all threads of the measured process.
    pub(super) cpu: Duration,
    /// The most memory that the measured process had since its start, in bytes.
    pub(super) peak_rss: u64,
}

/// Measures a process from [`start`](Self::start) to [`stop`](Self::stop).
pub(super) struct Meter {
    pid: u32,
    start: Instant,
    cpu: Duration,
}

impl Meter {
    /// Measures another process.
    pub(super) fn start(pid: u32) -> Result<Self> {
        Ok(Self { pid, cpu: cpu_time(pid)?, start: Instant::now() })
    }

    /// Measures this process.
    pub(super) fn start_own() -> Result<Self> {
        Self::start(std::process::id())
    }

    pub(super) fn stop(self) -> Result<Sample> {
        let wall = self.start.elapsed();
        Ok(Sample { wall, cpu: cpu_time(self.pid)?.saturating_sub(self.cpu), peak_rss: peak_rss(self.pid)? })
    }
}

fn cpu_time(pid: u32) -> Result<Duration> {
    let pid = Pid::from_raw(pid.try_into().context("not a process number")?);
    let clock = clock_getcpuclockid(pid).and_then(|clock| clock.now());
    Ok(clock.with_context(|| format!("the CPU time of process {pid} cannot be read"))?.into())
}

/// `VmHWM`: unlike what getrusage tells, it is not inherited from the parent.
fn peak_rss(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("no VmHWM in {path}"))? * 1024)
}
