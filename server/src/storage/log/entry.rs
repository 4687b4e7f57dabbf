//! One stream of the log: its durable state, its runs on disk, and its tail in memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::files::Files;
use super::pieces::Question;
use super::queue::Op;
use super::run::{Part, Patience, Reader, RunFiles, RunRef};
use super::{Shared, storage_error};
use crate::engine::{AppendShape, Commit, Position, References, StoredState, StreamConfig};
use crate::storage::blocks::{Blocks, Place};
use crate::storage::{Loaded, Piece, ReadRange, Reply, StreamLog, StreamMeta};

/// A stream, as long as it is in the table or someone reads it.
pub(super) struct Entry {
    /// The sequence number of the record that created it. Never used again.
    pub(super) number: u64,
    pub(super) meta: Arc<StreamMeta>,
    files: Arc<Files>,
    /// Commits in the queue or in a group.
    pub(super) pending: AtomicU32,
    /// Handles of an epoch before are of no use: one of their commits has failed, or the stream is gone.
    pub(super) epoch: AtomicU32,
    /// Where the next commit begins. The committer alone uses it.
    pub(super) next: AtomicU64,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    /// After the last durable commit.
    pub(super) state: StoredState,
    pub(super) references: References,
    /// The last record that changed the state or the references.
    pub(super) seq: u64,
    /// Where the runs end; data from there on is in `tail`.
    pub(super) drained: u64,
    pub(super) runs: Vec<RunRef>,
    pub(super) tail: Blocks,
    /// Whether the next checkpoint has to look at it.
    pub(super) dirty: bool,
    pub(super) removed: bool,
}

impl Entry {
    /// An empty stream, before the record that creates it has taken effect.
    pub(super) fn new(number: u64, meta: Arc<StreamMeta>, files: Arc<Files>) -> Self {
        let config = StreamConfig {
            content_type: Arc::clone(&meta.content_type),
            lifetime: meta.lifetime.clone(),
            created_at: meta.created_at,
            base: meta.base(),
        };
        let state = StoredState::new(&config);
        Self::restore(number, meta, files, state, References::default(), (0, config.base.0), Vec::new())
    }

    /// A stream of which the manifest knows: up to which record, and up to which position in runs.
    pub(super) fn restore(
        number: u64,
        meta: Arc<StreamMeta>,
        files: Arc<Files>,
        state: StoredState,
        references: References,
        (seq, drained): (u64, u64),
        runs: Vec<RunRef>,
    ) -> Self {
        let next = AtomicU64::new(state.tail.0);
        let tail = Blocks::default();
        let inner = Inner { state, references, seq, drained, runs, tail, dirty: false, removed: false };
        Self {
            number,
            meta,
            files,
            pending: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            next,
            inner: Mutex::new(inner),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The lock, if nobody has it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Inner>> {
        self.inner.try_lock()
    }

    pub(super) fn load(self: &Arc<Self>, shared: &Arc<Shared>) -> Loaded {
        let inner = self.lock();
        let log = LogStream {
            entry: Arc::clone(self),
            epoch: self.epoch.load(Ordering::Acquire),
            shared: Arc::clone(shared),
        };
        Loaded {
            meta: Arc::clone(&self.meta),
            state: inner.state.clone(),
            references: inner.references,
            log: Arc::new(log),
        }
    }

    /// A commit has failed: what its handles have decided since rests on it.
    pub(super) fn fail(&self) {
        let inner = self.lock();
        self.void_handles();
        self.next.store(inner.state.tail.0, Ordering::Release);
    }

    /// From now on whatever is committed through handles that there are is refused.
    pub(super) fn void_handles(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn read(&self, range: ReadRange, patience: Patience) -> io::Result<Piece> {
        let mut piece = Piece { next: range.from.min(range.to), ..Piece::default() };
        let mut left = range.max_bytes;
        while piece.next < range.to {
            let rest = ReadRange { from: piece.next, to: range.to, max_bytes: left };
            let at_least_one = piece.data.is_empty();
            let run = {
                let inner = self.lock();
                match inner.run_at(rest.from.0) {
                    Some(run) => run,
                    None => {
                        let mut places = Vec::new();
                        let tail = inner.tail.read_placed(rest, at_least_one, |at, place| places.push((at, place)));
                        drop(inner);
                        piece.next = tail.next;
                        let spans = self.files.spans_in_log(&tail.data, &places);
                        piece.extend(tail.data, spans);
                        break;
                    }
                }
            };
            let read = self.read_run(run, rest, at_least_one, patience)?;
            let Some((parts, next)) = read else { break };
            piece.next = next;
            left = left.saturating_sub(parts.iter().map(|part| part.data.len()).sum());
            let spans = self.files.spans_in_run(&run, &parts);
            piece.extend(parts.into_iter().map(|part| part.data).collect(), spans);
            if left == 0 || next.0 < run.end().min(range.to.0) {
                break;
            }
        }
        Ok(piece)
    }

    /// Reads in a run, or takes what somebody else has read there.
    fn read_run(
        &self,
        run: RunRef,
        range: ReadRange,
        at_least_one: bool,
        patience: Patience,
    ) -> io::Result<Option<(Vec<Part>, Position)>> {
        let question = Question::new(&run, range, at_least_one);
        if let Some(known) = self.files.pieces.find(&question) {
            return Ok(Some(known));
        }
        let read = self.with_run(run, patience, |reader| reader.read(range, at_least_one))?;
        if let Some((data, next)) = &read {
            self.files.pieces.keep(question, data, *next);
        }
        Ok(read)
    }

    fn append_after(&self, at: Position, patience: Patience) -> io::Result<Option<AppendShape>> {
        let run = {
            let inner = self.lock();
            match inner.run_at(at.0) {
                Some(run) => run,
                None => return Ok(inner.tail.append_after(at)),
            }
        };
        self.with_run(run, patience, |reader| reader.append_after(at))
    }

    /// Reads in the run that covers a position. It may have been moved to another file meanwhile.
    pub(super) fn with_run<T>(
        &self,
        mut run: RunRef,
        patience: Patience,
        mut read: impl FnMut(&Reader<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let result = self.files.open_run(&run).and_then(|(file, log)| {
                let place = RunFiles { file: &*file, log: log.as_deref() };
                read(&Reader::new(place, patience, self.number, run)?)
            });
            match result {
                Err(error) if error.kind() == io::ErrorKind::NotFound => match self.lock().run_at(run.start) {
                    // A run that was merged is longer now, and the place in it is another.
                    Some(moved) if moved != run && moved.end() == run.end() && moved.start == run.start => run = moved,
                    _ => return Err(error),
                },
                result => return result,
            }
        }
    }
}

impl Inner {
    fn run_at(&self, at: u64) -> Option<RunRef> {
        self.runs.get(self.runs.partition_point(|run| run.end() <= at)).filter(|_| at < self.drained).copied()
    }

    /// Takes in a record that is durable.
    pub(super) fn apply(&mut self, seq: u64, at: u64, commit: &Commit, place: Option<Place>) {
        self.tail.push_placed(Position(at), &commit.messages, place);
        self.state.apply(commit);
        self.seq = seq;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if inner.removed {
            inner.runs.iter().for_each(|run| self.files.release_run(run));
        }
    }
}

/// What a user of the stream holds.
pub(super) struct LogStream {
    pub(super) entry: Arc<Entry>,
    pub(super) epoch: u32,
    shared: Arc<Shared>,
}

impl LogStream {
    /// Reads at once what is in memory, here or in the kernel's cache, and everything else in a thread that may wait for
    /// the disk: the one that serves connections serves the others meanwhile.
    fn read_with<T: Send + Unpin + 'static>(
        &self,
        read: impl Fn(&Entry, Patience) -> io::Result<T> + Send + 'static,
    ) -> Reply<T> {
        let failed = |entry: &Entry, error: &io::Error| {
            tracing::error!(stream = &*entry.meta.name, %error, "a stream cannot be read");
            storage_error(error)
        };
        match read(&self.entry, Patience::None) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Reply::ready(result.map_err(|error| failed(&self.entry, &error))),
        }
        let entry = Arc::clone(&self.entry);
        let patient = move || read(&entry, Patience::ForDisk).map_err(|error| failed(&entry, &error));
        // Without a runtime there is nobody whom waiting would hold up.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return Reply::ready(patient());
        };
        let task = runtime.spawn_blocking(patient);
        Reply::pending(async move { task.await.unwrap_or_else(|error| Err(storage_error(&error.into()))) })
    }
}

impl StreamLog for LogStream {
    fn commit(&self, commit: Commit) -> Reply<()> {
        let (reply, answer) = oneshot::channel();
        self.entry.pending.fetch_add(1, Ordering::AcqRel);
        let op = Op::Commit { entry: Arc::clone(&self.entry), epoch: self.epoch, commit, reply };
        self.shared.queue.push(op);
        Reply::later(answer)
    }

    fn read(&self, range: ReadRange) -> Reply<Piece> {
        self.read_with(move |entry, patience| entry.read(range, patience))
    }

    fn append_after(&self, at: Position) -> Reply<Option<AppendShape>> {
        self.read_with(move |entry, patience| entry.append_after(at, patience))
    }
}
