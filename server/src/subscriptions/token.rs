//! What a worker shows with its acks (PROTOCOL.md S-LEASE-3, S-LEASE-4). Pure, but for the key.
//!
//! A token is `base64url(claims) "." base64url(HMAC-SHA256(claims))` with the claims `generation.expires.nonce.id`; the
//! nonce tells a subscription from an earlier one of the same id. A heartbeat is answered with a fresh token when the one
//! that it showed has used up half of its life, so that work may take as long as it likes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::error::Refusal;
use crate::clock::Millis;

/// How long a token lives: six times the longest lease.
pub(super) const LIFETIME: Millis = 3_600_000;

/// Whom a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bearer<'a> {
    pub(super) id: &'a str,
    pub(super) nonce: u64,
}

/// What a genuine token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) generation: u64,
    pub(super) expires: Millis,
}

impl Claims {
    /// Whether half of the token's life is over.
    pub(super) fn is_stale(self, now: Millis) -> bool {
        self.expires.saturating_sub(now) < LIFETIME / 2
    }
}

pub(super) fn issue(key: &hmac::Key, bearer: Bearer<'_>, generation: u64, now: Millis) -> String {
    let claims = format!("{generation}.{}.{:016x}.{}", now.saturating_add(LIFETIME), bearer.nonce, bearer.id);
    let mac = hmac::sign(key, claims.as_bytes());
    format!("{}.{}", URL_SAFE_NO_PAD.encode(&claims), URL_SAFE_NO_PAD.encode(mac))
}

/// # Errors
/// It is not one of ours, or of another subscription (`TOKEN_INVALID`), or too old (`TOKEN_EXPIRED`).
pub(super) fn verify(key: &hmac::Key, bearer: Bearer<'_>, token: &str, now: Millis) -> Result<Claims, Refusal> {
    let claims = open(key, bearer, token).ok_or(Refusal::TokenInvalid)?;
    if now >= claims.expires { Err(Refusal::TokenExpired) } else { Ok(claims) }
}

fn open(key: &hmac::Key, bearer: Bearer<'_>, token: &str) -> Option<Claims> {
    let (claims, mac) = token.split_once('.')?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    // In constant time.
    hmac::verify(key, &claims, &URL_SAFE_NO_PAD.decode(mac).ok()?).ok()?;
    let mut fields = std::str::from_utf8(&claims).ok()?.splitn(4, '.');
    let (generation, expires) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let nonce = u64::from_str_radix(fields.next()?, 16).ok()?;
    (nonce == bearer.nonce && fields.next()? == bearer.id).then_some(Claims { generation, expires })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn s_lease_3_a_token_is_genuine_for_one_subscription_and_for_an_hour() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let bearer = Bearer { id: "a.b", nonce: 7 };
        let token = issue(&key, bearer, 3, 1_000);
        let claims = Claims { generation: 3, expires: 3_601_000 };
        assert_eq!(verify(&key, bearer, &token, 3_600_999), Ok(claims));
        assert_eq!(verify(&key, bearer, &token, 3_601_000), Err(Refusal::TokenExpired));
        assert!(!claims.is_stale(1_801_000) && claims.is_stale(1_801_001));
        for other in [Bearer { id: "a", nonce: 7 }, Bearer { id: "a.b", nonce: 8 }] {
            assert_eq!(verify(&key, other, &token, 0), Err(Refusal::TokenInvalid));
        }
        let other_key = hmac::Key::new(hmac::HMAC_SHA256, b"other");
        assert_eq!(verify(&other_key, bearer, &token, 0), Err(Refusal::TokenInvalid));
    }

    #[test]
    fn s_lease_3_a_token_with_any_byte_changed_is_invalid() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let bearer = Bearer { id: "a", nonce: 7 };
        let token = issue(&key, bearer, 3, 1_000);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            // The last character has bits that do not count; the decoder refuses those that are not zero.
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(verify(&key, bearer, &forged, 0), Err(Refusal::TokenInvalid), "{at}");
        }
        for bad in ["", ".", "a.b", &token[1..]] {
            assert_eq!(verify(&key, bearer, bad, 0), Err(Refusal::TokenInvalid), "{bad}");
        }
    }
}
