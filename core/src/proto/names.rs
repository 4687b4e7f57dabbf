//! Header names, query names and sentinel strings of the protocol (PROTOCOL.md appendix A and B).
//!
//! Nobody else spells them: client, server, bindings and tests take them from here.

use crate::headers::HeaderName;

/// Response header: the offset just after the last byte of the answer.
pub const STREAM_NEXT_OFFSET: HeaderName = HeaderName::from_static("stream-next-offset");
/// Response header of live reads: lets shared caches merge equal requests.
pub const STREAM_CURSOR: HeaderName = HeaderName::from_static("stream-cursor");
/// Response header: everything available was sent. Presence counts (C-READ-5).
pub const STREAM_UP_TO_DATE: HeaderName = HeaderName::from_static("stream-up-to-date");
/// Request and response header: the stream is, or is to be, closed.
pub const STREAM_CLOSED: HeaderName = HeaderName::from_static("stream-closed");
/// Request header: opaque, strictly increasing writer sequence (S-SEQ).
pub const STREAM_SEQ: HeaderName = HeaderName::from_static("stream-seq");
/// Sliding lifetime in whole seconds (S-EXP-1).
pub const STREAM_TTL: HeaderName = HeaderName::from_static("stream-ttl");
/// Fixed deadline, RFC 3339 (S-EXP-4).
pub const STREAM_EXPIRES_AT: HeaderName = HeaderName::from_static("stream-expires-at");
/// Response header of SSE reads: `base64` when data events are encoded (S-SSE-2).
pub const STREAM_SSE_DATA_ENCODING: HeaderName = HeaderName::from_static("stream-sse-data-encoding");
/// Request header of a fork: URL path of the source (S-FORK-1).
pub const STREAM_FORKED_FROM: HeaderName = HeaderName::from_static("stream-forked-from");
/// Request header of a fork: where it leaves the source (S-FORK-2).
pub const STREAM_FORK_OFFSET: HeaderName = HeaderName::from_static("stream-fork-offset");
/// Request header of a fork: messages or bytes past the fork offset (S-FORK-3).
pub const STREAM_FORK_SUB_OFFSET: HeaderName = HeaderName::from_static("stream-fork-sub-offset");
/// Extension (S-HTTP-19): names one incarnation of a stream, so that a reader notices a stream that
/// was deleted and recreated under it. Clients that know it not, and servers that send it not, lose nothing else.
pub const STREAM_INCARNATION: HeaderName = HeaderName::from_static("stream-incarnation");

/// Producer header: who writes (S-PROD-2).
pub const PRODUCER_ID: HeaderName = HeaderName::from_static("producer-id");
/// Producer header: the fencing number of this writer (S-PROD-3).
pub const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("producer-epoch");
/// Producer header: the number of this batch within the epoch (S-PROD-10).
pub const PRODUCER_SEQ: HeaderName = HeaderName::from_static("producer-seq");
/// Response header of a gap: the seq that the server waits for.
pub const PRODUCER_EXPECTED_SEQ: HeaderName = HeaderName::from_static("producer-expected-seq");
/// Response header of a gap: the seq that arrived instead.
pub const PRODUCER_RECEIVED_SEQ: HeaderName = HeaderName::from_static("producer-received-seq");

/// Query parameter: where a read starts.
pub const QUERY_OFFSET: &str = "offset";
/// Query parameter: the live mode.
pub const QUERY_LIVE: &str = "live";
/// Query parameter: the last cursor received, echoed (C-REQ-4).
pub const QUERY_CURSOR: &str = "cursor";

/// Offset sentinel: the beginning of the stream.
pub const OFFSET_BEGINNING: &str = "-1";
/// Offset sentinel: the current tail.
pub const OFFSET_NOW: &str = "now";

/// Value of `live` for long-poll reads.
pub const LIVE_LONG_POLL: &str = "long-poll";
/// Value of `live` for server-sent events.
pub const LIVE_SSE: &str = "sse";

/// The value that makes [`STREAM_CLOSED`] and [`STREAM_UP_TO_DATE`] count.
pub const TRUE: &str = "true";
/// The value of [`STREAM_SSE_DATA_ENCODING`].
pub const BASE64: &str = "base64";

/// Media type of an SSE answer (S-SSE-1).
pub const EVENT_STREAM: &str = "text/event-stream";
/// SSE event type that carries stream data.
pub const EVENT_DATA: &str = "data";
/// SSE event type that carries the position (T-CONTROL).
pub const EVENT_CONTROL: &str = "control";

/// TCP port of a standalone server (S-HTTP-17).
pub const DEFAULT_PORT: u16 = 4437;
/// Where streams live below the base URL (S-URL-2).
pub const STREAM_ROOT: &str = "/v1/stream";
/// First path segment reserved for the control API (S-URL-3).
pub const CONTROL_SEGMENT: &str = "__ds";
/// Where subscriptions are, below the control segment (T-ROUTE).
pub const SUBSCRIPTIONS_ROUTE: &str = "subscriptions";
/// Where the public keys of webhooks are, below the control segment (S-HOOK-3).
pub const JWKS_ROUTE: &str = "jwks.json";
/// Where our server lists its streams, below the control segment (an extension, S-HTTP-19).
pub const LIST_ROUTE: &str = "streams";
/// The stream in which a server says which streams there are (API.md section 5).
pub const REGISTRY: &str = "__registry__";
