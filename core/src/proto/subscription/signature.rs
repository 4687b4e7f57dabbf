//! Is a webhook from the server? (S-HOOK-2, S-HOOK-3, C-HOOK-1)
//!
//! The signature is checked over the raw body before anything in the body is believed. Time is an argument, and keys are
//! fetched by whoever can: a [`KeySet`] says which key it lacks.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, ED25519_PUBLIC_KEY_LEN, UnparsedPublicKey};
use serde::Deserialize;

use super::Wake;
use crate::error::{Error, ErrorKind, Result};

/// The header with the signature (S-HOOK-2).
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How old or how far ahead a signature may be: longer than clocks differ, too short to replay much (C-HOOK-1).
pub const SIGNATURE_TOLERANCE: Duration = Duration::from_secs(300);

/// The public keys of a server, by `kid`.
#[derive(Clone, Default)]
pub struct KeySet(BTreeMap<String, [u8; ED25519_PUBLIC_KEY_LEN]>);

impl KeySet {
    /// Reads a JWK set (S-HOOK-3). Keys of other types are left out.
    ///
    /// # Errors
    /// `Parse` when it is no JWK set, or has no Ed25519 key.
    pub fn from_jwks(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Jwk>,
        }
        #[derive(Deserialize)]
        struct Jwk {
            kty: String,
            crv: Option<String>,
            kid: Option<String>,
            x: Option<String>,
        }
        let set: Jwks = serde_json::from_slice(json)
            .map_err(|error| Error::new(ErrorKind::Parse, format!("no JWK set: {error}")).with_source(error))?;
        let keys = set.keys.into_iter().filter_map(|key| {
            let is_ed25519 = key.kty == "OKP" && key.crv.as_deref() == Some("Ed25519");
            let x = URL_SAFE_NO_PAD.decode(key.x.filter(|_| is_ed25519)?).ok()?;
            Some((key.kid?, x.try_into().ok()?))
        });
        let keys: BTreeMap<_, _> = keys.collect();
        match keys.is_empty() {
            true => Err(Error::new(ErrorKind::Parse, "the JWK set has no Ed25519 key with a kid")),
            false => Ok(Self(keys)),
        }
    }

    /// Whether a key is there.
    pub fn has(&self, kid: &str) -> bool {
        self.0.contains_key(kid)
    }

    /// The content of a webhook, if its signature is good at `now`, the time since 1970.
    ///
    /// # Errors
    /// `InvalidSignature` when it must not be believed: answer 401. `Parse` when the genuine body is no wake.
    pub fn verify(&self, signature: &Signature, body: &[u8], now: Duration, tolerance: Duration) -> Result<Wake> {
        let key = self.0.get(&signature.kid).ok_or_else(|| refused(format!("no key is named {:?}", signature.kid)))?;
        let signed = [signature.seconds.to_string().as_bytes(), b".", body].concat();
        UnparsedPublicKey::new(&ED25519, key)
            .verify(&signed, &signature.bytes)
            .map_err(|_| refused("the signature does not fit the body"))?;
        // After the signature: then it is the server's time, and not anyone's.
        if now.abs_diff(Duration::from_secs(signature.seconds)) > tolerance {
            return Err(refused("the signature is too old, or from the future"));
        }
        Wake::from_json(body)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The header `Webhook-Signature`: `t=<seconds>,kid=<key>,ed25519=<base64url>` (S-HOOK-2).
#[derive(Clone, Debug)]
pub struct Signature {
    seconds: u64,
    kid: String,
    bytes: Vec<u8>,
}

impl Signature {
    /// Takes the header apart.
    ///
    /// # Errors
    /// `InvalidSignature` when it is not of this form.
    pub fn parse(header: &str) -> Result<Self> {
        let malformed = || refused("the header Webhook-Signature is missing or malformed");
        let mut parts = header.trim().splitn(3, ',');
        let mut part = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix('=');
        let (seconds, kid, bytes) = (part("t"), part("kid"), part("ed25519"));
        let seconds = seconds.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
        Ok(Self {
            seconds: seconds.and_then(|it| it.parse().ok()).ok_or_else(malformed)?,
            kid: kid.filter(|kid| !kid.is_empty()).ok_or_else(malformed)?.to_owned(),
            bytes: bytes.and_then(|it| URL_SAFE_NO_PAD.decode(it).ok()).ok_or_else(malformed)?,
        })
    }

    /// The key that is said to have made it.
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

fn refused(why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidSignature, format!("the webhook is not known to be from the server: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::Ed25519KeyPair;

    // The key of RFC 8032, section 7.1, test 1.
    const D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const AT: u64 = 1_700_000_000;
    const BODY: &str = r#"{"subscription_id":"s","wake_id":"w","generation":3,"callback_url":"http://h/c","callback_token":"t",
        "streams":[{"path":"a","link_type":"glob","acked_offset":"-1","tail_offset":"7","has_pending":true}]}"#;

    fn keys() -> KeySet {
        let jwks =
            format!(r#"{{"keys":[{{"kty":"RSA","n":"x"}},{{"kty":"OKP","crv":"Ed25519","kid":"ds_1","x":"{X}"}}]}}"#);
        KeySet::from_jwks(jwks.as_bytes()).unwrap()
    }

    fn signed(body: &str) -> String {
        let decode = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
        let pair = Ed25519KeyPair::from_seed_and_public_key(&decode(D), &decode(X)).unwrap();
        let signature = pair.sign(format!("{AT}.{body}").as_bytes());
        format!("t={AT},kid=ds_1,ed25519={}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn verify(header: &str, body: &str, now: u64) -> Result<Wake> {
        keys().verify(&Signature::parse(header)?, body.as_bytes(), Duration::from_secs(now), SIGNATURE_TOLERANCE)
    }

    #[test]
    fn c_hook_1_a_genuine_webhook_is_read_and_shows_no_token() {
        let wake = verify(&signed(BODY), BODY, AT + 300).unwrap();
        assert_eq!((wake.subscription_id.as_str(), wake.generation), ("s", 3));
        assert_eq!(wake.streams[0].tail_offset.as_ref().unwrap().as_str(), "7");
        assert!(!format!("{wake:?}").contains("callback_token"));
    }

    #[test]
    fn s_hook_2_the_servers_own_signature_is_accepted() {
        // Made by the server's code, in `server/src/subscriptions/keys.rs`, over a body that is no wake.
        let header = "t=1700000000,kid=ds_1,\
            ed25519=jsuVxkA_AkVTFzBCTKTrjAZaeCChaR-y9aS0q9WrZDC7D7BaCZ-tI8v_nvIZW79k7Z99rP9If7816GiGLgJABw";
        assert_eq!(verify(header, r#"{"a":1}"#, AT).unwrap_err().code(), "PARSE_ERROR");
    }

    #[test]
    fn c_hook_1_what_was_changed_or_is_old_is_refused() {
        let good = signed(BODY);
        let other_time = good.replacen(&AT.to_string(), &(AT + 1).to_string(), 1);
        let other_key = good.replacen("ds_1", "ds_2", 1);
        let other_body = BODY.replacen("\"s\"", "\"x\"", 1);
        for (header, body, now) in [
            (good.as_str(), BODY, AT + 301),
            (&good, BODY, AT - 301),
            (&good, &other_body, AT),
            (&other_time, BODY, AT),
            (&other_key, BODY, AT),
            (&good[..good.len() - 2], BODY, AT),
            ("", BODY, AT),
        ] {
            assert_eq!(verify(header, body, now).unwrap_err().code(), "INVALID_SIGNATURE", "{header} {now}");
        }
    }

    #[test]
    fn s_hook_2_the_header_has_one_form() {
        for bad in [
            "",
            "t=1",
            "t=1,kid=a",
            "t=1,kid=,ed25519=AA",
            "t=-1,kid=a,ed25519=AA",
            "t=+1,kid=a,ed25519=AA",
            "t=,kid=a,ed25519=AA",
            "kid=a,t=1,ed25519=AA",
            "t=1,kid=a,ed25519=A=",
            "t=1,kid=a,ed25519=AA,v=2",
        ] {
            assert!(Signature::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Signature::parse("t=1,kid=a,ed25519=AA").unwrap().kid(), "a");
    }

    #[test]
    fn a_set_without_a_usable_key_is_refused() {
        for bad in ["", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AA"}]}"#] {
            assert_eq!(KeySet::from_jwks(bad.as_bytes()).unwrap_err().code(), "PARSE_ERROR", "{bad}");
        }
    }
}
