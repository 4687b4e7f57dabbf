//! Functions of the caller's that the core calls: header and parameter values, and what to do about errors.
//!
//! Those of the asyncio face run in the thread of the event loop that made the last call, and may be coroutine
//! functions; those of the blocking face run in a thread of ours, while the caller's waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use everstream::{BoxFuture, Error, ErrorKind, Extras, Provider};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use tokio::sync::oneshot;

use crate::error;
use crate::event_loop::{self, LoopHandle};
use crate::runtime::{lock, with_python};

/// Where a handle's functions run, and what one of them raised last.
#[derive(Clone, Default)]
pub(crate) struct Callbacks(Arc<State>);

#[derive(Default)]
struct State {
    asynchronous: bool,
    /// Whether there is any function to call.
    used: AtomicBool,
    event_loop: Mutex<Option<LoopHandle>>,
    /// The context variables of the last call.
    context: Mutex<Option<Py<PyAny>>>,
    raised: Mutex<Option<PyErr>>,
}

type Extract<T> = Box<dyn FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send>;

impl Callbacks {
    pub(crate) fn new(asynchronous: bool) -> Self {
        Self(Arc::new(State { asynchronous, ..State::default() }))
    }

    /// Says that there is something to call.
    pub(crate) fn expect(&self) {
        self.0.used.store(true, Ordering::Relaxed);
    }

    /// Notes the caller's event loop and context variables, before a call that may need them.
    pub(crate) fn enter(&self, py: Python<'_>) -> PyResult<()> {
        static COPY_CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if !self.0.used.load(Ordering::Relaxed) {
            return Ok(());
        }
        // What was there is dropped after its lock, since dropping a Python object may run anything.
        if self.0.asynchronous {
            let (_, handle) = event_loop::running(py)?;
            let _before = lock(&self.0.event_loop).replace(handle);
        }
        let context = COPY_CONTEXT.import(py, "contextvars", "copy_context")?.call0()?.unbind();
        let _before = lock(&self.0.context).replace(context);
        Ok(())
    }

    /// The exception for a failed call: what a function raised, rather than what the core made of it.
    pub(crate) fn raise(&self, py: Python<'_>, error: &Error) -> PyErr {
        lock(&self.0.raised).take().unwrap_or_else(|| error::raise(py, error))
    }

    /// Headers or parameters of a dict: fixed values, or functions that are asked for each request.
    pub(crate) fn extras(
        &self,
        headers: Option<&Bound<'_, PyDict>>,
        params: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Extras> {
        let mut extras = Extras::new();
        for (name, value) in headers.into_iter().flatten() {
            let name = name.extract::<String>()?;
            extras = match self.value("header", &name, &value)? {
                None => Ok(extras),
                Some(Value::Fixed(value)) => extras.header(&name, value),
                Some(Value::Asked(provider)) => extras.header_provider(&name, provider),
            }
            .map_err(|error| error::raise(value.py(), &error))?;
        }
        for (name, value) in params.into_iter().flatten() {
            let name = name.extract::<String>()?;
            extras = match self.value("parameter", &name, &value)? {
                None => extras,
                Some(Value::Fixed(value)) => extras.param(name, value),
                Some(Value::Asked(provider)) => extras.param_provider(name, provider),
            };
        }
        Ok(extras)
    }

    fn value(&self, what: &str, name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
        if value.is_none() {
            return Ok(None);
        }
        if let Ok(text) = value.cast::<PyString>() {
            return Ok(Some(Value::Fixed(text.to_str()?.to_owned())));
        }
        if !value.is_callable() {
            let given = value.get_type().name()?;
            return Err(PyTypeError::new_err(format!("{what} {name} must be a str or a function, not {given}")));
        }
        let (callbacks, function) = (self.clone(), Arc::new(value.clone().unbind()));
        self.expect();
        let what = format!("the function for {what} {name} failed");
        Ok(Some(Value::Asked(Arc::new(move || {
            let function = function.clone();
            let answer = callbacks.call(function, None, Box::new(|value| value.extract::<String>()));
            let what = what.clone();
            Box::pin(
                async move { answer.await.map_err(|error| Error::new(ErrorKind::Cancelled, what).with_source(error)) },
            )
        }))))
    }

    /// `on_error(exc)`, which gives `{"headers": ..., "params": ...}` to try again with, or `None` to fail.
    pub(crate) fn error_hook(
        &self,
        function: Py<PyAny>,
    ) -> impl Fn(Error) -> BoxFuture<Option<Extras>> + Send + Sync + 'static {
        let (callbacks, function) = (self.clone(), Arc::new(function));
        self.expect();
        move |failed| {
            let function = function.clone();
            let extract: Extract<Option<Extras>> = {
                let callbacks = callbacks.clone();
                Box::new(move |answer| callbacks.retry_with(&answer))
            };
            let answer = callbacks.call(function, Some(failed), extract);
            let state = callbacks.0.clone();
            Box::pin(async move {
                answer.await.unwrap_or_else(|raised| {
                    *lock(&state.raised) = Some(raised);
                    None
                })
            })
        }
    }

    /// `on_error(exc)` of a producer, for batches that were not stored. What it raises goes to `sys.unraisablehook`.
    pub(crate) fn failure_hook(&self, function: Py<PyAny>) -> impl Fn(Error) + Send + Sync + 'static {
        let (callbacks, function) = (self.clone(), Arc::new(function));
        self.expect();
        move |failed| {
            let function = function.clone();
            let told = callbacks.call(function, Some(failed), Box::new(|_| Ok(())));
            tokio::spawn(async move {
                if let Err(raised) = told.await {
                    with_python(|py| raised.write_unraisable(py, None));
                }
            });
        }
    }

    fn retry_with(&self, answer: &Bound<'_, PyAny>) -> PyResult<Option<Extras>> {
        if answer.is_none() {
            return Ok(None);
        }
        let answer = answer.cast::<PyDict>().map_err(|_| {
            PyTypeError::new_err("on_error must return None, or a dict with \"headers\" and \"params\"")
        })?;
        let part = |name: &str| -> PyResult<Option<Bound<'_, PyDict>>> {
            answer.get_item(name)?.filter(|it| !it.is_none()).map(|it| Ok(it.cast_into::<PyDict>()?)).transpose()
        };
        self.extras(part("headers")?.as_ref(), part("params")?.as_ref()).map(Some)
    }

    /// Calls a function, with the exception for an error if there is one, and awaits what it gives if that is awaitable.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        function: Arc<Py<PyAny>>,
        error: Option<Error>,
        extract: Extract<T>,
    ) -> BoxFuture<PyResult<T>> {
        let (sender, receiver) = oneshot::channel();
        let state = self.0.clone();
        let invocation = Invocation { function, error, state };
        if self.0.asynchronous {
            if let Some(event_loop) = &*lock(&self.0.event_loop) {
                event_loop.run(Box::new(move |py| call_in_loop(py, &invocation, extract, sender)));
            }
        } else {
            tokio::task::spawn_blocking(move || {
                with_python(|py| {
                    let value = invocation.run(py).and_then(|(value, _)| extract(value));
                    // The call that wanted to know may be over.
                    let _ = sender.send(value);
                })
            });
        }
        Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(loop_is_gone())) })
    }
}

/// A function about to be called.
struct Invocation {
    function: Arc<Py<PyAny>>,
    error: Option<Error>,
    state: Arc<State>,
}

impl Invocation {
    /// Calls it in the context of whoever made the last call; gives what it gave, and that context.
    fn run<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
        // A copy, since a context can be entered only once at a time.
        let context = lock(&self.state.context).as_ref().map(|context| context.clone_ref(py));
        let context = context.map(|context| context.into_bound(py).call_method0("copy")).transpose()?;
        let error = self.error.as_ref().map(|error| error::raise(py, error).into_value(py));
        let value = match (&context, error) {
            (Some(context), None) => context.call_method1("run", (&*self.function,)),
            (Some(context), Some(error)) => context.call_method1("run", (&*self.function, error)),
            (None, None) => self.function.bind(py).call0(),
            (None, Some(error)) => self.function.bind(py).call1((error,)),
        }?;
        Ok((value, context))
    }
}

enum Value {
    Fixed(String),
    Asked(Provider),
}

fn call_in_loop<T: Send + 'static>(
    py: Python<'_>,
    invocation: &Invocation,
    extract: Extract<T>,
    sender: oneshot::Sender<PyResult<T>>,
) {
    static ENSURE_FUTURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let called = invocation.run(py).and_then(|(value, context)| {
        if !value.hasattr("__await__")? {
            return Ok(Err(value));
        }
        let ensure_future = ENSURE_FUTURE.import(py, "asyncio", "ensure_future")?;
        // A task takes the context that it is made in.
        let task = match context {
            Some(context) => context.call_method1("run", (ensure_future, value)),
            None => ensure_future.call1((value,)),
        };
        task.map(Ok)
    });
    let task = match called {
        Ok(Ok(task)) => task,
        Ok(Err(value)) => return drop(sender.send(extract(value))),
        Err(error) => return drop(sender.send(Err(error))),
    };
    let deliver: Deliver = Box::new(move |task| {
        let value = task.call_method0("result").and_then(extract);
        // The call that wanted to know may be over.
        let _ = sender.send(value);
    });
    let done =
        Py::new(py, Done(Mutex::new(Some(deliver)))).and_then(|done| task.call_method1("add_done_callback", (done,)));
    if let Err(error) = done {
        error.write_unraisable(py, None);
    }
}

type Deliver = Box<dyn FnOnce(&Bound<'_, PyAny>) + Send>;

/// Called with a task that is done.
#[pyclass(frozen, module = "everstream._native")]
struct Done(Mutex<Option<Deliver>>);

#[pymethods]
impl Done {
    fn __call__(&self, task: &Bound<'_, PyAny>) {
        if let Some(deliver) = lock(&self.0).take() {
            deliver(task);
        }
    }
}

fn loop_is_gone() -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err("the event loop that is to run the function is closed")
}
