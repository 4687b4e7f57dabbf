//! Batches that were sealed and not settled: what is under way, what waits, what is sent again.

use std::collections::VecDeque;

use bytes::Bytes;

use super::ids::BatchId;
use crate::proto::Instant;
use crate::proto::retry::RetryState;

/// A sealed batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    pub(super) first_message: u64,
    pub(super) messages: u64,
    pub(super) body: Bytes,
    /// What it takes of the buffer.
    pub(super) cost: usize,
    /// Closes the stream.
    pub(super) closing: bool,
    /// Whether some try left and was never answered in a way that says that it was not stored, and never will be.
    pub(super) maybe_stored: bool,
    pub(super) attempts: u32,
    pub(super) first_sent: Option<Instant>,
    pub(super) retry: RetryState,
    pub(super) state: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Never sent; it has no seq yet.
    Queued,
    /// To be sent (again) as soon as possible.
    Ready,
    /// A try is under way. `floor` is the lowest seq that was not settled when it left.
    InFlight { deadline: Instant, floor: u64 },
    /// The last try failed; the next one is due then.
    Backoff { until: Instant },
    /// The server wants earlier batches first.
    Held,
}

/// The batches in order. Those that were sent have the seqs `first_seq..`, without holes except for
/// batches that are settled already.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Sent and not settled, by seq. Few: as many as may be in flight.
    pub(super) sent: Vec<(u64, Batch)>,
    /// Sealed and never sent, in order.
    pub(super) queued: VecDeque<Batch>,
}

impl Window {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.queued.is_empty()
    }

    /// The lowest seq that is not settled; `next` when there is none.
    pub(super) fn floor(&self, next: u64) -> u64 {
        self.sent.first().map_or(next, |(seq, _)| *seq)
    }

    pub(super) fn find(&mut self, id: BatchId) -> Option<(usize, u64, &mut Batch)> {
        self.sent
            .iter_mut()
            .enumerate()
            .find(|(_, (_, batch))| batch.id == id)
            .map(|(at, (seq, batch))| (at, *seq, batch))
    }

    pub(super) fn contains_seq(&self, seq: u64) -> bool {
        self.sent.iter().any(|(own, _)| *own == seq)
    }

    /// Takes a settled batch out; one that was held back and is now the first may go.
    pub(super) fn settle(&mut self, at: usize) -> Option<Batch> {
        let batch = (at < self.sent.len()).then(|| self.sent.remove(at).1)?;
        self.release_first();
        Some(batch)
    }

    /// Takes out all batches from one of those that were sent on, in their order.
    pub(super) fn take_from(&mut self, at: usize) -> Vec<Batch> {
        let mut taken = Vec::new();
        while at < self.sent.len() {
            taken.push(self.sent.remove(at).1);
        }
        while let Some(batch) = self.queued.pop_front() {
            taken.push(batch);
        }
        taken
    }

    fn release_first(&mut self) {
        if let Some((_, first)) = self.sent.first_mut()
            && first.state == Progress::Held
        {
            first.state = Progress::Ready;
        }
    }

    /// The first message that is not settled.
    pub(super) fn first_message(&self) -> Option<u64> {
        let first = self.sent.first().map(|(_, batch)| batch).or_else(|| self.queued.front());
        first.map(|batch| batch.first_message)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.sent.iter().filter(|(_, batch)| matches!(batch.state, Progress::InFlight { .. })).count()
    }

    /// Whether every sent batch is on its way: only then may a new one follow, since the server would
    /// refuse it while an earlier one is missing.
    pub(super) fn is_flowing(&self) -> bool {
        self.sent.iter().all(|(_, batch)| matches!(batch.state, Progress::InFlight { .. }))
    }

    /// The next moment at which something is to be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sent
            .iter()
            .filter_map(|(_, batch)| match batch.state {
                Progress::InFlight { deadline, .. } => Some(deadline),
                Progress::Backoff { until } => Some(until),
                Progress::Queued | Progress::Ready | Progress::Held => None,
            })
            .min()
    }

    /// Gives all sent batches new seqs from 0, in their order, to be sent again (C-PROD-8). Returns the next seq.
    /// Under the old epoch none was stored, and none can be any more: the server fences it.
    pub(super) fn renumber(&mut self) -> u64 {
        for (seq, (own, batch)) in (0..).zip(&mut self.sent) {
            *own = seq;
            batch.state = Progress::Ready;
            batch.maybe_stored = false;
        }
        self.sent.len() as u64
    }
}
