//! One running stream: orders its appends, commits them, publishes what is durable, wakes followers.
//!
//! Appends are pipelined. Under the lock an append is decided against the *decided* state, applied to it
//! and handed to storage; the lock is released before the commit is durable. Readers, HEAD and answers
//! see only the *durable* tail, which moves when storage has answered. A failed commit ends this
//! [`Stream`]: everything under way fails, and the next request loads the stream from storage.
//!
//! There is no task per stream. A stream at rest is only data.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use everstream::proto::content_type::StreamFormat;
use parking_lot::{Mutex, MutexGuard};

use super::appending::{Appending, Rest};
use super::error::EngineError;
use super::expiry::Lifetime;
use super::fork::{AppendShape, References, Removal};
use super::notify::{Ended, Follower, Tail, Wake};
use super::observe::Observation;
use super::position::Position;
use super::producers::ProducerTag;
use super::relay::{Lane, Relay, Sink, Ticket};
use super::sse_cache::SseCache;
use super::state::{Append, Commit, Decision, Receipt, StreamConfig, StreamState};
use crate::clock::{Clock, Millis};
use crate::run_to_end::RunToEnd;
use crate::storage::{FileSpan, Loaded, Piece, ReadRange, Reply, StorageError, StreamLog, StreamMeta};

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

/// What a read found.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// Stored bytes of whole messages, in blocks.
    pub data: Vec<Bytes>,
    /// Where they lie in files as well ([`Piece::spans`]).
    pub spans: Vec<Option<FileSpan>>,
    /// The position after them.
    pub next: Position,
    /// The tail of the same moment (S-READ-6).
    pub tail: Tail,
}

impl ReadResult {
    /// Whether everything available was returned (S-READ-4).
    pub fn is_up_to_date(&self) -> bool {
        self.next == self.tail.position
    }

    /// Whether the stream is closed and this reaches its end (S-READ-5).
    pub fn is_at_end(&self) -> bool {
        self.tail.closed && self.is_up_to_date()
    }

    /// Bytes of data.
    pub fn len(&self) -> usize {
        self.data.iter().map(Bytes::len).sum()
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
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

    /// Appends, closes, or both. Resolves when the outcome is durable; a duplicate is not confirmed
    /// before its original is durable.
    ///
    /// # Cancel safety
    /// Once polled, the append takes its course even if the future is dropped.
    ///
    /// # Errors
    /// The row of T-POST that refuses it, or a failure of the storage.
    pub async fn append(self: &Arc<Self>, append: Append<'_>) -> Result<Receipt, EngineError> {
        Arc::clone(self).begin_append(append)?.await
    }

    /// Decides about an append and gives it its place in the order of the stream: whatever is begun after it comes after it.
    /// It takes its course even if what is returned is dropped.
    ///
    /// # Errors
    /// The stream cannot be used. What T-POST refuses is said by the [`Appending`].
    pub fn begin_append(self: Arc<Self>, append: Append<'_>) -> Result<Appending, EngineError> {
        let mut core = self.live_core()?;
        let now = self.clock.now();
        let (outcome, number) = match core.decided.decide(append, now) {
            Ok(Decision::Commit(commit, _)) if self.is_too_much(&core, &commit) => {
                (Err(EngineError::StreamFull { limit: self.max_bytes }), core.issued)
            }
            Ok(Decision::Commit(commit, receipt)) => {
                let issued = self.issue(&mut core, commit);
                let rest = match issued.reply {
                    Reply::Ready(result) => {
                        let result = core.settle(issued.number, issued.tail, result.unwrap_or(Ok(())));
                        drop(core);
                        self.publish(&result, issued.tail.0, issued.grows);
                        result?;
                        Rest::Nothing
                    }
                    Reply::Later(_) | Reply::Pending(_) => {
                        drop(core);
                        Rest::Reply(RunToEnd::new(Settling { stream: self, issued }))
                    }
                };
                return Ok(Appending::new(Ok(receipt), rest));
            }
            Ok(Decision::Answer(receipt)) => {
                self.touch(&mut core, now);
                (Ok(receipt), core.issued)
            }
            Err(error) => (Err(error), core.issued),
        };
        // The answer may rest on commits that are not durable, so it waits for them.
        let is_settled = core.settled >= number;
        drop(core);
        let rest =
            if is_settled { Rest::Nothing } else { Rest::Settled(Box::pin(async move { self.settled(number).await })) };
        Ok(Appending::new(outcome, rest))
    }

    /// Reads whole messages from `from`, at most `max_bytes` but at least one message. A position inside
    /// a message starts at the next one, a position beyond the tail is the tail.
    ///
    /// # Errors
    /// A failure of the storage.
    pub async fn read(&self, from: Position, max_bytes: usize) -> Result<ReadResult, EngineError> {
        let tail = self.tail();
        let mut found = Piece { next: from.min(tail.position), ..Piece::default() };
        let mut left = max_bytes;
        while found.next < tail.position {
            let (segment, to) = self.segment(found.next, tail.position);
            let piece = segment.log.read(ReadRange { from: found.next, to, max_bytes: left }).await?;
            left = left.saturating_sub(piece.data.iter().map(Bytes::len).sum());
            // A storage that does not get on would make this loop endless.
            let stuck = piece.next <= found.next;
            found.next = piece.next.max(found.next);
            found.extend(piece.data, piece.spans);
            if stuck || found.next < to || left == 0 {
                break;
            }
        }
        let Piece { data, spans, next } = found;
        Ok(ReadResult { data, spans, next, tail })
    }

    /// The append that ends first after `at`, as far as this stream has it (S-FORK-5).
    pub(super) async fn append_after(&self, at: Position) -> Result<Option<AppendShape>, EngineError> {
        let tail = self.tail().position;
        if at >= tail {
            return Ok(None);
        }
        let (segment, to) = self.segment(at, tail);
        let shape = segment.log.append_after(at).await?;
        Ok(shape.map(|mut shape| {
            let is_cut = shape.ends.iter().any(|&end| end > to);
            shape.ends.retain(|&end| end <= to);
            if is_cut && shape.ends.last() != Some(&to) {
                shape.ends.push(to);
            }
            shape
        }))
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

    /// Whether a commit would make the stream larger than allowed. Repeats of what is stored are no commits, so they are
    /// recognised in a full stream too.
    fn is_too_much(&self, core: &Core, commit: &Commit) -> bool {
        let own = core.decided.tail().0.saturating_sub(self.meta.base().0);
        let more = commit.messages.data().len() as u64;
        more > 0 && own.saturating_add(more) > self.max_bytes
    }

    /// Applies a commit to the decided state and hands it to storage. Under the lock, so that the order
    /// of commits is the order of decisions.
    fn issue(&self, core: &mut Core, commit: Commit) -> Issued {
        let grows = !commit.messages.is_empty();
        core.decided.apply(&commit);
        core.touch_persisted = core.decided.touched();
        core.issued += 1;
        Issued {
            number: core.issued,
            tail: (core.decided.tail(), core.decided.is_closed()),
            grows,
            reply: self.log.commit(commit),
        }
    }

    /// Tells followers, and whoever observes all streams, what came of a commit.
    fn publish(&self, result: &Result<(), EngineError>, tail: Position, grows: bool) {
        self.wake.all();
        if grows && result.is_ok() {
            self.observation.appended(&self.meta, tail);
        }
    }

    /// Waits until commit `number` and all before it are durable.
    async fn settled(&self, number: u64) -> Result<(), EngineError> {
        let look = || {
            let core = self.core.lock();
            match &core.failed {
                _ if core.settled >= number => Some(Ok(())),
                Some(error) => Some(Err(error.clone().into())),
                None => None,
            }
        };
        match look() {
            Some(result) => result,
            None => self.wake.wait_until(look).await,
        }
    }

    /// Restarts a sliding lifetime, and tells storage if it knows only of a much older start.
    fn touch(self: &Arc<Self>, core: &mut Core, now: Millis) {
        core.decided.touch(now);
        let Some(after) = self.meta.lifetime.persist_after() else {
            return;
        };
        if now.saturating_sub(core.touch_persisted) < after || core.failed.is_some() || core.removed {
            return;
        }
        let commit = Commit { at: now, ..Commit::default() };
        let issued = self.issue(core, commit);
        match issued.reply {
            Reply::Ready(result) => {
                // A failure shows at the next request: the stream has failed and is loaded anew.
                let _ = core.settle(issued.number, issued.tail, result.unwrap_or(Ok(())));
            }
            // Nobody waits for it: dropping `RunToEnd` hands it to the runtime.
            Reply::Later(_) | Reply::Pending(_) => {
                drop(RunToEnd::new(Settling { stream: Arc::clone(self), issued }));
            }
        }
    }

    /// The stream of the fork chain that holds the data at `at`, and where its part ends.
    fn segment(&self, at: Position, tail: Position) -> (&Self, Position) {
        let (mut segment, mut to) = (self, tail);
        while let Some(source) = segment.source.as_deref().filter(|_| at < segment.meta.base()) {
            to = to.min(segment.meta.base());
            segment = source;
        }
        (segment, to)
    }
}

/// A commit that was handed to storage.
struct Issued {
    number: u64,
    /// Where it brings the stream, and whether it is then closed.
    tail: (Position, bool),
    /// Whether it appends data.
    grows: bool,
    reply: Reply<()>,
}

/// Waits for storage and publishes what it says.
pub(super) struct Settling {
    stream: Arc<Stream>,
    issued: Issued,
}

impl Future for Settling {
    type Output = Result<(), EngineError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { stream, issued } = self.get_mut();
        let said = ready!(Pin::new(&mut issued.reply).poll(cx));
        let result = stream.core.lock().settle(issued.number, issued.tail, said);
        stream.publish(&result, issued.tail.0, issued.grows);
        Poll::Ready(result)
    }
}

impl Core {
    /// Takes in what storage said about commit `number`.
    fn settle(
        &mut self,
        number: u64,
        (position, closed): (Position, bool),
        result: Result<(), StorageError>,
    ) -> Result<(), EngineError> {
        match result {
            Ok(()) => {
                self.settled = self.settled.max(number);
                self.durable.position = self.durable.position.max(position);
                self.durable.closed |= closed;
                Ok(())
            }
            Err(error) => {
                self.failed.get_or_insert_with(|| error.clone());
                self.durable.ended.get_or_insert(Ended::Reloaded);
                Err(error.into())
            }
        }
    }

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
