//! Reading: a task that carries a read, and hands batches to JavaScript.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use everstream::proto::content_type::StreamFormat;
use everstream::proto::names;
use everstream::proto::response::{KeptHead, ResponseHead};
use everstream::{Batch as CoreBatch, Error, ErrorKind, Reader as CoreReader, Result};
use futures_util::{FutureExt, StreamExt};
use napi::Env;
use napi::bindgen_prelude::{Null, Object};
use napi_derive::napi;
use tokio::sync::{Notify, oneshot};

use crate::abort::Abort;
use crate::call::{Promise, call};
use crate::error;
use crate::runtime::{lock, runtime};
use crate::value::{self, Raw};

/// A read under way.
#[napi]
pub struct Reader(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The carrier has something to look at.
    wake: Notify,
}

struct State {
    batches: VecDeque<Result<CoreBatch>>,
    waiting: Option<Waiting>,
    /// Whether a wait keeps the process alive.
    hold: bool,
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

/// Somebody waits.
enum Waiting {
    /// For the next batch.
    Next(Promise),
    /// For all up to the tail, as one piece.
    Whole(Promise, Vec<u8>),
}

impl Reader {
    pub(crate) fn open(
        env: Env,
        reader: CoreReader,
        json: bool,
        read_ahead: bool,
        abort: Option<&Abort>,
    ) -> napi::Result<Raw> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                batches: VecDeque::new(),
                waiting: None,
                hold: true,
                paused: false,
                closed: false,
                ended: false,
                head: None,
                content_type: None,
                json,
                not_modified: false,
            }),
            wake: Notify::new(),
        });
        let (opened, is_open) = oneshot::channel();
        let carrier = Carrier { reader, shared: shared.clone(), read_ahead };
        runtime()?.spawn(carrier.run(opened));
        // Given up before it was open: the request is aborted.
        let guard = Self(shared);
        let future = async move {
            let guard = guard;
            is_open.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "everstream panicked")))?;
            Ok(guard)
        };
        call(env, abort, future, Raw::of)
    }
}

#[napi]
impl Reader {
    /// The next batch; `null` at the end. One call at a time.
    #[napi(catch_unwind, ts_return_type = "Promise<Batch | null>")]
    pub fn next(&self, env: Env) -> napi::Result<Raw> {
        self.wait(env, Waiting::Next)
    }

    /// The next batch if it is there already; `null` if it is not, at the end, and for errors: then ask `next`.
    #[napi(catch_unwind)]
    pub fn next_now(&self) -> Option<Batch> {
        let mut state = lock(&self.0.state);
        if !state.batches.front()?.is_ok() {
            return None;
        }
        let batch = state.take_batch()?.ok()?;
        drop(state);
        self.0.wake.notify_one();
        Some(Batch::part(batch))
    }

    /// All data up to the tail or the end as one batch; `null` if there is none. In place of `next`.
    #[napi(catch_unwind, ts_return_type = "Promise<Batch | null>")]
    pub fn whole(&self, env: Env) -> napi::Result<Raw> {
        self.wait(env, |promise| Waiting::Whole(promise, Vec::new()))
    }

    /// Aborts the request and ends the read. Can be repeated.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        lock(&self.0.state).closed = true;
        self.0.wake.notify_one();
    }

    /// Aborts the request; `resume` goes on from the same place.
    #[napi(catch_unwind)]
    pub fn pause(&self) {
        lock(&self.0.state).paused = true;
        self.0.wake.notify_one();
    }

    /// Goes on after a `pause`.
    #[napi(catch_unwind)]
    pub fn resume(&self) {
        lock(&self.0.state).paused = false;
        self.0.wake.notify_one();
    }

    /// Whether the process stays alive while somebody waits for this read.
    #[napi(catch_unwind)]
    pub fn set_hold(&self, hold: bool) {
        let mut state = lock(&self.0.state);
        state.hold = hold;
        if let Some(Waiting::Next(promise) | Waiting::Whole(promise, _)) = &mut state.waiting {
            promise.set_held(hold);
        }
    }

    /// Status of the last answer.
    #[napi(getter, catch_unwind)]
    pub fn status(&self) -> Option<u16> {
        self.head().map(|head| head.status.as_u16())
    }

    /// What HTTP calls that status.
    #[napi(getter, catch_unwind)]
    pub fn status_text(&self) -> Option<&'static str> {
        self.head().and_then(|head| head.status.canonical_reason())
    }

    /// Headers of the last answer.
    #[napi(getter, catch_unwind, ts_return_type = "Record<string, string>")]
    pub fn headers(&self, env: Env) -> napi::Result<Raw> {
        let headers = match self.head() {
            Some(head) => error::headers(env, &head.headers)?,
            None => Object::new(&env)?,
        };
        Raw::of(env, headers)
    }

    #[napi(getter, catch_unwind)]
    pub fn content_type(&self) -> Option<String> {
        lock(&self.0.state).content_type.clone()
    }

    /// Whether it is read as JSON.
    #[napi(getter, catch_unwind)]
    pub fn is_json(&self) -> bool {
        let state = lock(&self.0.state);
        state.json || state.content_type.as_deref().is_some_and(|it| StreamFormat::of(it) == StreamFormat::Json)
    }

    /// What the last answer says of the position after its data, whether that is handed over or not.
    #[napi(getter, catch_unwind, ts_return_type = "AnswerPosition")]
    pub fn position(&self, env: Env) -> napi::Result<Raw> {
        let mut it = Object::new(&env)?;
        if let Some(head) = self.head() {
            it.set("offset", head.next_offset().map(|offset| offset.to_string()))?;
            it.set("upToDate", head.is_up_to_date())?;
            it.set("closed", head.is_closed())?;
            it.set("cursor", head.text(names::STREAM_CURSOR))?;
        }
        Raw::of(env, it)
    }

    #[napi(getter, catch_unwind)]
    pub fn not_modified(&self) -> bool {
        lock(&self.0.state).not_modified
    }
}

impl Reader {
    fn wait(&self, env: Env, waiting: impl FnOnce(Promise) -> Waiting) -> napi::Result<Raw> {
        let hold = lock(&self.0.state).hold;
        let (promise, value) = Promise::new(env, hold)?;
        let mut waiting = Some(waiting(promise));
        let settled = {
            let mut state = lock(&self.0.state);
            let mut settled = None;
            while settled.is_none() && waiting.is_some() {
                match state.take_batch() {
                    Some(next) => settled = take(&mut waiting, Some(next)),
                    None if state.ended || state.closed => settled = take(&mut waiting, None),
                    None => state.waiting = waiting.take(),
                }
            }
            settled
        };
        self.0.wake.notify_one();
        if let Some((promise, next)) = settled {
            promise.settle_here(env, |env| next.into_value(env));
        }
        Ok(value)
    }

    /// Of the last answer.
    fn head(&self) -> Option<ResponseHead> {
        lock(&self.0.state).head.as_ref().map(|head| head.head())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

/// Gives the next batch to whom waits; `None` when more is to come for them.
fn take(waiting: &mut Option<Waiting>, next: Option<Result<CoreBatch>>) -> Option<(Promise, Next)> {
    match (waiting.take()?, next) {
        (Waiting::Next(promise), None) => Some((promise, Next::End)),
        (Waiting::Next(promise), Some(Ok(batch))) => Some((promise, Next::Batch(Batch::part(batch)))),
        (Waiting::Next(promise) | Waiting::Whole(promise, _), Some(Err(failed))) => {
            Some((promise, Next::Failed(failed)))
        }
        (Waiting::Whole(promise, _), None) => Some((promise, Next::End)),
        (Waiting::Whole(promise, mut whole), Some(Ok(mut last))) => {
            let done = last.is_up_to_date();
            if done && whole.is_empty() {
                return Some((promise, Next::Batch(Batch::part(last))));
            }
            whole.extend_from_slice(&last.take_bytes());
            if done {
                return Some((promise, Next::Batch(Batch { batch: last, whole: Some(whole.into()) })));
            }
            *waiting = Some(Waiting::Whole(promise, whole));
            None
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "it lives for one call, and almost always holds a batch")]
enum Next {
    Batch(Batch),
    Failed(Error),
    End,
}

impl Next {
    fn into_value(self, env: Env) -> std::result::Result<Raw, Raw> {
        let value = match self {
            Self::Batch(batch) => Raw::of(env, batch),
            Self::Failed(failed) => return Err(error::value(env, &failed)),
            Self::End => Raw::of(env, Null),
        };
        value.map_err(|failed| error::of_napi(env, failed))
    }
}

/// The task behind a read.
struct Carrier {
    reader: CoreReader,
    shared: Arc<Shared>,
    /// Whether the next batch is fetched while JavaScript works on the one before.
    read_ahead: bool,
}

impl Carrier {
    #[expect(clippy::manual_async_fn, reason = "that would keep what it takes twice, and programs follow many streams")]
    fn run(mut self, opened: oneshot::Sender<Result<()>>) -> impl Future<Output = ()> + Send {
        async move {
            let shared = self.shared.clone();
            let carried = AssertUnwindSafe(self.carry(opened)).catch_unwind().await;
            // The request is aborted before anybody hears of the end.
            drop(self);
            let last = {
                let mut state = lock(&shared.state);
                state.ended = true;
                let failed = carried.is_err().then(|| Err(Error::new(ErrorKind::Internal, "everstream panicked")));
                take(&mut state.waiting, failed)
            };
            if let Some((promise, next)) = last {
                promise.settle(|env| next.into_value(env));
            }
        }
    }

    async fn carry(&mut self, opened: oneshot::Sender<Result<()>>) {
        let shared = self.shared.clone();
        let result = tokio::select! {
            biased;
            () = shared.until(|state| state.closed) => return,
            result = self.reader.open() => result,
        };
        self.publish();
        let failed = result.is_err();
        // The caller may have given up; then the read is closed as well.
        let _ = opened.send(result);
        if failed {
            return;
        }
        let mut caught_up = false;
        loop {
            let ahead = self.read_ahead && !caught_up;
            shared.until(|state| state.closed || (!state.paused && state.wants_more(ahead))).await;
            if lock(&shared.state).closed {
                return;
            }
            let next = tokio::select! {
                biased;
                () = shared.until(|state| state.closed || state.paused) => {
                    self.reader.pause();
                    continue;
                }
                next = std::future::poll_fn(|context| {
                    let next = self.reader.poll_next_unpin(context);
                    // Answers without data are told of as well, while somebody still waits.
                    self.publish();
                    next
                }) => next,
            };
            let Some(next) = next else { return };
            caught_up = next.as_ref().is_ok_and(CoreBatch::is_up_to_date);
            shared.deliver(next);
        }
    }

    fn publish(&self) {
        let Some(head) = self.reader.response() else { return };
        let mut state = lock(&self.shared.state);
        if state.head.as_ref().is_none_or(|known| !Arc::ptr_eq(known, head)) {
            state.head = Some(head.clone());
            state.content_type = self.reader.content_type().map(str::to_owned);
            state.not_modified = self.reader.is_not_modified();
        }
    }
}

impl State {
    fn take_batch(&mut self) -> Option<Result<CoreBatch>> {
        let batch = self.batches.pop_front();
        if self.batches.is_empty() {
            // The next one may be long in coming, and there may be many readers.
            self.batches = VecDeque::new();
        }
        batch
    }

    fn wants_more(&self, ahead: bool) -> bool {
        self.waiting.is_some() || (ahead && self.batches.is_empty())
    }
}

impl Shared {
    /// Ready once the state is as asked.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            if holds(&lock(&self.state)) {
                return;
            }
            // A permit that came before is there still: there is one carrier.
            self.wake.notified().await;
        }
    }

    fn deliver(&self, next: Result<CoreBatch>) {
        let settled = {
            let mut state = lock(&self.state);
            if state.waiting.is_none() {
                state.batches.push_back(next);
                return;
            }
            take(&mut state.waiting, Some(next))
        };
        if let Some((promise, next)) = settled {
            promise.settle(|env| next.into_value(env));
        }
    }
}

/// Data in stream order, and where it leaves the reader.
#[napi]
pub struct Batch {
    batch: CoreBatch,
    /// The data of this batch and of those before it, where they were asked for as one piece.
    whole: Option<Bytes>,
}

#[napi]
impl Batch {
    /// The data as text; of a JSON stream one array. Once.
    #[napi(catch_unwind, ts_return_type = "string")]
    pub fn text(&mut self, env: Env) -> napi::Result<Raw> {
        value::text(env, &String::from_utf8_lossy(&self.take()))
    }

    /// The data as bytes, without a copy where that pays; of a JSON stream one array. Once.
    #[napi(catch_unwind, ts_return_type = "Uint8Array")]
    pub fn bytes(&mut self, env: Env) -> napi::Result<Raw> {
        let data = self.take();
        value::bytes(env, data)
    }

    #[napi(getter, catch_unwind)]
    pub fn is_json(&self) -> bool {
        self.batch.is_json()
    }

    /// Whether there is no data in it.
    #[napi(getter, catch_unwind)]
    pub fn is_empty(&self) -> bool {
        self.whole.is_none() && self.batch.is_empty()
    }

    /// Messages of a JSON stream, bytes of any other.
    #[napi(getter, catch_unwind)]
    pub fn units(&self) -> f64 {
        self.batch.units() as f64
    }

    /// The offset just after it; `null` in the middle of one long answer.
    #[napi(getter, catch_unwind)]
    pub fn offset(&self) -> Option<&str> {
        self.batch.offset().map(everstream::Offset::as_str)
    }

    #[napi(getter, catch_unwind)]
    pub fn cursor(&self) -> Option<&str> {
        self.batch.cursor()
    }

    #[napi(getter, catch_unwind)]
    pub fn etag(&self) -> Option<&str> {
        self.batch.etag()
    }

    #[napi(getter, catch_unwind)]
    pub fn up_to_date(&self) -> bool {
        self.batch.is_up_to_date()
    }

    #[napi(getter, catch_unwind)]
    pub fn closed(&self) -> bool {
        self.batch.is_closed()
    }

    /// Whether nothing follows it.
    #[napi(getter, catch_unwind)]
    pub fn last(&self) -> bool {
        self.batch.is_last()
    }

    /// The JSON form of the checkpoint after it, or after so many of its units.
    #[napi(catch_unwind)]
    pub fn checkpoint(&self, units: Option<f64>) -> String {
        units
            .map_or_else(|| self.batch.checkpoint().to_json(), |units| self.batch.checkpoint_at(units as u64).to_json())
    }
}

impl Batch {
    fn part(batch: CoreBatch) -> Self {
        Self { batch, whole: None }
    }

    /// The data. It is JavaScript's now: the garbage collector, which comes late and knows nothing of it, must not keep it here.
    fn take(&mut self) -> Bytes {
        self.whole.take().unwrap_or_else(|| self.batch.take_bytes())
    }
}
