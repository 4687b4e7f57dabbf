//! Control data: an event is read if and only if it is an object with an offset, in agreement with serde_json; what is
//! read and written again is the same, on one line; headers and events mean the same; checkpoints come back from their
//! JSON form (T-CONTROL, C-SSE-6, C-EOF-2).

use arbitrary::Unstructured;
use everstream::proto::control::Control;
use everstream::proto::names;
use everstream::{Checkpoint, Offset};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use crate::input::answer_headers;

/// Where the search starts.
pub const SEEDS: &[&[u8]] = &[
    br#"{"streamNextOffset":"0_7","streamCursor":"12","upToDate":true}"#,
    br#"{"streamNextOffset":"\u0041\n","streamClosed":true,"x":[1,{}]}"#,
    br#"{"from":"0_7","skip":3,"incarnation":"x"}"#,
];

/// One input.
pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        event(text);
        checkpoint(text);
    }
    if let Ok(headers) = answer_headers(&mut Unstructured::new(data)) {
        from_headers(&headers);
    }
}

fn event(text: &str) {
    let read = Control::from_event(text);
    let value: Option<Value> = serde_json::from_str(text).ok();
    let offset = value.as_ref().filter(|value| value.is_object()).and_then(|value| value["streamNextOffset"].as_str());
    let expected = offset.and_then(|offset| Offset::new(offset).ok());
    assert_eq!(read.as_ref().ok().map(|control| control.next_offset.clone()), expected, "{text:?}");
    if let Ok(control) = read {
        comes_back(&control);
    }
}

fn comes_back(control: &Control) {
    assert!(control.up_to_date || !control.closed, "closure implies up to date");
    let written = control.to_event();
    assert!(!written.contains(['\n', '\r']), "{written:?}");
    // A closed stream has no cursor (S-SSE-16).
    let cursor = control.cursor.clone().filter(|_| !control.closed);
    assert_eq!(Control::from_event(&written), Ok(Control { cursor, ..control.clone() }));
}

fn from_headers(headers: &HeaderMap) {
    let offset = headers.get(names::STREAM_NEXT_OFFSET).and_then(|value| value.to_str().ok());
    match (offset.map(Offset::new), Control::from_headers(headers)) {
        (None, Ok(None)) | (Some(Err(_)), Err(_)) => {}
        (Some(Ok(offset)), Ok(Some(control))) => {
            assert_eq!(control.next_offset, offset);
            let closed = headers.get(names::STREAM_CLOSED).map(HeaderValue::as_bytes);
            assert_eq!(control.closed, closed.is_some_and(|value| value.eq_ignore_ascii_case(b"true")));
            comes_back(&control);
        }
        (expected, found) => panic!("{expected:?} was read as {found:?}"),
    }
}

fn checkpoint(text: &str) {
    if let Ok(checkpoint) = Checkpoint::from_json(text) {
        assert_eq!(Checkpoint::from_json(&checkpoint.to_json()).ok(), Some(checkpoint));
    }
}
