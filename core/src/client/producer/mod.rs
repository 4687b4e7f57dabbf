//! The producer: drives a [`Machine`] from a task of its own.
//!
//! Appends go into the machine under a lock, in the caller's own thread; the task only carries batches. A machine has
//! to know what the stream is. Where that has to be asked first, [`Opening`] keeps what callers hand over meanwhile.

mod backlog;
mod delivery;
mod opening;
mod settling;
mod state;
mod task;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use serde::Serialize;
use tokio::sync::{Mutex as AsyncMutex, Notify, oneshot};

pub use self::delivery::{Delivery, Queued};
use self::opening::Opening;
use self::state::{Checked, Running, State};
use self::task::Task;
use super::exchange::{Core, Target};
use super::runtime;
use super::stream::{not_json, to_json};
use crate::error::{Error, ErrorKind, Result};
use crate::options::ProducerOptions;
use crate::proto::offset::Offset;
use crate::proto::producer::{Flushed, Producer as Machine, Receipt};
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
    /// Whether messages are JSON documents, once it is known.
    json: OnceLock<bool>,
    state: Mutex<State>,
    /// Something to do for the task.
    wake: Notify,
    /// Bytes were freed, or the producer stopped.
    space: Notify,
    /// Appends that wait go in their order: first come, first served.
    turn: AsyncMutex<()>,
    abandoned: AtomicBool,
    on_failure: OnceLock<FailureHook>,
}

type FailureHook = Box<dyn Fn(Error) + Send + Sync>;

struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }
}

impl Producer {
    /// Starts the task for a machine that is there.
    pub(super) fn start(core: Arc<Core>, target: Target, machine: Machine) -> Self {
        let json = OnceLock::from(machine.is_json());
        let state = State::Running(Running::new(machine, target.url.shown().clone()));
        let shared = Shared::new(core, target, json, state);
        runtime::spawn(Task::new(shared.clone()).run());
        Self { _alive: Arc::new(Alive(shared.clone())), shared }
    }

    /// Starts the task, which makes the machine first. `json` is whether messages are JSON documents, if that is known.
    pub(super) fn open(
        core: Arc<Core>,
        target: Target,
        options: ProducerOptions,
        json: Option<bool>,
        machine: impl Future<Output = Result<Machine>> + Send + 'static,
    ) -> Self {
        let state = State::Opening(Opening::new(options, json));
        let shared = Shared::new(core, target, json.map_or_else(OnceLock::new, OnceLock::from), state);
        let task = Task::new(shared.clone());
        let opening = shared.clone();
        runtime::spawn(async move {
            if opening::open(&opening, machine).await {
                task.run().await;
            }
        });
        Self { _alive: Arc::new(Alive(shared.clone())), shared }
    }

    /// Takes a message: a JSON document on a JSON stream, bytes as they are on any other. Waits while the buffer is full.
    ///
    /// # Errors
    /// The message was not taken: `InvalidArgument` when it is empty, not JSON on a JSON stream, or larger than the
    /// buffer; `AlreadyClosed`; or the error that stopped the producer. While a
    /// [lazy](super::DurableStream::producer_lazy) producer opens, it is not known whether the stream is JSON: then the
    /// `Delivery` tells, and the next flush lists it among the failures; other messages go on.
    ///
    /// # Cancel safety
    /// A message whose future is dropped while it waits for space is not taken.
    pub async fn append(&self, message: impl AsRef<[u8]>) -> Result<Delivery> {
        let checked = self.check(message.as_ref())?;
        self.append_checked(message.as_ref(), checked).await
    }

    /// [`append`](Self::append) of a value as one JSON message, whatever it is.
    ///
    /// # Errors
    /// Also `NotSupported` on a stream that is not JSON; from the `Delivery` while a lazy producer opens.
    pub async fn append_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<Delivery> {
        let checked = self.check_json()?;
        self.append_checked(&to_json(value)?, checked).await
    }

    /// [`append_json`](Self::append_json) of a value that is JSON text already.
    ///
    /// # Errors
    /// As there; `InvalidArgument` when it is not one JSON document.
    pub async fn append_json_text(&self, text: impl AsRef<[u8]>) -> Result<Delivery> {
        let checked = self.check_json_text(text.as_ref())?;
        self.append_checked(text.as_ref(), checked).await
    }

    /// Takes a message without waiting.
    ///
    /// # Errors
    /// `BufferFull` when [`append`](Self::append) would wait; otherwise as there.
    pub fn try_append(&self, message: impl AsRef<[u8]>) -> Result<Delivery> {
        let checked = self.check(message.as_ref())?;
        self.try_append_checked(message.as_ref(), checked)
    }

    /// Takes JSON text without waiting.
    ///
    /// # Errors
    /// `BufferFull` when [`append_json_text`](Self::append_json_text) would wait; otherwise as there.
    pub fn try_append_json_text(&self, text: impl AsRef<[u8]>) -> Result<Delivery> {
        let checked = self.check_json_text(text.as_ref())?;
        self.try_append_checked(text.as_ref(), checked)
    }

    /// Takes a message without waiting, whether there is space or not: beyond `max_buffered_bytes` it waits here, in the
    /// order of the calls, and what is called after it waits behind it. For callers who cannot wait, such as an event
    /// loop; [`ready`](Self::ready) tells when to go on. Not to be mixed with appends that wait.
    ///
    /// # Errors
    /// As [`append`](Self::append). One that waits and then cannot be appended, since the producer has stopped meanwhile,
    /// is told by its `Delivery` and the next flush.
    pub fn queue(&self, message: impl AsRef<[u8]>) -> Result<Delivery> {
        let checked = self.check(message.as_ref())?;
        self.queue_checked(message.as_ref(), checked)
    }

    /// [`queue`](Self::queue) of JSON text.
    ///
    /// # Errors
    /// As [`append_json_text`](Self::append_json_text), and as there.
    pub fn queue_json_text(&self, text: impl AsRef<[u8]>) -> Result<Delivery> {
        let checked = self.check_json_text(text.as_ref())?;
        self.queue_checked(text.as_ref(), checked)
    }

    /// [`queue_json_text`](Self::queue_json_text) of many documents, one in each line. One that is refused is told by its
    /// delivery and by the next flush, and the others go on.
    pub fn queue_json_lines(&self, lines: impl AsRef<[u8]>) -> Vec<Queued> {
        let lines = lines.as_ref();
        // The costly part, without the lock.
        let checked = memchr::memchr_iter(b'\n', lines).chain([lines.len()]).scan(0, |start, end| {
            let line = &lines[std::mem::replace(start, end + 1)..end];
            Some((line, self.check_json_text(line)))
        });
        let checked = checked.collect::<Vec<_>>();
        let behind = self.shared.turn.try_lock().is_err();
        let now = self.shared.core.now();
        let (mut queued, mut wakes) = (Vec::<Queued>::new(), false);
        let mut state = self.shared.lock();
        for (line, checked) in checked {
            let (delivery, refused) = match checked.and_then(|checked| state.queue(line, checked, behind, now)) {
                Ok((delivery, wake)) => {
                    wakes |= wake;
                    (delivery, false)
                }
                Err(error) => {
                    let error = self.context(error);
                    let ordinal = state.note_refused(error.clone(), now);
                    (Delivery::refused(error, ordinal), true)
                }
            };
            match queued.last_mut() {
                Some(last) if last.delivery.shares_outcome(&delivery) => last.messages += 1,
                _ => queued.push(Queued { delivery, messages: 1, refused }),
            }
        }
        drop(state);
        if wakes {
            self.shared.wake.notify_one();
        }
        queued
    }

    /// Whether [queued](Self::queue) messages wait for space.
    pub fn is_full(&self) -> bool {
        self.shared.lock().is_full()
    }

    /// Waits until every message that was [queued](Self::queue) so far has space in the buffer. Cancel safe.
    pub async fn ready(&self) {
        let (sender, passed) = oneshot::channel();
        self.shared.lock().fence(sender);
        // Dropped where nothing waits.
        let _ = passed.await;
    }

    /// Gives up: requests under way are aborted, and what is not settled fails with this error, which later calls give as
    /// well. Whether messages under way were stored is unknown.
    pub fn abort(&self, error: Error) {
        self.shared.lock().abort(self.context(error));
        self.shared.wake.notify_one();
        self.shared.space.notify_waiters();
    }

    /// Whether messages are JSON documents; `None` while the stream is asked what it is.
    pub fn is_json(&self) -> Option<bool> {
        self.shared.json.get().copied()
    }

    /// Has a function called with the error of each batch that was not stored; the flush after it tells of all. Only
    /// the first function counts. It must not block.
    pub fn on_failure(&self, hook: impl Fn(Error) + Send + Sync + 'static) {
        let _ = self.shared.on_failure.set(Box::new(hook));
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
        self.shared.lock().flush(sender, self.shared.core.now());
        self.shared.wake.notify_one();
        self.answer(receiver).await
    }

    /// Has everything appended so far sent without lingering, and waits for nothing: for a program that may end at any
    /// moment. What becomes of it the next [`flush`](Self::flush) tells.
    pub fn hurry(&self) {
        if let Ok(running) = self.shared.lock().running() {
            running.machine.hurry();
        }
        self.shared.wake.notify_one();
    }

    /// Sends what is there, then closes the stream for everyone, with a last message in the same step if one is
    /// given (C-PROD-11). A second call gives the first result; after a failure it tries again under the same identity.
    ///
    /// # Errors
    /// `StreamClosed` when someone else closed it; or the error of a batch before it.
    pub async fn close(&self, final_message: Option<&[u8]>) -> Result<Receipt> {
        let (sender, receiver) = oneshot::channel();
        let now = self.shared.core.now();
        self.shared.lock().close(final_message, sender, now).map_err(|error| self.context(error))?;
        self.shared.wake.notify_one();
        self.answer(receiver).await
    }

    /// Flushes and stops without closing the stream; later appends are refused (C-PROD-14).
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn detach(&self) -> Result<Flushed> {
        self.shared.lock().detach(self.shared.core.now());
        self.flush().await
    }

    /// Flushes, then starts anew under the next epoch (C-PROD-15). Also the way on after a batch failed for good.
    ///
    /// # Errors
    /// `AlreadyClosed` after close or detach. Failures of the flush are not repeated here: flush first to hear of them.
    pub async fn restart(&self) -> Result<()> {
        // What failed before is what the caller restarts for.
        let _ = self.flush().await;
        self.shared.lock().running().and_then(|running| running.machine.restart()).map_err(|error| self.context(error))
    }

    /// The epoch in use.
    pub fn epoch(&self) -> u64 {
        self.shared.lock().epoch()
    }

    /// The seq of the next new batch.
    pub fn next_seq(&self) -> u64 {
        self.shared.lock().next_seq()
    }

    /// Messages that are not settled yet.
    pub fn pending_messages(&self) -> u64 {
        self.shared.lock().pending_messages()
    }

    /// Batches under way.
    pub fn in_flight(&self) -> usize {
        self.shared.lock().in_flight()
    }

    /// Bytes of messages that are not settled yet.
    pub fn buffered_bytes(&self) -> usize {
        self.shared.lock().buffered_bytes()
    }

    /// The last offset that an answer named.
    pub fn last_offset(&self) -> Option<Offset> {
        self.shared.lock().last_offset().cloned()
    }

    /// Checks a message as far as it can be, without the lock.
    fn check(&self, message: &[u8]) -> Result<Checked> {
        let json = self.shared.json.get().copied();
        Machine::check_message(json.unwrap_or(false), message).map_err(|error| self.context(error))?;
        Ok(if json.is_some() { Checked::Whole } else { Checked::NotEmpty })
    }

    fn check_json(&self) -> Result<Checked> {
        match self.shared.json.get() {
            Some(true) => Ok(Checked::Whole),
            Some(false) => Err(self.context(not_json("not application/json"))),
            None => Ok(Checked::JsonOnly),
        }
    }

    fn check_json_text(&self, text: &[u8]) -> Result<Checked> {
        let checked = self.check_json()?;
        Machine::check_message(true, text).map_err(|error| self.context(error))?;
        Ok(checked)
    }

    fn try_append_checked(&self, message: &[u8], checked: Checked) -> Result<Delivery> {
        // Never ahead of one that waits.
        let Ok(_turn) = self.shared.turn.try_lock() else {
            return Err(self.context(Error::new(ErrorKind::BufferFull, "other messages wait for space in the buffer")));
        };
        self.push(message, checked)
    }

    fn queue_checked(&self, message: &[u8], checked: Checked) -> Result<Delivery> {
        let behind = self.shared.turn.try_lock().is_err();
        let now = self.shared.core.now();
        let queued = self.shared.lock().queue(message, checked, behind, now);
        self.taken(queued)
    }

    async fn append_checked(&self, message: &[u8], checked: Checked) -> Result<Delivery> {
        let _turn = self.shared.turn.lock().await;
        // Nearly always there is space, and nothing to register for.
        match self.push(message, checked) {
            Err(error) if *error.kind() == ErrorKind::BufferFull => {}
            result => return result,
        }
        loop {
            let mut space = std::pin::pin!(self.shared.space.notified());
            // Registered before the look, so that no freed byte is missed.
            space.as_mut().enable();
            match self.push(message, checked) {
                Err(error) if *error.kind() == ErrorKind::BufferFull => space.await,
                result => return result,
            }
        }
    }

    fn push(&self, message: &[u8], checked: Checked) -> Result<Delivery> {
        let now = self.shared.core.now();
        let pushed = self.shared.lock().push(message, checked, now);
        self.taken(pushed)
    }

    /// Wakes the task if it is to look at what was taken.
    fn taken(&self, taken: Result<(Delivery, bool)>) -> Result<Delivery> {
        let (delivery, wake) = taken.map_err(|error| self.context(error))?;
        if wake {
            self.shared.wake.notify_one();
        }
        Ok(delivery)
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
    fn new(core: Arc<Core>, target: Target, json: OnceLock<bool>, state: State) -> Arc<Self> {
        Arc::new(Self {
            core,
            target,
            json,
            state: Mutex::new(state),
            wake: Notify::new(),
            space: Notify::new(),
            turn: AsyncMutex::new(()),
            abandoned: AtomicBool::new(false),
            on_failure: OnceLock::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The machine has no half-done states that a panic elsewhere could leave behind.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn opened(&self, machine: Machine) {
        let json = machine.is_json();
        let mut state = self.lock();
        state.open(machine, self.target.url.shown(), self.core.now());
        // Whoever sees it and then takes the lock finds the machine.
        let _ = self.json.set(json);
        drop(state);
        self.space.notify_waiters();
    }

    fn fail(&self, error: Error) {
        let error = error.with_context(Operation::Produce, self.target.url.shown());
        let mut state = self.lock();
        let lost = state.pending_messages() > 0;
        state.fail(&error);
        drop(state);
        self.space.notify_waiters();
        self.tell(lost.then_some(error));
    }

    /// Tells the caller's function of what failed. Not under the lock: it may look at the producer.
    fn tell(&self, failed: impl IntoIterator<Item = Error>) {
        if let Some(hook) = self.on_failure.get() {
            failed.into_iter().for_each(hook);
        }
    }
}

// Keeps the compiler honest about what users rely on.
const _: fn() = || {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Producer>();
    is_send_and_sync::<Delivery>();
};
