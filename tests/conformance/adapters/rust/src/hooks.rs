//! Beyond the official protocol: webhooks that are verified, workers and their leases.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use everstream::proto::subscription::request::acks;
use everstream::{
    Error, ErrorKind, Lease, LinkedStream, SubscriptionKind, SubscriptionOptions, Subscriptions, Wake, WebhookVerifier,
    Worker,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::adapter::Adapter;
use crate::commands::{Hold, LeaseRead, NextLease, Offsets, OpenWorker, Subscribe, VerifyWebhook, WorkOf};
use crate::protocol::{Failure, Outcome};

const DEFAULT_TIMEOUT_MS: u64 = 5000;
const STREAM_ROOT: &str = "/v1/stream";

/// What is remembered of subscriptions between `init` and the next.
#[derive(Default)]
pub(crate) struct Hooks {
    verifiers: HashMap<(Option<String>, Option<u64>), WebhookVerifier>,
    worker: Option<Worker>,
    lease: Option<Lease>,
}

impl Hooks {
    fn lease(&self) -> Result<&Lease, Failure> {
        self.lease.as_ref().ok_or_else(|| Failure::InvalidArgument("there is no lease".to_owned()))
    }
}

impl Adapter {
    fn subscriptions(&self) -> Result<Subscriptions, Failure> {
        Ok(self.client()?.subscriptions(&format!("{}{STREAM_ROOT}", self.session.server_url))?)
    }

    pub(crate) async fn subscribe(&mut self, subscribe: Subscribe) -> Outcome {
        let options = SubscriptionOptions {
            kind: SubscriptionKind::of(subscribe.wake_stream, subscribe.webhook)?,
            pattern: subscribe.pattern,
            streams: subscribe.streams,
            lease: subscribe.lease_ms.map(Duration::from_millis),
            description: None,
        };
        let (made, created) = self.subscriptions()?.create(&subscribe.id, &options).await?;
        Ok(json!({"created": created, "leaseMs": made.lease.as_millis() as u64, "streams": told(&made.streams)}))
    }

    pub(crate) async fn verify_webhook(&mut self, verify: VerifyWebhook) -> Outcome {
        let key = (verify.subscription, verify.tolerance_ms);
        if !self.session.hooks.verifiers.contains_key(&key) {
            let mut verifier = self.subscriptions()?.webhook_verifier()?;
            if let Some(id) = &key.0 {
                verifier = verifier.subscription(id);
            }
            if let Some(tolerance) = key.1 {
                verifier = verifier.tolerance(Duration::from_millis(tolerance));
            }
            self.session.hooks.verifiers.insert(key.clone(), verifier);
        }
        let wake = self.session.hooks.verifiers[&key].verify(&verify.signature, verify.body.as_bytes()).await?;
        Ok(json!({"wake": {
            "subscriptionId": wake.subscription_id,
            "wakeId": wake.wake_id,
            "generation": wake.generation,
            "streams": told(&wake.streams),
        }}))
    }

    pub(crate) fn work_of(&mut self, work: WorkOf) -> Outcome {
        let wake = Wake::from_json(work.body.as_bytes())?;
        let lease = self.subscriptions()?.work_of(&wake, Duration::from_millis(work.lease_ms))?;
        Ok(self.given(lease))
    }

    pub(crate) async fn open_worker(&mut self, open: OpenWorker) -> Outcome {
        let worker = self.subscriptions()?.worker(&open.id, &open.name).await?;
        self.session.hooks.worker = Some(worker);
        Ok(Value::Null)
    }

    pub(crate) async fn next_lease(&mut self, next: NextLease) -> Outcome {
        let worker = self.session.hooks.worker.as_mut();
        let worker = worker.ok_or_else(|| Failure::InvalidArgument("there is no worker".to_owned()))?;
        let limit = Duration::from_millis(next.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS));
        let lease = timeout(limit, worker.next()).await;
        let lease = lease.map_err(|_| Error::new(ErrorKind::Timeout, "there was no work in time"))??;
        Ok(self.given(lease))
    }

    fn given(&mut self, lease: Lease) -> Value {
        let told = json!({
            "subscriptionId": lease.subscription_id(),
            "wakeId": lease.wake_id(),
            "generation": lease.generation(),
            "streams": told(lease.streams()),
            "pending": lease.pending().map(|it| it.path.as_str()).collect::<Vec<_>>(),
        });
        self.session.hooks.lease = Some(lease);
        json!({ "lease": told })
    }

    pub(crate) async fn lease_read(&mut self, read: LeaseRead) -> Outcome {
        let lease = self.session.hooks.lease()?;
        let stream = lease.streams().iter().find(|it| it.path == read.stream);
        let stream = stream.ok_or_else(|| Failure::InvalidArgument(format!("no stream {}", read.stream)))?;
        let mut reader = lease.read(stream)?;
        let (mut messages, mut place) = (Vec::<Value>::new(), reader.checkpoint().clone());
        while let Some(batch) = reader.next().await {
            let batch = batch?;
            let left = read.max_items.map_or(u64::MAX, |most| most.saturating_sub(messages.len() as u64));
            let taken = left.min(batch.units());
            place = batch.checkpoint_at(taken);
            for message in batch.messages().take(usize::try_from(taken).unwrap_or(usize::MAX)) {
                let message = serde_json::from_slice(&message);
                messages.push(message.map_err(|error| Failure::InvalidArgument(error.to_string()))?);
            }
            if taken == left {
                break;
            }
        }
        Ok(json!({"messages": messages, "offset": place.from.to_string()}))
    }

    pub(crate) async fn lease_ack(&mut self, ack: Offsets) -> Outcome {
        self.session.hooks.lease()?.ack(&acks(ack.offsets)?).await?;
        Ok(Value::Null)
    }

    pub(crate) async fn lease_finish(&mut self, finish: Offsets) -> Outcome {
        let more = self.session.hooks.lease()?.finish(&acks(finish.offsets)?).await?;
        Ok(json!({ "nextWake": more }))
    }

    pub(crate) async fn lease_release(&mut self) -> Outcome {
        self.session.hooks.lease()?.release().await?;
        Ok(Value::Null)
    }

    /// Keeps the lease for a time, or until it is lost.
    pub(crate) async fn lease_hold(&mut self, hold: Hold) -> Outcome {
        let lease = self.session.hooks.lease()?;
        // That nothing happens for so long is a result as well.
        let _ = timeout(Duration::from_millis(hold.timeout_ms), lease.lost()).await;
        Ok(json!({ "lost": lease.is_lost() }))
    }
}

fn told(streams: &[LinkedStream]) -> Vec<BTreeMap<&'static str, Value>> {
    let one = |it: &LinkedStream| {
        let mut told = BTreeMap::from([
            ("path", it.path.as_str().into()),
            ("ackedOffset", it.acked_offset.to_string().into()),
            ("hasPending", it.has_pending.into()),
        ]);
        if let Some(tail) = &it.tail_offset {
            told.insert("tailOffset", tail.as_str().into());
        }
        told
    };
    streams.iter().map(one).collect()
}
