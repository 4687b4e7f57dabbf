//! Answers: status and headers to a typed outcome (PROTOCOL.md section 20). Bodies never decide (C-ERR-3).

#[cfg(feature = "driver")]
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use super::control;
use super::date;
use super::names;
use super::offset::Offset;
use super::request::{Operation, Request};
use crate::error::{Error, ErrorKind, ErrorResponse};
#[cfg(feature = "driver")]
use crate::headers;
use crate::headers::{HeaderMap, HeaderName, RETRY_AFTER};

/// Status and headers of an answer.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// HTTP status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// How long the server asks to wait (C-RETRY-2), worked out by the driver, which has a clock.
    pub retry_after: Option<Duration>,
}

impl ResponseHead {
    /// An answer as a driver got it at `now`.
    pub fn new(status: StatusCode, headers: HeaderMap, now: SystemTime) -> Self {
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?, now));
        Self { status, headers, retry_after }
    }

    /// A header as text, if it is there and is text.
    pub fn text(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header as a decimal number.
    pub fn number(&self, name: HeaderName) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// `Stream-Next-Offset`, if it is there and is an offset.
    pub fn next_offset(&self) -> Option<Offset> {
        Offset::new(self.text(names::STREAM_NEXT_OFFSET)?).ok()
    }

    /// Whether the stream is closed.
    pub fn is_closed(&self) -> bool {
        control::is_closed(&self.headers)
    }

    /// Whether its data reaches to the tail.
    pub fn is_up_to_date(&self) -> bool {
        control::is_up_to_date(&self.headers)
    }

    /// Whether waiting may help: 429 and the transient 5xx.
    pub fn is_transient(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 500 | 502 | 503 | 504)
    }

    /// Whether the status itself says that the server did nothing with the request.
    pub fn did_nothing(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 503)
    }

    /// The error that a refusal stands for (T-CLASS). Not for 2xx and 304.
    pub fn to_error(&self, request: &Request) -> Error {
        let (kind, message) = self.classify(request);
        Error::new(kind, message).with_retry_after(self.retry_after).with_response(ErrorResponse {
            status: self.status.as_u16(),
            headers: self.headers.clone(),
            body: None,
        })
    }

    fn classify(&self, request: &Request) -> (ErrorKind, String) {
        let plain = |kind: ErrorKind, message: &str| (kind, message.to_owned());
        match (self.status.as_u16(), request.operation) {
            (400, Operation::Read) => plain(ErrorKind::InvalidOffset, "the server does not know this offset"),
            (400, _) => plain(ErrorKind::BadRequest, "the server refused the request as malformed"),
            (401, _) => plain(ErrorKind::Unauthorized, "the server wants (other) credentials"),
            (403, _) => match self.number(names::PRODUCER_EPOCH) {
                Some(current_epoch) if request.operation == Operation::Produce => (
                    ErrorKind::ProducerFenced { current_epoch },
                    format!("another producer with this id took over: the server is at epoch {current_epoch}"),
                ),
                _ => plain(ErrorKind::Forbidden, "the server does not allow this"),
            },
            (404, Operation::Control) => plain(ErrorKind::NotFound, "no such subscription, or the server has none"),
            (404, _) => plain(ErrorKind::NotFound, "no such stream"),
            // The body tells which one (T-SUBERR).
            (409, Operation::Control) => plain(ErrorKind::UnexpectedStatus, "the server refused it as it is now"),
            (409, operation) => self.classify_conflict(operation, request),
            (410, _) => plain(ErrorKind::Gone, "the stream or this part of it is gone; start from -1 or now"),
            (413, _) => plain(ErrorKind::PayloadTooLarge, "more than the server takes in one request"),
            (429, _) => plain(ErrorKind::RateLimited, "the server limits the rate of requests"),
            (503, _) => plain(ErrorKind::Unavailable, "the server is not available for now"),
            (500 | 502 | 504, _) => plain(ErrorKind::ServerError, "the server failed"),
            (405 | 501, _) => {
                plain(ErrorKind::NotSupported, "the server does not support this operation on the stream")
            }
            (status, _) => (ErrorKind::UnexpectedStatus, format!("the server answered {status}")),
        }
    }

    /// Three kinds of 409, told apart by headers (S-APPEND-7).
    fn classify_conflict(&self, operation: Operation, request: &Request) -> (ErrorKind, String) {
        if self.is_closed() {
            let final_offset = self.next_offset();
            return (
                ErrorKind::StreamClosed { final_offset },
                "the stream is closed and takes no more data".to_owned(),
            );
        }
        if let Some(expected) = self.number(names::PRODUCER_EXPECTED_SEQ) {
            let received = self.number(names::PRODUCER_RECEIVED_SEQ).unwrap_or_default();
            return (
                ErrorKind::SequenceGap { expected, received },
                format!("the server waits for batch {expected} of this producer and got {received}"),
            );
        }
        match operation {
            Operation::Create => (
                ErrorKind::CreateConflict,
                "the stream exists with another configuration, is closed, or is soft-deleted: take another name"
                    .to_owned(),
            ),
            _ if request.headers.contains_key(names::STREAM_SEQ) => {
                (ErrorKind::SequenceConflict, "Stream-Seq is not greater than the last one accepted".to_owned())
            }
            _ => (ErrorKind::ContentTypeConflict, "the content type differs from the stream's".to_owned()),
        }
    }
}

/// A [`ResponseHead`] as a reader keeps it: a read may last for hours, and a program may have many.
#[cfg(feature = "driver")]
pub struct KeptHead {
    status: StatusCode,
    headers: headers::Kept,
    retry_after: Option<Duration>,
}

#[cfg(feature = "driver")]
impl KeptHead {
    pub(crate) fn of(head: ResponseHead) -> Self {
        Self { status: head.status, headers: headers::Kept::of(head.headers), retry_after: head.retry_after }
    }

    /// The head itself, made anew with every call.
    pub fn head(&self) -> ResponseHead {
        ResponseHead { status: self.status, headers: self.headers.map(), retry_after: self.retry_after }
    }
}

#[cfg(feature = "driver")]
impl fmt::Debug for KeptHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head().fmt(f)
    }
}

/// Why there is no (whole) answer.
#[derive(Clone, Debug)]
pub struct Disconnect {
    /// Whether the request provably never left, such as a refused connection.
    pub not_sent: bool,
    /// What the transport says.
    pub error: Error,
}

/// Seconds or an HTTP date; a date in the past is 0, anything else counts as absent (C-RETRY-2).
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim_ascii();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = UNIX_EPOCH + Duration::from_secs(date::parse(value)?);
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{AppendOptions, CreateOptions};
    use bytes::Bytes;

    fn head(status: u16, headers: &[(HeaderName, &str)]) -> ResponseHead {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        ResponseHead::new(StatusCode::from_u16(status).unwrap(), headers, UNIX_EPOCH)
    }

    fn append(seq: Option<&str>) -> Request {
        let options = AppendOptions { seq: seq.map(str::to_owned), ..AppendOptions::default() };
        Request::append(Bytes::from_static(b"x"), None, &options, false).unwrap()
    }

    #[test]
    fn the_kinds_of_409_are_told_apart_by_headers() {
        let closed = head(409, &[(names::STREAM_CLOSED, "True"), (names::STREAM_NEXT_OFFSET, "7")]);
        assert_eq!(closed.to_error(&append(Some("1"))).final_offset().unwrap().as_str(), "7");
        let gap = head(409, &[(names::PRODUCER_EXPECTED_SEQ, "2"), (names::PRODUCER_RECEIVED_SEQ, "5")]);
        assert_eq!(gap.to_error(&append(None)).kind(), &ErrorKind::SequenceGap { expected: 2, received: 5 });
        assert_eq!(head(409, &[]).to_error(&append(Some("1"))).code(), "CONFLICT_SEQ");
        assert_eq!(head(409, &[]).to_error(&append(None)).code(), "CONFLICT_CONTENT_TYPE");
        let create = Request::create(&CreateOptions::default()).unwrap();
        assert_eq!(head(409, &[]).to_error(&create).code(), "CONFLICT_EXISTS");
    }

    #[test]
    fn c2_a_403_is_fencing_only_with_an_epoch_and_only_for_producers() {
        let fenced = head(403, &[(names::PRODUCER_EPOCH, "4")]);
        let batch = Request::produce(("p", 0, 0), "text/plain", Bytes::from_static(b"x"), false).unwrap();
        assert_eq!(fenced.to_error(&batch).kind(), &ErrorKind::ProducerFenced { current_epoch: 4 });
        assert_eq!(fenced.to_error(&append(None)).code(), "FORBIDDEN");
        assert_eq!(head(403, &[]).to_error(&batch).code(), "FORBIDDEN");
    }

    #[test]
    fn retry_after_takes_seconds_and_dates_and_ignores_the_rest() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(parse_retry_after("12", now), Some(Duration::from_secs(12)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Tue, 06 Nov 1990 08:49:37 GMT", now), Some(Duration::ZERO));
        for garbage in ["", "-1", "1.5", "soon"] {
            assert_eq!(parse_retry_after(garbage, now), None, "{garbage}");
        }
        assert!(parse_retry_after("99999999999999999999999", now).is_some());
    }
}
