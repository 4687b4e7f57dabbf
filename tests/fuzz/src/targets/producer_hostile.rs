//! The producer against a server that keeps to nothing, and a caller who calls anything at any time: it never panics,
//! every batch is settled once, limits hold, and it always has something to do or to wait for until it is idle.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use arbitrary::{Result, Unstructured};
use everstream::proto::Instant;
use everstream::proto::producer::{BatchId, MAX_NUMBER, Producer, ProducerEvent};
use everstream::proto::response::{Disconnect, ResponseHead};
use everstream::{Error, ErrorKind, Offset, ProducerOptions, RetryPolicy};
use http::StatusCode;

use crate::input::answer_headers;

/// One input.
pub fn run(data: &[u8]) {
    // An input that is too short ends the story early; what was told until then has been checked.
    let _ = story(&mut Unstructured::new(data));
}

fn story(u: &mut Unstructured<'_>) -> Result<()> {
    let options = ProducerOptions {
        epoch: *u.choose(&[0, 1, MAX_NUMBER])?,
        auto_claim: u.arbitrary()?,
        linger: u.arbitrary()?,
        max_batch_bytes: u.int_in_range(1..=60)?,
        max_batch_items: u.ratio(1, 2)?.then_some(u.int_in_range(1..=4)?),
        max_in_flight: u.int_in_range(1..=6)?,
        max_buffered_bytes: u.int_in_range(1..=200)?,
        delivery_timeout: u.arbitrary()?,
        request_timeout: u.arbitrary()?,
        ..ProducerOptions::default()
    };
    let content_type = *u.choose(&["application/json", "text/plain"])?;
    let machine = Producer::new("p", content_type, options.clone(), &RetryPolicy::default(), u.arbitrary()?);
    let mut machine = machine.expect("the options are valid");
    if u.arbitrary()? {
        machine = machine.with_tail(Offset::new("0_7").expect("an offset"));
    }
    let mut world = World { machine, options, now: Duration::ZERO, open: BTreeSet::new(), tries: Vec::new() };
    while !u.is_empty() {
        world.step(u)?;
        world.listen();
        world.check();
    }
    Ok(())
}

struct World {
    machine: Producer,
    options: ProducerOptions,
    now: Instant,
    /// Batches that hold messages and are not settled.
    open: BTreeSet<BatchId>,
    /// All that were ever made, also those that were given up.
    tries: Vec<(BatchId, u32)>,
}

impl World {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=12_u8)? {
            0..=2 => {
                let text = *u.choose(&["1", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "[[]]"])?;
                if let Ok(appended) = self.machine.append(text.as_bytes(), self.now) {
                    self.open.insert(appended.batch);
                }
            }
            3 => {
                self.machine.flush();
            }
            4 if u.ratio(1, 4)? => drop(self.machine.close(u.ratio(1, 2)?.then_some(b"7"), self.now)),
            4 if u.ratio(1, 4)? => self.machine.detach(),
            4 => self.machine.refuse(Error::new(ErrorKind::Cancelled, "refused")),
            5 => drop(self.machine.restart()),
            6..=8 => {
                if let Some(transmit) = self.machine.poll_transmit(self.now) {
                    self.tries.push((transmit.batch, transmit.attempt));
                }
            }
            9 | 10 if !self.tries.is_empty() => {
                // Also one that does not count any more.
                let (batch, attempt) = *u.choose(&self.tries)?;
                self.hear(batch, attempt, u)?;
            }
            11 => {
                self.now = self.machine.poll_timeout().map_or(self.now, |at| at.max(self.now));
                self.machine.handle_timeout(self.now);
            }
            _ => self.now = self.now.saturating_add(Duration::from_millis(u.arbitrary::<u16>()?.into())),
        }
        Ok(())
    }

    fn hear(&mut self, batch: BatchId, attempt: u32, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=5_u8)? {
            0 => self.machine.handle_body_sent(batch),
            1 => {
                let error = Error::new(ErrorKind::Network, "reset");
                let cause = Disconnect { not_sent: u.arbitrary()?, error };
                self.machine.handle_disconnect(batch, attempt, cause, self.now);
            }
            2 => self.machine.handle_fatal(batch, attempt, Error::new(ErrorKind::Cancelled, "given up")),
            _ => {
                const STATUSES: &[u16] = &[200, 204, 201, 304, 400, 403, 404, 409, 410, 413, 429, 500, 503];
                let status = if u.ratio(7, 8)? { *u.choose(STATUSES)? } else { u.int_in_range(100..=999)? };
                let status = StatusCode::from_u16(status).expect("100 to 999 is a status");
                let head = ResponseHead::new(status, answer_headers(u)?, UNIX_EPOCH);
                self.machine.handle_response(batch, attempt, &head, self.now);
            }
        }
        Ok(())
    }

    fn listen(&mut self) {
        let mut settled = BTreeSet::new();
        while let Some(event) = self.machine.poll_event() {
            if let ProducerEvent::Settled { batch, .. } = event {
                assert!(settled.insert(batch), "batch {batch:?} was settled twice");
                self.open.remove(&batch);
            }
        }
    }

    fn check(&mut self) {
        let machine = &self.machine;
        assert!(machine.in_flight() <= self.options.max_in_flight);
        assert!(machine.epoch() <= MAX_NUMBER);
        if machine.is_idle() {
            assert_eq!((machine.buffered_bytes(), machine.pending_messages()), (0, 0), "{machine:#?}");
            assert!(self.open.is_empty(), "{:?} were never settled: {machine:#?}", self.open);
            return;
        }
        let waits = machine.poll_timeout().is_some();
        if !waits && let Some(transmit) = self.machine.poll_transmit(self.now) {
            self.tries.push((transmit.batch, transmit.attempt));
        } else {
            assert!(waits, "nothing to do and not idle: {:#?}", self.machine);
        }
    }
}
