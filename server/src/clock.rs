//! Time as the engine sees it: milliseconds since the Unix epoch, from a clock that tests can replace.

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// Where the engine takes the time of deadlines and cursors from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment. Need not be monotonic: deadlines are moments of the calendar (S-EXP-4).
    fn now(&self) -> Millis;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        coarse()
    }
}

/// The time as the kernel has noted it at its last tick, a few milliseconds ago: every request asks for it, and asking the
/// hardware takes several times as long.
#[cfg(target_os = "linux")]
pub(crate) fn coarse() -> Millis {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    // A clock that is set to before 1970 shows 1970.
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1000 + nanos / 1_000_000
}

/// The time.
#[cfg(not(target_os = "linux"))]
pub(crate) fn coarse() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_that_of_the_system() {
        let precise = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
        let before = precise();
        let now = u128::from(SystemClock.now());
        // A tick is 10 ms at most.
        assert!(before.saturating_sub(100) <= now && now <= precise(), "{before} {now}");
    }
}
