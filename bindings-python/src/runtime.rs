//! One tokio runtime for the process, made at first use and made anew in a forked child.
//!
//! A fork copies the memory of a runtime but not its threads, and its locks as they were at that moment. So the child
//! forgets what it inherited without touching it: what can be made anew is ([`Remade`]), what cannot says so ([`Owned`]).

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};

use crate::error;

/// How often a blocked call looks for signals such as Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// Forks between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);
static EXITING: AtomicBool = AtomicBool::new(false);
/// Leaked: it lives as long as the process. Held only for moments, and by threads that hold the interpreter, so that a
/// fork never copies it locked.
static RUNTIME: Mutex<Option<&'static Runtime>> = Mutex::new(None);

/// The runtime of this process.
pub(crate) fn runtime() -> PyResult<&'static Runtime> {
    let mut runtime = lock(&RUNTIME);
    if let Some(runtime) = *runtime {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread().thread_name("everstream").enable_all().build()?;
    Ok(*runtime.insert(Box::leak(Box::new(made))))
}

/// Runs a future on this thread with the interpreter released; raises what a signal handler raises.
pub(crate) fn block_on<F: Future + Send>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F::Output: Send,
{
    let runtime = runtime()?;
    let mut future = std::pin::pin!(future);
    loop {
        let slice = || runtime.block_on(async { tokio::time::timeout(SIGNAL_INTERVAL, future.as_mut()).await });
        if let Ok(output) = py.detach(slice) {
            return Ok(output);
        }
        // Outside of the runtime: a signal handler may make calls of its own.
        py.check_signals()?;
    }
}

/// Runs something that needs the interpreter from a thread of ours; `None` when the interpreter is on its way out.
pub(crate) fn with_python<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    if is_exiting() {
        return None;
    }
    Python::try_attach(work)
}

/// Whether the interpreter is on its way out.
pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::Acquire)
}

/// Called by `os.register_at_fork` in the child.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    *lock(&RUNTIME) = None;
}

/// Called by `atexit`: from here on no thread of ours enters the interpreter.
#[pyfunction]
pub(crate) fn before_exit() {
    EXITING.store(true, Ordering::Release);
}

/// In which process something was made.
#[derive(Clone, Copy)]
pub(crate) struct Born(u32);

impl Born {
    pub(crate) fn now() -> Self {
        Self(GENERATION.load(Ordering::Acquire))
    }

    pub(crate) fn is_here(self) -> bool {
        self.0 == GENERATION.load(Ordering::Acquire)
    }
}

/// Something that cannot follow a fork. A forked child neither uses nor drops it: its locks may be held by threads that
/// the child does not have.
pub(crate) struct Owned<T> {
    born: Born,
    /// There until it is dropped.
    value: ManuallyDrop<T>,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { born: Born::now(), value: ManuallyDrop::new(value) }
    }

    /// `None` in a forked child.
    pub(crate) fn here(&self) -> Option<&T> {
        self.born.is_here().then_some(&*self.value)
    }

    /// # Errors
    /// `ForkedError` in a forked child; `what` says what it was.
    pub(crate) fn get(&self, py: Python<'_>, what: &str) -> PyResult<&T> {
        self.here().ok_or_else(|| error::forked(py, what))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.born.is_here() {
            // SAFETY: the value is not used again: this is the only place that drops it, and runs once.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

/// Something that a forked child makes anew, because the one it inherited belongs to the parent's runtime.
pub(crate) struct Remade<T> {
    make: Box<dyn Fn(Python<'_>) -> PyResult<T> + Send + Sync>,
    made: Mutex<Owned<T>>,
}

impl<T: Clone> Remade<T> {
    /// Makes it once, to hear of errors at once.
    pub(crate) fn new(
        py: Python<'_>,
        make: impl Fn(Python<'_>) -> PyResult<T> + Send + Sync + 'static,
    ) -> PyResult<Self> {
        let made = Mutex::new(Owned::new(make(py)?));
        Ok(Self { make: Box::new(make), made })
    }

    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<T> {
        if let Some(value) = lock(&self.made).here() {
            return Ok(value.clone());
        }
        let value = (self.make)(py)?;
        *lock(&self.made) = Owned::new(value.clone());
        Ok(value)
    }
}

/// Locks what no panic leaves half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
