//! The access section of the configuration. Plain data, without secrets but for [`UrlKeyConfig::secret`].

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grants::Operation;
use super::policy::{Policy, PolicyError};
use super::token::TokenDigest;

/// Who may do what. Once access is checked, everything that no grant allows is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AccessConfig {
    /// Whether requests are checked at all. Default `auto`.
    pub mode: AccessMode,
    /// What anyone may do, without credentials. Default: nothing.
    pub anyone: Vec<GrantConfig>,
    /// Static bearer tokens. Default: none.
    pub tokens: Vec<TokenConfig>,
    /// JSON Web Tokens. Default: none are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtConfig>,
    /// Callers that a proxy has identified. Default: none are believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyConfig>,
    /// Client certificates, of those that TLS has verified. Default: none.
    pub certificates: Vec<CertificateConfig>,
    /// Keys of signed read URLs. Default: none.
    pub url_keys: Vec<UrlKeyConfig>,
}

/// Whether requests are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// They are if the configuration has any rule. Without a rule every request is served, and only on a loopback
    /// address: on any other one the server does not start, because nobody has said that everyone may come in.
    #[default]
    Auto,
    /// Every request is served.
    Off,
    /// They are.
    On,
}

impl AccessConfig {
    /// Whether requests are checked on a server that listens there.
    ///
    /// # Errors
    /// Nobody has said, and the address can be reached from other machines.
    pub fn is_on(&self, address: IpAddr) -> Result<bool, String> {
        match self.mode {
            AccessMode::Off => Ok(false),
            AccessMode::On => Ok(true),
            AccessMode::Auto if self.has_rules() => Ok(true),
            AccessMode::Auto if address.is_loopback() => Ok(false),
            AccessMode::Auto => Err(format!(
                "{address} can be reached from other machines, and no access rule is configured: configure [access], \
                 or say `--auth off` (`access.mode = \"off\"`) to let everyone read, write and delete"
            )),
        }
    }

    /// Reads the files that the configuration names, and makes it ready to decide.
    ///
    /// # Errors
    /// Says what cannot be read or used.
    pub fn load(&self) -> Result<Policy, PolicyError> {
        let jwks = match &self.jwt {
            None => None,
            Some(jwt) => {
                let text = std::fs::read_to_string(&jwt.jwks);
                Some(text.map_err(|error| {
                    PolicyError::new("access.jwt.jwks", format!("{} cannot be read: {error}", jwt.jwks.display()))
                })?)
            }
        };
        Policy::new(self, jwks.as_deref())
    }

    fn has_rules(&self) -> bool {
        let Self { mode: _, anyone, tokens, jwt, proxy, certificates, url_keys } = self;
        let has_lists = !(anyone.is_empty() && tokens.is_empty() && certificates.is_empty() && url_keys.is_empty());
        has_lists || jwt.is_some() || proxy.is_some()
    }
}

/// Operations on streams.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GrantConfig {
    /// Patterns of stream names, as [`Glob`](crate::glob::Glob) reads them. In the grants of a JWT `{claim}` stands for
    /// the text of that claim.
    pub streams: Vec<String>,
    /// What may be done with them.
    pub allow: Vec<Operation>,
}

/// A static bearer token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// What it is called in logs.
    pub name: String,
    /// Its digest, as `everstream token` prints it.
    pub sha256: TokenDigest,
    /// What whoever has it may do.
    pub grants: Vec<GrantConfig>,
}

/// JSON Web Tokens with signatures of RS256, ES256 or EdDSA.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The file of the public keys, a JWK set. It is read again when it has changed.
    pub jwks: PathBuf,
    /// `iss` must be one of these.
    pub issuers: Vec<String>,
    /// `aud` must have one of these.
    pub audiences: Vec<String>,
    /// How far clocks may be apart, in seconds. Default 60.
    #[serde(default = "JwtConfig::default_leeway")]
    pub leeway_seconds: u64,
    /// What every accepted token allows. Default: nothing.
    #[serde(default)]
    pub grants: Vec<GrantConfig>,
    /// A claim that holds more grants, in the form of this list. Default: none is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants_claim: Option<String>,
}

impl JwtConfig {
    fn default_leeway() -> u64 {
        60
    }

    pub(super) fn leeway(&self) -> Duration {
        Duration::from_secs(self.leeway_seconds)
    }
}

/// Callers that a proxy of `server.trusted_proxies` has identified, and names in a header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// The header with the name, such as `X-Forwarded-User`. From any other peer it means nothing. The proxy must take
    /// away what clients send under this name.
    pub user_header: String,
    /// What they may do; `{user}` in a pattern is the name.
    pub grants: Vec<GrantConfig>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// A name that it holds: a DNS name, URI or mail address that it is for, or its whole subject, such as
    /// `CN=shop-1, O=Example`.
    pub name: String,
    /// What whoever has it may do.
    pub grants: Vec<GrantConfig>,
}

/// A key of signed read URLs.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UrlKeyConfig {
    /// What it is called in URLs and logs.
    pub id: String,
    /// The key, as `everstream token` makes it.
    #[serde(skip_serializing)]
    pub secret: String,
    /// The streams whose URLs may be signed with it, as patterns. Default: all.
    #[serde(default = "UrlKeyConfig::all")]
    pub streams: Vec<String>,
}

impl UrlKeyConfig {
    fn all() -> Vec<String> {
        vec!["**".to_owned()]
    }
}

impl fmt::Debug for UrlKeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlKeyConfig").field("id", &self.id).field("streams", &self.streams).finish_non_exhaustive()
    }
}
