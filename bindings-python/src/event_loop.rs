//! The bridge to asyncio: what the runtime's threads have for an event loop's thread.
//!
//! They put jobs into a queue and, if it was empty, write a byte to a socket that the loop watches. So they never wait
//! for the interpreter, and many completions cost the loop one wake-up. Loops that watch no sockets (Windows) are woken
//! by `call_soon_threadsafe` instead.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyType, PyWeakrefMethods, PyWeakrefReference};

use crate::runtime::{Born, lock, runtime, with_python};

/// Something to do in the loop's thread.
type Job = Box<dyn FnOnce(Python<'_>) + Send>;

/// One event loop, as the runtime's threads know it.
#[derive(Clone)]
pub(crate) struct LoopHandle(Arc<Shared>);

struct Shared {
    /// `None` once the loop is gone: later jobs are dropped, and with them whatever waits for them.
    jobs: Mutex<Option<Vec<Job>>>,
    waker: Mutex<Option<Waker>>,
}

enum Waker {
    #[cfg(unix)]
    Socket(std::os::unix::net::UnixStream),
    /// `loop.call_soon_threadsafe` and what it is to call.
    Callback(Py<PyAny>, Py<PyAny>),
}

/// The loop's end of it; the loop's watch on the socket keeps it alive.
#[pyclass(frozen, module = "everstream._native")]
pub(crate) struct EventLoop {
    handle: LoopHandle,
    /// The loop itself, so that another one at the same address is not taken for it.
    event_loop: Py<PyWeakrefReference>,
    born: Born,
    #[cfg(unix)]
    socket: std::os::unix::net::UnixStream,
}

thread_local! {
    /// The loop that ran in this thread last.
    static CURRENT: RefCell<Option<Py<EventLoop>>> = const { RefCell::new(None) };
}

/// The running loop, and the bridge to it.
pub(crate) fn running(py: Python<'_>) -> PyResult<(Bound<'_, PyAny>, LoopHandle)> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event_loop = GET.import(py, "asyncio", "get_running_loop")?.call0()?;
    let known = CURRENT.with_borrow(|current| {
        let current = current.as_ref()?.get();
        let same = current.born.is_here() && current.event_loop.bind(py).upgrade()?.is(&event_loop);
        same.then(|| current.handle.clone())
    });
    let handle = match known {
        Some(handle) => handle,
        None => EventLoop::attach(py, &event_loop)?,
    };
    Ok((event_loop, handle))
}

impl EventLoop {
    fn attach(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<LoopHandle> {
        let shared = Shared { jobs: Mutex::new(Some(Vec::new())), waker: Mutex::new(None) };
        let handle = LoopHandle(Arc::new(shared));
        #[cfg(unix)]
        let (socket, far_end) = {
            let (near, far) = std::os::unix::net::UnixStream::pair()?;
            near.set_nonblocking(true)?;
            far.set_nonblocking(true)?;
            (near, far)
        };
        let this = Py::new(
            py,
            Self {
                handle: handle.clone(),
                event_loop: PyWeakrefReference::new(event_loop)?.unbind(),
                born: Born::now(),
                #[cfg(unix)]
                socket,
            },
        )?;
        let run = this.getattr(py, "run")?;
        #[cfg(unix)]
        let watched = {
            use std::os::fd::AsRawFd as _;
            event_loop.call_method1("add_reader", (this.get().socket.as_raw_fd(), &run)).map(|_| Waker::Socket(far_end))
        };
        #[cfg(not(unix))]
        let watched = Err(PyNotImplementedError::new_err("add_reader"));
        let waker = match watched {
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
                Waker::Callback(event_loop.getattr("call_soon_threadsafe")?.unbind(), run)
            }
            watched => watched?,
        };
        *lock(&handle.0.waker) = Some(waker);
        CURRENT.set(Some(this));
        Ok(handle)
    }
}

#[pymethods]
impl EventLoop {
    /// Does what came in; called by the loop.
    fn run(&self, py: Python<'_>) {
        #[cfg(unix)]
        {
            let mut bytes = [0; 64];
            // What cannot be read was not written: the jobs are what counts.
            let _ = (&self.socket).read(&mut bytes);
        }
        let jobs = lock(&self.handle.0.jobs).as_mut().map(std::mem::take).unwrap_or_default();
        for job in jobs {
            job(py);
        }
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        if self.born.is_here() {
            // Dropped without the locks: what they hold may look at them.
            let jobs = lock(&self.handle.0.jobs).take();
            let waker = lock(&self.handle.0.waker).take();
            drop((jobs, waker));
        }
    }
}

impl LoopHandle {
    /// Lets the loop do something soon; it is dropped when the loop is gone.
    pub(crate) fn run(&self, job: Job) {
        {
            let mut jobs = lock(&self.0.jobs);
            let Some(jobs) = jobs.as_mut() else { return };
            jobs.push(job);
            if jobs.len() > 1 {
                return;
            }
        }
        match &*lock(&self.0.waker) {
            #[cfg(unix)]
            Some(Waker::Socket(socket)) => {
                // A full socket has a byte that wakes the loop as well.
                let _ = (&*socket).write(&[1]);
            }
            Some(Waker::Callback(..)) => self.clone().wake_by_callback(),
            None => {}
        }
    }

    /// Entering the interpreter may take a while, so it is not done on a thread that carries traffic.
    fn wake_by_callback(self) {
        if let Ok(runtime) = runtime() {
            runtime.spawn_blocking(move || {
                with_python(|py| {
                    // Called without the lock: a call may let others have the interpreter, who may want the lock.
                    let callback = match &*lock(&self.0.waker) {
                        Some(Waker::Callback(call_soon, run)) => Some((call_soon.clone_ref(py), run.clone_ref(py))),
                        _ => None,
                    };
                    if let Some((call_soon, run)) = callback {
                        // A closed loop wants to hear nothing.
                        let _ = call_soon.call1(py, (run,));
                    }
                })
            });
        }
    }
}

/// The class of our futures: an asyncio future whose `cancel` also aborts what it stands for.
pub(crate) fn operation_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "everstream._operation", "Operation")
}
