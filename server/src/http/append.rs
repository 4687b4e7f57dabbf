//! `POST`: append, close, or both (PROTOCOL.md section 8).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use everstream::proto::{control, names};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::{self, Body};
use super::error::{self, HttpError};
use super::{App, MOST_HEADERS, Turn, extract, spare, stream_headers, truth};
use crate::access::Caller;
use crate::engine::{Append, Appending, Outcome, Payload, Receipt, Stream};
use crate::metrics;

/// An append that has its place in the order of its stream.
pub(super) struct Begun {
    stream: Arc<Stream>,
    appending: Appending,
    body_bytes: u64,
    /// For the log of requests, if there is one.
    pub(super) caller: Option<Caller>,
}

/// Takes the request in and begins the append.
pub(super) async fn begin<B>(
    app: &Arc<App>,
    name: &str,
    parts: &Parts,
    body: B,
    turn: &Turn,
) -> Result<Begun, HttpError>
where
    B: http_body::Body<Data = Bytes>,
{
    let producer = extract::producer(&parts.headers);
    // The body is taken in before anything is refused, so that the connection can be used again.
    let body = body::collect(body, app.intake()).await;
    let (producer, body) = (producer?, body?);
    if !body.is_empty() {
        extract::check_coding(&parts.headers)?;
    }
    let stream = app.engine().stream(name).await?;
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let body_bytes = body.len() as u64;
    let append = Append {
        content_type: content_type.map(HeaderValue::as_bytes),
        payload: Payload::frame(stream.format(), body),
        close: control::is_closed(&parts.headers),
        producer,
        stream_seq: extract::stream_seq(&parts.headers),
    };
    let appending = stream.begin_append(append)?;
    turn.pass();
    Ok(Begun { stream, appending, body_bytes, caller: None })
}

impl Begun {
    /// Its answer, as soon as it is durable.
    pub(super) fn poll(&mut self, app: &App, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let mut response = match ready!(Pin::new(&mut self.appending).poll(cx)) {
            Ok(receipt) => self.confirm(app, &receipt),
            Err(error) => error::response(&error.into()),
        };
        if let Some(caller) = self.caller.take() {
            response.extensions_mut().insert(caller);
        }
        Poll::Ready(response)
    }

    fn confirm(&self, app: &App, receipt: &Receipt) -> Response<Body> {
        match receipt.outcome {
            Outcome::Appended => metrics::count(&app.metrics().appended_bytes, self.body_bytes),
            Outcome::Duplicate => metrics::count(&app.metrics().duplicate_appends, 1),
            Outcome::Closed => {}
        }

        let mut response = Response::new(Body::Empty);
        *response.status_mut() = match receipt.outcome {
            Outcome::Appended if receipt.producer.is_some() => StatusCode::OK,
            Outcome::Appended | Outcome::Closed | Outcome::Duplicate => StatusCode::NO_CONTENT,
        };
        *response.headers_mut() = spare::headers(MOST_HEADERS);
        let headers = response.headers_mut();
        stream_headers(headers, &self.stream, receipt.next);
        if receipt.closed {
            headers.insert(names::STREAM_CLOSED, truth());
        }
        if let Some((epoch, seq)) = receipt.producer {
            headers.insert(names::PRODUCER_EPOCH, HeaderValue::from(epoch));
            headers.insert(names::PRODUCER_SEQ, HeaderValue::from(seq));
        }
        response
    }
}
