//! Virtual time: clients, network and server as one queue of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use everstream::proto::Instant;
use everstream::proto::jitter::Jitter;
use everstream::proto::producer::BatchId;
use everstream::proto::request::Request;
use everstream::proto::response::{Disconnect, ResponseHead};
use everstream::{Error, ErrorKind};
use http::{HeaderMap, StatusCode};

use crate::clients::{Fate as MessageFate, Follower, Writer};
use crate::history::{Problem, Summary, check_read, check_writes};
use crate::network::{Fate, Fault, fate};
use crate::scenario::Scenario;
use crate::server::{Answer, Server};

/// How long a long-poll waits.
const LONG_POLL: Duration = Duration::from_secs(30);
/// How long an event stream is served.
const SSE_LIFETIME: Duration = Duration::from_secs(60);
/// How long a restart takes.
const DOWNTIME: Duration = Duration::from_millis(300);
/// A run that needs more events than this goes round in circles.
const MAX_EVENTS: usize = 400_000;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request reaches the server.
    Arrive(usize),
    /// A copy of a request, whose answer nobody hears.
    Copy(usize),
    /// A writer's connection took the whole body.
    BodySent(usize),
    Head(usize),
    Bytes(usize, Bytes),
    End(usize),
    Break(usize, bool),
    LongPollOver(usize),
    WakeWriter(usize),
    WakeFollower(usize),
    ServerDown,
    ServerUp,
    Recreate,
}

#[derive(Clone, Copy)]
enum Owner {
    Writer(usize, BatchId, u32),
    Follower(usize),
}

struct Exchange {
    owner: Owner,
    request: Request,
    fate: Fate,
    head: Option<(u16, HeaderMap)>,
    /// What the server still has to say: a waiting long-poll, an event stream and its position.
    waiting: bool,
    streaming: Option<u64>,
    /// Bytes of an event stream sent so far.
    sent: usize,
    /// News of one exchange arrive in their order.
    latest: Instant,
    over: bool,
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    now: Instant,
    jitter: Jitter,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    ordinal: u64,
    server: Server,
    is_down: bool,
    /// What earlier incarnations held.
    past: Vec<Vec<String>>,
    exchanges: Vec<Exchange>,
    writers: Vec<Writer>,
    followers: Vec<Follower>,
    summary: Summary,
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let mut world = Self {
            scenario,
            now: Duration::ZERO,
            jitter: Jitter::new(scenario.seed),
            queue: BinaryHeap::new(),
            ordinal: 0,
            server: Server::new(scenario.content_type, 1, scenario.max_read_bytes),
            is_down: false,
            past: Vec::new(),
            exchanges: Vec::new(),
            writers: (0..scenario.producers.len()).map(|index| Writer::new(scenario, index)).collect(),
            followers: (0..scenario.readers.len()).map(|index| Follower::new(scenario, index)).collect(),
            summary: Summary::default(),
        };
        for at in &scenario.restarts {
            world.at(*at, Event::ServerDown);
        }
        if let Some(at) = scenario.recreate_at {
            world.at(at, Event::Recreate);
        }
        for index in 0..world.writers.len() {
            world.at(Duration::ZERO, Event::WakeWriter(index));
        }
        for index in 0..world.followers.len() {
            world.at(Duration::ZERO, Event::WakeFollower(index));
        }
        world
    }

    pub(crate) fn run(mut self) -> Result<Summary, Problem> {
        let problem = |what| Problem { seed: self.scenario.seed, what };
        self.play().map_err(problem)?;
        self.judge().map_err(problem)?;
        Ok(self.summary)
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..MAX_EVENTS {
            if self.writers.iter().all(Writer::is_done) && !self.server.is_closed() {
                // Nobody closed it, because of a fault or because there are several: readers have to end.
                self.server.handle(&Request::close());
                self.server_changed();
            }
            if self.writers.iter().all(Writer::is_done) && self.followers.iter().all(|it| it.end.is_some()) {
                return Ok(());
            }
            let Some(Reverse((at, _, event))) = self.queue.pop() else {
                return Err(self.standstill());
            };
            self.now = at;
            self.step(event);
        }
        Err(format!("not over after {MAX_EVENTS} events, at {:?}", self.now))
    }

    fn standstill(&self) -> String {
        let writers: Vec<_> = self.writers.iter().map(|it| (it.is_done(), &it.machine)).collect();
        let followers: Vec<_> = self.followers.iter().map(|it| (&it.end, &it.session)).collect();
        format!("nothing more will happen, and somebody still waits: {writers:#?} {followers:#?}")
    }

    fn judge(&mut self) -> Result<(), String> {
        let json = self.scenario.content_type == "application/json";
        let stored = self.server.messages();
        for writer in &self.writers {
            let limit = self.scenario.producers[writer.index].max_buffered_bytes;
            if writer.peak_buffered > limit {
                return Err(format!("{} bytes were buffered, {limit} are allowed", writer.peak_buffered));
            }
            if self.summary.first_error.is_none() {
                self.summary.first_error = writer.first_error.as_ref().map(ToString::to_string);
            }
            for fate in &writer.fates {
                self.summary.stored += u64::from(*fate == MessageFate::Stored);
                self.summary.duplicates += u64::from(*fate == MessageFate::Duplicate);
                self.summary.failed += u64::from(matches!(fate, MessageFate::Failed { .. }));
                self.summary.unknown += u64::from(*fate == MessageFate::Failed { unknown: true });
            }
        }
        if self.past.is_empty() {
            check_writes(&self.writers, &stored, json)?;
        }
        let mut incarnations = std::mem::take(&mut self.past);
        incarnations.push(stored);
        for follower in &self.followers {
            match &follower.end {
                Some(Ok(())) => check_read(follower, &incarnations, json, true)?,
                Some(Err(error)) if *error.kind() == ErrorKind::StreamRecreated && incarnations.len() > 1 => {
                    self.summary.recreated += 1;
                    check_read(follower, &incarnations, json, false)?;
                }
                other => return Err(format!("a reader ended with {other:?}")),
            }
        }
        Ok(())
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive(id) => self.arrive(id),
            Event::Copy(id) => {
                if !self.is_down {
                    self.server.handle(&self.exchanges[id].request.clone());
                    self.server_changed();
                }
            }
            Event::BodySent(id) => {
                if let Owner::Writer(index, batch, _) = self.exchanges[id].owner {
                    self.writers[index].machine.handle_body_sent(batch);
                    self.pump_writer(index);
                }
            }
            Event::Head(id) => {
                if let Some((status, headers)) = self.exchanges[id].head.take() {
                    self.client_head(id, status, headers);
                }
            }
            Event::Bytes(id, piece) => self.client_news(id, |follower, now| follower.session.handle_bytes(piece, now)),
            Event::End(id) => {
                self.exchanges[id].over = true;
                self.client_news(id, |follower, now| follower.session.handle_end(now));
            }
            Event::Break(id, not_sent) => self.client_break(id, not_sent),
            Event::LongPollOver(id) => {
                if self.exchanges[id].waiting && !self.exchanges[id].over {
                    let answer = self.server.nothing_new();
                    self.answer(id, answer);
                }
            }
            Event::WakeWriter(index) => {
                self.writers[index].machine.handle_timeout(self.now);
                self.pump_writer(index);
            }
            Event::WakeFollower(index) => {
                self.followers[index].session.handle_timeout(self.now);
                self.pump_follower(index);
            }
            Event::ServerDown => {
                self.is_down = true;
                for id in 0..self.exchanges.len() {
                    if !self.exchanges[id].over && self.exchanges[id].fate.fault != Some(Fault::Silence { acted: true })
                    {
                        self.exchanges[id].waiting = false;
                        self.exchanges[id].streaming = None;
                        self.tell(id, Duration::ZERO, |id| Event::Break(id, false));
                    }
                }
                self.at(self.now + DOWNTIME, Event::ServerUp);
            }
            Event::ServerUp => self.is_down = false,
            Event::Recreate => {
                self.past.push(self.server.messages());
                let incarnation = self.server.incarnation + 1;
                self.server = Server::new(self.scenario.content_type, incarnation, self.scenario.max_read_bytes);
                for id in 0..self.exchanges.len() {
                    if self.exchanges[id].waiting || self.exchanges[id].streaming.is_some() {
                        self.exchanges[id].waiting = false;
                        self.exchanges[id].streaming = None;
                        self.tell(id, Duration::ZERO, |id| Event::Break(id, false));
                    }
                }
            }
        }
    }

    // Clients.

    fn pump_writer(&mut self, index: usize) {
        loop {
            let writer = &mut self.writers[index];
            writer.listen();
            writer.work(self.now);
            let Some(transmit) = writer.machine.poll_transmit(self.now) else {
                break;
            };
            writer.note_attempt(transmit.batch, transmit.attempt);
            self.send(Owner::Writer(index, transmit.batch, transmit.attempt), transmit.request);
        }
        self.writers[index].listen();
        if let Some(at) = self.writers[index].machine.poll_timeout() {
            self.at(at.max(self.now), Event::WakeWriter(index));
        }
    }

    fn pump_follower(&mut self, index: usize) {
        let delivered = self.followers[index].listen();
        if delivered && self.followers[index].end.is_none() && self.chance(self.scenario.resume_rate) {
            let seed = self.jitter.next_u64();
            self.followers[index].restart(self.scenario, seed);
        }
        let follower = &mut self.followers[index];
        if !follower.session.wants_exchange() {
            follower.exchange = None;
        }
        if let Some(request) = follower.poll_request(self.now) {
            let id = self.send(Owner::Follower(index), request);
            self.followers[index].exchange = Some(id);
        }
        if let Some(at) = self.followers[index].session.poll_timeout() {
            self.at(at.max(self.now), Event::WakeFollower(index));
        }
    }

    fn client_head(&mut self, id: usize, status: u16, headers: HeaderMap) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let head = ResponseHead::new(status, headers, UNIX_EPOCH);
        match self.exchanges[id].owner {
            Owner::Writer(index, batch, attempt) => {
                self.exchanges[id].over = true;
                self.writers[index].machine.handle_response(batch, attempt, &head, self.now);
                self.pump_writer(index);
            }
            Owner::Follower(_) => self.client_news(id, |follower, now| follower.session.handle_response(&head, now)),
        }
    }

    fn client_news(&mut self, id: usize, tell: impl FnOnce(&mut Follower, Instant)) {
        if let Owner::Follower(index) = self.exchanges[id].owner
            && self.followers[index].exchange == Some(id)
        {
            tell(&mut self.followers[index], self.now);
            self.pump_follower(index);
        }
    }

    fn client_break(&mut self, id: usize, not_sent: bool) {
        if self.exchanges[id].over {
            return;
        }
        self.exchanges[id].over = true;
        let cause = Disconnect { not_sent, error: Error::new(ErrorKind::Network, "reset") };
        match self.exchanges[id].owner {
            Owner::Writer(index, batch, attempt) => {
                self.writers[index].machine.handle_disconnect(batch, attempt, cause, self.now);
                self.pump_writer(index);
            }
            Owner::Follower(_) => self.client_news(id, |follower, now| follower.session.handle_disconnect(cause, now)),
        }
    }

    // Network.

    fn send(&mut self, owner: Owner, request: Request) -> usize {
        let rate = if self.now < self.scenario.calm_after { self.scenario.fault_rate } else { 0.0 };
        let mut fate = fate(&mut self.jitter, rate);
        // Copies of a plain request are not what a producer protects from; all our writes are a producer's.
        self.summary.requests += 1;
        self.summary.faults += u64::from(fate.fault.is_some());
        let id = self.exchanges.len();
        let arrival = self.now + fate.request_delay;
        if let Some(Fault::LateCopy(delay)) = fate.fault {
            self.at(arrival + delay, Event::Copy(id));
            fate.fault = None;
        }
        match fate.fault {
            Some(Fault::ResetBefore { known }) => self.at(arrival, Event::Break(id, known)),
            Some(Fault::Silence { acted: false }) => {}
            _ => self.at(arrival, Event::Arrive(id)),
        }
        if matches!(owner, Owner::Writer(..)) {
            self.at(arrival, Event::BodySent(id));
        }
        self.exchanges.push(Exchange {
            owner,
            request,
            fate,
            head: None,
            waiting: false,
            streaming: None,
            sent: 0,
            latest: self.now,
            over: false,
        });
        id
    }

    fn arrive(&mut self, id: usize) {
        if self.is_down {
            return self.tell(id, Duration::ZERO, |id| Event::Break(id, true));
        }
        if let Some(Fault::Status { status, acted: false }) = self.exchanges[id].fate.fault {
            return self.refuse(id, status);
        }
        let request = self.exchanges[id].request.clone();
        let mut answer = self.server.handle(&request);
        if self.exchanges[id].fate.fault == Some(Fault::Duplicate) {
            answer = self.server.handle(&request);
        }
        self.server_changed();
        match self.exchanges[id].fate.fault {
            Some(Fault::ResetAfter) => self.tell(id, Duration::ZERO, |id| Event::Break(id, false)),
            Some(Fault::Silence { .. }) => {}
            Some(Fault::Status { status, .. }) => self.refuse(id, status),
            _ => self.answer(id, answer),
        }
    }

    fn refuse(&mut self, id: usize, status: u16) {
        self.answer(id, Answer::Complete { status, headers: HeaderMap::new(), body: Bytes::new() });
    }

    fn answer(&mut self, id: usize, answer: Answer) {
        let delay = self.exchanges[id].fate.answer_delay;
        match answer {
            Answer::Wait => {
                self.exchanges[id].waiting = true;
                self.at(self.now + LONG_POLL, Event::LongPollOver(id));
            }
            Answer::Events { headers, from } => {
                self.exchanges[id].head = Some((200, headers));
                self.exchanges[id].streaming = Some(from);
                self.tell(id, delay, Event::Head);
                self.stream_events(id);
                self.at(self.now + SSE_LIFETIME, Event::End(id));
            }
            Answer::Complete { status, headers, body } => {
                self.exchanges[id].waiting = false;
                self.exchanges[id].head = Some((status, headers));
                let cut = match self.exchanges[id].fate.fault {
                    Some(Fault::Cut { at, .. }) => Some((body.len() as f64 * at) as usize),
                    _ => None,
                };
                if body.is_empty() && cut.is_some() {
                    return self.tell(id, delay, |id| Event::Break(id, false));
                }
                self.tell(id, delay, Event::Head);
                self.pieces(id, body.slice(..cut.unwrap_or(body.len())));
                match cut {
                    Some(_) => self.tell(id, Duration::ZERO, |id| Event::Break(id, false)),
                    None => self.tell(id, Duration::ZERO, Event::End),
                }
            }
        }
    }

    /// Sends bytes in pieces of drawn sizes.
    fn pieces(&mut self, id: usize, mut body: Bytes) {
        while !body.is_empty() {
            let size = 1 + self.jitter.next_u64() as usize % 40;
            let piece = body.split_to(size.min(body.len()));
            self.tell(id, Duration::from_micros(10), |id| Event::Bytes(id, piece));
        }
    }

    /// Sends an event stream what is new to it.
    fn stream_events(&mut self, id: usize) {
        let Some(at) = self.exchanges[id].streaming else { return };
        let (mut bytes, next, closed) = self.server.events(at);
        self.exchanges[id].streaming = Some(next);
        let mut ends = closed.then_some(true);
        if let Some(Fault::Cut { at, clean }) = self.exchanges[id].fate.fault {
            let left = ((at * 600.0) as usize).saturating_sub(self.exchanges[id].sent);
            if bytes.len() >= left {
                bytes.truncate(left);
                ends = Some(clean);
            }
        }
        self.exchanges[id].sent += bytes.len();
        self.pieces(id, bytes);
        if let Some(clean) = ends {
            self.exchanges[id].streaming = None;
            let over = if clean { Event::End } else { |id| Event::Break(id, false) };
            self.tell(id, Duration::ZERO, over);
        }
    }

    /// Wakes everyone who waits for news of the stream.
    fn server_changed(&mut self) {
        for id in 0..self.exchanges.len() {
            if self.exchanges[id].over {
                continue;
            }
            if self.exchanges[id].streaming.is_some() {
                self.stream_events(id);
            } else if self.exchanges[id].waiting {
                match self.server.handle(&self.exchanges[id].request.clone()) {
                    Answer::Wait => {}
                    answer => self.answer(id, answer),
                }
            }
        }
    }

    // Time.

    /// News for a client, after everything that is on its way to it already.
    fn tell(&mut self, id: usize, delay: Duration, event: impl FnOnce(usize) -> Event) {
        let at = (self.now + delay).max(self.exchanges[id].latest);
        self.exchanges[id].latest = at;
        self.at(at, event(id));
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.ordinal += 1;
        self.queue.push(Reverse((at, self.ordinal, event)));
    }

    fn chance(&mut self, rate: f64) -> bool {
        self.jitter.fraction() < rate
    }
}
