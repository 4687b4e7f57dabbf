//! Judging a run: is what happened what was promised?

use std::collections::{HashMap, HashSet};

use everstream::ErrorKind;
use serde::{Deserialize, Serialize};

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
        self.digest ^= other.digest;
        self.seeds += other.seeds;
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
}

/// Everything that one writer did.
pub(crate) struct Written {
    pub(crate) writer: usize,
    pub(crate) messages: Vec<Message>,
    /// Nobody else uses its producer id.
    pub(crate) is_alone: bool,
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

/// What a stream holds in the end, and what may have happened to it before.
pub(crate) struct Stored<'a> {
    pub(crate) name: &'a str,
    /// Each stored message, in order.
    pub(crate) messages: Vec<String>,
    /// As many of them were there when the stream was forked off another.
    pub(crate) inherited: usize,
    /// Earlier incarnations are gone, with what they held.
    pub(crate) had_others: bool,
}

/// A broken promise, and what to look for in the story.
pub(crate) struct Broken {
    pub(crate) what: String,
    pub(crate) about: String,
}

fn broken<T>(about: impl Into<String>, what: String) -> Result<T, Broken> {
    Err(Broken { what, about: about.into() })
}

/// What one writer was told against what is stored: once, in order, nothing that failed for certain.
pub(crate) fn check_writer(written: &Written, stored: &Stored<'_>) -> Result<(), Broken> {
    let prefix = format!("w{}.", written.writer);
    let own = |text: &&String| text.trim_start_matches('"').starts_with(&prefix);
    if stored.had_others {
        // Copies that come late may have been meant for an earlier incarnation.
        let own: Vec<String> = stored.messages[stored.inherited..].iter().filter(own).cloned().collect();
        return check_at_most_once(written, &own, stored.name);
    }
    let mut kept = stored.messages[stored.inherited..].iter().filter(own).peekable();
    for message in &written.messages {
        let is_stored = kept.next_if(|next| **next == message.text).is_some();
        let right = match &message.fate {
            Fate::Stored => is_stored,
            Fate::Duplicate => is_stored || !written.is_alone,
            Fate::Unknown => true,
            Fate::Failed(_) => !is_stored,
        };
        if !right {
            let what = format!("{}: {} is {:?}, and stored: {is_stored}", stored.name, message.text, message.fate);
            return broken(format!("writer {} ", written.writer), what);
        }
    }
    match kept.next() {
        Some(extra) => broken(
            format!("writer {} ", written.writer),
            format!("{}: {extra} is stored twice, out of order, or although it was never appended", stored.name),
        ),
        None => Ok(()),
    }
}

/// What one writer has stored in a stream that is not the one it began with.
fn check_at_most_once(written: &Written, own: &[String], stream: &str) -> Result<(), Broken> {
    let appended: HashSet<&str> = written.messages.iter().map(|message| message.text.as_str()).collect();
    let mut seen = HashSet::new();
    match own.iter().find(|text| !appended.contains(text.as_str()) || !seen.insert(text.as_str())) {
        Some(text) => broken(
            format!("writer {} ", written.writer),
            format!("{stream}: {text} is stored twice, or although it was never appended"),
        ),
        None => Ok(()),
    }
}

/// Fencing: once a life of a producer id has stored something, nothing of an earlier one follows, unless it claims.
pub(crate) fn check_fencing(stored: &Stored<'_>) -> Result<(), Broken> {
    if stored.had_others {
        return Ok(());
    }
    let mut latest: HashMap<&str, &str> = HashMap::new();
    for text in &stored.messages[stored.inherited..] {
        let Some((writer, rest)) = text.trim_start_matches('"').split_once('.') else { continue };
        let life = rest.split(':').next().unwrap_or_default();
        let seen = latest.entry(writer).or_insert(life);
        if *seen > life {
            return broken(writer, format!("{}: {text} is stored after a message of life {seen}", stored.name));
        }
        *seen = life;
    }
    Ok(())
}

/// What a reader got against what is stored: all of it, once, in order, from the first message to the last.
pub(crate) fn check_reader(through: &ReadThrough, stored: &Stored<'_>) -> Result<bool, Broken> {
    let read = String::from_utf8_lossy(&through.read);
    let whole = stored.messages.concat();
    let about = format!("reader {} ", through.reader);
    match &through.end {
        ReadEnd::Closed if read == whole => Ok(true),
        ReadEnd::Failed(ErrorKind::StreamRecreated | ErrorKind::NotFound | ErrorKind::Gone) if stored.had_others => {
            check_once(&read).map_err(|what| Broken { what, about })?;
            Ok(false)
        }
        ReadEnd::Closed => broken(about, format!("{}: a reader ended with {read:?}, stored is {whole:?}", stored.name)),
        ReadEnd::Failed(kind) => broken(about, format!("{}: a reader ended with {kind:?}", stored.name)),
    }
}

/// Where nothing is left to compare with: every message at most once, and those of one writer in order.
fn check_once(read: &str) -> Result<(), String> {
    let mut latest: HashMap<&str, u64> = HashMap::new();
    // What follows the last mark is a part of a message.
    let whole = read.rsplit_once('€').map_or("", |(whole, _)| whole);
    for text in whole.split('€') {
        let Some((writer, number)) = text.trim_matches(['"', ';']).split_once(':') else { continue };
        let (Some((writer, _)), Ok(number)) = (writer.split_once('.'), number.parse::<u64>()) else {
            return Err(format!("{text:?} was read, and never appended"));
        };
        if latest.insert(writer, number).is_some_and(|before| before >= number) {
            return Err(format!("{text:?} was read twice or out of order"));
        }
    }
    Ok(())
}
