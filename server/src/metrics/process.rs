//! What the system says about this process. Linux only; elsewhere there is nothing to tell.

use std::fs;

/// Memory and file handles of this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    pub(super) open_files: u64,
    pub(super) cpu_seconds: f64,
}

impl Process {
    /// How it is now.
    pub(super) fn now() -> Option<Self> {
        // `VmRSS` is in kibibytes, whatever the size of a page is.
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        // Nanoseconds on a CPU, of all threads together.
        let cpu_nanos: u64 = fs::read_dir("/proc/self/task")
            .ok()?
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
            .sum();
        Some(Self { resident_bytes: kibibytes << 10, open_files, cpu_seconds: cpu_nanos as f64 / 1e9 })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_open_files() {
        let process = Process::now().expect("/proc is there");
        assert!(process.resident_bytes > 100_000);
        assert!(process.open_files >= 3);
    }
}
