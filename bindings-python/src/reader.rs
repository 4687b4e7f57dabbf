//! Reading: a task that keeps a batch ahead of the caller.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use everstream::proto::response::{KeptHead, ResponseHead};
use everstream::{Error, ErrorKind, Reader as CoreReader, Result};
use futures_util::Stream as _;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard, mpsc, oneshot};

use crate::batch::Batch;
use crate::call::{Promise, call, promise};
use crate::callback::Callbacks;
use crate::error;
use crate::runtime::{Owned, lock, runtime};

/// A read under way.
///
/// A task carries it, so that the next batch is fetched and framed while Python works on the one before. Its position
/// is nothing the task knows of: each batch says where it leaves its reader.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Reader {
    shared: Owned<Arc<Shared>>,
    callbacks: Callbacks,
    /// What cancels a wait for the next batch.
    abandon: PyOnceLock<Py<Abandon>>,
}

struct Shared {
    inbox: Arc<AsyncMutex<Inbox>>,
    head: Mutex<Option<Arc<KeptHead>>>,
    content_type: Mutex<Option<String>>,
    not_modified: AtomicBool,
    /// Whether the messages are wanted as objects.
    json: AtomicBool,
    /// An asyncio future that waits; the carrier settles it without a task between them.
    direct: Mutex<Option<Direct>>,
    demand: Mutex<Demand>,
    pause: Notify,
    resume: Notify,
    closed: AtomicBool,
    close: Notify,
}

/// Who wants a batch.
#[derive(Default)]
struct Demand {
    waiting: u32,
    /// The last one who waited gave up: the request was aborted, and is made again when somebody waits.
    paused: bool,
}

struct Inbox {
    batches: mpsc::Receiver<Next>,
    /// Taken out, but not handed over: it comes first.
    returned: Option<Next>,
}

/// In a box: a channel has room for 32 of what it carries, however few may wait in it.
type Next = Box<Result<Batch>>;

/// What came next, on its way to the caller. Whoever waited may have given up by now: then it goes back, before anybody
/// else can take what follows.
struct Held {
    inbox: OwnedMutexGuard<Inbox>,
    next: Option<Next>,
}

impl Held {
    fn into_python(mut self, py: Python<'_>, callbacks: &Callbacks) -> PyResult<Py<PyAny>> {
        match self.next.take().map(|next| *next) {
            Some(Ok(batch)) => Ok(Py::new(py, batch)?.into_any()),
            Some(Err(error)) => Err(callbacks.raise(py, &error)),
            None => Ok(py.None()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inbox.returned = self.next.take();
    }
}

impl Reader {
    /// Ready once the first answer has begun.
    pub(crate) fn open(py: Python<'_>, wait: bool, callbacks: Callbacks, reader: CoreReader) -> PyResult<Py<PyAny>> {
        let (sender, receiver) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            inbox: Arc::new(AsyncMutex::new(Inbox { batches: receiver, returned: None })),
            head: Mutex::default(),
            content_type: Mutex::default(),
            not_modified: AtomicBool::new(false),
            json: AtomicBool::new(false),
            direct: Mutex::default(),
            demand: Mutex::default(),
            pause: Notify::new(),
            resume: Notify::new(),
            closed: AtomicBool::new(false),
            close: Notify::new(),
        });
        let (opened, is_open) = oneshot::channel();
        let carrier = Carrier { reader, shared: shared.clone(), batches: sender };
        callbacks.enter(py)?;
        runtime()?.spawn(carrier.run(opened));
        // Given up before it was open: the request is aborted.
        let guard = CloseOnDrop(Some(shared.clone()));
        let future = async move { is_open.await.unwrap_or_else(|_| Err(gone())) };
        let made = callbacks.clone();
        call(py, wait, callbacks, future, move |py, ()| {
            guard.disarm();
            Ok(Py::new(py, Self { shared: Owned::new(shared), callbacks: made, abandon: PyOnceLock::new() })?
                .into_any())
        })
    }
}

#[pymethods]
impl Reader {
    /// The next batch; `None` at the end.
    fn next(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let shared = self.shared.get(py, "read")?.clone();
        let callbacks = self.callbacks.clone();
        // Made here, so that a future that is dropped before it ran pauses the read as well.
        let waiting = Waiting::new(shared.clone());
        if !wait && let Ok(inbox) = shared.inbox.clone().try_lock_owned() {
            callbacks.enter(py)?;
            let (operation, promise) = promise(py)?;
            let abandon = self.abandon.get_or_try_init(py, || Py::new(py, Abandon(Owned::new(shared.clone()))))?;
            operation.setattr(intern!(py, "abort"), abandon)?;
            Direct { waiting, inbox, promise, callbacks }.wait(py, &shared);
            return Ok(operation.unbind());
        }
        let convert = move |py: Python<'_>, held: Held| held.into_python(py, &callbacks);
        call(py, wait, self.callbacks.clone(), async move { Ok(waiting.next().await) }, convert)
    }

    /// The next batch if it is there already; `None` if it is not, at the end, and for errors: then ask `next`.
    fn next_now(&self) -> Option<Batch> {
        let mut inbox = self.shared.here()?.inbox.try_lock().ok()?;
        let next = match inbox.returned.take() {
            Some(returned) => returned,
            None => inbox.batches.try_recv().ok()?,
        };
        match *next {
            Ok(batch) => Some(batch),
            Err(error) => {
                inbox.returned = Some(Box::new(Err(error)));
                None
            }
        }
    }

    /// From here on `Batch.json` is what will be asked for.
    fn expect_json(&self) {
        if let Some(shared) = self.shared.here() {
            shared.json.store(true, Ordering::Relaxed);
        }
    }

    /// Aborts the request and ends the read. Can be repeated.
    fn close(&self) {
        if let Some(shared) = self.shared.here() {
            shared.end();
        }
    }

    #[getter]
    fn status(&self) -> Option<u16> {
        self.head().map(|head| head.status.as_u16())
    }

    #[getter]
    fn status_text(&self) -> Option<&'static str> {
        self.head().and_then(|head| head.status.canonical_reason())
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.head().map_or_else(|| Ok(PyDict::new(py)), |head| error::headers(py, &head.headers))
    }

    #[getter]
    fn content_type(&self) -> Option<String> {
        self.shared.here().and_then(|shared| lock(&shared.content_type).clone())
    }

    #[getter]
    fn not_modified(&self) -> bool {
        self.shared.here().is_some_and(|shared| shared.not_modified.load(Ordering::Acquire))
    }
}

impl Reader {
    /// Of the last answer.
    fn head(&self) -> Option<ResponseHead> {
        lock(&self.shared.here()?.head).as_ref().map(|head| head.head())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    async fn ended(&self) {
        let closed = self.close.notified();
        if !self.closed.load(Ordering::Acquire) {
            closed.await;
        }
    }

    fn end(&self) {
        self.closed.store(true, Ordering::Release);
        self.close.notify_waiters();
    }
}

/// Someone who waits for a batch. If they give up and nobody else waits, the request is aborted; the next one asks again
/// from the same place.
struct Waiting {
    shared: Arc<Shared>,
    armed: bool,
}

impl Waiting {
    fn new(shared: Arc<Shared>) -> Self {
        {
            let mut demand = lock(&shared.demand);
            demand.waiting += 1;
            demand.paused = false;
        }
        shared.resume.notify_one();
        Self { shared, armed: true }
    }

    async fn next(mut self) -> Held {
        let shared = self.shared.clone();
        let mut inbox = shared.inbox.clone().lock_owned().await;
        if let Some(returned) = inbox.returned.take() {
            self.armed = false;
            return Held { inbox, next: Some(returned) };
        }
        let next = tokio::select! {
            biased;
            () = shared.ended() => None,
            next = inbox.batches.recv() => next,
        };
        self.armed = false;
        Held { inbox, next }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut demand = lock(&self.shared.demand);
        demand.waiting -= 1;
        if self.armed && demand.waiting == 0 {
            demand.paused = true;
            self.shared.pause.notify_one();
        }
    }
}

/// A wait that the carrier ends itself: an event costs one wake-up, that of the loop.
struct Direct {
    waiting: Waiting,
    inbox: OwnedMutexGuard<Inbox>,
    promise: Promise,
    callbacks: Callbacks,
}

impl Direct {
    /// Takes what is there, or stays for what comes. Under one lock with the carrier's look for it, so that neither
    /// misses the other.
    fn wait(mut self, py: Python<'_>, shared: &Shared) {
        let next = {
            let mut direct = lock(&shared.direct);
            match self.inbox.returned.take().map_or_else(|| self.inbox.batches.try_recv(), Ok) {
                Ok(next) => Some(next),
                Err(TryRecvError::Disconnected) => None,
                Err(TryRecvError::Empty) => {
                    *direct = Some(self);
                    return;
                }
            }
        };
        let Self { mut waiting, inbox, promise, callbacks } = self;
        waiting.armed = false;
        promise.settle_here(py, |py| Held { inbox, next }.into_python(py, &callbacks));
    }

    fn deliver(self, next: Option<Next>) {
        let Self { mut waiting, inbox, promise, callbacks } = self;
        waiting.armed = false;
        drop(waiting);
        let held = Held { inbox, next };
        promise.settle(move |py| held.into_python(py, &callbacks));
    }
}

/// Ends the wait of a future that was cancelled.
#[pyclass(frozen, module = "everstream._native")]
struct Abandon(Owned<Arc<Shared>>);

#[pymethods]
impl Abandon {
    fn __call__(&self) {
        // Delivered meanwhile: then what was delivered goes back, as soon as the loop looks at it.
        let abandoned = self.0.here().and_then(|shared| lock(&shared.direct).take());
        drop(abandoned);
    }
}

struct CloseOnDrop(Option<Arc<Shared>>);

impl CloseOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.end();
        }
    }
}

/// The task behind a read.
struct Carrier {
    reader: CoreReader,
    shared: Arc<Shared>,
    batches: mpsc::Sender<Next>,
}

impl Carrier {
    async fn run(mut self, opened: oneshot::Sender<Result<()>>) {
        let shared = self.shared.clone();
        tokio::select! {
            biased;
            () = shared.ended() => {}
            () = self.carry(opened) => {}
        }
        // Nothing follows: in this order, so that whoever waits, or is about to, hears of it.
        drop(self);
        let last = lock(&shared.direct).take();
        if let Some(last) = last {
            last.deliver(None);
        }
    }

    async fn carry(&mut self, opened: oneshot::Sender<Result<()>>) {
        let result = self.reader.open().await;
        self.shared.publish(&self.reader);
        let failed = result.is_err();
        // The caller may have given up; then this task is dropped as well.
        let _ = opened.send(result);
        if failed {
            return;
        }
        loop {
            while lock(&self.shared.demand).paused {
                self.shared.resume.notified().await;
            }
            let next = tokio::select! {
                biased;
                () = self.shared.pause.notified() => {
                    self.reader.pause();
                    continue;
                }
                next = std::future::poll_fn(|context| {
                    let next = Pin::new(&mut self.reader).poll_next(context);
                    self.shared.publish(&self.reader);
                    next
                }) => next,
            };
            let Some(next) = next else { return };
            let next = next.map(Batch::new);
            if let Ok(batch) = &next
                && self.shared.json.load(Ordering::Relaxed)
            {
                batch.record();
            }
            if !hand_over(&self.shared, &self.batches, Box::new(next)).await {
                return;
            }
        }
    }
}

/// To whom waits, or into the channel; `false` when nobody can want it any more.
async fn hand_over(shared: &Shared, batches: &mpsc::Sender<Next>, next: Next) -> bool {
    let Ok(permit) = batches.reserve().await else { return false };
    let waiting = {
        let mut direct = lock(&shared.direct);
        match direct.take() {
            Some(waiting) => waiting,
            None => {
                permit.send(next);
                return true;
            }
        }
    };
    drop(permit);
    waiting.deliver(Some(next));
    true
}

impl Shared {
    fn publish(&self, reader: &CoreReader) {
        let Some(head) = reader.response() else { return };
        let mut known = lock(&self.head);
        if known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, head)) {
            *known = Some(head.clone());
            *lock(&self.content_type) = reader.content_type().map(str::to_owned);
            self.not_modified.store(reader.is_not_modified(), Ordering::Release);
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "the read was given up")
}
