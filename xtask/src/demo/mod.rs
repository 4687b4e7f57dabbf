//! Real records over a bad network: a writer and a reader, a server, and a proxy between them that breaks things.
//!
//! The writer sends every record through an idempotent producer while the reader tails the stream from its
//! beginning. Half-way the reader is thrown away, and a new one goes on from its checkpoint. Then what arrived is
//! compared with what was sent.

mod child;
mod compare;
mod data;
mod keep;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use everstream::{
    Backoff, Client, CreateOptions, DurableStream, LiveMode, ProducerOptions, ReadOptions, RetryPolicy, SseResilience,
};
use everstream_faults::{FaultPlan, FaultProxy};
use everstream_server::storage::LogStorage;
use everstream_server::{RunningServer, Server};
use tokio::time::timeout;

use self::child::Program;
use self::compare::Comparison;
use self::data::Records;
use self::view::{Outcome, View};
use crate::node;
use crate::process::{runtime, target_dir};
use crate::python::Python;

const STREAM: &str = "demo/flights";

/// Small, so that there are many requests and many of them meet a fault.
const BATCH_BYTES: usize = 2 << 10;

/// How long nothing may arrive before the demo gives up. A defect must not make it wait for ever.
const STUCK: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Draws the faults; the same seed draws the same ones
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many requests meet a fault, from 0 to 1
    #[arg(long, default_value_t = 0.05, value_parser = parse_rate)]
    rate: f64,
    /// How many records to send; all by default
    #[arg(long)]
    records: Option<usize>,
    /// Whose client reads; that of Node and that of Python in a process of its own
    #[arg(long, value_enum, default_value = "python")]
    reader: Reader,
    /// Leaves a server running, whose web page shows what was sent and a stream that moves
    #[arg(long)]
    keep: bool,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reader {
    Node,
    Python,
    Rust,
}

impl Reader {
    /// What has to be started for it, if anything; the package is built and installed.
    fn program(self) -> Result<Option<Program>> {
        Ok(match self {
            Self::Node => {
                node::install()?;
                Some(Program { interpreter: "node".into(), script: "reader.mjs" })
            }
            Self::Python => {
                Some(Program { interpreter: Python::with_package()?.program("python"), script: "reader.py" })
            }
            Self::Rust => None,
        })
    }
}

impl Arguments {
    /// The demo as a test.
    pub(crate) fn small(records: usize, reader: Reader) -> Self {
        Self { seed: 1, rate: 0.05, records: Some(records), reader, keep: false }
    }
}

fn parse_rate(text: &str) -> Result<f64> {
    let rate: f64 = text.parse()?;
    // A proxy that breaks everything lets every fourth try through, which takes for ever.
    ensure!((0.0..=0.9).contains(&rate), "must be between 0 and 0.9");
    Ok(rate)
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let records = Records::load(arguments.records)?;
    runtime()?.block_on(show(arguments, records))
}

async fn show(arguments: &Arguments, records: Records) -> Result<()> {
    let reader = arguments.reader.program()?;
    let storage = open_storage()?;
    let server = start_server(Arc::clone(&storage)).await?;
    // Short waits: what matters is how often things break, not how long a demo takes.
    let plan = FaultPlan::seeded(arguments.seed, arguments.rate)
        .max_delay(Duration::from_millis(30))
        .max_stall(Duration::from_millis(100));
    let proxy = FaultProxy::start(server.addr(), plan).await?;
    let view = View::start(records.len(), arguments.seed, arguments.rate);

    let start = Instant::now();
    let read = async {
        match &reader {
            Some(reader) => child::read(reader, &proxy, records.len(), &view).await,
            None => read(&proxy, records.len(), &view).await,
        }
    };
    let work = async { tokio::try_join!(write(&proxy, &records, &view), read) };
    let (sent_bytes, arrival) = tokio::select! {
        done = work => done?,
        () = view.watch(&proxy) => unreachable!("the view watches for ever"),
    };
    let time = start.elapsed();
    let comparison = Comparison::of(&records, &arrival.messages);
    view.finish(&Outcome {
        comparison: &comparison,
        bytes: sent_bytes,
        resumed_at: arrival.resumed_at,
        faults: proxy.counts(),
        time,
    });

    proxy.shutdown().await;
    server.shutdown().await;
    if arguments.keep {
        keep::keep(storage, &records).await?;
    } else {
        println!("With --keep a server stays up, and its web page shows these records and a stream that moves.");
    }
    if !comparison.is_faithful() {
        bail!("what arrived is not what was sent");
    }
    Ok(())
}

fn open_storage() -> Result<Arc<LogStorage>> {
    // The streams of an earlier demo are in the way.
    let data = target_dir().join("demo-data");
    if data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    let storage = LogStorage::open(&data).with_context(|| format!("cannot keep streams in {}", data.display()))?;
    Ok(Arc::new(storage))
}

async fn start_server(storage: Arc<LogStorage>) -> Result<RunningServer> {
    Server::builder()
        .storage(storage)
        .bind(([127, 0, 0, 1], 0))
        .long_poll_timeout(Duration::from_millis(500))
        // Both far below the defaults, so that the reader makes many requests too.
        .sse_lifetime(Duration::from_millis(10))
        .max_read_bytes(16 << 10)
        .start()
        .await
        .context("the server does not start")
}

/// One client for each side, as if they were two programs.
fn stream_through(proxy: &FaultProxy) -> Result<DurableStream> {
    let retry = RetryPolicy {
        backoff: Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(200), ..Backoff::default() },
        ..RetryPolicy::default()
    };
    // The way to the proxy is this machine, whatever the environment says about other proxies.
    let client = Client::builder().retry(retry).ignore_environment().build()?;
    Ok(client.stream(&format!("{}/v1/stream/{STREAM}", proxy.url()))?)
}

/// Sends every record, then closes the stream. Gives the bytes that were sent.
async fn write(proxy: &FaultProxy, records: &Records, view: &View) -> Result<u64> {
    let stream = stream_through(proxy)?;
    stream.create(&CreateOptions::json()).await.context("the stream is not created")?;
    let options = ProducerOptions {
        max_batch_bytes: BATCH_BYTES,
        // So that the writer cannot be done before the reader has begun.
        max_buffered_bytes: 256 << 10,
        delivery_timeout: Some(STUCK),
        ..ProducerOptions::default()
    };
    let producer = stream.producer("demo", options).await?;
    let mut bytes = 0;
    for message in records.messages() {
        bytes += message.len() as u64;
        // What fails is told by `flush`.
        drop(producer.append(&message).await.context("the writer failed")?);
        view.written(1);
    }
    let flushed = producer.flush().await.context("the writer failed")?;
    // A request that the network doubled is answered as a repeat, although it was sent once.
    let stored = flushed.messages + flushed.duplicates;
    ensure!(stored == records.len() as u64, "the writer has receipts for {stored} records");
    producer.close(None).await.context("the stream is not closed")?;
    Ok(bytes)
}

/// What came out of the stream.
struct Arrival {
    messages: Vec<Bytes>,
    /// How many had arrived when the first reader was stopped.
    resumed_at: usize,
}

/// Reads from the beginning to the end: the first half as server-sent events, the rest by long-poll.
async fn read(proxy: &FaultProxy, expected: usize, view: &View) -> Result<Arrival> {
    let stream = stream_through(proxy)?;
    wait_until_created(&stream).await?;
    let mut messages = Vec::with_capacity(expected);
    let options = ReadOptions {
        live: LiveMode::Sse,
        // Hands over answers in parts, so that a checkpoint may lie in the middle of one.
        max_batch_bytes: 4 << 10,
        sse: SseResilience {
            min_connection: Duration::from_millis(2),
            max_short_connections: 10,
            backoff_base: Duration::from_millis(5),
            backoff_max: Duration::from_millis(50),
        },
        ..ReadOptions::default()
    };
    let mut first = stream.read(options.clone());
    let ended = follow(&mut first, &mut messages, expected / 2, view).await?;
    ensure!(!ended, "the stream ended half-way");
    let checkpoint = first.checkpoint().clone();
    let resumed_at = messages.len();
    drop(first);

    let mut second = stream.read(ReadOptions { from: checkpoint, live: LiveMode::LongPoll, ..options });
    let ended = follow(&mut second, &mut messages, usize::MAX, view).await?;
    ensure!(ended && second.is_closed(), "the reader ended before the stream");
    Ok(Arrival { messages, resumed_at })
}

/// A reader of a stream that is not there yet fails, which is right. This one wants to be there first.
async fn wait_until_created(stream: &DurableStream) -> Result<()> {
    loop {
        match stream.head().await {
            Ok(_) => return Ok(()),
            Err(error) if *error.kind() == everstream::ErrorKind::NotFound => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => return Err(error).context("the reader does not find the stream"),
        }
    }
}

/// Reads until there are `enough` messages, or to the end; whether that was the end.
async fn follow(
    reader: &mut everstream::Reader,
    messages: &mut Vec<Bytes>,
    enough: usize,
    view: &View,
) -> Result<bool> {
    while messages.len() < enough {
        let next = timeout(STUCK, reader.next())
            .await
            .with_context(|| format!("nothing has arrived for {} seconds", STUCK.as_secs()))?;
        let Some(batch) = next else {
            return Ok(true);
        };
        let before = messages.len();
        messages.extend(batch.context("the reader failed")?.messages());
        view.read((messages.len() - before) as u64);
    }
    Ok(false)
}
