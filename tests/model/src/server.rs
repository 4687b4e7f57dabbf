//! A server around the real [`StreamState`]: the engine's rules, with storage, waiting and HTTP reduced to plain values.

use bytes::Bytes;
use everstream::Offset;
use everstream::proto::content_type::StreamFormat;
use everstream::proto::control::{Control, is_closed};
use everstream::proto::names;
use everstream::proto::request::Request;
use everstream::proto::sse::SseEncoder;
use everstream_server::engine::{
    Append, Decision, EngineError, Payload, Position, ProducerTag, Receipt, StreamConfig, StreamState,
};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The answer to a request, or a promise of one.
pub enum Answer {
    /// All of it.
    Complete { status: u16, headers: HeaderMap, body: Bytes },
    /// A long-poll at the tail: to be asked again when the stream changes.
    Wait,
    /// An event stream from this position.
    Events { headers: HeaderMap, from: u64 },
}

/// One stream behind plain values instead of sockets.
pub struct Server {
    state: StreamState,
    content_type: &'static str,
    pub(crate) incarnation: u64,
    data: Vec<u8>,
    /// Where messages end in `data`.
    ends: Vec<u64>,
    max_read_bytes: usize,
    /// Counts changes that readers may wait for.
    pub(crate) version: u64,
}

impl Server {
    /// An empty stream, whose answers hold this much data at most.
    pub fn new(content_type: &'static str, incarnation: u64, max_read_bytes: usize) -> Self {
        let state = StreamState::new(StreamConfig::new(content_type));
        Self { state, content_type, incarnation, data: Vec::new(), ends: Vec::new(), max_read_bytes, version: 0 }
    }

    /// Everything stored, message by message, as readers see it.
    pub fn messages(&self) -> Vec<String> {
        let json = self.state.format() == StreamFormat::Json;
        let mut start = 0;
        let mut messages = Vec::new();
        for &end in &self.ends {
            let stop = end as usize - usize::from(json);
            messages.push(String::from_utf8_lossy(&self.data[start..stop]).into_owned());
            start = end as usize;
        }
        messages
    }

    /// Whether the stream is closed.
    pub fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    /// Carries a request out.
    pub fn handle(&mut self, request: &Request) -> Answer {
        match request.method {
            Method::POST => self.append(request),
            _ => self.read(request),
        }
    }

    fn append(&mut self, request: &Request) -> Answer {
        let text = |name: HeaderName| request.headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let number = |name| text(name).and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
        let producer = text(names::PRODUCER_ID)
            .zip(number(names::PRODUCER_EPOCH))
            .zip(number(names::PRODUCER_SEQ))
            .map(|((id, epoch), seq)| ProducerTag { id, epoch, seq });
        let append = Append {
            content_type: request.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes),
            payload: Payload::frame(self.state.format(), request.body.clone()),
            close: is_closed(&request.headers),
            producer,
            stream_seq: text(names::STREAM_SEQ),
        };
        match self.state.decide(append, 0) {
            Ok(Decision::Commit(commit, receipt)) => {
                self.state.apply(&commit);
                let base = self.data.len() as u64;
                self.data.extend_from_slice(commit.messages.data());
                self.ends.extend(commit.messages.ends().map(|end| base + u64::from(end)));
                self.version += 1;
                // T-RESP: 200 tells a producer that data was stored, a close alone is 204.
                let status = if commit.producer.is_some() && !commit.messages.is_empty() { 200 } else { 204 };
                self.receipt(status, &receipt)
            }
            Ok(Decision::Answer(receipt)) => self.receipt(204, &receipt),
            Err(error) => self.refusal(&error),
        }
    }

    fn receipt(&self, status: u16, receipt: &Receipt) -> Answer {
        let mut headers = self.headers();
        set(&mut headers, names::STREAM_NEXT_OFFSET, receipt.next);
        if receipt.closed {
            set(&mut headers, names::STREAM_CLOSED, names::TRUE);
        }
        if let Some((epoch, seq)) = receipt.producer {
            set(&mut headers, names::PRODUCER_EPOCH, epoch);
            set(&mut headers, names::PRODUCER_SEQ, seq);
        }
        Answer::Complete { status, headers, body: Bytes::new() }
    }

    fn refusal(&self, error: &EngineError) -> Answer {
        let mut headers = HeaderMap::new();
        let status = match error {
            EngineError::Closed { tail } => {
                set(&mut headers, names::STREAM_CLOSED, names::TRUE);
                set(&mut headers, names::STREAM_NEXT_OFFSET, tail);
                409
            }
            EngineError::Fenced { epoch } => {
                set(&mut headers, names::PRODUCER_EPOCH, epoch);
                403
            }
            EngineError::Gap { expected, received } => {
                set(&mut headers, names::PRODUCER_EXPECTED_SEQ, expected);
                set(&mut headers, names::PRODUCER_RECEIVED_SEQ, received);
                409
            }
            EngineError::ContentTypeDiffers | EngineError::SeqRegression => 409,
            EngineError::NotFound => 404,
            _ => 400,
        };
        Answer::Complete { status, headers, body: Bytes::new() }
    }

    fn read(&self, request: &Request) -> Answer {
        let query = |name| request.query.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
        let tail = self.state.tail().0;
        let at = match query(names::QUERY_OFFSET) {
            Some(names::OFFSET_NOW) => tail,
            None | Some(names::OFFSET_BEGINNING) => 0,
            Some(offset) => Position::parse(offset).map_or(tail, |position| position.0.min(tail)),
        };
        match query(names::QUERY_LIVE) {
            Some(names::LIVE_SSE) => {
                let mut headers = self.headers();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(names::EVENT_STREAM));
                if self.state.format().sse_is_base64() {
                    set(&mut headers, names::STREAM_SSE_DATA_ENCODING, names::BASE64);
                }
                Answer::Events { headers, from: at }
            }
            Some(names::LIVE_LONG_POLL) if at == tail && !self.is_closed() => Answer::Wait,
            live => self.piece(at, live.is_some()),
        }
    }

    /// What a long-poll that waited long enough is answered.
    pub fn nothing_new(&self) -> Answer {
        let mut headers = self.headers();
        set(&mut headers, names::STREAM_NEXT_OFFSET, self.state.tail());
        set(&mut headers, names::STREAM_UP_TO_DATE, names::TRUE);
        set(&mut headers, names::STREAM_CURSOR, 7);
        Answer::Complete { status: 204, headers, body: Bytes::new() }
    }

    fn piece(&self, at: u64, live: bool) -> Answer {
        let (next, body) = self.slice(at);
        let mut headers = self.headers();
        set(&mut headers, names::STREAM_NEXT_OFFSET, Position(next));
        if next == self.state.tail().0 {
            set(&mut headers, names::STREAM_UP_TO_DATE, names::TRUE);
            if self.is_closed() {
                set(&mut headers, names::STREAM_CLOSED, names::TRUE);
            }
        }
        let status = if live && body.is_empty() { 204 } else { 200 };
        let body = if self.state.format() == StreamFormat::Json && status == 200 { wrap(&body) } else { body };
        Answer::Complete { status, headers, body }
    }

    /// Whole messages from a position on, at least one, within the limit otherwise.
    fn slice(&self, at: u64) -> (u64, Bytes) {
        let limit = at + self.max_read_bytes as u64;
        let first = self.ends.partition_point(|&end| end <= at);
        let last = self.ends.partition_point(|&end| end <= limit).max((first + 1).min(self.ends.len()));
        let next = if last == 0 { at } else { self.ends[last - 1].max(at) };
        (next, Bytes::copy_from_slice(&self.data[at as usize..next as usize]))
    }

    /// The events from a position on, the position after them, and whether the stream ends there.
    pub fn events(&self, mut at: u64) -> (Bytes, u64, bool) {
        let mut encoder = SseEncoder::new();
        let tail = self.state.tail().0;
        loop {
            let (next, data) = self.slice(at);
            if !data.is_empty() {
                match self.state.format() {
                    StreamFormat::Json => encoder.text(&String::from_utf8_lossy(&wrap(&data))),
                    StreamFormat::Text => encoder.text(&String::from_utf8_lossy(&data)),
                    StreamFormat::Binary => encoder.base64(&data),
                }
            }
            at = next;
            let up_to_date = at == tail;
            let closed = up_to_date && self.is_closed();
            encoder.control(&Control {
                next_offset: offset(Position(at)),
                cursor: Some("7".into()),
                up_to_date,
                closed,
            });
            if up_to_date {
                return (encoder.take(), at, closed);
            }
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        set(&mut headers, names::STREAM_INCARNATION, self.incarnation);
        headers
    }
}

/// Stored JSON has a comma after each message (see the engine's `Messages`).
fn wrap(data: &[u8]) -> Bytes {
    let data = data.strip_suffix(b",").unwrap_or(data);
    [b"[", data, b"]"].concat().into()
}

fn offset(position: Position) -> Offset {
    position.to_offset()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: impl ToString) {
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        headers.insert(name, value);
    }
}
