//! What waits for the committer.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::entry::Entry;
use super::pace::Pace;
use crate::engine::{Commit, Removal};
use crate::storage::{Loaded, NewStream, StorageError, StorageErrorKind, StreamId};

pub(super) type Answer<T> = oneshot::Sender<Result<T, StorageError>>;

/// One call of [`crate::storage::Storage`] or [`crate::storage::StreamLog`] that changes something, or has
/// to come after what does.
pub(super) enum Op {
    Commit { entry: Arc<Entry>, epoch: u32, commit: Commit, reply: Answer<()> },
    Create { stream: Box<NewStream>, reply: Answer<Loaded> },
    Delete { name: Arc<str>, id: StreamId, removal: Removal, reply: Answer<()> },
    Load { name: Arc<str>, reply: Answer<Option<Loaded>> },
}

/// Many push, one takes everything at once.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    ops: Vec<Op>,
    /// Creates, deletes and loads among them and among what was taken and is not done.
    names: usize,
    stopped: bool,
    /// The one who takes waits for so many.
    wanted: usize,
}

impl Queue {
    pub(super) fn push(&self, op: Op) {
        let mut waiting = self.waiting.lock();
        if waiting.stopped {
            drop(waiting);
            return op
                .refuse(&StorageError { kind: StorageErrorKind::Io, message: "the storage is closed".to_owned() });
        }
        waiting.names += usize::from(op.is_about_names());
        waiting.ops.push(op);
        if waiting.ops.len() == waiting.wanted {
            waiting.wanted = 0;
            drop(waiting);
            self.filled.notify_one();
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().ops.len()
    }

    /// Whether a create, delete or load is under way.
    pub(super) fn is_busy_with_names(&self) -> bool {
        self.waiting.lock().names > 0
    }

    /// Says that what was taken is done.
    pub(super) fn names_done(&self, count: usize) {
        if count > 0 {
            self.waiting.lock().names -= count;
        }
    }

    /// Swaps in everything that waits; `ops` is empty. Waits for something if there is nothing, and for more as `pace`
    /// says; `false` when there will be nothing more.
    pub(super) fn take(&self, ops: &mut Vec<Op>, pace: &Pace) -> bool {
        let mut waiting = self.waiting.lock();
        let rounds = if pace.enough() > 1 { Some(pace.rounds()) } else { None };
        for round in rounds.into_iter().flatten() {
            let before = waiting.ops.len();
            self.wait_for(&mut waiting, pace.enough(), Some(Instant::now() + round));
            if waiting.ops.len() == before || waiting.ops.len() >= pace.enough() {
                break;
            }
        }
        self.wait_for(&mut waiting, 1, None);
        std::mem::swap(&mut waiting.ops, ops);
        !ops.is_empty()
    }

    /// Waits until so many are there, the time is over, or there will be no more.
    fn wait_for(&self, waiting: &mut MutexGuard<'_, Waiting>, count: usize, until: Option<Instant>) {
        while waiting.ops.len() < count && !waiting.stopped {
            waiting.wanted = count;
            match until {
                None => self.filled.wait(waiting),
                Some(until) if self.filled.wait_until(waiting, until).timed_out() => break,
                Some(_) => {}
            }
        }
        waiting.wanted = 0;
    }

    /// Swaps in what waits now.
    pub(super) fn try_take(&self, ops: &mut Vec<Op>) {
        std::mem::swap(&mut self.waiting.lock().ops, ops);
    }

    /// Refuses what comes from now on.
    pub(super) fn stop(&self) {
        self.waiting.lock().stopped = true;
        self.filled.notify_one();
    }
}

impl Op {
    pub(super) fn is_about_names(&self) -> bool {
        !matches!(self, Self::Commit { .. })
    }

    pub(super) fn refuse(self, error: &StorageError) {
        // Whoever asked may have gone.
        match self {
            Self::Commit { entry, reply, .. } => {
                entry.pending.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
                let _ = reply.send(Err(error.clone()));
            }
            Self::Create { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Delete { reply, .. } => drop(reply.send(Err(error.clone()))),
            Self::Load { reply, .. } => drop(reply.send(Err(error.clone()))),
        }
    }
}
