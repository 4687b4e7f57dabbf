//! All subscriptions of a server, and when each is due. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::error::Refusal;
use super::record::{Change, What};
use super::subscription::{Step, Subscription};
use crate::clock::Millis;

/// Subscriptions by id.
#[derive(Debug, Default)]
pub(super) struct Registry {
    subscriptions: HashMap<Arc<str>, Subscription>,
    /// Those that wait for a moment.
    due: BTreeSet<(Millis, Arc<str>)>,
}

impl Registry {
    pub(super) fn find(&self, id: &str) -> Result<&Subscription, Refusal> {
        self.subscriptions.get(id).ok_or(Refusal::NotFound)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Subscription)> {
        self.subscriptions.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    pub(super) fn insert(&mut self, id: Arc<str>, subscription: Subscription) {
        self.remove(&id);
        self.due.extend(subscription.poll_timeout().map(|at| (at, Arc::clone(&id))));
        self.subscriptions.insert(id, subscription);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Subscription> {
        let (id, subscription) = self.subscriptions.remove_entry(id)?;
        if let Some(at) = subscription.poll_timeout() {
            self.due.remove(&(at, id));
        }
        Some(subscription)
    }

    /// Has one subscription do something. What it changed is in the step, whatever the outcome.
    pub(super) fn update<T>(
        &mut self,
        id: &str,
        step: &mut Step,
        act: impl FnOnce(&mut Subscription, &mut Step) -> T,
    ) -> Result<T, Refusal> {
        let (id, _) = self.subscriptions.get_key_value(id).ok_or(Refusal::NotFound)?;
        let id = Arc::clone(id);
        let subscription = self.subscriptions.get_mut(&id).ok_or(Refusal::NotFound)?;
        let before = subscription.poll_timeout();
        let outcome = act(subscription, step);
        let after = subscription.poll_timeout();
        if before != after {
            if let Some(at) = before {
                self.due.remove(&(at, Arc::clone(&id)));
            }
            self.due.extend(after.map(|at| (at, id)));
        }
        Ok(outcome)
    }

    /// Carries out what a journal says.
    pub(super) fn replay(&mut self, id: Arc<str>, what: What) {
        match what {
            What::State(subscription) => self.insert(id, *subscription),
            What::Changes(changes) => {
                let apply = |subscription: &mut Subscription, _: &mut Step| {
                    changes.iter().for_each(|change: &Change| subscription.apply(change));
                };
                if self.update(&id, &mut Step::default(), apply).is_err() {
                    tracing::warn!(subscription = &*id, "the journal has changes of a subscription that is not there");
                }
            }
            What::Deleted(_) => {
                self.remove(&id);
            }
        }
    }

    /// The moment at which the first one is due.
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.due.first().map(|(at, _)| *at)
    }

    /// One whose moment has come.
    pub(super) fn next_due(&self, now: Millis) -> Option<Arc<str>> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, id)| Arc::clone(id))
    }
}
