//! Reading: a task that carries a read, and keeps a batch ahead of the caller.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use everstream::proto::content_type::StreamFormat;
use everstream::proto::names;
use everstream::proto::response::{KeptHead, ResponseHead};
use everstream::{Batch as CoreBatch, Reader as CoreReader, Result, Span};
use futures_util::StreamExt as _;
use js_sys::{Array, JsString, Object, Promise, Uint8Array};
use tokio::sync::Notify;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

use crate::body;
use crate::call::call;
use crate::error;
use crate::value::{nullable, object};

#[wasm_bindgen]
extern "C" {
    type TextDecoder;

    #[wasm_bindgen(constructor)]
    fn new(encoding: &str, options: &JsValue) -> TextDecoder;

    /// From memory of ours to a string, without a copy in between.
    #[wasm_bindgen(method, catch)]
    fn decode(this: &TextDecoder, bytes: &[u8]) -> std::result::Result<JsString, JsValue>;
}

thread_local! {
    // A mark at the beginning is data.
    static DECODER: TextDecoder = TextDecoder::new("utf-8", &object([("ignoreBOM", true.into())]));
}

/// A read under way.
#[wasm_bindgen]
pub struct Reader(Rc<Shared>);

struct Shared {
    state: RefCell<State>,
    /// The carrier has something to look at.
    wake: Notify,
    /// A batch came, or the end.
    came: Notify,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Result<CoreBatch>>,
    /// Somebody waits.
    wanted: bool,
    /// Whether the next batch is fetched while JavaScript works on the one before.
    ahead: bool,
    paused: bool,
    /// Closed by JavaScript.
    closed: bool,
    /// Nothing comes any more.
    ended: bool,
    head: Option<Arc<KeptHead>>,
    content_type: Option<String>,
    /// Whether the caller says that it is JSON.
    json: bool,
    not_modified: bool,
}

impl Reader {
    pub(crate) async fn open(mut core: CoreReader, json: bool, ahead: bool) -> Result<Self> {
        core.open().await?;
        let state = RefCell::new(State { json, ahead, ..State::default() });
        let shared = Rc::new(Shared { state, wake: Notify::new(), came: Notify::new() });
        shared.publish(&core);
        spawn_local(shared.clone().carry(core));
        Ok(Self(shared))
    }
}

#[wasm_bindgen]
impl Reader {
    /// The next batch; `null` at the end. One call at a time.
    pub fn next(&self) -> Promise {
        let shared = self.0.clone();
        call(None, async move { shared.next().await }, |batch| nullable(batch.map(Batch::part)))
    }

    /// The next batch if it is there already; `null` if it is not, at the end, and for errors: then ask `next`.
    #[wasm_bindgen(js_name = nextNow)]
    pub fn next_now(&self) -> JsValue {
        let mut state = self.0.state.borrow_mut();
        if !matches!(state.batches.front(), Some(Ok(_))) {
            return JsValue::NULL;
        }
        let batch = state.batches.pop_front().and_then(Result::ok);
        drop(state);
        self.0.wake.notify_waiters();
        nullable(batch.map(Batch::part))
    }

    /// All data up to the tail or the end as one batch; `null` if there is none. In place of `next`.
    pub fn whole(&self) -> Promise {
        let shared = self.0.clone();
        call(None, async move { shared.whole().await }, nullable)
    }

    /// Aborts the request and ends the read. Can be repeated.
    pub fn close(&self) {
        self.0.close();
    }

    /// Aborts the request; `resume` goes on from the same place.
    pub fn pause(&self) {
        self.0.state.borrow_mut().paused = true;
        self.0.wake.notify_waiters();
    }

    /// Goes on after a `pause`.
    pub fn resume(&self) {
        self.0.state.borrow_mut().paused = false;
        self.0.wake.notify_waiters();
    }

    /// There is no process that could end.
    #[wasm_bindgen(js_name = setHold)]
    pub fn set_hold(&self, _hold: bool) {}

    /// Status of the last answer.
    #[wasm_bindgen(getter)]
    pub fn status(&self) -> JsValue {
        nullable(self.head().map(|head| head.status.as_u16()))
    }

    /// What HTTP calls that status.
    #[wasm_bindgen(getter, js_name = statusText)]
    pub fn status_text(&self) -> JsValue {
        nullable(self.head().and_then(|head| reason(head.status.as_u16())))
    }

    /// Headers of the last answer.
    #[wasm_bindgen(getter)]
    pub fn headers(&self) -> Object {
        self.head().map_or_else(Object::new, |head| error::headers(&head.headers))
    }

    #[wasm_bindgen(getter, js_name = contentType)]
    pub fn content_type(&self) -> JsValue {
        nullable(self.0.state.borrow().content_type.as_deref())
    }

    /// Whether it is read as JSON.
    #[wasm_bindgen(getter, js_name = isJson)]
    pub fn is_json(&self) -> bool {
        let state = self.0.state.borrow();
        state.json || state.content_type.as_deref().is_some_and(|it| StreamFormat::of(it) == StreamFormat::Json)
    }

    /// What the last answer says of the position after its data, whether that is handed over or not.
    #[wasm_bindgen(getter)]
    pub fn position(&self) -> JsValue {
        let Some(head) = self.head() else { return object([]) };
        object([
            ("offset", nullable(head.next_offset().map(|offset| offset.to_string()))),
            ("upToDate", head.is_up_to_date().into()),
            ("closed", head.is_closed().into()),
            ("cursor", nullable(head.text(names::STREAM_CURSOR))),
        ])
    }

    #[wasm_bindgen(getter, js_name = notModified)]
    pub fn not_modified(&self) -> bool {
        self.0.state.borrow().not_modified
    }
}

/// The names of the statuses that streams and what is before them answer with: a page downloads a table of all.
fn reason(status: u16) -> Option<&'static str> {
    Some(match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => return None,
    })
}

impl Reader {
    /// Of the last answer.
    fn head(&self) -> Option<ResponseHead> {
        self.0.state.borrow().head.as_ref().map(|head| head.head())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    async fn next(&self) -> Result<Option<CoreBatch>> {
        loop {
            // Registered before the look, so that no batch is missed.
            let came = self.came.notified();
            {
                let mut state = self.state.borrow_mut();
                state.wanted = state.batches.is_empty();
                if let Some(next) = state.batches.pop_front() {
                    drop(state);
                    self.wake.notify_waiters();
                    return next.map(Some);
                }
                if state.ended || state.closed {
                    return Ok(None);
                }
            }
            self.wake.notify_waiters();
            came.await;
        }
    }

    async fn whole(&self) -> Result<Option<Batch>> {
        let mut whole = Vec::new();
        while let Some(batch) = self.next().await? {
            let done = batch.is_up_to_date();
            if done && whole.is_empty() {
                return Ok(Some(Batch::part(batch)));
            }
            whole.extend_from_slice(&batch.bytes());
            if done {
                return Ok(Some(Batch {
                    data: RefCell::new(Data::Whole(whole.into())),
                    empty: false,
                    ..Batch::part(batch)
                }));
            }
        }
        Ok(None)
    }

    fn close(&self) {
        self.state.borrow_mut().closed = true;
        self.wake.notify_waiters();
        self.came.notify_waiters();
    }

    /// The task behind a read.
    async fn carry(self: Rc<Self>, mut core: CoreReader) {
        let mut caught_up = false;
        loop {
            self.until(|state| state.closed || state.paused || state.wants_more(caught_up)).await;
            if self.state.borrow().paused {
                core.pause();
                self.until(|state| state.closed || !state.paused).await;
            }
            if self.state.borrow().closed {
                break;
            }
            let next = tokio::select! {
                biased;
                () = self.until(|state| state.closed || state.paused) => continue,
                next = std::future::poll_fn(|context| {
                    let next = core.poll_next_unpin(context);
                    // Answers without data are told of as well, while somebody still waits.
                    self.publish(&core);
                    next
                }) => next,
            };
            let Some(next) = next else { break };
            caught_up = next.as_ref().is_ok_and(CoreBatch::is_up_to_date);
            let failed = next.is_err();
            self.state.borrow_mut().batches.push_back(next);
            self.came.notify_waiters();
            if failed {
                break;
            }
        }
        // The request is aborted before anybody hears of the end.
        drop(core);
        self.state.borrow_mut().ended = true;
        self.came.notify_waiters();
    }

    /// Ready once the state is as asked.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let changed = self.wake.notified();
            if holds(&self.state.borrow()) {
                return;
            }
            changed.await;
        }
    }

    fn publish(&self, core: &CoreReader) {
        let Some(head) = core.response() else { return };
        let mut state = self.state.borrow_mut();
        if state.head.as_ref().is_none_or(|known| !Arc::ptr_eq(known, head)) {
            state.head = Some(head.clone());
            state.content_type = core.content_type().map(str::to_owned);
            state.not_modified = core.is_not_modified();
        }
    }
}

impl State {
    fn wants_more(&self, caught_up: bool) -> bool {
        if self.ahead && !caught_up {
            // One that somebody waits for is as good as taken: the next request leaves before JavaScript works on it.
            self.batches.len() <= usize::from(self.wanted)
        } else {
            self.batches.is_empty() && self.wanted
        }
    }
}

/// Where data leaves the reader, and the data until somebody takes it: what JavaScript has is not kept here as well.
#[wasm_bindgen]
pub struct Batch {
    data: RefCell<Data>,
    span: Span,
    json: bool,
    empty: bool,
    offset: Option<String>,
    cursor: Option<String>,
    etag: Option<String>,
    up_to_date: bool,
    closed: bool,
    last: bool,
}

#[derive(Default)]
enum Data {
    #[default]
    Taken,
    Part(CoreBatch),
    Whole(Bytes),
}

impl Data {
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Taken => Bytes::new(),
            Self::Part(batch) => batch.bytes(),
            Self::Whole(bytes) => bytes,
        }
    }
}

#[wasm_bindgen]
impl Batch {
    /// The data as text; of a JSON stream one array. Once.
    ///
    /// # Errors
    /// None: this decoder takes anything.
    pub fn text(&self) -> std::result::Result<JsString, JsValue> {
        DECODER.with(|decoder| decoder.decode(&self.data.take().into_bytes()))
    }

    /// The messages, where they were parsed on the way; in place of `text` and `bytes`.
    pub fn parsed(&self) -> Option<Array> {
        let mut data = self.data.borrow_mut();
        let Data::Part(batch) = &*data else { return None };
        let parsed = body::take_parsed(batch)?;
        *data = Data::Taken;
        Some(parsed)
    }

    /// The data as bytes; of a JSON stream one array. Once.
    pub fn bytes(&self) -> Uint8Array {
        Uint8Array::from(&*self.data.take().into_bytes())
    }

    #[wasm_bindgen(getter, js_name = isJson)]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether there is no data in it.
    #[wasm_bindgen(getter, js_name = isEmpty)]
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// Messages of a JSON stream, bytes of any other.
    #[wasm_bindgen(getter)]
    pub fn units(&self) -> f64 {
        self.span.units() as f64
    }

    /// The offset just after it; `null` in the middle of one long answer.
    #[wasm_bindgen(getter)]
    pub fn offset(&self) -> JsValue {
        nullable(self.offset.as_deref())
    }

    #[wasm_bindgen(getter)]
    pub fn cursor(&self) -> JsValue {
        nullable(self.cursor.as_deref())
    }

    #[wasm_bindgen(getter)]
    pub fn etag(&self) -> JsValue {
        nullable(self.etag.as_deref())
    }

    #[wasm_bindgen(getter, js_name = upToDate)]
    pub fn up_to_date(&self) -> bool {
        self.up_to_date
    }

    #[wasm_bindgen(getter)]
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Whether nothing follows it.
    #[wasm_bindgen(getter)]
    pub fn last(&self) -> bool {
        self.last
    }

    /// The JSON form of the checkpoint after it, or after so many of its units.
    pub fn checkpoint(&self, units: Option<f64>) -> String {
        self.span.checkpoint_at(units.map_or(u64::MAX, |units| units as u64)).to_json()
    }
}

impl Batch {
    fn part(batch: CoreBatch) -> Self {
        Self {
            span: batch.span(),
            json: batch.is_json(),
            empty: batch.is_empty(),
            offset: batch.offset().map(|it| it.to_string()),
            cursor: batch.cursor().map(str::to_owned),
            etag: batch.etag().map(str::to_owned),
            up_to_date: batch.is_up_to_date(),
            closed: batch.is_closed(),
            last: batch.is_last(),
            data: RefCell::new(Data::Part(batch)),
        }
    }
}
