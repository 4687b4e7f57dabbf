//! Segments of the commit log: what was committed, in order.
//!
//! ```text
//! segment  header (32 bytes, see `format`), records, zeros
//! record   length u32, crc u32, seq u64, durable u64, body, padding to 8 bytes
//! body     kind u8, then
//!   1 commit    stream u64, start u64, at u64, flags u8 (1 producer, 2 Stream-Seq, 4 close),
//!               [producer], [Stream-Seq], messages
//!   2 create    meta, closed u8, messages
//!   3 remove    stream u64, fork source u64 (0: none)
//!   4 soft-delete  stream u64
//! ```
//! Numbers are little-endian; `length` counts the body; the checksum covers the segment's number and
//! everything of the record but itself. `seq` counts records over all segments without a gap; a create's
//! seq is the stream's number from then on. `durable` is the last record that was known to be on disk
//! when this one was written.
//!
//! # Crash cases
//! * **Torn tail.** Records of the last group may be missing, cut or mixed with zeros. None of them was
//!   answered. The log ends before the first record that is not whole. The next process drains what
//!   is whole, since that may be in the system's cache alone. Then it begins a new segment, so that what lies
//!   behind the cut is never taken for something later, and only then answers.
//! * **Damage.** If behind a broken record there is a whole one that was written when the broken one was
//!   already `durable`, then no crash explains it: that is reported, and nothing is served from it.
//! * **A torn header.** It is synced before the first record is written: a segment without a valid header
//!   that holds a whole record is damaged, any other one never counted.
//! * **A full disk.** A segment is extended with zeros before records go there. Where that fails, nothing
//!   was stored and the answer says so.
//! * **A failed write or sync.** Nobody knows what is on the disk. The group fails, and all writes after
//!   it, until a new process has read the disk.

use bytes::{BufMut, Bytes};

use super::codec::{Decoded, Decoder, Malformed, put_bytes, put_messages, put_meta, put_producer};
use super::format::{Header, Kind};
use super::parts::Parts;
use crate::engine::{Commit, Removal};
use crate::storage::NewStream;

/// One record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) seq: u64,

    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Commit { stream: u64, start: u64, commit: Commit },
    Create(NewStream),
    Delete { stream: u64, source: u64, removal: Removal },
}

const HEAD: usize = 24;
const ALIGN: usize = 8;

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Zeros follow, or nothing.
    Clean,
    /// Something follows that a crash explains.
    Torn,
    /// A record that was durable is not there any more.
    Damaged,
}

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The sequence number of the first record, and the one after the last whole record; `None` without a
    /// valid header.
    pub(super) records: Option<(u64, u64)>,
    /// Where the whole records end.
    pub(super) at: usize,
    pub(super) end: End,
}

/// Appends one record to `out`, whose start is aligned to 8 bytes in the file. `body` puts what comes before the data, and
/// returns that. Gives the place of the data in `out`.
pub(super) fn put_record<'a>(
    out: &mut Parts,
    segment: u64,
    seq: u64,
    durable: u64,
    body: impl FnOnce(&mut Vec<u8>) -> &'a Bytes,
) -> usize {
    let (before, start) = (out.len(), out.small().len());
    out.small().extend_from_slice(&[0; HEAD]);
    let data = body(out.small());
    let is_apart = out.put(data);
    let end = out.len();
    let size = end - before;
    let len = u32::try_from(size - HEAD).unwrap_or(u32::MAX);
    let record = &mut out.small()[start..];
    record[..4].copy_from_slice(&len.to_le_bytes());
    record[8..16].copy_from_slice(&seq.to_le_bytes());
    record[16..24].copy_from_slice(&durable.to_le_bytes());
    let crc = checksum(segment, record, if is_apart { data } else { &[] });
    record[4..8].copy_from_slice(&crc.to_le_bytes());
    let padding = size.next_multiple_of(ALIGN) - size;
    out.small().extend_from_slice(&[0; ALIGN][..padding]);
    end - data.len()
}

pub(super) fn put_commit<'a>(out: &mut Vec<u8>, stream: u64, start: u64, commit: &'a Commit) -> &'a Bytes {
    out.put_u8(1);
    out.put_u64_le(stream);
    out.put_u64_le(start);
    out.put_u64_le(commit.at);
    let (producer, seq) = (commit.producer.as_ref(), commit.stream_seq.as_ref());
    out.put_u8(u8::from(producer.is_some()) | u8::from(seq.is_some()) << 1 | u8::from(commit.close) << 2);
    if let Some(tag) = producer {
        put_producer(out, tag);
    }
    if let Some(seq) = seq {
        put_bytes(out, seq);
    }
    put_messages(out, &commit.messages)
}

pub(super) fn put_create<'a>(out: &mut Vec<u8>, stream: &'a NewStream) -> &'a Bytes {
    out.put_u8(2);
    put_meta(out, &stream.meta);
    out.put_u8(u8::from(stream.closed));
    put_messages(out, &stream.content)
}

pub(super) fn put_delete(out: &mut Vec<u8>, stream: u64, source: u64, removal: Removal) -> &'static Bytes {
    static NONE: Bytes = Bytes::new();
    match removal {
        Removal::Remove => {
            out.put_u8(3);
            out.put_u64_le(stream);
            out.put_u64_le(source);
        }
        Removal::SoftDelete => {
            out.put_u8(4);
            out.put_u64_le(stream);
        }
    }
    &NONE
}

fn decode_body(bytes: &[u8]) -> Decoded<Body> {
    let mut decoder = Decoder(bytes);
    let body = match decoder.u8()? {
        1 => {
            let (stream, start, at, flags) = (decoder.u64()?, decoder.u64()?, decoder.u64()?, decoder.u8()?);
            if flags & !7 != 0 {
                return Err(Malformed);
            }
            let producer = if flags & 1 != 0 { Some(decoder.producer()?) } else { None };
            let stream_seq = if flags & 2 != 0 { Some(decoder.bytes()?) } else { None };
            let commit = Commit { at, messages: decoder.messages()?, producer, stream_seq, close: flags & 4 != 0 };
            start.checked_add(commit.messages.len() as u64).ok_or(Malformed)?;
            Body::Commit { stream, start, commit }
        }
        2 => {
            let meta = decoder.meta()?;
            let closed = match decoder.u8()? {
                closed @ 0..=1 => closed == 1,
                _ => return Err(Malformed),
            };
            let content = decoder.messages()?;
            meta.base().0.checked_add(content.len() as u64).ok_or(Malformed)?;
            Body::Create(NewStream { meta, content, closed })
        }
        3 => Body::Delete { stream: decoder.u64()?, source: decoder.u64()?, removal: Removal::Remove },
        4 => Body::Delete { stream: decoder.u64()?, source: 0, removal: Removal::SoftDelete },
        _ => return Err(Malformed),
    };
    decoder.finish()?;
    Ok(body)
}

/// Of a record without its padding, and of what follows it.
fn checksum(segment: u64, record: &[u8], data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(&record[..4]);
    hasher.update(&record[8..]);
    hasher.update(data);
    hasher.finalize()
}

/// The record at `at`, if its checksum holds: its seq, what was durable, its body, and where it ends.
fn record_at(bytes: &[u8], segment: u64, at: usize) -> Option<(u64, u64, &[u8], usize)> {
    let mut decoder = Decoder(bytes.get(at..)?);
    let (len, crc) = (decoder.u32().ok()? as usize, decoder.u32().ok()?);
    let (seq, durable) = (decoder.u64().ok()?, decoder.u64().ok()?);
    // A record is not empty, and knows only of what was before it. This spares most checksums of a search.
    if len == 0 || durable >= seq {
        return None;
    }
    let body = decoder.take(len).ok()?;
    let end = at + HEAD + len;
    (checksum(segment, &bytes[at..end], &[]) == crc).then(|| (seq, durable, body, end.next_multiple_of(ALIGN)))
}

/// Reads a segment: hands each whole record to `visit`, in order. Takes any bytes.
pub(super) fn scan(bytes: &[u8], segment: u64, mut visit: impl FnMut(Record)) -> Scanned {
    let Ok((header, _)) = Header::decode(bytes, Kind::Segment, segment) else {
        let end = if holds_record(bytes, segment, Header::LEN, 0, 0) { End::Damaged } else { End::Torn };
        return Scanned { records: None, at: 0, end };
    };
    let (mut next, mut at) = (header.first, Header::LEN);
    while let Some((seq, _, body, end)) = record_at(bytes, segment, at) {
        if seq != next {
            break;
        }
        let Ok(body) = decode_body(body) else {
            // The checksum holds, so this is no crash: someone else wrote it.
            return Scanned { records: Some((header.first, next)), at, end: End::Damaged };
        };
        visit(Record { seq, body });
        (next, at) = (next.saturating_add(1), end);
    }
    let end = if bytes.get(at..).is_none_or(|rest| rest.iter().all(|byte| *byte == 0)) {
        End::Clean
    } else if holds_record(bytes, segment, at, next, next) {
        End::Damaged
    } else {
        End::Torn
    };
    Scanned { records: Some((header.first, next)), at, end }
}

/// Whether a whole record lies at `from` or behind it that is not older than `seq` and was written when
/// `durable` was on disk.
fn holds_record(bytes: &[u8], segment: u64, from: usize, seq: u64, durable: u64) -> bool {
    (from..bytes.len())
        .step_by(ALIGN)
        .any(|at| record_at(bytes, segment, at).is_some_and(|found| found.0 >= seq && found.1 >= durable))
}
