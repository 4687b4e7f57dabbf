//! `read`: a stream to standard output, from anywhere to its end.
//!
//! A batch is printed, flushed, and only then noted in the checkpoint file: what the file calls read was printed.

use std::io::{self, IsTerminal as _, Write as _};

use bytes::Bytes;
use everstream::{Batch, CheckpointFile, LiveMode, ReadFrom, ReadOptions};

use crate::args::{From, Live, ReadArgs};
use crate::output::{Failure, complain};
use crate::pipe;
use crate::signals;
use crate::target::Target;

pub(crate) async fn run(target: &Target, args: &ReadArgs) -> Result<(), Failure> {
    let id = &args.stream.id;
    let stream = target.stream(id)?;
    let file = args.checkpoint.as_deref().map(|path| CheckpointFile::new(path, id));
    let stored = match &file {
        Some(file) => file.load().map_err(|error| broken(file, "use", &error))?,
        None => None,
    };
    let start = stored.unwrap_or_else(|| start(args).into());
    let interrupt = signals::interrupt().map_err(|error| Failure::new(format!("Error: no signals: {error}")))?;
    let mut interrupt = std::pin::pin!(interrupt);
    let mut pipe_closed = std::pin::pin!(pipe::stdout_closed());

    let mut left = args.count;
    let mut reader = stream.read(ReadOptions {
        from: start,
        live: live(args),
        request_timeout: target.try_timeout,
        ..ReadOptions::default()
    });
    while left != Some(0) {
        let batch = tokio::select! {
            biased;
            () = &mut interrupt => break,
            () = &mut pipe_closed => break,
            batch = reader.next() => match batch {
                Some(batch) => batch.map_err(|error| Failure::of("read stream", id, &error))?,
                None => break,
            },
        };
        let part = Part::of(&batch, left, args.json_lines);
        match print(&part.text) {
            Ok(()) => {}
            // Nobody reads on: that is an end like any other.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::new(format!("Failed to write to stdout: {error}"))),
        }
        left = left.map(|left| left - part.counted);
        let after = batch.checkpoint_at(part.units.unwrap_or(u64::MAX));
        if args.show_offset {
            complain(&match after.skip {
                0 => format!("offset: {}", after.from),
                skip => format!("offset: {} + {skip}", after.from),
            });
        }
        if let Some(file) = &file {
            file.store(&after).map_err(|error| broken(file, "write", &error))?;
        }
    }
    Ok(())
}

fn broken(file: &CheckpointFile, what: &str, error: &io::Error) -> Failure {
    Failure::new(format!("Failed to {what} checkpoint file {}", file.path().display())).detail(error.to_string())
}

fn start(args: &ReadArgs) -> ReadFrom {
    match (&args.offset, args.from) {
        (Some(offset), _) => offset.clone(),
        (None, Some(From::Now)) => ReadFrom::Now,
        (None, Some(From::Beginning) | None) => ReadFrom::Beginning,
    }
}

fn live(args: &ReadArgs) -> LiveMode {
    match args.live {
        _ if args.no_follow => LiveMode::CatchUp,
        Live::Auto => LiveMode::Auto,
        Live::LongPoll => LiveMode::LongPoll,
        Live::Sse => LiveMode::Sse,
    }
}

/// As much of a batch as is to be printed.
struct Part {
    text: Vec<Bytes>,
    /// Messages or lines in it.
    counted: u64,
    /// Messages (JSON) or bytes in it, when it is not the whole batch.
    units: Option<u64>,
}

impl Part {
    fn of(batch: &Batch, limit: Option<u64>, json_lines: bool) -> Self {
        if batch.is_json() {
            let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
            let messages: Vec<Bytes> = batch.messages().take(limit).collect();
            let is_whole = messages.len() == batch.messages().len();
            let text = match json_lines {
                _ if messages.is_empty() => Vec::new(),
                true => vec![one_a_line(&messages).into()],
                false if is_whole => end_on_terminal(batch.bytes()),
                false => end_on_terminal(array(&messages).into()),
            };
            let counted = messages.len() as u64;
            return Self { text, counted, units: (!is_whole).then_some(counted) };
        }
        let Some(limit) = limit else {
            return Self { text: vec![batch.bytes()], counted: 0, units: None };
        };
        let bytes = batch.bytes();
        let (end, counted) = lines(&bytes, limit);
        Self { text: vec![bytes.slice(..end)], counted, units: (end < bytes.len()).then_some(end as u64) }
    }
}

/// An array as the server sends it; on a terminal with a line break, as the next one would stick to it.
fn end_on_terminal(array: Bytes) -> Vec<Bytes> {
    match io::stdout().is_terminal() {
        true => vec![array, Bytes::from_static(b"\n")],
        false => vec![array],
    }
}

fn array(messages: &[Bytes]) -> Vec<u8> {
    [b"[".as_slice(), &messages.join(&b','), b"]"].concat()
}

/// Line breaks between the tokens of a message become spaces; there are none inside of JSON strings.
fn one_a_line(messages: &[Bytes]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(messages.iter().map(|message| message.len() + 1).sum());
    for message in messages {
        lines.extend(message.iter().map(|&byte| match byte {
            b'\n' | b'\r' => b' ',
            byte => byte,
        }));
        lines.push(b'\n');
    }
    lines
}

/// Where the first `limit` lines end, and how many there are.
fn lines(bytes: &[u8], limit: u64) -> (usize, u64) {
    let mut counted = 0;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        counted += 1;
        if counted == limit {
            return (at + 1, counted);
        }
    }
    (bytes.len(), counted)
}

fn print(text: &[Bytes]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    text.iter().try_for_each(|piece| stdout.write_all(piece))?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_their_ends() {
        assert_eq!(lines(b"a\nb\nc", 1), (2, 1));
        assert_eq!(lines(b"a\nb\nc", 2), (4, 2));
        assert_eq!(lines(b"a\nb\nc", 9), (5, 2));
        assert_eq!(lines(b"", 1), (0, 0));
    }

    #[test]
    fn a_message_stays_on_its_line() {
        let messages = [Bytes::from_static(b"{\n\"a\": \"x\\n\"}"), Bytes::from_static(b"2")];
        assert_eq!(one_a_line(&messages), b"{ \"a\": \"x\\n\"}\n2\n");
        assert_eq!(array(&messages[1..]), b"[2]");
    }
}
