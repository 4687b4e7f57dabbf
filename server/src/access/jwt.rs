//! JSON Web Tokens (RFC 7519) with keys of a JWK set (RFC 7517).
//!
//! Each key verifies one algorithm, that of its type: RSA RS256, P-256 ES256, Ed25519 EdDSA. What a token says about its
//! algorithm can therefore only be wrong, not chosen. `exp`, `iss` and `aud` must be there.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::Mutex;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::caller::{Caller, Refusal};
use super::config::{GrantConfig, JwtConfig};
use super::grants::{Grant, Grants};
use super::policy::{PolicyError, grants};
use super::ring_provider;
use super::token::TokenDigest;

/// What accepts tokens.
pub(super) struct JwtVerifier {
    keys: ArcSwap<KeySet>,
    validation: Validation,
    grants: Vec<Grant>,
    grants_claim: Option<String>,
}

#[derive(Default)]
struct KeySet {
    by_id: HashMap<String, Key>,
    /// Without a `kid`: only tokens without one may use them.
    nameless: Vec<Key>,
    /// With the keys, so that it ends with them.
    verified: Verified,
}

/// Tokens that were accepted: a client sends the same one with every request, and checking a signature takes longer than
/// many a request.
#[derive(Default)]
struct Verified(Mutex<HashMap<[u8; 32], (Caller, u64)>>);

impl Verified {
    /// More are not kept; when there are so many, all are forgotten.
    const MOST: usize = 4096;

    fn find(&self, token: &TokenDigest, now: u64) -> Option<Caller> {
        let verified = self.0.lock();
        let (caller, until) = verified.get(&token.bytes())?;
        (now <= *until).then(|| caller.clone())
    }

    /// Keeps a token that is good up to and including `until`.
    fn keep(&self, token: &TokenDigest, caller: Caller, until: u64) {
        let mut verified = self.0.lock();
        if verified.len() >= Self::MOST {
            verified.clear();
        }
        verified.insert(token.bytes(), (caller, until));
    }
}

struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier {
    pub(super) fn new(config: &JwtConfig, jwks: &str) -> Result<Self, PolicyError> {
        if config.issuers.is_empty() || config.audiences.is_empty() {
            return Err(PolicyError::new(
                "access.jwt",
                "issuers and audiences must be given: a token that was made for somebody else must not be accepted",
            ));
        }
        ring_provider::install();
        let mut validation = Validation::default();
        validation.set_issuer(&config.issuers);
        validation.set_audience(&config.audiences);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = config.leeway().as_secs();
        Ok(Self {
            keys: ArcSwap::from_pointee(KeySet::parse(jwks)?),
            validation,
            grants: grants("access.jwt", &config.grants)?,
            grants_claim: config.grants_claim.clone(),
        })
    }

    /// From here on other keys count.
    pub(super) fn replace_keys(&self, jwks: &str) -> Result<(), PolicyError> {
        self.keys.store(Arc::new(KeySet::parse(jwks)?));
        Ok(())
    }

    pub(super) fn identify(&self, token: &str) -> Result<Caller, Refusal> {
        let keys = self.keys.load();
        let digest = TokenDigest::of(token);
        if let Some(caller) = keys.verified.find(&digest, jsonwebtoken::get_current_timestamp()) {
            return Ok(caller);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Invalid("malformed token"))?;
        let candidates = match &header.kid {
            Some(kid) => keys.by_id.get(kid).map_or(&[][..], std::slice::from_ref),
            None if keys.nameless.is_empty() && keys.by_id.len() == 1 => {
                keys.by_id.values().next().map_or(&[][..], std::slice::from_ref)
            }
            None => &keys.nameless,
        };
        let mut refusal = Refusal::Invalid("signed with an unknown key");
        for key in candidates.iter().filter(|key| key.algorithm == header.alg) {
            let mut validation = self.validation.clone();
            validation.algorithms = vec![key.algorithm];
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation) {
                Ok(token) => {
                    let caller = self.caller(&token.claims);
                    if let Some(expires) = token.claims.get("exp").and_then(Value::as_u64) {
                        let until = expires.saturating_add(self.validation.leeway);
                        keys.verified.keep(&digest, caller.clone(), until);
                    }
                    return Ok(caller);
                }
                Err(error) => refusal = refused(error.kind()),
            }
        }
        Err(refusal)
    }

    fn caller(&self, claims: &Map<String, Value>) -> Caller {
        let mut granted: Vec<Grant> = self.grants.iter().filter_map(|grant| filled(grant, claims)).collect();
        // What is no list of grants grants nothing.
        let claimed = self.grants_claim.as_ref().and_then(|claim| claims.get(claim));
        if let Some(claimed) = claimed
            && let Ok(claimed) = Vec::<GrantConfig>::deserialize(claimed)
            && let Ok(claimed) = grants("token", &claimed)
        {
            granted.extend(claimed);
        }
        let name = claims.get("sub").and_then(Value::as_str).unwrap_or("jwt");
        Caller::known(name.into(), Grants(granted.into()))
    }
}

fn refused(kind: &ErrorKind) -> Refusal {
    Refusal::Invalid(match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidSignature => "the signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks exp, iss or aud",
        _ => "malformed token",
    })
}

/// The grant with the claims of a token in it; `None` when a claim is missing or could not be a part of one segment.
pub(super) fn filled(grant: &Grant, claims: &Map<String, Value>) -> Option<Grant> {
    let pattern = grant.pattern.map_literals(|literal| fill(literal, claims))?;
    Some(Grant { pattern, operations: grant.operations })
}

fn fill(literal: &str, claims: &Map<String, Value>) -> Option<String> {
    let mut filled = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some((before, after)) = rest.split_once('{') {
        let (claim, after) = after.split_once('}')?;
        let value = claims.get(claim)?.as_str()?;
        if value.is_empty() || value.contains('/') {
            return None;
        }
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

impl KeySet {
    /// Reads a JWK set. Keys that are not for verifying, or of a kind that is not known here, are left out.
    fn parse(jwks: &str) -> Result<Self, PolicyError> {
        let refused = |why: String| PolicyError::new("access.jwt.jwks", why);
        let set: Value = serde_json::from_str(jwks).map_err(|error| refused(format!("is no JSON: {error}")))?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or_else(|| refused("has no list `keys`".to_owned()))?;
        let mut parsed = Self::default();
        for jwk in keys.iter().filter_map(|key| Jwk::deserialize(key).ok()) {
            let Some(key) = Key::new(&jwk) else { continue };
            match jwk.common.key_id {
                Some(id) => {
                    if parsed.by_id.insert(id.clone(), key).is_some() {
                        return Err(refused(format!("has two keys with the kid `{id}`")));
                    }
                }
                None => parsed.nameless.push(key),
            }
        }
        if parsed.by_id.is_empty() && parsed.nameless.is_empty() {
            return Err(refused("has no key for RS256, ES256 or EdDSA".to_owned()));
        }
        Ok(parsed)
    }
}

impl Key {
    fn new(jwk: &Jwk) -> Option<Self> {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
            // A symmetric key would let whoever verifies sign as well.
            _ => return None,
        };
        let is_for_signatures =
            jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let named = jwk.common.key_algorithm;
        let is_for_this = named.is_none_or(|named| Algorithm::try_from(named).is_ok_and(|named| named == algorithm));
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (is_for_signatures && is_for_this).then_some(Self { algorithm, key })
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
