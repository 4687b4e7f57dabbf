//! What became of a run: what writers were told, what readers got, what is stored, and what a broken promise says.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use everstream::{Error, ErrorKind, Offset};
use serde::{Deserialize, Serialize};

use crate::record::Identity;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Summary {
    /// Messages whose writer was told that they are stored.
    pub stored: u64,
    /// Messages that failed, for certain.
    pub failed: u64,
    /// Messages whose outcome is unknown, or whose writer died.
    pub unknown: u64,
    /// Requests that reached the network.
    pub requests: u64,
    /// Faults that the network did to them, deaths of the server included.
    pub faults: u64,
    /// Readers that saw the end of a stream.
    pub ended: u64,
    /// Readers whose stream was deleted, expired, or made anew under them.
    pub gone: u64,
    /// Answers to writers that a waiting reader was held against.
    pub woken: u64,
    /// Of everything that happened, in order: equal runs have equal ones.
    pub digest: u64,
    /// How many seeds this is about.
    pub seeds: u64,
}

impl Summary {
    /// Counts another run in.
    pub fn add(&mut self, other: &Self) {
        self.stored += other.stored;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.requests += other.requests;
        self.faults += other.faults;
        self.ended += other.ended;
        self.gone += other.gone;
        self.woken += other.woken;
        self.digest ^= other.digest;
        self.seeds += other.seeds;
    }
}

/// One promise, by what looks whether it was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// What was acknowledged is stored once and in order; what failed for certain, or was never appended, is not stored.
    Stored,
    /// The offset that a writer was told lies behind its message.
    Receipt,
    /// Who has an identity to itself is refused nothing on a stream that stays: no gap, no fence, no closure.
    Refusal,
    /// What a producer sent under one epoch and seq is never anything else (C-PROD-3).
    Identity,
    /// What is stored is in the order of its producer's epochs and seqs: nothing follows a later life.
    Fencing,
    /// What was read is what is stored, all of it, once and in order, up to the end.
    Read,
    /// A fork begins with exactly what its source held there.
    Fork,
    /// A flush tells of every failure, and after it everything has an outcome.
    Flush,
    /// Nobody holds more than was allowed.
    Memory,
    /// Who waits at the tail hears of what was stored when its writer does.
    WakeUp,
    /// Nobody waits for ever.
    End,
    /// The server starts again on what the disk kept, and serves what it is asked for.
    Service,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stored => "stored",
            Self::Receipt => "receipt",
            Self::Refusal => "refusal",
            Self::Identity => "identity",
            Self::Fencing => "fencing",
            Self::Read => "read",
            Self::Fork => "fork",
            Self::Flush => "flush",
            Self::Memory => "memory",
            Self::WakeUp => "wake-up",
            Self::End => "end",
            Self::Service => "service",
        })
    }
}

/// A broken promise, and what to look for in the story.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) check: Check,
    pub(crate) what: String,
    pub(crate) about: String,
}

impl Broken {
    pub(crate) fn new(check: Check, about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { check, what: what.into(), about: about.into() }
    }

    /// Something that works in any run did not.
    pub(crate) fn service(what: impl Into<String>) -> Self {
        Self::new(Check::Service, "", what)
    }
}

/// What became of a message, as its writer was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    Stored,
    /// The server had it, or one in its place, already.
    Duplicate,
    Unknown,
    Failed(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) fate: Fate,
    /// Why it is not known to be stored, as its writer was told.
    pub(crate) reason: Option<ErrorKind>,
    /// The tail after it, as its writer was told.
    pub(crate) offset: Option<Offset>,
}

/// Everything that one writer did.
pub(crate) struct Written {
    pub(crate) writer: usize,
    pub(crate) messages: Vec<Message>,
    /// Nobody else uses its producer id.
    pub(crate) is_alone: bool,
    /// What its earlier lives have sent is refused once a later one was there.
    pub(crate) is_fenced: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReadEnd {
    Closed,
    Failed(ErrorKind),
}

/// Everything that one reader got.
pub(crate) struct ReadThrough {
    pub(crate) reader: usize,
    pub(crate) read: Vec<u8>,
    pub(crate) end: ReadEnd,
}

/// A place that somebody knew of: a writer by an answer, or a reader at the tail.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Since the run began.
    pub(crate) at: Duration,
    pub(crate) offset: Offset,
    pub(crate) closed: bool,
}

/// What a stream holds in the end, and what may have happened to it before.
pub(crate) struct Stored<'a> {
    pub(crate) name: &'a str,
    /// Each stored message, in order.
    pub(crate) messages: Vec<String>,
    /// As many of them were there when the stream was forked off another.
    pub(crate) inherited: usize,
    /// Earlier incarnations are gone, with what they held.
    pub(crate) had_others: bool,
    /// Under which identity a message was sent last, where it had one.
    pub(crate) identities: HashMap<String, Identity>,
}

impl Message {
    /// Nobody was told anything about it yet.
    pub(crate) fn new(text: String) -> Self {
        Self { text, fate: Fate::Unknown, reason: None, offset: None }
    }

    /// Its writer was told: stored, perhaps by an earlier try, and where the tail was then; or an error.
    pub(crate) fn settle(&mut self, outcome: Result<(bool, Option<Offset>), &Error>) {
        match outcome {
            Ok((duplicate, offset)) => {
                self.fate = if duplicate { Fate::Duplicate } else { Fate::Stored };
                self.offset = offset;
            }
            Err(error) => {
                // Where the caller's process gave up, the server need not have.
                let is_open = error.outcome_unknown() || *error.kind() == ErrorKind::Cancelled;
                self.fate = if is_open { Fate::Unknown } else { Fate::Failed(error.to_string()) };
                self.reason = Some(error.kind().clone());
            }
        }
    }
}

impl Stored<'_> {
    /// What was appended to this stream itself.
    pub(crate) fn own(&self) -> &[String] {
        &self.messages[self.inherited..]
    }
}
