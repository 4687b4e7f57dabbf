//! The core's error to the package's exceptions, in one place. The classes are in Python (`errors.py`).

use everstream::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};

/// The exception for an error.
///
/// What a function of the caller's raised comes back as it was, unless the error has more to say.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    match own_exception(error) {
        Some(own) if error.failures().is_empty() => own.clone_ref(py),
        own => build(py, error).map_or_else(
            |error| error,
            |built| {
                let built = PyErr::from_value(built);
                built.set_cause(py, own.map(|own| own.clone_ref(py)));
                built
            },
        ),
    }
}

/// What a function of the caller's raised, if that is at the bottom of it.
fn own_exception(error: &Error) -> Option<&PyErr> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(own) = error.downcast_ref::<PyErr>() {
            return Some(own);
        }
        source = error.source();
    }
    None
}

/// An argument that was refused.
pub(crate) fn invalid_argument(py: Python<'_>, message: impl Into<String>) -> PyErr {
    raise(py, &Error::invalid_argument(message))
}

/// Something that belongs to the process that made it was used in a forked one.
pub(crate) fn forked(py: Python<'_>, what: &str) -> PyErr {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = CLASS
        .import(py, "everstream.errors", "ForkedError")
        .and_then(|class| class.call1((format!("this {what} was made before the process forked: make a new one"),)));
    made.map_or_else(|error| error, PyErr::from_value)
}

fn build<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static BUILD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let facts = PyDict::new(py);
    facts.set_item("url", error.url())?;
    facts.set_item("operation", error.operation().map(|it| it.to_string()))?;
    facts.set_item("retryable", error.is_retryable())?;
    facts.set_item("outcome_unknown", error.outcome_unknown())?;
    facts.set_item("retry_after", error.retry_after().map(|it| it.as_secs_f64()))?;
    if let Some(response) = error.response() {
        facts.set_item("status", response.status)?;
        facts.set_item("headers", headers(py, &response.headers)?)?;
        facts.set_item("body", response.body.as_deref())?;
    }
    match error.kind() {
        ErrorKind::ProducerFenced { current_epoch } => facts.set_item("current_epoch", current_epoch)?,
        ErrorKind::SequenceGap { expected, received } => {
            facts.set_item("expected_seq", expected)?;
            facts.set_item("received_seq", received)?;
        }
        ErrorKind::StreamClosed { final_offset } => {
            facts.set_item("final_offset", final_offset.as_ref().map(everstream::Offset::as_str))?;
        }
        _ => {}
    }
    if !error.failures().is_empty() {
        let failures = PyList::empty(py);
        for failure in error.failures() {
            let why = raise(py, &failure.error).into_value(py);
            failures.append((failure.first_message, failure.messages, why))?;
        }
        facts.set_item("failures", failures)?;
    }
    BUILD.import(py, "everstream.errors", "from_native")?.call1((error.code(), error.to_string(), facts))
}

/// Headers as a dict with lower-case names; values of a repeated one are joined, as HTTP allows.
pub(crate) fn headers<'py>(py: Python<'py>, headers: &http::HeaderMap) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for name in headers.keys() {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        dict.set_item(name.as_str(), values.join(", "))?;
    }
    Ok(dict)
}
