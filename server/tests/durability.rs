//! Pipelined commits against a storage that answers when the test says so: only what is durable is seen
//! or confirmed.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use everstream_server::clock::SystemClock;
use everstream_server::engine::{
    Append, AppendShape, Commit, CreateRequest, Ended, Engine, EngineError, Outcome, Payload, Position, ProducerTag,
    Removal,
};
use everstream_server::storage::{
    Listed, Loaded, MemoryStorage, NewStream, Piece, ReadRange, Reply, Storage, StorageError, StorageErrorKind,
    StreamId, StreamLog,
};
use tokio::sync::oneshot;

type Held = (Arc<dyn StreamLog>, Commit, oneshot::Sender<Result<(), StorageError>>);

/// Memory, but commits wait in a queue until the test lets them through, or fails them all.
#[derive(Default)]
struct SlowStorage {
    inner: MemoryStorage,
    held: Arc<Mutex<VecDeque<Held>>>,
}

impl SlowStorage {
    async fn release_one(&self) {
        let (log, commit, answer) = self.held.lock().unwrap().pop_front().unwrap();
        let result = log.commit(commit).await;
        let _ = answer.send(result);
    }

    fn fail_all(&self) {
        for (_, _, answer) in self.held.lock().unwrap().drain(..) {
            let _ = answer.send(Err(io_error()));
        }
    }

    fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

fn io_error() -> StorageError {
    StorageError { kind: StorageErrorKind::Io, message: "the disk is on fire".into() }
}

struct SlowLog {
    inner: Arc<dyn StreamLog>,
    held: Arc<Mutex<VecDeque<Held>>>,
}

impl Storage for SlowStorage {
    fn load(&self, name: &str) -> Reply<Option<Loaded>> {
        let Reply::Ready(Some(Ok(loaded))) = self.inner.load(name) else { unreachable!() };
        Reply::ready(Ok(loaded.map(|loaded| self.slow(loaded))))
    }

    fn create(&self, stream: NewStream) -> Reply<Loaded> {
        let Reply::Ready(Some(made)) = self.inner.create(stream) else { unreachable!() };
        Reply::ready(made.map(|loaded| self.slow(loaded)))
    }

    fn delete(&self, name: &str, id: StreamId, removal: Removal) -> Reply<()> {
        self.inner.delete(name, id, removal)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Reply<Vec<Listed>> {
        self.inner.list(prefix, after, limit)
    }
}

impl SlowStorage {
    fn slow(&self, loaded: Loaded) -> Loaded {
        let log = Arc::new(SlowLog { inner: Arc::clone(&loaded.log), held: Arc::clone(&self.held) });
        Loaded { log, ..loaded }
    }
}

impl StreamLog for SlowLog {
    fn commit(&self, commit: Commit) -> Reply<()> {
        let (answer, answered) = oneshot::channel();
        self.held.lock().unwrap().push_back((Arc::clone(&self.inner), commit, answer));
        Reply::pending(async move { answered.await.unwrap_or_else(|_| Err(io_error())) })
    }

    fn read(&self, range: ReadRange) -> Reply<Piece> {
        self.inner.read(range)
    }

    fn append_after(&self, at: Position) -> Reply<Option<AppendShape>> {
        self.inner.append_after(at)
    }
}

async fn setup() -> (Arc<SlowStorage>, Engine) {
    let storage = Arc::new(SlowStorage::default());
    let engine = Engine::new(Arc::clone(&storage) as Arc<dyn Storage>, Arc::new(SystemClock));
    let request = CreateRequest { content_type: Some("text/plain".into()), ..CreateRequest::default() };
    engine.create("s", request).await.unwrap();
    (storage, engine)
}

fn append(body: &'static str) -> Append<'static> {
    Append::new("text/plain", Bytes::from_static(body.as_bytes()))
}

fn by(mut append: Append<'_>, seq: u64) -> Append<'_> {
    append.producer = Some(ProducerTag { id: Bytes::from_static(b"p"), epoch: 0, seq });
    append
}

/// Polls once, without a waker: what is not there at once stays pending.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn readers_see_only_what_is_durable() {
    let (storage, engine) = setup().await;
    let stream = engine.stream("s").await.unwrap();
    let mut first = Box::pin(stream.append(append("ab")));
    let mut last = append("cd");
    last.close = true;
    let mut second = Box::pin(stream.append(last));
    assert!(poll(&mut first).is_pending());
    assert!(poll(&mut second).is_pending());
    assert_eq!(storage.held(), 2, "the second does not wait for the first");
    assert_eq!((stream.tail().position, stream.tail().closed), (Position(0), false));
    assert!(stream.read(Position(0), 100).await.unwrap().is_empty());

    storage.release_one().await;
    assert_eq!(first.await.unwrap().next, Position(2));
    assert_eq!((stream.tail().position, stream.tail().closed), (Position(2), false));
    assert!(poll(&mut second).is_pending());

    storage.release_one().await;
    assert_eq!(second.await.unwrap().next, Position(4));
    assert_eq!((stream.tail().position, stream.tail().closed), (Position(4), true));
}

#[tokio::test]
async fn a_duplicate_is_not_confirmed_before_its_original() {
    let (storage, engine) = setup().await;
    let stream = engine.stream("s").await.unwrap();
    let mut original = Box::pin(stream.append(by(append("ab"), 0)));
    assert!(poll(&mut original).is_pending());
    let mut duplicate = Box::pin(stream.append(by(append("ab"), 0)));
    assert!(poll(&mut duplicate).is_pending());
    assert_eq!(storage.held(), 1);
    storage.release_one().await;
    assert_eq!(original.await.unwrap().outcome, Outcome::Appended);
    assert_eq!(duplicate.await.unwrap().outcome, Outcome::Duplicate);
}

#[tokio::test]
async fn a_refusal_that_rests_on_a_pending_commit_waits_for_it() {
    let (storage, engine) = setup().await;
    let stream = engine.stream("s").await.unwrap();
    let mut close = Box::pin(stream.append(Append::close_only()));
    assert!(poll(&mut close).is_pending());
    let mut late = Box::pin(stream.append(append("x")));
    assert!(poll(&mut late).is_pending());
    storage.release_one().await;
    close.await.unwrap();
    assert_eq!(late.await.unwrap_err(), EngineError::Closed { tail: Position(0) });
}

#[tokio::test]
async fn a_failed_commit_fails_what_follows_and_the_stream_is_loaded_anew() {
    let (storage, engine) = setup().await;
    let stream = engine.stream("s").await.unwrap();
    let mut kept = Box::pin(stream.append(by(append("ab"), 0)));
    assert!(poll(&mut kept).is_pending());
    storage.release_one().await;
    kept.await.unwrap();

    let follower = stream.follow();
    let seen = stream.tail();
    let mut lost = Box::pin(stream.append(by(append("cd"), 1)));
    let mut after = Box::pin(stream.append(by(append("ef"), 2)));
    let mut duplicate = Box::pin(stream.append(by(append("cd"), 1)));
    for pending in [&mut lost, &mut after, &mut duplicate] {
        assert!(poll(pending).is_pending());
    }
    storage.fail_all();
    for failed in [lost, after, duplicate] {
        assert_eq!(failed.await.unwrap_err(), EngineError::Storage(io_error()));
    }
    assert_eq!(follower.changed(seen).await.ended, Some(Ended::Reloaded));

    let stream = engine.stream("s").await.unwrap();
    assert_eq!(stream.tail().position, Position(2));
    let mut again = Box::pin(stream.append(by(append("cd"), 1)));
    assert!(poll(&mut again).is_pending());
    storage.release_one().await;
    assert_eq!(again.await.unwrap().next, Position(4));
}

#[tokio::test]
async fn an_append_whose_client_went_away_is_still_published() {
    let (storage, engine) = setup().await;
    let stream = engine.stream("s").await.unwrap();
    let follower = stream.follow();
    let seen = stream.tail();
    let mut abandoned = Box::pin(stream.append(append("ab")));
    assert!(poll(&mut abandoned).is_pending());
    drop(abandoned);
    storage.release_one().await;
    assert_eq!(follower.changed(seen).await.position, Position(2));
}

#[tokio::test]
async fn appends_of_a_connection_wait_for_the_disk_together_and_not_one_after_another() {
    let storage = Arc::new(SlowStorage::default());
    let server = support::quick().storage(Arc::clone(&storage) as Arc<dyn Storage>).start().await.unwrap();
    let client = support::Client(&server);
    client.put("s", &[support::TEXT], "").await;
    let mut connection = support::Connection::open(&server).await;
    for n in 0..20 {
        connection.start("POST", "/v1/stream/s", &[support::TEXT], n.to_string().as_bytes()).await;
    }
    connection.start("GET", "/v1/stream/s", &[], b"").await;
    support::eventually("all are under way", async || storage.held() == 20).await;
    assert_eq!(client.get("s").await.text(), "");
    let mut stored = String::new();
    for n in 0..20 {
        storage.release_one().await;
        assert_eq!(connection.answer(false).await.status, 204);
        stored += &n.to_string();
    }
    assert_eq!(connection.answer(false).await.text(), stored);
}

#[tokio::test]
async fn many_writers_each_get_their_own_place() {
    let engine = Engine::new(Arc::new(MemoryStorage::new()), Arc::new(SystemClock));
    let request = CreateRequest { content_type: Some("text/plain".into()), ..CreateRequest::default() };
    let stream = engine.create("s", request).await.unwrap().stream;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let stream = Arc::clone(&stream);
            tokio::spawn(async move {
                for n in 0..100 {
                    let body = Bytes::from(format!("{writer}:{n:02};"));
                    stream.append(Append::new("text/plain", body)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let result = stream.read(Position(0), usize::MAX).await.unwrap();
    let text = String::from_utf8(result.data.concat()).unwrap();
    for writer in 0..8 {
        let own: Vec<_> = text.split(';').filter(|part| part.starts_with(&format!("{writer}:"))).collect();
        let expected: Vec<_> = (0..100).map(|n| format!("{writer}:{n:02}")).collect();
        assert_eq!(own, expected);
    }
}

#[tokio::test]
async fn creates_that_race_for_a_name_agree_on_one_stream() {
    let engine = Engine::new(Arc::new(MemoryStorage::new()), Arc::new(SystemClock));
    let creates: Vec<_> = (0..16)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.create("s", CreateRequest::default()).await.unwrap() })
        })
        .collect();
    let (mut new, mut ids) = (0, std::collections::HashSet::new());
    for create in creates {
        let created = create.await.unwrap();
        new += usize::from(created.is_new);
        ids.insert(created.stream.meta().id);
    }
    assert_eq!((new, ids.len()), (1, 1));
}

#[tokio::test]
async fn a_stream_that_was_dropped_from_memory_comes_back_as_it_was() {
    let storage = Arc::new(MemoryStorage::new());
    let engine = Engine::new(Arc::clone(&storage) as Arc<dyn Storage>, Arc::new(SystemClock));
    let request = || CreateRequest { content_type: Some("text/plain".into()), ..CreateRequest::default() };
    let first = engine.create("first", request()).await.unwrap().stream;
    first.append(by(append("ab"), 0)).await.unwrap();
    let followed = first.follow();
    let at_rest = Arc::downgrade(&engine.create("at rest", request()).await.unwrap().stream);
    // More streams than the directory keeps without looking for some to drop.
    for n in 0..100_000 {
        engine.create(&n.to_string(), request()).await.unwrap();
    }
    assert_eq!(at_rest.strong_count(), 0, "nobody uses it");
    assert!(Arc::ptr_eq(&engine.stream("first").await.unwrap(), &first), "someone follows it");
    engine.stream("at rest").await.unwrap();

    let again = Engine::new(storage, Arc::new(SystemClock)).stream("first").await.unwrap();
    assert!(!Arc::ptr_eq(&again, &first));
    assert_eq!(again.tail(), first.tail());
    assert_eq!(again.append(by(append("ab"), 0)).await.unwrap().outcome, Outcome::Duplicate);
    drop(followed);
}

#[test]
fn a_payload_without_bytes_is_empty_in_every_format() {
    use everstream::proto::content_type::StreamFormat;
    for format in [StreamFormat::Binary, StreamFormat::Json, StreamFormat::Text] {
        assert_eq!(Payload::frame(format, Bytes::new()), Payload::Empty);
    }
}
