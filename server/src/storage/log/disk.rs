//! The file system as the log sees it: one flat folder of files. A trait, so that a test can put a disk
//! below the log that loses, tears and refuses writes.
//!
//! What an implementation must keep: bytes are safe once [`DiskFile::sync`] has returned `Ok`, names once
//! [`Disk::sync_names`] has. Anything else may be lost in a crash, in part and in any order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

/// A folder of files.
pub trait Disk: Send + Sync + 'static {
    /// Makes an empty file, or empties one that is there.
    ///
    /// # Errors
    /// Of the operating system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none; others of the operating system.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of all files.
    ///
    /// # Errors
    /// Of the operating system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name and replaces what has it.
    ///
    /// # Errors
    /// Of the operating system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Whoever has it open may go on using it.
    ///
    /// # Errors
    /// Of the operating system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// Of the operating system.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync + 'static {
    /// How long it is.
    ///
    /// # Errors
    /// Of the operating system.
    fn size(&self) -> io::Result<u64>;

    /// Reads exactly `len` bytes from `at`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there are fewer; others of the operating system.
    fn read_at(&self, at: u64, len: usize) -> io::Result<Bytes>;

    /// Writes all of `data` at `at`.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is no room; others of the operating system. Some of the
    /// bytes may have been written.
    fn write_at(&self, at: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// Of the operating system.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// Of the operating system. What was written since the last success is then lost or not: nobody can
    /// say, and a later success does not change that.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the operating system, held by this process alone.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and takes it for this process.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process has it; others of the operating system.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        std::fs::create_dir_all(&path)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(super::format::LOCK))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            io::Error::new(io::Error::from(error).kind(), "another process uses the data directory")
        })?;
        Ok(Self { path, _lock: lock })
    }
}

impl Disk for Folder {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(OpenFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenFile(File::options().read(true).write(true).open(self.path.join(name))?)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        std::fs::read_dir(&self.path)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

#[derive(Debug)]
struct OpenFile(File);

impl DiskFile for OpenFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, at: u64, len: usize) -> io::Result<Bytes> {
        // Spare capacity need not be zeroed first.
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            let from = at + data.len() as u64;
            match rustix::io::pread(&self.0, rustix::buffer::spare_capacity(&mut data), from) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // An allocator may give more than was asked for.
        data.truncate(len);
        Ok(data.into())
    }

    fn write_at(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, at)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
