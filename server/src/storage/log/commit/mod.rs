//! The committer: takes what waits, writes it as one group, syncs, and only then lets it be seen.
//!
//! While one group is synced, the next one gathers; `pace` says when it is large enough.

mod group;
mod open_segment;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::runtime::Handle;

pub(super) use self::group::Group;
use self::group::{Appended, Change};
pub(super) use self::open_segment::OpenSegment;
use self::open_segment::Unwritten;
use super::answers::Answers;
use super::drain::{Cut, Sealed};
use super::entry::{Entry, Inner};
use super::pace::Pace;
use super::queue::{Answer, Op};
use super::segment::{put_commit, put_create, put_delete, put_record};
use super::{Shared, storage_error};
use crate::engine::{Commit, Removal};
use crate::storage::{Loaded, NewStream, StorageError, StorageErrorKind};

/// A group is written when it has this size, even if more waits.
const GROUP: usize = 4 << 20;
/// So many cuts may wait for the drain before data has to wait.
const CUTS: usize = 3;
/// So many streams may be held at once while a group is taken in.
const TOGETHER: usize = 16;

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) segment: OpenSegment,
    /// Segments that are full and not handed over yet, oldest first.
    pub(super) sealed: Vec<Sealed>,
    /// The last record.
    pub(super) seq: u64,
    /// The last record that is on disk.
    pub(super) durable: u64,
    /// Streams that have changed since the last cut.
    pub(super) dirty: Vec<Arc<Entry>>,
    pub(super) group: Group,
    pub(super) pace: Pace,
    /// Where groups are answered.
    pub(super) runtime: Option<Handle>,
    /// A new segment could not be made.
    pub(super) is_stuck: bool,
    /// Why nothing can be written any more.
    pub(super) failed: Option<StorageError>,
}

impl Committer {
    /// Commits until the queue is closed.
    pub(super) fn run(mut self) {
        let mut ops = Vec::new();
        while self.shared.queue.take(&mut ops, &self.pace) {
            self.shared.drains.wait_below(CUTS);
            self.commit(&mut ops);
            // Lets those run who were just answered, if a core has nothing better to do: what they send next is in the
            // same group. It waits for nobody.
            std::thread::yield_now();
        }
    }

    /// Commits these, and answers each.
    pub(super) fn commit(&mut self, ops: &mut Vec<Op>) {
        let names = ops.iter().filter(|op| op.is_about_names()).count();
        for op in ops.drain(..) {
            self.take(op);
        }
        self.flush();
        self.shared.queue.names_done(names);
        // What a burst has needed is not kept.
        if ops.capacity() > 4096 {
            *ops = Vec::new();
        }
    }

    fn take(&mut self, op: Op) {
        if let Op::Load { name, reply } = op {
            self.flush();
            drop(reply.send(Ok(self.shared.find(&name).map(|entry| entry.load(&self.shared)))));
            return;
        }
        if let Some(error) = &self.failed {
            return op.refuse(error);
        }
        if self.group.records.len() >= GROUP || self.fills_segment() {
            self.flush();
        }
        match op {
            Op::Commit { entry, epoch, commit, reply } => self.take_commit(entry, epoch, commit, reply),
            Op::Create { stream, reply } => self.take_create(stream, reply),
            Op::Delete { name, id, removal, reply } => {
                self.settle_names(&name, None);
                let found = self.shared.find(&name).filter(|entry| entry.meta.id == id);
                match found {
                    Some(entry) => self.take_delete(entry, removal, reply),
                    None => drop(reply.send(Ok(()))),
                }
            }
            Op::Load { .. } => {}
        }
    }

    /// Whether the group has filled the segment.
    fn fills_segment(&self) -> bool {
        let end = self.segment.at + self.group.records.len() as u64;
        end >= self.shared.options.segment_bytes && !self.group.changes.is_empty()
    }

    fn take_commit(&mut self, entry: Arc<Entry>, epoch: u32, commit: Commit, reply: Answer<()>) {
        if !self.group.names.is_empty() {
            self.settle_names(&entry.meta.name, None);
        }
        if let Some(error) = self.shared.drains.refusal().filter(|_| !commit.messages.is_empty()) {
            // What is in the group is not affected.
            self.flush();
            entry.fail();
            return Op::Commit { entry, epoch, commit, reply }.refuse(&error);
        }
        if entry.epoch.load(Ordering::Acquire) != epoch {
            entry.pending.fetch_sub(1, Ordering::AcqRel);
            return drop(reply.send(Err(conflict("an earlier commit of the stream failed, or it is gone"))));
        }
        let start = entry.next.fetch_add(commit.messages.len() as u64, Ordering::AcqRel);
        self.group.has_data |= !commit.messages.is_empty();
        let (seq, data_at) = self.put(|out| put_commit(out, entry.number, start, &commit));
        self.group.changes.push(Change::Commit(Appended { entry, seq, start, data_at, commit, reply }));
    }

    fn take_create(&mut self, stream: Box<NewStream>, reply: Answer<Loaded>) {
        let source = stream.meta.fork.as_ref().map(|fork| Arc::clone(&fork.source));
        self.settle_names(&stream.meta.name, source.as_ref());
        if self.shared.find(&stream.meta.name).is_some() {
            return drop(reply.send(Err(conflict("the name is taken"))));
        }
        let source = match source {
            None => None,
            Some(name) => match self.shared.find(&name) {
                Some(entry) => Some(entry),
                None => return drop(reply.send(Err(conflict("the fork source is gone")))),
            },
        };
        if let Some(error) = self.shared.drains.refusal() {
            return drop(reply.send(Err(error)));
        }
        self.group.names.insert(Arc::clone(&stream.meta.name));
        self.group.names.extend(source.as_ref().map(|entry| Arc::clone(&entry.meta.name)));
        self.group.has_data = true;
        let (seq, _) = self.put(|out| put_create(out, &stream));
        self.group.changes.push(Change::Create { stream, seq, source, reply });
    }

    fn take_delete(&mut self, entry: Arc<Entry>, removal: Removal, reply: Answer<()>) {
        let source_name = entry.meta.fork.as_ref().map(|fork| Arc::clone(&fork.source));
        self.settle_names(&entry.meta.name, source_name.as_ref());
        if removal == Removal::Remove && entry.lock().references.forks > 0 {
            return drop(reply.send(Err(conflict("forks need the stream"))));
        }
        let source = source_name.filter(|_| removal == Removal::Remove).and_then(|name| self.shared.find(&name));
        self.group.names.insert(Arc::clone(&entry.meta.name));
        self.group.names.extend(source.as_ref().map(|entry| Arc::clone(&entry.meta.name)));
        let source_number = source.as_ref().map_or(0, |entry| entry.number);
        let (seq, _) = self.put(|out| put_delete(out, entry.number, source_number, removal));
        self.group.changes.push(Change::Delete { entry, seq, source, removal, reply });
    }

    /// What is decided by a name needs what came before it for that name to be durable.
    fn settle_names(&mut self, name: &Arc<str>, other: Option<&Arc<str>>) {
        let names = &self.group.names;
        if names.contains(name) || other.is_some_and(|other| names.contains(other)) {
            self.flush();
        }
    }

    /// Adds a record; gives its number, and where its data is within the group.
    fn put<'a>(&mut self, body: impl FnOnce(&mut Vec<u8>) -> &'a Bytes) -> (u64, usize) {
        self.seq += 1;
        let data_at = put_record(&mut self.group.records, self.segment.number, self.seq, self.durable, body);
        (self.seq, data_at)
    }

    /// Makes the group durable and answers it.
    fn flush(&mut self) {
        if !self.group.changes.is_empty() {
            let written = match &self.failed {
                Some(error) => Err(error.clone()),
                None => self.write(),
            };
            self.shared.health.note(&written);
            match written {
                Ok(()) => self.publish(),
                Err(error) => self.fail(&error),
            }
        }
        if self.segment.at >= self.shared.options.segment_bytes {
            self.roll();
        }
    }

    /// Writes and syncs the group. After an error of kind `Full` nothing of it is stored.
    fn write(&mut self) -> Result<(), StorageError> {
        match self.segment.write(&self.group.records, self.group.has_data, &self.shared.options) {
            Ok(took) => {
                self.shared.health.metrics.syncs.observe(took);
                self.pace.note(took, self.group.changes.len() + self.shared.queue.len());
                Ok(())
            }
            Err(Unwritten::Nothing(error)) => Err(storage_error(&error)),
            Err(Unwritten::Unknown(error)) => Err(self.poison(&error)),
        }
    }

    /// From now on nothing is written: what is on the disk is not known.
    fn poison(&mut self, error: &io::Error) -> StorageError {
        tracing::error!(%error, "the commit log cannot be written; reads go on, writes need a restart");
        let error = StorageError {
            kind: StorageErrorKind::Io,
            message: format!("the commit log failed ({error}); check the disk and restart the server"),
        };
        self.failed = Some(error.clone());
        error
    }

    fn fail(&mut self, error: &StorageError) {
        self.seq = self.durable;
        self.group.clear();
        for change in std::mem::take(&mut self.group.changes) {
            match change {
                Change::Commit(Appended { entry, reply, .. }) => {
                    entry.fail();
                    entry.pending.fetch_sub(1, Ordering::AcqRel);
                    drop(reply.send(Err(error.clone())));
                }
                Change::Create { reply, .. } => drop(reply.send(Err(error.clone()))),
                Change::Delete { reply, .. } => drop(reply.send(Err(error.clone()))),
            }
        }
    }

    /// Lets everybody see what is durable now.
    fn publish(&mut self) {
        self.durable = self.seq;
        let group_at = self.segment.at - self.group.records.len() as u64;
        self.group.clear();
        let mut changes = std::mem::take(&mut self.group.changes);
        let mut answers = Answers::with_capacity(changes.len());
        self.apply(&changes, group_at);
        for change in changes.drain(..) {
            // Whoever asked may have gone: a reply that nobody waits for takes nothing back.
            match change {
                Change::Commit(Appended { entry, commit, reply, .. }) => {
                    entry.pending.fetch_sub(1, Ordering::AcqRel);
                    answers.push(reply, commit.messages);
                }
                Change::Create { stream, seq, source, reply } => {
                    let entry = self.shared.insert(seq, *stream, source.as_deref());
                    mark(&mut self.dirty, &entry, &mut entry.lock());
                    source.iter().for_each(|source| mark(&mut self.dirty, source, &mut source.lock()));
                    let _ = reply.send(Ok(entry.load(&self.shared)));
                }
                Change::Delete { entry, seq, source, removal, reply } => {
                    self.shared.delete(&entry, seq, source.as_deref(), removal);
                    mark(&mut self.dirty, &entry, &mut entry.lock());
                    source.iter().for_each(|source| mark(&mut self.dirty, source, &mut source.lock()));
                    let _ = reply.send(Ok(()));
                }
            }
        }
        self.group.changes = changes;
        answers.send(self.runtime.as_ref());
    }

    /// Takes in what commits have changed. No other change of a group comes before a commit of the same stream.
    ///
    /// Several streams are locked, then written to, then let go of. What is written is far from the processor by then, and
    /// to take or release a lock waits until all that was written before has reached it: so it is fetched for many at once.
    fn apply(&mut self, changes: &[Change], group_at: u64) {
        let mut commits = changes.iter().filter_map(Change::as_commit).peekable();
        let mut held = Vec::with_capacity(TOGETHER);
        while let Some(first) = commits.next() {
            held.push((first, first.entry.lock()));
            // It waits for nobody while it holds any, which may be another commit of a stream that it holds.
            while held.len() < TOGETHER
                && let Some(next) = commits.peek()
                && let Some(inner) = next.entry.try_lock()
            {
                held.extend(commits.next().map(|next| (next, inner)));
            }
            for (Appended { entry, seq, start, data_at, commit, .. }, inner) in &mut held {
                let place = self.segment.place(group_at + *data_at as u64, commit);
                inner.apply(*seq, *start, commit, place);
                mark(&mut self.dirty, entry, inner);
            }
            held.clear();
        }
    }

    /// Begins a new segment and hands what is in the full one over to the drain.
    fn roll(&mut self) {
        match OpenSegment::create(&self.shared, self.segment.number + 1, self.seq + 1) {
            Ok(segment) => {
                self.sealed.push(std::mem::replace(&mut self.segment, segment).sealed());
                self.is_stuck = false;
                self.cut();
            }
            // The full one takes what still fits; each group tries again, and only the first says so.
            Err(error) => {
                if !std::mem::replace(&mut self.is_stuck, true) {
                    tracing::error!(%error, "cannot begin a new log segment; the present one goes on as long as it can");
                }
            }
        }
    }

    /// Ends the segment early, unless it is empty.
    pub(super) fn seal(&mut self) {
        if !self.segment.is_empty() && self.failed.is_none() {
            self.roll();
        }
    }

    /// Hands everything before the current segment over to the drain.
    pub(super) fn cut(&mut self) {
        let cut = Cut {
            seq: self.durable,
            segments: std::mem::take(&mut self.sealed),
            next_segment: self.segment.number,
            dirty: std::mem::take(&mut self.dirty),
        };
        self.shared.drains.push(cut);
    }
}

fn mark(dirty: &mut Vec<Arc<Entry>>, entry: &Arc<Entry>, inner: &mut Inner) {
    if !std::mem::replace(&mut inner.dirty, true) {
        dirty.push(Arc::clone(entry));
    }
}

fn conflict(message: &str) -> StorageError {
    StorageError { kind: StorageErrorKind::Conflict, message: message.to_owned() }
}
