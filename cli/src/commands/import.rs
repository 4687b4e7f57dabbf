//! `import`: streams from a file that `export` wrote.
//!
//! What a stream holds already must be the beginning of what the file has of it; the rest is appended through the
//! idempotent producer. So an import that broke off is simply run again, and a stream that holds something else is
//! never added to.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::Duration;

use bytes::Bytes;
use everstream::{CreateOptions, DurableStream, LiveMode, ReadOptions, Reader};

use super::writer::{Writer, producer};
use crate::archive::{Data, EndLine, Line, Lines, StreamLine, Tally};
use crate::args::{ImportArgs, OnConflict};
use crate::output::{Failure, complain, format_bytes, plural};
use crate::target::Target;

/// A stream that is being imported.
struct Import {
    path: String,
    stream: DurableStream,
    existing: Existing,
    writer: Writer,
    tally: Tally,
    appended: u64,
}

pub(crate) async fn run(target: &Target, args: &ImportArgs) -> Result<(), Failure> {
    let input: Box<dyn BufRead> = match &args.input {
        None => Box::new(BufReader::new(io::stdin())),
        Some(path) => {
            let file = File::open(path);
            let file = file.map_err(|error| Failure::new(format!("Failed to read {}: {error}", path.display())))?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        }
    };
    let mut lines = Lines::new(input);
    let (mut streams, mut skipped, mut appended) = (0, 0, 0);
    let mut current: Option<Result<Import, Conflict>> = None;
    let damaged = |number: u64, why: &str| Failure::new(format!("The file is damaged: line {number}: {why}"));
    while let Some(line) = lines.next().map_err(|why| Failure::new(format!("The file cannot be used: {why}")))? {
        let number = lines.number();
        match line {
            Line::Format(_) => {}
            Line::Stream(line) if current.is_none() => current = Some(Import::begin(target, line).await?),
            Line::End(end) => {
                let ended = current.take().ok_or_else(|| damaged(number, "an end without a beginning"))?;
                let ended = match ended {
                    Ok(import) => import.end(end).await?,
                    Err(conflict) => Err(conflict),
                };
                match ended {
                    Ok(bytes) => {
                        streams += 1;
                        appended += bytes;
                    }
                    Err(conflict) => {
                        conflict.settle(args.on_conflict)?;
                        skipped += 1;
                    }
                }
            }
            Line::Done { streams: said } => {
                if said != streams + skipped {
                    return Err(damaged(number, "it does not hold as many streams as it says"));
                }
                complain(&format!("Imported {} ({} appended)", plural(streams, "stream"), format_bytes(appended)));
                if skipped > 0 {
                    complain(&format!("Skipped {}", plural(skipped, "stream")));
                }
                return Ok(());
            }
            line => {
                let data = line.data().map_err(|why| damaged(number, why))?;
                let Some((data, _)) = data else { return Err(damaged(number, "a stream within a stream")) };
                match current.take() {
                    None => return Err(damaged(number, "data without a stream")),
                    Some(Ok(import)) => current = Some(import.take(data).await?),
                    conflict => current = conflict,
                }
            }
        }
    }
    Err(Failure::new("The file breaks off").detail("What it has was imported; import a complete one to add the rest"))
}

/// A stream that is there and is not what the file has.
struct Conflict {
    path: String,
    why: String,
}

impl Conflict {
    fn settle(self, on_conflict: OnConflict) -> Result<(), Failure> {
        let text = format!("Stream \"{}\" was not imported: {}", self.path, self.why);
        match on_conflict {
            OnConflict::Fail => Err(Failure::new(text).detail("--on-conflict skip leaves such streams as they are")),
            OnConflict::Skip => {
                complain(&text);
                Ok(())
            }
        }
    }
}

type Step<T> = Result<Result<T, Conflict>, Failure>;

impl Import {
    async fn begin(target: &Target, line: StreamLine) -> Result<Result<Self, Conflict>, Failure> {
        let stream = target.any_stream(&line.path)?;
        let options = CreateOptions {
            content_type: Some(line.content_type.clone()),
            ttl: line.ttl_seconds.map(Duration::from_secs),
            expires_at: line.expires_at.clone(),
            ..CreateOptions::default()
        };
        let is_new = match stream.create(&options).await {
            Ok(created) => created.created,
            // One that was closed at the end of an earlier import differs in that alone.
            Err(error) if error.status() == Some(409) => false,
            Err(error) => return Err(Failure::of("create stream", &line.path, &error)),
        };
        let existing = match is_new {
            true => Existing::None,
            false => {
                let info = stream.head().await.map_err(|error| Failure::of("look at stream", &line.path, &error))?;
                let is_same = info.content_type.as_deref() == Some(&*line.content_type)
                    && info.ttl.map(|ttl| ttl.as_secs()) == line.ttl_seconds
                    && info.expires_at == line.expires_at;
                if !is_same {
                    let why = "there is one with another content type or lifetime".to_owned();
                    return Ok(Err(Conflict { path: line.path, why }));
                }
                Existing::Some {
                    reader: Box::new(reader_of(target, &stream)),
                    ahead: VecDeque::new(),
                    closed: info.closed,
                }
            }
        };
        let producer = producer(target, &stream, None, 0).await;
        let (producer, _) = producer.map_err(|error| Failure::of("write to stream", &line.path, &error))?;
        let writer = Writer::new(producer, true);
        Ok(Ok(Self { path: line.path, stream, existing, writer, tally: Tally::default(), appended: 0 }))
    }

    /// Takes a line of data.
    async fn take(mut self, data: Data) -> Step<Self> {
        self.tally.add(&data);
        let (units, whole) = match data {
            Data::Messages(messages) => (messages, true),
            Data::Bytes(bytes) => (vec![bytes], false),
        };
        for unit in units {
            let rest = match self.existing.consume(unit, whole).await {
                Ok(rest) => rest,
                Err(Mismatch::Differs) => {
                    let why = "there is one that holds something else".to_owned();
                    return Ok(Err(Conflict { path: self.path, why }));
                }
                Err(Mismatch::Closed) => {
                    let why = "there is one that is closed and holds less".to_owned();
                    return Ok(Err(Conflict { path: self.path, why }));
                }
                Err(Mismatch::Failed(error)) => return Err(Failure::of("read stream", &self.path, &error)),
            };
            if let Some(rest) = rest {
                self.appended += rest.len() as u64;
                self.writer.append(&rest).await.map_err(|error| Failure::of("write to stream", &self.path, &error))?;
            }
        }
        Ok(Ok(self))
    }

    /// Ends the stream: everything is stored, and it is what the file said. Gives the bytes that were appended.
    async fn end(mut self, end: EndLine) -> Step<u64> {
        if self.tally.end(&self.path, end.closed) != end {
            return Err(Failure::new(format!(
                "The file is damaged: stream \"{}\" is not what was exported",
                self.path
            ))
            .detail("Its counts or its hash differ; what was read of it is in the stream"));
        }
        match self.existing.rest().await {
            Ok(true) => {}
            Ok(false) => {
                let why = "there is one that holds more".to_owned();
                return Ok(Err(Conflict { path: self.path, why }));
            }
            Err(error) => return Err(Failure::of("read stream", &self.path, &error)),
        }
        self.writer.flush().await.map_err(|unstored| {
            unstored.explain(Failure::new(format!("Failed to write to stream \"{}\"", self.path)))
        })?;
        if end.closed && !self.existing.is_closed() {
            let closed = self.stream.close().await;
            closed.map_err(|error| Failure::of("close stream", &self.path, &error))?;
        }
        Ok(Ok(self.appended))
    }
}

fn reader_of(target: &Target, stream: &DurableStream) -> Reader {
    stream.read(ReadOptions { live: LiveMode::CatchUp, request_timeout: target.try_timeout, ..ReadOptions::default() })
}

/// What a stream held before.
enum Existing {
    None,
    Some { reader: Box<Reader>, ahead: VecDeque<Bytes>, closed: bool },
}

enum Mismatch {
    Differs,
    Closed,
    Failed(everstream::Error),
}

impl Existing {
    /// Holds a message, or a run of bytes, against what is there; gives what is not there yet. Messages are compared
    /// as a whole; runs of bytes end anywhere.
    async fn consume(&mut self, mut unit: Bytes, whole: bool) -> Result<Option<Bytes>, Mismatch> {
        loop {
            let Self::Some { ahead, closed, .. } = self else { return Ok(Some(unit)) };
            let is_closed = *closed;
            if let Some(there) = ahead.front_mut() {
                let same = unit.len().min(there.len());
                if unit[..same] != there[..same] || (whole && unit.len() != there.len()) {
                    return Err(Mismatch::Differs);
                }
                let rest = there.split_off(same);
                if rest.is_empty() {
                    ahead.pop_front();
                } else {
                    *there = rest;
                }
                unit = unit.split_off(same);
                if unit.is_empty() {
                    return Ok(None);
                }
            } else if !self.more().await.map_err(Mismatch::Failed)? {
                if is_closed {
                    return Err(Mismatch::Closed);
                }
                *self = Self::None;
            }
        }
    }

    /// Whether nothing is left.
    async fn rest(&mut self) -> Result<bool, everstream::Error> {
        match self {
            Self::Some { ahead, .. } if !ahead.is_empty() => Ok(false),
            Self::Some { .. } => Ok(!self.more().await?),
            Self::None => Ok(true),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self, Self::Some { closed: true, .. })
    }

    /// Reads on; false at the tail.
    async fn more(&mut self) -> Result<bool, everstream::Error> {
        let Self::Some { reader, ahead, .. } = self else { return Ok(false) };
        while let Some(batch) = reader.next().await {
            let batch = batch?;
            match batch.is_json() {
                true => ahead.extend(batch.messages()),
                false if batch.is_empty() => {}
                false => ahead.push_back(batch.bytes()),
            }
            if !ahead.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
