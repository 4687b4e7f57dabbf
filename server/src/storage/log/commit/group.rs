//! What becomes durable together.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::entry::Entry;
use super::super::parts::Parts;
use super::super::queue::Answer;
use crate::engine::{Commit, Removal};
use crate::storage::{Loaded, NewStream};

/// What becomes durable together.
#[derive(Default)]
pub(in super::super) struct Group {
    pub(super) records: Parts,
    pub(super) changes: Vec<Change>,
    /// Streams that are created, removed or forked in it.
    pub(super) names: HashSet<Arc<str>>,
    pub(super) has_data: bool,
}

/// What a record of the group does.
pub(super) enum Change {
    Commit(Appended),
    Create { stream: Box<NewStream>, seq: u64, source: Option<Arc<Entry>>, reply: Answer<Loaded> },
    Delete { entry: Arc<Entry>, seq: u64, source: Option<Arc<Entry>>, removal: Removal, reply: Answer<()> },
}

/// A commit whose record is in the group.
pub(super) struct Appended {
    pub(super) entry: Arc<Entry>,
    pub(super) seq: u64,
    pub(super) start: u64,
    /// Where its data is within the group.
    pub(super) data_at: usize,
    pub(super) commit: Commit,
    pub(super) reply: Answer<()>,
}

impl Change {
    pub(super) fn as_commit(&self) -> Option<&Appended> {
        match self {
            Self::Commit(commit) => Some(commit),
            Self::Create { .. } | Self::Delete { .. } => None,
        }
    }
}

impl Group {
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.has_data = false;
        self.records.clear();
    }
}
