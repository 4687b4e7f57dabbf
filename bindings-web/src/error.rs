//! The core's error to JavaScript, in one place. The classes are in TypeScript (`ts/errors.ts`).

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use everstream::headers::HeaderMap;
use everstream::{Error, ErrorKind};
use js_sys::{Array, Function, Object, Reflect};
use send_wrapper::SendWrapper;
use wasm_bindgen::JsValue;

use crate::value::{self, Fields, set};

thread_local! {
    static FACTORY: RefCell<Option<Function>> = const { RefCell::new(None) };
}

pub(crate) fn set_factory(factory: Function) {
    FACTORY.set(Some(factory));
}

/// What a function of the caller's threw, on its way through the core.
#[derive(Clone, Debug)]
pub(crate) struct Thrown(Arc<SendWrapper<JsValue>>, String);

impl Thrown {
    pub(crate) fn new(thrown: JsValue) -> Self {
        let message = Reflect::get(&thrown, &JsValue::from_str("message")).ok().and_then(|it| it.as_string());
        Self(Arc::new(SendWrapper::new(thrown)), message.unwrap_or_else(|| "something was thrown".to_owned()))
    }

    fn get(&self) -> JsValue {
        JsValue::clone(&self.0)
    }
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for Thrown {}

/// The value to reject with, or to throw.
///
/// What a function of the caller's threw comes back as it was, unless the error has more to say.
pub(crate) fn value(error: &Error) -> JsValue {
    match thrown(error).map(Thrown::get) {
        // A request that failed is told as such, with what `fetch` threw as its cause.
        Some(thrown) if error.failures().is_empty() && *error.kind() == ErrorKind::Cancelled => thrown,
        thrown => build(error, thrown),
    }
}

/// An argument that was refused.
pub(crate) fn invalid_argument(message: impl Into<String>) -> JsValue {
    value(&Error::invalid_argument(message))
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

fn build(error: &Error, cause: Option<JsValue>) -> JsValue {
    let facts = Object::new();
    if let Some(cause) = cause {
        set(&facts, "cause", cause);
    }
    if let Some(url) = error.url() {
        set(&facts, "url", url);
    }
    if let Some(operation) = error.operation() {
        set(&facts, "operation", operation.name());
    }
    set(&facts, "retryable", error.is_retryable());
    set(&facts, "outcomeUnknown", error.outcome_unknown());
    if let Some(wait) = error.retry_after() {
        set(&facts, "retryAfter", wait.as_secs_f64());
    }
    if let Some(response) = error.response() {
        set(&facts, "status", response.status);
        set(&facts, "headers", headers(&response.headers));
        if let Some(body) = response.body.as_deref() {
            set(&facts, "body", body);
        }
    }
    match error.kind() {
        ErrorKind::ProducerFenced { current_epoch } => set(&facts, "currentEpoch", *current_epoch as f64),
        ErrorKind::SequenceGap { expected, received } => {
            set(&facts, "expectedSeq", *expected as f64);
            set(&facts, "receivedSeq", *received as f64);
        }
        ErrorKind::StreamClosed { final_offset: Some(offset) } => set(&facts, "finalOffset", offset.as_str()),
        _ => {}
    }
    if !error.failures().is_empty() {
        let failures = error.failures().iter().map(|failure| {
            value::object([
                ("firstMessage", (failure.first_message as f64).into()),
                ("messages", (failure.messages as f64).into()),
                ("error", value(&failure.error)),
            ])
        });
        set(&facts, "failures", failures.collect::<Array>());
    }
    let message = error.to_string();
    let factory = FACTORY.with_borrow(Option::clone);
    let made = factory
        .and_then(|it| it.call3(&JsValue::UNDEFINED, &error.code().into(), &message.as_str().into(), &facts).ok());
    made.unwrap_or_else(|| js_sys::Error::new(&message).into())
}

/// Headers as an object with lower-case names; values of a repeated one are joined, as HTTP allows.
pub(crate) fn headers(headers: &HeaderMap) -> Object {
    let object = Object::new();
    let known = Fields::new(object.clone().into());
    for (name, value) in headers {
        let value = value::header(value);
        match known.text(name.as_str()) {
            Some(before) => set(&object, name.as_str(), before + ", " + value),
            None => set(&object, name.as_str(), value),
        }
    }
    object
}
