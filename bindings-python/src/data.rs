//! What a caller wants to have appended: text and bytes as they are, everything else as JSON.

use bytes::Bytes;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString};

use crate::json;

/// A message on its way into the core.
pub(crate) enum Data {
    /// As it is: bytes, or one JSON document on a JSON stream.
    Raw(Bytes),
    /// JSON text made here from a value.
    Json(Bytes),
}

impl Data {
    /// Text and bytes-like objects as they are; other values by the caller's `encode`, or as JSON.
    pub(crate) fn of(value: &Bound<'_, PyAny>, encode: Option<&Py<PyAny>>) -> PyResult<Self> {
        if encode.is_none() && is_plain(value) {
            return Self::json(value);
        }
        if let Some(raw) = raw(value)? {
            return Ok(Self::Raw(raw));
        }
        let Some(encode) = encode else {
            return Self::json(value);
        };
        let encoded = encode.bind(value.py()).call1((value,))?;
        raw(&encoded)?.map(Self::Raw).ok_or_else(|| PyTypeError::new_err("`encode` must give str or bytes"))
    }

    /// Any value as JSON; a string becomes a JSON string.
    pub(crate) fn json(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        json::encode(value).map(|text| Self::Json(text.into()))
    }
}

/// Whether it is one of the common things that are not bytes: looking for a buffer costs more than this.
fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.is_none()
}

/// The bytes of text (UTF-8) and of everything with the buffer protocol; `None` for other values.
pub(crate) fn raw(value: &Bound<'_, PyAny>) -> PyResult<Option<Bytes>> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Some(Bytes::copy_from_slice(text.to_str()?.as_bytes())));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Some(Bytes::copy_from_slice(bytes.as_bytes())));
    }
    // The stable ABI of 3.10 has no buffers; a memoryview of the value does, and copies as this would.
    let Ok(view) = PyMemoryView::from(value) else { return Ok(None) };
    let copy = view.call_method0("tobytes")?.cast_into::<PyBytes>()?;
    Ok(Some(Bytes::copy_from_slice(copy.as_bytes())))
}
