//! What went over the network, as far as a judge needs it: who sent what under which identity, and when which offset
//! was told.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use everstream::Offset;
use http::HeaderMap;

use crate::history::Known;

/// What a batch is known by (S-PROD-1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

impl Identity {
    /// What a request says of itself.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let number = |name| text(name).and_then(|text| text.parse().ok());
        Some(Self {
            id: text("producer-id")?.to_owned(),
            epoch: number("producer-epoch")?,
            seq: number("producer-seq")?,
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} {}:{}]", self.id, self.epoch, self.seq)
    }
}

#[derive(Default)]
pub(crate) struct Record(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Bodies, by the process that sent them, the stream, and their identity.
    bodies: HashMap<(u64, String, Identity), Bytes>,
    /// The identity under which a message was sent last.
    identities: HashMap<String, Identity>,
    /// By stream.
    told: HashMap<String, Vec<Known>>,
    changed: Option<String>,
}

impl Record {
    /// A process sends this.
    pub(crate) fn sent(&self, process: u64, path: &str, identity: Identity, body: &Bytes) {
        let mut inner = self.inner();
        for message in messages(body) {
            inner.identities.insert(message, identity.clone());
        }
        let key = (process, path.to_owned(), identity);
        if inner.bodies.get(&key).is_some_and(|before| before != body) {
            let text = |body: &Bytes| String::from_utf8_lossy(body).into_owned();
            let changed = format!("{} was {:?} and then {:?}", key.2, text(&inner.bodies[&key]), text(body));
            inner.changed.get_or_insert(changed);
        } else {
            inner.bodies.insert(key, body.clone());
        }
    }

    /// The server answers an append or a close.
    pub(crate) fn told(&self, at: Duration, path: &str, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(Ok(offset)) = text("stream-next-offset").map(Offset::new) {
            let closed = text("stream-closed") == Some("true");
            self.inner().told.entry(path.to_owned()).or_default().push(Known { at, offset, closed });
        }
    }

    /// Every offset that writers of this stream were told.
    pub(crate) fn all_told(&self, path: &str) -> Vec<Known> {
        self.inner().told.get(path).cloned().unwrap_or_default()
    }

    /// The last identity of each message that had one.
    pub(crate) fn identities(&self) -> HashMap<String, Identity> {
        self.inner().identities.clone()
    }

    /// A batch that was not sent again as it was (C-PROD-3), if there was one.
    pub(crate) fn changed_batch(&self) -> Option<String> {
        self.inner().changed.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The messages of a body, each as it is stored: all end with the same mark, and a quote or a semicolon.
fn messages(body: &Bytes) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(body);
    let is_json = text.starts_with('[');
    let found: Vec<String> = text
        .split_inclusive('€')
        .filter_map(|piece| piece.rfind('w').map(|at| &piece[at..]))
        .filter(|message| message.ends_with('€'))
        .map(|message| if is_json { format!("\"{message}\"") } else { format!("{message};") })
        .collect();
    found.into_iter()
}
