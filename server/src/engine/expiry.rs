//! Lifetimes of streams (PROTOCOL.md S-EXP). Pure: `now` comes in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Millis;

/// How long a stream lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    #[default]
    Unlimited,
    /// For this many seconds after the last read or write (S-EXP-1).
    Ttl(u64),
    /// Up to a fixed moment (S-EXP-4).
    Until(Deadline),
}

/// A fixed moment, with the text that named it: HEAD repeats the text, comparisons use the moment.
#[derive(Clone, Debug)]
pub struct Deadline {
    /// The moment.
    pub at: Millis,
    /// RFC 3339, as the creator wrote it.
    pub text: Arc<str>,
}

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Deadline {}

impl Lifetime {
    /// When a stream expires that was last read or written at `touched`, if ever. It has expired when
    /// `now >= deadline` (S-EXP-5).
    pub fn deadline(&self, touched: Millis) -> Option<Millis> {
        match self {
            Self::Unlimited => None,
            Self::Ttl(seconds) => Some(touched.saturating_add(seconds.saturating_mul(1000))),
            Self::Until(deadline) => Some(deadline.at),
        }
    }

    /// How stale a persisted `touched` may grow before it is worth a write: a sixteenth of the window,
    /// and at least a second. `None` when the window does not slide.
    pub fn persist_after(&self) -> Option<Millis> {
        match self {
            Self::Ttl(seconds) => Some((seconds.saturating_mul(1000) / 16).max(1000)),
            Self::Unlimited | Self::Until(_) => None,
        }
    }
}

/// Names by the earliest moment at which they may have expired: one entry for each stream that can expire.
///
/// Touching a stream does not move its entry; whoever takes the entry out looks at the real deadline and
/// puts it back if that lies ahead.
#[derive(Debug, Default)]
pub(super) struct ExpiryQueue {
    heap: Mutex<BinaryHeap<Due>>,
}

/// The earliest comes first.
type Due = Reverse<(Millis, Arc<str>)>;

impl ExpiryQueue {
    /// Asks for `name` to be looked at when `deadline` has come.
    pub(super) fn push(&self, deadline: Millis, name: Arc<str>) {
        self.heap.lock().push(Reverse((deadline, name)));
    }

    /// Takes out one name whose moment has come.
    pub(super) fn pop_due(&self, now: Millis) -> Option<Arc<str>> {
        let mut heap = self.heap.lock();
        if heap.peek()?.0.0 > now {
            return None;
        }
        heap.pop().map(|Reverse((_, name))| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sliding_window_follows_the_last_touch_and_a_deadline_does_not() {
        assert_eq!(Lifetime::Ttl(2).deadline(1_000), Some(3_000));
        assert_eq!(Lifetime::Ttl(2).deadline(2_500), Some(4_500));
        let until = Deadline { at: 3_000, text: "x".into() };
        assert_eq!(Lifetime::Until(until).deadline(2_999), Some(3_000));
    }

    #[test]
    fn a_window_of_zero_is_over_at_once_and_a_huge_one_never() {
        assert_eq!(Lifetime::Ttl(0).deadline(5), Some(5));
        assert_eq!(Lifetime::Ttl(u64::MAX).deadline(5), Some(u64::MAX));
        assert_eq!(Lifetime::Unlimited.deadline(5), None);
    }

    #[test]
    fn the_queue_hands_out_what_is_due_in_order_of_time() {
        let queue = ExpiryQueue::default();
        for (at, name) in [(30, "c"), (10, "a"), (20, "b")] {
            queue.push(at, name.into());
        }
        assert_eq!(queue.pop_due(9), None);
        assert_eq!(queue.pop_due(20).as_deref(), Some("a"));
        assert_eq!(queue.pop_due(20).as_deref(), Some("b"));
        assert_eq!(queue.pop_due(20), None);
    }
}
