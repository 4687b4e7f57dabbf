//! What the caller adds to requests: headers and query parameters, fixed or asked for anew each time (C-REQ-5, C-REQ-6).

use std::fmt;
use std::sync::Arc;

use super::transport::BoxFuture;
use crate::error::{Error, Result};
use crate::headers::{HeaderMap, HeaderName, HeaderValue};
use crate::proto::object::quoted;

/// Makes a value for one try of one request.
pub type Provider = Arc<dyn Fn() -> BoxFuture<Result<String>> + Send + Sync>;

/// Headers and query parameters of a client, a stream or a call. Later ones replace earlier ones of the same name.
#[derive(Clone, Default)]
pub struct Extras {
    headers: Vec<(HeaderName, Value)>,
    params: Vec<(String, Value)>,
}

#[derive(Clone)]
enum Value {
    Fixed(String),
    Asked(Provider),
}

impl Value {
    async fn resolve(&self) -> Result<String> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Asked(provider) => provider().await,
        }
    }
}

impl Extras {
    /// No headers and parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header with a fixed value.
    ///
    /// # Errors
    /// `InvalidArgument` for a name or value that no header can have; the value is not shown.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Result<Self> {
        let value = value.into();
        header_value(name, &value)?;
        self.set_header(name, Value::Fixed(value))?;
        Ok(self)
    }

    /// Adds a header whose value is asked for anew for each try of each request, so that a refreshed token is used.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that no header can have.
    pub fn header_provider(mut self, name: &str, provider: Provider) -> Result<Self> {
        self.set_header(name, Value::Asked(provider))?;
        Ok(self)
    }

    /// Adds a query parameter with a fixed value.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set_param(name.into(), Value::Fixed(value.into()));
        self
    }

    /// Adds a query parameter whose value is asked for anew for each try of each request.
    #[must_use]
    pub fn param_provider(mut self, name: impl Into<String>, provider: Provider) -> Self {
        self.set_param(name.into(), Value::Asked(provider));
        self
    }

    /// These, and over them `other`, whose values win.
    #[must_use]
    pub(super) fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for (name, value) in &other.headers {
            merged.headers.retain(|(own, _)| own != name);
            merged.headers.push((name.clone(), value.clone()));
        }
        for (name, value) in &other.params {
            merged.set_param(name.clone(), value.clone());
        }
        merged
    }

    /// Asks every provider once. The protocol's own headers are added later and win (C-REQ-5).
    pub(super) async fn resolve(&self) -> Result<(HeaderMap, Vec<(String, String)>)> {
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 4);
        for (name, value) in &self.headers {
            let value = header_value(name.as_str(), &value.resolve().await?)?;
            headers.insert(name, value);
        }
        let mut params = Vec::with_capacity(self.params.len());
        for (name, value) in &self.params {
            params.push((name.clone(), value.resolve().await?));
        }
        Ok((headers, params))
    }

    fn set_header(&mut self, name: &str, value: Value) -> Result<()> {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("headers: {} is not a header name", quoted(name)))
            .map_err(Error::invalid_argument)?;
        self.headers.retain(|(own, _)| *own != name);
        self.headers.push((name, value));
        Ok(())
    }

    fn set_param(&mut self, name: String, value: Value) {
        self.params.retain(|(own, _)| *own != name);
        self.params.push((name, value));
    }
}

/// A header value that no `Debug` output shows.
fn header_value(name: &str, value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        Error::invalid_argument(format!("headers: the value of {name} has characters no header can hold"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let params: Vec<&str> = self.params.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Extras").field("headers", &headers).field("params", &params).finish_non_exhaustive()
    }
}
