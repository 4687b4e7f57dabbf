//! What is noted about each request: numbers, an id, and a line of the log if asked for.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use everstream::proto::names;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use tracing::Span;

use super::body::Body;
use super::forwarded::Forwarded;
use super::path::Target;
use super::{App, Peer};
use crate::access::Caller;
use crate::metrics::RequestKind;

/// Names one request, in the logs of everything that it went through.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names a request among those that it belongs to (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The longest id that is taken over from a client.
const LONGEST_ID: usize = 128;

/// A request that is being answered.
pub(super) struct Observation {
    started: Instant,
    kind: RequestKind,
    /// That of the client, or one made for the log.
    id: Option<HeaderValue>,
}

impl Observation {
    pub(super) fn begin(app: &App, parts: &Parts, target: &Target<'_>) -> Self {
        let given = parts.headers.get(&REQUEST_ID).filter(|id| is_id(id)).cloned();
        let is_logged = app.config().log.requests || tracing::enabled!(tracing::Level::DEBUG);
        Self { started: Instant::now(), kind: kind(target, parts), id: given.or_else(|| is_logged.then(new_id)) }
    }

    /// What everything that is logged about the request is in; nothing if nothing is logged about requests.
    pub(super) fn span(&self, app: &App, parts: &Parts) -> Span {
        // The query stays out: it may hold the signature of a URL.
        let (method, path) = (&parts.method, parts.uri.path());
        if app.config().log.requests {
            tracing::info_span!("request", id = self.id_text(), trace = trace_id(parts), %method, path)
        } else {
            tracing::debug_span!("request", id = self.id_text(), trace = trace_id(parts), %method, path)
        }
    }

    /// Counts the answer.
    pub(super) fn count(&self, app: &App, status: StatusCode) -> Duration {
        let elapsed = self.started.elapsed();
        app.metrics().answered(self.kind, status, elapsed);
        elapsed
    }

    /// Counts the answer, gives it the id of the request, and writes it to the log.
    pub(super) fn end(self, app: &App, parts: &Parts, peer: &Peer, response: &mut Response<Body>) {
        let status = response.status();
        let elapsed = self.count(app, status);
        self.name(response);
        if app.config().log.requests {
            let caller = response.extensions_mut().remove::<Caller>();
            let client = parts.extensions.get::<Forwarded>().map(|forwarded| forwarded.client);
            tracing::info!(
                target: "everstream_server::requests",
                id = self.id_text(),
                trace = trace_id(parts),
                method = %parts.method,
                path = parts.uri.path(),
                operation = self.kind.label(),
                status = status.as_u16(),
                // A live answer has no length yet.
                bytes = response.body().size_hint().exact(),
                micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
                peer = %peer.addr,
                client = client.map(tracing::field::display),
                caller = caller.as_ref().and_then(Caller::name),
                "answered"
            );
        } else {
            let (method, path) = (&parts.method, parts.uri.path());
            tracing::debug!(%method, path, status = status.as_u16(), "answered");
        }
    }

    /// What the request asks for.
    pub(super) fn operation(&self) -> &'static str {
        self.kind.label()
    }

    /// Gives an answer the id of the request, if it has one.
    pub(super) fn name(&self, response: &mut Response<Body>) {
        if let Some(id) = &self.id {
            response.headers_mut().insert(REQUEST_ID, id.clone());
        }
    }

    /// What names the request in its answer, if anything does.
    pub(super) fn id(&self) -> Option<&HeaderValue> {
        self.id.as_ref()
    }

    fn id_text(&self) -> Option<&str> {
        self.id.as_ref()?.to_str().ok()
    }
}

/// What a request asks for, as far as its head tells without being checked.
fn kind(target: &Target<'_>, parts: &Parts) -> RequestKind {
    match (target, &parts.method) {
        (Target::Stream(_), &Method::PUT) => RequestKind::Create,
        (Target::Stream(_), &Method::POST) => RequestKind::Append,
        (Target::Stream(_), &Method::HEAD) => RequestKind::Head,
        (Target::Stream(_), &Method::DELETE) => RequestKind::Delete,
        (Target::Stream(_), &Method::GET) => live_mode(parts.uri.query().unwrap_or_default()),
        (Target::Control(rest), _) if *rest == names::LIST_ROUTE => RequestKind::List,
        (Target::Control(_), _) => RequestKind::Control,
        _ => RequestKind::Other,
    }
}

fn live_mode(query: &str) -> RequestKind {
    let live = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == names::QUERY_LIVE);
    match live {
        Some((_, names::LIVE_SSE)) => RequestKind::Sse,
        Some((_, names::LIVE_LONG_POLL)) => RequestKind::LongPoll,
        _ => RequestKind::Read,
    }
}

/// Whether a client's id can go into a log and back: short, and nothing that could end a line or a field.
fn is_id(value: &HeaderValue) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=LONGEST_ID).contains(&value.len()) && value.as_bytes().iter().all(is_plain)
}

/// An id that no other request of this process has, and hardly one of another process.
fn new_id() -> HeaderValue {
    static BASE: LazyLock<u64> = LazyLock::new(|| getrandom::u64().unwrap_or_default());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = BASE.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    // Hex digits are always legal.
    HeaderValue::from_str(&format!("{id:016x}")).unwrap_or(const { HeaderValue::from_static("0") })
}

/// The trace that the request belongs to, as 32 hex digits.
fn trace_id(parts: &Parts) -> Option<&str> {
    traceparent(parts).map(|(trace, _, _)| trace)
}

/// Trace, parent and flags of `traceparent`, version 00 or later, in hex digits.
pub(super) fn traceparent(parts: &Parts) -> Option<(&str, &str, &str)> {
    let value = parts.headers.get(&TRACEPARENT)?.to_str().ok()?;
    let mut fields = value.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_well_formed = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && (version != "00" || fields.next().is_none());
    (is_well_formed && trace.bytes().any(|byte| byte != b'0')).then_some((trace, parent, flags))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::Request;

    use super::super::path::target;
    use super::*;

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn requests_are_told_apart_by_their_heads() {
        for (method, uri, expected) in [
            ("GET", "/v1/stream/a", RequestKind::Read),
            ("GET", "/v1/stream/a?offset=-1&live=sse", RequestKind::Sse),
            ("GET", "/v1/stream/a?live=long-poll&offset=now", RequestKind::LongPoll),
            ("HEAD", "/v1/stream/a?live=sse", RequestKind::Head),
            ("PUT", "/v1/stream/a", RequestKind::Create),
            ("POST", "/v1/stream/a", RequestKind::Append),
            ("DELETE", "/v1/stream/a", RequestKind::Delete),
            ("PATCH", "/v1/stream/a", RequestKind::Other),
            ("GET", "/v1/stream/__ds/streams", RequestKind::List),
            ("GET", "/v1/stream/__ds/subscriptions/x", RequestKind::Control),
            ("GET", "/metrics", RequestKind::Other),
        ] {
            let parts = parts(method, uri, &[]);
            assert_eq!(kind(&target("/v1/stream", parts.uri.path()), &parts), expected, "{method} {uri}");
        }
    }

    #[test]
    fn ids_of_clients_are_taken_over_if_they_are_harmless() {
        let is_id = |text: &str| is_id(&HeaderValue::from_bytes(text.as_bytes()).unwrap());
        assert!(is_id("7f000001-42_a.b:c/d+e=@"));
        assert!(is_id(&"x".repeat(128)));
        for bad in ["", "a b", "a\tb", "é", "a\"b", "{}", &"x".repeat(129)] {
            assert!(!is_id(bad), "{bad}");
        }
        assert_ne!(new_id(), new_id());
    }

    #[test]
    fn a_trace_is_known_by_a_well_formed_traceparent_only() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let of = |value: &str| trace_id(&parts("GET", "/", &[("traceparent", value)])).map(str::to_owned);
        assert_eq!(of(&format!("00-{trace}-b7ad6b7169203331-01")).as_deref(), Some(trace));
        assert_eq!(of(&format!("01-{trace}-b7ad6b7169203331-01-more")).as_deref(), Some(trace));
        for bad in [
            "",
            "00",
            trace,
            &format!("ff-{trace}-b7ad6b7169203331-01"),
            &format!("00-{trace}-b7ad6b7169203331-01-more"),
            &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            &format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
