//! The numbers of a producer: epoch and seq, and what an answered batch is worth.

use crate::proto::offset::Offset;

/// The largest epoch and seq (S-PROD-3).
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// Names one batch within a producer instance; unlike a seq it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub(super) u64);

/// Names one `flush`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushId(pub(super) u64);

/// The server's word that a batch is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The offset just after the batch. An answer to a repeat may lack it (C-PROD-17).
    pub offset: Option<Offset>,
    /// The server had this epoch and seq already. After a lost answer that is this very batch. On the first try it
    /// is this batch too if something on the way doubled the request; far more often it is a batch that an earlier
    /// instance sent under the same id and epoch, and these messages were dropped (C-PROD-16).
    pub duplicate: bool,
    /// Whether the stream is closed with it.
    pub closed: bool,
}

/// What happened since the flush before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Messages that were stored.
    pub messages: u64,
    /// Messages that the server took for repeats on their first try; see [`Receipt::duplicate`]. Raise the epoch, or
    /// use `auto_claim`, when a producer starts anew under its old id.
    pub duplicates: u64,
    /// The last offset that an answer named.
    pub offset: Option<Offset>,
}
