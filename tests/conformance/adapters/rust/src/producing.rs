//! Producers: those that stay between commands, and those that live for one.

use std::time::Duration;

use everstream::{Delivery, Offset, Producer, ProducerOptions, Receipt};
use serde_json::{Value, json};

use crate::adapter::{Adapter, extras_of};
use crate::commands::{Action, Idempotent, IdempotentBatch, ProducerFields, ProducerRun, unsigned};
use crate::protocol::{Failure, Outcome, described};

/// Before the runner gives up.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);

impl Adapter {
    /// The producer that stays for a path, id and epoch: each append goes out at once.
    async fn producer(&mut self, command: &Idempotent) -> Result<Producer, Failure> {
        let key = (command.path.clone(), command.producer_id.clone(), command.epoch);
        if let Some(producer) = self.session.producers.get(&key) {
            return Ok(producer.clone());
        }
        let options = ProducerOptions {
            epoch: command.epoch,
            auto_claim: command.auto_claim,
            linger: Duration::ZERO,
            max_in_flight: 1,
            delivery_timeout: Some(DELIVERY_TIMEOUT),
            ..ProducerOptions::default()
        };
        let handle = self.handle(&command.path, &command.headers)?;
        let producer = handle.producer(&command.producer_id, options).await?;
        self.session.producers.insert(key, producer.clone());
        Ok(producer)
    }

    pub(crate) async fn idempotent_append(&mut self, command: Idempotent) -> Outcome {
        let producer = self.producer(&command).await?;
        let delivery = producer.append(command.data.unwrap_or_default()).await?;
        producer.flush().await?;
        let receipt = delivery.wait().await?;
        Ok(json!({
            "status": 200,
            "offset": offset_of(&receipt),
            "duplicate": receipt.duplicate,
            "producerSeq": producer.next_seq() - 1,
        }))
    }

    pub(crate) async fn idempotent_append_batch(&mut self, command: IdempotentBatch) -> Outcome {
        let in_flight = command.max_in_flight.unwrap_or(1);
        // All items in one request, or one in each and several under way.
        let (linger, max_batch_bytes) =
            if in_flight > 1 { (Duration::ZERO, 1) } else { (Duration::from_secs(1), 1 << 20) };
        let options = ProducerOptions {
            epoch: command.epoch,
            auto_claim: command.auto_claim,
            linger,
            max_batch_bytes,
            max_in_flight: in_flight,
            delivery_timeout: Some(DELIVERY_TIMEOUT),
            ..ProducerOptions::default()
        };
        let handle = self.handle(&command.path, &command.headers)?;
        let producer = handle.producer(&command.producer_id, options).await?;
        for item in &command.items {
            let data = item.as_str().or_else(|| item["data"].as_str()).unwrap_or_default();
            producer.append(data).await?;
        }
        producer.detach().await?;
        Ok(json!({"status": 200}))
    }

    pub(crate) async fn idempotent_close(&mut self, command: Idempotent) -> Outcome {
        let producer = self.producer(&command).await?;
        let receipt = producer.close(command.data.as_deref().map(str::as_bytes)).await?;
        Ok(json!({"status": 200, "finalOffset": offset_of(&receipt)}))
    }

    pub(crate) async fn idempotent_detach(&mut self, command: Idempotent) -> Outcome {
        let key = (command.path, command.producer_id, command.epoch);
        if let Some(producer) = self.session.producers.remove(&key) {
            producer.detach().await?;
        }
        Ok(json!({"status": 200}))
    }

    /// What each action and each message of a producer came to.
    pub(crate) async fn run_producer(&mut self, command: ProducerRun) -> Outcome {
        let client = self.client_with(command.retry.as_ref())?;
        let handle = self.handle_of(&client, &command.path, &extras_of(&command.headers)?)?;
        let id = command.options.producer_id.clone().unwrap_or_else(|| "producer".to_owned());
        let producer = handle.producer(&id, options_of(&command.options)?).await?;
        let mut run = Run { producer, outcomes: Vec::new(), deliveries: Vec::new() };
        for action in &command.actions {
            let outcome = run.carry_out(action).await?;
            run.outcomes.push(outcome);
        }
        // What was not stored is told message by message.
        let _ = run.producer.detach().await;
        let mut deliveries = Vec::new();
        for delivery in &run.deliveries {
            deliveries.push(told(delivery.wait().await));
        }
        Ok(json!({
            "outcomes": run.outcomes,
            "deliveries": deliveries,
            "epoch": run.producer.epoch(),
            "nextSeq": run.producer.next_seq(),
        }))
    }
}

struct Run {
    producer: Producer,
    outcomes: Vec<Value>,
    deliveries: Vec<Delivery>,
}

impl Run {
    async fn carry_out(&mut self, action: &Action) -> Result<Value, Failure> {
        Ok(match action {
            Action::Append { message, wait } => match self.producer.append(message.bytes()?).await {
                Ok(delivery) => {
                    let outcome = if *wait { told(delivery.wait().await) } else { json!({"ok": true}) };
                    self.deliveries.push(delivery);
                    outcome
                }
                Err(error) => described(&error),
            },
            Action::Flush => match self.producer.flush().await {
                Ok(flushed) => json!({"ok": true, "messages": flushed.messages, "duplicates": flushed.duplicates}),
                Err(error) => described(&error),
            },
            Action::Restart => match self.producer.restart().await {
                Ok(()) => json!({"ok": true}),
                Err(error) => described(&error),
            },
            Action::Close { message } => {
                let data = message.as_ref().map(|message| message.bytes()).transpose()?;
                told(self.producer.close(data.as_deref()).await)
            }
            Action::Detach => match self.producer.detach().await {
                Ok(_) => json!({"ok": true}),
                Err(error) => described(&error),
            },
        })
    }
}

fn told(receipt: everstream::Result<Receipt>) -> Value {
    match receipt {
        Ok(receipt) => {
            let mut told = json!({"ok": true, "duplicate": receipt.duplicate, "closed": receipt.closed});
            if let Some(offset) = offset_of(&receipt) {
                told["offset"] = offset.into();
            }
            told
        }
        Err(error) => described(&error),
    }
}

fn offset_of(receipt: &Receipt) -> Option<&str> {
    receipt.offset.as_ref().map(Offset::as_str)
}

/// Options as the library takes them.
pub(crate) fn options_of(fields: &ProducerFields) -> Result<ProducerOptions, Failure> {
    let size = |name, value, default: usize| -> Result<usize, Failure> {
        Ok(unsigned(name, value, 1)?.map_or(default, |value| usize::try_from(value).unwrap_or(usize::MAX)))
    };
    let default = ProducerOptions::default();
    Ok(ProducerOptions {
        epoch: unsigned("epoch", fields.epoch, 0)?.unwrap_or(default.epoch),
        auto_claim: fields.auto_claim,
        linger: unsigned("lingerMs", fields.linger_ms, 0)?.map_or(default.linger, Duration::from_millis),
        max_batch_bytes: size("maxBatchBytes", fields.max_batch_bytes, default.max_batch_bytes)?,
        max_batch_items: match fields.max_batch_items {
            None => None,
            items => Some(size("maxBatchItems", items, 1)?),
        },
        max_in_flight: size("maxInFlight", fields.max_in_flight, default.max_in_flight)?,
        max_buffered_bytes: size("maxBufferedBytes", fields.max_buffered_bytes, default.max_buffered_bytes)?,
        delivery_timeout: Some(fields.delivery_timeout_ms.map_or(DELIVERY_TIMEOUT, Duration::from_millis)),
        ..default
    })
}
