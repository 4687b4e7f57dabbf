//! The handle to one stream: create, append, head, close, delete, read, producer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use serde::Serialize;

use super::exchange::{Core, Target};
use super::extras::Extras;
use super::producer::Producer;
use super::read::Reader;
use super::transport::BoxBody;
use crate::error::{Error, ErrorKind, ErrorResponse, Result};
use crate::options::{AppendOptions, CreateOptions, ProducerOptions, ReadOptions};
use crate::proto::content_type::{DEFAULT_CONTENT_TYPE, StreamFormat};
use crate::proto::json;
use crate::proto::names;
use crate::proto::offset::Offset;
use crate::proto::producer::Producer as Machine;
use crate::proto::request::{Request, wrap_json};
use crate::proto::response::ResponseHead;
use crate::proto::url::StreamUrl;

/// A handle to one stream: its address and what is known of it. Cloning is cheap; dropping it does nothing to the stream.
#[derive(Clone, Debug)]
pub struct DurableStream {
    core: Arc<Core>,
    target: Target,
    /// Fixed for the life of a stream, so one answer tells it for good.
    content_type: Arc<OnceLock<String>>,
}

/// What became of a create.
#[derive(Clone, Debug)]
pub struct Created {
    /// Whether it is new; `false` when a stream with the same configuration was there. After a lost answer and a
    /// repeat this may say `false` of a stream that the lost try created.
    pub created: bool,
    /// The tail after the initial content.
    pub offset: Offset,
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
    /// The tail.
    pub offset: Offset,
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
        Ok(Self { core, target, content_type: Arc::default() })
    }

    /// The same stream with more headers and parameters; they win over the client's.
    #[must_use]
    pub fn with(&self, extras: &Extras) -> Self {
        let target = Target { url: self.target.url.clone(), extras: self.target.extras.merged(extras) };
        Self { target, ..self.clone() }
    }

    /// Says what the stream's content type is, to save the HEAD that would find out.
    #[must_use]
    pub fn with_content_type(self, content_type: impl Into<String>) -> Self {
        let known = OnceLock::new();
        known.get_or_init(|| content_type.into());
        Self { content_type: Arc::new(known), ..self }
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
        Ok(Created {
            created: head.status == 201,
            offset: self.need_offset(&head)?,
            content_type,
            closed: head.is_closed(),
        })
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
            offset: self.need_offset(&head)?,
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
    /// It is sent again only when it provably was not stored (C4); where that is not known the error has
    /// [`outcome_unknown`](Error::outcome_unknown). Use a [`Producer`] for data that must not be lost or doubled.
    ///
    /// # Errors
    /// `BadRequest` (status 400, unsent) for an empty message (C-WRITE-3); `InvalidArgument` for text that is not
    /// JSON on a JSON stream; `StreamClosed`, `ContentTypeConflict`, and as all requests.
    pub async fn append(&self, data: impl Into<Bytes>) -> Result<Appended> {
        self.append_with(data, &AppendOptions::default()).await
    }

    /// [`append`](Self::append) with options.
    ///
    /// # Errors
    /// Also `SequenceConflict` when `seq` is not greater than the last one.
    pub async fn append_with(&self, data: impl Into<Bytes>, options: &AppendOptions) -> Result<Appended> {
        let data = data.into();
        if data.is_empty() {
            let refusal = ErrorResponse { status: 400, headers: http::HeaderMap::new(), body: None };
            return Err(Error::new(ErrorKind::BadRequest, "an append must not be empty").with_response(refusal));
        }
        let content_type = self.content_type_of(options).await?;
        let body = frame(&content_type, data)?;
        let request = Request::append(body, Some(&content_type), options, false)?;
        let (head, _) = self.core.call(&self.target, request).await?;
        Ok(Appended { offset: head.next_offset() })
    }

    /// Appends a value as one JSON message, whatever it is: a string becomes a JSON string.
    ///
    /// # Errors
    /// `NotSupported` on a stream that is not JSON; as [`append`](Self::append).
    pub async fn append_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<Appended> {
        let content_type = self.content_type_of(&AppendOptions::default()).await?;
        if StreamFormat::of(&content_type) != StreamFormat::Json {
            return Err(not_json(&content_type));
        }
        let body = wrap_json(&to_json(value)?);
        let request = Request::append(body, Some(&content_type), &AppendOptions::default(), false)?;
        let (head, _) = self.core.call(&self.target, request).await?;
        Ok(Appended { offset: head.next_offset() })
    }

    /// Appends a body that comes in pieces, as one atomic append (S-HTTP-11). It is sent once: a failure after the
    /// connection was made leaves the outcome unknown. On a JSON stream it is a whole JSON text, flattened one level.
    ///
    /// # Errors
    /// As [`append`](Self::append), without retries.
    pub async fn append_stream(&self, body: BoxBody, options: &AppendOptions) -> Result<Appended> {
        let content_type = self.content_type_of(options).await?;
        let request = Request::append(Bytes::new(), Some(&content_type), options, false)?;
        let head = self.core.send_stream(&self.target, request, body).await?;
        Ok(Appended { offset: head.next_offset() })
    }

    /// Closes the stream for everyone; can be repeated (C-WRITE-6).
    ///
    /// # Errors
    /// `NotFound`, and as all requests.
    pub async fn close(&self) -> Result<Closed> {
        let (head, _) = self.core.call(&self.target, Request::close()).await?;
        Ok(Closed { final_offset: head.next_offset() })
    }

    /// Appends a last message and closes the stream in the same step (S-CLOSE-1).
    ///
    /// # Errors
    /// `StreamClosed` when it is closed already; as [`append`](Self::append).
    pub async fn close_with(&self, data: impl Into<Bytes>, options: &AppendOptions) -> Result<Closed> {
        let content_type = self.content_type_of(options).await?;
        let body = frame(&content_type, data.into())?;
        let request = Request::append(body, Some(&content_type), options, true)?;
        let (head, _) = self.core.call(&self.target, request).await?;
        Ok(Closed { final_offset: head.next_offset() })
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
    /// and with `auto_claim` for the tail.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty id or options out of range; as [`head`](Self::head).
    pub async fn producer(&self, id: &str, options: ProducerOptions) -> Result<Producer> {
        // An instance that may have to take over wants to know the tail before it sends anything.
        let tail = if options.auto_claim { Some(self.head().await?.offset) } else { None };
        let content_type = self.content_type_of(&AppendOptions::default()).await?;
        let mut machine = Machine::new(id, content_type, options, &self.core.retry, self.core.seed())?;
        if let Some(tail) = tail {
            machine = machine.with_tail(tail);
        }
        Ok(Producer::start(self.core.clone(), self.target.clone(), machine))
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

    fn need_offset(&self, head: &ResponseHead) -> Result<Offset> {
        head.next_offset().ok_or_else(|| {
            let message = format!("{}: the server's answer has no valid Stream-Next-Offset", self.url());
            Error::new(ErrorKind::Protocol, message)
        })
    }
}

/// The body of an append: JSON is checked and wrapped, so that an array stays one message (C-WRITE-2).
fn frame(content_type: &str, data: Bytes) -> Result<Bytes> {
    if StreamFormat::of(content_type) != StreamFormat::Json {
        return Ok(data);
    }
    json::check_document(&data).map_err(|error| {
        Error::invalid_argument(format!("data for a JSON stream must be one JSON document: {error}")).with_source(error)
    })?;
    Ok(wrap_json(&data))
}

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::invalid_argument(format!("the value has no JSON form: {error}")).with_source(error))
}

pub(super) fn not_json(content_type: &str) -> Error {
    let message = format!("the stream's content type is {content_type}: it takes bytes, not JSON values");
    Error::new(ErrorKind::NotSupported, message)
}
