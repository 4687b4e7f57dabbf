//! `POST`: append, close, or both (PROTOCOL.md section 8).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use everstream::proto::{control, names};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::body;
use super::error::{self, HttpError};
use super::observe::REQUEST_ID;
use super::progress::{Answered, Fields};
use super::{App, Turn, each_stream_header, extract};
use crate::engine::{Append, Appending, Outcome, Payload, Receipt};
use crate::metrics;
use crate::storage::StreamId;

/// An append that has its place in the order of its stream.
pub(super) struct Begun {
    stream: StreamId,
    appending: Appending,
    body_bytes: u64,
}

/// What is answered when an append is durable: a status and headers.
pub(crate) struct Confirmation {
    stream: StreamId,
    receipt: Receipt,
    request_id: Option<HeaderValue>,
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
    let id = stream.meta().id;
    let appending = stream.begin_append(append)?;
    turn.pass();
    Ok(Begun { stream: id, appending, body_bytes })
}

impl Begun {
    /// Its answer, as soon as it is durable.
    pub(super) fn poll(&mut self, app: &App, cx: &mut Context<'_>) -> Poll<Answered> {
        let answered = match ready!(Pin::new(&mut self.appending).poll(cx)) {
            Ok(receipt) => {
                match receipt.outcome {
                    Outcome::Appended => metrics::count(&app.metrics().appended_bytes, self.body_bytes),
                    Outcome::Duplicate => metrics::count(&app.metrics().duplicate_appends, 1),
                    Outcome::Closed => {}
                }
                Answered::Confirmed(Confirmation { stream: self.stream, receipt, request_id: None })
            }
            Err(error) => Answered::Response(error::response(&error.into())),
        };
        Poll::Ready(answered)
    }
}

impl Confirmation {
    pub(crate) fn status(&self) -> StatusCode {
        match self.receipt.outcome {
            Outcome::Appended if self.receipt.producer.is_some() => StatusCode::OK,
            Outcome::Appended | Outcome::Closed | Outcome::Duplicate => StatusCode::NO_CONTENT,
        }
    }

    /// Names the request that it answers.
    pub(super) fn set_request_id(&mut self, id: Option<HeaderValue>) {
        self.request_id = id;
    }
}

impl Fields for Confirmation {
    fn each(&self, mut put: impl FnMut(&HeaderName, &[u8])) {
        let receipt = &self.receipt;
        each_stream_header(self.stream, receipt.next, &mut put);
        if receipt.closed {
            put(&names::STREAM_CLOSED, names::TRUE.as_bytes());
        }
        if let Some((epoch, seq)) = receipt.producer {
            put(&names::PRODUCER_EPOCH, epoch.to_string().as_bytes());
            put(&names::PRODUCER_SEQ, seq.to_string().as_bytes());
        }
        if let Some(id) = &self.request_id {
            put(&REQUEST_ID, id.as_bytes());
        }
    }
}
