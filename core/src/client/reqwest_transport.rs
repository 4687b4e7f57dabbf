//! The transport of everyday use: reqwest with rustls.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use reqwest::Url;

use super::transport::{BoxFuture, HttpRequest, HttpResponse, OnSent, RequestBody, Transport, TransportError};
use crate::proto::read::Piece;

/// Carries requests over a [`reqwest::Client`].
pub(super) struct ReqwestTransport {
    client: reqwest::Client,
    /// The address of the last request. A writer asks for the same one again and again, and taking an address apart is a
    /// twentieth of what an append costs here.
    last: Mutex<Option<Url>>,
}

impl ReqwestTransport {
    pub(super) fn new(client: reqwest::Client) -> Self {
        Self { client, last: Mutex::default() }
    }

    /// The address in its parts, if it is one.
    fn parse(&self, url: &str) -> Option<Url> {
        // No change of it can be left half done.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|last| last.as_str() != url) {
            *last = Some(Url::parse(url).ok()?);
        }
        last.clone()
    }
}

impl Transport for ReqwestTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let body = match request.body {
            RequestBody::Bytes { data, on_sent: None } if data.is_empty() => None,
            RequestBody::Bytes { data, on_sent: None } => Some(reqwest::Body::from(data)),
            RequestBody::Bytes { data, on_sent } => Some(reqwest::Body::wrap(NotifyingBody::new(data, on_sent))),
            RequestBody::Stream(stream) => Some(reqwest::Body::wrap_stream(stream)),
        };
        let builder = match self.parse(&request.url) {
            Some(url) => self.client.request(request.method, url),
            // It is told what is wrong with it.
            None => self.client.request(request.method, request.url),
        };
        let mut builder = builder.headers(request.headers);
        if let Some(body) = body {
            builder = builder.body(body);
        }
        Box::pin(async move {
            let (head, body) = http::Response::from(builder.send().await.map_err(refused)?).into_parts();
            Ok(HttpResponse { status: head.status, headers: head.headers, body: Box::pin(Body(body)) })
        })
    }
}

fn refused(error: reqwest::Error) -> TransportError {
    TransportError {
        not_sent: error.is_connect() || error.is_builder(),
        permanent: error.is_builder(),
        // The address is named by the error that wraps this one, without credentials.
        source: error.without_url().into(),
    }
}

/// The data frames of an answer.
struct Body(reqwest::Body);

impl Stream for Body {
    type Item = Result<Piece, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = std::task::ready!(http_body::Body::poll_frame(Pin::new(&mut self.0), context));
            return Poll::Ready(match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data.into())),
                    // Trailers mean nothing to the protocol.
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    Some(Err(TransportError { not_sent: false, permanent: false, source: error.into() }))
                }
                None => None,
            });
        }
    }
}

/// A body of known length that tells when it was taken by the connection.
struct NotifyingBody {
    data: Bytes,
    on_sent: Option<OnSent>,
}

impl NotifyingBody {
    /// Handed over in pieces: a connection takes the next one only when it has room, so the last one being taken
    /// means that most of the body is on the wire.
    const PIECE: usize = 128 << 10;

    fn new(data: Bytes, on_sent: Option<OnSent>) -> Self {
        Self { data, on_sent }
    }
}

impl http_body::Body for NotifyingBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if self.data.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.data.len().min(Self::PIECE);
        Poll::Ready(Some(Ok(http_body::Frame::data(self.data.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.data.len() as u64)
    }
}

impl Drop for NotifyingBody {
    /// A connection drops a body as soon as it took all of it.
    fn drop(&mut self) {
        if let Some(on_sent) = self.on_sent.take() {
            on_sent();
        }
    }
}
