//! A start: first everything is read, then what was read is written anew, and a new segment begins.
//!
//! A full disk has no room for the second part. What is on it must be readable all the same, so the threads then start
//! without it: reads are served, writes are refused, and the second part is tried again when something is to be written.
//! What is served then was synced once more before, and is what the process before this one may have answered.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::commit::{Committer, Group, OpenSegment};
use super::drain::{Cut, Drain, Drains, ManifestFile};
use super::files::Files;
use super::health::Health;
use super::pace::Pace;
use super::queue::{Op, Queue};
use super::recover::{self, Recovered};
use super::{Disk, LogOptions, Shared, Types, format, storage_error};
use crate::storage::{StorageError, StorageErrorKind};

/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A storage that was read, and has written nothing yet.
pub(super) struct Opening {
    pub(super) shared: Arc<Shared>,
    drain: Drain,
    /// Segments of the log that were read.
    segments: Vec<u64>,
    next_segment: u64,
    next_seq: u64,
}

impl Opening {
    /// Reads a disk.
    ///
    /// # Errors
    /// It was written by a newer version, or is damaged; or the disk fails.
    pub(super) fn read(disk: Arc<dyn Disk>, options: LogOptions) -> io::Result<Self> {
        format::prepare(&*disk)?;
        let drains = Arc::new(Drains::default());
        let files = Arc::new(Files::new(Arc::clone(&disk), options.cache_bytes, Arc::clone(&drains)));
        let types = Types::default();
        let Recovered {
            mut checkpoint,
            manifest_end,
            streams,
            dirty,
            next_seq,
            segments,
            next_segment,
            unused_files,
            replayed,
            torn,
        } = recover::read(&*disk, &files, &types)?;
        if !torn.is_empty() {
            tracing::info!(segments = ?torn, "the log ends in what a crash has left; it was not answered and is cut off");
        }
        for file in unused_files {
            disk.remove(&format::data_name(file))?;
        }
        checkpoint.next_file = checkpoint.next_file.max(1);
        let table = streams.into_iter().map(|entry| (Arc::clone(&entry.meta.name), entry)).collect();
        let shared = Arc::new(Shared {
            disk: Arc::clone(&disk),
            options,
            table: parking_lot::RwLock::new(table),
            files,
            types,
            queue: Queue::default(),
            drains,
            health: Health::default(),
        });
        let mut drain = Drain { shared: Arc::clone(&shared), manifest: None, checkpoint, left: Vec::new() };
        if let Some(end) = manifest_end {
            let file = disk.open(format::MANIFEST)?;
            // What follows was never in effect, and must not come into effect behind what is written now.
            file.truncate(end as u64)?;
            file.sync()?;
            drain.manifest = Some(ManifestFile { file, at: end as u64, full: end as u64 });
        }
        // What was read may be in the system's cache alone: the process before this one need not have lived to sync
        // it, or its sync has failed. It is written anew, data and states in one step, before anything rests on it:
        // an answer, or the number that the next segment begins with.
        if next_seq - 1 > checkpoint.seq || !dirty.is_empty() {
            shared.drains.push(Cut { seq: next_seq - 1, segments: Vec::new(), next_segment, dirty });
        }
        tracing::debug!(replayed, "the log is read");
        Ok(Self { shared, drain, segments, next_segment, next_seq })
    }

    /// Writes anew what was read, and begins a segment. After an error it can be called again.
    ///
    /// # Errors
    /// Of the disk. Nothing is lost.
    pub(super) fn begin(&mut self) -> io::Result<OpenSegment> {
        // There is no segment without a manifest, so a new folder gets one here.
        self.drain.step()?;
        // Old segments end where they end; new records go to a new one.
        let segment = OpenSegment::create(&self.shared, self.next_segment, self.next_seq)?;
        for segment in &self.segments {
            if let Err(error) = self.shared.disk.remove(&format::segment_name(*segment)) {
                tracing::warn!(%error, "cannot remove a drained log segment");
            }
        }
        Ok(segment)
    }

    /// What goes on with the segment.
    pub(super) fn workers(self, segment: OpenSegment) -> (Committer, Drain) {
        let committer = Committer {
            shared: self.shared,
            segment,
            sealed: Vec::new(),
            seq: self.next_seq - 1,
            durable: self.next_seq - 1,
            dirty: Vec::new(),
            group: Group::default(),
            pace: Pace::default(),
            runtime: None,
            is_stuck: false,
            failed: None,
        };
        (committer, self.drain)
    }

    /// Sees to it that what was read outlives a loss of power, without writing.
    ///
    /// # Errors
    /// Of the disk: then nothing of it may be served.
    pub(super) fn sync(&self) -> io::Result<()> {
        for segment in &self.segments {
            self.shared.disk.open(&format::segment_name(*segment))?.sync()?;
        }
        Ok(())
    }

    /// Refuses writes until there is room; then what goes on. `None` when the storage was closed before.
    pub(super) fn wait_for_room(mut self, error: &io::Error) -> Option<(Committer, Drain)> {
        let mut refusal = refusal(error);
        let mut tried = Instant::now();
        let mut ops = Vec::new();
        loop {
            self.shared.health.note(&Err(refusal.clone()));
            if !self.shared.queue.take(&mut ops, &Pace::default()) {
                return None;
            }
            if refusal.kind == StorageErrorKind::Full && tried.elapsed() >= RETRY {
                match self.begin() {
                    Ok(segment) => {
                        tracing::info!("there is room on the disk again: writes are taken");
                        self.shared.health.note(&Ok(()));
                        let (mut committer, drain) = self.workers(segment);
                        committer.commit(&mut ops);
                        return Some((committer, drain));
                    }
                    Err(error) => refusal = self::refusal(&error),
                }
                tried = Instant::now();
            }
            self.refuse(&mut ops, &refusal);
        }
    }

    fn refuse(&self, ops: &mut Vec<Op>, refusal: &StorageError) {
        let names = ops.iter().filter(|op| op.is_about_names()).count();
        for op in ops.drain(..) {
            match op {
                Op::Load { name, reply } => {
                    // Whoever asked may have gone.
                    drop(reply.send(Ok(self.shared.find(&name).map(|entry| entry.load(&self.shared)))));
                }
                op => op.refuse(refusal),
            }
        }
        self.shared.queue.names_done(names);
    }
}

/// Whether a start can do without what failed.
pub(super) fn is_full(error: &io::Error) -> bool {
    storage_error(error).kind == StorageErrorKind::Full
}

fn refusal(error: &io::Error) -> StorageError {
    let StorageError { kind, message } = storage_error(error);
    StorageError { kind, message: format!("the storage was opened for reading only: {message}") }
}
