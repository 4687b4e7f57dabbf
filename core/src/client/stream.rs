//! The handle to one stream: create, append, head, close, delete, read, producer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::appends::{Appends, Manner, Write};
use super::exchange::{Core, Target};
use super::extras::Extras;
use super::producer::Producer;
use super::read::Reader;
use super::transport::{BoxBody, BoxFuture};
use crate::error::{Error, ErrorKind, Result};
use crate::headers::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use crate::options::{AppendOptions, CreateOptions, ProducerOptions, ReadOptions};
use crate::proto::content_type::DEFAULT_CONTENT_TYPE;
use crate::proto::names;
use crate::proto::offset::Offset;
use crate::proto::producer::Producer as Machine;
use crate::proto::request::Request;
use crate::proto::response::ResponseHead;
use crate::proto::url::StreamUrl;

/// A handle to one stream: its address and what is known of it. Cloning is cheap; dropping it does nothing to the stream.
///
/// Appends and closes of one handle and its clones keep the order of the calls, also when nobody waits between them
/// (C-WRITE-4). One POST of theirs is under way at a time; what is appended meanwhile shares the next one, up to
/// 1 MiB. All messages of a POST have the same fate. [`with_batching`](Self::with_batching) turns this off.
#[derive(Clone, Debug)]
pub struct DurableStream {
    core: Arc<Core>,
    target: Target,
    /// Fixed for the life of a stream, so one answer tells it for good.
    content_type: Arc<OnceLock<String>>,
    manner: Manner,
    appends: Arc<Appends>,
}

/// What became of a create.
#[derive(Clone, Debug)]
pub struct Created {
    /// Whether it is new; `false` when a stream with the same configuration was there. After a lost answer and a
    /// repeat this may say `false` of a stream that the lost try created.
    pub created: bool,
    /// The tail after the initial content, if the server said so.
    pub offset: Option<Offset>,
    /// As the server stored it.
    pub content_type: Option<String>,
    /// Whether it is closed.
    pub closed: bool,
}

/// What became of an append.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The tail after it, if the server said so.
    pub offset: Option<Offset>,
    /// Of an [`idempotent`](DurableStream::idempotent) handle: the server had it already, from a try whose answer was
    /// lost. Always `false` of any other.
    pub duplicate: bool,
}

/// What became of a close.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Where the stream ends.
    pub final_offset: Option<Offset>,
}

/// What HEAD tells of a stream (S-HEAD-1).
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// The tail, if the server said so.
    pub offset: Option<Offset>,
    /// Verbatim, parameters included.
    pub content_type: Option<String>,
    /// Whether it takes no more data.
    pub closed: bool,
    /// The sliding lifetime, if it has one.
    pub ttl: Option<Duration>,
    /// The fixed deadline as the server wrote it, if it has one.
    pub expires_at: Option<String>,
    /// The tag of the current content, where the server gives one.
    pub etag: Option<String>,
    /// How long the answer may be cached.
    pub cache_control: Option<String>,
}

impl DurableStream {
    pub(super) fn new(core: Arc<Core>, url: &str) -> Result<Self> {
        let url = StreamUrl::parse(&core.join(url))?;
        let target = Target { url, extras: core.extras.clone() };
        Ok(Self::assemble(core, target, Arc::default(), Manner { batching: true, idempotent: false }))
    }

    fn assemble(core: Arc<Core>, target: Target, content_type: Arc<OnceLock<String>>, manner: Manner) -> Self {
        let appends = Appends::new(core.clone(), target.clone(), content_type.clone(), manner);
        Self { core, target, content_type, manner, appends: Arc::new(appends) }
    }

    /// The same stream with more headers and parameters; they win over the client's. It is another handle: its
    /// appends and those of this one do not wait for each other.
    #[must_use]
    pub fn with(&self, extras: &Extras) -> Self {
        let target = Target { url: self.target.url.clone(), extras: self.target.extras.merged(extras) };
        Self::assemble(self.core.clone(), target, self.content_type.clone(), self.manner)
    }

    /// Says what the stream's content type is, to save the HEAD that would find out.
    #[must_use]
    pub fn with_content_type(self, content_type: impl Into<String>) -> Self {
        let known = OnceLock::new();
        known.get_or_init(|| content_type.into());
        Self::assemble(self.core, self.target, Arc::new(known), self.manner)
    }

    /// Whether appends wait for each other and share POSTs; default `true`. With `false` each append is a POST of its
    /// own that goes out at once, and those that are under way together are stored in any order.
    #[must_use]
    pub fn with_batching(self, batching: bool) -> Self {
        let manner = Manner { batching, ..self.manner };
        Self::assemble(self.core, self.target, self.content_type, manner)
    }

    /// Gives the appends of this handle and its clones an identity, a producer id of their own with epoch 0: what
    /// `append`, `append_json` and `close_with` send is then sent again after every failure that may pass, lost
    /// answers included, and stored once (S-PROD-1). [`append_stream`](Self::append_stream) has no part in it.
    ///
    /// One POST is under way at a time, without batching too, and `seq` is refused. What fails in the end, by the
    /// retry policy of the client, fails alone: the next append goes out under a new identity. A
    /// [`Producer`] does more: batches in a row, and an identity that outlives the process.
    #[must_use]
    pub fn idempotent(self) -> Self {
        let manner = Manner { idempotent: true, ..self.manner };
        Self::assemble(self.core, self.target, self.content_type, manner)
    }

    /// The address without credentials and query.
    pub fn url(&self) -> &str {
        self.target.url.shown()
    }

    /// The content type, as far as it is known.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.get().map(String::as_str)
    }

    /// Creates the stream, or confirms that it is there with the same configuration (C-WRITE-1).
    ///
    /// # Errors
    /// `CreateConflict` when it is there with another one; `InvalidArgument` for options that exclude each other;
    /// otherwise as all requests: `Network`, `Timeout` and the refusals of T-CLASS.
    pub async fn create(&self, options: &CreateOptions) -> Result<Created> {
        let (head, _) = self.core.call(&self.target, Request::create(options)?).await?;
        let content_type = self.learn_content_type(&head);
        Ok(Created { created: head.status == 201, offset: head.next_offset(), content_type, closed: head.is_closed() })
    }

    /// What the server knows of the stream; does not restart its TTL (S-EXP-2).
    ///
    /// # Errors
    /// `NotFound`, `Gone`, and as all requests.
    pub async fn head(&self) -> Result<StreamInfo> {
        let (head, _) = self.core.call(&self.target, Request::head()).await?;
        let content_type = self.learn_content_type(&head);
        let text = |name| head.text(name).map(str::to_owned);
        Ok(StreamInfo {
            offset: head.next_offset(),
            content_type,
            closed: head.is_closed(),
            ttl: head.number(names::STREAM_TTL).map(Duration::from_secs),
            expires_at: text(names::STREAM_EXPIRES_AT),
            etag: text(ETAG),
            cache_control: text(CACHE_CONTROL),
        })
    }

    /// Appends one message: a JSON document on a JSON stream, bytes as they are on any other.
    ///
    /// It takes its place among the appends of the handle when it is called; nothing is sent before the future, or that
    /// of another append of the handle, is polled. The future borrows nothing, so it can be spawned.
    ///
    /// It is sent again only when it provably was not stored (C4); where that is not known the error has
    /// [`outcome_unknown`](Error::outcome_unknown). Use an [`idempotent`](Self::idempotent) handle or a [`Producer`] for
    /// data that must not be lost or doubled.
    ///
    /// # Errors
    /// `BadRequest` (status 400, unsent) for an empty message (C-WRITE-3); `InvalidArgument` for text that is not
    /// JSON on a JSON stream; `StreamClosed`, `ContentTypeConflict`, and as all requests. Messages that shared a POST
    /// get the same error; those after it are sent all the same.
    ///
    /// # Cancel safety
    /// A message whose future is dropped before its turn is not sent. A POST is aborted when the futures of all its
    /// messages are dropped; whether it was stored is then unknown. One that is dropped alone harms no other (C10).
    pub fn append(&self, data: impl Into<Bytes>) -> BoxFuture<Result<Appended>> {
        self.append_with(data, &AppendOptions::default())
    }

    /// [`append`](Self::append) with options. With `seq` it shares its POST with no other.
    ///
    /// # Errors
    /// Also `SequenceConflict` when `seq` is not greater than the last one, and `InvalidArgument` for a `seq` on an
    /// [`idempotent`](Self::idempotent) handle.
    pub fn append_with(&self, data: impl Into<Bytes>, options: &AppendOptions) -> BoxFuture<Result<Appended>> {
        self.appends.submit(Write::message(data.into(), options))
    }

    /// Appends a value as one JSON message, whatever it is: a string becomes a JSON string.
    ///
    /// # Errors
    /// `NotSupported` on a stream that is not JSON; as [`append`](Self::append).
    pub fn append_json<T: Serialize + ?Sized>(&self, value: &T) -> BoxFuture<Result<Appended>> {
        self.appends.submit(to_json(value).map(Write::json))
    }

    /// [`append_json`](Self::append_json) of a value that is JSON text already, with options.
    ///
    /// # Errors
    /// As there and as [`append_with`](Self::append_with).
    pub fn append_json_text(&self, text: impl Into<Bytes>, options: &AppendOptions) -> BoxFuture<Result<Appended>> {
        self.appends.submit(Write::json_text(text.into(), options))
    }

    /// Appends a body that comes in pieces, as one atomic append (S-HTTP-11). It is sent once: a failure after the
    /// connection was made leaves the outcome unknown. On a JSON stream it is a whole JSON text, flattened one level.
    /// It neither waits for other appends of the handle nor holds them back.
    ///
    /// # Errors
    /// As [`append`](Self::append), without retries.
    pub async fn append_stream(&self, body: BoxBody, options: &AppendOptions) -> Result<Appended> {
        let content_type = self.content_type_of(options).await?;
        let request = Request::append(Bytes::new(), Some(&content_type), options, false)?;
        let (head, _) = self.core.send_stream(&self.target, request, body).await?;
        Ok(Appended { offset: head.next_offset(), duplicate: false })
    }

    /// Closes the stream for everyone, after what was appended before on this handle; can be repeated (C-WRITE-6).
    ///
    /// # Errors
    /// `NotFound`, and as all requests.
    ///
    /// # Cancel safety
    /// As [`append`](Self::append).
    pub fn close(&self) -> BoxFuture<Result<Closed>> {
        closed(self.appends.submit(Ok(Write::close())))
    }

    /// Appends a last message and closes the stream in the same step (S-CLOSE-1), after what was appended before.
    ///
    /// # Errors
    /// `StreamClosed` when it is closed already; as [`append`](Self::append).
    ///
    /// # Cancel safety
    /// As [`append`](Self::append).
    pub fn close_with(&self, data: impl Into<Bytes>, options: &AppendOptions) -> BoxFuture<Result<Closed>> {
        closed(self.appends.submit(Write::close_with(data.into(), options)))
    }

    /// Deletes the stream.
    ///
    /// # Errors
    /// `NotFound` when there is none (C-WRITE-8), `Gone` when it is soft-deleted, and as all requests.
    pub async fn delete(&self) -> Result<()> {
        self.core.call(&self.target, Request::delete()).await.map(drop)
    }

    /// Reads from a position, and goes on live if the options say so. Makes no request before it is polled.
    pub fn read(&self, options: ReadOptions) -> Reader {
        Reader::new(self.core.clone(), self.target.clone(), options)
    }

    /// A producer whose messages are stored exactly once. Asks by HEAD for the content type when it is not known,
    /// and with `auto_claim`, unless `ask_tail` is off, for the tail.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty id or options out of range; as [`head`](Self::head).
    pub async fn producer(&self, id: &str, options: ProducerOptions) -> Result<Producer> {
        let machine = self.ask_for_machine(id, options).await?;
        Ok(Producer::start(self.core.clone(), self.target.clone(), machine))
    }

    /// As [`producer`](Self::producer), without waiting: what has to be asked is asked in the background, with the
    /// retries of the client, and messages are kept meanwhile, within `max_buffered_bytes` and in order. If the
    /// stream cannot be asked, every message is settled with the error, and every later call gives it.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty id or options out of range.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn producer_lazy(&self, id: &str, options: ProducerOptions) -> Result<Producer> {
        let known = self.content_type();
        // Checks id and options at once, also where its content type is only a guess.
        let machine = self.machine(id, known.unwrap_or(DEFAULT_CONTENT_TYPE), options.clone())?;
        let (core, target) = (self.core.clone(), self.target.clone());
        if known.is_some() && !(options.auto_claim && options.ask_tail) {
            return Ok(Producer::start(core, target, machine));
        }
        let json = known.map(|_| machine.is_json());
        let (stream, id, kept) = (self.clone(), id.to_owned(), options.clone());
        let machine = async move { stream.ask_for_machine(&id, options).await };
        Ok(Producer::open(core, target, kept, json, machine))
    }

    async fn ask_for_machine(&self, id: &str, options: ProducerOptions) -> Result<Machine> {
        // An instance that may have to take over wants to know the tail before it sends anything.
        let tail = if options.auto_claim && options.ask_tail { self.head().await?.offset } else { None };
        let content_type = self.content_type_of(&AppendOptions::default()).await?;
        let machine = self.machine(id, &content_type, options)?;
        Ok(match tail {
            Some(tail) => machine.with_tail(tail),
            None => machine,
        })
    }

    fn machine(&self, id: &str, content_type: &str, options: ProducerOptions) -> Result<Machine> {
        Machine::new(id, content_type, options, &self.core.retry, self.core.seed())
    }

    /// The content type to send (C-REQ-8): as given, as known, or as HEAD says.
    async fn content_type_of(&self, options: &AppendOptions) -> Result<String> {
        if let Some(content_type) = options.content_type.as_deref().or_else(|| self.content_type()) {
            return Ok(content_type.to_owned());
        }
        Ok(self.head().await?.content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned()))
    }

    fn learn_content_type(&self, head: &ResponseHead) -> Option<String> {
        let content_type = head.text(CONTENT_TYPE)?.to_owned();
        Some(self.content_type.get_or_init(|| content_type).clone())
    }
}

fn closed(appended: BoxFuture<Result<Appended>>) -> BoxFuture<Result<Closed>> {
    Box::pin(async move { Ok(Closed { final_offset: appended.await?.offset }) })
}

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::invalid_argument(format!("the value has no JSON form: {error}")).with_source(error))
}

pub(super) fn not_json(content_type: &str) -> Error {
    let message = format!("the stream's content type is {content_type}: it takes bytes, not JSON values");
    Error::new(ErrorKind::NotSupported, message)
}
