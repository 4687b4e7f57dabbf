//! From a durable tail to the followers that wait for it.
//!
//! All followers of a stream share one [`Notify`]; a stream at rest keeps no list. A follower registers
//! first and looks at the tail second, so nothing that happens between the two is missed (S-LP-3).

use std::sync::Arc;

use tokio::sync::Notify;

use super::position::Position;
use super::stream::Stream;

/// What followers can see of a stream: the durable state and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The position after the last durable message.
    pub position: Position,
    /// Whether the stream is durably closed.
    pub closed: bool,
    /// Why there will be nothing more, other than closure.
    pub ended: Option<Ended>,
}

/// Why a stream that was being followed is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Deleted or expired (S-DEL-3).
    Removed,
    /// Deleted or expired, but kept for its forks (S-FORK-18).
    SoftDeleted,
    /// The storage failed and the stream is loaded anew: ask again.
    Reloaded,
}

/// Wakes whoever waits for a stream to change.
#[derive(Debug, Default)]
pub(super) struct Wake(Notify);

impl Wake {
    /// Wakes all who wait. Call it after the change can be seen.
    pub(super) fn all(&self) {
        self.0.notify_waiters();
    }

    /// Waits until `look` finds what it looks for; it is asked at once and after each wake.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(super) async fn wait_until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let notified = self.0.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            notified.await;
            // Mostly that was what it waited for: then it need not register again.
            if let Some(found) = look() {
                return found;
            }
        }
    }
}

/// A live reader attached to a stream. While one is attached, a sliding lifetime does not run out (S-EXP-3).
#[derive(Debug)]
pub struct Follower {
    stream: Arc<Stream>,
}

impl Follower {
    pub(super) fn attach(stream: Arc<Stream>) -> Self {
        stream.attached();
        Self { stream }
    }

    /// The stream that is followed.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Waits until the tail is another than `seen`, and returns it.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn changed(&self, seen: Tail) -> Tail {
        self.stream.changed(seen).await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stream.detached();
    }
}
