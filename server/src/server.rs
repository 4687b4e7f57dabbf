//! Starting, running and stopping a server.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::access::AccessConfig;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError, UiMode};
use crate::engine::{Engine, EngineError, EngineLimits};
use crate::http::{App, Asking, Peer, Turn};
use crate::net::{self, Net, Tls};
use crate::storage::{MemoryStorage, Storage};
use crate::subscriptions::Subscriptions;
use crate::watch::{self, WatchedFile};

/// A server that is not running. See [`Server::builder`].
#[derive(Debug)]
pub struct Server(());

impl Server {
    /// Describes a server, starting from the defaults of [`Config`].
    pub fn builder() -> ServerBuilder {
        ServerBuilder { config: Config::default(), storage: None, clock: Arc::new(SystemClock) }
    }
}

/// Describes a server; [`start`](Self::start) runs it. Each option is documented with its default in [`Config`].
#[must_use = "a builder does nothing until it is started"]
pub struct ServerBuilder {
    config: Config,
    storage: Option<Arc<dyn Storage>>,
    clock: Arc<dyn Clock>,
}

impl ServerBuilder {
    /// Replaces all options at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where to listen: [`Serving::host`](crate::config::Serving::host) and port.
    pub fn bind(mut self, addr: impl Into<SocketAddr>) -> Self {
        let addr = addr.into();
        (self.config.server.host, self.config.server.port) = (addr.ip(), addr.port());
        self
    }

    /// Where streams are kept. Default: a new [`MemoryStorage`].
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// The clock of deadlines and cursors. Default: the system's. Waiting is always in real time.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// See [`Serving::long_poll_timeout`](crate::config::Serving::long_poll_timeout).
    pub fn long_poll_timeout(mut self, timeout: Duration) -> Self {
        self.config.server.long_poll_timeout = timeout;
        self
    }

    /// See [`Serving::sse_lifetime`](crate::config::Serving::sse_lifetime).
    pub fn sse_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.server.sse_lifetime = lifetime;
        self
    }

    /// See [`Limits::max_body_bytes`](crate::config::Limits::max_body_bytes).
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.config.limits.max_body_bytes = bytes;
        self
    }

    /// See [`Limits::max_read_bytes`](crate::config::Limits::max_read_bytes).
    pub fn max_read_bytes(mut self, bytes: usize) -> Self {
        self.config.limits.max_read_bytes = bytes;
        self
    }

    /// See [`Serving::compression`](crate::config::Serving::compression).
    pub fn compression(mut self, on: bool) -> Self {
        self.config.server.compression = on;
        self
    }

    /// See [`Serving::stream_root`](crate::config::Serving::stream_root).
    pub fn stream_root(mut self, root: impl Into<String>) -> Self {
        self.config.server.stream_root = root.into();
        self
    }

    /// Puts streams at `/` instead of below `/v1/stream`.
    pub fn mount_at_root(mut self, on: bool) -> Self {
        self.config.server.stream_root = if on { String::new() } else { Config::default().server.stream_root };
        self
    }

    /// See [`Serving::fault_injection`](crate::config::Serving::fault_injection).
    pub fn fault_injection(mut self, on: bool) -> Self {
        self.config.server.fault_injection = on;
        self
    }

    /// See [`Serving::cursor_interval`](crate::config::Serving::cursor_interval).
    pub fn cursor_interval(mut self, interval: Duration) -> Self {
        self.config.server.cursor_interval = interval;
        self
    }

    /// See [`Serving::cors_origin`](crate::config::Serving::cors_origin).
    pub fn cors_origin(mut self, origin: impl Into<String>) -> Self {
        self.config.server.cors_origin = origin.into();
        self
    }

    /// See [`Config::access`].
    pub fn access(mut self, access: AccessConfig) -> Self {
        self.config.access = access;
        self
    }

    /// See [`Serving::shutdown_grace`](crate::config::Serving::shutdown_grace).
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.config.server.shutdown_grace = grace;
        self
    }

    /// See [`Subscribing::webhooks`](crate::config::Subscribing::webhooks).
    pub fn webhooks(mut self, on: bool) -> Self {
        self.config.subscriptions.webhooks = on;
        self
    }

    /// See [`Subscribing::private_webhooks`](crate::config::Subscribing::private_webhooks).
    pub fn private_webhooks(mut self, on: bool) -> Self {
        self.config.subscriptions.private_webhooks = on;
        self
    }

    /// Binds the address and serves in the background, on the tokio runtime that polls this.
    ///
    /// # Errors
    /// An option that cannot be used, an address that cannot be bound, or a storage that cannot be read.
    pub async fn start(self) -> Result<RunningServer, StartError> {
        let config = self.config.checked().map_err(StartError::Config)?;
        let storage = self.storage.unwrap_or_else(|| Arc::new(MemoryStorage::new()));
        let no_limit_at_zero = |limit: u64| if limit == 0 { u64::MAX } else { limit };
        let limits = EngineLimits {
            stream_bytes: no_limit_at_zero(config.limits.max_stream_bytes),
            streams: no_limit_at_zero(config.limits.max_streams),
        };
        let engine = Engine::with_limits(storage, self.clock, limits);
        engine.recover().await.map_err(StartError::Storage)?;
        let tls = Tls::load(&config.tls).map_err(StartError::Config)?.map(Arc::new);
        let bind = config.bind();
        let listener = TcpListener::bind(bind).await.map_err(|source| StartError::Bind { addr: bind, source })?;
        let addr = listener.local_addr().map_err(|source| StartError::Bind { addr: bind, source })?;
        let admin = match config.admin.bind().map_err(StartError::Config)? {
            None => None,
            Some(bind) => {
                let refused = |source| StartError::Bind { addr: bind, source };
                let listener = TcpListener::bind(bind).await.map_err(refused)?;
                Some((listener.local_addr().map_err(refused)?, listener))
            }
        };
        let stop = CancellationToken::new();
        let abort = CancellationToken::new();
        let tasks = TaskTracker::new();
        let webhooks = config.webhook_policy();
        let public_url = config.public_root();
        let subscriptions = Subscriptions::open(engine.clone(), webhooks, public_url, tasks.clone(), stop.clone());
        let subscriptions = subscriptions.await.map_err(StartError::Storage)?;
        let app = App::new(config, engine.clone(), subscriptions.clone(), stop.clone());
        let app = Arc::new(app.map_err(StartError::Config)?);
        tasks.spawn(subscriptions.run());
        if let Some(tls) = &tls {
            tasks.spawn(reload_certificates(Arc::clone(tls), app.config().tls.reload_interval, stop.clone()));
        }
        let net = Net::new(Arc::clone(&app), tls.clone(), stop.clone(), abort.clone(), tasks.clone());
        tasks.spawn(net.accept(listener));
        let ended = CancellationToken::new();
        let admin_addr = admin.map(|(addr, listener)| {
            tokio::spawn(net::admin::serve(listener, Arc::clone(&app), ended.clone()));
            tracing::info!(%addr, "probes and metrics");
            addr
        });
        tasks.spawn(sweep(Arc::clone(&app), engine.clone(), app.config().server.sweep_interval, stop.clone()));
        if let Some(registry) = app.registry() {
            let (registry, stop) = (Arc::clone(registry), stop.clone());
            tasks.spawn(async move { registry.run(stop).await });
        }
        if let Some(jwt) = &app.config().access.jwt {
            tasks.spawn(reload_jwt_keys(WatchedFile::new(jwt.jwks.clone()), Arc::clone(&app), stop.clone()));
        }
        tracing::info!(%addr, "listening");
        Ok(RunningServer { addr, admin_addr, ended: ended.drop_guard(), app, tls, engine, stop, abort, tasks })
    }
}

/// Why a server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be bound.
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// An option cannot be used.
    Config(ConfigError),
    /// The storage cannot be read.
    Storage(EngineError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { addr, source } => write!(f, "cannot listen on {addr}: {source}"),
            Self::Config(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Config(error) => Some(error),
            Self::Storage(error) => Some(error),
        }
    }
}

/// A server at work. Dropped, it stops at once and cuts every connection.
#[derive(Debug)]
pub struct RunningServer {
    addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
    /// Ends the admin address when the server is gone.
    #[expect(dead_code, reason = "it acts when it is dropped")]
    ended: DropGuard,
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
    engine: Engine,
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl RunningServer {
    /// The base URL, such as `http://127.0.0.1:4437`.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// The URL of a stream, whose name may contain slashes and is percent-encoded where needed.
    pub fn stream_url(&self, name: &str) -> String {
        format!("{}{}/{}", self.url(), self.app.config().server.stream_root, crate::http::encode_name(name))
    }

    /// The web page, if there is one.
    pub fn ui_url(&self) -> Option<String> {
        (self.app.config().ui_mode() != UiMode::Off).then(|| format!("{}/ui", self.url()))
    }

    /// The address that was bound.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of probes and metrics, if they have one of their own.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Reads the files of [`Tls`](crate::config::Tls) again, if there are any. New connections get what they say, open
    /// ones go on. The server does so by itself too, every [`reload_interval`](crate::config::Tls::reload_interval).
    /// Whether they had changed.
    ///
    /// # Errors
    /// They cannot be read or used: what was there before stays.
    pub fn reload_tls(&self) -> Result<bool, ConfigError> {
        self.tls.as_ref().map_or(Ok(false), |tls| tls.reload())
    }

    /// The engine, for use without HTTP.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Answers a request of this peer's without a socket: for a server that is part of another one, and for tests. The
    /// limits of connections do not apply.
    ///
    /// # Errors
    /// Only an injected fault: the connection is to be cut.
    pub async fn answer<B>(
        &self,
        request: http::Request<B>,
        peer: SocketAddr,
    ) -> Result<
        http::Response<impl http_body::Body<Data = Bytes, Error = Infallible> + use<B>>,
        impl std::error::Error + use<B>,
    >
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        let peer = Arc::new(Peer { addr: peer, identity: None });
        let asking = Asking { app: Arc::clone(&self.app), peer, turn: Turn::default() };
        Arc::new(asking).answer(request.map(Box::pin)).await
    }

    /// Sets a fault, as the JSON that `POST /_test/inject-error` takes: `path`, and what is to happen to requests
    /// there. It replaces an earlier one for the same path.
    ///
    /// # Errors
    /// The text is not a fault, or [`Serving::fault_injection`](crate::config::Serving::fault_injection) is off.
    pub fn inject_fault(&self, fault: &str) -> Result<(), &'static str> {
        self.app.faults().ok_or("fault injection is off")?.set(fault.as_bytes())
    }

    /// Clears all faults.
    pub fn clear_faults(&self) {
        if let Some(faults) = self.app.faults() {
            faults.clear();
        }
    }

    /// Is not ready for [`drain_delay`](crate::config::Serving::drain_delay), stops accepting, ends long-polls with 204 and SSE at an event boundary, lets requests under way
    /// finish within [`Serving::shutdown_grace`](crate::config::Serving::shutdown_grace), then cuts what is left.
    pub async fn shutdown(self) {
        self.app.drain();
        let delay = self.app.config().server.drain_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(self.app.config().server.shutdown_grace, self.tasks.wait()).await.is_err() {
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.abort.cancel();
    }
}

async fn sweep(app: Arc<App>, engine: Engine, interval: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        engine.sweep().await;
        app.sweep();
    }
}

/// Takes new keys of JWT into use when their file changes. A file that cannot be used leaves the old ones.
async fn reload_jwt_keys(mut file: WatchedFile, app: Arc<App>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(watch::INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(text) = file.changed() else { continue };
        let replaced = text.map_err(|error| error.to_string()).and_then(|text| app.gate().replace_jwks(&text));
        let path = file.path().display();
        match replaced {
            Ok(()) => tracing::info!(%path, "the keys of JWT were replaced"),
            Err(error) => tracing::error!(%path, error, "the keys of JWT stay as they were"),
        }
    }
}

/// Looks for changed certificates now and then.
async fn reload_certificates(tls: Arc<Tls>, interval: Duration, stop: CancellationToken) {
    let mut last = None;
    while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        let tls = Arc::clone(&tls);
        let Ok(result) = tokio::task::spawn_blocking(move || tls.reload()).await else { return };
        match &result {
            Ok(true) => tracing::info!("new certificates are in use"),
            Err(error) if last.as_ref() != Some(&result) => {
                tracing::error!(%error, "the certificates have changed and cannot be used; the ones before stay");
            }
            _ => {}
        }
        last = Some(result);
    }
}
