//! The identity of a handle: what makes its POSTs safe to repeat (S-PROD-1), with one under way at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::client::runtime;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::producer::Receipt;
use crate::proto::response::ResponseHead;

/// The identity of the next POST. A POST takes it out, and gives it on when it was stored. One that failed or was given
/// up leaves none, and the next one starts anew under another id: a seq never stands for two bodies.
#[derive(Debug, Default)]
pub(super) struct Identity(Mutex<Option<Numbered>>);

/// A producer id that nobody else has, and the seq of one POST. The epoch is 0.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) id: String,
    pub(super) seq: u64,
}

impl Identity {
    /// # Errors
    /// `Internal` when the system gives no randomness.
    pub(super) fn take(&self) -> Result<Numbered> {
        if let Some(numbered) = self.lock().take() {
            return Ok(numbered);
        }
        let random = runtime::random()?;
        Ok(Numbered { id: format!("handle-{random:016x}"), seq: 0 })
    }

    /// A POST was stored: the next one has the next seq.
    ///
    /// # Errors
    /// `SequenceConflict` when it should have closed the stream and did not (C-PROD-12).
    pub(super) fn stored(&self, numbered: Numbered, head: &ResponseHead, closes: bool) -> Result<Receipt> {
        let receipt = Receipt { offset: head.next_offset(), duplicate: head.status == 204, closed: head.is_closed() };
        if closes && receipt.duplicate && !receipt.closed {
            return Err(Error::new(
                ErrorKind::SequenceConflict,
                "the server took the close for a repeat of something else",
            ));
        }
        *self.lock() = Some(Numbered { seq: numbered.seq + 1, ..numbered });
        Ok(receipt)
    }

    /// Whether a POST that failed goes out again at once, under a new identity: the server knows nothing of its id, since
    /// the stream was created anew or the producer forgotten, and no earlier try can have been stored before that.
    pub(super) fn is_forgotten(numbered: &Numbered, error: &Error) -> bool {
        let unknown_there = matches!(error.kind(), ErrorKind::SequenceGap { expected: 0, .. });
        unknown_there && numbered.seq > 0 && !error.outcome_unknown()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Numbered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
