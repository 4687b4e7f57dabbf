//! Settings of a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::exchange::{AttemptHook, Core, ErrorHook};
use super::extras::{Extras, Provider};
use super::reqwest_transport::ReqwestTransport;
use super::transport::{BoxFuture, Transport};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::retry::RetryPolicy;

/// Builds a [`Client`].
#[derive(Clone, Default)]
#[must_use]
pub struct ClientBuilder {
    base_url: Option<String>,
    extras: Extras,
    retry: RetryPolicy,
    on_error: Option<ErrorHook>,
    on_failed_attempt: Option<AttemptHook>,
    transport: Option<Arc<dyn Transport>>,
    connect_timeout: Option<Duration>,
    request_timeout: Option<Duration>,
    root_certificates: Vec<Vec<u8>>,
    identity: Option<Vec<u8>>,
    proxy: Option<String>,
    ignore_environment: bool,
    http2_prior_knowledge: bool,
    gzip: bool,
}

impl ClientBuilder {
    /// The settings of a client, over its connections.
    pub(super) fn over(core: &Core) -> Self {
        Self {
            base_url: core.base_url.clone(),
            extras: core.extras.clone(),
            retry: core.retry.clone(),
            on_error: core.on_error.clone(),
            on_failed_attempt: core.on_failed_attempt.clone(),
            transport: Some(core.transport.clone()),
            request_timeout: Some(core.request_timeout),
            ..Self::default()
        }
    }

    /// What stream URLs that start with `/` are joined to.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// A header of every request.
    ///
    /// # Errors
    /// `InvalidArgument` for a name or value that no header can have.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Result<Self> {
        self.extras = self.extras.header(name, value)?;
        Ok(self)
    }

    /// A header of every request whose value is asked for anew for each try (C-REQ-6), such as a token that expires.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that no header can have.
    pub fn header_provider(mut self, name: &str, provider: Provider) -> Result<Self> {
        self.extras = self.extras.header_provider(name, provider)?;
        Ok(self)
    }

    /// A query parameter of every request.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extras = self.extras.param(name, value);
        self
    }

    /// A query parameter of every request whose value is asked for anew for each try.
    pub fn param_provider(mut self, name: impl Into<String>, provider: Provider) -> Self {
        self.extras = self.extras.param_provider(name, provider);
        self
    }

    /// When and how often requests are tried again. Default: 15 retries within 60 s, starting at 100 ms;
    /// live reads and producers have no such limit.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Asked when an operation is about to fail for good, reconnects of live reads and batches of producers included:
    /// `Some` means that something was mended - a token renewed - and it is to be tried once more, with these headers
    /// and parameters over the ones before; they stay for the rest of the call, read or producer.
    pub fn on_error(mut self, hook: impl Fn(Error) -> BoxFuture<Option<Extras>> + Send + Sync + 'static) -> Self {
        self.on_error = Some(Arc::new(hook));
        self
    }

    /// Told of each try that ended in a broken connection, in a status of failure or without an answer in time, whether it is
    /// repeated or not. It must not block.
    pub fn on_failed_attempt(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_failed_attempt = Some(Arc::new(hook));
        self
    }

    /// Another way to carry requests; the settings of connections below then mean nothing.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Adds headers and parameters; they win over those that are there.
    pub fn extras(mut self, extras: &Extras) -> Self {
        self.extras = self.extras.merged(extras);
        self
    }

    /// How long a connection may take to be made. Default 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = Some(limit);
        self
    }

    /// How long one try of a single request may take. Default 30 s. Reads and producers have their own limits in
    /// their options.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = Some(limit);
        self
    }

    /// Trusts the certificates of a PEM bundle beside those of the system.
    pub fn root_certificates_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates.push(pem.into());
        self
    }

    /// A client certificate with its private key, PEM.
    pub fn identity_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.identity = Some(pem.into());
        self
    }

    /// Sends everything through a proxy. Default: as `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Ignores the proxy settings of the environment.
    pub fn ignore_environment(mut self) -> Self {
        self.ignore_environment = true;
        self
    }

    /// Speaks HTTP/2 without TLS. Over TLS it is negotiated anyway.
    pub fn http2_prior_knowledge(mut self) -> Self {
        self.http2_prior_knowledge = true;
        self
    }

    /// Offers gzip for answers. Default off: it costs more CPU than a near network saves.
    pub fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// `InvalidArgument` for a setting that cannot be used, naming it; `Internal` when TLS cannot be set up.
    pub fn build(self) -> Result<Client> {
        self.retry.validate()?;
        let transport = match &self.transport {
            Some(transport) => transport.clone(),
            None => Arc::new(self.connect()?),
        };
        let request_timeout = self.request_timeout.unwrap_or(Duration::from_secs(30));
        let core = Core::new(
            transport,
            self.base_url,
            self.extras,
            self.retry,
            request_timeout,
            self.on_error,
            self.on_failed_attempt,
        )?;
        Ok(Client { core: Arc::new(core) })
    }

    fn connect(&self) -> Result<ReqwestTransport> {
        // Fails when the process has chosen a provider already, which is just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let invalid = |what: &str, error: reqwest::Error| Error::invalid_argument(format!("{what}: {error}"));
        let mut builder = reqwest::Client::builder()
            .connect_timeout(self.connect_timeout.unwrap_or(Duration::from_secs(10)))
            .user_agent(concat!("everstream/", env!("CARGO_PKG_VERSION")))
            .tcp_nodelay(true)
            // Common servers hang up after 5 s without a request; one that is sent at that moment has an unknown outcome.
            .pool_idle_timeout(Duration::from_secs(4))
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
            // Certificates are read only here.
            if self.root_certificates.is_empty() && self.identity.is_none() {
                let message = format!("the HTTP client cannot be set up: {error}");
                return Error::new(ErrorKind::Internal, message).with_source(error);
            }
            invalid("root certificates or identity", error)
        })?;
        Ok(ReqwestTransport(client))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("base_url", &self.base_url)
            .field("extras", &self.extras)
            .finish_non_exhaustive()
    }
}
