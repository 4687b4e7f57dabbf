//! Server-sent events: bytes in any split to events, and events to bytes (PROTOCOL.md section 12 and 22).

use std::borrow::Cow;

use bytes::Bytes;

use super::names;

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event` field; `message` when there was none, as in the HTML standard.
    pub kind: Cow<'static, str>,
    /// The `data` lines, joined with LF.
    pub data: String,
}

/// Decodes an event stream, fed in pieces of any size: lines, events and code points may be cut anywhere (C-SSE-1).
///
/// Only CRLF, LF and CR end a line (C-SSE-2); an event is dispatched when it had a `data` line, even an
/// empty one (C-SSE-4). An event that the connection did not finish is never dispatched (C-SSE-8).
#[derive(Debug, Default)]
pub struct SseDecoder {
    /// Start of a line whose end has not arrived.
    line: Vec<u8>,
    kind: Option<Cow<'static, str>>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    /// Whether the byte order mark was looked for.
    started: bool,
}

impl SseDecoder {
    /// A decoder at the start of a connection (C-SSE-12).
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next piece and calls `dispatch` for each event that ends in it.
    ///
    /// # Errors
    /// An event's type or data is not UTF-8.
    pub fn feed(&mut self, mut piece: &[u8], mut dispatch: impl FnMut(SseEvent)) -> Result<(), SseError> {
        while !piece.is_empty() {
            if std::mem::take(&mut self.after_cr) && piece[0] == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', piece) else {
                self.line.extend_from_slice(piece);
                return Ok(());
            };
            self.after_cr = piece[end] == b'\r';
            if self.line.is_empty() {
                self.end_line(&piece[..end], &mut dispatch)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&piece[..end]);
                self.end_line(&line, &mut dispatch)?;
                line.clear();
                self.line = line;
            }
            piece = &piece[end + 1..];
        }
        Ok(())
    }

    /// Bytes held for an event that is not complete.
    pub fn buffered(&self) -> usize {
        self.line.len() + self.data.len()
    }

    fn end_line(&mut self, mut line: &[u8], dispatch: &mut impl FnMut(SseEvent)) -> Result<(), SseError> {
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event(dispatch);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            // One without a name is as none (HTML standard, 9.2.6).
            b"event" => self.kind = if value.is_empty() { None } else { Some(kind(value)?) },
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            // Comments have an empty field name; `id`, `retry` and unknown fields are ignored (C-SSE-3).
            _ => {}
        }
        Ok(())
    }

    fn end_event(&mut self, dispatch: &mut impl FnMut(SseEvent)) -> Result<(), SseError> {
        let kind = self.kind.take();
        if std::mem::take(&mut self.has_data) {
            let data = String::from_utf8(std::mem::take(&mut self.data)).map_err(|_| SseError)?;
            dispatch(SseEvent { kind: kind.unwrap_or(Cow::Borrowed("message")), data });
        }
        Ok(())
    }
}

/// An event's type; the protocol's own need no memory.
fn kind(name: &[u8]) -> Result<Cow<'static, str>, SseError> {
    for known in [names::EVENT_DATA, names::EVENT_CONTROL] {
        if name == known.as_bytes() {
            return Ok(Cow::Borrowed(known));
        }
    }
    let name = std::str::from_utf8(name).map_err(|_| SseError)?;
    Ok(Cow::Owned(name.to_owned()))
}

/// An event that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseError;

impl std::fmt::Display for SseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an SSE event is not UTF-8")
    }
}

impl std::error::Error for SseError {}

/// Writes events the way the protocol wants their bytes (S-SSE-3 to S-SSE-9).
#[derive(Debug, Default)]
pub struct SseEncoder {
    out: Vec<u8>,
}

impl SseEncoder {
    /// An encoder with an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a data event whose payload is text. Every line end starts a new `data:` line, so no payload
    /// byte can act as an event boundary (S-SSE-4); a line that begins with a space gets one more (S-SSE-5).
    pub fn text(&mut self, payload: &str) {
        self.out.extend_from_slice(b"event: data\n");
        let mut rest = payload.as_bytes();
        loop {
            let end = memchr::memchr2(b'\n', b'\r', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            self.out.extend_from_slice(if line.starts_with(b" ") { b"data: " } else { b"data:" });
            self.out.extend_from_slice(line);
            self.out.push(b'\n');
            let Some(end) = end else { break };
            let ended_by_crlf = rest[end] == b'\r' && rest.get(end + 1) == Some(&b'\n');
            rest = &rest[end + 1 + usize::from(ended_by_crlf)..];
        }
        self.out.push(b'\n');
    }

    /// Appends a data event whose payload is bytes, as base64 (S-SSE-9).
    pub fn base64(&mut self, payload: &[u8]) {
        use base64::Engine as _;
        self.out.extend_from_slice(b"event: data\ndata:");
        let start = self.out.len();
        self.out.resize(start + payload.len().div_ceil(3) * 4, 0);
        // The buffer has exactly the padded length, so encoding cannot fail.
        let written = base64::engine::general_purpose::STANDARD.encode_slice(payload, &mut self.out[start..]);
        debug_assert_eq!(written.ok(), Some(self.out.len() - start));
        self.out.extend_from_slice(b"\n\n");
    }

    /// Appends a control event.
    pub fn control(&mut self, control: &super::control::Control) {
        self.event(names::EVENT_CONTROL, &control.to_event());
    }

    /// Appends an event of any type whose data is one line; used for fault injection.
    pub fn event(&mut self, kind: &str, line: &str) {
        self.out.extend_from_slice(format!("event: {kind}\ndata:{line}\n\n").as_bytes());
    }

    /// Takes what was written.
    pub fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.out))
    }

    /// Bytes written and not yet taken.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
}

/// Decodes the payload of a base64 data event: CR and LF are dropped, the rest must be whole groups of
/// the standard alphabet (C-SSE-9).
///
/// # Errors
/// Says what is wrong with the text.
pub fn decode_base64(data: &str) -> Result<Bytes, String> {
    decode_lines(data).map(Bytes::from).map_err(|why| format!("SSE data is not base64: {why}"))
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
fn decode_lines(data: &str) -> Result<Vec<u8>, base64::DecodeError> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    if data.contains(['\r', '\n']) { engine.decode(data.replace(['\r', '\n'], "")) } else { engine.decode(data) }
}

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
fn decode_lines(data: &str) -> Result<Vec<u8>, &'static str> {
    super::base64::decode(data).ok_or("it has to be whole groups of its digits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let (mut decoder, mut events) = (SseDecoder::new(), Vec::new());
        for piece in pieces {
            decoder.feed(piece, |event| events.push((event.kind.into_owned(), event.data))).unwrap();
        }
        events
    }

    fn event(kind: &str, data: &str) -> (String, String) {
        (kind.into(), data.into())
    }

    #[test]
    fn exactly_one_space_is_stripped_and_all_three_line_ends_count() {
        assert_eq!(decode(&[b"event: data\r\ndata:  two\rdata:none\n\n"]), [event("data", " two\nnone")]);
        assert_eq!(decode(&[b"data\n\n"]), [event("message", "")]);
    }

    #[test]
    fn an_event_type_without_a_name_is_as_none() {
        assert_eq!(decode(&[b"event: data\nevent:\ndata:x\n\n"]), [event("message", "x")]);
    }

    #[test]
    fn a_cr_and_lf_in_two_pieces_are_one_line_end() {
        assert_eq!(decode(&[b"data:a\r", b"\ndata:b\r", b"\n\r", b"\n"]), [event("message", "a\nb")]);
    }

    #[test]
    fn unicode_separators_and_other_controls_are_data() {
        let text = "a\u{85}b\u{2028}c\u{2029}d\u{b}e\u{c}f";
        assert_eq!(decode(&[format!("data:{text}\n\n").as_bytes()]), [event("message", text)]);
    }

    #[test]
    fn comments_unknown_fields_and_events_without_data_are_dropped() {
        assert_eq!(decode(&[b":hi\nid:1\nretry:5\nfoo:bar\n\nevent: data\n\ndata:x\n\n"]), [event("message", "x")]);
    }

    #[test]
    fn an_unfinished_event_is_never_dispatched() {
        assert_eq!(decode(&[b"data:a\n\ndata:b\n"]), [event("message", "a")]);
    }

    #[test]
    fn a_byte_order_mark_is_dropped_once() {
        assert_eq!(decode(&["\u{feff}data:\u{feff}a\n\n".as_bytes()]), [event("message", "\u{feff}a")]);
    }

    #[test]
    fn invalid_utf8_is_an_error_and_not_a_replacement_character() {
        assert!(SseDecoder::new().feed(b"data:\xff\n\n", |_| {}).is_err());
    }

    #[test]
    fn the_wire_bytes_are_those_that_the_protocol_names() {
        let mut encoder = SseEncoder::new();
        encoder.text("a\n b\r\nevent: x\r");
        assert_eq!(encoder.take(), "event: data\ndata:a\ndata:  b\ndata:event: x\ndata:\n\n");
        encoder.base64(b"\xff\x00");
        assert_eq!(encoder.take(), "event: data\ndata:/wA=\n\n");
    }

    #[test]
    fn base64_may_be_broken_over_lines_but_not_be_broken() {
        assert_eq!(decode_base64("/w\nA=").unwrap(), &b"\xff\x00"[..]);
        assert_eq!(decode_base64("").unwrap(), &b""[..]);
        for bad in ["/wA", "/w A=", "_wA=", "=", "/wA=="] {
            assert!(decode_base64(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_survives_every_split(lines in prop::collection::vec("[^\r\n]{0,12}", 1..5), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let payload = lines.join("\n");
            let mut encoder = SseEncoder::new();
            encoder.text(&payload);
            encoder.event("control", "{}");
            let wire = encoder.take();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(wire.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([wire.len()]) {
                pieces.push(&wire[from..cut]);
                from = cut;
            }
            prop_assert_eq!(decode(&pieces), vec![event("data", &payload), event("control", "{}")]);
        }

        #[test]
        fn bytes_survive_base64(payload: Vec<u8>) {
            let mut encoder = SseEncoder::new();
            encoder.base64(&payload);
            let events = decode(&[&encoder.take()]);
            prop_assert_eq!(decode_base64(&events[0].1).unwrap(), payload);
        }
    }
}
