//! What people get to see: results on standard output, everything else on standard error.
//!
//! Nothing here fails when the other end of a pipe is gone, and nothing here shows a credential: errors carry
//! addresses without user, password and query, and never header values.

use std::fmt;
use std::io::Write as _;

use everstream::{Error, ErrorKind};

use crate::style::{Color, paint};

/// Why a command failed, as it is printed: a headline, and lines below it.
#[derive(Debug)]
pub(crate) struct Failure {
    headline: String,
    details: Vec<String>,
    /// What to do.
    hint: Option<String>,
}

impl Failure {
    /// A failure that one line explains.
    pub(crate) fn new(headline: impl Into<String>) -> Self {
        Self { headline: headline.into(), details: Vec::new(), hint: None }
    }

    /// A failure of something done with one stream, such as `create stream`, for a reason that the client gives.
    pub(crate) fn of(what: &str, id: &str, error: &Error) -> Self {
        let failure = Self::new(format!("Failed to {what} \"{id}\"")).because(error);
        match error.kind() {
            ErrorKind::NotFound if !what.starts_with("fork") => {
                failure.hint(format!("`everstream create {id}` makes it, `everstream ls` shows what is there"))
            }
            _ => failure,
        }
    }

    /// Adds the client's reason.
    pub(crate) fn because(self, error: &Error) -> Self {
        let mut failure = self.detail(describe(error));
        if let Some(hint) = hint(error) {
            failure = failure.hint(hint);
        }
        match error.response().and_then(|response| response.body.as_deref()) {
            Some(body) if !body.trim().is_empty() => failure.detail(format!("Server: {}", one_line(body, 200))),
            _ => failure,
        }
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// As it is printed.
    pub(crate) fn shown(&self, is_colored: bool) -> String {
        let text = self.to_string();
        let (headline, rest) = text.split_at(self.headline.len());
        format!("{}{rest}", paint(headline, Color::Red, is_colored))
    }

    /// Adds a line.
    pub(crate) fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)?;
        self.details.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  Hint: {hint}"))
    }
}

/// What to do about an error, where that is clear.
fn hint(error: &Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::Network => {
            Some("is a server there? `everstream serve` runs one; --url or STREAM_URL says where it is")
        }
        ErrorKind::Unauthorized => Some("give a token: --auth 'Bearer ...', or the variable STREAM_AUTH"),
        ErrorKind::Forbidden => Some("the server knows the token and does not let it do this"),
        ErrorKind::ContentTypeConflict => Some("`everstream head` shows the content type of a stream"),
        ErrorKind::StreamClosed { .. } | ErrorKind::AlreadyClosed => {
            Some("a closed stream takes no more data; `everstream fork` makes one that goes on from it")
        }
        ErrorKind::CreateConflict => {
            Some("a stream of that name is there with another configuration; see `everstream head`")
        }
        _ => None,
    }
}

/// An error in a line; of an HTTP answer `<Reason> (<code>)` and what it means.
pub(crate) fn describe(error: &Error) -> String {
    let text = match error.status() {
        Some(status) => format!("{}: {}", reason(status), error.message()),
        None => error.message().to_owned(),
    };
    match error.outcome_unknown() {
        true => format!("{text}; it is not known whether the server has done it"),
        false => text,
    }
}

fn reason(status: u16) -> String {
    let reason =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("HTTP Error");
    format!("{reason} ({status})")
}

/// The start of a text without line breaks and control characters.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let clean: String = text.trim().chars().take(longest).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().chars().count() > longest { format!("{clean}...") } else { clean }
}

/// Prints a line of results.
pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // Nobody is there to read what cannot be written.
    let _ = writeln!(stdout, "{}", line.trim_end()).and_then(|()| stdout.flush());
}

/// Prints a line of diagnostics.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", line.trim_end());
}

/// `1 byte`, `512 bytes`, `1.5 KB`, `2.0 MB`.
pub(crate) fn format_bytes(bytes: u64) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MB", bytes as f64 / 1_048_576.0),
    }
}

/// `1 message`, `2 messages`.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use everstream::ErrorKind;

    #[test]
    fn sizes_are_shown_in_the_official_words() {
        for (bytes, shown) in [(1, "1 byte"), (13, "13 bytes"), (1536, "1.5 KB"), (3 << 20, "3.0 MB")] {
            assert_eq!(format_bytes(bytes), shown);
        }
    }

    #[test]
    fn an_http_error_is_its_reason_and_code() {
        assert_eq!(reason(404), "Not Found (404)");
        assert_eq!(reason(599), "HTTP Error (599)");
        let error = Error::new(ErrorKind::Network, "reset").with_outcome_unknown(true);
        assert!(describe(&error).starts_with("reset; it is not known"));
    }

    #[test]
    fn a_servers_text_cannot_move_the_cursor() {
        assert_eq!(one_line(" a\x1b[2J\nb ", 80), "a [2J b");
        assert_eq!(one_line("abcd", 3), "abc...");
    }
}
