//! tokio, and the operating system.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

pub(in crate::client) use tokio::task::{AbortHandle, JoinSet, yield_now};
pub(in crate::client) use tokio::time::{Instant as Clock, Sleep, sleep_until, timeout};

use crate::client::transport::BoxFuture;
use crate::error::{Error, ErrorKind, Result};

/// Polls a task until it is done. Not within this call: the caller may hold a lock.
pub type Spawner = Rc<dyn Fn(BoxFuture<()>)>;

thread_local! {
    static SPAWNER: RefCell<Option<Spawner>> = const { RefCell::new(None) };
}

/// Runs a function, such as one that polls futures of a client. Tasks that begin in it go to `spawner`, not to tokio: for whoever
/// carries calls in a thread of their own, and does not want to wait for others. Timers stay tokio's, so that it is to be
/// called within a runtime.
pub fn spawning_by<R>(spawner: &Spawner, run: impl FnOnce() -> R) -> R {
    struct Restore(Option<Spawner>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SPAWNER.set(self.0.take());
        }
    }
    let _restore = Restore(SPAWNER.replace(Some(spawner.clone())));
    run()
}

pub(in crate::client) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    match SPAWNER.with_borrow(Option::clone) {
        Some(spawner) => spawner(Box::pin(task)),
        None => drop(tokio::spawn(task)),
    }
}

/// # Errors
/// `Internal` when the system gives none.
pub(in crate::client) fn random() -> Result<u64> {
    getrandom::u64()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("the system gives no randomness: {error}")))
}

pub(in crate::client) fn system_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn tasks_that_begin_while_a_function_runs_go_to_its_spawner() {
        let taken: Rc<RefCell<Vec<BoxFuture<()>>>> = Rc::default();
        let into = taken.clone();
        let spawner: Spawner = Rc::new(move |task| into.borrow_mut().push(task));
        let (begun, runs) = oneshot::channel();
        spawning_by(&spawner, || spawn(async move { begun.send(1).unwrap() }));
        let mut tasks = taken.take();
        assert_eq!(tasks.len(), 1);
        tasks.remove(0).await;
        assert_eq!(runs.await, Ok(1));
        // And tokio has the others again, also after a panic.
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| spawning_by(&spawner, || panic!())));
        assert!(panicked.is_err());
        let (begun, runs) = oneshot::channel();
        spawn(async move { begun.send(2).unwrap() });
        assert_eq!(runs.await, Ok(2));
        assert!(taken.borrow().is_empty());
    }
}
