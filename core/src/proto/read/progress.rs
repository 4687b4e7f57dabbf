//! How a session gets on: what is handed over, and what follows an answer or a failure.

use std::time::Duration;

use super::answer::recreated;
use super::batch::{Batch, Payload};
use super::mode::{AfterSse, Tail};
use super::{Asked, ReadEvent, ReadSession, State};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind};
use crate::options::LiveMode;
use crate::proto::Instant;
use crate::proto::control::Control;
use crate::proto::offset::ReadFrom;

/// Answers without any progress that may follow one another at once before the session slows down.
const IDLE_ANSWERS: u32 = 3;
/// A live answer without progress that took at least this long was waited for by the server.
const IDLE_ANSWER_TIME: Duration = Duration::from_millis(50);

impl ReadSession {
    /// A plain answer is complete.
    pub(super) fn end_plain(
        &mut self,
        payload: Payload,
        missing: u64,
        control: Control,
        etag: Option<String>,
        asked: Asked,
        now: Instant,
    ) {
        if missing > 0 && (control.up_to_date || self.checkpoint.from == ReadFrom::At(control.next_offset.clone())) {
            return self.fail(recreated("it holds less than was read from it before"));
        }
        let moved = !payload.is_empty() || self.checkpoint.from != ReadFrom::At(control.next_offset.clone());
        let waited = asked.live && now.saturating_sub(asked.since) >= IDLE_ANSWER_TIME;
        let caught_up = control.up_to_date;
        self.deliver(payload, control, etag);
        self.checkpoint.skip = missing;
        if let Some(ReadEvent::Batch(batch)) = self.events.back_mut() {
            batch.checkpoint.skip = missing;
        }
        if matches!(self.state, State::Ended) {
            return;
        }
        // A server that answers at once, over and over, without saying anything new (C-READ-8).
        self.idle_answers = if moved || waited { 0 } else { self.idle_answers + 1 };
        let is_broken = !moved && !caught_up;
        if is_broken || self.idle_answers > IDLE_ANSWERS {
            let delay = self.policy.backoff.delay(self.idle_answers, 1.0, None);
            self.state = State::Waiting { until: now.saturating_add(delay) };
        }
    }

    /// An event stream ended without closure (C-SSE-12).
    pub(super) fn end_events(&mut self, since: Instant, delivered: bool, cause: Option<Error>, now: Instant) {
        // One that named no position brought nothing, however long it took.
        let lasted = if delivered { now.saturating_sub(since) } else { Duration::ZERO };
        match self.short_connections.ended(lasted, &self.options.sse, &mut self.jitter) {
            AfterSse::FallBack => self.tail = Tail::LongPoll,
            AfterSse::Reconnect(Duration::ZERO) => {}
            AfterSse::Reconnect(delay) => {
                self.state = State::Waiting { until: now.saturating_add(delay) };
                let error = cause.unwrap_or_else(|| Error::new(ErrorKind::Network, "the event stream ended early"));
                self.events.push_back(ReadEvent::Retrying { error, retries: self.retry.retries(), delay });
                return;
            }
        }
        self.state = State::Ready;
    }

    /// SSE does not get through: go on by long-poll, from the same position.
    pub(super) fn fall_back(&mut self, error: Error) {
        self.tail = Tail::LongPoll;
        self.state = State::Ready;
        let retries = self.retry.retries();
        self.events.push_back(ReadEvent::Retrying { error, retries, delay: Duration::ZERO });
    }

    pub(super) fn retry_later(&mut self, error: Error, now: Instant) {
        let unbounded = self.is_established && self.options.live != LiveMode::CatchUp;
        let policy = if unbounded { &self.policy.unbounded() } else { &self.policy };
        match self.retry.failed(policy, error.retry_after(), &mut self.jitter, now) {
            Some(delay) => {
                self.state = State::Waiting { until: now.saturating_add(delay) };
                let retries = self.retry.retries();
                self.events.push_back(ReadEvent::Retrying { error, retries, delay });
            }
            None => self.fail(error),
        }
    }

    pub(super) fn fail(&mut self, error: Error) {
        self.state = State::Ended;
        self.events.push_back(ReadEvent::Failed(error));
    }

    /// Part of a long answer: the position is where the answer began, plus what was handed over of it.
    pub(super) fn deliver_part(&mut self, payload: Payload, units: u64) {
        self.retry.progressed();
        self.is_established = true;
        let start = self.checkpoint.clone();
        self.checkpoint.skip += units;
        self.push_batch(payload, start, None, false, false);
    }

    /// Data up to an offset that the server named.
    pub(super) fn deliver(&mut self, payload: Payload, control: Control, etag: Option<String>) {
        if let Err(error) = self.check_offset(&control) {
            return self.fail(error);
        }
        self.retry.progressed();
        self.is_established = true;
        let from = ReadFrom::At(control.next_offset);
        let news = self.checkpoint.from != from || self.up_to_date != control.up_to_date || control.closed;
        let start = self.checkpoint.clone();
        self.checkpoint.from = from;
        self.checkpoint.skip = 0;
        self.cursor = control.cursor.or_else(|| self.cursor.take());
        self.up_to_date = control.up_to_date;
        if !payload.is_empty() || news {
            self.push_batch(payload, start, etag, control.up_to_date, control.closed);
        }
        if self.ends_after(control.up_to_date, control.closed) {
            self.state = State::Ended;
            self.events.push_back(ReadEvent::End);
        } else if control.up_to_date {
            self.is_live = true;
        }
    }

    fn push_batch(
        &mut self,
        payload: Payload,
        start: Checkpoint,
        etag: Option<String>,
        up_to_date: bool,
        closed: bool,
    ) {
        self.events.push_back(ReadEvent::Batch(Batch {
            payload,
            start,
            checkpoint: self.checkpoint.clone(),
            cursor: self.cursor.clone(),
            etag,
            up_to_date,
            closed,
            last: self.ends_after(up_to_date, closed),
        }));
    }

    /// A closed stream has no more (C-EOF-1), and a read that is not live goes to the tail.
    fn ends_after(&self, up_to_date: bool, closed: bool) -> bool {
        closed || (up_to_date && self.tail == Tail::Stop)
    }
}
