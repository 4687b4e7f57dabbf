//! The files that runs live in: how much of each is still in use, and a few that are kept open.
//!
//! A run lives in a data file. Its data may have stayed in a segment of the log, which then is kept as long as it is needed,
//! as a data file is. Here both have numbers: that of a segment has [`SEGMENT`] in it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};
use super::drain::Drains;
use super::format::{data_name, segment_name};
use super::pieces::Pieces;
use super::run::{Part, RunRef};
use super::span::{FileSpan, Trust};
use crate::storage::blocks::Place;

/// How many files are open at most.
const OPEN: usize = 64;
/// Marks the number of a segment of the log.
pub(super) const SEGMENT: u64 = 1 << 63;

pub(super) struct Files {
    disk: Arc<dyn Disk>,
    sizes: Mutex<HashMap<u64, Size>>,
    /// The one used last comes last.
    open: Mutex<Vec<(u64, Arc<dyn DiskFile>)>>,
    pub(super) pieces: Pieces,
    trust: Arc<Trust>,
    /// Told when space was released.
    drains: Arc<Drains>,
}

/// Bytes of one file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// 0 for a segment that is not drained.
    pub(super) total: u64,
    /// In runs of streams.
    pub(super) live: u64,
}

impl Files {
    pub(super) fn new(disk: Arc<dyn Disk>, cache_bytes: usize, drains: Arc<Drains>) -> Self {
        Self {
            disk,
            sizes: Mutex::default(),
            open: Mutex::default(),
            pieces: Pieces::new(cache_bytes),
            trust: Arc::default(),
            drains,
        }
    }

    /// A file that runs are about to live in.
    pub(super) fn add(&self, file: u64, total: u64) {
        self.sizes.lock().insert(file, Size { total, live: 0 });
    }

    pub(super) fn retain_run(&self, run: &RunRef) {
        let mut sizes = self.sizes.lock();
        if let Some(size) = sizes.get_mut(&run.file) {
            size.live += run.size();
        }
        if let Some(segment) = run.segment() {
            sizes.entry(segment).or_default().live += run.len;
        }
    }

    pub(super) fn release_run(&self, run: &RunRef) {
        let mut sizes = self.sizes.lock();
        if let Some(size) = sizes.get_mut(&run.file) {
            size.live = size.live.saturating_sub(run.size());
        }
        if let Some(size) = run.segment().and_then(|segment| sizes.get_mut(&segment)) {
            size.live = size.live.saturating_sub(run.len);
        }
        drop(sizes);
        self.drains.released();
    }

    /// Takes over a segment of the log that is drained, if runs have left data in its `used` bytes; removes it otherwise.
    pub(super) fn take_over(&self, segment: u64, used: u64) -> io::Result<()> {
        let name = segment_name(segment);
        let key = SEGMENT | segment;
        {
            let mut sizes = self.sizes.lock();
            match sizes.get_mut(&key) {
                Some(size) if size.live > 0 => size.total = used,
                _ => {
                    sizes.remove(&key);
                    let removed = self.disk.remove(&name);
                    self.close(key);
                    return removed;
                }
            }
        }
        self.disk.open(&name)?.truncate(used)
    }

    /// Whether a segment of the log is there for runs alone.
    pub(super) fn is_kept(&self, segment: u64) -> bool {
        self.sizes.lock().get(&(SEGMENT | segment)).is_some_and(|size| size.total > 0)
    }

    pub(super) fn sizes(&self) -> Vec<(u64, Size)> {
        let mut sizes: Vec<_> =
            self.sizes.lock().iter().map(|(file, size)| (*file, *size)).filter(|(_, size)| size.total > 0).collect();
        sizes.sort_unstable_by_key(|(file, _)| *file);
        sizes
    }

    /// Removes a file that nothing lives in any more.
    pub(super) fn remove(&self, file: u64) -> io::Result<()> {
        match self.disk.remove(&name_of(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.sizes.lock().remove(&file);
        self.close(file);
        Ok(())
    }

    /// The file of a run, and the segment of the log that has its data if that is not the same.
    #[allow(clippy::type_complexity)]
    pub(super) fn open_run(&self, run: &RunRef) -> io::Result<(Arc<dyn DiskFile>, Option<Arc<dyn DiskFile>>)> {
        Ok((self.open(run.file)?, run.segment().map(|segment| self.open(segment)).transpose()?))
    }

    /// Where parts of a run lie, as far as it is worth knowing.
    pub(super) fn spans_in_run(&self, run: &RunRef, parts: &[Part]) -> Vec<Option<FileSpan>> {
        let file = run.data_file();
        self.spans(parts.iter().map(|part| (part.data.len() >= FileSpan::SMALLEST).then_some((file, part.at))))
    }

    /// Where blocks of data lie in segments of the log, as far as it is worth knowing: those with these numbers have places.
    pub(super) fn spans_in_log(&self, data: &[Bytes], places: &[(usize, Place)]) -> Vec<Option<FileSpan>> {
        let mut places = places.iter().peekable();
        self.spans(data.iter().enumerate().map(|(number, block)| {
            let (_, place) = places.next_if(|(placed, _)| *placed == number)?;
            let segment = SEGMENT | u64::from(place.segment.get());
            (block.len() >= FileSpan::SMALLEST).then_some((segment, u64::from(place.offset)))
        }))
    }

    /// Spans of these files and places. Nothing is allocated if there are none. A file that is gone, or cannot be opened, is no
    /// failure: the bytes are in memory.
    fn spans(&self, places: impl Iterator<Item = Option<(u64, u64)>>) -> Vec<Option<FileSpan>> {
        let mut spans = Vec::new();
        for (number, place) in places.enumerate() {
            if let Some((file, at)) = place
                && let Ok(handle) = self.open(file)
            {
                spans.resize(number, None);
                spans.push(Some(FileSpan::new(handle, file, at, Arc::clone(&self.trust))));
            }
        }
        spans
    }

    fn close(&self, file: u64) {
        self.open.lock().retain(|(open, _)| *open != file);
    }

    fn open(&self, file: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock();
        let handle = match open.iter().position(|(known, _)| *known == file) {
            Some(at) if at + 1 == open.len() => return Ok(Arc::clone(&open[at].1)),
            Some(at) => open.remove(at).1,
            None => {
                if open.len() == OPEN {
                    open.remove(0);
                }
                self.disk.open(&name_of(file))?
            }
        };
        open.push((file, Arc::clone(&handle)));
        Ok(handle)
    }
}

/// What a file is called.
pub(super) fn name_of(file: u64) -> String {
    if file & SEGMENT == 0 { data_name(file) } else { segment_name(file & !SEGMENT) }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::disk::Folder;
    use super::*;

    /// A file that is removed and still open takes room that nobody sees.
    #[test]
    fn a_file_that_is_removed_is_not_held_open() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(Arc::new(Folder::open(folder.path()).unwrap()), 0, Arc::default());
        let held = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap();
            let links = links.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
            links.filter(|file| file.starts_with(folder.path()) && !file.ends_with("LOCK")).collect::<Vec<_>>()
        };
        let numbers = [1, 2, SEGMENT | 1, SEGMENT | 2];
        for number in numbers {
            files.disk.create(&name_of(number)).unwrap();
            files.add(number, 10);
            files.open(number).unwrap();
        }
        assert_eq!(held().len(), 4);
        files.remove(1).unwrap();
        files.remove(SEGMENT | 1).unwrap();
        files.take_over(2, 10).unwrap();
        assert_eq!(held(), [folder.path().join(name_of(2))]);
    }
}
