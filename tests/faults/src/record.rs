//! What clients asked for, word for word.

use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::fault::FaultKind;

/// A request as a recording proxy saw it; see [`FaultProxy::record`](crate::FaultProxy::record).
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// When it had arrived.
    pub at: Instant,
    /// The method.
    pub method: Method,
    /// The path, still percent-encoded.
    pub path: String,
    /// The query without its question mark, still percent-encoded.
    pub query: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body, whether or not it reached the server.
    pub body: Bytes,
    /// The fault that it met.
    pub fault: Option<FaultKind>,
    /// The status that the client was answered with, as soon as one was; never set when the connection was reset.
    pub status: Option<u16>,
}

impl SeenRequest {
    pub(crate) fn new(parts: &Parts, body: Bytes, fault: Option<FaultKind>) -> Self {
        Self {
            at: Instant::now(),
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers.clone(),
            body,
            fault,
            status: None,
        }
    }
}

/// The requests so far, if they are kept.
#[derive(Default)]
pub(crate) struct Recording(Option<Vec<SeenRequest>>);

impl Recording {
    pub(crate) fn start(&mut self) {
        self.0 = Some(Vec::new());
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps a request; its place, to add the answer's status to.
    pub(crate) fn add(&mut self, request: SeenRequest) -> Option<usize> {
        let requests = self.0.as_mut()?;
        requests.push(request);
        Some(requests.len() - 1)
    }

    pub(crate) fn answered(&mut self, place: usize, status: u16) {
        if let Some(request) = self.0.as_mut().and_then(|requests| requests.get_mut(place)) {
            request.status = Some(status);
        }
    }

    pub(crate) fn requests(&self) -> Vec<SeenRequest> {
        self.0.clone().unwrap_or_default()
    }
}
