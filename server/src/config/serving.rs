//! `[server]`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use everstream::proto::names;
use everstream::proto::url::StreamUrl;
use serde::{Deserialize, Serialize};

use super::{ConfigError, units};
use crate::http::parse_network;

/// Where the server listens and how it answers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Serving {
    /// Address to listen on. Default `127.0.0.1`: a server without authentication is not for the network unless
    /// someone says so (S-HTTP-17, S-HTTP-18).
    pub host: IpAddr,
    /// Port to listen on; 0 is any free one. Default 4437.
    pub port: u16,
    /// Path below which streams live, without trailing slash. Default `/v1/stream` (S-URL-2); empty puts
    /// streams at `/`.
    pub stream_root: String,
    /// Where clients reach the server, such as `https://streams.example.com`, for absolute URLs in answers and webhooks
    /// (S-CREATE-9, S-HOOK-1). A path in it is one that a proxy takes away. Default empty: what each request says.
    pub public_url: String,
    /// Networks of proxies that are believed when they say who the client is, such as `10.0.0.0/8`. Default none:
    /// anybody can send such headers.
    pub trusted_proxies: Vec<String>,
    /// Which header these proxies set. Default `x-forwarded`.
    pub forwarded_header: ForwardedHeader,
    /// How long a long-poll waits, and how often an idle SSE connection gets a keep-alive. Default 30 s,
    /// as the reference server; below the idle limits of common proxies.
    #[serde(with = "units::duration")]
    pub long_poll_timeout: Duration,
    /// After this time an SSE connection ends at an event boundary. Default 60 s, so that caches can
    /// regroup readers (S-SSE-14); each connection varies by up to 10 % so that they do not all
    /// reconnect together.
    #[serde(with = "units::duration")]
    pub sse_lifetime: Duration,
    /// Length of a cursor interval. Default 20 s (PROTOCOL.md section 15).
    #[serde(with = "units::duration")]
    pub cursor_interval: Duration,
    /// Whether answers are compressed when the client offers it (S-HTTP-14). Default true.
    pub compression: bool,
    /// Whose pages may see answers: `*`, origins separated by spaces or commas, or `none`, which leaves out the headers that
    /// only pages of other origins need, about 1 KB of each answer. Default `*` (S-HTTP-8).
    pub cors_origin: String,
    /// Whether those pages may send credentials that the browser keeps, such as cookies for a proxy before the server.
    /// Default false; bearer tokens do not need it.
    pub cors_credentials: bool,
    /// How long the server goes on as usual after it was told to stop, while `/readyz` says that it is not ready, so that
    /// load balancers send nothing more. Default 0.
    #[serde(with = "units::duration")]
    pub drain_delay: Duration,
    /// How long requests under way may take to finish once shutdown has begun. Default 10 s.
    #[serde(with = "units::duration")]
    pub shutdown_grace: Duration,
    /// Whether the server keeps the stream `__registry__`, which says which streams there are (API.md section 5). Default
    /// true; it costs nothing before someone asks for it.
    pub registry: bool,
    /// How often expired streams are looked for. Default 250 ms; a round with nothing due costs nothing.
    #[serde(with = "units::duration")]
    pub sweep_interval: Duration,
    /// Whether `/_test/inject-error` is there (API.md 6.2). Default false: it is for tests of clients only.
    pub fault_injection: bool,
}

/// How proxies tell of the client before them. One they do not set they may pass on from the client, so only one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Serving {
    /// Brings the addresses of others into the form in which they are used.
    ///
    /// # Errors
    /// Says which value cannot be used.
    pub(super) fn check(&mut self) -> Result<(), ConfigError> {
        self.public_url = self.public_url.trim().trim_end_matches('/').to_owned();
        let url = &self.public_url;
        if !url.is_empty() && (StreamUrl::parse(url).is_err() || url.contains(['?', '#', '@'])) {
            return Err(ConfigError::new(format!(
                "server.public_url: `{url}` must be http:// or https:// with a host, without query and credentials"
            )));
        }
        match self.trusted_proxies.iter().find(|text| parse_network(text).is_none()) {
            Some(text) => Err(ConfigError::new(format!(
                "server.trusted_proxies: `{text}` is no network, such as 10.0.0.0/8, and no address"
            ))),
            None => Ok(()),
        }
    }
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: names::DEFAULT_PORT,
            stream_root: names::STREAM_ROOT.to_owned(),
            public_url: String::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            long_poll_timeout: Duration::from_secs(30),
            sse_lifetime: Duration::from_secs(60),
            cursor_interval: Duration::from_secs(20),
            compression: true,
            cors_credentials: false,
            cors_origin: "*".to_owned(),
            drain_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(10),
            registry: true,
            sweep_interval: Duration::from_millis(250),
            fault_injection: false,
        }
    }
}
