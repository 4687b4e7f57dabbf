//! Futures that are seldom ready, beside one that is polled often.
//!
//! Polling a timer or a cancellation takes locks that all tasks share, and each touches memory of its own, of which there is
//! a lot when a thousand connections are woken at once. Here they are polled only when one of them was woken.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// A set of futures; each gives one event.
pub(crate) struct Aside<'a, T> {
    futures: Vec<Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
    bell: Arc<Bell>,
    /// The task that the bell wakes. The task polls often, and to look here takes no lock.
    task: Option<Waker>,
}

/// Is rung by the futures.
#[derive(Default)]
struct Bell {
    has_rung: AtomicBool,
    /// It stays when it is woken: see [`Aside::poll`].
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }
}

impl<'a, T> Aside<'a, T> {
    pub(crate) fn new() -> Self {
        Self { futures: Vec::new(), bell: Arc::default(), task: None }
    }

    pub(crate) fn add(&mut self, future: impl Future<Output = T> + Send + 'a) {
        self.futures.push(Box::pin(future));
        // It has not been polled yet. Whoever adds it polls the set afterwards, so nobody has to be woken.
        self.bell.has_rung.store(true, Ordering::Release);
    }

    /// The next event; never, if there are no futures.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(crate) async fn next(&mut self) -> T {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// An event that is there now. The task is woken when there is another.
    pub(crate) async fn look(&mut self) -> Option<T> {
        poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        // First, so that whoever rings after the look below wakes this task.
        if self.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
            self.bell.task.lock().clone_from(&self.task);
        }
        if !self.bell.has_rung.load(Ordering::Relaxed) || !self.bell.has_rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.bell));
        let cx = &mut Context::from_waker(&waker);
        for at in 0..self.futures.len() {
            if let Poll::Ready(event) = self.futures[at].as_mut().poll(cx) {
                drop(self.futures.swap_remove(at));
                // The others have not been looked at.
                self.bell.has_rung.store(true, Ordering::Release);
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::atomic::AtomicUsize;
    use std::task::Poll;

    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn each_future_gives_one_event() {
        let mut aside = Aside::new();
        assert_eq!(aside.look().await, None);
        aside.add(ready(1));
        aside.add(pending());
        aside.add(ready(2));
        let mut events = [aside.next().await, aside.next().await];
        events.sort_unstable();
        assert_eq!(events, [1, 2]);
        assert_eq!(aside.next().now_or_never(), None);
        let (later, heard) = oneshot::channel();
        aside.add(async { heard.await.unwrap() });
        assert_eq!(aside.look().await, None);
        let waiting = tokio::spawn(async move { aside.next().await });
        tokio::task::yield_now().await;
        later.send(3).unwrap();
        assert_eq!(waiting.await.unwrap(), 3);
    }

    #[test]
    fn futures_are_polled_only_when_one_was_woken() {
        let polls = AtomicUsize::new(0);
        let (ring, mut rung) = oneshot::channel::<()>();
        let mut aside = Aside::new();
        aside.add(poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            match rung.poll_unpin(cx) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        }));
        for _ in 0..10 {
            assert_eq!(aside.look().now_or_never(), Some(None));
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        ring.send(()).unwrap();
        assert_eq!(aside.look().now_or_never(), Some(Some(())));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn each_ring_wakes_the_task_that_polled_last() {
        struct Woken(AtomicUsize);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut aside = Aside::<()>::new();
        aside.add(pending());
        let tasks = [0, 1].map(|_| Arc::new(Woken(AtomicUsize::new(0))));
        for (task, rings) in [(&tasks[0], 3), (&tasks[1], 2)] {
            let waker = Waker::from(Arc::clone(task));
            for ring in 1..=rings {
                assert!(aside.poll(&mut Context::from_waker(&waker)).is_pending());
                Arc::clone(&aside.bell).wake();
                assert_eq!(task.0.load(Ordering::Relaxed), ring);
            }
        }
        assert_eq!(tasks[0].0.load(Ordering::Relaxed), 3);
    }
}
