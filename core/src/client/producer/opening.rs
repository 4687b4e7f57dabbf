//! A producer before its machine: what callers hand over while the stream is asked what it is.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::delivery::{Cell, Delivery};
use super::state::{Checked, State, Waiter};
use crate::error::{BatchFailure, Error, ErrorKind, Result};
use crate::options::ProducerOptions;
use crate::proto::producer::{Flushed, Producer as Machine, Receipt};

/// What is kept for the machine.
pub(super) struct Opening {
    options: ProducerOptions,
    /// Whether messages are JSON documents, where that is known.
    json: Option<bool>,
    commands: Vec<Command>,
    /// Ordinals given.
    messages: u64,
    buffered: usize,
    ended: Option<End>,
}

/// What the machine is told once it is there.
pub(super) enum Command {
    Message {
        data: Box<[u8]>,
        checked: Checked,
        cell: Arc<Cell>,
    },
    /// A message that was refused, for the report of a flush.
    Refused(Error),
    Flush(Waiter<Flushed>),
    Close(Option<Box<[u8]>>, Waiter<Receipt>),
    Detach,
}

/// After it no message is taken.
#[derive(Clone, Copy)]
enum End {
    Close,
    Detach,
}

impl Opening {
    pub(super) fn new(options: ProducerOptions, json: Option<bool>) -> Self {
        Self { options, json, commands: Vec::new(), messages: 0, buffered: 0, ended: None }
    }

    /// Takes a message under the rules of the machine. One that turns out not to fit the stream fails later, alone.
    pub(super) fn push(&mut self, message: &[u8], checked: Checked) -> Result<Delivery> {
        self.check_running()?;
        // As on a JSON stream, where it needs more: what fits here fits the machine.
        let cost = message.len() + 1;
        self.options.check_space(message.len(), cost, self.buffered)?;
        let cell = Arc::<Cell>::default();
        let delivery = Delivery::new(cell.clone(), self.messages);
        self.commands.push(Command::Message { data: message.into(), checked, cell });
        self.buffered += cost;
        self.messages += 1;
        Ok(delivery)
    }

    pub(super) fn note_refused(&mut self, error: Error) {
        self.commands.push(Command::Refused(error));
        self.messages += 1;
    }

    pub(super) fn flush(&mut self, waiter: Waiter<Flushed>) {
        self.commands.push(Command::Flush(waiter));
    }

    pub(super) fn close(&mut self, message: Option<&[u8]>, waiter: Waiter<Receipt>) -> Result<()> {
        match self.ended {
            Some(End::Detach) => return self.check_running(),
            // The first call says what the last message is.
            Some(End::Close) => self.commands.push(Command::Close(None, waiter)),
            None => {
                if let Some(message) = message {
                    Machine::check_message(self.json.unwrap_or(false), message)?;
                    self.buffered += message.len() + 1;
                    self.messages += 1;
                }
                self.commands.push(Command::Close(message.map(Box::from), waiter));
                self.ended = Some(End::Close);
            }
        }
        Ok(())
    }

    pub(super) fn detach(&mut self) {
        if self.ended.is_none() {
            self.commands.push(Command::Detach);
            self.ended = Some(End::Detach);
        }
    }

    pub(super) fn take_commands(&mut self) -> impl Iterator<Item = Command> + use<'_> {
        self.commands.drain(..)
    }

    /// Settles everything with an error. What no flush was told of is the result.
    pub(super) fn fail(&mut self, error: &Error) -> Vec<BatchFailure> {
        let mut unreported = match self.messages {
            0 => Vec::new(),
            messages => vec![BatchFailure { first_message: 0, messages, error: error.clone() }],
        };
        for command in self.commands.drain(..) {
            match command {
                Command::Message { cell, .. } => cell.settle(Err(error.clone())),
                Command::Flush(waiter) => {
                    let report = Error::of_failures(std::mem::take(&mut unreported));
                    let _ = waiter.send(Err(report.unwrap_or_else(|| error.clone())));
                }
                Command::Close(_, waiter) => {
                    let _ = waiter.send(Err(error.clone()));
                }
                Command::Refused(_) | Command::Detach => {}
            }
        }
        unreported
    }

    pub(super) fn epoch(&self) -> u64 {
        self.options.epoch
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    /// Whether the stream is to learn of something even if every handle is gone.
    fn has_work(&self) -> bool {
        self.commands.iter().any(|command| matches!(command, Command::Message { .. } | Command::Close(..)))
    }

    fn check_running(&self) -> Result<()> {
        let message = match self.ended {
            None => return Ok(()),
            Some(End::Close) => "the producer closed its stream",
            Some(End::Detach) => "the producer was detached",
        };
        Err(Error::new(ErrorKind::AlreadyClosed, message))
    }
}

/// Waits for the machine and hands it what was kept. `false` when there is nothing to carry: it could not be had, or
/// nobody wants it any more.
pub(super) async fn open(shared: &Shared, machine: impl Future<Output = Result<Machine>>) -> bool {
    let mut machine = pin!(machine);
    let result = loop {
        tokio::select! {
            biased;
            result = &mut machine => break result,
            () = shared.wake.notified() => {
                if matches!(&*shared.lock(), State::Failed(_)) {
                    return false;
                }
                let abandoned = shared.abandoned.load(Ordering::Acquire);
                if abandoned && !matches!(&*shared.lock(), State::Opening(opening) if opening.has_work()) {
                    return false;
                }
            }
        }
    };
    match result {
        Ok(machine) => {
            shared.opened(machine);
            true
        }
        Err(error) => {
            shared.fail(error);
            false
        }
    }
}
