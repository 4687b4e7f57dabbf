//! Numbers that a storage keeps, if it has them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Histogram;

/// What a storage that writes to disk counts; see [`Storage::metrics`](crate::storage::Storage::metrics).
#[derive(Debug, Default)]
pub struct StorageMetrics {
    /// How long it takes to bring written data to the disk.
    pub syncs: Histogram,
    /// Bytes of the log that are not yet where reads find them.
    pub log_bytes: AtomicU64,
    /// Failures of the disk, a full one included.
    pub errors: AtomicU64,
}

impl StorageMetrics {
    /// The disk has failed once more.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// How large the log is at the moment.
    pub fn set_log_bytes(&self, bytes: u64) {
        self.log_bytes.store(bytes, Ordering::Relaxed);
    }
}
