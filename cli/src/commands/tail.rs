//! `tail`: the last messages of one or more streams, and what comes after them.
//!
//! Where the last messages begin is not known before the end is: offsets are opaque. A stream is therefore read from its
//! beginning, and what is too old is dropped on the way; `--since-now` reads nothing of it.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use bytes::Bytes;
use everstream::{Batch, DurableStream, LiveMode, ReadFrom, ReadOptions};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::args::TailArgs;
use crate::output::{Failure, complain};
use crate::style::{Color, is_colored, paint};
use crate::target::Target;
use crate::{pipe, signals};

/// Lines on their way to be printed. Readers wait when more are.
const UNDER_WAY: usize = 256;

pub(crate) async fn run(target: &Target, args: &TailArgs) -> Result<(), Failure> {
    let streams: Vec<_> = args.ids.iter().map(|id| target.stream(id)).collect::<Result<_, _>>()?;
    let interrupt = signals::interrupt().map_err(|error| Failure::new(format!("Error: no signals: {error}")))?;
    let mut interrupt = std::pin::pin!(interrupt);
    let mut pipe_closed = std::pin::pin!(pipe::stdout_closed());
    let (sender, mut lines) = mpsc::channel(UNDER_WAY);
    let mut readers = JoinSet::new();
    for (index, stream) in streams.into_iter().enumerate() {
        let tail = Tail {
            index,
            last: if args.since_now { 0 } else { args.count },
            // One stream of text is shown as it comes, also in the middle of a line.
            is_raw: args.ids.len() == 1 && !args.output.is_json(),
            out: sender.clone(),
        };
        readers.spawn(tail.follow(stream, options(target, args)));
    }
    drop(sender);
    let printer = Printer::new(args);
    let mut failed = None;
    loop {
        let line = tokio::select! {
            biased;
            () = &mut interrupt => return Ok(()),
            () = &mut pipe_closed => return Ok(()),
            line = lines.recv() => line,
        };
        match line {
            Some(Line::Message { stream, text }) => match printer.print(stream, &text) {
                Ok(()) => {}
                // Nobody reads on: that is an end like any other.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(Failure::new(format!("Failed to write to stdout: {error}"))),
            },
            // The others go on.
            Some(Line::Failed { stream, error }) => {
                let failure = Failure::of("read stream", &args.ids[stream], &error);
                if let Some(before) = failed.replace(failure) {
                    complain(&before.to_string());
                }
            }
            None => return failed.map_or(Ok(()), Err),
        }
    }
}

fn options(target: &Target, args: &TailArgs) -> ReadOptions {
    ReadOptions {
        from: if args.since_now || args.count == 0 { ReadFrom::Now } else { ReadFrom::Beginning }.into(),
        live: if args.no_follow { LiveMode::CatchUp } else { LiveMode::Auto },
        request_timeout: target.try_timeout,
        ..ReadOptions::default()
    }
}

/// What a reader has to say.
enum Line {
    Message { stream: usize, text: Text },
    Failed { stream: usize, error: everstream::Error },
}

/// A message as it is to be printed.
enum Text {
    Json(Bytes),
    /// Of text, without its line break.
    Line(Bytes),
    /// Of text, as it came.
    Raw(Bytes),
}

/// One stream that is followed.
struct Tail {
    index: usize,
    /// How many of the messages that are there already are shown.
    last: usize,
    is_raw: bool,
    out: mpsc::Sender<Line>,
}

impl Tail {
    async fn follow(self, stream: DurableStream, options: ReadOptions) {
        let mut reader = stream.read(options);
        let mut held = VecDeque::new();
        let mut is_caught_up = self.last == 0;
        // The beginning of a line whose end has not come yet.
        let mut unfinished = Vec::new();
        while let Some(batch) = reader.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    let _ = self.out.send(Line::Failed { stream: self.index, error }).await;
                    return;
                }
            };
            if is_caught_up && self.is_raw && !batch.is_json() {
                if !batch.is_empty() && !self.say(Text::Raw(batch.bytes())).await {
                    return;
                }
                continue;
            }
            held.extend(texts(&batch, &mut unfinished));
            if !is_caught_up {
                let too_many = held.len().saturating_sub(self.last);
                held.drain(..too_many);
                is_caught_up = batch.is_up_to_date() || batch.is_closed();
                if !is_caught_up {
                    continue;
                }
                if !unfinished.is_empty() {
                    // It is a line that counts.
                    held.drain(..(held.len() + 1).saturating_sub(self.last));
                }
                if self.is_raw && !unfinished.is_empty() {
                    // And shown as far as it has come.
                    if !self.say_all(&mut held).await || !self.say(Text::Raw(take(&mut unfinished))).await {
                        return;
                    }
                }
            }
            if !self.say_all(&mut held).await {
                return;
            }
        }
        if !unfinished.is_empty() {
            held.push_back(Text::Line(take(&mut unfinished)));
        }
        let too_many = if is_caught_up { 0 } else { held.len().saturating_sub(self.last) };
        held.drain(..too_many);
        self.say_all(&mut held).await;
    }

    /// Whether somebody still listens.
    async fn say(&self, text: Text) -> bool {
        self.out.send(Line::Message { stream: self.index, text }).await.is_ok()
    }

    async fn say_all(&self, texts: &mut VecDeque<Text>) -> bool {
        for text in texts.drain(..) {
            if !self.say(text).await {
                return false;
            }
        }
        true
    }
}

fn take(bytes: &mut Vec<u8>) -> Bytes {
    std::mem::take(bytes).into()
}

/// The messages of a JSON stream, or the lines of any other that are complete with this batch.
fn texts(batch: &Batch, unfinished: &mut Vec<u8>) -> Vec<Text> {
    if batch.is_json() {
        return batch.messages().map(Text::Json).collect();
    }
    let bytes = batch.bytes();
    let mut texts = Vec::new();
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        unfinished.extend_from_slice(piece);
        if unfinished.ends_with(b"\n") {
            unfinished.pop();
            texts.push(Text::Line(take(unfinished)));
        }
    }
    texts
}

/// How lines look.
struct Printer<'a> {
    ids: &'a [String],
    is_json: bool,
    /// What stands before the lines of each stream; nothing for a single one.
    prefixes: Vec<String>,
}

impl<'a> Printer<'a> {
    fn new(args: &'a TailArgs) -> Self {
        let ids = args.ids.as_slice();
        let width = ids.iter().map(String::len).max().unwrap_or_default();
        let is_colored = is_colored(&io::stdout());
        let prefix = |(n, id): (usize, &String)| {
            let label = paint(&format!("{id:<width$}"), Color::Nth(n), is_colored);
            format!("{label} {} ", paint("|", Color::Dim, is_colored))
        };
        let prefixes = if ids.len() == 1 { vec![String::new()] } else { ids.iter().enumerate().map(prefix).collect() };
        Self { ids, is_json: args.output.is_json(), prefixes }
    }

    fn print(&self, stream: usize, text: &Text) -> io::Result<()> {
        let mut line = Vec::new();
        if self.is_json {
            let message = match text {
                Text::Json(json) => serde_json::from_slice::<&RawValue>(json).map(|raw| json!(raw)),
                Text::Line(text) | Text::Raw(text) => Ok(json!(String::from_utf8_lossy(text))),
            };
            let message = message.map_err(io::Error::other)?;
            serde_json::to_writer(&mut line, &json!({"stream": self.ids[stream], "message": message}))?;
            line.push(b'\n');
        } else {
            line.extend_from_slice(self.prefixes[stream].as_bytes());
            match text {
                // Between the tokens of a message there may be line breaks; inside of strings there are none.
                Text::Json(json) => {
                    line.extend(json.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }))
                }
                Text::Line(text) | Text::Raw(text) => line.extend_from_slice(text),
            }
            if !matches!(text, Text::Raw(_)) {
                line.push(b'\n');
            }
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    }
}
