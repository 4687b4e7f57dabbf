//! A transport that a test plays the server behind.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use everstream::{
    BoxFuture, Client, ClientBuilder, HttpRequest, HttpResponse, Piece, RequestBody, Transport, TransportError,
};
use futures_core::Stream;
use http::{HeaderMap, StatusCode};

/// What a test saw of a request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What the test lets happen.
pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: &'static str,
    },
    /// The answer, later.
    After(Duration, Box<Self>),
    /// No connection.
    Refused,
    /// The request left, the answer did not come.
    Reset,
    /// The request left, or not, and the transport says that no other will fare better.
    Broken {
        not_sent: bool,
    },
    /// Nothing, ever.
    Silence,
    /// The head, this part of the body, then nothing.
    Open {
        headers: Vec<(&'static str, String)>,
        body: &'static str,
    },
}

pub fn answer(status: u16, headers: &[(&'static str, &str)]) -> Reply {
    with_body(status, headers, "")
}

pub fn with_body(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Reply {
    Reply::Answer { status, headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), body }
}

pub fn error(not_sent: bool) -> TransportError {
    TransportError { not_sent, permanent: false, source: if not_sent { "refused" } else { "reset" }.into() }
}

type Handler = Box<dyn FnMut(&Seen, usize) -> Reply + Send>;

#[derive(Clone)]
pub struct Script {
    seen: Arc<Mutex<Vec<Seen>>>,
    handler: Arc<Mutex<Handler>>,
    /// Exchanges that were dropped before they were over.
    pub aborted: Arc<Mutex<usize>>,
}

impl Script {
    /// The handler gets each request and its number, counted from 0.
    pub fn new(handler: impl FnMut(&Seen, usize) -> Reply + Send + 'static) -> Self {
        Self { seen: Arc::default(), handler: Arc::new(Mutex::new(Box::new(handler))), aborted: Arc::default() }
    }

    pub fn builder(&self) -> ClientBuilder {
        Client::builder().transport(Arc::new(self.clone()))
    }

    pub fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Transport for Script {
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let script = self.clone();
        let guard = Abort(Some(self.aborted.clone()));
        Box::pin(async move {
            // Whole, so that it is dropped with the future.
            let mut guard = guard;
            let body = match request.body {
                RequestBody::Bytes { data, on_sent } => {
                    if let Some(on_sent) = on_sent {
                        on_sent();
                    }
                    data
                }
                RequestBody::Stream(_) => Bytes::new(),
            };
            let seen = Seen { method: request.method.to_string(), url: request.url, headers: request.headers, body };
            let number = {
                let mut all = script.seen.lock().unwrap();
                all.push(seen.clone());
                all.len() - 1
            };
            let mut reply = (script.handler.lock().unwrap())(&seen, number);
            while let Reply::After(delay, later) = reply {
                tokio::time::sleep(delay).await;
                reply = *later;
            }
            let response =
                |status, headers: Vec<(&'static str, String)>, body: &'static str, open: bool| HttpResponse {
                    status: StatusCode::from_u16(status).unwrap(),
                    headers: headers
                        .into_iter()
                        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                        .collect(),
                    body: Box::pin(Body {
                        data: Some(Bytes::from_static(body.as_bytes())),
                        open,
                        _guard: Abort(open.then(|| script.aborted.clone())),
                    }),
                };
            let result = match reply {
                Reply::Answer { status, headers, body } => Ok(response(status, headers, body, false)),
                Reply::Open { headers, body } => Ok(response(200, headers, body, true)),
                Reply::Refused => Err(error(true)),
                Reply::Reset => Err(error(false)),
                Reply::Broken { not_sent } => Err(TransportError { permanent: true, ..error(not_sent) }),
                Reply::Silence => std::future::pending().await,
                Reply::After(..) => unreachable!("taken apart above"),
            };
            guard.0 = None;
            result
        })
    }
}

struct Body {
    data: Option<Bytes>,
    open: bool,
    _guard: Abort,
}

impl Stream for Body {
    type Item = Result<Piece, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.data.take() {
            Some(data) if !data.is_empty() => Poll::Ready(Some(Ok(data.into()))),
            _ if self.open => Poll::Pending,
            _ => Poll::Ready(None),
        }
    }
}

/// Counts its drop, unless it was disarmed.
struct Abort(Option<Arc<Mutex<usize>>>);

impl Drop for Abort {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            *count.lock().unwrap() += 1;
        }
    }
}
