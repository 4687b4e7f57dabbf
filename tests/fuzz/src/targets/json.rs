//! JSON framing: exactly what serde_json takes for JSON passes; messages are the elements of a top-level array, as
//! text and one level deep; neither the split of the text nor a trip through an append changes them (S-JSON-1 to
//! S-JSON-6, C-WRITE-2).

use bytes::Bytes;
use everstream::proto::content_type::StreamFormat;
use everstream::proto::json::{Scanner, check_document, messages};
use everstream::proto::request::wrap_json;
use everstream_server::engine::Messages;
use serde_json::value::RawValue;

use crate::input::Cut;

/// Where the search starts.
pub const SEEDS: &[&[u8]] = &[
    b"\0[1,-0.5e+3 ,\"x,]\\u00e9\",null,true,false,[],{}]",
    b"\x04\x02\x02\x03\x05 { \"a\" : [ 1, {\"b\":\"\\\\\"} ] , \"\": 0 }\n",
    b"\x01\x03\xef\xbb\xbf[[1,2],[[3]],{\"a\":{\"b\":[{}]}}]",
];

/// One input.
pub fn run(data: &[u8]) {
    let cut = Cut::new(data);
    let expected = by_serde_json(cut.whole);
    let is_json = serde_json::from_slice::<&RawValue>(cut.whole).is_ok();
    assert_eq!(check_document(cut.whole).is_ok(), is_json, "check_document");

    let found = messages(cut.whole);
    let texts =
        found.as_ref().ok().map(|found| found.iter().map(|range| &cut.whole[range.clone()]).collect::<Vec<_>>());
    assert_eq!(texts, expected, "messages");
    if let Err(error) = found {
        assert!(error.position <= cut.whole.len(), "{error}");
    }
    in_pieces(&cut);
    if let Some(texts) = texts {
        through_an_append(cut.whole, &texts);
    }
}

/// The messages of a body, found by a parser that was written by others.
fn by_serde_json(body: &[u8]) -> Option<Vec<&[u8]>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let whole: &RawValue = serde_json::from_slice(body).ok()?;
    if !whole.get().starts_with('[') {
        return Some(vec![whole.get().as_bytes()]);
    }
    let elements: Vec<&RawValue> = serde_json::from_str(whole.get()).ok()?;
    Some(elements.into_iter().map(|element| element.get().as_bytes()).collect())
}

/// The scanner looks for no byte order mark and leaves UTF-8 to its caller, so only its own words are compared.
fn in_pieces(cut: &Cut<'_>) {
    let scan = |pieces: &[&[u8]]| {
        let (mut scanner, mut found) = (Scanner::new(), Vec::new());
        for piece in pieces {
            scanner.feed(piece, &mut found)?;
        }
        scanner.finish(&mut found).map(|()| found)
    };
    let whole = scan(&[cut.whole]);
    assert_eq!(scan(&cut.pieces), whole, "in pieces, against one piece");
    assert_eq!(scan(&cut.whole.chunks(1).collect::<Vec<_>>()), whole, "byte by byte, against one piece");
}

/// What a server stores of a body, and what it stores of the same messages wrapped by a client.
fn through_an_append(body: &[u8], texts: &[&[u8]]) {
    let stored = |body: Bytes| Messages::frame(StreamFormat::Json, body).expect("its messages were found before");
    let mut expected = Vec::new();
    let ends: Vec<u32> = texts
        .iter()
        .map(|text| {
            expected.extend_from_slice(text);
            expected.push(b',');
            u32::try_from(expected.len()).expect("inputs are short")
        })
        .collect();
    let values: Vec<Bytes> = texts.iter().map(|text| Bytes::copy_from_slice(text)).collect();
    let wrapped = wrap_json(&values);
    let bodies = [Bytes::copy_from_slice(body), wrapped];
    // An array of nothing is `]` without its bracket: clients never send one.
    for body in bodies.into_iter().take(if texts.is_empty() { 1 } else { 2 }) {
        let stored = stored(body);
        assert_eq!(stored.data(), &expected);
        assert_eq!(stored.ends().collect::<Vec<_>>(), ends);
    }
    // A value that is an array stays one message when it is wrapped.
    if check_document(body).is_ok() {
        let one = stored(wrap_json(&[Bytes::copy_from_slice(body)]));
        assert_eq!(one.ends().count(), 1);
    }
}
