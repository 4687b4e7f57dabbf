//! How far a request has come, and what its answer is then.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderName, Response, StatusCode};

use super::append::{Begun, Confirmation};
use super::body::Body;
use super::observe::Observation;
use super::{App, MOST_HEADERS, insert, spare};
use crate::access::Caller;

/// What the route of a request gives; it needs no look at the request any more.
pub(super) enum Routed {
    Answered(Response<Body>),
    /// An append that waits until it is durable, and whose it is, for the log of requests if there is one.
    Begun(Begun, Option<Caller>),
}

impl Routed {
    pub(super) async fn answer(self, app: &App) -> Response<Body> {
        match self {
            Self::Answered(response) => response,
            Self::Begun(mut begun, caller) => {
                let mut response = poll_fn(|cx| begun.poll(app, cx)).await.into_response();
                if let Some(caller) = caller {
                    response.extensions_mut().insert(caller);
                }
                response
            }
        }
    }
}

/// A request that is answered, as far as its connection has to know.
pub(crate) enum Progress {
    Answered(Response<Body>),
    Waiting(Waiting),
}

/// A request of which there is nothing left to do but to wait until its append is durable. Hundreds wait together, so that it
/// holds nothing that their answers do not need.
pub(crate) struct Waiting {
    begun: Begun,
    observation: Observation,
}

impl Waiting {
    pub(super) fn new(begun: Begun, observation: Observation) -> Self {
        Self { begun, observation }
    }

    /// The answer, as soon as the append is durable.
    pub(crate) fn poll(&mut self, app: &App, cx: &mut Context<'_>) -> Poll<Answered> {
        let mut answered = ready!(self.begun.poll(app, cx));
        self.observation.count(app, answered.status());
        match &mut answered {
            Answered::Response(response) => self.observation.name(response),
            Answered::Confirmed(confirmation) => confirmation.set_request_id(self.observation.id().cloned()),
        }
        Poll::Ready(answered)
    }
}

/// An answer.
pub(crate) enum Answered {
    Response(Response<Body>),
    /// No map is made of the few headers of an append's if they only have to be written.
    Confirmed(Confirmation),
}

impl Answered {
    fn status(&self) -> StatusCode {
        match self {
            Self::Response(response) => response.status(),
            Self::Confirmed(confirmation) => confirmation.status(),
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        match self {
            Self::Response(response) => response,
            Self::Confirmed(confirmation) => {
                let mut headers = spare::headers(MOST_HEADERS);
                confirmation.each(|name, value| insert(&mut headers, name, value));
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = confirmation.status();
                *response.headers_mut() = headers;
                response
            }
        }
    }
}

/// The headers of an answer.
pub(crate) trait Fields {
    /// Gives them one after another.
    fn each(&self, put: impl FnMut(&HeaderName, &[u8]));
}

impl Fields for HeaderMap {
    fn each(&self, mut put: impl FnMut(&HeaderName, &[u8])) {
        self.iter().for_each(|(name, value)| put(name, value.as_bytes()));
    }
}
