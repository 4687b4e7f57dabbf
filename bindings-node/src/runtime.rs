//! One tokio runtime for the process, shared by all environments: the main thread's and those of workers.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::{Builder, Runtime};

/// The runtime. It lives as long as the process: an environment that ends leaves it to the others.
pub(crate) fn runtime() -> napi::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let made = || Builder::new_multi_thread().thread_name("everstream").enable_all().build().ok();
    let runtime = RUNTIME.get_or_init(made).as_ref();
    runtime.ok_or_else(|| napi::Error::from_reason("everstream: the system gives no threads for its runtime"))
}

/// Locks what no panic leaves half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
