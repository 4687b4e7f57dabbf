//! Event streams: any split of the bytes gives the same events as one piece and as the HTML standard's own rules,
//! read in the plainest way; what the encoder writes comes back, whatever the payload (C-SSE-1 to C-SSE-9, S-SSE-3
//! to S-SSE-9).

use everstream::proto::sse::{SseDecoder, SseEncoder, SseEvent, decode_base64};

use crate::input::Cut;

/// Where the search starts.
pub const SEEDS: &[&[u8]] = &[
    b"\0event: data\ndata:[1,2]\n\nevent: control\ndata:{\"streamNextOffset\":\"0_7\",\"upToDate\":true}\n\n",
    b"\x05\x03\x01\x07\x01\x01\xef\xbb\xbf:hi\r\nevent:data\rdata: a\r\n\r\nid:7\nretry:10\ndata\n\n",
    b"\x02\x09\x0bevent: data\ndata:  b\xc3\xbc\ndata:\ndata:/wA=\n\nevent:\ndata:x\n\n",
];

type Decoded = Result<Vec<(String, String)>, ()>;

/// One input.
pub fn run(data: &[u8]) {
    let cut = Cut::new(data);
    let expected = by_the_standard(cut.whole);
    assert_eq!(decode([cut.whole]), expected, "in one piece, against the standard");
    assert_eq!(decode(cut.pieces.iter().copied()), expected, "in pieces, against one piece");
    assert_eq!(decode(cut.whole.chunks(1)), expected, "byte by byte, against one piece");
    round_trip(cut.whole);
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut decoder, mut events) = (SseDecoder::new(), Vec::new());
    let mut fed = 0;
    for piece in pieces {
        decoder.feed(piece, |SseEvent { kind, data }| events.push((kind.into_owned(), data))).map_err(|_| ())?;
        fed += piece.len();
        assert!(decoder.buffered() <= fed, "more is held than has come");
    }
    Ok(events)
}

/// The HTML standard, 9.2.6, on a whole text. Only what is dispatched has to be UTF-8, and event types wherever they
/// stand.
fn by_the_standard(wire: &[u8]) -> Decoded {
    let mut lines = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < wire.len() {
        if matches!(wire[at], b'\n' | b'\r') {
            lines.push(&wire[start..at]);
            at += usize::from(wire[at..].starts_with(b"\r\n"));
            start = at + 1;
        }
        at += 1;
    }
    let mut events = Vec::new();
    let (mut kind, mut data): (String, Option<Vec<u8>>) = (String::new(), None);
    for (number, line) in lines.into_iter().enumerate() {
        let line = if number == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.is_empty() {
            let kind = std::mem::take(&mut kind);
            if let Some(data) = data.take() {
                let kind = if kind.is_empty() { "message".to_owned() } else { kind };
                events.push((kind, String::from_utf8(data).map_err(|_| ())?));
            }
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (field, value) = colon.map_or((line, &b""[..]), |colon| (&line[..colon], &line[colon + 1..]));
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match (field, &mut data) {
            (b"event", _) => kind = String::from_utf8(value.to_vec()).map_err(|_| ())?,
            (b"data", Some(data)) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            (b"data", None) => data = Some(value.to_vec()),
            _ => {}
        }
    }
    Ok(events)
}

/// No byte of a payload can act as the boundary of an event, or get lost but for the kind of line end (S-SSE-6).
fn round_trip(payload: &[u8]) {
    let text = String::from_utf8_lossy(payload);
    let mut encoder = SseEncoder::new();
    encoder.text(&text);
    encoder.base64(payload);
    encoder.event("control", "{}");
    let wire = encoder.take();
    let events = decode(wire.chunks(7)).expect("what the encoder writes is UTF-8");
    let one_line_end = text.replace("\r\n", "\n").replace('\r', "\n");
    assert_eq!(events.len(), 3, "{:?}", String::from_utf8_lossy(&wire));
    assert_eq!(events[0], ("data".to_owned(), one_line_end));
    assert_eq!(decode_base64(&events[1].1).as_deref(), Ok(payload));
    assert_eq!(events[2], ("control".to_owned(), "{}".to_owned()));
}
