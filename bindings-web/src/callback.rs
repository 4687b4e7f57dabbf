//! Functions of the caller's that the core calls: header and parameter values, pieces of bodies, and what to do about
//! errors. They may give promises; TypeScript wraps them so that each call gets an [`Answer`] to give its result to.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use everstream::{BoxFuture, Error, ErrorKind, Extras, Provider};
use js_sys::Function;
use send_wrapper::SendWrapper;
use tokio::sync::oneshot;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::error::{self, Thrown};
use crate::value::{self, Fields};

/// A function that the core may hold: it is called in the one thread that there is.
pub(crate) type Kept = Arc<SendWrapper<Function>>;

pub(crate) fn kept(function: Function) -> Kept {
    Arc::new(SendWrapper::new(function))
}

/// Where the result of one call of a function goes.
#[wasm_bindgen]
pub struct Answer(Cell<Option<oneshot::Sender<Answered>>>);

type Answered = Result<Given, Option<Thrown>>;

/// What a function gave.
pub(crate) enum Given {
    Nothing,
    Text(String),
    Data(Bytes),
    Extras(Extras),
}

#[wasm_bindgen]
impl Answer {
    /// Nothing: the end of a body, or no way to go on.
    pub fn nothing(&self) {
        self.send(Ok(Given::Nothing));
    }

    /// The value of a header or parameter.
    pub fn text(&self, text: &JsValue) {
        self.send(Ok(text.as_string().map_or(Given::Nothing, Given::Text)));
    }

    /// A piece of a body.
    ///
    /// # Errors
    /// A `TypeError` for what is none.
    pub fn data(&self, data: &JsValue) -> Result<(), JsValue> {
        self.send(Ok(Given::Data(value::data(data)?)));
        Ok(())
    }

    /// Headers and parameters to try again with.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what no header can have.
    pub fn retry(&self, headers: JsValue, params: JsValue) -> Result<(), JsValue> {
        self.send(Ok(Given::Extras(extras(&Fields::new(headers), &Fields::new(params))?)));
        Ok(())
    }

    /// What the function threw.
    pub fn fail(&self, error: JsValue) {
        self.send(Err(Some(Thrown::new(error))));
    }

    fn send(&self, answer: Answered) {
        if let Some(sender) = self.0.take() {
            // Whoever wanted to know may have given up.
            let _ = sender.send(answer);
        }
    }
}

/// Calls a function, with the error of JavaScript for one of the core if there is one.
pub(crate) async fn ask(function: &Kept, about: Option<Error>) -> Answered {
    let (sender, receiver) = oneshot::channel();
    {
        let about = about.map_or(JsValue::UNDEFINED, |failed| error::value(&failed));
        let answer = JsValue::from(Answer(Cell::new(Some(sender))));
        // TypeScript's wrapper catches what the function throws.
        let _ = function.call2(&JsValue::UNDEFINED, &answer, &about);
    }
    receiver.await.unwrap_or(Err(None))
}

/// Headers and parameters of objects: fixed values, or functions that are asked for each request.
///
/// # Errors
/// `INVALID_ARGUMENT` for what no header can have.
pub(crate) fn extras(headers: &Fields, params: &Fields) -> Result<Extras, JsValue> {
    let mut extras = Extras::new();
    for (name, value) in headers.entries() {
        extras = match value.dyn_into::<Function>() {
            Ok(function) => extras.header_provider(&name, provider(kept(function), format!("header {name}"))),
            Err(value) => extras.header(&name, value.as_string().unwrap_or_default()),
        }
        .map_err(|refused| error::value(&refused))?;
    }
    for (name, value) in params.entries() {
        extras = match value.dyn_into::<Function>() {
            Ok(function) => {
                let provider = provider(kept(function), format!("parameter {name}"));
                extras.param_provider(name, provider)
            }
            Err(value) => extras.param(name, value.as_string().unwrap_or_default()),
        };
    }
    Ok(extras)
}

fn provider(function: Kept, what: String) -> Provider {
    Arc::new(move || {
        let (function, what) = (function.clone(), what.clone());
        Box::pin(async move {
            match ask(&function, None).await {
                Ok(Given::Text(text)) => Ok(text),
                Ok(_) => Err(Error::new(ErrorKind::InvalidArgument, format!("the function for {what} gave no string"))),
                Err(thrown) => {
                    let failed = Error::new(ErrorKind::Cancelled, format!("the function for {what} failed"));
                    Err(match thrown {
                        Some(thrown) => failed.with_source(thrown),
                        None => failed,
                    })
                }
            }
        })
    })
}

/// `onError` of a handle or read. What it throws is what the call fails with.
pub(crate) fn error_hook(function: Function) -> impl Fn(Error) -> BoxFuture<Option<Extras>> + Send + Sync + 'static {
    let function = kept(function);
    move |failed| {
        let function = function.clone();
        Box::pin(async move {
            match ask(&function, Some(failed)).await {
                Ok(Given::Extras(extras)) => Some(extras),
                _ => None,
            }
        })
    }
}

/// `onError` of a producer, for batches that were not stored.
pub(crate) fn failure_hook(function: Function) -> impl Fn(Error) + Send + Sync + 'static {
    let function = kept(function);
    move |failed| {
        // TypeScript's wrapper catches what the function throws.
        let _ = function.call1(&JsValue::UNDEFINED, &error::value(&failed));
    }
}

/// `onFailedAttempt`.
pub(crate) fn attempt_hook(function: Function) -> impl Fn() + Send + Sync + 'static {
    let function = kept(function);
    move || {
        // TypeScript's wrapper catches what the function throws.
        let _ = function.call0(&JsValue::UNDEFINED);
    }
}
