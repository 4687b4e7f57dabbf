//! Reads runs.

use std::io;

use bytes::{Buf, Bytes};

use super::seal::Seal;
use super::{BLOCK, HEAD, PLACED, RunRef, SMALL};
use crate::engine::{AppendShape, Position};
use crate::storage::ReadRange;
use crate::storage::blocks::{self, Block, Cut, End};
use crate::storage::log::disk::DiskFile;
use crate::storage::log::format;

/// Bytes of a run, and where they lie in the file that has its data ([`RunRef::data_file`]).
#[derive(Clone, Debug)]
pub(in super::super) struct Part {
    pub(in super::super) data: Bytes,
    pub(in super::super) at: u64,
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
pub(in super::super) enum Patience {
    /// It fails with [`io::ErrorKind::WouldBlock`] if it would have to.
    None,
    /// As long as it takes.
    ForDisk,
}

/// The file of a run, and the segment of the log that has its data if it is not in the run.
#[derive(Clone, Copy)]
pub(in super::super) struct RunFiles<'a> {
    pub(in super::super) file: &'a dyn DiskFile,
    pub(in super::super) log: Option<&'a dyn DiskFile>,
}

/// Reads one run.
pub(in super::super) struct Reader<'a> {
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
    pub(in super::super) fn new(files: RunFiles<'a>, patience: Patience, stream: u64, run: RunRef) -> io::Result<Self> {
        let mut reader = Self { files, patience, run, seal: Seal { stream, start: run.start }, whole: None };
        let size = run.size();
        if size <= SMALL {
            reader.whole = Some(reader.part(0, size as usize)?);
        }
        Ok(reader)
    }

    /// As [`crate::storage::StreamLog::read`], within the run. `None` if not even one message fits and
    /// `at_least_one` is not asked for.
    pub(in super::super) fn read(
        &self,
        range: ReadRange,
        at_least_one: bool,
    ) -> io::Result<Option<(Vec<Part>, Position)>> {
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
    pub(in super::super) fn append_after(&self, at: Position) -> io::Result<Option<AppendShape>> {
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
    pub(in super::super) fn all(&self) -> io::Result<Block> {
        let ends = self.ends(0, self.run.blocks() - 1)?;
        let data = match &self.data(0, self.run.len as usize)?[..] {
            [whole] => whole.data.clone(),
            parts => parts.iter().map(|part| &part.data[..]).collect::<Vec<_>>().concat().into(),
        };
        Ok(Block::from_parts(self.run.start, data, ends.ends))
    }

    /// The bytes of the run in its file, to be put elsewhere: its data has stayed in the log.
    pub(in super::super) fn without_data(&self) -> io::Result<Bytes> {
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
        format::damaged(
            &format::data_name(self.run.file),
            format_args!("run at byte {} (stream number {}): {what}", self.run.offset, self.seal.stream),
        )
    }
}
