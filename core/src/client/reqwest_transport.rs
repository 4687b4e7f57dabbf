//! The transport of everyday use: reqwest with rustls.

use bytes::Bytes;
use futures_core::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::transport::{BoxFuture, HttpRequest, HttpResponse, NotifyingBody, RequestBody, Transport, TransportError};

/// Carries requests over a [`reqwest::Client`].
#[derive(Clone, Debug)]
pub(super) struct ReqwestTransport(pub(super) reqwest::Client);

impl Transport for ReqwestTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let body = match request.body {
            RequestBody::Bytes { data, on_sent: None } if data.is_empty() => None,
            RequestBody::Bytes { data, on_sent: None } => Some(reqwest::Body::from(data)),
            RequestBody::Bytes { data, on_sent } => Some(reqwest::Body::wrap(NotifyingBody::new(data, on_sent))),
            RequestBody::Stream(stream) => Some(reqwest::Body::wrap_stream(stream)),
        };
        let mut builder = self.0.request(request.method, request.url).headers(request.headers);
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
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = std::task::ready!(http_body::Body::poll_frame(Pin::new(&mut self.0), context));
            return Poll::Ready(match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
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
