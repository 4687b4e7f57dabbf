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
    /// How long a client may take to send the head of a request, idle time before it included. Default
    /// 120 s: longer than the idle limit of common connection pools, so that the client hangs up first
    /// and no request runs into a closing connection.
    #[serde(with = "units::duration")]
    pub header_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 << 20,
            max_read_bytes: 1 << 20,
            max_header_bytes: 64 << 10,
            max_http2_streams: 1024,
            header_timeout: Duration::from_secs(120),
        }
    }
}
