//! Settings of a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Client;
#[cfg(feature = "client")]
use super::connections::Connections;
use super::exchange::{AttemptHook, Core, ErrorHook};
use super::extras::{Extras, Provider};
use super::transport::{BoxFuture, Transport};
use crate::error::{Error, Result};
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
    pub(super) transport: Option<Arc<dyn Transport>>,
    request_timeout: Option<Duration>,
    #[cfg(feature = "client")]
    pub(super) connections: Connections,
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
            #[cfg(feature = "client")]
            connections: Connections::default(),
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

    /// What carries the requests of a client with these settings, for a transport that carries only some of them itself.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    #[cfg(feature = "client")]
    pub fn connections(&self) -> Result<Arc<dyn Transport>> {
        Ok(match &self.transport {
            Some(transport) => transport.clone(),
            None => Arc::new(self.connections.connect()?),
        })
    }

    /// Adds headers and parameters; they win over those that are there.
    pub fn extras(mut self, extras: &Extras) -> Self {
        self.extras = self.extras.merged(extras);
        self
    }

    /// How long one try of a single request may take. Default 30 s. Reads and producers have their own limits in
    /// their options.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = Some(limit);
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// `InvalidArgument` for a setting that cannot be used, naming it; `Internal` when TLS cannot be set up.
    pub fn build(self) -> Result<Client> {
        self.retry.validate()?;
        #[cfg(feature = "client")]
        let transport = self.connections()?;
        #[cfg(not(feature = "client"))]
        let Some(transport) = self.transport.clone() else {
            return Err(Error::invalid_argument("transport: there is none, and this build has none of its own"));
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
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("base_url", &self.base_url)
            .field("extras", &self.extras)
            .finish_non_exhaustive()
    }
}
