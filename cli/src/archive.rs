//! The file of `export` and `import`: one JSON object a line.
//!
//! ```text
//! {"format":1}
//! {"stream":{"path":"orders","contentType":"application/json","createdAt":1795641200000}}
//! {"json":{"messages":[{"id":1},{"id":2}],"next":{"from":"0000000000000000_0000000000000018","skip":0}}}
//! {"end":{"path":"orders","messages":2,"bytes":16,"sha256":"...","closed":false}}
//! {"done":{"streams":1}}
//! ```
//!
//! Data of other streams than JSON ones is `text` where it is UTF-8, and `base64` where it is not; JSON messages that hold
//! a line break are strings in `jsonText`. `next` is where to go on: a file that breaks off is a file that can be
//! continued. The hash is over each JSON message and a line feed, or over the bytes of any other stream; counts and hash
//! are checked when the file is read.

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use everstream::{Batch, Checkpoint};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of the format that is written, and the only one that is read.
pub(crate) const FORMAT: u32 = 1;
/// A line beyond this is no line of ours: batches are much smaller, and one message at most so large.
const LONGEST_LINE: u64 = 2 << 30;

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Line {
    Format(u32),
    Stream(StreamLine),
    Json { messages: Vec<Box<RawValue>>, next: Checkpoint },
    JsonText { messages: Vec<String>, next: Checkpoint },
    Text { data: String, next: Checkpoint },
    Base64 { data: String, next: Checkpoint },
    End(EndLine),
    Done { streams: u64 },
}

/// A stream begins.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StreamLine {
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) created_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
}

/// A stream ends.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EndLine {
    pub(crate) path: String,
    /// JSON messages; 0 for other streams, whose messages have no bounds.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) closed: bool,
}

/// What a line of data holds.
#[derive(Debug)]
pub(crate) enum Data {
    Messages(Vec<Bytes>),
    Bytes(Bytes),
}

impl Line {
    /// A batch as a line.
    pub(crate) fn of(batch: &Batch) -> Self {
        let next = batch.checkpoint().clone();
        if !batch.is_json() {
            return match String::from_utf8(batch.bytes().into()) {
                Ok(data) => Self::Text { data, next },
                Err(error) => Self::Base64 { data: STANDARD.encode(error.as_bytes()), next },
            };
        }
        // The core has found them to be JSON, and so UTF-8.
        let texts = batch.messages().map(|message| String::from_utf8_lossy(&message).into_owned());
        let texts: Vec<String> = texts.collect();
        if texts.iter().any(|text| text.contains(['\n', '\r'])) {
            return Self::JsonText { messages: texts, next };
        }
        match texts.iter().cloned().map(RawValue::from_string).collect() {
            Ok(messages) => Self::Json { messages, next },
            Err(_) => Self::JsonText { messages: texts, next },
        }
    }

    /// The data, and where to go on; `None` for lines without.
    pub(crate) fn data(self) -> Result<Option<(Data, Checkpoint)>, &'static str> {
        Ok(Some(match self {
            Self::Json { messages, next } => {
                let messages = messages.into_iter().map(|message| Box::<str>::from(message).into_string().into());
                (Data::Messages(messages.collect()), next)
            }
            Self::JsonText { messages, next } => {
                (Data::Messages(messages.into_iter().map(Bytes::from).collect()), next)
            }
            Self::Text { data, next } => (Data::Bytes(data.into()), next),
            Self::Base64 { data, next } => {
                let data = STANDARD.decode(data).map_err(|_| "its base64 is damaged")?;
                (Data::Bytes(data.into()), next)
            }
            Self::Format(_) | Self::Stream(_) | Self::End(_) | Self::Done { .. } => return Ok(None),
        }))
    }

    /// The line with its end.
    pub(crate) fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|mut text| {
            text.push('\n');
            text
        })
    }
}

/// Counts what a stream has held so far.
#[derive(Clone)]
pub(crate) struct Tally {
    messages: u64,
    bytes: u64,
    hash: Context,
}

impl Default for Tally {
    fn default() -> Self {
        Self { messages: 0, bytes: 0, hash: Context::new(&SHA256) }
    }
}

impl Tally {
    pub(crate) fn add(&mut self, data: &Data) {
        match data {
            Data::Bytes(bytes) => {
                self.bytes += bytes.len() as u64;
                self.hash.update(bytes);
            }
            Data::Messages(messages) => {
                for message in messages {
                    self.messages += 1;
                    self.bytes += message.len() as u64;
                    self.hash.update(message);
                    self.hash.update(b"\n");
                }
            }
        }
    }

    /// The end of a stream that held all this.
    pub(crate) fn end(&self, path: &str, closed: bool) -> EndLine {
        let digest = self.hash.clone().finish();
        let sha256 = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        EndLine { path: path.to_owned(), messages: self.messages, bytes: self.bytes, sha256, closed }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Reads lines, and knows where it is.
pub(crate) struct Lines<R> {
    input: R,
    number: u64,
    /// Bytes of whole lines.
    position: u64,
    text: String,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, number: 0, position: 0, text: String::new() }
    }

    /// The next line; `None` at the end, or at a last line that broke off.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, String> {
        self.text.clear();
        let broken = |number: u64, why: &dyn std::fmt::Display| format!("line {number}: {why}");
        let read = io::Read::take(&mut self.input, LONGEST_LINE).read_line(&mut self.text);
        let read = read.map_err(|error| broken(self.number + 1, &error))?;
        if !self.text.ends_with('\n') {
            return Ok(None);
        }
        self.number += 1;
        let line = serde_json::from_str(&self.text).map_err(|error| broken(self.number, &error))?;
        self.position += read as u64;
        match (self.number, &line) {
            (1, Line::Format(FORMAT)) => {}
            (1, Line::Format(other)) => {
                return Err(format!("this is format {other}; this version reads format {FORMAT}"));
            }
            (1, _) => return Err("this is no file of `everstream export`".to_owned()),
            (number, Line::Format(_)) => return Err(broken(number, &"a second beginning")),
            _ => {}
        }
        Ok(Some(line))
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let next = Checkpoint::default();
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        let lines = [
            Line::Format(1),
            Line::Json { messages: vec![raw(r#"{"a" : 1e3}"#), raw("12345678901234567890123")], next: next.clone() },
            Line::JsonText { messages: vec!["[1,\n2]".to_owned()], next: next.clone() },
            Line::Text { data: "é\r\n".to_owned(), next: next.clone() },
            Line::Base64 { data: STANDARD.encode([0, 255]), next },
        ];
        let text: String = lines.iter().map(|line| line.to_text().expect("it has a form")).collect();
        assert_eq!(text.lines().count(), lines.len());
        let mut read = Lines::new(text.as_bytes());
        let mut held = Vec::new();
        while let Some(line) = read.next().expect("they are whole") {
            match line.data().expect("they are sound") {
                Some((Data::Messages(messages), _)) => held.extend(messages),
                Some((Data::Bytes(bytes), _)) => held.push(bytes),
                None => {}
            }
        }
        let expected: [&[u8]; 5] =
            [br#"{"a" : 1e3}"#, b"12345678901234567890123", b"[1,\n2]", "é\r\n".as_bytes(), &[0, 255]];
        assert_eq!(held, expected);
        assert_eq!(read.position(), text.len() as u64);
    }

    #[test]
    fn a_line_that_broke_off_is_the_end_and_a_damaged_one_is_an_error() {
        let mut lines = Lines::new(&b"{\"format\":1}\n{\"done\":{\"stre"[..]);
        assert!(matches!(lines.next(), Ok(Some(Line::Format(1)))));
        assert!(matches!(lines.next(), Ok(None)));
        assert_eq!(lines.position(), 13);
        for bad in ["{\"done\":{\"streams\":1}}\n", "{\"format\":2}\n", "hello\n", "{\"format\":1,\"x\":2}\n"] {
            assert!(Lines::new(bad.as_bytes()).next().is_err(), "{bad}");
        }
    }
}
