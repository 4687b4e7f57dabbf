//! The handle to one stream.

use everstream::{AppendOptions, BoxBody, DurableStream, Error, ErrorKind, TransportError};
use js_sys::{Function, Promise};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::abort::Abort;
use crate::call::call;
use crate::callback::{self, Given, Kept, ask, kept};
use crate::client::Client;
use crate::error;
use crate::options;
use crate::producer::Producer;
use crate::reader::Reader;
use crate::value::{Fields, data, nullable, object, optional_data};

/// A stream's address and settings.
#[wasm_bindgen]
pub struct Stream {
    core: DurableStream,
}

#[wasm_bindgen]
impl Stream {
    /// # Errors
    /// `INVALID_ARGUMENT` for an address or setting that cannot be used.
    #[wasm_bindgen(constructor)]
    pub fn new(client: &Client, url: &str, given: JsValue) -> Result<Self, JsValue> {
        let given = Fields::new(given);
        let empty = || Fields::new(JsValue::UNDEFINED);
        let headers = given.fields("headers").unwrap_or_else(empty);
        let params = given.fields("params").unwrap_or_else(empty);
        let mut builder = client.core().to_builder().extras(&callback::extras(&headers, &params)?);
        if let Some(limit) = options::duration_of(&given, "requestTimeout")? {
            builder = builder.request_timeout(limit);
        }
        if let Some(retry) = given.fields("retry") {
            builder = builder.retry(options::retry(&retry)?);
        }
        if let Some(function) = given.function("onError") {
            builder = builder.on_error(callback::error_hook(function));
        }
        if let Some(function) = given.function("onFailedAttempt") {
            builder = builder.on_failed_attempt(callback::attempt_hook(function));
        }
        let stream = builder.build().and_then(|client| client.stream(url));
        let mut core = stream.map_err(|refused| error::value(&refused))?;
        if let Some(content_type) = given.text("contentType") {
            core = core.with_content_type(content_type);
        }
        if given.flag("batching") == Some(false) {
            core = core.with_batching(false);
        }
        if given.flag("idempotent") == Some(true) {
            core = core.idempotent();
        }
        Ok(Self { core })
    }

    #[wasm_bindgen(getter, js_name = contentType)]
    pub fn content_type(&self) -> JsValue {
        nullable(self.core.content_type())
    }

    /// # Errors
    /// `INVALID_ARGUMENT` for options that cannot be used.
    pub fn create(&self, body: &JsValue, given: JsValue, abort: Option<Abort>) -> Result<Promise, JsValue> {
        let mut options = options::create(&Fields::new(given))?;
        options.body = optional_data(body)?;
        let stream = self.core.clone();
        Ok(call(abort.as_ref(), async move { stream.create(&options).await }, |created| {
            object([
                ("created", created.created.into()),
                ("offset", nullable(created.offset.map(|offset| offset.to_string()))),
                ("contentType", nullable(created.content_type)),
                ("closed", created.closed.into()),
            ])
        }))
    }

    pub fn head(&self, abort: Option<Abort>) -> Promise {
        let stream = self.core.clone();
        call(abort.as_ref(), async move { stream.head().await }, |info| {
            object([
                ("offset", nullable(info.offset.map(|offset| offset.to_string()))),
                ("contentType", nullable(info.content_type)),
                ("closed", info.closed.into()),
                ("ttlSeconds", nullable(info.ttl.map(|ttl| ttl.as_secs() as f64))),
                ("expiresAt", nullable(info.expires_at)),
                ("etag", nullable(info.etag)),
                ("cacheControl", nullable(info.cache_control)),
            ])
        })
    }

    /// # Errors
    /// A `TypeError` for what is no data.
    pub fn append(&self, message: &JsValue, given: JsValue, abort: Option<Abort>) -> Result<Promise, JsValue> {
        let given = Fields::new(given);
        let options = append_options(&given);
        let message = data(message)?;
        // The place in the queue is that of this call, not of the first poll.
        let appended = match given.flag("json") {
            Some(true) => self.core.append_json_text(message, &options),
            _ => self.core.append_with(message, &options),
        };
        Ok(call(abort.as_ref(), appended, to_object))
    }

    /// The whole body is in the pieces that `next` gives until it gives nothing.
    #[wasm_bindgen(js_name = appendStream)]
    pub fn append_stream(&self, next: Function, given: JsValue, abort: Option<Abort>) -> Promise {
        let (body, options) = (body(kept(next)), append_options(&Fields::new(given)));
        let stream = self.core.clone();
        call(abort.as_ref(), async move { stream.append_stream(body, &options).await }, to_object)
    }

    /// The final offset.
    ///
    /// # Errors
    /// A `TypeError` for what is no data.
    pub fn close(
        &self,
        message: &JsValue,
        content_type: Option<String>,
        abort: Option<Abort>,
    ) -> Result<Promise, JsValue> {
        let options = AppendOptions { seq: None, content_type };
        let closed = match optional_data(message)? {
            None => self.core.close(),
            Some(message) => self.core.close_with(message, &options),
        };
        Ok(call(abort.as_ref(), closed, |closed| nullable(closed.final_offset.map(|it| it.to_string()))))
    }

    pub fn delete(&self, abort: Option<Abort>) -> Promise {
        let stream = self.core.clone();
        call(abort.as_ref(), async move { stream.delete().await }, |()| JsValue::UNDEFINED)
    }

    /// A [`Reader`] whose first answer has begun.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for options that cannot be used.
    pub fn read(&self, given: JsValue, abort: Option<Abort>) -> Result<Promise, JsValue> {
        let given = Fields::new(given);
        let mut options = options::read(&given)?;
        let (json, ahead) = (options.json, given.flag("readAhead") != Some(false));
        options.prefetch = ahead;
        options.parsed_by_host = given.flag("plainItems") == Some(true);
        Ok(call(abort.as_ref(), Reader::open(self.core.read(options), json, ahead), JsValue::from))
    }

    /// A producer that asks in the background for what it has to know.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an id or options that cannot be used.
    pub fn producer(&self, id: &str, given: JsValue, on_error: Option<Function>) -> Result<Producer, JsValue> {
        let options = options::producer(&Fields::new(given))?;
        let producer = self.core.producer_lazy(id, options).map_err(|refused| error::value(&refused))?;
        if let Some(function) = on_error {
            producer.on_failure(callback::failure_hook(function));
        }
        Ok(Producer::new(producer))
    }
}

fn append_options(given: &Fields) -> AppendOptions {
    AppendOptions { seq: given.text("seq"), content_type: given.text("contentType") }
}

fn to_object(appended: everstream::Appended) -> JsValue {
    object([
        ("offset", nullable(appended.offset.map(|offset| offset.to_string()))),
        ("duplicate", appended.duplicate.into()),
        ("closed", false.into()),
    ])
}

fn body(next: Kept) -> BoxBody {
    Box::pin(futures_util::stream::unfold(Some(next), |next| async move {
        let next = next?;
        match ask(&next, None).await {
            Ok(Given::Data(piece)) => Some((Ok(piece), Some(next))),
            Ok(_) => None,
            Err(thrown) => Some((Err(broken_source(thrown)), None)),
        }
    }))
}

/// The caller's iterator threw: the request is broken off, and what was thrown is what the call fails with.
fn broken_source(thrown: Option<error::Thrown>) -> TransportError {
    let source: Box<dyn std::error::Error + Send + Sync> = match thrown {
        Some(thrown) => Box::new(thrown),
        None => Box::new(Error::new(ErrorKind::Cancelled, "the source of the body failed")),
    };
    TransportError { not_sent: false, permanent: true, source }
}
