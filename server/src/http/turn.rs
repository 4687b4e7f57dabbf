//! The order of requests that one connection has sent without waiting for answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whose turn it is on a connection. A request keeps the turn until it is answered, unless it passes it on before: then
/// the next request may begin, and what it does comes after what this one does.
///
/// Only the task of the connection uses it, so that relaxed order is enough.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// A request begins and has the turn.
    pub(crate) fn take(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// The next request may begin.
    pub(super) fn pass(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the last request has passed the turn on.
    pub(crate) fn is_passed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
