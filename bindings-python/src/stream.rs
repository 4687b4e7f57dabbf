//! The handle to one stream.

use std::sync::Arc;

use bytes::Bytes;
use everstream::{AppendOptions, BoxBody, DurableStream, Offset, ReadOptions};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::call::call;
use crate::callback::Callbacks;
use crate::client::Client;
use crate::data::{Data, raw};
use crate::error;
use crate::manner::Manner;
use crate::options::{self, Given};
use crate::producer::Producer;
use crate::reader::Reader;
use crate::runtime::{Remade, block_on, runtime};

/// A stream's address and settings. Made anew in a forked child.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Stream {
    core: Remade<DurableStream>,
    callbacks: Callbacks,
    encode: Option<Py<PyAny>>,
}

#[pymethods]
impl Stream {
    #[new]
    fn new(py: Python<'_>, client: Py<Client>, url: String, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = Arc::new(Settings::of(url, options)?);
        let callbacks = settings.manner.callbacks();
        let mut encode: Option<Py<PyAny>> = None;
        Given(options).set("encode", &mut encode)?;
        let core = Remade::new(py, move |py| settings.build(py, client.get()))?;
        Ok(Self { core, callbacks, encode })
    }

    #[getter]
    fn url(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.core.get(py)?.url().to_owned())
    }

    #[getter]
    fn content_type(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.core.get(py)?.content_type().map(str::to_owned))
    }

    /// `(created, offset, content_type, closed)`.
    fn create(
        &self,
        py: Python<'_>,
        wait: bool,
        body: Option<&Bound<'_, PyAny>>,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Py<PyAny>> {
        let stream = self.core.get(py)?;
        let mut options = options::create(options)?;
        if let Some(body) = body {
            options.body = Some(match Data::of(body, self.encode.as_ref())? {
                Data::Raw(body) | Data::Json(body) => body,
            });
        }
        call(py, wait, self.callbacks.clone(), async move { stream.create(&options).await }, |py, it| {
            into_any(py, (it.created, offset(it.offset), it.content_type, it.closed))
        })
    }

    /// `(offset, content_type, closed, ttl_seconds, expires_at, etag, cache_control)`.
    fn head(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let stream = self.core.get(py)?;
        call(py, wait, self.callbacks.clone(), async move { stream.head().await }, |py, it| {
            let ttl = it.ttl.map(|ttl| ttl.as_secs());
            into_any(py, (offset(it.offset), it.content_type, it.closed, ttl, it.expires_at, it.etag, it.cache_control))
        })
    }

    /// `(offset, duplicate)`.
    #[pyo3(signature = (wait, data, seq=None, content_type=None))]
    fn append(
        &self,
        py: Python<'_>,
        wait: bool,
        data: &Bound<'_, PyAny>,
        seq: Option<String>,
        content_type: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        let data = Data::of(data, self.encode.as_ref())?;
        self.append_data(py, wait, data, AppendOptions { seq, content_type })
    }

    /// `(offset, duplicate)`.
    fn append_json(&self, py: Python<'_>, wait: bool, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.append_data(py, wait, Data::json(value)?, AppendOptions::default())
    }

    /// The whole body is in `pieces`, which is called for the next one until it gives `None`.
    #[pyo3(signature = (wait, pieces, seq=None, content_type=None))]
    fn append_stream(
        &self,
        py: Python<'_>,
        wait: bool,
        pieces: Py<PyAny>,
        seq: Option<String>,
        content_type: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        let stream = self.core.get(py)?;
        self.callbacks.expect();
        self.callbacks.enter(py)?;
        let body = self.body(pieces);
        let options = AppendOptions { seq, content_type };
        call(py, wait, self.callbacks.clone(), async move { stream.append_stream(body, &options).await }, |py, it| {
            into_any(py, (offset(it.offset), it.duplicate))
        })
    }

    /// The final offset.
    #[pyo3(signature = (wait, data=None, content_type=None))]
    fn close(
        &self,
        py: Python<'_>,
        wait: bool,
        data: Option<&Bound<'_, PyAny>>,
        content_type: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        let stream = self.core.get(py)?;
        let data = data.map(|data| Data::of(data, self.encode.as_ref())).transpose()?;
        let options = AppendOptions { seq: None, content_type };
        let future = async move {
            match data {
                None => stream.close().await,
                Some(Data::Raw(data) | Data::Json(data)) => stream.close_with(data, &options).await,
            }
        };
        call(py, wait, self.callbacks.clone(), future, |py, it| into_any(py, offset(it.final_offset)))
    }

    fn delete(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let stream = self.core.get(py)?;
        call(py, wait, self.callbacks.clone(), async move { stream.delete().await }, |py, ()| Ok(py.None()))
    }

    /// A [`Reader`] whose first answer has begun.
    #[expect(clippy::too_many_arguments, reason = "called by the Python face alone, by position")]
    #[pyo3(signature = (wait, offset, skip, incarnation, live, options, headers=None, params=None))]
    fn read(
        &self,
        py: Python<'_>,
        wait: bool,
        offset: &str,
        skip: u64,
        incarnation: Option<String>,
        live: &Bound<'_, PyAny>,
        options: &Bound<'_, PyDict>,
        headers: Option<&Bound<'_, PyDict>>,
        params: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let mut read = ReadOptions {
            from: options::checkpoint(py, offset, skip, incarnation)?,
            live: options::live(py, live)?,
            ..ReadOptions::default()
        };
        let given = Given(options);
        given.set("json", &mut read.json)?;
        given.set("max_batch_bytes", &mut read.max_batch_bytes)?;
        given.set("etag", &mut read.if_none_match)?;
        given.set_seconds("read_timeout", &mut read.request_timeout)?;
        given.set_seconds("stall_timeout", &mut read.stall_timeout)?;
        let extras = self.callbacks.extras(headers, params)?;
        let stream = self.core.get(py)?.with(&extras);
        Reader::open(py, wait, self.callbacks.clone(), stream.read(read))
    }

    /// With `wait` it asks for the content type at once if that is not known, without it in the background.
    #[pyo3(signature = (wait, id, options, on_error=None))]
    fn producer(
        &self,
        py: Python<'_>,
        wait: bool,
        id: &str,
        options: &Bound<'_, PyDict>,
        on_error: Option<Py<PyAny>>,
    ) -> PyResult<Producer> {
        let stream = self.core.get(py)?;
        let options = options::producer(options)?;
        self.callbacks.enter(py)?;
        let made = if wait {
            block_on(py, stream.producer(id, options))?
        } else {
            let _context = runtime()?.enter();
            stream.producer_lazy(id, options)
        };
        let producer = made.map_err(|error| self.callbacks.raise(py, &error))?;
        if let Some(function) = on_error {
            producer.on_failure(self.callbacks.failure_hook(function));
        }
        Ok(Producer::new(py, producer, self.callbacks.clone(), self.encode.as_ref()))
    }
}

impl Stream {
    fn append_data(&self, py: Python<'_>, wait: bool, data: Data, options: AppendOptions) -> PyResult<Py<PyAny>> {
        let stream = self.core.get(py)?;
        // The place in the queue is that of this call, not of the first poll.
        let future = {
            let _context = runtime()?.enter();
            match data {
                Data::Raw(data) => stream.append_with(data, &options),
                Data::Json(text) => stream.append_json_text(text, &options),
            }
        };
        call(py, wait, self.callbacks.clone(), future, |py, it| into_any(py, (offset(it.offset), it.duplicate)))
    }

    fn body(&self, pieces: Py<PyAny>) -> BoxBody {
        let next = move |callbacks: Callbacks, pieces: Arc<Py<PyAny>>| async move {
            let extract = Box::new(
                |piece: Bound<'_, PyAny>| {
                    if piece.is_none() { Ok(None) } else { require_raw(&piece).map(Some) }
                },
            );
            match callbacks.call(pieces.clone(), None, extract).await {
                Ok(None) => None,
                Ok(Some(piece)) => Some((Ok(piece), (callbacks, pieces))),
                Err(error) => Some((Err(broken_source(error)), (callbacks, pieces))),
            }
        };
        Box::pin(futures_util::stream::unfold(
            (self.callbacks.clone(), Arc::new(pieces)),
            move |(callbacks, pieces)| next(callbacks, pieces),
        ))
    }
}

fn require_raw(piece: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    raw(piece)?.ok_or_else(|| {
        let kind = piece.get_type().qualname().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        pyo3::exceptions::PyTypeError::new_err(format!("a piece of a body must be str or bytes, not {kind}"))
    })
}

/// The caller's iterator raised: the request is broken off, and the exception is what the call raises.
fn broken_source(error: PyErr) -> everstream::TransportError {
    everstream::TransportError { not_sent: false, permanent: true, source: Box::new(error) }
}

/// What a handle was made with.
struct Settings {
    url: String,
    content_type: Option<String>,
    batching: bool,
    idempotent: bool,
    manner: Manner,
}

impl Settings {
    fn of(url: String, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let given = Given(options);
        let mut it = Self { url, content_type: None, batching: true, idempotent: false, manner: Manner::of(options)? };
        given.set("content_type", &mut it.content_type)?;
        given.set("batching", &mut it.batching)?;
        given.set("idempotent", &mut it.idempotent)?;
        Ok(it)
    }

    fn build(&self, py: Python<'_>, client: &Client) -> PyResult<DurableStream> {
        let stream = self.manner.client(py, client)?.stream(&self.url);
        let stream = stream.map_err(|error| error::raise(py, &error))?.with_batching(self.batching);
        let stream = match &self.content_type {
            Some(content_type) => stream.with_content_type(content_type),
            None => stream,
        };
        Ok(if self.idempotent { stream.idempotent() } else { stream })
    }
}

fn offset(offset: Option<Offset>) -> Option<String> {
    offset.map(|offset| offset.to_string())
}

fn into_any<'py, T: IntoPyObjectExt<'py>>(py: Python<'py>, value: T) -> PyResult<Py<PyAny>> {
    value.into_py_any(py)
}
