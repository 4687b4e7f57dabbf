//! Decoders and recovery against bytes that nobody has written.
#![allow(clippy::unwrap_used)]

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use everstream::proto::content_type::StreamFormat;
use proptest::prelude::*;

use super::disk::DiskFile;
use super::format::{Header, Kind};
use super::manifest;
use super::parts::Parts;
use super::run::{Part, Patience, Reader, RunFiles, RunRef, encode};
use super::segment::{self, Body, End, put_commit, put_record};
use crate::engine::{Commit, Messages, Position, ProducerTag};
use crate::storage::ReadRange;
use crate::storage::blocks::{Blocks, MERGED, Place};

const SEGMENT: u64 = 7;

fn text(body: &[u8]) -> Messages {
    Messages::frame(StreamFormat::Text, Bytes::copy_from_slice(body)).unwrap()
}

fn commit(n: u64, size: usize) -> Commit {
    Commit {
        at: n,
        messages: text(&vec![b'a' + (n % 26) as u8; size]),
        producer: n.is_multiple_of(2).then(|| ProducerTag { id: Bytes::from_static(b"p"), epoch: 1, seq: n }),
        stream_seq: n.is_multiple_of(3).then(|| Bytes::from(format!("{n:03}"))),
        close: false,
    }
}

/// Sizes of messages, some of which are not copied before they are written.
fn small_or_large() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1..300usize, 1 => 16_380..16_400usize]
}

/// A segment whose groups have these numbers of records, and where each group begins.
fn segment_of(groups: &[usize], size: usize) -> (Vec<u8>, Vec<usize>, Vec<Commit>) {
    let mut bytes = Header { kind: Kind::Segment, number: SEGMENT, first: 1 }.encode();
    let (mut seq, mut starts, mut commits) = (0, Vec::new(), Vec::new());
    for records in groups {
        starts.push(bytes.len());
        let (durable, mut group) = (seq, Parts::default());
        for _ in 0..*records {
            seq += 1;
            let commit = commit(seq, size);
            put_record(&mut group, SEGMENT, seq, durable, |out| put_commit(out, 1, 0, &commit));
            commits.push(commit);
        }
        bytes.extend(group.slices().concat());
    }
    bytes.resize(bytes.len() + 100, 0);
    (bytes, starts, commits)
}

fn scan(bytes: &[u8]) -> (Vec<Commit>, segment::Scanned) {
    let mut found = Vec::new();
    let scanned = segment::scan(bytes, SEGMENT, |record| match record.body {
        Body::Commit { commit, .. } => found.push(commit),
        _ => unreachable!(),
    });
    (found, scanned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_segment_gives_back_what_was_put_in(groups in prop::collection::vec(1..5usize, 0..6), size in small_or_large()) {
        let (bytes, _, commits) = segment_of(&groups, size);
        let (found, scanned) = scan(&bytes);
        prop_assert_eq!(found, commits);
        prop_assert_eq!(scanned.end, End::Clean);
    }

    #[test]
    fn a_changed_byte_hides_nothing_that_was_durable_without_being_told(
        groups in prop::collection::vec(1..5usize, 1..6),
        size in small_or_large(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let (mut bytes, starts, commits) = segment_of(&groups, size);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (found, scanned) = scan(&bytes);
        prop_assert!(commits.starts_with(&found), "an exact prefix");
        // Whatever lies before the last group was durable when that was written.
        if at >= Header::LEN && at < starts[starts.len() - 1] {
            // Padding is not part of a record.
            prop_assert!(scanned.end == End::Damaged || found.len() == commits.len());
        }
    }

    #[test]
    fn a_group_that_was_torn_in_any_way_is_cut_off(
        groups in prop::collection::vec(1..5usize, 1..5),
        lost in prop::collection::vec(any::<bool>(), 40),
    ) {
        let (mut bytes, starts, commits) = segment_of(&groups, 90);
        let last = starts[starts.len() - 1];
        for (sector, lost) in lost.iter().enumerate() {
            let from = last + sector * 64;
            if *lost && from < bytes.len() {
                let to = (from + 64).min(bytes.len());
                bytes[from..to].fill(0);
            }
        }
        let (found, scanned) = scan(&bytes);
        prop_assert!(commits.starts_with(&found));
        prop_assert!(found.len() >= commits.len() - groups[groups.len() - 1], "what was durable is there");
        prop_assert_ne!(scanned.end, End::Damaged);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), valid_head in any::<bool>()) {
        let with_head = |kind| {
            let mut all = if valid_head { Header { kind, number: 0, first: 1 }.encode() } else { Vec::new() };
            all.extend_from_slice(&bytes);
            all
        };
        segment::scan(&with_head(Kind::Segment), 0, drop);
        let _ = manifest::read(&with_head(Kind::Manifest), drop);
        let run = RunRef { file: 0, offset: 0, start: 0, len: bytes.len() as u64 / 2, messages: 3, log: 0 };
        if let Ok(reader) = Reader::new(alone(&Slice(bytes.clone().into())), Patience::ForDisk, 1, run) {
            let range = ReadRange { from: Position(1), to: Position(run.len), max_bytes: 10 };
            let _ = (reader.read(range, true), reader.append_after(Position(1)), reader.all());
        }
    }

    #[test]
    fn a_run_reads_as_the_blocks_it_was_made_of(
        sizes in prop::collection::vec(prop_oneof![1..200usize, 10_000..40_000usize], 1..40),
        limit in 1..60_000usize,
        at in any::<prop::sample::Index>(),
    ) {
        let mut blocks = Blocks::default();
        let mut tail = 100;
        for (n, size) in sizes.iter().enumerate() {
            let messages = text(&vec![n as u8; *size]);
            blocks.push(Position(tail), &messages);
            tail += *size as u64;
        }
        let from = Position(100 + at.index((tail - 100) as usize) as u64);
        let range = ReadRange { from, to: Position(tail), max_bytes: limit };
        let open = (blocks.read(range, true), blocks.append_after(from));
        let mut parts = Parts::default();
        parts.small().extend_from_slice(&[9; 50]);
        let run = encode(&mut parts, 3, &blocks.since(100), 0);
        let bytes = parts.slices().concat();
        prop_assert_eq!(bytes.len() as u64, run.offset + run.size());
        let file = Slice(bytes.into());
        let reader = Reader::new(alone(&file), Patience::ForDisk, 3, run).unwrap();
        let (data, next) = reader.read(range, true).unwrap().unwrap();
        let expected = blocks.read(range, true);
        // The last small appends read alike before and after they become a block.
        prop_assert_eq!((open.0.next, open.0.data.concat()), (expected.next, expected.data.concat()));
        prop_assert_eq!(open.1, blocks.append_after(from));
        // Blocks give what fits of each block; together they may stop earlier than a run does, never later.
        prop_assert!(expected.next <= next);
        prop_assert!(are_in(&data, &file));
        let data = concat(&data);
        prop_assert!(data.starts_with(&expected.data.concat()));
        prop_assert!(data.len() <= limit || expected.next == next);
        prop_assert_eq!(reader.append_after(from).unwrap(), blocks.append_after(from));
        // The same bytes in another place, or as another stream's, are damaged.
        let other = Reader::new(alone(&file), Patience::ForDisk, 4, run).and_then(|reader| reader.read(range, true));
        prop_assert_eq!(other.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

fn concat(parts: &[Part]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.data.to_vec()).collect()
}

/// Whether parts lie in a file where they say.
fn are_in(parts: &[Part], file: &Slice) -> bool {
    parts.iter().all(|part| file.read_at(part.at, part.data.len()).unwrap() == part.data)
}

fn alone(file: &dyn DiskFile) -> RunFiles<'_> {
    RunFiles { file, log: None }
}

/// Appends of a stream in a segment of the log, as the committer writes them, and what it knows of them.
fn placed(sizes: &[usize], start: u64) -> (Slice, Blocks) {
    let (mut parts, mut blocks, mut at) = (Parts::default(), Blocks::default(), start);
    for (n, size) in sizes.iter().enumerate() {
        let commit = commit(n as u64, *size);
        let data_at = put_record(&mut parts, SEGMENT, n as u64 + 1, 0, |out| put_commit(out, 3, at, &commit));
        let place = Place { segment: NonZeroU32::new(SEGMENT as u32).unwrap(), offset: data_at as u32 };
        blocks.push_placed(Position(at), &commit.messages, Some(place));
        at += *size as u64;
    }
    (Slice(parts.slices().concat().into()), blocks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_run_whose_data_has_stayed_in_the_log_reads_as_one_that_has_it(
        sizes in prop::collection::vec(MERGED..5 * MERGED, 1..12),
        limit in 1..200_000usize,
        at in any::<prop::sample::Index>(),
        changed in any::<prop::sample::Index>(),
    ) {
        let (log, mut blocks) = placed(&sizes, 100);
        let (mut apart, mut whole) = (Parts::default(), Parts::default());
        let run = encode(&mut apart, 3, &blocks.since(100), SEGMENT as u32);
        let other = encode(&mut whole, 3, &blocks.since(100), 0);
        let (apart, whole) = (apart.slices().concat(), whole.slices().concat());
        prop_assert_eq!(apart.len() as u64, run.size());
        let (apart, whole) = (Slice(apart.into()), Slice(whole.into()));
        let reader = Reader::new(files_of(&apart, &log), Patience::ForDisk, 3, run).unwrap();
        let expected = Reader::new(alone(&whole), Patience::ForDisk, 3, other).unwrap();
        let tail = run.end();
        let range = ReadRange { from: Position(100 + at.index(run.len as usize) as u64), to: Position(tail), max_bytes: limit };
        let (read, next) = reader.read(range, true).unwrap().unwrap();
        let (of_whole, next_of_whole) = expected.read(range, true).unwrap().unwrap();
        prop_assert_eq!((concat(&read), next), (concat(&of_whole), next_of_whole));
        prop_assert!(are_in(&read, &log) && are_in(&of_whole, &whole));
        prop_assert_eq!(reader.append_after(range.from).unwrap(), expected.append_after(range.from).unwrap());
        let all = expected.all().unwrap();
        prop_assert!(reader.all().unwrap().data() == all.data());
        prop_assert_eq!(&reader.without_data().unwrap(), &apart.0);
        // A byte that changes is noticed, wherever it is, unless it is none of the stream's.
        let mut bytes = log.0.to_vec();
        let place = changed.index(bytes.len());
        bytes[place] ^= 1;
        let is_data = blocks.since(100).iter().any(|block| {
            let from = block.place().unwrap().offset as usize;
            (from..from + block.data().len()).contains(&place)
        });
        let changed_log = Slice(bytes.into());
        let read = Reader::new(files_of(&apart, &changed_log), Patience::ForDisk, 3, run).unwrap().all();
        prop_assert_eq!(read.is_err(), is_data);
        let mut bytes = apart.0.to_vec();
        let place = changed.index(bytes.len());
        bytes[place] ^= 1;
        let apart = Slice(bytes.into());
        if let Ok(reader) = Reader::new(files_of(&apart, &log), Patience::ForDisk, 3, run) {
            match reader.all() {
                Ok(read) => prop_assert_eq!(read.data(), all.data()),
                Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData),
            }
        }
    }
}

fn files_of<'a>(file: &'a dyn DiskFile, log: &'a dyn DiskFile) -> RunFiles<'a> {
    RunFiles { file, log: Some(log) }
}

/// A file that is these bytes.
struct Slice(Bytes);

impl DiskFile for Slice {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let at = usize::try_from(at).unwrap();
        match at.checked_add(len).filter(|end| *end <= self.0.len()) {
            Some(end) => Ok(self.0.slice(at..end)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_of_no_bytes_is_an_error() {
    let file: Arc<dyn DiskFile> = Arc::new(Slice(Bytes::new()));
    let run = RunRef { file: 0, offset: 0, start: 0, len: 5, messages: 1, log: 0 };
    assert!(Reader::new(alone(&*file), Patience::ForDisk, 1, run).is_err());
}
