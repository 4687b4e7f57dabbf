//! Functions of the caller's that the core calls: header and parameter values, pieces of bodies, and what to do about
//! errors. They run in the thread of JavaScript, and may give promises; TypeScript wraps them so that each call gets an
//! [`Answer`] to give its result to.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use everstream::{BoxFuture, Error, ErrorKind, Extras, Provider};
use napi::bindgen_prelude::{JsObjectValue, Object};
use napi::{Env, ValueType};
use napi_derive::napi;
use tokio::sync::oneshot;

use crate::data::Data;
use crate::error::{self, Thrown};
use crate::runtime::lock;
use crate::value::{Kept, Raw};

/// Where the result of one call of a function goes.
#[napi]
pub struct Answer(Mutex<Option<oneshot::Sender<Answered>>>);

type Answered = Result<Given, Option<Thrown>>;

/// What a function gave.
pub(crate) enum Given {
    Nothing,
    Text(String),
    Data(Bytes),
    Extras(Extras),
}

#[napi]
impl Answer {
    /// Nothing: the end of a body, or no way to go on.
    #[napi(catch_unwind)]
    pub fn nothing(&self) {
        self.send(Ok(Given::Nothing));
    }

    /// The value of a header or parameter.
    #[napi(catch_unwind)]
    pub fn text(&self, text: String) {
        self.send(Ok(Given::Text(text)));
    }

    /// A piece of a body.
    #[napi(catch_unwind)]
    pub fn data(&self, #[napi(ts_arg_type = "string | Uint8Array")] data: Data) {
        self.send(Ok(Given::Data(data.0)));
    }

    /// Headers and parameters to try again with.
    #[napi(catch_unwind)]
    pub fn retry(
        &self,
        env: Env,
        #[napi(ts_arg_type = "Values | undefined | null")] headers: Option<Object<'_>>,
        #[napi(ts_arg_type = "Values | undefined | null")] params: Option<Object<'_>>,
    ) -> napi::Result<()> {
        let extras = extras(env, headers, params)?;
        self.send(Ok(Given::Extras(extras)));
        Ok(())
    }

    /// What the function threw.
    #[napi(catch_unwind)]
    pub fn fail(&self, #[napi(ts_arg_type = "unknown")] error: Raw) {
        self.send(Err(Thrown::new(error)));
    }

    fn send(&self, answer: Answered) {
        if let Some(sender) = lock(&self.0).take() {
            // Whoever wanted to know may have given up.
            let _ = sender.send(answer);
        }
    }
}

/// Calls a function, with the error of JavaScript for one of the core if there is one.
pub(crate) async fn ask(function: &Arc<Kept>, about: Option<Error>) -> Result<Given, Option<Thrown>> {
    let (sender, receiver) = oneshot::channel();
    let kept = function.clone();
    function.events().push(move |env| {
        let answer = Answer(Mutex::new(Some(sender)));
        let called = answer.into_call(env, &kept, about.as_ref());
        // TypeScript's wrapper catches what the function throws.
        drop(called);
    });
    // The environment may end before it answers.
    receiver.await.unwrap_or(Err(None))
}

impl Answer {
    fn into_call(self, env: Env, function: &Kept, about: Option<&Error>) -> napi::Result<()> {
        let about = match about {
            Some(failed) => error::value(env, failed),
            None => error::nothing(env)?,
        };
        let answer = Raw::of(env, self)?;
        function.get(env)?.call(&[answer, about]).map(drop).map_err(error::thrown_as)
    }
}

/// Headers and parameters of objects: fixed values, or functions that are asked for each request.
pub(crate) fn extras(env: Env, headers: Option<Object<'_>>, params: Option<Object<'_>>) -> napi::Result<Extras> {
    let mut extras = Extras::new();
    for (name, value) in values(headers)? {
        extras = match value {
            Value::Fixed(text) => extras.header(&name, text),
            Value::Asked(function) => extras.header_provider(&name, provider(function, format!("header {name}"))),
        }
        .map_err(|refused| error::throw(env, &refused))?;
    }
    for (name, value) in values(params)? {
        extras = match value {
            Value::Fixed(text) => extras.param(name, text),
            Value::Asked(function) => {
                let provider = provider(function, format!("parameter {name}"));
                extras.param_provider(name, provider)
            }
        };
    }
    Ok(extras)
}

enum Value {
    Fixed(String),
    Asked(Arc<Kept>),
}

fn values(object: Option<Object<'_>>) -> napi::Result<Vec<(String, Value)>> {
    let Some(object) = object else { return Ok(Vec::new()) };
    let mut values = Vec::new();
    for name in Object::keys(&object)? {
        let value: Raw = object.get_named_property(&name)?;
        let value = match value.kind()? {
            ValueType::Function => Value::Asked(Arc::new(Kept::new(value)?)),
            _ => Value::Fixed(value.get()?),
        };
        values.push((name, value));
    }
    Ok(values)
}

fn provider(function: Arc<Kept>, what: String) -> Provider {
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
pub(crate) fn error_hook(function: Kept) -> impl Fn(Error) -> BoxFuture<Option<Extras>> + Send + Sync + 'static {
    let function = Arc::new(function);
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
pub(crate) fn failure_hook(function: Kept) -> impl Fn(Error) + Send + Sync + 'static {
    let function = Arc::new(function);
    move |failed| {
        let kept = function.clone();
        function.events().push(move |env| {
            let value = error::value(env, &failed);
            // TypeScript's wrapper catches what the function throws.
            let _ = kept.get(env).map(|function| function.call(&[value]).is_ok());
        });
    }
}

/// `onFailedAttempt`.
pub(crate) fn attempt_hook(function: Kept) -> impl Fn() + Send + Sync + 'static {
    let function = Arc::new(function);
    move || {
        let kept = function.clone();
        function.events().push(move |env| {
            // TypeScript's wrapper catches what the function throws.
            let _ = kept.get(env).map(|function| function.call(&[]).is_ok());
        });
    }
}
