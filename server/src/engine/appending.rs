//! An append between its decision and its durability.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::error::EngineError;
use super::state::Receipt;
use super::stream::Settling;
use crate::run_to_end::RunToEnd;

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
pub(super) enum Rest {
    Nothing,
    /// The storage answers.
    Reply(RunToEnd<Settling>),
    /// The commits of the stream up to this one are durable. Seldom, and larger than all the rest.
    Settled(Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send>>),
}

impl Appending {
    pub(super) fn new(outcome: Result<Receipt, EngineError>, rest: Rest) -> Self {
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
