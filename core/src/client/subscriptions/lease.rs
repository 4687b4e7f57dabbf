//! Work that was given to us: read, ack, finish, while heartbeats keep it ours.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Subscriptions, call, parse};
use crate::client::exchange::Target;
use crate::client::read::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{LiveMode, ReadOptions};
use crate::proto::offset::Offset;
use crate::proto::subscription::request::{self, WakeRef};
use crate::proto::subscription::{Acked, Claimed, LinkedStream, Wake, heartbeat_interval};
use crate::proto::url::StreamUrl;

/// The right to work on what a subscription has pending. No other worker has it, until this one is silent for a lease:
/// a task tells the server that it is not, as long as this value lives.
///
/// Work is given at least once: what was done and not acked, because the worker died or its lease ended, is given again.
pub struct Lease {
    shared: Arc<Shared>,
    streams: Vec<LinkedStream>,
    heartbeats: JoinHandle<()>,
}

/// What the heartbeats and the worker that it came from know of a lease.
pub(super) struct Shared {
    subscriptions: Subscriptions,
    id: String,
    wake_id: String,
    generation: u64,
    lease: Duration,
    acks: Target,
    /// A webhook has none.
    release: Option<Target>,
    token: Mutex<String>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    /// The server said so.
    Lost,
    /// Finished or released.
    Over,
}

impl Lease {
    pub(super) fn claimed(
        subscriptions: &Subscriptions,
        id: &str,
        claimed: Claimed,
        acks: Target,
        release: Target,
    ) -> Self {
        let shared = Shared {
            subscriptions: subscriptions.clone(),
            id: id.to_owned(),
            wake_id: claimed.wake_id,
            generation: claimed.generation,
            lease: claimed.lease,
            acks,
            release: Some(release),
            token: Mutex::new(claimed.token),
            state: watch::Sender::new(State::Held),
        };
        Self::begin(shared, claimed.streams)
    }

    pub(super) fn woken(subscriptions: &Subscriptions, wake: &Wake, lease: Duration) -> Result<Self> {
        let url = StreamUrl::parse(&wake.callback_url)?;
        let shared = Shared {
            acks: Target { url, extras: subscriptions.core.extras.clone() },
            subscriptions: subscriptions.clone(),
            id: wake.subscription_id.clone(),
            wake_id: wake.wake_id.clone(),
            generation: wake.generation,
            lease,
            release: None,
            token: Mutex::new(wake.callback_token.clone()),
            state: watch::Sender::new(State::Held),
        };
        Ok(Self::begin(shared, wake.streams.clone()))
    }

    fn begin(shared: Shared, streams: Vec<LinkedStream>) -> Self {
        let shared = Arc::new(shared);
        let heartbeats = tokio::spawn(keep(Arc::clone(&shared)));
        Self { shared, streams, heartbeats }
    }

    /// The subscription.
    pub fn subscription_id(&self) -> &str {
        &self.shared.id
    }

    /// Names the wake.
    pub fn wake_id(&self) -> &str {
        &self.shared.wake_id
    }

    /// The fencing number: give it to what must not take the writes of a late worker.
    pub fn generation(&self) -> u64 {
        self.shared.generation
    }

    /// The streams, with cursors and tails; those with something new first. At most 1,000: what does not fit comes with
    /// the next wake.
    pub fn streams(&self) -> &[LinkedStream] {
        &self.streams
    }

    /// The streams that have something new.
    pub fn pending(&self) -> impl Iterator<Item = &LinkedStream> {
        self.streams.iter().filter(|stream| stream.has_pending)
    }

    /// Reads a stream from its cursor to the tail. The reader's [`offset`](Reader::offset) is what to ack.
    ///
    /// # Errors
    /// `InvalidArgument` for a path that no URL can have.
    pub fn read(&self, stream: &LinkedStream) -> Result<Reader> {
        let options =
            ReadOptions { from: stream.acked_offset.clone().into(), live: LiveMode::CatchUp, ..ReadOptions::default() };
        Ok(self.shared.subscriptions.stream(&stream.path)?.read(options))
    }

    /// Stores how far streams are processed, and begins the lease anew (C-HOOK-3).
    ///
    /// # Errors
    /// `LeaseLost`: stop, and discard what was done where that is possible (C-HOOK-4). `InvalidOffset`: an offset before
    /// the cursor or beyond the tail; none of them was stored. As all requests.
    pub async fn ack(&self, acks: &[(String, Offset)]) -> Result<()> {
        self.shared.ack(acks, false).await.map(drop)
    }

    /// Stores the last acks and gives the lease back, in one step; whether there is more to do. What is not acked stays
    /// pending, and is given again.
    ///
    /// There are no heartbeats from here on: when it fails, the lease ends by itself unless it is finished by another try.
    ///
    /// # Errors
    /// As [`ack`](Self::ack). A `LeaseLost` with [`outcome_unknown`](Error::outcome_unknown) may be the second answer to
    /// an ack that was stored.
    pub async fn finish(&self, acks: &[(String, Offset)]) -> Result<bool> {
        // None may come after it, which would be told that the wake is over.
        self.heartbeats.abort();
        let acked = self.shared.ack(acks, true).await?;
        self.shared.leave(State::Over);
        Ok(acked.next_wake)
    }

    /// Gives the work back undone, so that another worker can have it at once. A webhook's ends when its lease does.
    ///
    /// # Errors
    /// As all requests. A lease that is over is no error.
    pub async fn release(&self) -> Result<()> {
        self.shared.release().await
    }

    /// Whether it was finished or released: there is nothing more to do with it.
    pub fn is_over(&self) -> bool {
        *self.shared.state.borrow() == State::Over
    }

    /// Whether the server said that the lease is over.
    pub fn is_lost(&self) -> bool {
        *self.shared.state.borrow() == State::Lost
    }

    /// Ready when the server says that the lease is over: select it beside the work.
    ///
    /// # Cancel safety
    /// It can be dropped and called again.
    pub async fn lost(&self) {
        // The sender lives as long as this value.
        let _ = self.shared.state.subscribe().wait_for(|state| *state == State::Lost).await;
    }

    /// Ready when the lease is lost, or was finished or released; whether it was lost.
    ///
    /// # Cancel safety
    /// It can be dropped and called again.
    pub async fn ended(&self) -> bool {
        let mut states = self.shared.state.subscribe();
        // The sender lives as long as this value.
        states.wait_for(|state| *state != State::Held).await.is_ok_and(|state| *state == State::Lost)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }
}

impl Shared {
    fn wake<'a>(&'a self, token: &'a str) -> WakeRef<'a> {
        WakeRef { wake_id: &self.wake_id, generation: self.generation, token }
    }

    fn token(&self) -> String {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ack(&self, acks: &[(String, Offset)], done: bool) -> Result<Acked> {
        if *self.state.borrow() == State::Over {
            return Err(Error::new(ErrorKind::AlreadyClosed, "the lease was finished or released before"));
        }
        let request = request::ack(self.wake(&self.token()), acks, done)?;
        let (_, body) = call(&self.subscriptions.core, &self.acks, request).await.inspect_err(|error| {
            if is_over(error) {
                self.leave(State::Lost);
            }
        })?;
        let acked: Acked = parse(&self.acks, &body)?;
        if let Some(token) = &acked.token {
            // S-LEASE-4: work may take longer than a token lives.
            self.token.lock().unwrap_or_else(PoisonError::into_inner).clone_from(token);
        }
        Ok(acked)
    }

    /// Gives the work back, if it is still ours.
    pub(super) async fn release(&self) -> Result<()> {
        if !self.leave(State::Over) {
            return Ok(());
        }
        let Some(target) = &self.release else { return Ok(()) };
        let request = request::release(self.wake(&self.token()))?;
        match call(&self.subscriptions.core, target, request).await {
            Err(error) if !matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::NotFound) => Err(error),
            _ => Ok(()),
        }
    }

    /// It is held no more; whether it was until then.
    fn leave(&self, next: State) -> bool {
        self.state.send_if_modified(|state| {
            let was_held = *state == State::Held;
            if was_held {
                *state = next;
            }
            was_held
        })
    }
}

/// Whether it means that the work is not ours any more.
fn is_over(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::NotFound | ErrorKind::Unauthorized)
}

/// Tells the server now and then that we are at work, until that is over.
async fn keep(shared: Arc<Shared>) {
    let mut state = shared.state.subscribe();
    tokio::select! {
        // The sender lives as long as what is shared.
        _ = state.wait_for(|state| *state != State::Held) => {}
        () = beat(&shared) => {}
    }
}

async fn beat(shared: &Shared) {
    let interval = heartbeat_interval(shared.lease);
    loop {
        tokio::time::sleep(interval).await;
        if let Err(error) = shared.ack(&[], false).await {
            tracing::debug!(subscription = %shared.id, %error, "a heartbeat failed");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("subscription_id", &self.shared.id)
            .field("wake_id", &self.shared.wake_id)
            .field("generation", &self.shared.generation)
            .field("is_lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}
