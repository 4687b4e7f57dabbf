//! Headers that every response carries: CORS and what keeps browsers from guessing (S-HTTP-6 to S-HTTP-9).

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The names are those of `everstream::proto::names`, checked by a test below: a header value has to be
/// one literal to cost nothing per response.
const ALLOWED: &str = "content-type, authorization, if-none-match, stream-seq, stream-ttl, stream-expires-at, \
    stream-closed, producer-id, producer-epoch, producer-seq, stream-forked-from, stream-fork-offset, \
    stream-fork-sub-offset";
const EXPOSED: &str = "stream-next-offset, stream-cursor, stream-up-to-date, stream-closed, producer-epoch, \
    producer-seq, producer-expected-seq, producer-received-seq, etag, content-type, content-encoding, vary, \
    stream-sse-data-encoding, stream-ttl, stream-expires-at, location, retry-after, stream-incarnation";

/// The headers, ready to insert.
#[derive(Debug)]
pub(super) struct CommonHeaders {
    list: [(HeaderName, HeaderValue); 6],
}

impl CommonHeaders {
    /// Headers for one allowed origin, `*` for all.
    ///
    /// # Errors
    /// The origin cannot be a header value.
    pub(super) fn new(origin: &str) -> Result<Self, String> {
        let origin = HeaderValue::from_str(origin).map_err(|_| format!("CORS origin `{origin}` is no header value"))?;
        Ok(Self {
            list: [
                (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
                (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin")),
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
                (
                    header::ACCESS_CONTROL_ALLOW_METHODS,
                    HeaderValue::from_static("GET, POST, PUT, DELETE, HEAD, OPTIONS"),
                ),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED)),
                (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)),
            ],
        })
    }

    /// Adds the headers to a response.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        headers.reserve(self.list.len());
        for (name, value) in &self.list {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// How long a browser may remember a preflight answer: it never changes.
pub(super) const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

#[cfg(test)]
mod tests {
    use everstream::proto::names;

    use super::*;

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
