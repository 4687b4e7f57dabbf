//! Options of every operation: plain data with defaults, checked before anything is sent (PROTOCOL.md section 25).

use std::time::Duration;

use bytes::Bytes;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::offset::Offset;

/// What a new stream is to be (PROTOCOL.md section 6).
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Fixed for the life of the stream. Default: `application/octet-stream`, or the source's for a fork.
    pub content_type: Option<String>,
    /// Sliding lifetime, restarted by every read and write; whole seconds.
    pub ttl: Option<Duration>,
    /// Fixed deadline, RFC 3339. Not together with `ttl`.
    pub expires_at: Option<String>,
    /// Create it closed: the body is all it will ever hold.
    pub closed: bool,
    /// Initial content, sent as it is.
    pub body: Option<Bytes>,
    /// Start from another stream's data.
    pub fork: Option<Fork>,
}

impl CreateOptions {
    /// A stream of one content type, open, without end of life.
    pub fn content_type(content_type: impl Into<String>) -> Self {
        Self { content_type: Some(content_type.into()), ..Self::default() }
    }

    /// A stream of JSON messages.
    pub fn json() -> Self {
        Self::content_type("application/json")
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.ttl.is_some() && self.expires_at.is_some() {
            return Err(Error::invalid_argument("ttl and expires_at exclude each other: give one"));
        }
        if self.ttl.is_some_and(|ttl| ttl.subsec_nanos() != 0) {
            return Err(Error::invalid_argument("ttl is counted in whole seconds"));
        }
        Ok(())
    }
}

/// Where a new stream leaves another one (PROTOCOL.md section 7).
#[derive(Clone, Debug)]
pub struct Fork {
    /// URL path of the source on the same server, stream root included, such as `/v1/stream/src`.
    pub source: String,
    /// Everything before it is inherited. Default: the source's tail.
    pub offset: Option<Offset>,
    /// Messages (JSON) or bytes to inherit beyond `offset`. Default 0.
    pub sub_offset: u64,
}

/// How one append goes out.
#[derive(Clone, Debug, Default)]
pub struct AppendOptions {
    /// `Stream-Seq`: strictly increasing, compared bytewise (S-SEQ-1).
    pub seq: Option<String>,
    /// Default: the stream's own, as far as it is known.
    pub content_type: Option<String>,
}

/// How a read goes on once it has caught up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LiveMode {
    /// Tail, by the means that carries the stream's bytes unchanged: SSE for JSON, long-poll for everything
    /// else, since text over SSE loses CR (S-SSE-6). Long-poll too where SSE does not get through.
    #[default]
    Auto,
    /// Stop at the tail.
    CatchUp,
    /// Tail by long-poll.
    LongPoll,
    /// Tail by server-sent events; long-poll where they do not get through.
    Sse,
}

/// How a stream is read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Where to start. Default: the beginning.
    pub from: Checkpoint,
    /// What to do at the tail. Default: [`LiveMode::Auto`].
    pub live: LiveMode,
    /// Treat the stream as JSON whatever its content type says (C-JSON-3). Default false.
    pub json: bool,
    /// An answer longer than this is handed over in parts, so that memory stays bounded. Bytes, default 4 MiB.
    pub max_batch_bytes: usize,
    /// How long a catch-up request may go without a byte before it is made again. Default 30 s.
    pub request_timeout: Duration,
    /// The same for a live request; above the server's wait, which is 30 s by default (C-REQ-9). Default 75 s.
    pub stall_timeout: Duration,
    /// An SSE connection that shows no byte for this long goes through something that buffers: use
    /// long-poll instead (S-SSE-11 promises one at once). Default 10 s.
    pub sse_first_byte_timeout: Duration,
    /// How SSE gives way to long-poll.
    pub sse: SseResilience,
    /// The tag of what the caller has of this read already, from [`Batch::etag`](crate::Batch::etag): when it is still
    /// current, the read ends at once without data. For reads that stop at the tail.
    pub if_none_match: Option<String>,
    /// Before the tail, ask for what follows as soon as the head of an answer says where that begins, while its body still
    /// comes in: catching up takes less time, and two connections where requests do not share one. Default false.
    pub prefetch: bool,
    /// Where a host keeps the bodies of answers ([`HostBody`](crate::HostBody)), have it parse those that are JSON arrays, from
    /// whose first message on the read goes. What it makes of one is in [`Batch::parsed`](crate::Batch::parsed). Default
    /// false: messages are found by a scanner, and not parsed.
    pub parsed_by_host: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            from: Checkpoint::default(),
            live: LiveMode::default(),
            json: false,
            max_batch_bytes: 4 << 20,
            request_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(75),
            sse_first_byte_timeout: Duration::from_secs(10),
            sse: SseResilience::default(),
            if_none_match: None,
            prefetch: false,
            parsed_by_host: false,
        }
    }
}

/// When SSE gives way to long-poll for the rest of a session (C-LIVE-3).
#[derive(Clone, Debug)]
pub struct SseResilience {
    /// A connection that ends sooner is a short one. Default 1000 ms.
    pub min_connection: Duration,
    /// So many short ones in a row end the use of SSE. Default 3.
    pub max_short_connections: u32,
    /// Bound of the first wait after a short one; doubles from there. Default 100 ms.
    pub backoff_base: Duration,
    /// Bound of every such wait. Default 5000 ms.
    pub backoff_max: Duration,
}

impl Default for SseResilience {
    fn default() -> Self {
        Self {
            min_connection: Duration::from_millis(1000),
            max_short_connections: 3,
            backoff_base: Duration::from_millis(100),
            backoff_max: Duration::from_millis(5000),
        }
    }
}

/// How an idempotent producer batches and sends (PROTOCOL.md section 24).
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// Fencing number, at most 2^53-1. Default 0. Raise it when a producer starts anew under its old id.
    pub epoch: u64,
    /// Take over with a higher epoch when fenced, instead of failing; also from an earlier run that used the same
    /// epoch. Default false.
    pub auto_claim: bool,
    /// With `auto_claim`: ask for the stream's tail before the first message. Without it, an earlier run that used the same
    /// epoch may go unnoticed; the receipts say `duplicate` then. Default true.
    pub ask_tail: bool,
    /// How long a message waits for others before its batch goes out. Default 5 ms.
    pub linger: Duration,
    /// Bytes of a batch's body, framing included; only a single larger message exceeds it. Default 1 MiB.
    pub max_batch_bytes: usize,
    /// Messages in a batch; `None` is no limit. Default none.
    pub max_batch_items: Option<usize>,
    /// Batches under way at once. Default 5.
    pub max_in_flight: usize,
    /// Bytes of messages that are not answered yet; beyond it `append` waits or says so. Default 32 MiB.
    pub max_buffered_bytes: usize,
    /// How long a batch may be tried without an answer before the producer gives up on it and stops;
    /// `None` is for ever. Default 120 s.
    pub delivery_timeout: Option<Duration>,
    /// How long one request may take before it is sent again. Default 30 s.
    pub request_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            epoch: 0,
            auto_claim: false,
            ask_tail: true,
            linger: Duration::from_millis(5),
            max_batch_bytes: 1 << 20,
            max_batch_items: None,
            max_in_flight: 5,
            max_buffered_bytes: 32 << 20,
            delivery_timeout: Some(Duration::from_secs(120)),
            request_timeout: Duration::from_secs(30),
        }
    }
}

impl ProducerOptions {
    /// Checks the values.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the official parameter (C-VAL-1, C-VAL-2).
    pub fn validate(&self) -> Result<()> {
        let invalid = |message: &str| Err(Error::invalid_argument(message));
        if self.epoch > crate::proto::producer::MAX_NUMBER {
            return invalid("epoch must be >= 0 and <= 2^53-1");
        }
        if self.max_batch_bytes == 0 {
            return invalid("maxBatchBytes must be > 0");
        }
        if self.max_batch_items == Some(0) {
            return invalid("maxBatchItems must be > 0");
        }
        if self.max_in_flight == 0 {
            return invalid("maxInFlight must be > 0");
        }
        if self.max_buffered_bytes == 0 {
            return invalid("maxBufferedBytes must be > 0");
        }
        Ok(())
    }

    /// Whether a message of `len` bytes, which takes `cost` of the buffer, fits beside what is there.
    ///
    /// # Errors
    /// `BufferFull` when it has to wait; `InvalidArgument` when it is larger than the whole buffer.
    pub(crate) fn check_space(&self, len: usize, cost: usize, buffered: usize) -> Result<()> {
        let max = self.max_buffered_bytes;
        if cost > max {
            return Err(Error::invalid_argument(format!(
                "a message of {len} bytes does not fit maxBufferedBytes ({max})"
            )));
        }
        if buffered + cost > max {
            return Err(Error::new(ErrorKind::BufferFull, "the producer's buffer is full; wait for answers"));
        }
        Ok(())
    }
}
