//! The reference implementation of [`Storage`]: everything in memory, gone with the process.
//!
//! Every reply is there at once. A commit is visible to every later read when its call returns.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::{
    Listed, Loaded, NewStream, Piece, ReadRange, Reply, Storage, StorageError, StorageErrorKind, StreamId, StreamLog,
    StreamMeta,
};
use crate::engine::{AppendShape, Commit, Messages, Position, References, Removal, StoredState, StreamConfig};

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
        let mut contents =
            Contents { state: StoredState::new(&config), references: References::default(), blocks: Blocks::default() };
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
        self.contents.lock().commit(&commit);
        Reply::ready(Ok(()))
    }

    fn read(&self, range: ReadRange) -> Reply<Piece> {
        Reply::ready(Ok(self.contents.lock().blocks.read(range)))
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

/// The bytes of a stream in order, and where messages and appends end.
///
/// An append is one block, stored without copying. So that many small appends do not cost a block each
/// for ever, every [`FAN_IN`] small blocks of one level are merged into one of the next.
#[derive(Default)]
struct Blocks {
    blocks: Vec<Block>,
}

struct Block {
    start: u64,
    data: Bytes,
    ends: Box<[End]>,
    /// How many merges lie behind it.
    level: u8,
}

/// Where a message ends within a block; the highest bit says that an append ends there too. Bodies are
/// at most [`crate::config::LARGEST_BODY`] (1 GiB), which leaves that bit free.
#[derive(Clone, Copy)]
struct End(u32);

const FAN_IN: usize = 32;
/// Blocks of this size and above stay as they are.
const MERGED: usize = 128 * 1024;

impl End {
    const APPEND: u32 = 1 << 31;

    fn at(self) -> usize {
        (self.0 & !Self::APPEND) as usize
    }

    fn ends_append(self) -> bool {
        self.0 & Self::APPEND != 0
    }

    /// The same end in a block that begins `by` bytes earlier.
    fn shifted(self, by: usize) -> Self {
        // `by` is below `FAN_IN * MERGED`, far from the flag.
        Self(self.0 + by as u32)
    }
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.data.len() as u64
    }
}

impl Blocks {
    fn push(&mut self, tail: Position, messages: &Messages) {
        let mut ends: Box<[End]> = messages.ends().map(End).collect();
        if let Some(last) = ends.last_mut() {
            last.0 |= End::APPEND;
        }
        self.blocks.push(Block { start: tail.0, data: messages.data().clone(), ends, level: 0 });
        self.merge();
    }

    fn merge(&mut self) {
        while let Some(first) = self.blocks.len().checked_sub(FAN_IN) {
            let run = &self.blocks[first..];
            let level = run[0].level;
            if run.iter().any(|block| block.level != level || block.data.len() >= MERGED) {
                return;
            }
            let mut data = BytesMut::with_capacity(run.iter().map(|block| block.data.len()).sum());
            let mut ends = Vec::with_capacity(run.iter().map(|block| block.ends.len()).sum());
            for block in run {
                ends.extend(block.ends.iter().map(|end| end.shifted(data.len())));
                data.extend_from_slice(&block.data);
            }
            let merged =
                Block { start: run[0].start, data: data.freeze(), ends: ends.into(), level: level.saturating_add(1) };
            self.blocks.truncate(first);
            self.blocks.push(merged);
        }
    }

    fn read(&self, range: ReadRange) -> Piece {
        let (from, to) = (range.from.0, range.to.0);
        let mut piece = Piece { data: Vec::new(), next: Position(from.min(to)) };
        let mut left = range.max_bytes;
        let first = self.blocks.partition_point(|block| block.end() <= from);
        for block in self.blocks[first..].iter().take_while(|block| block.start < to) {
            // Where the position is inside a message, its next boundary is where the data starts.
            let begin = match from.checked_sub(block.start) {
                None | Some(0) => 0,
                Some(inside) => match block.ends.partition_point(|end| (end.at() as u64) < inside) {
                    at if block.ends.get(at).is_some() => block.ends[at].at(),
                    _ => block.data.len(),
                },
            };
            let until = usize::try_from(to - block.start).map_or(block.data.len(), |cut| cut.min(block.data.len()));
            if begin >= until {
                piece.next = Position(block.start + until as u64);
                continue;
            }
            let mut end = until;
            if until - begin > left {
                let fitting = block.ends.partition_point(|end| end.at() <= begin + left);
                end = match fitting.checked_sub(1).map(|last| block.ends[last].at()) {
                    Some(last) if last > begin => last,
                    // Nothing fits. The first message of an answer goes out whatever its size.
                    _ if piece.data.is_empty() => block.ends.get(fitting).map_or(until, |end| end.at().min(until)),
                    _ => break,
                };
            }
            piece.data.push(block.data.slice(begin..end));
            piece.next = Position(block.start + end as u64);
            left = left.saturating_sub(end - begin);
            if end < until || left == 0 {
                break;
            }
        }
        piece
    }

    fn append_after(&self, at: Position) -> Option<AppendShape> {
        let block = &self.blocks[self.blocks.partition_point(|block| block.end() <= at.0)..].first()?;
        let absolute = |end: &End| Position(block.start + end.at() as u64);
        let first = block.ends.partition_point(|end| absolute(end) <= at);
        let begin = block.ends[..first].iter().rposition(|end| end.ends_append()).map_or(0, |last| last + 1);
        let last = block.ends[first..].iter().position(|end| end.ends_append())? + first;
        Some(AppendShape {
            start: begin.checked_sub(1).map_or(Position(block.start), |before| absolute(&block.ends[before])),
            ends: block.ends[begin..=last].iter().map(absolute).collect(),
        })
    }
}
