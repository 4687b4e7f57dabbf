//! The tokio runtimes of the process, shared by all environments: the main thread's and those of workers.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::{Builder, Runtime};

/// The runtime that carries calls. It lives as long as the process: an environment that ends leaves it to the others.
///
/// It has one thread. What a client does there is to move bytes between sockets and JavaScript, which has one thread as
/// well; a second one would mostly be woken to take over what the first has just begun.
pub(crate) fn runtime() -> napi::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    made(RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(1).thread_name("everstream").enable_all().build().ok()
    }))
}

/// The runtime of servers in this process: a thread for each processor.
pub(crate) fn server_runtime() -> napi::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    made(RUNTIME.get_or_init(|| Builder::new_multi_thread().thread_name("everstream-server").enable_all().build().ok()))
}

fn made(runtime: &'static Option<Runtime>) -> napi::Result<&'static Runtime> {
    runtime.as_ref().ok_or_else(|| napi::Error::from_reason("everstream: the system gives no threads for its runtime"))
}

/// Locks what no panic leaves half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
