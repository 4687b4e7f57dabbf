//! HTTP: routes requests to the engine and writes its answers. The route table is [`App::route`].

mod access;
mod alarm;
mod append;
mod asking;
mod body;
mod budget;
mod cache;
mod compress;
mod cors;
mod create;
mod delete;
mod describe;
mod error;
mod extract;
mod fanout;
mod fault;
mod forwarded;
mod head;
mod list;
mod live;
mod observe;
mod path;
mod probes;
mod progress;
mod rate;
mod read;
pub(crate) mod spare;
mod sse;
mod subscriptions;
mod trace;
mod turn;
mod ui;

use std::borrow::Cow;
use std::fmt;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use everstream::proto::names;
use futures_util::TryFutureExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tokio_util::sync::CancellationToken;

use self::access::Gate;
pub(crate) use self::asking::Asking;
use self::body::Intake;
pub(crate) use self::body::{Block, Body, Part, Room};
use self::budget::Budget;
use self::cors::CommonHeaders;
use self::error::HttpError;
use self::fault::Faults;
pub(crate) use self::forwarded::parse_network;
use self::forwarded::{Forwarded, Proxies};
use self::path::Target;
pub(crate) use self::path::{check_name, encode_name};
pub(crate) use self::probes::answer_admin;
use self::progress::Routed;
pub(crate) use self::progress::{Answered, Fields, Progress, Waiting};
use self::rate::Rate;
pub(crate) use self::turn::Turn;
use crate::access::{Caller, Refusal};
use crate::config::{Config, ConfigError};
use crate::engine::{Engine, EngineError, Position, ReadResult, Stream};
use crate::metrics::{self, Metrics};
use crate::net::ClientIdentity;
use crate::registry::Registry;
use crate::storage::StreamId;
use crate::subscriptions::Subscriptions;

/// How much an answer to a read holds while many readers do not take theirs.
const CROWDED_PIECE: usize = 64 * 1024;

/// What all requests share.
pub(crate) struct App {
    config: Config,
    engine: Engine,
    subscriptions: Subscriptions,
    stop: CancellationToken,
    /// Told to stop.
    is_draining: AtomicBool,
    common: CommonHeaders,
    faults: Option<Faults>,
    gate: Gate,
    metrics: Arc<Metrics>,
    registry: Option<Arc<Registry>>,
    intake: Intake,
    refused_intake: Intake,
    /// Answers that wait for their readers.
    outgoing: Budget,
    rate: Option<Rate>,
    proxies: Option<Proxies>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) addr: SocketAddr,
    /// Who it is by its certificate, if it showed one (`tls.client_ca`).
    pub(crate) identity: Option<ClientIdentity>,
}

/// What a route does.
type Work<'a> = Pin<Box<dyn Future<Output = Result<Routed, HttpError>> + Send + 'a>>;

/// The work of a route that gives an answer.
fn later<'a>(answer: impl Future<Output = Result<Response<Body>, HttpError>> + Send + 'a) -> Work<'a> {
    Box::pin(answer.map_ok(Routed::Answered))
}

/// The connection is to be cut without an answer.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection cut by an injected fault")
    }
}

impl std::error::Error for Cut {}

impl App {
    pub(crate) fn new(
        config: Config,
        engine: Engine,
        subscriptions: Subscriptions,
        stop: CancellationToken,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            common: CommonHeaders::new(&config.server.cors_origin, config.server.cors_credentials)
                .map_err(ConfigError::new)?,
            faults: config.server.fault_injection.then(Faults::default),
            metrics: Arc::default(),
            registry: config.server.registry.then(|| Arc::new(Registry::new(engine.clone()))),
            gate: Gate::new(&config.access, config.server.host).map_err(ConfigError::new)?,
            refused_intake: Intake::of_refused(&config.limits),
            intake: Intake::new(&config.limits),
            outgoing: Budget::new(config.limits.max_outgoing_bytes),
            rate: Rate::new(&config.limits),
            proxies: Proxies::new(&config.server),
            config,
            engine,
            subscriptions,
            stop,
            is_draining: AtomicBool::new(false),
        })
    }

    /// The headers that every answer has, as they are written, if all have the same.
    pub(crate) fn common_headers(&self) -> Option<&Bytes> {
        self.common.text()
    }

    /// What a request is about.
    fn target<'a>(&self, parts: &'a Parts) -> Target<'a> {
        path::target(&self.config.server.stream_root, parts.uri.path())
    }

    /// The route table.
    async fn route<B>(self: &Arc<Self>, parts: &Parts, target: Target<'_>, body: B, asking: &Asking) -> Routed
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        if parts.method == Method::OPTIONS {
            return Routed::Answered(self.common.preflight());
        }
        let result = match parts.uri.path() {
            path @ (probes::HEALTH_PATH | probes::READY_PATH) => {
                probes::health(self, &parts.method, path).map(Routed::Answered)
            }
            path if ui::is_at(self, path) => Box::pin(ui::handle(self, parts)).await.map(Routed::Answered),
            _ => match self.check_rate(parts, &asking.peer) {
                Ok(()) => self.admit(parts, target, body, asking).await,
                Err(error) => Err(error),
            },
        };
        result.unwrap_or_else(|error| {
            let mut response = error::response(&error);
            if matches!(error, HttpError::MethodNotAllowed) {
                let allowed = HeaderValue::from_static("GET, POST, PUT, DELETE, HEAD, OPTIONS");
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            Routed::Answered(response)
        })
    }

    /// Lets a request in, and keeps answers to someone known out of shared caches.
    async fn admit<B>(
        self: &Arc<Self>,
        parts: &Parts,
        target: Target<'_>,
        body: B,
        asking: &Asking,
    ) -> Result<Routed, HttpError>
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        let caller = match self.gate.admit(parts, &target, &asking.peer, &**self.engine.clock()) {
            Ok(caller) => caller,
            Err(refusal) => {
                let counter =
                    if refusal == Refusal::Forbidden { &self.metrics.forbidden } else { &self.metrics.unauthenticated };
                metrics::count(counter, 1);
                Box::pin(body::discard(&parts.headers, body, &self.refused_intake)).await;
                return Ok(Routed::Answered(access::refused(refusal, access::Form::of(&target))));
            }
        };
        if matches!(&target, Target::Stream(name) if name == names::REGISTRY) {
            self.open_registry(&parts.method).await?;
        }
        let mut routed = self.dispatch(parts, target, &caller, body, &asking.turn).await?;
        let for_log = self.config.log.requests.then(|| caller.clone());
        match &mut routed {
            Routed::Answered(response) => {
                access::keep_private(&caller, response);
                if let Some(caller) = for_log {
                    response.extensions_mut().insert(caller);
                }
            }
            Routed::Begun(_, caller) => *caller = for_log,
        }
        Ok(routed)
    }

    /// The routes that do work. They are boxed: a request would hold room for the largest of them, and many wait for long. Two
    /// allocations of less than 1 KiB cost less than a larger one, which allocators keep no list of for each thread.
    fn dispatch<'a, B>(
        self: &'a Arc<Self>,
        parts: &'a Parts,
        target: Target<'a>,
        caller: &'a Caller,
        body: B,
        turn: &'a Turn,
    ) -> Work<'a>
    where
        B: http_body::Body<Data = Bytes> + Send + 'a,
    {
        match (parts.uri.path(), &self.faults) {
            (fault::PATH, Some(faults)) => {
                return later(self.inject(faults, parts, body));
            }
            // Beside the streams only if it has no address of its own.
            (access::METRICS_PATH, _) if self.config.admin.address.is_empty() => {
                return later(ready(probes::metrics(self, &parts.method)));
            }
            (access::METRICS_PATH, _) => return later(ready(Err(HttpError::NoRoute))),
            _ => {}
        }
        match (target, parts.method.as_str()) {
            (Target::Stream(name), "PUT") => {
                later(async move { create::handle(self, &name, parts, body, caller).await })
            }
            (Target::Stream(name), "POST") => Box::pin(async move {
                append::begin(self, &name, parts, body, turn).await.map(|begun| Routed::Begun(begun, None))
            }),
            (Target::Stream(name), "GET") => later(async move { read::handle(self, &name, parts, turn).await }),
            (Target::Stream(name), "HEAD") => later(async move { head::handle(self, &name).await }),
            (Target::Stream(name), "DELETE") => later(async move { delete::handle(self, &name).await }),
            (Target::Control(rest), "GET") if rest == names::LIST_ROUTE => later(list::handle(self, parts.uri.query())),
            (Target::Control(rest), "GET") if describe::is_at(rest) => later(describe::handle(self, rest)),
            (Target::Control(rest), _) if rest != names::LIST_ROUTE => {
                later(subscriptions::handle(self, rest, parts, body))
            }
            (Target::Stream(_) | Target::Control(_), _) => later(ready(Err(HttpError::MethodNotAllowed))),
            (Target::Invalid(why), _) => later(ready(Err(HttpError::BadRequest(why)))),
            (Target::Elsewhere, _) => later(ready(Err(HttpError::NoRoute))),
        }
    }

    /// Opens the registry for whoever wants to read it. Only the server writes it (S-HTTP-4).
    async fn open_registry(&self, method: &Method) -> Result<(), HttpError> {
        match &self.registry {
            Some(_) if matches!(*method, Method::POST | Method::DELETE) => Err(HttpError::MethodNotAllowed),
            Some(registry) => Ok(Box::pin(registry.open()).await?),
            None => Ok(()),
        }
    }

    /// Takes the request out of its client's budget.
    fn check_rate(&self, parts: &Parts, peer: &Peer) -> Result<(), HttpError> {
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        let client = parts.extensions.get::<Forwarded>().map_or_else(|| peer.addr.ip(), |forwarded| forwarded.client);
        rate.check(client).map_err(|wait| {
            metrics::count(&self.metrics.rate_limited, 1);
            HttpError::TooManyRequests(wait)
        })
    }

    async fn inject<B>(&self, faults: &Faults, parts: &Parts, body: B) -> Result<Response<Body>, HttpError>
    where
        B: http_body::Body<Data = Bytes>,
    {
        match parts.method {
            Method::POST => {
                let body = body::collect(body, &self.intake).await?;
                faults.set(&body).map_err(HttpError::BadRequest)?;
            }
            Method::DELETE => faults.clear(),
            _ => return Err(HttpError::MethodNotAllowed),
        }
        Ok(json(StatusCode::OK, b"{\"ok\":true}"))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// How request bodies are taken in.
    fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Room for a request body that its connection takes in.
    pub(crate) fn room_for_body(&self) -> Room {
        self.intake.room()
    }

    /// How much one answer to a read may hold: little while many readers do not take theirs.
    fn piece_bytes(&self) -> usize {
        let most = self.config.limits.max_read_bytes;
        if self.outgoing.is_used_up() { most.min(CROWDED_PIECE) } else { most }
    }

    /// Whether something read is too large to be answered while many readers do not take theirs: one message that is
    /// larger than a small piece.
    fn must_wait(&self, read: &ReadResult) -> bool {
        self.outgoing.is_used_up() && read.len() > CROWDED_PIECE
    }

    /// Reads a piece, when there is room for it.
    async fn read(&self, stream: &Stream, from: Position) -> Result<ReadResult, EngineError> {
        loop {
            let read = stream.read(from, self.piece_bytes()).await?;
            if !self.must_wait(&read) {
                return Ok(read);
            }
            drop(read);
            self.outgoing.freed().await;
        }
    }

    /// Answers that wait for their readers.
    fn outgoing(&self) -> &Budget {
        &self.outgoing
    }

    /// Not ready any more, and about to stop.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Forgets what is not needed any more. Call it now and then.
    pub(crate) fn sweep(&self) {
        if let Some(rate) = &self.rate {
            rate.sweep();
        }
    }

    /// The faults for tests of clients, where the configuration asks for them.
    pub(crate) fn faults(&self) -> Option<&Faults> {
        self.faults.as_ref()
    }

    /// What keeps the registry, if there is to be one.
    pub(crate) fn registry(&self) -> Option<&Arc<Registry>> {
        self.registry.as_ref()
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What lets requests in.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Cancelled when the server shuts down: live reads end.
    fn stop(&self) -> &CancellationToken {
        &self.stop
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The stream root as clients reach it. Without a host there is only the path.
fn base_url(app: &App, parts: &Parts) -> String {
    let root = &app.config.server.stream_root;
    match origin(app, parts) {
        Some(origin) => format!("{origin}{root}"),
        None => root.clone(),
    }
}

/// Scheme and host of the URL that the client used (S-CREATE-9): as configured, or as the request and a trusted proxy
/// say.
fn origin<'a>(app: &'a App, parts: &Parts) -> Option<Cow<'a, str>> {
    if !app.config.server.public_url.is_empty() {
        return Some(Cow::from(&app.config.server.public_url));
    }
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts.headers.get(header::HOST)?.to_str().ok()?,
    };
    // There only if it is from a trusted proxy.
    let forwarded = parts.extensions.get::<Forwarded>().and_then(|forwarded| forwarded.is_https);
    let scheme = if forwarded.unwrap_or_else(|| app.config.tls.is_on()) { "https" } else { "http" };
    Some(format!("{scheme}://{host}").into())
}

fn json(status: StatusCode, body: &'static [u8]) -> Response<Body> {
    let mut response = Response::new(Body::Full(Bytes::from_static(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, cache::NO_STORE);
    response
}

/// Most answers have no more headers of their own. A map for more is several times as large.
const MOST_HEADERS: usize = 6;

/// A 200 without a body, with room for `more` headers than most have, and with those of every 2xx answer about a stream: its
/// position, and which incarnation it is (S-ETAG-5).
fn stream_response(stream: &Stream, next: Position, more: usize) -> Response<Body> {
    let mut headers = spare::headers(MOST_HEADERS + more);
    each_stream_header(stream.meta().id, next, |name, value| insert(&mut headers, name, value));
    let mut response = Response::new(Body::Empty);
    *response.headers_mut() = headers;
    response
}

fn each_stream_header(id: StreamId, next: Position, mut put: impl FnMut(&HeaderName, &[u8])) {
    put(&names::STREAM_NEXT_OFFSET, next.to_wire().as_str().as_bytes());
    put(&names::STREAM_INCARNATION, &id.to_digits());
}

/// Sets a header to what is legal in one.
fn insert(headers: &mut HeaderMap, name: &HeaderName, value: &[u8]) {
    if let Some(value) = spare::value(value) {
        headers.insert(name, value);
    }
}

/// The value of flags (S-READ-4, S-READ-5).
fn truth() -> HeaderValue {
    HeaderValue::from_static(names::TRUE)
}
