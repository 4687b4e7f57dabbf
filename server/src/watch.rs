//! Files that are read again when they have changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often to look. A look is one call of `stat`.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// A file, and what it looked like when it was last read.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
}

impl WatchedFile {
    /// A file that has been read just now.
    pub(crate) fn new(path: PathBuf) -> Self {
        let seen = look(&path).ok();
        Self { path, seen }
    }

    /// The text, if the file has another time or length than before. Tools that replace a file put the new one in its
    /// place in one step; a file that is missing for a moment is left for the next look.
    pub(crate) fn changed(&mut self) -> Option<io::Result<String>> {
        let now = look(&self.path).ok()?;
        if self.seen == Some(now) {
            return None;
        }
        self.seen = Some(now);
        Some(fs::read_to_string(&self.path))
    }

    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn look(path: &Path) -> io::Result<(SystemTime, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}
