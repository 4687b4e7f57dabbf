//! What a run draws.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use everstream::proto::jitter::Jitter;

/// A source of numbers that everyone in a run shares: the order of the draws follows from the seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Arc<Mutex<Jitter>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Jitter::new(seed))))
    }

    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64() % limit.max(1)
    }

    pub(crate) fn chance(&self, rate: f64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fraction() < rate
    }

    pub(crate) fn pick<T: Clone>(&self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    /// Whole milliseconds.
    pub(crate) fn ms(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }
}
