//! JSON between bytes and Python objects, without a detour.

mod build;
mod encode;
mod record;

use jiter::{PythonParse, StringCacheMode};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

pub(crate) use self::build::Builder;
pub(crate) use self::encode::{encode, to_json};
pub(crate) use self::record::Recording;

/// A JSON text as Python objects; integers are exact.
///
/// Parsed by jiter. What it refuses and Python accepts - lone surrogates, very deep nesting - Python's own parser gets
/// to see, so that no message is unreadable here that is readable elsewhere.
pub(crate) fn parse<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    // Keys come again in every message; looking values up costs more than making them anew.
    let parser = PythonParse { cache_mode: StringCacheMode::Keys, ..PythonParse::default() };
    match parser.python_parse(py, text) {
        Ok(value) => Ok(value),
        Err(_) => LOADS.import(py, "json", "loads")?.call1((PyBytes::new(py, text),)),
    }
}

/// A JSON text in UTF-8 as Python objects.
#[pyfunction]
pub(crate) fn from_json<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    parse(py, text)
}
