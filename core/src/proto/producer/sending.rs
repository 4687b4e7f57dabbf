//! What may go out now: sealing batches, numbering them, and the order in which they leave (C-PROD-2 to C-PROD-7).

use bytes::Bytes;

use super::batch::{OpenBatch, framed_len};
use super::window::{Batch, Progress};
use super::{BatchId, Producer, Transmit};
use crate::proto::Instant;
use crate::proto::request::Request;
use crate::proto::retry::RetryState;

impl Producer {
    /// The next request to send, if one may go.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.claim.is_some() {
            return None;
        }
        if let Some(at) = self.window.sent.iter().position(|(_, batch)| batch.state == Progress::Ready) {
            return self.transmit(at, now);
        }
        if !self.may_send_more() {
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
        self.window.sent.push((self.next_seq, batch));
        self.next_seq += 1;
        self.transmit(self.window.sent.len() - 1, now)
    }

    /// When [`handle_timeout`](Self::handle_timeout), or [`poll_transmit`](Self::poll_transmit) for a batch whose
    /// linger time is over, is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let linger =
            self.open.as_ref().filter(|_| self.window.queued.is_empty() && self.may_send_more()).map(|open| match self
                .is_open_due(open.opened_at)
            {
                true => open.opened_at,
                false => open.opened_at.saturating_add(self.options.linger),
            });
        [linger, self.window.deadline()].into_iter().flatten().min()
    }

    fn transmit(&mut self, at: usize, now: Instant) -> Option<Transmit> {
        let floor = self.window.floor(self.next_seq);
        let (seq, batch) = &mut self.window.sent[at];
        batch.attempts += 1;
        batch.first_sent.get_or_insert(now);
        batch.retry.starts(now);
        batch.state = Progress::InFlight { deadline: now.saturating_add(self.options.request_timeout), floor };
        let identity = (self.id.as_str(), self.epoch, *seq);
        // The same id and content type made a request in `new`, and numbers fit any header.
        let request = Request::produce(identity, &self.content_type, batch.body.clone(), batch.closing).ok()?;
        Some(Transmit { batch: batch.id, attempt: batch.attempts, request })
    }

    pub(super) fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (id, first_message, messages) = (open.id, open.first_message, open.messages);
        let body = open.seal();
        // What the messages were charged for: their bytes and one separator each.
        let cost = body.len() - usize::from(self.json);
        self.window.queued.push_back(new_batch(id, first_message, messages, body, cost, false));
    }

    pub(super) fn push_closing_batch(&mut self, final_message: Option<&[u8]>, now: Instant) {
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
        self.open.as_ref().is_some_and(|open| {
            open.first_message < self.due_below || now >= open.opened_at.saturating_add(self.options.linger)
        })
    }

    /// Whether a batch that was never sent may follow those under way.
    fn may_send_more(&self) -> bool {
        // Before the first success proves the epoch, a claim must find one batch at most (C-PROD-7). And where the server
        // may know a lower epoch it refuses what comes before seq 0 (400, T-PROD), which no repeat would mend.
        let is_alone = !self.is_proven && (self.options.auto_claim || self.epoch > 0);
        let limit = if is_alone { 1 } else { self.options.max_in_flight };
        self.claim.is_none() && self.writing.is_none() && self.window.sent.len() < limit && self.window.is_flowing()
    }

    pub(super) fn first_unsettled(&self) -> u64 {
        let open = self.open.as_ref().map(|open| open.first_message);
        self.window.first_message().or(open).unwrap_or(self.next_message)
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
