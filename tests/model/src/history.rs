//! Judging a run: is what happened what was promised?

use std::fmt;

use crate::clients::{Fate, Follower, Writer, message};

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages that were acknowledged.
    pub stored: u64,
    /// Messages that the server had already on their first try.
    pub duplicates: u64,
    /// Messages that failed with a typed error.
    pub failed: u64,
    /// Of these, the ones whose outcome is unknown.
    pub unknown: u64,
    /// Why the first of them failed.
    pub first_error: Option<String>,
    /// Requests that reached the network.
    pub requests: u64,
    /// Faults that the network did to them.
    pub faults: u64,
    /// Readers that noticed that the stream was recreated.
    pub recreated: u64,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which run; `everstream_model::run` repeats it.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl std::error::Error for Problem {}

/// Stored messages against what the writers were told: once, in order, nothing that failed for certain.
pub(crate) fn check_writes(writers: &[Writer], stored: &[String], json: bool) -> Result<(), String> {
    let stored = split(stored, json);
    for writer in writers {
        let own: Vec<&String> = stored.iter().filter(|text| belongs_to(text, writer.index)).collect();
        let mut own = own.into_iter().peekable();
        for (number, fate) in writer.fates.iter().enumerate() {
            let text = message(json, writer.index, number as u64);
            let is_stored = own.next_if(|next| **next == text).is_some();
            let right = match fate {
                Fate::Stored => is_stored,
                Fate::Failed { unknown: false } => !is_stored,
                Fate::Failed { unknown: true } | Fate::Duplicate => true,
                Fate::Pending => false,
            };
            if !right {
                return Err(format!("message {text} is {fate:?} and stored: {is_stored} ({:?})", writer.first_error));
            }
        }
        if let Some(extra) = own.next() {
            return Err(format!("{extra} is stored out of order, twice, or although it was never appended"));
        }
    }
    Ok(())
}

/// What a reader got against what one incarnation of the stream held: the same, or the start of it.
pub(crate) fn check_read(
    follower: &Follower,
    incarnations: &[Vec<String>],
    json: bool,
    complete: bool,
) -> Result<(), String> {
    let read: String = follower.read.concat();
    let as_read = |stored: &Vec<String>| -> String {
        let text = stored.concat();
        // Followers collect the bytes of other streams, see there.
        if json { text } else { text.bytes().map(char::from).collect() }
    };
    if complete {
        // A stream may end before it is recreated.
        if !incarnations.iter().any(|stored| read == as_read(stored)) {
            return Err(format!("a reader reached the end with {read:?}, stored is {incarnations:?}"));
        }
    } else if !incarnations.iter().any(|stored| as_read(stored).starts_with(&read)) {
        return Err(format!("a reader got {read:?}, which is no prefix of what was stored"));
    }
    Ok(())
}

/// Messages one by one: batches of a stream without message boundaries are cut at the messages' own ends.
fn split(stored: &[String], json: bool) -> Vec<String> {
    if json {
        return stored.to_vec();
    }
    stored.concat().split_inclusive(';').map(str::to_owned).collect()
}

fn belongs_to(text: &str, writer: usize) -> bool {
    text.trim_start_matches('"').starts_with(&format!("p{writer}:"))
}
