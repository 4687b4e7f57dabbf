//! One running stream: orders its appends, commits them, publishes what is durable, wakes followers.
//!
//! Appends are pipelined. Under the lock an append is decided against the *decided* state, applied to it
//! and handed to storage; the lock is released before the commit is durable. Readers, HEAD and answers
//! see only the *durable* tail, which moves when storage has answered. A failed commit ends this
//! [`Stream`]: everything under way fails, and the next request loads the stream from storage.
//!
//! There is no task per stream. A stream at rest is only data.

mod appending;
mod reading;

use std::sync::Arc;

use everstream::proto::content_type::StreamFormat;
use parking_lot::{Mutex, MutexGuard};

pub use self::appending::Appending;
pub use self::reading::ReadResult;
use super::error::EngineError;
use super::expiry::Lifetime;
use super::fork::{References, Removal};
use super::notify::{Ended, Follower, Tail, Wake};
use super::observe::Observation;
use super::producers::ProducerTag;
use super::relay::{Lane, Relay, Sink, Ticket};
use super::sse_cache::SseCache;
use super::state::{StreamConfig, StreamState};
use crate::clock::{Clock, Millis};
use crate::storage::{Loaded, StorageError, StreamLog, StreamMeta};

/// A running stream. There is at most one for each name.
pub struct Stream {
    meta: Arc<StreamMeta>,
    format: StreamFormat,
    log: Arc<dyn StreamLog>,
    /// Bytes of its own that it may have.
    max_bytes: u64,
    /// The fork source, kept open for the data inherited from it.
    source: Option<Arc<Self>>,
    clock: Arc<dyn Clock>,
    core: Mutex<Core>,
    wake: Wake,
    sse_cache: SseCache,
    relay: Relay,
    observation: Arc<Observation>,
}

struct Core {
    /// The state with every commit that was handed to storage.
    decided: StreamState,
    /// What storage has confirmed.
    durable: Tail,
    /// Commits handed to storage, and those of them that it has confirmed.
    issued: u64,
    settled: u64,
    /// The error that ended this stream.
    failed: Option<StorageError>,
    references: References,
    /// Removed, or being removed.
    removed: bool,
    followers: u32,
    /// The last moment of a touch that storage knows of.
    touch_persisted: Millis,
}

/// Who refers to a stream.
#[derive(Clone, Debug)]
pub struct Relations {
    /// Live forks that name it as source.
    pub forks: u32,
    /// Its producers by id, each with its current epoch and last seq.
    pub producers: Vec<ProducerTag>,
}

impl Stream {
    pub(super) fn new(
        loaded: Loaded,
        source: Option<Arc<Self>>,
        clock: Arc<dyn Clock>,
        max_bytes: u64,
        observation: Arc<Observation>,
    ) -> Arc<Self> {
        let Loaded { meta, state, references, log } = loaded;
        let config = StreamConfig {
            content_type: Arc::clone(&meta.content_type),
            lifetime: meta.lifetime.clone(),
            created_at: meta.created_at,
            base: meta.base(),
        };
        let touch_persisted = state.touched;
        let decided = StreamState::restore(config, state);
        let durable = Tail {
            position: decided.tail(),
            closed: decided.is_closed(),
            ended: references.soft_deleted.then_some(Ended::SoftDeleted),
        };
        Arc::new(Self {
            format: decided.format(),
            meta,
            log,
            max_bytes,
            source,
            clock,
            core: Mutex::new(Core {
                decided,
                durable,
                issued: 0,
                settled: 0,
                failed: None,
                references,
                removed: false,
                followers: 0,
                touch_persisted,
            }),
            wake: Wake::default(),
            sse_cache: SseCache::default(),
            relay: Relay::default(),
            observation,
        })
    }

    /// Attaches a live reader. Everything that it needs is freed when the follower is dropped.
    pub fn follow(self: &Arc<Self>) -> Follower {
        Follower::attach(Arc::clone(self))
    }

    /// A successful read restarts a sliding lifetime (S-EXP-1). Call it when processing begins (S-EXP-3).
    pub fn touch_by_reader(self: &Arc<Self>) {
        if self.meta.lifetime.persist_after().is_some() {
            let now = self.clock.now();
            self.touch(&mut self.core.lock(), now);
        }
    }

    /// The durable tail.
    pub fn tail(&self) -> Tail {
        self.core.lock().durable
    }

    /// What never changes about the stream.
    pub fn meta(&self) -> &Arc<StreamMeta> {
        &self.meta
    }

    /// Who refers to it: forks and producers. What is being stored counts already.
    pub fn relations(&self) -> Relations {
        let core = self.core.lock();
        let mut producers: Vec<_> = core.decided.producers().iter().collect();
        producers.sort_by(|a, b| a.id.cmp(&b.id));
        Relations { forks: core.references.forks, producers }
    }

    /// The fork source, if it is a fork.
    pub(super) fn source(&self) -> Option<&Arc<Self>> {
        self.source.as_ref()
    }

    /// How its bytes are framed.
    pub fn format(&self) -> StreamFormat {
        self.format
    }

    /// Data events that followers of this stream share.
    pub(crate) fn sse_cache(&self) -> &SseCache {
        &self.sse_cache
    }

    /// A seat for a follower whose bytes go to `sink`, and the lane of the seat if somebody has to carry it from now on.
    pub(crate) fn join_relay(&self, sink: Arc<dyn Sink>) -> (Ticket, Option<Arc<Lane>>) {
        self.relay.join(sink)
    }

    /// Waits until the tail is another than `seen`, and returns it.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(crate) async fn changed(&self, seen: Tail) -> Tail {
        self.wake.wait_until(|| Some(self.tail()).filter(|tail| *tail != seen)).await
    }

    /// Whether the stream can be used: it is neither removed nor expired nor soft-deleted.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] or [`EngineError::SoftDeleted`].
    pub fn check_live(&self) -> Result<(), EngineError> {
        self.live_core().map(drop)
    }

    pub(super) fn attached(&self) {
        self.core.lock().followers += 1;
    }

    pub(super) fn detached(self: &Arc<Self>) {
        let now = self.clock.now();
        let mut core = self.core.lock();
        core.followers -= 1;
        if core.followers == 0 {
            self.sse_cache.clear();
            self.relay.clear();
        }
        if self.meta.lifetime.persist_after().is_some() {
            self.touch(&mut core, now);
        }
    }

    /// Whether dropping the stream from memory would lose nothing.
    pub(super) fn is_at_rest(&self) -> bool {
        let core = self.core.lock();
        core.issued == core.settled && core.followers == 0 && core.decided.touched() == core.touch_persisted
    }

    /// When the stream is to be removed, if ever: at the end of its lifetime; a soft-deleted one at once
    /// when no fork needs it, and not before.
    pub(super) fn due(&self) -> Option<Millis> {
        let mut core = self.core.lock();
        core.refresh(self.clock.now());
        if core.removed {
            None
        } else if core.references.soft_deleted {
            (core.references.forks == 0).then_some(0)
        } else {
            core.decided.deadline()
        }
    }

    /// Takes a reference for a fork (S-FORK-14).
    ///
    /// # Errors
    /// The source is not usable (T-PUT 10).
    pub(super) fn add_fork(&self) -> Result<(), EngineError> {
        let mut core = self.live_core().map_err(|error| match error {
            EngineError::NotFound => EngineError::ForkSourceNotFound,
            EngineError::SoftDeleted => EngineError::ForkSourceSoftDeleted,
            other => other,
        })?;
        core.references.forks += 1;
        Ok(())
    }

    /// Drops a reference of a fork (S-FORK-19).
    pub(super) fn release_fork(&self) {
        let references = &mut self.core.lock().references;
        references.forks = references.forks.saturating_sub(1);
    }

    /// Says what removing the stream means, and from here on refuses everything that a removed stream
    /// refuses. Call [`Self::restore`] if the storage then fails.
    pub(super) fn begin_removal(&self) -> Removal {
        let mut core = self.core.lock();
        let removal = core.references.removal();
        match removal {
            Removal::Remove => core.removed = true,
            Removal::SoftDelete => core.references.soft_deleted = true,
        }
        removal
    }

    /// Takes [`Self::begin_removal`] back.
    pub(super) fn restore(&self, removal: Removal) {
        let mut core = self.core.lock();
        match removal {
            Removal::Remove => core.removed = false,
            Removal::SoftDelete => core.references.soft_deleted = false,
        }
    }

    /// Tells followers that there will be nothing more.
    pub(super) fn end(&self, ended: Ended) {
        self.core.lock().durable.ended = Some(ended);
        self.wake.all();
    }

    /// Whether the stream has outlived its lifetime or its owner, but not its forks (S-EXP-6).
    pub(super) fn is_kept_for_forks(&self) -> bool {
        let mut core = self.core.lock();
        core.refresh(self.clock.now());
        core.references.soft_deleted || (core.references.forks > 0 && core.decided.is_expired(self.clock.now()))
    }

    /// Whether the lifetime is over.
    pub(super) fn is_expired(&self) -> bool {
        let now = self.clock.now();
        let mut core = self.core.lock();
        core.refresh(now);
        core.decided.is_expired(now)
    }

    /// Whether a failure of the storage ended this stream.
    pub(super) fn has_failed(&self) -> bool {
        self.core.lock().failed.is_some()
    }

    /// The lock, if the stream can be used.
    fn live_core(&self) -> Result<MutexGuard<'_, Core>, EngineError> {
        let mut core = self.core.lock();
        if let Some(error) = &core.failed {
            return Err(error.clone().into());
        }
        if core.removed {
            return Err(EngineError::NotFound);
        }
        if core.references.soft_deleted {
            return Err(EngineError::SoftDeleted);
        }
        if !matches!(self.meta.lifetime, Lifetime::Unlimited) {
            let now = self.clock.now();
            core.refresh(now);
            if core.decided.is_expired(now) {
                return Err(if core.references.forks > 0 { EngineError::SoftDeleted } else { EngineError::NotFound });
            }
        }
        Ok(core)
    }
}

impl Core {
    /// A sliding lifetime does not run out while someone is attached (S-EXP-3).
    fn refresh(&mut self, now: Millis) {
        if self.followers > 0 {
            self.decided.touch(now);
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("name", &self.meta.name)
            .field("id", &self.meta.id)
            .field("tail", &self.tail())
            .finish_non_exhaustive()
    }
}
