//! A host of the driver, and what the driver makes of it: the same names as tokio's.

#![cfg_attr(feature = "client", allow(dead_code, reason = "tokio does it there"))]

use std::ops::Add;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use crate::client::transport::BoxFuture;
use crate::error::{Error, ErrorKind, Result};

/// Whatever runs the driver where there is no tokio, such as a browser. To be given to [`set_host`].
pub trait Host: Send + Sync + 'static {
    /// Time since a moment that stays the same. It never goes back.
    fn now(&self) -> Duration;
    /// Time since 1970.
    fn unix_time(&self) -> Duration;
    /// A number that nobody can guess.
    fn random(&self) -> u64;
    /// Ready after a time. It may be ready too early, as timers with an upper limit are: then it is asked for anew.
    fn sleep(&self, time: Duration) -> BoxFuture<()>;
    /// Polls a task until it is done. Not within this call: the caller may hold a lock.
    fn spawn(&self, task: BoxFuture<()>);
}

static HOST: OnceLock<Box<dyn Host>> = OnceLock::new();

/// Gives the driver its host; `false` when it has one already. Without the feature `client` nothing works before that.
pub fn set_host(host: impl Host) -> bool {
    HOST.set(Box::new(host)).is_ok()
}

fn host() -> &'static dyn Host {
    HOST.get().expect("whoever embeds the driver calls `set_host` before anything else").as_ref()
}

pub(in crate::client) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    host().spawn(Box::pin(task));
}

/// # Errors
/// `Internal` when there is no host.
pub(in crate::client) fn random() -> Result<u64> {
    match HOST.get() {
        Some(host) => Ok(host.random()),
        None => Err(Error::new(ErrorKind::Internal, "the driver has no host: `set_host` was not called")),
    }
}

pub(in crate::client) fn system_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + host().unix_time()
}

/// A moment of the host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::client) struct Clock(Duration);

impl Clock {
    pub(in crate::client) fn now() -> Self {
        Self(host().now())
    }

    pub(in crate::client) fn elapsed(self) -> Duration {
        host().now().saturating_sub(self.0)
    }
}

impl Add<Duration> for Clock {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

pub(in crate::client) fn sleep_until(deadline: Clock) -> Sleep {
    Sleep { deadline, ringing: None }
}

/// Ready at its moment, and not before.
pub(in crate::client) struct Sleep {
    deadline: Clock,
    ringing: Option<BoxFuture<()>>,
}

impl Sleep {
    pub(in crate::client) fn deadline(&self) -> Clock {
        self.deadline
    }

    pub(in crate::client) fn reset(mut self: Pin<&mut Self>, deadline: Clock) {
        self.deadline = deadline;
        self.ringing = None;
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let left = self.deadline.0.saturating_sub(host().now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            let ringing = self.ringing.get_or_insert_with(|| host().sleep(left));
            ready!(ringing.as_mut().poll(context));
            self.ringing = None;
        }
    }
}

/// What the future gives, unless the time is over before.
pub(in crate::client) async fn timeout<T>(
    limit: Duration,
    future: impl Future<Output = T>,
) -> std::result::Result<T, Elapsed> {
    tokio::select! {
        biased;
        result = future => Ok(result),
        () = sleep_until(Clock::now() + limit) => Err(Elapsed),
    }
}

/// The time is over.
#[derive(Debug)]
pub(in crate::client) struct Elapsed;

/// Nobody else has to get a turn: connections are the host's.
pub(in crate::client) fn yield_now() -> std::future::Ready<()> {
    std::future::ready(())
}

/// Tasks whose results are wanted; few at a time. They go on while somebody waits for one. Dropping it ends them.
pub(in crate::client) struct JoinSet<T>(Vec<(AbortHandle, BoxFuture<T>)>);

impl<T> JoinSet<T> {
    pub(in crate::client) fn new() -> Self {
        Self(Vec::new())
    }

    pub(in crate::client) fn spawn(&mut self, task: impl Future<Output = T> + Send + 'static) -> AbortHandle {
        let handle = AbortHandle::default();
        self.0.push((handle.clone(), Box::pin(task)));
        handle
    }

    /// The next result; never, when there is none to come.
    pub(in crate::client) async fn join_next(&mut self) -> Option<std::result::Result<T, Elapsed>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<std::result::Result<T, Elapsed>>> {
        self.0.retain(|(handle, _)| !handle.0.load(Ordering::Relaxed));
        for at in 0..self.0.len() {
            if let Poll::Ready(result) = self.0[at].1.as_mut().poll(context) {
                drop(self.0.remove(at));
                return Poll::Ready(Some(Ok(result)));
            }
        }
        Poll::Pending
    }
}

/// Ends a task, before it goes on the next time.
#[derive(Clone, Default)]
pub(in crate::client) struct AbortHandle(Arc<AtomicBool>);

impl AbortHandle {
    pub(in crate::client) fn abort(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU64;

    /// A clock that timers move, and tasks that the test polls. One for all tests: there is one host.
    #[derive(Default)]
    struct Scripted {
        millis: AtomicU64,
        tasks: Mutex<Vec<BoxFuture<()>>>,
    }

    /// No timer of this host is longer.
    const LONGEST: Duration = Duration::from_millis(100);

    impl Host for Arc<Scripted> {
        fn now(&self) -> Duration {
            Duration::from_millis(self.millis.load(Ordering::SeqCst))
        }

        fn unix_time(&self) -> Duration {
            self.now()
        }

        fn random(&self) -> u64 {
            7
        }

        fn sleep(&self, time: Duration) -> BoxFuture<()> {
            let host = self.clone();
            Box::pin(async move {
                host.millis.fetch_add(time.min(LONGEST).as_millis() as u64, Ordering::SeqCst);
            })
        }

        fn spawn(&self, task: BoxFuture<()>) {
            self.tasks.lock().unwrap().push(task);
        }
    }

    fn scripted() -> Arc<Scripted> {
        static SCRIPTED: OnceLock<Arc<Scripted>> = OnceLock::new();
        SCRIPTED
            .get_or_init(|| {
                let scripted = Arc::<Scripted>::default();
                assert!(set_host(scripted.clone()));
                scripted
            })
            .clone()
    }

    impl Scripted {
        fn run_tasks(&self) {
            let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
            let mut context = Context::from_waker(std::task::Waker::noop());
            for mut task in tasks {
                if task.as_mut().poll(&mut context).is_pending() {
                    self.tasks.lock().unwrap().push(task);
                }
            }
        }
    }

    #[tokio::test]
    async fn what_a_host_is_asked_for() {
        let host = scripted();
        // Timers that ring too early are set anew.
        let start = Clock::now();
        sleep_until(start + Duration::from_millis(250)).await;
        assert_eq!(start.elapsed(), Duration::from_millis(250));

        // What is never ready is given up, and what is ready wins.
        assert!(timeout(Duration::from_millis(10), std::future::pending::<()>()).await.is_err());
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await.unwrap(), 1);

        // What is spawned goes on by itself.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        spawn(async move {
            let _ = sender.send(3);
        });
        host.run_tasks();
        assert_eq!(receiver.await.unwrap(), 3);
        assert!(host.tasks.lock().unwrap().is_empty());

        // A task that is aborted ends and gives nothing, others give their results, and those of a set that is dropped end.
        let mut set = JoinSet::new();
        let kept = Arc::new(());
        let holding = |kept: &Arc<()>| {
            let kept = kept.clone();
            async move {
                std::future::pending::<()>().await;
                drop(kept);
                0
            }
        };
        let aborted = set.spawn(holding(&kept));
        set.spawn(holding(&kept));
        set.spawn(async { 2 });
        assert_eq!(set.join_next().await.unwrap().unwrap(), 2);
        assert_eq!(Arc::strong_count(&kept), 3);
        aborted.abort();
        assert!(timeout(Duration::ZERO, set.join_next()).await.is_err());
        assert_eq!(Arc::strong_count(&kept), 2);
        drop(set);
        assert_eq!(Arc::strong_count(&kept), 1);

        assert!(!set_host(host), "the first host stays");
    }
}
