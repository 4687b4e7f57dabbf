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
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// What a follower got, by whomever it was written. Takes as much at once as it has room for.
    struct Socket {
        got: Mutex<Vec<u8>>,
        room: AtomicUsize,
    }

    impl Socket {
        fn new(room: usize) -> Arc<Self> {
            Arc::new(Self { got: Mutex::default(), room: room.into() })
        }

        fn write(&self, bytes: &[u8]) {
            self.got.lock().extend_from_slice(bytes);
        }
    }

    impl Sink for Socket {
        fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.room.load(Ordering::Relaxed).min(bytes.len());
            self.write(&bytes[..taken]);
            if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
        }
    }

    fn place(position: u64, cursor: u64) -> Place {
        Place { position: Position(position), cursor, last: Instant::now() }
    }

    fn round(from: u64, bytes: &'static [u8]) -> Round {
        let (from, to) = (Position(from), Position(from + bytes.len() as u64));
        Round { from, to, cursor: 5, bytes: Bytes::from_static(bytes), at: Instant::now() }
    }

    #[tokio::test]
    async fn a_round_reaches_who_sits_where_it_begins_and_calls_who_has_to_go_on_alone() {
        let relay = Relay::default();
        let sockets: Vec<_> = [9, 9, 2, 0, 9].map(Socket::new).into();
        let tickets: Vec<_> = sockets.iter().map(|socket| relay.join(socket.clone()).0).collect();
        // At the beginning of the round, at its end, at its beginning with little room and with none, with a cursor of its own.
        let places = [place(3, 5), place(6, 5), place(3, 4), place(3, 5), place(3, 6)];
        let mut sitting: Vec<_> =
            tickets.iter().zip(places).map(|(ticket, place)| Box::pin(ticket.sit(place, || true))).collect();
        assert!(sitting.iter_mut().all(|sitting| sitting.as_mut().now_or_never().is_none()));
        assert_eq!(tickets[0].lane.offer(&round(3, b"abc")).await, 3);
        let called: Vec<_> = sitting.iter_mut().map(|sitting| sitting.as_mut().now_or_never().is_some()).collect();
        assert_eq!(called, [false, false, true, true, true]);
        drop(sitting);
        let rests: Vec<_> = tickets
            .iter()
            .map(|ticket| ticket.rise().map(|(place, rest)| (place.position.0, place.cursor, rest)).unwrap())
            .collect();
        let rest = Bytes::from_static;
        let expected =
            [(6, 5, rest(b"")), (6, 5, rest(b"")), (6, 5, rest(b"c")), (6, 5, rest(b"abc")), (3, 6, rest(b""))];
        assert_eq!(rests, expected);
        assert_eq!(sockets.iter().map(|socket| socket.got.lock().len()).collect::<Vec<_>>(), [3, 0, 2, 0, 0]);
        assert!(tickets.iter().all(|ticket| ticket.rise().is_none()));
    }

    #[tokio::test]
    async fn nobody_sits_where_there_is_more_already() {
        let (ticket, _) = Relay::default().join(Socket::new(9));
        assert!(ticket.sit(place(3, 5), || false).now_or_never().is_some());
        assert_eq!(ticket.rise().map(|(place, _)| place.position), Some(Position(3)));
        assert!(ticket.sit(place(3, 5), || true).now_or_never().is_none());
        ticket.lane.call_before(Position(3)).await;
        assert!(matches!(*ticket.seat.state.lock(), State::Sitting(..)));
        ticket.lane.call_before(Position(4)).await;
        assert!(matches!(*ticket.seat.state.lock(), State::Called(..)));
    }

    #[tokio::test]
    async fn lanes_are_filled_one_after_the_other_and_end_when_they_are_empty() {
        let relay = Relay::default();
        let mut tickets: Vec<_> = (0..SEATS + 1).map(|_| relay.join(Socket::new(9))).collect();
        let new: Vec<_> = (0..tickets.len()).filter(|&at| tickets[at].1.is_some()).collect();
        assert_eq!(new, [0, SEATS]);
        let (first, last) = (Arc::clone(&tickets[0].0.lane), Arc::clone(&tickets[SEATS].0.lane));
        drop(tickets.remove(7));
        assert!(Arc::ptr_eq(&relay.join(Socket::new(9)).0.lane, &first), "a free seat is taken");
        assert!(first.over().now_or_never().is_none());
        drop(tickets.pop());
        last.over().now_or_never().unwrap();
        drop(tickets);
        first.over().now_or_never().unwrap();
        let (ticket, new) = relay.join(Socket::new(9));
        assert!(new.is_some_and(|lane| Arc::ptr_eq(&lane, &ticket.lane)), "a lane that is over takes nobody");
        assert_eq!(relay.0.lock().len(), 1);
    }

    /// A stream, a carrier and followers on several threads: whatever the sockets take, each follower gets all bytes once and
    /// in order.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn each_follower_gets_every_byte_once_whoever_writes_it() {
        const FOLLOWERS: u64 = 70;
        let data: &'static [u8] = Vec::leak((0..20_000_u32).flat_map(u32::to_le_bytes).collect());
        let end = data.len() as u64;
        let (tail, wake) = (Arc::new(AtomicU64::new(0)), Arc::new(super::super::notify::Wake::default()));
        let tail_after = {
            let (tail, wake) = (Arc::clone(&tail), Arc::clone(&wake));
            move |seen: u64| {
                let (tail, wake) = (Arc::clone(&tail), Arc::clone(&wake));
                async move { wake.wait_until(|| Some(tail.load(Ordering::SeqCst)).filter(|&tail| tail > seen)).await }
            }
        };
        let relay = Relay::default();
        let (mut followers, mut lanes) = (Vec::new(), Vec::new());
        for number in 0..FOLLOWERS {
            let socket = Socket::new(0);
            let (ticket, new) = relay.join(socket.clone());
            lanes.extend(new);
            let tail = Arc::clone(&tail);
            followers.push(tokio::spawn(async move {
                let mut random = SmallRng::seed_from_u64(number);
                let (mut position, mut sat, mut by_others) = (0, 0, 0);
                while position < end {
                    let now = tail.load(Ordering::SeqCst);
                    if position < now {
                        socket.write(&data[position as usize..now as usize]);
                        position = now;
                        continue;
                    }
                    socket.room.store(random.random_range(0..4000), Ordering::Relaxed);
                    sat += 1;
                    let sits = ticket.sit(place(position, 0), || tail.load(Ordering::SeqCst) == position);
                    // Now and then it has something else to do.
                    if random.random_bool(0.5) {
                        sits.await;
                    } else {
                        tokio::select! { () = sits => {}, () = tokio::task::yield_now() => {} }
                    }
                    let (place, rest) = ticket.rise().unwrap();
                    by_others += place.position.0 - position;
                    position = place.position.0;
                    socket.write(&rest);
                }
                (std::mem::take(&mut *socket.got.lock()), sat, by_others)
            }));
        }
        assert_eq!(lanes.len(), 1);
        let lane = lanes.remove(0);
        let carrier = tokio::spawn(async move {
            let mut from = 0;
            loop {
                let to = tokio::select! {
                    biased;
                    to = tail_after(from) => to,
                    () = lane.over() => return,
                };
                lane.offer(&round(from, &data[from as usize..to as usize])).await;
                from = to;
            }
        });
        let mut random = SmallRng::seed_from_u64(99);
        let mut at = 0;
        while at < end {
            at = end.min(at + random.random_range(1..300));
            tail.store(at, Ordering::SeqCst);
            wake.all();
            tokio::task::yield_now().await;
        }
        let (mut carried, mut sat) = (0, 0);
        for follower in followers {
            let (got, times, by_others) = follower.await.unwrap();
            assert!(got[..] == *data, "{} bytes of {end}", got.len());
            carried += by_others;
            sat += times;
        }
        assert!(carried > 0 && sat > 0, "{carried} bytes were carried, {sat} times somebody sat");
        carrier.await.unwrap();
    }
}
