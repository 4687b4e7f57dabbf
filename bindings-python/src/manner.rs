//! How the requests of a handle are made: what it adds to them, how long they take, and what follows when they fail.

use everstream::{Client as CoreClient, Extras, RetryPolicy};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::callback::Callbacks;
use crate::client::Client;
use crate::error;
use crate::options::{self, Given};

/// What requests have beside those of the client.
pub(crate) struct Manner {
    extras: Extras,
    request_timeout: Option<f64>,
    retry: Option<RetryPolicy>,
    on_error: Option<Py<PyAny>>,
    callbacks: Callbacks,
}

impl Manner {
    pub(crate) fn of(options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let given = Given(options);
        let mut asynchronous = false;
        given.set("asynchronous", &mut asynchronous)?;
        let callbacks = Callbacks::new(asynchronous);
        let dict = |name: &str| -> PyResult<Option<Bound<'_, PyDict>>> {
            let value = options.get_item(name)?.filter(|value| !value.is_none());
            value.map(|value| Ok(value.cast_into::<PyDict>()?)).transpose()
        };
        let mut it = Self {
            extras: callbacks.extras(dict("headers")?.as_ref(), dict("params")?.as_ref())?,
            request_timeout: None,
            retry: dict("retry")?.as_ref().map(options::retry).transpose()?,
            on_error: None,
            callbacks,
        };
        given.set("read_timeout", &mut it.request_timeout)?;
        given.set("on_error", &mut it.on_error)?;
        Ok(it)
    }

    /// Functions of the caller's among it.
    pub(crate) fn callbacks(&self) -> Callbacks {
        self.callbacks.clone()
    }

    /// A client that makes requests so, over the connections of another.
    pub(crate) fn client(&self, py: Python<'_>, client: &Client) -> PyResult<CoreClient> {
        let mut builder = client.core(py)?.to_builder().extras(&self.extras);
        if let Some(limit) = self.request_timeout {
            builder = builder.request_timeout(options::seconds(py, "timeout", limit)?);
        }
        if let Some(retry) = &self.retry {
            builder = builder.retry(retry.clone());
        }
        if let Some(function) = &self.on_error {
            builder = builder.on_error(self.callbacks.error_hook(function.clone_ref(py)));
        }
        builder.build().map_err(|error| error::raise(py, &error))
    }
}
