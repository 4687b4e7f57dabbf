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

use std::io;

use bytes::{Buf, BufMut, Bytes};

use super::codec::{Decoded, Decoder};
use super::disk::DiskFile;
use super::files::SEGMENT;
use super::parts::Parts;
use crate::engine::{AppendShape, Position};
use crate::storage::ReadRange;
use crate::storage::blocks::{self, Block, Cut, End};

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

/// Computes checksums of a run's parts.
#[derive(Clone, Copy)]
struct Seal {
    stream: u64,
    start: u64,
}

impl Seal {
    fn hasher(self, block: usize) -> crc32fast::Hasher {
        let mut place = [0; 24];
        place[..8].copy_from_slice(&self.stream.to_le_bytes());
        place[8..16].copy_from_slice(&self.start.to_le_bytes());
        place[16..].copy_from_slice(&(block as u64).to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&place);
        hasher
    }

    /// The checksums of blocks of these sizes, of which `low` is the first and whose data comes in pieces of any size.
    fn of_blocks(self, low: usize, parts: &[Part], sizes: impl Iterator<Item = usize>) -> impl Iterator<Item = u32> {
        let (mut parts, mut rest) = (parts.iter(), &[][..]);
        sizes.enumerate().map(move |(number, mut missing)| {
            let mut hasher = self.hasher(low + number);
            while missing > 0 {
                if rest.is_empty() {
                    let Some(next) = parts.next() else { break };
                    rest = &next.data;
                }
                let (here, after) = rest.split_at(missing.min(rest.len()));
                hasher.update(here);
                (missing, rest) = (missing - here.len(), after);
            }
            hasher.finalize()
        })
    }

    /// The checksums of all data, block by block, as which it need not lie in memory.
    fn all_data(self, pieces: &[Block]) -> Vec<u32> {
        let mut crcs = Vec::new();
        let (mut hasher, mut room) = (self.hasher(0), BLOCK);
        for piece in pieces {
            let mut data = &piece.data()[..];
            while let Some((here, rest)) = data.split_at_checked(room) {
                hasher.update(here);
                let next = self.hasher(crcs.len() + 1);
                crcs.push(std::mem::replace(&mut hasher, next).finalize());
                (data, room) = (rest, BLOCK);
            }
            hasher.update(data);
            room -= data.len();
        }
        crcs.push(hasher.finalize());
        crcs
    }

    fn ends(self, block: usize, first: u32, next: u32, raw: &[u8]) -> u32 {
        let mut hasher = self.hasher(block);
        hasher.update(&first.to_le_bytes());
        hasher.update(&next.to_le_bytes());
        hasher.update(raw);
        hasher.finalize()
    }
}

/// Bytes of a run, and where they lie in the file that has its data ([`RunRef::data_file`]).
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) data: Bytes,
    pub(super) at: u64,
}

/// Takes so many bytes off both ends.
fn take_off(parts: &mut Vec<Part>, mut front: usize, mut back: usize) {
    while let Some(first) = parts.first_mut() {
        let of_first = front.min(first.data.len());
        first.data.advance(of_first);
        first.at += of_first as u64;
        front -= of_first;
        if !first.data.is_empty() {
            break;
        }
        parts.remove(0);
    }
    while let Some(last) = parts.last_mut() {
        let of_last = back.min(last.data.len());
        last.data.truncate(last.data.len() - of_last);
        back -= of_last;
        if !last.data.is_empty() {
            break;
        }
        parts.pop();
    }
}

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It fails with [`io::ErrorKind::WouldBlock`] if it would have to.
    None,
    /// As long as it takes.
    ForDisk,
}

/// The file of a run, and the segment of the log that has its data if it is not in the run.
#[derive(Clone, Copy)]
pub(super) struct RunFiles<'a> {
    pub(super) file: &'a dyn DiskFile,
    pub(super) log: Option<&'a dyn DiskFile>,
}

/// Reads one run.
pub(super) struct Reader<'a> {
    files: RunFiles<'a>,
    patience: Patience,
    run: RunRef,
    seal: Seal,
    /// All of a small run.
    whole: Option<Bytes>,
}

/// Ends that lie together, and the numbers of the first and of the one after the last.
struct Ends {
    ends: Vec<End>,
    first: u32,
    next: u32,
}

struct Entry {
    first: u32,
    ends_crc: u32,
    data_crc: u32,
    place: Option<BlockPlace>,
}

/// Where the data of a block is in the log.
struct BlockPlace {
    here: u32,
    turn: u32,
    there: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(files: RunFiles<'a>, patience: Patience, stream: u64, run: RunRef) -> io::Result<Self> {
        let mut reader = Self { files, patience, run, seal: Seal { stream, start: run.start }, whole: None };
        let size = run.size();
        if size <= SMALL {
            reader.whole = Some(reader.part(0, size as usize)?);
        }
        Ok(reader)
    }

    /// As [`crate::storage::StreamLog::read`], within the run. `None` if not even one message fits and
    /// `at_least_one` is not asked for.
    pub(super) fn read(&self, range: ReadRange, at_least_one: bool) -> io::Result<Option<(Vec<Part>, Position)>> {
        let until = range.to.0.min(self.run.end()) - self.run.start;
        let mut from = (range.from.0.saturating_sub(self.run.start)).min(until);
        loop {
            let reach = until.min(from.saturating_add(range.max_bytes as u64));
            let ends = self.ends_between(from, reach)?;
            let cut = blocks::cut(&ends.ends, from as usize, until as usize, range.max_bytes, at_least_one);
            let Some(Cut { begin, end }) = cut else {
                return Ok(None);
            };
            let begin = begin as u64;
            if begin > from && begin < until {
                // The ends at hand need not reach far enough from there.
                from = begin;
                continue;
            }
            let data = self.data(begin as usize, end)?;
            return Ok(Some((data, Position(self.run.start + end as u64))));
        }
    }

    /// As [`crate::storage::StreamLog::append_after`], within the run.
    pub(super) fn append_after(&self, at: Position) -> io::Result<Option<AppendShape>> {
        let at = at.0.saturating_sub(self.run.start) as usize;
        let (mut low, mut high) = (at / BLOCK, at / BLOCK);
        loop {
            let ends = self.ends(low, high)?;
            let has_begin = low == 0
                || ends.ends[..ends.ends.partition_point(|end| end.at() <= at)].iter().any(|end| end.ends_append());
            let has_end = ends.ends.iter().any(|end| end.at() > at && end.ends_append());
            let last = self.run.blocks() - 1;
            if has_begin && (has_end || high == last) {
                return Ok(blocks::append_after(&ends.ends, self.run.start, at));
            }
            let width = high - low + 1;
            low = if has_begin { low } else { low.saturating_sub(width) };
            high = if has_end { high } else { last.min(high + width) };
        }
    }

    /// All appends of the run, to be written elsewhere.
    pub(super) fn all(&self) -> io::Result<Block> {
        let ends = self.ends(0, self.run.blocks() - 1)?;
        let data = match &self.data(0, self.run.len as usize)?[..] {
            [whole] => whole.data.clone(),
            parts => parts.iter().map(|part| &part.data[..]).collect::<Vec<_>>().concat().into(),
        };
        Ok(Block::from_parts(self.run.start, data, ends.ends))
    }

    /// The bytes of the run in its file, to be put elsewhere: its data has stayed in the log.
    pub(super) fn without_data(&self) -> io::Result<Bytes> {
        self.ends(0, self.run.blocks() - 1)?;
        self.part(0, self.run.size() as usize)
    }

    /// The ends in the blocks of both places and between, and the next one after `to` if those do not
    /// have it.
    fn ends_between(&self, from: u64, to: u64) -> io::Result<Ends> {
        let mut ends = self.ends(from as usize / BLOCK, to as usize / BLOCK)?;
        let reaches = ends.ends.last().is_some_and(|end| end.at() as u64 > to.max(from));
        if !reaches && ends.next < self.run.messages {
            let raw = self.part(self.run.ends_at(ends.next), 4)?;
            let block = End((&raw[..]).get_u32_le()).at() / BLOCK;
            // The checksum of its block says whether this end is what it was.
            if block >= self.run.blocks() {
                return Err(self.damaged("an end lies outside"));
            }
            let more = self.ends(block, block)?;
            if more.first != ends.next {
                return Err(self.damaged("ends are not in order"));
            }
            ends.ends.extend(more.ends);
            ends.next = more.next;
        }
        Ok(ends)
    }

    /// The ends in blocks `low` to `high`, checked.
    fn ends(&self, low: usize, high: usize) -> io::Result<Ends> {
        let index = self.index(low, high + 1)?;
        let (first, next) = (index[0].first, index[index.len() - 1].first);
        if first > next || next > self.run.messages {
            return Err(self.damaged("the index is not in order"));
        }
        let raw = self.part(self.run.ends_at(first), (next - first) as usize * 4)?;
        for (number, pair) in index.windows(2).enumerate() {
            let of_block = (pair[0].first >= first && pair[0].first <= pair[1].first && pair[1].first <= next)
                .then(|| &raw[(pair[0].first - first) as usize * 4..(pair[1].first - first) as usize * 4]);
            let crc = of_block.map(|of_block| self.seal.ends(low + number, pair[0].first, pair[1].first, of_block));
            if crc != Some(pair[0].ends_crc) {
                return Err(self.damaged(format_args!("ends of block {}", low + number)));
            }
        }
        let ends = raw.chunks_exact(4).map(|mut end| End(end.get_u32_le())).collect();
        Ok(Ends { ends, first, next })
    }

    fn data(&self, begin: usize, end: usize) -> io::Result<Vec<Part>> {
        if begin >= end {
            return Ok(Vec::new());
        }
        let (low, high) = (begin / BLOCK, (end - 1) / BLOCK);
        let from = low * BLOCK;
        let to = ((high + 1) * BLOCK).min(self.run.len as usize);
        let index = self.index(low, high)?;
        let mut data = match self.files.log {
            None => {
                let at = (HEAD + from) as u64;
                vec![Part { data: self.part(at, to - from)?, at: self.run.offset + at }]
            }
            Some(log) => self.data_in_log(log, low, &index)?,
        };
        let sizes = (from..to).step_by(BLOCK).map(|at| BLOCK.min(to - at));
        for (number, (entry, crc)) in index.iter().zip(self.seal.of_blocks(low, &data, sizes)).enumerate() {
            if crc != entry.data_crc {
                return Err(self.damaged(format_args!("data of block {}", low + number)));
            }
        }
        // What is not asked for lies in the first and the last block, which need not lie in one piece.
        take_off(&mut data, begin - from, to - end);
        Ok(data)
    }

    /// The data of blocks from `low` on that has stayed in the log, in the pieces that it lies in.
    fn data_in_log(&self, log: &dyn DiskFile, low: usize, index: &[Entry]) -> io::Result<Vec<Part>> {
        let mut spans: Vec<(u64, usize)> = Vec::new();
        for (number, entry) in index.iter().enumerate() {
            let len = BLOCK.min(self.run.len as usize - (low + number) * BLOCK);
            let Some(BlockPlace { here, turn, there }) = entry.place else { continue };
            let turn = len.min(turn as usize);
            for (at, len) in [(u64::from(here), turn), (u64::from(there), len - turn)] {
                match spans.last_mut() {
                    _ if len == 0 => {}
                    Some((begin, before)) if *begin + *before as u64 == at => *before += len,
                    _ => spans.push((at, len)),
                }
            }
        }
        let read = |(at, len)| {
            let data = match self.patience {
                Patience::None => log.read_at_once(at, len),
                Patience::ForDisk => log.read_at(at, len),
            };
            Ok(Part { data: data?, at })
        };
        spans.into_iter().map(read).collect::<io::Result<_>>().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("its data lies outside of the log"),
            _ => error,
        })
    }

    /// Entries `low` to `high` of the index.
    fn index(&self, low: usize, high: usize) -> io::Result<Vec<Entry>> {
        let size = self.run.entry();
        let raw = self.part(self.run.index_at(low), (high - low + 1) * size)?;
        Ok(raw
            .chunks_exact(size)
            .map(|mut raw| Entry {
                first: raw.get_u32_le(),
                ends_crc: raw.get_u32_le(),
                data_crc: raw.get_u32_le(),
                place: (size == PLACED).then(|| BlockPlace {
                    here: raw.get_u32_le(),
                    turn: raw.get_u32_le(),
                    there: raw.get_u32_le(),
                }),
            })
            .collect())
    }

    /// Bytes of the run, counted from its head.
    fn part(&self, at: u64, len: usize) -> io::Result<Bytes> {
        match (&self.whole, self.patience) {
            (Some(whole), _) => Ok(whole.slice(at as usize..at as usize + len)),
            (None, Patience::None) => self.files.file.read_at_once(self.run.offset + at, len),
            (None, Patience::ForDisk) => self.files.file.read_at(self.run.offset + at, len),
        }
    }

    fn damaged(&self, what: impl std::fmt::Display) -> io::Error {
        super::format::damaged(
            &super::format::data_name(self.run.file),
            format_args!("run at byte {} (stream number {}): {what}", self.run.offset, self.seal.stream),
        )
    }
}
