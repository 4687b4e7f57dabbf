//! `bench`: how fast one client on this machine is with a server. Small and plain: it measures what a user would wait
//! for, counts that everything arrived, and leaves nothing behind.

use std::time::{Duration, Instant};

use bytes::Bytes;
use everstream::{CreateOptions, DurableStream, LiveMode, Offset, ProducerOptions, ReadFrom, ReadOptions};
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::output::{Failure, complain, say};
use crate::target::Target;

/// Single appends and live messages that are timed, at most.
const TIMED: usize = 500;

pub(crate) async fn run(target: &Target, args: &BenchArgs) -> Result<(), Failure> {
    let id = match &args.stream {
        Some(id) => id.clone(),
        None => format!("bench/{}", random()?),
    };
    let stream = target.stream(&id)?;
    let failed = |error: everstream::Error| Failure::of("measure with stream", &id, &error);
    let created = stream.create(&CreateOptions::json()).await.map_err(failed)?;
    if !created.created {
        return Err(Failure::new(format!("Error: stream \"{id}\" exists already"))
            .hint("bench writes to a stream of its own; leave --stream out, or name one that is not there"));
    }
    let measured = measure(target, args, &stream).await;
    if !args.keep
        && let Err(error) = stream.delete().await
    {
        complain(&Failure::of("delete stream", &id, &error).to_string());
    }
    let rows = measured.map_err(|error| match error {
        Trouble::Client(error) => failed(error),
        Trouble::Lost { written, read } => {
            Failure::new(format!("Error: {written} messages were written and {read} read"))
        }
    })?;
    report(args, &rows);
    Ok(())
}

/// What can go wrong while measuring.
enum Trouble {
    Client(everstream::Error),
    Lost { written: usize, read: usize },
}

impl From<everstream::Error> for Trouble {
    fn from(error: everstream::Error) -> Self {
        Self::Client(error)
    }
}

/// One line of the report.
struct Row {
    what: &'static str,
    messages: usize,
    time: Duration,
    /// Each one's own time, sorted, where they were sent one by one.
    times: Vec<Duration>,
}

impl Row {
    fn per_second(&self) -> f64 {
        self.messages as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// The time that so many percent stay below.
    fn percentile(&self, percent: usize) -> Option<Duration> {
        let last = self.times.len().checked_sub(1)?;
        self.times.get(last * percent / 100).copied()
    }
}

async fn measure(target: &Target, args: &BenchArgs, stream: &DurableStream) -> Result<Vec<Row>, Trouble> {
    let message = message(args.size);
    let single = one_by_one(args, stream, &message).await?;
    let produced = produce(target, args, stream, &message).await?;
    let written = single.messages + produced.messages;
    let read = catch_up(target, stream).await?;
    if read.messages != written {
        return Err(Trouble::Lost { written, read: read.messages });
    }
    let live = live(target, args, stream, &message).await?;
    Ok(vec![single, produced, read, live])
}

/// Appends that each wait for the one before.
async fn one_by_one(args: &BenchArgs, stream: &DurableStream, message: &Bytes) -> everstream::Result<Row> {
    let count = args.messages.min(TIMED);
    let mut times = Vec::with_capacity(count);
    let start = Instant::now();
    for _ in 0..count {
        let sent = Instant::now();
        stream.append(message.clone()).await?;
        times.push(sent.elapsed());
    }
    let time = start.elapsed();
    times.sort_unstable();
    Ok(Row { what: "append, one at a time", messages: count, time, times })
}

/// The idempotent producer, until everything is stored.
async fn produce(
    target: &Target,
    args: &BenchArgs,
    stream: &DurableStream,
    message: &Bytes,
) -> everstream::Result<Row> {
    let options = ProducerOptions { request_timeout: target.try_timeout, ..ProducerOptions::default() };
    let producer = stream.producer("bench", options).await?;
    let start = Instant::now();
    for _ in 0..args.messages {
        drop(producer.append(message).await?);
    }
    let flushed = producer.flush().await?;
    let messages = usize::try_from(flushed.messages + flushed.duplicates).unwrap_or(usize::MAX);
    Ok(Row { what: "append, idempotent producer", messages, time: start.elapsed(), times: Vec::new() })
}

async fn catch_up(target: &Target, stream: &DurableStream) -> everstream::Result<Row> {
    let start = Instant::now();
    let mut reader = stream.read(options(target, ReadFrom::Beginning, LiveMode::CatchUp));
    let mut messages = 0;
    while let Some(batch) = reader.next().await {
        messages += batch?.messages().len();
    }
    Ok(Row { what: "read from the beginning", messages, time: start.elapsed(), times: Vec::new() })
}

/// From the call that appends a message until a reader that follows has it.
async fn live(target: &Target, args: &BenchArgs, stream: &DurableStream, message: &Bytes) -> everstream::Result<Row> {
    let tail: Option<Offset> = stream.head().await?.offset;
    let from = tail.map_or(ReadFrom::Now, ReadFrom::At);
    let mut reader = stream.read(options(target, from, LiveMode::Sse));
    let count = args.messages.min(TIMED);
    let mut times = Vec::with_capacity(count);
    let start = Instant::now();
    for _ in 0..count {
        let sent = Instant::now();
        let arrives = async {
            loop {
                match reader.next().await {
                    Some(batch) if batch.as_ref().is_ok_and(|batch| batch.messages().len() == 0) => {}
                    Some(batch) => return batch.map(drop),
                    None => return Ok(()),
                }
            }
        };
        tokio::try_join!(async { stream.append(message.clone()).await.map(drop) }, arrives)?;
        times.push(sent.elapsed());
    }
    let time = start.elapsed();
    // The first one has waited for the connection too.
    if times.len() > 1 {
        times.remove(0);
    }
    times.sort_unstable();
    Ok(Row { what: "append until a live reader has it", messages: count, time, times })
}

fn options(target: &Target, from: ReadFrom, live: LiveMode) -> ReadOptions {
    ReadOptions { from: from.into(), live, request_timeout: target.try_timeout, ..ReadOptions::default() }
}

/// A JSON string of so many bytes.
fn message(size: usize) -> Bytes {
    format!("\"{}\"", "x".repeat(size.saturating_sub(2))).into()
}

fn random() -> Result<String, Failure> {
    getrandom::u32()
        .map(|random| format!("{random:08x}"))
        .map_err(|error| Failure::new(format!("Error: the system gives no randomness: {error}")))
}

fn report(args: &BenchArgs, rows: &[Row]) {
    let micros = |time: Option<Duration>| time.map(|time| time.as_micros() as u64);
    if args.output.is_json() {
        for row in rows {
            let mut object = json!({
                "measured": row.what,
                "messages": row.messages,
                "messageBytes": args.size,
                "seconds": row.time.as_secs_f64(),
                "messagesPerSecond": row.per_second(),
            });
            if !row.times.is_empty() {
                object["p50Micros"] = Value::from(micros(row.percentile(50)));
                object["p99Micros"] = Value::from(micros(row.percentile(99)));
            }
            say(&object.to_string());
        }
        return;
    }
    say(&format!("{:<36}{:>10}{:>14}{:>11}{:>11}{:>11}", "", "messages", "messages/s", "MB/s", "p50", "p99"));
    for row in rows {
        let shown = |time: Option<Duration>| {
            time.map_or_else(String::new, |time| format!("{:.2} ms", time.as_secs_f64() * 1e3))
        };
        let megabytes = row.per_second() * args.size as f64 / 1e6;
        say(&format!(
            "{:<36}{:>10}{:>14.0}{megabytes:>11.2}{:>11}{:>11}",
            row.what,
            row.messages,
            row.per_second(),
            shown(row.percentile(50)),
            shown(row.percentile(99)),
        ));
    }
    say(&format!("One client, messages of {} bytes, one run: other loads and machines give other numbers.", args.size));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_json_of_the_size_asked_for() {
        for size in [2, 3, 256] {
            let text = message(size);
            assert_eq!(text.len(), size);
            assert!(serde_json::from_slice::<String>(&text).is_ok());
        }
    }

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let row = Row { what: "", messages: 100, time: Duration::from_secs(2), times };
        assert_eq!(row.percentile(50), Some(Duration::from_millis(50)));
        assert_eq!(row.percentile(99), Some(Duration::from_millis(99)));
        assert_eq!(row.per_second(), 50.0);
        assert_eq!(Row { times: Vec::new(), ..row }.percentile(50), None);
    }
}
