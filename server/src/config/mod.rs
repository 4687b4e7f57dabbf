//! Every knob of the server, once, with its default and the reason for it.
//!
//! The fields are the keys of the configuration file, section by section; [`Loader`] fills them from a file, the
//! environment and flags. `docs/server.md` has the same table for operators, and a test holds the two together.

mod limits;
mod load;
mod otlp;
mod serving;
mod storage;
mod subscribing;
mod tls;
mod ui;
mod units;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::AccessConfig;

pub use self::limits::{LARGEST_BODY, Limits};
pub use self::load::{ConfigError, Loader};
pub use self::otlp::OtlpConfig;
pub use self::serving::{ForwardedHeader, Serving};
pub use self::storage::{StorageConfig, StorageKind};
pub use self::subscribing::Subscribing;
pub use self::tls::{ClientAuth, Tls};
pub use self::ui::{UiConfig, UiMode};
pub use self::units::{parse_duration, parse_size};
use crate::subscriptions::WebhookPolicy;

/// What a server can be told. Plain data; [`Config::default`] is a server for one machine's own use.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// `[server]`: where it listens and how it answers.
    pub server: Serving,
    /// `[access]`: who may do what.
    pub access: AccessConfig,
    /// `[limits]`: what it lets clients do.
    pub limits: Limits,
    /// `[tls]`: certificates.
    pub tls: Tls,
    /// `[storage]`: where streams are kept.
    pub storage: StorageConfig,
    /// `[admin]`: probes and metrics.
    pub admin: AdminConfig,
    /// `[log]`: what it says on standard error.
    pub log: LogConfig,
    /// `[otlp]`: where traces go.
    pub otlp: OtlpConfig,
    /// `[subscriptions]`: which subscriptions there may be.
    pub subscriptions: Subscribing,
    /// `[ui]`: the web page.
    pub ui: UiConfig,
}

/// Where probes and metrics are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdminConfig {
    /// An address for `/healthz`, `/readyz` and `/metrics` alone, such as `127.0.0.1:9437`, without TLS and access
    /// rules. Default empty: they are beside the streams, and metrics are for callers with `admin` on everything.
    pub address: String,
}

impl AdminConfig {
    /// The address, if there is one.
    ///
    /// # Errors
    /// The text is no address.
    pub fn bind(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.address.is_empty() {
            return Ok(None);
        }
        let malformed =
            |_| ConfigError::new(format!("admin.address: `{}` is not an IP address and a port", self.address));
        self.address.parse().map(Some).map_err(malformed)
    }
}

/// What is said on standard error. Read by whoever sets up the log, such as the command line.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LogConfig {
    /// The form of a line. Default `text`.
    pub format: LogFormat,
    /// Whether each request is logged. Default false: it would be most of the work of a small one.
    pub requests: bool,
}

/// Forms of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

impl Config {
    /// The address to listen on.
    pub fn bind(&self) -> SocketAddr {
        SocketAddr::new(self.server.host, self.server.port)
    }

    /// The stream root as clients reach it, if it is configured.
    pub(crate) fn public_root(&self) -> Option<String> {
        let Serving { public_url, stream_root, .. } = &self.server;
        (!public_url.is_empty()).then(|| format!("{public_url}{stream_root}"))
    }

    /// Which webhooks are delivered; `None` for none.
    pub(crate) fn webhook_policy(&self) -> Option<WebhookPolicy> {
        let Subscribing { webhooks, private_webhooks } = self.subscriptions;
        let loopback = self.server.host.is_loopback();
        webhooks.then_some(WebhookPolicy { loopback, private: private_webhooks })
    }

    /// What the web page offers, once the address is known: never [`UiMode::Auto`].
    pub(crate) fn ui_mode(&self) -> UiMode {
        match self.ui.mode {
            UiMode::Auto if self.server.host.is_loopback() => UiMode::On,
            UiMode::Auto => UiMode::ReadOnly,
            mode => mode,
        }
    }

    /// The configuration as a file that says every value; secrets are left out.
    ///
    /// # Errors
    /// Only if a value has no form in TOML, which none of the documented ones lacks.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::new(format!("the configuration cannot be written: {error}")))
    }

    /// Whether the configuration can be used, with every value brought into the range where it means something.
    ///
    /// # Errors
    /// Says which value cannot be used.
    pub fn checked(mut self) -> Result<Self, ConfigError> {
        let root = self.server.stream_root.trim_end_matches('/');
        if !root.is_empty() && !root.starts_with('/') {
            return Err(ConfigError::new(format!("server.stream_root: `{root}` must begin with a slash")));
        }
        self.server.stream_root = root.to_owned();
        self.server.check()?;
        self.tls.check()?;
        self.otlp.check()?;
        self.tls.reload_interval = self.tls.reload_interval.max(Duration::from_millis(10));
        self.server.long_poll_timeout = self.server.long_poll_timeout.max(Duration::from_millis(1));
        self.server.cursor_interval = self.server.cursor_interval.max(Duration::from_secs(1));
        self.server.sweep_interval = self.server.sweep_interval.max(Duration::from_millis(1));
        self.limits.max_body_bytes = self.limits.max_body_bytes.clamp(1, LARGEST_BODY);
        self.limits.max_read_bytes = self.limits.max_read_bytes.clamp(1, LARGEST_BODY);
        for timeout in [
            &mut self.limits.header_timeout,
            &mut self.limits.body_timeout,
            &mut self.limits.write_timeout,
            &mut self.limits.idle_timeout,
        ] {
            *timeout = (*timeout).max(Duration::from_millis(1));
        }
        // hyper refuses a smaller read buffer.
        self.limits.max_header_bytes = self.limits.max_header_bytes.max(8 << 10);
        let _ = self.admin.bind()?;
        if self.access.proxy.is_some() && self.server.trusted_proxies.is_empty() {
            let message = "access.proxy: no proxy is trusted; name it in server.trusted_proxies";
            return Err(ConfigError::new(message.to_owned()));
        }
        self.access.is_on(self.server.host).map_err(ConfigError::new)?;
        Ok(self)
    }
}
