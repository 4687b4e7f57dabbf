//! The producer, and the receipts of its messages.

use everstream::{Delivery as CoreDelivery, Error, ErrorKind, Producer as CoreProducer, Queued, Receipt};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;

use crate::abort::Abort;
use crate::call::call;
use crate::data::Data;
use crate::error;
use crate::value::Raw;

/// Appends messages so that each is stored exactly once, in order.
#[napi]
pub struct Producer {
    core: CoreProducer,
    /// Of the message before.
    last: Option<CoreDelivery>,
}

impl Producer {
    pub(crate) fn new(core: CoreProducer) -> Self {
        Self { core, last: None }
    }

    /// Takes a message. Its delivery, or `None` when that is the one of the message before.
    fn take(&mut self, data: &[u8], json: bool) -> everstream::Result<Option<Delivery>> {
        let taken = if json { self.core.queue_json_text(data) } else { self.core.queue(data) }?;
        Ok(self.unless_last(taken))
    }

    /// The delivery, unless it is the one of the message before.
    fn unless_last(&mut self, delivery: CoreDelivery) -> Option<Delivery> {
        let is_last = self.last.as_ref().is_some_and(|last| last.shares_outcome(&delivery));
        (!is_last).then(|| Delivery(self.last.insert(delivery).clone()))
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
        self.take(&data.0, json).map_err(|refused| error::throw(env, &refused))
    }

    /// Takes messages of a JSON stream, one in each line. What is refused is told by its delivery, and by the next flush.
    #[napi(catch_unwind, ts_return_type = "Taken")]
    pub fn append_lines(&mut self, env: Env, #[napi(ts_arg_type = "string")] lines: Data) -> napi::Result<Raw> {
        let queued = self.core.queue_json_lines(&lines.0);
        let mut it = Object::new(&env)?;
        it.set("refused", queued.iter().any(|it| it.refused))?;
        let mut end = 0;
        let mut deliveries = Vec::with_capacity(queued.len());
        for Queued { delivery, messages, .. } in queued {
            end += messages;
            let mut it = Object::new(&env)?;
            it.set("delivery", self.unless_last(delivery))?;
            it.set("end", end as f64)?;
            deliveries.push(it);
        }
        it.set("deliveries", deliveries)?;
        Raw::of(env, it)
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
        let taken = if json { self.core.try_append_json_text(&data.0) } else { self.core.try_append(&data.0) };
        taken.map(Delivery).map_err(|refused| error::throw(env, &refused))
    }

    /// Done once all that was appended so far has its place in the buffer.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn ready(&self, env: Env, abort: Option<&Abort>) -> napi::Result<Raw> {
        let core = self.core.clone();
        let ready = async move {
            core.ready().await;
            Ok(())
        };
        call(env, abort, ready, |env, ()| error::nothing(env))
    }

    /// Whether `append` would have to wait for space.
    #[napi(getter, catch_unwind)]
    pub fn is_full(&self) -> bool {
        self.core.is_full()
    }

    /// Has everything sent without lingering, and waits for nothing.
    #[napi(catch_unwind)]
    pub fn hurry(&self) {
        self.core.hurry();
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Flushed>")]
    pub fn flush(&self, env: Env, abort: Option<&Abort>) -> napi::Result<Raw> {
        let core = self.core.clone();
        let flush = async move { core.flush().await };
        call(env, abort, flush, flushed)
    }

    /// Flushes and takes no more messages; the stream stays open.
    #[napi(catch_unwind, ts_return_type = "Promise<Flushed>")]
    pub fn detach(&self, env: Env) -> napi::Result<Raw> {
        let core = self.core.clone();
        let detach = async move { core.detach().await };
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
        let core = self.core.clone();
        let close = async move { core.close(data.as_ref().map(|data| &*data.0)).await };
        call(env, abort, close, receipt)
    }

    /// Gives up what is not settled, and takes no more messages.
    #[napi(catch_unwind)]
    pub fn abort(&self) {
        self.core.abort(Error::new(ErrorKind::Cancelled, "the producer was aborted"));
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn restart(&self, env: Env) -> napi::Result<Raw> {
        let core = self.core.clone();
        let restart = async move { core.restart().await };
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
        self.core.pending_messages() as f64
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
pub struct Delivery(CoreDelivery);

#[napi]
impl Delivery {
    /// The receipt.
    #[napi(catch_unwind, ts_return_type = "Promise<Receipt>")]
    pub fn wait(&self, env: Env) -> napi::Result<Raw> {
        let delivery = self.0.clone();
        call(env, None, async move { delivery.wait().await }, receipt)
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
