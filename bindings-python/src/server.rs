//! A server in this process.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use everstream::{Error, ErrorKind};
use everstream_server::access::AccessMode;
use everstream_server::config::StorageKind;
use everstream_server::{Config, RunningServer, Server as CoreServer};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::call::call;
use crate::callback::Callbacks;
use crate::error;
use crate::options::Given;
use crate::runtime::{Owned, lock};

/// A server, from start to stop.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Server {
    config: Config,
    running: Owned<Arc<Mutex<Option<RunningServer>>>>,
}

#[pymethods]
impl Server {
    #[new]
    fn new(py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        Ok(Self { config: config(py, options)?, running: Owned::new(Arc::default()) })
    }

    /// Binds and serves; gives the base URL.
    fn start(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let running = self.running.get(py, "server")?.clone();
        if self.with(|_| ()).is_some() {
            return Err(error::raise(py, &Error::new(ErrorKind::InvalidArgument, "the server is running already")));
        }
        let config = self.config.clone();
        let start = async move {
            let kept = config.storage.clone();
            let storage = tokio::task::spawn_blocking(move || kept.open()).await.map_err(std::io::Error::from);
            let storage = storage.and_then(|opened| opened).map_err(|error| {
                let place = config.storage.data_dir.display();
                Error::new(ErrorKind::InvalidArgument, format!("data_dir {place}: {error}")).with_source(error)
            })?;
            let started = CoreServer::builder().config(config).storage(storage).start().await;
            let server = started
                .map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()).with_source(error))?;
            let url = server.url();
            *lock(&running) = Some(server);
            Ok(url)
        };
        call(py, wait, Callbacks::default(), start, |py, url| Ok(url.into_pyobject(py)?.into_any().unbind()))
    }

    /// Ends live reads at an event boundary, lets requests under way finish, and stops. Can be repeated.
    fn stop(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let running = self.running.get(py, "server")?;
        let running = lock(running).take();
        let stop = async move {
            if let Some(running) = running {
                running.shutdown().await;
            }
            Ok(())
        };
        call(py, wait, Callbacks::default(), stop, |py, ()| Ok(py.None()))
    }

    /// `(host, port)`, while it runs.
    #[getter]
    fn address(&self) -> Option<(String, u16)> {
        self.with(|server| (server.addr().ip().to_string(), server.addr().port()))
    }

    /// The URL of a stream, while it runs.
    fn stream_url(&self, name: &str) -> Option<String> {
        self.with(|server| server.stream_url(name))
    }

    /// Sets a fault, as JSON; `None` when the server does not run.
    fn inject_fault(&self, py: Python<'_>, fault: &str) -> PyResult<Option<()>> {
        let set = self.with(|server| server.inject_fault(fault));
        set.transpose().map_err(|why| error::invalid_argument(py, why))
    }

    fn clear_faults(&self) {
        self.with(RunningServer::clear_faults);
    }
}

impl Server {
    fn with<T>(&self, look: impl FnOnce(&RunningServer) -> T) -> Option<T> {
        let running = self.running.here()?;
        lock(running).as_ref().map(look)
    }
}

fn config(py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<Config> {
    let given = Given(options);
    let mut config = Config::default();
    let mut host = config.server.host.to_string();
    let mut port = config.server.port;
    given.set("host", &mut host)?;
    given.set("port", &mut port)?;
    let host = if host == "localhost" { "127.0.0.1" } else { &host };
    let ip: IpAddr =
        host.parse().map_err(|_| error::invalid_argument(py, format!("host must be an IP address, not {host:?}")))?;
    (config.server.host, config.server.port) = (ip, port);
    let mut open_access = false;
    given.set("open_access", &mut open_access)?;
    if open_access {
        config.access.mode = AccessMode::Off;
    }
    given.set("stream_root", &mut config.server.stream_root)?;
    given.set("max_body_bytes", &mut config.limits.max_body_bytes)?;
    given.set("max_read_bytes", &mut config.limits.max_read_bytes)?;
    given.set("compression", &mut config.server.compression)?;
    given.set("cors_origin", &mut config.server.cors_origin)?;
    given.set("fault_injection", &mut config.server.fault_injection)?;
    config.storage.kind = StorageKind::Memory;
    let mut data_dir = String::new();
    given.set("data_dir", &mut data_dir)?;
    if !data_dir.is_empty() {
        (config.storage.kind, config.storage.data_dir) = (StorageKind::Log, data_dir.into());
    }
    let durations: [(&str, &mut Duration); 4] = [
        ("long_poll_timeout", &mut config.server.long_poll_timeout),
        ("sse_lifetime", &mut config.server.sse_lifetime),
        ("cursor_interval", &mut config.server.cursor_interval),
        ("shutdown_grace", &mut config.server.shutdown_grace),
    ];
    for (name, field) in durations {
        given.set_seconds(name, field)?;
    }
    Ok(config)
}
