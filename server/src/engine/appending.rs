//! An append between its decision and its durability.

use std::sync::Arc;

use super::error::EngineError;
use super::state::Receipt;
use super::stream::Stream;
use crate::run_to_end::RunToEnd;

/// An append that has its place in the order of its stream.
#[must_use = "its outcome is not durable yet"]
pub struct Appending {
    pub(super) outcome: Result<Receipt, EngineError>,
    pub(super) rest: Rest,
}

/// What is to happen before the outcome of an append is durable.
pub(super) enum Rest {
    Nothing,
    /// The storage answers.
    Reply(RunToEnd<Result<(), EngineError>>),
    /// The commits of the stream up to this one are durable.
    Settled(Arc<Stream>, u64),
}

impl Appending {
    /// Resolves when the outcome is durable.
    ///
    /// # Cancel safety
    /// The append takes its course even if the future is dropped.
    ///
    /// # Errors
    /// The row of T-POST that refuses it, or a failure of the storage.
    pub async fn durable(self) -> Result<Receipt, EngineError> {
        match self.rest {
            Rest::Nothing => {}
            Rest::Reply(reply) => reply.await?,
            // Seldom, and larger than all the rest.
            Rest::Settled(stream, number) => Box::pin(stream.settled(number)).await?,
        }
        self.outcome
    }
}

impl std::fmt::Debug for Appending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appending").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}
