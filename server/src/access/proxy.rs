//! Callers that a trusted proxy has identified, and names in a header.

use http::HeaderName;
use serde_json::{Map, Value};

use super::caller::{Caller, Refusal};
use super::config::ProxyConfig;
use super::grants::{Grant, Grants};
use super::jwt::filled;
use super::policy::{PolicyError, grants};

/// More is no name.
const LONGEST: usize = 256;

/// Knows callers by the name that a proxy gives them.
pub(super) struct ProxyUsers {
    header: HeaderName,
    grants: Vec<Grant>,
}

impl ProxyUsers {
    pub(super) fn new(config: &ProxyConfig) -> Result<Self, PolicyError> {
        let header = config.user_header.parse();
        let header = header.map_err(|_| PolicyError::new("access.proxy.user_header", "is no name of a header"))?;
        Ok(Self { header, grants: grants("access.proxy", &config.grants)? })
    }

    pub(super) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// # Errors
    /// It is no name that a log could show.
    pub(super) fn identify(&self, user: &str) -> Result<Caller, Refusal> {
        if user.is_empty() || user.len() > LONGEST || user.chars().any(char::is_control) {
            return Err(Refusal::Invalid("the proxy gave no proper name"));
        }
        let claims = Map::from_iter([("user".to_owned(), Value::from(user))]);
        // A name with a slash gets no grant that its name is a part of.
        let granted: Vec<Grant> = self.grants.iter().filter_map(|grant| filled(grant, &claims)).collect();
        Ok(Caller::known(user.into(), Grants(granted.into())))
    }
}
