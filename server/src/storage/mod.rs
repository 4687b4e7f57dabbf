//! Where streams are kept. The engine decides first; a storage keeps what was decided and knows no
//! protocol rule.
//!
//! [`Storage`] is the set of streams by name, [`StreamLog`] one stream of it. Each change is one call
//! and atomic: a [`Commit`] carries messages, producer state, `Stream-Seq` and closure together.
//!
//! # What `Ok` promises
//! Whatever an implementation calls durable: `memory` - visible to every later read; `log` - on disk;
//! `nats` - stored by a majority. After `Ok`, no failure that the implementation claims to survive
//! loses the change.
//!
//! # Order and failure of commits
//! The engine pipelines: it calls [`StreamLog::commit`] again before the previous reply has resolved.
//! The order of the calls is the order of the commits, and replies resolve in that order. When a commit
//! fails, every later one on that `StreamLog` fails too; the engine then drops the `StreamLog` and
//! loads the stream anew. [`Storage::load`] answers only after everything under way for that name has
//! been decided. A reply that is dropped does not take its change back.

mod blocks;
pub mod log;
mod memory;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::oneshot;

pub use self::log::{Disk, DiskFile, FileSpan, Folder, LogOptions, LogSteps, LogStorage};
pub use self::memory::MemoryStorage;
use crate::clock::Millis;
use crate::engine::{AppendShape, Commit, ForkPoint, Lifetime, Messages, Position, References, Removal, StoredState};
use crate::metrics::StorageMetrics;

/// Streams by name.
pub trait Storage: Send + Sync + 'static {
    /// Opens a stream; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`StorageErrorKind::Io`].
    fn load(&self, name: &str) -> Reply<Option<Loaded>>;

    /// Makes a stream with its initial content, and adds one to the reference count of its fork source,
    /// in one step.
    ///
    /// # Errors
    /// [`StorageErrorKind::Conflict`] if the name is taken or the fork source is not there;
    /// [`StorageErrorKind::Full`]; [`StorageErrorKind::Io`].
    fn create(&self, stream: NewStream) -> Reply<Loaded>;

    /// Removes a stream and takes one from the reference count of its fork source, or marks it as
    /// soft-deleted, in one step. An incarnation that is not there (any more) is `Ok`.
    ///
    /// Readers that hold its [`StreamLog`] may go on reading until they drop it; what is committed through it then is
    /// refused as a conflict.
    ///
    /// # Errors
    /// [`StorageErrorKind::Conflict`] for the removal of a stream that forks still name: their data is in
    /// it. [`StorageErrorKind::Io`].
    fn delete(&self, name: &str, id: StreamId, removal: Removal) -> Reply<()>;

    /// One page of the streams whose names begin with `prefix` and come after `after`, in bytewise
    /// order of names, at most `limit`. Soft-deleted streams are listed too, and marked.
    ///
    /// # Errors
    /// [`StorageErrorKind::Io`].
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Reply<Vec<Listed>>;

    /// Whether it takes writes, as far as is known without one: `/readyz` asks. Cheap.
    ///
    /// # Errors
    /// Why it does not.
    fn check_writable(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// What it counts, if it counts anything.
    fn metrics(&self) -> Option<Arc<StorageMetrics>> {
        None
    }
}

/// The data of one stream, without what it inherited from a fork source.
pub trait StreamLog: Send + Sync + 'static {
    /// Carries out one commit, as a whole or not at all. See the [module](self) on order and failure.
    ///
    /// # Errors
    /// [`StorageErrorKind::Full`] and [`StorageErrorKind::Conflict`] promise that nothing was stored;
    /// after [`StorageErrorKind::Io`] the outcome shows at the next load.
    fn commit(&self, commit: Commit) -> Reply<()>;

    /// Reads whole messages from `range.from` (moved to the next boundary if it is inside a message) up
    /// to `range.to`: as many as fit into `range.max_bytes`, but at least one.
    ///
    /// `range.to` is a boundary, or the place where a fork cuts a message; what lies beyond it is never
    /// returned, and positions below the stream's base do not occur.
    ///
    /// # Errors
    /// [`StorageErrorKind::Io`].
    fn read(&self, range: ReadRange) -> Reply<Piece>;

    /// The append that ends first after `at`, or `None` at the tail.
    ///
    /// # Errors
    /// [`StorageErrorKind::Io`].
    fn append_after(&self, at: Position) -> Reply<Option<AppendShape>>;
}

/// Names one incarnation of a stream: a stream created anew under the same name has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The 16 hexadecimal digits that it is written in. Each answer about a stream has them.
    pub(crate) fn to_digits(self) -> [u8; 16] {
        let mut digits = [0; 16];
        for (place, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(self.0 >> (60 - 4 * place)) as usize & 15];
        }
        digits
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // ASCII alone.
        f.write_str(std::str::from_utf8(&self.to_digits()).unwrap_or_default())
    }
}

/// What never changes about a stream.
#[derive(Clone, Debug)]
pub struct StreamMeta {
    /// The path below the stream root, normalised.
    pub name: Arc<str>,
    /// This incarnation.
    pub id: StreamId,
    /// As first given (S-CREATE-2).
    pub content_type: Arc<str>,
    /// As configured, or as inherited by a fork.
    pub lifetime: Lifetime,
    /// When it was created.
    pub created_at: Millis,
    /// How it was forked, if it was.
    pub fork: Option<Box<ForkPoint>>,
}

impl StreamMeta {
    /// Where the stream's own data begins.
    pub fn base(&self) -> Position {
        self.fork.as_ref().map_or(Position::ZERO, |fork| fork.base)
    }
}

/// A stream to be made.
#[derive(Clone, Debug)]
pub struct NewStream {
    /// Its fixed properties.
    pub meta: StreamMeta,
    /// Its initial content, at [`StreamMeta::base`].
    pub content: Messages,
    /// Whether it is closed from the start.
    pub closed: bool,
}

/// An open stream.
#[derive(Clone)]
pub struct Loaded {
    /// Its fixed properties.
    pub meta: Arc<StreamMeta>,
    /// Its state after the last durable commit.
    pub state: StoredState,
    /// Forks that name it, and whether it is soft-deleted.
    pub references: References,
    /// Its data.
    pub log: Arc<dyn StreamLog>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("meta", &self.meta)
            .field("state", &self.state)
            .field("references", &self.references)
            .finish_non_exhaustive()
    }
}

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its fixed properties.
    pub meta: Arc<StreamMeta>,
    /// Its tail.
    pub tail: Position,
    /// Whether it is closed.
    pub closed: bool,
    /// When a sliding lifetime was last restarted, as far as persisted.
    pub touched: Millis,
    /// Deleted or expired, but kept for its forks.
    pub soft_deleted: bool,
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRange {
    /// Where to start.
    pub from: Position,
    /// Where to end at the latest.
    pub to: Position,
    /// How much is enough.
    pub max_bytes: usize,
}

/// A run of whole messages.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    /// The stored bytes, in order, in one or more blocks.
    pub data: Vec<Bytes>,
    /// Where blocks of `data` lie in files as well, one after the other; those beyond its end lie nowhere.
    pub spans: Vec<Option<FileSpan>>,
    /// The position after them.
    pub next: Position,
}

impl Piece {
    /// Adds blocks that come behind these, and where they lie.
    pub(crate) fn extend(&mut self, data: Vec<Bytes>, spans: Vec<Option<FileSpan>>) {
        if !spans.is_empty() {
            self.spans.resize(self.data.len(), None);
            self.spans.extend(spans);
        }
        if self.data.is_empty() {
            self.data = data;
        } else {
            self.data.extend(data);
        }
    }
}

/// Why a storage failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageError {
    /// What kind of failure.
    pub kind: StorageErrorKind,
    /// Says more, for logs.
    pub message: String,
}

/// Kinds of [`StorageError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageErrorKind {
    /// Someone else changed the stream first. Nothing was stored; a fresh load and another try may succeed.
    Conflict,
    /// No room. Nothing was stored.
    Full,
    /// The medium failed. Whether the change was stored is unknown until the stream is loaded again.
    Io,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            StorageErrorKind::Conflict => "conflict",
            StorageErrorKind::Full => "full",
            StorageErrorKind::Io => "failure",
        };
        write!(f, "storage {kind}: {}", self.message)
    }
}

impl std::error::Error for StorageError {}

/// The answer of a storage: there at once, or later. Resolves once; what is there at once costs no allocation.
pub enum Reply<T> {
    /// There. `None` after it was taken.
    Ready(Option<Result<T, StorageError>>),
    /// Under way, in another thread.
    Later(oneshot::Receiver<Result<T, StorageError>>),
    /// Under way.
    Pending(Pin<Box<dyn Future<Output = Result<T, StorageError>> + Send>>),
}

impl<T> Reply<T> {
    /// A reply that is there.
    pub fn ready(result: Result<T, StorageError>) -> Self {
        Self::Ready(Some(result))
    }

    /// A reply that someone else sends.
    pub fn later(answer: oneshot::Receiver<Result<T, StorageError>>) -> Self {
        Self::Later(answer)
    }

    /// A reply that comes later.
    pub fn pending(future: impl Future<Output = Result<T, StorageError>> + Send + 'static) -> Self {
        Self::Pending(Box::pin(future))
    }
}

impl<T: Unpin> Future for Reply<T> {
    type Output = Result<T, StorageError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ready(result) => match result.take() {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            },
            Self::Later(answer) => Pin::new(answer).poll(cx).map(|sent| {
                let gone = || StorageError { kind: StorageErrorKind::Io, message: "the storage is gone".to_owned() };
                sent.unwrap_or_else(|_| Err(gone()))
            }),
            Self::Pending(future) => future.as_mut().poll(cx),
        }
    }
}
