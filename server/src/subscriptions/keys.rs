//! The keys of a server: one signs webhooks (S-HOOK-2 to 4), one makes tokens (S-LEASE-3).
//!
//! They are kept as JWKs in the internal stream `__ds/keys`, so that signatures and tokens outlive a restart. No request
//! can read it, it is in no listing, and secrets are in no log.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::journal::{create, read_all, unreadable};
use crate::engine::{Engine, EngineError};

const NAME: &str = "__ds/keys";

/// Signs webhooks and tokens.
pub(super) struct Keys {
    pair: Ed25519KeyPair,
    kid: String,
    /// All public keys (S-HOOK-4: old ones stay listed).
    public: Vec<Public>,
    tokens: hmac::Key,
}

#[derive(Clone)]
struct Public {
    kid: String,
    x: String,
}

/// A secret key, as it is kept: RFC 8037, RFC 7518 section 6.4.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kty")]
enum Secret {
    #[serde(rename = "OKP")]
    Signing { crv: String, d: String, x: String },
    #[serde(rename = "oct")]
    Tokens { k: String },
}

impl Keys {
    /// Reads the keys, or makes them at the first start.
    ///
    /// # Errors
    /// A failure of the storage, or keys that cannot be used.
    pub(super) async fn open(engine: &Engine) -> Result<Self, EngineError> {
        match read_all(engine, NAME).await {
            Err(EngineError::NotFound) => {
                let body = serde_json::to_vec(&new_secrets()?).map_err(|error| unreadable(NAME, error))?;
                create(engine, NAME, body.into()).await?;
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let secrets = read_all(engine, NAME).await?;
        let secrets: Result<Vec<Secret>, _> = secrets.iter().map(|text| serde_json::from_str(text.get())).collect();
        // The text of the error could quote the secret.
        Self::from_secrets(&secrets.map_err(|_| unreadable(NAME, "it holds no keys"))?)
    }

    /// The last key of each sort is the one that is used.
    fn from_secrets(secrets: &[Secret]) -> Result<Self, EngineError> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| unreadable(NAME, "a key is not base64url"));
        let (mut pair, mut tokens, mut public) = (None, None, Vec::new());
        for secret in secrets {
            match secret {
                Secret::Signing { d, x, .. } => {
                    let found = Ed25519KeyPair::from_seed_and_public_key(&bytes(d)?, &bytes(x)?);
                    pair = Some(found.map_err(|error| unreadable(NAME, error))?);
                    public.push(Public { kid: kid(x), x: x.clone() });
                }
                Secret::Tokens { k } => tokens = Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes(k)?)),
            }
        }
        match (pair, tokens, public.last()) {
            (Some(pair), Some(tokens), Some(last)) => Ok(Self { pair, kid: last.kid.clone(), public, tokens }),
            _ => Err(unreadable(NAME, "a key is missing")),
        }
    }

    /// The value of `Webhook-Signature` for a body that is sent at this second (S-HOOK-2).
    pub(super) fn sign(&self, seconds: u64, body: &[u8]) -> String {
        let message = [seconds.to_string().as_bytes(), b".", body].concat();
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(&message));
        format!("t={seconds},kid={},ed25519={signature}", self.kid)
    }

    /// The name of the key that signs.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The key of tokens.
    pub(super) fn tokens(&self) -> &hmac::Key {
        &self.tokens
    }

    /// The JWK set of S-HOOK-3.
    pub(super) fn jwks(&self) -> Value {
        let keys = self.public.iter().map(
            |key| json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": key.x}),
        );
        json!({ "keys": keys.collect::<Vec<_>>() })
    }
}

/// Derived from the key (S-HOOK-4): SHA-256 of the RFC 7638 thumbprint JSON.
fn kid(x: &str) -> String {
    let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    format!("ds_{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, thumbprint.as_bytes())))
}

fn new_secrets() -> Result<[Secret; 2], EngineError> {
    let random = || {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| unreadable(NAME, format!("no randomness: {error}")))?;
        Ok::<_, EngineError>(bytes)
    };
    let (seed, token) = (random()?, random()?);
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| unreadable(NAME, error))?;
    Ok([
        Secret::Signing {
            crv: "Ed25519".into(),
            d: URL_SAFE_NO_PAD.encode(seed),
            x: URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
        },
        Secret::Tokens { k: URL_SAFE_NO_PAD.encode(token) },
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn s_hook_4_the_key_is_named_by_its_rfc_7638_thumbprint() {
        // The key and the thumbprint of RFC 8037, appendix A.3.
        assert_eq!(
            kid("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            "ds_kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn s_hook_2_a_signature_is_that_of_the_second_a_dot_and_the_body() {
        // The key of RFC 8032, section 7.1, test 1; Ed25519 is deterministic, and the signature was made elsewhere.
        let secrets = [
            Secret::Signing {
                crv: "Ed25519".into(),
                d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A".into(),
                x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into(),
            },
            Secret::Tokens { k: "c2VjcmV0".into() },
        ];
        let keys = Keys::from_secrets(&secrets).unwrap();
        assert_eq!(keys.sign(1_700_000_000, br#"{"a":1}"#), EXPECTED);
        let public = &keys.jwks()["keys"][0];
        assert_eq!((&public["kty"], &public["crv"], &public["use"]), (&json!("OKP"), &json!("Ed25519"), &json!("sig")));
        assert_eq!((&public["alg"], &public["kid"]), (&json!("EdDSA"), &json!(keys.kid())));
        assert_eq!(public["d"], Value::Null);
    }

    const EXPECTED: &str = "t=1700000000,kid=ds_kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k,\
        ed25519=jsuVxkA_AkVTFzBCTKTrjAZaeCChaR-y9aS0q9WrZDC7D7BaCZ-tI8v_nvIZW79k7Z99rP9If7816GiGLgJABw";
}
