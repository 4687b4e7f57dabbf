//! The transport of everyday use: reqwest with rustls.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use reqwest::Url;
use rustls::AlertDescription;

use super::transport::{BoxFuture, HttpRequest, HttpResponse, OnSent, RequestBody, Transport, TransportError};
use crate::error::{Error, ErrorKind};
use crate::proto::read::Piece;

/// Carries requests over a [`reqwest::Client`].
pub(super) struct ReqwestTransport {
    client: reqwest::Client,
    /// The address of the last request. A writer asks for the same one again and again, and taking an address apart is a
    /// twentieth of what an append costs here.
    last: Mutex<Option<Url>>,
    trusted: Arc<Trusted>,
}

impl ReqwestTransport {
    pub(super) fn new(client: reqwest::Client) -> Self {
        Self { client, last: Mutex::default(), trusted: Arc::default() }
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
        let trusted = self.trusted.clone();
        Box::pin(async move {
            let answer = builder.send().await.map_err(|error| refused(error, &trusted))?;
            trusted.note(answer.url());
            let (head, body) = http::Response::from(answer).into_parts();
            Ok(HttpResponse { status: head.status, headers: head.headers, body: Box::pin(Body(body)) })
        })
    }
}

/// Hosts that have answered over TLS: they are the right ones, and so are the certificates that are trusted.
#[derive(Default)]
struct Trusted(Mutex<HashSet<Box<str>>>);

impl Trusted {
    fn note(&self, url: &Url) {
        if let ("https", Some(host)) = (url.scheme(), url.host_str()) {
            let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !hosts.contains(host) {
                hosts.insert(host.into());
            }
        }
    }

    fn has(&self, url: &Url) -> bool {
        url.host_str().is_some_and(|host| self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(host))
    }
}

/// What an error means. A certificate that one side does not trust is a setting to be mended, and told at once; with a host that
/// has answered before, it is a trouble that may pass like any other.
fn refused(error: reqwest::Error, trusted: &Trusted) -> TransportError {
    let not_sent = error.is_connect() || error.is_builder();
    let permanent = error.is_builder();
    let is_known = error.url().is_some_and(|url| trusted.has(url));
    // The address is named by the error that wraps this one, without credentials.
    let error = error.without_url();
    if let Some(message) = mistrust(&error).filter(|_| !is_known) {
        let source = Error::new(ErrorKind::Network, message).with_source(error);
        // Nobody looks at a request before it is known whose it is.
        return TransportError { not_sent: true, permanent: true, source: source.into() };
    }
    TransportError { not_sent, permanent, source: error.into() }
}

/// Whose certificate was refused and why, if that is what happened.
fn mistrust(error: &reqwest::Error) -> Option<String> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        match error.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(why)) => {
                return Some(format!(
                    "the server's certificate is not trusted: {why}; trust who issued it, or use the name it is for"
                ));
            }
            Some(rustls::Error::AlertReceived(alert)) if is_about_certificates(*alert) => {
                return Some(format!(
                    "the server does not take the client's certificate ({alert:?}); show it one that it trusts"
                ));
            }
            _ => {}
        }
        // What an error of I/O holds is not its source: that is the source of what it holds.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

/// Whether a server says by an alert that it refuses the certificate of the client, or misses one (RFC 8446 section 6.2).
fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
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
