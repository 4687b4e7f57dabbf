//! Offsets and addresses: an offset that is accepted keeps the rules of S-OFF-3 and goes through a URL unchanged; an
//! address names the host that an independent parser finds, shows no credentials, and carries each protocol parameter
//! exactly once, whatever the caller's query says (C-REQ-1, C-REQ-2, C-REQ-5).

use everstream::Offset;
use everstream::proto::offset::ReadFrom;
use everstream::proto::request::Request;
use everstream::proto::url::StreamUrl;
use everstream_server::engine::Position;
use http::Uri;

/// Where the search starts.
pub const SEEDS: &[&[u8]] = &[
    b"http://h:80/v1/stream/a?tag=b&offset=evil&x=%20y#frag",
    b"https://me:secret@[::1]:1/p/@/x?live=sse&&=&a=b=c",
    b"0000000000000000_0000000000001234",
    b"-1",
    b"now",
];

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let from = text.parse::<ReadFrom>();
    assert_eq!(from.is_ok(), Offset::new(text).is_ok() || matches!(text, "-1" | "now"));
    if let Ok(from) = &from {
        assert_eq!(from.as_str(), text);
        assert!(!text.is_empty() && text.len() <= 255 && !text.contains([',', '&', '=', '?', '/', ' ', '\n']));
    }
    if let Some(position) = Position::parse(text)
        && position.0 <= 9_999_999_999_999_999
    {
        assert_eq!(Position::parse(&position.to_string()), Some(position));
        assert!(position.to_offset().as_str() <= position.to_string().as_str());
    }
    address(text, &from.unwrap_or_default());
}

fn address(text: &str, from: &ReadFrom) {
    let url = match StreamUrl::parse(text) {
        Ok(url) => url,
        Err(error) => return assert_eq!(error.code(), "INVALID_ARGUMENT"),
    };
    let shown: &str = url.shown();
    assert!(!shown.contains(['?', '#']), "{shown}");
    let authority = shown.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    assert!(!authority.is_empty() && !authority.contains('@'), "{shown}");

    let request = Request::read(from, Some("sse"), Some(text));
    let sent = url.with_query(&[(text.to_owned(), text.to_owned()), ("live".into(), "no".into())], &request.query);
    let (base, query) = sent.split_once('?').expect("a read has parameters");
    for (name, value) in &request.query {
        let values: Vec<&str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|pair| decoded(pair.0) == *name)
            .map(|pair| pair.1)
            .collect();
        assert_eq!(values.len(), 1, "{name} in {sent}");
        assert_eq!(decoded(values[0]), *value, "{name} in {sent}");
    }
    // Equal reads have equal URLs.
    let again = StreamUrl::parse(&sent).map(|url| url.with_query(&[], &request.query));
    assert_eq!(again.as_deref().ok(), Some(sent.as_str()), "not stable");
    if let (Ok(sent), Ok(base)) = (sent.parse::<Uri>(), base.parse::<Uri>()) {
        assert_eq!(sent.authority(), base.authority());
        let host = sent.host().unwrap_or_default();
        assert!(authority.starts_with(host), "{host} is asked, {authority} is shown");
    }
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
