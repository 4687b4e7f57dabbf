//! Signed read URLs: whoever has one may read one stream for a while, with nothing but the URL.
//!
//! The query parameter `sig` is `<key id>.<unix seconds>.<signature>`: until when, and an HMAC-SHA256 in base64url over
//! that and the name of the stream. The rest of the query stays free: a reader changes `offset` and `cursor` as it goes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::caller::Refusal;

/// The query parameter.
pub(crate) const QUERY_SIGNATURE: &str = "sig";
/// Shorter keys can be guessed.
const SHORTEST_SECRET: usize = 32;

/// A key that signs.
#[derive(Debug)]
pub struct UrlKey {
    id: String,
    key: hmac::Key,
}

/// A URL's permission.
#[derive(Clone, Copy, Debug)]
pub struct SignedUrl<'a> {
    /// The name of the stream.
    pub stream: &'a str,
    /// Until when, in seconds since the Unix epoch.
    pub expires: u64,
}

/// A signature as it came, and the stream that it has to be for.
#[derive(Clone, Copy)]
pub struct Signature<'a> {
    /// The value of the query parameter.
    pub value: &'a str,
    /// The name of the stream that the request is about.
    pub stream: &'a str,
}

impl UrlKey {
    /// A key from its id and its secret.
    ///
    /// # Errors
    /// An id that does not fit a URL, or a secret of less than 32 characters.
    pub fn new(id: &str, secret: &str) -> Result<Self, &'static str> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err("the id of a URL key must be letters, digits, `-` and `_`");
        }
        if secret.len() < SHORTEST_SECRET {
            return Err("the secret of a URL key must have 32 characters or more; `everstream token` makes one");
        }
        Ok(Self { id: id.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()) })
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The value of the query parameter `sig` for a URL.
    pub fn sign(&self, url: SignedUrl<'_>) -> String {
        let tag = hmac::sign(&self.key, message(url).as_bytes());
        format!("{}.{}.{}", self.id, url.expires, URL_SAFE_NO_PAD.encode(tag))
    }

    /// Checks a signature that names this key.
    pub(super) fn verify(&self, parts: Parts<'_>, stream: &str, now: u64) -> Result<(), Refusal> {
        let tag = URL_SAFE_NO_PAD.decode(parts.tag).map_err(|_| MALFORMED)?;
        let message = message(SignedUrl { stream, expires: parts.expires });
        hmac::verify(&self.key, message.as_bytes(), &tag).map_err(|_| Refusal::Invalid("the signature is wrong"))?;
        if now >= parts.expires {
            return Err(Refusal::Invalid("the URL has expired"));
        }
        Ok(())
    }
}

const MALFORMED: Refusal = Refusal::Invalid("malformed URL signature");

/// The parts of a signature.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) key: &'a str,
    expires: u64,
    tag: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn parse(value: &'a str) -> Result<Self, Refusal> {
        let mut parts = value.split('.');
        let (Some(key), Some(expires), Some(tag), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MALFORMED);
        };
        // One spelling for each number: what is signed is the number, not the text.
        let expires = expires.parse().map_err(|_| MALFORMED)?;
        Ok(Self { key, expires, tag })
    }
}

/// The first line keeps the signature apart from any other use of the key; the name comes last, as it may hold anything.
fn message(url: SignedUrl<'_>) -> String {
    format!("everstream read url 1\n{}\n{}", url.expires, url.stream)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "es_0123456789012345678901234567890";

    fn check(key: &UrlKey, value: &str, stream: &str, now: u64) -> Result<(), Refusal> {
        key.verify(Parts::parse(value)?, stream, now)
    }

    #[test]
    fn a_signature_is_for_one_stream_and_for_a_while() {
        let key = UrlKey::new("k1", SECRET).unwrap();
        let value = key.sign(SignedUrl { stream: "a/b", expires: 1000 });
        assert_eq!(check(&key, &value, "a/b", 999), Ok(()));
        assert_eq!(check(&key, &value, "a/b", 1000), Err(Refusal::Invalid("the URL has expired")));
        assert!(check(&key, &value, "a/c", 0).is_err());
        assert!(check(&key, &value.replace(".1000.", ".2000."), "a/b", 999).is_err());
        let other = UrlKey::new("k1", &SECRET.replace('0', "1")).unwrap();
        assert!(check(&other, &value, "a/b", 0).is_err());
        for bad in ["", "k1", "k1.1", "k1.1.", "k1.x.y", "k1.1.y.z", "k1.-1.AA", "k1.99999999999999999999.AA"] {
            assert!(check(&key, bad, "a/b", 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn weak_keys_and_odd_ids_are_refused() {
        assert!(UrlKey::new("k", &SECRET[..31]).is_err());
        assert!(UrlKey::new("k.1", SECRET).is_err());
        assert!(UrlKey::new("", SECRET).is_err());
        let key = UrlKey::new("k", SECRET).unwrap();
        assert!(!format!("{key:?}").contains(SECRET));
    }

    proptest! {
        #[test]
        fn no_other_name_or_time_has_the_same_signature(a in "[ab\n0-9]{1,6}", b in "[ab\n0-9]{1,6}", s in 0..50u64, t in 0..50u64) {
            let key = UrlKey::new("k", SECRET).unwrap();
            let one = key.sign(SignedUrl { stream: &a, expires: s });
            let two = key.sign(SignedUrl { stream: &b, expires: t });
            prop_assert_eq!(one == two, (a, s) == (b, t));
        }
    }
}
