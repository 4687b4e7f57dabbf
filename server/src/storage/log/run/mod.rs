//! Runs: consecutive appends of one stream in a data file, served by large reads.
//!
//! ```text
//! data file  header (32 bytes, see `format`), runs
//! run        head: crc u32, messages u32, stream u64, start u64, length u64
//!            data: `length` bytes, as they are served
//!            index: for each block of 16 KiB of data, and once more for the end:
//!                   first end u32, crc of the ends u32, crc of the data u32
//!            ends: where each message ends, u32, the highest bit if an append ends there too
//! ```
//! A position belongs to the block of its distance from the start; the last block is the one of the run's
//! end, even if it has no data. `first end` is the number of the first message that ends in the block or
//! behind it. Checksums cover the stream's number and the place as well, so that a block read from a wrong
//! place is damaged too.
//!
//! # Data that stays in the log
//! Large data is written once. A run of it has everything but `data`; that is where it was committed, in a segment of
//! the log, which is kept. Its index says where:
//! ```text
//! index    for each block: first end u32, crc of the ends u32, crc of the data u32,
//!          here u32, turn u32, there u32
//! ```
//! The block begins at byte `here` of the segment. From its byte `turn` on it goes on at `there`, where the next append's
//! data is; appends are no shorter than blocks, so that this happens once in a block at most. A place that is not what it was
//! leads to data with another checksum.
//!
//! A run of this kind is of one segment. Such a segment is named by a run only when all of it is synced and drained; a start
//! does not read it. A crash can leave it with zeros behind its last record, which nothing refers to, or without a run that
//! names it: then it is removed.
//!
//! A data file is written once, synced, and named in the manifest only then; it never changes again. A
//! file that the manifest does not name is what a crash has left, and is removed.

mod reader;
mod seal;

use bytes::BufMut;

pub(super) use self::reader::{Part, Patience, Reader, RunFiles};
use self::seal::Seal;
use super::codec::{Decoded, Decoder};
use super::files::SEGMENT;
use super::parts::Parts;
use crate::storage::blocks::{Block, End};

const BLOCK: usize = 16 * 1024;
const HEAD: usize = 32;
const ENTRY: usize = 12;
/// An entry of the index with places.
const PLACED: usize = 24;
/// Runs up to this size are read in one go.
const SMALL: u64 = 32 * 1024;
/// No run is larger, unless one block of appends alone is.
pub(super) const LARGEST: u64 = 256 << 20;

/// Where a run is. What memory holds of it, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunRef {
    pub(super) file: u64,
    pub(super) offset: u64,
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) messages: u32,
    /// The segment of the log that its data has stayed in; 0 if it is in the run.
    pub(super) log: u32,
}

impl RunRef {
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The number of the file that its data has stayed in, if it is another one.
    pub(super) fn segment(&self) -> Option<u64> {
        (self.log > 0).then(|| SEGMENT | u64::from(self.log))
    }

    /// The number of the file that has its data.
    pub(super) fn data_file(&self) -> u64 {
        self.segment().unwrap_or(self.file)
    }

    /// The bytes that it takes in its file.
    pub(super) fn size(&self) -> u64 {
        self.ends_at(0) + u64::from(self.messages) * 4
    }

    fn blocks(&self) -> usize {
        self.len as usize / BLOCK + 1
    }

    /// The size of an entry of its index.
    fn entry(&self) -> usize {
        if self.log > 0 { PLACED } else { ENTRY }
    }

    fn index_at(&self, block: usize) -> u64 {
        let data = if self.log > 0 { 0 } else { self.len };
        HEAD as u64 + data + (block * self.entry()) as u64
    }

    fn ends_at(&self, end: u32) -> u64 {
        self.index_at(self.blocks() + 1) + u64::from(end) * 4
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for number in [self.file, self.offset, self.start, self.len] {
            out.put_u64_le(number);
        }
        out.put_u32_le(self.messages);
        out.put_u32_le(self.log);
    }

    /// As the manifest of a version has it.
    pub(super) fn decode(decoder: &mut Decoder<'_>, version: u32) -> Decoded<Self> {
        let run = Self {
            file: decoder.u64()?,
            offset: decoder.u64()?,
            start: decoder.u64()?,
            len: decoder.u64()?,
            messages: decoder.u32()?,
            log: if version == 1 { 0 } else { decoder.u32()? },
        };
        // Lengths beyond any that is ever written would overflow the sums above.
        let sane = run.len <= u64::from(u32::MAX) && run.start < 1 << 62 && run.offset < 1 << 62;
        if sane { Ok(run) } else { Err(super::codec::Malformed) }
    }
}

/// The bytes of a run that are put together before they are written. Its data stays in segment `log`, where all blocks have
/// their places; 0 if it is to be in the run.
pub(super) fn encode(out: &mut Parts, stream: u64, blocks: &[Block], log: u32) -> RunRef {
    let offset = out.len() as u64;
    let start = blocks.first().map_or(0, Block::start);
    let len = blocks.last().map_or(start, Block::end) - start;
    let ends: Vec<u32> = blocks
        .iter()
        // The distance fits: see `LARGEST`.
        .flat_map(|block| block.ends().iter().map(move |end| end.shifted((block.start() - start) as usize).0))
        .collect();
    let run = RunRef { file: 0, offset, start, len, messages: u32::try_from(ends.len()).unwrap_or(u32::MAX), log };
    let head = out.small().len();
    out.small().put_u32_le(0);
    out.small().put_u32_le(run.messages);
    for number in [stream, start, len] {
        out.small().put_u64_le(number);
    }
    let crc = crc32fast::hash(&out.small()[head + 4..]);
    out.small()[head..head + 4].copy_from_slice(&crc.to_le_bytes());
    if log == 0 {
        for block in blocks {
            out.put(block.data());
        }
    }
    let places = Places::of(start, if log == 0 { &[] } else { blocks });
    let seal = Seal { stream, start };
    let out = out.small();
    let mut first = 0;
    for (block, data_crc) in seal.all_data(blocks).into_iter().enumerate() {
        let next = first + ends[first..].partition_point(|end| End(*end).at() < (block + 1) * BLOCK);
        let raw: Vec<u8> = ends[first..next].iter().flat_map(|end| end.to_le_bytes()).collect();
        out.put_u32_le(first as u32);
        out.put_u32_le(seal.ends(block, first as u32, next as u32, &raw));
        out.put_u32_le(data_crc);
        places.put(block, out);
        first = next;
    }
    out.put_u32_le(first as u32);
    out.put_bytes(0, run.entry() - 4);
    for end in ends {
        out.put_u32_le(end);
    }
    run
}

/// Where the parts of a run's data are in the log: the distance of each from the start, and its place.
struct Places(Vec<(usize, u32)>);

impl Places {
    fn of(start: u64, blocks: &[Block]) -> Self {
        let place = |block: &Block| Some(((block.start() - start) as usize, block.place()?.offset));
        Self(blocks.iter().filter_map(place).collect())
    }

    fn put(&self, block: usize, out: &mut Vec<u8>) {
        let at = block * BLOCK;
        let next = self.0.partition_point(|(from, _)| *from <= at);
        let Some((from, offset)) = next.checked_sub(1).map(|last| self.0[last]) else { return };
        let turn = self.0.get(next).filter(|(from, _)| *from < at + BLOCK);
        out.put_u32_le(offset + (at - from) as u32);
        out.put_u32_le(turn.map_or(BLOCK, |(from, _)| from - at) as u32);
        out.put_u32_le(turn.map_or(0, |(_, offset)| *offset));
    }
}
