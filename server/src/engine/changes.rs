//! Which streams come and go, for the registry: nothing is kept while nobody asks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use everstream::proto::names;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::is_internal;
use crate::storage::StreamMeta;

/// More are not kept: whoever fell behind so far has to look at all streams anew.
const MOST: usize = 100_000;

/// One stream more, or one less.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It was created.
    Created(Arc<StreamMeta>),
    /// It was deleted or has expired; it may be kept for its forks, but nobody can read it.
    Removed(Arc<str>),
}

/// Changes in the order in which they happened, for each name.
#[derive(Debug, Default)]
pub(super) struct Changes {
    is_on: AtomicBool,
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    changes: VecDeque<Change>,
    overflowed: bool,
}

impl Changes {
    /// From here on changes are kept.
    pub(super) fn switch_on(&self) {
        self.is_on.store(true, Ordering::SeqCst);
    }

    /// Notes a change. Call it while the name is reserved, so that the order is that of the changes.
    pub(super) fn note(&self, name: &str, change: impl FnOnce() -> Change) {
        if !self.is_on.load(Ordering::Relaxed) || name == names::REGISTRY || is_internal(name) {
            return;
        }
        let mut queue = self.queue.lock();
        if queue.changes.len() >= MOST {
            queue.changes.clear();
            queue.overflowed = true;
        }
        queue.changes.push_back(change());
        drop(queue);
        self.more.notify_one();
    }

    /// Takes out all that there are. `None` if some were lost: then all of them are.
    pub(super) fn take(&self) -> Option<Vec<Change>> {
        let mut queue = self.queue.lock();
        let changes = std::mem::take(&mut queue.changes);
        let lost = std::mem::take(&mut queue.overflowed);
        (!lost).then(|| changes.into())
    }

    /// Waits until there may be some.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(super) async fn wait(&self) {
        self.more.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(changes: &Changes, name: &str) {
        changes.note(name, || Change::Removed(name.into()));
    }

    fn names(changes: &Changes) -> Option<Vec<Arc<str>>> {
        let taken = changes.take()?;
        let name = |change| match change {
            Change::Removed(name) => name,
            Change::Created(meta) => Arc::clone(&meta.name),
        };
        Some(taken.into_iter().map(name).collect())
    }

    #[test]
    fn changes_are_kept_only_when_someone_asks_and_without_the_servers_own() {
        let changes = Changes::default();
        removed(&changes, "early");
        changes.switch_on();
        for name in ["a", "__registry__", "__ds/x", "b", "__dsx"] {
            removed(&changes, name);
        }
        assert_eq!(names(&changes), Some(vec!["a".into(), "b".into(), "__dsx".into()]));
        assert_eq!(names(&changes), Some(vec![]));
    }

    #[test]
    fn too_many_changes_are_none_and_that_is_known_once() {
        let changes = Changes::default();
        changes.switch_on();
        for _ in 0..=MOST {
            removed(&changes, "a");
        }
        assert_eq!(names(&changes), None);
        removed(&changes, "b");
        assert_eq!(names(&changes), Some(vec!["b".into()]));
    }
}
