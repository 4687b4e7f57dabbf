//! Writing many small JSON messages: `Producer` against a loop that posts ready-made batches.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use everstream::{CreateOptions, DurableStream, LiveMode, ProducerOptions, ReadOptions};
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use super::Scale;
use super::compare::{Comparison, Row, Unit, compare};
use super::data::{bare_client, batches, client, message};
use super::measure::{Meter, Sample};
use super::roles::{Job, ServerProcess, Side};

pub(super) fn group(scale: Scale) -> Result<Vec<Row>> {
    let server = ServerProcess::start()?;
    let messages = scale.of(200_000);
    let job = |side| Job::Produce(Produce { side, url: server.url("produce"), messages });
    let row = compare(
        scale,
        Comparison {
            what: format!("`Producer`: {messages} JSON messages of 100 bytes, checked and batched"),
            yardstick: "reqwest, batches ready-made",
            aim: Some(0.5),
            amount: messages,
            unit: Unit::Million,
            ours: job(Side::Ours),
            theirs: job(Side::Yardstick),
        },
    )?;
    Ok(vec![row])
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Produce {
    side: Side,
    url: String,
    messages: u64,
}

impl Produce {
    pub(super) async fn run(&self) -> Result<Sample> {
        let messages: Vec<String> = (0..self.messages).map(message).collect();
        let stream = client()?.stream(&self.url)?;
        ensure!(stream.create(&CreateOptions::json()).await?.created, "the stream is there already");
        let sample = match self.side {
            Side::Ours => produce(&stream, &messages).await?,
            Side::Yardstick => post(&self.url, &messages).await?,
        };
        self.check(&stream, &messages).await?;
        stream.delete().await?;
        Ok(sample)
    }

    /// Every message is there, once, in order, and unchanged.
    async fn check(&self, stream: &DurableStream, messages: &[String]) -> Result<()> {
        let options = ReadOptions { live: LiveMode::CatchUp, ..ReadOptions::default() };
        let mut reader = stream.read(options);
        let mut sent = messages.iter();
        while let Some(batch) = reader.next().await {
            for message in batch?.messages() {
                let sent = sent.next().context("more came back than was sent")?;
                ensure!(message == sent.as_bytes(), "{sent} came back as {message:?}");
            }
        }
        ensure!(sent.len() == 0, "{} messages are lost", sent.len());
        Ok(())
    }
}

async fn produce(stream: &DurableStream, messages: &[String]) -> Result<Sample> {
    let producer = stream.producer("bench", ProducerOptions::default()).await?;
    let meter = Meter::start_own()?;
    for message in messages {
        producer.append(message).await?;
    }
    let flushed = producer.flush().await?;
    let sample = meter.stop()?;
    ensure!(flushed.messages == messages.len() as u64, "not everything was stored");
    Ok(sample)
}

async fn post(url: &str, messages: &[String]) -> Result<Sample> {
    let client = bare_client()?;
    // Connected, as the other side is that asked for the stream's content type.
    client.head(url).send().await?.error_for_status()?;
    let batches: Vec<Bytes> = batches(messages, ProducerOptions::default().max_batch_bytes);
    let meter = Meter::start_own()?;
    for batch in batches {
        let request = client.post(url).header(CONTENT_TYPE, "application/json").body(batch);
        request.send().await?.error_for_status()?;
    }
    meter.stop()
}
