//! A histogram of durations that is counted with relaxed atomics alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds, in microseconds: from a read in memory to a long-poll that waits.
const BOUNDS: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// Counts durations.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    /// Beyond the last bound.
    more: AtomicU64,
    sum_micros: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot {
    /// Upper bound in seconds, and how many are in the bucket itself.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) count: u64,
    pub(super) sum_seconds: f64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|&bound| micros <= bound);
        bucket.map_or(&self.more, |at| &self.buckets[at]).fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = BOUNDS.iter().map(|&bound| bound as f64 / 1e6).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum::<u64>() + self.more.load(Ordering::Relaxed);
        Snapshot { buckets, count, sum_seconds: self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram.observe(Duration::from_secs(3600));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[0], (0.0001, 2));
        assert_eq!(snapshot.buckets[1], (0.00025, 1));
        assert_eq!(snapshot.buckets[13], (30.0, 1));
        assert_eq!(snapshot.count, 6);
        assert!((snapshot.sum_seconds - 3_660.000_202).abs() < 1e-6, "{}", snapshot.sum_seconds);
    }
}
