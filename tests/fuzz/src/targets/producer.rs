//! The producer against a server that keeps the protocol, over a network that loses, doubles and delays: whatever the
//! order, every message is settled once; what was acknowledged is stored once and in order, what failed for certain is
//! not stored, and limits hold (C-PROD-3, C-PROD-6, C-PROD-9, C-PROD-10).

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use arbitrary::{Result, Unstructured};
use everstream::proto::Instant;
use everstream::proto::producer::{BatchId, Producer, ProducerEvent, Transmit};
use everstream::proto::request::Request;
use everstream::proto::response::{Disconnect, ResponseHead};
use everstream::{Error, ErrorKind, ProducerOptions, RetryPolicy};
use everstream_model::server::{Answer, Server};
use http::{HeaderMap, StatusCode};

/// Steps after which a producer on a whole network must have settled the little that it was given.
const ENOUGH: usize = 10_000;

/// One input.
pub fn run(data: &[u8]) {
    // An input that is too short ends the story early; what was told until then has been checked.
    let _ = story(&mut Unstructured::new(data));
}

fn story(u: &mut Unstructured<'_>) -> Result<()> {
    let content_type = *u.choose(&["application/json", "text/plain"])?;
    let options = ProducerOptions {
        auto_claim: u.ratio(1, 4)?,
        linger: Duration::from_millis(u.int_in_range(0..=20)?),
        max_batch_bytes: u.int_in_range(1..=60)?,
        max_batch_items: u.ratio(1, 2)?.then_some(u.int_in_range(1..=4)?),
        max_in_flight: u.int_in_range(1..=6)?,
        max_buffered_bytes: u.int_in_range(10..=200)?,
        delivery_timeout: u.ratio(1, 3)?.then_some(Duration::from_secs(u.int_in_range(1..=60)?)),
        ..ProducerOptions::default()
    };
    let machine = Producer::new("p", content_type, options.clone(), &RetryPolicy::default(), u.arbitrary()?);
    let mut world = World {
        machine: machine.expect("the options are valid"),
        options,
        server: Server::new(content_type, 1, 1000),
        now: Duration::ZERO,
        fates: Vec::new(),
        batches: BTreeMap::new(),
        network: Vec::new(),
        copies: Vec::new(),
        stopped: false,
    };
    while !u.is_empty() {
        world.step(u)?;
        world.listen();
    }
    world.come_to_rest();
    world.judge();
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Pending,
    Stored,
    Failed { unknown: bool },
}

struct World {
    machine: Producer,
    options: ProducerOptions,
    server: Server,
    now: Instant,
    /// By message.
    fates: Vec<Fate>,
    batches: BTreeMap<BatchId, Vec<usize>>,
    /// Tries that nobody has answered.
    network: Vec<Transmit>,
    /// What something on the way kept, and sends again.
    copies: Vec<Request>,
    /// Closed, or failed for good.
    stopped: bool,
}

impl World {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=10_u8)? {
            0..=2 => self.append(),
            3 => {
                self.machine.flush();
            }
            4 if u.ratio(1, 8)? => self.close(u.arbitrary()?),
            4 | 5 => self.send(),
            6 => {
                let Some(transmit) = self.take(u)? else { return Ok(()) };
                let heard = u.ratio(3, 4)?;
                let answer = self.server.handle(&transmit.request);
                if u.ratio(1, 8)? {
                    self.copies.push(transmit.request.clone());
                }
                if heard { self.answered(&transmit, answer) } else { self.lost(&transmit, false) }
            }
            7 => {
                let Some(transmit) = self.take(u)? else { return Ok(()) };
                // 429 and 503 say that nothing was done.
                let (status, acted) =
                    *u.choose(&[(500, true), (502, true), (504, true), (500, false), (503, false), (429, false)])?;
                if acted {
                    self.server.handle(&transmit.request);
                }
                self.head(&transmit, status, HeaderMap::new());
            }
            8 => {
                let Some(transmit) = self.take(u)? else { return Ok(()) };
                let kept = u.arbitrary()?;
                if kept {
                    self.copies.push(transmit.request.clone());
                }
                self.lost(&transmit, !kept && u.arbitrary()?);
            }
            9 if !self.copies.is_empty() => {
                let at = u.choose_index(self.copies.len())?;
                let copy = self.copies.swap_remove(at);
                self.server.handle(&copy);
            }
            _ => self.wait(),
        }
        Ok(())
    }

    fn append(&mut self) {
        let text = message(self.machine.is_json(), self.fates.len());
        match self.machine.append(text.as_bytes(), self.now) {
            Ok(appended) => {
                self.batches.entry(appended.batch).or_default().push(self.fates.len());
                self.fates.push(Fate::Pending);
            }
            Err(error) if *error.kind() == ErrorKind::BufferFull => {}
            Err(error) => assert!(self.stopped, "{error:?}"),
        }
        assert!(self.machine.buffered_bytes() <= self.options.max_buffered_bytes);
    }

    fn close(&mut self, drain: bool) {
        if drain {
            self.machine.flush();
        }
        self.stopped |= self.machine.close(None, self.now).is_ok();
    }

    fn send(&mut self) {
        if let Some(transmit) = self.machine.poll_transmit(self.now) {
            self.machine.handle_body_sent(transmit.batch);
            assert!(self.machine.in_flight() <= self.options.max_in_flight);
            self.network.push(transmit);
        }
    }

    fn take(&mut self, u: &mut Unstructured<'_>) -> Result<Option<Transmit>> {
        if self.network.is_empty() {
            return Ok(None);
        }
        let at = u.choose_index(self.network.len())?;
        Ok(Some(self.network.remove(at)))
    }

    fn answered(&mut self, transmit: &Transmit, answer: Answer) {
        if let Answer::Complete { status, headers, .. } = answer {
            self.head(transmit, status, headers);
        }
    }

    fn head(&mut self, transmit: &Transmit, status: u16, headers: HeaderMap) {
        let status = StatusCode::from_u16(status).expect("a status");
        let head = ResponseHead::new(status, headers, UNIX_EPOCH);
        self.machine.handle_response(transmit.batch, transmit.attempt, &head, self.now);
    }

    fn lost(&mut self, transmit: &Transmit, not_sent: bool) {
        let error = Error::new(ErrorKind::Network, "reset");
        self.machine.handle_disconnect(transmit.batch, transmit.attempt, Disconnect { not_sent, error }, self.now);
    }

    fn wait(&mut self) {
        if let Some(at) = self.machine.poll_timeout() {
            self.now = self.now.max(at);
            self.machine.handle_timeout(self.now);
            // A driver drops the exchange of a try that was given up; its request may still be on its way.
            let machine = &self.machine;
            let given_up = self.network.extract_if(.., |it| !machine.is_in_flight(it.batch, it.attempt));
            self.copies.extend(given_up.map(|transmit| transmit.request));
        }
    }

    fn listen(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                ProducerEvent::Settled { batch, result } => {
                    self.stopped |= result.is_err();
                    for message in self.batches.remove(&batch).unwrap_or_default() {
                        assert_eq!(self.fates[message], Fate::Pending, "settled twice");
                        self.fates[message] = match &result {
                            Ok(_) => Fate::Stored,
                            Err(error) => Fate::Failed { unknown: error.outcome_unknown() },
                        };
                    }
                }
                ProducerEvent::Claimed { epoch } => panic!("nobody else is there, and epoch {epoch} was claimed"),
                _ => {}
            }
        }
    }

    /// The network is whole from here on.
    fn come_to_rest(&mut self) {
        self.machine.flush();
        for _ in 0..ENOUGH {
            self.listen();
            if self.machine.is_idle() {
                return;
            }
            self.send();
            match self.network.is_empty() {
                true => self.wait(),
                false => {
                    let transmit = self.network.remove(0);
                    let answer = self.server.handle(&transmit.request);
                    self.answered(&transmit, answer);
                }
            }
        }
        panic!("no rest in sight: {:#?}", self.machine);
    }

    fn judge(&mut self) {
        assert_eq!((self.machine.buffered_bytes(), self.machine.pending_messages()), (0, 0), "{:#?}", self.machine);
        for copy in std::mem::take(&mut self.copies) {
            self.server.handle(&copy);
        }
        let stored = self.server.messages();
        let json = self.machine.is_json();
        let stored: Vec<&str> = if json {
            stored.iter().map(String::as_str).collect()
        } else {
            stored.iter().flat_map(|it| it.split_inclusive(';')).collect()
        };
        let mut stored = stored.into_iter().peekable();
        for (number, fate) in self.fates.iter().enumerate() {
            let is_stored = stored.next_if_eq(&message(json, number).as_str()).is_some();
            match fate {
                Fate::Pending => panic!("message {number} was never settled"),
                Fate::Stored => assert!(is_stored, "message {number} was acknowledged and is lost"),
                Fate::Failed { unknown } => {
                    assert!(*unknown || !is_stored, "message {number} failed for certain and is stored")
                }
            }
        }
        assert_eq!(stored.next(), None, "stored twice, or out of order");
    }
}

fn message(json: bool, number: usize) -> String {
    if json { format!("\"m{number}\"") } else { format!("m{number};") }
}
