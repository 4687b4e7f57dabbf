//! Whether the log takes writes, and what operators want to know about it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::metrics::StorageMetrics;
use crate::storage::{StorageError, StorageErrorKind};

/// After a write that found no room, the log counts as full for this long, or until one finds room. Then the next write
/// finds out.
const FULL_FOR: Duration = Duration::from_secs(30);

/// What is known without writing.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) metrics: Arc<StorageMetrics>,
    failed: OnceLock<StorageError>,
    full: Mutex<Option<(Instant, StorageError)>>,
}

impl Health {
    /// Notes what became of a group.
    pub(super) fn note(&self, written: &Result<(), StorageError>) {
        let full = match written {
            Ok(()) => None,
            Err(error) => {
                self.metrics.failed();
                if error.kind != StorageErrorKind::Full {
                    self.failed.get_or_init(|| error.clone());
                }
                (error.kind == StorageErrorKind::Full).then(|| (Instant::now(), error.clone()))
            }
        };
        *self.full.lock() = full;
    }

    pub(super) fn check(&self) -> Result<(), StorageError> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        match &*self.full.lock() {
            Some((since, error)) if since.elapsed() < FULL_FOR => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: StorageErrorKind) -> Result<(), StorageError> {
        Err(StorageError { kind, message: "it failed".to_owned() })
    }

    #[test]
    fn room_can_come_back_and_a_broken_disk_cannot() {
        let health = Health::default();
        assert_eq!(health.check(), Ok(()));
        health.note(&error(StorageErrorKind::Full));
        assert_eq!(health.check(), error(StorageErrorKind::Full));
        health.note(&Ok(()));
        assert_eq!(health.check(), Ok(()));
        health.note(&error(StorageErrorKind::Io));
        health.note(&Ok(()));
        assert_eq!(health.check(), error(StorageErrorKind::Io));
    }
}
