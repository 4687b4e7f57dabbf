//! What is on the disk, read and never changed: the manifest, then the log after its checkpoint.
//!
//! The time is proportional to the number of streams and to what is not drained, not to all data.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::entry::Entry;
use super::files::{Files, name_of};
use super::format::{MANIFEST, VERSION, damaged, number_of, segment_name};
use super::manifest::{self, Change, Checkpoint};
use super::segment::{self, Body, End, Record};
use super::{Types, run::RunRef};
use crate::engine::{Commit, Position, Removal};

/// A folder as it was found.
pub(super) struct Recovered {
    pub(super) checkpoint: Checkpoint,
    /// Where the manifest ends; `None` in a new folder, and if checkpoints were added to it that may not be on the
    /// disk: then it has to be written anew.
    pub(super) manifest_end: Option<usize>,
    pub(super) streams: Vec<Arc<Entry>>,
    /// Streams that records after the checkpoint have changed; removed ones too.
    pub(super) dirty: Vec<Arc<Entry>>,
    /// The sequence number of the next record.
    pub(super) next_seq: u64,
    /// All segments that are there for no run, oldest first.
    pub(super) segments: Vec<u64>,
    /// The number of the next segment.
    pub(super) next_segment: u64,
    /// Data files that nothing lives in.
    pub(super) unused_files: Vec<u64>,
    /// Records that were replayed.
    pub(super) replayed: u64,
    /// Segments that end in something that a crash has left.
    pub(super) torn: Vec<u64>,
}

/// Reads a folder.
///
/// # Errors
/// Of the disk, or [`io::ErrorKind::InvalidData`] that names the file that is damaged.
pub(super) fn read(disk: &dyn Disk, files: &Arc<Files>, types: &Types) -> io::Result<Recovered> {
    let names = disk.list()?;
    let numbers = |prefix| {
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name, prefix)).collect();
        numbers.sort_unstable();
        numbers
    };
    let (segments, data_files) = (numbers("log"), numbers("data"));
    let mut replay = Replay::new(files, types);
    let (mut checkpoint, mut manifest_end) = (Checkpoint::default(), None);
    if names.iter().any(|name| name == MANIFEST) {
        let bytes = read_all(disk, MANIFEST)?;
        let found = manifest::read(&bytes, |change| replay.restore(change))
            .map_err(|_| damaged(MANIFEST, "no checkpoint, or one that cannot be read"))?;
        checkpoint = found.last;
        let is_as_written = found.first_end == found.last_end && found.version == VERSION;
        manifest_end = is_as_written.then_some(found.last_end);
    } else if !segments.is_empty() || !data_files.is_empty() {
        return Err(damaged(MANIFEST, "missing, although there are other files"));
    }
    let mut torn = Vec::new();
    // At every moment there is the one that is written to, or the one before it.
    if checkpoint.seq > 0 && segments.last().is_none_or(|last| last + 1 < checkpoint.first_segment) {
        return Err(damaged("log", "all segments are missing"));
    }
    let drained = segments.partition_point(|number| *number < checkpoint.first_segment);
    let next_seq = replay.log(disk, &segments[drained..], checkpoint.seq, &mut torn)?;
    let (streams, dirty, replayed) = replay.finish()?;
    let unused_files = account(disk, files, &streams, &data_files)?;
    let next_segment = segments.last().map_or(1, |last| last + 1);
    let segments = segments.into_iter().filter(|number| !files.is_kept(*number)).collect();
    checkpoint.next_file = checkpoint.next_file.max(data_files.last().map_or(1, |last| last + 1));
    Ok(Recovered {
        checkpoint,
        manifest_end,
        streams,
        dirty,
        next_seq,
        segments,
        next_segment,
        unused_files,
        replayed,
        torn,
    })
}

fn read_all(disk: &dyn Disk, name: &str) -> io::Result<bytes::Bytes> {
    let file = disk.open(name)?;
    let len = usize::try_from(file.size()?).map_err(|_| damaged(name, "too long"))?;
    file.read_at(0, len)
}

/// Counts what lives in each file; gives the data files without anything.
fn account(disk: &dyn Disk, files: &Files, streams: &[Arc<Entry>], found: &[u64]) -> io::Result<Vec<u64>> {
    let mut needed: HashMap<u64, u64> = HashMap::new();
    for entry in streams {
        for run in &entry.lock().runs {
            let end = needed.entry(run.file).or_default();
            *end = run.offset.saturating_add(run.size()).max(*end);
            if let Some(segment) = run.segment() {
                needed.entry(segment).or_insert(1);
            }
        }
    }
    for (file, end) in &needed {
        let name = name_of(*file);
        let len = disk.open(&name).and_then(|file| file.size()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged(&name, "missing, although streams have data in it"),
            _ => error,
        })?;
        if len < *end {
            return Err(damaged(&name, format_args!("{len} bytes long, streams have data up to {end}")));
        }
        files.add(*file, len);
    }
    for entry in streams {
        entry.lock().runs.iter().for_each(|run: &RunRef| files.retain_run(run));
    }
    Ok(found.iter().copied().filter(|file| !needed.contains_key(file)).collect())
}

struct Replay<'a> {
    files: &'a Arc<Files>,
    types: &'a Types,
    streams: HashMap<u64, Arc<Entry>>,
    names: HashMap<Arc<str>, u64>,
    dirty: Vec<Arc<Entry>>,
    replayed: u64,
}

impl<'a> Replay<'a> {
    fn new(files: &'a Arc<Files>, types: &'a Types) -> Self {
        Self { files, types, streams: HashMap::new(), names: HashMap::new(), dirty: Vec::new(), replayed: 0 }
    }

    fn restore(&mut self, change: Change) {
        match change {
            Change::Removed(number) => self.remove(number),
            Change::Stream(saved) => {
                let mut meta = saved.meta;
                self.types.share(&mut meta.content_type);
                let meta = Arc::new(meta);
                self.names.insert(Arc::clone(&meta.name), saved.number);
                let entry = Entry::restore(
                    saved.number,
                    meta,
                    Arc::clone(self.files),
                    saved.state,
                    saved.references,
                    (saved.seq, saved.drained),
                    saved.runs,
                );
                self.streams.insert(saved.number, Arc::new(entry));
            }
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.streams.remove(&number)
            && self.names.get(&entry.meta.name) == Some(&number)
        {
            self.names.remove(&entry.meta.name);
        }
    }

    /// Replays the segments from the checkpoint on; gives the next sequence number.
    fn log(&mut self, disk: &dyn Disk, segments: &[u64], checkpoint: u64, torn: &mut Vec<u64>) -> io::Result<u64> {
        let mut next = None;
        for number in segments {
            let name = segment_name(*number);
            let bytes = read_all(disk, &name)?;
            let mut wrong = None;
            let scanned = segment::scan(&bytes, *number, |record| {
                let seq = record.seq;
                if seq > checkpoint && wrong.is_none() {
                    self.replayed += 1;
                    wrong = self.apply(record).err().map(|what| damaged(&name, format_args!("record {seq}: {what}")));
                }
            });
            if let Some(error) = wrong {
                return Err(error);
            }
            match scanned.end {
                End::Clean => {}
                End::Torn => torn.push(*number),
                End::Damaged => {
                    return Err(damaged(
                        &name,
                        format_args!("a record at byte {} that was stored is broken", scanned.at),
                    ));
                }
            }
            let Some((first, end)) = scanned.records else { continue };
            let is_empty = first == end;
            if !is_empty && end <= checkpoint + 1 {
                // All of it is drained.
                continue;
            }
            let expected = next.unwrap_or(checkpoint + 1);
            // One without records that begins earlier was made and never used.
            if first > expected || (first < expected && next.is_some() && !is_empty) {
                return Err(damaged(&name, format_args!("begins with record {first}, {expected} was to come")));
            }
            if !is_empty {
                next = Some(end);
            }
        }
        Ok(next.unwrap_or(0).max(checkpoint + 1))
    }

    fn apply(&mut self, Record { seq, body, .. }: Record) -> Result<(), &'static str> {
        match body {
            Body::Commit { stream, start, commit } => {
                // A stream that is not there was removed later.
                let Some(entry) = self.streams.get(&stream).map(Arc::clone) else { return Ok(()) };
                replay_commit(&entry, seq, start, &commit)?;
                self.mark(&entry);
            }
            Body::Create(mut stream) => {
                self.types.share(&mut stream.meta.content_type);
                let commit = Commit {
                    at: stream.meta.created_at,
                    messages: stream.content,
                    close: stream.closed,
                    ..Commit::default()
                };
                let meta = Arc::new(stream.meta);
                if let Some(source) = meta.fork.as_ref().and_then(|fork| self.names.get(&fork.source).copied()) {
                    self.count_fork(source, seq, |forks| forks.saturating_add(1));
                }
                let entry = match self.streams.get(&seq) {
                    Some(entry) => Arc::clone(entry),
                    None => {
                        let entry = Arc::new(Entry::new(seq, Arc::clone(&meta), Arc::clone(self.files)));
                        self.streams.insert(seq, Arc::clone(&entry));
                        // A newer stream of that name may be known already.
                        let named = self.names.entry(Arc::clone(&meta.name)).or_insert(seq);
                        *named = (*named).max(seq);
                        entry
                    }
                };
                replay_commit(&entry, seq, meta.base().0, &commit)?;
                self.mark(&entry);
            }
            Body::Delete { stream, source, removal } => {
                if removal == Removal::SoftDelete {
                    let Some(entry) = self.streams.get(&stream).map(Arc::clone) else { return Ok(()) };
                    {
                        let mut inner = entry.lock();
                        inner.references.soft_deleted = true;
                        inner.seq = inner.seq.max(seq);
                    }
                    self.mark(&entry);
                    return Ok(());
                }
                if let Some(entry) = self.streams.get(&stream).map(Arc::clone) {
                    self.remove(stream);
                    {
                        let mut inner = entry.lock();
                        inner.removed = true;
                        inner.runs = Vec::new();
                    }
                    self.mark(&entry);
                }
                self.count_fork(source, seq, |forks| forks.saturating_sub(1));
            }
        }
        Ok(())
    }

    fn count_fork(&mut self, source: u64, seq: u64, change: impl FnOnce(u32) -> u32) {
        let Some(entry) = self.streams.get(&source).map(Arc::clone) else { return };
        {
            let mut inner = entry.lock();
            if inner.seq < seq {
                inner.references.forks = change(inner.references.forks);
                inner.seq = seq;
            }
        }
        self.mark(&entry);
    }

    /// A fork is later than its source, and has no more of it than is there: reads would never get to its own messages.
    fn check_fork(&self, entry: &Entry) -> io::Result<()> {
        let Some(fork) = &entry.meta.fork else { return Ok(()) };
        let Some(source) = self.names.get(&fork.source).and_then(|number| self.streams.get(number)) else {
            return Ok(());
        };
        if source.number >= entry.number || source.lock().state.tail < fork.base {
            let what = format!("stream {} was forked off {} at {}", entry.meta.name, fork.source, fork.base.0);
            return Err(damaged("log", format_args!("{what}, which does not hold that much")));
        }
        Ok(())
    }

    fn mark(&mut self, entry: &Arc<Entry>) {
        if !std::mem::replace(&mut entry.lock().dirty, true) {
            self.dirty.push(Arc::clone(entry));
        }
    }

    #[allow(clippy::type_complexity)]
    fn finish(self) -> io::Result<(Vec<Arc<Entry>>, Vec<Arc<Entry>>, u64)> {
        for entry in self.streams.values() {
            let inner = entry.lock();
            let end = inner.tail.end().unwrap_or(inner.drained);
            if end != inner.state.tail.0 {
                let what = format!("stream {}: data up to {end}, state up to {}", entry.meta.name, inner.state.tail.0);
                return Err(damaged("log", what));
            }
            if self.names.get(&entry.meta.name) != Some(&entry.number) {
                return Err(damaged(MANIFEST, format_args!("two streams are called {}", entry.meta.name)));
            }
            entry.next.store(inner.state.tail.0, std::sync::atomic::Ordering::Release);
            drop(inner);
            self.check_fork(entry)?;
        }
        Ok((self.streams.into_values().collect(), self.dirty, self.replayed))
    }
}

/// Carries out what the stream does not have yet: data behind its runs, state behind its seq.
fn replay_commit(entry: &Entry, seq: u64, start: u64, commit: &Commit) -> Result<(), &'static str> {
    let mut inner = entry.lock();
    if start >= inner.drained && !commit.messages.is_empty() {
        if start != inner.tail.end().unwrap_or(inner.drained) {
            return Err("it does not begin where the stream ends");
        }
        inner.tail.push(Position(start), &commit.messages);
    }
    if seq > inner.seq {
        inner.state.apply(commit);
        inner.seq = seq;
    }
    Ok(())
}
