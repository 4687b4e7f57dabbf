//! The one error type of the crate: what happened, to which stream, and what can be done about it.
//!
//! A kind has a stable code string, which Python and Node map to their exception classes
//! (`tests/contract/errors.json`), and carries its own facts. Two questions decide what a caller may do next:
//! [`Error::is_retryable`] and [`Error::outcome_unknown`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::headers::HeaderMap;
use crate::proto::offset::Offset;
use crate::proto::request::Operation;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as data. Cloning is cheap: one failure may answer many receipts.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    operation: Option<Operation>,
    url: Option<Arc<str>>,
    response: Option<ErrorResponse>,
    retryable: bool,
    outcome_unknown: bool,
    retry_after: Option<Duration>,
    failures: Vec<BatchFailure>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The class of an error, with the facts that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The handle, reader or producer was closed or detached before the call, or the lease finished or released.
    AlreadyClosed,
    /// 400 on anything but a read.
    BadRequest,
    /// A producer's buffer is full and the caller asked not to wait.
    BufferFull,
    /// The caller cancelled the operation, or dropped what it needs.
    Cancelled,
    /// 409 on an append: the content type differs from the stream's.
    ContentTypeConflict,
    /// 409 on create: the stream exists with another configuration.
    CreateConflict,
    /// 403 without a producer epoch.
    Forbidden,
    /// 410: soft-deleted, or the offset was dropped by retention.
    Gone,
    /// A defect of this library.
    Internal,
    /// An argument was refused before anything was sent; the message names it.
    InvalidArgument,
    /// 400 on a read: the server does not know the offset.
    InvalidOffset,
    /// A webhook is not known to be from the server: its signature is missing, wrong or old.
    InvalidSignature,
    /// 409 from a subscription: the wake is over, or another worker has it.
    LeaseLost,
    /// No answer: the connection could not be made, or broke.
    Network,
    /// 404: no such stream.
    NotFound,
    /// The server or this library lacks the feature.
    NotSupported,
    /// A body or an event could not be parsed.
    Parse,
    /// 413: more than the server takes in one request.
    PayloadTooLarge,
    /// 403 with a producer epoch: another producer took over with this or a later epoch.
    ProducerFenced {
        /// The epoch that the server holds.
        current_epoch: u64,
    },
    /// The server's answer breaks the protocol.
    Protocol,
    /// 429 after the last retry.
    RateLimited,
    /// 409: `Stream-Seq` is not greater than the last one accepted.
    SequenceConflict,
    /// 409: batches before this one are missing on the server, and this producer does not have them.
    SequenceGap {
        /// The seq that the server waits for.
        expected: u64,
        /// The seq that it received.
        received: u64,
    },
    /// 500, 502 or 504 after the last retry.
    ServerError,
    /// 409: the stream is closed.
    StreamClosed {
        /// Where it ends.
        final_offset: Option<Offset>,
    },
    /// The stream was deleted and created anew, or the server lost data: the offset means nothing any more.
    StreamRecreated,
    /// A time limit passed.
    Timeout,
    /// 401.
    Unauthorized,
    /// 503 after the last retry.
    Unavailable,
    /// Any other status.
    UnexpectedStatus,
}

impl ErrorKind {
    /// The stable code string of the kind; the same in every language.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyClosed => "ALREADY_CLOSED",
            Self::BadRequest => "BAD_REQUEST",
            Self::BufferFull => "BUFFER_FULL",
            Self::Cancelled => "CANCELLED",
            Self::ContentTypeConflict => "CONFLICT_CONTENT_TYPE",
            Self::CreateConflict => "CONFLICT_EXISTS",
            Self::Forbidden => "FORBIDDEN",
            Self::Gone => "RETENTION_GONE",
            Self::Internal => "INTERNAL_ERROR",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::InvalidOffset => "INVALID_OFFSET",
            Self::InvalidSignature => "INVALID_SIGNATURE",
            Self::LeaseLost => "FENCED",
            Self::Network => "NETWORK_ERROR",
            Self::NotFound => "NOT_FOUND",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::Parse => "PARSE_ERROR",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::ProducerFenced { .. } => "STALE_EPOCH",
            Self::Protocol => "PROTOCOL_ERROR",
            Self::RateLimited => "RATE_LIMITED",
            Self::SequenceConflict => "CONFLICT_SEQ",
            Self::SequenceGap { .. } => "SEQUENCE_GAP",
            Self::ServerError => "SERVER_ERROR",
            Self::StreamClosed { .. } => "STREAM_CLOSED",
            Self::StreamRecreated => "STREAM_RECREATED",
            Self::Timeout => "TIMEOUT",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unavailable => "BUSY",
            Self::UnexpectedStatus => "UNEXPECTED_STATUS",
        }
    }

    /// Whether the same call may succeed later, unless the error says otherwise.
    fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::BufferFull
                | Self::Network
                | Self::RateLimited
                | Self::ServerError
                | Self::Timeout
                | Self::Unavailable
        )
    }
}

/// The HTTP answer behind an error, kept for diagnosis only (C-ERR-3).
#[derive(Clone, Debug)]
pub struct ErrorResponse {
    /// HTTP status.
    pub status: u16,
    /// All headers of the answer.
    pub headers: HeaderMap,
    /// The start of the body, where it was read and is text.
    pub body: Option<String>,
}

/// Messages of a producer that were not stored, or may not have been.
#[derive(Clone, Debug)]
pub struct BatchFailure {
    /// Ordinal of the first message, counted from 0 in the order of `append`.
    pub first_message: u64,
    /// How many messages in a row.
    pub messages: u64,
    /// Why; [`Error::outcome_unknown`] tells whether they may have been stored all the same.
    pub error: Error,
}

impl Error {
    /// An error of a kind, with a message that says what happened and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retryable = kind.is_transient();
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            url: None,
            response: None,
            retryable,
            outcome_unknown: false,
            retry_after: None,
            failures: Vec::new(),
            source: None,
        }))
    }

    /// An argument that was refused before anything was sent (C-VAL-1). The message names the parameter.
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Names the operation and the stream, unless they are named already.
    #[must_use]
    pub fn with_context(self, operation: Operation, url: &Arc<str>) -> Self {
        self.with(|inner| {
            inner.operation.get_or_insert(operation);
            inner.url.get_or_insert_with(|| url.clone());
        })
    }

    /// Puts what it means for the caller before the message.
    #[must_use]
    pub(crate) fn prefixed(self, what: String) -> Self {
        self.with(|inner| inner.message = format!("{what}: {}", inner.message))
    }

    /// The same failure, of a class that only what called can tell.
    #[must_use]
    pub(crate) fn reclassified(self, kind: ErrorKind, message: &str) -> Self {
        self.with(|inner| {
            inner.retryable = kind.is_transient();
            inner.kind = kind;
            inner.message = message.to_owned();
        })
    }

    /// Keeps the error below.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.with(|inner| inner.source = Some(Arc::from(source.into())))
    }

    /// Keeps the HTTP answer.
    #[must_use]
    pub fn with_response(self, response: ErrorResponse) -> Self {
        self.with(|inner| inner.response = Some(response))
    }

    /// Adds the body of the answer for diagnosis.
    #[must_use]
    pub fn with_body(self, body: String) -> Self {
        self.with(|inner| {
            if let Some(response) = &mut inner.response {
                response.body = Some(body);
            }
        })
    }

    /// Says that a write may or may not have been stored.
    #[must_use]
    pub fn with_outcome_unknown(self, unknown: bool) -> Self {
        self.with(|inner| inner.outcome_unknown = unknown)
    }

    /// Says how long the server asked to wait.
    #[must_use]
    pub fn with_retry_after(self, delay: Option<Duration>) -> Self {
        self.with(|inner| inner.retry_after = delay)
    }

    /// Lists the messages that a producer could not store.
    #[must_use]
    pub fn with_failures(self, failures: Vec<BatchFailure>) -> Self {
        self.with(|inner| inner.failures = failures)
    }

    /// What a flush says of messages that were not stored; `None` when there are none.
    pub(crate) fn of_failures(mut failures: Vec<BatchFailure>) -> Option<Self> {
        failures.sort_unstable_by_key(|failure| failure.first_message);
        let first = failures.first()?;
        let lost: u64 = failures.iter().map(|failure| failure.messages).sum();
        let unknown = failures.iter().any(|failure| failure.error.outcome_unknown());
        let what = format!("{lost} message(s) were not stored, from number {} on", first.first_message);
        let error = first.error.clone().prefixed(what).with_outcome_unknown(unknown);
        Some(error.with_failures(failures))
    }

    /// The class of the error and its facts.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The stable code string, such as `NOT_FOUND`.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// What happened, without the stream's address.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What was tried.
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// The stream's URL, without credentials and query.
    pub fn url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }

    /// HTTP status, if the server answered.
    pub fn status(&self) -> Option<u16> {
        self.0.response.as_ref().map(|response| response.status)
    }

    /// The HTTP answer behind the error.
    pub fn response(&self) -> Option<&ErrorResponse> {
        self.0.response.as_ref()
    }

    /// Whether the same call may succeed later. A write with [`outcome_unknown`](Self::outcome_unknown) may
    /// then be stored twice, unless it goes through a producer.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether a write may have been stored although it failed: the request left, and no answer came.
    pub fn outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }

    /// How long the server asked to wait (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Of a producer: every run of messages that was not stored since the last flush.
    pub fn failures(&self) -> &[BatchFailure] {
        &self.0.failures
    }

    /// Where a closed stream ends, if that is what the error says.
    pub fn final_offset(&self) -> Option<&Offset> {
        match &self.0.kind {
            ErrorKind::StreamClosed { final_offset } => final_offset.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}")?;
            if let Some(url) = &self.0.url {
                write!(f, " {url}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(status) = self.status() {
            write!(f, " (HTTP {status})")?;
        }
        if self.0.outcome_unknown {
            f.write_str("; it is not known whether the data was stored")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Derived, so that the build for pages, which shows nothing by `Debug`, has none of it.
        #[derive(Debug)]
        #[allow(dead_code, reason = "it is shown")]
        struct Error<'a> {
            kind: &'a ErrorKind,
            message: String,
            retryable: bool,
            failures: usize,
            source: Option<&'a (dyn std::error::Error + Send + Sync)>,
        }
        let Inner { kind, retryable, failures, source, .. } = &*self.0;
        let (message, failures, source) = (self.to_string(), failures.len(), source.as_deref());
        Error { kind, message, retryable: *retryable, failures, source }.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Every kind once, in the order of the enum.
    fn all_kinds() -> Vec<ErrorKind> {
        use ErrorKind::*;
        let kinds = vec![
            AlreadyClosed,
            BadRequest,
            BufferFull,
            Cancelled,
            ContentTypeConflict,
            CreateConflict,
            Forbidden,
            Gone,
            Internal,
            InvalidArgument,
            InvalidOffset,
            InvalidSignature,
            LeaseLost,
            Network,
            NotFound,
            NotSupported,
            Parse,
            PayloadTooLarge,
            ProducerFenced { current_epoch: 1 },
            Protocol,
            RateLimited,
            SequenceConflict,
            SequenceGap { expected: 1, received: 2 },
            ServerError,
            StreamClosed { final_offset: None },
            StreamRecreated,
            Timeout,
            Unauthorized,
            Unavailable,
            UnexpectedStatus,
        ];
        // A new kind does not compile until it stands here, and above.
        for kind in &kinds {
            match kind {
                AlreadyClosed | BadRequest | BufferFull | Cancelled | ContentTypeConflict | CreateConflict => {}
                Forbidden | Gone | Internal | InvalidArgument | InvalidOffset | InvalidSignature => {}
                LeaseLost | Network | NotFound => {}
                NotSupported | Parse | PayloadTooLarge | ProducerFenced { .. } | Protocol | RateLimited => {}
                SequenceConflict | SequenceGap { .. } | ServerError | StreamClosed { .. } | StreamRecreated => {}
                Timeout | Unauthorized | Unavailable | UnexpectedStatus => {}
            }
        }
        kinds
    }

    #[test]
    fn kinds_and_codes_are_those_of_the_contract_of_all_languages() {
        let contract: Vec<Value> = serde_json::from_str(include_str!("../../tests/contract/errors.json")).unwrap();
        let kinds = all_kinds();
        assert_eq!(contract.len(), kinds.len());
        for (row, kind) in contract.iter().zip(&kinds) {
            let name = format!("{kind:?}");
            assert_eq!(row["kind"], name.split([' ', '{']).next().unwrap());
            assert_eq!(row["code"], kind.code());
            assert_eq!(row["retryable"], Error::new(kind.clone(), "").is_retryable(), "{name}");
        }
    }

    #[test]
    fn a_message_says_what_happened_to_which_stream_and_what_is_unknown() {
        let error = Error::new(ErrorKind::Network, "the connection broke")
            .with_context(Operation::Append, &Arc::from("http://h/s"))
            .with_outcome_unknown(true);
        assert_eq!(
            error.to_string(),
            "append http://h/s: the connection broke; it is not known whether the data was stored"
        );
    }
}
