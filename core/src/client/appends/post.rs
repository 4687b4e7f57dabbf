//! Single appends, and what may share a POST.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::oneshot;

use super::super::stream::{Appended, not_json};
use super::identity::Numbered;
use crate::error::{Error, ErrorKind, ErrorResponse, Result};
use crate::headers::HeaderMap;
use crate::options::AppendOptions;
use crate::proto::content_type::{DEFAULT_CONTENT_TYPE, StreamFormat};
use crate::proto::json;
use crate::proto::request::{Request, wrap_json};

/// The body of a POST of several messages stays below this; a message that is larger goes alone.
const MAX_BODY_BYTES: usize = 1 << 20;

pub(super) type Reply = oneshot::Sender<Result<Appended>>;

/// A write that waits for its turn, and who asked for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) write: Write,
    pub(super) reply: Reply,
}

impl Entry {
    /// Whether it cannot go before the stream's content type is known.
    pub(super) fn wants_type(&self) -> bool {
        !self.write.is_settled() && !self.reply.is_closed()
    }
}

/// One append or close.
#[derive(Debug)]
pub(in crate::client) struct Write {
    payload: Payload,
    options: AppendOptions,
    closes: bool,
}

#[derive(Debug)]
enum Payload {
    /// Bytes as they are; on JSON streams to be checked.
    Bytes(Bytes),
    /// One JSON document, for JSON streams only.
    Json(Bytes),
    /// A close without a message.
    Nothing,
}

impl Payload {
    fn into_message(self) -> Option<Bytes> {
        match self {
            Self::Bytes(data) | Self::Json(data) => Some(data),
            Self::Nothing => None,
        }
    }
}

impl Write {
    /// An append of one message.
    ///
    /// # Errors
    /// `BadRequest` (status 400, unsent) when it is empty (C-WRITE-3); options that no header can hold.
    pub(in crate::client) fn message(data: Bytes, options: &AppendOptions) -> Result<Self> {
        if data.is_empty() {
            let refusal = ErrorResponse { status: 400, headers: HeaderMap::new(), body: None };
            return Err(Error::new(ErrorKind::BadRequest, "an append must not be empty").with_response(refusal));
        }
        Self::new(Payload::Bytes(data), options, false)
    }

    /// An append of a JSON document that is well-formed by construction.
    pub(in crate::client) fn json(text: Vec<u8>) -> Self {
        Self { payload: Payload::Json(text.into()), options: AppendOptions::default(), closes: false }
    }

    /// An append of text that must be a JSON document, and must not go to any but a JSON stream.
    ///
    /// # Errors
    /// `InvalidArgument` when it is none; options that no header can hold.
    pub(in crate::client) fn json_text(text: Bytes, options: &AppendOptions) -> Result<Self> {
        check_json(&text)?;
        Self::new(Payload::Json(text), options, false)
    }

    /// A close without a message.
    pub(in crate::client) fn close() -> Self {
        Self { payload: Payload::Nothing, options: AppendOptions::default(), closes: true }
    }

    /// A last message and the close in one step.
    ///
    /// # Errors
    /// Options that no header can hold.
    pub(in crate::client) fn close_with(data: Bytes, options: &AppendOptions) -> Result<Self> {
        Self::new(Payload::Bytes(data), options, true)
    }

    fn new(payload: Payload, options: &AppendOptions, closes: bool) -> Result<Self> {
        // Finds values that no header can hold at the call, and not when its turn comes.
        Request::append(Bytes::new(), None, options, closes)?;
        let mut write = Self { payload, options: AppendOptions { content_type: None, ..options.clone() }, closes };
        if let Some(content_type) = &options.content_type {
            write.settle_type(content_type)?;
        }
        Ok(write)
    }

    /// Whether it has a `Stream-Seq`.
    pub(super) fn has_seq(&self) -> bool {
        self.options.seq.is_some()
    }

    /// Whether nothing is left to find out before it can be sent.
    pub(super) fn is_settled(&self) -> bool {
        self.options.content_type.is_some() || matches!(self.payload, Payload::Nothing)
    }

    /// Takes the content type, unless it has one, and checks the message against it.
    ///
    /// # Errors
    /// `InvalidArgument` for text that is not JSON on a JSON stream, `NotSupported` for a value on any other.
    pub(super) fn settle_type(&mut self, content_type: &str) -> Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        match (&self.payload, StreamFormat::of(content_type)) {
            (Payload::Bytes(data), StreamFormat::Json) => {
                check_json(data)?;
                self.payload = Payload::Json(data.clone());
            }
            (Payload::Json(_), StreamFormat::Binary | StreamFormat::Text) => return Err(not_json(content_type)),
            _ => {}
        }
        self.options.content_type = Some(content_type.to_owned());
        Ok(())
    }

    fn len(&self) -> usize {
        match &self.payload {
            Payload::Bytes(data) => data.len(),
            // With the bracket or comma before it.
            Payload::Json(text) => text.len() + 1,
            Payload::Nothing => 0,
        }
    }
}

fn check_json(text: &[u8]) -> Result<()> {
    json::check_document(text).map_err(|error| {
        let message = format!("data for a JSON stream must be one JSON document: {error}");
        Error::invalid_argument(message).with_source(error)
    })
}

/// One POST as it grows.
pub(super) struct Draft {
    json: bool,
    options: AppendOptions,
    closes: bool,
    messages: Vec<Bytes>,
    len: usize,
}

impl Draft {
    pub(super) fn new(first: Write) -> Self {
        let (json, len) = (matches!(first.payload, Payload::Json(_)), first.len());
        let Write { payload, options, closes } = first;
        Self { json, options, closes, messages: payload.into_message().into_iter().collect(), len }
    }

    /// Whether a write may join.
    pub(super) fn takes(&self, write: &Write) -> bool {
        let closing_bracket = usize::from(self.json);
        // What the server is told of a whole POST, its seq and the close, belongs to one write alone.
        !self.is_alone()
            && !write.closes
            && !write.has_seq()
            && write.is_settled()
            && write.options.content_type == self.options.content_type
            && self.len + write.len() + closing_bracket <= MAX_BODY_BYTES
    }

    /// Adds the message of a write that [`takes`](Self::takes) allows.
    pub(super) fn join(&mut self, write: Write) {
        self.len += write.len();
        self.messages.extend(write.payload.into_message());
    }

    /// The POST: JSON messages in one array, bytes one after the other.
    pub(super) fn finish(self) -> Post {
        let Self { json, options, closes, mut messages, len } = self;
        let body = match messages.as_mut_slice() {
            [] => None,
            messages if json => Some(wrap_json(messages)),
            [only] => Some(std::mem::take(only)),
            messages => {
                let mut body = BytesMut::with_capacity(len);
                messages.iter().for_each(|message| body.put_slice(message));
                Some(body.freeze())
            }
        };
        Post { body, options, closes }
    }

    fn is_alone(&self) -> bool {
        self.closes || self.options.seq.is_some()
    }
}

/// One POST, ready to go.
pub(super) struct Post {
    /// `None` for a close without a message, which can be repeated as it is (C-WRITE-6).
    pub(super) body: Option<Bytes>,
    options: AppendOptions,
    pub(super) closes: bool,
}

impl Post {
    /// The request without an identity.
    ///
    /// # Errors
    /// A content type that no header can hold.
    pub(super) fn plain(self) -> Result<Request> {
        match self.body {
            Some(body) => Request::append(body, None, &self.options, self.closes),
            None => Ok(Request::close()),
        }
    }

    /// The request under an identity.
    ///
    /// # Errors
    /// A content type that no header can hold.
    pub(super) fn numbered(&self, numbered: &Numbered) -> Result<Request> {
        let content_type = self.options.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE);
        let body = self.body.clone().unwrap_or_default();
        Request::produce((&numbered.id, 0, numbered.seq), content_type, body, self.closes)
    }
}
