//! The engine: decides what happens to streams, and asks storage to keep it.
//!
//! [`Engine`] finds, makes and removes streams by name; a [`Stream`] orders its own appends. The rules
//! themselves are pure and live in `state`, `producers`, `create`, `fork` and `expiry`; `making` and `removing` carry them out.

mod changes;
mod create;
mod directory;
mod error;
mod expiry;
mod fork;
mod making;
mod messages;
mod notify;
mod observe;
mod position;
mod producers;
mod relay;
mod removing;
mod sse_cache;
mod state;
mod stream;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use everstream::proto::names::CONTROL_SEGMENT;

pub(crate) use self::changes::Change;
use self::changes::Changes;
pub use self::create::CreateRequest;
use self::directory::{Directory, Found, Reservation};
pub use self::error::EngineError;
use self::expiry::ExpiryQueue;
pub use self::expiry::{Deadline, Lifetime};
pub use self::fork::{AppendShape, ForkPoint, ForkRequest, References, Removal};
pub use self::messages::Messages;
pub use self::notify::{Ended, Follower, Tail};
use self::observe::Observation;
pub use self::observe::Observer;
pub use self::position::{Position, Wire};
pub use self::producers::{ProducerTag, Producers, Verdict};
pub(crate) use self::relay::{Lane, Place, Round, Sink, Ticket};
pub(crate) use self::sse_cache::SseKey;
pub use self::state::{
    Append, Closure, Commit, Decision, Outcome, Payload, Receipt, StoredState, StreamConfig, StreamState,
};
pub use self::stream::{Appending, ReadResult, Relations, Stream};
use crate::clock::Clock;
use crate::metrics::StorageMetrics;
use crate::run_to_end::RunToEnd;
use crate::storage::{Listed, Loaded, Storage, StorageError, StorageErrorKind};

/// All streams of a server. Cheap to clone; clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// What streams may grow to. The default is no limits.
#[derive(Clone, Copy, Debug)]
pub struct EngineLimits {
    /// Bytes of its own that a stream may have, as stored.
    pub stream_bytes: u64,
    /// How many streams there may be.
    pub streams: u64,
}

impl EngineLimits {
    /// The limits of one stream. The server's own streams have none: without them nothing else works.
    fn of(self, name: &str) -> Self {
        if is_internal(name) { Self::default() } else { self }
    }
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self { stream_bytes: u64::MAX, streams: u64::MAX }
    }
}

struct Shared {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    directory: Arc<Directory>,
    expiries: ExpiryQueue,
    limits: EngineLimits,
    /// Streams that there are, soft-deleted ones included, but not the server's own.
    streams: AtomicU64,
    changes: Changes,
    observation: Arc<Observation>,
}

/// A stream that a create made or confirmed.
#[derive(Clone, Debug)]
pub struct Created {
    /// The stream.
    pub stream: Arc<Stream>,
    /// False when it was there already, and matches (T-PUT 8).
    pub is_new: bool,
}

/// How much a stream counts among all.
fn weight(name: &str) -> u64 {
    u64::from(!is_internal(name))
}

impl Engine {
    /// An engine over a storage. Call [`recover`](Self::recover) before the first request if the storage
    /// may hold streams.
    pub fn new(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Self {
        Self::with_limits(storage, clock, EngineLimits::default())
    }

    /// The same with limits.
    pub fn with_limits(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, limits: EngineLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                storage,
                clock,
                directory: Arc::default(),
                expiries: ExpiryQueue::default(),
                limits,
                streams: AtomicU64::new(0),
                changes: Changes::default(),
                observation: Arc::default(),
            }),
        }
    }

    /// Learns from storage how many streams there are, and which can expire.
    ///
    /// # Errors
    /// A failure of the storage.
    pub async fn recover(&self) -> Result<(), EngineError> {
        const PAGE: usize = 1000;
        let mut after: Option<Arc<str>> = None;
        loop {
            let page = self.shared.storage.list("", after.as_deref(), PAGE).await?;
            let count = page.iter().map(|listed| weight(&listed.meta.name)).sum();
            self.shared.streams.fetch_add(count, Ordering::Relaxed);
            for listed in &page {
                if let Some(deadline) = listed.meta.lifetime.deadline(listed.touched).filter(|_| !listed.soft_deleted) {
                    self.shared.expiries.push(deadline, Arc::clone(&listed.meta.name));
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(Arc::clone(&last.meta.name)),
                _ => return Ok(()),
            }
        }
    }

    /// Finds a stream that can be used.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] if there is none or it has expired, [`EngineError::SoftDeleted`], or a
    /// failure of the storage.
    pub async fn stream(&self, name: &str) -> Result<Arc<Stream>, EngineError> {
        // A stream that is in memory and can be used is the frequent case.
        if let Found::Stream(stream) = self.shared.directory.find(name)
            && stream.check_live().is_ok()
        {
            return Ok(stream);
        }
        let stream = self.find(name).await?.ok_or(EngineError::NotFound)?;
        stream.check_live()?;
        Ok(stream)
    }

    /// Creates a stream, or confirms one that matches (T-PUT rows 7 to 15).
    ///
    /// # Cancel safety
    /// Once polled, the create takes its course even if the future is dropped.
    ///
    /// # Errors
    /// The row of T-PUT that refuses it, or a failure of the storage.
    pub async fn create(&self, name: &str, request: CreateRequest) -> Result<Created, EngineError> {
        // A match with what exists is the frequent case and changes nothing.
        if let Found::Stream(stream) = self.shared.directory.find(name)
            && stream.check_live().is_ok()
        {
            return making::confirm(&stream, &request).map(|()| Created { stream, is_new: false });
        }
        let (engine, name) = (self.clone(), Arc::from(name));
        RunToEnd::boxed(async move { engine.create_slow(name, request).await }).await
    }

    /// Deletes a stream, softly if it has forks (S-DEL-2).
    ///
    /// # Cancel safety
    /// Once polled, the deletion takes its course even if the future is dropped.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::SoftDeleted`], or a failure of the storage.
    pub async fn delete(&self, name: &str) -> Result<(), EngineError> {
        let (engine, name) = (self.clone(), Arc::from(name));
        RunToEnd::boxed(async move {
            let mut reservation = engine.load_reserved(name).await?;
            let stream = reservation.stream().cloned().ok_or(EngineError::NotFound)?;
            stream.check_live()?;
            engine.remove(&mut reservation, stream).await
        })
        .await
    }

    /// One page of the streams whose names begin with `prefix` and come after `after`, in bytewise order,
    /// at most `limit`. Soft-deleted streams are listed, and marked. Streams that the server keeps for itself, below
    /// [`CONTROL_SEGMENT`], are left out.
    ///
    /// # Errors
    /// A failure of the storage.
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, EngineError> {
        let mut page = self.shared.storage.list(prefix, after, limit).await?;
        let found = page.len();
        let last = page.last().map(|last| Arc::clone(&last.meta.name)).filter(|last| !is_internal(last));
        page.retain(|listed| !is_internal(&listed.meta.name));
        if page.len() < found && found == limit {
            // Internal names are neighbours: there is none after one that is not internal.
            let after = last.as_deref().unwrap_or(PAST_INTERNAL);
            let more = self.shared.storage.list(prefix, Some(after), limit - page.len()).await?;
            page.extend(more);
        }
        Ok(page)
    }

    /// One page of the streams that the server keeps for itself, as [`list`](Self::list).
    pub(crate) async fn list_internal(&self, prefix: &str) -> Result<Vec<Listed>, EngineError> {
        debug_assert!(is_internal(prefix));
        Ok(self.shared.storage.list(prefix, None, 1000).await?)
    }

    /// Removes streams whose lifetime is over. Cheap when there is nothing to do: call it often.
    pub async fn sweep(&self) {
        while let Some(name) = self.shared.expiries.pop_due(self.shared.clock.now()) {
            if let Err(error) = self.expire(Arc::clone(&name)).await {
                tracing::warn!(stream = &*name, %error, "an expired stream could not be removed; it will be tried again");
                let later = self.shared.clock.now().saturating_add(1000);
                self.shared.expiries.push(later, name);
            }
        }
    }

    /// From here on, creates and removals are kept for [`take_changes`](Self::take_changes).
    pub(crate) fn keep_changes(&self) {
        self.shared.changes.switch_on();
    }

    /// What has come and gone since the last call. `None` if that was too much to keep.
    pub(crate) fn take_changes(&self) -> Option<Vec<Change>> {
        self.shared.changes.take()
    }

    /// Waits until there may be changes to take.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(crate) async fn wait_for_changes(&self) {
        self.shared.changes.wait().await;
    }

    /// How many streams there are, soft-deleted ones included.
    pub fn stream_count(&self) -> u64 {
        self.shared.streams.load(Ordering::Relaxed)
    }

    /// Whether the storage takes writes, as far as is known without one.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check_writable(&self) -> Result<(), StorageError> {
        self.shared.storage.check_writable()
    }

    /// What the storage counts.
    pub fn storage_metrics(&self) -> Option<Arc<StorageMetrics>> {
        self.shared.storage.metrics()
    }

    /// Sets whom to tell of durable changes, once; false if there is an observer already. It is told nothing before
    /// [`switch_observer`](Self::switch_observer).
    pub fn set_observer(&self, observer: Arc<dyn Observer>) -> bool {
        self.shared.observation.set(observer)
    }

    /// Whether the observer is told anything. Off at first; while it is off, appends cost nothing more.
    pub fn switch_observer(&self, on: bool) {
        self.shared.observation.switch(on);
    }

    /// The clock of deadlines and cursors.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// The stream of a name in whatever condition, loaded if need be.
    async fn find(&self, name: &str) -> Result<Option<Arc<Stream>>, EngineError> {
        if let Found::Stream(stream) = self.shared.directory.find(name)
            && !stream.has_failed()
        {
            return Ok(Some(stream));
        }
        Ok(self.load_reserved(Arc::from(name)).await?.stream().cloned())
    }

    /// Reserves a name and loads its stream if it is not in memory, or has failed there.
    ///
    /// Boxed, because a fork loads its source with it, to any depth (S-FORK-13).
    fn load_reserved(
        &self,
        name: Arc<str>,
    ) -> Pin<Box<dyn Future<Output = Result<Reservation, EngineError>> + Send + '_>> {
        Box::pin(async move {
            let mut reservation = self.shared.directory.reserve(name).await;
            if reservation.stream().is_some_and(|stream| stream.has_failed()) {
                reservation.set(None);
            }
            if reservation.stream().is_none()
                && let Some(loaded) = self.shared.storage.load(reservation.name()).await?
            {
                let source = match &loaded.meta.fork {
                    Some(fork) => Some(self.find(&fork.source).await?.ok_or_else(|| source_missing(&fork.source))?),
                    None => None,
                };
                reservation.set(Some(self.open(loaded, source)));
            }
            Ok(reservation)
        })
    }

    fn open(&self, loaded: Loaded, source: Option<Arc<Stream>>) -> Arc<Stream> {
        let shared = &self.shared;
        let max_bytes = shared.limits.of(&loaded.meta.name).stream_bytes;
        Stream::new(loaded, source, Arc::clone(&shared.clock), max_bytes, Arc::clone(&shared.observation))
    }
}

/// Sorts after every name of an internal stream, and is none itself: `0` follows `/`.
const PAST_INTERNAL: &str = "__ds0";

/// Whether a stream is the server's own: no request can name it (S-URL-3).
pub(crate) fn is_internal(name: &str) -> bool {
    name.strip_prefix(CONTROL_SEGMENT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A fork exists whose source does not; sources outlive their forks (S-FORK-18).
fn source_missing(name: &str) -> EngineError {
    EngineError::Storage(StorageError { kind: StorageErrorKind::Io, message: format!("fork source {name} is missing") })
}
