//! The state of one stream and every rule about appending to it and closing it (PROTOCOL.md T-POST,
//! T-CLOSE, T-PROD, S-SEQ). Pure: no IO, no async, no clock.
//!
//! [`StreamState::decide`] judges a request against the state and changes nothing; what it lets through
//! comes back as a [`Commit`], one atomic unit that goes to storage and to [`StreamState::apply`].

use std::sync::Arc;

use bytes::Bytes;
use everstream::proto::content_type::{StreamFormat, same_media_type};
use everstream::proto::json::JsonError;

use super::error::EngineError;
use super::expiry::Lifetime;
use super::messages::Messages;
use super::position::Position;
use super::producers::{ProducerTag, Producers, Verdict};
use crate::clock::Millis;

/// What a stream is created with and never changes.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// The content type, as first given (S-CREATE-2).
    pub content_type: Arc<str>,
    /// How long the stream lives.
    pub lifetime: Lifetime,
    /// When it was created.
    pub created_at: Millis,
    /// Where its own data begins: zero, or where it left its source (S-FORK-7).
    pub base: Position,
}

impl StreamConfig {
    /// A stream of a content type, without expiry, that begins at zero.
    pub fn new(content_type: impl Into<Arc<str>>) -> Self {
        Self { content_type: content_type.into(), lifetime: Lifetime::Unlimited, created_at: 0, base: Position::ZERO }
    }
}

/// An append or a close, as it was asked for.
#[derive(Clone, Debug)]
pub struct Append<'a> {
    /// The request's content type.
    pub content_type: Option<&'a [u8]>,
    /// What is to be appended.
    pub payload: Payload,
    /// Whether the stream is to be closed with it.
    pub close: bool,
    /// The producer triple.
    pub producer: Option<ProducerTag>,
    /// `Stream-Seq`, compared bytewise (S-SEQ-1).
    pub stream_seq: Option<Bytes>,
}

impl<'a> Append<'a> {
    /// A plain append of a body in the given content type, framed by that type.
    pub fn new(content_type: &'a str, body: Bytes) -> Self {
        Self {
            payload: Payload::frame(StreamFormat::of(content_type), body),
            content_type: Some(content_type.as_bytes()),
            close: false,
            producer: None,
            stream_seq: None,
        }
    }

    /// A close without data.
    pub fn close_only() -> Self {
        Self { content_type: None, payload: Payload::Empty, close: true, producer: None, stream_seq: None }
    }
}

/// The body of an append. Framing it needs no stream, so that it is done outside of every lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// No body.
    Empty,
    /// Messages; none when the body was an empty JSON array.
    Framed(Messages),
    /// The body is not JSON where it should be. Refused only after the rows of T-POST before it.
    Invalid(JsonError),
}

impl Payload {
    /// Frames a body for a stream of this format.
    pub fn frame(format: StreamFormat, body: Bytes) -> Self {
        if body.is_empty() {
            return Self::Empty;
        }
        match Messages::frame(format, body) {
            Ok(messages) => Self::Framed(messages),
            Err(error) => Self::Invalid(error),
        }
    }
}

/// One atomic change of a stream: all of it becomes durable, or none (S-PROD-7, S-CLOSE-1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// When it was decided; restarts a sliding lifetime (S-EXP-1).
    pub at: Millis,
    /// Appended at the tail.
    pub messages: Messages,
    /// The producer's new epoch and seq; with `close` also the closing tuple.
    pub producer: Option<ProducerTag>,
    /// The new `Stream-Seq`.
    pub stream_seq: Option<Bytes>,
    /// Whether the stream is closed after the messages.
    pub close: bool,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Make the commit durable, then answer with the receipt.
    Commit(Commit, Receipt),
    /// Nothing changes: answer with the receipt.
    Answer(Receipt),
}

/// What a successful append or close is answered with (T-RESP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What happened.
    pub outcome: Outcome,
    /// The tail after it.
    pub next: Position,
    /// Whether the stream is closed.
    pub closed: bool,
    /// Epoch and seq to report to the producer, if it is one.
    pub producer: Option<(u64, u64)>,
}

/// What a successful append or close did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Data was appended, and the stream perhaps closed.
    Appended,
    /// The stream was closed, or was closed already.
    Closed,
    /// The request was seen before; nothing changed.
    Duplicate,
}

/// How a stream was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The closing tuple, if a producer did it.
    pub by: Option<ProducerTag>,
}

/// The state of one stream, without its data.
#[derive(Clone, Debug)]
pub struct StreamState {
    content_type: Arc<str>,
    format: StreamFormat,
    lifetime: Lifetime,
    stored: StoredState,
}

/// The changing part of a [`StreamState`], as storage keeps it.
#[derive(Clone, Debug, Default)]
pub struct StoredState {
    /// The tail.
    pub tail: Position,
    /// Whether and how it was closed. Boxed, as is whatever most streams do not have: memory has one of these for each.
    pub closed: Option<Box<Closure>>,
    /// The last accepted `Stream-Seq`.
    pub stream_seq: Option<Bytes>,
    /// Epoch and last seq of each producer.
    pub producers: Producers,
    /// When a sliding lifetime was last restarted.
    pub touched: Millis,
}

impl StoredState {
    /// The state of an empty, open stream.
    pub fn new(config: &StreamConfig) -> Self {
        Self { tail: config.base, touched: config.created_at, ..Self::default() }
    }

    /// Carries a commit out.
    pub fn apply(&mut self, commit: &Commit) {
        self.tail.0 += commit.messages.len() as u64;
        if let Some(tag) = &commit.producer {
            self.producers.record(tag);
        }
        if let Some(seq) = &commit.stream_seq {
            self.stream_seq = Some(seq.clone());
        }
        if commit.close && self.closed.is_none() {
            self.closed = Some(Box::new(Closure { by: commit.producer.clone() }));
        }
        self.touched = self.touched.max(commit.at);
    }
}

impl StreamState {
    /// An empty, open stream.
    pub fn new(config: StreamConfig) -> Self {
        let stored = StoredState::new(&config);
        Self::restore(config, stored)
    }

    /// A stream as storage remembers it.
    pub fn restore(config: StreamConfig, stored: StoredState) -> Self {
        Self {
            format: StreamFormat::of(&config.content_type),
            content_type: config.content_type,
            lifetime: config.lifetime,
            stored,
        }
    }

    /// Who writes as an idempotent producer.
    pub fn producers(&self) -> &Producers {
        &self.stored.producers
    }

    /// Carries out a commit that [`decide`](Self::decide) made.
    pub fn apply(&mut self, commit: &Commit) {
        self.stored.apply(commit);
    }

    /// A successful read, or a write that changed nothing, restarts a sliding lifetime (S-EXP-8).
    pub fn touch(&mut self, now: Millis) {
        self.stored.touched = self.stored.touched.max(now);
    }

    /// Judges an append or close in the order of T-POST. Changes nothing.
    ///
    /// # Errors
    /// The row of T-POST, T-CLOSE or T-PROD that refuses it.
    pub fn decide(&self, append: Append<'_>, now: Millis) -> Result<Decision, EngineError> {
        if append.payload == Payload::Empty {
            return if append.close { self.decide_close(&append, now) } else { Err(EngineError::EmptyBody) };
        }
        let content_type = append.content_type.ok_or(EngineError::MissingContentType)?;
        if self.is_expired(now) {
            return Err(EngineError::NotFound);
        }
        if let Some(closure) = &self.stored.closed {
            return self.decide_on_closed(closure, &append).map(Decision::Answer);
        }
        if !self.accepts(content_type) {
            return Err(EngineError::ContentTypeDiffers);
        }
        if let Some(answer) = self.check_producer(&append)? {
            return Ok(Decision::Answer(answer));
        }
        if let (Some(last), Some(seq)) = (&self.stored.stream_seq, &append.stream_seq)
            && seq <= last
        {
            return Err(EngineError::SeqRegression);
        }
        let messages = match append.payload {
            Payload::Framed(messages) if messages.is_empty() => return Err(EngineError::EmptyArray),
            Payload::Framed(messages) => messages,
            Payload::Invalid(error) => return Err(error.into()),
            Payload::Empty => return Err(EngineError::EmptyBody),
        };
        let receipt = Receipt {
            outcome: Outcome::Appended,
            next: Position(self.stored.tail.0 + messages.len() as u64),
            closed: append.close,
            producer: append.producer.as_ref().map(|tag| (tag.epoch, tag.seq)),
        };
        let Append { producer, stream_seq, close, .. } = append;
        let commit = Commit { at: now, messages, producer, stream_seq, close };
        Ok(Decision::Commit(commit, receipt))
    }

    /// Judges a close without data (T-CLOSE). Content type and `Stream-Seq` do not count (S-APPEND-4, S-SEQ-5).
    fn decide_close(&self, append: &Append<'_>, now: Millis) -> Result<Decision, EngineError> {
        if self.is_expired(now) {
            return Err(EngineError::NotFound);
        }
        let receipt = Receipt {
            outcome: Outcome::Closed,
            next: self.stored.tail,
            closed: true,
            producer: append.producer.as_ref().map(|tag| (tag.epoch, tag.seq)),
        };
        match &self.stored.closed {
            Some(_) if append.producer.is_none() => Ok(Decision::Answer(receipt)),
            Some(closure) => self.decide_on_closed(closure, append).map(Decision::Answer),
            None => {
                if let Some(answer) = self.check_producer(append)? {
                    return Ok(Decision::Answer(answer));
                }
                let commit = Commit { at: now, producer: append.producer.clone(), close: true, ..Commit::default() };
                Ok(Decision::Commit(commit, receipt))
            }
        }
    }

    /// A closed stream answers only the repeat of its closing tuple, whatever the body (S-CLOSE-2).
    fn decide_on_closed(&self, closure: &Closure, append: &Append<'_>) -> Result<Receipt, EngineError> {
        match &append.producer {
            Some(tag) if closure.by.as_ref() == Some(tag) => Ok(Receipt {
                outcome: Outcome::Closed,
                next: self.stored.tail,
                closed: true,
                producer: Some((tag.epoch, tag.seq)),
            }),
            _ => Err(EngineError::Closed { tail: self.stored.tail }),
        }
    }

    /// The answer to a duplicate, or `None` when the request is in order or names no producer.
    fn check_producer(&self, append: &Append<'_>) -> Result<Option<Receipt>, EngineError> {
        let Some(tag) = &append.producer else { return Ok(None) };
        match self.stored.producers.check(tag) {
            Verdict::Accept => Ok(None),
            Verdict::Duplicate { epoch, seq } => Ok(Some(Receipt {
                outcome: Outcome::Duplicate,
                next: self.stored.tail,
                closed: self.is_closed(),
                producer: Some((epoch, seq)),
            })),
            Verdict::Fence { epoch } => Err(EngineError::Fenced { epoch }),
            Verdict::Gap { expected, received } => Err(EngineError::Gap { expected, received }),
            Verdict::BadFirstSeq => Err(EngineError::NewEpochNotAtZero),
        }
    }

    /// Whether a request's content type is the stream's media type (S-CREATE-3).
    pub fn accepts(&self, content_type: &[u8]) -> bool {
        content_type == self.content_type.as_bytes()
            || std::str::from_utf8(content_type).is_ok_and(|given| same_media_type(given, &self.content_type))
    }

    /// The position after the last message.
    pub fn tail(&self) -> Position {
        self.stored.tail
    }

    /// Whether the stream takes no more appends.
    pub fn is_closed(&self) -> bool {
        self.stored.closed.is_some()
    }

    /// How the stream's bytes are framed.
    pub fn format(&self) -> StreamFormat {
        self.format
    }

    /// How long the stream lives.
    pub fn lifetime(&self) -> &Lifetime {
        &self.lifetime
    }

    /// When a sliding lifetime was last restarted.
    pub fn touched(&self) -> Millis {
        self.stored.touched
    }

    /// When the stream expires, if ever.
    pub fn deadline(&self) -> Option<Millis> {
        self.lifetime.deadline(self.stored.touched)
    }

    /// Whether the stream has expired (S-EXP-5).
    pub fn is_expired(&self, now: Millis) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
