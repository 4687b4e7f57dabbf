//! The file system as the log sees it: one flat folder of files. A trait, so that a test can put a disk
//! below the log that loses, tears and refuses writes.
//!
//! What an implementation must keep: bytes are safe once [`DiskFile::sync`] has returned `Ok`, names once
//! [`Disk::sync_names`] has. Anything else may be lost in a crash, in part and in any order.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::io::Errno;

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

    /// As [`Self::read_at`], but does not wait for the medium: it reads what memory has, as far as that can be told.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if some of it has to be fetched; those of [`Self::read_at`].
    fn read_at_once(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.read_at(at, len)
    }

    /// The file of the operating system that has these bytes, if there is one and it can send them.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Writes all of `data` at `at`.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is no room; others of the operating system. Some of the
    /// bytes may have been written.
    fn write_at(&self, at: u64, data: &[u8]) -> io::Result<()>;

    /// Writes all of `parts` at `at`, one behind the other.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    fn write_parts_at(&self, mut at: u64, parts: &[&[u8]]) -> io::Result<()> {
        for part in parts {
            self.write_at(at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

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

/// How long a folder may still be another process's, and how often that is looked at. There is no lock that waits for a time.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// A folder of the operating system, held by this process alone.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and takes it for this process. If another one has it, this waits for up to 5 s:
    /// a process that was killed keeps its lock until the system has taken all its memory back, while the next one starts.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process has it and keeps it; others of the operating system.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        std::fs::create_dir_all(&path)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(super::format::LOCK))?;
        let until = Instant::now() + LOCK_WAIT;
        while let Err(error) = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            match error {
                Errno::INTR => {}
                Errno::WOULDBLOCK if Instant::now() < until => std::thread::sleep(LOCK_RETRY),
                Errno::WOULDBLOCK => {
                    let message =
                        "another process uses the data directory; stop it, or give this one a directory of its own";
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
                }
                error => return Err(error.into()),
            }
        }
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

/// Reads of more than this look for what is in memory at such distances.
#[cfg(target_os = "linux")]
const PROBED: usize = 64 << 10;

/// So many parts are written at once; the kernel takes no more.
#[cfg(target_os = "linux")]
const MOST_PARTS: usize = 1024;

#[derive(Debug)]
struct OpenFile(File);

#[cfg(target_os = "linux")]
impl OpenFile {
    /// Reads what the kernel has in memory.
    fn read_cached(&self, at: u64, data: &mut [u8]) -> io::Result<()> {
        use rustix::io::{ReadWriteFlags, preadv2};
        let mut filled = 0;
        while filled < data.len() {
            let rest = &mut [io::IoSliceMut::new(&mut data[filled..])];
            match preadv2(&self.0, rest, at + filled as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => filled += more,
                Err(Errno::INTR) => {}
                // Not every kernel and file system can tell.
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

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
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // An allocator may give more than was asked for.
        data.truncate(len);
        Ok(data.into())
    }

    #[cfg(target_os = "linux")]
    fn read_at_once(&self, at: u64, len: usize) -> io::Result<Bytes> {
        if len <= PROBED {
            let mut data = vec![0; len];
            return self.read_cached(at, &mut data).map(|()| data.into());
        }
        // Zeroing room for all of it would cost a tenth of the read. The kernel fetches and forgets larger units than lie
        // between two probes; should something be missing there all the same, this read waits for it.
        for offset in (0..len).step_by(PROBED).chain([len - 1]) {
            self.read_cached(at + offset as u64, &mut [0])?;
        }
        self.read_at(at, len)
    }

    #[cfg(target_os = "linux")]
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn write_at(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, at)
    }

    #[cfg(target_os = "linux")]
    fn write_parts_at(&self, mut at: u64, parts: &[&[u8]]) -> io::Result<()> {
        use rustix::io::pwritev;
        // What is empty would look as if nothing could be written.
        let parts = parts.iter().filter(|part| !part.is_empty());
        let mut slices: Vec<_> = parts.map(|part| io::IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            match pwritev(&self.0, &rest[..rest.len().min(MOST_PARTS)], at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    io::IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_in_order_however_many_and_however_small() {
        let folder = tempfile::tempdir().unwrap();
        let file = Folder::open(folder.path()).unwrap().create("x").unwrap();
        let whole: Vec<u8> = (0..9 * MOST_PARTS).map(|at| (at % 251) as u8).collect();
        let mut parts: Vec<&[u8]> = whole.chunks(3).collect();
        parts.insert(0, &[]);
        parts.push(&[]);
        file.write_at(0, b"head").unwrap();
        file.write_parts_at(4, &parts).unwrap();
        file.write_parts_at(2, &[]).unwrap();
        assert_eq!(file.read_at(0, whole.len() + 4).unwrap(), [b"head", &whole[..]].concat());
        assert_eq!(file.size().unwrap(), whole.len() as u64 + 4);
    }

    #[test]
    fn a_folder_that_is_given_up_soon_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let first = Folder::open(folder.path()).unwrap();
        let lock = folder.path().canonicalize().unwrap().join(super::super::format::LOCK);
        let is_tried = || {
            let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            open.filter(|link| std::fs::read_link(link.path()).is_ok_and(|file| file == lock)).count() == 2
        };
        std::thread::scope(|threads| {
            let second = threads.spawn(|| Folder::open(folder.path()).map(drop));
            while !is_tried() {
                assert!(!second.is_finished(), "it did not wait");
                std::thread::yield_now();
            }
            drop(first);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn what_is_in_memory_is_read_at_once_and_the_rest_is_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder::open(folder.path()).unwrap();
        let written: Vec<u8> = (0..5 * PROBED + 7).map(|at| (at % 251) as u8).collect();
        let file = disk.create("x").unwrap();
        file.write_at(0, &written).unwrap();
        file.sync().unwrap();
        for (at, len) in [(0, 1), (3, PROBED), (5, PROBED + 1), (0, written.len()), (1, 3 * PROBED)] {
            match file.read_at_once(at as u64, len) {
                Ok(read) => assert_eq!(read, written[at..at + len]),
                // A file system that cannot tell.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            assert_eq!(file.read_at(at as u64, len).unwrap(), written[at..at + len]);
        }
        let beyond = file.read_at_once(written.len() as u64 - 1, 2).unwrap_err().kind();
        assert!(matches!(beyond, io::ErrorKind::UnexpectedEof | io::ErrorKind::WouldBlock), "{beyond}");
        // What the kernel has forgotten is read by who waits, or has come back by then.
        let forgetting = File::open(folder.path().join("x")).unwrap();
        rustix::fs::fadvise(&forgetting, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        match file.read_at_once(0, written.len()) {
            Ok(read) => assert_eq!(read, written),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert_eq!(file.read_at(0, written.len()).unwrap(), written);
    }
}
