//! The handle to one stream.

use std::sync::Arc;

use everstream::{AppendOptions, BoxBody, Client as CoreClient, DurableStream, TransportError};
use napi::bindgen_prelude::Object;
use napi::{Env, ValueType};
use napi_derive::napi;

use crate::abort::Abort;
use crate::call::{call, call_here};
use crate::callback::{self, Given, ask};
use crate::client::Client;
use crate::data::Data;
use crate::error;
use crate::here::Here;
use crate::options::{NativeProducerOptions, NativeReadOptions, NewStreamOptions, RetryOptions, set_duration};
use crate::producer::Producer;
use crate::reader::Reader;
use crate::runtime::runtime;
use crate::value::{Kept, Raw};

/// A stream's address and settings.
#[napi]
pub struct Stream {
    core: DurableStream,
    /// Carries short calls.
    here: Option<Here>,
}

/// What a handle is like.
#[napi(object, object_to_js = false)]
pub struct HandleOptions<'env> {
    #[napi(ts_type = "Values")]
    pub headers: Option<Object<'env>>,
    #[napi(ts_type = "Values")]
    pub params: Option<Object<'env>>,
    pub content_type: Option<String>,
    pub request_timeout: Option<f64>,
    pub retry: Option<RetryOptions>,
    #[napi(ts_type = "Ask<Error>")]
    pub on_error: Option<Raw>,
    #[napi(ts_type = "() => void")]
    pub on_failed_attempt: Option<Raw>,
    pub batching: Option<bool>,
    pub idempotent: Option<bool>,
}

impl HandleOptions<'_> {
    /// A client that makes requests so, over the connections of another.
    pub(crate) fn client(&self, env: Env, client: &Client) -> napi::Result<CoreClient> {
        let extras = callback::extras(env, self.headers, self.params)?;
        let mut builder = client.core().to_builder().extras(&extras);
        if self.request_timeout.is_some() {
            let mut limit = std::time::Duration::ZERO;
            set_duration(env, "requestTimeout", self.request_timeout, &mut limit)?;
            builder = builder.request_timeout(limit);
        }
        if let Some(retry) = &self.retry {
            builder = builder.retry(retry.build(env)?);
        }
        let function = |given: Option<Raw>| given.filter(|it| matches!(it.kind(), Ok(ValueType::Function)));
        if let Some(function) = function(self.on_error) {
            builder = builder.on_error(callback::error_hook(Kept::new(function)?));
        }
        if let Some(function) = function(self.on_failed_attempt) {
            builder = builder.on_failed_attempt(callback::attempt_hook(Kept::new(function)?));
        }
        builder.build().map_err(|refused| error::throw(env, &refused))
    }
}

/// How one append goes out.
#[napi(object)]
pub struct NativeAppendOptions {
    pub seq: Option<String>,
    pub content_type: Option<String>,
    /// The data is JSON text whatever the stream is.
    pub json: Option<bool>,
}

#[napi]
impl Stream {
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, client: &Client, url: String, options: HandleOptions<'_>) -> napi::Result<Self> {
        let stream = options.client(env, client)?.stream(&url);
        let mut core = stream.map_err(|refused| error::throw(env, &refused))?;
        if let Some(content_type) = options.content_type {
            core = core.with_content_type(content_type);
        }
        if options.batching == Some(false) {
            core = core.with_batching(false);
        }
        if options.idempotent == Some(true) {
            core = core.idempotent();
        }
        let here = client.here(core.url());
        Ok(Self { core, here })
    }

    #[napi(getter)]
    pub fn content_type(&self) -> Option<&str> {
        self.core.content_type()
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Created>")]
    pub fn create(
        &self,
        env: Env,
        #[napi(ts_arg_type = "string | Uint8Array | undefined | null")] body: Option<Data>,
        options: NewStreamOptions,
        abort: Option<&Abort>,
    ) -> napi::Result<Raw> {
        let mut options = options.build(env)?;
        options.body = body.map(|body| body.0);
        let stream = self.core.clone();
        call_here(env, self.here.as_ref(), abort, async move { stream.create(&options).await }, |env, created| {
            let mut it = Object::new(&env)?;
            it.set("created", created.created)?;
            it.set("offset", created.offset.map(|offset| offset.to_string()))?;
            it.set("contentType", created.content_type)?;
            it.set("closed", created.closed)?;
            Raw::of(env, it)
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<StreamInfo>")]
    pub fn head(&self, env: Env, abort: Option<&Abort>) -> napi::Result<Raw> {
        let stream = self.core.clone();
        call_here(env, self.here.as_ref(), abort, async move { stream.head().await }, |env, info| {
            let mut it = Object::new(&env)?;
            it.set("offset", info.offset.map(|offset| offset.to_string()))?;
            it.set("contentType", info.content_type)?;
            it.set("closed", info.closed)?;
            it.set("ttlSeconds", info.ttl.map(|ttl| ttl.as_secs() as f64))?;
            it.set("expiresAt", info.expires_at)?;
            it.set("etag", info.etag)?;
            it.set("cacheControl", info.cache_control)?;
            Raw::of(env, it)
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Appended>")]
    pub fn append(
        &self,
        env: Env,
        #[napi(ts_arg_type = "string | Uint8Array")] data: Data,
        options: Option<NativeAppendOptions>,
        abort: Option<&Abort>,
    ) -> napi::Result<Raw> {
        let mut json = false;
        let mut append = AppendOptions::default();
        if let Some(options) = options {
            json = options.json == Some(true);
            append = AppendOptions { seq: options.seq, content_type: options.content_type };
        }
        // The place in the queue is that of this call, not of the first poll.
        let future = {
            let _context = runtime()?.enter();
            match json {
                false => self.core.append_with(data.0, &append),
                true => self.core.append_json_text(data.0, &append),
            }
        };
        call_here(env, self.here.as_ref(), abort, future, appended)
    }

    /// The whole body is in the pieces that `next` gives until it gives nothing.
    #[napi(catch_unwind, ts_return_type = "Promise<Appended>")]
    pub fn append_stream(
        &self,
        env: Env,
        #[napi(ts_arg_type = "Ask<undefined>")] next: Raw,
        options: NativeAppendOptions,
        abort: Option<&Abort>,
    ) -> napi::Result<Raw> {
        let body = body(Arc::new(Kept::new(next)?));
        let options = AppendOptions { seq: options.seq, content_type: options.content_type };
        let stream = self.core.clone();
        call(env, abort, async move { stream.append_stream(body, &options).await }, appended)
    }

    /// The final offset.
    #[napi(catch_unwind, ts_return_type = "Promise<string | null>")]
    pub fn close(
        &self,
        env: Env,
        #[napi(ts_arg_type = "string | Uint8Array | undefined | null")] data: Option<Data>,
        content_type: Option<String>,
        abort: Option<&Abort>,
    ) -> napi::Result<Raw> {
        let options = AppendOptions { seq: None, content_type };
        let future = {
            let _context = runtime()?.enter();
            match data {
                None => self.core.close(),
                Some(data) => self.core.close_with(data.0, &options),
            }
        };
        call_here(env, self.here.as_ref(), abort, future, |env, closed| {
            Raw::of(env, closed.final_offset.map(|it| it.to_string()))
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn delete(&self, env: Env, abort: Option<&Abort>) -> napi::Result<Raw> {
        let stream = self.core.clone();
        call_here(env, self.here.as_ref(), abort, async move { stream.delete().await }, |env, ()| error::nothing(env))
    }

    /// A [`Reader`] whose first answer has begun.
    #[napi(catch_unwind, ts_return_type = "Promise<Reader>")]
    pub fn read(&self, env: Env, options: NativeReadOptions, abort: Option<&Abort>) -> napi::Result<Raw> {
        let read_ahead = options.read_ahead != Some(false);
        let options = options.build(env)?;
        let json = options.json;
        Reader::open(env, self.core.read(options), json, read_ahead, abort)
    }

    /// A producer that asks in the background for what it has to know.
    #[napi(catch_unwind)]
    pub fn producer(
        &self,
        env: Env,
        id: String,
        options: NativeProducerOptions,
        #[napi(ts_arg_type = "((error: Error) => void) | undefined | null")] on_error: Raw,
    ) -> napi::Result<Producer> {
        let options = options.build(env)?;
        let _context = runtime()?.enter();
        let made = self.core.producer_lazy(&id, options);
        let producer = made.map_err(|refused| error::throw(env, &refused))?;
        if on_error.kind()? == ValueType::Function {
            producer.on_failure(callback::failure_hook(Kept::new(on_error)?));
        }
        Ok(Producer::new(producer))
    }
}

fn appended(env: Env, appended: everstream::Appended) -> napi::Result<Raw> {
    let mut it = Object::new(&env)?;
    it.set("offset", appended.offset.map(|offset| offset.to_string()))?;
    it.set("duplicate", appended.duplicate)?;
    it.set("closed", false)?;
    Raw::of(env, it)
}

fn body(next: Arc<Kept>) -> BoxBody {
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
        None => Box::from("the source of the body failed"),
    };
    TransportError { not_sent: false, permanent: true, source }
}
