//! tokio, and the operating system.

use std::time::SystemTime;

pub(in crate::client) use tokio::task::{AbortHandle, JoinSet, yield_now};
pub(in crate::client) use tokio::time::{Instant as Clock, Sleep, sleep_until, timeout};

use crate::error::{Error, ErrorKind, Result};

pub(in crate::client) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// # Errors
/// `Internal` when the system gives none.
pub(in crate::client) fn random() -> Result<u64> {
    getrandom::u64()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("the system gives no randomness: {error}")))
}

pub(in crate::client) fn system_time() -> SystemTime {
    SystemTime::now()
}
