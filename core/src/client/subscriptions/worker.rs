//! A worker of a pull-wake subscription: follows the wake stream and claims (C-HOOK-5).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::lease::Shared;
use super::{Lease, Subscriptions};
use crate::client::read::Reader;
use crate::error::{Error, Result};
use crate::options::{LiveMode, ReadOptions};
use crate::proto::offset::ReadFrom;
use crate::proto::read::Batch;
use crate::proto::subscription::SubscriptionKind;

/// Waits for the work of a pull-wake subscription. Any number of workers may share one; each wake goes to one of them.
pub struct Worker {
    subscriptions: Subscriptions,
    id: String,
    name: String,
    wakes: Reader,
    /// The wake stream was closed: no event comes any more.
    has_ended: bool,
    lease: Duration,
    /// The last one that was given out.
    last: Option<Arc<Shared>>,
}

impl Worker {
    pub(super) async fn open(subscriptions: Subscriptions, id: &str, name: &str) -> Result<Self> {
        let subscription = subscriptions.get(id).await?;
        let SubscriptionKind::PullWake { wake_stream } = &subscription.kind else {
            return Err(Error::invalid_argument(format!("the subscription {id:?} is a webhook: it has no workers")));
        };
        let mut wakes = subscriptions.stream(wake_stream)?.read(ReadOptions {
            from: ReadFrom::Now.into(),
            live: LiveMode::Auto,
            json: true,
            ..ReadOptions::default()
        });
        // Before the first claim, so that no event can come between the two.
        wakes.open().await.map_err(|error| error.prefixed(format!("the wake stream {wake_stream:?} of {id:?}")))?;
        let (id, name) = (id.to_owned(), name.to_owned());
        Ok(Self { subscriptions, id, name, wakes, has_ended: false, lease: subscription.lease, last: None })
    }

    /// The next work, as soon as there is some. It waits through any time that the server is away, as live reads do. An
    /// error does not end the worker: the next call goes on.
    ///
    /// A subscription has one lease at a time. So the one before is given back, unless it was finished or released.
    ///
    /// # Errors
    /// `NotFound` when the subscription or its wake stream is gone, `Unauthorized`, and whatever else trying again does not
    /// mend.
    ///
    /// # Cancel safety
    /// No wake is lost. Work that is being claimed at that very moment is given back at once, and comes again.
    pub async fn next(&mut self) -> Result<Lease> {
        if let Some(last) = self.last.take()
            && let Err(error) = last.release().await
        {
            tracing::debug!(subscription = %self.id, %error, "a lease could not be given back: it ends by itself");
        }
        loop {
            match self.subscriptions.claim(&self.id, &self.name).await {
                Ok(Some(lease)) => {
                    self.last = Some(lease.shared());
                    return Ok(lease);
                }
                Ok(None) => {}
                // As for live reads, a server that is away comes back. The wake stream tells when, or the wait ends.
                Err(error) if error.is_retryable() => {
                    tracing::warn!(subscription = %self.id, %error, "no work can be claimed now: the worker goes on waiting");
                }
                Err(error) => return Err(error),
            }
            self.woken().await?;
        }
    }

    /// Waits for an event that concerns us, and for a lease at most: events are dropped while there is no wake stream.
    async fn woken(&mut self) -> Result<()> {
        let mut waited = std::pin::pin!(tokio::time::sleep(self.lease));
        loop {
            tokio::select! {
                batch = self.wakes.next(), if !self.has_ended => match batch {
                    Some(Ok(batch)) if concerns(&batch, &self.id) => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        self.wakes.resume();
                        return Err(error);
                    }
                    None => self.has_ended = true,
                },
                () = &mut waited => return Ok(()),
            }
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("subscription_id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether a wake event of this subscription is among them; subscriptions may share a wake stream (S-PULL-1).
fn concerns(batch: &Batch, id: &str) -> bool {
    #[derive(Deserialize)]
    struct Event {
        subscription_id: String,
    }
    batch.messages().any(|message| serde_json::from_slice::<Event>(&message).is_ok_and(|it| it.subscription_id == id))
}
