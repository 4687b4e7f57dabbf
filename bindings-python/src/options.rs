//! Keyword arguments to the core's options. Defaults are the core's: only what was given is set.

use std::time::Duration;

use everstream::{Checkpoint, CreateOptions, Error, Fork, LiveMode, Offset, ProducerOptions, RetryPolicy};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error;

/// A duration given in seconds.
pub(crate) fn seconds(py: Python<'_>, name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| error::invalid_argument(py, format!("{name} must be a number of seconds >= 0, not {value}")))
}

/// Reads named values out of a dict that the Python face has filled.
pub(crate) struct Given<'a, 'py>(pub(crate) &'a Bound<'py, PyDict>);

impl<'py> Given<'_, 'py> {
    fn get(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(name)?.filter(|value| !value.is_none()))
    }

    /// Sets a field if a value was given.
    pub(crate) fn set<T>(&self, name: &str, field: &mut T) -> PyResult<()>
    where
        T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>,
    {
        if let Some(value) = self.get(name)? {
            *field = value.extract::<T>().map_err(|error| self.refuse(name, &error.into()))?;
        }
        Ok(())
    }

    /// The same for a duration in seconds.
    pub(crate) fn set_seconds(&self, name: &str, field: &mut Duration) -> PyResult<()> {
        if let Some(value) = self.get(name)? {
            let value = value.extract::<f64>().map_err(|error| self.refuse(name, &error))?;
            *field = seconds(self.0.py(), name, value)?;
        }
        Ok(())
    }

    fn refuse(&self, name: &str, why: &PyErr) -> PyErr {
        let py = self.0.py();
        error::invalid_argument(py, format!("{name}: {}", why.value(py)))
    }
}

/// `Retry` of the Python face.
pub(crate) fn retry(given: &Bound<'_, PyDict>) -> PyResult<RetryPolicy> {
    let mut policy = RetryPolicy::default();
    let given = Given(given);
    let mut total = policy.max_elapsed.unwrap_or(Duration::MAX);
    given.set_seconds("initial_delay", &mut policy.backoff.initial)?;
    given.set_seconds("max_delay", &mut policy.backoff.max)?;
    given.set("multiplier", &mut policy.backoff.multiplier)?;
    given.set("max_retries", &mut policy.max_retries)?;
    given.set_seconds("total", &mut total)?;
    given.set("retry_appends_on_5xx", &mut policy.plain_appends_on_500)?;
    policy.max_elapsed = Some(total);
    Ok(policy)
}

/// Options of a producer, by their Python names.
pub(crate) fn producer(given: &Bound<'_, PyDict>) -> PyResult<ProducerOptions> {
    let py = given.py();
    let mut options = ProducerOptions::default();
    let given = Given(given);
    // The core cannot be told of what its types cannot hold, and has other words for the rest.
    for (name, least, message) in [
        ("epoch", 0, "epoch must be >= 0"),
        ("linger_ms", 0, "linger_ms must be >= 0"),
        ("max_batch_bytes", 1, "maxBatchBytes must be > 0"),
        ("max_batch_items", 1, "maxBatchItems must be > 0"),
        ("max_in_flight", 1, "max_in_flight must be > 0"),
        ("max_buffered_bytes", 1, "max_buffered_bytes must be > 0"),
    ] {
        if given.get(name)?.is_some_and(|value| value.lt(least).unwrap_or(false)) {
            return Err(error::invalid_argument(py, message));
        }
    }
    given.set("epoch", &mut options.epoch)?;
    given.set("auto_claim", &mut options.auto_claim)?;
    given.set("max_batch_bytes", &mut options.max_batch_bytes)?;
    given.set("max_batch_items", &mut options.max_batch_items)?;
    given.set("max_in_flight", &mut options.max_in_flight)?;
    given.set("max_buffered_bytes", &mut options.max_buffered_bytes)?;
    given.set_seconds("request_timeout", &mut options.request_timeout)?;
    let mut linger_ms = options.linger.as_secs_f64() * 1000.0;
    given.set("linger_ms", &mut linger_ms)?;
    options.linger = seconds(py, "linger_ms", linger_ms / 1000.0)?;
    if given.0.contains("delivery_timeout")? {
        let mut limit = f64::INFINITY;
        given.set("delivery_timeout", &mut limit)?;
        options.delivery_timeout = if limit.is_finite() { Some(seconds(py, "delivery_timeout", limit)?) } else { None };
    }
    Ok(options)
}

/// Options of a create.
pub(crate) fn create(given: &Bound<'_, PyDict>) -> PyResult<CreateOptions> {
    let py = given.py();
    let given = Given(given);
    let mut options = CreateOptions::default();
    let text = |name: &str| -> PyResult<Option<String>> {
        let mut value = None;
        given.set(name, &mut value)?;
        Ok(value)
    };
    options.content_type = text("content_type")?;
    options.expires_at = text("expires_at")?;
    given.set("closed", &mut options.closed)?;
    let mut ttl: Option<u64> = None;
    given.set("ttl_seconds", &mut ttl)?;
    options.ttl = ttl.map(Duration::from_secs);
    if let Some(source) = text("fork_from")? {
        let offset = match text("fork_offset")? {
            Some(offset) => Some(self::offset(py, &offset)?),
            None => None,
        };
        let mut fork = Fork { source, offset, sub_offset: 0 };
        given.set("fork_sub_offset", &mut fork.sub_offset)?;
        options.fork = Some(fork);
    }
    Ok(options)
}

/// How a read goes on at the tail.
pub(crate) fn live(py: Python<'_>, live: &Bound<'_, PyAny>) -> PyResult<LiveMode> {
    if let Ok(live) = live.extract::<bool>() {
        return Ok(if live { LiveMode::Auto } else { LiveMode::CatchUp });
    }
    match live.extract::<String>().as_deref() {
        Ok("auto") => Ok(LiveMode::Auto),
        Ok("catch-up") => Ok(LiveMode::CatchUp),
        Ok("long-poll") => Ok(LiveMode::LongPoll),
        Ok("sse") => Ok(LiveMode::Sse),
        _ => {
            let message = format!("live must be a bool, \"auto\", \"catch-up\", \"long-poll\" or \"sse\", not {live}");
            Err(error::invalid_argument(py, message))
        }
    }
}

/// Where a read starts.
pub(crate) fn checkpoint(py: Python<'_>, offset: &str, skip: u64, incarnation: Option<String>) -> PyResult<Checkpoint> {
    let from = offset.parse().map_err(|why| refused_offset(py, offset, why))?;
    Ok(Checkpoint { from, skip, incarnation })
}

fn offset(py: Python<'_>, text: &str) -> PyResult<Offset> {
    Offset::new(text).map_err(|why| refused_offset(py, text, why))
}

fn refused_offset(py: Python<'_>, offset: &str, why: impl std::fmt::Display) -> PyErr {
    error::raise(py, &Error::invalid_argument(format!("offset {offset:?}: {why}")))
}
