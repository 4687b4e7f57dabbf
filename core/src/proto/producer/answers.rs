//! What came of each try, and what it means for its batch and those after it (T-BATCH).

use bytes::Bytes;

use super::window::Progress;
use super::{BatchId, MAX_CLAIMS, MAX_NUMBER, Phase, Producer, ProducerEvent, Receipt};
use crate::error::{BatchFailure, Error, ErrorKind};
use crate::proto::Instant;
use crate::proto::names;
use crate::proto::request::Request;
use crate::proto::response::{Disconnect, ResponseHead};

impl Producer {
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

    /// A try failed for a reason that no repeat mends: the caller's own function failed (C-REQ-7), or the transport says so. The
    /// error says whether the try may have been stored.
    pub fn handle_fatal(&mut self, id: BatchId, attempt: u32, error: Error) {
        if let Some((at, ..)) = self.end_try(id, attempt) {
            self.window.sent[at].1.maybe_stored |= error.outcome_unknown();
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
        let mut receipt =
            Receipt { offset: head.next_offset(), duplicate: head.status == 204, closed: head.is_closed() };
        if self.window.sent[at].1.closing && receipt.duplicate && !receipt.closed {
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
        // A close without a message is answered with 204 in any case (S-PROD-10).
        receipt.duplicate &= !(batch.closing && batch.messages == 0) || batch.maybe_stored;
        // A repeat that was sent once only is not ours: another instance used this seq (C-PROD-16).
        let foreign = receipt.duplicate && !batch.maybe_stored;
        if foreign {
            self.since_flush.duplicates += batch.messages;
        } else {
            self.since_flush.messages += batch.messages;
        }
        // Answers come in any order, offsets do not go back (S-OFF-2).
        if receipt.offset > self.last_offset {
            self.last_offset.clone_from(&receipt.offset);
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
        if self.window.sent.first().is_some_and(|(_, batch)| batch.maybe_stored) {
            return self.halt_from(0, error);
        }
        self.epoch = epoch;
        self.claims += 1;
        self.is_proven = false;
        self.next_seq = self.window.renumber();
        // One batch proves the new epoch; the others are new to it, and sent after that.
        while self.window.sent.len() > 1 {
            if let Some((_, mut batch)) = self.window.sent.pop() {
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
        let waits = (expected..seq).any(|earlier| self.window.contains_seq(earlier));
        let batch = &mut self.window.sent[at].1;
        batch.state = if waits && at > 0 { Progress::Held } else { Progress::Ready };
        // This try did nothing. A copy of it, if something on the way keeps one, does once the missing ones are there.
        batch.maybe_stored = true;
    }

    fn retry_later(&mut self, at: usize, error: Error, now: Instant) {
        let batch = &mut self.window.sent[at].1;
        // Unbounded in tries; the delivery timeout is the bound.
        let delay = batch.retry.failed(&self.backoff, error.retry_after(), &mut self.jitter, now).unwrap_or_default();
        let until = now.saturating_add(delay);
        let first_sent = batch.first_sent.unwrap_or(now);
        if self.options.delivery_timeout.is_some_and(|limit| until.saturating_sub(first_sent) > limit) {
            return self.halt_from(at, error);
        }
        batch.state = Progress::Backoff { until };
        self.events.push_back(ProducerEvent::Retrying { error, delay });
    }

    /// Gives up what is not settled, and takes no more. Of tries that are under way it is not known whether they were stored.
    /// Nothing follows after close or detach that is settled.
    pub fn abort(&mut self, error: Error) {
        if self.is_idle() && !matches!(self.phase, Phase::Running) {
            return;
        }
        self.seal();
        for (_, batch) in &mut self.window.sent {
            batch.maybe_stored |= matches!(batch.state, Progress::InFlight { .. });
        }
        self.halt_from(0, error);
    }

    /// A batch failed for good: it and all after it are settled with the error (C-PROD-9). Those before it go on.
    fn halt_from(&mut self, at: usize, error: Error) {
        let first = self.window.sent.get(at);
        let unknown = first.is_some_and(|(_, batch)| batch.maybe_stored);
        // Of the first one, if it was sent.
        let mut first_seq = first.map(|(seq, _)| *seq);
        self.claim = None;
        let failed = self.window.take_from(at);
        self.writing = self.writing.filter(|id| failed.iter().all(|batch| batch.id != *id));
        for batch in failed {
            // Stored only if all before it are, and only if a try may have reached the server.
            let error = error.clone().with_outcome_unknown(unknown && batch.attempts > 0);
            self.buffered -= batch.cost;
            self.settle_failed(batch.id, batch.first_message, batch.messages, error.clone());
            if batch.closing {
                self.events.push_back(ProducerEvent::Closed(Err(error.clone())));
                // Only a close that failed by itself, for want of an answer, can be repeated as it is.
                if let (Some(seq), true) = (first_seq, error.is_retryable()) {
                    self.phase = Phase::CloseFailed(seq, Box::new(batch), error);
                    self.check_flushes();
                    return;
                }
            }
            first_seq = None;
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

    pub(super) fn check_flushes(&mut self) {
        let settled = self.first_unsettled();
        while let Some(&(flush, _)) = self.flushes.front().filter(|(_, below)| *below <= settled) {
            self.flushes.pop_front();
            let mut report = std::mem::take(&mut self.since_flush);
            report.offset = self.last_offset.clone();
            let failures = std::mem::take(&mut self.failures);
            let result = Error::of_failures(failures).map_or(Ok(report), Err);
            self.events.push_back(ProducerEvent::Flushed { flush, result });
        }
    }
}
