//! Bytes of a stream in memory, in order, and where messages and appends end.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;

use super::{Piece, ReadRange};
use crate::engine::{AppendShape, Messages, Position};

/// A run of consecutive appends.
///
/// A large append is a block of its own, stored without copying. Small ones are put together: the last of them lie in memory
/// that grows, from which readers get copies, and when that is full it becomes a block.
#[derive(Default)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    /// Behind them all.
    open: Open,
}

/// The last small appends.
#[derive(Default)]
struct Open {
    start: u64,
    data: Vec<u8>,
    /// Empty for a single message, which ends at `only`: many streams never get a second one.
    ends: Vec<End>,
    only: End,
}

/// Whole appends that lie together. Cheap to clone.
#[derive(Clone)]
pub(super) struct Block {
    start: u64,
    data: Bytes,
    ends: Arc<[End]>,
    place: Option<Place>,
}

/// Where the data of a block is in the commit log as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: NonZeroU32,
    pub(super) offset: u32,
}

/// Appends as a reader sees them.
struct View<'a> {
    start: u64,
    data: &'a [u8],
    ends: &'a [End],
    /// The same data, if it can be shared.
    block: Option<&'a Block>,
}

/// Where a message ends within a block; the highest bit says that an append ends there too. Bodies are
/// at most [`crate::config::LARGEST_BODY`] (1 GiB), which leaves that bit free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End(pub(super) u32);

/// Appends of this size and above stay as they are, and smaller ones are put together up to it: blocks of this size are few,
/// and copying them would cost more than they do.
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
        Self { start, data, ends: ends.into(), place: None }
    }

    /// The appends from a position on, at which one begins.
    fn since(&self, from: u64) -> Self {
        let Some(before) = from.checked_sub(self.start).filter(|before| *before > 0) else {
            return self.clone();
        };
        let before = before as usize;
        let ends = self.ends.iter().filter(|end| end.at() > before).map(|end| End(end.0 - before as u32)).collect();
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
        &self.ends
    }
}

impl Open {
    fn push(&mut self, at: Position, messages: &Messages) {
        if self.data.is_empty() {
            self.start = at.0;
            self.data.reserve_exact(messages.len());
        }
        let before = self.data.len();
        self.data.extend_from_slice(messages.data());
        if before == 0 && messages.ends().nth(1).is_none() {
            self.only = End(self.data.len() as u32 | End::APPEND);
            return;
        }
        if self.ends.is_empty() && before > 0 {
            self.ends.push(self.only);
        }
        put_ends(&mut self.ends, messages, before);
    }

    fn ends(&self) -> &[End] {
        if self.ends.is_empty() { std::slice::from_ref(&self.only) } else { &self.ends }
    }

    /// What there is, as a block; nothing is left.
    fn take(&mut self) -> Option<Block> {
        if self.data.is_empty() {
            return None;
        }
        let Self { start, data, ends, only } = std::mem::take(self);
        let ends = if ends.is_empty() { vec![only] } else { ends };
        Some(Block::from_parts(start, data.into_boxed_slice().into(), ends))
    }
}

/// Adds where messages end that come after `before` bytes.
fn put_ends(ends: &mut Vec<End>, messages: &Messages, before: usize) {
    ends.extend(messages.ends().map(|end| End(end).shifted(before)));
    if let Some(last) = ends.last_mut() {
        last.0 |= End::APPEND;
    }
}

impl<'a> View<'a> {
    fn of_block(block: &'a Block) -> Self {
        Self { start: block.start, data: &block.data, ends: &block.ends, block: Some(block) }
    }

    fn of_open(open: &'a Open) -> Option<Self> {
        (!open.data.is_empty()).then(|| Self { start: open.start, data: &open.data, ends: open.ends(), block: None })
    }

    fn end(&self) -> u64 {
        self.start + self.data.len() as u64
    }

    fn slice(&self, cut: Cut) -> Bytes {
        match self.block {
            Some(block) => block.data.slice(cut.begin..cut.end),
            None => Bytes::copy_from_slice(&self.data[cut.begin..cut.end]),
        }
    }
}

impl Blocks {
    /// Adds the messages of one append, which begin at `at`.
    pub(super) fn push(&mut self, at: Position, messages: &Messages) {
        self.push_placed(at, messages, None);
    }

    /// As [`Self::push`], of messages that lie in the log as well. They have at least [`MERGED`] bytes, since the place is lost
    /// when appends are put together.
    pub(super) fn push_placed(&mut self, at: Position, messages: &Messages, place: Option<Place>) {
        if messages.is_empty() {
            return;
        }
        if self.open.data.len() + messages.len() > MERGED {
            self.close();
        }
        if messages.len() < MERGED {
            return self.open.push(at, messages);
        }
        let mut ends = Vec::new();
        put_ends(&mut ends, messages, 0);
        self.blocks.push(Block { place, ..Block::from_parts(at.0, messages.kept(), ends) });
    }

    /// Makes a block of the last small appends.
    fn close(&mut self) {
        self.blocks.extend(self.open.take());
    }

    /// The appends that end behind a position.
    fn views(&self, behind: u64) -> impl Iterator<Item = View<'_>> {
        let first = self.blocks.partition_point(|block| block.end() <= behind);
        let blocks = self.blocks[first..].iter().map(View::of_block);
        blocks.chain(View::of_open(&self.open).filter(|open| open.end() > behind))
    }

    /// Where the last append ends.
    pub(super) fn end(&self) -> Option<u64> {
        let open = View::of_open(&self.open).map(|open| open.end());
        open.or_else(|| self.blocks.last().map(Block::end))
    }

    /// Drops appends that were given by [`since`](Self::since), up to a position at which one of its blocks ends.
    pub(super) fn drop_front(&mut self, upto: u64) {
        let gone = self.blocks.partition_point(|block| block.end() <= upto);
        if gone == self.blocks.len() {
            self.blocks = Vec::new();
        } else {
            self.blocks.drain(..gone);
        }
    }

    /// All appends from a position on, at which one begins.
    pub(super) fn since(&mut self, from: u64) -> Vec<Block> {
        self.close();
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
        for view in self.views(from).take_while(|view| view.start < to) {
            let inside = from.saturating_sub(view.start) as usize;
            let until = usize::try_from(to - view.start).map_or(view.data.len(), |cut| cut.min(view.data.len()));
            let Some(cut) = cut(view.ends, inside, until, left, at_least_one && piece.data.is_empty()) else { break };
            let Cut { begin, end } = cut;
            piece.next = Position(view.start + end as u64);
            if begin == end {
                continue;
            }
            if let Some(place) = view.block.and_then(Block::place) {
                placed(piece.data.len(), Place { offset: place.offset + begin as u32, ..place });
            }
            piece.data.push(view.slice(cut));
            left = left.saturating_sub(end - begin);
            if end < until || left == 0 {
                break;
            }
        }
        piece
    }

    pub(super) fn append_after(&self, at: Position) -> Option<AppendShape> {
        let view = self.views(at.0).next()?;
        append_after(view.ends, view.start, at.0.saturating_sub(view.start) as usize)
    }
}
