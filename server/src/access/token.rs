//! Static bearer tokens.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;

/// What tokens begin with, so that a scanner for leaked secrets knows them.
const PREFIX: &str = "es_";
/// The other schemes of tokens have dots (JWT); these have none.
const ENTROPY_BYTES: usize = 32;

/// A token that was just made. Shown once, kept nowhere.
pub struct NewToken {
    /// What the client sends.
    pub secret: String,
    /// What the configuration holds.
    pub digest: TokenDigest,
}

impl NewToken {
    /// Makes a token of 256 bits.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; ENTROPY_BYTES];
        getrandom::fill(&mut bytes)?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        let digest = TokenDigest::of(&secret);
        Ok(Self { secret, digest })
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// The SHA-256 of a token; 64 hex digits as text.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; SHA256_OUTPUT_LEN]);

impl TokenDigest {
    /// The digest of a token.
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    /// The digest itself.
    pub(super) fn bytes(&self) -> [u8; SHA256_OUTPUT_LEN] {
        self.0
    }

    fn bucket(&self) -> [u8; 8] {
        let mut bucket = [0; 8];
        bucket.copy_from_slice(&self.0[..8]);
        bucket
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenDigest {}

impl FromStr for TokenDigest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = "a token's sha256 must be 64 hex digits, as `everstream token` prints them";
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(malformed);
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| malformed)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for TokenDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Something for each token, found by the token.
///
/// The first bytes of the digest choose the candidates. How long that takes depends on the digest of what the caller
/// has sent, which the caller knows, and which it cannot steer towards the digest of a token that it does not know. The
/// candidate itself is compared in constant time.
#[derive(Debug)]
pub(super) struct TokenTable<T>(HashMap<[u8; 8], Vec<(TokenDigest, T)>>);

impl<T> TokenTable<T> {
    pub(super) fn find(&self, token: &str) -> Option<&T> {
        if self.0.is_empty() {
            return None;
        }
        let digest = TokenDigest::of(token);
        let candidates = self.0.get(&digest.bucket())?;
        candidates.iter().find(|(known, _)| *known == digest).map(|(_, value)| value)
    }
}

impl<T> FromIterator<(TokenDigest, T)> for TokenTable<T> {
    fn from_iter<I: IntoIterator<Item = (TokenDigest, T)>>(tokens: I) -> Self {
        let mut table: HashMap<_, Vec<_>> = HashMap::new();
        for (digest, value) in tokens {
            table.entry(digest.bucket()).or_default().push((digest, value));
        }
        Self(table)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_found_by_its_digest_and_no_other_is() {
        let (one, two) = (NewToken::generate().unwrap(), NewToken::generate().unwrap());
        assert_ne!(one.secret, two.secret);
        assert_eq!(one.secret.len(), PREFIX.len() + 43);
        let table: TokenTable<u8> = [(one.digest, 1)].into_iter().collect();
        assert_eq!(table.find(&one.secret), Some(&1));
        assert_eq!(table.find(&two.secret), None);
        assert_eq!(table.find(""), None);
        assert_eq!(table.find(&one.digest.to_string()), None, "the digest is no token");
    }

    #[test]
    fn digests_that_share_their_first_bytes_are_told_apart() {
        let one = TokenDigest::of("a");
        let mut other = one;
        other.0[31] ^= 1;
        let table: TokenTable<u8> = [(other, 1), (one, 2)].into_iter().collect();
        assert_eq!(table.find("a"), Some(&2));
        let table: TokenTable<u8> = [(other, 1)].into_iter().collect();
        assert_eq!(table.find("a"), None);
    }

    #[test]
    fn a_digest_is_the_sha_256_in_hex() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenDigest::of("abc").to_string(), hex);
        assert_eq!(hex.to_uppercase().parse(), Ok(TokenDigest::of("abc")));
        for bad in ["", "abc", &hex[1..], &format!("{hex}0"), &hex.replace('b', "g"), &hex.replace("ba", "é")] {
            assert!(bad.parse::<TokenDigest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_token_does_not_show_its_secret() {
        let token = NewToken::generate().unwrap();
        assert!(!format!("{token:?}").contains(&token.secret));
    }
}
