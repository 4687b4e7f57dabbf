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

mod batch;
mod ids;
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
use super::names;
use super::offset::Offset;
use super::request::Request;
use super::response::{Disconnect, ResponseHead};
use super::retry::{RetryPolicy, RetryState};
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
        if cost > self.options.max_buffered_bytes {
            return Err(Error::invalid_argument(format!(
                "a message of {} bytes does not fit maxBufferedBytes ({})",
                message.len(),
                self.options.max_buffered_bytes
            )));
        }
        if self.buffered + cost > self.options.max_buffered_bytes {
            return Err(Error::new(ErrorKind::BufferFull, "the producer's buffer is full; wait for answers"));
        }
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

    /// Begins a flush: [`ProducerEvent::Flushed`] follows once everything appended so far is settled (C-PROD-10).
    pub fn flush(&mut self) -> FlushId {
        self.next_flush += 1;
        let flush = FlushId(self.next_flush);
        self.due_below = self.next_message;
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
                self.window.sent.push_back((seq, *batch));
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
        if !self.window.is_empty() || self.open.is_some() {
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

    // What happened.

    /// The body of a try was written: the next batch may follow on another connection.
    pub fn handle_body_sent(&mut self, batch: BatchId) {
        if self.writing == Some(batch) {
            self.writing = None;
        }
    }

    /// The server answered a try (T-BATCH).
    pub fn handle_response(&mut self, id: BatchId, attempt: u32, head: &ResponseHead, now: Instant) {
        let Some((at, seq, floor)) = self.end_try(id, attempt) else {
            return;
        };
        let request = Request::produce((&self.id, self.epoch, seq), &self.content_type, Bytes::new(), false);
        // The same values made a request in `new`.
        let Ok(request) = request else { return };
        match head.status.as_u16() {
            200 | 204 => self.batch_accepted(at, head),
            status if head.status.is_success() => {
                self.window.sent[at].1.maybe_stored = true;
                let message = format!("the server answered a batch with {status}, which says nothing about it");
                self.halt_from(at, Error::new(ErrorKind::UnexpectedStatus, message));
            }
            _ if head.is_transient() => {
                self.window.sent[at].1.maybe_stored |= !head.did_nothing();
                self.retry_later(at, head.to_error(&request), now);
            }
            _ => {
                let error = head.to_error(&request);
                match *error.kind() {
                    ErrorKind::ProducerFenced { current_epoch } => self.batch_fenced(at, current_epoch, error),
                    ErrorKind::SequenceGap { expected, .. } => self.batch_ahead(at, seq, floor, expected, error),
                    _ => self.halt_from(at, error),
                }
            }
        }
        self.try_claim();
    }

    /// No answer came to a try, or only part of one.
    pub fn handle_disconnect(&mut self, id: BatchId, attempt: u32, cause: Disconnect, now: Instant) {
        let Some((at, ..)) = self.end_try(id, attempt) else {
            return;
        };
        self.window.sent[at].1.maybe_stored |= !cause.not_sent;
        self.retry_later(at, cause.error, now);
        self.try_claim();
    }

    /// A try was not sent, for a reason that no repeat mends: the caller's own function failed (C-REQ-7).
    pub fn handle_fatal(&mut self, id: BatchId, attempt: u32, error: Error) {
        if let Some((at, ..)) = self.end_try(id, attempt) {
            self.halt_from(at, error);
        }
    }

    /// The moment of [`poll_timeout`](Self::poll_timeout) has come: tries that took too long are given up.
    pub fn handle_timeout(&mut self, now: Instant) {
        let overdue: Vec<(BatchId, u32)> = self
            .window
            .sent
            .iter()
            .filter(|(_, batch)| matches!(batch.state, Progress::InFlight { deadline, .. } if deadline <= now))
            .map(|(_, batch)| (batch.id, batch.attempts))
            .collect();
        for (id, attempt) in overdue {
            let error = Error::new(ErrorKind::Timeout, "the server did not answer in time");
            self.handle_disconnect(id, attempt, Disconnect { not_sent: false, error }, now);
        }
        for (_, batch) in &mut self.window.sent {
            if matches!(batch.state, Progress::Backoff { until } if until <= now) {
                batch.state = Progress::Ready;
            }
        }
    }

    // What to do.

    /// The next request to send, if one may go.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.claim.is_some() {
            return None;
        }
        if let Some(at) = self.window.sent.iter().position(|(_, batch)| batch.state == Progress::Ready) {
            return self.transmit(at, now);
        }
        // Before the first success proves the epoch, a claim must find one batch at most (C-PROD-7).
        let limit = if self.options.auto_claim && !self.is_proven { 1 } else { self.options.max_in_flight };
        if self.window.sent.len() >= limit || !self.window.is_flowing() || self.writing.is_some() {
            return None;
        }
        if self.window.queued.is_empty() && self.is_open_due(now) {
            self.seal();
        }
        // A repeat of an earlier batch cannot be told from a new one once the stream is closed (appendix E 13): the
        // close waits until all before it is settled.
        if !self.window.sent.is_empty() && self.window.queued.front().is_some_and(|batch| batch.closing) {
            return None;
        }
        let batch = self.window.queued.pop_front()?;
        self.writing = Some(batch.id);
        self.window.sent.push_back((self.next_seq, batch));
        self.next_seq += 1;
        self.transmit(self.window.sent.len() - 1, now)
    }

    /// When [`handle_timeout`](Self::handle_timeout), or [`poll_transmit`](Self::poll_transmit) for a batch whose
    /// linger time is over, is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let linger =
            self.open.as_ref().filter(|_| self.has_capacity()).map(|open| match self.is_open_due(open.opened_at) {
                true => open.opened_at,
                false => open.opened_at + self.options.linger,
            });
        [linger, self.window.deadline()].into_iter().flatten().min()
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<ProducerEvent> {
        self.events.pop_front()
    }

    // Getters.

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

    /// The last offset that an answer named.
    pub fn last_offset(&self) -> Option<&Offset> {
        self.last_offset.as_ref()
    }

    /// Whether messages are JSON documents.
    pub fn is_json(&self) -> bool {
        self.json
    }

    // Answers.

    /// Takes a try out of flight; `None` when it does not count any more.
    fn end_try(&mut self, id: BatchId, attempt: u32) -> Option<(usize, u64, u64)> {
        self.handle_body_sent(id);
        let (at, seq, batch) = self.window.find(id)?;
        let Progress::InFlight { floor, .. } = batch.state else {
            return None;
        };
        if batch.attempts != attempt {
            return None;
        }
        batch.state = Progress::Ready;
        Some((at, seq, floor))
    }

    fn batch_accepted(&mut self, at: usize, head: &ResponseHead) {
        let receipt = Receipt { offset: head.next_offset(), duplicate: head.status == 204, closed: head.is_closed() };
        if self.window.sent[at].1.closing && !receipt.closed {
            // C-PROD-12: the server took the close for a repeat of something else.
            let message = "this epoch and seq were used before for something else: the stream is not closed; \
                           raise the epoch and close again";
            return self.halt_from(at, Error::new(ErrorKind::SequenceConflict, message));
        }
        if let Some(epoch) = self.epoch_in_use(at, head, &receipt) {
            let message = format!("an earlier instance of this producer used epoch {epoch}");
            let error = Error::new(ErrorKind::ProducerFenced { current_epoch: epoch }, message);
            return self.batch_fenced(at, epoch, error);
        }
        let Some(batch) = self.window.settle(at) else { return };
        self.is_proven = true;
        self.claims = 0;
        self.buffered -= batch.cost;
        // A repeat that was sent once only is not ours: another instance used this seq (C-PROD-16).
        let foreign = receipt.duplicate && !batch.maybe_stored;
        if foreign {
            self.since_flush.duplicates += batch.messages;
        } else {
            self.since_flush.messages += batch.messages;
        }
        if let Some(offset) = &receipt.offset {
            self.last_offset = Some(offset.clone());
        }
        self.events.push_back(ProducerEvent::Settled { batch: batch.id, result: Ok(receipt.clone()) });
        if batch.closing {
            self.phase = Phase::Closed(receipt.clone());
            self.events.push_back(ProducerEvent::Closed(Ok(receipt)));
        }
        self.check_flushes();
    }

    /// With `auto_claim`, a first batch that counts as a repeat of another's: an earlier instance started under the
    /// same epoch, as a program that is run twice does, and the server dropped the batch. The epoch to rise
    /// above, if that is certain: the server has seqs that this instance never sent, or the tail did not move.
    fn epoch_in_use(&self, at: usize, head: &ResponseHead, receipt: &Receipt) -> Option<u64> {
        if !self.options.auto_claim || self.is_proven || !receipt.duplicate {
            return None;
        }
        // One batch, seq 0, is all that was sent under an epoch that is not proven.
        let other_seqs = head.number(names::PRODUCER_SEQ).is_some_and(|seq| seq > 0);
        let tail_stands = receipt.offset.is_some() && receipt.offset == self.tail_before;
        let sent_once = !self.window.sent[at].1.maybe_stored;
        (other_seqs || (sent_once && tail_stands)).then(|| head.number(names::PRODUCER_EPOCH).unwrap_or(self.epoch))
    }

    /// 403 with an epoch: somebody else took over.
    fn batch_fenced(&mut self, at: usize, current_epoch: u64, error: Error) {
        let exhausted = self.claims >= MAX_CLAIMS || current_epoch >= MAX_NUMBER;
        if !self.options.auto_claim || exhausted || current_epoch < self.epoch {
            return self.halt_from(at, error);
        }
        let epoch = self.claim.as_ref().map_or(0, |(epoch, _)| *epoch).max(current_epoch + 1);
        self.claim = Some((epoch, error));
    }

    /// Takes over once every try is answered, if it is certain that nothing would be stored twice (C-PROD-8).
    fn try_claim(&mut self) {
        if self.claim.is_none() || self.window.in_flight() > 0 {
            return;
        }
        let Some((epoch, error)) = self.claim.take() else {
            return;
        };
        // If the first batch was not stored, none after it was.
        if self.window.sent.front().is_some_and(|(_, batch)| batch.maybe_stored) {
            return self.halt_from(0, error);
        }
        self.epoch = epoch;
        self.claims += 1;
        self.is_proven = false;
        self.next_seq = self.window.renumber();
        // One batch proves the new epoch; the others are new to it, and sent after that.
        while self.window.sent.len() > 1 {
            if let Some((_, mut batch)) = self.window.sent.pop_back() {
                batch.state = Progress::Queued;
                self.window.queued.push_front(batch);
                self.next_seq -= 1;
            }
        }
        self.events.push_back(ProducerEvent::Claimed { epoch });
    }

    /// 409 with the expected seq: batches before this one are missing on the server.
    fn batch_ahead(&mut self, at: usize, seq: u64, floor: u64, expected: u64, error: Error) {
        // Answered for before this try left, or never sent by us: the server lost it, or it was another's.
        if expected >= seq || expected < floor {
            return self.halt_from(at, error);
        }
        // This try did nothing, and an earlier one of it can only have been stored after the missing batches.
        let waits = (expected..seq).any(|earlier| self.window.contains_seq(earlier));
        self.window.sent[at].1.state = if waits && at > 0 { Progress::Held } else { Progress::Ready };
    }

    fn retry_later(&mut self, at: usize, error: Error, now: Instant) {
        let batch = &mut self.window.sent[at].1;
        // Unbounded in tries; the delivery timeout is the bound.
        let delay = batch.retry.failed(&self.backoff, error.retry_after(), &mut self.jitter, now).unwrap_or_default();
        let until = now + delay;
        let first_sent = batch.first_sent.unwrap_or(now);
        if self.options.delivery_timeout.is_some_and(|limit| until.saturating_sub(first_sent) > limit) {
            return self.halt_from(at, error);
        }
        batch.state = Progress::Backoff { until };
        self.events.push_back(ProducerEvent::Retrying { error, delay });
    }

    /// A batch failed for good: it and all after it are settled with the error (C-PROD-9). Those before it go on.
    fn halt_from(&mut self, at: usize, error: Error) {
        let unknown = self.window.sent[at].1.maybe_stored;
        self.claim = None;
        let failed: Vec<(Option<u64>, Batch)> = self
            .window
            .sent
            .drain(at..)
            .map(|(seq, batch)| (Some(seq), batch))
            .chain(self.window.queued.drain(..).map(|batch| (None, batch)))
            .collect();
        self.writing = self.writing.filter(|id| failed.iter().all(|(_, batch)| batch.id != *id));
        let mut is_first = true;
        for (seq, batch) in failed {
            // Stored only if all before it are, and only if a try may have reached the server - even one that was
            // answered with a gap, since something on the way may keep a copy and deliver it later.
            let error = error.clone().with_outcome_unknown(unknown && batch.attempts > 0);
            self.buffered -= batch.cost;
            self.settle_failed(batch.id, batch.first_message, batch.messages, error.clone());
            if batch.closing {
                self.events.push_back(ProducerEvent::Closed(Err(error.clone())));
                // Only a close that failed by itself, for want of an answer, can be repeated as it is.
                if let (Some(seq), true, true) = (seq, is_first, error.is_retryable()) {
                    self.phase = Phase::CloseFailed(seq, Box::new(batch), error);
                    self.check_flushes();
                    return;
                }
            }
            is_first = false;
        }
        if let Some(open) = self.open.take() {
            let (id, first, messages) = (open.id, open.first_message, open.messages);
            self.buffered -= open.seal().len().saturating_sub(usize::from(self.json));
            self.settle_failed(id, first, messages, error.clone().with_outcome_unknown(false));
        }
        self.phase = Phase::Halted(error);
        self.check_flushes();
    }

    fn settle_failed(&mut self, batch: BatchId, first_message: u64, messages: u64, error: Error) {
        if messages > 0 {
            self.failures.push(BatchFailure { first_message, messages, error: error.clone() });
        }
        self.events.push_back(ProducerEvent::Settled { batch, result: Err(error) });
    }

    fn check_flushes(&mut self) {
        let settled = self.first_unsettled();
        while let Some(&(flush, _)) = self.flushes.front().filter(|(_, below)| *below <= settled) {
            self.flushes.pop_front();
            let mut report = std::mem::take(&mut self.since_flush);
            report.offset = self.last_offset.clone();
            let failures = std::mem::take(&mut self.failures);
            let result =
                match failures.first() {
                    None => Ok(report),
                    Some(first) => {
                        let lost: u64 = failures.iter().map(|failure| failure.messages).sum();
                        let unknown = failures.iter().any(|failure| failure.error.outcome_unknown());
                        Err(first.error.clone().with_outcome_unknown(unknown).with_failures(failures.clone()).prefixed(
                            format!("{lost} message(s) were not stored, from number {} on", first.first_message),
                        ))
                    }
                };
            self.events.push_back(ProducerEvent::Flushed { flush, result });
        }
    }

    // Sending.

    fn transmit(&mut self, at: usize, now: Instant) -> Option<Transmit> {
        let floor = self.window.floor(self.next_seq);
        let (seq, batch) = &mut self.window.sent[at];
        batch.attempts += 1;
        batch.first_sent.get_or_insert(now);
        batch.retry.starts(now);
        batch.state = Progress::InFlight { deadline: now + self.options.request_timeout, floor };
        let identity = (self.id.as_str(), self.epoch, *seq);
        // The same id and content type made a request in `new`, and numbers fit any header.
        let request = Request::produce(identity, &self.content_type, batch.body.clone(), batch.closing).ok()?;
        Some(Transmit { batch: batch.id, attempt: batch.attempts, request })
    }

    fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (id, first_message, messages) = (open.id, open.first_message, open.messages);
        let body = open.seal();
        // What the messages were charged for: their bytes and one separator each.
        let cost = body.len() - usize::from(self.json);
        self.window.queued.push_back(new_batch(id, first_message, messages, body, cost, false));
    }

    fn push_closing_batch(&mut self, final_message: Option<&[u8]>, now: Instant) {
        self.seal();
        self.next_batch += 1;
        let id = BatchId(self.next_batch);
        let first_message = self.next_message;
        let (body, cost, messages) = match final_message {
            Some(message) => {
                let mut open = OpenBatch::new(id, first_message, self.json, now);
                open.push(message);
                (open.seal(), framed_len(message.len(), self.json), 1)
            }
            None => (Bytes::new(), 0, 0),
        };
        self.next_message += messages;
        self.buffered += cost;
        self.window.queued.push_back(new_batch(id, first_message, messages, body, cost, true));
    }

    fn is_open_due(&self, now: Instant) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.first_message < self.due_below || now >= open.opened_at + self.options.linger)
    }

    /// Whether the open batch could be sent if it were due.
    fn has_capacity(&self) -> bool {
        let limit = if self.options.auto_claim && !self.is_proven { 1 } else { self.options.max_in_flight };
        self.claim.is_none()
            && self.writing.is_none()
            && self.window.queued.is_empty()
            && self.window.sent.len() < limit
            && self.window.is_flowing()
    }

    fn first_unsettled(&self) -> u64 {
        let open = self.open.as_ref().map(|open| open.first_message);
        self.window.first_message().or(open).unwrap_or(self.next_message)
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

fn new_batch(id: BatchId, first_message: u64, messages: u64, body: Bytes, cost: usize, closing: bool) -> Batch {
    Batch {
        id,
        first_message,
        messages,
        body,
        cost,
        closing,
        maybe_stored: false,
        attempts: 0,
        first_sent: None,
        retry: RetryState::default(),
        state: Progress::Queued,
    }
}

#[cfg(test)]
mod tests;
