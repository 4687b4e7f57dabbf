//! Headers and query to typed arguments (PROTOCOL.md sections 3, 4, 6 and 8).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use everstream::proto::content_type::is_well_formed;
use everstream::proto::{control, names};
use http::{HeaderMap, HeaderName, header};
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::HttpError;
use super::path::{self, Target};
use crate::clock::Millis;
use crate::engine::{CreateRequest, Deadline, ForkRequest, Lifetime, Position, ProducerTag};

/// Epoch and seq are at most this (S-PROD-3).
const LARGEST_PRODUCER_INT: u64 = (1 << 53) - 1;

/// Where a read starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    At(Position),
    Beginning,
    Now,
}

impl Start {
    /// The position, given the tail.
    pub(super) fn resolve(self, tail: Position) -> Position {
        match self {
            Self::At(position) => position.min(tail),
            Self::Beginning => Position::ZERO,
            Self::Now => tail,
        }
    }
}

/// How a read goes on after what exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    LongPoll,
    Sse,
}

/// The query of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadQuery<'a> {
    pub(super) start: Start,
    /// The offset as requested, for the entity tag.
    pub(super) offset: Cow<'a, str>,
    pub(super) live: Option<Live>,
    pub(super) cursor: Option<Cow<'a, str>>,
}

/// Reads the query of a GET (S-OFF-7, S-READ-2). Unknown parameters are ignored (S-HTTP-3).
pub(super) fn read_query(query: Option<&str>) -> Result<ReadQuery<'_>, HttpError> {
    let (mut offset, mut live, mut cursor) = (None, None, None);
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let seen = match &*decoded(name)? {
            names::QUERY_OFFSET => offset.replace(decoded(value)?).is_some(),
            names::QUERY_LIVE => live.replace(decoded(value)?).is_some(),
            names::QUERY_CURSOR => cursor.replace(decoded(value)?).is_some(),
            _ => false,
        };
        if seen {
            return Err(HttpError::BadRequest("a query parameter is given more than once"));
        }
    }
    let live = match live.as_deref() {
        None => None,
        Some(names::LIVE_LONG_POLL) => Some(Live::LongPoll),
        Some(names::LIVE_SSE) => Some(Live::Sse),
        Some(_) => return Err(HttpError::BadRequest("unknown live mode")),
    };
    let start = match offset.as_deref() {
        None if live.is_some() => return Err(HttpError::BadRequest("a live read needs an offset")),
        None | Some(names::OFFSET_BEGINNING) => Start::Beginning,
        Some(names::OFFSET_NOW) => Start::Now,
        Some(text) => Start::At(Position::parse(text).ok_or(HttpError::BadRequest("malformed offset"))?),
    };
    Ok(ReadQuery { start, offset: offset.unwrap_or(Cow::Borrowed(names::OFFSET_BEGINNING)), live, cursor })
}

/// Decodes one query component; `+` is a space (S-OFF-8).
fn decoded(text: &str) -> Result<Cow<'_, str>, HttpError> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(text) => Ok(Cow::Owned(text.into_owned())),
        Err(_) => Err(HttpError::BadRequest("the query is not UTF-8")),
    }
}

/// Reads the headers of a create (T-PUT rows 2 to 6). The body is left empty.
pub(super) fn create_request(headers: &HeaderMap, stream_root: &str) -> Result<CreateRequest, HttpError> {
    Ok(CreateRequest {
        content_type: text(headers, &header::CONTENT_TYPE).filter(|value| is_well_formed(value)).map(str::to_owned),
        lifetime: lifetime(headers)?,
        closed: control::is_closed(headers),
        fork: fork(headers, stream_root)?,
        body: Bytes::new(),
    })
}

/// `Stream-TTL` and `Stream-Expires-At`; empty values count as absent (S-CREATE-4 to 6).
fn lifetime(headers: &HeaderMap) -> Result<Lifetime, HttpError> {
    let ttl = non_empty(headers, &names::STREAM_TTL);
    let expires_at = non_empty(headers, &names::STREAM_EXPIRES_AT);
    match (ttl, expires_at) {
        (None, None) => Ok(Lifetime::Unlimited),
        (Some(_), Some(_)) => Err(HttpError::BadRequest("Stream-TTL and Stream-Expires-At exclude each other")),
        (Some(ttl), None) => {
            let ttl = std::str::from_utf8(ttl).ok().and_then(count);
            ttl.map(Lifetime::Ttl).ok_or(HttpError::BadRequest("malformed Stream-TTL"))
        }
        (None, Some(moment)) => {
            let deadline = std::str::from_utf8(moment)
                .ok()
                .and_then(|text| Some(Deadline { at: rfc3339(text)?, text: text.into() }));
            let deadline = deadline.ok_or(HttpError::BadRequest("malformed Stream-Expires-At"))?;
            Ok(Lifetime::Until(deadline))
        }
    }
}

/// The fork headers (T-PUT rows 3 to 6).
fn fork(headers: &HeaderMap, stream_root: &str) -> Result<Option<ForkRequest>, HttpError> {
    let source = non_empty(headers, &names::STREAM_FORKED_FROM);
    let offset = match headers.get(&names::STREAM_FORK_OFFSET) {
        None => None,
        Some(value) => {
            let position = value.to_str().ok().and_then(Position::parse);
            Some(position.ok_or(HttpError::BadRequest("malformed Stream-Fork-Offset"))?)
        }
    };
    let sub_offset = match headers.get(&names::STREAM_FORK_SUB_OFFSET) {
        None => None,
        Some(_) if source.is_none() => {
            return Err(HttpError::BadRequest("Stream-Fork-Sub-Offset without Stream-Forked-From"));
        }
        Some(value) => {
            let count = value.to_str().ok().and_then(count);
            Some(count.ok_or(HttpError::BadRequest("malformed Stream-Fork-Sub-Offset"))?)
        }
    };
    let Some(source) = source else {
        return match offset {
            Some(_) => Err(HttpError::BadRequest("Stream-Fork-Offset without Stream-Forked-From")),
            None => Ok(None),
        };
    };
    let source = std::str::from_utf8(source).map_err(|_| HttpError::BadRequest("malformed Stream-Forked-From"))?;
    let source = match path::target(stream_root, source) {
        Target::Stream(name) => name.into_owned(),
        Target::Invalid(why) => return Err(HttpError::BadRequest(why)),
        // Nothing that could be forked lives there, so it is an unknown source (T-PUT 10).
        Target::Control(_) | Target::Elsewhere => String::new(),
    };
    Ok(Some(ForkRequest { source, offset, sub_offset: sub_offset.unwrap_or_default() }))
}

/// The producer triple: all or nothing (S-PROD-1 to 3).
pub(super) fn producer(headers: &HeaderMap) -> Result<Option<ProducerTag>, HttpError> {
    static TRIPLE: [HeaderName; 3] = [names::PRODUCER_ID, names::PRODUCER_EPOCH, names::PRODUCER_SEQ];
    // Most requests have none of them: one look at all headers is less than looking up each.
    let mut values = [None; 3];
    for (name, value) in headers {
        if let Some(at) = TRIPLE.iter().position(|known| known == name) {
            values[at].get_or_insert(value);
        }
    }
    let (id, epoch, seq) = match values {
        [None, None, None] => return Ok(None),
        [Some(id), Some(epoch), Some(seq)] => (id, epoch, seq),
        _ => {
            return Err(HttpError::BadRequest("Producer-Id, Producer-Epoch and Producer-Seq come together"));
        }
    };
    if id.is_empty() {
        return Err(HttpError::BadRequest("empty Producer-Id"));
    }
    let number = |value: &http::HeaderValue, malformed| {
        let text = value.to_str().ok().filter(|text| !text.is_empty());
        text.filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .filter(|&number: &u64| number <= LARGEST_PRODUCER_INT)
            .ok_or(HttpError::BadRequest(malformed))
    };
    Ok(Some(ProducerTag {
        id: Bytes::copy_from_slice(id.as_bytes()),
        epoch: number(epoch, "malformed Producer-Epoch")?,
        seq: number(seq, "malformed Producer-Seq")?,
    }))
}

/// `Stream-Seq`; empty counts as a value (S-SEQ-1: any string).
pub(super) fn stream_seq(headers: &HeaderMap) -> Option<Bytes> {
    let value = headers.get(&names::STREAM_SEQ)?;
    Some(Bytes::copy_from_slice(value.as_bytes()))
}

/// Refuses bodies that would be stored encoded (S-HTTP-16).
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), HttpError> {
    let all_plain = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|value| value.is_empty() || value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if all_plain { Ok(()) } else { Err(HttpError::UnsupportedCoding) }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn non_empty<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    headers.get(name).map(http::HeaderValue::as_bytes).filter(|value| !value.is_empty())
}

/// `0`, or a digit 1-9 and more digits (appendix D). What does not fit 64 bits is refused too: it could
/// not be given back as it came.
fn count(text: &str) -> Option<u64> {
    let well_formed = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    well_formed.then(|| text.parse().ok()).flatten()
}

/// A moment of the calendar, as milliseconds since the Unix epoch; what lies before that is 0.
fn rfc3339(text: &str) -> Option<Millis> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let since = moment - OffsetDateTime::UNIX_EPOCH;
    let since = Duration::try_from(since).unwrap_or_default();
    Some(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.clone(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn every_row_of_t_offset_that_needs_no_stream_is_kept() {
        for bad in [
            "offset=",
            "offset=0",
            "offset=a",
            "offset=0_0&offset=0_0",
            "offset=0_%201",
            "offset=0+0",
            "offset=0,1",
            "offset=..%2Fx",
            "offset=0_0%00",
            "offset=%0d%0a",
            "offset=%ff",
            "offset",
            "live=sse",
            "live=long-poll",
            "offset=-1&live=",
            "offset=-1&live=x",
            "offset=-1&live=sse&live=sse",
            "offset=NOW",
            "offset=-2",
        ] {
            assert!(read_query(Some(bad)).is_err(), "{bad}");
        }
        let at = |query| read_query(Some(query)).unwrap().start;
        assert_eq!(read_query(None).unwrap().start, Start::Beginning);
        assert_eq!(at(""), Start::Beginning);
        assert_eq!(at("x=y&z"), Start::Beginning);
        assert_eq!(at("offset=-1"), Start::Beginning);
        assert_eq!(at("offset=%2D1"), Start::Beginning);
        assert_eq!(at("offset=now"), Start::Now);
        assert_eq!(at("offset=0_12&live=sse"), Start::At(Position(12)));
    }

    #[test]
    fn ttl_is_a_plain_count() {
        let ttl = |text| lifetime(&headers(&[(names::STREAM_TTL, text)]));
        for bad in ["01", "-1", "+1", "1.5", "1e3", " ", "1 2", "x", "00", "99999999999999999999"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
        assert_eq!(ttl("0").unwrap(), Lifetime::Ttl(0));
        assert_eq!(ttl("3600").unwrap(), Lifetime::Ttl(3600));
        assert_eq!(ttl("").unwrap(), Lifetime::Unlimited);
    }

    #[test]
    fn a_deadline_is_rfc_3339_with_a_zone() {
        for bad in ["tomorrow", "2030-01-01", "2030-01-01T00:00:00", "2030-13-01T00:00:00Z", "1e3"] {
            let map = headers(&[(names::STREAM_EXPIRES_AT, bad)]);
            assert!(lifetime(&map).is_err(), "{bad}");
        }
        assert_eq!(rfc3339("1970-01-01T01:00:01.5+01:00"), Some(1500));
        assert_eq!(rfc3339("1969-01-01T00:00:00Z"), Some(0));
        let both = headers(&[(names::STREAM_EXPIRES_AT, "2030-01-01T00:00:00Z"), (names::STREAM_TTL, "1")]);
        assert!(lifetime(&both).is_err());
    }

    #[test]
    fn the_producer_triple_is_all_or_nothing_and_digits_only() {
        let tag = |id: Option<&str>, epoch: Option<&str>, seq: Option<&str>| {
            let mut map = HeaderMap::new();
            for (name, value) in [(names::PRODUCER_ID, id), (names::PRODUCER_EPOCH, epoch), (names::PRODUCER_SEQ, seq)]
            {
                if let Some(value) = value {
                    map.insert(name, value.parse().unwrap());
                }
            }
            producer(&map)
        };
        assert!(tag(None, None, None).unwrap().is_none());
        let found = tag(Some("a:b/c"), Some("007"), Some("9007199254740991")).unwrap().unwrap();
        assert_eq!((&found.id[..], found.epoch, found.seq), (&b"a:b/c"[..], 7, LARGEST_PRODUCER_INT));
        for (id, epoch, seq) in [
            (Some("p"), None, None),
            (None, Some("0"), Some("0")),
            (Some("p"), Some("0"), None),
            (Some(""), Some("0"), Some("0")),
            (Some("p"), Some(""), Some("0")),
            (Some("p"), Some("1abc"), Some("0")),
            (Some("p"), Some("1e3"), Some("0")),
            (Some("p"), Some("0"), Some("-1")),
            (Some("p"), Some("0"), Some("+1")),
            (Some("p"), Some("0"), Some("9007199254740992")),
        ] {
            assert!(tag(id, epoch, seq).is_err(), "{id:?} {epoch:?} {seq:?}");
        }
    }

    #[test]
    fn fork_headers_are_checked_before_any_stream_is_looked_at() {
        let from = (names::STREAM_FORKED_FROM, "/v1/stream/a%20b");
        for bad in [
            &[(names::STREAM_FORK_OFFSET, "0_0")][..],
            &[(names::STREAM_FORK_SUB_OFFSET, "0")],
            &[from.clone(), (names::STREAM_FORK_OFFSET, "-1")],
            &[from.clone(), (names::STREAM_FORK_OFFSET, "now")],
            &[from.clone(), (names::STREAM_FORK_OFFSET, "")],
            &[from.clone(), (names::STREAM_FORK_SUB_OFFSET, "")],
            &[from.clone(), (names::STREAM_FORK_SUB_OFFSET, "01")],
            &[from.clone(), (names::STREAM_FORK_SUB_OFFSET, "-1")],
            &[(names::STREAM_FORKED_FROM, "/v1/stream/../x")],
        ] {
            assert!(fork(&headers(bad), "/v1/stream").is_err(), "{bad:?}");
        }
        let found = fork(
            &headers(&[from, (names::STREAM_FORK_OFFSET, "0_9"), (names::STREAM_FORK_SUB_OFFSET, "2")]),
            "/v1/stream",
        );
        let found = found.unwrap().unwrap();
        assert_eq!((found.source.as_str(), found.offset, found.sub_offset), ("a b", Some(Position(9)), 2));
    }

    #[test]
    fn encoded_bodies_are_refused() {
        assert!(check_coding(&headers(&[])).is_ok());
        assert!(check_coding(&headers(&[(header::CONTENT_ENCODING, "Identity")])).is_ok());
        assert!(check_coding(&headers(&[(header::CONTENT_ENCODING, "gzip")])).is_err());
    }
}
