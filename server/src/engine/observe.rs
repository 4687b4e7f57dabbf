//! From what became durable to whoever wants to know: at most one [`Observer`] for all streams.
//!
//! Streams without an interested observer pay one atomic load for each append.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::position::Position;
use crate::storage::StreamMeta;

/// Is told of durable changes, in the thread that made them: it must be quick, and must not wait.
///
/// Changes of one stream may be told slightly out of order; a tail that is lower than one before is old news.
pub trait Observer: Send + Sync + 'static {
    /// Data was appended, by a create with a body too. `tail` is the durable tail after it.
    fn appended(&self, stream: &StreamMeta, tail: Position);

    /// The stream was deleted or has expired; it may be kept for its forks, but nobody can read it.
    fn removed(&self, stream: &StreamMeta);
}

/// The place where an observer hangs.
#[derive(Default)]
pub(super) struct Observation {
    is_on: AtomicBool,
    observer: OnceLock<Arc<dyn Observer>>,
}

impl Observation {
    /// Sets the observer, once for the life of the engine; a later one is refused.
    pub(super) fn set(&self, observer: Arc<dyn Observer>) -> bool {
        self.observer.set(observer).is_ok()
    }

    /// Whether the observer is told anything.
    pub(super) fn switch(&self, on: bool) {
        self.is_on.store(on, Ordering::Relaxed);
    }

    pub(super) fn appended(&self, stream: &StreamMeta, tail: Position) {
        if let Some(observer) = self.observer() {
            observer.appended(stream, tail);
        }
    }

    pub(super) fn removed(&self, stream: &StreamMeta) {
        if let Some(observer) = self.observer() {
            observer.removed(stream);
        }
    }

    /// Relaxed is enough: whoever switches it on and then reads the storage sees there what was committed before,
    /// and the lock of the storage makes commits after that see the switch.
    fn observer(&self) -> Option<&Arc<dyn Observer>> {
        if self.is_on.load(Ordering::Relaxed) { self.observer.get() } else { None }
    }
}
