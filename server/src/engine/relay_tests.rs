//! Seats, lanes and rounds; and many followers on many threads.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::notify::Wake;
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
    let expected = [(6, 5, rest(b"")), (6, 5, rest(b"")), (6, 5, rest(b"c")), (6, 5, rest(b"abc")), (3, 6, rest(b""))];
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

/// A stream, a carrier and followers on several threads: whatever the sockets take, each follower gets all bytes once and in
/// order.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn each_follower_gets_every_byte_once_whoever_writes_it() {
    const FOLLOWERS: u64 = 70;
    let data: &'static [u8] = Vec::leak((0..20_000_u32).flat_map(u32::to_le_bytes).collect());
    let end = data.len() as u64;
    let stream = Arc::new(Stream::default());
    let relay = Relay::default();
    let (mut followers, mut lanes) = (Vec::new(), Vec::new());
    for number in 0..FOLLOWERS {
        let socket = Socket::new(0);
        let (ticket, new) = relay.join(socket.clone());
        lanes.extend(new);
        followers.push(tokio::spawn(follow(Arc::clone(&stream), data, number, socket, ticket)));
    }
    assert_eq!(lanes.len(), 1);
    let carrier = tokio::spawn(carry(Arc::clone(&stream), data, lanes.remove(0)));
    stream.until(|stream| stream.sat.load(Ordering::SeqCst) >= FOLLOWERS as usize).await;
    let mut random = SmallRng::seed_from_u64(99);
    let mut at = 0;
    while at < end {
        at = end.min(at + random.random_range(1..300));
        stream.tail.store(at, Ordering::SeqCst);
        stream.wake.all();
        // Sometimes the carrier gets behind, and sometimes it does not.
        if random.random_bool(0.3) {
            stream.until(|stream| stream.carried.load(Ordering::SeqCst) >= at).await;
        }
    }
    let mut by_others = 0;
    for follower in followers {
        let (got, of_it) = follower.await.unwrap();
        assert!(got[..] == *data, "{} bytes of {end}", got.len());
        by_others += of_it;
    }
    assert!(by_others > end, "{by_others} bytes were written by the carrier");
    carrier.await.unwrap();
}

#[derive(Default)]
struct Stream {
    tail: AtomicU64,
    wake: Wake,
    /// How often a follower has sat down.
    sat: AtomicUsize,
    /// How far the carrier is.
    carried: AtomicU64,
}

impl Stream {
    fn tail(&self) -> u64 {
        self.tail.load(Ordering::SeqCst)
    }

    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            tokio::task::yield_now().await;
        }
    }
}

/// What a follower got, and how much of it the carrier wrote, at least in part.
async fn follow(
    stream: Arc<Stream>,
    data: &'static [u8],
    seed: u64,
    socket: Arc<Socket>,
    ticket: Ticket,
) -> (Vec<u8>, u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut position, mut by_others) = (0, 0);
    while position < data.len() as u64 {
        let tail = stream.tail();
        if position < tail {
            socket.write(&data[position as usize..tail as usize]);
            position = tail;
            continue;
        }
        socket.room.store(random.random_range(0..1000), Ordering::Relaxed);
        let sits = ticket.sit(place(position, 0), || {
            stream.sat.fetch_add(1, Ordering::SeqCst);
            stream.tail() == position
        });
        // Now and then it has something else to do.
        if position == 0 || random.random_bool(0.5) {
            sits.await;
        } else {
            tokio::select! { () = sits => {}, () = tokio::task::yield_now() => {} }
        }
        let (place, rest) = ticket.rise().unwrap();
        by_others += place.position.0 - position;
        position = place.position.0;
        socket.write(&rest);
    }
    (std::mem::take(&mut *socket.got.lock()), by_others)
}

async fn carry(stream: Arc<Stream>, data: &'static [u8], lane: Arc<Lane>) {
    let mut from = 0;
    loop {
        let changed = stream.wake.wait_until(|| Some(stream.tail()).filter(|&tail| tail > from));
        let to = tokio::select! {
            biased;
            to = changed => to,
            () = lane.over() => return,
        };
        lane.offer(&round(from, &data[from as usize..to as usize])).await;
        from = to;
        stream.carried.store(from, Ordering::SeqCst);
        if from == data.len() as u64 {
            lane.call_all().await;
        }
    }
}
