//! The keys of a server: one signs webhooks (S-HOOK-2 to 4), one makes tokens (S-LEASE-3).
//!
//! They are kept as JWKs in the internal stream `__ds/keys`, so that signatures and tokens outlive a restart. No request
//! can read it, it is in no listing, and secrets are in no log.
//!
//! A rotation appends a key, which signs from then on. It says how long those before it stay listed: receivers keep what
//! they have fetched, and may look at a webhook late.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::journal::{create, read_all, unreadable};
use crate::clock::Millis;
use crate::engine::{Append, Engine, EngineError};

const NAME: &str = "__ds/keys";

/// Signs webhooks and tokens.
pub(super) struct Keys {
    signing: ArcSwap<Signing>,
    tokens: hmac::Key,
    /// One rotation at a time.
    rotating: tokio::sync::Mutex<()>,
}

/// The keys of webhooks.
struct Signing {
    pair: Ed25519KeyPair,
    /// The last one signs; those before it stay listed for a while (S-HOOK-4).
    public: Vec<Public>,
}

#[derive(Clone)]
struct Public {
    kid: String,
    x: String,
    made_at: Millis,
    /// How long those before it stay listed once this one is there.
    overlap: Millis,
}

/// A secret key, as it is kept: RFC 8037, RFC 7518 section 6.4.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kty")]
enum Secret {
    #[serde(rename = "OKP")]
    Signing {
        crv: String,
        d: String,
        x: String,
        #[serde(default)]
        made_at: Millis,
        #[serde(default)]
        overlap_ms: Millis,
    },
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
                let secrets = [new_signing(engine.clock().now(), 0)?, new_tokens()?];
                create(engine, NAME, encode(&secrets)?).await?;
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
        let (mut signing, mut tokens) = (None, None);
        for secret in secrets {
            match secret {
                Secret::Signing { .. } => signing = Some(Signing::with(signing.as_ref(), secret)?),
                Secret::Tokens { k } => tokens = Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes(k)?)),
            }
        }
        match (signing, tokens) {
            (Some(signing), Some(tokens)) => {
                Ok(Self { signing: ArcSwap::from_pointee(signing), tokens, rotating: tokio::sync::Mutex::default() })
            }
            _ => Err(unreadable(NAME, "a key is missing")),
        }
    }

    /// Makes a new key, which signs from here on; those before it stay listed for `overlap`. Durable when it returns.
    ///
    /// # Errors
    /// A failure of the storage: then it is not known which key signs after the next start, and until then the old one
    /// does. Both are listed after it.
    pub(super) async fn rotate(&self, engine: &Engine, overlap: Duration) -> Result<(), EngineError> {
        let _alone = self.rotating.lock().await;
        let overlap = Millis::try_from(overlap.as_millis()).unwrap_or(Millis::MAX);
        let secret = new_signing(engine.clock().now(), overlap)?;
        let signing = Signing::with(Some(&self.signing.load()), &secret)?;
        let stream = engine.stream(NAME).await?;
        stream.append(Append::new("application/json", encode(&[secret])?)).await?;
        self.signing.store(Arc::new(signing));
        Ok(())
    }

    /// The value of `Webhook-Signature` for a body that is sent at this second (S-HOOK-2).
    pub(super) fn sign(&self, seconds: u64, body: &[u8]) -> String {
        let signing = self.signing.load();
        let message = [seconds.to_string().as_bytes(), b".", body].concat();
        let signature = URL_SAFE_NO_PAD.encode(signing.pair.sign(&message));
        format!("t={seconds},kid={},ed25519={signature}", signing.kid())
    }

    /// The name of the key that signs.
    pub(super) fn kid(&self) -> String {
        self.signing.load().kid().to_owned()
    }

    /// The key of tokens.
    pub(super) fn tokens(&self) -> &hmac::Key {
        &self.tokens
    }

    /// The JWK set of S-HOOK-3: the key that signs first.
    pub(super) fn jwks(&self, now: Millis) -> Value {
        let signing = self.signing.load();
        let keys = signing.listed(now).map(
            |key| json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": key.x}),
        );
        json!({ "keys": keys.collect::<Vec<_>>() })
    }
}

impl Signing {
    /// These keys and one more, which signs.
    fn with(before: Option<&Self>, secret: &Secret) -> Result<Self, EngineError> {
        let Secret::Signing { d, x, made_at, overlap_ms, .. } = secret else {
            return Err(unreadable(NAME, "a key is of another sort"));
        };
        let pair = Ed25519KeyPair::from_seed_and_public_key(&bytes(d)?, &bytes(x)?);
        let mut public = before.map(|before| before.public.clone()).unwrap_or_default();
        public.push(Public { kid: kid(x), x: x.clone(), made_at: *made_at, overlap: *overlap_ms });
        Ok(Self { pair: pair.map_err(|error| unreadable(NAME, error))?, public })
    }

    fn kid(&self) -> &str {
        // There is one more than there were.
        self.public.last().map_or("", |key| &key.kid)
    }

    /// What receivers may still believe, newest first. A rotation without overlap ends all keys before it.
    fn listed(&self, now: Millis) -> impl Iterator<Item = &Public> {
        let mut end = Millis::MAX;
        self.public.iter().rev().take_while(move |key| {
            let is_listed = now < end;
            end = end.min(key.made_at.saturating_add(key.overlap));
            is_listed
        })
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, EngineError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| unreadable(NAME, "a key is not base64url"))
}

/// Derived from the key (S-HOOK-4): SHA-256 of the RFC 7638 thumbprint JSON.
fn kid(x: &str) -> String {
    let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    format!("ds_{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, thumbprint.as_bytes())))
}

fn new_signing(made_at: Millis, overlap_ms: Millis) -> Result<Secret, EngineError> {
    let seed = random()?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| unreadable(NAME, error))?;
    Ok(Secret::Signing {
        crv: "Ed25519".into(),
        d: URL_SAFE_NO_PAD.encode(seed),
        x: URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
        made_at,
        overlap_ms,
    })
}

fn new_tokens() -> Result<Secret, EngineError> {
    Ok(Secret::Tokens { k: URL_SAFE_NO_PAD.encode(random()?) })
}

fn random() -> Result<[u8; 32], EngineError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| unreadable(NAME, format!("no randomness: {error}")))?;
    Ok(bytes)
}

fn encode(secrets: &[Secret]) -> Result<Bytes, EngineError> {
    serde_json::to_vec(secrets).map(Bytes::from).map_err(|error| unreadable(NAME, error))
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
                made_at: 0,
                overlap_ms: 0,
            },
            Secret::Tokens { k: "c2VjcmV0".into() },
        ];
        let keys = Keys::from_secrets(&secrets).unwrap();
        assert_eq!(keys.sign(1_700_000_000, br#"{"a":1}"#), EXPECTED);
        let public = &keys.jwks(0)["keys"][0];
        assert_eq!((&public["kty"], &public["crv"], &public["use"]), (&json!("OKP"), &json!("Ed25519"), &json!("sig")));
        assert_eq!((&public["alg"], &public["kid"]), (&json!("EdDSA"), &json!(keys.kid())));
        assert_eq!(public["d"], Value::Null);
    }

    #[test]
    fn s_hook_4_a_key_stays_listed_as_long_as_the_next_one_says() {
        let secrets = [new_signing(0, 0), new_tokens(), new_signing(100, 50), new_signing(200, 1000)];
        let keys = Keys::from_secrets(&secrets.map(Result::unwrap)).unwrap();
        let listed = |now| keys.jwks(now)["keys"].as_array().unwrap().len();
        assert_eq!((listed(149), listed(150), listed(1199), listed(1200)), (3, 2, 2, 1));
        assert_eq!(keys.jwks(0)["keys"][0]["kid"], keys.kid());
        let secrets = [new_signing(0, 0), new_tokens(), new_signing(100, 5000), new_signing(200, 0)];
        let keys = Keys::from_secrets(&secrets.map(Result::unwrap)).unwrap();
        assert_eq!(keys.jwks(200)["keys"].as_array().unwrap().len(), 1, "a leaked key is ended at once");
    }

    #[test]
    fn keys_of_a_server_that_could_not_rotate_are_read() {
        let stored = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let secrets = [serde_json::from_str(stored).unwrap(), new_tokens().unwrap(), new_signing(9, 5).unwrap()];
        let keys = Keys::from_secrets(&secrets).unwrap();
        assert_eq!(keys.jwks(13)["keys"].as_array().unwrap().len(), 2);
    }

    const EXPECTED: &str = "t=1700000000,kid=ds_kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k,\
        ed25519=jsuVxkA_AkVTFzBCTKTrjAZaeCChaR-y9aS0q9WrZDC7D7BaCZ-tI8v_nvIZW79k7Z99rP9If7816GiGLgJABw";
}
