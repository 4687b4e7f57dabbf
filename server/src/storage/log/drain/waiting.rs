//! What waits for the drain, and what the committer hears of it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::storage::StorageError;
use crate::storage::log::entry::Entry;
use crate::storage::log::storage_error;

/// How long an error is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// Removals that come together are looked at together.
const GATHER: Duration = Duration::from_millis(20);

/// A part of the log that is complete.
pub(in super::super) struct Cut {
    /// Its last record.
    pub(in super::super) seq: u64,
    /// Its segments.
    pub(in super::super) segments: Vec<Sealed>,
    /// The first segment that is not in it.
    pub(in super::super) next_segment: u64,
    /// Streams that its records have changed.
    pub(in super::super) dirty: Vec<Arc<Entry>>,
}

/// A segment that is full.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Sealed {
    pub(in super::super) number: u64,
    /// Where its records end.
    pub(in super::super) used: u64,
    /// Most of it is large data.
    pub(in super::super) is_worth_keeping: bool,
}

/// What waits for the drain.
#[derive(Default)]
pub(in super::super) struct Drains {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    refusing: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    cuts: VecDeque<Arc<Cut>>,
    /// Space was released.
    released: bool,
    failing: Option<StorageError>,
    stopped: bool,
    /// A thread works on them.
    background: bool,
}

impl Drains {
    pub(in super::super) fn in_background(&self) {
        self.waiting.lock().background = true;
    }

    pub(in super::super) fn push(&self, cut: Cut) {
        self.waiting.lock().cuts.push_back(Arc::new(cut));
        self.changed.notify_all();
    }

    pub(in super::super) fn released(&self) {
        self.waiting.lock().released = true;
        self.changed.notify_all();
    }

    pub(in super::super) fn stop(&self) {
        self.waiting.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits until there are fewer cuts, or the drain is in trouble.
    pub(in super::super) fn wait_below(&self, cuts: usize) {
        let mut waiting = self.waiting.lock();
        while waiting.cuts.len() >= cuts && waiting.background && waiting.failing.is_none() && !waiting.stopped {
            self.changed.wait(&mut waiting);
        }
        let refusing = waiting.cuts.len() >= cuts && waiting.failing.is_some();
        self.refusing.store(refusing, Ordering::Release);
    }

    /// Why no more data can be taken, if so.
    pub(in super::super) fn refusal(&self) -> Option<StorageError> {
        if !self.refusing.load(Ordering::Acquire) {
            return None;
        }
        self.waiting.lock().failing.clone()
    }

    pub(super) fn first(&self) -> Option<Arc<Cut>> {
        self.waiting.lock().cuts.front().cloned()
    }

    pub(super) fn done(&self) {
        self.waiting.lock().cuts.pop_front();
        self.changed.notify_all();
    }

    pub(super) fn recovered(&self) {
        self.waiting.lock().failing = None;
        self.changed.notify_all();
    }

    pub(super) fn failed(&self, error: &io::Error) {
        self.waiting.lock().failing = Some(storage_error(error));
        self.changed.notify_all();
    }

    /// Waits for something to do; `false` at the end.
    pub(super) fn wait(&self) -> bool {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.stopped {
                return false;
            }
            if waiting.failing.is_some() {
                self.changed.wait_for(&mut waiting, RETRY);
                return !waiting.stopped;
            }
            if !waiting.cuts.is_empty() {
                return true;
            }
            if std::mem::take(&mut waiting.released) {
                self.changed.wait_for(&mut waiting, GATHER);
                return !waiting.stopped;
            }
            self.changed.wait(&mut waiting);
        }
    }
}
