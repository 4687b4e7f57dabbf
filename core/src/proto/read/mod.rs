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

mod batch;
mod body;
mod host;
mod mode;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use self::batch::Payload;
pub use self::batch::{Batch, Span};
use self::body::{PlainBody, SseBody};
pub use self::host::{HostBody, ParsedArray, Piece};
use self::mode::{AfterSse, ShortConnections, Tail};
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
use crate::headers::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use crate::options::{LiveMode, ReadOptions};

/// Answers without any progress that may follow one another at once before the session slows down.
const IDLE_ANSWERS: u32 = 3;
/// A live answer without progress that took at least this long was waited for by the server.
const IDLE_ANSWER_TIME: Duration = Duration::from_millis(50);

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

    fn handle_refusal(&mut self, kind: Kind, head: &ResponseHead, now: Instant) {
        let error = head.to_error(&Request::read(&self.checkpoint.from, None, None));
        if head.status == http::StatusCode::NOT_MODIFIED && self.options.if_none_match.is_some() {
            self.state = State::Ended;
            self.events.extend([ReadEvent::NotModified, ReadEvent::End]);
        } else if head.is_transient() {
            self.retry_later(error, now);
        } else if kind == Kind::Sse && matches!(head.status.as_u16(), 400 | 405 | 406 | 415 | 501) {
            self.fall_back(error);
        } else {
            self.fail(error);
        }
    }

    /// Whether an answer of events is one of the protocol, and not the content of a stream of that type. Where nobody
    /// asked for events it can only be the former if the stream is known to be JSON: mocks of servers answer so.
    fn may_be_events(&self, kind: Kind) -> bool {
        kind == Kind::Sse || (self.options.json && self.options.live == LiveMode::Sse)
    }

    fn handle_event_stream(&mut self, head: &ResponseHead, since: Instant) {
        let base64 =
            head.text(names::STREAM_SSE_DATA_ENCODING).is_some_and(|it| it.eq_ignore_ascii_case(names::BASE64));
        let body = SseBody::new(self.is_json(), base64);
        // The deadline is that of the request: something that buffers may send the head at once and then nothing.
        let deadline = since.saturating_add(self.options.sse_first_byte_timeout);
        self.state = State::Events { body, since, deadline, heard: false, delivered: false };
    }

    fn handle_plain_head(&mut self, kind: Kind, head: &ResponseHead, since: Instant, now: Instant) {
        let control = match Control::from_headers(&head.headers) {
            Ok(Some(control)) => control,
            Ok(None) => {
                let error = Error::new(ErrorKind::Protocol, "the answer has no Stream-Next-Offset");
                // Not even an answer of the server, but of something that does not know SSE (C-LIVE-4).
                return if kind == Kind::Sse { self.fall_back(error) } else { self.fail(error) };
            }
            Err(error) => return self.fail(Error::new(ErrorKind::Protocol, format!("Stream-Next-Offset: {error}"))),
        };
        if let Err(error) = self.check_offset(&control) {
            return self.fail(error);
        }
        let live = kind != Kind::CatchUp;
        let stall_timeout = if live { self.options.stall_timeout } else { self.options.request_timeout };
        let asked = Asked { live, since, stall_timeout };
        let etag = head.text(ETAG).map(str::to_owned);
        let expected = head.number(CONTENT_LENGTH).and_then(|len| usize::try_from(len).ok()).unwrap_or_default();
        let mut buffer = std::mem::take(&mut self.buffer);
        // What a host keeps takes no memory here.
        if !(self.options.parsed_by_host && self.is_json()) {
            buffer.reserve(expected.min(self.options.max_batch_bytes));
        }
        let body = if self.is_json() {
            PlainBody::json(self.checkpoint.skip, buffer, self.options.parsed_by_host)
        } else {
            PlainBody::bytes(self.checkpoint.skip, buffer)
        };
        self.state = State::Body { body, control, etag, asked, deadline: now.saturating_add(stall_timeout) };
        if head.status == http::StatusCode::NO_CONTENT {
            self.handle_end(now);
        }
    }

    /// A plain answer is complete.
    fn end_plain(
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
    fn end_events(&mut self, since: Instant, delivered: bool, cause: Option<Error>, now: Instant) {
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
    fn fall_back(&mut self, error: Error) {
        self.tail = Tail::LongPoll;
        self.state = State::Ready;
        let retries = self.retry.retries();
        self.events.push_back(ReadEvent::Retrying { error, retries, delay: Duration::ZERO });
    }

    fn retry_later(&mut self, error: Error, now: Instant) {
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

    fn fail(&mut self, error: Error) {
        self.state = State::Ended;
        self.events.push_back(ReadEvent::Failed(error));
    }

    /// Part of a long answer: the position is where the answer began, plus what was handed over of it.
    fn deliver_part(&mut self, payload: Payload, units: u64) {
        self.retry.progressed();
        self.is_established = true;
        let start = self.checkpoint.clone();
        self.checkpoint.skip += units;
        self.push_batch(payload, start, None, false, false);
    }

    /// Data up to an offset that the server named.
    fn deliver(&mut self, payload: Payload, control: Control, etag: Option<String>) {
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

    fn learn_content_type(&mut self, content_type: &str) {
        if self.content_type.is_none() {
            let format = StreamFormat::of(content_type);
            self.content_type = Some(content_type.to_owned());
            self.format = Some(format);
            self.tail.decide(if self.options.json { StreamFormat::Json } else { format });
        }
    }

    fn is_json(&self) -> bool {
        self.options.json || self.format == Some(StreamFormat::Json)
    }

    /// Notices a stream that was deleted and recreated: by our servers' own header, and by the stream id that
    /// other servers put into their ETags - trusted only when the tag is built around the offsets of this very
    /// exchange (S-ETAG-1), since a tag is opaque otherwise.
    fn check_incarnation(&mut self, head: &ResponseHead) -> Result<(), Error> {
        if let Some(incarnation) = head.text(names::STREAM_INCARNATION) {
            let known = self.checkpoint.incarnation.get_or_insert_with(|| incarnation.to_owned());
            if known != incarnation {
                return Err(recreated("it is another incarnation now"));
            }
            return Ok(());
        }
        let (Some(etag), Some(next)) = (head.text(ETAG), head.text(names::STREAM_NEXT_OFFSET)) else {
            return Ok(());
        };
        let tag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
        let tag = tag.strip_suffix(":c").unwrap_or(tag);
        let Some(id) = tag
            .strip_suffix(next)
            .and_then(|rest| rest.strip_suffix(':'))
            .and_then(|rest| rest.strip_suffix(self.checkpoint.from.as_str()))
            .and_then(|rest| rest.strip_suffix(':'))
        else {
            return Ok(());
        };
        let known = self.etag_id.get_or_insert_with(|| id.to_owned());
        if known == id { Ok(()) } else { Err(recreated("its ETags name another stream now")) }
    }

    /// An offset never goes back (S-OFF-2).
    fn check_offset(&self, control: &Control) -> Result<(), Error> {
        match &self.checkpoint.from {
            ReadFrom::At(at) if control.next_offset.is_surely_before(at) => {
                Err(recreated(&format!("its offset {} is before {at}, where this reader is", control.next_offset)))
            }
            _ => Ok(()),
        }
    }
}

fn recreated(why: &str) -> Error {
    let message = format!("the stream was deleted and recreated, or lost data: {why}; read again from the beginning");
    Error::new(ErrorKind::StreamRecreated, message)
}

#[cfg(test)]
mod tests;
