//! Decided, then written, then done: the order that keeps promises over a crash.
//!
//! Under the lock of [`Core`] a machine decides, and its changes join the queue; whoever waits for one of them takes the
//! journal and writes everything that is queued at once. When that fails, everything since is forgotten, and the
//! journal is read anew: what it says is what happened.

use std::sync::Arc;

use parking_lot::RwLock;

use super::error::Refusal;
use super::interest::Interest;
use super::journal::{Journal, unreadable};
use super::record::{Change, Record, What};
use super::registry::Registry;
use super::service::Shared;
use super::subscription::{Effect, Step, Subscription};
use crate::engine::EngineError;
use crate::run_to_end::RunToEnd;

/// What is decided.
#[derive(Default)]
pub(super) struct Core {
    pub(super) registry: Registry,
    /// Not yet written.
    queue: Vec<Record>,
    /// To be done once the queue is written.
    effects: Vec<(Arc<str>, Effect)>,
    /// Steps so far.
    steps: u64,
    /// How often the journal was read anew. Steps of an earlier life never happened.
    life: u64,
    /// Why the journal cannot be read: nothing can be decided meanwhile.
    pub(super) broken: Option<EngineError>,
}

/// What is written.
#[derive(Default)]
pub(super) struct Written {
    journal: Option<Journal>,
    steps: u64,
    life: u64,
    /// What ended the life before.
    error: Option<EngineError>,
}

/// Stands for everything that was decided up to a moment.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    steps: u64,
    life: u64,
}

impl Core {
    pub(super) fn enqueue(&mut self, record: Record) {
        self.steps += 1;
        self.queue.push(record);
    }

    /// Puts what a subscription decided where it goes.
    pub(super) fn take(&mut self, id: &Arc<str>, step: Step, interest: &RwLock<Interest>) {
        for change in &step.changes {
            match change {
                Change::Linked(link) if link.explicit => interest.write().link(id, &link.path),
                Change::Linked(link) => interest.write().unlink(id, &link.path),
                Change::Unlinked { path } => interest.write().unlink(id, path),
                _ => {}
            }
        }
        if !step.changes.is_empty() {
            self.enqueue(Record { id: Arc::clone(id), what: What::Changes(step.changes) });
        }
        self.effects.extend(step.effects.into_iter().map(|effect| (Arc::clone(id), effect)));
    }

    /// Stands for everything that is decided. To be taken under the lock that it was decided under.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket { steps: self.steps, life: self.life }
    }
}

impl Shared {
    /// Waits until everything that the ticket stands for is durable, writing it if nobody else does.
    ///
    /// # Cancel safety
    /// Once polled, it takes its course even if the future is dropped.
    pub(super) async fn settled(self: &Arc<Self>, ticket: Ticket) -> Result<(), Refusal> {
        let shared = Arc::clone(self);
        RunToEnd::boxed(async move { shared.write(ticket).await }).await
    }

    async fn write(self: Arc<Self>, ticket: Ticket) -> Result<(), Refusal> {
        let mut written = self.journal.lock().await;
        let broken = self.core.lock().broken.clone();
        if let Some(error) = broken {
            // Somebody has to try.
            self.read_anew(&mut written).await?;
            return Err(error.into());
        }
        if written.life != ticket.life {
            return Err(written.error.clone().map_or(Refusal::NotFound, Refusal::Storage));
        }
        if written.steps >= ticket.steps && self.core.lock().effects.is_empty() {
            return Ok(());
        }
        match self.write_queue(&mut written).await {
            Ok(effects) => {
                for (id, effect) in effects {
                    self.carry_out(id, effect);
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "subscriptions could not be stored; the journal is read anew");
                written.error = Some(error.clone());
                let _ = self.read_anew(&mut written).await;
                Err(error.into())
            }
        }
    }

    async fn write_queue(&self, written: &mut Written) -> Result<Vec<(Arc<str>, Effect)>, EngineError> {
        let Written { journal: Some(journal), steps, .. } = written else { return Ok(Vec::new()) };
        let (queue, effects, upto, snapshot) = {
            let mut core = self.core.lock();
            let (queue, effects) = (std::mem::take(&mut core.queue), std::mem::take(&mut core.effects));
            // What is queued is in the snapshot already.
            let snapshot = (!queue.is_empty() && journal.is_outgrown()).then(|| snapshot(&core.registry));
            (queue, effects, core.steps, snapshot)
        };
        match snapshot {
            Some(snapshot) => journal.replace(&snapshot).await?,
            None if queue.is_empty() => {}
            None => journal.append(&queue).await?,
        }
        *steps = upto;
        Ok(effects)
    }

    /// Begins a new life with what the journal says.
    pub(super) async fn read_anew(self: &Arc<Self>, written: &mut Written) -> Result<(), EngineError> {
        let unread = || unreadable("of subscriptions", "it is being read anew");
        self.core.lock().broken.get_or_insert_with(unread);
        let read = self.read(written).await;
        self.core.lock().broken = read.as_ref().err().cloned();
        read
    }

    async fn read(self: &Arc<Self>, written: &mut Written) -> Result<(), EngineError> {
        {
            let mut core = self.core.lock();
            let life = core.life + 1;
            *core = Core { life, broken: core.broken.take(), ..Core::default() };
            *written = Written { journal: None, steps: 0, life, error: written.error.take() };
            *self.news.interest.write() = Interest::default();
        }
        let (journal, records) = Journal::open(self.engine.clone()).await?;
        let mut registry = Registry::default();
        records.into_iter().for_each(|record| registry.replay(record.id, record.what));
        {
            let mut core = self.core.lock();
            let mut interest = self.news.interest.write();
            registry.iter().for_each(|(id, subscription)| interest.add(id, subscription));
            drop(interest);
            self.engine.switch_observer(!registry.is_empty());
            let core = &mut *core;
            for (id, subscription) in registry.iter() {
                let mut step = Step::default();
                subscription.handle_restart(&mut step);
                core.effects.extend(step.effects.into_iter().map(|effect| (Arc::clone(id), effect)));
            }
            core.registry = registry;
        }
        written.journal = Some(journal);
        self.look_at_streams(None).await?;
        let mut core = self.core.lock();
        let ids: Vec<_> = core.registry.iter().map(|(id, _)| Arc::clone(id)).collect();
        for id in ids {
            let _ = self.update(&mut core, &id, |subscription, step| subscription.handle_all_seen(step));
        }
        self.news.arrived.notify_one();
        Ok(())
    }
}

fn snapshot(registry: &Registry) -> Vec<Record> {
    let state = |(id, subscription): (&Arc<str>, &Subscription)| Record {
        id: Arc::clone(id),
        what: What::State(Box::new(subscription.clone())),
    };
    registry.iter().map(state).collect()
}
