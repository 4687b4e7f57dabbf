//! Settings of connections: of reqwest, where it carries the requests.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};

use super::builder::ClientBuilder;
use super::reqwest_transport::ReqwestTransport;
use super::roots::lazy_tls;
use crate::error::{Error, ErrorKind, Result};

/// What connections are like.
#[derive(Clone, Default)]
pub(super) struct Connections {
    connect_timeout: Option<Duration>,
    root_certificates: Vec<Vec<u8>>,
    identity: Option<Vec<u8>>,
    proxy: Option<String>,
    ignore_environment: bool,
    http2_prior_knowledge: bool,
    gzip: bool,
}

impl ClientBuilder {
    /// How long a connection may take to be made if nothing else is said.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long a connection is kept without a request: common servers hang up after 5 s, and what is sent at that moment has an
    /// unknown outcome.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
    /// What requests call themselves.
    pub const USER_AGENT: &str = concat!("everstream/", env!("CARGO_PKG_VERSION"));

    /// Whether requests to `http:` addresses go to their servers themselves, as HTTP/1.1, and answers come as they are stored. Then
    /// a transport that can do no more can carry them.
    pub fn is_plain(&self) -> bool {
        let Connections { proxy, ignore_environment, http2_prior_knowledge, gzip, .. } = &self.connections;
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let from_environment = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].iter().any(is_set);
        let by_proxy = proxy.is_some() || (!ignore_environment && from_environment);
        self.transport.is_none() && !by_proxy && !http2_prior_knowledge && !gzip
    }

    /// How long a connection may take to be made. Default 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connections.connect_timeout = Some(limit);
        self
    }

    /// Trusts the certificates of a PEM bundle beside those of the system.
    pub fn root_certificates_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connections.root_certificates.push(pem.into());
        self
    }

    /// A client certificate with its private key, PEM.
    pub fn identity_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connections.identity = Some(pem.into());
        self
    }

    /// Sends everything through a proxy. Default: as `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.connections.proxy = Some(url.into());
        self
    }

    /// Ignores the proxy settings of the environment.
    pub fn ignore_environment(mut self) -> Self {
        self.connections.ignore_environment = true;
        self
    }

    /// Speaks HTTP/2 without TLS. Over TLS it is negotiated anyway.
    pub fn http2_prior_knowledge(mut self) -> Self {
        self.connections.http2_prior_knowledge = true;
        self
    }

    /// Offers gzip for answers. Default off: it costs more CPU than a near network saves.
    pub fn gzip(mut self) -> Self {
        self.connections.gzip = true;
        self
    }
}

impl Connections {
    pub(super) fn connect(&self) -> Result<ReqwestTransport> {
        // Fails when the process has chosen a provider already, which is just as well.
        let _ = ring::default_provider().install_default();
        let invalid = |what: &str, error: reqwest::Error| Error::invalid_argument(format!("{what}: {error}"));
        let mut builder = reqwest::Client::builder()
            .connect_timeout(self.connect_timeout.unwrap_or(ClientBuilder::CONNECT_TIMEOUT))
            .user_agent(ClientBuilder::USER_AGENT)
            .tcp_nodelay(true)
            .pool_idle_timeout(ClientBuilder::IDLE_TIMEOUT)
            .gzip(self.gzip)
            // A redirect would turn a POST into a GET; the machines classify it as an unexpected status.
            .redirect(reqwest::redirect::Policy::none());
        for pem in &self.root_certificates {
            let bundle = reqwest::Certificate::from_pem_bundle(pem).map_err(|it| invalid("root certificates", it))?;
            if bundle.is_empty() {
                return Err(Error::invalid_argument("root certificates: there is no certificate in the PEM text"));
            }
            builder = builder.tls_certs_merge(bundle);
        }
        // What is given is checked here, and the system's certificates are read along with it.
        if self.root_certificates.is_empty() && self.identity.is_none() {
            let protocols: &[&[u8]] = if self.http2_prior_knowledge { &[b"h2"] } else { &[b"h2", b"http/1.1"] };
            let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));
            let tls = lazy_tls(provider, protocols)
                .map_err(|error| Error::new(ErrorKind::Internal, format!("TLS cannot be set up: {error}")))?;
            builder = builder.tls_backend_preconfigured(tls);
        }
        if let Some(pem) = &self.identity {
            builder = builder.identity(reqwest::Identity::from_pem(pem).map_err(|it| invalid("identity", it))?);
        }
        if self.ignore_environment {
            builder = builder.no_proxy();
        }
        if let Some(url) = &self.proxy {
            builder = builder.proxy(reqwest::Proxy::all(url).map_err(|it| invalid("proxy", it))?);
        }
        if self.http2_prior_knowledge {
            builder = builder.http2_prior_knowledge();
        }
        let client = builder.build().map_err(|error| {
            // Certificates that were given are read only here.
            if self.root_certificates.is_empty() && self.identity.is_none() {
                let message = format!("the HTTP client cannot be set up: {error}");
                return Error::new(ErrorKind::Internal, message).with_source(error);
            }
            invalid("root certificates or identity", error)
        })?;
        Ok(ReqwestTransport::new(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_these_connections_can_do_is_not_plain() {
        let builder = || ClientBuilder::default().ignore_environment();
        assert!(builder().is_plain());
        assert!(builder().connect_timeout(Duration::ZERO).is_plain());
        for other in [builder().proxy("http://127.0.0.1:1"), builder().gzip(), builder().http2_prior_knowledge()] {
            assert!(!other.is_plain());
        }
    }
}
