//! Futures that are seldom ready, beside one that is polled often.
//!
//! Polling a timer or a cancellation takes locks that all tasks share. Here they are polled only when they were woken.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::stream::{FuturesUnordered, Stream as _, StreamExt as _};

/// A set of futures; each gives one event.
pub(crate) struct Aside<'a, T>(FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send + 'a>>>);

impl<'a, T> Aside<'a, T> {
    pub(crate) fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    pub(crate) fn add(&mut self, future: impl Future<Output = T> + Send + 'a) {
        self.0.push(Box::pin(future));
    }

    /// The next event; never, if there are no futures.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(crate) async fn next(&mut self) -> T {
        match self.0.next().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// An event that is there now. The task is woken when there is another.
    pub(crate) async fn look(&mut self) -> Option<T> {
        poll_fn(|cx| match Pin::new(&mut self.0).poll_next(cx) {
            Poll::Ready(event) => Poll::Ready(event),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}
