//! Results: how they are written, and what the protocol calls our errors.

use everstream::{Error, ErrorKind};
use serde_json::{Map, Value, json};

/// What a command comes to.
pub(crate) type Outcome = Result<Value, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library says so.
    Library(Error),
    /// The adapter does not know the command.
    NotSupported(String),
    /// An argument that the library's types cannot even hold.
    InvalidArgument(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

/// The line for a result. ASCII, so that no reader takes U+2028 for the end of the line.
pub(crate) fn encode(result: &Value) -> String {
    let mut line = String::new();
    for unit in result.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => line.push(char::from(byte)),
            // JSON has nothing but ASCII outside of strings.
            _ => line.push_str(&format!("\\u{unit:04x}")),
        }
    }
    line.push('\n');
    line
}

pub(crate) fn unparsable() -> Value {
    failed("init", "PARSE_ERROR", "not a command: an object with a type is wanted", None)
}

/// The result of a command.
pub(crate) fn result(kind: &str, outcome: Outcome) -> Value {
    match outcome {
        Ok(Value::Object(fields)) => {
            let mut result = Map::from_iter([("type".to_owned(), kind.into()), ("success".to_owned(), true.into())]);
            result.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
            result.into()
        }
        Ok(_) => json!({"type": kind, "success": true}),
        Err(Failure::NotSupported(message)) => failed(kind, "NOT_SUPPORTED", &message, None),
        Err(Failure::InvalidArgument(message)) => failed(kind, "INVALID_ARGUMENT", &message, None),
        Err(Failure::Library(error)) => {
            // The offset is all that a read can have wrong.
            let code = if kind == "read" && error.status() == Some(400) { "INVALID_OFFSET" } else { code_of(&error) };
            let status = error.status().filter(|_| code != "PARSE_ERROR");
            let mut result = failed(kind, code, &error.to_string(), status);
            result["details"] = details(&error);
            result
        }
    }
}

fn failed(kind: &str, code: &str, message: &str, status: Option<u16>) -> Value {
    let mut result =
        json!({"type": "error", "success": false, "commandType": kind, "errorCode": code, "message": message});
    if let Some(status) = status {
        result["status"] = status.into();
    }
    result
}

/// An error as one of many in a result.
pub(crate) fn described(error: &Error) -> Value {
    let mut described = json!({"ok": false, "errorCode": code_of(error), "message": error.to_string()});
    if let Some(status) = error.status() {
        described["status"] = status.into();
    }
    described["details"] = details(error);
    described
}

/// The protocol's code.
fn code_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Network => "NETWORK_ERROR",
        ErrorKind::Timeout => "TIMEOUT",
        ErrorKind::CreateConflict | ErrorKind::ContentTypeConflict => "CONFLICT",
        ErrorKind::NotFound => "NOT_FOUND",
        ErrorKind::SequenceConflict | ErrorKind::SequenceGap { .. } => "SEQUENCE_CONFLICT",
        ErrorKind::StreamClosed { .. } => "STREAM_CLOSED",
        ErrorKind::InvalidOffset => "INVALID_OFFSET",
        ErrorKind::InvalidArgument => "INVALID_ARGUMENT",
        ErrorKind::Parse | ErrorKind::Protocol => "PARSE_ERROR",
        ErrorKind::NotSupported => "NOT_SUPPORTED",
        _ if error.status().is_some() => "UNEXPECTED_STATUS",
        _ => "INTERNAL_ERROR",
    }
}

/// What the library says beyond the protocol.
fn details(error: &Error) -> Value {
    let mut details = json!({"code": error.code(), "outcomeUnknown": error.outcome_unknown()});
    if let Some(offset) = error.final_offset() {
        details["finalOffset"] = offset.as_str().into();
    }
    match error.kind() {
        ErrorKind::ProducerFenced { current_epoch } => details["currentEpoch"] = (*current_epoch).into(),
        ErrorKind::SequenceGap { expected, received } => {
            details["expectedSeq"] = (*expected).into();
            details["receivedSeq"] = (*received).into();
        }
        _ => {}
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_ascii_and_means_the_same() {
        let value = json!({"data": "a\u{2028}é🌍\n\u{85}"});
        let line = encode(&value);
        assert!(line.is_ascii());
        assert_eq!(line.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Value>(&line).ok(), Some(value));
    }
}
