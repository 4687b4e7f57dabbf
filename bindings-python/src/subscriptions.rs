//! The control API of subscriptions, and the check of webhooks.

use std::sync::Arc;
use std::time::Duration;

use everstream::{
    LinkType, LinkedStream, Subscription, SubscriptionKind, SubscriptionOptions, SubscriptionStatus,
    Subscriptions as CoreSubscriptions, Wake, WebhookVerifier as CoreVerifier,
};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::call::call;
use crate::callback::Callbacks;
use crate::client::Client;
use crate::data::raw;
use crate::error;
use crate::manner::Manner;
use crate::options::{self, Given};
use crate::runtime::{Remade, runtime};
use crate::worker::{Lease, Worker};

/// The subscriptions of a server. Made anew in a forked child.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Subscriptions {
    core: Remade<CoreSubscriptions>,
    callbacks: Callbacks,
}

/// `(path, is_explicit, acked_offset, tail_offset, has_pending)`.
type Link = (String, bool, String, Option<String>, bool);

#[pymethods]
impl Subscriptions {
    #[new]
    fn new(py: Python<'_>, client: Py<Client>, root: String, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let manner = Manner::of(options)?;
        let callbacks = manner.callbacks();
        let make = move |py: Python<'_>| {
            let made = manner.client(py, client.get())?.subscriptions(&root);
            made.map_err(|error| error::raise(py, &error))
        };
        Ok(Self { core: Remade::new(py, make)?, callbacks })
    }

    /// A subscription, as [`told`] tells of it, and whether it is new.
    fn create(&self, py: Python<'_>, wait: bool, id: String, options: &Bound<'_, PyDict>) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        let options = new_subscription(py, options)?;
        call(py, wait, self.callbacks.clone(), async move { core.create(&id, &options).await }, |py, (it, created)| {
            told(py, it, Some(created))
        })
    }

    fn get(&self, py: Python<'_>, wait: bool, id: String) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        call(py, wait, self.callbacks.clone(), async move { core.get(&id).await }, |py, it| told(py, it, None))
    }

    fn list(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        call(py, wait, self.callbacks.clone(), async move { core.list().await }, |py, all| {
            let all = all.into_iter().map(|it| told(py, it, None)).collect::<PyResult<Vec<_>>>()?;
            all.into_py_any(py)
        })
    }

    fn delete(&self, py: Python<'_>, wait: bool, id: String) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        call(py, wait, self.callbacks.clone(), async move { core.delete(&id).await }, |py, ()| Ok(py.None()))
    }

    fn add_streams(&self, py: Python<'_>, wait: bool, id: String, paths: Vec<String>) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        let added = async move { core.add_streams(&id, &paths).await };
        call(py, wait, self.callbacks.clone(), added, |py, ()| Ok(py.None()))
    }

    fn remove_stream(&self, py: Python<'_>, wait: bool, id: String, path: String) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        let removed = async move { core.remove_stream(&id, &path).await };
        call(py, wait, self.callbacks.clone(), removed, |py, ()| Ok(py.None()))
    }

    /// The name of the new key.
    #[pyo3(signature = (wait, overlap))]
    fn rotate_key(&self, py: Python<'_>, wait: bool, overlap: Option<f64>) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        let overlap = overlap.map(|it| options::seconds(py, "overlap", it)).transpose()?;
        let rotated = async move { core.rotate_key(overlap).await };
        call(py, wait, self.callbacks.clone(), rotated, |py, kid| kid.into_py_any(py))
    }

    /// A [`Lease`], or `None`.
    fn claim(&self, py: Python<'_>, wait: bool, id: String, name: String) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        let (owner, callbacks) = (core.clone(), self.callbacks.clone());
        call(py, wait, self.callbacks.clone(), async move { core.claim(&id, &name).await }, move |py, lease| {
            lease.map(|lease| Lease::new(lease, owner, callbacks)).into_py_any(py)
        })
    }

    fn worker(&self, py: Python<'_>, wait: bool, id: String, name: String) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        let (owner, callbacks) = (core.clone(), self.callbacks.clone());
        call(py, wait, self.callbacks.clone(), async move { core.worker(&id, &name).await }, move |py, worker| {
            Worker::new(worker, owner, callbacks).into_py_any(py)
        })
    }

    /// The lease of a webhook whose body was verified.
    fn work_of(&self, py: Python<'_>, body: &str, lease: f64) -> PyResult<Lease> {
        let core = self.core.get(py)?;
        let lease = options::seconds(py, "lease", lease)?;
        self.callbacks.enter(py)?;
        let _context = runtime()?.enter();
        let work = Wake::from_json(body.as_bytes()).and_then(|wake| core.work_of(&wake, lease));
        Ok(Lease::new(work.map_err(|error| error::raise(py, &error))?, core, self.callbacks.clone()))
    }
}

/// Checks webhooks of a server. Made anew in a forked child, without the keys that it had.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct WebhookVerifier {
    core: Remade<Arc<CoreVerifier>>,
    callbacks: Callbacks,
}

#[pymethods]
impl WebhookVerifier {
    #[new]
    #[pyo3(signature = (subscriptions, subscription, tolerance))]
    fn new(
        py: Python<'_>,
        subscriptions: Py<Subscriptions>,
        subscription: Option<String>,
        tolerance: Option<f64>,
    ) -> PyResult<Self> {
        let callbacks = subscriptions.get().callbacks.clone();
        let tolerance = tolerance.map(|it| options::seconds(py, "tolerance", it)).transpose()?;
        let make = move |py: Python<'_>| {
            let made = subscriptions.get().core.get(py)?.webhook_verifier();
            let mut verifier = made.map_err(|error| error::raise(py, &error))?;
            if let Some(id) = &subscription {
                verifier = verifier.subscription(id);
            }
            if let Some(tolerance) = tolerance {
                verifier = verifier.tolerance(tolerance);
            }
            Ok(Arc::new(verifier))
        };
        Ok(Self { core: Remade::new(py, make)?, callbacks })
    }

    /// `(subscription_id, wake_id, generation, streams, callback_url, callback_token, body)`.
    fn verify(&self, py: Python<'_>, wait: bool, signature: String, body: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let core = self.core.get(py)?;
        let body = raw(body)?.ok_or_else(|| error::invalid_argument(py, "body must be bytes or str"))?;
        let verified = async move { Ok((core.verify(&signature, &body).await?, body)) };
        call(py, wait, self.callbacks.clone(), verified, |py, (wake, body)| {
            let streams: Vec<Link> = wake.streams.iter().map(link).collect();
            let body = String::from_utf8_lossy(&body);
            (wake.subscription_id, wake.wake_id, wake.generation, streams, wake.callback_url, wake.callback_token, body)
                .into_py_any(py)
        })
    }
}

/// A stream of a subscription, for Python.
pub(crate) fn link(it: &LinkedStream) -> Link {
    let tail = it.tail_offset.as_ref().map(ToString::to_string);
    let is_explicit = it.link_type == LinkType::Explicit;
    (it.path.clone(), is_explicit, it.acked_offset.to_string(), tail, it.has_pending)
}

/// `(id, wake_stream, url, pattern, streams, lease, has_failed, created_at, description, created)`.
fn told(py: Python<'_>, it: Subscription, created: Option<bool>) -> PyResult<Py<PyAny>> {
    let (wake_stream, url) = match it.kind {
        SubscriptionKind::PullWake { wake_stream } => (Some(wake_stream), None),
        SubscriptionKind::Webhook { url } => (None, Some(url)),
    };
    let streams: Vec<Link> = it.streams.iter().map(link).collect();
    let has_failed = it.status == SubscriptionStatus::Failed;
    let lease = it.lease.as_secs_f64();
    (it.id, wake_stream, url, it.pattern, streams, lease, has_failed, it.created_at, it.description, created)
        .into_py_any(py)
}

fn new_subscription(py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<SubscriptionOptions> {
    let given = Given(options);
    let text = |name: &str| -> PyResult<Option<String>> {
        let mut value = None;
        given.set(name, &mut value)?;
        Ok(value)
    };
    let kind = SubscriptionKind::of(text("wake_stream")?, text("webhook")?);
    let mut lease = Duration::ZERO;
    given.set_seconds("lease", &mut lease)?;
    let mut streams = Vec::new();
    given.set("streams", &mut streams)?;
    Ok(SubscriptionOptions {
        kind: kind.map_err(|error| error::raise(py, &error))?,
        pattern: text("pattern")?,
        streams,
        // Zero is refused by the core, and so is not "not given".
        lease: options.get_item("lease")?.filter(|it| !it.is_none()).map(|_| lease),
        description: text("description")?,
    })
}
