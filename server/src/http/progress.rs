//! How far a request has come.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use http::Response;

use super::App;
use super::append::Begun;
use super::body::Body;
use super::observe::Observation;

/// What the route of a request gives; it needs no look at the request any more.
pub(super) enum Routed {
    Answered(Response<Body>),
    /// An append that waits until it is durable.
    Begun(Begun),
}

impl Routed {
    pub(super) async fn answer(self, app: &App) -> Response<Body> {
        match self {
            Self::Answered(response) => response,
            Self::Begun(mut begun) => poll_fn(|cx| begun.poll(app, cx)).await,
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
    pub(crate) fn poll(&mut self, app: &App, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let mut response = ready!(self.begun.poll(app, cx));
        self.observation.count(app, &mut response);
        Poll::Ready(response)
    }
}
