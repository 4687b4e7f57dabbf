//! Request bodies in, response bodies out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::budget::{Budget, Held};
use crate::config::Limits;
use crate::storage::FileSpan;

/// How much room a declared length may claim before any of it has arrived.
const TRUSTED_LENGTH: u64 = 1 << 20;

/// How much of the body of a refused request is worth taking in.
const DISCARDED: usize = 64 << 10;

/// Why a request body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CollectError {
    /// It broke off. Nothing of it may be used (S-HTTP-11).
    Broken,
    /// As many bytes as allowed are under way already.
    Crowded,
    /// It is larger than allowed (S-HTTP-12).
    TooLarge,
    /// It did not get on.
    TooSlow,
}

/// A body has to bring so much in each time limit, or its end.
const LEAST_PROGRESS: usize = 4096;
/// What a body holds while it comes in is counted from here on.
const UNCOUNTED: usize = 64 * 1024;

/// How request bodies are taken in.
#[derive(Debug)]
pub(super) struct Intake {
    max_bytes: usize,
    timeout: Duration,
    budget: Budget,
}

impl Intake {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_bytes: limits.max_body_bytes,
            timeout: limits.body_timeout,
            budget: Budget::new(limits.max_incoming_bytes),
        }
    }

    /// Room for one body.
    pub(super) fn room(&self) -> Room {
        Room { held: self.budget.hold(0), taken: 0 }
    }

    /// For bodies of refused requests: not much of them.
    pub(super) fn of_refused(limits: &Limits) -> Self {
        Self { max_bytes: DISCARDED, ..Self::new(limits) }
    }
}

/// What a request body holds while it comes in; by default no more than what is not counted.
#[derive(Debug, Default)]
pub(crate) struct Room {
    held: Held,
    taken: usize,
}

impl Room {
    /// Counts more of the body; whether there is room for it.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        self.taken += bytes;
        self.taken <= UNCOUNTED || self.held.grow(bytes)
    }
}

/// Takes in a whole request body. A body that came in one frame is not copied.
pub(super) async fn collect<B>(body: B, intake: &Intake) -> Result<Bytes, CollectError>
where
    B: http_body::Body<Data = Bytes>,
{
    let limit = intake.max_bytes;
    let declared = body.size_hint();
    if declared.lower() > limit as u64 {
        return Err(CollectError::TooLarge);
    }
    let mut body = pin!(body);
    let mut whole = Bytes::new();
    let mut parts: Option<BytesMut> = None;
    let mut room = None::<Room>;
    let (mut progress, mut timer) = (0, None::<Pin<Box<Sleep>>>);
    loop {
        let next = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => {
                let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(intake.timeout)));
                timer.as_mut().poll(cx).map(|()| Err(CollectError::TooSlow))
            }
        });
        let Some(frame) = next.await? else { break };
        let Ok(data) = frame.map_err(|_| CollectError::Broken)?.into_data() else {
            continue;
        };
        progress += data.len();
        if progress >= LEAST_PROGRESS {
            (progress, timer) = (0, None);
        }
        if parts.as_ref().map_or(whole.len(), BytesMut::len) + data.len() > limit {
            return Err(CollectError::TooLarge);
        }
        let is_first = parts.is_none() && whole.is_empty();
        if is_first && body.is_end_stream() {
            // As most do.
            whole = data;
            break;
        }
        let has_room = room.get_or_insert_with(|| intake.room()).take(data.len());
        if !has_room && !is_first {
            return Err(CollectError::Crowded);
        }
        match &mut parts {
            Some(parts) => {
                parts.extend_from_slice(&data);
            }
            None if whole.is_empty() => whole = data,
            None => {
                // At most `TRUSTED_LENGTH`, which fits.
                let least = declared.lower().min(TRUSTED_LENGTH) as usize;
                let mut joined = BytesMut::with_capacity(least.max(whole.len() + data.len()));
                joined.extend_from_slice(&whole);
                joined.extend_from_slice(&data);
                parts = Some(joined);
            }
        }
    }
    Ok(parts.map_or(whole, BytesMut::freeze))
}

/// Takes in the body of a request that is refused, so that the connection can be used again; nothing if the client waits
/// for leave to send it.
pub(super) async fn discard<B>(headers: &HeaderMap, body: B, intake: &Intake)
where
    B: http_body::Body<Data = Bytes>,
{
    if !headers.contains_key(header::EXPECT) {
        let _ = collect(body, intake).await;
    }
}

/// The body of a response.
pub(crate) enum Body {
    /// None.
    Empty,
    /// One block.
    Full(Bytes),
    /// Blocks in order, and their length together.
    Blocks(VecDeque<Block>, u64),
    /// Whatever comes, until it ends.
    Live(Pin<Box<dyn Stream<Item = Part> + Send>>),
}

/// Part of a body.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) data: Bytes,
    /// Where the same bytes lie in a file.
    pub(crate) span: Option<FileSpan>,
}

/// Part of a live body.
pub(crate) enum Part {
    /// Whole events, which are to be framed as a chunk.
    Whole(Bytes),
    /// What is left of a chunk of which the beginning was written already, past the body ([`Turn::sink`](super::Turn::sink)).
    Rest(Bytes),
}

/// Answers with fewer bytes are not counted.
const SMALL: usize = 16 * 1024;

impl Body {
    /// The same body, counted until it was handed to the connection and from there to the peer.
    pub(super) fn counted(self, budget: &Budget) -> Self {
        match self {
            Self::Full(block) if block.len() >= SMALL => Self::Full(budget.counted(block.len(), block)),
            Self::Blocks(mut blocks, length) => {
                // The last block goes last, and the others with or before it.
                if let Some(last) = blocks.back_mut() {
                    let data = std::mem::take(&mut last.data);
                    last.data = budget.counted(usize::try_from(length).unwrap_or(usize::MAX), data);
                }
                Self::Blocks(blocks, length)
            }
            other => other,
        }
    }
}

impl From<Bytes> for Body {
    fn from(block: Bytes) -> Self {
        if block.is_empty() { Self::Empty } else { Self::Full(block) }
    }
}

impl From<Bytes> for Block {
    fn from(data: Bytes) -> Self {
        Self { data, span: None }
    }
}

impl From<Vec<Block>> for Body {
    fn from(mut blocks: Vec<Block>) -> Self {
        if blocks.len() <= 1 && blocks.iter().all(|block| block.span.is_none()) {
            return blocks.pop().map_or(Self::Empty, |block| block.data.into());
        }
        let length = blocks.iter().map(|block| block.data.len() as u64).sum();
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
                let block = blocks.pop_front().map(|block| block.data);
                *left -= block.as_ref().map_or(0, |block| block.len() as u64);
                block
            }
            Self::Live(stream) => std::task::ready!(stream.as_mut().poll_next(cx)).map(|part| match part {
                // Nothing is written past hyper, so that there are no rests.
                Part::Whole(events) | Part::Rest(events) => events,
            }),
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
