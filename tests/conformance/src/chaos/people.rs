//! Who writes and who reads, and how they go on after they were killed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{STREAM, numbers};
use crate::adapter::{Adapter, AdapterSpec};
use crate::expect::as_told;
use crate::origin::Origin;

/// Messages of one command of the writer.
const PORTION: u64 = 500;
const RETRY: &str = r#"{"initialDelayMs": 5, "maxDelayMs": 100}"#;

/// A process that carries out commands, and is killed in the middle of some.
struct Victim {
    spec: AdapterSpec,
    server: String,
    rng: StdRng,
    adapter: Option<Adapter>,
    kills_left: u32,
    kills: u32,
}

impl Victim {
    fn new(spec: AdapterSpec, server: String, rng: StdRng) -> Self {
        Self { spec, server, rng, adapter: None, kills_left: 0, kills: 0 }
    }

    /// The result; `None` if the process was killed or failed meanwhile. The next call starts another one.
    async fn call(&mut self, command: &Value, chance: f64) -> Result<Option<Value>> {
        let mut adapter = match self.adapter.take() {
            Some(adapter) => adapter,
            None => {
                let mut adapter = Adapter::start(&self.spec)?;
                adapter.init(&self.server).await?;
                adapter
            }
        };
        adapter.send(command).await?;
        if self.kills_left > 0 && self.rng.random_bool(chance) {
            self.kills_left -= 1;
            self.kills += 1;
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..150))).await;
            adapter.kill().await;
            return Ok(None);
        }
        let result = adapter.result(command).await?;
        self.adapter = Some(adapter);
        Ok(Some(result).filter(|result| result["success"] == true))
    }

    async fn finish(self) -> Result<u32> {
        if let Some(adapter) = self.adapter {
            adapter.shut_down().await?;
        }
        Ok(self.kills)
    }
}

/// Writes the numbers.
pub(super) struct Writer {
    victim: Victim,
    origin: Arc<Origin>,
    epoch: u64,
}

impl Writer {
    pub(super) fn new(spec: AdapterSpec, server: String, origin: Arc<Origin>, rng: StdRng) -> Self {
        Self { victim: Victim::new(spec, server, rng), origin, epoch: 0 }
    }

    /// Writes all numbers and closes the stream; how often it was killed.
    pub(super) async fn run(mut self, messages: u64, kills: u32) -> Result<u32> {
        self.victim.kills_left = kills;
        let portions = (messages / PORTION).max(1) as f64;
        let chance = (f64::from(kills) * 2.0 / portions).min(0.5);
        let mut next = 0;
        while next < messages {
            let end = (next + PORTION).min(messages);
            let appends = (next..end).map(|number| json!({"do": "append", "data": number.to_string()}));
            next = if self.produce(appends.collect(), chance).await? { end } else { self.take_over().await? };
        }
        while !self.produce(vec![json!({"do": "close"})], 0.0).await? {
            if self.origin.content(STREAM).await.is_ok_and(|content| content.closed) {
                break;
            }
        }
        self.victim.finish().await
    }

    /// Whether everything was stored. Each command is a producer of its own, so each has an epoch of its own.
    async fn produce(&mut self, mut actions: Vec<Value>, chance: f64) -> Result<bool> {
        self.epoch += 1;
        actions.push(json!({"do": "flush"}));
        let retry: Value = serde_json::from_str(RETRY)?;
        let command = json!({
            "type": "producer", "path": STREAM, "producerId": "writer", "epoch": self.epoch, "maxBatchItems": 50,
            "retry": retry, "actions": actions,
        });
        let Some(result) = self.victim.call(&command, chance).await? else {
            return Ok(false);
        };
        let mut told = result["outcomes"].as_array().into_iter().chain(result["deliveries"].as_array()).flatten();
        Ok(told.all(|outcome| outcome["ok"] == true || outcome["details"]["code"] == "ALREADY_CLOSED"))
    }

    /// Claims the next epoch with a marker, behind which no message of the predecessor can come, and finds out where to go
    /// on.
    async fn take_over(&mut self) -> Result<u64> {
        loop {
            let marker = json!({"do": "append", "data": json!({"epoch": self.epoch + 1}).to_string()});
            if self.produce(vec![marker], 0.0).await? {
                // The server may be down at this moment.
                if let Ok(content) = self.origin.content(STREAM).await {
                    let stored = numbers(&content.messages.unwrap_or_default());
                    return Ok(stored.last().map_or(0, |last| last + 1));
                }
            }
        }
    }
}

/// Reads the numbers.
pub(super) struct Reader {
    victim: Victim,
    live: &'static str,
}

/// What a reader had.
pub(super) struct Read {
    pub(super) live: &'static str,
    pub(super) numbers: Vec<u64>,
    pub(super) kills: u32,
}

impl Reader {
    pub(super) fn new(spec: AdapterSpec, server: String, live: &'static str, rng: StdRng) -> Self {
        Self { victim: Victim::new(spec, server, rng), live }
    }

    /// Reads to the end of the stream.
    pub(super) async fn run(mut self, kills: u32) -> Result<Read> {
        self.victim.kills_left = kills;
        let mut had = Vec::new();
        let mut checkpoint = None;
        loop {
            let mut command = json!({
                "type": "read", "path": STREAM, "live": self.live, "maxChunks": 25, "timeoutMs": 3000,
                "retry": serde_json::from_str::<Value>(RETRY)?,
            });
            if let Some(checkpoint) = &checkpoint {
                command["checkpoint"] = Value::clone(checkpoint);
            }
            // What a killed reader had is lost with it, and its checkpoint: the next one reads it again.
            let Some(result) = self.victim.call(&command, 0.2).await? else { continue };
            let told = as_told(&result);
            had.extend(numbers(told["json"].as_array().map_or(&[][..], Vec::as_slice)));
            checkpoint = Some(told["checkpoint"].clone());
            if told["streamClosed"] == true {
                break;
            }
        }
        Ok(Read { live: self.live, numbers: had, kills: self.victim.finish().await? })
    }
}
