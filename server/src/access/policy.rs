//! The configuration, checked and ready to decide.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::caller::{Caller, Credentials, Refusal};
use super::config::{AccessConfig, GrantConfig};
use super::grants::{Grant, Grants, Operation};
use super::jwt::JwtVerifier;
use super::proxy::ProxyUsers;
use super::signed_url::{Parts, Signature, UrlKey};
use super::token::TokenTable;
use crate::glob::Glob;

/// Turns credentials into callers.
pub struct Policy {
    anyone: Grants,
    tokens: TokenTable<Caller>,
    jwt: Option<JwtVerifier>,
    proxy: Option<ProxyUsers>,
    certificates: Vec<(String, Caller)>,
    url_keys: Vec<(UrlKey, Vec<Glob>)>,
}

impl Policy {
    /// Checks a configuration. `jwks` is the text of the file that [`JwtConfig::jwks`](super::JwtConfig) names.
    ///
    /// # Errors
    /// Says which part cannot be used, and why.
    pub fn new(config: &AccessConfig, jwks: Option<&str>) -> Result<Self, PolicyError> {
        let mut known = HashSet::new();
        let mut tokens = Vec::with_capacity(config.tokens.len());
        for token in &config.tokens {
            let place = format!("token `{}`", token.name);
            if token.name.is_empty() || !known.insert(token.sha256.to_string()) {
                return Err(PolicyError::new(&place, "needs a name, and a digest of its own"));
            }
            let grants = Grants(grants(&place, &token.grants)?.into());
            tokens.push((token.sha256, Caller::known(token.name.as_str().into(), grants)));
        }
        let jwt = match (&config.jwt, jwks) {
            (Some(jwt), Some(jwks)) => Some(JwtVerifier::new(jwt, jwks)?),
            (Some(_), None) => return Err(PolicyError::new("access.jwt.jwks", "was not read")),
            (None, _) => None,
        };
        let mut certificates = Vec::with_capacity(config.certificates.len());
        for certificate in &config.certificates {
            let grants = Grants(grants(&format!("certificate `{}`", certificate.name), &certificate.grants)?.into());
            let caller = Caller::known(certificate.name.as_str().into(), grants);
            certificates.push((certificate.name.clone(), caller));
        }
        let mut url_keys = Vec::with_capacity(config.url_keys.len());
        for key in &config.url_keys {
            let place = format!("URL key `{}`", key.id);
            let patterns = globs(&place, &key.streams)?;
            let key = UrlKey::new(&key.id, &key.secret).map_err(|why| PolicyError::new(&place, why))?;
            url_keys.push((key, patterns));
        }
        Ok(Self {
            anyone: Grants(grants("access.anyone", &config.anyone)?.into()),
            tokens: tokens.into_iter().collect(),
            jwt,
            proxy: config.proxy.as_ref().map(ProxyUsers::new).transpose()?,
            certificates,
            url_keys,
        })
    }

    /// Takes other keys of JWT into use. On an error the keys from before stay.
    ///
    /// # Errors
    /// The text is no JWK set with a key that can be used.
    pub fn replace_jwks(&self, jwks: &str) -> Result<(), PolicyError> {
        self.jwt.as_ref().map_or(Ok(()), |jwt| jwt.replace_keys(jwks))
    }

    /// The header in which a trusted proxy names the caller, if one may.
    pub fn user_header(&self) -> Option<&HeaderName> {
        self.proxy.as_ref().map(ProxyUsers::header)
    }

    /// Finds out who asks. `now` is in seconds since the Unix epoch. (The times of JWT are checked by the system's clock.)
    ///
    /// A bearer token counts before a name by a proxy, that before a certificate, and that before a signed URL.
    ///
    /// # Errors
    /// [`Refusal::Invalid`]: credentials that are wrong are refused even where anyone may come in, so that nobody takes
    /// them for good ones.
    pub fn identify(&self, credentials: Credentials<'_>, now: u64) -> Result<Caller, Refusal> {
        if let Some(token) = credentials.bearer {
            return self.by_token(token);
        }
        if let (Some(user), Some(proxy)) = (credentials.user, &self.proxy) {
            return proxy.identify(user);
        }
        if let Some(certificate) = credentials.certificate {
            let is_it = |known: &String| *known == certificate.subject || certificate.names.contains(known);
            let known = self.certificates.iter().find(|(known, _)| is_it(known));
            if let Some((_, caller)) = known {
                return Ok(caller.clone());
            }
        }
        if let Some(signature) = credentials.signed_url
            && !self.url_keys.is_empty()
        {
            return self.by_url(signature, now);
        }
        Ok(Caller::anyone(self.anyone.clone()))
    }

    fn by_token(&self, token: &str) -> Result<Caller, Refusal> {
        if let Some(caller) = self.tokens.find(token) {
            return Ok(caller.clone());
        }
        match &self.jwt {
            Some(jwt) if token.contains('.') => jwt.identify(token),
            _ => Err(Refusal::Invalid("unknown token")),
        }
    }

    fn by_url(&self, signature: Signature<'_>, now: u64) -> Result<Caller, Refusal> {
        let parts = Parts::parse(signature.value)?;
        let key = self.url_keys.iter().find(|(key, _)| key.id() == parts.key);
        let (key, patterns) = key.ok_or(Refusal::Invalid("signed with an unknown key"))?;
        key.verify(parts, signature.stream, now)?;
        if !patterns.iter().any(|pattern| pattern.matches(signature.stream)) {
            return Err(Refusal::Forbidden);
        }
        let pattern = Glob::exactly(signature.stream);
        let grant = Grant { pattern, operations: std::iter::once(Operation::Read).collect() };
        Ok(Caller::known(format!("url:{}", key.id()).into(), Grants(Arc::new([grant]))))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").finish_non_exhaustive()
    }
}

/// Reads grants. `place` says where they stand.
pub(super) fn grants(place: &str, configs: &[GrantConfig]) -> Result<Vec<Grant>, PolicyError> {
    let mut grants = Vec::new();
    for config in configs {
        for pattern in globs(place, &config.streams)? {
            grants.push(Grant { pattern, operations: config.allow.iter().copied().collect() });
        }
    }
    Ok(grants)
}

fn globs(place: &str, patterns: &[String]) -> Result<Vec<Glob>, PolicyError> {
    let parse = |text: &String| {
        text.parse().map_err(|error| PolicyError::new(place, format!("the pattern `{text}` cannot be used: {error}")))
    };
    patterns.iter().map(parse).collect()
}

/// Why a configuration of access cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    place: String,
    why: String,
}

impl PolicyError {
    pub(super) fn new(place: &str, why: impl Into<String>) -> Self {
        Self { place: place.to_owned(), why: why.into() }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access: {}: {}", self.place, self.why)
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
