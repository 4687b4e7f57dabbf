//! What a server counts, and how it tells (Prometheus).
//!
//! Counting is a relaxed atomic addition: numbers that are read while others are added may be apart by what is under
//! way. No number is kept for each stream: a server may have a million of them.

mod exposition;
mod histogram;
mod process;
mod storage;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

pub(crate) use self::exposition::{CONTENT_TYPE, render};
pub use self::histogram::Histogram;
pub use self::storage::StorageMetrics;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Append,
    Control,
    Create,
    Delete,
    Head,
    List,
    LongPoll,
    Other,
    Read,
    Sse,
}

impl RequestKind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Append,
        Self::Control,
        Self::Create,
        Self::Delete,
        Self::Head,
        Self::List,
        Self::LongPoll,
        Self::Other,
        Self::Read,
        Self::Sse,
    ];

    /// The value of the label `operation`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Control => "control",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Head => "head",
            Self::List => "list",
            Self::LongPoll => "long-poll",
            Self::Other => "other",
            Self::Read => "read",
            Self::Sse => "sse",
        }
    }
}

/// How a reader follows a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveMode {
    LongPoll,
    Sse,
}

/// All numbers of a server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: [[AtomicU64; STATUS_CLASSES.len()]; RequestKind::ALL.len()],
    durations: [Histogram; RequestKind::ALL.len()],
    live: [AtomicI64; 2],
    connections: AtomicI64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) connections_timed_out: AtomicU64,
    pub(crate) appended_bytes: AtomicU64,
    pub(crate) duplicate_appends: AtomicU64,
    pub(crate) served_bytes: AtomicU64,
    pub(crate) unauthenticated: AtomicU64,
    pub(crate) forbidden: AtomicU64,
    pub(crate) rate_limited: AtomicU64,
}

/// The values of the label `status`.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// A request was answered with this status after this time.
    pub(crate) fn answered(&self, kind: RequestKind, status: StatusCode, after: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        self.requests[kind as usize][class].fetch_add(1, Ordering::Relaxed);
        self.durations[kind as usize].observe(after);
    }

    /// A live reader has come; it is gone when the guard is dropped.
    pub(crate) fn live(self: &Arc<Self>, mode: LiveMode) -> LiveReader {
        self.live[mode as usize].fetch_add(1, Ordering::Relaxed);
        LiveReader { metrics: Arc::clone(self), mode }
    }

    /// A connection was taken in; it is gone when the guard is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> Connection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connection(Arc::clone(self))
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// A live reader that is there.
#[derive(Debug)]
pub(crate) struct LiveReader {
    metrics: Arc<Metrics>,
    mode: LiveMode,
}

impl Drop for LiveReader {
    fn drop(&mut self) {
        self.metrics.live[self.mode as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct Connection(Arc<Metrics>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
