//! A server in this process.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use everstream::{Error, ErrorKind};
use everstream_server::{Config, RunningServer, Server as CoreServer};
use napi::Env;
use napi_derive::napi;

use crate::call::call;
use crate::error;
use crate::options::{set, set_duration};
use crate::runtime::{lock, server_runtime};
use crate::value::Raw;

/// A server, from start to stop.
#[napi]
pub struct Server {
    config: Config,
    running: Arc<Mutex<Option<RunningServer>>>,
}

/// What a server can be told. Times are milliseconds.
#[napi(object)]
pub struct NativeServerOptions {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub stream_root: Option<String>,
    pub max_body_bytes: Option<u32>,
    pub max_read_bytes: Option<u32>,
    pub compression: Option<bool>,
    pub cors_origin: Option<String>,
    pub fault_injection: Option<bool>,
    pub long_poll_timeout: Option<f64>,
    pub sse_lifetime: Option<f64>,
    pub cursor_interval: Option<f64>,
    pub shutdown_grace: Option<f64>,
}

#[napi]
impl Server {
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, options: NativeServerOptions) -> napi::Result<Self> {
        Ok(Self { config: config(env, options)?, running: Arc::default() })
    }

    /// Binds and serves; gives the base URL.
    #[napi(catch_unwind, ts_return_type = "Promise<string>")]
    pub fn start(&self, env: Env) -> napi::Result<Raw> {
        if self.with(|_| ()).is_some() {
            return Err(error::throw(env, &Error::new(ErrorKind::InvalidArgument, "the server is running already")));
        }
        let (running, config) = (self.running.clone(), self.config.clone());
        let started = server_runtime()?.spawn(CoreServer::builder().config(config).start());
        let start = async move {
            let started = started.await.map_err(|_| Error::new(ErrorKind::Internal, "the server panicked"))?;
            let server = started
                .map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()).with_source(error))?;
            let url = server.url();
            *lock(&running) = Some(server);
            Ok(url)
        };
        call(env, None, start, Raw::of)
    }

    /// Ends live reads at an event boundary, lets requests under way finish, and stops. Can be repeated.
    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn stop(&self, env: Env) -> napi::Result<Raw> {
        let running = lock(&self.running).take();
        let stop = async move {
            if let Some(running) = running {
                running.shutdown().await;
            }
            Ok(())
        };
        call(env, None, stop, |env, ()| error::nothing(env))
    }

    /// The port, while it runs.
    #[napi(getter, catch_unwind)]
    pub fn port(&self) -> Option<u16> {
        self.with(|server| server.addr().port())
    }

    /// The URL of a stream, while it runs.
    #[napi(catch_unwind)]
    pub fn stream_url(&self, name: String) -> Option<String> {
        self.with(|server| server.stream_url(&name))
    }

    /// Sets a fault, as JSON; `false` when the server does not run.
    #[napi(catch_unwind)]
    pub fn inject_fault(&self, env: Env, fault: String) -> napi::Result<bool> {
        let set = self.with(|server| server.inject_fault(&fault));
        set.transpose().map(|set| set.is_some()).map_err(|why| error::invalid_argument(env, why))
    }

    #[napi(catch_unwind)]
    pub fn clear_faults(&self) {
        self.with(RunningServer::clear_faults);
    }
}

impl Server {
    fn with<T>(&self, look: impl FnOnce(&RunningServer) -> T) -> Option<T> {
        lock(&self.running).as_ref().map(look)
    }
}

fn config(env: Env, options: NativeServerOptions) -> napi::Result<Config> {
    let mut config = Config::default();
    let host = options.host.unwrap_or_else(|| config.server.host.to_string());
    let host = if host == "localhost" { "127.0.0.1" } else { &host };
    let ip: IpAddr =
        host.parse().map_err(|_| error::invalid_argument(env, format!("host must be an IP address, not {host:?}")))?;
    config.server.host = ip;
    set(options.port, &mut config.server.port);
    set(options.stream_root, &mut config.server.stream_root);
    set(options.max_body_bytes.map(|it| it as usize), &mut config.limits.max_body_bytes);
    set(options.max_read_bytes.map(|it| it as usize), &mut config.limits.max_read_bytes);
    set(options.compression, &mut config.server.compression);
    set(options.cors_origin, &mut config.server.cors_origin);
    set(options.fault_injection, &mut config.server.fault_injection);
    let durations: [(&str, Option<f64>, &mut Duration); 4] = [
        ("longPollTimeout", options.long_poll_timeout, &mut config.server.long_poll_timeout),
        ("sseLifetime", options.sse_lifetime, &mut config.server.sse_lifetime),
        ("cursorInterval", options.cursor_interval, &mut config.server.cursor_interval),
        ("shutdownGrace", options.shutdown_grace, &mut config.server.shutdown_grace),
    ];
    for (name, given, field) in durations {
        set_duration(env, name, given, field)?;
    }
    Ok(config)
}
