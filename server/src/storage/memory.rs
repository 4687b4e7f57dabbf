//! The reference implementation of [`Storage`]: everything in memory, gone with the process.
//!
//! Every reply is there at once. A commit is visible to every later read when its call returns.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use super::blocks::Blocks;
use super::{
    Listed, Loaded, NewStream, Piece, ReadRange, Reply, Storage, StorageError, StorageErrorKind, StreamId, StreamLog,
    StreamMeta,
};
use crate::engine::{AppendShape, Commit, Position, References, Removal, StoredState, StreamConfig};

/// Streams in memory.
#[derive(Default)]
pub struct MemoryStorage {
    streams: Mutex<BTreeMap<Arc<str>, Arc<MemoryStream>>>,
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }
}

struct MemoryStream {
    meta: Arc<StreamMeta>,
    contents: Mutex<Contents>,
}

struct Contents {
    state: StoredState,
    references: References,
    blocks: Blocks,
    is_removed: bool,
}

impl MemoryStream {
    fn open(self: &Arc<Self>) -> Loaded {
        let contents = self.contents.lock();
        Loaded {
            meta: Arc::clone(&self.meta),
            state: contents.state.clone(),
            references: contents.references,
            log: Arc::clone(self) as Arc<dyn StreamLog>,
        }
    }
}

impl Storage for MemoryStorage {
    fn load(&self, name: &str) -> Reply<Option<Loaded>> {
        Reply::ready(Ok(self.streams.lock().get(name).map(MemoryStream::open)))
    }

    fn create(&self, stream: NewStream) -> Reply<Loaded> {
        let mut streams = self.streams.lock();
        if streams.contains_key(&stream.meta.name) {
            return conflict("the name is taken");
        }
        if let Some(fork) = &stream.meta.fork {
            match streams.get(&fork.source) {
                Some(source) => source.contents.lock().references.forks += 1,
                None => return conflict("the fork source is gone"),
            }
        }
        let meta = Arc::new(stream.meta);
        let config = StreamConfig {
            content_type: Arc::clone(&meta.content_type),
            lifetime: meta.lifetime.clone(),
            created_at: meta.created_at,
            base: meta.base(),
        };
        let mut contents = Contents {
            state: StoredState::new(&config),
            references: References::default(),
            blocks: Blocks::default(),
            is_removed: false,
        };
        contents.commit(&Commit {
            at: meta.created_at,
            messages: stream.content,
            close: stream.closed,
            ..Commit::default()
        });
        let stream = Arc::new(MemoryStream { meta, contents: Mutex::new(contents) });
        streams.insert(Arc::clone(&stream.meta.name), Arc::clone(&stream));
        Reply::ready(Ok(stream.open()))
    }

    fn delete(&self, name: &str, id: StreamId, removal: Removal) -> Reply<()> {
        let mut streams = self.streams.lock();
        let Some(stream) = streams.get(name).filter(|stream| stream.meta.id == id).cloned() else {
            return Reply::ready(Ok(()));
        };
        match removal {
            Removal::SoftDelete => stream.contents.lock().references.soft_deleted = true,
            Removal::Remove if stream.contents.lock().references.forks > 0 => return conflict("forks need the stream"),
            Removal::Remove => {
                streams.remove(name);
                stream.contents.lock().is_removed = true;
                let source = stream.meta.fork.as_ref().and_then(|fork| streams.get(&fork.source));
                if let Some(source) = source {
                    let references = &mut source.contents.lock().references;
                    references.forks = references.forks.saturating_sub(1);
                }
            }
        }
        Reply::ready(Ok(()))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Reply<Vec<Listed>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let streams = self.streams.lock();
        let page = streams
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .take(limit)
            .map(|(_, stream)| {
                let contents = stream.contents.lock();
                Listed {
                    meta: Arc::clone(&stream.meta),
                    tail: contents.state.tail,
                    closed: contents.state.closed.is_some(),
                    touched: contents.state.touched,
                    soft_deleted: contents.references.soft_deleted,
                }
            })
            .collect();
        Reply::ready(Ok(page))
    }
}

impl StreamLog for MemoryStream {
    fn commit(&self, commit: Commit) -> Reply<()> {
        let mut contents = self.contents.lock();
        if contents.is_removed {
            return conflict("the stream is gone");
        }
        contents.commit(&commit);
        Reply::ready(Ok(()))
    }

    fn read(&self, range: ReadRange) -> Reply<Piece> {
        Reply::ready(Ok(self.contents.lock().blocks.read(range, true)))
    }

    fn append_after(&self, at: Position) -> Reply<Option<AppendShape>> {
        Reply::ready(Ok(self.contents.lock().blocks.append_after(at)))
    }
}

impl Contents {
    fn commit(&mut self, commit: &Commit) {
        if !commit.messages.is_empty() {
            self.blocks.push(self.state.tail, &commit.messages);
        }
        self.state.apply(commit);
    }
}

fn conflict<T>(message: &str) -> Reply<T> {
    Reply::ready(Err(StorageError { kind: StorageErrorKind::Conflict, message: message.to_owned() }))
}
