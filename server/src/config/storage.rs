//! Where streams are kept.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::units;
use crate::storage::{Folder, LogOptions, LogStorage, MemoryStorage, Storage};

/// Where streams are kept. [`open`](Self::open) makes the storage; a [`Server`](crate::Server) that is given
/// none keeps its streams in memory, whatever this says.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StorageConfig {
    /// Which storage. Default `log`.
    pub kind: StorageKind,
    /// The folder of the storage `log`, made if it is not there. Default `./everstream-data`.
    pub data_dir: PathBuf,
    /// When a segment of the log has this many bytes, its messages are carried into data files. It bounds what of
    /// them is kept in memory (up to four segments) and what a start has to replay. Default 32 MiB.
    #[serde(with = "units::size")]
    pub segment_bytes: usize,
    /// How many bytes of data files are kept in memory that were read and checked, for the next reader of the same; 0 for
    /// none. Default 64 MiB.
    #[serde(with = "units::size")]
    pub cache_bytes: usize,
}

/// The storages that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StorageKind {
    /// On disk, synced before each answer.
    #[default]
    Log,
    /// Gone when the server stops.
    Memory,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            kind: StorageKind::default(),
            data_dir: PathBuf::from("./everstream-data"),
            segment_bytes: 32 << 20,
            cache_bytes: 64 << 20,
        }
    }
}

impl StorageConfig {
    /// Opens the storage. Blocks while a log is read that was not drained.
    ///
    /// # Errors
    /// The folder cannot be used: it belongs to another process, is damaged, or was written by a newer version.
    pub fn open(&self) -> io::Result<Arc<dyn Storage>> {
        match self.kind {
            StorageKind::Memory => Ok(Arc::new(MemoryStorage::new())),
            StorageKind::Log => {
                let options =
                    LogOptions::default().segment_bytes(self.segment_bytes as u64).cache_bytes(self.cache_bytes);
                let folder = Folder::open(&self.data_dir)?;
                Ok(Arc::new(LogStorage::with_disk(Arc::new(folder), options)?))
            }
        }
    }
}
