//! Streams on the disk of one machine. The default of `everstream serve`.
//!
//! # What `Ok` promises
//! The change was written to the commit log and synced (`fdatasync`). After `kill -9` or a loss of power
//! it is there once, with the producer state, `Stream-Seq` and closure that came with it.
//!
//! # The shape
//! ```text
//! commit ──> queue ──> committer ──> log segments ──> drain ──> data files, manifest
//!                         │ (one group, one sync)       │ (runs, checkpoint)
//!                         └──> state, tail in memory <──┘
//! ```
//! One thread commits: whatever waits becomes one group, which is written and synced, and then seen and
//! answered. When a segment of the log is full, a second thread carries its messages into data files, each
//! stream's in one piece (a run), and writes the streams' states into the manifest; then the segment goes. Large
//! data is written once: it stays in its segment, to which the run refers, and the segment is kept as long as it is needed.
//! Memory has the state of each stream, where its runs are, and the messages that are not drained yet.
//! Its size depends on the number of streams, on [`LogOptions::segment_bytes`] and [`LogOptions::cache_bytes`], not on the
//! number of records. A stream at rest has no file of its own, no handle and no task.
//!
//! The formats, and what a crash can leave of each, are documented beside their encoders: `format`,
//! `segment`, `run`, `manifest`.

mod answers;
mod codec;
mod commit;
mod disk;
mod drain;
mod entry;
mod files;
mod format;
mod fsck;
mod health;
mod manifest;
mod opening;
mod pace;
mod parts;
mod pieces;
mod queue;
mod recover;
mod run;
mod segment;
mod span;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use self::commit::Committer;
pub use self::disk::{Disk, DiskFile, Folder};
use self::drain::{Drain, Drains};
use self::entry::Entry;
use self::files::Files;
pub use self::fsck::{Checked, check};
use self::health::Health;
use self::opening::Opening;
use self::queue::{Op, Queue};
pub use self::span::FileSpan;
use super::{Listed, Loaded, NewStream, Reply, Storage, StorageError, StorageErrorKind, StreamId};
use crate::engine::{Commit, Removal};
use crate::metrics::StorageMetrics;

/// What a [`LogStorage`] can be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogOptions {
    /// When a segment of the log has this many bytes, it is drained. It bounds what is kept in memory and
    /// what a start has to replay. Default 32 MiB.
    pub segment_bytes: u64,
    /// How many bytes of data files are kept in memory that were read and checked, for the next reader of the same; 0 for
    /// none. Default 64 MiB.
    pub cache_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 32 << 20, cache_bytes: 64 << 20 }
    }
}

impl LogOptions {
    /// See [`Self::segment_bytes`].
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// See [`Self::cache_bytes`].
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }
}

/// Streams on a disk. Dropped, it finishes what it was asked to commit.
pub struct LogStorage {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    table: RwLock<BTreeMap<Arc<str>, Arc<Entry>>>,
    files: Arc<Files>,
    types: Types,
    queue: Queue,
    drains: Arc<Drains>,
    health: Health,
}

/// Content types, each kept once.
#[derive(Default)]
struct Types(Mutex<HashSet<Arc<str>>>);

impl Types {
    /// More kinds than anybody uses; what comes after them is kept with its stream.
    const MOST: usize = 1024;

    fn share(&self, content_type: &mut Arc<str>) {
        let mut types = self.0.lock();
        match types.get(content_type) {
            Some(known) => *content_type = Arc::clone(known),
            None if types.len() < Self::MOST => drop(types.insert(Arc::clone(content_type))),
            None => {}
        }
    }
}

impl LogStorage {
    /// Opens the streams in a folder, which is made if it is not there.
    ///
    /// On a full disk streams can be read; writes are refused as [`StorageErrorKind::Full`] until there is room.
    ///
    /// # Errors
    /// The folder is in use, was written by a newer version, or is damaged; or the disk fails.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::with_disk(Arc::new(Folder::open(path)?), LogOptions::default())
    }

    /// Opens the streams on a disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_disk(disk: Arc<dyn Disk>, options: LogOptions) -> io::Result<Self> {
        let mut opening = Opening::read(disk, options)?;
        let shared = Arc::clone(&opening.shared);
        let begun = match opening.begin() {
            Err(error) if opening::is_full(&error) => {
                opening.sync()?;
                tracing::error!(%error, "there is no room to begin a log: streams can be read, writes are refused");
                Err(error)
            }
            begun => Ok(begun?),
        };
        shared.drains.in_background();
        let runtime = answers::runtime();
        let work = move || {
            let workers = match begun {
                Ok(segment) => Some(opening.workers(segment)),
                Err(error) => opening.wait_for_room(&error),
            };
            let Some((mut committer, drain)) = workers else { return };
            committer.runtime = runtime;
            // Its steps are told of by the drains; it ends when they do.
            match spawn("everstream-drain", move || drain.run()) {
                Ok(draining) => {
                    committer.run();
                    // One that panicked has said so.
                    let _ = draining.join();
                }
                Err(error) => tracing::error!(%error, "the log has no second thread: nothing can be written"),
            }
        };
        Ok(Self { shared, threads: vec![spawn("everstream-log", work)?] })
    }

    /// Opens the streams on a disk without threads: nothing is committed or drained but by [`LogSteps`]. For
    /// tests that decide about every step.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn stepped(disk: Arc<dyn Disk>, options: LogOptions) -> io::Result<(Self, LogSteps)> {
        let mut opening = Opening::read(disk, options)?;
        let segment = opening.begin()?;
        let shared = Arc::clone(&opening.shared);
        let (committer, drain) = opening.workers(segment);
        let steps = LogSteps { committer, drain, ops: Vec::new() };
        Ok((Self { shared, threads: Vec::new() }, steps))
    }
}

/// The work of a [`LogStorage`] without threads.
pub struct LogSteps {
    committer: Committer,
    drain: Drain,
    ops: Vec<Op>,
}

impl LogSteps {
    /// Commits what waits, as one group.
    pub fn commit(&mut self) {
        self.committer.shared.queue.try_take(&mut self.ops);
        self.committer.shared.drains.wait_below(usize::MAX);
        self.committer.commit(&mut self.ops);
    }

    /// Hands what was committed over to the drain, as if the segment were full, and drains it.
    ///
    /// # Errors
    /// Of the disk. Nothing is lost.
    pub fn drain(&mut self) -> io::Result<()> {
        self.committer.seal();
        self.drain.step()
    }
}

impl fmt::Debug for LogSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSteps").finish_non_exhaustive()
    }
}

impl fmt::Debug for LogStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStorage").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Drop for LogStorage {
    fn drop(&mut self) {
        self.shared.queue.stop();
        self.shared.drains.stop();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn find(&self, name: &str) -> Option<Arc<Entry>> {
        self.table.read().get(name).cloned()
    }

    /// How large the files of the log are that are not drained.
    fn log_bytes(&self) -> io::Result<u64> {
        let names = self.disk.list()?;
        let is_drained = |number| self.files.is_kept(number);
        let segments =
            names.iter().filter(|name| format::number_of(name, "log").is_some_and(|number| !is_drained(number)));
        // One that is drained meanwhile is gone.
        Ok(segments.filter_map(|name| self.disk.open(name).and_then(|file| file.size()).ok()).sum())
    }

    /// All streams of this moment.
    fn entries(&self) -> Vec<Arc<Entry>> {
        self.table.read().values().cloned().collect()
    }

    /// Takes in a create that is durable.
    fn insert(&self, seq: u64, mut stream: NewStream, source: Option<&Entry>) -> Arc<Entry> {
        self.types.share(&mut stream.meta.content_type);
        let meta = Arc::new(stream.meta);
        let entry = Entry::new(seq, Arc::clone(&meta), Arc::clone(&self.files));
        let content =
            Commit { at: meta.created_at, messages: stream.content, close: stream.closed, ..Commit::default() };
        let (mut inner, base) = (entry.lock(), meta.base().0);
        inner.apply(seq, base, &content, None);
        entry.next.store(inner.state.tail.0, Ordering::Release);
        drop(inner);
        let entry = Arc::new(entry);
        if let Some(source) = source {
            let mut source = source.lock();
            source.references.forks += 1;
            source.seq = seq;
        }
        self.table.write().insert(Arc::clone(&meta.name), Arc::clone(&entry));
        entry
    }

    /// Takes in a deletion that is durable.
    fn delete(&self, entry: &Entry, seq: u64, source: Option<&Entry>, removal: Removal) {
        let mut inner = entry.lock();
        inner.seq = seq;
        match removal {
            Removal::SoftDelete => inner.references.soft_deleted = true,
            Removal::Remove => {
                inner.removed = true;
                drop(inner);
                entry.void_handles();
                self.table.write().remove(&entry.meta.name);
                if let Some(source) = source {
                    let mut source = source.lock();
                    source.references.forks = source.references.forks.saturating_sub(1);
                    source.seq = seq;
                }
            }
        }
    }
}

impl Storage for LogStorage {
    fn load(&self, name: &str) -> Reply<Option<Loaded>> {
        if !self.shared.queue.is_busy_with_names() {
            match self.shared.find(name) {
                None => return Reply::ready(Ok(None)),
                Some(entry) if entry.pending.load(Ordering::Acquire) == 0 => {
                    return Reply::ready(Ok(Some(entry.load(&self.shared))));
                }
                Some(_) => {}
            }
        }
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Op::Load { name: name.into(), reply });
        Reply::later(answer)
    }

    fn create(&self, stream: NewStream) -> Reply<Loaded> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Op::Create { stream: Box::new(stream), reply });
        Reply::later(answer)
    }

    fn delete(&self, name: &str, id: StreamId, removal: Removal) -> Reply<()> {
        let (reply, answer) = oneshot::channel();
        self.shared.queue.push(Op::Delete { name: name.into(), id, removal, reply });
        Reply::later(answer)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Reply<Vec<Listed>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let table = self.shared.table.read();
        let page = table
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .take(limit)
            .map(|(_, entry)| {
                let inner = entry.lock();
                Listed {
                    meta: Arc::clone(&entry.meta),
                    tail: inner.state.tail,
                    closed: inner.state.closed.is_some(),
                    touched: inner.state.touched,
                    soft_deleted: inner.references.soft_deleted,
                }
            })
            .collect();
        Reply::ready(Ok(page))
    }

    fn check_writable(&self) -> Result<(), StorageError> {
        self.shared.health.check()
    }

    fn metrics(&self) -> Option<Arc<StorageMetrics>> {
        let metrics = &self.shared.health.metrics;
        metrics.set_log_bytes(self.shared.log_bytes().unwrap_or_default());
        Some(Arc::clone(metrics))
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// An error of the disk as one of the storage.
fn storage_error(error: &io::Error) -> StorageError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageErrorKind::Full,
        _ => StorageErrorKind::Io,
    };
    StorageError { kind, message: error.to_string() }
}
