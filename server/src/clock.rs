//! Time as the engine sees it: milliseconds since the Unix epoch, from a clock that tests can replace.

use std::time::{SystemTime, UNIX_EPOCH};

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
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
