//! Plain values as bytes: little-endian numbers, byte strings with a length before them.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::engine::Deadline;
use crate::engine::{
    Closure, ForkPoint, Lifetime, Messages, Position, ProducerTag, Producers, References, StoredState,
};
use crate::storage::{StreamId, StreamMeta};

/// The bytes are not what an encoder of this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl From<bytes::TryGetError> for Malformed {
    fn from(_: bytes::TryGetError) -> Self {
        Self
    }
}

pub(super) type Decoded<T> = Result<T, Malformed>;

/// Reads values off the front of a slice.
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn u8(&mut self) -> Decoded<u8> {
        Ok(self.0.try_get_u8()?)
    }

    pub(super) fn u32(&mut self) -> Decoded<u32> {
        Ok(self.0.try_get_u32_le()?)
    }

    pub(super) fn u64(&mut self) -> Decoded<u64> {
        Ok(self.0.try_get_u64_le()?)
    }

    pub(super) fn take(&mut self, len: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn slice(&mut self) -> Decoded<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    pub(super) fn bytes(&mut self) -> Decoded<Bytes> {
        Ok(Bytes::copy_from_slice(self.slice()?))
    }

    pub(super) fn text(&mut self) -> Decoded<Arc<str>> {
        Ok(std::str::from_utf8(self.slice()?).map_err(|_| Malformed)?.into())
    }

    /// Nothing may be left over.
    pub(super) fn finish(self) -> Decoded<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    pub(super) fn messages(&mut self) -> Decoded<Messages> {
        let count = self.u32()? as usize;
        let mut ends = self.take(count.checked_mul(4).ok_or(Malformed)?)?;
        let ends: Vec<u32> = std::iter::from_fn(|| ends.try_get_u32_le().ok()).collect();
        let data = self.bytes()?;
        Messages::from_parts(data, ends).ok_or(Malformed)
    }

    pub(super) fn producer(&mut self) -> Decoded<ProducerTag> {
        Ok(ProducerTag { id: self.bytes()?, epoch: self.u64()?, seq: self.u64()? })
    }

    fn lifetime(&mut self) -> Decoded<Lifetime> {
        match self.u8()? {
            0 => Ok(Lifetime::Unlimited),
            1 => Ok(Lifetime::Ttl(self.u64()?)),
            2 => Ok(Lifetime::Until(Deadline { at: self.u64()?, text: self.text()? })),
            _ => Err(Malformed),
        }
    }

    pub(super) fn meta(&mut self) -> Decoded<StreamMeta> {
        let (id, created_at) = (StreamId(self.u64()?), self.u64()?);
        let (name, content_type, lifetime) = (self.text()?, self.text()?, self.lifetime()?);
        let fork = match self.u8()? {
            0 => None,
            1 => Some(Box::new(ForkPoint {
                source: self.text()?,
                offset: Position(self.u64()?),
                sub_offset: self.u64()?,
                base: Position(self.u64()?),
                inherited: self.lifetime()?,
            })),
            _ => return Err(Malformed),
        };
        Ok(StreamMeta { name, id, content_type, lifetime, created_at, fork })
    }

    pub(super) fn state(&mut self) -> Decoded<StoredState> {
        let (tail, touched, flags) = (Position(self.u64()?), self.u64()?, self.u8()?);
        if flags & !7 != 0 {
            return Err(Malformed);
        }
        let closed = match flags & 3 {
            0 => None,
            1 => Some(Box::new(Closure { by: None })),
            3 => Some(Box::new(Closure { by: Some(self.producer()?) })),
            _ => return Err(Malformed),
        };
        let stream_seq = if flags & 4 != 0 { Some(self.bytes()?) } else { None };
        let count = self.u32()?;
        let producers = (0..count).map(|_| self.producer()).collect::<Decoded<Producers>>()?;
        Ok(StoredState { tail, closed, stream_seq, producers, touched })
    }

    pub(super) fn references(&mut self) -> Decoded<References> {
        let forks = self.u32()?;
        match self.u8()? {
            soft_deleted @ 0..=1 => Ok(References { forks, soft_deleted: soft_deleted == 1 }),
            _ => Err(Malformed),
        }
    }
}

/// A length that its limit (a body of at most 1 GiB) keeps below `u32::MAX`.
fn len(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(len(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Puts what comes before the data of messages, and returns that.
pub(super) fn put_messages<'a>(out: &mut Vec<u8>, messages: &'a Messages) -> &'a Bytes {
    let ends = messages.inner_ends();
    out.put_u32_le(len(ends.len()));
    for end in ends {
        out.put_u32_le(*end);
    }
    out.put_u32_le(len(messages.len()));
    messages.data()
}

pub(super) fn put_producer(out: &mut Vec<u8>, tag: &ProducerTag) {
    put_bytes(out, &tag.id);
    out.put_u64_le(tag.epoch);
    out.put_u64_le(tag.seq);
}

fn put_lifetime(out: &mut Vec<u8>, lifetime: &Lifetime) {
    match lifetime {
        Lifetime::Unlimited => out.put_u8(0),
        Lifetime::Ttl(seconds) => {
            out.put_u8(1);
            out.put_u64_le(*seconds);
        }
        Lifetime::Until(deadline) => {
            out.put_u8(2);
            out.put_u64_le(deadline.at);
            put_bytes(out, deadline.text.as_bytes());
        }
    }
}

pub(super) fn put_meta(out: &mut Vec<u8>, meta: &StreamMeta) {
    out.put_u64_le(meta.id.0);
    out.put_u64_le(meta.created_at);
    put_bytes(out, meta.name.as_bytes());
    put_bytes(out, meta.content_type.as_bytes());
    put_lifetime(out, &meta.lifetime);
    let Some(fork) = &meta.fork else {
        return out.put_u8(0);
    };
    out.put_u8(1);
    put_bytes(out, fork.source.as_bytes());
    out.put_u64_le(fork.offset.0);
    out.put_u64_le(fork.sub_offset);
    out.put_u64_le(fork.base.0);
    put_lifetime(out, &fork.inherited);
}

pub(super) fn put_state(out: &mut Vec<u8>, state: &StoredState) {
    out.put_u64_le(state.tail.0);
    out.put_u64_le(state.touched);
    let closing = state.closed.as_ref().and_then(|closure| closure.by.as_ref());
    let closed = u8::from(state.closed.is_some()) | u8::from(closing.is_some()) << 1;
    out.put_u8(closed | u8::from(state.stream_seq.is_some()) << 2);
    if let Some(tag) = closing {
        put_producer(out, tag);
    }
    if let Some(seq) = &state.stream_seq {
        put_bytes(out, seq);
    }
    out.put_u32_le(len(state.producers.len()));
    for tag in state.producers.iter() {
        put_producer(out, &tag);
    }
}

pub(super) fn put_references(out: &mut Vec<u8>, references: References) {
    out.put_u32_le(references.forks);
    out.put_u8(u8::from(references.soft_deleted));
}
