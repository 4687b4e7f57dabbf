//! The idempotent producer: batching, pipelining, resending, fencing (PROTOCOL.md section 24).
//!
//! The driver hands in messages with [`Producer::append`], asks [`Producer::poll_transmit`] for requests to send
//! and reports what came of each with `handle_*`; [`Producer::poll_event`] tells which messages are settled.
//! [`Producer::poll_timeout`] is when [`Producer::handle_timeout`] is due.
//!
//! What keeps every message stored exactly once:
//! - a sent batch keeps its `(epoch, seq)` and its bytes until the server has answered for it (C-PROD-3, C-PROD-6);
//! - the server stores a seq only after the one before, so when a batch is known not to be stored, none after it is;
//! - an epoch is only raised over batches that cannot have been stored. Where that is not known - a try went
//!   unanswered, then another producer took over - the messages fail with `outcome_unknown` instead of being sent twice.
//!
//! Every message is settled exactly once, by a receipt or an error.

mod answers;
mod batch;
mod ids;
mod sending;
mod window;

use std::collections::VecDeque;

use bytes::Bytes;

use self::batch::{OpenBatch, framed_len};
pub use self::ids::{BatchId, FlushId, Flushed, MAX_NUMBER, Receipt};
use self::window::{Batch, Progress, Window};
use super::Instant;
use super::content_type::StreamFormat;
use super::jitter::Jitter;
use super::json;
use super::offset::Offset;
use super::request::Request;
use super::retry::RetryPolicy;
use crate::error::{BatchFailure, Error, ErrorKind, Result};
use crate::options::ProducerOptions;

/// Claims in a row, without a batch stored in between, after which two producers are simply fighting (C-PROD-8).
const MAX_CLAIMS: u32 = 8;

/// The state machine of one producer instance.
#[derive(Debug)]
pub struct Producer {
    id: String,
    content_type: String,
    json: bool,
    options: ProducerOptions,
    backoff: RetryPolicy,
    jitter: Jitter,
    epoch: u64,
    next_seq: u64,
    /// Whether a batch was stored under this epoch by this instance.
    is_proven: bool,
    claims: u32,
    /// Fenced with `auto_claim`: the epoch to take once nothing is in flight, and the answer that told.
    claim: Option<(u64, Error)>,
    /// The stream's tail before anything was sent, if the driver knows it.
    tail_before: Option<Offset>,
    window: Window,
    open: Option<OpenBatch>,
    /// The batch whose body is being written: the next one follows it, so that they arrive in order.
    writing: Option<BatchId>,
    next_batch: u64,
    next_message: u64,
    next_flush: u64,
    buffered: usize,
    flushes: VecDeque<(FlushId, u64)>,
    /// Messages below this may not wait for the linger time.
    due_below: u64,
    phase: Phase,
    failures: Vec<BatchFailure>,
    since_flush: Flushed,
    last_offset: Option<Offset>,
    events: VecDeque<ProducerEvent>,
}

#[derive(Debug)]
enum Phase {
    Running,
    /// `close` was called: the closing batch is the last one.
    Closing,
    /// The stream was closed by this producer.
    Closed(Receipt),
    /// `close` did not get through: repeating it sends the same batch.
    CloseFailed(u64, Box<Batch>, Error),
    /// Released without closing the stream.
    Detached,
    /// A batch failed for good (C-PROD-9).
    Halted(Error),
}

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The batch that settles it.
    pub batch: BatchId,
    /// Its ordinal, counted from 0.
    pub message: u64,
    /// Whether the driver has something new to do: a batch to send, or a timer to set.
    pub wake: bool,
}

/// A request to send.
#[derive(Debug)]
pub struct Transmit {
    /// Whose it is; quoted in `handle_*`.
    pub batch: BatchId,
    /// Which try, counted from 1; quoted in `handle_*`, so that late answers of given-up tries are told apart.
    pub attempt: u32,
    /// The request.
    pub request: Request,
}

/// What a producer has to tell.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProducerEvent {
    /// All messages of a batch share one fate.
    Settled {
        /// The batch.
        batch: BatchId,
        /// The server's word, or why there is none.
        result: Result<Receipt>,
    },
    /// A flush is complete: everything appended before it is settled.
    Flushed {
        /// Which one.
        flush: FlushId,
        /// What was stored since the flush before, or an error that lists every failure.
        result: Result<Flushed>,
    },
    /// `close` is complete.
    Closed(Result<Receipt>),
    /// A try failed and is made again later.
    Retrying {
        /// Why.
        error: Error,
        /// How long the batch waits.
        delay: std::time::Duration,
    },
    /// The producer took over with a higher epoch.
    Claimed {
        /// The new epoch.
        epoch: u64,
    },
}

impl Producer {
    /// A producer that has sent nothing. The seed is for jitter; of the policy only the waits count, since
    /// `delivery_timeout` bounds the tries.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty id and options out of range (C-VAL-1, C-VAL-2).
    pub fn new(
        id: impl Into<String>,
        content_type: impl Into<String>,
        options: ProducerOptions,
        policy: &RetryPolicy,
        jitter_seed: u64,
    ) -> Result<Self> {
        options.validate()?;
        let (id, content_type) = (id.into(), content_type.into());
        if id.is_empty() {
            return Err(Error::invalid_argument("producerId must not be empty"));
        }
        // Finds an id or content type that no header can hold now, and not at the first batch.
        Request::produce((&id, 0, 0), &content_type, Bytes::from_static(b"x"), false)?;
        Ok(Self {
            json: StreamFormat::of(&content_type) == StreamFormat::Json,
            id,
            content_type,
            backoff: policy.unbounded(),
            jitter: Jitter::new(jitter_seed),
            epoch: options.epoch,
            options,
            next_seq: 0,
            is_proven: false,
            claims: 0,
            claim: None,
            tail_before: None,
            window: Window::default(),
            open: None,
            writing: None,
            next_batch: 0,
            next_message: 0,
            next_flush: 0,
            buffered: 0,
            flushes: VecDeque::new(),
            due_below: 0,
            phase: Phase::Running,
            failures: Vec::new(),
            since_flush: Flushed::default(),
            last_offset: None,
            events: VecDeque::new(),
        })
    }

    /// Tells the stream's tail as it is before the first append. With `auto_claim` it settles whether a first batch
    /// that counts as a repeat was stored: the tail has not moved when it was not.
    #[must_use]
    pub fn with_tail(mut self, tail: Offset) -> Self {
        self.tail_before = Some(tail);
        self
    }

    // Commands.

    /// Checks a message the way [`append`](Self::append) would, without the producer: this is the costly part
    /// of it, and needs no lock.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty message, and on JSON streams for text that is not one JSON document.
    pub fn check_message(json: bool, message: &[u8]) -> Result<()> {
        if message.is_empty() {
            return Err(Error::invalid_argument("a message must not be empty"));
        }
        if json {
            json::check_document(message).map_err(|error| {
                Error::invalid_argument(format!("a message of a JSON stream must be one JSON document: {error}"))
                    .with_source(error)
            })?;
        }
        Ok(())
    }

    /// Takes a message that [`check_message`](Self::check_message) accepts into the open batch.
    ///
    /// # Errors
    /// `BufferFull` when it has to wait for space; `InvalidArgument` when it is larger than the whole buffer;
    /// `AlreadyClosed` after close or detach; the fatal error after a batch failed for good. The message was
    /// not taken then.
    pub fn append(&mut self, message: &[u8], now: Instant) -> Result<Appended> {
        self.check_running()?;
        let cost = framed_len(message.len(), self.json);
        self.options.check_space(message.len(), cost, self.buffered)?;
        if self.open.as_ref().is_some_and(|open| !open.has_room(message.len(), &self.options)) {
            self.seal();
        }
        self.buffered += cost;
        let ordinal = self.next_message;
        self.next_message += 1;
        let (next_batch, json) = (&mut self.next_batch, self.json);
        let open = self.open.get_or_insert_with(|| {
            *next_batch += 1;
            OpenBatch::new(BatchId(*next_batch), ordinal, json, now)
        });
        open.push(message);
        let (batch, is_new, is_full) = (open.id, open.messages == 1, open.is_full(&self.options));
        if is_full {
            self.seal();
        }
        Ok(Appended { batch, message: ordinal, wake: is_new || is_full })
    }

    /// Notes a message that was taken before it was known whether the stream can hold it, and cannot be appended. It has
    /// the next ordinal, and the next flush to end lists it among the failures; others go on.
    pub fn refuse(&mut self, error: Error) {
        // The ordinals of a batch have no holes.
        self.seal();
        self.failures.push(BatchFailure { first_message: self.next_message, messages: 1, error });
        self.next_message += 1;
    }

    /// Has everything appended so far sent without lingering.
    pub fn hurry(&mut self) {
        self.due_below = self.next_message;
    }

    /// Begins a flush: [`ProducerEvent::Flushed`] follows once everything appended so far is settled (C-PROD-10).
    pub fn flush(&mut self) -> FlushId {
        self.next_flush += 1;
        let flush = FlushId(self.next_flush);
        self.hurry();
        self.flushes.push_back((flush, self.next_message));
        self.check_flushes();
        flush
    }

    /// Sends what is there, then closes the stream, with a last message in the same step if there is one;
    /// [`ProducerEvent::Closed`] follows (C-PROD-11). Repeating it gives the first result; after a failure it
    /// sends the same batch again.
    ///
    /// # Errors
    /// `AlreadyClosed` after detach; the fatal error after a batch failed for good; a bad final message.
    pub fn close(&mut self, final_message: Option<&[u8]>, now: Instant) -> Result<()> {
        match std::mem::replace(&mut self.phase, Phase::Closing) {
            Phase::Running => {
                if let Some(message) = final_message
                    && let Err(error) = Self::check_message(self.json, message)
                {
                    self.phase = Phase::Running;
                    return Err(error);
                }
                self.push_closing_batch(final_message, now);
            }
            Phase::Closing => {}
            Phase::Closed(receipt) => {
                self.phase = Phase::Closed(receipt.clone());
                self.events.push_back(ProducerEvent::Closed(Ok(receipt)));
            }
            Phase::CloseFailed(seq, mut batch, _) => {
                batch.state = Progress::Ready;
                batch.first_sent = None;
                batch.retry.progressed();
                self.buffered += batch.cost;
                self.window.sent.push((seq, *batch));
            }
            other => {
                self.phase = other;
                return self.check_running();
            }
        }
        Ok(())
    }

    /// Refuses appends from here on, without closing the stream (C-PROD-14). Flush first.
    pub fn detach(&mut self) {
        if matches!(self.phase, Phase::Running) {
            self.phase = Phase::Detached;
        }
    }

    /// Starts anew under the next epoch, after a flush (C-PROD-15); also after a batch failed for good.
    ///
    /// # Errors
    /// `AlreadyClosed` after close or detach; `InvalidArgument` at the last epoch, or when messages are under way.
    pub fn restart(&mut self) -> Result<()> {
        if !matches!(self.phase, Phase::Running | Phase::Halted(_)) {
            return self.check_running();
        }
        if !self.is_idle() {
            return Err(Error::invalid_argument("restart: messages are still under way; flush first"));
        }
        if self.epoch >= MAX_NUMBER {
            return Err(Error::invalid_argument("epoch must be <= 2^53-1"));
        }
        self.epoch += 1;
        self.next_seq = 0;
        self.is_proven = false;
        self.phase = Phase::Running;
        Ok(())
    }

    // Events and getters.

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<ProducerEvent> {
        self.events.pop_front()
    }

    /// Whether this try still counts; if not, its exchange can be dropped.
    pub fn is_in_flight(&self, id: BatchId, attempt: u32) -> bool {
        self.window.sent.iter().any(|(_, batch)| {
            batch.id == id && batch.attempts == attempt && matches!(batch.state, Progress::InFlight { .. })
        })
    }

    /// The epoch in use; `auto_claim` and `restart` raise it.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The seq of the next new batch.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether nothing is under way or waits to be: no message, and no close.
    pub fn is_idle(&self) -> bool {
        self.window.is_empty() && self.open.is_none()
    }

    /// The ordinal of the next message.
    pub fn next_message(&self) -> u64 {
        self.next_message
    }

    /// Messages that are not settled.
    pub fn pending_messages(&self) -> u64 {
        self.next_message - self.first_unsettled()
    }

    /// Batches under way.
    pub fn in_flight(&self) -> usize {
        self.window.in_flight()
    }

    /// Bytes of messages that are not settled.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    /// The greatest offset that an answer named.
    pub fn last_offset(&self) -> Option<&Offset> {
        self.last_offset.as_ref()
    }

    /// Whether messages are JSON documents.
    pub fn is_json(&self) -> bool {
        self.json
    }

    fn check_running(&self) -> Result<()> {
        match &self.phase {
            Phase::Running => Ok(()),
            Phase::Closing | Phase::Closed(_) => {
                Err(Error::new(ErrorKind::AlreadyClosed, "the producer closed its stream"))
            }
            Phase::Detached => Err(Error::new(ErrorKind::AlreadyClosed, "the producer was detached")),
            Phase::CloseFailed(_, _, error) | Phase::Halted(error) => Err(error
                .clone()
                .with_outcome_unknown(false)
                .prefixed("the producer stopped when a batch failed; restart it".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
