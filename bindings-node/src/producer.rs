//! The producer, and the receipts of its messages.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use everstream::{Delivery as CoreDelivery, Error, ErrorKind, Producer as CoreProducer, Receipt};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use tokio::sync::{mpsc, oneshot};

use crate::abort::Abort;
use crate::call::call;
use crate::data::Data;
use crate::error;
use crate::runtime::{lock, runtime};
use crate::value::Raw;

/// Appends messages so that each is stored exactly once, in order.
#[napi]
pub struct Producer {
    core: CoreProducer,
    /// Of the message before.
    last: Option<CoreDelivery>,
    overflow: Arc<Overflow>,
}

/// Messages that came when the buffer was full. They wait for space in the order of the calls, and what comes after them
/// waits behind them.
struct Overflow {
    waiting: AtomicUsize,
    queue: Mutex<Option<mpsc::UnboundedSender<Late>>>,
}

enum Late {
    Message(Bytes, bool, oneshot::Sender<everstream::Result<CoreDelivery>>),
    /// Everything before it was taken.
    Fence(oneshot::Sender<()>),
}

impl Producer {
    pub(crate) fn new(core: CoreProducer) -> Self {
        let overflow = Overflow { waiting: AtomicUsize::new(0), queue: Mutex::default() };
        Self { core, last: None, overflow: Arc::new(overflow) }
    }

    fn try_take(&self, data: &[u8], json: bool) -> everstream::Result<CoreDelivery> {
        if self.overflow.waiting.load(Ordering::Acquire) > 0 {
            return Err(Error::new(ErrorKind::BufferFull, "other messages wait for space in the buffer"));
        }
        if json { self.core.try_append_json_text(data) } else { self.core.try_append(data) }
    }

    /// Takes a message, or has it wait for space. Its delivery, or `None` when that is the one of the message before.
    fn take(&mut self, data: Bytes, json: bool) -> everstream::Result<Option<Delivery>> {
        match self.try_take(&data, json) {
            Ok(taken) => {
                if self.last.as_ref().is_some_and(|last| last.shares_outcome(&taken)) {
                    return Ok(None);
                }
                self.last = Some(taken.clone());
                Ok(Some(Delivery::of(taken)))
            }
            Err(full) if *full.kind() == ErrorKind::BufferFull => {
                let (sender, receiver) = oneshot::channel();
                self.overflow.waiting.fetch_add(1, Ordering::AcqRel);
                self.late(Late::Message(data, json, sender));
                self.last = None;
                Ok(Some(Delivery(Mutex::new(Fate::Late(receiver)))))
            }
            Err(refused) => Err(refused),
        }
    }

    /// Ready once all that waits for space now was taken.
    fn after_overflow(&self) -> impl Future<Output = ()> + Send + use<> {
        let fence = (self.overflow.waiting.load(Ordering::Acquire) > 0).then(|| {
            let (sender, receiver) = oneshot::channel();
            self.late(Late::Fence(sender));
            receiver
        });
        async move {
            if let Some(fence) = fence {
                // Dropped with the queue: then nothing waits.
                let _ = fence.await;
            }
        }
    }

    fn late(&self, late: Late) {
        let mut queue = lock(&self.overflow.queue);
        let late = match &*queue {
            Some(sender) => match sender.send(late) {
                Ok(()) => return,
                Err(refused) => refused.0,
            },
            None => late,
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        // The channel is new, and its other end is here.
        let _ = sender.send(late);
        *queue = Some(sender);
        drop(queue);
        if let Ok(runtime) = runtime() {
            runtime.spawn(take_late(self.core.clone(), receiver, self.overflow.clone()));
        }
    }
}

async fn take_late(core: CoreProducer, mut queue: mpsc::UnboundedReceiver<Late>, overflow: Arc<Overflow>) {
    while let Some(late) = queue.recv().await {
        match late {
            Late::Message(data, json, taken) => {
                let result = if json { core.append_json_text(&data).await } else { core.append(&data).await };
                overflow.waiting.fetch_sub(1, Ordering::AcqRel);
                // Nobody has to want to know.
                let _ = taken.send(result);
            }
            Late::Fence(passed) => {
                let _ = passed.send(());
            }
        }
    }
}

#[napi]
impl Producer {
    /// Takes a message. Gives its delivery, or `null` when it has the same one as the message before.
    #[napi(catch_unwind)]
    pub fn append(
        &mut self,
        env: Env,
        #[napi(ts_arg_type = "string | Uint8Array")] data: Data,
        json: bool,
    ) -> napi::Result<Option<Delivery>> {
        self.take(data.0, json).map_err(|refused| error::throw(env, &refused))
    }

    /// Takes messages of a JSON stream, one in each line. What is refused is told by its delivery, and by the next flush.
    #[napi(catch_unwind, ts_return_type = "Taken")]
    pub fn append_lines(&mut self, env: Env, #[napi(ts_arg_type = "string")] lines: Data) -> napi::Result<Raw> {
        let (lines, mut deliveries, mut refused) = (lines.0, Vec::<(Option<Delivery>, u32)>::new(), false);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &lines).chain([lines.len()]) {
            let delivery = self.take(lines.slice(start..end), true).unwrap_or_else(|error| {
                refused = true;
                self.last = None;
                self.core.note_refused(error.clone());
                Some(Delivery(Mutex::new(Fate::Refused(error))))
            });
            match (delivery, deliveries.last_mut()) {
                (None, Some((_, messages))) => *messages += 1,
                (delivery, _) => deliveries.push((delivery, 1)),
            }
            start = end + 1;
        }
        taken(env, deliveries, refused)
    }

    /// Whether the stream is known to be JSON.
    #[napi(getter, catch_unwind)]
    pub fn is_json(&self) -> bool {
        self.core.is_json() == Some(true)
    }

    /// The same, or `BUFFER_FULL`.
    #[napi(catch_unwind)]
    pub fn try_append(
        &mut self,
        env: Env,
        #[napi(ts_arg_type = "string | Uint8Array")] data: Data,
        json: bool,
    ) -> napi::Result<Delivery> {
        let taken = self.try_take(&data.0, json).map_err(|refused| error::throw(env, &refused))?;
        Ok(Delivery::of(taken))
    }

    /// Done once all that was appended so far has its place in the buffer.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn ready(&self, env: Env, abort: Option<&Abort>) -> napi::Result<Raw> {
        let after = self.after_overflow();
        let ready = async move {
            after.await;
            Ok(())
        };
        call(env, abort, ready, |env, ()| error::nothing(env))
    }

    /// Whether `append` would have to wait for space.
    #[napi(getter, catch_unwind)]
    pub fn is_full(&self) -> bool {
        self.overflow.waiting.load(Ordering::Acquire) > 0
    }

    /// Has everything sent without lingering, and waits for nothing.
    #[napi(catch_unwind)]
    pub fn hurry(&self) {
        self.core.hurry();
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Flushed>")]
    pub fn flush(&self, env: Env, abort: Option<&Abort>) -> napi::Result<Raw> {
        let (core, after) = (self.core.clone(), self.after_overflow());
        let flush = async move {
            after.await;
            core.flush().await
        };
        call(env, abort, flush, flushed)
    }

    /// Flushes and takes no more messages; the stream stays open.
    #[napi(catch_unwind, ts_return_type = "Promise<Flushed>")]
    pub fn detach(&self, env: Env) -> napi::Result<Raw> {
        let (core, after) = (self.core.clone(), self.after_overflow());
        let detach = async move {
            after.await;
            core.detach().await
        };
        call(env, None, detach, flushed)
    }

    /// Flushes, then closes the stream for everyone.
    #[napi(catch_unwind, ts_return_type = "Promise<Receipt>")]
    pub fn close(
        &self,
        env: Env,
        #[napi(ts_arg_type = "string | Uint8Array | undefined | null")] data: Option<Data>,
        abort: Option<&Abort>,
    ) -> napi::Result<Raw> {
        let (core, after) = (self.core.clone(), self.after_overflow());
        let close = async move {
            after.await;
            core.close(data.as_ref().map(|data| &*data.0)).await
        };
        call(env, abort, close, receipt)
    }

    /// Gives up what is not settled, and takes no more messages.
    #[napi(catch_unwind)]
    pub fn abort(&self) {
        self.core.abort(Error::new(ErrorKind::Cancelled, "the producer was aborted"));
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn restart(&self, env: Env) -> napi::Result<Raw> {
        let (core, after) = (self.core.clone(), self.after_overflow());
        let restart = async move {
            after.await;
            core.restart().await
        };
        call(env, None, restart, |env, ()| error::nothing(env))
    }

    #[napi(getter, catch_unwind)]
    pub fn epoch(&self) -> f64 {
        self.core.epoch() as f64
    }

    #[napi(getter, catch_unwind)]
    pub fn next_seq(&self) -> f64 {
        self.core.next_seq() as f64
    }

    #[napi(getter, catch_unwind)]
    pub fn pending_count(&self) -> f64 {
        self.core.pending_messages() as f64 + self.overflow.waiting.load(Ordering::Acquire) as f64
    }

    #[napi(getter, catch_unwind)]
    pub fn in_flight_count(&self) -> f64 {
        self.core.in_flight() as f64
    }

    #[napi(getter, catch_unwind)]
    pub fn buffered_bytes(&self) -> f64 {
        self.core.buffered_bytes() as f64
    }

    #[napi(getter, catch_unwind)]
    pub fn last_offset(&self) -> Option<String> {
        self.core.last_offset().map(|it| it.to_string())
    }
}

/// What became of a message, and of those that share its batch.
#[napi]
pub struct Delivery(Mutex<Fate>);

impl Delivery {
    fn of(taken: CoreDelivery) -> Self {
        Self(Mutex::new(Fate::Taken(taken)))
    }
}

enum Fate {
    Taken(CoreDelivery),
    Late(oneshot::Receiver<everstream::Result<CoreDelivery>>),
    Refused(Error),
    /// Somebody waits for it.
    Asked,
}

#[napi]
impl Delivery {
    /// The receipt. To be called once.
    #[napi(catch_unwind, ts_return_type = "Promise<Receipt>")]
    pub fn wait(&self, env: Env) -> napi::Result<Raw> {
        let fate = std::mem::replace(&mut *lock(&self.0), Fate::Asked);
        let wait = async move {
            let gone = |_| Err(Error::new(ErrorKind::Cancelled, "the producer is gone"));
            match fate {
                Fate::Taken(delivery) => delivery.wait().await,
                Fate::Late(taken) => taken.await.unwrap_or_else(gone)?.wait().await,
                Fate::Refused(error) => Err(error),
                Fate::Asked => Err(Error::new(ErrorKind::Internal, "a delivery was waited for twice")),
            }
        };
        call(env, None, wait, receipt)
    }
}

fn receipt(env: Env, receipt: Receipt) -> napi::Result<Raw> {
    let mut it = Object::new(&env)?;
    it.set("offset", receipt.offset.as_ref().map(everstream::Offset::as_str))?;
    it.set("duplicate", receipt.duplicate)?;
    it.set("closed", receipt.closed)?;
    Raw::of(env, it)
}

fn flushed(env: Env, flushed: everstream::Flushed) -> napi::Result<Raw> {
    let mut it = Object::new(&env)?;
    it.set("offset", flushed.offset.as_ref().map(everstream::Offset::as_str))?;
    it.set("messages", flushed.messages as f64)?;
    it.set("duplicates", flushed.duplicates as f64)?;
    Raw::of(env, it)
}

fn taken(env: Env, deliveries: Vec<(Option<Delivery>, u32)>, refused: bool) -> napi::Result<Raw> {
    let mut end = 0;
    let mut entries = Vec::with_capacity(deliveries.len());
    for (delivery, messages) in deliveries {
        end += messages;
        let mut it = Object::new(&env)?;
        it.set("delivery", delivery)?;
        it.set("end", end)?;
        entries.push(it);
    }
    let mut it = Object::new(&env)?;
    it.set("deliveries", entries)?;
    it.set("refused", refused)?;
    Raw::of(env, it)
}
