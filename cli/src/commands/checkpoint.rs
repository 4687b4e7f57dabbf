//! A file that remembers how far a stream has been read.
//!
//! One JSON object: `stream` (the id, so that a file is not used for another stream by mistake), `from` (an
//! offset, or `-1`), `skip` (messages or bytes after it that were printed already) and `incarnation` (so that a
//! stream deleted and created anew is noticed). It is replaced by renaming, so it is always whole.

use std::io;
use std::path::{Path, PathBuf};

use everstream::{Checkpoint, ReadFrom};
use serde::{Deserialize, Serialize};

use crate::output::Failure;

pub(crate) struct CheckpointFile {
    path: PathBuf,
    stream: String,
}

#[derive(Deserialize, Serialize)]
struct Content {
    stream: String,
    from: String,
    skip: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incarnation: Option<String>,
}

impl CheckpointFile {
    pub(crate) fn new(path: &Path, stream: &str) -> Self {
        Self { path: path.to_owned(), stream: stream.to_owned() }
    }

    /// What the file says, if it is there.
    pub(crate) fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failure("read", &error.to_string())),
        };
        let content: Content =
            serde_json::from_slice(&text).map_err(|error| self.failure("use", &error.to_string()))?;
        if content.stream != self.stream {
            return Err(self.failure("use", &format!("it belongs to stream {:?}", content.stream)));
        }
        let from: ReadFrom = content.from.parse().map_err(|error| self.failure("use", &format!("{error}")))?;
        Ok(Some(Checkpoint { from, skip: content.skip, incarnation: content.incarnation }))
    }

    pub(crate) fn store(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let content = Content {
            stream: self.stream.clone(),
            from: checkpoint.from.to_string(),
            skip: checkpoint.skip,
            incarnation: checkpoint.incarnation.clone(),
        };
        let mut beside = self.path.clone().into_os_string();
        beside.push(format!(".{}.tmp", std::process::id()));
        serde_json::to_vec(&content)
            .map_err(io::Error::other)
            .and_then(|text| std::fs::write(&beside, text))
            .and_then(|()| std::fs::rename(&beside, &self.path))
            .map_err(|error| self.failure("write", &error.to_string()))
    }

    fn failure(&self, what: &str, why: &str) -> Failure {
        Failure::new(format!("Failed to {what} checkpoint file {}", self.path.display())).detail(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everstream::Offset;

    #[test]
    fn a_checkpoint_comes_back_as_it_was_stored() {
        let dir = tempfile::tempdir().unwrap();
        let file = CheckpointFile::new(&dir.path().join("at"), "a/b");
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
