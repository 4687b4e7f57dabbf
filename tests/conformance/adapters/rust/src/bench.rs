//! The official runner's benchmarks.

use std::time::{Duration, Instant};

use everstream::{CreateOptions, DurableStream, Error, ErrorKind, ProducerOptions, ReadFrom, ReadOptions};
use serde_json::json;

use crate::adapter::Adapter;
use crate::commands::{Benchmark, Operation};
use crate::protocol::{Failure, Outcome};
use crate::reading::live_of;

const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(50);

/// How long something took, and how much it moved.
struct Measured {
    time: Duration,
    bytes: usize,
    messages: u64,
}

impl Adapter {
    pub(crate) async fn benchmark(&mut self, command: Benchmark) -> Outcome {
        let operation = command.operation;
        let handle = self.handle(&operation.path, &Default::default())?;
        let measured = match operation.op.as_str() {
            "append" => append(&handle, &operation).await?,
            "create" => create(&handle, &operation).await?,
            "read" => read(&handle, &operation).await?,
            "roundtrip" => roundtrip(&handle, &operation).await?,
            "throughput_append" => throughput_append(handle, &operation, &command.iteration_id).await?,
            "throughput_read" => throughput_read(&handle).await?,
            other => return Err(Failure::NotSupported(format!("unknown benchmark: {other}"))),
        };
        Ok(json!({
            "iterationId": command.iteration_id,
            "durationNs": measured.time.as_nanos().to_string(),
            "metrics": {"bytesTransferred": measured.bytes, "messagesProcessed": measured.messages},
        }))
    }
}

async fn append(handle: &DurableStream, operation: &Operation) -> Result<Measured, Failure> {
    let start = Instant::now();
    handle.append(vec![b'*'; operation.size]).await?;
    Ok(Measured { time: start.elapsed(), bytes: operation.size, messages: 1 })
}

fn created_as(operation: &Operation) -> CreateOptions {
    CreateOptions::content_type(operation.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE))
}

async fn create(handle: &DurableStream, operation: &Operation) -> Result<Measured, Failure> {
    let start = Instant::now();
    handle.create(&created_as(operation)).await?;
    Ok(Measured { time: start.elapsed(), bytes: 0, messages: 0 })
}

fn catch_up() -> ReadOptions {
    ReadOptions { live: everstream::LiveMode::CatchUp, ..ReadOptions::default() }
}

async fn read(handle: &DurableStream, operation: &Operation) -> Result<Measured, Failure> {
    let from: ReadFrom = match &operation.offset {
        None => ReadFrom::Beginning,
        Some(text) => text.parse().map_err(|error| Failure::InvalidArgument(format!("offset: {error}")))?,
    };
    let start = Instant::now();
    let data = handle.read(ReadOptions { from: from.into(), ..catch_up() }).collect_bytes().await?;
    Ok(Measured { time: start.elapsed(), bytes: data.len(), messages: 0 })
}

async fn roundtrip(handle: &DurableStream, operation: &Operation) -> Result<Measured, Failure> {
    let options = created_as(operation);
    // A JSON stream takes JSON: a string of the size asked for.
    let is_json = options.content_type.as_deref() == Some("application/json");
    let stars = "*".repeat(operation.size.saturating_sub(if is_json { 2 } else { 0 }));
    let data = if is_json { format!("\"{stars}\"") } else { stars };
    let start = Instant::now();
    let created = handle.create(&options).await?;
    let live = if operation.live.is_null() { "long-poll".into() } else { operation.live.clone() };
    let from = created.offset.map_or_else(Default::default, Into::into);
    let mut reader = handle.read(ReadOptions { from, live: live_of(&live)?, ..ReadOptions::default() });
    reader.open().await?;
    handle.append(data.clone()).await?;
    while let Some(batch) = reader.next().await {
        let batch = batch?;
        if !batch.is_empty() {
            return Ok(Measured { time: start.elapsed(), bytes: data.len() + batch.len(), messages: 1 });
        }
    }
    Err(Error::new(ErrorKind::Internal, "the read ended before the message came").into())
}

async fn throughput_append(handle: DurableStream, operation: &Operation, run: &str) -> Result<Measured, Failure> {
    let (data, count) = (vec![b'*'; operation.size], operation.count);
    let start = Instant::now();
    handle.create(&CreateOptions::content_type(DEFAULT_CONTENT_TYPE)).await?;
    // Runs share the stream: an id of its own keeps one from being taken for a repeat of the one before.
    let id = format!("benchmark-{run}-{}", std::process::id());
    let options = ProducerOptions { delivery_timeout: Some(DELIVERY_TIMEOUT), auto_claim: true, ..Default::default() };
    let producer = handle.with_content_type(DEFAULT_CONTENT_TYPE).producer(&id, options).await?;
    for _ in 0..count {
        producer.append(&data).await?;
    }
    producer.detach().await?;
    let bytes = data.len() * usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Measured { time: start.elapsed(), bytes, messages: count })
}

async fn throughput_read(handle: &DurableStream) -> Result<Measured, Failure> {
    let start = Instant::now();
    let (mut bytes, mut messages) = (0, 0);
    let mut reader = handle.read(catch_up());
    while let Some(batch) = reader.next().await {
        let batch = batch?;
        messages += batch.json::<serde_json::Value>()?.len() as u64;
        bytes += batch.len();
    }
    Ok(Measured { time: start.elapsed(), bytes, messages })
}
