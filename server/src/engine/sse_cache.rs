//! The last events of a stream, encoded once for all its followers.
//!
//! Followers at the tail all need the same data event and the same control event after it. The first encodes them, the
//! others take their bytes without reading the stream. Only one pair is kept, and it is dropped when the last follower
//! has gone.

use bytes::Bytes;
use parking_lot::Mutex;

use super::position::Position;

/// Holds one pair of encoded events.
#[derive(Debug, Default)]
pub(crate) struct SseCache(Mutex<Option<Box<(SseKey, Bytes)>>>);

/// What the bytes of a data event and its control event depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SseKey {
    /// Where the data begins.
    pub(crate) from: Position,
    /// Where it ends, which is the tail.
    pub(crate) to: Position,
    /// Whether the stream is closed there.
    pub(crate) closed: bool,
    /// The cursor that the control event names.
    pub(crate) cursor: u64,
}

impl SseCache {
    /// The events of a key, if they are the ones kept.
    pub(crate) fn get(&self, key: SseKey) -> Option<Bytes> {
        let kept = self.0.lock();
        kept.as_ref().filter(|kept| kept.0 == key).map(|kept| kept.1.clone())
    }

    /// Keeps the events of a key in place of others.
    pub(crate) fn put(&self, key: SseKey, events: Bytes) {
        *self.0.lock() = Some(Box::new((key, events)));
    }

    /// Frees the events.
    pub(crate) fn clear(&self) {
        *self.0.lock() = None;
    }
}
