//! Python objects as JSON text.

use pyo3::exceptions::{PyRecursionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// Deeper values are taken for cyclic ones; the same as Python's own limit.
const MAX_DEPTH: usize = 990;

/// A Python value as JSON text.
///
/// # Errors
/// `TypeError` for a value that has no JSON form, `ValueError` for a float that is not finite or a lone surrogate,
/// `RecursionError` for one that contains itself.
pub(crate) fn encode(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut text = Vec::with_capacity(128);
    write(&mut text, value, 0)?;
    Ok(text)
}

fn write(text: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    if depth > MAX_DEPTH {
        return Err(PyRecursionError::new_err("the value is nested too deeply, or contains itself"));
    }
    if let Ok(string) = value.cast::<PyString>() {
        return write_str(text, string.to_str()?);
    }
    if value.is_none() {
        text.extend_from_slice(b"null");
    } else if let Ok(flag) = value.cast::<PyBool>() {
        text.extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
    } else if value.is_instance_of::<PyInt>() {
        match value.extract::<i64>() {
            Ok(small) => write_as_is(text, &small)?,
            // Larger than any machine's integer; also of a subclass that prints itself in another way.
            Err(_) => text.extend_from_slice(int_text(value)?.to_str()?.as_bytes()),
        }
    } else if let Ok(float) = value.cast::<PyFloat>() {
        let number = float.value();
        if !number.is_finite() {
            return Err(PyValueError::new_err(format!("{number} has no JSON form")));
        }
        write_as_is(text, &number)?;
    } else if let Ok(dict) = value.cast::<PyDict>() {
        write_dict(text, dict, depth)?;
    } else if let Ok(list) = value.cast::<PyList>() {
        write_array(text, list.iter(), depth)?;
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        write_array(text, tuple.iter(), depth)?;
    } else {
        let message =
            format!("a {} has no JSON form: convert it, or give an `encode` function", value.get_type().name()?);
        return Err(PyTypeError::new_err(message));
    }
    Ok(())
}

fn write_dict(text: &mut Vec<u8>, dict: &Bound<'_, PyDict>, depth: usize) -> PyResult<()> {
    text.push(b'{');
    let mut first = true;
    for (key, value) in dict.iter() {
        if !first {
            text.push(b',');
        }
        first = false;
        match key.cast::<PyString>() {
            Ok(key) => write_str(text, key.to_str()?)?,
            // As Python's json does: numbers, booleans and None become the text of their JSON form.
            Err(_) if key.is_instance_of::<PyDict>() || key.is_instance_of::<PyTuple>() => {
                return Err(PyTypeError::new_err("keys must be str, int, float, bool or None"));
            }
            Err(_) => {
                text.push(b'"');
                write(text, &key, depth + 1)?;
                text.push(b'"');
            }
        }
        text.push(b':');
        write(text, &value, depth + 1)?;
    }
    text.push(b'}');
    Ok(())
}

fn write_array<'py>(text: &mut Vec<u8>, items: impl Iterator<Item = Bound<'py, PyAny>>, depth: usize) -> PyResult<()> {
    text.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(b',');
        }
        write(text, &item, depth + 1)?;
    }
    text.push(b']');
    Ok(())
}

fn write_str(text: &mut Vec<u8>, string: &str) -> PyResult<()> {
    // Most strings need no escape.
    if string.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        text.push(b'"');
        text.extend_from_slice(string.as_bytes());
        text.push(b'"');
        return Ok(());
    }
    write_as_is(text, string)
}

fn write_as_is<T: serde::Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) -> PyResult<()> {
    serde_json::to_writer(text, value).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn int_text<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    value.py().get_type::<PyInt>().call_method1("__repr__", (value,))?.cast_into::<PyString>().map_err(Into::into)
}

/// Any value as JSON text in UTF-8.
#[pyfunction]
pub(crate) fn to_json<'py>(py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &encode(value)?))
}
