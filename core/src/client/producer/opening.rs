//! A producer before its machine: what callers hand over while the stream is asked what it is.

use std::pin::pin;
use std::sync::atomic::Ordering;

use super::Shared;
use super::backlog::{Backlog, Command};
use super::delivery::Delivery;
use super::state::{Checked, State, Waiter};
use crate::error::{BatchFailure, Error, ErrorKind, Result};
use crate::options::ProducerOptions;
use crate::proto::producer::{Producer as Machine, Receipt};

/// What is kept for the machine.
pub(super) struct Opening {
    options: ProducerOptions,
    /// Whether messages are JSON documents, where that is known.
    json: Option<bool>,
    backlog: Backlog,
    ended: Option<End>,
}

/// After it no message is taken.
#[derive(Clone, Copy)]
enum End {
    Close,
    Detach,
}

impl Opening {
    pub(super) fn new(options: ProducerOptions, json: Option<bool>) -> Self {
        Self { options, json, backlog: Backlog::default(), ended: None }
    }

    /// Takes a message under the rules of the machine. One that turns out not to fit the stream fails later, alone.
    pub(super) fn push(&mut self, message: &[u8], checked: Checked) -> Result<Delivery> {
        self.check_running()?;
        self.check_space(message.len(), self.backlog.bytes())?;
        Ok(self.take(message, checked))
    }

    /// [`push`](Self::push), whether there is space or not.
    pub(super) fn queue(&mut self, message: &[u8], checked: Checked) -> Result<Delivery> {
        self.check_running()?;
        self.check_space(message.len(), 0)?;
        Ok(self.take(message, checked))
    }

    fn check_space(&self, len: usize, buffered: usize) -> Result<()> {
        // As on a JSON stream, where it needs more.
        self.options.check_space(len, len + 1, buffered)
    }

    fn take(&mut self, message: &[u8], checked: Checked) -> Delivery {
        let ordinal = self.backlog.messages();
        Delivery::new(self.backlog.push_message(message, checked), ordinal)
    }

    /// Whether some of it waits for space.
    pub(super) fn is_full(&self) -> bool {
        self.backlog.bytes() > self.options.max_buffered_bytes
    }

    pub(super) fn push_command(&mut self, command: Command) {
        self.backlog.push(command);
    }

    pub(super) fn close(&mut self, message: Option<&[u8]>, waiter: Waiter<Receipt>) -> Result<()> {
        match self.ended {
            Some(End::Detach) => return self.check_running(),
            // The first call says what the last message is.
            Some(End::Close) => self.backlog.push(Command::Close(None, waiter)),
            None => {
                if let Some(message) = message {
                    Machine::check_message(self.json.unwrap_or(false), message)?;
                }
                self.backlog.push(Command::Close(message.map(Box::from), waiter));
                self.ended = Some(End::Close);
            }
        }
        Ok(())
    }

    pub(super) fn detach(&mut self) {
        if self.ended.is_none() {
            self.backlog.push(Command::Detach);
            self.ended = Some(End::Detach);
        }
    }

    pub(super) fn take_backlog(&mut self) -> Backlog {
        std::mem::take(&mut self.backlog)
    }

    /// Settles everything with an error. What no flush was told of is the result.
    pub(super) fn fail(&mut self, error: &Error) -> Vec<BatchFailure> {
        let mut unreported = match self.backlog.messages() {
            0 => Vec::new(),
            messages => vec![BatchFailure { first_message: 0, messages, error: error.clone() }],
        };
        self.backlog.fail(error, &mut unreported);
        unreported
    }

    pub(super) fn epoch(&self) -> u64 {
        self.options.epoch
    }

    pub(super) fn backlog(&self) -> &Backlog {
        &self.backlog
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
                if abandoned && !matches!(&*shared.lock(), State::Opening(opening) if opening.backlog.has_work()) {
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
