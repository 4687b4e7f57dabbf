//! `GET` with `live=sse` (PROTOCOL.md section 12).
//!
//! The answer is a feed that hyper asks for the next bytes when the connection can take them. Nothing is
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

use super::body::Body;
use super::extract::{ReadQuery, Start};
use super::{App, cache, live, read, stream_headers};
use crate::engine::{EngineError, Follower, Position, ReadResult, Stream, Tail};
use crate::metrics::{LiveMode, LiveReader};

pub(super) fn handle(app: &Arc<App>, stream: Arc<Stream>, query: &ReadQuery<'_>) -> Response<Body> {
    let tail = stream.tail();
    let feed = Feed {
        cursor: live::cursor(app, query),
        position: query.start.resolve(tail.position),
        ends_at: Instant::now() + jittered(app.config().server.sse_lifetime),
        app: Arc::clone(app),
        follower: stream.follow(),
        _live: app.metrics().live(LiveMode::Sse),
        waiting: None,
        state: State::Opening,
    };
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    // The offset of the head is where the feed starts; control events say where it got to.
    stream_headers(headers, &stream, feed.position);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(names::EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, cache::NO_CACHE);
    // Tells buffering proxies to pass events on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if stream.format().sse_is_base64() {
        headers.insert(names::STREAM_SSE_DATA_ENCODING, HeaderValue::from_static(names::BASE64));
    }
    debug_assert!(query.start != Start::Now || feed.position == tail.position);
    *response.body_mut() = Body::Live(Box::pin(stream::unfold(feed, |mut feed| async move {
        let bytes = feed.next().await?;
        Some((bytes, feed))
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
const LARGE_EVENT: usize = 16 * 1024;

/// One SSE connection.
struct Feed {
    app: Arc<App>,
    follower: Follower,
    _live: LiveReader,
    /// After the last data event.
    position: Position,
    cursor: u64,
    ends_at: Instant,
    /// A control event that belongs to the data event before it.
    waiting: Option<Bytes>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No event yet.
    Opening,
    Open,
    /// The last event was made.
    Done,
}

/// Why waiting at the tail ended.
enum Waited {
    Changed,
    KeepAlive,
    Over,
}

impl Feed {
    /// The next bytes of the connection; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(control) = self.waiting.take() {
            return Some(control);
        }
        loop {
            let is_over = self.app.stop().is_cancelled() || Instant::now() >= self.ends_at;
            if self.state == State::Done || (self.state == State::Open && is_over) {
                return None;
            }
            let tail = self.follower.stream().tail();
            if tail.ended.is_some() {
                // Without a closing event: the client asks again and learns why (S-DEL-3).
                return None;
            }
            if self.position < tail.position {
                match self.data().await {
                    Ok(Some(event)) => return Some(event),
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::error!(%error, "an SSE connection ends: its stream cannot be read");
                        return None;
                    }
                }
            }
            if self.state == State::Opening || tail.closed {
                return Some(self.control(true, tail.closed));
            }
            match self.wait(tail).await {
                Waited::Changed => {}
                Waited::KeepAlive => {
                    self.follower.stream().touch_by_reader();
                    // What came at the last moment goes first (S-SSE-12).
                    if self.follower.stream().tail() == tail {
                        return Some(self.control(true, false));
                    }
                }
                Waited::Over => return None,
            }
        }
    }

    /// The next data event, its control event put aside. `None` if the position was inside the last message.
    async fn data(&mut self) -> Result<Option<Bytes>, EngineError> {
        let stream = Arc::clone(self.follower.stream());
        let max_bytes = self.app.piece_bytes();
        let result = match stream.format() {
            StreamFormat::Text => match self.text(&stream, max_bytes).await? {
                Some(result) => result,
                None => return Ok(None),
            },
            StreamFormat::Binary | StreamFormat::Json => stream.read(self.position, max_bytes).await?,
        };
        let from = std::mem::replace(&mut self.position, result.next);
        if result.is_empty() {
            return Ok(None);
        }
        let encode = || match encode(stream.format(), &result.data) {
            small if small.len() < LARGE_EVENT => small,
            large => self.app.outgoing().counted(large.len(), large),
        };
        // Only events at the tail are wanted by many at the same time.
        let event = if result.is_up_to_date() { stream.sse_cache().event(from, result.next, encode) } else { encode() };
        self.waiting = Some(self.control(result.is_up_to_date(), result.is_at_end()));
        Ok(Some(event))
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
            if self.state == State::Opening {
                // Data comes first (S-SSE-11), so the opening control event cannot be sent while waiting;
                // say nothing rather than something wrong.
                self.state = State::Open;
            }
            tokio::select! {
                _ = self.follower.changed(result.tail) => {
                    result = stream.read(self.position, max_bytes).await?;
                    if result.tail.ended.is_some() {
                        return Ok(None);
                    }
                }
                () = self.app.stop().cancelled() => return Ok(None),
                () = tokio::time::sleep_until(deadline.min(self.ends_at)) => break,
            }
        }
        Ok(Some(result))
    }

    /// A control event at the present position (T-CONTROL).
    fn control(&mut self, up_to_date: bool, closed: bool) -> Bytes {
        // Cursors never go backwards (S-CUR-2).
        let now = self.app.engine().clock().now();
        self.cursor = self.cursor.max(cache::cursor(None, now, self.app.config().server.cursor_interval));
        self.state = if closed { State::Done } else { State::Open };
        let mut encoder = SseEncoder::new();
        encoder.control(&Control {
            next_offset: self.position.to_offset(),
            cursor: (!closed).then(|| self.cursor.to_string()),
            up_to_date,
            closed,
        });
        encoder.take()
    }

    async fn wait(&self, tail: Tail) -> Waited {
        let keep_alive = Instant::now() + self.app.config().server.long_poll_timeout;
        tokio::select! {
            biased;
            _ = self.follower.changed(tail) => Waited::Changed,
            () = self.app.stop().cancelled() => Waited::Over,
            () = tokio::time::sleep_until(keep_alive.min(self.ends_at)) => {
                if Instant::now() >= self.ends_at { Waited::Over } else { Waited::KeepAlive }
            }
        }
    }
}

/// One data event (S-SSE-2 to S-SSE-9).
fn encode(format: StreamFormat, data: &[Bytes]) -> Bytes {
    let mut encoder = SseEncoder::new();
    match (format, data) {
        (StreamFormat::Binary, _) => encoder.base64(&contiguous(data)),
        (StreamFormat::Text, _) => encoder.text(&String::from_utf8_lossy(&contiguous(data))),
        (StreamFormat::Json, _) => {
            let body = read::body_blocks(format, data);
            // JSON was checked to be UTF-8 when it came in; nothing is lost here.
            encoder.text(&String::from_utf8_lossy(&contiguous(&body)));
        }
    }
    encoder.take()
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
fn ends_inside_code_point(data: &[Bytes]) -> bool {
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
