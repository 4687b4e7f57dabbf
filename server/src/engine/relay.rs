//! From a stream to many followers at once.
//!
//! To wake a thousand connections, for each to write the same bytes, costs nearly as much again as the writing: each
//! touches memory of its own, of its task, its timers and its answer. So a follower that waits at the tail takes a [`Seat`]
//! and sleeps. Whoever carries the events of its [`Lane`] (`http::fanout`) writes to all seats what their sockets take at
//! once; only whom something else is due is called, and goes on by itself.
//!
//! ```text
//! follower:   away ──sit──> sitting ──call──> called ──rise──> away
//! carrier:                  sitting ──offer──> sitting, further on: all of it was taken
//!                                   └────────> called: with what is left of it, or with nothing
//! ```
//! A seat is either its follower's or the carrier's to write to, never both: the carrier writes while the follower sits, and
//! the follower when it has risen.
//!
//! # Nothing is missed
//! A follower sits first and looks at the tail second, as with `notify`. A seat at a position that a round does not begin
//! at is called, unless the round, or the next ones, end there.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::position::Position;

/// So many seats are in one lane. Each lane has a task, so that many followers are the work of many threads.
const SEATS: usize = 256;
/// So many seats are served between two looks at what else the thread has to do.
const BATCH: usize = 32;

/// Where the bytes of a follower go.
pub(crate) trait Sink: Send + Sync {
    /// Writes what is taken at once.
    ///
    /// # Errors
    /// `WouldBlock` if that is nothing, or the peer is gone.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// The lanes of a stream.
#[derive(Debug, Default)]
pub(super) struct Relay(Mutex<Vec<Arc<Lane>>>);

impl Relay {
    /// A seat for a follower, and its lane if that is new: then somebody has to carry it.
    pub(super) fn join(&self, sink: Arc<dyn Sink>) -> (Ticket, Option<Arc<Lane>>) {
        let seat = Arc::new(Seat { sink, state: Mutex::new(State::Away) });
        let mut lanes = self.0.lock();
        let mut key = None;
        lanes.retain(|lane| {
            let mut seats = lane.seats.lock();
            if key.is_none() && !seats.is_over && seats.slab.len() < SEATS {
                key = Some((Arc::clone(lane), seats.slab.insert(Arc::clone(&seat))));
            }
            !seats.is_over
        });
        let (lane, key, is_new) = match key {
            Some((lane, key)) => (lane, key, false),
            None => {
                let lane = Arc::new(Lane::default());
                lanes.push(Arc::clone(&lane));
                let key = lane.seats.lock().slab.insert(Arc::clone(&seat));
                (lane, key, true)
            }
        };
        let new = is_new.then(|| Arc::clone(&lane));
        (Ticket { seat, lane, key }, new)
    }

    /// Forgets lanes that are over. Call it when the last follower has gone.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

/// Seats that are served one after the other.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    seats: Mutex<Seats>,
    emptied: Notify,
}

#[derive(Default)]
struct Seats {
    slab: Slab<Arc<Seat>>,
    /// Nobody carries it any more.
    is_over: bool,
}

/// Events of a stream between two positions.
pub(crate) struct Round {
    /// Where they begin.
    pub(crate) from: Position,
    /// Where they end.
    pub(crate) to: Position,
    /// The cursor that they name.
    pub(crate) cursor: u64,
    /// As they go to the sockets.
    pub(crate) bytes: Bytes,
    /// The moment at which they were made.
    pub(crate) at: Instant,
}

impl Lane {
    /// Offers a round to all seats; how many took part of it or all.
    ///
    /// # Cancel safety
    /// Seats that were not reached yet miss the round: do not drop the future before the stream is gone.
    pub(crate) async fn offer(&self, round: &Round) -> usize {
        let mut taken = 0;
        self.each(|seat| taken += usize::from(seat.offer(round))).await;
        taken
    }

    /// Calls all followers that wait before a position.
    pub(crate) async fn call_before(&self, position: Position) {
        self.each(|seat| seat.call(|place| place.position < position)).await;
    }

    /// Calls all followers.
    pub(crate) async fn call_all(&self) {
        self.each(|seat| seat.call(|_| true)).await;
    }

    async fn each(&self, mut serve: impl FnMut(&Seat)) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut next = 0;
        loop {
            self.seats.lock().take(&mut batch, &mut next);
            let is_last = batch.len() < BATCH;
            batch.drain(..).for_each(|seat| serve(&seat));
            if is_last {
                // A stream that is written to without pause is no reason to keep others from the thread.
                return tokio::task::coop::consume_budget().await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until there are no seats, and ends the lane then.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(crate) async fn over(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.end_if_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn end_if_empty(&self) -> bool {
        let mut seats = self.seats.lock();
        seats.is_over = seats.slab.is_empty();
        seats.is_over
    }
}

impl Seats {
    /// Takes up to a batch of seats from `next` on. Keys stay what they are, so that nobody who sat before is left out; whoever
    /// sits down meanwhile knows the tail.
    fn take(&self, batch: &mut Vec<Arc<Seat>>, next: &mut usize) {
        while batch.len() < BATCH && *next < self.slab.capacity() {
            batch.extend(self.slab.get(*next).cloned());
            *next += 1;
        }
    }
}

impl std::fmt::Debug for Seats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seats").field("taken", &self.slab.len()).field("is_over", &self.is_over).finish()
    }
}

/// Where a follower stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What came before it has.
    pub(crate) position: Position,
    /// The cursor that it was told last.
    pub(crate) cursor: u64,
    /// When it was last sent something.
    pub(crate) last: Instant,
}

/// Where a follower waits.
struct Seat {
    sink: Arc<dyn Sink>,
    state: Mutex<State>,
}

enum State {
    Away,
    Sitting(Place, Waker),
    Called(Place, Bytes),
}

impl Seat {
    /// Whether it took any of a round.
    fn offer(&self, round: &Round) -> bool {
        let mut state = self.state.lock();
        let State::Sitting(place, _) = &mut *state else { return false };
        if place.position >= round.to {
            return false;
        }
        if place.position != round.from || place.cursor > round.cursor {
            Self::call_with(state, Bytes::new());
            return false;
        }
        // An error is the follower's to find, when it writes the rest.
        let written = self.sink.try_write(&round.bytes).unwrap_or(0);
        *place = Place { position: round.to, cursor: round.cursor, last: round.at };
        if written < round.bytes.len() {
            Self::call_with(state, round.bytes.slice(written..));
        }
        true
    }

    fn call(&self, is_due: impl FnOnce(&Place) -> bool) {
        let state = self.state.lock();
        if matches!(&*state, State::Sitting(place, _) if is_due(place)) {
            Self::call_with(state, Bytes::new());
        }
    }

    fn call_with(mut state: parking_lot::MutexGuard<'_, State>, rest: Bytes) {
        if let State::Sitting(place, waker) = std::mem::replace(&mut *state, State::Away) {
            *state = State::Called(place, rest);
            drop(state);
            waker.wake();
        }
    }

    fn poll_called(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.state.lock() {
            State::Sitting(_, waker) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            State::Away | State::Called(..) => Poll::Ready(()),
        }
    }
}

/// The right to a seat.
pub(crate) struct Ticket {
    seat: Arc<Seat>,
    lane: Arc<Lane>,
    key: usize,
}

impl Ticket {
    /// Sits until called. `is_still` is asked when others can see the seat: whether there is nothing to be had yet.
    /// [`Self::rise`] before anything else is written, whether called or not.
    ///
    /// # Cancel safety
    /// The seat stays taken: rise.
    pub(crate) async fn sit(&self, place: Place, is_still: impl FnOnce() -> bool) {
        let mut sits = false;
        let mut is_still = Some(is_still);
        poll_fn(move |cx| {
            if !std::mem::replace(&mut sits, true) {
                *self.seat.state.lock() = State::Sitting(place, cx.waker().clone());
                if !is_still.take().is_none_or(|is_still| is_still()) {
                    return Poll::Ready(());
                }
            }
            self.seat.poll_called(cx)
        })
        .await;
    }

    /// Where the follower stands now, and what is left to be written of what it was offered last; `None` if it did not sit.
    pub(crate) fn rise(&self) -> Option<(Place, Bytes)> {
        match std::mem::replace(&mut *self.seat.state.lock(), State::Away) {
            State::Away => None,
            State::Sitting(place, _) => Some((place, Bytes::new())),
            State::Called(place, rest) => Some((place, rest)),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.rise();
        let mut seats = self.lane.seats.lock();
        seats.slab.try_remove(self.key);
        if seats.slab.is_empty() {
            self.lane.emptied.notify_one();
        }
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
