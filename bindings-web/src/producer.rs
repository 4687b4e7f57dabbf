//! The producer, and the receipts of its messages.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use everstream::{Delivery as CoreDelivery, Error, ErrorKind, Producer as CoreProducer, Receipt};
use js_sys::{Array, Promise};
use tokio::sync::{mpsc, oneshot};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

use crate::abort::Abort;
use crate::call::call;
use crate::error;
use crate::value::{data, nullable, object, optional_data};

/// Appends messages so that each is stored exactly once, in order.
#[wasm_bindgen]
pub struct Producer {
    core: CoreProducer,
    /// Of the message before.
    last: RefCell<Option<CoreDelivery>>,
    overflow: Rc<Overflow>,
}

/// Messages that came when the buffer was full. They wait for space in the order of the calls, and what comes after them
/// waits behind them.
#[derive(Default)]
struct Overflow {
    waiting: Cell<usize>,
    queue: RefCell<Option<mpsc::UnboundedSender<Late>>>,
}

enum Late {
    Message(Bytes, bool, oneshot::Sender<everstream::Result<CoreDelivery>>),
    /// Everything before it was taken.
    Fence(oneshot::Sender<()>),
}

impl Producer {
    pub(crate) fn new(core: CoreProducer) -> Self {
        Self { core, last: RefCell::default(), overflow: Rc::default() }
    }

    fn try_take(&self, message: &[u8], json: bool) -> everstream::Result<CoreDelivery> {
        if self.overflow.waiting.get() > 0 {
            return Err(Error::new(ErrorKind::BufferFull, "other messages wait for space in the buffer"));
        }
        if json { self.core.try_append_json_text(message) } else { self.core.try_append(message) }
    }

    /// Takes a message, or has it wait for space. Its delivery, or `None` when that is the one of the message before.
    fn take(&self, message: Bytes, json: bool) -> everstream::Result<Option<Delivery>> {
        match self.try_take(&message, json) {
            Ok(taken) => {
                if self.last.borrow().as_ref().is_some_and(|last| last.shares_outcome(&taken)) {
                    return Ok(None);
                }
                self.last.replace(Some(taken.clone()));
                Ok(Some(Delivery(Cell::new(Fate::Taken(taken)))))
            }
            Err(full) if *full.kind() == ErrorKind::BufferFull => {
                let (sender, receiver) = oneshot::channel();
                self.overflow.waiting.set(self.overflow.waiting.get() + 1);
                self.late(Late::Message(message, json, sender));
                self.last.take();
                Ok(Some(Delivery(Cell::new(Fate::Late(receiver)))))
            }
            Err(refused) => Err(refused),
        }
    }

    /// Ready once all that waits for space now was taken.
    fn after_overflow(&self) -> impl Future<Output = ()> + use<> {
        let fence = (self.overflow.waiting.get() > 0).then(|| {
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
        let mut queue = self.overflow.queue.borrow_mut();
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
        spawn_local(take_late(self.core.clone(), receiver, self.overflow.clone()));
    }
}

async fn take_late(core: CoreProducer, mut queue: mpsc::UnboundedReceiver<Late>, overflow: Rc<Overflow>) {
    while let Some(late) = queue.recv().await {
        match late {
            Late::Message(message, json, taken) => {
                let result = if json { core.append_json_text(&message).await } else { core.append(&message).await };
                overflow.waiting.set(overflow.waiting.get() - 1);
                // Nobody has to want to know.
                let _ = taken.send(result);
            }
            Late::Fence(passed) => {
                let _ = passed.send(());
            }
        }
        // The producer may be gone meanwhile: with the last message the queue goes as well.
        if queue.is_empty() {
            overflow.queue.take();
        }
    }
}

#[wasm_bindgen]
impl Producer {
    /// Takes a message. Gives its delivery, or `null` when it has the same one as the message before.
    ///
    /// # Errors
    /// Why the message was not taken.
    pub fn append(&self, message: &JsValue, json: bool) -> Result<Option<Delivery>, JsValue> {
        self.take(data(message)?, json).map_err(|refused| error::value(&refused))
    }

    /// Takes messages of a JSON stream, one in each line. What is refused is told by its delivery, and by the next flush.
    #[wasm_bindgen(js_name = appendLines)]
    pub fn append_lines(&self, lines: String) -> JsValue {
        let (lines, mut deliveries, mut refused) = (Bytes::from(lines), Vec::<(Option<Delivery>, u32)>::new(), false);
        let mut start = 0;
        for line in lines.split(|byte| *byte == b'\n') {
            let end = start + line.len();
            let delivery = self.take(lines.slice(start..end), true).unwrap_or_else(|error| {
                refused = true;
                self.last.take();
                self.core.note_refused(error.clone());
                Some(Delivery(Cell::new(Fate::Refused(error))))
            });
            match (delivery, deliveries.last_mut()) {
                (None, Some((_, messages))) => *messages += 1,
                (delivery, _) => deliveries.push((delivery, 1)),
            }
            start = end + 1;
        }
        taken(deliveries, refused)
    }

    /// Whether the stream is known to be JSON.
    #[wasm_bindgen(getter, js_name = isJson)]
    pub fn is_json(&self) -> bool {
        self.core.is_json() == Some(true)
    }

    /// The same, or `BUFFER_FULL`.
    ///
    /// # Errors
    /// Why the message was not taken.
    #[wasm_bindgen(js_name = tryAppend)]
    pub fn try_append(&self, message: &JsValue, json: bool) -> Result<Delivery, JsValue> {
        let taken = self.try_take(&data(message)?, json).map_err(|refused| error::value(&refused))?;
        Ok(Delivery(Cell::new(Fate::Taken(taken))))
    }

    /// Done once all that was appended so far has its place in the buffer.
    pub fn ready(&self, abort: Option<Abort>) -> Promise {
        let after = self.after_overflow();
        let ready = async move {
            after.await;
            Ok(())
        };
        call(abort.as_ref(), ready, |()| JsValue::UNDEFINED)
    }

    /// Whether `append` would have to wait for space.
    #[wasm_bindgen(getter, js_name = isFull)]
    pub fn is_full(&self) -> bool {
        self.overflow.waiting.get() > 0
    }

    /// Has everything sent without lingering, and waits for nothing.
    pub fn hurry(&self) {
        self.core.hurry();
    }

    pub fn flush(&self, abort: Option<Abort>) -> Promise {
        let (core, after) = (self.core.clone(), self.after_overflow());
        let flush = async move {
            after.await;
            core.flush().await
        };
        call(abort.as_ref(), flush, flushed)
    }

    /// Flushes and takes no more messages; the stream stays open.
    pub fn detach(&self) -> Promise {
        let (core, after) = (self.core.clone(), self.after_overflow());
        let detach = async move {
            after.await;
            core.detach().await
        };
        call(None, detach, flushed)
    }

    /// Flushes, then closes the stream for everyone.
    ///
    /// # Errors
    /// A `TypeError` for what is no data.
    pub fn close(&self, message: &JsValue, abort: Option<Abort>) -> Result<Promise, JsValue> {
        let message = optional_data(message)?;
        let (core, after) = (self.core.clone(), self.after_overflow());
        let close = async move {
            after.await;
            core.close(message.as_deref()).await
        };
        Ok(call(abort.as_ref(), close, receipt))
    }

    /// Gives up what is not settled, and takes no more messages.
    pub fn abort(&self) {
        self.core.abort(Error::new(ErrorKind::Cancelled, "the producer was aborted"));
    }

    pub fn restart(&self) -> Promise {
        let (core, after) = (self.core.clone(), self.after_overflow());
        let restart = async move {
            after.await;
            core.restart().await
        };
        call(None, restart, |()| JsValue::UNDEFINED)
    }

    #[wasm_bindgen(getter)]
    pub fn epoch(&self) -> f64 {
        self.core.epoch() as f64
    }

    #[wasm_bindgen(getter, js_name = nextSeq)]
    pub fn next_seq(&self) -> f64 {
        self.core.next_seq() as f64
    }

    #[wasm_bindgen(getter, js_name = pendingCount)]
    pub fn pending_count(&self) -> f64 {
        self.core.pending_messages() as f64 + self.overflow.waiting.get() as f64
    }

    #[wasm_bindgen(getter, js_name = inFlightCount)]
    pub fn in_flight_count(&self) -> f64 {
        self.core.in_flight() as f64
    }

    #[wasm_bindgen(getter, js_name = bufferedBytes)]
    pub fn buffered_bytes(&self) -> f64 {
        self.core.buffered_bytes() as f64
    }

    #[wasm_bindgen(getter, js_name = lastOffset)]
    pub fn last_offset(&self) -> JsValue {
        nullable(self.core.last_offset().map(|it| it.to_string()))
    }
}

/// What became of a message, and of those that share its batch.
#[wasm_bindgen]
pub struct Delivery(Cell<Fate>);

#[derive(Default)]
enum Fate {
    Taken(CoreDelivery),
    Late(oneshot::Receiver<everstream::Result<CoreDelivery>>),
    Refused(Error),
    /// Somebody waits for it.
    #[default]
    Asked,
}

#[wasm_bindgen]
impl Delivery {
    /// The receipt. To be called once.
    pub fn wait(&self) -> Promise {
        let fate = self.0.take();
        let wait = async move {
            let gone = |_| Err(Error::new(ErrorKind::Cancelled, "the producer is gone"));
            match fate {
                Fate::Taken(delivery) => delivery.wait().await,
                Fate::Late(taken) => taken.await.unwrap_or_else(gone)?.wait().await,
                Fate::Refused(error) => Err(error),
                Fate::Asked => Err(Error::new(ErrorKind::Internal, "a delivery was waited for twice")),
            }
        };
        call(None, wait, receipt)
    }
}

fn receipt(receipt: Receipt) -> JsValue {
    object([
        ("offset", nullable(receipt.offset.as_ref().map(everstream::Offset::as_str))),
        ("duplicate", receipt.duplicate.into()),
        ("closed", receipt.closed.into()),
    ])
}

fn flushed(flushed: everstream::Flushed) -> JsValue {
    object([
        ("offset", nullable(flushed.offset.as_ref().map(everstream::Offset::as_str))),
        ("messages", (flushed.messages as f64).into()),
        ("duplicates", (flushed.duplicates as f64).into()),
    ])
}

fn taken(deliveries: Vec<(Option<Delivery>, u32)>, refused: bool) -> JsValue {
    let mut end = 0;
    let entries = deliveries.into_iter().map(|(delivery, messages)| {
        end += messages;
        object([("delivery", nullable(delivery)), ("end", end.into())])
    });
    let entries = entries.collect::<Array>();
    object([("deliveries", entries.into()), ("refused", refused.into())])
}
