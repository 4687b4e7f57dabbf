//! How much memory bodies may hold together, so that many slow peers do not add up to all there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes held at present, and how many may be. Cheap to clone; clones are the same budget.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    shared: Arc<Shared>,
    most: usize,
}

#[derive(Debug, Default)]
struct Shared {
    held: AtomicUsize,
    freed: Notify,
}

/// Bytes that count until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Self {
        Self { shared: Arc::default(), most }
    }

    /// Whether there is nothing left.
    pub(super) fn is_used_up(&self) -> bool {
        self.shared.held.load(Ordering::Relaxed) >= self.most
    }

    /// Waits until there is something left.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(super) async fn freed(&self) {
        while self.is_used_up() {
            self.shared.freed.notified().await;
        }
        // One wakes the next, so that they do not all take what is left for one.
        self.shared.freed.notify_one();
    }

    /// Counts bytes, whether they fit or not.
    pub(super) fn hold(&self, bytes: usize) -> Held {
        self.shared.held.fetch_add(bytes, Ordering::Relaxed);
        Held { budget: self.clone(), bytes }
    }

    /// The same bytes, which count as `size` until the last reference to them is gone.
    pub(super) fn counted(&self, size: usize, bytes: Bytes) -> Bytes {
        struct Counted {
            bytes: Bytes,
            _held: Held,
        }
        impl AsRef<[u8]> for Counted {
            fn as_ref(&self) -> &[u8] {
                &self.bytes
            }
        }
        let held = self.hold(size);
        Bytes::from_owner(Counted { bytes, _held: held })
    }
}

impl Held {
    /// Counts more; whether all of it fits.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.budget.shared.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.budget.most
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = self.budget.shared.held.fetch_sub(self.bytes, Ordering::Relaxed);
        if before >= self.budget.most && before - self.bytes < self.budget.most {
            self.budget.shared.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_the_last_reference_is_gone() {
        let budget = Budget::new(10);
        let bytes = budget.counted(10, Bytes::from_static(b"0123456789"));
        let part = bytes.slice(2..3);
        drop(bytes);
        assert!(budget.is_used_up());
        assert_eq!(&part[..], b"2");
        drop(part);
        assert!(!budget.is_used_up());
        let mut held = budget.hold(4);
        assert!(held.grow(6) && !held.grow(1));
        drop(held);
        assert!(!budget.is_used_up());
    }
}
