//! The core's error to JavaScript, in one place. The classes are in TypeScript (`ts/errors.ts`).

use std::fmt;
use std::sync::Arc;

use everstream::{Error, ErrorKind};
use napi::Env;
use napi::bindgen_prelude::{JsObjectValue, Null, Object};

use crate::events::Events;
use crate::value::{Kept, Raw};

/// What a function of the caller's threw, on its way through the core.
#[derive(Clone)]
pub(crate) struct Thrown(Arc<Kept>, String);

impl Thrown {
    /// An object, which most of what is thrown is.
    pub(crate) fn new(raw: Raw) -> Option<Self> {
        let message = raw.get::<Object<'_>>().and_then(|it| it.get_named_property::<String>("message"));
        Some(Self(Arc::new(Kept::new(raw).ok()?), message.unwrap_or_else(|_| "something was thrown".to_owned())))
    }

    pub(crate) fn get(&self, env: Env) -> Option<Raw> {
        self.0.get(env).ok()
    }
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl fmt::Debug for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thrown").field(&self.1).finish()
    }
}

impl std::error::Error for Thrown {}

/// The value to reject with, or to throw.
///
/// What a function of the caller's threw comes back as it was, unless the error has more to say.
pub(crate) fn value(env: Env, error: &Error) -> Raw {
    let thrown = thrown(error).and_then(|it| it.get(env));
    match thrown {
        // A request that failed is told as such, with what `fetch` threw as its cause.
        Some(thrown) if error.failures().is_empty() && *error.kind() == ErrorKind::Cancelled => thrown,
        thrown => build(env, error, thrown).unwrap_or_else(|failed| of_napi(env, failed)),
    }
}

/// An error of the core as the error of a native function.
pub(crate) fn throw(env: Env, error: &Error) -> napi::Error {
    thrown_as(value(env, error))
}

/// An argument that was refused.
pub(crate) fn invalid_argument(env: Env, message: impl Into<String>) -> napi::Error {
    throw(env, &Error::invalid_argument(message))
}

pub(crate) fn thrown_as(value: Raw) -> napi::Error {
    value.get::<napi::Unknown<'_>>().map_or_else(|failed| failed, napi::Error::from)
}

/// An error of a conversion as a value.
pub(crate) fn of_napi(env: Env, failed: napi::Error) -> Raw {
    let made = Raw::of(env, failed).or_else(|_| Raw::of(env, Null));
    // Neither an error nor `null` can be refused by an environment that runs.
    made.expect("null is a value")
}

fn thrown(error: &Error) -> Option<&Thrown> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(thrown) = error.downcast_ref::<Thrown>() {
            return Some(thrown);
        }
        source = error.source();
    }
    None
}

fn build(env: Env, error: &Error, cause: Option<Raw>) -> napi::Result<Raw> {
    let mut facts = Object::new(&env)?;
    if let Some(cause) = cause {
        facts.set("cause", cause)?;
    }
    if let Some(url) = error.url() {
        facts.set("url", url)?;
    }
    if let Some(operation) = error.operation() {
        facts.set("operation", operation.name())?;
    }
    facts.set("retryable", error.is_retryable())?;
    facts.set("outcomeUnknown", error.outcome_unknown())?;
    if let Some(wait) = error.retry_after() {
        facts.set("retryAfter", wait.as_secs_f64())?;
    }
    if let Some(response) = error.response() {
        facts.set("status", response.status)?;
        facts.set("headers", headers(env, &response.headers)?)?;
        if let Some(body) = response.body.as_deref() {
            facts.set("body", body)?;
        }
    }
    match error.kind() {
        ErrorKind::ProducerFenced { current_epoch } => facts.set("currentEpoch", *current_epoch as f64)?,
        ErrorKind::SequenceGap { expected, received } => {
            facts.set("expectedSeq", *expected as f64)?;
            facts.set("receivedSeq", *received as f64)?;
        }
        ErrorKind::StreamClosed { final_offset: Some(offset) } => facts.set("finalOffset", offset.as_str())?,
        _ => {}
    }
    if !error.failures().is_empty() {
        let mut failures = Vec::with_capacity(error.failures().len());
        for failure in error.failures() {
            let mut it = Object::new(&env)?;
            it.set("firstMessage", failure.first_message as f64)?;
            it.set("messages", failure.messages as f64)?;
            it.set("error", value(env, &failure.error))?;
            failures.push(it);
        }
        facts.set("failures", failures)?;
    }
    let (code, message) = (Raw::of(env, error.code())?, Raw::of(env, error.to_string())?);
    match Events::of(env)?.error_factory() {
        Some(factory) => factory.get(env)?.call(&[code, message, Raw::of(env, facts)?]).map_err(thrown_as),
        None => Ok(of_napi(env, napi::Error::from_reason(error.to_string()))),
    }
}

/// Headers as an object with lower-case names; values of a repeated one are joined, as HTTP allows.
pub(crate) fn headers<'env>(env: Env, headers: &http::HeaderMap) -> napi::Result<Object<'env>> {
    let mut object = Object::new(&env)?;
    for name in headers.keys() {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        object.set(name.as_str(), values.join(", "))?;
    }
    Ok(object)
}

/// `undefined`.
pub(crate) fn nothing(env: Env) -> napi::Result<Raw> {
    Raw::of(env, ())
}
