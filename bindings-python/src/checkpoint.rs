//! Checkpoints as Python has them: `(offset, skip, incarnation)`. Their JSON form and their files are the core's.

use std::path::PathBuf;

use everstream::{Checkpoint, CheckpointFile};
use pyo3::prelude::*;

use crate::{error, options};

type Parts = (String, u64, Option<String>);

/// What Python has of a checkpoint.
pub(crate) fn parts(checkpoint: Checkpoint) -> Parts {
    let Checkpoint { from, skip, incarnation } = checkpoint;
    (from.to_string(), skip, incarnation)
}

/// The JSON form.
#[pyfunction]
#[pyo3(signature = (offset, skip, incarnation))]
pub(crate) fn checkpoint_to_json(
    py: Python<'_>,
    offset: &str,
    skip: u64,
    incarnation: Option<String>,
) -> PyResult<String> {
    Ok(options::checkpoint(py, offset, skip, incarnation)?.to_json())
}

/// Reads the JSON form.
#[pyfunction]
pub(crate) fn checkpoint_from_json(py: Python<'_>, text: &str) -> PyResult<Parts> {
    Checkpoint::from_json(text).map(parts).map_err(|error| error::raise(py, &error))
}

/// The checkpoint that a file holds for a stream.
#[pyfunction]
pub(crate) fn checkpoint_file_load(py: Python<'_>, path: PathBuf, stream: String) -> PyResult<Option<Parts>> {
    Ok(py.detach(|| CheckpointFile::new(path, stream).load())?.map(parts))
}

/// Replaces what a file holds.
#[pyfunction]
#[pyo3(signature = (path, stream, offset, skip, incarnation))]
pub(crate) fn checkpoint_file_store(
    py: Python<'_>,
    path: PathBuf,
    stream: String,
    offset: &str,
    skip: u64,
    incarnation: Option<String>,
) -> PyResult<()> {
    let checkpoint = options::checkpoint(py, offset, skip, incarnation)?;
    py.detach(|| CheckpointFile::new(path, stream).store(&checkpoint))?;
    Ok(())
}
