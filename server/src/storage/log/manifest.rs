//! The manifest: which streams there are, their states and their runs, as far as they are drained.
//!
//! ```text
//! manifest  header (32 bytes, see `format`), frames
//! frame     length u32, crc u32, body
//! body      kind u8, then
//!   1 stream      number u64, seq u64, drained u64, state, references, meta, runs u32 and each run
//!   2 removed     number u64
//!   3 checkpoint  seq u64, next data file u64, first segment u64 (from version 2 on)
//! ```
//! Frames take effect at the next checkpoint; the last frame of a stream counts. A checkpoint says that
//! the log is not needed up to `seq`. A stream may be newer than the checkpoint: its `seq` says up to
//! where its state is, `drained` up to where its data is in runs, and replay leaves out what it has.
//!
//! # Crash cases
//! A checkpoint is synced before anything is removed that it makes unneeded. What follows the last whole
//! checkpoint is cut off before more is written. If damage hides a checkpoint, the log no longer reaches
//! back to the one before, and that is reported. A process that begins writes a manifest with added
//! checkpoints anew: those may have been in the system's cache alone. When most of the manifest is out of date, a new one is
//! written beside it, synced, and takes its name.

use bytes::BufMut;

use super::codec::{Decoded, Decoder, Malformed, put_meta, put_references, put_state};
use super::format::{Header, Kind};
use super::run::RunRef;
use crate::engine::{References, StoredState};
use crate::storage::StreamMeta;

/// A stream as the manifest knows it.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub(super) number: u64,
    pub(super) seq: u64,
    pub(super) drained: u64,
    pub(super) state: StoredState,
    pub(super) references: References,
    pub(super) meta: StreamMeta,
    pub(super) runs: Vec<RunRef>,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Stream(Box<Saved>),
    Removed(u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The log is not needed up to this record.
    pub(super) seq: u64,
    /// Data files from this number on were never used.
    pub(super) next_file: u64,
    /// The first segment of the log that is not drained. Those before it are there for runs, or not needed.
    pub(super) first_segment: u64,
}

pub(super) fn put_header(out: &mut Vec<u8>) {
    out.extend_from_slice(&Header { kind: Kind::Manifest, number: 0, first: 0 }.encode());
}

fn put_frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    body(out);
    let len = u32::try_from(out.len() - start - 8).unwrap_or(u32::MAX);
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// What a stream's frame is made of, borrowed.
pub(super) struct SavedRef<'a> {
    pub(super) number: u64,
    pub(super) seq: u64,
    pub(super) drained: u64,
    pub(super) state: &'a StoredState,
    pub(super) references: References,
    pub(super) meta: &'a StreamMeta,
    pub(super) runs: &'a [RunRef],
}

pub(super) fn put_stream(out: &mut Vec<u8>, saved: &SavedRef<'_>) {
    put_frame(out, |out| {
        out.put_u8(1);
        for number in [saved.number, saved.seq, saved.drained] {
            out.put_u64_le(number);
        }
        put_state(out, saved.state);
        put_references(out, saved.references);
        put_meta(out, saved.meta);
        out.put_u32_le(u32::try_from(saved.runs.len()).unwrap_or(u32::MAX));
        for run in saved.runs {
            run.put(out);
        }
    });
}

pub(super) fn put_removed(out: &mut Vec<u8>, number: u64) {
    put_frame(out, |out| {
        out.put_u8(2);
        out.put_u64_le(number);
    });
}

pub(super) fn put_checkpoint(out: &mut Vec<u8>, checkpoint: Checkpoint) {
    put_frame(out, |out| {
        out.put_u8(3);
        out.put_u64_le(checkpoint.seq);
        out.put_u64_le(checkpoint.next_file);
        out.put_u64_le(checkpoint.first_segment);
    });
}

enum Frame {
    Change(Change),
    Checkpoint(Checkpoint),
}

fn decode_frame(body: &[u8], version: u32) -> Decoded<Frame> {
    let mut decoder = Decoder(body);
    let frame = match decoder.u8()? {
        1 => {
            let (number, seq, drained) = (decoder.u64()?, decoder.u64()?, decoder.u64()?);
            let (state, references, meta) = (decoder.state()?, decoder.references()?, decoder.meta()?);
            let count = decoder.u32()?;
            let runs = (0..count).map(|_| RunRef::decode(&mut decoder, version)).collect::<Decoded<Vec<_>>>()?;
            let mut at = meta.base().0;
            for run in &runs {
                if run.start != at {
                    return Err(Malformed);
                }
                at = run.end();
            }
            if at != drained || drained > state.tail.0 {
                return Err(Malformed);
            }
            Frame::Change(Change::Stream(Box::new(Saved { number, seq, drained, state, references, meta, runs })))
        }
        2 => Frame::Change(Change::Removed(decoder.u64()?)),
        3 => {
            let (seq, next_file) = (decoder.u64()?, decoder.u64()?);
            let first_segment = if version == 1 { 0 } else { decoder.u64()? };
            Frame::Checkpoint(Checkpoint { seq, next_file, first_segment })
        }
        _ => return Err(Malformed),
    };
    decoder.finish()?;
    Ok(frame)
}

/// What a manifest says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    /// The version that wrote it.
    pub(super) version: u32,
    pub(super) last: Checkpoint,
    pub(super) last_end: usize,
    /// The end of the first checkpoint: the manifest was synced up to there before it got its name.
    pub(super) first_end: usize,
}

/// Reads a manifest: hands the changes of each checkpoint to `visit`. Takes any bytes.
///
/// # Errors
/// There is no whole checkpoint: a manifest begins with one.
pub(super) fn read(bytes: &[u8], mut visit: impl FnMut(Change)) -> Decoded<Read> {
    let (_, version) = Header::decode(bytes, Kind::Manifest, 0)?;
    let (mut at, mut found, mut changes) = (Header::LEN, None::<Read>, Vec::new());
    while let Some((body, end)) = frame_at(bytes, at) {
        match decode_frame(body, version)? {
            Frame::Change(change) => changes.push(change),
            Frame::Checkpoint(checkpoint) => {
                changes.drain(..).for_each(&mut visit);
                let first_end = found.map_or(end, |found| found.first_end);
                found = Some(Read { version, last: checkpoint, last_end: end, first_end });
            }
        }
        at = end;
    }
    found.ok_or(Malformed)
}

fn frame_at(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let mut decoder = Decoder(bytes.get(at..)?);
    let (len, crc) = (decoder.u32().ok()? as usize, decoder.u32().ok()?);
    let body = decoder.take(len).ok()?;
    (crc32fast::hash(body) == crc && len > 0).then_some((body, at + 8 + len))
}
