//! What targets make of the bytes that they are given.

use arbitrary::{Result, Unstructured};
use everstream::proto::names;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HOST, HeaderName, IF_NONE_MATCH, LOCATION,
    RETRY_AFTER,
};
use http::{HeaderMap, HeaderValue};

/// Bytes, and the same bytes in pieces.
pub(crate) struct Cut<'a> {
    pub(crate) whole: &'a [u8],
    pub(crate) pieces: Vec<&'a [u8]>,
}

impl<'a> Cut<'a> {
    /// The first byte says how many of the next ones are lengths of pieces; the rest is what is cut.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        let (&count, data) = data.split_first().unwrap_or((&0, data));
        let (lengths, whole) = data.split_at(usize::from(count % 16).min(data.len()));
        let mut rest = whole;
        let mut pieces = Vec::with_capacity(lengths.len() + 1);
        for &length in lengths {
            let (piece, behind) = rest.split_at(usize::from(length).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        Self { whole, pieces }
    }
}

/// Names that mean something in an answer.
static OF_ANSWERS: [HeaderName; 14] = [
    CONTENT_TYPE,
    ETAG,
    LOCATION,
    RETRY_AFTER,
    names::PRODUCER_EPOCH,
    names::PRODUCER_EXPECTED_SEQ,
    names::PRODUCER_RECEIVED_SEQ,
    names::PRODUCER_SEQ,
    names::STREAM_CLOSED,
    names::STREAM_CURSOR,
    names::STREAM_INCARNATION,
    names::STREAM_NEXT_OFFSET,
    names::STREAM_SSE_DATA_ENCODING,
    names::STREAM_UP_TO_DATE,
];

/// Names that mean something in a request.
static OF_REQUESTS: [HeaderName; 16] = [
    ACCEPT,
    ACCEPT_ENCODING,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    HOST,
    IF_NONE_MATCH,
    names::PRODUCER_EPOCH,
    names::PRODUCER_ID,
    names::PRODUCER_SEQ,
    names::STREAM_CLOSED,
    names::STREAM_EXPIRES_AT,
    names::STREAM_FORK_OFFSET,
    names::STREAM_FORK_SUB_OFFSET,
    names::STREAM_FORKED_FROM,
    names::STREAM_SEQ,
    names::STREAM_TTL,
];

/// Headers of an answer, with values from plausible to impossible.
pub(crate) fn answer_headers(u: &mut Unstructured<'_>) -> Result<HeaderMap> {
    headers(u, &OF_ANSWERS)
}

/// Headers of a request, with values from plausible to impossible.
pub(crate) fn request_headers(u: &mut Unstructured<'_>) -> Result<HeaderMap> {
    headers(u, &OF_REQUESTS)
}

fn headers(u: &mut Unstructured<'_>, names: &[HeaderName]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for _ in 0..u.int_in_range(0..=6_u8)? {
        headers.append(u.choose(names)?.clone(), header_value(u)?);
    }
    Ok(headers)
}

/// A header's value.
fn header_value(u: &mut Unstructured<'_>) -> Result<HeaderValue> {
    const VALUES: &[&str] = &[
        "",
        "-1",
        "0",
        "007",
        "1",
        "2",
        "5",
        "18446744073709551615",
        "18446744073709551616",
        "9007199254740991",
        "9007199254740992",
        "0000000000000000_0000000000000000",
        "0000000000000000_0000000000000002",
        "0000000000000001_0000000000000000",
        "0_7",
        "now",
        "true",
        "TRUE",
        "false",
        "base64",
        "gzip, deflate;q=0, br;q=0.5, *",
        "application/json",
        "application/json; charset=utf-8",
        "application/octet-stream",
        "text/plain",
        "text/event-stream",
        "/v1/stream/a",
        "/v1/stream/b",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "2100-01-01T00:00:00+14:00",
        "\"x:-1:0_7\"",
        "\"y:0_7:0_9:c\"",
        "W/\"x:-1:0_7\", *",
    ];
    if u.ratio(4, 5)? {
        return Ok(HeaderValue::from_static(u.choose(VALUES)?));
    }
    let length = u.int_in_range(0..=40)?;
    let value = HeaderValue::from_bytes(u.bytes(length)?);
    Ok(value.unwrap_or(HeaderValue::from_static("x")))
}
