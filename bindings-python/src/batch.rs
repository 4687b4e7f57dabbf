//! What a read hands over.

use std::sync::OnceLock;

use everstream::{Batch as CoreBatch, Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::json::{Builder, Recording};
use crate::{checkpoint, error, json};

/// Smaller ones are parsed faster than they are recorded.
const RECORDED_BYTES: usize = 16 << 10;
/// Messages that are made at a time when they are taken one by one: few enough to find their memory in the processor's
/// cache again, and to be given back to who holds the memory of Python without its asking the system for more.
const PART: usize = 128;

/// Data in stream order, and where it leaves its reader.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Batch {
    core: CoreBatch,
    /// What its JSON says, once somebody looked; not of every batch.
    recording: OnceLock<Option<Recording>>,
}

impl Batch {
    pub(crate) fn new(core: CoreBatch) -> Self {
        Self { core, recording: OnceLock::new() }
    }

    /// Does everything that can be done without the interpreter to have the messages; takes a while.
    pub(crate) fn record(&self) -> Option<&Recording> {
        if !self.core.is_json() || self.core.len() < RECORDED_BYTES {
            return None;
        }
        self.recording.get_or_init(|| Recording::of(self.core.bytes())).as_ref()
    }

    /// The same while others have the interpreter.
    fn recording(&self, py: Python<'_>) -> Option<&Recording> {
        match self.recording.get() {
            Some(known) => known.as_ref(),
            None if self.core.len() < RECORDED_BYTES => None,
            None => py.detach(|| self.record()),
        }
    }
}

#[pymethods]
impl Batch {
    /// The data as one piece; of a JSON stream an array of its messages.
    fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.core.bytes())
    }

    /// The messages of a JSON stream as a list of objects; a batch of another stream is taken for one JSON text.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(recording) = self.recording(py) {
            let messages = Builder::new(py, recording)?.messages(py, recording, usize::MAX)?;
            return Ok(messages.into_any());
        }
        let parsed = json::parse(py, &self.core.bytes());
        if self.core.is_json() {
            return parsed;
        }
        match parsed {
            Ok(value) if value.is_instance_of::<PyList>() => Ok(value),
            Ok(value) => Ok(PyList::new(py, [value])?.into_any()),
            Err(_) => {
                let message = "the stream is not one of JSON messages, and what was read is not JSON either";
                Err(error::raise(py, &Error::new(ErrorKind::NotSupported, message)))
            }
        }
    }

    /// The same in lists of some messages, each made when it is asked for.
    fn json_parts(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        let py = slf.py();
        match slf.get().recording(py) {
            Some(recording) => {
                let builder = Builder::new(py, recording)?;
                Ok(Bound::new(py, Parts { batch: slf.clone().unbind(), builder })?.into_any())
            }
            None => Ok(PyList::new(py, [slf.get().json(py)?])?.try_iter()?.into_any()),
        }
    }

    /// Messages of a JSON stream, bytes of any other.
    #[getter]
    fn units(&self) -> u64 {
        self.core.units()
    }

    #[getter]
    fn is_json(&self) -> bool {
        self.core.is_json()
    }

    #[getter]
    fn cursor(&self) -> Option<&str> {
        self.core.cursor()
    }

    #[getter]
    fn etag(&self) -> Option<&str> {
        self.core.etag()
    }

    #[getter]
    fn up_to_date(&self) -> bool {
        self.core.is_up_to_date()
    }

    #[getter]
    fn closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Where to go on after its first so many units: `(offset, skip, incarnation)`.
    fn checkpoint(&self, units: u64) -> (String, u64, Option<String>) {
        checkpoint::parts(self.core.checkpoint_at(units))
    }
}

/// The messages of a batch, some at a time.
#[pyclass(module = "everstream._native")]
struct Parts {
    /// Recorded.
    batch: Py<Batch>,
    builder: Builder,
}

#[pymethods]
impl Parts {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(recording) = self.batch.get().record() else { return Ok(None) };
        let part = self.builder.messages(py, recording, PART)?;
        Ok((!part.is_empty()).then_some(part))
    }
}
