//! The transport: a `fetch` of JavaScript's carries what the machines send.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use everstream::{BoxBody, BoxFuture, HttpRequest, HttpResponse, RequestBody, Transport, TransportError};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use js_sys::{Array, Function, Promise, Uint8Array};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

use crate::call::{call, promise};
use crate::callback::{Kept, kept};
use crate::error::Thrown;
use crate::value;

/// Sends requests through a function of TypeScript's, which calls `fetch`.
pub(crate) struct FetchTransport(Kept);

impl FetchTransport {
    pub(crate) fn new(carry: Function) -> Self {
        Self(kept(carry))
    }
}

type Answered = Result<HttpResponse, TransportError>;
type Piece = Result<Bytes, TransportError>;

/// One request, as TypeScript sees it.
#[wasm_bindgen]
pub struct Exchange(Arc<State>);

struct State {
    /// For the head of the answer, and the pieces of the body that come after it.
    answer: Mutex<Option<(oneshot::Sender<Answered>, mpsc::Receiver<Piece>)>>,
    pieces: Mutex<Option<mpsc::Sender<Piece>>>,
    upload: Arc<AsyncMutex<Option<BoxBody>>>,
    /// Aborts the request.
    abort: Mutex<Option<Kept>>,
    given_up: AtomicBool,
}

#[wasm_bindgen]
impl Exchange {
    /// The head of the answer: status, and names and values of headers in turn.
    pub fn head(&self, status: u16, headers: Vec<String>) {
        let Some((sender, pieces)) = lock(&self.0.answer).take() else { return };
        let answer = match StatusCode::from_u16(status) {
            Ok(status) => {
                let body = Box::pin(Body { pieces, _guard: Guard(Some(self.0.clone())) });
                Ok(HttpResponse { status, headers: header_map(&headers), body })
            }
            Err(_) => Err(failure(Box::from(format!("the answer of fetch has the status {status}")), true)),
        };
        // Dropped when nobody waits any more: then its guard aborts the request.
        drop(sender.send(answer));
    }

    /// A piece of the body; the promise is settled when there is space for the next one, `false` if none is wanted.
    ///
    /// # Errors
    /// A `TypeError` for what is no data.
    pub fn data(&self, piece: &JsValue) -> Result<Promise, JsValue> {
        let piece = value::data(piece)?;
        let sender = lock(&self.0.pieces).clone();
        Ok(promise(Box::pin(async move {
            Ok(JsValue::from(match sender {
                Some(sender) => sender.send(Ok(piece)).await.is_ok(),
                None => false,
            }))
        })))
    }

    /// The body is complete.
    pub fn end(&self) {
        self.0.finish();
    }

    /// `fetch` failed, or the body broke off. `permanent`: no second try helps.
    pub fn fail(&self, error: JsValue, permanent: bool) {
        let failed = failure(Box::new(Thrown::new(error)), permanent);
        let waiting = lock(&self.0.answer).take();
        let pieces = lock(&self.0.pieces).clone();
        match (waiting, pieces) {
            (Some((sender, _)), _) => drop(sender.send(Err(failed))),
            // A full channel takes it later.
            (None, Some(pieces)) => spawn_local(async move { drop(pieces.send(Err(failed)).await) }),
            (None, None) => {}
        }
        self.0.finish();
    }

    /// The next piece of the request's body; `null` at its end.
    pub fn upload(&self) -> Promise {
        let upload = self.0.upload.clone();
        let next = async move {
            let mut upload = upload.lock().await;
            match upload.as_mut() {
                Some(body) => body.next().await.transpose().map_err(|broken| {
                    let message = format!("the body of the request broke off: {broken}");
                    everstream::Error::new(everstream::ErrorKind::Cancelled, message).with_source(broken.source)
                }),
                None => Ok(None),
            }
        };
        call(None, next, |piece| value::nullable(piece.map(|piece| Uint8Array::from(&*piece))))
    }
}

impl State {
    fn finish(&self) {
        self.given_up.store(true, Ordering::Release);
        drop(lock(&self.pieces).take());
        drop(lock(&self.abort).take());
    }
}

/// Aborts the request when nobody wants it any more.
struct Guard(Option<Arc<State>>);

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(state) = self.0.take() else { return };
        if state.given_up.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(abort) = lock(&state.abort).take() {
            // Not here: whoever drops this may hold a lock, and listeners of the signal run at once.
            spawn_local(async move { drop(abort.call0(&JsValue::UNDEFINED)) });
        }
    }
}

struct Body {
    pieces: mpsc::Receiver<Piece>,
    _guard: Guard,
}

impl Stream for Body {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_recv(context)
    }
}

impl Transport for FetchTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<Answered> {
        let carry = self.0.clone();
        Box::pin(async move {
            let HttpRequest { method, url, headers, body } = request;
            let (data, on_sent, upload) = match body {
                RequestBody::Bytes { data, on_sent } => (data, on_sent, None),
                RequestBody::Stream(body) => (Bytes::new(), None, Some(body)),
            };
            let streams = upload.is_some();
            let (sender, receiver) = oneshot::channel();
            let (pieces, rest) = mpsc::channel(1);
            let state = Arc::new(State {
                answer: Mutex::new(Some((sender, rest))),
                pieces: Mutex::new(Some(pieces)),
                upload: Arc::new(AsyncMutex::new(upload)),
                abort: Mutex::default(),
                given_up: AtomicBool::new(false),
            });
            let mut guard = Guard(Some(state.clone()));
            start(state, &carry, method.as_str(), &url, &headers, &data, streams);
            if let Some(on_sent) = on_sent {
                on_sent();
            }
            let gone = || Err(failure(Box::from("the answer of fetch was lost"), false));
            let answer = receiver.await.unwrap_or_else(|_| gone());
            if answer.is_ok() {
                // The body has a guard of its own.
                guard.0 = None;
            }
            answer
        })
    }
}

/// Has TypeScript send it.
fn start(state: Arc<State>, carry: &Kept, method: &str, url: &str, headers: &HeaderMap, data: &[u8], streams: bool) {
    let flat = Array::new();
    for (name, value) in headers {
        flat.push(&name.as_str().into());
        flat.push(&JsValue::from_str(&String::from_utf8_lossy(value.as_bytes())));
    }
    let body = if data.is_empty() { JsValue::UNDEFINED } else { Uint8Array::from(data).into() };
    let exchange = JsValue::from(Exchange(state.clone()));
    let args: Array = [exchange, method.into(), url.into(), flat.into(), body, streams.into()].iter().collect();
    // What TypeScript's side throws is told through the exchange.
    let Ok(abort) = carry.apply(&JsValue::UNDEFINED, &args) else { return };
    if let Ok(abort) = abort.dyn_into::<Function>()
        && !state.given_up.load(Ordering::Acquire)
    {
        *lock(&state.abort) = Some(kept(abort));
    }
}

fn header_map(flat: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(flat.len() / 2);
    for pair in flat.chunks_exact(2) {
        // What is no header of HTTP means nothing to the protocol.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(pair[0].as_bytes()), HeaderValue::from_str(&pair[1])) {
            headers.append(name, value);
        }
    }
    headers
}

fn failure(source: Box<dyn std::error::Error + Send + Sync>, permanent: bool) -> TransportError {
    // A browser does not tell whether anything left.
    TransportError { not_sent: false, permanent, source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for FetchTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchTransport").finish_non_exhaustive()
    }
}
