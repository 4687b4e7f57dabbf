//! Putting the body of an answer together: plain bytes, JSON arrays, event streams.
//!
//! Each reader can tell how far it got in *units* - messages of a JSON stream, bytes of any other - which is
//! what a checkpoint in the middle of an answer counts.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::batch::Payload;
use super::host::{HostBody, Piece};
use crate::error::{Error, ErrorKind};
use crate::proto::control::Control;
use crate::proto::json::{self, JsonError, Scanner};
use crate::proto::names;
use crate::proto::sse::{SseDecoder, decode_base64};

/// A data event and its control event may take this much memory together; more is a broken server.
const MAX_HELD_BYTES: usize = 512 << 20;

/// The body of a catch-up or long-poll answer.
#[derive(Debug)]
pub(super) enum PlainBody {
    Bytes { held: BytesMut, skip: u64 },
    Json(JsonBody),
}

#[derive(Debug, Default)]
pub(super) struct JsonBody {
    scanner: Scanner,
    /// Text that was not handed over yet.
    text: BytesMut,
    /// How much text was handed over before it.
    cut: usize,
    found: Vec<Range<usize>>,
    skip: u64,
    started: bool,
    /// Whether the text is left to the host, as long as the scanner was not needed.
    is_left: bool,
    /// Where the host has it, and how many bytes of it are known of.
    kept: Option<(Arc<dyn HostBody>, usize)>,
}

impl PlainBody {
    /// A body whose first `skip` bytes were delivered before. The buffer is one that an earlier body left.
    pub(super) fn bytes(skip: u64, buffer: BytesMut) -> Self {
        Self::Bytes { held: buffer, skip }
    }

    /// The same of a JSON stream, whose first `skip` messages were delivered before. `parsed_by_host`: a host that keeps the
    /// text is to parse it.
    pub(super) fn json(skip: u64, buffer: BytesMut, parsed_by_host: bool) -> Self {
        // Messages that are left out have to be found.
        let is_left = parsed_by_host && skip == 0;
        Self::Json(JsonBody { text: buffer, skip, is_left, ..JsonBody::default() })
    }

    /// Leaves to a host what it holds of the body; `false` when that has to be looked at here, as all that follows. The first
    /// piece may be longer than `limit`.
    pub(super) fn leave(&mut self, host: &Arc<dyn HostBody>, limit: usize) -> bool {
        let Self::Json(body) = self else { return false };
        let held = host.held();
        body.is_left &= body.kept.is_none() || held <= limit;
        if body.is_left {
            body.kept = Some((host.clone(), held));
        }
        body.is_left
    }

    /// How many bytes were left to a host, which are to be looked at now.
    pub(super) fn take_left(&mut self) -> usize {
        match self {
            Self::Json(JsonBody { kept, .. }) => kept.take().map_or(0, |(_, len)| len),
            Self::Bytes { .. } => 0,
        }
    }

    /// Takes the next piece of the body.
    pub(super) fn feed(&mut self, mut piece: Bytes) -> Result<(), Error> {
        match self {
            Self::Bytes { held, skip } => {
                let skipped = (*skip).min(piece.len() as u64);
                *skip -= skipped;
                // At most the length of the piece, which is a usize.
                piece.advance(skipped as usize);
                join(held, piece);
                Ok(())
            }
            Self::Json(body) => {
                body.is_left = false;
                let scanned = body.scanner.feed(&piece, &mut body.found).map_err(broken_json);
                join(&mut body.text, piece);
                scanned
            }
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Bytes { held, .. } => held.len(),
            Self::Json(body) => body.text.len(),
        }
    }

    /// Takes the whole units so far, and how many they are; `None` when there is none.
    pub(super) fn take_part(&mut self) -> Result<Option<(Payload, u64)>, Error> {
        match self {
            Self::Bytes { held, .. } => {
                let part = held.split().freeze();
                let units = part.len() as u64;
                Ok((units > 0).then(|| (Payload::Bytes(part), units)))
            }
            Self::Json(body) => body.take(false),
        }
    }

    /// What is left of the buffer, for the next body: its memory comes back when what was handed over is dropped.
    pub(super) fn into_buffer(self) -> BytesMut {
        let mut buffer = match self {
            Self::Bytes { held, .. } => held,
            Self::Json(body) => body.text,
        };
        // The end of an array that had no message left to go with it.
        buffer.clear();
        buffer
    }

    /// The body is complete: takes what is left, and how many units had been delivered before but were
    /// not in this answer.
    pub(super) fn finish(&mut self) -> Result<(Payload, u64), Error> {
        match self {
            Self::Bytes { held, skip } => Ok((Payload::Bytes(held.split().freeze()), *skip)),
            Self::Json(body) => {
                if let Some((text, _)) = body.kept.take() {
                    if let Some(array) = text.parse() {
                        return Ok((Payload::Array { text, array }, 0));
                    }
                    self.feed(Piece::Host(text).into_bytes())?;
                    return self.finish();
                }
                if !body.scanner.is_blank() {
                    body.scanner.finish(&mut body.found).map_err(broken_json)?;
                }
                let empty = Payload::json(Bytes::new(), Vec::new(), false);
                let payload = body.take(true)?.map_or(empty, |(payload, _)| payload);
                Ok((payload, body.skip))
            }
        }
    }
}

impl JsonBody {
    fn take(&mut self, at_end: bool) -> Result<Option<(Payload, u64)>, Error> {
        let skipped = self.skip.min(self.found.len() as u64);
        self.skip -= skipped;
        let Some(end) = self.found.last().map(|last| last.end) else {
            return Ok(None);
        };
        // The end of the text closes the array, so that an undivided answer is handed over as it is.
        let end = if at_end { self.cut + self.text.len() } else { end };
        let text = self.text.split_to(end - self.cut).freeze();
        if let Err(error) = std::str::from_utf8(&text) {
            return Err(broken_json(JsonError { position: self.cut + error.valid_up_to(), expected: "UTF-8" }));
        }
        let mut messages = std::mem::take(&mut self.found);
        messages.drain(..skipped as usize);
        for range in &mut messages {
            *range = range.start - self.cut..range.end - self.cut;
        }
        let is_array = at_end && !self.started && skipped == 0 && text.trim_ascii_start().starts_with(b"[");
        self.started = true;
        self.cut = end;
        let units = messages.len() as u64;
        Ok((units > 0).then_some((Payload::json(text, messages, is_array), units)))
    }
}

/// Adds a piece to what is held. One that is whole by itself is taken as it is, where nobody else has its memory and most of
/// that is data: the piece holds all that was read along with it.
fn join(held: &mut BytesMut, piece: Bytes) {
    /// A connection reads twice as much at once, or more.
    const WORTH_TAKING: usize = 4 << 10;

    if held.is_empty() && piece.len() >= held.capacity().max(WORTH_TAKING) {
        match piece.try_into_mut() {
            Ok(whole) => *held = whole,
            Err(shared) => held.extend_from_slice(&shared),
        }
    } else {
        held.extend_from_slice(&piece);
    }
}

/// The body of an SSE answer: data is held back until the control event that names its offset (C-SSE-7).
#[derive(Debug)]
pub(super) struct SseBody {
    decoder: SseDecoder,
    base64: bool,
    held: Held,
    held_bytes: usize,
}

#[derive(Debug)]
enum Held {
    Bytes(BytesMut),
    Json { text: BytesMut, messages: Vec<Range<usize>> },
}

impl Held {
    fn new(json: bool) -> Self {
        if json { Self::Json { text: BytesMut::new(), messages: Vec::new() } } else { Self::Bytes(BytesMut::new()) }
    }

    fn take(&mut self) -> Payload {
        match self {
            Self::Bytes(bytes) => Payload::Bytes(std::mem::take(bytes).freeze()),
            Self::Json { text, messages } => {
                Payload::json(std::mem::take(text).freeze(), std::mem::take(messages), false)
            }
        }
    }
}

impl SseBody {
    /// A body whose data events are JSON arrays, text or base64 (C-SSE-9: the header decides).
    pub(super) fn new(json: bool, base64: bool) -> Self {
        Self { decoder: SseDecoder::new(), base64, held: Held::new(json), held_bytes: 0 }
    }

    /// Takes the next piece; calls `deliver` with the data of each control event and the event itself.
    pub(super) fn feed(&mut self, piece: &[u8], mut deliver: impl FnMut(Payload, Control)) -> Result<(), Error> {
        let Self { decoder, base64, held, held_bytes } = self;
        let mut failure = None;
        let decoded = decoder.feed(piece, |event| {
            if failure.is_some() {
                return;
            }
            match &*event.kind {
                names::EVENT_DATA => {
                    *held_bytes += event.data.len();
                    failure = hold(held, *base64, event.data).err();
                }
                names::EVENT_CONTROL => match Control::from_event(&event.data) {
                    Ok(control) => {
                        *held_bytes = 0;
                        deliver(held.take(), control);
                    }
                    Err(message) => failure = Some(Error::new(ErrorKind::Parse, message)),
                },
                // Other event types are skipped (C-SSE-5).
                _ => {}
            }
        });
        decoded.map_err(|error| Error::new(ErrorKind::Parse, error.to_string()))?;
        if self.held_bytes + self.decoder.buffered() > MAX_HELD_BYTES {
            let message = format!("more than {MAX_HELD_BYTES} bytes of SSE data without a control event");
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        failure.map_or(Ok(()), Err)
    }
}

fn hold(held: &mut Held, base64: bool, data: String) -> Result<(), Error> {
    let data = if base64 {
        decode_base64(&data).map_err(|message| Error::new(ErrorKind::Parse, message))?
    } else {
        Bytes::from(data)
    };
    match held {
        Held::Bytes(bytes) => bytes.extend_from_slice(&data),
        Held::Json { text, messages } => {
            let base = text.len();
            let found = json::messages(&data).map_err(broken_json)?;
            messages.extend(found.into_iter().map(|range| range.start + base..range.end + base));
            text.extend_from_slice(&data);
        }
    }
    Ok(())
}

fn broken_json(error: JsonError) -> Error {
    Error::new(ErrorKind::Parse, format!("the server sent broken JSON: {error}")).with_source(error)
}
