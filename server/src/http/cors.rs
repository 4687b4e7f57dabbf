//! Headers that every response carries: CORS and what keeps browsers from guessing (S-HTTP-6 to S-HTTP-9).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::body::Body;

/// The names are those of `everstream::proto::names`, checked by a test below: a header value has to be
/// one literal to cost nothing per response.
const ALLOWED: &str = "content-type, authorization, if-none-match, stream-seq, stream-ttl, stream-expires-at, \
    stream-closed, producer-id, producer-epoch, producer-seq, stream-forked-from, stream-fork-offset, \
    stream-fork-sub-offset, \
    x-request-id, traceparent, tracestate";
const EXPOSED: &str = "stream-next-offset, stream-cursor, stream-up-to-date, stream-closed, producer-epoch, \
    producer-seq, producer-expected-seq, producer-received-seq, etag, content-type, content-encoding, vary, \
    stream-sse-data-encoding, stream-ttl, stream-expires-at, location, retry-after, stream-incarnation, x-request-id, \
    www-authenticate";

/// The headers, ready to insert.
#[derive(Debug)]
pub(super) struct CommonHeaders {
    list: Vec<(HeaderName, HeaderValue)>,
    origins: Origins,
    credentials: bool,
    /// All of them as they are written, if they are the same for every page.
    text: Option<Bytes>,
}

/// Whose pages may see answers.
#[derive(Debug)]
enum Origins {
    /// Nobody's: no page is to call this server, and programs need none of the headers.
    None,
    /// One value for all: `*`, or the only origin. Every page gets the same answer, so that caches can share it.
    Always(HeaderValue),
    These(Vec<HeaderValue>),
}

impl CommonHeaders {
    /// Headers for the origins that are allowed: `*` for all, `none`, or a list of them separated by spaces or commas; and
    /// whether pages may send cookies and the like.
    ///
    /// # Errors
    /// An origin cannot be a header value, there is none, or credentials are to be sent from everywhere or nowhere.
    pub(super) fn new(origins: &str, credentials: bool) -> Result<Self, String> {
        let origins = match origins.trim() {
            "*" if credentials => {
                return Err(
                    "server.cors_credentials: with credentials the origins must be named in server.cors_origin, \
                            or every page in the world could act for whoever looks at it"
                        .to_owned(),
                );
            }
            "*" => Origins::Always(HeaderValue::from_static("*")),
            "none" if credentials => {
                return Err(
                    "server.cors_credentials: there are no pages to send them while server.cors_origin is `none`"
                        .to_owned(),
                );
            }
            "none" => Origins::None,
            list => {
                let names = list.split([' ', ',']).filter(|name| !name.is_empty());
                let mut names: Vec<HeaderValue> = names
                    .map(|name| {
                        HeaderValue::from_str(name)
                            .map_err(|_| format!("server.cors_origin: `{name}` is no header value"))
                    })
                    .collect::<Result<_, _>>()?;
                match names.len() {
                    0 => return Err("server.cors_origin: name an origin, or `*`, or `none`".to_owned()),
                    1 => Origins::Always(names.remove(0)),
                    _ => Origins::These(names),
                }
            }
        };
        let mut list = vec![
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin")),
        ];
        if !matches!(origins, Origins::None) {
            list.extend([
                (
                    header::ACCESS_CONTROL_ALLOW_METHODS,
                    HeaderValue::from_static("GET, POST, PUT, DELETE, HEAD, OPTIONS"),
                ),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED)),
                (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)),
            ]);
        }
        let mut common = Self { list, origins, credentials, text: None };
        if !matches!(common.origins, Origins::These(_)) {
            let mut headers = HeaderMap::new();
            common.apply(None, &mut headers);
            let lines = headers
                .iter()
                .map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            common.text = Some(lines.collect::<Vec<_>>().concat().into());
        }
        Ok(common)
    }

    /// The headers as they are written, if they are the same for every page.
    pub(super) fn text(&self) -> Option<&Bytes> {
        self.text.as_ref()
    }

    /// The answer to a preflight, without these headers (S-HTTP-10). Browsers may remember it for long: it never changes.
    pub(super) fn preflight(&self) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        if !matches!(self.origins, Origins::None) {
            response.headers_mut().insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        }
        response
    }

    /// Adds the headers to the response to a request from a page of `origin`.
    pub(super) fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        headers.reserve(self.list.len() + 2);
        for (name, value) in &self.list {
            headers.insert(name.clone(), value.clone());
        }
        match &self.origins {
            Origins::None => {}
            Origins::Always(origin) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                if self.credentials {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                }
            }
            Origins::These(names) => {
                // A cache must not give one page the answer that names another.
                headers.append(header::VARY, HeaderValue::from_static("origin"));
                if let Some(origin) = origin.filter(|origin| names.contains(origin)) {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                    if self.credentials {
                        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use everstream::proto::names;

    use super::*;

    fn applied(origins: &str, credentials: bool, origin: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let common = CommonHeaders::new(origins, credentials).expect("they are sound");
        common.apply(origin.map(HeaderValue::from_static).as_ref(), &mut headers);
        headers
    }

    #[test]
    fn an_origin_is_named_only_to_pages_of_its_own() {
        let allowed = |headers: &HeaderMap| headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
        let any = applied("*", false, Some("https://a.example"));
        assert_eq!(allowed(&any), Some(HeaderValue::from_static("*")));
        assert_eq!(any.get(header::VARY), None);
        let one = applied("https://a.example", true, None);
        assert_eq!(allowed(&one), Some(HeaderValue::from_static("https://a.example")));
        assert_eq!(one[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        let list = "https://a.example, https://b.example";
        for origin in ["https://a.example", "https://b.example"] {
            let headers = applied(list, true, Some(origin));
            assert_eq!(allowed(&headers), Some(HeaderValue::from_static(origin)));
            assert_eq!(headers[header::VARY], "origin");
            assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        }
        for origin in [None, Some("https://a.example.evil"), Some("null"), Some("https://A.example")] {
            let headers = applied(list, true, origin);
            assert_eq!(allowed(&headers), None);
            assert_eq!(headers.get(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), None);
            assert_eq!(headers[header::VARY], "origin");
        }
        assert_eq!(applied(list, false, Some("https://a.example")).get(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), None);
    }

    #[test]
    fn where_no_page_may_call_only_what_protects_pages_is_left() {
        let headers = applied("none", false, Some("https://a.example"));
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cross-origin-resource-policy", "x-content-type-options"]);
    }

    #[test]
    fn origins_that_cannot_be_meant_are_refused() {
        for (origins, credentials) in [("*", true), ("none", true), ("", false), (" , ", false), ("a\nb", false)] {
            assert!(CommonHeaders::new(origins, credentials).is_err(), "{origins:?}");
        }
    }

    #[test]
    fn the_lists_hold_every_protocol_header() {
        let has = |list: &str, name: &HeaderName| list.split(", ").any(|item| item == name.as_str());
        for name in [
            names::STREAM_SEQ,
            names::STREAM_TTL,
            names::STREAM_EXPIRES_AT,
            names::STREAM_CLOSED,
            names::PRODUCER_ID,
            names::PRODUCER_EPOCH,
            names::PRODUCER_SEQ,
            names::STREAM_FORKED_FROM,
            names::STREAM_FORK_OFFSET,
            names::STREAM_FORK_SUB_OFFSET,
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            header::IF_NONE_MATCH,
        ] {
            assert!(has(ALLOWED, &name), "{name}");
        }
        for name in [
            names::STREAM_NEXT_OFFSET,
            names::STREAM_CURSOR,
            names::STREAM_UP_TO_DATE,
            names::STREAM_CLOSED,
            names::STREAM_TTL,
            names::STREAM_EXPIRES_AT,
            names::STREAM_SSE_DATA_ENCODING,
            names::STREAM_INCARNATION,
            names::PRODUCER_EPOCH,
            names::PRODUCER_SEQ,
            names::PRODUCER_EXPECTED_SEQ,
            names::PRODUCER_RECEIVED_SEQ,
            header::ETAG,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::VARY,
            header::LOCATION,
            header::RETRY_AFTER,
        ] {
            assert!(has(EXPOSED, &name), "{name}");
        }
    }
}
