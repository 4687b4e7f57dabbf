//! What a caller holds of a message that is on its way.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::proto::producer::Receipt;

/// The fate of messages, shared by their deliveries: of a batch, or of one message that came before there were batches.
#[derive(Default)]
pub(super) struct Cell {
    result: OnceLock<Result<Receipt>>,
    settled: Notify,
}

impl Cell {
    /// Tells the outcome; the first one stays.
    pub(super) fn settle(&self, result: Result<Receipt>) {
        let _ = self.result.set(result);
        self.settled.notify_waiters();
    }
}

/// A message on its way. Awaiting it gives the server's receipt; nobody has to. Cloning is cheap.
#[derive(Clone)]
pub struct Delivery {
    cell: Arc<Cell>,
    message: u64,
}

impl Delivery {
    pub(super) fn new(cell: Arc<Cell>, message: u64) -> Self {
        Self { cell, message }
    }

    /// Of a message that was not taken.
    pub(super) fn refused(error: Error, message: u64) -> Self {
        let cell = Arc::<Cell>::default();
        cell.settle(Err(error));
        Self { cell, message }
    }

    /// The message's ordinal in this producer, counted from 0.
    pub fn message(&self) -> u64 {
        self.message
    }

    /// The outcome, if it is there already.
    pub fn outcome(&self) -> Option<Result<Receipt>> {
        self.cell.result.get().cloned()
    }

    /// Whether this message and another one are known to have the same outcome: they are in one batch.
    pub fn shares_outcome(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }

    /// Waits for the outcome. Cancel safe.
    ///
    /// # Errors
    /// Why the message was not stored; [`Error::outcome_unknown`](crate::Error::outcome_unknown) tells whether it may
    /// have been all the same.
    pub async fn wait(&self) -> Result<Receipt> {
        loop {
            let settled = self.cell.settled.notified();
            if let Some(result) = self.cell.result.get() {
                return result.clone();
            }
            settled.await;
        }
    }
}

/// What became of messages in a row that share their outcome.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Of all of them.
    pub delivery: Delivery,
    /// How many there are.
    pub messages: u64,
    /// Whether it was not taken, and why its delivery tells.
    pub refused: bool,
}

impl IntoFuture for Delivery {
    type Output = Result<Receipt>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.wait().await })
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("message", &self.message).field("outcome", &self.outcome()).finish()
    }
}
