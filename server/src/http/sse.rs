//! `GET` with `live=sse` (PROTOCOL.md section 12).
//!
//! The answer is a feed that is asked for the next bytes when the connection can take them. Nothing is
//! made ahead of that, so a slow reader costs one piece of data, and a reader that is gone costs nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use everstream::proto::content_type::StreamFormat;
use everstream::proto::control::Control;
use everstream::proto::names;
use everstream::proto::sse::SseEncoder;
use futures_util::stream;
use http::{HeaderValue, Response, header};
use tokio::time::Instant;

use super::body::{Body, Part};
use super::extract::{ReadQuery, Start};
use super::{App, Turn, cache, fanout, live, read, stream_response};
use crate::aside::Aside;
use crate::engine::{EngineError, Follower, Place, Position, ReadResult, Sink, SseKey, Stream, Tail, Ticket};
use crate::metrics::{LiveMode, LiveReader};

pub(super) fn handle(app: &Arc<App>, stream: Arc<Stream>, query: &ReadQuery<'_>, turn: &Turn) -> Response<Body> {
    let tail = stream.tail();
    let now = Instant::now();
    let mut feed = Feed {
        cursor: live::cursor(app, query),
        position: query.start.resolve(tail.position),
        ends_at: now + jittered(app.config().server.sse_lifetime),
        last: now,
        app: Arc::clone(app),
        follower: stream.follow(),
        sink: turn.sink().cloned(),
        ticket: None,
        _live: app.metrics().live(LiveMode::Sse),
        aside: Aside::new(),
        state: State::Opening,
    };
    let stop = app.stop().clone();
    feed.aside.add(async move {
        stop.cancelled_owned().await;
        AsideEvent::Stop
    });
    feed.set_timer();
    // The offset of the head is where the feed starts; control events say where it got to.
    let mut response = stream_response(&stream, feed.position, 0);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(names::EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, cache::NO_CACHE);
    // Tells buffering proxies to pass events on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if stream.format().sse_is_base64() {
        headers.insert(names::STREAM_SSE_DATA_ENCODING, HeaderValue::from_static(names::BASE64));
    }
    debug_assert!(query.start != Start::Now || feed.position == tail.position);
    *response.body_mut() = Body::Live(Box::pin(stream::unfold(feed, |mut feed| async move {
        let part = feed.next().await?;
        Some((part, feed))
    })));
    response
}

/// A lifetime changed by up to a tenth either way.
fn jittered(lifetime: Duration) -> Duration {
    // 0 to 200 thousandths; without randomness the middle.
    let thousandths = getrandom::u64().map_or(100, |random| random % 201);
    lifetime.mul_f64((900 + thousandths) as f64 / 1000.0)
}

/// Events of this size and above are counted while they wait for their reader.
pub(super) const LARGE_EVENT: usize = 16 * 1024;

/// One SSE connection.
struct Feed {
    app: Arc<App>,
    follower: Follower,
    /// The socket, if events can be written to it while this sleeps.
    sink: Option<Arc<dyn Sink>>,
    /// The seat among those who wait at the tail.
    ticket: Option<Ticket>,
    _live: LiveReader,
    /// After the last data event.
    position: Position,
    cursor: u64,
    ends_at: Instant,
    /// When the last events were made.
    last: Instant,
    aside: Aside<'static, AsideEvent>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No event yet, which there is at least one of.
    Opening,
    /// No event yet, and only one to come.
    OpeningLast,
    Open,
    /// The last event was made.
    Done,
}

/// What happens to a connection beside the stream.
enum AsideEvent {
    /// The server stops.
    Stop,
    /// It is time for a keep-alive, perhaps, or for the end.
    Timer,
}

impl Feed {
    /// The next bytes of the connection: whole events, or what is left of some that were begun; `None` at its end.
    async fn next(&mut self) -> Option<Part> {
        loop {
            let quiet = match self.aside.look().await {
                Some(event) => self.note(event),
                None => false,
            };
            if self.state == State::Done {
                return None;
            }
            let tail = self.follower.stream().tail();
            if tail.ended.is_some() {
                // Without a closing event: the client asks again and learns why (S-DEL-3).
                return None;
            }
            if self.position < tail.position {
                match self.data(tail).await {
                    Ok(Some(events)) => return Some(Part::Whole(events)),
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::error!(%error, "an SSE connection ends: its stream cannot be read");
                        return None;
                    }
                }
            }
            // What came at the last moment goes before a keep-alive (S-SSE-12).
            if quiet || tail.closed || matches!(self.state, State::Opening | State::OpeningLast) {
                return Some(Part::Whole(self.control(tail.closed)));
            }
            let event = self.wait(tail).await;
            let rest = self.rise();
            let is_due = event.is_some_and(|event| self.note(event));
            if !rest.is_empty() {
                return Some(Part::Rest(rest));
            }
            if is_due {
                self.follower.stream().touch_by_reader();
                let tail = self.follower.stream().tail();
                if self.position == tail.position && !tail.closed && tail.ended.is_none() {
                    return Some(Part::Whole(self.control(false)));
                }
            }
        }
    }

    /// Waits at the tail until there is something to do, or an event. Rise afterwards.
    async fn wait(&mut self, tail: Tail) -> Option<AsideEvent> {
        let stream = self.follower.stream();
        if let Some(sink) = &self.sink
            && self.ticket.is_none()
        {
            let (ticket, new) = stream.join_relay(Arc::clone(sink));
            self.ticket = Some(ticket);
            if let Some(lane) = new {
                tokio::spawn(fanout::carry(Arc::clone(&self.app), Arc::clone(stream), lane));
            }
        }
        let place = Place { position: self.position, cursor: self.cursor, last: self.last };
        let called = async {
            match &self.ticket {
                Some(ticket) => ticket.sit(place, || stream.tail() == tail).await,
                None => drop(self.follower.changed(tail).await),
            }
        };
        tokio::select! {
            biased;
            () = called => None,
            event = self.aside.next() => Some(event),
        }
    }

    /// Takes in what was written meanwhile; what of it is left to be written.
    fn rise(&mut self) -> Bytes {
        let Some((place, rest)) = self.ticket.as_ref().and_then(Ticket::rise) else { return Bytes::new() };
        Place { position: self.position, cursor: self.cursor, last: self.last } = place;
        rest
    }

    /// Takes in an event; whether a keep-alive is due.
    fn note(&mut self, event: AsideEvent) -> bool {
        let now = Instant::now();
        match event {
            AsideEvent::Timer if now < self.ends_at => {
                let is_due = now >= self.last + self.app.config().server.long_poll_timeout;
                if is_due {
                    self.last = now;
                }
                self.set_timer();
                is_due
            }
            AsideEvent::Timer | AsideEvent::Stop => {
                self.state = match self.state {
                    State::Opening | State::OpeningLast => State::OpeningLast,
                    State::Open | State::Done => State::Done,
                };
                false
            }
        }
    }

    /// Sets the timer to when the next keep-alive would be due if nothing else came, or to the end.
    fn set_timer(&mut self) {
        let at = self.ends_at.min(self.last + self.app.config().server.long_poll_timeout);
        self.aside.add(async move {
            tokio::time::sleep_until(at).await;
            AsideEvent::Timer
        });
    }

    /// The next data event and its control event. `None` if the position was inside the last message.
    async fn data(&mut self, tail: Tail) -> Result<Option<Bytes>, EngineError> {
        let stream = Arc::clone(self.follower.stream());
        self.move_cursor();
        let key = |from, tail: Tail, cursor| SseKey { from, to: tail.position, closed: tail.closed, cursor };
        if let Some(events) = stream.sse_cache().get(key(self.position, tail, self.cursor)) {
            self.position = tail.position;
            self.made(tail.closed);
            return Ok(Some(events));
        }
        let max_bytes = self.app.piece_bytes();
        let result = match stream.format() {
            StreamFormat::Text => match self.text(&stream, max_bytes).await? {
                Some(result) => result,
                None => return Ok(None),
            },
            StreamFormat::Binary | StreamFormat::Json => stream.read(self.position, max_bytes).await?,
        };
        if self.app.must_wait(&result) {
            drop(result);
            tokio::select! {
                () = self.app.outgoing().freed() => {}
                () = self.app.stop().cancelled() => self.state = State::Done,
            }
            return Ok(None);
        }
        let from = std::mem::replace(&mut self.position, result.next);
        if result.is_empty() {
            return Ok(None);
        }
        let mut events = events(stream.format(), &result, self.position, self.cursor);
        if events.len() >= LARGE_EVENT {
            events = self.app.outgoing().counted(events.len(), events);
        }
        // Only events at the tail are wanted by many at the same time.
        if result.is_up_to_date() {
            stream.sse_cache().put(key(from, result.tail, self.cursor), events.clone());
        }
        self.made(result.is_at_end());
        Ok(Some(events))
    }

    /// A run of text that does not end inside a code point, if appends that follow can complete it (S-SSE-7).
    ///
    /// At an open tail the run is cut back by whole appends, and what is left waits for the next append,
    /// but not longer than one keep-alive interval: then it goes out as it is. `None` when the connection
    /// was told to look again.
    async fn text(&mut self, stream: &Stream, max_bytes: usize) -> Result<Option<ReadResult>, EngineError> {
        let mut result = stream.read(self.position, max_bytes).await?;
        let deadline = Instant::now() + self.app.config().server.long_poll_timeout;
        while ends_inside_code_point(&result.data) && !result.is_at_end() {
            if !result.is_up_to_date() {
                let more = stream.read(result.next, 1).await?;
                result.data.extend(more.data);
                result.next = more.next;
                result.tail = more.tail;
                continue;
            }
            let shorter = stream.read(self.position, result.len().saturating_sub(1)).await?;
            if shorter.next < result.next && !shorter.is_empty() && !ends_inside_code_point(&shorter.data) {
                return Ok(Some(shorter));
            }
            match self.state {
                // Data comes first (S-SSE-11), so the opening control event cannot be sent while waiting;
                // say nothing rather than something wrong.
                State::Opening => self.state = State::Open,
                State::Open => {}
                State::OpeningLast | State::Done => {
                    self.state = State::Done;
                    return Ok(None);
                }
            }
            let event = tokio::select! {
                _ = self.follower.changed(result.tail) => {
                    result = stream.read(self.position, max_bytes).await?;
                    if result.tail.ended.is_some() {
                        return Ok(None);
                    }
                    continue;
                }
                event = self.aside.next() => event,
            };
            let stops = matches!(event, AsideEvent::Stop);
            let _ = self.note(event);
            if stops {
                // The next connection gets it whole.
                return Ok(None);
            }
            if Instant::now() >= deadline || self.state == State::Done {
                break;
            }
        }
        Ok(Some(result))
    }

    /// A control event alone, at the tail.
    fn control(&mut self, closed: bool) -> Bytes {
        self.move_cursor();
        let mut encoder = SseEncoder::new();
        encoder.control(&control_event(self.position, self.cursor, true, closed));
        self.made(closed);
        encoder.take()
    }

    /// Cursors never go backwards (S-CUR-2).
    fn move_cursor(&mut self) {
        self.cursor = self.cursor.max(cursor(&self.app));
    }

    /// Events were made; whether they say that the stream is closed.
    fn made(&mut self, closed: bool) {
        self.last = Instant::now();
        let is_last = closed || matches!(self.state, State::OpeningLast | State::Done);
        self.state = if is_last { State::Done } else { State::Open };
    }
}

/// The cursor of this moment (S-CUR-1).
pub(super) fn cursor(app: &App) -> u64 {
    cache::cursor(None, app.engine().clock().now(), app.config().server.cursor_interval)
}

/// The events of what was read: its data and the control event after it, at `position`.
pub(super) fn events(format: StreamFormat, result: &ReadResult, position: Position, cursor: u64) -> Bytes {
    let mut encoder = SseEncoder::new();
    encode(&mut encoder, format, &result.data);
    encoder.control(&control_event(position, cursor, result.is_up_to_date(), result.is_at_end()));
    encoder.take()
}

/// A control event (T-CONTROL).
fn control_event(position: Position, cursor: u64, up_to_date: bool, closed: bool) -> Control {
    Control { next_offset: position.to_offset(), cursor: (!closed).then(|| cursor.to_string()), up_to_date, closed }
}

/// One data event (S-SSE-2 to S-SSE-9).
fn encode(encoder: &mut SseEncoder, format: StreamFormat, data: &[Bytes]) {
    match (format, data) {
        (StreamFormat::Binary, _) => encoder.base64(&contiguous(data)),
        (StreamFormat::Text, _) => encoder.text(&String::from_utf8_lossy(&contiguous(data))),
        (StreamFormat::Json, _) => {
            // JSON was checked to be UTF-8 when it came in; nothing is lost here.
            encoder.text(&String::from_utf8_lossy(&read::joined(format, data)));
        }
    }
}

fn contiguous(data: &[Bytes]) -> Bytes {
    match data {
        [one] => one.clone(),
        many => {
            let mut joined = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
            many.iter().for_each(|block| joined.extend_from_slice(block));
            joined.freeze()
        }
    }
}

/// Whether the last code point lacks bytes that could still come. Looks at the last three bytes at most.
pub(super) fn ends_inside_code_point(data: &[Bytes]) -> bool {
    let last = data.iter().rev().flat_map(|block| block.iter().rev()).copied();
    for (after, byte) in last.take(3).enumerate() {
        let needed = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 1,
            0xe0..=0xef => 2,
            0xf0..=0xf4 => 3,
            _ => 0,
        };
        return after < needed;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_code_point_that_could_be_completed_counts_as_cut() {
        let cut = |blocks: &[&'static [u8]]| {
            let blocks: Vec<Bytes> = blocks.iter().map(|block| Bytes::from_static(block)).collect();
            ends_inside_code_point(&blocks)
        };
        assert!(cut(&[b"a\xc3"]));
        assert!(cut(&[b"\xe2", b"\x82"]));
        assert!(cut(&[b"\xf0\x9f", b"\x98"]));
        assert!(!cut(&["é€😀".as_bytes()]));
        assert!(!cut(&[b"abc"]));
        assert!(!cut(&[b"\x80\x80\x80\x80"]));
        assert!(!cut(&[b"\xff"]));
        assert!(!cut(&[]));
    }
}
