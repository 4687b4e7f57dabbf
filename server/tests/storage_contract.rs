//! What every storage must do. One suite of generic functions, one module for each implementation.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use everstream::proto::content_type::StreamFormat;
use everstream_server::engine::{
    AppendShape, Commit, ForkPoint, Lifetime, Messages, Position, ProducerTag, References, Removal,
};
use everstream_server::storage::{
    Disk, DiskFile, Folder, Listed, Loaded, LogOptions, LogStorage, MemoryStorage, NewStream, Piece, ReadRange, Reply,
    Storage, StorageErrorKind, StreamId, StreamLog, StreamMeta,
};
use proptest::prelude::*;
use tempfile::TempDir;

fn meta(name: &str, id: u64, content_type: &str) -> StreamMeta {
    StreamMeta {
        name: name.into(),
        id: StreamId(id),
        content_type: content_type.into(),
        lifetime: Lifetime::Ttl(60),
        created_at: 7,
        fork: None,
    }
}

fn new(meta: StreamMeta) -> NewStream {
    NewStream { meta, content: Messages::default(), closed: false }
}

fn forked(name: &str, id: u64, source: &str, base: u64) -> NewStream {
    let mut meta = meta(name, id, "text/plain");
    meta.fork = Some(Box::new(ForkPoint {
        source: source.into(),
        offset: Position(base),
        sub_offset: 0,
        base: Position(base),
        inherited: Lifetime::Unlimited,
    }));
    new(meta)
}

fn text(body: &str) -> Messages {
    Messages::frame(StreamFormat::Text, Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn json(body: &str) -> Messages {
    Messages::frame(StreamFormat::Json, Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn append(messages: Messages) -> Commit {
    Commit { at: 8, messages, ..Commit::default() }
}

async fn made(storage: &dyn Storage, content_type: &str) -> Loaded {
    storage.create(new(meta("s", 1, content_type))).await.unwrap()
}

async fn read(log: &Arc<dyn StreamLog>, from: u64, to: u64, max_bytes: usize) -> (String, u64) {
    let range = ReadRange { from: Position(from), to: Position(to), max_bytes };
    let Piece { data, next, .. } = log.read(range).await.unwrap();
    (String::from_utf8(data.concat()).unwrap(), next.0)
}

async fn a_name_is_made_once(storage: Arc<dyn Storage>) {
    assert!(storage.load("s").await.unwrap().is_none());
    made(&*storage, "text/plain").await;
    let again = storage.create(new(meta("s", 2, "text/plain"))).await.unwrap_err();
    assert_eq!(again.kind, StorageErrorKind::Conflict);
    assert_eq!(storage.load("s").await.unwrap().unwrap().meta.id, StreamId(1));
}

async fn what_is_made_is_loaded_as_it_was_made(storage: Arc<dyn Storage>) {
    let mut stream = new(meta("a/b", 3, "Text/Plain; x=Y"));
    stream.content = text("hello");
    stream.closed = true;
    storage.create(stream).await.unwrap();
    let loaded = storage.load("a/b").await.unwrap().unwrap();
    assert_eq!((&*loaded.meta.name, loaded.meta.id), ("a/b", StreamId(3)));
    assert_eq!(&*loaded.meta.content_type, "Text/Plain; x=Y");
    assert_eq!(loaded.meta.lifetime, Lifetime::Ttl(60));
    assert_eq!((loaded.meta.created_at, loaded.state.touched), (7, 7));
    assert_eq!(loaded.state.tail, Position(5));
    assert!(loaded.state.closed.is_some_and(|closure| closure.by.is_none()));
    assert_eq!(loaded.references, References::default());
    assert_eq!(read(&loaded.log, 0, 5, 100).await, ("hello".into(), 5));
}

async fn a_commit_changes_everything_that_it_names_in_one_step(storage: Arc<dyn Storage>) {
    let stream = made(&*storage, "text/plain").await;
    let tag = ProducerTag { id: Bytes::from_static(b"p:1"), epoch: 4, seq: 9 };
    let commit = Commit {
        at: 99,
        messages: text("abc"),
        producer: Some(tag.clone()),
        stream_seq: Some(Bytes::from_static(b"s1")),
        close: true,
    };
    stream.log.commit(commit).await.unwrap();
    let state = storage.load("s").await.unwrap().unwrap().state;
    assert_eq!(state.tail, Position(3));
    assert_eq!(state.producers.iter().collect::<Vec<_>>(), vec![tag.clone()]);
    assert_eq!(state.stream_seq.as_deref(), Some(&b"s1"[..]));
    assert_eq!(state.closed.unwrap().by, Some(tag));
    assert_eq!(state.touched, 99);
}

async fn an_empty_commit_only_restarts_the_window(storage: Arc<dyn Storage>) {
    let stream = made(&*storage, "text/plain").await;
    let touch = |at| Commit { at, ..Commit::default() };
    stream.log.commit(touch(50)).await.unwrap();
    stream.log.commit(touch(40)).await.unwrap();
    let state = storage.load("s").await.unwrap().unwrap().state;
    assert_eq!((state.touched, state.tail, state.closed), (50, Position(0), None));
}

async fn commits_keep_the_order_of_their_calls(storage: Arc<dyn Storage>) {
    let stream = made(&*storage, "text/plain").await;
    let replies: Vec<_> = (0..200).map(|n| stream.log.commit(append(text(&format!("{n:03}"))))).collect();
    for reply in replies {
        reply.await.unwrap();
    }
    let expected: String = (0..200).map(|n| format!("{n:03}")).collect();
    assert_eq!(read(&stream.log, 0, 600, 10_000).await, (expected, 600));
}

async fn commits_of_several_streams_keep_the_order_of_each(storage: Arc<dyn Storage>) {
    let mut logs = Vec::new();
    for id in 0..40 {
        logs.push(storage.create(new(meta(&format!("s{id}"), id, "text/plain"))).await.unwrap().log);
    }
    // In turn, and some twice in a row.
    let order = (0..400).map(|n| (n, if n % 7 == 0 { n / 7 % 40 } else { n % 40 }));
    let replies: Vec<_> = order.clone().map(|(n, s)| logs[s].commit(append(text(&format!("{n:03}"))))).collect();
    for reply in replies {
        reply.await.unwrap();
    }
    for (s, log) in logs.iter().enumerate() {
        let expected: String = order.clone().filter(|(_, of)| *of == s).map(|(n, _)| format!("{n:03}")).collect();
        let end = expected.len() as u64;
        assert_eq!(read(log, 0, end, 10_000).await, (expected, end));
    }
}

async fn a_piece_holds_whole_messages_and_at_least_one(storage: Arc<dyn Storage>) {
    let stream = made(&*storage, "application/json").await;
    stream.log.commit(append(json("[1,22,333]"))).await.unwrap();
    stream.log.commit(append(json("4444"))).await.unwrap();
    let log = &stream.log;
    assert_eq!(read(log, 0, 14, 100).await, ("1,22,333,4444,".into(), 14));
    assert_eq!(read(log, 0, 14, 1).await, ("1,".into(), 2));
    assert_eq!(read(log, 0, 14, 5).await, ("1,22,".into(), 5));
    assert_eq!(read(log, 0, 14, 8).await, ("1,22,".into(), 5));
    assert_eq!(read(log, 5, 14, 4).await, ("333,".into(), 9));
    assert_eq!(read(log, 9, 14, 0).await, ("4444,".into(), 14));
    assert_eq!(read(log, 14, 14, 9).await, (String::new(), 14));
}

async fn a_position_inside_a_message_moves_to_the_next_boundary(storage: Arc<dyn Storage>) {
    let stream = made(&*storage, "application/json").await;
    stream.log.commit(append(json("[1,22,333]"))).await.unwrap();
    let log = &stream.log;
    assert_eq!(read(log, 1, 9, 100).await, ("22,333,".into(), 9));
    assert_eq!(read(log, 3, 9, 100).await, ("333,".into(), 9));
    assert_eq!(read(log, 6, 9, 100).await, (String::new(), 9));
}

async fn nothing_beyond_the_end_of_a_range_is_returned(storage: Arc<dyn Storage>) {
    let stream = made(&*storage, "text/plain").await;
    stream.log.commit(append(text("abcdef"))).await.unwrap();
    stream.log.commit(append(text("ghi"))).await.unwrap();
    // A fork may cut a message of bytes in two (S-FORK-3).
    assert_eq!(read(&stream.log, 0, 4, 100).await, ("abcd".into(), 4));
    assert_eq!(read(&stream.log, 0, 4, 1).await, ("abcd".into(), 4));
    assert_eq!(read(&stream.log, 2, 4, 100).await, (String::new(), 4));
    assert_eq!(read(&stream.log, 0, 7, 100).await, ("abcdefg".into(), 7));
}

async fn the_append_after_a_position_is_told_by_its_messages(storage: Arc<dyn Storage>) {
    let stream = made(&*storage, "application/json").await;
    for body in ["[1,22]", "333", "[4,5]"] {
        stream.log.commit(append(json(body))).await.unwrap();
    }
    let shape = |start, ends: &[u64]| AppendShape {
        start: Position(start),
        ends: ends.iter().copied().map(Position).collect(),
    };
    for (at, expected) in [
        (0, Some(shape(0, &[2, 5]))),
        (2, Some(shape(0, &[2, 5]))),
        (4, Some(shape(0, &[2, 5]))),
        (5, Some(shape(5, &[9]))),
        (9, Some(shape(9, &[11, 13]))),
        (13, None),
    ] {
        assert_eq!(stream.log.append_after(Position(at)).await.unwrap(), expected, "{at}");
    }
}

async fn removal_frees_the_name_and_leaves_open_readers_alone(storage: Arc<dyn Storage>) {
    let old = made(&*storage, "text/plain").await;
    old.log.commit(append(text("old"))).await.unwrap();
    storage.delete("s", StreamId(99), Removal::Remove).await.unwrap();
    assert!(storage.load("s").await.unwrap().is_some(), "another incarnation is not touched");
    storage.delete("s", StreamId(1), Removal::Remove).await.unwrap();
    assert!(storage.load("s").await.unwrap().is_none());
    storage.delete("s", StreamId(1), Removal::Remove).await.unwrap();
    let new = storage.create(new(meta("s", 2, "text/plain"))).await.unwrap();
    assert_eq!(new.state.tail, Position(0));
    assert_eq!(read(&old.log, 0, 3, 9).await, ("old".into(), 3));
    let late = old.log.commit(append(text("late"))).await.unwrap_err();
    assert_eq!(late.kind, StorageErrorKind::Conflict);
}

async fn references_are_counted_with_the_forks(storage: Arc<dyn Storage>) {
    made(&*storage, "text/plain").await;
    let orphan = storage.create(forked("f", 2, "nowhere", 0)).await.unwrap_err();
    assert_eq!(orphan.kind, StorageErrorKind::Conflict);
    storage.create(forked("f", 2, "s", 0)).await.unwrap();
    storage.create(forked("g", 3, "s", 0)).await.unwrap();
    assert_eq!(storage.create(forked("g", 4, "s", 0)).await.unwrap_err().kind, StorageErrorKind::Conflict);
    let references = async || storage.load("s").await.unwrap().unwrap().references;
    assert_eq!(references().await.forks, 2);
    let needed = storage.delete("s", StreamId(1), Removal::Remove).await.unwrap_err();
    assert_eq!(needed.kind, StorageErrorKind::Conflict);
    storage.delete("f", StreamId(2), Removal::Remove).await.unwrap();
    storage.delete("f", StreamId(2), Removal::Remove).await.unwrap();
    assert_eq!(references().await.forks, 1);
    storage.delete("s", StreamId(1), Removal::SoftDelete).await.unwrap();
    let expected = References { forks: 1, soft_deleted: true };
    assert_eq!(references().await, expected);
}

async fn a_fork_begins_at_its_base(storage: Arc<dyn Storage>) {
    let source = made(&*storage, "text/plain").await;
    source.log.commit(append(text("abcdef"))).await.unwrap();
    let mut fork = forked("f", 2, "s", 4);
    fork.content = text("XY");
    let fork = storage.create(fork).await.unwrap();
    assert_eq!(fork.state.tail, Position(6));
    fork.log.commit(append(text("Z"))).await.unwrap();
    assert_eq!(read(&fork.log, 4, 7, 9).await, ("XYZ".into(), 7));
}

async fn a_listing_comes_in_pages_in_order(storage: Arc<dyn Storage>) {
    for (id, name) in ["b/2", "a", "b/1", "c", "b/10", "b"].into_iter().enumerate() {
        storage.create(new(meta(name, id as u64, "text/plain"))).await.unwrap();
    }
    let page = async |prefix: &str, after: Option<&str>, limit| {
        let page = storage.list(prefix, after, limit).await.unwrap();
        page.iter().map(|listed| listed.meta.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page("", None, 10).await, ["a", "b", "b/1", "b/10", "b/2", "c"]);
    assert_eq!(page("b/", None, 2).await, ["b/1", "b/10"]);
    assert_eq!(page("b/", Some("b/10"), 2).await, ["b/2"]);
    assert_eq!(page("b/", Some("b/2"), 2).await, [""; 0]);
    assert_eq!(page("b/", Some("a"), 9).await, ["b/1", "b/10", "b/2"]);
    assert_eq!(page("x", None, 9).await, [""; 0]);
}

/// Reads in pieces of any size give the bytes of one whole read (S-MODEL-2), whatever was merged inside.
async fn pieces_join_to_the_whole(storage: Arc<dyn Storage>, sizes: Vec<usize>, limits: Vec<usize>) {
    let stream = made(&*storage, "text/plain").await;
    let (mut whole, mut ends, mut replies) = (String::new(), vec![0u64], Vec::new());
    for (n, size) in sizes.iter().enumerate() {
        let body: String = char::from(b'a' + (n % 26) as u8).to_string().repeat(*size);
        whole.push_str(&body);
        ends.push(whole.len() as u64);
        replies.push(stream.log.commit(append(text(&body))));
    }
    for reply in replies {
        reply.await.unwrap();
    }
    let (mut joined, mut at) = (String::new(), 0);
    let mut limits = limits.into_iter().cycle();
    while at < whole.len() as u64 {
        let limit = limits.next().unwrap_or(1);
        let (piece, next) = read(&stream.log, at, whole.len() as u64, limit).await;
        assert!(next > at, "a read gets on");
        assert!(ends.contains(&next), "a piece ends at a boundary");
        assert!(piece.len() <= limit || ends.iter().filter(|&&end| at < end && end <= next).count() == 1);
        joined.push_str(&piece);
        at = next;
    }
    assert_eq!(joined, whole);
    for pair in ends.windows(2) {
        let expected = AppendShape { start: Position(pair[0]), ends: vec![Position(pair[1])] };
        assert_eq!(stream.log.append_after(Position(pair[0])).await.unwrap(), Some(expected));
    }
}

macro_rules! contract {
    ($implementation:ident, $make:expr, $cases:expr, [$($claim:ident),* $(,)?]) => {
        mod $implementation {
            use super::*;

            $(
                #[tokio::test]
                async fn $claim() {
                    super::$claim($make).await;
                }
            )*

            proptest! {
                #![proptest_config(ProptestConfig::with_cases($cases))]
                #[test]
                fn pieces_join_to_the_whole(
                    mut sizes in prop::collection::vec(1..40usize, 1..1200),
                    // Some that are so large that they stay where they are committed, all at the end or anywhere.
                    large in prop::collection::vec((33_000..50_000usize, any::<Option<prop::sample::Index>>()), 0..6),
                    limits in prop::collection::vec(prop_oneof![1..400usize, 1..90_000usize], 1..6),
                ) {
                    for (size, at) in large {
                        sizes.insert(at.map_or(sizes.len(), |at| at.index(sizes.len())), size);
                    }
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(super::pieces_join_to_the_whole($make, sizes, limits));
                }
            }
        }
    };
}

/// A folder that goes when the storage does.
struct InFolder(LogStorage, #[allow(dead_code)] TempDir);

impl InFolder {
    fn open(options: LogOptions) -> Arc<dyn Storage> {
        Self::on(options, |disk| Arc::new(disk))
    }

    fn on(options: LogOptions, disk: impl FnOnce(Folder) -> Arc<dyn Disk>) -> Arc<dyn Storage> {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(Folder::open(folder.path().join("data")).unwrap());
        Arc::new(Self(LogStorage::with_disk(disk, options).unwrap(), folder))
    }
}

/// A disk of which nothing is in memory: every read has to wait for it.
struct Cold(Folder);

struct ColdFile(Arc<dyn DiskFile>);

impl Disk for Cold {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ColdFile(self.0.create(name)?)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ColdFile(self.0.open(name)?)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }
}

impl DiskFile for ColdFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.0.read_at(at, len)
    }

    fn read_at_once(&self, _: u64, _: usize) -> io::Result<Bytes> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write_at(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(at, data)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Storage for InFolder {
    fn load(&self, name: &str) -> Reply<Option<Loaded>> {
        self.0.load(name)
    }

    fn create(&self, stream: NewStream) -> Reply<Loaded> {
        self.0.create(stream)
    }

    fn delete(&self, name: &str, id: StreamId, removal: Removal) -> Reply<()> {
        self.0.delete(name, id, removal)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Reply<Vec<Listed>> {
        self.0.list(prefix, after, limit)
    }
}

macro_rules! contract_of_all {
    ($($implementation:ident: $make:expr, $cases:expr;)*) => {
        $(contract!($implementation, $make, $cases, [
        a_name_is_made_once,
        what_is_made_is_loaded_as_it_was_made,
        a_commit_changes_everything_that_it_names_in_one_step,
        an_empty_commit_only_restarts_the_window,
        commits_keep_the_order_of_their_calls,
        commits_of_several_streams_keep_the_order_of_each,
        a_piece_holds_whole_messages_and_at_least_one,
        a_position_inside_a_message_moves_to_the_next_boundary,
        nothing_beyond_the_end_of_a_range_is_returned,
        the_append_after_a_position_is_told_by_its_messages,
        removal_frees_the_name_and_leaves_open_readers_alone,
        references_are_counted_with_the_forks,
        a_fork_begins_at_its_base,
        a_listing_comes_in_pages_in_order,
    ]);)*
    };
}

contract_of_all! {
    memory: Arc::new(MemoryStorage::new()), 64;
    log: InFolder::open(LogOptions::default()), 3;
    // Each group is drained at once: what is read comes from runs, or moves there meanwhile.
    log_drained: InFolder::open(LogOptions::default().segment_bytes(1)), 3;
    log_on_a_cold_disk: InFolder::on(LogOptions::default().segment_bytes(1), |disk| Arc::new(Cold(disk))), 3;
}
