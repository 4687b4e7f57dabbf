//! The seam between the driver and the network: tests and simulations put their own behind it.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_core::Stream;
use http::{Method, StatusCode};

use crate::headers::HeaderMap;
use crate::proto::read::Piece;

/// A future in a box.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// The body of a request in pieces.
pub type BoxBody = Pin<Box<dyn Stream<Item = Result<Bytes, TransportError>> + Send>>;
/// The body of an answer in pieces.
pub type BoxPieces = Pin<Box<dyn Stream<Item = Result<Piece, TransportError>> + Send>>;

/// Sends one request and brings back its answer. No retries, no redirect of writes: what is sent again, and
/// when, is decided above.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request; ready when the head of the answer is there. Dropping the future, or the body that it
    /// gives, aborts the exchange.
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>>;
}

/// A complete request.
pub struct HttpRequest {
    /// HTTP method.
    pub method: Method,
    /// Absolute address with query.
    pub url: String,
    /// All headers but those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: RequestBody,
}

/// Called when a body was handed to the connection, or given up.
pub type OnSent = Box<dyn FnOnce() + Send + Sync>;

/// What a request carries.
pub enum RequestBody {
    /// Bytes that are there; `on_sent` is called once they were handed to the connection.
    Bytes {
        /// The content; empty for none.
        data: Bytes,
        /// Called at most once.
        on_sent: Option<OnSent>,
    },
    /// Bytes that come in pieces; their number is not known.
    Stream(BoxBody),
}

/// The head of an answer, and its body as it arrives.
pub struct HttpResponse {
    /// HTTP status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body. An error means that it broke off.
    pub body: BoxPieces,
}

/// Why an exchange failed.
#[derive(Debug)]
pub struct TransportError {
    /// Whether the request provably never left: then even a plain append may be sent again.
    pub not_sent: bool,
    /// No retry helps: the address is malformed, nobody trusts the certificate, and the like.
    pub permanent: bool,
    /// What happened. If it is [`Error`](crate::Error) and `permanent`, callers get just that; any other is
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) to them then.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The innermost error is the one that says something: "connection refused" rather than "client error".
        let mut innermost: &dyn std::error::Error = self.source.as_ref();
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        write!(f, "{innermost}")
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}
