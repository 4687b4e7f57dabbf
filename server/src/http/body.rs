//! Request bodies in, response bodies out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::{Frame, SizeHint};

/// How much room a declared length may claim before any of it has arrived.
const TRUSTED_LENGTH: u64 = 1 << 20;

/// Why a request body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CollectError {
    /// It broke off. Nothing of it may be used (S-HTTP-11).
    Broken,
    /// It is larger than allowed (S-HTTP-12).
    TooLarge,
}

/// Takes in a whole request body of at most `limit` bytes. A body that came in one frame is not copied.
pub(super) async fn collect<B>(body: B, limit: usize) -> Result<Bytes, CollectError>
where
    B: http_body::Body<Data = Bytes>,
{
    let declared = body.size_hint();
    if declared.lower() > limit as u64 {
        return Err(CollectError::TooLarge);
    }
    let mut body = pin!(body);
    let mut whole = Bytes::new();
    let mut parts: Option<BytesMut> = None;
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|_| CollectError::Broken)?.into_data() else {
            continue;
        };
        if parts.as_ref().map_or(whole.len(), BytesMut::len) + data.len() > limit {
            return Err(CollectError::TooLarge);
        }
        match &mut parts {
            Some(parts) => parts.extend_from_slice(&data),
            None if whole.is_empty() => whole = data,
            None => {
                // At most `TRUSTED_LENGTH`, which fits.
                let room = declared.lower().min(TRUSTED_LENGTH) as usize;
                let mut joined = BytesMut::with_capacity(room.max(whole.len() + data.len()));
                joined.extend_from_slice(&whole);
                joined.extend_from_slice(&data);
                parts = Some(joined);
            }
        }
    }
    Ok(parts.map_or(whole, BytesMut::freeze))
}

/// The body of a response.
pub(crate) enum Body {
    /// None.
    Empty,
    /// One block.
    Full(Bytes),
    /// Blocks in order, and their length together.
    Blocks(VecDeque<Bytes>, u64),
    /// Whatever comes, until it ends.
    Live(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl From<Bytes> for Body {
    fn from(block: Bytes) -> Self {
        if block.is_empty() { Self::Empty } else { Self::Full(block) }
    }
}

impl From<Vec<Bytes>> for Body {
    fn from(mut blocks: Vec<Bytes>) -> Self {
        if blocks.len() <= 1 {
            return blocks.pop().unwrap_or_default().into();
        }
        let length = blocks.iter().map(|block| block.len() as u64).sum();
        Self::Blocks(blocks.into(), length)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Empty => None,
            body @ Self::Full(_) => match std::mem::replace(body, Self::Empty) {
                Self::Full(block) => Some(block),
                _ => None,
            },
            Self::Blocks(blocks, left) => {
                let block = blocks.pop_front();
                *left -= block.as_ref().map_or(0, |block| block.len() as u64);
                block
            }
            Self::Live(stream) => std::task::ready!(stream.as_mut().poll_next(cx)),
        };
        Poll::Ready(next.map(|block| Ok(Frame::data(block))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) | Self::Live(_) => false,
            Self::Blocks(blocks, _) => blocks.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(block) => SizeHint::with_exact(block.len() as u64),
            Self::Blocks(_, left) => SizeHint::with_exact(*left),
            Self::Live(_) => SizeHint::default(),
        }
    }
}
