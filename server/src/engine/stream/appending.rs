//! From an append to its durability: decided under the lock of its stream, handed to storage, settled when that answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::super::error::EngineError;
use super::super::notify::Ended;
use super::super::position::Position;
use super::super::state::{Append, Commit, Decision, Receipt};
use super::{Core, Stream};
use crate::clock::Millis;
use crate::run_to_end::RunToEnd;
use crate::storage::{Reply, StorageError};

/// An append that has its place in the order of its stream. As a future, it resolves when the outcome is durable.
///
/// # Cancel safety
/// The append takes its course even if this is dropped.
///
/// # Errors
/// The row of T-POST that refuses it, or a failure of the storage.
#[must_use = "its outcome is not durable yet"]
pub struct Appending {
    outcome: Option<Result<Receipt, EngineError>>,
    rest: Rest,
}

/// What is to happen before the outcome of an append is durable.
enum Rest {
    Nothing,
    /// The storage answers.
    Reply(RunToEnd<Settling>),
    /// The commits of the stream up to this one are durable. Seldom, and larger than all the rest.
    Settled(Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send>>),
}

impl Appending {
    fn new(outcome: Result<Receipt, EngineError>, rest: Rest) -> Self {
        Self { outcome: Some(outcome), rest }
    }
}

impl Future for Appending {
    type Output = Result<Receipt, EngineError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match &mut this.rest {
            Rest::Nothing => {}
            Rest::Reply(reply) => ready!(Pin::new(reply).poll(cx))?,
            Rest::Settled(settled) => ready!(settled.as_mut().poll(cx))?,
        }
        this.outcome.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl std::fmt::Debug for Appending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appending").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

impl Stream {
    /// Appends, closes, or both. Resolves when the outcome is durable; a duplicate is not confirmed
    /// before its original is durable.
    ///
    /// # Cancel safety
    /// Once polled, the append takes its course even if the future is dropped.
    ///
    /// # Errors
    /// The row of T-POST that refuses it, or a failure of the storage.
    pub async fn append(self: &Arc<Self>, append: Append<'_>) -> Result<Receipt, EngineError> {
        Arc::clone(self).begin_append(append)?.await
    }

    /// Decides about an append and gives it its place in the order of the stream: whatever is begun after it comes after it.
    /// It takes its course even if what is returned is dropped.
    ///
    /// # Errors
    /// The stream cannot be used. What T-POST refuses is said by the [`Appending`].
    pub fn begin_append(self: Arc<Self>, append: Append<'_>) -> Result<Appending, EngineError> {
        let mut core = self.live_core()?;
        let now = self.clock.now();
        let (outcome, number) = match core.decided.decide(append, now) {
            Ok(Decision::Commit(commit, _)) if self.is_too_much(&core, &commit) => {
                (Err(EngineError::StreamFull { limit: self.max_bytes }), core.issued)
            }
            Ok(Decision::Commit(commit, receipt)) => {
                let issued = self.issue(&mut core, commit);
                let rest = match issued.reply {
                    Reply::Ready(result) => {
                        let result = core.settle(issued.number, issued.tail, result.unwrap_or(Ok(())));
                        drop(core);
                        self.publish(&result, issued.tail.0, issued.grows);
                        result?;
                        Rest::Nothing
                    }
                    Reply::Later(_) | Reply::Pending(_) => {
                        drop(core);
                        Rest::Reply(RunToEnd::new(Settling { stream: self, issued }))
                    }
                };
                return Ok(Appending::new(Ok(receipt), rest));
            }
            Ok(Decision::Answer(receipt)) => {
                self.touch(&mut core, now);
                (Ok(receipt), core.issued)
            }
            Err(error) => (Err(error), core.issued),
        };
        // The answer may rest on commits that are not durable, so it waits for them.
        let is_settled = core.settled >= number;
        drop(core);
        let rest =
            if is_settled { Rest::Nothing } else { Rest::Settled(Box::pin(async move { self.settled(number).await })) };
        Ok(Appending::new(outcome, rest))
    }

    /// Whether a commit would make the stream larger than allowed. Repeats of what is stored are no commits, so they are
    /// recognised in a full stream too.
    fn is_too_much(&self, core: &Core, commit: &Commit) -> bool {
        let own = core.decided.tail().0.saturating_sub(self.meta.base().0);
        let more = commit.messages.data().len() as u64;
        more > 0 && own.saturating_add(more) > self.max_bytes
    }

    /// Applies a commit to the decided state and hands it to storage. Under the lock, so that the order
    /// of commits is the order of decisions.
    fn issue(&self, core: &mut Core, commit: Commit) -> Issued {
        let grows = !commit.messages.is_empty();
        core.decided.apply(&commit);
        core.touch_persisted = core.decided.touched();
        core.issued += 1;
        Issued {
            number: core.issued,
            tail: (core.decided.tail(), core.decided.is_closed()),
            grows,
            reply: self.log.commit(commit),
        }
    }

    /// Tells followers, and whoever observes all streams, what came of a commit.
    fn publish(&self, result: &Result<(), EngineError>, tail: Position, grows: bool) {
        self.wake.all();
        if grows && result.is_ok() {
            self.observation.appended(&self.meta, tail);
        }
    }

    /// Waits until commit `number` and all before it are durable.
    async fn settled(&self, number: u64) -> Result<(), EngineError> {
        let look = || {
            let core = self.core.lock();
            match &core.failed {
                _ if core.settled >= number => Some(Ok(())),
                Some(error) => Some(Err(error.clone().into())),
                None => None,
            }
        };
        match look() {
            Some(result) => result,
            None => self.wake.wait_until(look).await,
        }
    }

    /// Restarts a sliding lifetime, and tells storage if it knows only of a much older start.
    pub(super) fn touch(self: &Arc<Self>, core: &mut Core, now: Millis) {
        core.decided.touch(now);
        let Some(after) = self.meta.lifetime.persist_after() else {
            return;
        };
        if now.saturating_sub(core.touch_persisted) < after || core.failed.is_some() || core.removed {
            return;
        }
        let commit = Commit { at: now, ..Commit::default() };
        let issued = self.issue(core, commit);
        match issued.reply {
            Reply::Ready(result) => {
                // A failure shows at the next request: the stream has failed and is loaded anew.
                let _ = core.settle(issued.number, issued.tail, result.unwrap_or(Ok(())));
            }
            // Nobody waits for it: dropping `RunToEnd` hands it to the runtime.
            Reply::Later(_) | Reply::Pending(_) => {
                drop(RunToEnd::new(Settling { stream: Arc::clone(self), issued }));
            }
        }
    }
}

/// A commit that was handed to storage.
struct Issued {
    number: u64,
    /// Where it brings the stream, and whether it is then closed.
    tail: (Position, bool),
    /// Whether it appends data.
    grows: bool,
    reply: Reply<()>,
}

/// Waits for storage and publishes what it says.
struct Settling {
    stream: Arc<Stream>,
    issued: Issued,
}

impl Future for Settling {
    type Output = Result<(), EngineError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { stream, issued } = self.get_mut();
        let said = ready!(Pin::new(&mut issued.reply).poll(cx));
        let result = stream.core.lock().settle(issued.number, issued.tail, said);
        stream.publish(&result, issued.tail.0, issued.grows);
        Poll::Ready(result)
    }
}

impl Core {
    /// Takes in what storage said about commit `number`.
    fn settle(
        &mut self,
        number: u64,
        (position, closed): (Position, bool),
        result: Result<(), StorageError>,
    ) -> Result<(), EngineError> {
        match result {
            Ok(()) => {
                self.settled = self.settled.max(number);
                self.durable.position = self.durable.position.max(position);
                self.durable.closed |= closed;
                Ok(())
            }
            Err(error) => {
                self.failed.get_or_insert_with(|| error.clone());
                self.durable.ended.get_or_insert(Ended::Reloaded);
                Err(error.into())
            }
        }
    }
}
