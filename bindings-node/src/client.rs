//! Connections, and what all handles of a client share.

use std::sync::Arc;

use everstream::{Client as CoreClient, ClientBuilder};
use napi::Env;
use napi_derive::napi;

use crate::error;
use crate::fetch::FetchTransport;
use crate::here::Here;
use crate::options::set_duration;
use crate::value::{Kept, Raw};

/// A pool of connections, or a `fetch` in its place.
#[napi]
pub struct Client {
    core: CoreClient,
    /// Carries short calls over plain `http:`.
    here: Option<Here>,
}

/// What connections are like.
#[napi(object)]
pub struct ConnectionOptions {
    pub base_url: Option<String>,
    pub connect_timeout: Option<f64>,
    /// PEM, beside those of the system.
    pub root_certificates: Option<String>,
    /// PEM of a client certificate and its key.
    pub identity: Option<String>,
    pub proxy: Option<String>,
    pub trust_env: Option<bool>,
    pub http2: Option<bool>,
    pub gzip: Option<bool>,
}

#[napi]
impl Client {
    /// `carry` sends requests in place of connections.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        options: ConnectionOptions,
        #[napi(ts_arg_type = "Carry | undefined | null")] carry: Raw,
    ) -> napi::Result<Self> {
        let mut connect_timeout = ClientBuilder::CONNECT_TIMEOUT;
        let mut builder = CoreClient::builder();
        if let Some(url) = options.base_url {
            builder = builder.base_url(url);
        }
        if carry.kind()? == napi::ValueType::Function {
            builder = builder.transport(Arc::new(FetchTransport::new(Kept::new(carry)?)));
        }
        if options.connect_timeout.is_some() {
            set_duration(env, "connectTimeout", options.connect_timeout, &mut connect_timeout)?;
            builder = builder.connect_timeout(connect_timeout);
        }
        if let Some(pem) = options.root_certificates {
            builder = builder.root_certificates_pem(pem);
        }
        if let Some(pem) = options.identity {
            builder = builder.identity_pem(pem);
        }
        if let Some(url) = options.proxy {
            builder = builder.proxy(url);
        }
        if options.trust_env == Some(false) {
            builder = builder.ignore_environment();
        }
        if options.http2 == Some(true) {
            builder = builder.http2_prior_knowledge();
        }
        if options.gzip == Some(true) {
            builder = builder.gzip();
        }
        let here = if builder.is_plain() { Here::of(env)? } else { None };
        if let Some(here) = &here {
            let elsewhere = builder.connections().map_err(|refused| error::throw(env, &refused))?;
            builder = builder.transport(here.transport(elsewhere, connect_timeout));
        }
        let core = builder.build().map_err(|refused| error::throw(env, &refused))?;
        Ok(Self { core, here })
    }
}

impl Client {
    pub(crate) fn core(&self) -> &CoreClient {
        &self.core
    }

    /// What carries short calls to this address, if not the runtime.
    pub(crate) fn here(&self, url: &str) -> Option<Here> {
        self.here.clone().filter(|_| url.starts_with("http:"))
    }
}
