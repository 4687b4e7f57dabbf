//! What a producer's lock guards: the machine, once there is one, and who waits for what.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::backlog::{Backlog, Command};
use super::delivery::{Cell, Delivery};
use super::opening::Opening;
use super::settling::Settling;
use crate::client::stream::not_json;
use crate::error::{BatchFailure, Error, ErrorKind, Result};
use crate::proto::Instant;
use crate::proto::offset::Offset;
use crate::proto::producer::{Appended, BatchId, FlushId, Flushed, Producer as Machine, ProducerEvent, Receipt};
use crate::proto::request::Operation;

pub(super) type Waiter<T> = oneshot::Sender<Result<T>>;

/// One per producer, and looked at with every message: no variant is worth a box.
#[allow(clippy::large_enum_variant)]
pub(super) enum State {
    /// What the machine has to know of the stream is asked for.
    Opening(Opening),
    Running(Running),
    /// The stream could not be asked, or the runtime has gone.
    Failed(Failed),
}

pub(super) struct Running {
    pub(super) machine: Machine,
    /// For errors.
    url: Arc<str>,
    /// What waits for space, and what came after that.
    backlog: Backlog,
    cells: Settling<BatchId, Arc<Cell>>,
    /// Messages of a batch that were taken before the machine could take them.
    early: Settling<BatchId, Vec<Arc<Cell>>>,
    /// The batch that took the last message, and its cell: most appends go to the same one.
    current: Option<(BatchId, Arc<Cell>)>,
    flushes: Settling<FlushId, Waiter<Flushed>>,
    closes: Vec<Waiter<Receipt>>,
    /// Of batches that were not stored, for the caller's function.
    pub(super) failed: Vec<Error>,
    /// Tries that were given up for want of an answer.
    pub(super) timeouts: usize,
}

pub(super) struct Failed {
    error: Error,
    /// Messages that no flush has reported.
    unreported: Vec<BatchFailure>,
    epoch: u64,
    next_seq: u64,
}

/// What is known of a message before it reaches the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// It fits the stream.
    Whole,
    /// It is not empty; whether the stream is JSON was not known.
    NotEmpty,
    /// It is a JSON document that must not go to any other stream.
    JsonOnly,
}

impl Checked {
    /// Does what is left of the check (C-VAL-1).
    pub(super) fn complete(self, json: bool, message: &[u8]) -> Result<()> {
        match self {
            Self::NotEmpty => Machine::check_message(json, message),
            Self::JsonOnly if !json => Err(not_json("not application/json")),
            Self::Whole | Self::JsonOnly => Ok(()),
        }
    }
}

impl State {
    /// Takes a message; `true` when the task has something new to do.
    pub(super) fn push(&mut self, message: &[u8], checked: Checked, now: Instant) -> Result<(Delivery, bool)> {
        match self {
            Self::Running(running) => running.push(message, checked, now),
            Self::Opening(opening) => Ok((opening.push(message, checked)?, false)),
            Self::Failed(failed) => Err(failed.again()),
        }
    }

    /// [`push`](Self::push), and a message that finds no space waits for it. `behind` says that others wait already.
    pub(super) fn queue(
        &mut self,
        message: &[u8],
        checked: Checked,
        behind: bool,
        now: Instant,
    ) -> Result<(Delivery, bool)> {
        match self {
            Self::Running(running) => running.queue(message, checked, behind, now),
            Self::Opening(opening) => Ok((opening.queue(message, checked)?, false)),
            Self::Failed(failed) => Err(failed.again()),
        }
    }

    /// Whether messages wait for space.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Running(running) => !running.backlog.is_empty(),
            Self::Opening(opening) => opening.is_full(),
            Self::Failed(_) => false,
        }
    }

    /// Tells somebody once nothing waits for space that waits now.
    pub(super) fn fence(&mut self, passed: oneshot::Sender<()>) {
        let fence = Command::Fence(passed);
        match self {
            Self::Running(running) if !running.backlog.is_empty() => running.backlog.push(fence),
            Self::Opening(opening) if opening.is_full() => opening.push_command(fence),
            // Dropped: nobody is waited for.
            Self::Running(_) | Self::Opening(_) | Self::Failed(_) => {}
        }
    }

    /// Gives up what is not settled.
    pub(super) fn abort(&mut self, error: Error) {
        match self {
            Self::Running(running) => running.machine.abort(error),
            Self::Opening(_) => self.fail(&error),
            Self::Failed(_) => {}
        }
    }

    /// A message was refused, and a flush is to tell of it. Its ordinal.
    pub(super) fn note_refused(&mut self, error: Error, now: Instant) -> u64 {
        match self {
            Self::Running(running) => {
                let ordinal = running.next_ordinal();
                running.command(Command::Refused(error), now);
                ordinal
            }
            Self::Opening(opening) => {
                let ordinal = opening.backlog().messages();
                opening.push_command(Command::Refused(error));
                ordinal
            }
            // Every flush says that nothing is taken any more.
            Self::Failed(_) => 0,
        }
    }

    pub(super) fn flush(&mut self, waiter: Waiter<Flushed>, now: Instant) {
        match self {
            Self::Running(running) => running.command(Command::Flush(waiter), now),
            Self::Opening(opening) => opening.push_command(Command::Flush(waiter)),
            Self::Failed(failed) => {
                let unreported = std::mem::take(&mut failed.unreported);
                let error = Error::of_failures(unreported).unwrap_or_else(|| failed.again());
                let _ = waiter.send(Err(error));
            }
        }
    }

    pub(super) fn close(&mut self, message: Option<&[u8]>, waiter: Waiter<Receipt>, now: Instant) -> Result<()> {
        match self {
            Self::Running(running) => {
                running.command(Command::Close(message.map(Box::from), waiter), now);
                Ok(())
            }
            Self::Opening(opening) => opening.close(message, waiter),
            Self::Failed(failed) => Err(failed.again()),
        }
    }

    pub(super) fn detach(&mut self, now: Instant) {
        match self {
            Self::Running(running) => running.command(Command::Detach, now),
            Self::Opening(opening) => opening.detach(),
            Self::Failed(_) => {}
        }
    }

    /// # Errors
    /// Why there is no machine.
    pub(super) fn running(&mut self) -> Result<&mut Running> {
        match self {
            Self::Running(running) => Ok(running),
            Self::Opening(_) => Err(Error::new(ErrorKind::Internal, "the producer is not open yet")),
            Self::Failed(failed) => Err(failed.again()),
        }
    }

    /// The machine is there: it gets what was kept for it, in order.
    pub(super) fn open(&mut self, machine: Machine, url: &Arc<str>, now: Instant) {
        // What was aborted meanwhile stays so.
        if let Self::Opening(opening) = self {
            let mut running = Running::new(machine, url.clone());
            running.backlog = opening.take_backlog();
            running.advance(now);
            *self = Self::Running(running);
        }
    }

    /// Nothing more is carried: everybody who waits is told.
    pub(super) fn fail(&mut self, error: &Error) {
        let (epoch, next_seq) = (self.epoch(), self.next_seq());
        let failed = |unreported| Self::Failed(Failed { error: error.clone(), unreported, epoch, next_seq });
        match self {
            Self::Opening(opening) => *self = failed(opening.fail(error)),
            Self::Running(running) => {
                running.fail(error);
                *self = failed(Vec::new());
            }
            Self::Failed(_) => {}
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        match self {
            Self::Opening(opening) => opening.epoch(),
            Self::Running(running) => running.machine.epoch(),
            Self::Failed(failed) => failed.epoch,
        }
    }

    pub(super) fn next_seq(&self) -> u64 {
        match self {
            Self::Opening(_) => 0,
            Self::Running(running) => running.machine.next_seq(),
            Self::Failed(failed) => failed.next_seq,
        }
    }

    pub(super) fn pending_messages(&self) -> u64 {
        match self {
            Self::Opening(opening) => opening.backlog().messages(),
            Self::Running(running) => running.machine.pending_messages() + running.backlog.messages(),
            Self::Failed(_) => 0,
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        match self {
            Self::Opening(opening) => opening.backlog().bytes(),
            Self::Running(running) => running.machine.buffered_bytes() + running.backlog.bytes(),
            Self::Failed(_) => 0,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        match self {
            Self::Running(running) => running.machine.in_flight(),
            Self::Opening(_) | Self::Failed(_) => 0,
        }
    }

    pub(super) fn last_offset(&self) -> Option<&Offset> {
        match self {
            Self::Running(running) => running.machine.last_offset(),
            Self::Opening(_) | Self::Failed(_) => None,
        }
    }
}

impl Running {
    pub(super) fn new(machine: Machine, url: Arc<str>) -> Self {
        Self {
            machine,
            url,
            backlog: Backlog::default(),
            cells: Settling::new(),
            early: Settling::new(),
            current: None,
            flushes: Settling::new(),
            closes: Vec::new(),
            failed: Vec::new(),
            timeouts: 0,
        }
    }

    fn push(&mut self, message: &[u8], checked: Checked, now: Instant) -> Result<(Delivery, bool)> {
        if checked != Checked::Whole {
            // Its caller looked at the stream's type just before it was known.
            checked.complete(self.machine.is_json(), message)?;
        }
        if !self.backlog.is_empty() {
            return Err(Error::new(ErrorKind::BufferFull, "other messages wait for space in the buffer"));
        }
        let Appended { batch, message, wake } = self.machine.append(message, now)?;
        let cell = match &self.current {
            Some((current, cell)) if *current == batch => cell.clone(),
            _ => {
                let cell = Arc::<Cell>::default();
                self.cells.push(batch, cell.clone());
                self.current = Some((batch, cell.clone()));
                cell
            }
        };
        Ok((Delivery::new(cell, message), wake))
    }

    fn queue(&mut self, message: &[u8], checked: Checked, behind: bool, now: Instant) -> Result<(Delivery, bool)> {
        if behind {
            checked.complete(self.machine.is_json(), message)?;
        } else {
            match self.push(message, checked, now) {
                Err(full) if *full.kind() == ErrorKind::BufferFull => {}
                result => return result,
            }
        }
        let ordinal = self.next_ordinal();
        let cell = self.backlog.push_message(message, Checked::Whole);
        // What was freed before it came tells nobody again.
        Ok((Delivery::new(cell, ordinal), behind))
    }

    /// The ordinal of what is handed over next.
    fn next_ordinal(&self) -> u64 {
        self.machine.next_message() + self.backlog.messages()
    }

    /// Tells the machine, after what came before.
    fn command(&mut self, command: Command, now: Instant) {
        self.backlog.push(command);
        self.advance(now);
    }

    /// Hands the machine what it has space for by now; whether that was anything.
    pub(super) fn advance(&mut self, now: Instant) -> bool {
        let mut advanced = false;
        while let Some(command) = self.backlog.pop() {
            if let Some(waits) = self.take(command, now) {
                self.backlog.put_back(waits);
                break;
            }
            advanced = true;
        }
        advanced
    }

    /// Whether nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.machine.is_idle() && self.backlog.is_empty()
    }

    /// Tells the machine; gives back a message that has to wait for space.
    fn take(&mut self, command: Command, now: Instant) -> Option<Command> {
        match command {
            Command::Message { data, checked, cell } => {
                let complete = checked.complete(self.machine.is_json(), &data);
                match complete.and_then(|()| self.machine.append(&data, now)) {
                    Ok(Appended { batch, .. }) => match self.early.last_mut(&batch) {
                        Some(cells) => cells.push(cell),
                        None => self.early.push(batch, vec![cell]),
                    },
                    Err(full) if *full.kind() == ErrorKind::BufferFull => {
                        return Some(Command::Message { data, checked: Checked::Whole, cell });
                    }
                    Err(error) => {
                        let error = error.with_context(Operation::Produce, &self.url);
                        self.machine.refuse(error.clone());
                        cell.settle(Err(error));
                    }
                }
            }
            Command::Refused(error) => self.machine.refuse(error),
            Command::Flush(waiter) => {
                let flush = self.machine.flush();
                self.flushes.push(flush, waiter);
            }
            Command::Close(message, waiter) => match self.machine.close(message.as_deref(), now) {
                Ok(()) => self.closes.push(waiter),
                Err(error) => {
                    let _ = waiter.send(Err(error));
                }
            },
            Command::Detach => self.machine.detach(),
            Command::Fence(passed) => {
                let _ = passed.send(());
            }
        }
        None
    }

    /// Hands out what the machine has to tell; whether space may have become free.
    pub(super) fn dispatch(&mut self) -> bool {
        let mut freed = false;
        let url = self.url.clone();
        while let Some(event) = self.machine.poll_event() {
            match event {
                ProducerEvent::Settled { batch, result } => {
                    freed = true;
                    let result = result.map_err(|error| error.with_context(Operation::Produce, &url));
                    self.failed.extend(result.as_ref().err().cloned());
                    self.settle(batch, result);
                }
                ProducerEvent::Flushed { flush, result } => {
                    if let Some(waiter) = self.flushes.take(&flush) {
                        // A waiter that is gone does not want to know.
                        let _ = waiter.send(result);
                    }
                }
                ProducerEvent::Closed(result) => {
                    for waiter in self.closes.drain(..) {
                        let _ = waiter.send(result.clone());
                    }
                }
                ProducerEvent::Retrying { error, delay } => {
                    self.timeouts += usize::from(*error.kind() == ErrorKind::Timeout);
                    tracing::debug!(%url, %error, ?delay, "batch is sent again");
                }
                ProducerEvent::Claimed { epoch } => tracing::info!(%url, epoch, "producer took over with a new epoch"),
            }
        }
        freed
    }

    fn settle(&mut self, batch: BatchId, result: Result<Receipt>) {
        if self.current.as_ref().is_some_and(|(current, _)| *current == batch) {
            self.current = None;
        }
        for cell in self.early.take(&batch).into_iter().flatten() {
            cell.settle(result.clone());
        }
        if let Some(cell) = self.cells.take(&batch) {
            cell.settle(result);
        }
    }

    fn fail(&mut self, error: &Error) {
        self.backlog.fail(error, &mut Vec::new());
        // Nobody hears of the tries that are under way.
        let error = error.clone().with_outcome_unknown(true);
        let early = self.early.drain().flatten();
        for cell in self.cells.drain().chain(early) {
            cell.settle(Err(error.clone()));
        }
        for waiter in self.flushes.drain() {
            let _ = waiter.send(Err(error.clone()));
        }
        for waiter in self.closes.drain(..) {
            let _ = waiter.send(Err(error.clone()));
        }
    }
}

impl Failed {
    fn again(&self) -> Error {
        self.error.clone().prefixed("the producer has stopped; make a new one".to_owned())
    }
}
