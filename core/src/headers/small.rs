//! Headers of a page: few, and looked through one by one.

#![cfg_attr(test, allow(dead_code, unreachable_pub, reason = "there it is only tested"))]

use std::borrow::Cow;
use std::fmt;

/// The media type of a body.
pub const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");
/// How long a body is.
pub const CONTENT_LENGTH: HeaderName = HeaderName::from_static("content-length");
/// The tag of an answer.
pub const ETAG: HeaderName = HeaderName::from_static("etag");
/// Asks for an answer only where the tag is another one.
pub const IF_NONE_MATCH: HeaderName = HeaderName::from_static("if-none-match");
/// How long to wait before the next try.
pub const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");
/// Who asks.
pub const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");
/// How long caches may keep an answer.
pub const CACHE_CONTROL: HeaderName = HeaderName::from_static("cache-control");

/// The name of a header, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderName(Cow<'static, str>);

impl HeaderName {
    /// A name that is one, in lower case.
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// A name in any case.
    ///
    /// # Errors
    /// Not a token of HTTP.
    pub fn from_bytes(name: &[u8]) -> Result<Self, InvalidHeader> {
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        match std::str::from_utf8(name) {
            Ok(text) if !name.is_empty() && name.iter().all(is_token) => Ok(Self(text.to_ascii_lowercase().into())),
            _ => Err(InvalidHeader),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for HeaderName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&Self> for HeaderName {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What no header can have as its name or value.
#[derive(Debug)]
pub struct InvalidHeader;

/// The value of a header.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderValue {
    text: Cow<'static, str>,
    is_sensitive: bool,
}

impl HeaderValue {
    /// A value that is one.
    pub const fn from_static(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), is_sensitive: false }
    }

    /// A text that a header can hold.
    ///
    /// # Errors
    /// Control characters other than tabs.
    #[allow(clippy::should_implement_trait, reason = "named as in the crate `http`")]
    pub fn from_str(text: &str) -> Result<Self, InvalidHeader> {
        if text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
            Ok(Self { text: text.to_owned().into(), is_sensitive: false })
        } else {
            Err(InvalidHeader)
        }
    }

    /// The value as text.
    ///
    /// # Errors
    /// It is not all ASCII.
    pub fn to_str(&self) -> Result<&str, InvalidHeader> {
        if self.text.is_ascii() { Ok(&self.text) } else { Err(InvalidHeader) }
    }

    /// The value as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Whether it is not to be shown.
    pub fn is_sensitive(&self) -> bool {
        self.is_sensitive
    }

    /// Says that it is not to be shown.
    pub fn set_sensitive(&mut self, is_sensitive: bool) {
        self.is_sensitive = is_sensitive;
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_sensitive { "Sensitive" } else { &self.text })
    }
}

/// Headers in their order; there may be more than one of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMap(Vec<(HeaderName, HeaderValue)>);

impl HeaderMap {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// None, with memory for so many.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first one of a name.
    pub fn get(&self, name: impl AsRef<str>) -> Option<&HeaderValue> {
        self.find(name.as_ref())
    }

    fn find(&self, name: &str) -> Option<&HeaderValue> {
        self.0.iter().find(|(own, _)| own.as_str() == name).map(|(_, value)| value)
    }

    /// Whether there is one of a name.
    pub fn contains_key(&self, name: impl AsRef<str>) -> bool {
        self.find(name.as_ref()).is_some()
    }

    /// Adds one in the place of all of that name.
    pub fn insert(&mut self, name: impl Into<HeaderName>, value: HeaderValue) {
        let name = name.into();
        self.take_out(name.as_str());
        self.0.push((name, value));
    }

    /// Adds one beside those of that name.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// Takes out all of a name.
    pub fn remove(&mut self, name: impl AsRef<str>) {
        self.take_out(name.as_ref());
    }

    fn take_out(&mut self, name: &str) {
        self.0.retain(|(own, _)| own.as_str() != name);
    }
}

impl<'a> IntoIterator for &'a HeaderMap {
    type Item = (&'a HeaderName, &'a HeaderValue);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'a, (HeaderName, HeaderValue)>,
        fn(&'a (HeaderName, HeaderValue)) -> (&'a HeaderName, &'a HeaderValue),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

/// Headers that are kept for long: they are small already.
#[cfg(feature = "driver")]
#[derive(Clone)]
pub(crate) struct Kept(HeaderMap);

#[cfg(feature = "driver")]
impl Kept {
    pub(crate) fn of(headers: HeaderMap) -> Self {
        Self(headers)
    }

    pub(crate) fn map(&self) -> HeaderMap {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_and_values_are_those_of_the_crate_http(name: Vec<u8>, value: String) {
            let (ours, theirs) = (HeaderName::from_bytes(&name), http::HeaderName::from_bytes(&name));
            prop_assert_eq!(ours.ok().map(|it| it.to_string()), theirs.ok().map(|it| it.to_string()));
            let (ours, theirs) = (HeaderValue::from_str(&value).ok(), http::HeaderValue::from_str(&value).ok());
            prop_assert_eq!(ours.as_ref().map(HeaderValue::as_bytes), theirs.as_ref().map(http::HeaderValue::as_bytes));
            prop_assert_eq!(ours.and_then(|it| Some(it.to_str().ok()?.to_owned())), theirs.and_then(|it| Some(it.to_str().ok()?.to_owned())));
        }
    }

    #[test]
    fn every_byte_is_judged_as_the_crate_http_does() {
        for byte in 0..=u8::MAX {
            assert_eq!(
                HeaderName::from_bytes(&[byte]).is_ok(),
                http::HeaderName::from_bytes(&[byte]).is_ok(),
                "{byte}"
            );
            let text = char::from(byte).to_string();
            assert_eq!(HeaderValue::from_str(&text).is_ok(), http::HeaderValue::from_str(&text).is_ok(), "{byte}");
        }
    }

    #[test]
    fn an_inserted_header_replaces_and_an_appended_one_does_not() {
        let value = |text| HeaderValue::from_static(text);
        let mut headers = HeaderMap::with_capacity(2);
        headers.append(ETAG, value("1"));
        headers.append(ETAG, value("2"));
        assert_eq!((headers.len(), headers.get("etag").map(HeaderValue::as_bytes)), (2, Some(&b"1"[..])));
        headers.insert(&ETAG, value("3"));
        headers.insert(CONTENT_TYPE, value("text/plain"));
        let all: Vec<_> = (&headers).into_iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(all, [("etag", &b"3"[..]), ("content-type", b"text/plain")]);
        headers.remove(ETAG);
        assert!(!headers.contains_key(ETAG) && headers.contains_key(&CONTENT_TYPE));
    }

    #[test]
    fn what_is_sensitive_is_not_shown() {
        let mut value = HeaderValue::from_static("secret");
        value.set_sensitive(true);
        assert!(value.is_sensitive() && !format!("{value:?}").contains("secret"));
    }
}
