//! Reading many small JSON messages as values: `Batch::json` against serde_json on the same answers.

use anyhow::{Context, Result};
use everstream::{LiveMode, ReadOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Scale;
use super::compare::{Comparison, Row, Unit, compare};
use super::data::{Message, Next, Sequence, bare_client, client, fill_json};
use super::measure::{Meter, Sample};
use super::roles::{Job, ServerProcess, Side};
use crate::process::runtime;

pub(super) fn group(scale: Scale) -> Result<Vec<Row>> {
    let server = ServerProcess::start()?;
    let messages = scale.of(500_000);
    let url = server.url("json");
    runtime()?.block_on(fill_json(&url, messages))?;
    let row = |target: Target, what| {
        let job = |side| Job::Json(Read { side, target, url: url.clone(), messages });
        compare(
            scale,
            Comparison {
                what: format!("`Batch::json`: {messages} JSON messages of 100 bytes, {what}"),
                yardstick: "reqwest and serde_json",
                aim: Some(0.95),
                amount: messages,
                unit: Unit::Million,
                ours: job(Side::Ours),
                theirs: job(Side::Yardstick),
            },
        )
    };
    Ok(vec![row(Target::Value, "as `Value`")?, row(Target::Typed, "as a struct")?])
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Target {
    Typed,
    Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Read {
    side: Side,
    target: Target,
    url: String,
    messages: u64,
}

impl Read {
    pub(super) async fn run(&self) -> Result<Sample> {
        let mut sequence = Sequence::default();
        let typed = |message: Message| Some(message.i);
        let value = |value: Value| value["i"].as_u64();
        let sample = match (self.side, self.target) {
            (Side::Ours, Target::Typed) => read(&self.url, &mut sequence, typed).await?,
            (Side::Ours, Target::Value) => read(&self.url, &mut sequence, value).await?,
            (Side::Yardstick, Target::Typed) => follow(&self.url, &mut sequence, typed).await?,
            (Side::Yardstick, Target::Value) => follow(&self.url, &mut sequence, value).await?,
        };
        sequence.finish(self.messages)?;
        Ok(sample)
    }
}

async fn read<T: DeserializeOwned>(
    url: &str,
    sequence: &mut Sequence,
    number: impl Fn(T) -> Option<u64>,
) -> Result<Sample> {
    let options = ReadOptions { live: LiveMode::CatchUp, ..ReadOptions::default() };
    let mut reader = client()?.stream(url)?.read(options);
    let meter = Meter::start_own()?;
    while let Some(batch) = reader.next().await {
        for message in batch?.json::<T>()? {
            sequence.take(number(message).context("a message without number")?)?;
        }
    }
    meter.stop()
}

async fn follow<T: DeserializeOwned>(
    url: &str,
    sequence: &mut Sequence,
    number: impl Fn(T) -> Option<u64>,
) -> Result<Sample> {
    let client = bare_client()?;
    let mut offset = "-1".to_owned();
    let meter = Meter::start_own()?;
    loop {
        let request = client.get(format!("{url}?offset={offset}"));
        let response = request.send().await?.error_for_status()?;
        let next = Next::of(response.headers())?;
        for message in serde_json::from_slice::<Vec<T>>(&response.bytes().await?)? {
            sequence.take(number(message).context("a message without number")?)?;
        }
        if next.up_to_date {
            return meter.stop();
        }
        offset = next.offset;
    }
}
