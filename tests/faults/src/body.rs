//! The one body type of the proxy: whole, streamed, or broken off on purpose.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use crate::answer::PIECE_PAUSE;
use crate::socket::ResetSwitch;
use crate::upstream::Lease;

/// Bytes on their way through the proxy, in either direction.
pub(crate) struct Body {
    source: Source,
    cut: Option<Cut>,
    lease: Option<Lease>,
}

enum Source {
    Streamed(Incoming),
    Whole(Option<Bytes>),
    Pieces(VecDeque<Bytes>, Option<Pin<Box<Sleep>>>),
}

struct Cut {
    left: u64,
    ending: Ending,
}

/// How a body ends that is cut.
pub(crate) enum Ending {
    /// As if it were complete.
    Clean,
    /// With a reset of the connection it is written to.
    Reset(Arc<ResetSwitch>),
    /// With a reset, after nothing has come for a while.
    Stall(Duration, Arc<ResetSwitch>),
    /// The while has begun.
    Stalled(Pin<Box<Sleep>>, Arc<ResetSwitch>),
    /// Not at all: it stays open.
    Never,
    /// The connection is about to break.
    Over,
}

impl Body {
    pub(crate) fn streamed(incoming: Incoming) -> Self {
        Self { source: Source::Streamed(incoming), cut: None, lease: None }
    }

    /// A body from the server, over a connection that comes back when the body has ended.
    pub(crate) fn leased(incoming: Incoming, lease: Lease) -> Self {
        Self { source: Source::Streamed(incoming), cut: None, lease: Some(lease) }
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { source: Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())), cut: None, lease: None }
    }

    /// A body whose pieces arrive one by one.
    pub(crate) fn pieces(pieces: Vec<Bytes>) -> Self {
        Self { source: Source::Pieces(pieces.into(), None), cut: None, lease: None }
    }

    /// Lets `left` more bytes through, and then ends as told.
    pub(crate) fn cut(mut self, left: u64, ending: Ending) -> Self {
        self.cut = Some(Cut { left, ending });
        self
    }

    /// Reads to the end.
    pub(crate) async fn read(self) -> Result<Bytes, hyper::Error> {
        Ok(self.collect().await?.to_bytes())
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.source {
            Source::Streamed(incoming) => ready!(Pin::new(incoming).poll_frame(cx)),
            Source::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Source::Pieces(pieces, pause) => {
                if let Some(sleep) = pause {
                    ready!(sleep.as_mut().poll(cx));
                }
                *pause = Some(Box::pin(tokio::time::sleep(PIECE_PAUSE)));
                pieces.pop_front().map(|piece| Ok(Frame::data(piece)))
            }
        };
        if frame.is_none() {
            self.give_back();
        }
        Poll::Ready(frame)
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // hyper does not ask for the end of a body whose length it knows.
        if matches!(&self.source, Source::Streamed(incoming) if incoming.is_end_stream()) {
            self.give_back();
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let left = match &mut self.cut {
            None => return self.poll_source(cx),
            Some(Cut { left: 0, ending }) => return ending.poll_end(cx),
            Some(Cut { left, .. }) => *left,
        };
        let frame = ready!(self.poll_source(cx));
        let Some(cut) = &mut self.cut else {
            return Poll::Ready(frame);
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => {
                    data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    cut.left -= data.len() as u64;
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(trailers) => Poll::Ready(Some(Ok(trailers))),
            },
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                cut.left = 0;
                cut.ending.poll_end(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            _ if self.cut.is_some() => false,
            Source::Streamed(incoming) => incoming.is_end_stream(),
            Source::Whole(bytes) => bytes.is_none(),
            Source::Pieces(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            _ if self.cut.is_some() => SizeHint::default(),
            Source::Streamed(incoming) => incoming.size_hint(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Pieces(..) => SizeHint::default(),
        }
    }
}

impl Ending {
    fn poll_end<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            match self {
                Self::Clean => return Poll::Ready(None),
                Self::Reset(switch) => {
                    switch.reset_when_flushed();
                    // The connection flushes each time it is polled, and this makes sure that it is.
                    cx.waker().wake_by_ref();
                    *self = Self::Over;
                }
                Self::Never | Self::Over => return Poll::Pending,
                Self::Stall(pause, switch) => {
                    *self = Self::Stalled(Box::pin(tokio::time::sleep(*pause)), Arc::clone(switch));
                }
                Self::Stalled(sleep, switch) => {
                    ready!(sleep.as_mut().poll(cx));
                    *self = Self::Reset(Arc::clone(switch));
                }
            }
        }
    }
}
