//! The address of a stream, and how protocol parameters join it (C-REQ-1, C-REQ-2).

use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::names;
use super::object::quoted;
use crate::error::{Error, Result};

/// Everything but the unreserved characters of RFC 3986 is encoded in a query value.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The same, and slashes, in a path.
const PATH: &AsciiSet = &QUERY_VALUE.remove(b'/');

/// What a query can hold in no case; line ends in it would vanish on the way.
const NEVER_IN_QUERY: &AsciiSet = &CONTROLS.add(b' ');

/// An `http` or `https` address of one stream. A fragment is dropped; a query is kept as it was written, but for
/// characters that no URL can hold, which are encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamUrl {
    /// Scheme, authority and path.
    base: Arc<str>,
    /// `base` without credentials: what errors and logs show.
    shown: Arc<str>,
    /// The caller's own parameters, encoded as given, in their order.
    query: Vec<(String, String)>,
}

impl StreamUrl {
    /// Parses an address.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not an `http` or `https` URL with a host.
    pub fn parse(url: &str) -> Result<Self> {
        // Not by `Debug`, which the build for pages is without.
        let invalid = |why: &str| Error::invalid_argument(format!("url {why}: {}", quoted(url)));
        let url = url.trim();
        let without_fragment = url.split('#').next().unwrap_or_default();
        let (base, query) = without_fragment.split_once('?').unwrap_or((without_fragment, ""));
        let (scheme, rest) = base.split_once(':').unwrap_or_default();
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(invalid("must start with http:// or https://"));
        };
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(invalid("must start with http:// or https://"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.is_empty() || host.starts_with(':') {
            return Err(invalid("has no host"));
        }
        if base.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(invalid("has a space or control character"));
        }
        let shown: Arc<str> =
            if host.len() == authority.len() { base.into() } else { format!("{scheme}://{host}{path}").into() };
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (legal(name), legal(value)))
            .collect();
        Ok(Self { base: base.into(), shown, query })
    }

    /// The address without credentials, query and fragment, for people to read.
    pub fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    /// The address of a request: the caller's query, the caller's parameters and those of the protocol,
    /// sorted by name, so that equal reads have equal URLs. Only the protocol sets its own parameters (C-REQ-5).
    pub fn with_query(&self, params: &[(String, String)], protocol: &[(&'static str, String)]) -> String {
        let is_protocol = |name: &str| matches!(name, names::QUERY_OFFSET | names::QUERY_LIVE | names::QUERY_CURSOR);
        let is_param = |name: &str| params.iter().any(|(own, _)| own == name);
        // Encoded or not: to the server a name is the same.
        let is_taken = |name: &str| {
            let name: Vec<u8> = percent_decode_str(name).collect();
            std::str::from_utf8(&name).is_ok_and(|name| is_protocol(name) || is_param(name))
        };
        let encode = |text: &str| utf8_percent_encode(text, QUERY_VALUE).to_string();
        let mut pairs: Vec<(String, String)> = Vec::with_capacity(self.query.len() + params.len() + protocol.len());
        let mut add = |name: String, value: String| {
            // Repeated names keep their order.
            let at = pairs.iter().position(|(own, _)| *own > name).unwrap_or(pairs.len());
            pairs.insert(at, (name, value));
        };
        for (name, value) in self.query.iter().filter(|(name, _)| !is_taken(name)) {
            add(name.clone(), value.clone());
        }
        for (name, value) in params.iter().filter(|(name, _)| !is_protocol(name)) {
            add(encode(name), encode(value));
        }
        for (name, value) in protocol {
            add((*name).to_owned(), encode(value));
        }
        let mut url = self.base.to_string();
        for (index, (name, value)) in pairs.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(value);
        }
        url
    }
}

/// The name of a stream, or of anything else below a stream root, as a part of a path: slashes stay.
pub fn encode_path(name: &str) -> String {
    utf8_percent_encode(name, PATH).to_string()
}

/// A name that is one segment of a path (S-SUB-1).
pub fn encode_segment(name: &str) -> String {
    utf8_percent_encode(name, QUERY_VALUE).to_string()
}

fn legal(text: &str) -> String {
    utf8_percent_encode(text, NEVER_IN_QUERY).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r7_values_are_encoded_the_callers_query_is_kept_and_all_names_are_sorted() {
        let url = StreamUrl::parse("http://h/s?tag=b&tag=a&offset=evil&x=%20y#frag").unwrap();
        let own = [("live", "sse".to_owned()), ("offset", "a/b c".to_owned())];
        assert_eq!(
            url.with_query(&[("k".into(), "ü&".into()), ("live".into(), "no".into())], &own),
            "http://h/s?k=%C3%BC%26&live=sse&offset=a%2Fb%20c&tag=b&tag=a&x=%20y"
        );
        assert_eq!(StreamUrl::parse("HTTPS://h").unwrap().with_query(&[], &[]), "HTTPS://h");
    }

    #[test]
    fn r7_a_protocol_parameter_is_the_protocols_also_when_its_name_is_encoded() {
        let url = StreamUrl::parse("http://h/s?%6fffset=evil&l%69ve=sse").unwrap();
        let own = [("offset", "1".to_owned())];
        assert_eq!(url.with_query(&[("cursor".into(), "2".into())], &own), "http://h/s?offset=1");
    }

    #[test]
    fn what_no_url_can_hold_is_encoded_in_a_query() {
        let url = StreamUrl::parse("http://h/s?a=x\ny&b=c d#e").unwrap();
        assert_eq!(url.with_query(&[], &[]), "http://h/s?a=x%0Ay&b=c%20d");
    }

    #[test]
    fn a_call_parameter_replaces_the_one_in_the_url() {
        let url = StreamUrl::parse("http://h/s?k=1").unwrap();
        assert_eq!(url.with_query(&[("k".into(), "2".into())], &[]), "http://h/s?k=2");
        let url = StreamUrl::parse("http://h/s?a%20b=1").unwrap();
        assert_eq!(url.with_query(&[("a b".into(), "2".into())], &[]), "http://h/s?a%20b=2");
    }

    #[test]
    fn names_become_paths_and_segments() {
        assert_eq!(encode_path("a/b c?%ä"), "a/b%20c%3F%25%C3%A4");
        assert_eq!(encode_segment("a/b"), "a%2Fb");
    }

    #[test]
    fn credentials_are_never_shown() {
        let url = StreamUrl::parse("https://me:secret@h:1/p?token=x").unwrap();
        assert_eq!(&**url.shown(), "https://h:1/p");
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for bad in ["", "h/s", "ftp://h/s", "http://", "http:///s", "http://:80/s", "http://h/a b"] {
            assert!(StreamUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
