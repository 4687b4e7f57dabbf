//! One call, two ways to wait for it: blocking with the interpreter released, or as an asyncio future.

use everstream::{Error, ErrorKind};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict as _;
use tokio::task::AbortHandle;

use crate::callback::Callbacks;
use crate::event_loop::{self, LoopHandle};
use crate::runtime::{Owned, block_on, runtime};

/// Runs a future and converts what it gives; the conversion runs in the caller's thread, or in the loop's.
pub(crate) fn call<T, F, C>(
    py: Python<'_>,
    wait: bool,
    callbacks: Callbacks,
    future: F,
    convert: C,
) -> PyResult<Py<PyAny>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
    C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
{
    callbacks.enter(py)?;
    if wait {
        let value = block_on(py, future)?.map_err(|error| callbacks.raise(py, &error))?;
        return convert(py, value);
    }
    let (operation, promise) = promise(py)?;
    let task = runtime()?.spawn(async move {
        let result = future.await;
        promise.settle(move |py| match result {
            Ok(value) => convert(py, value),
            Err(error) => Err(callbacks.raise(py, &error)),
        });
    });
    operation.setattr(intern!(py, "abort"), Py::new(py, Abort(Owned::new(task.abort_handle())))?)?;
    Ok(operation.unbind())
}

/// A future for the running loop, and what settles it. Whoever makes it gives the future its `abort`.
pub(crate) fn promise(py: Python<'_>) -> PyResult<(Bound<'_, PyAny>, Promise)> {
    let (event_loop, handle) = event_loop::running(py)?;
    let arguments = [(intern!(py, "loop"), &event_loop)].into_py_dict(py)?;
    let operation = event_loop::operation_class(py)?.call((), Some(&arguments))?;
    let promise = Promise { operation: Some(operation.clone().unbind()), handle };
    Ok((operation, promise))
}

/// Whom the result belongs to. Dropped without one - the runtime was shut down - it settles as cancelled.
pub(crate) struct Promise {
    operation: Option<Py<PyAny>>,
    handle: LoopHandle,
}

impl Promise {
    /// Settles it in the loop's thread, from any other.
    pub(crate) fn settle(mut self, result: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static) {
        if let Some(operation) = self.operation.take() {
            self.handle.run(Box::new(move |py| settle(operation.bind(py), result)));
        }
    }

    /// Settles it at once, in the loop's own thread.
    pub(crate) fn settle_here(mut self, py: Python<'_>, result: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) {
        if let Some(operation) = self.operation.take() {
            settle(operation.bind(py), result);
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            let error = Error::new(ErrorKind::Cancelled, "the operation was aborted");
            self.handle.run(Box::new(move |py| settle(operation.bind(py), |py| Err(crate::error::raise(py, &error)))));
        }
    }
}

fn settle(operation: &Bound<'_, PyAny>, result: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) {
    let py = operation.py();
    let settled = || {
        // Cancelled meanwhile: nobody wants it.
        if operation.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        match result(py) {
            Ok(value) => operation.call_method1(intern!(py, "set_result"), (value,)),
            Err(error) => operation.call_method1(intern!(py, "set_exception"), (error.into_value(py),)),
        }?;
        PyResult::Ok(())
    };
    if let Err(error) = settled() {
        error.write_unraisable(py, Some(operation));
    }
}

/// Aborts the operation of a future that was cancelled.
#[pyclass(frozen, module = "everstream._native")]
struct Abort(Owned<AbortHandle>);

#[pymethods]
impl Abort {
    fn __call__(&self) {
        if let Some(task) = self.0.here() {
            task.abort();
        }
    }
}
