//! Futures that end whoever waits for them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Runs a future to its end even if the caller goes away: dropped early, the rest runs as a task.
///
/// A client that hangs up must not leave a commit unpublished or a removal half done.
pub(crate) struct RunToEnd<F>(Option<F>)
where
    F: Future<Output: Send> + Unpin + Send + 'static;

impl<F> RunToEnd<F>
where
    F: Future<Output: Send> + Unpin + Send + 'static,
{
    pub(crate) fn new(future: F) -> Self {
        Self(Some(future))
    }
}

impl<T: Send> RunToEnd<Pin<Box<dyn Future<Output = T> + Send>>> {
    pub(crate) fn boxed(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F> Future for RunToEnd<F>
where
    F: Future<Output: Send> + Unpin + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.0 else {
            return Poll::Pending;
        };
        let output = ready!(Pin::new(future).poll(cx));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F> Drop for RunToEnd<F>
where
    F: Future<Output: Send> + Unpin + Send + 'static,
{
    fn drop(&mut self) {
        // Without a runtime the process is ending, and with it everything that could look.
        if let Some(future) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                future.await;
            });
        }
    }
}
