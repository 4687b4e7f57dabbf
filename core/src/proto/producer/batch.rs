//! When a batch is full, and what its body looks like (C-PROD-2, C-PROD-4).

use bytes::{BufMut, Bytes, BytesMut};

use super::ids::BatchId;
use crate::options::ProducerOptions;
use crate::proto::Instant;

/// A batch that still takes messages.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) id: BatchId,
    pub(super) first_message: u64,
    pub(super) messages: u64,
    pub(super) opened_at: Instant,
    json: bool,
    body: BytesMut,
}

impl OpenBatch {
    pub(super) fn new(id: BatchId, first_message: u64, json: bool, now: Instant) -> Self {
        Self { id, first_message, messages: 0, opened_at: now, json, body: BytesMut::new() }
    }

    /// Whether a message of this length may still join, within the limits of a batch.
    pub(super) fn has_room(&self, len: usize, options: &ProducerOptions) -> bool {
        let items = options.max_batch_items.is_none_or(|max| self.messages < max as u64);
        let closing_bracket = usize::from(self.json);
        self.messages == 0
            || (items && self.body.len() + framed_len(len, self.json) + closing_bracket <= options.max_batch_bytes)
    }

    /// Whether nothing more may join, so that waiting for the linger time is of no use.
    pub(super) fn is_full(&self, options: &ProducerOptions) -> bool {
        options.max_batch_items.is_some_and(|max| self.messages >= max as u64) || !self.has_room(1, options)
    }

    pub(super) fn push(&mut self, message: &[u8]) {
        if self.body.capacity() - self.body.len() < message.len() + 2 {
            // Doubling from a small start: most batches are small, full ones reach their size in a few steps.
            let more = (self.body.len() + message.len() + 2).max(1024);
            self.body.reserve(more);
        }
        if self.json {
            self.body.put_u8(if self.messages == 0 { b'[' } else { b',' });
        }
        self.body.put_slice(message);
        self.messages += 1;
    }

    /// The finished body; it never changes again (C-PROD-3).
    pub(super) fn seal(mut self) -> Bytes {
        if self.json {
            self.body.put_u8(b']');
        }
        self.body.freeze()
    }
}

/// What a message takes in a body, and in the buffer: itself and its separator.
pub(super) fn framed_len(len: usize, json: bool) -> usize {
    len + usize::from(json)
}
