//! Standard input as messages: as a whole, line by line, or element by element of a JSON array.
//!
//! Only one message is held at a time, besides what the producer has not sent yet.

use std::fmt;

use everstream::proto::content_type::StreamFormat;
use everstream::proto::json::{self, JsonError, Scanner};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use super::content::compact;
use super::writer::Writer;

/// The longest message; a producer's buffer holds no longer one.
const LONGEST_MESSAGE: usize = 32 << 20;
/// A stream without messages is written in pieces of this size.
const PIECE: usize = 1 << 20;

/// Why no more is written.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The producer refused a message, or gave up.
    Refused(everstream::Error),
    /// The input cannot be read, or is not what it should be.
    Input(String),
    /// The input is empty.
    Nothing,
}

impl From<everstream::Error> for Stop {
    fn from(error: everstream::Error) -> Self {
        Self::Refused(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Input(format!("Failed to read from stdin: {error}"))
    }
}

fn not_json(error: &dyn fmt::Display) -> Stop {
    Stop::Input(format!("Failed to parse JSON from stdin\n  {error}"))
}

/// All of the input: one message on a JSON stream; on any other, where data has no parts, pieces of it.
pub(crate) async fn whole(
    input: impl AsyncRead + Unpin,
    format: StreamFormat,
    writer: &mut Writer,
) -> Result<(), Stop> {
    let mut input = BufReader::new(input);
    if format == StreamFormat::Json {
        let mut document = Vec::new();
        (&mut input).take(LONGEST_MESSAGE as u64 + 1).read_to_end(&mut document).await?;
        if document.is_empty() {
            return Err(Stop::Nothing);
        }
        if document.len() > LONGEST_MESSAGE {
            return Err(Stop::Input(format!(
                "A message can have {LONGEST_MESSAGE} bytes; for many messages use --lines or --batch-json"
            )));
        }
        json::check_document(&document).map_err(|error| not_json(&error))?;
        return Ok(writer.append(&compact(&document)).await?);
    }
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        let room = (PIECE - piece.len()) as u64;
        let is_end = (&mut input).take(room).read_to_end(&mut piece).await? < room as usize;
        if piece.is_empty() {
            return if writer.messages == 0 { Err(Stop::Nothing) } else { Ok(()) };
        }
        let end = if is_end { piece.len() } else { whole_characters(&piece) };
        writer.append(&piece[..end]).await?;
        piece.drain(..end);
        if is_end {
            return Ok(());
        }
    }
}

/// Where to cut a piece so that a character of UTF-8 text stays whole: text streams must not hold halves of one.
fn whole_characters(piece: &[u8]) -> usize {
    match std::str::from_utf8(piece) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => piece.len(),
    }
}

/// The input line by line, each a message. On a JSON stream a line is one document, and blank ones are skipped; on
/// any other its line break is part of it. Ends early when `interrupt` is ready or the producer has given up.
pub(crate) async fn lines(
    input: impl AsyncRead + Unpin,
    format: StreamFormat,
    writer: &mut Writer,
    interrupt: impl Future<Output = ()>,
) -> Result<(), Stop> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let mut interrupt = std::pin::pin!(interrupt);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let mut limited = (&mut input).take(LONGEST_MESSAGE as u64 + 1);
        tokio::select! {
            biased;
            () = &mut interrupt => return Ok(()),
            read = limited.read_until(b'\n', &mut line) => if read? == 0 { return Ok(()) },
            () = writer.failed() => return Ok(()),
        }
        if line.len() > LONGEST_MESSAGE {
            return Err(Stop::Input(format!("Line {number} has more than {LONGEST_MESSAGE} bytes")));
        }
        let message = match format {
            StreamFormat::Json => line.trim_ascii(),
            StreamFormat::Binary | StreamFormat::Text => &line,
        };
        if message.is_empty() {
            continue;
        }
        if format == StreamFormat::Json {
            json::check_document(message).map_err(|error| Stop::Input(format!("Line {number}: {error}")))?;
        }
        writer.append(message).await?;
    }
    Ok(())
}

/// The elements of a JSON array, each a message, sent while the rest is still being read; or one other value.
pub(crate) async fn elements(mut input: impl AsyncRead + Unpin, writer: &mut Writer) -> Result<(), Stop> {
    let mut scanner = Scanner::new();
    // What was read and not written, and where in the input it begins.
    let (mut held, mut base) = (Vec::new(), 0);
    let mut chunk = vec![0; 64 << 10];
    let mut found = Vec::new();
    loop {
        let read = input.read(&mut chunk).await?;
        let mut piece = &chunk[..read];
        if base == 0 && held.is_empty() {
            piece = piece.strip_prefix(b"\xef\xbb\xbf").unwrap_or(piece);
        }
        held.extend_from_slice(piece);
        let result: Result<(), JsonError> = match read {
            0 if scanner.is_blank() => return Err(Stop::Nothing),
            0 => scanner.finish(&mut found),
            _ => scanner.feed(piece, &mut found),
        };
        let mut done = base;
        for range in found.drain(..) {
            writer.append(&compact(&held[range.start - base..range.end - base])).await?;
            done = range.end;
        }
        held.drain(..done - base);
        base = done;
        result.map_err(|error| not_json(&error))?;
        if read == 0 {
            return Ok(());
        }
        if held.len() > LONGEST_MESSAGE + chunk.len() {
            return Err(Stop::Input(format!("An element has more than {LONGEST_MESSAGE} bytes")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_ends_between_characters_where_there_are_any() {
        assert_eq!(whole_characters("aä".as_bytes()), 3);
        assert_eq!(whole_characters(&"aä".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(b"a\xff\xc3"), 3);
        assert_eq!(whole_characters(b"\xc3"), 1);
    }
}
