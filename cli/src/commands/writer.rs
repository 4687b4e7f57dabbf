//! Messages on their way into a stream, and the account of them.
//!
//! Everything goes through the idempotent producer, so a fault of the network neither loses nor doubles a message.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use everstream::proto::content_type::{DEFAULT_CONTENT_TYPE, StreamFormat};
use everstream::{Delivery, DurableStream, Error, Producer, ProducerOptions};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{Failure, format_bytes, plural};
use crate::target::Target;

/// A producer for a stream, and the stream's format, asked for by HEAD when it was not given.
pub(crate) async fn producer(
    target: &Target,
    stream: &DurableStream,
    id: Option<&str>,
    epoch: u64,
) -> everstream::Result<(Producer, StreamFormat)> {
    let options = ProducerOptions {
        epoch,
        request_timeout: target.try_timeout,
        delivery_timeout: Some(target.try_timeout),
        ..ProducerOptions::default()
    };
    let id = match id {
        Some(id) => id.to_owned(),
        None => random_id()?,
    };
    let producer = stream.producer(&id, options).await?;
    let format = StreamFormat::of(stream.content_type().unwrap_or(DEFAULT_CONTENT_TYPE));
    Ok((producer, format))
}

fn random_id() -> everstream::Result<String> {
    let random = getrandom::u32().map_err(|error| {
        Error::new(everstream::ErrorKind::Internal, format!("the system gives no randomness: {error}"))
    })?;
    Ok(format!("cli-{random:08x}"))
}

/// Hands messages to a producer and counts them.
pub(crate) struct Writer {
    producer: Producer,
    /// Whether the producer's id is this run's alone, so that a repeat can only be of its own message.
    is_alone: bool,
    last: Option<Delivery>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    progress: Progress,
}

impl Writer {
    pub(crate) fn new(producer: Producer, is_alone: bool) -> Self {
        Self { producer, is_alone, last: None, messages: 0, bytes: 0, progress: Progress::new() }
    }

    /// Takes a message; waits while the producer's buffer is full.
    pub(crate) async fn append(&mut self, message: &[u8]) -> everstream::Result<()> {
        self.last = Some(self.producer.append(message).await?);
        self.messages += 1;
        self.bytes += message.len() as u64;
        self.progress.update(self.messages, self.bytes);
        Ok(())
    }

    /// Ready when a message has failed for good; never when all is well.
    pub(crate) async fn failed(&self) {
        match &self.last {
            Some(last) if last.wait().await.is_err() => {}
            _ => std::future::pending().await,
        }
    }

    /// Waits until every message is settled, and says which are not stored.
    pub(crate) async fn flush(&self) -> Result<(), Unstored> {
        let result = self.producer.flush().await;
        self.progress.clear();
        match result {
            // Something on the way may have doubled a request.
            Ok(flushed) if flushed.duplicates == 0 || self.is_alone => Ok(()),
            Ok(flushed) => Err(Unstored {
                accepted: self.messages,
                stored: flushed.messages,
                unknown: flushed.duplicates,
                error: None,
            }),
            Err(error) => {
                let count = |unknown: bool| -> u64 {
                    let failures = error.failures().iter();
                    failures
                        .filter(|failure| failure.error.outcome_unknown() == unknown)
                        .map(|failure| failure.messages)
                        .sum()
                };
                let unknown = count(true);
                Err(Unstored {
                    accepted: self.messages,
                    stored: self.messages.saturating_sub(count(false) + unknown),
                    unknown,
                    error: Some(error.failures().first().map_or(&error, |first| &first.error).clone()),
                })
            }
        }
    }

    /// Closes the stream, once everything is flushed.
    pub(crate) async fn close(&self) -> everstream::Result<()> {
        self.producer.close(None).await.map(drop)
    }
}

/// The account of a write that was not wholly stored.
pub(crate) struct Unstored {
    accepted: u64,
    stored: u64,
    unknown: u64,
    error: Option<Error>,
}

impl Unstored {
    /// The cause, and the fate of every message.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let failure = match &self.error {
            Some(error) => failure.because(&error.clone().with_outcome_unknown(false)),
            None => failure.detail(
                "The server took some messages for repeats: this --producer-id was most likely used before with this \
                 --epoch. Raise the epoch",
            ),
        };
        let lost = self.accepted.saturating_sub(self.stored + self.unknown);
        let mut fate = vec![format!("{} of {} stored", self.stored, plural(self.accepted, "message"))];
        if lost > 0 {
            fate.push(format!("{lost} not stored"));
        }
        if self.unknown > 0 {
            fate.push(format!("{} unknown: they may be stored or not", self.unknown));
        }
        failure.detail(fate.join(", "))
    }
}

/// A line on the terminal for writes that take long.
struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    shown: Instant,
    enabled: bool,
}

impl Progress {
    /// A write that ends sooner needs no progress bar.
    const LONG: Duration = Duration::from_secs(1);
    const REFRESH: Duration = Duration::from_millis(100);

    fn new() -> Self {
        let now = Instant::now();
        Self { bar: None, started: now, shown: now, enabled: std::io::stderr().is_terminal() }
    }

    fn update(&mut self, messages: u64, bytes: u64) {
        if !self.enabled || self.shown.elapsed() < Self::REFRESH || self.started.elapsed() < Self::LONG {
            return;
        }
        self.shown = Instant::now();
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner().with_elapsed(self.started.elapsed());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_message(format!("{}, {}", plural(messages, "message"), format_bytes(bytes)));
        bar.tick();
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
