//! The producer, for both faces, and the receipts of its messages.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use everstream::{Delivery as CoreDelivery, ErrorKind, Producer as CoreProducer, Receipt};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::call::call;
use crate::callback::Callbacks;
use crate::data::Data;
use crate::error;
use crate::event_loop;
use crate::options;
use crate::runtime::{Owned, block_on, runtime};

/// Appends messages so that each is stored exactly once, in order.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Producer {
    core: Owned<CoreProducer>,
    callbacks: Callbacks,
    encode: Option<Py<PyAny>>,
}

impl Producer {
    pub(crate) fn new(py: Python<'_>, core: CoreProducer, callbacks: Callbacks, encode: Option<&Py<PyAny>>) -> Self {
        let encode = encode.map(|encode| encode.clone_ref(py));
        Self { core: Owned::new(core), callbacks, encode }
    }

    fn core(&self, py: Python<'_>) -> PyResult<&CoreProducer> {
        self.core.get(py, "producer")
    }

    fn try_append_data(&self, py: Python<'_>, data: &Data) -> PyResult<everstream::Result<CoreDelivery>> {
        let core = self.core(py)?;
        self.callbacks.enter(py)?;
        Ok(match data {
            Data::Raw(message) => core.try_append(message),
            Data::Json(text) => core.try_append_json_text(text),
        })
    }

    fn append_data(&self, py: Python<'_>, data: Data, timeout: Option<f64>) -> PyResult<Delivery> {
        // Nearly always there is space, and nothing to wait for.
        match self.try_append_data(py, &data)? {
            Err(error) if *error.kind() == ErrorKind::BufferFull => {
                let timeout = timeout.map(|it| options::seconds(py, "timeout", it)).transpose()?;
                let appending = limited(timeout, append(self.core(py)?.clone(), data), || error);
                Delivery::of(block_on(py, appending)?, py)
            }
            result => Delivery::of(result, py),
        }
    }
}

#[pymethods]
impl Producer {
    /// Waits while the buffer is full.
    #[pyo3(signature = (data, timeout=None))]
    fn append(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Delivery> {
        self.append_data(py, Data::of(data, self.encode.as_ref())?, timeout)
    }

    #[pyo3(signature = (value, timeout=None))]
    fn append_json(&self, py: Python<'_>, value: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Delivery> {
        self.append_data(py, Data::json(value)?, timeout)
    }

    /// Never waits.
    fn try_append(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Delivery> {
        Delivery::of(self.try_append_data(py, &Data::of(data, self.encode.as_ref())?)?, py)
    }

    fn try_append_json(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Delivery> {
        Delivery::of(self.try_append_data(py, &Data::json(value)?)?, py)
    }

    /// A future of the [`Delivery`], done once there is space for the message.
    fn send(&self, py: Python<'_>, data: &Bound<'_, PyAny>, json: bool) -> PyResult<Py<PyAny>> {
        let data = if json { Data::json(data)? } else { Data::of(data, self.encode.as_ref())? };
        let mut appending = Box::pin(append(self.core(py)?.clone(), data));
        self.callbacks.enter(py)?;
        // Its place among those that wait is that of this call, which the first poll takes.
        let begun = {
            let _context = runtime()?.enter();
            appending.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        let appended = async move {
            match begun {
                Poll::Ready(result) => result,
                Poll::Pending => appending.await,
            }
        };
        call(py, false, self.callbacks.clone(), appended, |py, delivery| {
            Ok(Py::new(py, Delivery::new(delivery))?.into_any())
        })
    }

    /// `(offset, messages, duplicates)`.
    fn flush(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let core = self.core(py)?.clone();
        call(py, wait, self.callbacks.clone(), async move { core.flush().await }, flushed)
    }

    /// Sends what is there and waits for so many seconds at most; gives how many messages are still not settled.
    fn flush_within(&self, py: Python<'_>, seconds: f64) -> PyResult<u64> {
        let core = self.core(py)?;
        let limit = options::seconds(py, "seconds", seconds)?;
        if let Ok(result) = block_on(py, async { tokio::time::timeout(limit, core.flush()).await })? {
            result.map_err(|error| error::raise(py, &error))?;
        }
        Ok(core.pending_messages())
    }

    /// Flushes and takes no more messages; the stream stays open.
    fn detach(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let core = self.core(py)?.clone();
        call(py, wait, self.callbacks.clone(), async move { core.detach().await }, flushed)
    }

    /// `(offset, duplicate, closed)`.
    #[pyo3(signature = (wait, data=None))]
    fn close_stream(&self, py: Python<'_>, wait: bool, data: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let core = self.core(py)?.clone();
        let data = match data.map(|data| Data::of(data, self.encode.as_ref())).transpose()? {
            None => None,
            Some(Data::Raw(data) | Data::Json(data)) => Some(data),
        };
        call(py, wait, self.callbacks.clone(), async move { core.close(data.as_deref()).await }, |py, it| {
            receipt(py, &it)
        })
    }

    fn restart(&self, py: Python<'_>, wait: bool) -> PyResult<Py<PyAny>> {
        let core = self.core(py)?.clone();
        call(py, wait, self.callbacks.clone(), async move { core.restart().await }, |py, ()| Ok(py.None()))
    }

    #[getter]
    fn epoch(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.core(py)?.epoch())
    }

    #[getter]
    fn next_seq(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.core(py)?.next_seq())
    }

    #[getter]
    fn pending_count(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.core(py)?.pending_messages())
    }

    #[getter]
    fn in_flight_count(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.core(py)?.in_flight())
    }

    #[getter]
    fn buffered_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.core(py)?.buffered_bytes())
    }

    #[getter]
    fn last_offset(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.core(py)?.last_offset().map(|it| it.to_string()))
    }
}

async fn append(core: CoreProducer, data: Data) -> everstream::Result<CoreDelivery> {
    match data {
        Data::Raw(message) => core.append(message).await,
        Data::Json(text) => core.append_json_text(text).await,
    }
}

async fn limited<T>(
    limit: Option<Duration>,
    future: impl Future<Output = everstream::Result<T>>,
    late: impl FnOnce() -> everstream::Error,
) -> everstream::Result<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, future).await.unwrap_or_else(|_| Err(late())),
        None => future.await,
    }
}

fn flushed(py: Python<'_>, flushed: everstream::Flushed) -> PyResult<Py<PyAny>> {
    let offset = flushed.offset.map(|it| it.to_string());
    Ok((offset, flushed.messages, flushed.duplicates).into_pyobject(py)?.into_any().unbind())
}

fn receipt(py: Python<'_>, receipt: &Receipt) -> PyResult<Py<PyAny>> {
    let offset = receipt.offset.as_ref().map(everstream::Offset::as_str);
    let parts: Bound<'_, PyTuple> = (offset, receipt.duplicate, receipt.closed).into_pyobject(py)?;
    static RESULT: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
    Ok(RESULT.import(py, "everstream.types", "IdempotentAppendResult")?.call1(parts)?.unbind())
}

/// A message on its way. Nobody has to wait for it.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct Delivery(Owned<Arc<CoreDelivery>>);

impl Delivery {
    fn new(delivery: CoreDelivery) -> Self {
        Self(Owned::new(Arc::new(delivery)))
    }

    fn core(&self, py: Python<'_>) -> PyResult<&Arc<CoreDelivery>> {
        self.0.get(py, "delivery")
    }

    fn of(taken: everstream::Result<CoreDelivery>, py: Python<'_>) -> PyResult<Self> {
        taken.map(Self::new).map_err(|error| error::raise(py, &error))
    }
}

#[pymethods]
impl Delivery {
    /// The message's number in its producer, counted from 0.
    #[getter]
    fn message(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.core(py)?.message())
    }

    /// Whether it is settled: stored, or failed.
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.core(py)?.outcome().is_some())
    }

    /// Waits for the receipt.
    #[pyo3(signature = (timeout=None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let delivery = self.core(py)?;
        let outcome = match delivery.outcome() {
            Some(outcome) => outcome,
            None => {
                let timeout = timeout.map(|it| options::seconds(py, "timeout", it)).transpose()?;
                let late = || everstream::Error::new(ErrorKind::Timeout, "the message is not settled yet");
                block_on(py, limited(timeout, delivery.wait(), late))?
            }
        };
        receipt(py, &outcome.map_err(|error| error::raise(py, &error))?)
    }

    fn __await__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let delivery = self.core(py)?;
        let future = match delivery.outcome() {
            Some(outcome) => {
                let (event_loop, _) = event_loop::running(py)?;
                let future = event_loop.call_method0("create_future")?;
                match outcome.map_err(|error| error::raise(py, &error)).and_then(|it| receipt(py, &it)) {
                    Ok(receipt) => future.call_method1("set_result", (receipt,))?,
                    Err(error) => future.call_method1("set_exception", (error.into_value(py),))?,
                };
                future.unbind()
            }
            None => {
                let delivery = delivery.clone();
                let waiting = async move { delivery.wait().await };
                call(py, false, Callbacks::default(), waiting, |py, it| receipt(py, &it))?
            }
        };
        future.call_method0(py, "__await__")
    }

    fn __repr__(&self) -> String {
        let Some(delivery) = self.0.here() else {
            return "<Delivery of another process>".to_owned();
        };
        let state = match delivery.outcome() {
            None => "under way",
            Some(Ok(_)) => "stored",
            Some(Err(_)) => "failed",
        };
        format!("<Delivery of message {}: {state}>", delivery.message())
    }
}
