//! Bytes of a stream in memory, in order, and where messages and appends end.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Piece, ReadRange};
use crate::engine::{AppendShape, Messages, Position};

/// A run of consecutive appends.
///
/// An append is one block, stored without copying. So that many small appends do not cost a block each
/// for ever, every [`FAN_IN`] small blocks of one level are merged into one of the next.
#[derive(Default)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
}

/// Whole appends that lie together. Cheap to clone.
#[derive(Clone)]
pub(super) struct Block {
    start: u64,
    data: Bytes,
    ends: Ends,
    /// How many merges lie behind it.
    level: u8,
    place: Option<Place>,
}

/// Where the data of a block is in the commit log as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: NonZeroU32,
    pub(super) offset: u32,
}

/// Where the messages of a block end; one append of one message, the frequent case, needs no allocation.
#[derive(Clone)]
enum Ends {
    One(End),
    Many(Arc<[End]>),
}

/// Where a message ends within a block; the highest bit says that an append ends there too. Bodies are
/// at most [`crate::config::LARGEST_BODY`] (1 GiB), which leaves that bit free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End(pub(super) u32);

const FAN_IN: usize = 32;
/// Blocks of this size and above stay as they are: they are few already, and copying them would cost more than they do.
pub(super) const MERGED: usize = 32 * 1024;

impl End {
    const APPEND: u32 = 1 << 31;

    pub(super) fn at(self) -> usize {
        (self.0 & !Self::APPEND) as usize
    }

    pub(super) fn ends_append(self) -> bool {
        self.0 & Self::APPEND != 0
    }

    /// The same end in a run that begins `by` bytes earlier. The sum stays below the flag: no run is
    /// longer than one body or a small multiple of [`MERGED`].
    pub(super) fn shifted(self, by: usize) -> Self {
        Self(self.0 + by as u32)
    }
}

/// The part of a run that a read takes: from `begin` up to `end`, both counted from the run's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) begin: usize,
    pub(super) end: usize,
}

/// Takes whole messages that begin at `from` or after it and lie before `until`, as many as fit into
/// `left` bytes; if `at_least_one`, the first of them whatever its size. `None`: not even one fits.
///
/// `ends` must hold all ends from `from` on up to `from + left`, and the next one.
pub(super) fn cut(ends: &[End], from: usize, until: usize, left: usize, at_least_one: bool) -> Option<Cut> {
    // Where the position is inside a message, its next boundary is where the data starts.
    let begin = match from {
        0 => 0,
        _ => ends.get(ends.partition_point(|end| end.at() < from)).map_or(until, |end| end.at()),
    };
    if begin >= until {
        return Some(Cut { begin: until, end: until });
    }
    if until - begin <= left {
        return Some(Cut { begin, end: until });
    }
    let fitting = ends.partition_point(|end| end.at() <= begin + left);
    match fitting.checked_sub(1).map(|last| ends[last].at()) {
        Some(last) if last > begin => Some(Cut { begin, end: last }),
        _ if at_least_one => Some(Cut { begin, end: ends.get(fitting).map_or(until, |end| end.at().min(until)) }),
        _ => None,
    }
}

/// The append that ends first after `at`, in a run that begins at `start`; `at` is counted from there.
///
/// `ends` must hold the whole append, and the end before it if there is one.
pub(super) fn append_after(ends: &[End], start: u64, at: usize) -> Option<AppendShape> {
    let absolute = |end: &End| Position(start + end.at() as u64);
    let first = ends.partition_point(|end| end.at() <= at);
    let begin = ends[..first].iter().rposition(|end| end.ends_append()).map_or(0, |last| last + 1);
    let last = ends[first..].iter().position(|end| end.ends_append())? + first;
    Some(AppendShape {
        start: begin.checked_sub(1).map_or(Position(start), |before| absolute(&ends[before])),
        ends: ends[begin..=last].iter().map(absolute).collect(),
    })
}

impl Block {
    pub(super) fn from_parts(start: u64, data: Bytes, ends: Vec<End>) -> Self {
        Self { start, data, ends: Ends::Many(ends.into()), level: 0, place: None }
    }

    /// The appends from a position on, at which one begins.
    fn since(&self, from: u64) -> Self {
        let Some(before) = from.checked_sub(self.start).filter(|before| *before > 0) else {
            return self.clone();
        };
        let before = before as usize;
        let ends = self.ends().iter().filter(|end| end.at() > before).map(|end| End(end.0 - before as u32)).collect();
        let place = self.place.map(|place| Place { offset: place.offset + before as u32, ..place });
        Self { place, ..Self::from_parts(from, self.data.slice(before..), ends) }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.data.len() as u64
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.place
    }

    pub(super) fn data(&self) -> &Bytes {
        &self.data
    }

    pub(super) fn ends(&self) -> &[End] {
        match &self.ends {
            Ends::One(end) => std::slice::from_ref(end),
            Ends::Many(ends) => ends,
        }
    }
}

impl Blocks {
    /// Adds the messages of one append, which begin at `at`.
    pub(super) fn push(&mut self, at: Position, messages: &Messages) {
        self.push_placed(at, messages, None);
    }

    /// As [`Self::push`], of messages that lie in the log as well. They have at least [`MERGED`] bytes, since the place is lost
    /// when blocks are merged.
    pub(super) fn push_placed(&mut self, at: Position, messages: &Messages, place: Option<Place>) {
        let mut ends = messages.ends().map(End);
        let ends = match (ends.next(), ends.next()) {
            (None, _) => return,
            (Some(only), None) => Ends::One(End(only.0 | End::APPEND)),
            _ => {
                let mut ends: Vec<End> = messages.ends().map(End).collect();
                if let Some(last) = ends.last_mut() {
                    last.0 |= End::APPEND;
                }
                Ends::Many(ends.into())
            }
        };
        if self.blocks.is_empty() {
            // Many streams never get a second one.
            self.blocks.reserve_exact(1);
        }
        self.blocks.push(Block { start: at.0, data: messages.kept(), ends, level: 0, place });
        self.merge();
    }

    fn merge(&mut self) {
        while let Some(first) = self.blocks.len().checked_sub(FAN_IN) {
            let run = &self.blocks[first..];
            let level = run[0].level;
            if run.iter().any(|block| block.level != level || block.data.len() >= MERGED) {
                return;
            }
            let mut data = BytesMut::with_capacity(run.iter().map(|block| block.data.len()).sum());
            let mut ends = Vec::with_capacity(run.iter().map(|block| block.ends().len()).sum());
            for block in run {
                ends.extend(block.ends().iter().map(|end| end.shifted(data.len())));
                data.extend_from_slice(&block.data);
            }
            let merged = Block {
                start: run[0].start,
                data: data.freeze(),
                ends: Ends::Many(ends.into()),
                level: level.saturating_add(1),
                place: None,
            };
            self.blocks.truncate(first);
            self.blocks.push(merged);
        }
    }

    /// Where the last block ends.
    pub(super) fn end(&self) -> Option<u64> {
        self.blocks.last().map(Block::end)
    }

    /// Drops blocks that end at `upto` or before it.
    pub(super) fn drop_front(&mut self, upto: u64) {
        let gone = self.blocks.partition_point(|block| block.end() <= upto);
        if gone == self.blocks.len() {
            self.blocks = Vec::new();
        } else {
            self.blocks.drain(..gone);
        }
    }

    /// All appends from a position on, at which one begins.
    pub(super) fn since(&self, from: u64) -> Vec<Block> {
        self.blocks.iter().filter(|block| block.end() > from).map(|block| block.since(from)).collect()
    }

    /// As [`StreamLog::read`](super::StreamLog::read); without `at_least_one`, nothing that does not fit.
    pub(super) fn read(&self, range: ReadRange, at_least_one: bool) -> Piece {
        self.read_placed(range, at_least_one, |_, _| {})
    }

    /// As [`Self::read`], and calls `placed` for each block of the piece that lies in the log as well, with its number in the piece.
    pub(super) fn read_placed(
        &self,
        range: ReadRange,
        at_least_one: bool,
        mut placed: impl FnMut(usize, Place),
    ) -> Piece {
        let (from, to) = (range.from.0, range.to.0);
        let mut piece = Piece { next: Position(from.min(to)), ..Piece::default() };
        let mut left = range.max_bytes;
        let first = self.blocks.partition_point(|block| block.end() <= from);
        for block in self.blocks[first..].iter().take_while(|block| block.start < to) {
            let inside = from.saturating_sub(block.start) as usize;
            let until = usize::try_from(to - block.start).map_or(block.data.len(), |cut| cut.min(block.data.len()));
            let Some(Cut { begin, end }) =
                cut(block.ends(), inside, until, left, at_least_one && piece.data.is_empty())
            else {
                break;
            };
            piece.next = Position(block.start + end as u64);
            if begin == end {
                continue;
            }
            if let Some(place) = block.place {
                placed(piece.data.len(), Place { offset: place.offset + begin as u32, ..place });
            }
            piece.data.push(block.data.slice(begin..end));
            left = left.saturating_sub(end - begin);
            if end < until || left == 0 {
                break;
            }
        }
        piece
    }

    pub(super) fn append_after(&self, at: Position) -> Option<AppendShape> {
        let block = &self.blocks[self.blocks.partition_point(|block| block.end() <= at.0)..].first()?;
        append_after(block.ends(), block.start, at.0.saturating_sub(block.start) as usize)
    }
}
