//! The server behind the proxy: it remembers what reached it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Multi-byte characters at every position, so that most cuts fall into one.
pub(crate) const TEXT: &str = "héllo wörld: 雪が降る 🦀 héllo wörld: 雪が降る 🦀";

/// What has happened at the origin so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Requests that arrived whole, in order.
    pub(crate) requests: Vec<SeenRequest>,
    /// What arrived of the bodies that broke off.
    pub(crate) broken: Vec<Bytes>,
    /// Answers that were dropped before their end: the other side is gone.
    pub(crate) abandoned: usize,
    pub(crate) connections: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct SeenRequest {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

impl Seen {
    pub(crate) fn bodies(&self) -> Vec<&[u8]> {
        self.requests.iter().map(|request| &request.body[..]).collect()
    }
}

pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    seen: watch::Receiver<Seen>,
    events: mpsc::UnboundedSender<Bytes>,
    task: JoinHandle<()>,
}

struct State {
    seen: watch::Sender<Seen>,
    events: Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("addr");
        let (seen_sender, seen) = watch::channel(Seen::default());
        let (events, event_source) = mpsc::unbounded_channel();
        let state = Arc::new(State { seen: seen_sender, events: Mutex::new(Some(event_source)) });
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                state.seen.send_modify(|seen| seen.connections += 1);
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&state), request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { addr, seen, events, task }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until the origin has seen what `condition` asks for.
    pub(crate) async fn wait(&self, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let waiting = seen.wait_for(condition);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time").expect("origin runs").clone()
    }

    /// Sends bytes on the SSE answer.
    pub(crate) fn emit(&self, bytes: &str) {
        self.events.send(Bytes::copy_from_slice(bytes.as_bytes())).expect("the SSE answer is open");
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// Answers by path: `/text` with a known length, `/chunked` without, `/events` with what the test emits, `/never` not
/// at all, `/empty` with 204, everything else with the body it got.
async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let (parts, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        match frame.map(|frame| frame.into_data().unwrap_or_default()) {
            Ok(data) => body.extend_from_slice(&data),
            Err(_) => {
                state.seen.send_modify(|seen| seen.broken.push(body.clone().into()));
                std::future::pending::<()>().await;
            }
        }
    }
    let body = Bytes::from(body);
    let path = parts.uri.path().to_owned();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let entry =
        SeenRequest { method: parts.method, target, headers: parts.headers, body: body.clone(), at: Instant::now() };
    let guard = Abandoned { state: Arc::clone(&state), armed: true };
    state.seen.send_modify(|seen| seen.requests.push(entry));
    let mut response = match path.as_str() {
        "/text" => Response::new(guard.finish(Full::from(TEXT).boxed_unsync())),
        "/chunked" => {
            let pieces = TEXT.as_bytes().chunks(10).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
            let stream = futures_util::stream::iter(pieces.collect::<Vec<_>>());
            Response::new(guard.finish(StreamBody::new(stream).boxed_unsync()))
        }
        "/events" => {
            let events = state.events.lock().expect("lock").take().expect("one SSE answer a test");
            Response::new(Events { events, guard }.boxed_unsync())
        }
        "/never" => std::future::pending().await,
        "/empty" => Response::new(guard.finish(Full::default().boxed_unsync())),
        _ => Response::new(guard.finish(Full::new(body).boxed_unsync())),
    };
    match path.as_str() {
        "/events" => drop(response.headers_mut().insert("content-type", "text/event-stream".parse().expect("value"))),
        "/empty" => *response.status_mut() = http::StatusCode::NO_CONTENT,
        _ => {
            let headers = response.headers_mut();
            headers.insert("connection", "x-private".parse().expect("value"));
            headers.insert("x-private", "1".parse().expect("value"));
            headers.insert("stream-next-offset", "7".parse().expect("value"));
        }
    }
    Ok(response)
}

/// Tells that an answer was dropped before its end.
struct Abandoned {
    state: Arc<State>,
    armed: bool,
}

impl Abandoned {
    fn finish<T>(mut self, answer: T) -> T {
        self.armed = false;
        answer
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if self.armed {
            self.state.seen.send_modify(|seen| seen.abandoned += 1);
        }
    }
}

struct Events {
    events: mpsc::UnboundedReceiver<Bytes>,
    guard: Abandoned,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let event = std::task::ready!(self.events.poll_recv(cx));
        // An empty piece is how a test says that the answer ends here.
        let event = event.filter(|bytes| !bytes.is_empty());
        self.guard.armed = event.is_some();
        Poll::Ready(event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
