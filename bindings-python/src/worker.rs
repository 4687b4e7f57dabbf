//! Workers of pull-wake subscriptions, and their leases.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use everstream::proto::subscription::request;
use everstream::{Lease as CoreLease, Offset, Subscriptions, Worker as CoreWorker};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::call::call;
use crate::callback::Callbacks;
use crate::error;
use crate::reader::Reader;
use crate::runtime::{Owned, lock, runtime};
use crate::subscriptions::link;

/// Waits for work. It belongs to the process that made it.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Worker {
    shared: Owned<Arc<Shared>>,
    owner: Owned<Subscriptions>,
    callbacks: Callbacks,
}

struct Shared {
    core: AsyncMutex<CoreWorker>,
    /// Claimed, but whoever waited for it had given up by then: it comes first.
    returned: Mutex<Option<CoreLease>>,
    is_closed: watch::Sender<bool>,
}

/// A lease on its way to the caller, who may have given up by now: then the next one gets it.
struct Held {
    lease: Option<CoreLease>,
    shared: Arc<Shared>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            *lock(&self.shared.returned) = Some(lease);
        }
    }
}

impl Worker {
    pub(crate) fn new(core: CoreWorker, owner: Subscriptions, callbacks: Callbacks) -> Self {
        let shared =
            Shared { core: AsyncMutex::new(core), returned: Mutex::default(), is_closed: watch::Sender::new(false) };
        Self { shared: Owned::new(Arc::new(shared)), owner: Owned::new(owner), callbacks }
    }
}

#[pymethods]
impl Worker {
    /// The next [`Lease`]; `None` once it is closed.
    fn next(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let shared = self.shared.get(py, "worker")?.clone();
        let (owner, callbacks) = (self.owner.get(py, "worker")?.clone(), self.callbacks.clone());
        let next = async move {
            let lease = shared.next().await?;
            Ok(Held { lease, shared })
        };
        call(py, wait, self.callbacks.clone(), next, move |py, mut held| {
            held.lease.take().map(|lease| Lease::new(lease, owner, callbacks)).into_py_any(py)
        })
    }

    /// Ends the waits for work, and takes no more. Can be repeated.
    fn close(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        // In a forked child there is nothing to end.
        let returned = self.shared.here().and_then(|shared| {
            shared.is_closed.send_replace(true);
            lock(&shared.returned).take()
        });
        let given_back = async move {
            if let Some(lease) = returned
                && let Err(error) = lease.release().await
            {
                tracing::debug!(%error, "a lease could not be given back: it ends by itself");
            }
            Ok(())
        };
        call(py, wait, self.callbacks.clone(), given_back, |py, ()| Ok(py.None()))
    }
}

impl Shared {
    async fn next(&self) -> everstream::Result<Option<CoreLease>> {
        let mut closed = self.is_closed.subscribe();
        tokio::select! {
            biased;
            // The sender lives as long as what is shared.
            _ = closed.wait_for(|closed| *closed) => Ok(None),
            lease = self.claim() => lease.map(Some),
        }
    }

    async fn claim(&self) -> everstream::Result<CoreLease> {
        let mut core = self.core.lock().await;
        let returned = lock(&self.returned).take();
        match returned {
            Some(lease) => Ok(lease),
            None => core.next().await,
        }
    }
}

/// The right to work on what a subscription has pending. It belongs to the process that made it.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Lease {
    core: Owned<Arc<CoreLease>>,
    owner: Owned<Subscriptions>,
    callbacks: Callbacks,
}

impl Lease {
    pub(crate) fn new(core: CoreLease, owner: Subscriptions, callbacks: Callbacks) -> Self {
        Self { core: Owned::new(Arc::new(core)), owner: Owned::new(owner), callbacks }
    }

    fn core(&self, py: Python<'_>) -> PyResult<&Arc<CoreLease>> {
        self.core.get(py, "lease")
    }
}

#[pymethods]
impl Lease {
    /// `(subscription_id, wake_id, generation, streams)`.
    fn facts(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let core = self.core(py)?;
        let streams: Vec<_> = core.streams().iter().map(link).collect();
        (core.subscription_id(), core.wake_id(), core.generation(), streams).into_py_any(py)
    }

    /// The URL of a stream of this server.
    fn stream_url(&self, py: Python<'_>, path: &str) -> PyResult<String> {
        let stream = self.owner.get(py, "lease")?.stream(path).map_err(|error| error::raise(py, &error))?;
        Ok(stream.url().to_owned())
    }

    /// A [`Reader`] of one of its streams, from the cursor to the tail.
    fn read(&self, py: Python<'_>, wait: bool, path: &str) -> PyResult<Py<PyAny>> {
        let core = self.core(py)?;
        let Some(stream) = core.streams().iter().find(|it| it.path == path) else {
            return Err(error::invalid_argument(py, format!("{path:?} is none of the streams of this lease")));
        };
        let reader = core.read(stream).map_err(|error| error::raise(py, &error))?;
        Reader::open(py, wait, self.callbacks.clone(), reader)
    }

    fn ack(&self, py: Python<'_>, wait: bool, offsets: HashMap<String, String>) -> PyResult<Py<PyAny>> {
        let (core, acks) = (self.core(py)?.clone(), acks(py, offsets)?);
        call(py, wait, self.callbacks.clone(), async move { core.ack(&acks).await }, |py, ()| Ok(py.None()))
    }

    /// Whether there is more to do.
    fn finish(&self, py: Python<'_>, wait: bool, offsets: HashMap<String, String>) -> PyResult<Py<PyAny>> {
        let (core, acks) = (self.core(py)?.clone(), acks(py, offsets)?);
        call(py, wait, self.callbacks.clone(), async move { core.finish(&acks).await }, |py, more| more.into_py_any(py))
    }

    fn release(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let core = self.core(py)?.clone();
        call(py, wait, self.callbacks.clone(), async move { core.release().await }, |py, ()| Ok(py.None()))
    }

    /// Gives the work back in the background: nobody is to wait.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core(py)?.clone();
        self.callbacks.enter(py)?;
        runtime()?.spawn(async move {
            if let Err(error) = core.release().await {
                tracing::debug!(%error, "a lease could not be given back: it ends by itself");
            }
        });
        Ok(())
    }

    /// Done when the lease is lost, or was finished or released; whether it was lost.
    fn ended(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let core = self.core(py)?.clone();
        call(py, wait, self.callbacks.clone(), async move { Ok(core.ended().await) }, |py, lost| lost.into_py_any(py))
    }

    #[getter]
    fn is_lost(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.core(py)?.is_lost())
    }

    #[getter]
    fn is_over(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.core(py)?.is_over())
    }
}

fn acks(py: Python<'_>, offsets: HashMap<String, String>) -> PyResult<Vec<(String, Offset)>> {
    request::acks(offsets).map_err(|error| error::raise(py, &error))
}
