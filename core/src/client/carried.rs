//! Requests that a host carries, such as a page's `fetch`: it is given what to send, and tells what comes.
//!
//! Both ends know when the other one has lost interest: a request that nobody waits for any more is aborted, and an answer
//! that its host forgot is a failure.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use http::StatusCode;
use tokio::sync::{Notify, oneshot};

use super::transport::{BoxBody, BoxFuture, HttpRequest, HttpResponse, OnSent, RequestBody, TransportError};
use crate::error::{Error, ErrorKind, Result};
use crate::headers::{HeaderMap, HeaderName, HeaderValue};
use crate::proto::read::Piece;

type Answered = std::result::Result<HttpResponse, TransportError>;
type Abort = Box<dyn FnOnce() + Send>;

/// What a host has to send.
pub struct Carried {
    /// HTTP method.
    pub method: http::Method,
    /// Absolute address with query.
    pub url: String,
    /// All headers but those of the connection.
    pub headers: HeaderMap,
    /// The content; empty for none, and where it comes in pieces.
    pub data: Bytes,
    /// Whether the content comes in pieces, from [`Carrier::upload`].
    pub is_streamed: bool,
    /// To be called when the request was handed on.
    pub on_sent: Option<OnSent>,
}

/// The host's end of one request: what came of it. Cloning is cheap.
#[derive(Clone)]
pub struct Carrier(Arc<State>);

struct State {
    progress: Mutex<Progress>,
    /// A piece of the answer's body was taken, or none is wanted any more.
    space: Notify,
    upload: Mutex<Option<BoxBody>>,
}

#[derive(Default)]
struct Progress {
    /// For the head of the answer.
    answer: Option<oneshot::Sender<Answered>>,
    /// Of the answer's body, until it is taken.
    piece: Option<Piece>,
    /// Whoever waits for one.
    reader: Option<Waker>,
    /// Why the body broke off: told after the pieces that came before.
    broken: Option<TransportError>,
    abort: Option<Abort>,
    /// The host has said everything.
    is_done: bool,
    /// Nobody wants to hear it.
    is_given_up: bool,
}

impl Carrier {
    /// Parts a request into what the host sends, its end, and the answer. When the host forgets its end before there
    /// is an answer, that is `lost`. Dropping the answer, or the body that it gives, aborts the request.
    pub fn begin(request: HttpRequest, lost: TransportError) -> (Carried, Self, BoxFuture<Answered>) {
        let HttpRequest { method, url, headers, body } = request;
        let (data, on_sent, upload) = match body {
            RequestBody::Bytes { data, on_sent } => (data, on_sent, None),
            RequestBody::Stream(body) => (Bytes::new(), None, Some(body)),
        };
        let carried = Carried { method, url, headers, data, is_streamed: upload.is_some(), on_sent };
        let (sender, receiver) = oneshot::channel();
        let progress = Progress { answer: Some(sender), ..Progress::default() };
        let (progress, upload) = (Mutex::new(progress), Mutex::new(upload));
        let state = Arc::new(State { progress, space: Notify::new(), upload });
        // What waits must not be what keeps the host's end: then it could not be seen to be forgotten.
        let mut guard = Guard(Some(Arc::downgrade(&state)));
        let answer = Box::pin(async move {
            let answer = receiver.await.unwrap_or(Err(lost));
            if answer.is_ok() {
                // The body has a guard of its own.
                guard.disarm();
            }
            answer
        });
        (carried, Self(state), answer)
    }

    /// Whether nobody waits for the answer any more: it need not be sent.
    pub fn is_given_up(&self) -> bool {
        self.0.lock().is_given_up
    }

    /// How the host aborts the request; called at most once, not after its end, and at once where nobody waits any more.
    /// It must not wait.
    pub fn on_abort(&self, abort: impl FnOnce() + Send + 'static) {
        let mut progress = self.0.lock();
        if progress.is_given_up {
            drop(progress);
            abort();
        } else if !progress.is_done {
            progress.abort = Some(Box::new(abort));
        }
    }

    /// The head of the answer; `headers` are names and values in turn.
    pub fn head(&self, status: u16, headers: &[String]) {
        let Some(sender) = self.0.lock().answer.take() else { return };
        let answer = match StatusCode::from_u16(status) {
            Ok(status) => {
                let body = Box::pin(Body { state: self.0.clone(), _guard: Guard(Some(Arc::downgrade(&self.0))) });
                Ok(HttpResponse { status, headers: header_map(headers), body })
            }
            Err(_) => {
                let source = Error::new(ErrorKind::Protocol, format!("the answer has the status {status}"));
                Err(TransportError { not_sent: false, permanent: true, source: Box::new(source) })
            }
        };
        // Dropped when nobody waits any more: then its guard aborts the request.
        drop(sender.send(answer));
    }

    /// A piece of the body. Ready when there is space for the next one; `false` if none is wanted. What the host keeps is
    /// looked at by then.
    pub fn data(&self, piece: impl Into<Piece>) -> BoxFuture<bool> {
        let state = self.0.clone();
        let piece = piece.into();
        let is_kept = matches!(piece, Piece::Host(_));
        Box::pin(async move {
            let mut piece = Some(piece);
            loop {
                // Registered before the look, so that no space is missed.
                let space = state.space.notified();
                {
                    let mut progress = state.lock();
                    if progress.is_done || progress.is_given_up {
                        return false;
                    }
                    if progress.piece.is_none() {
                        let Some(piece) = piece.take() else { return true };
                        progress.piece = Some(piece);
                        wake_reader(progress);
                        if is_kept {
                            continue;
                        }
                        return true;
                    }
                }
                space.await;
            }
        })
    }

    /// The body is complete.
    pub fn end(&self) {
        self.0.finish(|_| {});
    }

    /// The request failed, or the body of its answer broke off.
    pub fn fail(&self, failed: TransportError) {
        self.0.finish(|progress| match progress.answer.take() {
            Some(sender) => drop(sender.send(Err(failed))),
            None if !progress.is_done => progress.broken = Some(failed),
            None => {}
        });
    }

    /// The next piece of the request's body; `None` at its end.
    ///
    /// # Errors
    /// `Cancelled` when its source broke off.
    pub fn upload(&self) -> BoxFuture<Result<Option<Bytes>>> {
        let state = self.0.clone();
        Box::pin(async move {
            let piece = std::future::poll_fn(|cx| {
                let mut upload = state.upload.lock().unwrap_or_else(PoisonError::into_inner);
                upload.as_mut().map_or(Poll::Ready(None), |body| body.as_mut().poll_next(cx))
            });
            piece.await.transpose().map_err(|broken| {
                let message = format!("the body of the request broke off: {broken}");
                Error::new(ErrorKind::Cancelled, message).with_source(broken.source)
            })
        })
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Nothing in here panics while it is held; and what is in it would still be whole.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more comes from the host, after the last thing that it says.
    fn finish(&self, last: impl FnOnce(&mut Progress)) {
        let mut progress = self.lock();
        last(&mut progress);
        progress.is_done = true;
        progress.abort = None;
        wake_reader(progress);
        self.space.notify_waiters();
    }
}

/// Not under the lock: what is woken may be dropped with it.
fn wake_reader(mut progress: MutexGuard<'_, Progress>) {
    let reader = progress.reader.take();
    drop(progress);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// Aborts the request when nobody wants it any more.
struct Guard(Option<Weak<State>>);

impl Guard {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(state) = self.0.as_ref().and_then(Weak::upgrade) else { return };
        let mut progress = state.lock();
        if progress.is_done {
            return;
        }
        progress.is_given_up = true;
        progress.piece = None;
        let abort = progress.abort.take();
        drop(progress);
        state.space.notify_waiters();
        if let Some(abort) = abort {
            abort();
        }
    }
}

struct Body {
    state: Arc<State>,
    _guard: Guard,
}

impl Stream for Body {
    type Item = std::result::Result<Piece, TransportError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut progress = self.state.lock();
        if let Some(piece) = progress.piece.take() {
            drop(progress);
            self.state.space.notify_waiters();
            return Poll::Ready(Some(Ok(piece)));
        }
        if progress.is_done {
            return Poll::Ready(progress.broken.take().map(Err));
        }
        progress.reader = Some(cx.waker().clone());
        Poll::Pending
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

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("method", &self.method).finish_non_exhaustive()
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "client"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::proto::read::{HostBody, ParsedArray};

    fn request(body: RequestBody) -> HttpRequest {
        HttpRequest { method: http::Method::GET, url: "http://a/b".to_owned(), headers: HeaderMap::new(), body }
    }

    fn failure(source: &str) -> TransportError {
        TransportError { not_sent: false, permanent: false, source: source.into() }
    }

    fn begin() -> (Carrier, BoxFuture<Answered>) {
        let empty = RequestBody::Bytes { data: Bytes::new(), on_sent: None };
        let (_, carrier, answer) = Carrier::begin(request(empty), failure("lost"));
        (carrier, answer)
    }

    /// Counts how often the request was aborted.
    fn aborts(carrier: &Carrier) -> Arc<Mutex<usize>> {
        let count = Arc::<Mutex<usize>>::default();
        let counted = count.clone();
        carrier.on_abort(move || *counted.lock().unwrap() += 1);
        count
    }

    #[tokio::test]
    async fn an_answer_comes_in_pieces_and_ends() {
        let (carrier, answer) = begin();
        let aborted = aborts(&carrier);
        carrier.head(200, &["a".to_owned(), "1".to_owned(), "no header".to_owned(), "2".to_owned()]);
        let response = answer.await.unwrap();
        assert_eq!((response.status, response.headers.len()), (StatusCode::OK, 1));
        assert!(carrier.data(Bytes::from("one")).await);
        let (rest, last) = tokio::join!(response.body.collect::<Vec<_>>(), async {
            let taken = carrier.data(Bytes::from("two")).await;
            carrier.end();
            taken
        });
        assert!(last);
        let pieces = rest.into_iter().map(|piece| piece.unwrap().into_bytes()).collect::<Vec<_>>();
        assert_eq!(pieces, ["one", "two"]);
        assert_eq!(*aborted.lock().unwrap(), 0);
    }

    /// Two bytes.
    #[derive(Debug)]
    struct Kept;

    impl HostBody for Kept {
        fn held(&self) -> usize {
            2
        }

        fn bytes(&self) -> Bytes {
            "ab".into()
        }

        fn clear(&self) {}

        fn parse(&self) -> Option<ParsedArray> {
            None
        }
    }

    #[tokio::test]
    async fn what_the_host_keeps_is_looked_at_before_more_is_wanted() {
        let (carrier, answer) = begin();
        carrier.head(200, &[]);
        let mut body = answer.await.unwrap().body;
        let mut told = carrier.data(Piece::Host(Arc::new(Kept)));
        assert!((&mut told).now_or_never().is_none());
        assert_eq!(body.next().await.unwrap().unwrap().into_bytes(), "ab");
        assert!(told.await);
        let told = carrier.data(Piece::Host(Arc::new(Kept)));
        drop(body);
        assert!(!told.await, "nobody looks at it any more");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_gives_what_came_before() {
        let (carrier, answer) = begin();
        carrier.head(200, &[]);
        let mut body = answer.await.unwrap().body;
        assert!(carrier.data(Bytes::from("one")).await);
        // The channel is full: nothing has to wait for that.
        carrier.fail(failure("cut"));
        assert_eq!(body.next().await.unwrap().unwrap().into_bytes(), "one");
        assert_eq!(body.next().await.unwrap().unwrap_err().to_string(), "cut");
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn failures_and_what_was_forgotten_are_told() {
        let (carrier, answer) = begin();
        carrier.fail(failure("refused"));
        assert_eq!(answer.await.err().unwrap().to_string(), "refused");
        let (carrier, answer) = begin();
        drop(carrier);
        assert_eq!(answer.await.err().unwrap().to_string(), "lost");
        let (carrier, answer) = begin();
        carrier.head(1, &[]);
        assert!(answer.await.err().unwrap().permanent);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_aborted_once() {
        let (carrier, answer) = begin();
        let aborted = aborts(&carrier);
        drop(answer);
        assert!(carrier.is_given_up());
        assert_eq!(*aborted.lock().unwrap(), 1);
        assert_eq!(*aborts(&carrier).lock().unwrap(), 1, "begun when nobody waited any more");

        let (carrier, answer) = begin();
        let aborted = aborts(&carrier);
        carrier.head(200, &[]);
        let body = answer.await.unwrap().body;
        assert_eq!(*aborted.lock().unwrap(), 0);
        drop(body);
        assert_eq!(*aborted.lock().unwrap(), 1);
        assert!(!carrier.data(Bytes::from("more")).await, "none is wanted");
    }

    #[tokio::test]
    async fn a_body_of_a_request_goes_up_in_pieces() {
        let pieces = futures_util::stream::iter([Ok(Bytes::from("one")), Err(failure("gone"))]);
        let (carried, carrier, _answer) =
            Carrier::begin(request(RequestBody::Stream(Box::pin(pieces))), failure("lost"));
        assert!(carried.is_streamed);
        assert_eq!(carrier.upload().await.unwrap().unwrap(), "one");
        assert_eq!(*carrier.upload().await.unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(carrier.upload().await.unwrap().is_none());
    }
}
