//! What the words of a command line mean as data: escapes, and JSON.

use everstream::proto::content_type::StreamFormat;
use everstream::proto::json;

use crate::output::{Failure, one_line};

/// Replaces `\n`, `\t`, `\r` and `\\`; any other backslash stays.
pub(crate) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('\\') => plain.push('\\'),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

/// The bytes of one message for a stream of this format, from a text as typed and with escapes replaced.
///
/// JSON has escapes of its own, so it is taken as typed; only if that is not JSON, as the official command line
/// would read it.
pub(crate) fn for_format(format: StreamFormat, typed: &str, unescaped: &str) -> Result<Vec<u8>, Failure> {
    if format != StreamFormat::Json {
        return Ok(unescaped.as_bytes().to_vec());
    }
    let Err(error) = json::check_document(typed.as_bytes()) else {
        return Ok(compact(typed.as_bytes()));
    };
    if json::check_document(unescaped.as_bytes()).is_ok() {
        return Ok(compact(unescaped.as_bytes()));
    }
    Err(Failure::new("Failed to parse JSON content")
        .detail(error.to_string())
        .detail(format!("Input: {}", one_line(typed, 100))))
}

/// A JSON document without the white space around its tokens; numbers, order and escapes stay as they were written.
pub(crate) fn compact(document: &[u8]) -> Vec<u8> {
    let mut compacted = Vec::with_capacity(document.len());
    let (mut in_text, mut escaped) = (false, false);
    for &byte in document {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
        } else if byte == b'"' {
            in_text = true;
        } else if byte.is_ascii_whitespace() {
            continue;
        }
        compacted.push(byte);
    }
    compacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_once_from_left_to_right() {
        for (typed, plain) in
            [(r"a\nb", "a\nb"), (r"\t\r\\", "\t\r\\"), (r"\\n", r"\n"), (r"C:\dir\", r"C:\dir\"), ("ä\\n", "ä\n")]
        {
            assert_eq!(unescape(typed), plain, "{typed}");
        }
    }

    #[test]
    fn json_keeps_its_own_escapes_and_its_numbers() {
        let json = |text: &str| for_format(StreamFormat::Json, text, &unescape(text));
        assert_eq!(json(r#"{ "a" : "x\n y\" " }"#).unwrap(), br#"{"a":"x\n y\" "}"#);
        assert_eq!(json("12345678901234567890.10").unwrap(), b"12345678901234567890.10");
        assert_eq!(json(r#"{"a":1}\n"#).unwrap(), br#"{"a":1}"#);
        assert!(json("{a:1}").unwrap_err().to_string().contains("Input: {a:1}"));
    }

    #[test]
    fn other_formats_take_the_text_with_escapes_replaced() {
        assert_eq!(for_format(StreamFormat::Binary, r"a\n", "a\n").unwrap(), b"a\n");
    }
}
