//! A transport that is a `fetch` of JavaScript's: the same machines run, only the bytes come another way.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use everstream::{BoxBody, BoxFuture, HttpRequest, HttpResponse, RequestBody, Transport, TransportError};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use napi::Env;
use napi_derive::napi;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use crate::call::call_unheld;
use crate::data::Data;
use crate::error::{self, Thrown};
use crate::runtime::lock;
use crate::value::{self, Kept, Raw};

/// Sends requests through a function of TypeScript's, which calls `fetch`.
pub(crate) struct FetchTransport(Arc<Kept>);

impl FetchTransport {
    pub(crate) fn new(carry: Kept) -> Self {
        Self(Arc::new(carry))
    }
}

type Answered = Result<HttpResponse, TransportError>;
type Piece = Result<Bytes, TransportError>;

/// One request, as TypeScript sees it.
#[napi]
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

#[napi]
impl Exchange {
    /// The head of the answer: status, and names and values of headers in turn.
    #[napi(catch_unwind)]
    pub fn head(&self, status: u16, headers: Vec<String>) {
        let Some((sender, pieces)) = lock(&self.0.answer).take() else { return };
        let answer = match StatusCode::from_u16(status) {
            Ok(status) => {
                let body = Box::pin(Body { pieces, _guard: Guard(Some(self.0.clone())) });
                Ok(HttpResponse { status, headers: header_map(&headers), body })
            }
            Err(_) => Err(failure(Box::from(format!("the answer of fetch has the status {status}")), false, true)),
        };
        // Dropped when nobody waits any more: then its guard aborts the request.
        drop(sender.send(answer));
    }

    /// A piece of the body; the promise is settled when there is space for the next one, `false` if none is wanted.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn data(&self, env: Env, #[napi(ts_arg_type = "string | Uint8Array")] piece: Data) -> napi::Result<Raw> {
        let sender = lock(&self.0.pieces).clone();
        let sent = async move {
            Ok(match sender {
                Some(sender) => sender.send(Ok(piece.0)).await.is_ok(),
                None => false,
            })
        };
        call_unheld(env, sent, Raw::of)
    }

    /// The body is complete.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        self.0.finish();
    }

    /// `fetch` failed, or the body broke off. `permanent`: no second try helps.
    #[napi(catch_unwind)]
    pub fn fail(&self, #[napi(ts_arg_type = "unknown")] error: Raw, permanent: bool) {
        let source: Box<dyn std::error::Error + Send + Sync> = match Thrown::new(error) {
            Some(thrown) => Box::new(thrown),
            None => Box::from("fetch failed"),
        };
        let failed = failure(source, false, permanent);
        if let Some((sender, _)) = lock(&self.0.answer).take() {
            drop(sender.send(Err(failed)));
        } else if let Some(pieces) = &*lock(&self.0.pieces) {
            let pieces = pieces.clone();
            // A full channel takes it later; a runtime is there, since the request came from it.
            if let Ok(runtime) = crate::runtime::runtime() {
                runtime.spawn(async move { pieces.send(Err(failed)).await.is_ok() });
            }
        }
        self.0.finish();
    }

    /// The next piece of the request's body; `null` at its end.
    #[napi(catch_unwind, ts_return_type = "Promise<Uint8Array | null>")]
    pub fn upload(&self, env: Env) -> napi::Result<Raw> {
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
        call_unheld(env, next, |env, piece| match piece {
            Some(piece) => value::bytes(env, piece),
            None => Raw::of(env, napi::bindgen_prelude::Null),
        })
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
        let abort = lock(&state.abort).take();
        if let Some(abort) = abort {
            let events = abort.events().clone();
            events.push(move |env| {
                let _ = abort.get(env).map(|abort| abort.call(&[]).is_ok());
            });
        }
    }
}

struct Body {
    pieces: mpsc::Receiver<Result<Bytes, TransportError>>,
    _guard: Guard,
}

impl Stream for Body {
    type Item = Result<Bytes, TransportError>;

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
            let exchange = Exchange(state);
            let events = carry.events().clone();
            events.push(move |env| {
                let streams = exchange.0.upload.try_lock().is_ok_and(|upload| upload.is_some());
                let called = exchange.call(env, &carry, method.as_str(), &url, &headers, data, streams);
                if let Some(on_sent) = on_sent {
                    on_sent();
                }
                // What TypeScript's side throws is told through the exchange.
                drop(called);
            });
            let gone = || Err(failure(Box::from("the JavaScript environment has ended"), true, true));
            let answer = receiver.await.unwrap_or_else(|_| gone());
            if answer.is_ok() {
                // The body has a guard of its own.
                guard.0 = None;
            }
            answer
        })
    }
}

impl Exchange {
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    fn call(
        self,
        env: Env,
        carry: &Kept,
        method: &str,
        url: &str,
        headers: &HeaderMap,
        data: Bytes,
        streams: bool,
    ) -> napi::Result<()> {
        let state = self.0.clone();
        if state.given_up.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut flat = Vec::with_capacity(headers.len() * 2);
        for (name, value) in headers {
            flat.push(name.as_str().to_owned());
            flat.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        let body = if data.is_empty() { error::nothing(env)? } else { value::bytes(env, data)? };
        let args = [
            Raw::of(env, self)?,
            Raw::of(env, method)?,
            Raw::of(env, url)?,
            Raw::of(env, flat)?,
            body,
            Raw::of(env, streams)?,
        ];
        let abort = carry.get(env)?.call(&args).map_err(error::thrown_as)?;
        let abort = Kept::new(abort)?;
        if state.given_up.load(Ordering::Acquire) {
            // Given up, or over, before it had begun.
            drop(abort);
        } else {
            *lock(&state.abort) = Some(abort);
        }
        Ok(())
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

fn failure(source: Box<dyn std::error::Error + Send + Sync>, not_sent: bool, permanent: bool) -> TransportError {
    TransportError { not_sent, permanent, source }
}

impl fmt::Debug for FetchTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchTransport").finish_non_exhaustive()
    }
}
