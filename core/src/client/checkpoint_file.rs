//! A file that remembers how far a stream has been read.
//!
//! One JSON object: a [`Checkpoint`] and `stream`, which names what it belongs to, so that a file is not used for
//! another stream by mistake. It is replaced by renaming and reaches the disk before that, so it is always whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;

/// Stores checkpoints of one stream in one file.
#[derive(Clone, Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    stream: String,
}

#[derive(Deserialize, Serialize)]
struct Content {
    stream: String,
    #[serde(flatten)]
    checkpoint: Checkpoint,
}

impl CheckpointFile {
    /// A file for the stream of this name; any name that the caller finds it by.
    pub fn new(path: impl Into<PathBuf>, stream: impl Into<String>) -> Self {
        Self { path: path.into(), stream: stream.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says; `None` when it is not there.
    ///
    /// # Errors
    /// `InvalidData` when it holds something else, or belongs to another stream; as reading a file.
    pub fn load(&self) -> io::Result<Option<Checkpoint>> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let content: Content = serde_json::from_slice(&text).map_err(io::Error::other).map_err(invalid)?;
        if content.stream != self.stream {
            return Err(invalid(io::Error::other(format!("it belongs to stream {:?}", content.stream))));
        }
        Ok(Some(content.checkpoint))
    }

    /// Replaces the file; when this returns, the checkpoint is on disk.
    ///
    /// # Errors
    /// As writing a file; the one before is then still there.
    pub fn store(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let content = Content { stream: self.stream.clone(), checkpoint: checkpoint.clone() };
        let text = serde_json::to_vec(&content)?;
        let mut beside = self.path.clone().into_os_string();
        beside.push(format!(".{}.tmp", std::process::id()));
        let mut file = File::create(&beside)?;
        file.write_all(&text).and_then(|()| file.sync_data())?;
        drop(file);
        std::fs::rename(&beside, &self.path)
    }
}

fn invalid(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::offset::Offset;

    #[test]
    fn a_checkpoint_comes_back_as_it_was_stored() {
        let dir = tempfile::tempdir().unwrap();
        let file = CheckpointFile::new(dir.path().join("at"), "a/b");
        assert!(file.load().unwrap().is_none());
        for checkpoint in [
            Checkpoint::default(),
            Checkpoint { from: Offset::new("0_7").unwrap().into(), skip: 3, incarnation: Some("x".into()) },
        ] {
            file.store(&checkpoint).unwrap();
            assert_eq!(file.load().unwrap(), Some(checkpoint));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no file is left beside it");
    }

    #[test]
    fn another_streams_file_and_garbage_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("at");
        CheckpointFile::new(&path, "a").store(&Checkpoint::default()).unwrap();
        let error = CheckpointFile::new(&path, "b").load().unwrap_err();
        assert!(error.to_string().contains("\"a\""), "{error}");
        std::fs::write(&path, "").unwrap();
        assert!(CheckpointFile::new(&path, "a").load().is_err());
    }
}
