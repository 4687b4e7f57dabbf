//! One subscription as a state machine (PROTOCOL.md sections 17 and 18). Pure: no IO, no clock, no randomness.
//!
//! Commands and `handle_*` look at the state, refuse or decide, and put what they decided into a [`Step`] as
//! [`Change`]s, which are applied at once, and as [`Effect`]s, which the driver carries out when the changes are
//! durable. A subscription that is rebuilt from its changes is the same, except for tails, which it is told anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::Refusal;
use super::links::{Acked, Link, Links};
use super::record::Change;
use super::spec::{Ack, Kind, Spec};
use crate::clock::Millis;
use crate::engine::Position;
use crate::glob::Glob;
use crate::storage::StreamId;

/// The most streams that one wake names: those with something new first. What does not fit comes with the next wake.
pub(super) const STREAMS_PER_WAKE: usize = 1000;

/// One subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Subscription {
    spec: Spec,
    created_at: Millis,
    /// Tells a subscription from an earlier one of the same id.
    nonce: u64,
    /// Where the client that created it reached the stream root; callbacks go there (S-HOOK-1).
    base_url: String,
    links: Links,
    generation: u64,
    /// Deliveries that failed since the last one that did not (S-HOOK-7).
    failures: u32,
    wake: Option<Wake>,
}

/// One notification, from its beginning to the end of its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Wake {
    pub(super) id: String,
    /// The stream that caused it.
    pub(super) trigger: Arc<str>,
    /// Webhooks: the tails of the streams with something new, when it began (S-WAKE-2).
    pub(super) snapshot: BTreeMap<Arc<str>, Acked>,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// To be sent, or under way: a webhook, or the event of a pull-wake that nobody has claimed yet.
    Announced,
    /// To be sent again.
    Failed { retry_at: Millis },
    /// A worker is at it; pull-wake workers have a name.
    Leased { worker: Option<String>, until: Millis },
}

/// What came of a command or an event.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// To be written down.
    pub(super) changes: Vec<Change>,
    /// To be done after that.
    pub(super) effects: Vec<Effect>,
}

/// What the driver is to do outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Append the wake event (S-PULL-1).
    Announce { wake_id: String },
    /// Send the webhook (S-HOOK-1).
    Deliver { wake_id: String },
}

/// What the engine says about a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) path: &'a Arc<str>,
    pub(super) stream: StreamId,
    /// Where its own data begins.
    pub(super) base: Position,
    pub(super) tail: Position,
}

/// The moment of a step, and a number drawn for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Millis,
    pub(super) random: u64,
}

impl Subscription {
    /// A new subscription. `links` are the streams that match or are named at this moment, at their tails (S-SUB-4).
    pub(super) fn new(spec: Spec, base_url: String, links: Vec<Link>, at: Moment) -> Self {
        let mut subscription = Self {
            spec,
            created_at: at.now,
            nonce: at.random,
            base_url,
            links: Links::default(),
            generation: 0,
            failures: 0,
            wake: None,
        };
        links.into_iter().for_each(|link| subscription.links.set(link));
        let missing: Vec<_> =
            subscription.spec.streams.iter().filter(|path| subscription.links.find(path).is_none()).cloned().collect();
        for path in missing {
            let link = subscription.missing_link(path);
            subscription.links.set(link);
        }
        subscription
    }

    // Commands.

    /// Adds explicit links, at the tail that the stream has now (S-SUB-6).
    pub(super) fn add_stream(&mut self, path: &Arc<str>, found: Option<(StreamId, Position)>, step: &mut Step) {
        let link = match (self.links.find(path), found) {
            (Some(link), _) if link.explicit => return,
            (Some(link), _) => Link { explicit: true, ..link.clone() },
            (None, Some((stream, tail))) => {
                let glob = self.matches(path);
                Link { path: Arc::clone(path), explicit: true, glob, acked: Acked::at(tail), stream: Some(stream) }
            }
            (None, None) => self.missing_link(Arc::clone(path)),
        };
        self.change(Change::Linked(link), step);
    }

    /// Removes the explicit part of a link, if there is one (S-SUB-6).
    pub(super) fn remove_stream(&mut self, path: &Arc<str>, step: &mut Step) {
        let Some(link) = self.links.find(path).filter(|link| link.explicit) else { return };
        let change = if link.glob && link.stream.is_some() {
            Change::Linked(Link { explicit: false, ..link.clone() })
        } else {
            Change::Unlinked { path: Arc::clone(path) }
        };
        self.change(change, step);
    }

    /// Takes the lease of a pull-wake subscription (S-PULL-2 to 4).
    ///
    /// # Errors
    /// The lease is held, or there is nothing to do.
    pub(super) fn claim(&mut self, worker: String, at: Moment, step: &mut Step) -> Result<(), Refusal> {
        self.handle_timeout(at, step);
        if let Some(Wake { stage: Stage::Leased { worker: Some(holder), .. }, .. }) = &self.wake {
            return Err(Refusal::AlreadyClaimed { holder: holder.clone(), generation: self.generation });
        }
        if !self.links.has_pending() {
            // What the wake was for is gone with its stream.
            if self.wake.is_some() {
                self.change(Change::Ended, step);
            }
            return Err(Refusal::NoPendingWork);
        }
        self.wake_if_idle(at, step);
        self.change(Change::Claimed { worker, until: self.lease_from(at.now) }, step);
        Ok(())
    }

    /// Takes acks in, and restarts the lease or ends the wake (S-PULL-5, S-HOOK-5). Tells whether a new wake began.
    ///
    /// # Errors
    /// Rows 5 and 6 of T-ACK; nothing of the request was applied.
    pub(super) fn ack(
        &mut self,
        token_generation: u64,
        ack: &Ack,
        at: Moment,
        step: &mut Step,
    ) -> Result<bool, Refusal> {
        self.handle_timeout(at, step);
        self.check_current(token_generation, ack)?;
        let acks =
            ack.acks.iter().map(|ack| self.check_ack(&ack.stream, &ack.offset)).collect::<Result<Vec<_>, _>>()?;
        if !acks.is_empty() {
            self.change(Change::Acked { acks }, step);
        }
        if ack.done {
            return Ok(self.end(at, step));
        }
        let until = self.lease_from(at.now);
        match self.holder().map(str::to_owned) {
            Some(worker) => self.change(Change::Claimed { worker, until }, step),
            None => self.change(Change::Accepted { until }, step),
        }
        Ok(false)
    }

    /// Gives the lease back (S-PULL-6).
    ///
    /// # Errors
    /// Row 5 of T-ACK.
    pub(super) fn release(
        &mut self,
        token_generation: u64,
        ack: &Ack,
        at: Moment,
        step: &mut Step,
    ) -> Result<(), Refusal> {
        self.handle_timeout(at, step);
        self.check_current(token_generation, ack)?;
        self.end(at, step);
        Ok(())
    }

    // What happened.

    /// A stream has this tail.
    pub(super) fn handle_seen(&mut self, seen: Seen<'_>, at: Moment, step: &mut Step) {
        let link = match self.links.find(seen.path) {
            // A stream that nobody has appended to yet is not linked (S-SUB-5).
            None if seen.tail <= seen.base || !self.matches(seen.path) => return,
            None => Some(Link {
                path: Arc::clone(seen.path),
                explicit: false,
                glob: true,
                acked: Acked::BEGINNING,
                stream: Some(seen.stream),
            }),
            Some(link) if link.stream == Some(seen.stream) => None,
            // It was missing, or it is another one under the same name: there was no ack in this one yet.
            Some(link) => {
                let acked = if link.explicit { Acked::at(Position::ZERO) } else { Acked::BEGINNING };
                Some(Link { acked, stream: Some(seen.stream), ..link.clone() })
            }
        };
        if let Some(link) = link {
            self.change(Change::Linked(link), step);
        }
        self.links.saw(seen.path, seen.tail);
        self.wake_if_idle(at, step);
    }

    /// A stream is gone. Its explicit link waits for the next one of this name.
    pub(super) fn handle_removed(&mut self, path: &Arc<str>, stream: StreamId, step: &mut Step) {
        let Some(link) = self.links.find(path).filter(|link| link.stream == Some(stream)) else { return };
        let change = if link.explicit {
            Change::Linked(self.missing_link(Arc::clone(path)))
        } else {
            Change::Unlinked { path: Arc::clone(path) }
        };
        self.change(change, step);
    }

    /// Everything that there is has been seen: links of streams that have not are stale.
    pub(super) fn handle_all_seen(&mut self, step: &mut Step) {
        let unseen: Vec<_> = self
            .links
            .iter()
            .filter(|link| self.links.tail(&link.path).is_none())
            .filter_map(|link| Some((Arc::clone(&link.path), link.stream?)))
            .collect();
        for (path, stream) in unseen {
            self.handle_removed(&path, stream, step);
        }
    }

    /// The webhook was answered with 2xx; `done` if the answer says that the work is done (S-HOOK-6). `sent` is when
    /// the request left.
    pub(super) fn handle_delivered(&mut self, wake_id: &str, done: bool, sent: Millis, at: Moment, step: &mut Step) {
        let Some(wake) = self.wake.as_ref().filter(|wake| wake.id == wake_id) else { return };
        if done {
            let acks = wake.snapshot.iter().map(|(path, tail)| (Arc::clone(path), *tail)).collect();
            self.change(Change::Acked { acks }, step);
            self.end(at, step);
        } else if wake.stage == Stage::Announced {
            // A callback that came before the answer has started the lease anew already.
            self.change(Change::Accepted { until: self.lease_from(sent) }, step);
            self.handle_timeout(at, step);
        }
    }

    /// The webhook could not be delivered (S-HOOK-7).
    pub(super) fn handle_undelivered(&mut self, wake_id: &str, at: Moment, step: &mut Step) {
        // After a callback the worker is at it, whatever became of the answer.
        if self.is_announced(wake_id) {
            let failures = self.failures.saturating_add(1);
            let retry_at = at.now.saturating_add(retry_delay(failures, at.random));
            self.change(Change::Failed { failures, retry_at }, step);
        }
    }

    /// Time has passed: leases end (S-LEASE-1), retries are due.
    pub(super) fn handle_timeout(&mut self, at: Moment, step: &mut Step) {
        let Some(wake) = &self.wake else { return };
        match wake.stage {
            Stage::Leased { until, .. } if at.now >= until => {
                self.end(at, step);
            }
            Stage::Failed { retry_at } if at.now >= retry_at => {
                let wake_id = wake.id.clone();
                self.change(Change::Retried, step);
                step.effects.push(Effect::Deliver { wake_id });
            }
            _ => {}
        }
    }

    /// The driver has started anew: what may not have reached anybody is sent once more.
    pub(super) fn handle_restart(&self, step: &mut Step) {
        if let Some(Wake { stage: Stage::Announced, id, .. }) = &self.wake {
            step.effects.push(self.announcement(id.clone()));
        }
    }

    // What is next, and what is.

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        match self.wake.as_ref()?.stage {
            Stage::Announced => None,
            Stage::Failed { retry_at } => Some(retry_at),
            Stage::Leased { until, .. } => Some(until),
        }
    }

    /// The wake of this id, while it waits to be delivered or claimed.
    pub(super) fn announced(&self, wake_id: &str) -> Option<&Wake> {
        self.wake.as_ref().filter(|wake| wake.id == wake_id && wake.stage == Stage::Announced)
    }

    pub(super) fn wake(&self) -> Option<&Wake> {
        self.wake.as_ref()
    }

    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn created_at(&self) -> Millis {
        self.created_at
    }

    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Whether a webhook retry is scheduled (S-SUB-9).
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Carries a change out. The only place where what is kept changes.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Linked(link) => {
                let known = self.links.find(&link.path).and_then(|known| known.stream);
                if known != link.stream
                    && let Some(wake) = &mut self.wake
                {
                    // Its tail is one of a stream that is gone.
                    wake.snapshot.remove(&link.path);
                }
                self.links.set(link.clone());
            }
            Change::Unlinked { path } => {
                self.links.remove(path);
                if let Some(wake) = &mut self.wake {
                    wake.snapshot.remove(path);
                }
            }
            Change::Acked { acks } => acks.iter().for_each(|(path, acked)| self.links.ack(path, *acked)),
            Change::Woken { wake_id, trigger, snapshot } => {
                self.generation += 1;
                let (id, trigger, snapshot) = (wake_id.clone(), Arc::clone(trigger), snapshot.clone());
                self.wake = Some(Wake { id, trigger, snapshot, stage: Stage::Announced });
            }
            Change::Accepted { until } => {
                self.failures = 0;
                self.stage(Stage::Leased { worker: None, until: *until });
            }
            Change::Failed { failures, retry_at } => {
                self.failures = *failures;
                self.stage(Stage::Failed { retry_at: *retry_at });
            }
            Change::Retried => self.stage(Stage::Announced),
            Change::Claimed { worker, until } => {
                self.stage(Stage::Leased { worker: Some(worker.clone()), until: *until });
            }
            // A wake that came to its end, by whatever way, was received.
            Change::Ended => {
                self.failures = 0;
                self.wake = None;
            }
        }
    }

    fn change(&mut self, change: Change, step: &mut Step) {
        self.apply(&change);
        step.changes.push(change);
    }

    fn stage(&mut self, stage: Stage) {
        if let Some(wake) = &mut self.wake {
            wake.stage = stage;
        }
    }

    /// Ends the wake; if something is pending, the next one begins. Tells whether it did.
    fn end(&mut self, at: Moment, step: &mut Step) -> bool {
        self.change(Change::Ended, step);
        self.wake_if_idle(at, step)
    }

    /// Begins a wake if there is none and something is pending (S-WAKE-1 to 3). Tells whether it did.
    fn wake_if_idle(&mut self, at: Moment, step: &mut Step) -> bool {
        if self.wake.is_some() {
            return false;
        }
        let Some((trigger, _)) = self.links.pending().next() else { return false };
        let trigger = Arc::clone(trigger);
        let snapshot = match self.spec.kind {
            Kind::Webhook { .. } => {
                let pending = self.links.pending().take(STREAMS_PER_WAKE);
                pending.map(|(path, tail)| (Arc::clone(path), Acked::at(tail))).collect()
            }
            Kind::PullWake { .. } => BTreeMap::new(),
        };
        let wake_id = format!("wake_{}_{:016x}", self.generation + 1, at.random);
        self.change(Change::Woken { wake_id: wake_id.clone(), trigger, snapshot }, step);
        step.effects.push(self.announcement(wake_id));
        true
    }

    fn announcement(&self, wake_id: String) -> Effect {
        match self.spec.kind {
            Kind::PullWake { .. } => Effect::Announce { wake_id },
            Kind::Webhook { .. } => Effect::Deliver { wake_id },
        }
    }

    /// T-ACK 5.
    fn check_current(&self, token_generation: u64, ack: &Ack) -> Result<(), Refusal> {
        let is_current = self.wake.as_ref().is_some_and(|wake| wake.id == ack.wake_id)
            && ack.generation == self.generation
            && token_generation == self.generation;
        if is_current { Ok(()) } else { Err(Refusal::Fenced) }
    }

    /// T-ACK 6.
    fn check_ack(&self, stream: &str, offset: &str) -> Result<(Arc<str>, Acked), Refusal> {
        let refused = |why: &str| Err(Refusal::InvalidOffset(format!("{stream} at {offset}: {why}")));
        let path = stream.trim_matches('/');
        let Some(link) = self.links.find(path) else { return refused("the subscription has no such stream") };
        let Some(position) = Position::parse(offset) else { return refused("this is no offset to ack") };
        let acked = Acked::at(position);
        if acked < link.acked {
            return refused("a later offset is acked already");
        }
        if acked != link.acked && self.links.tail(path).is_none_or(|tail| position > tail) {
            return refused("the stream does not reach as far");
        }
        Ok((Arc::clone(&link.path), acked))
    }

    fn is_announced(&self, wake_id: &str) -> bool {
        self.announced(wake_id).is_some()
    }

    fn holder(&self) -> Option<&str> {
        match &self.wake.as_ref()?.stage {
            Stage::Leased { worker, .. } => worker.as_deref(),
            _ => None,
        }
    }

    fn lease_from(&self, start: Millis) -> Millis {
        start.saturating_add(self.spec.lease_ttl_ms)
    }

    fn matches(&self, path: &str) -> bool {
        self.spec.glob().is_some_and(|glob: Glob| glob.matches(path))
    }

    /// The link of a stream that is named and not there: at the zero offset (S-SUB-5).
    fn missing_link(&self, path: Arc<str>) -> Link {
        let glob = self.matches(&path);
        Link { path, explicit: true, glob, acked: Acked::at(Position::ZERO), stream: None }
    }
}

/// `min(1000 * 2^(k-1), 60000)` ms for the k-th failure, plus or minus 20 % (S-HOOK-7).
fn retry_delay(failures: u32, random: u64) -> Millis {
    let delay = 1000_u64.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(60_000);
    delay * (800 + random % 401) / 1000
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
