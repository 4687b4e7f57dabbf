//! Names to running streams.
//!
//! There is at most one [`Stream`] for a name at any time. Whoever loads, creates or removes one holds a
//! [`Reservation`] meanwhile, and everybody else who wants that name waits for it. Streams that nobody
//! uses are dropped from the map as it grows; storage still has them.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::stream::Stream;

const SHARDS: usize = 64;
/// A shard looks for streams to drop when it has grown to this size, and again whenever it has doubled.
const SWEEP_FROM: usize = 8;

/// The map.
pub(super) struct Directory {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

struct Shard {
    slots: HashMap<Arc<str>, Slot>,
    sweep_at: usize,
}

enum Slot {
    Ready(Arc<Stream>),
    Reserved(Arc<Notify>),
}

/// What a look into the map finds.
pub(super) enum Found {
    Stream(Arc<Stream>),
    Vacant,
    Reserved,
}

impl Default for Directory {
    fn default() -> Self {
        let shard = || Mutex::new(Shard { slots: HashMap::new(), sweep_at: SWEEP_FROM });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new() }
    }
}

impl Directory {
    /// What the map has for a name right now.
    pub(super) fn find(&self, name: &str) -> Found {
        match self.shard(name).lock().slots.get(name) {
            Some(Slot::Ready(stream)) => Found::Stream(Arc::clone(stream)),
            Some(Slot::Reserved(_)) => Found::Reserved,
            None => Found::Vacant,
        }
    }

    /// Reserves a name, once whoever has reserved it before is done.
    pub(super) async fn reserve(self: &Arc<Self>, name: Arc<str>) -> Reservation {
        loop {
            let busy = {
                let mut shard = self.shard(&name).lock();
                shard.sweep();
                let released = Arc::new(Notify::new());
                match shard.slots.entry(Arc::clone(&name)) {
                    Entry::Occupied(mut slot) => match slot.get() {
                        Slot::Ready(stream) => {
                            let found = Some(Arc::clone(stream));
                            slot.insert(Slot::Reserved(Arc::clone(&released)));
                            drop(shard);
                            return self.reserved(name, found, released);
                        }
                        Slot::Reserved(busy) => Arc::clone(busy),
                    },
                    Entry::Vacant(slot) => {
                        slot.insert(Slot::Reserved(Arc::clone(&released)));
                        drop(shard);
                        return self.reserved(name, None, released);
                    }
                }
            };
            let notified = busy.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_reserved_by(&name, &busy) {
                notified.await;
            }
        }
    }

    fn reserved(self: &Arc<Self>, name: Arc<str>, found: Option<Arc<Stream>>, released: Arc<Notify>) -> Reservation {
        Reservation { directory: Arc::clone(self), name, stream: found, released }
    }

    fn is_reserved_by(&self, name: &str, by: &Arc<Notify>) -> bool {
        matches!(self.shard(name).lock().slots.get(name), Some(Slot::Reserved(known)) if Arc::ptr_eq(known, by))
    }

    fn shard(&self, name: &str) -> &Mutex<Shard> {
        // The remainder is below `SHARDS`.
        &self.shards[(self.hasher.hash_one(name) % SHARDS as u64) as usize]
    }
}

impl Shard {
    fn sweep(&mut self) {
        if self.slots.len() < self.sweep_at {
            return;
        }
        // Under the lock of the shard nobody can take another reference out of the map.
        self.slots.retain(|_, slot| match slot {
            Slot::Ready(stream) => Arc::strong_count(stream) > 1 || !stream.is_at_rest(),
            Slot::Reserved(_) => true,
        });
        self.sweep_at = (self.slots.len() * 2).max(SWEEP_FROM);
    }
}

/// The sole right to load, create or remove the stream of a name. Dropped, it leaves what it found.
pub(super) struct Reservation {
    directory: Arc<Directory>,
    name: Arc<str>,
    stream: Option<Arc<Stream>>,
    released: Arc<Notify>,
}

impl Reservation {
    /// The stream that was in the map.
    pub(super) fn stream(&self) -> Option<&Arc<Stream>> {
        self.stream.as_ref()
    }

    /// The name that is reserved.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the map is to hold from now on.
    pub(super) fn set(&mut self, stream: Option<Arc<Stream>>) {
        self.stream = stream;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut shard = self.directory.shard(&self.name).lock();
        match self.stream.take() {
            Some(stream) => {
                shard.slots.insert(Arc::clone(&self.name), Slot::Ready(stream));
            }
            None => {
                shard.slots.remove(&self.name);
            }
        }
        drop(shard);
        self.released.notify_waiters();
    }
}
