//! What a read hands over.

use everstream::{Batch as CoreBatch, Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::{checkpoint, error, json};

/// Data in stream order, and where it leaves its reader.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Batch(pub(crate) CoreBatch);

#[pymethods]
impl Batch {
    /// The data as one piece; of a JSON stream an array of its messages.
    fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.bytes())
    }

    /// The messages of a JSON stream as a list of objects; a batch of another stream is taken for one JSON text.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let parsed = json::parse(py, &self.0.bytes());
        if self.0.is_json() {
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

    /// Messages of a JSON stream, bytes of any other.
    #[getter]
    fn units(&self) -> u64 {
        self.0.units()
    }

    #[getter]
    fn is_json(&self) -> bool {
        self.0.is_json()
    }

    #[getter]
    fn cursor(&self) -> Option<&str> {
        self.0.cursor()
    }

    #[getter]
    fn etag(&self) -> Option<&str> {
        self.0.etag()
    }

    #[getter]
    fn up_to_date(&self) -> bool {
        self.0.is_up_to_date()
    }

    #[getter]
    fn closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Where to go on after its first so many units: `(offset, skip, incarnation)`.
    fn checkpoint(&self, units: u64) -> (String, u64, Option<String>) {
        checkpoint::parts(self.0.checkpoint_at(units))
    }
}
