//! The data files: how much of each is still in use, and a few that are kept open.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};
use super::drain::Drains;
use super::format::data_name;
use super::pieces::Pieces;
use super::run::RunRef;

/// How many data files are open at most.
const OPEN: usize = 64;

pub(super) struct Files {
    disk: Arc<dyn Disk>,
    sizes: Mutex<HashMap<u64, Size>>,
    /// The one used last comes last.
    open: Mutex<Vec<(u64, Arc<dyn DiskFile>)>>,
    pub(super) pieces: Pieces,
    /// Told when space was released.
    drains: Arc<Drains>,
}

/// Bytes of one data file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) total: u64,
    /// In runs of streams.
    pub(super) live: u64,
}

impl Files {
    pub(super) fn new(disk: Arc<dyn Disk>, cache_bytes: usize, drains: Arc<Drains>) -> Self {
        Self { disk, sizes: Mutex::default(), open: Mutex::default(), pieces: Pieces::new(cache_bytes), drains }
    }

    /// A file that runs are about to live in.
    pub(super) fn add(&self, file: u64, total: u64) {
        self.sizes.lock().insert(file, Size { total, live: 0 });
    }

    pub(super) fn retain_run(&self, run: &RunRef) {
        if let Some(size) = self.sizes.lock().get_mut(&run.file) {
            size.live += run.size();
        }
    }

    pub(super) fn release_run(&self, run: &RunRef) {
        if let Some(size) = self.sizes.lock().get_mut(&run.file) {
            size.live = size.live.saturating_sub(run.size());
        }
        self.drains.released();
    }

    pub(super) fn sizes(&self) -> Vec<(u64, Size)> {
        let mut sizes: Vec<_> = self.sizes.lock().iter().map(|(file, size)| (*file, *size)).collect();
        sizes.sort_unstable_by_key(|(file, _)| *file);
        sizes
    }

    /// Removes a file that nothing lives in any more.
    pub(super) fn remove(&self, file: u64) -> io::Result<()> {
        match self.disk.remove(&data_name(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.sizes.lock().remove(&file);
        self.open.lock().retain(|(open, _)| *open != file);
        Ok(())
    }

    pub(super) fn open(&self, file: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock();
        let handle = match open.iter().position(|(known, _)| *known == file) {
            Some(at) if at + 1 == open.len() => return Ok(Arc::clone(&open[at].1)),
            Some(at) => open.remove(at).1,
            None => {
                if open.len() == OPEN {
                    open.remove(0);
                }
                self.disk.open(&data_name(file))?
            }
        };
        open.push((file, Arc::clone(&handle)));
        Ok(handle)
    }
}
