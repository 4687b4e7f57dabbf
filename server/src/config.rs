//! Every knob of the server, once, with its default and the reason for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use everstream::proto::names;

/// The largest body that any configuration accepts: message boundaries are kept in 31 bits.
pub const LARGEST_BODY: usize = 1 << 30;

/// What a server can be told. Plain data; [`Config::default`] is a server for one machine's own use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen. Default `127.0.0.1:4437`: a server without authentication is not for the network
    /// unless someone says so (S-HTTP-17, S-HTTP-18). Port 0 is any free port.
    pub bind: SocketAddr,
    /// Path below which streams live, without trailing slash. Default `/v1/stream` (S-URL-2); empty puts
    /// streams at `/`.
    pub stream_root: String,
    /// How long a long-poll waits, and how often an idle SSE connection gets a keep-alive. Default 30 s,
    /// as the reference server; below the idle limits of common proxies.
    pub long_poll_timeout: Duration,
    /// After this time an SSE connection ends at an event boundary. Default 60 s, so that caches can
    /// regroup readers (S-SSE-14); each connection varies by up to 10 % so that they do not all
    /// reconnect together.
    pub sse_lifetime: Duration,
    /// Larger request bodies get 413 (S-HTTP-12). Default 64 MiB; at most [`LARGEST_BODY`].
    pub max_body_bytes: usize,
    /// How much one answer or one SSE data event holds, in bytes, unless one message alone is larger.
    /// Default 1 MiB: large enough to be fast, small enough that no reader makes the server hold much.
    pub max_read_bytes: usize,
    /// Whether answers are compressed when the client offers it (S-HTTP-14). Default true.
    pub compression: bool,
    /// Length of a cursor interval. Default 20 s (PROTOCOL.md section 15).
    pub cursor_interval: Duration,
    /// `Access-Control-Allow-Origin`. Default `*` (S-HTTP-8).
    pub cors_origin: String,
    /// Whether `/_test/inject-error` is there (API.md 6.2). Default false: it is for tests of clients only.
    pub fault_injection: bool,
    /// How long requests under way may take to finish once shutdown has begun. Default 10 s.
    pub shutdown_grace: Duration,
    /// How long a client may take to send the head of a request, idle time before it included. Default
    /// 120 s: longer than the idle limit of common connection pools, so that the client hangs up first
    /// and no request runs into a closing connection.
    pub header_timeout: Duration,
    /// The largest request head, in bytes. Default 64 KiB.
    pub max_header_bytes: usize,
    /// HTTP/2 streams that one connection may have open. Default 1024: each live reader is one.
    pub max_http2_streams: u32,
    /// How often expired streams are looked for. Default 250 ms; a round with nothing due costs nothing.
    pub sweep_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, names::DEFAULT_PORT)),
            stream_root: names::STREAM_ROOT.to_owned(),
            long_poll_timeout: Duration::from_secs(30),
            sse_lifetime: Duration::from_secs(60),
            max_body_bytes: 64 << 20,
            max_read_bytes: 1 << 20,
            compression: true,
            cursor_interval: Duration::from_secs(20),
            cors_origin: "*".to_owned(),
            fault_injection: false,
            shutdown_grace: Duration::from_secs(10),
            header_timeout: Duration::from_secs(120),
            max_header_bytes: 64 << 10,
            max_http2_streams: 1024,
            sweep_interval: Duration::from_millis(250),
        }
    }
}

impl Config {
    /// Brings every value into the range where it means something.
    ///
    /// # Errors
    /// Says which value cannot be used.
    pub(crate) fn checked(mut self) -> Result<Self, String> {
        let root = self.stream_root.trim_end_matches('/');
        if !root.is_empty() && !root.starts_with('/') {
            return Err(format!("stream root `{root}` must begin with a slash"));
        }
        self.stream_root = root.to_owned();
        self.max_body_bytes = self.max_body_bytes.clamp(1, LARGEST_BODY);
        self.max_read_bytes = self.max_read_bytes.clamp(1, LARGEST_BODY);
        self.long_poll_timeout = self.long_poll_timeout.max(Duration::from_millis(1));
        self.cursor_interval = self.cursor_interval.max(Duration::from_secs(1));
        self.sweep_interval = self.sweep_interval.max(Duration::from_millis(1));
        // hyper refuses a smaller read buffer.
        self.max_header_bytes = self.max_header_bytes.max(8 << 10);
        Ok(self)
    }
}
