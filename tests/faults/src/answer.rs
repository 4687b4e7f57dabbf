//! An answer that is written down instead of got from the server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::body::{Body, Ending};
use crate::socket::ResetSwitch;

/// What the client gets in place of the server's answer: a server that misbehaves, or has features of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    pieces: Vec<Bytes>,
    end: AnswerEnd,
}

/// What comes after the last piece of an [`Answer`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum AnswerEnd {
    /// The body ends as it should.
    #[default]
    Complete,
    /// Nothing: the body stays open until the client goes away.
    Open,
    /// The connection is reset.
    Reset,
}

impl Answer {
    /// An answer with this status, without headers and body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), pieces: Vec::new(), end: AnswerEnd::Complete }
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds a piece of the body. Several arrive one after the other, as chunks of a body of unknown length; a single one
    /// that is complete has its length in `Content-Length`.
    pub fn piece(mut self, piece: impl Into<Bytes>) -> Self {
        self.pieces.push(piece.into());
        self
    }

    /// What comes after the last piece. Default: [`AnswerEnd::Complete`].
    pub fn end(mut self, end: AnswerEnd) -> Self {
        self.end = end;
        self
    }

    pub(crate) fn into_response(self, switch: Arc<ResetSwitch>) -> Response<Body> {
        let single = self.pieces.len() <= 1 && self.end == AnswerEnd::Complete;
        let body = if single {
            Body::whole(self.pieces.into_iter().next().unwrap_or_default())
        } else {
            let body = Body::pieces(self.pieces);
            match self.end {
                AnswerEnd::Complete => body,
                AnswerEnd::Open => body.cut(u64::MAX, Ending::Never),
                AnswerEnd::Reset => body.cut(u64::MAX, Ending::Reset(switch)),
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        // The length is that of the pieces, whatever is written down.
        response.headers_mut().remove(CONTENT_LENGTH);
        response
    }
}

/// Between two pieces: long enough for each to leave on its own.
pub(crate) const PIECE_PAUSE: Duration = Duration::from_millis(2);
