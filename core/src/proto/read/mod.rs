//! The reader: where am I, what to ask next, what may be handed over (PROTOCOL.md section 22).
//!
//! A session is a loop of requests, one at a time. The driver calls [`ReadSession::poll_event`] until there is
//! none, then [`ReadSession::poll_request`]; a request that it gets replaces the exchange before, which it drops.
//! It may send the one that [`ReadSession::prefetch`] foresees before it is due.
//! It reports what the exchange brings with `handle_*`, and calls [`ReadSession::handle_timeout`] when
//! [`ReadSession::poll_timeout`] has passed. `handle_*` never fail: failure is one more event.
//!
//! The position moves only with data that is handed over, to an offset that the server named (C-READ-1). An
//! answer longer than [`ReadOptions::max_batch_bytes`] is handed over in parts, whose position is the offset
//! where the answer began plus a count of units to skip; bytes at an offset never change (S-MODEL-2), so asking
//! again and skipping is exact.

mod answer;
mod batch;
mod body;
mod host;
mod mode;
mod progress;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub use self::batch::{Batch, Span};
use self::body::{PlainBody, SseBody};
pub use self::host::{HostBody, ParsedArray, Piece};
use self::mode::{ShortConnections, Tail};
use super::Instant;
use super::content_type::{StreamFormat, same_media_type};
use super::control::Control;
use super::jitter::Jitter;
use super::names;
use super::offset::ReadFrom;
use super::request::Request;
use super::response::{Disconnect, ResponseHead};
use super::retry::{RetryPolicy, RetryState};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind};
use crate::headers::CONTENT_TYPE;
use crate::options::ReadOptions;

/// What a session has to tell.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "nearly all events are batches")]
pub enum ReadEvent {
    /// Data, or news of the position.
    Batch(Batch),
    /// An exchange failed; the next one starts after `delay`.
    Retrying {
        /// Why.
        error: Error,
        /// Failures in a row.
        retries: u32,
        /// How long the session waits.
        delay: Duration,
    },
    /// The caller's tag is still current: it has everything. [`End`](Self::End) follows.
    NotModified,
    /// The end: the stream is closed, or the session was to stop at the tail. Nothing follows.
    End,
    /// The session cannot go on by itself; [`ReadSession::resume`] makes it try again from where it is.
    Failed(Error),
}

/// The state machine of one read, from a position to the end of the stream.
#[derive(Debug)]
pub struct ReadSession {
    options: ReadOptions,
    policy: RetryPolicy,
    retry: RetryState,
    jitter: Jitter,
    /// After everything that was put into `events`.
    checkpoint: Checkpoint,
    cursor: Option<String>,
    format: Option<StreamFormat>,
    content_type: Option<String>,
    /// The stream's id in the ETags of a server that builds them as S-ETAG-1 says.
    etag_id: Option<String>,
    tail: Tail,
    is_live: bool,
    up_to_date: bool,
    /// Whether any answer was good: from then on a live session never gives up.
    is_established: bool,
    short_connections: ShortConnections,
    idle_answers: u32,
    status: Option<u16>,
    /// Memory for the next body, as the one before left it.
    buffer: BytesMut,
    state: State,
    events: VecDeque<ReadEvent>,
}

#[derive(Debug)]
enum State {
    /// The next request may go out.
    Ready,
    /// It may go out then.
    Waiting { until: Instant },
    /// A request is out, its answer has not begun.
    Sent { kind: Kind, since: Instant, deadline: Instant },
    /// The body of a catch-up or long-poll answer is coming in.
    Body { body: PlainBody, control: Control, etag: Option<String>, asked: Asked, deadline: Instant },
    /// An event stream is coming in.
    Events {
        body: SseBody,
        since: Instant,
        deadline: Instant,
        /// Whether any byte has arrived.
        heard: bool,
        /// Whether any control event has arrived.
        delivered: bool,
    },
    /// Over.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CatchUp,
    LongPoll,
    Sse,
}

/// What a plain answer answers.
#[derive(Clone, Copy, Debug)]
struct Asked {
    live: bool,
    since: Instant,
    stall_timeout: Duration,
}

impl ReadSession {
    /// A session that has not asked for anything yet. The seed is for jitter.
    pub fn new(options: ReadOptions, policy: RetryPolicy, jitter_seed: u64) -> Self {
        Self {
            checkpoint: options.from.clone(),
            tail: options.live.into(),
            options,
            policy,
            retry: RetryState::default(),
            jitter: Jitter::new(jitter_seed),
            cursor: None,
            format: None,
            content_type: None,
            etag_id: None,
            is_live: false,
            up_to_date: false,
            is_established: false,
            short_connections: ShortConnections::default(),
            idle_answers: 0,
            status: None,
            buffer: BytesMut::new(),
            state: State::Ready,
            events: VecDeque::new(),
        }
    }

    /// The answer to the request has begun.
    pub fn handle_response(&mut self, head: &ResponseHead, now: Instant) {
        let State::Sent { kind, since, .. } = self.state else {
            return;
        };
        self.status = Some(head.status.as_u16());
        if !head.status.is_success() {
            return self.handle_refusal(kind, head, now);
        }
        if let Err(error) = self.check_incarnation(head) {
            return self.fail(error);
        }
        if let Some(content_type) = head.text(CONTENT_TYPE) {
            if same_media_type(content_type, names::EVENT_STREAM) && self.may_be_events(kind) {
                return self.handle_event_stream(head, since);
            }
            self.learn_content_type(content_type);
        }
        if kind == Kind::Sse {
            // Something between us and the server does not speak SSE (C-LIVE-4): this is an ordinary answer.
            self.tail = Tail::LongPoll;
        }
        self.handle_plain_head(kind, head, since, now);
    }

    /// The next piece of the answer's body.
    pub fn handle_piece(&mut self, piece: Piece, now: Instant) {
        let mut left = 0;
        if let (Piece::Host(host), State::Body { body, asked, deadline, .. }) = (&piece, &mut self.state) {
            if body.leave(host, self.options.max_batch_bytes) {
                *deadline = now.saturating_add(asked.stall_timeout);
                return;
            }
            left = body.take_left();
        }
        let mut bytes = piece.into_bytes();
        // What was left to the host so far is a piece of its own.
        if left > 0 {
            self.handle_bytes(bytes.split_to(left.min(bytes.len())), now);
        }
        self.handle_bytes(bytes, now);
    }

    /// The next piece of the answer's body, where it is bytes.
    pub fn handle_bytes(&mut self, mut piece: Bytes, now: Instant) {
        // A piece may be larger than what is to be handed over at once. Bytes can be cut anywhere, messages cannot.
        let limit = self.options.max_batch_bytes.max(1);
        while piece.len() > limit && matches!(self.state, State::Body { body: PlainBody::Bytes { .. }, .. }) {
            self.feed(piece.split_to(limit), now);
        }
        self.feed(piece, now);
    }

    fn feed(&mut self, piece: Bytes, now: Instant) {
        match &mut self.state {
            State::Body { body, asked, deadline, .. } => {
                *deadline = now.saturating_add(asked.stall_timeout);
                // What is already there goes out before memory grows beyond the limit.
                let part = if body.held() > 0 && body.held() + piece.len() > self.options.max_batch_bytes {
                    body.take_part()
                } else {
                    Ok(None)
                };
                match part.and_then(|part| body.feed(piece).map(|()| part)) {
                    Ok(Some((payload, units))) => self.deliver_part(payload, units),
                    Ok(None) => {}
                    Err(error) => self.fail(error),
                }
            }
            State::Events { body, deadline, heard, delivered, .. } => {
                *deadline = now.saturating_add(self.options.stall_timeout);
                *heard = true;
                let mut complete = Vec::new();
                let result = body.feed(&piece, |payload, control| complete.push((payload, control)));
                *delivered |= !complete.is_empty();
                for (payload, control) in complete {
                    self.deliver(payload, control, None);
                    if matches!(self.state, State::Ended) {
                        return;
                    }
                }
                if let Err(error) = result {
                    self.fail(error);
                }
            }
            State::Ready | State::Waiting { .. } | State::Sent { .. } | State::Ended => {}
        }
    }

    /// The body is complete.
    pub fn handle_end(&mut self, now: Instant) {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Body { mut body, control, etag, asked, .. } => match body.finish() {
                Ok((payload, missing)) => {
                    // A reader at the tail may wait for long, and holds no memory for what may come.
                    self.buffer = if control.up_to_date { BytesMut::new() } else { body.into_buffer() };
                    self.end_plain(payload, missing, control, etag, asked, now);
                }
                Err(error) => self.fail(error),
            },
            State::Events { since, delivered, .. } => self.end_events(since, delivered, None, now),
            other => self.state = other,
        }
    }

    /// The exchange broke: no answer, or not all of it. What was not handed over is dropped (C-READ-3, C-SSE-8).
    pub fn handle_disconnect(&mut self, cause: Disconnect, now: Instant) {
        match self.state {
            State::Sent { .. } | State::Body { .. } => self.retry_later(cause.error, now),
            State::Events { since, delivered, .. } => self.end_events(since, delivered, Some(cause.error), now),
            State::Ready | State::Waiting { .. } | State::Ended => {}
        }
    }

    /// The moment of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        let timeout = || Error::new(ErrorKind::Timeout, "no byte arrived for too long");
        match self.state {
            State::Waiting { .. } => self.state = State::Ready,
            State::Sent { kind: Kind::Sse, .. } => self.fall_back(timeout()),
            State::Events { heard: false, .. } => self.fall_back(timeout()),
            State::Sent { .. } | State::Body { .. } => self.retry_later(timeout(), now),
            State::Events { since, delivered, .. } => self.end_events(since, delivered, Some(timeout()), now),
            State::Ready | State::Ended => {}
        }
    }

    /// After [`ReadEvent::Failed`]: ask again from the same position, such as with other credentials.
    pub fn resume(&mut self) {
        self.retry.progressed();
        self.state = State::Ready;
    }

    /// The exchange under way was dropped by the caller's wish: the next request asks again from the position.
    pub fn interrupt(&mut self) {
        if self.wants_exchange() {
            self.state = State::Ready;
        }
    }

    /// Whether the body of a good answer is coming in.
    pub fn is_receiving(&self) -> bool {
        matches!(self.state, State::Body { .. } | State::Events { .. })
    }

    /// Whether the caller can do nothing but drop the exchange: the session waits, or is over.
    pub fn wants_exchange(&self) -> bool {
        matches!(self.state, State::Sent { .. } | State::Body { .. } | State::Events { .. })
    }

    /// The next request, if one is due.
    pub fn poll_request(&mut self, now: Instant) -> Option<Request> {
        if !matches!(self.state, State::Ready) || !self.events.is_empty() {
            return None;
        }
        self.retry.starts(now);
        // A count of units to skip is one of plain answers, so they are what must be asked for.
        let kind = match self.tail {
            _ if !self.is_live || self.checkpoint.skip > 0 => Kind::CatchUp,
            Tail::Sse => Kind::Sse,
            Tail::LongPoll | Tail::Undecided | Tail::Stop => Kind::LongPoll,
        };
        let (live, timeout) = match kind {
            Kind::CatchUp => (None, self.options.request_timeout),
            Kind::LongPoll => (Some(names::LIVE_LONG_POLL), self.options.stall_timeout),
            Kind::Sse => (Some(names::LIVE_SSE), self.options.sse_first_byte_timeout),
        };
        self.state = State::Sent { kind, since: now, deadline: now.saturating_add(timeout) };
        let request = Request::read(&self.checkpoint.from, live, self.cursor.as_deref());
        // The tag stands for the answer to the first request.
        match self.options.if_none_match.as_deref().filter(|_| !self.is_established) {
            Some(etag) => request.if_none_match(etag).map_err(|error| self.fail(error)).ok(),
            None => Some(request),
        }
    }

    /// The request that follows once the body that is coming in is complete, where the head of the answer says it already
    /// ([`ReadOptions::prefetch`]). The driver may send it at once. If [`poll_request`](Self::poll_request) then gives the
    /// same request, what came of it is the answer; whatever else the session wants, the driver drops it.
    pub fn prefetch(&self) -> Option<Request> {
        let State::Body { control, asked, .. } = &self.state else { return None };
        let next = ReadFrom::At(control.next_offset.clone());
        // An answer that does not lead on is not followed at once (C-READ-8).
        let leads_on = !asked.live && !self.is_live && !control.up_to_date && self.checkpoint.from != next;
        (self.options.prefetch && leads_on).then(|| Request::read(&next, None, None))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Sent { deadline, .. } | State::Body { deadline, .. } | State::Events { deadline, .. } => {
                Some(deadline)
            }
            State::Ready | State::Ended => None,
        }
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<ReadEvent> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            // As with the buffer: the next one may be long in coming.
            self.events = VecDeque::new();
        }
        event
    }

    /// HTTP status of the last answer (C-READ-11).
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The stream's content type, once an answer named it.
    pub fn stream_content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }
}

#[cfg(test)]
mod tests;
