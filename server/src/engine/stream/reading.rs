//! Reading a stream, its own data and what it inherited.

use bytes::Bytes;

use super::super::error::EngineError;
use super::super::fork::AppendShape;
use super::super::notify::Tail;
use super::super::position::Position;
use super::Stream;
use crate::storage::{FileSpan, Piece, ReadRange};

/// What a read found.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// Stored bytes of whole messages, in blocks.
    pub data: Vec<Bytes>,
    /// Where they lie in files as well ([`Piece::spans`]).
    pub spans: Vec<Option<FileSpan>>,
    /// The position after them.
    pub next: Position,
    /// The tail of the same moment (S-READ-6).
    pub tail: Tail,
}

impl ReadResult {
    /// Whether everything available was returned (S-READ-4).
    pub fn is_up_to_date(&self) -> bool {
        self.next == self.tail.position
    }

    /// Whether the stream is closed and this reaches its end (S-READ-5).
    pub fn is_at_end(&self) -> bool {
        self.tail.closed && self.is_up_to_date()
    }

    /// Bytes of data.
    pub fn len(&self) -> usize {
        self.data.iter().map(Bytes::len).sum()
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

impl Stream {
    /// Reads whole messages from `from`, at most `max_bytes` but at least one message. A position inside
    /// a message starts at the next one, a position beyond the tail is the tail.
    ///
    /// # Errors
    /// A failure of the storage.
    pub async fn read(&self, from: Position, max_bytes: usize) -> Result<ReadResult, EngineError> {
        let tail = self.tail();
        let mut found = Piece { next: from.min(tail.position), ..Piece::default() };
        let mut left = max_bytes;
        while found.next < tail.position {
            let (segment, to) = self.segment(found.next, tail.position);
            let piece = segment.log.read(ReadRange { from: found.next, to, max_bytes: left }).await?;
            left = left.saturating_sub(piece.data.iter().map(Bytes::len).sum());
            // A storage that does not get on would make this loop endless.
            let stuck = piece.next <= found.next;
            found.next = piece.next.max(found.next);
            found.extend(piece.data, piece.spans);
            if stuck || found.next < to || left == 0 {
                break;
            }
        }
        let Piece { data, spans, next } = found;
        Ok(ReadResult { data, spans, next, tail })
    }

    /// The append that ends first after `at`, as far as this stream has it (S-FORK-5).
    pub(in super::super) async fn append_after(&self, at: Position) -> Result<Option<AppendShape>, EngineError> {
        let tail = self.tail().position;
        if at >= tail {
            return Ok(None);
        }
        let (segment, to) = self.segment(at, tail);
        let shape = segment.log.append_after(at).await?;
        Ok(shape.map(|mut shape| {
            let is_cut = shape.ends.iter().any(|&end| end > to);
            shape.ends.retain(|&end| end <= to);
            if is_cut && shape.ends.last() != Some(&to) {
                shape.ends.push(to);
            }
            shape
        }))
    }

    /// The stream of the fork chain that holds the data at `at`, and where its part ends.
    fn segment(&self, at: Position, tail: Position) -> (&Self, Position) {
        let (mut segment, mut to) = (self, tail);
        while let Some(source) = segment.source.as_deref().filter(|_| at < segment.meta.base()) {
            to = to.min(segment.meta.base());
            segment = source;
        }
        (segment, to)
    }
}
