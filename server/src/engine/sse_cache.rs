//! The last data event of a stream, encoded once for all its followers.
//!
//! Followers at the tail all need the same event. The first encodes it under the lock, the others take
//! its bytes. Only one event is kept, and it is dropped when the last follower has gone.

use bytes::Bytes;
use parking_lot::Mutex;

use super::position::Position;

/// Holds one encoded data event.
#[derive(Debug, Default)]
pub(crate) struct SseCache(Mutex<Option<Box<Encoded>>>);

#[derive(Debug)]
struct Encoded {
    from: Position,
    to: Position,
    event: Bytes,
}

impl SseCache {
    /// The encoded event for the data between two positions; `encode` is asked only if it is not the one kept.
    pub(crate) fn event(&self, from: Position, to: Position, encode: impl FnOnce() -> Bytes) -> Bytes {
        let mut kept = self.0.lock();
        match kept.as_ref() {
            Some(known) if known.from == from && known.to == to => known.event.clone(),
            _ => {
                let event = encode();
                *kept = Some(Box::new(Encoded { from, to, event: event.clone() }));
                event
            }
        }
    }

    /// Frees the event.
    pub(crate) fn clear(&self) {
        *self.0.lock() = None;
    }
}
