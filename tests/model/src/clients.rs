//! The machines with what a driver keeps beside them: what was appended, what was read, what came of it.

use std::collections::BTreeMap;

use everstream::proto::Instant;
use everstream::proto::producer::{BatchId, Producer, ProducerEvent};
use everstream::proto::read::{ReadEvent, ReadSession};
use everstream::proto::request::Request;
use everstream::{Checkpoint, Error, ErrorKind, LiveMode, ReadOptions, RetryPolicy};

use crate::scenario::Scenario;

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    Pending,
    Stored,
    /// A repeat on its first try: another instance's batch, or ours, doubled by the network.
    Duplicate,
    Failed {
        unknown: bool,
    },
}

/// A message that a run can tell from all others, with a code point of three bytes to cut through.
pub(crate) fn message(json: bool, producer: usize, number: u64) -> String {
    if json { format!("\"p{producer}:{number}€\"") } else { format!("p{producer}:{number}€;") }
}

pub(crate) struct Writer {
    pub(crate) index: usize,
    pub(crate) machine: Producer,
    json: bool,
    total: u64,
    /// By message number.
    pub(crate) fates: Vec<Fate>,
    batches: BTreeMap<BatchId, (Vec<usize>, bool)>,
    /// Whether this writer closes the stream when it is done.
    closes: bool,
    asked_to_end: bool,
    flushed: bool,
    pub(crate) closed: Option<Result<(), Error>>,
    /// More appends of one message than there can be reasons to wait are a leak.
    pub(crate) peak_buffered: usize,
    /// Why the first batch failed.
    pub(crate) first_error: Option<Error>,
    /// Why no more messages were taken.
    pub(crate) stopped: Option<Error>,
}

impl Writer {
    pub(crate) fn new(scenario: &Scenario, index: usize) -> Self {
        let options = scenario.producers[index].clone();
        let seed = scenario.seed.wrapping_add(index as u64);
        let machine = Producer::new("writer", scenario.content_type, options, &RetryPolicy::default(), seed)
            .unwrap_or_else(|error| unreachable!("the scenario's options are valid: {error}"));
        Self {
            index,
            json: machine.is_json(),
            machine,
            total: scenario.messages,
            fates: Vec::new(),
            batches: BTreeMap::new(),
            closes: scenario.producers.len() == 1,
            asked_to_end: false,
            flushed: false,
            closed: None,
            peak_buffered: 0,
            first_error: None,
            stopped: None,
        }
    }

    /// Appends as long as there is room, then ends.
    pub(crate) fn work(&mut self, now: Instant) {
        while (self.fates.len() as u64) < self.total && self.stopped.is_none() {
            let text = message(self.json, self.index, self.fates.len() as u64);
            match self.machine.append(text.as_bytes(), now) {
                Ok(appended) => {
                    self.batches.entry(appended.batch).or_default().0.push(self.fates.len());
                    self.fates.push(Fate::Pending);
                }
                Err(error) if *error.kind() == ErrorKind::BufferFull => break,
                Err(error) => self.stopped = Some(error),
            }
        }
        self.peak_buffered = self.peak_buffered.max(self.machine.buffered_bytes());
        let all_in = self.fates.len() as u64 == self.total || self.stopped.is_some();
        if all_in && !self.asked_to_end {
            self.asked_to_end = true;
            self.machine.flush();
            self.closes = self.closes && self.stopped.is_none() && self.machine.close(None, now).is_ok();
        }
    }

    /// Takes what the machine has to tell.
    pub(crate) fn listen(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                ProducerEvent::Settled { batch, result } => {
                    if let Err(error) = &result {
                        self.first_error.get_or_insert_with(|| error.clone());
                    }
                    let (messages, retried) = self.batches.remove(&batch).unwrap_or_default();
                    for number in messages {
                        self.fates[number] = match &result {
                            Ok(receipt) if receipt.duplicate && !retried => Fate::Duplicate,
                            Ok(_) => Fate::Stored,
                            Err(error) => Fate::Failed { unknown: error.outcome_unknown() },
                        };
                    }
                }
                ProducerEvent::Flushed { .. } => self.flushed = true,
                ProducerEvent::Closed(result) => self.closed = Some(result.map(drop)),
                _ => {}
            }
        }
    }

    /// A try of this batch is on its way for the second time or more.
    pub(crate) fn note_attempt(&mut self, batch: BatchId, attempt: u32) {
        if attempt > 1
            && let Some((_, retried)) = self.batches.get_mut(&batch)
        {
            *retried = true;
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.flushed && self.fates.iter().all(|fate| *fate != Fate::Pending) && (!self.closes || self.closed.is_some())
    }
}

pub(crate) struct Follower {
    live: LiveMode,
    pub(crate) session: ReadSession,
    /// The exchange whose news count.
    pub(crate) exchange: Option<usize>,
    /// Data in the order of its delivery.
    pub(crate) read: Vec<String>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) end: Option<Result<(), Error>>,
    resumed: u32,
}

impl Follower {
    pub(crate) fn new(scenario: &Scenario, index: usize) -> Self {
        let mut follower = Self {
            live: scenario.readers[index],
            session: ReadSession::new(ReadOptions::default(), RetryPolicy::default(), 0),
            exchange: None,
            read: Vec::new(),
            checkpoint: Checkpoint::default(),
            end: None,
            resumed: 0,
        };
        follower.restart(scenario, index as u64);
        follower
    }

    /// A new process that knows nothing but the checkpoint.
    pub(crate) fn restart(&mut self, scenario: &Scenario, seed: u64) {
        let options = ReadOptions {
            from: self.checkpoint.clone(),
            live: self.live,
            max_batch_bytes: scenario.max_batch_bytes,
            ..ReadOptions::default()
        };
        self.session = ReadSession::new(options, RetryPolicy::default(), scenario.seed ^ seed);
        self.exchange = None;
    }

    /// Takes what the session has to tell; whether a batch was handed over.
    pub(crate) fn listen(&mut self) -> bool {
        let mut delivered = false;
        while let Some(event) = self.session.poll_event() {
            match event {
                ReadEvent::Batch(batch) => {
                    delivered = true;
                    self.checkpoint = batch.checkpoint().clone();
                    if batch.is_json() {
                        self.read.extend(batch.messages().map(|text| String::from_utf8_lossy(&text).into_owned()));
                    } else if !batch.is_empty() {
                        // As bytes: parts may end inside a code point.
                        self.read.push(batch.bytes().iter().map(|&byte| char::from(byte)).collect());
                    }
                }
                ReadEvent::End => self.end = Some(Ok(())),
                ReadEvent::Failed(error) if error.is_retryable() && self.resumed < 100 => {
                    self.resumed += 1;
                    self.session.resume();
                }
                ReadEvent::Failed(error) => self.end = Some(Err(error)),
                _ => {}
            }
        }
        delivered
    }

    pub(crate) fn poll_request(&mut self, now: Instant) -> Option<Request> {
        if self.end.is_some() { None } else { self.session.poll_request(now) }
    }
}
