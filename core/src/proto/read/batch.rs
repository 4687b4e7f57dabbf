//! What a reader hands over: the data of one answer, or a part of it, with the position just after it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;

use super::host::{HostBody, ParsedArray};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::json;
use crate::proto::offset::{Offset, ReadFrom};

/// Data in stream order, and where it leaves the reader (C-READ-1).
#[derive(Clone, Debug)]
pub struct Batch {
    pub(super) payload: Payload,
    /// Where it begins.
    pub(super) start: Checkpoint,
    pub(super) checkpoint: Checkpoint,
    pub(super) cursor: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) up_to_date: bool,
    pub(super) closed: bool,
    pub(super) last: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Payload {
    Bytes(Bytes),
    /// JSON text, and where the messages are in it.
    Json {
        text: Bytes,
        messages: Vec<Range<usize>>,
        /// Whether `text` is one array of exactly these messages.
        is_array: bool,
    },
    /// One JSON array that the host holds, and what it made of it.
    Array {
        text: Arc<dyn HostBody>,
        array: ParsedArray,
    },
    /// What was there, and how much of it.
    Taken {
        units: u64,
        is_json: bool,
    },
}

impl Payload {
    pub(super) fn json(text: Bytes, messages: Vec<Range<usize>>, is_array: bool) -> Self {
        Self::Json { text, messages, is_array }
    }

    /// JSON text, and where the messages are in it; `None` for a stream that is not one of JSON messages.
    fn found(&self) -> Option<(Bytes, Cow<'_, [Range<usize>]>)> {
        match self {
            Self::Bytes(_) => None,
            Self::Json { text, messages, .. } => Some((text.clone(), Cow::Borrowed(messages))),
            Self::Array { text, .. } => {
                let text = text.bytes();
                // What the host takes for one array, the scanner does as well: both know RFC 8259.
                let messages = json::messages(&text).unwrap_or_default();
                Some((text, Cow::Owned(messages)))
            }
            Self::Taken { is_json, .. } => is_json.then(Default::default),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Json { messages, .. } => messages.is_empty(),
            Self::Array { array, .. } => array.len == 0,
            Self::Taken { units, .. } => *units == 0,
        }
    }
}

impl Batch {
    /// Whether it carries no data: only a new position, or the news of having caught up or reached the end.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Whether the stream is one of JSON messages.
    pub fn is_json(&self) -> bool {
        !matches!(self.payload, Payload::Bytes(_) | Payload::Taken { is_json: false, .. })
    }

    /// What the host made of it ([`ReadOptions::parsed_by_host`](crate::ReadOptions::parsed_by_host)); `None` where it was not
    /// asked: for parts of answers, event streams, and streams that are not JSON. While somebody has the batch, the host
    /// keeps the text of it as well.
    pub fn parsed(&self) -> Option<&ParsedArray> {
        match &self.payload {
            Payload::Array { array, .. } => Some(array),
            Payload::Bytes(_) | Payload::Json { .. } | Payload::Taken { .. } => None,
        }
    }

    /// Messages of a JSON stream as raw JSON text, untouched; empty for other streams.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = Bytes> + '_ {
        let (text, messages) = match self.payload.found() {
            Some((text, messages)) => (Some(text), messages),
            None => (None, Cow::default()),
        };
        // There are no messages where there is no text.
        (0..messages.len())
            .map(move |number| text.as_ref().map_or_else(Bytes::new, |text| text.slice(messages[number].clone())))
    }

    /// Messages of a JSON stream as values; for other streams an error.
    ///
    /// # Errors
    /// `Parse` when a message is not a `T`, with its number in the batch; `NotSupported` on a stream that is not JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let Some((text, messages)) = self.payload.found() else {
            return Err(Error::new(ErrorKind::NotSupported, "the stream is not one of JSON messages"));
        };
        // Parsing text is faster than parsing bytes, whose every string would be checked again.
        let text = std::str::from_utf8(&text)
            .map_err(|error| Error::new(ErrorKind::Parse, "the text is not UTF-8").with_source(error))?;
        let mut values = Vec::with_capacity(messages.len());
        for (number, range) in messages.iter().enumerate() {
            let value = serde_json::from_str(&text[range.clone()]).map_err(|error| {
                let message = format!("message {number} of the batch is not what was asked for: {error}");
                Error::new(ErrorKind::Parse, message).with_source(error)
            })?;
            values.push(value);
        }
        Ok(values)
    }

    /// The data as one piece; for a JSON stream one JSON array of the messages. Copies only when it must.
    pub fn bytes(&self) -> Bytes {
        match &self.payload {
            Payload::Bytes(bytes) => bytes.clone(),
            Payload::Json { text, is_array: true, .. } => text.clone(),
            Payload::Array { text, .. } => text.bytes(),
            Payload::Json { text, messages, .. } => {
                let mut array = BytesMut::with_capacity(text.len() + 2);
                for (index, range) in messages.iter().enumerate() {
                    array.extend_from_slice(if index == 0 { b"[" } else { b"," });
                    array.extend_from_slice(&text[range.clone()]);
                }
                array.extend_from_slice(if messages.is_empty() { b"[]" } else { b"]" });
                array.freeze()
            }
            Payload::Taken { .. } => Bytes::new(),
        }
    }

    /// As [`bytes`](Self::bytes), and the batch does not hold them any longer: then it has no messages and no bytes, while all
    /// that tells of its place stays as it was. For one who keeps the batch for that, such as for a checkpoint later.
    pub fn take_bytes(&mut self) -> Bytes {
        let bytes = self.bytes();
        self.payload = Payload::Taken { units: self.units(), is_json: self.is_json() };
        bytes
    }

    /// Bytes of data, before any decoding.
    pub fn len(&self) -> usize {
        match &self.payload {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Json { .. } | Payload::Array { .. } | Payload::Taken { .. } => {
                self.payload.found().map_or(0, |(_, messages)| messages.iter().map(ExactSizeIterator::len).sum())
            }
        }
    }

    /// How many units it has: messages of a JSON stream, bytes of any other.
    pub fn units(&self) -> u64 {
        match &self.payload {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Json { messages, .. } => messages.len() as u64,
            Payload::Array { array, .. } => array.len,
            Payload::Taken { units, .. } => *units,
        }
    }

    /// Where to go on after this batch.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Where to go on after the first [`units`](Self::units) of it, for a reader that stops in its middle.
    pub fn checkpoint_at(&self, units: u64) -> Checkpoint {
        self.span().checkpoint_at(units)
    }

    /// From where to where it goes, without the data.
    pub fn span(&self) -> Span {
        Span { start: self.start.clone(), end: self.checkpoint.clone(), units: self.units() }
    }

    /// The offset just after this batch; `None` while in the middle of one long answer, where only a
    /// [`checkpoint`](Self::checkpoint) can name the place.
    pub fn offset(&self) -> Option<&Offset> {
        match (&self.checkpoint.from, self.checkpoint.skip) {
            (ReadFrom::At(offset), 0) => Some(offset),
            _ => None,
        }
    }

    /// The cursor that the server gave with it.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The tag of the answer, for a later conditional read.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Whether everything that existed when it was sent is delivered with it.
    pub fn is_up_to_date(&self) -> bool {
        self.up_to_date
    }

    /// Whether the stream ends with it (C-EOF-1).
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether nothing follows it: the stream ends with it, or the read is not live and has caught up.
    pub fn is_last(&self) -> bool {
        self.last
    }
}

/// Where a [`Batch`] begins and ends: what is left of it for one who has taken its data.
#[derive(Clone, Debug)]
pub struct Span {
    start: Checkpoint,
    end: Checkpoint,
    units: u64,
}

impl Span {
    /// Where to go on after the first so many units.
    pub fn checkpoint_at(&self, units: u64) -> Checkpoint {
        if units >= self.units {
            return self.end.clone();
        }
        Checkpoint { skip: self.start.skip + units, ..self.start.clone() }
    }

    /// Messages of a JSON stream, bytes of any other.
    pub fn units(&self) -> u64 {
        self.units
    }
}
