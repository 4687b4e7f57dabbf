//! Requests to the server, any method, path, query, headers and body, in any order, with time passing: every one is
//! answered, never by 5xx; and whatever they did, each stream reads the same page by page and by SSE, up to the offset
//! that HEAD names (S-HTTP-5, S-READ-1, S-OFF-2, S-SSE-1).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use everstream::Offset;
use everstream::proto::content_type::StreamFormat;
use everstream::proto::control::Control;
use everstream::proto::offset::ReadFrom;
use everstream::proto::response::ResponseHead;
use everstream::proto::sse::{SseDecoder, decode_base64};
use everstream::proto::{json, names};
use everstream_server::clock::Clock;
use everstream_server::{RunningServer, Server};
use http::header::CONTENT_TYPE;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};

use crate::input::request_headers;

const STREAMS: [&str; 3] = ["/v1/stream/a", "/v1/stream/b", "/v1/stream/a/%C3%A9"];

/// One input.
pub fn run(data: &[u8]) {
    // Its time stands still but for waiting, so that long-polls and event streams end at once.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    // An input that is too short ends the story early; what was told until then has been checked.
    let _ = runtime.expect("a runtime").block_on(story(&mut Unstructured::new(data)));
}

async fn story(u: &mut Unstructured<'_>) -> Result<()> {
    let calendar = Arc::new(Calendar(AtomicU64::new(1_700_000_000_000)));
    let builder = Server::builder().bind(([127, 0, 0, 1], 0)).clock(Arc::<Calendar>::clone(&calendar));
    let builder = builder.max_body_bytes(200).max_read_bytes(u.int_in_range(1..=80)?).compression(u.arbitrary()?);
    let builder = builder.long_poll_timeout(Duration::from_secs(1)).sse_lifetime(Duration::from_secs(2));
    let server = builder.start().await.expect("a server on a free port");
    for _ in 0..24 {
        if u.is_empty() {
            break;
        }
        if u.ratio(1, 12)? {
            calendar.0.fetch_add(u.int_in_range(0..=20_000)?, Ordering::Relaxed);
            server.engine().sweep().await;
        }
        if let Some(request) = request(u)? {
            ask(&server, request).await;
        }
    }
    for path in STREAMS {
        reads_the_same(&server, path).await;
    }
    Ok(())
}

/// A clock that only the story moves.
struct Calendar(AtomicU64);

impl Clock for Calendar {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn request(u: &mut Unstructured<'_>) -> Result<Option<Request<Full<Bytes>>>> {
    let methods = [Method::PUT, Method::POST, Method::POST, Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];
    let method = if u.ratio(19, 20)? {
        u.choose(&methods)?.clone()
    } else {
        Method::from_bytes(u.arbitrary()?).unwrap_or(Method::PATCH)
    };
    let paths = ["/v1/stream/__ds/streams", "/v1/stream/__ds/x", "/healthz", "/metrics", "/"];
    let path = match u.int_in_range(0..=9_u8)? {
        0 => (*u.choose(&paths)?).to_owned(),
        1 => format!("/v1/stream/{}", String::from_utf8_lossy(u.arbitrary()?)),
        _ => (*u.choose(&STREAMS)?).to_owned(),
    };
    let queries = [
        "?offset=-1",
        "?offset=now&live=long-poll",
        "?offset=-1&live=sse",
        "?offset=now&live=sse&cursor=7",
        "?offset=0000000000000000_0000000000000002",
        "?offset=0_3&live=long-poll&cursor=x",
        "?offset=9999999999999999_9999999999999999&live=sse",
        "?prefix=a&limit=1",
    ];
    let query = match u.int_in_range(0..=5_u8)? {
        0 | 1 => String::new(),
        2 => format!("?offset={}", String::from_utf8_lossy(u.arbitrary()?)),
        _ => (*u.choose(&queries)?).to_owned(),
    };
    let Ok(uri) = format!("{path}{query}").parse::<Uri>() else { return Ok(None) };
    let bodies: [&[u8]; 7] = [b"", b"1", b"[1,[2]]", b"[]", b" {\"a\": \"\r\n\"}", b"a\r\nb\n\n\xc3\xa9", b"\xff\x00"];
    let body: &[u8] = if u.ratio(4, 5)? { u.choose(&bodies)? } else { u.arbitrary()? };
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = request_headers(u)?;
    Ok(Some(request))
}

async fn ask(server: &RunningServer, request: Request<Full<Bytes>>) -> (http::response::Parts, Bytes) {
    let shown = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    let (parts, body) = server.answer(request, server.addr()).await.expect("no fault is injected").into_parts();
    assert!(!parts.status.is_server_error(), "{} to {shown}", parts.status);
    let Ok(body) = body.collect().await;
    (parts, body.to_bytes())
}

async fn get(server: &RunningServer, method: Method, path: &str) -> (ResponseHead, Bytes) {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path of ours");
    let (parts, body) = ask(server, request).await;
    (ResponseHead::new(parts.status, parts.headers, UNIX_EPOCH), body)
}

async fn reads_the_same(server: &RunningServer, path: &str) {
    let (head, _) = get(server, Method::HEAD, path).await;
    if !head.status.is_success() {
        return;
    }
    let format = StreamFormat::of(head.text(CONTENT_TYPE).unwrap_or_default());
    let (by_page, at) = by_pages(server, path, format).await;
    assert_eq!(head.next_offset(), Some(at), "{path} page by page");
    let (by_event, at) = by_events(server, path, format).await;
    assert_eq!(head.next_offset(), Some(at), "{path} by SSE");
    // Text loses over SSE what is not UTF-8, and the kind of its line ends (S-SSE-6).
    if format != StreamFormat::Text {
        assert_eq!(by_page, by_event, "{path}");
    }
}

async fn by_pages(server: &RunningServer, path: &str, format: StreamFormat) -> (Vec<u8>, Offset) {
    let (mut data, mut at) = (Vec::new(), ReadFrom::Beginning);
    loop {
        let (head, body) = get(server, Method::GET, &format!("{path}?offset={at}")).await;
        assert!(head.status.is_success(), "{path} from {at}: {}", head.status);
        take(&mut data, format, &body);
        let next = head.next_offset().expect("an answer names the offset after it");
        if head.headers.contains_key(names::STREAM_UP_TO_DATE) {
            return (data, next);
        }
        assert_ne!(ReadFrom::At(next.clone()), at, "{path} has no end");
        at = ReadFrom::At(next);
    }
}

async fn by_events(server: &RunningServer, path: &str, format: StreamFormat) -> (Vec<u8>, Offset) {
    let (_, body) = get(server, Method::GET, &format!("{path}?offset=-1&live=sse")).await;
    let (mut data, mut at) = (Vec::new(), None);
    let decoded = SseDecoder::new().feed(&body, |event| match &*event.kind {
        _ if at.is_some() => {}
        names::EVENT_CONTROL => {
            let control = Control::from_event(&event.data).expect("a control event");
            at = control.up_to_date.then_some(control.next_offset);
        }
        _ if format == StreamFormat::Binary => data.extend_from_slice(&decode_base64(&event.data).expect("base64")),
        _ => take(&mut data, format, event.data.as_bytes()),
    });
    decoded.expect("events are UTF-8");
    (data, at.expect("an event stream comes to the tail"))
}

/// Messages of a JSON stream without the arrays that they came in, bytes of any other.
fn take(data: &mut Vec<u8>, format: StreamFormat, piece: &[u8]) {
    if format != StreamFormat::Json {
        return data.extend_from_slice(piece);
    }
    for range in json::messages(piece).expect("an array of messages") {
        data.extend_from_slice(&piece[range]);
        data.push(b',');
    }
}
