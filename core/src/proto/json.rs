//! JSON framing without a full parse (PROTOCOL.md section 14).
//!
//! A [`Scanner`] checks the grammar of RFC 8259 byte by byte and reports where messages begin and end; it
//! builds no values, so number text, key order and escapes stay as they were written (S-JSON-5). It takes
//! its input in any split, which lets a reader hand out the messages of a long answer while it arrives.
//! The server frames appends with it, the producer checks messages with it before they enter a batch.

use std::fmt;
use std::ops::Range;

/// Checks that `text` is exactly one JSON document.
///
/// # Errors
/// Says what is wrong and at which byte.
pub fn check_document(text: &[u8]) -> Result<(), JsonError> {
    check_utf8(text, 0)?;
    let mut scanner = Scanner::new();
    scanner.scan(text, &mut None)?;
    scanner.end(&mut None)
}

/// The messages of a request body: the elements of a top-level array, flattened one level, or the one
/// value itself (S-JSON-1, S-JSON-2). A leading byte order mark is skipped (S-JSON-6).
///
/// An empty array gives no messages; what that means is for the caller to say.
///
/// # Errors
/// Not one JSON document in UTF-8.
pub fn messages(body: &[u8]) -> Result<Vec<Range<usize>>, JsonError> {
    let skipped = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    check_utf8(&body[skipped..], skipped)?;
    let mut scanner = Scanner { position: skipped, ..Scanner::new() };
    let mut found = Vec::new();
    scanner.feed(&body[skipped..], &mut found)?;
    scanner.finish(&mut found)?;
    Ok(found)
}

fn check_utf8(bytes: &[u8], base: usize) -> Result<(), JsonError> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(JsonError { position: base + error.valid_up_to(), expected: "UTF-8" }),
    }
}

/// Why a text is not the JSON that was needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Byte position of the fault, counted from the start of the text.
    pub position: usize,
    /// What would have been right there.
    pub expected: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid JSON: expected {} at byte {}", self.expected, self.position)
    }
}

impl std::error::Error for JsonError {}

/// A JSON grammar machine that finds the messages of one text, fed in pieces of any size.
///
/// Bytes of 0x80 and above pass inside strings unseen; check UTF-8 over whole messages.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    /// One bit for each open container, the innermost lowest: 1 is an object.
    open: BitStack,
    /// Bytes seen so far.
    position: usize,
    /// Where the message being read began.
    message_start: usize,
    /// Whether messages are the elements of a top-level array.
    in_array: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Value,
    ValueOrArrayEnd,
    KeyOrObjectEnd,
    Key,
    Colon,
    CommaOrEnd,
    End,
    Text { key: bool },
    Escape { key: bool },
    Hex { key: bool, left: u8 },
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    Literal { rest: u32 },
}

/// Where messages are noted, unless nobody wants to know.
type Found<'a> = Option<&'a mut Vec<Range<usize>>>;

// The letters of a literal that are to come, the next one lowest; nothing is left at 0.
const TRUE: u32 = u32::from_le_bytes(*b"rue\0");
const FALSE: u32 = u32::from_le_bytes(*b"alse");
const NULL: u32 = u32::from_le_bytes(*b"ull\0");

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner at the start of a text.
    pub fn new() -> Self {
        Self { state: State::Start, open: BitStack::default(), position: 0, message_start: 0, in_array: false }
    }

    /// Reads the next piece and pushes the range of each message that ends in it, counted from the start
    /// of the text.
    ///
    /// # Errors
    /// The text cannot become valid JSON any more.
    pub fn feed(&mut self, bytes: &[u8], found: &mut Vec<Range<usize>>) -> Result<(), JsonError> {
        self.scan(bytes, &mut Some(found))
    }

    /// Ends the text: a number at the top level is complete only now.
    ///
    /// # Errors
    /// The document is not complete.
    pub fn finish(&mut self, found: &mut Vec<Range<usize>>) -> Result<(), JsonError> {
        self.end(&mut Some(found))
    }

    /// [`feed`](Self::feed). Each state takes in one go what it can; what the next byte most likely is in
    /// compact text is looked for at once.
    fn scan(&mut self, bytes: &[u8], found: &mut Found<'_>) -> Result<(), JsonError> {
        let base = self.position;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            self.position = base + at;
            match self.state {
                State::Text { key } => {
                    at = skip_plain_text(bytes, at);
                    let Some(&byte) = bytes.get(at) else { break };
                    self.position = base + at;
                    match byte {
                        b'"' if key && bytes.get(at + 1) == Some(&b':') => {
                            self.state = State::Value;
                            at += 1;
                        }
                        b'"' if key => self.state = State::Colon,
                        b'"' => self.value_ends(base + at + 1, found),
                        b'\\' => self.state = State::Escape { key },
                        _ => return self.fail("no bare control character in a string"),
                    }
                }
                State::Escape { key } => match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.state = State::Text { key },
                    b'u' => self.state = State::Hex { key, left: 4 },
                    _ => return self.fail("an escape"),
                },
                State::Hex { key, left } => {
                    if !byte.is_ascii_hexdigit() {
                        return self.fail("four hexadecimal digits");
                    }
                    self.state = if left == 1 { State::Text { key } } else { State::Hex { key, left: left - 1 } };
                }
                State::Literal { rest } => {
                    // The lowest eight bits.
                    if byte != rest as u8 {
                        return self.fail("`true`, `false` or `null`");
                    }
                    match rest >> 8 {
                        0 => self.value_ends(base + at + 1, found),
                        rest => self.state = State::Literal { rest },
                    }
                }
                State::Minus | State::Point | State::Exponent | State::ExponentSign => self.number_start(byte)?,
                State::Integer | State::Fraction | State::ExponentDigits if byte.is_ascii_digit() => {
                    at = skip_digits(bytes, at);
                    continue;
                }
                State::Zero | State::Integer | State::Fraction | State::ExponentDigits => {
                    if !self.number_goes_on(byte) {
                        // The byte after a number belongs to what comes next: look at it again.
                        self.value_ends(base + at, found);
                        continue;
                    }
                }
                _ if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => {}
                State::Start | State::Value | State::ValueOrArrayEnd => self.value_starts(byte, found)?,
                State::KeyOrObjectEnd | State::Key => match byte {
                    b'"' => self.state = State::Text { key: true },
                    b'}' if self.state == State::KeyOrObjectEnd => self.container_ends(found),
                    _ => return self.fail("a string as key"),
                },
                State::Colon => match byte {
                    b':' => self.state = State::Value,
                    _ => return self.fail("`:`"),
                },
                State::CommaOrEnd => match (byte, self.open.top_is_object()) {
                    (b',', true) if bytes.get(at + 1) == Some(&b'"') => {
                        self.state = State::Text { key: true };
                        at += 1;
                    }
                    (b',', true) => self.state = State::Key,
                    (b',', false) => self.state = State::Value,
                    (b'}', true) | (b']', false) => self.container_ends(found),
                    (_, true) => return self.fail("`,` or `}`"),
                    (_, false) => return self.fail("`,` or `]`"),
                },
                State::End => return self.fail("nothing after the end of the document"),
            }
            at += 1;
        }
        self.position = base + bytes.len();
        Ok(())
    }

    /// [`finish`](Self::finish).
    fn end(&mut self, found: &mut Found<'_>) -> Result<(), JsonError> {
        if self.open.depth == 0
            && matches!(self.state, State::Zero | State::Integer | State::Fraction | State::ExponentDigits)
        {
            self.value_ends(self.position, found);
        }
        match self.state {
            State::End => Ok(()),
            State::Start => self.fail("a value"),
            _ => self.fail("more text before the end"),
        }
    }

    /// Whether nothing but white space was read.
    pub fn is_blank(&self) -> bool {
        self.state == State::Start
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, JsonError> {
        Err(JsonError { position: self.position, expected })
    }

    /// Containers around a message: the top-level array, if there is one.
    fn message_depth(&self) -> usize {
        usize::from(self.in_array)
    }

    fn value_starts(&mut self, byte: u8, found: &mut Found<'_>) -> Result<(), JsonError> {
        if self.state == State::Start && byte == b'[' {
            self.in_array = true;
        } else if self.open.depth == self.message_depth() {
            self.message_start = self.position;
        }
        self.state = match byte {
            b'"' => State::Text { key: false },
            b'{' => {
                self.open.push(true);
                State::KeyOrObjectEnd
            }
            b'[' => {
                self.open.push(false);
                State::ValueOrArrayEnd
            }
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Integer,
            b't' => State::Literal { rest: TRUE },
            b'f' => State::Literal { rest: FALSE },
            b'n' => State::Literal { rest: NULL },
            b']' if self.state == State::ValueOrArrayEnd => {
                self.container_ends(found);
                return Ok(());
            }
            _ => return self.fail("a value"),
        };
        Ok(())
    }

    fn container_ends(&mut self, found: &mut Found<'_>) {
        self.open.pop();
        if self.open.depth == 0 && self.in_array {
            self.state = State::End;
        } else {
            self.value_ends(self.position + 1, found);
        }
    }

    fn value_ends(&mut self, end: usize, found: &mut Found<'_>) {
        if let Some(found) = found
            && self.open.depth == self.message_depth()
        {
            found.push(self.message_start..end);
        }
        self.state = if self.open.depth == 0 { State::End } else { State::CommaOrEnd };
    }

    fn number_start(&mut self, byte: u8) -> Result<(), JsonError> {
        self.state = match (self.state, byte) {
            (State::Minus, b'0') => State::Zero,
            (State::Minus, b'1'..=b'9') => State::Integer,
            (State::Point, b'0'..=b'9') => State::Fraction,
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign, b'0'..=b'9') => State::ExponentDigits,
            _ => return self.fail("a digit"),
        };
        Ok(())
    }

    fn number_goes_on(&mut self, byte: u8) -> bool {
        self.state = match (self.state, byte) {
            (State::Zero | State::Integer, b'.') => State::Point,
            (State::Zero | State::Integer | State::Fraction, b'e' | b'E') => State::Exponent,
            _ => return false,
        };
        true
    }
}

/// Index of the first byte at or after `at` that ends plain string text: a quote, a backslash or a control
/// character; the length when there is none. Looks at eight bytes at a time.
fn skip_plain_text(bytes: &[u8], mut at: usize) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_bytes = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = zero_bytes(word ^ (LOW * u64::from(b'"')));
        let backslash = zero_bytes(word ^ (LOW * u64::from(b'\\')));
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        // Borrows make bytes after the first hit unreliable, but the first hit itself is exact.
        let hits = quote | backslash | control;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&b| b != b'"' && b != b'\\' && b >= 0x20) {
        at += 1;
    }
    at
}

/// Index of the first byte at or after `at` that is not a digit; the length when there is none.
fn skip_digits(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// The kinds of the open containers, one bit each.
#[derive(Debug, Default)]
struct BitStack {
    depth: usize,
    /// The innermost 64 levels.
    top: u64,
    /// Levels further out, 64 to a word.
    spilled: Vec<u64>,
}

impl BitStack {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.spilled.push(self.top);
        }
        self.top = self.top << 1 | u64::from(object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.top >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.top = self.spilled.pop().unwrap_or_default();
        }
    }

    fn top_is_object(&self) -> bool {
        self.top & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn parts(body: &str) -> Vec<&str> {
        messages(body.as_bytes()).unwrap().into_iter().map(|range| &body[range]).collect()
    }

    #[test]
    fn a_top_level_array_is_flattened_exactly_one_level() {
        assert_eq!(parts(r#"{"a":1}"#), [r#"{"a":1}"#]);
        assert_eq!(parts(r#" [ {"a":1} , {"b":2} ] "#), [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(parts("[[1,2],[3,4]]"), ["[1,2]", "[3,4]"]);
        assert_eq!(parts("[[[1,2,3]]]"), ["[[1,2,3]]"]);
        assert_eq!(parts("[1,-0.5e+3 ,\"x,]\",null]"), ["1", "-0.5e+3", "\"x,]\"", "null"]);
        assert!(parts("[]").is_empty());
        assert_eq!(parts("12"), ["12"]);
        assert_eq!(parts("\u{feff}[1]"), ["1"]);
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_position() {
        for bad in [
            "",
            " ",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{",
            "{\"a\"",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1.",
            "1e",
            "+1",
            ".5",
            "-",
            "tru",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "1 2",
            "[1][2]",
            "]",
            "}",
            "NaN",
            "'a'",
            "[1 2]",
            "{\"a\" 1}",
        ] {
            assert!(messages(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(messages(b"[1,\xff]").unwrap_err().position, 3);
        assert_eq!(check_document(b"[1,}").unwrap_err().position, 3);
    }

    #[test]
    fn nesting_beyond_one_word_is_tracked() {
        for depth in [63, 64, 65, 128, 129, 1000] {
            let text = format!("{}{}{}", "[{\"a\":".repeat(depth), 1, "}]".repeat(depth));
            check_document(text.as_bytes()).unwrap();
            let torn = format!("{}{}{}", "[{\"a\":".repeat(depth), 1, "]}".repeat(depth));
            check_document(torn.as_bytes()).unwrap_err();
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC*".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("[a-z\\\\\"é]{0,4}", inner, 0..6)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_valid_text(items in prop::collection::vec(json(), 0..6), pretty: bool) {
            let value = Value::from(items.clone());
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            // Both sides through text: serde_json reads some floats back a bit off.
            let reread = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let found: Vec<Value> = messages(text.as_bytes()).unwrap().into_iter().map(|r| reread(&text[r])).collect();
            let sent: Vec<Value> = items.iter().map(|item| reread(&item.to_string())).collect();
            prop_assert_eq!(found, sent);
        }

        #[test]
        fn accepts_exactly_what_serde_json_accepts(value in json(), at: prop::sample::Index, byte: u8, insert: bool) {
            let mut text = serde_json::to_vec(&value).unwrap();
            let at = at.index(text.len());
            if insert { text.insert(at, byte) } else { text[at] = byte }
            let theirs = serde_json::from_slice::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(check_document(&text).is_ok(), theirs, "{:?}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn the_split_of_the_input_does_not_matter(items in prop::collection::vec(json(), 0..5), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let text = serde_json::to_vec(&Value::from(items)).unwrap();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(text.len())).collect();
            cuts.sort_unstable();
            let (mut scanner, mut found, mut from) = (Scanner::new(), Vec::new(), 0);
            for cut in cuts.into_iter().chain([text.len()]) {
                scanner.feed(&text[from..cut], &mut found).unwrap();
                from = cut;
            }
            scanner.finish(&mut found).unwrap();
            prop_assert_eq!(found, messages(&text).unwrap());
        }
    }
}
