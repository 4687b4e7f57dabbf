//! The drain: carries what was committed from the log into runs, writes checkpoints, removes what is not
//! needed any more, and gives space back.
//!
//! Large data is not carried. Where most of a segment is large data, and a stream has much of it there, its run refers to it
//! and the segment is kept. When most of that is not needed any more, the rest is moved into a data file.
//!
//! One thread does all of it. An error leaves everything as it was and is tried again: a file that could
//! not be written or synced is given up, never synced a second time.

mod data_file;
mod waiting;

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use self::data_file::DataFile;
pub(super) use self::waiting::{Cut, Drains, Sealed};
use super::Shared;
use super::disk::DiskFile;
use super::entry::{Entry, Inner};
use super::files::SEGMENT;
use super::format::{MANIFEST, MANIFEST_NEW};
use super::manifest::{self, Checkpoint, SavedRef, put_checkpoint, put_removed, put_stream};
use super::run::{Patience, RunRef};
use crate::storage::blocks::Block;

/// How much is gathered before it is written.
const CHUNK: usize = 1 << 20;
/// A run is merged into the next one that is at least half as long, up to this length: the number of small
/// runs of a stream stays logarithmic, and each byte is moved a few times at most. What comes in longer runs is not moved.
const MERGED: u64 = 2 << 20;
/// Large data of a stream stays in a segment if it is at least this part of the size of one.
const STAYING: u64 = 32;
/// Data files below this size are put together when there are many.
const SMALL_FILE: u64 = 4 << 20;
const SMALL_FILES: usize = 8;
/// How much one round of compaction moves at most.
const ROUND: u64 = 64 << 20;

/// Where the manifest is written.
pub(super) struct ManifestFile {
    pub(super) file: Arc<dyn DiskFile>,
    /// Where it ends.
    pub(super) at: u64,
    /// How long it was when it was written anew.
    pub(super) full: u64,
}

pub(super) struct Drain {
    pub(super) shared: Arc<Shared>,
    /// `None` when a write or sync of it has failed: then it is written anew.
    pub(super) manifest: Option<ManifestFile>,
    pub(super) checkpoint: Checkpoint,
    /// Streams with data in segments behind the last cut.
    pub(super) left: Vec<Arc<Entry>>,
}

/// New runs of a stream, on disk and not yet known to anyone.
struct Moved {
    entry: Arc<Entry>,
    change: RunChange,
}

enum RunChange {
    /// The runs from the `kept`th on are replaced, and data up to `upto` is in runs now.
    Drained { kept: usize, new: Vec<RunRef>, upto: u64 },
    /// Runs that only changed their place.
    Replaced(Vec<(RunRef, RunRef)>),
}

impl RunChange {
    /// The stream's runs after the change, and up to where its data is in runs.
    fn applied(&self, inner: &Inner) -> (Vec<RunRef>, u64) {
        match self {
            Self::Drained { kept, new, upto } => ([&inner.runs[..*kept], new].concat(), *upto),
            Self::Replaced(replaced) => {
                let place = |run: &RunRef| replaced.iter().find(|(old, _)| old == run).map_or(*run, |(_, new)| *new);
                (inner.runs.iter().map(place).collect(), inner.drained)
            }
        }
    }
}

impl Drain {
    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        while self.shared.drains.wait() {
            if let Err(error) = self.step() {
                tracing::error!(%error, "the log cannot be drained; it will be tried again");
                self.shared.drains.failed(&error);
            }
        }
    }

    /// Does everything there is to do.
    ///
    /// # Errors
    /// Of the disk. Nothing is lost: the next step tries again.
    pub(super) fn step(&mut self) -> io::Result<()> {
        while let Some(cut) = self.shared.drains.first() {
            self.drain(&cut)?;
            self.shared.drains.done();
        }
        if self.manifest.is_none() {
            // What a failed write of it may have named must not be removed before that is out of date.
            self.save(&[], &[], &[], self.checkpoint)?;
        }
        self.collect()?;
        self.shared.drains.recovered();
        Ok(())
    }

    fn drain(&mut self, cut: &Cut) -> io::Result<()> {
        let least = self.shared.options.segment_bytes / STAYING;
        let mut out = DataFile::new(&self.shared, &mut self.checkpoint.next_file);
        let (mut moved, mut removed, mut changed, mut left) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for entry in cut.dirty.iter().chain(&self.left) {
            let mut inner = entry.lock();
            if inner.removed {
                removed.push(entry.number);
                continue;
            }
            // What changes from here on makes it dirty again.
            inner.dirty = false;
            let drained = inner.drained;
            let mut blocks = inner.tail.since(drained);
            // What may stay in a later segment is left to the cut that has it.
            let later = |block: &Block| block.place().is_some_and(|at| u64::from(at.segment.get()) >= cut.next_segment);
            if let Some(first) = blocks.iter().position(later) {
                blocks.truncate(first);
                inner.dirty = true;
                left.push(Arc::clone(entry));
            }
            let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
                changed.push(Arc::clone(entry));
                continue;
            };
            let (start, upto) = (first.start(), last.end());
            let mut parts = split(cut, &blocks, least);
            let mut kept = inner.runs.len();
            if let Some((0, range)) = parts.first() {
                let mut len = blocks[range.end - 1].end() - start;
                let fits = |run: &&RunRef, len| run.log == 0 && run.len < 2 * len && run.len + len <= MERGED;
                while let Some(run) = inner.runs[..kept].last().filter(|run| fits(run, len)) {
                    len += run.len;
                    kept -= 1;
                }
            }
            let merged = inner.runs[kept..].to_vec();
            drop(inner);
            let older = merged
                .iter()
                .map(|run| entry.with_run(*run, Patience::ForDisk, |reader| reader.all()))
                .collect::<io::Result<Vec<_>>>();
            match older {
                Ok(older) => {
                    // Only to a first part that is moved.
                    let more = older.len();
                    blocks.splice(..0, older);
                    for (number, (_, range)) in parts.iter_mut().enumerate() {
                        *range = if number == 0 { range.start } else { range.start + more }..range.end + more;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    // Damaged runs stay where they are: readers are told, and new data is not held up.
                    tracing::error!(stream = &*entry.meta.name, %error, "runs cannot be merged");
                    kept += merged.len();
                }
                Err(error) => return Err(error),
            }
            let mut new = Vec::with_capacity(parts.len());
            for (log, range) in parts {
                new.extend(out.put_all(entry.number, &blocks[range], log)?);
            }
            moved.push(Moved { entry: Arc::clone(entry), change: RunChange::Drained { kept, new, upto } });
        }
        out.finish()?;
        let checkpoint = Checkpoint {
            seq: cut.seq.max(self.checkpoint.seq),
            first_segment: cut.next_segment.max(self.checkpoint.first_segment),
            ..self.checkpoint
        };
        self.save(&moved, &changed, &removed, checkpoint)?;
        self.left = left;
        for segment in &cut.segments {
            // One that stays is removed at the next start.
            if let Err(error) = self.shared.files.take_over(segment.number, segment.used) {
                tracing::warn!(%error, "cannot remove or cut a drained log segment");
            }
        }
        Ok(())
    }

    /// Writes a checkpoint, then lets readers use the runs that moved.
    fn save(
        &mut self,
        moved: &[Moved],
        changed: &[Arc<Entry>],
        removed: &[u64],
        checkpoint: Checkpoint,
    ) -> io::Result<()> {
        let mut out = Vec::new();
        for Moved { entry, change } in moved {
            let inner = entry.lock();
            if inner.removed {
                put_removed(&mut out, entry.number);
            } else {
                let (runs, drained) = change.applied(&inner);
                put_entry(&mut out, entry, &inner, &runs, drained);
            }
        }
        for entry in changed {
            let inner = entry.lock();
            if inner.removed {
                put_removed(&mut out, entry.number);
            } else {
                put_entry(&mut out, entry, &inner, &inner.runs, inner.drained);
            }
        }
        removed.iter().for_each(|number| put_removed(&mut out, *number));
        put_checkpoint(&mut out, checkpoint);
        match self.manifest.take() {
            Some(manifest) if manifest.at + out.len() as u64 <= 2 * manifest.full + CHUNK as u64 => {
                manifest.file.write_at(manifest.at, &out)?;
                manifest.file.sync()?;
                self.manifest = Some(ManifestFile { at: manifest.at + out.len() as u64, ..manifest });
            }
            _ => self.manifest = Some(self.write_anew(moved, checkpoint)?),
        }
        self.checkpoint = checkpoint;
        for Moved { entry, change } in moved {
            let mut inner = entry.lock();
            if inner.removed {
                continue;
            }
            let (runs, drained) = change.applied(&inner);
            runs.iter().for_each(|run| self.shared.files.retain_run(run));
            inner.runs.iter().for_each(|run| self.shared.files.release_run(run));
            inner.runs = runs;
            inner.drained = drained;
            inner.tail.drop_front(drained);
        }
        Ok(())
    }

    /// A manifest with every stream, as it is after these moves.
    fn write_anew(&self, moved: &[Moved], checkpoint: Checkpoint) -> io::Result<ManifestFile> {
        let mut out = Vec::new();
        manifest::put_header(&mut out);
        let file = self.shared.disk.create(MANIFEST_NEW)?;
        let mut at = 0;
        let moves: std::collections::HashMap<u64, &RunChange> =
            moved.iter().map(|moved| (moved.entry.number, &moved.change)).collect();
        for entry in self.shared.entries() {
            let inner = entry.lock();
            if inner.removed {
                continue;
            }
            let (runs, drained) = match moves.get(&entry.number) {
                Some(change) => change.applied(&inner),
                None => (inner.runs.clone(), inner.drained),
            };
            put_entry(&mut out, &entry, &inner, &runs, drained);
            drop(inner);
            if out.len() >= CHUNK {
                file.write_at(at, &out)?;
                at += out.len() as u64;
                out.clear();
            }
        }
        put_checkpoint(&mut out, checkpoint);
        file.write_at(at, &out)?;
        at += out.len() as u64;
        file.sync()?;
        self.shared.disk.rename(MANIFEST_NEW, MANIFEST)?;
        self.shared.disk.sync_names()?;
        Ok(ManifestFile { file, at, full: at })
    }

    /// Removes data files that nothing lives in, and moves what lives in files that are mostly empty, or
    /// in many small ones.
    fn collect(&mut self) -> io::Result<()> {
        let mut sizes = self.shared.files.sizes();
        sizes.retain(|(file, size)| {
            if size.live == 0 {
                // One that stays is removed at the next start.
                if let Err(error) = self.shared.files.remove(*file) {
                    tracing::warn!(%error, "cannot remove a data file that is not needed");
                }
            }
            size.live > 0
        });
        let small = |file: u64, size: u64| file & SEGMENT == 0 && size < SMALL_FILE;
        let many_small = sizes.iter().filter(|(file, size)| small(*file, size.total)).count() > SMALL_FILES;
        let mut budget = ROUND;
        let victims: HashSet<u64> = sizes
            .iter()
            .filter(|(file, size)| size.live * 2 < size.total || (many_small && small(*file, size.total)))
            .take_while(|(_, size)| {
                let fits = budget == ROUND || size.live <= budget;
                budget = budget.saturating_sub(size.live);
                fits
            })
            .map(|(file, _)| *file)
            .collect();
        if victims.is_empty() { Ok(()) } else { self.compact(&victims) }
    }

    fn compact(&mut self, victims: &HashSet<u64>) -> io::Result<()> {
        let mut out = DataFile::new(&self.shared, &mut self.checkpoint.next_file);
        let mut moved = Vec::new();
        for entry in self.shared.entries() {
            let moves_data = |run: &RunRef| victims.contains(&run.segment().unwrap_or(run.file));
            let is_moved = |run: &&RunRef| moves_data(run) || victims.contains(&run.file);
            let runs: Vec<RunRef> = entry.lock().runs.iter().filter(is_moved).copied().collect();
            let mut replaced = Vec::with_capacity(runs.len());
            for old in runs {
                let new = if moves_data(&old) {
                    let block = entry.with_run(old, Patience::ForDisk, |reader| reader.all());
                    block.and_then(|block| Ok(out.put_all(entry.number, &[block], 0)?.pop()))
                } else {
                    let bytes = entry.with_run(old, Patience::ForDisk, |reader| reader.without_data());
                    bytes.and_then(|bytes| out.put_as_it_is(old, &bytes).map(Some))
                };
                match new {
                    Ok(new) => replaced.extend(new.map(|new| (old, new))),
                    // It stays where it is.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        tracing::error!(stream = &*entry.meta.name, %error, "a run cannot be moved");
                    }
                    Err(error) => return Err(error),
                }
            }
            if !replaced.is_empty() {
                moved.push(Moved { entry, change: RunChange::Replaced(replaced) });
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        out.finish()?;
        let checkpoint = self.checkpoint;
        self.save(&moved, &[], &[], checkpoint)
    }
}

/// What of a stream's new blocks becomes runs of its own: the segment that the data stays in, or 0, and the blocks.
///
/// Only large appends stay, and only many of them together: so runs are few, however much there is.
fn split(cut: &Cut, blocks: &[Block], least: u64) -> Vec<(u32, Range<usize>)> {
    let stays_in = |block: &Block| {
        let segment = block.place().map_or(0, |place| place.segment.get());
        let is_kept = |sealed: &Sealed| sealed.number == u64::from(segment) && sealed.is_worth_keeping && segment > 0;
        if cut.segments.iter().any(is_kept) { segment } else { 0 }
    };
    let (mut parts, mut from) = (Vec::<(u32, Range<usize>)>::new(), 0);
    for these in blocks.chunk_by(|a, b| stays_in(a) == stays_in(b)) {
        let len: u64 = these.iter().map(|block| block.end() - block.start()).sum();
        let segment = if len < least { 0 } else { stays_in(&these[0]) };
        let range = from..from + these.len();
        from = range.end;
        match parts.last_mut() {
            Some((0, before)) if segment == 0 => before.end = range.end,
            _ => parts.push((segment, range)),
        }
    }
    parts
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry, inner: &Inner, runs: &[RunRef], drained: u64) {
    let saved = SavedRef {
        number: entry.number,
        seq: inner.seq,
        drained,
        state: &inner.state,
        references: inner.references,
        meta: &entry.meta,
        runs,
    };
    put_stream(out, &saved);
}
