//! Reads: what they deliver, and when that is enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use everstream::{Batch, Checkpoint, Client, Error, ErrorKind, LiveMode, Offset, ReadFrom, ReadOptions, Reader};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::adapter::{Adapter, extras_of};
use crate::commands::Read;
use crate::protocol::{Failure, Outcome};

const DEFAULT_TIMEOUT_MS: u64 = 5000;
const CATCH_UP_TIMEOUT_MS: u64 = 15_000;
const DEFAULT_MAX_CHUNKS: usize = 100;

impl Adapter {
    pub(crate) async fn read(&mut self, read: Read) -> Outcome {
        let sent = self.session.sent(&read.headers)?;
        let mut client = self.client_with(read.retry.as_ref())?;
        let asked = Arc::new(AtomicU64::new(0));
        if let Some(headers) = &read.on_error_headers {
            client = with_hook(&client, headers, asked.clone())?;
        }
        let handle = self.handle_of(&client, &read.path, &sent.extras)?;
        let live = live_of(&read.live)?;
        let mut reader =
            handle.read(ReadOptions { from: start_of(&read)?, live, json: read.json, ..ReadOptions::default() });
        let mut reading = Reading::new(&read, live);
        // A read that stops at the tail ends by itself, with its own limits.
        let limit = if live == LiveMode::CatchUp { CATCH_UP_TIMEOUT_MS } else { DEFAULT_TIMEOUT_MS };
        let limit = Instant::now() + Duration::from_millis(read.timeout_ms.unwrap_or(limit));
        let timed_out = match timeout_at(limit, reading.follow(&mut reader)).await {
            Ok(done) => {
                done?;
                false
            }
            // Waiting in vain is a result of a read that has been at the tail (C-LP-3).
            Err(_) if live != LiveMode::CatchUp && reading.answered => true,
            Err(_) => {
                let message = format!("no answer about {} in time", read.path);
                return Err(Error::new(ErrorKind::Timeout, message).into());
            }
        };
        let checkpoint = reading.stopped_at.as_ref().unwrap_or_else(|| reader.checkpoint());
        let mut result = json!({
            "status": reader.status(),
            "offset": reader.offset().map(Offset::as_str),
            "upToDate": timed_out || reader.is_up_to_date(),
            "streamClosed": reader.is_closed(),
            "cursor": reading.cursor,
            "checkpoint": checkpoint.to_json(),
            "chunks": reading.chunks(),
        });
        if read.on_error_headers.is_some() {
            result["onErrorCalls"] = asked.load(Ordering::Relaxed).into();
        }
        sent.report(&mut result);
        Ok(result)
    }
}

/// What a read has delivered.
struct Reading {
    /// One for each batch, or a single one that grows.
    pieces: Vec<Piece>,
    one_piece: bool,
    max_chunks: usize,
    stop_at_tail: bool,
    items_left: Option<u64>,
    cursor: Option<String>,
    /// Whether the server has told anything at all.
    answered: bool,
    /// Where it stopped, if that was in the middle of a batch.
    stopped_at: Option<Checkpoint>,
}

enum Piece {
    Bytes(Vec<u8>),
    Messages(Vec<Vec<u8>>),
}

impl Reading {
    fn new(read: &Read, live: LiveMode) -> Self {
        Self {
            pieces: Vec::new(),
            one_piece: live == LiveMode::CatchUp,
            max_chunks: read.max_chunks.unwrap_or(DEFAULT_MAX_CHUNKS),
            stop_at_tail: read.wait_for_up_to_date,
            items_left: read.max_items,
            cursor: None,
            answered: false,
            stopped_at: None,
        }
    }

    async fn follow(&mut self, reader: &mut Reader) -> everstream::Result<()> {
        while let Some(batch) = reader.next().await {
            if self.is_over(&batch?) {
                break;
            }
        }
        Ok(())
    }

    /// Takes a batch; whether it was the last one wanted.
    fn is_over(&mut self, batch: &Batch) -> bool {
        self.answered = true;
        if let Some(cursor) = batch.cursor() {
            self.cursor = Some(cursor.to_owned());
        }
        let wanted = self.items_left.map_or_else(|| batch.units(), |left| left.min(batch.units()));
        if wanted > 0 {
            self.add(batch, usize::try_from(wanted).unwrap_or(usize::MAX));
        }
        if let Some(left) = &mut self.items_left {
            *left -= wanted;
            if *left == 0 {
                self.stopped_at = Some(batch.checkpoint_at(wanted));
                return true;
            }
        }
        // A read that stops at the tail is one chunk, however many answers it takes.
        let full = !self.one_piece && self.pieces.len() >= self.max_chunks;
        batch.is_closed() || full || (self.stop_at_tail && batch.is_up_to_date())
    }

    fn add(&mut self, batch: &Batch, units: usize) {
        let last = self.pieces.last_mut().filter(|_| self.one_piece);
        if batch.is_json() {
            let messages = batch.messages().take(units).map(|message| message.to_vec());
            match last {
                Some(Piece::Messages(all)) => all.extend(messages),
                _ => self.pieces.push(Piece::Messages(messages.collect())),
            }
        } else {
            let bytes = batch.bytes().slice(..units);
            match last {
                Some(Piece::Bytes(all)) => all.extend_from_slice(&bytes),
                _ => self.pieces.push(Piece::Bytes(bytes.to_vec())),
            }
        }
    }

    /// Text wherever it is text, the array of JSON messages.
    fn chunks(&self) -> Vec<Value> {
        let chunk = |piece: &Piece| match piece {
            Piece::Messages(messages) => {
                let array = [b"[".to_vec(), messages.join(&b','), b"]".to_vec()].concat();
                json!({"data": String::from_utf8_lossy(&array)})
            }
            Piece::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => json!({"data": text}),
                Err(_) => json!({"data": BASE64.encode(bytes), "binary": true}),
            },
        };
        self.pieces.iter().map(chunk).collect()
    }
}

fn start_of(read: &Read) -> Result<Checkpoint, Failure> {
    if let Some(checkpoint) = &read.checkpoint {
        return Ok(Checkpoint::from_json(checkpoint)?);
    }
    let from: ReadFrom = match &read.offset {
        None => ReadFrom::Beginning,
        Some(text) => text.parse().map_err(|error| Failure::InvalidArgument(format!("offset: {error}")))?,
    };
    Ok(from.into())
}

pub(crate) fn live_of(live: &Value) -> Result<LiveMode, Failure> {
    match live {
        Value::Null | Value::Bool(false) => Ok(LiveMode::CatchUp),
        Value::Bool(true) => Ok(LiveMode::Auto),
        Value::String(mode) if mode == "long-poll" => Ok(LiveMode::LongPoll),
        Value::String(mode) if mode == "sse" => Ok(LiveMode::Sse),
        other => Err(Failure::InvalidArgument(format!("live: {other}"))),
    }
}

/// The client with an error hook that goes on with these headers, once.
fn with_hook(client: &Client, headers: &BTreeMap<String, String>, asked: Arc<AtomicU64>) -> Result<Client, Failure> {
    let extras = extras_of(headers)?;
    let hook = move |_| -> everstream::BoxFuture<Option<everstream::Extras>> {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        let answer = first.then(|| extras.clone());
        Box::pin(async move { answer })
    };
    Ok(client.to_builder().on_error(hook).build()?)
}
