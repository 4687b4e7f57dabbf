//! What can go wrong with one request.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use crate::answer::Answer;

/// One fault, with everything that decides what the two sides see of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The client gets this answer, and the server never sees the request. Only by script.
    Answer(Box<Answer>),
    /// The head of the answer and a part of its body arrive, then the connection is reset: in the middle of a message
    /// or of a character. An answer without a body is dropped whole.
    CutBody {
        /// Where the body breaks off.
        at: CutAt,
    },
    /// An SSE answer ends early.
    CutSse {
        /// How many bytes of the body arrive.
        after_bytes: u64,
        /// Ends the body properly instead of resetting the connection: what a server or proxy does that rotates
        /// its connections.
        clean: bool,
    },
    /// The request reaches the server this much later.
    Delay(Duration),
    /// The answer reaches the client this much later.
    DelayAfter(Duration),
    /// The server gets the request twice, one after the other. The client gets the second answer.
    Duplicate,
    /// The request waits until a later one of the same method and path has been answered by the server: pipelined
    /// requests arrive out of order.
    Reorder {
        /// The longest wait. If nothing overtakes the request, this is a delay.
        bound: Duration,
    },
    /// The server does its work and answers. The answer is dropped and the connection reset.
    ResetAfter,
    /// The connection is reset before the server sees anything.
    ResetBefore,
    /// The head of the answer and a part of its body arrive, then nothing, and in the end a reset. An answer without
    /// a body is held back whole.
    Stall {
        /// Where the body stops.
        at: CutAt,
        /// How long nothing comes before the reset.
        pause: Duration,
    },
    /// The client gets this status instead of the server's answer.
    Status {
        /// The status to answer with.
        code: StatusCode,
        /// The `Retry-After` header, in seconds.
        retry_after: Option<u32>,
        /// Whether the server did its work before its answer was replaced: the dangerous case.
        after: bool,
    },
    /// The head and half of the request's body reach the server, then both connections are reset. A request without
    /// a body does not reach it at all.
    TruncateRequest,
}

/// Where the body of an answer breaks off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CutAt {
    /// After this many bytes. A body of known length always loses at least its last byte.
    Byte(u64),
    /// After this part of the length, from 0 to 1. A body of unknown length is first read to its end to know it, except
    /// an SSE body, which has none and counts as 4 KiB.
    Part(f64),
}

impl Fault {
    /// The status as answer, without the server having seen the request.
    pub fn status(code: StatusCode) -> Self {
        Self::Status { code, retry_after: None, after: false }
    }

    /// The status as answer, although the server has done its work.
    pub fn status_after(code: StatusCode) -> Self {
        Self::Status { code, retry_after: None, after: true }
    }

    /// The kind of the fault, without its details.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Answer(_) => FaultKind::Answer,
            Self::CutBody { .. } => FaultKind::CutBody,
            Self::CutSse { .. } => FaultKind::CutSse,
            Self::Delay(_) => FaultKind::Delay,
            Self::DelayAfter(_) => FaultKind::DelayAfter,
            Self::Duplicate => FaultKind::Duplicate,
            Self::Reorder { .. } => FaultKind::Reorder,
            Self::ResetAfter => FaultKind::ResetAfter,
            Self::ResetBefore => FaultKind::ResetBefore,
            Self::Stall { .. } => FaultKind::Stall,
            Self::Status { after: false, .. } => FaultKind::Status,
            Self::Status { after: true, .. } => FaultKind::StatusAfter,
            Self::TruncateRequest => FaultKind::TruncateRequest,
        }
    }
}

/// The kinds of [`Fault`], to choose and to count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// [`Fault::Answer`]
    Answer,
    /// [`Fault::CutBody`]
    CutBody,
    /// [`Fault::CutSse`]
    CutSse,
    /// [`Fault::Delay`]
    Delay,
    /// [`Fault::DelayAfter`]
    DelayAfter,
    /// [`Fault::Duplicate`]
    Duplicate,
    /// [`Fault::Reorder`]
    Reorder,
    /// [`Fault::ResetAfter`]
    ResetAfter,
    /// [`Fault::ResetBefore`]
    ResetBefore,
    /// [`Fault::Stall`]
    Stall,
    /// [`Fault::Status`] that the server never hears of.
    Status,
    /// [`Fault::Status`] after the server has done its work.
    StatusAfter,
    /// [`Fault::TruncateRequest`]
    TruncateRequest,
}

impl FaultKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::Answer,
        Self::CutBody,
        Self::CutSse,
        Self::Delay,
        Self::DelayAfter,
        Self::Duplicate,
        Self::Reorder,
        Self::ResetAfter,
        Self::ResetBefore,
        Self::Stall,
        Self::Status,
        Self::StatusAfter,
        Self::TruncateRequest,
    ];

    /// The name in output and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::CutBody => "cut-body",
            Self::CutSse => "cut-sse",
            Self::Delay => "delay",
            Self::DelayAfter => "delay-after",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::ResetAfter => "reset-after",
            Self::ResetBefore => "reset-before",
            Self::Stall => "stall",
            Self::Status => "status",
            Self::StatusAfter => "status-after",
            Self::TruncateRequest => "truncate-request",
        }
    }

    /// Whether the client is left without a full answer of the server. The others only disturb time and order.
    pub fn breaks(self) -> bool {
        !matches!(self, Self::Delay | Self::DelayAfter | Self::Duplicate | Self::Reorder)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = UnknownFaultKind;

    fn from_str(name: &str) -> Result<Self, UnknownFaultKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownFaultKind(name.to_owned()))
    }
}

/// The error of parsing a [`FaultKind`]: no kind has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFaultKind(String);

impl fmt::Display for UnknownFaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        write!(f, "no fault is called {:?}; known are {}", self.0, known.join(", "))
    }
}

impl std::error::Error for UnknownFaultKind {}
