//! Requests that are there as a whole and can be read in one way only.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use everstream::proto::names;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use httparse::Status;

use crate::http::spare;

/// Larger heads, and heads with more fields, are left to hyper.
const LARGEST_HEAD: usize = 8 << 10;
const MOST_FIELDS: usize = 32;
/// So are larger bodies.
pub(super) const LARGEST_BODY: usize = 1 << 20;

/// What received bytes begin with.
pub(super) enum Next {
    /// A request, with so many bytes.
    Whole(Request<Bytes>, usize),
    /// A request of which some of the body is missing.
    Partial(Partial),
    /// The beginning of what may become one.
    Begun,
    /// Something else.
    Other,
}

/// A request without its body.
pub(super) struct Partial {
    pub(super) request: Request<Bytes>,
    /// Its head, as it came.
    pub(super) head: Bytes,
    pub(super) body_len: usize,
}

/// Takes the next request off `input`, or its head if some of a body of `largest_body` bytes or less is missing. What is
/// not taken stays there.
///
/// The parser is hyper's own, and what it accepts here is a part of what hyper accepts, with the same end: the head says
/// the length once, in digits, or there is no body. So whoever reads the connection, the next request begins at the same
/// byte.
pub(super) fn take(input: &mut Bytes, largest_body: usize) -> Next {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut head, input, &mut fields);
    let head_len = match parsed {
        Ok(Status::Complete(len)) if len <= LARGEST_HEAD => len,
        // The preface of HTTP/2 is no head.
        Ok(Status::Partial) if input.len() < LARGEST_HEAD && !input.starts_with(b"PRI") => {
            return Next::Begun;
        }
        _ => return Next::Other,
    };
    let Some((mut request, body_len)) = plain(input, &head) else {
        return Next::Other;
    };
    let size = head_len + body_len;
    if input.len() < size {
        return if body_len <= largest_body {
            Next::Partial(Partial { request, head: input.split_to(head_len), body_len })
        } else {
            Next::Other
        };
    }
    // The last one takes the input along, which is freed with it then, and not when more is read.
    let mut body = if input.len() == size { std::mem::take(input) } else { input.split_to(size) };
    body.advance(head_len);
    *request.body_mut() = body;
    Next::Whole(request, size)
}

/// The request and the length of its body, if nothing about it needs hyper.
fn plain(input: &Bytes, head: &httparse::Request<'_, '_>) -> Option<(Request<Bytes>, usize)> {
    let (method, path) = (head.method?, head.path?);
    if head.version != Some(1) || !path.starts_with('/') {
        return None;
    }
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = match method {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "DELETE" => Method::DELETE,
        "OPTIONS" => Method::OPTIONS,
        _ => return None,
    };
    *request.uri_mut() = Uri::from_maybe_shared(input.slice_ref(path.as_bytes())).ok()?;
    let mut body_len = None;
    let mut headers = spare::headers(head.headers.len());
    for field in &*head.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        match name.as_str() {
            "content-length" if body_len.is_some() => return None,
            // The body tells it from here on.
            "content-length" => {
                body_len = Some(length(field.value)?);
                continue;
            }
            "connection" if field.value.eq_ignore_ascii_case(b"keep-alive") => {}
            "connection" | "expect" | "transfer-encoding" | "upgrade" => return None,
            _ => {}
        }
        headers.append(name, HeaderValue::from_maybe_shared(input.slice_ref(field.value)).ok()?);
    }
    *request.headers_mut() = headers;
    Some((request, body_len.unwrap_or(0)))
}

/// Whether a request may be a live read, which waits for long.
pub(super) fn may_be_live(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.contains(names::QUERY_LIVE) || query.contains('%'))
}

/// A length in plain digits, of a body that is not too large.
fn length(value: &[u8]) -> Option<usize> {
    if value.is_empty() || value.len() > 7 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = std::str::from_utf8(value).ok()?.parse().ok()?;
    (length <= LARGEST_BODY).then_some(length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whole_requests_are_taken_one_after_another() {
        let first = "POST /v1/stream/a HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\nabc";
        let length = first.len();
        let mut input = Bytes::from(format!(
            "{first}GET /v1/stream/a?offset=-1 HTTP/1.1\r\nconnection: Keep-Alive\r\n\r\nPUT /v1/stream/b HTTP/1.1\r\n"
        ));
        let Next::Whole(first, size) = take(&mut input, 9) else { panic!("the first is whole") };
        assert_eq!(
            (first.method(), first.uri().path(), &first.body()[..]),
            (&Method::POST, "/v1/stream/a", &b"abc"[..])
        );
        assert_eq!(first.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(size, length);
        let Next::Whole(second, _) = take(&mut input, 9) else { panic!("the second is whole") };
        assert_eq!((second.method(), second.uri().query()), (&Method::GET, Some("offset=-1")));
        assert!(second.body().is_empty());
        assert!(matches!(take(&mut input, 9), Next::Begun));
        assert_eq!(input, "PUT /v1/stream/b HTTP/1.1\r\n");
    }

    #[test]
    fn live_reads_are_known_however_they_are_written() {
        assert!(may_be_live(Some("offset=-1&live=sse")));
        assert!(may_be_live(Some("offset=-1&l%69ve=sse")));
        assert!(!may_be_live(Some("offset=-1")));
        assert!(!may_be_live(None));
    }

    #[test]
    fn of_a_body_that_is_not_all_there_what_there_is_stays_where_it_is() {
        let text = b"POST /a HTTP/1.1\r\ncontent-length: 4\r\n\r\nabc";
        let mut input = Bytes::from_static(text);
        assert!(matches!(take(&mut input, 3), Next::Other));
        assert_eq!(input, &text[..]);
        let Next::Partial(partial) = take(&mut input, 4) else { panic!("the head is there") };
        assert_eq!((partial.head.len(), partial.body_len, partial.request.uri().path()), (text.len() - 3, 4, "/a"));
        assert_eq!(input, "abc");
    }

    #[test]
    fn what_could_be_read_in_two_ways_or_needs_more_is_not_taken() {
        let rows: &[&[u8]] = &[
            b"POST /a HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
            b"POST /a HTTP/1.1\r\ncontent-length: +1\r\n\r\nx",
            b"POST /a HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\nx",
            b"POST /a HTTP/1.1\r\ncontent-length: \r\n\r\nx",
            b"POST /a HTTP/1.1\r\ncontent-length: 0x1\r\n\r\nx",
            b"POST /a HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\nx",
            b"POST /a HTTP/1.1\r\ncontent-length : 1\r\n\r\nx",
            b"POST /a HTTP/1.1\r\ncontent-length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
            b"POST /a HTTP/1.1\r\ntransfer-encoding: identity\r\n\r\n",
            b"POST /a HTTP/1.1\r\nx: y\r\n z\r\n\r\n",
            b"POST /a HTTP/1.1\r\nx: y\0z\r\n\r\n",
            b"POST /a HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx",
            b"GET /a HTTP/1.1\r\nconnection: close\r\n\r\n",
            b"GET /a HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
            b"GET /a HTTP/1.0\r\n\r\n",
            b"GET http://x/a HTTP/1.1\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\n\r\n",
            b"CONNECT x:1 HTTP/1.1\r\n\r\n",
            b"BREW /a HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PRI * HT",
            b"\0\0\0\0",
        ];
        for row in rows {
            let mut input = Bytes::from_static(row);
            assert!(matches!(take(&mut input, 9), Next::Other), "{:?}", String::from_utf8_lossy(row));
            assert_eq!(input, row);
        }
        for fields in [("x: y\r\n".repeat(40)), format!("x: {}\r\n", "y".repeat(LARGEST_HEAD))] {
            let mut input = Bytes::from(format!("GET /a HTTP/1.1\r\n{fields}\r\n"));
            assert!(matches!(take(&mut input, 9), Next::Other));
        }
    }
}
