//! What callers have handed over and the machine has not taken yet: the stream is still asked what it is, or the machine's
//! buffer is full. It goes on in the order of the calls.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::delivery::Cell;
use super::state::{Checked, Waiter};
use crate::error::{BatchFailure, Error};
use crate::proto::producer::{Flushed, Receipt};

/// What the machine is told once it can be.
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
    /// Nothing for the machine: somebody waits until it has everything before this.
    Fence(oneshot::Sender<()>),
}

impl Command {
    /// Ordinals that it takes.
    fn messages(&self) -> u64 {
        match self {
            Self::Message { .. } | Self::Refused(_) | Self::Close(Some(_), _) => 1,
            Self::Flush(_) | Self::Close(None, _) | Self::Detach | Self::Fence(_) => 0,
        }
    }

    /// What its data costs as on a JSON stream, where it needs more: what fits here fits the machine.
    fn cost(&self) -> usize {
        match self {
            Self::Message { data, .. } | Self::Close(Some(data), _) => data.len() + 1,
            Self::Refused(_) | Self::Flush(_) | Self::Close(None, _) | Self::Detach | Self::Fence(_) => 0,
        }
    }
}

/// Commands in order, and what they hold.
#[derive(Default)]
pub(super) struct Backlog {
    commands: VecDeque<Command>,
    messages: u64,
    bytes: usize,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Messages in it.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes of their data.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the stream is to learn of something even if every handle is gone.
    pub(super) fn has_work(&self) -> bool {
        self.commands.iter().any(|command| matches!(command, Command::Message { .. } | Command::Close(..)))
    }

    pub(super) fn push(&mut self, command: Command) {
        self.messages += command.messages();
        self.bytes += command.cost();
        self.commands.push_back(command);
    }

    pub(super) fn pop(&mut self) -> Option<Command> {
        let command = self.commands.pop_front()?;
        self.messages -= command.messages();
        self.bytes -= command.cost();
        Some(command)
    }

    /// Puts back what [`pop`](Self::pop) gave.
    pub(super) fn put_back(&mut self, command: Command) {
        self.messages += command.messages();
        self.bytes += command.cost();
        self.commands.push_front(command);
    }

    /// Keeps a message; its cell tells what becomes of it.
    pub(super) fn push_message(&mut self, data: &[u8], checked: Checked) -> Arc<Cell> {
        let cell = Arc::<Cell>::default();
        self.push(Command::Message { data: data.into(), checked, cell: cell.clone() });
        cell
    }

    /// Settles everything with an error. `unreported` is what the first flush is told of.
    pub(super) fn fail(&mut self, error: &Error, unreported: &mut Vec<BatchFailure>) {
        while let Some(command) = self.pop() {
            match command {
                Command::Message { cell, .. } => cell.settle(Err(error.clone())),
                Command::Flush(waiter) => {
                    let report = Error::of_failures(std::mem::take(unreported));
                    let _ = waiter.send(Err(report.unwrap_or_else(|| error.clone())));
                }
                Command::Close(_, waiter) => {
                    let _ = waiter.send(Err(error.clone()));
                }
                Command::Fence(passed) => {
                    let _ = passed.send(());
                }
                Command::Refused(_) | Command::Detach => {}
            }
        }
    }
}
