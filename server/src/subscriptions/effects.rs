//! What subscriptions do outside: wake events and webhooks, once what they rest on is durable.

use std::sync::Arc;
use std::time::Duration;

use super::error::Refusal;
use super::service::Shared;
use super::spec::Kind;
use super::subscription::Effect;
use super::view;
use crate::clock::Millis;
use crate::engine::{Append, EngineError, ProducerTag};

impl Shared {
    pub(super) fn carry_out(self: &Arc<Self>, id: Arc<str>, effect: Effect) {
        let (shared, stop) = (Arc::clone(self), self.stop.clone());
        self.tasks.spawn(async move {
            let work = async {
                match effect {
                    Effect::Announce { wake_id } => shared.announce(&id, &wake_id).await,
                    Effect::Deliver { wake_id } => shared.deliver(&id, &wake_id).await,
                }
            };
            // What is not done by then is done after the next start.
            stop.run_until_cancelled(work).await;
        });
    }

    /// Appends the wake event (S-PULL-1): once, since the wake stream knows the subscription as a producer whose epoch is
    /// the generation.
    async fn announce(self: &Arc<Self>, id: &Arc<str>, wake_id: &str) {
        let mut pause = Duration::from_secs(1);
        loop {
            let Some((name, append)) = self.wake_append(id, wake_id) else { return };
            let outcome = match self.engine.stream(&name).await {
                Ok(stream) => stream.append(append).await.map(drop),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return,
                Err(EngineError::Storage(error)) => {
                    tracing::warn!(subscription = &**id, stream = &*name, %error, "a wake event could not be stored yet");
                }
                Err(error) => {
                    tracing::warn!(subscription = &**id, stream = &*name, %error, "a wake event was dropped; the wake can be claimed");
                    return;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(60));
        }
    }

    fn wake_append(&self, id: &Arc<str>, wake_id: &str) -> Option<(Arc<str>, Append<'static>)> {
        let core = self.core.lock();
        let subscription = core.registry.find(id).ok()?;
        // A worker that claimed it unasked does not make the event false (S-PULL-1: each wake).
        let wake = subscription.wake().filter(|wake| wake.id == wake_id)?;
        let Kind::PullWake { wake_stream } = &subscription.spec().kind else { return None };
        let event = view::wake_event(id, subscription, wake, self.engine.clock().now());
        let mut append = Append::new("application/json", event.to_string().into());
        append.producer = Some(ProducerTag {
            id: format!("everstream-wakes/{:016x}/{id}", subscription.nonce()).into(),
            epoch: subscription.generation(),
            seq: 0,
        });
        Some((Arc::clone(wake_stream), append))
    }

    /// Sends the webhook, and tells the machine what came of it.
    async fn deliver(self: &Arc<Self>, id: &Arc<str>, wake_id: &str) {
        // Closed never.
        let Ok(_permit) = self.deliveries.acquire().await else { return };
        let sent = self.engine.clock().now();
        let Some((url, body, lease)) = self.webhook_body(id, wake_id, sent) else { return };
        let outcome = match &self.deliverer {
            Some(deliverer) => {
                let signature = self.keys.sign(sent / 1000, body.as_bytes());
                deliverer.send(&url, signature, body.into(), lease).await
            }
            None => Err("webhooks are switched off on this server".to_owned()),
        };
        if let Err(why) = &outcome {
            tracing::warn!(subscription = &**id, wake = wake_id, %why, "a webhook was not delivered; it will be tried again");
        }
        let told = self.act(id, |subscription, at, step| {
            match outcome {
                Ok(accepted) => subscription.handle_delivered(wake_id, accepted.done, sent, at, step),
                Err(_) => subscription.handle_undelivered(wake_id, at, step),
            }
            Ok(())
        });
        // The subscription may be gone. After a failure of the storage the wake is as it was, and is sent again.
        if let Err(error @ Refusal::Storage(_)) = told.await {
            tracing::warn!(subscription = &**id, ?error, "the outcome of a webhook could not be stored");
        }
    }

    fn webhook_body(&self, id: &Arc<str>, wake_id: &str, now: Millis) -> Option<(String, String, Duration)> {
        let core = self.core.lock();
        let subscription = core.registry.find(id).ok()?;
        let wake = subscription.announced(wake_id)?;
        let Kind::Webhook { url } = &subscription.spec().kind else { return None };
        let token = self.token(id, subscription, now);
        let body = view::webhook(id, subscription, wake, &token, self.public_url.as_deref()).to_string();
        Some((url.clone(), body, Duration::from_millis(subscription.spec().lease_ttl_ms)))
    }
}
