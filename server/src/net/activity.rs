//! What a connection is doing, so that only one that does nothing is ended.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::metrics::{self, Metrics};

/// Requests of one connection. Only its own task changes it, so that relaxed order is enough.
#[derive(Debug, Default)]
pub(super) struct Activity {
    begun: AtomicU32,
    under_way: AtomicU32,
}

impl Activity {
    /// A request has begun; it is under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// How many requests have begun so far; wraps.
    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body, which ends the request when it was handed over.
pub(super) struct Tracked<B> {
    body: B,
    _busy: Busy,
    metrics: Arc<Metrics>,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, busy: Busy, metrics: Arc<Metrics>) -> Self {
        Self { body, _busy: busy, metrics }
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            metrics::count(&self.metrics.served_bytes, data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
