//! `serve`: a server in this process, until it is told to stop.

use std::convert::Infallible;
use std::io;

use everstream_server::config::{Config, ConfigError, Loader, StorageKind};
use everstream_server::{RunningServer, Server};

use crate::args::ServeArgs;
use crate::output::{Failure, say};
use crate::{logging, signals};

/// `access` is what `--auth` says, which is a credential to every other command.
pub(crate) async fn run(args: &ServeArgs, access: Option<&str>, verbose: u8) -> Result<(), Failure> {
    let mut loader = Loader::new();
    let config = load(&mut loader, args, access).map_err(|error| Failure::new(format!("Error: {error}")))?;
    if config.storage.kind == StorageKind::Memory && args.data_dir.is_some() {
        return Err(Failure::new("Error: --data-dir means nothing to --storage memory, which keeps no files"));
    }
    let _ = config.access.load().map_err(|error| Failure::new(format!("Error: {error}")))?;
    if args.print_config {
        let text = config.to_toml().map_err(|error| Failure::new(format!("Error: {error}")))?;
        say(text.trim_end());
    }
    if args.check_config || args.print_config {
        return Ok(());
    }
    #[cfg(feature = "otlp")]
    let traces = crate::otlp::Traces::start(&config.otlp)?;
    #[cfg(feature = "otlp")]
    let layer = traces.as_ref().map(crate::otlp::Traces::layer);
    #[cfg(not(feature = "otlp"))]
    let layer = None;
    logging::for_server(config.log.format, verbose, layer);
    for warning in loader.warnings() {
        tracing::warn!("{warning}");
    }
    raise_file_limit();
    let stopped = signals::interrupt().map_err(|error| Failure::new(format!("Error: no signals: {error}")))?;
    let kept = config.storage.clone();
    // Reading a log takes a while; meanwhile signals are to be heard.
    let storage = tokio::task::spawn_blocking(move || kept.open())
        .await
        .map_err(io::Error::from)
        .and_then(|opened| opened)
        .map_err(|error| Failure::new(format!("Error: {}: {error}", config.storage.data_dir.display())))?;
    let server = Server::builder()
        .config(config)
        .storage(storage)
        .start()
        .await
        .map_err(|error| Failure::new(format!("Error: {error}")))?;
    say(&format!("Listening on {}", server.url()));
    if let Some(page) = server.ui_url() {
        tracing::info!(page, "open it in a browser to see the streams");
    }
    tell_service_manager(Service::Ready);
    tokio::select! {
        () = stopped => {}
        never = reload_at_hangup(&server) => match never {},
    }
    tell_service_manager(Service::Stopping);
    tracing::info!("stopping; a second signal stops at once");
    server.shutdown().await;
    #[cfg(feature = "otlp")]
    if let Some(traces) = traces {
        traces.stop().await;
    }
    Ok(())
}

/// How many threads serve connections: one core is left to the log, which has a thread of its own, and to the kernel. With
/// a thread for each core they would wake each other for single requests.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

/// What a service manager wants to know.
#[derive(Clone, Copy, Debug)]
enum Service {
    Ready,
    Stopping,
}

/// Tells systemd, if it asked to be told (`Type=notify`).
#[cfg(unix)]
fn tell_service_manager(service: Service) {
    let state = match service {
        Service::Ready => sd_notify::NotifyState::Ready,
        Service::Stopping => sd_notify::NotifyState::Stopping,
    };
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told: {service:?}");
    }
}

#[cfg(not(unix))]
fn tell_service_manager(_: Service) {}

/// Each connection is a file handle, and the usual limit is made for programs that have few.
#[cfg(unix)]
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

#[cfg(not(unix))]
fn raise_file_limit() {}

fn load(loader: &mut Loader, args: &ServeArgs, access: Option<&str>) -> Result<Config, ConfigError> {
    if let Some(file) = &args.config {
        loader.file(file)?;
    }
    // What is not Unicode is not a setting: the names of all of them are plain.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    loader.env(variables)?;
    for assignment in &args.set {
        let (key, value) = assignment.split_once('=').unwrap_or((assignment, ""));
        loader.set(key.trim(), value.trim(), "--set")?;
    }
    for (flag, key, value) in args.settings() {
        loader.set(key, &value, flag)?;
    }
    if let Some(access) = access {
        loader.set("access.mode", access, "--auth")?;
    }
    loader.finish()
}

/// SIGHUP: reads the certificates again.
#[cfg(unix)]
async fn reload_at_hangup(server: &RunningServer) -> Infallible {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangups) = signal(SignalKind::hangup()) else {
        return std::future::pending().await;
    };
    while hangups.recv().await.is_some() {
        match server.reload_tls() {
            Ok(true) => tracing::info!("new certificates are in use"),
            Ok(false) => tracing::info!("the certificates have not changed"),
            Err(error) => tracing::error!(%error, "the certificates cannot be used; the ones before stay"),
        }
    }
    std::future::pending().await
}

#[cfg(not(unix))]
async fn reload_at_hangup(_: &RunningServer) -> Infallible {
    std::future::pending().await
}
