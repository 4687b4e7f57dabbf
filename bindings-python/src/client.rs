//! Connections, and what all handles of a client share.

use everstream::Client as CoreClient;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::call::call;
use crate::callback::Callbacks;
use crate::error;
use crate::options::{self, Given};
use crate::runtime::Remade;

/// A pool of connections. Made anew in a forked child.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Client {
    core: Remade<CoreClient>,
}

#[pymethods]
impl Client {
    #[new]
    fn new(py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = Settings::of(options)?;
        Ok(Self { core: Remade::new(py, move |py| settings.build(py))? })
    }

    /// The streams below a root whose names begin with a prefix.
    fn list(&self, py: Python<'_>, wait: bool, root: String, prefix: String) -> PyResult<Py<PyAny>> {
        let client = self.core.get(py)?;
        call(py, wait, Callbacks::default(), async move { client.list(&root, &prefix).await }, |py, streams| {
            let rows = streams
                .into_iter()
                .map(|it| (it.path, it.content_type, it.created_at, it.offset.to_string(), it.closed, it.bytes));
            Ok(PyTuple::new(py, rows.collect::<Vec<_>>())?.into_any().unbind())
        })
    }
}

impl Client {
    pub(crate) fn core(&self, py: Python<'_>) -> PyResult<CoreClient> {
        self.core.get(py)
    }
}

/// What the connections of a client are like.
#[derive(Default)]
struct Settings {
    base_url: Option<String>,
    connect_timeout: Option<f64>,
    roots: Option<Vec<u8>>,
    identity: Option<Vec<u8>>,
    proxy: Option<String>,
    trust_env: bool,
    http2: bool,
    gzip: bool,
}

impl Settings {
    fn of(options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let given = Given(options);
        let mut it = Self { trust_env: true, ..Self::default() };
        given.set("base_url", &mut it.base_url)?;
        given.set("connect_timeout", &mut it.connect_timeout)?;
        given.set("roots", &mut it.roots)?;
        given.set("identity", &mut it.identity)?;
        given.set("proxy", &mut it.proxy)?;
        given.set("trust_env", &mut it.trust_env)?;
        given.set("http2", &mut it.http2)?;
        given.set("gzip", &mut it.gzip)?;
        Ok(it)
    }

    fn build(&self, py: Python<'_>) -> PyResult<CoreClient> {
        let mut builder = CoreClient::builder();
        if let Some(url) = &self.base_url {
            builder = builder.base_url(url);
        }
        if let Some(limit) = self.connect_timeout {
            builder = builder.connect_timeout(options::seconds(py, "connect timeout", limit)?);
        }
        if let Some(pem) = &self.roots {
            builder = builder.root_certificates_pem(pem.clone());
        }
        if let Some(pem) = &self.identity {
            builder = builder.identity_pem(pem.clone());
        }
        if let Some(url) = &self.proxy {
            builder = builder.proxy(url);
        }
        if !self.trust_env {
            builder = builder.ignore_environment();
        }
        if self.http2 {
            builder = builder.http2_prior_knowledge();
        }
        if self.gzip {
            builder = builder.gzip();
        }
        builder.build().map_err(|error| error::raise(py, &error))
    }
}
