//! Errors to responses: one exhaustive match (PROTOCOL.md appendix C).

use std::time::Duration;

use bytes::Bytes;
use everstream::proto::names;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::access::{self, Form};
use super::body::{Body, CollectError};
use super::{insert, truth};
use crate::access::Refusal;
use crate::engine::EngineError;
use crate::storage::{StorageError, StorageErrorKind};

/// Why a request is not served.
#[derive(Debug)]
pub(super) enum HttpError {
    /// A malformed path, header or parameter; says which.
    BadRequest(&'static str),
    /// The body did not arrive.
    Body(CollectError),
    /// The engine refused.
    Engine(EngineError),
    /// The method means nothing here (S-HTTP-4).
    MethodNotAllowed,
    /// Nothing lives at this path.
    NoRoute,
    /// The caller may not do a part of it.
    Refused(Refusal),
    /// The client has made more requests than it may; the time after which it may make one (S-HTTP-13).
    TooManyRequests(Duration),
    /// The body has a coding that the server does not decode (S-HTTP-16).
    UnsupportedCoding,
}

impl From<EngineError> for HttpError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<CollectError> for HttpError {
    fn from(error: CollectError) -> Self {
        Self::Body(error)
    }
}

/// The response to an error: status, the headers that tell causes apart (S-APPEND-7), a short text (S-HTTP-5).
pub(super) fn response(error: &HttpError) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(20);
    let (status, text) = match error {
        HttpError::BadRequest(why) => (StatusCode::BAD_REQUEST, Bytes::from_static(why.as_bytes())),
        HttpError::Body(CollectError::Broken) => (StatusCode::BAD_REQUEST, Bytes::from_static(b"the body broke off")),
        HttpError::Body(CollectError::TooLarge) => {
            (StatusCode::PAYLOAD_TOO_LARGE, Bytes::from_static(b"the body is too large"))
        }
        HttpError::Body(CollectError::TooSlow) => {
            (StatusCode::REQUEST_TIMEOUT, Bytes::from_static(b"the body did not arrive in time"))
        }
        HttpError::Body(CollectError::Crowded) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            (StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(b"too much is being uploaded; try again"))
        }
        HttpError::TooManyRequests(wait) => {
            // Whole seconds, and never so few that the next try is in vain.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            (StatusCode::TOO_MANY_REQUESTS, Bytes::from_static(b"too many requests"))
        }
        HttpError::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, Bytes::from_static(b"method not allowed")),
        HttpError::Refused(refusal) => return access::refused(*refusal, Form::Text),
        HttpError::NoRoute => (StatusCode::NOT_FOUND, Bytes::from_static(b"nothing here")),
        HttpError::UnsupportedCoding => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, Bytes::from_static(b"content coding not supported"))
        }
        HttpError::Engine(error) => (engine_status(error, &mut headers), Bytes::from(error.to_string())),
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, super::cache::NO_STORE);
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn engine_status(error: &EngineError, headers: &mut HeaderMap) -> StatusCode {
    match error {
        EngineError::EmptyArray
        | EngineError::EmptyBody
        | EngineError::ForkBeyondTail
        | EngineError::ForkSubOffsetBeyond
        | EngineError::InvalidJson(_)
        | EngineError::MissingContentType
        | EngineError::NewEpochNotAtZero => StatusCode::BAD_REQUEST,
        EngineError::Fenced { epoch } => {
            headers.insert(names::PRODUCER_EPOCH, HeaderValue::from(*epoch));
            StatusCode::FORBIDDEN
        }
        EngineError::ForkSourceNotFound | EngineError::NotFound => StatusCode::NOT_FOUND,
        EngineError::Closed { tail } => {
            headers.insert(names::STREAM_CLOSED, truth());
            insert(headers, &names::STREAM_NEXT_OFFSET, tail.to_wire().as_str().as_bytes());
            StatusCode::CONFLICT
        }
        EngineError::Gap { expected, received } => {
            headers.insert(names::PRODUCER_EXPECTED_SEQ, HeaderValue::from(*expected));
            headers.insert(names::PRODUCER_RECEIVED_SEQ, HeaderValue::from(*received));
            StatusCode::CONFLICT
        }
        EngineError::ConfigDiffers
        | EngineError::ContentTypeDiffers
        | EngineError::ForkContentTypeDiffers
        | EngineError::ForkSourceSoftDeleted
        | EngineError::PathTaken
        | EngineError::SeqRegression => StatusCode::CONFLICT,
        EngineError::SoftDeleted => StatusCode::GONE,
        EngineError::StreamFull { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        EngineError::TooManyStreams { .. } => StatusCode::INSUFFICIENT_STORAGE,
        EngineError::Storage(error) => storage_status(error, headers),
    }
}

fn storage_status(error: &StorageError, headers: &mut HeaderMap) -> StatusCode {
    tracing::error!(%error, "request failed in storage");
    match error.kind {
        // Nothing was stored and another try may succeed.
        StorageErrorKind::Conflict => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            StatusCode::SERVICE_UNAVAILABLE
        }
        StorageErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
        // The storage does not work now. Whether the change was stored shows when it does again.
        StorageErrorKind::Io => StatusCode::SERVICE_UNAVAILABLE,
    }
}
