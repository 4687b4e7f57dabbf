//! One try of one request, and single requests through all their tries.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tracing::Instrument as _;

use super::extras::Extras;
use super::runtime::{self, Clock};
use super::transport::{BoxBody, BoxFuture, BoxPieces, HttpRequest, RequestBody, Transport, TransportError};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::Instant;
use crate::proto::call::{Call, Step};
use crate::proto::request::Request;
use crate::proto::response::{Disconnect, ResponseHead};
use crate::proto::retry::RetryPolicy;
use crate::proto::url::StreamUrl;

/// A later moment is none that a timer waits for; the clock of the operating system may end before `Duration::MAX`.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// As much of an error's body is kept for diagnosis.
pub(super) const ERROR_BODY_BYTES: usize = 4096;

/// Asked before an operation fails for good; `Some` is "try once more", with these over what was sent before.
pub(super) type ErrorHook = Arc<dyn Fn(Error) -> BoxFuture<Option<Extras>> + Send + Sync>;

/// Told of each try that failed.
pub(super) type AttemptHook = Arc<dyn Fn() + Send + Sync>;

/// What all streams of a client share.
pub(super) struct Core {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) base_url: Option<String>,
    pub(super) extras: Extras,
    pub(super) retry: RetryPolicy,
    pub(super) request_timeout: Duration,
    pub(super) on_error: Option<ErrorHook>,
    pub(super) on_failed_attempt: Option<AttemptHook>,
    started: Clock,
    seed: u64,
}

/// Where a request goes, and what the caller adds to it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) url: StreamUrl,
    pub(super) extras: Extras,
}

impl Target {
    /// What the caller adds from here on; it wins over what was there.
    pub(super) fn add(&mut self, extras: &Extras) {
        self.extras = self.extras.merged(extras);
    }
}

/// A request through all its tries. In a box: it is large, and otherwise a part of each operation, which a page downloads.
pub(super) type Calling<'a> = Pin<Box<dyn Future<Output = Result<(ResponseHead, Bytes)>> + Send + 'a>>;

/// The answer to one try.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) body: BoxPieces,
}

/// Why one try has no answer.
pub(super) enum Failure {
    /// The network; a machine says what follows.
    Lost(Disconnect),
    /// The caller's own function, or a setting that no retry mends.
    Fatal(Error),
}

impl Core {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        base_url: Option<String>,
        extras: Extras,
        retry: RetryPolicy,
        request_timeout: Duration,
        on_error: Option<ErrorHook>,
        on_failed_attempt: Option<AttemptHook>,
    ) -> Result<Self> {
        let seed = runtime::random()?;
        Ok(Self {
            transport,
            base_url,
            extras,
            retry,
            request_timeout,
            on_error,
            on_failed_attempt,
            started: Clock::now(),
            seed,
        })
    }

    /// A URL of the caller's; one that starts with `/` is below the base URL.
    pub(super) fn join<'a>(&self, url: &'a str) -> Cow<'a, str> {
        match &self.base_url {
            Some(base) if url.starts_with('/') => format!("{}{url}", base.trim_end_matches('/')).into(),
            _ => url.into(),
        }
    }

    /// The driver's clock, as the machines know it.
    pub(super) fn now(&self) -> Instant {
        self.started.elapsed()
    }

    /// A moment of [`now`](Self::now) on the runtime's clock.
    pub(super) fn at(&self, moment: Instant) -> Clock {
        self.started + moment.min(FAR)
    }

    /// A seed for a machine's jitter.
    pub(super) fn seed(&self) -> u64 {
        self.seed.wrapping_add(self.now().as_nanos() as u64)
    }

    /// Asks the caller whether a failed operation is to be tried once more, and with what.
    pub(super) async fn mend(&self, error: &Error) -> Option<Extras> {
        match &self.on_error {
            Some(hook) => hook(error.clone()).await,
            None => None,
        }
    }

    pub(super) fn has_error_hook(&self) -> bool {
        self.on_error.is_some()
    }

    /// Sends one try: the caller's functions are asked anew (C-REQ-6); if one fails nothing is sent (C-REQ-7).
    pub(super) async fn send(
        &self,
        target: &Target,
        request: &Request,
        body: RequestBody,
    ) -> std::result::Result<Answer, Failure> {
        let (mut headers, params) = target.extras.resolve().await.map_err(Failure::Fatal)?;
        request.take_over(&mut headers);
        let url = target.url.with_query(&params, &request.query);
        let answer = self.transport.send(HttpRequest { method: request.method.clone(), url, headers, body }).await;
        let failed = answer.as_ref().map_or(true, |it| it.status.is_client_error() || it.status.is_server_error());
        if failed {
            self.try_failed();
        }
        match answer {
            Ok(answer) => {
                let (operation, url) = (request.operation, target.url.shown());
                tracing::trace!(%operation, %url, status = answer.status.as_u16(), "answered");
                let head = ResponseHead::new(answer.status, answer.headers, runtime::system_time());
                Ok(Answer { head, body: answer.body })
            }
            Err(error) if error.permanent => {
                let unknown = !error.not_sent && !request.method.is_safe();
                Err(Failure::Fatal(permanent(error).with_outcome_unknown(unknown)))
            }
            Err(error) => Err(Failure::Lost(disconnect(error))),
        }
    }

    /// Tells the caller of a try that failed. Tries that are given up for want of an answer never end in [`send`](Self::send).
    pub(super) fn try_failed(&self) {
        if let Some(hook) = &self.on_failed_attempt {
            hook();
        }
    }

    /// A single request through its retries, as the machine decides them.
    ///
    /// Cancel safe in that dropping it aborts the try; whether a write was stored is then unknown.
    pub(super) fn call<'a>(&'a self, target: &'a Target, request: Request) -> Calling<'a> {
        let operation = request.operation;
        let span = tracing::debug_span!("everstream", %operation, url = %target.url.shown());
        let calling = async move {
            let mut target = Cow::Borrowed(target);
            loop {
                let error = match self.call_once(&target, request.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error.with_context(operation, target.url.shown()),
                };
                // A write that may have been stored is not the hook's to repeat.
                if error.outcome_unknown() {
                    return Err(error);
                }
                match self.mend(&error).await {
                    Some(extras) => target.to_mut().add(&extras),
                    None => return Err(error),
                }
            }
        };
        Box::pin(calling.instrument(span))
    }

    async fn call_once(&self, target: &Target, request: Request) -> Result<(ResponseHead, Bytes)> {
        let mut call = Call::new(request, self.retry.clone(), self.seed());
        loop {
            call.handle_sent(self.now());
            let body = RequestBody::Bytes { data: call.request().body.clone(), on_sent: None };
            let outcome = runtime::timeout(self.request_timeout, async {
                let answer = self.send(target, call.request(), body).await?;
                let limit = if answer.head.status.is_success() { usize::MAX } else { ERROR_BODY_BYTES };
                let body = collect(answer.body, limit).await.map_err(|error| Failure::Lost(disconnect(error)));
                // The status says it all; the body of an error is only for diagnosis (C-ERR-3).
                let body = if limit == usize::MAX { body? } else { body.unwrap_or_default() };
                Ok((answer.head, body))
            })
            .await;
            let (step, body) = match outcome {
                Ok(Ok((head, body))) => (call.handle_response(head, self.now()), body),
                Ok(Err(Failure::Fatal(error))) => return Err(call.handle_fatal(error)),
                Ok(Err(Failure::Lost(cause))) => (call.handle_disconnect(cause, self.now()), Bytes::new()),
                Err(_) => {
                    self.try_failed();
                    (call.handle_disconnect(timed_out(self.request_timeout), self.now()), Bytes::new())
                }
            };
            match step {
                Step::Done(Ok(head)) => return Ok((head, body)),
                Step::Done(Err(error)) => return Err(with_body(error, &body)),
                Step::Retry(at, error) => {
                    tracing::debug!(url = %target.url.shown(), %error, "trying again");
                    runtime::sleep_until(self.at(at)).await;
                }
            }
        }
    }

    /// A request whose body can be sent only once, and whose answer has no body that matters.
    pub(super) fn send_stream<'a>(&'a self, target: &'a Target, request: Request, body: BoxBody) -> Calling<'a> {
        Box::pin(async move {
            let result = match self.send(target, &request, RequestBody::Stream(body)).await {
                Ok(answer) if answer.head.status.is_success() => Ok((answer.head, Bytes::new())),
                Ok(answer) => {
                    let unknown = answer.head.is_transient() && !answer.head.did_nothing();
                    let error = answer.head.to_error(&request).with_outcome_unknown(unknown);
                    Err(with_body(error, &collect(answer.body, ERROR_BODY_BYTES).await.unwrap_or_default()))
                }
                Err(Failure::Lost(cause)) => Err(cause.error.with_outcome_unknown(!cause.not_sent)),
                Err(Failure::Fatal(error)) => Err(error),
            };
            result.map_err(|error| error.with_context(request.operation, target.url.shown()))
        })
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("base_url", &self.base_url).field("extras", &self.extras).finish_non_exhaustive()
    }
}

/// What no retry mends: as the transport itself says it, or else something about the request that cannot be.
fn permanent(error: TransportError) -> Error {
    match error.source.downcast::<Error>() {
        Ok(said) => *said,
        Err(source) => {
            let error = TransportError { source, ..error };
            Error::invalid_argument(error.to_string()).with_source(error)
        }
    }
}

/// How the machines hear of a transport error.
pub(super) fn disconnect(error: TransportError) -> Disconnect {
    let what = if error.not_sent { "no connection to the server" } else { "the connection broke" };
    Disconnect {
        not_sent: error.not_sent,
        error: Error::new(ErrorKind::Network, format!("{what}: {error}")).with_source(error),
    }
}

fn timed_out(limit: Duration) -> Disconnect {
    let error = Error::new(ErrorKind::Timeout, format!("no answer within {} ms", limit.as_millis() as u64));
    Disconnect { not_sent: false, error }
}

pub(super) fn with_body(error: Error, body: &[u8]) -> Error {
    match std::str::from_utf8(body) {
        Ok(text) if !text.is_empty() => error.with_body(text.to_owned()),
        _ => error,
    }
}

/// The whole body, or its first `limit` bytes.
pub(super) async fn collect(mut body: BoxPieces, limit: usize) -> std::result::Result<Bytes, TransportError> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(piece) = std::future::poll_fn(|context| body.as_mut().poll_next(context)).await {
        let piece = piece?.into_bytes();
        match (first.is_empty(), joined.is_empty()) {
            (true, _) => first = piece,
            (false, true) => {
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&piece);
            }
            (false, false) => joined.extend_from_slice(&piece),
        }
        if first.len().max(joined.len()) >= limit {
            break;
        }
    }
    let mut whole = if joined.is_empty() { first } else { joined.freeze() };
    whole.truncate(limit);
    Ok(whole)
}
