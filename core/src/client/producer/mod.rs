//! The producer: drives a [`Machine`] from a task of its own.
//!
//! Appends go into the machine under a lock, in the caller's own thread; the task only carries batches.

mod task;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use serde::Serialize;
use tokio::sync::{Mutex as AsyncMutex, Notify, oneshot};

use self::task::Task;
use super::exchange::{Core, Target};
use super::stream::{not_json, to_json};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::offset::Offset;
use crate::proto::producer::{Appended, BatchId, FlushId, Flushed, Producer as Machine, ProducerEvent, Receipt};
use crate::proto::request::Operation;

/// Appends messages so that each is stored exactly once, in order, whatever the network does. Cloning shares it.
///
/// Messages are batched (5 ms, 1 MiB), batches pipelined, and resent under the same identity until the server has
/// answered for them. Dropping the last clone sends what is left without anyone waiting for it; call
/// [`flush`](Self::flush) or [`close`](Self::close) to know.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    /// Dropped with the last clone.
    _alive: Arc<Alive>,
}

struct Shared {
    core: Arc<Core>,
    target: Target,
    json: bool,
    state: Mutex<State>,
    /// Something to do for the task.
    wake: Notify,
    /// Bytes were freed, or the producer stopped.
    space: Notify,
    /// Appends that wait go in their order: first come, first served.
    turn: AsyncMutex<()>,
    abandoned: AtomicBool,
}

struct State {
    machine: Machine,
    cells: HashMap<BatchId, Arc<Cell>>,
    /// The batch that took the last message, and its cell: most appends go to the same one.
    current: Option<(BatchId, Arc<Cell>)>,
    flushes: HashMap<FlushId, oneshot::Sender<Result<Flushed>>>,
    closes: Vec<oneshot::Sender<Result<Receipt>>>,
}

/// The fate of a batch, shared by the deliveries of its messages.
#[derive(Default)]
struct Cell {
    result: OnceLock<Result<Receipt>>,
    settled: Notify,
}

struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }
}

/// A message on its way. Awaiting it gives the server's receipt; nobody has to.
pub struct Delivery {
    cell: Arc<Cell>,
    message: u64,
}

impl Delivery {
    /// The message's ordinal in this producer, counted from 0.
    pub fn message(&self) -> u64 {
        self.message
    }

    /// The outcome, if it is there already.
    pub fn outcome(&self) -> Option<Result<Receipt>> {
        self.cell.result.get().cloned()
    }

    /// Waits for the outcome. Cancel safe.
    ///
    /// # Errors
    /// Why the message was not stored; [`Error::outcome_unknown`] tells whether it may have been all the same.
    pub async fn wait(&self) -> Result<Receipt> {
        loop {
            let settled = self.cell.settled.notified();
            if let Some(result) = self.cell.result.get() {
                return result.clone();
            }
            settled.await;
        }
    }
}

impl IntoFuture for Delivery {
    type Output = Result<Receipt>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.wait().await })
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("message", &self.message).field("outcome", &self.outcome()).finish()
    }
}

impl Producer {
    pub(super) fn start(core: Arc<Core>, target: Target, machine: Machine) -> Self {
        let shared = Arc::new(Shared {
            core,
            target,
            json: machine.is_json(),
            state: Mutex::new(State {
                machine,
                cells: HashMap::new(),
                current: None,
                flushes: HashMap::new(),
                closes: Vec::new(),
            }),
            wake: Notify::new(),
            space: Notify::new(),
            turn: AsyncMutex::new(()),
            abandoned: AtomicBool::new(false),
        });
        tokio::spawn(Task::new(shared.clone()).run());
        Self { _alive: Arc::new(Alive(shared.clone())), shared }
    }

    /// Takes a message: a JSON document on a JSON stream, bytes as they are on any other. Waits while the buffer is full.
    ///
    /// # Errors
    /// The message was not taken: `InvalidArgument` when it is empty, not JSON on a JSON stream, or larger than the
    /// buffer; `AlreadyClosed`; or the error that stopped the producer.
    ///
    /// # Cancel safety
    /// A message whose future is dropped while it waits for space is not taken.
    pub async fn append(&self, message: impl AsRef<[u8]>) -> Result<Delivery> {
        Machine::check_message(self.shared.json, message.as_ref()).map_err(|error| self.context(error))?;
        self.append_checked(message.as_ref()).await
    }

    /// [`append`](Self::append) of a value as one JSON message, whatever it is.
    ///
    /// # Errors
    /// Also `NotSupported` on a stream that is not JSON.
    pub async fn append_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<Delivery> {
        if !self.shared.json {
            return Err(self.context(not_json("not application/json")));
        }
        self.append_checked(&to_json(value)?).await
    }

    /// Takes a message without waiting.
    ///
    /// # Errors
    /// `BufferFull` when [`append`](Self::append) would wait; otherwise as there.
    pub fn try_append(&self, message: impl AsRef<[u8]>) -> Result<Delivery> {
        Machine::check_message(self.shared.json, message.as_ref()).map_err(|error| self.context(error))?;
        // Never ahead of one that waits.
        let Ok(_turn) = self.shared.turn.try_lock() else {
            return Err(self.context(Error::new(ErrorKind::BufferFull, "other messages wait for space in the buffer")));
        };
        self.push(message.as_ref())
    }

    /// Sends what is there and waits until every message appended so far is settled.
    ///
    /// # Errors
    /// When any message since the flush before was not stored; [`Error::failures`] lists them all.
    ///
    /// # Cancel safety
    /// The messages stay on their way; what this flush would have reported is lost with it.
    pub async fn flush(&self) -> Result<Flushed> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            let flush = state.machine.flush();
            state.flushes.insert(flush, sender);
        }
        self.shared.wake.notify_one();
        self.answer(receiver).await
    }

    /// Sends what is there, then closes the stream for everyone, with a last message in the same step if one is
    /// given (C-PROD-11). A second call gives the first result; after a failure it tries again under the same identity.
    ///
    /// # Errors
    /// `StreamClosed` when someone else closed it; or the error of a batch before it.
    pub async fn close(&self, final_message: Option<&[u8]>) -> Result<Receipt> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            let now = self.shared.core.now();
            state.machine.close(final_message, now).map_err(|error| self.context(error))?;
            state.closes.push(sender);
        }
        self.shared.wake.notify_one();
        self.answer(receiver).await
    }

    /// Flushes and stops without closing the stream; later appends are refused (C-PROD-14).
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn detach(&self) -> Result<Flushed> {
        self.shared.lock().machine.detach();
        self.flush().await
    }

    /// Flushes, then starts anew under the next epoch (C-PROD-15). Also the way on after a batch failed for good.
    ///
    /// # Errors
    /// `AlreadyClosed` after close or detach. Failures of the flush are not repeated here: flush first to hear of them.
    pub async fn restart(&self) -> Result<()> {
        // What failed before is what the caller restarts for.
        let _ = self.flush().await;
        self.shared.lock().machine.restart().map_err(|error| self.context(error))
    }

    /// The epoch in use.
    pub fn epoch(&self) -> u64 {
        self.shared.lock().machine.epoch()
    }

    /// The seq of the next new batch.
    pub fn next_seq(&self) -> u64 {
        self.shared.lock().machine.next_seq()
    }

    /// Messages that are not settled yet.
    pub fn pending_messages(&self) -> u64 {
        self.shared.lock().machine.pending_messages()
    }

    /// Batches under way.
    pub fn in_flight(&self) -> usize {
        self.shared.lock().machine.in_flight()
    }

    /// Bytes of messages that are not settled yet.
    pub fn buffered_bytes(&self) -> usize {
        self.shared.lock().machine.buffered_bytes()
    }

    /// The last offset that an answer named.
    pub fn last_offset(&self) -> Option<Offset> {
        self.shared.lock().machine.last_offset().cloned()
    }

    async fn append_checked(&self, message: &[u8]) -> Result<Delivery> {
        let _turn = self.shared.turn.lock().await;
        // Nearly always there is space, and nothing to register for.
        match self.push(message) {
            Err(error) if *error.kind() == ErrorKind::BufferFull => {}
            result => return result,
        }
        loop {
            let mut space = std::pin::pin!(self.shared.space.notified());
            // Registered before the look, so that no freed byte is missed.
            space.as_mut().enable();
            match self.push(message) {
                Err(error) if *error.kind() == ErrorKind::BufferFull => space.await,
                result => return result,
            }
        }
    }

    fn push(&self, message: &[u8]) -> Result<Delivery> {
        let now = self.shared.core.now();
        let mut state = self.shared.lock();
        let Appended { batch, message, wake } =
            state.machine.append(message, now).map_err(|error| self.context(error))?;
        let cell = match &state.current {
            Some((current, cell)) if *current == batch => cell.clone(),
            _ => {
                let cell = Arc::<Cell>::default();
                state.cells.insert(batch, cell.clone());
                state.current = Some((batch, cell.clone()));
                cell
            }
        };
        drop(state);
        if wake {
            self.shared.wake.notify_one();
        }
        Ok(Delivery { cell, message })
    }

    async fn answer<T>(&self, receiver: oneshot::Receiver<Result<T>>) -> Result<T> {
        let lost = || Err(Error::new(ErrorKind::Cancelled, "the runtime that carried the producer was shut down"));
        receiver.await.unwrap_or_else(|_| lost()).map_err(|error| self.context(error))
    }

    fn context(&self, error: Error) -> Error {
        error.with_context(Operation::Produce, self.shared.target.url.shown())
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("url", &self.shared.target.url.shown()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The machine has no half-done states that a panic elsewhere could leave behind.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// Hands out what the machine has to tell; whether space may have become free.
    fn dispatch(&mut self, shared: &Shared) -> bool {
        let mut freed = false;
        while let Some(event) = self.machine.poll_event() {
            let url = shared.target.url.shown();
            match event {
                ProducerEvent::Settled { batch, result } => {
                    freed = true;
                    if self.current.as_ref().is_some_and(|(current, _)| *current == batch) {
                        self.current = None;
                    }
                    if let Some(cell) = self.cells.remove(&batch) {
                        let result = result.map_err(|error| error.with_context(Operation::Produce, url));
                        // Set once: the cell was taken out of the map.
                        let _ = cell.result.set(result);
                        cell.settled.notify_waiters();
                    }
                }
                ProducerEvent::Flushed { flush, result } => {
                    if let Some(waiter) = self.flushes.remove(&flush) {
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
                    tracing::debug!(%url, %error, ?delay, "batch is sent again")
                }
                ProducerEvent::Claimed { epoch } => tracing::info!(%url, epoch, "producer took over with a new epoch"),
            }
        }
        freed
    }
}

// Keeps the compiler honest about what users rely on.
const _: fn() = || {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Producer>();
    is_send_and_sync::<Delivery>();
};
