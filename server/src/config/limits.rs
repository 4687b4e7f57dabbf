//! `[limits]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;

/// The largest body that any configuration accepts: message boundaries are kept in 31 bits.
pub const LARGEST_BODY: usize = 1 << 30;

/// What the server lets clients do.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Larger request bodies get 413 (S-HTTP-12). Default 64 MiB; at most [`LARGEST_BODY`].
    #[serde(with = "units::size")]
    pub max_body_bytes: usize,
    /// How much one answer or one SSE data event holds, in bytes, unless one message alone is larger.
    /// Default 1 MiB: large enough to be fast, small enough that no reader makes the server hold much.
    #[serde(with = "units::size")]
    pub max_read_bytes: usize,
    /// The largest request head, in bytes. Default 64 KiB.
    #[serde(with = "units::size")]
    pub max_header_bytes: usize,
    /// HTTP/2 streams that one connection may have open. Default 1024: each live reader is one.
    pub max_http2_streams: u32,
    /// Bytes of request bodies that may be under way together; one more gets 503 and `Retry-After`. Default
    /// 256 MiB, so that many uploads that do not get on cannot take all memory.
    #[serde(with = "units::size")]
    pub max_incoming_bytes: usize,
    /// Bytes of answers that may wait for slow readers together. Beyond, pieces of reads are 64 KiB. Default 64 MiB.
    #[serde(with = "units::size")]
    pub max_outgoing_bytes: usize,
    /// Connections at the same time; one more gets 503 and `Retry-After`. Default 20,000; 0 is no limit.
    pub max_connections: usize,
    /// How large a stream may grow, in bytes as stored; an append beyond gets 413. Default 0: no limit.
    #[serde(with = "units::size")]
    pub max_stream_bytes: u64,
    /// How many streams there may be; a create beyond gets 507. Default 0: no limit.
    pub max_streams: u64,
    /// Requests that one client address (of IPv6, one /64) may make per second on average; more get 429 and
    /// `Retry-After`. Default 0: no limit. Behind a proxy all clients are one: limit there instead.
    pub requests_per_second: u32,
    /// Requests that a client may make at once before that average counts. Default 0: as many as per second.
    pub request_burst: u32,
    /// How long a client may take for the head of a request once it has begun, and for a TLS handshake. Default 10 s.
    #[serde(with = "units::duration")]
    pub header_timeout: Duration,
    /// A request body must bring 4 KiB in each such time, or its end; else it gets 408. Default 30 s.
    #[serde(with = "units::duration")]
    pub body_timeout: Duration,
    /// How long a client may take nothing of what was sent to it before its connection is cut. Default 30 s.
    #[serde(with = "units::duration")]
    pub write_timeout: Duration,
    /// How long a connection may be without a request before it is ended; it may be up to twice as long. Default
    /// 120 s: longer than the idle limit of common connection pools, so that the client hangs up first and no request
    /// runs into a closing connection.
    #[serde(with = "units::duration")]
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 << 20,
            max_read_bytes: 1 << 20,
            max_header_bytes: 64 << 10,
            max_http2_streams: 1024,
            max_incoming_bytes: 256 << 20,
            max_outgoing_bytes: 64 << 20,
            max_connections: 20_000,
            max_stream_bytes: 0,
            max_streams: 0,
            requests_per_second: 0,
            request_burst: 0,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
        }
    }
}
