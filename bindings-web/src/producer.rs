//! The producer, and the receipts of its messages.

use std::cell::RefCell;

use everstream::{Delivery as CoreDelivery, Error, ErrorKind, Producer as CoreProducer, Queued, Receipt};
use js_sys::{Array, Promise};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

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
}

impl Producer {
    pub(crate) fn new(core: CoreProducer) -> Self {
        Self { core, last: RefCell::default() }
    }

    /// Takes a message. Its delivery, or `None` when that is the one of the message before.
    fn take(&self, message: &[u8], json: bool) -> everstream::Result<Option<Delivery>> {
        let taken = if json { self.core.queue_json_text(message) } else { self.core.queue(message) }?;
        Ok(self.unless_last(taken))
    }

    /// The delivery, unless it is the one of the message before.
    fn unless_last(&self, delivery: CoreDelivery) -> Option<Delivery> {
        let mut last = self.last.borrow_mut();
        let is_last = last.as_ref().is_some_and(|last| last.shares_outcome(&delivery));
        (!is_last).then(|| Delivery(last.insert(delivery).clone()))
    }
}

#[wasm_bindgen]
impl Producer {
    /// Takes a message. Gives its delivery, or `null` when it has the same one as the message before.
    ///
    /// # Errors
    /// Why the message was not taken.
    pub fn append(&self, message: &JsValue, json: bool) -> Result<Option<Delivery>, JsValue> {
        self.take(&data(message)?, json).map_err(|refused| error::value(&refused))
    }

    /// Takes messages of a JSON stream, one in each line. What is refused is told by its delivery, and by the next flush.
    #[wasm_bindgen(js_name = appendLines)]
    pub fn append_lines(&self, lines: String) -> JsValue {
        let queued = self.core.queue_json_lines(lines);
        let refused = queued.iter().any(|it| it.refused);
        let mut end = 0;
        let entries = queued.into_iter().map(|Queued { delivery, messages, .. }| {
            end += messages;
            object([("delivery", nullable(self.unless_last(delivery))), ("end", (end as f64).into())])
        });
        let entries = entries.collect::<Array>();
        object([("deliveries", entries.into()), ("refused", refused.into())])
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
        let message = data(message)?;
        let taken = if json { self.core.try_append_json_text(&message) } else { self.core.try_append(&message) };
        taken.map(Delivery).map_err(|refused| error::value(&refused))
    }

    /// Done once all that was appended so far has its place in the buffer.
    pub fn ready(&self, abort: Option<Abort>) -> Promise {
        let core = self.core.clone();
        let ready = async move {
            core.ready().await;
            Ok(())
        };
        call(abort.as_ref(), ready, |()| JsValue::UNDEFINED)
    }

    /// Whether `append` would have to wait for space.
    #[wasm_bindgen(getter, js_name = isFull)]
    pub fn is_full(&self) -> bool {
        self.core.is_full()
    }

    /// Has everything sent without lingering, and waits for nothing.
    pub fn hurry(&self) {
        self.core.hurry();
    }

    pub fn flush(&self, abort: Option<Abort>) -> Promise {
        let core = self.core.clone();
        let flush = async move { core.flush().await };
        call(abort.as_ref(), flush, flushed)
    }

    /// Flushes and takes no more messages; the stream stays open.
    pub fn detach(&self) -> Promise {
        let core = self.core.clone();
        let detach = async move { core.detach().await };
        call(None, detach, flushed)
    }

    /// Flushes, then closes the stream for everyone.
    ///
    /// # Errors
    /// A `TypeError` for what is no data.
    pub fn close(&self, message: &JsValue, abort: Option<Abort>) -> Result<Promise, JsValue> {
        let message = optional_data(message)?;
        let core = self.core.clone();
        let close = async move { core.close(message.as_deref()).await };
        Ok(call(abort.as_ref(), close, receipt))
    }

    /// Gives up what is not settled, and takes no more messages.
    pub fn abort(&self) {
        self.core.abort(Error::new(ErrorKind::Cancelled, "the producer was aborted"));
    }

    pub fn restart(&self) -> Promise {
        let core = self.core.clone();
        let restart = async move { core.restart().await };
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
        self.core.pending_messages() as f64
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
pub struct Delivery(CoreDelivery);

#[wasm_bindgen]
impl Delivery {
    /// The receipt.
    pub fn wait(&self) -> Promise {
        let delivery = self.0.clone();
        call(None, async move { delivery.wait().await }, receipt)
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
