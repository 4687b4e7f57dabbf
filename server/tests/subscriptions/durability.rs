//! Restarts, and storages that fail: no wake is lost, and nothing leaves the server before it is stored (S-SUB-12).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use everstream_server::clock::SystemClock;
use everstream_server::engine::{Append, AppendShape, Commit, CreateRequest, Engine, Position, Removal};
use everstream_server::storage::{
    Listed, Loaded, MemoryStorage, NewStream, Piece, ReadRange, Reply, Storage, StorageError, StorageErrorKind,
    StreamId, StreamLog,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::receiver::Receiver;
use crate::support::eventually;
use crate::{Json as _, World, ack, acked_offset, code, entry, pull, token};

/// Memory whose journal of subscriptions can be made to wait or to fail.
struct Fragile {
    inner: MemoryStorage,
    journal: Arc<Journal>,
}

struct Journal {
    fails: AtomicBool,
    /// Commits go on when this is true.
    open: watch::Sender<bool>,
    waiting: AtomicUsize,
}

impl Fragile {
    fn new() -> Arc<Self> {
        let journal =
            Journal { fails: AtomicBool::new(false), open: watch::Sender::new(true), waiting: AtomicUsize::new(0) };
        Arc::new(Self { inner: MemoryStorage::new(), journal: Arc::new(journal) })
    }

    fn wrap(&self, loaded: Loaded) -> Loaded {
        if !loaded.meta.name.starts_with("__ds/subscriptions/") {
            return loaded;
        }
        let log = Arc::new(FragileLog { inner: Arc::clone(&loaded.log), journal: Arc::clone(&self.journal) });
        Loaded { log, ..loaded }
    }

    fn fail(&self, fails: bool) {
        self.journal.fails.store(fails, Ordering::SeqCst);
    }
}

fn broken() -> StorageError {
    StorageError { kind: StorageErrorKind::Io, message: "the disk is on fire".into() }
}

impl Storage for Fragile {
    fn load(&self, name: &str) -> Reply<Option<Loaded>> {
        let Reply::Ready(Some(Ok(loaded))) = self.inner.load(name) else { unreachable!() };
        Reply::ready(Ok(loaded.map(|loaded| self.wrap(loaded))))
    }

    fn create(&self, stream: NewStream) -> Reply<Loaded> {
        let Reply::Ready(Some(made)) = self.inner.create(stream) else { unreachable!() };
        Reply::ready(made.map(|loaded| self.wrap(loaded)))
    }

    fn delete(&self, name: &str, id: StreamId, removal: Removal) -> Reply<()> {
        self.inner.delete(name, id, removal)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Reply<Vec<Listed>> {
        self.inner.list(prefix, after, limit)
    }
}

struct FragileLog {
    inner: Arc<dyn StreamLog>,
    journal: Arc<Journal>,
}

impl StreamLog for FragileLog {
    fn commit(&self, commit: Commit) -> Reply<()> {
        let (inner, journal) = (Arc::clone(&self.inner), Arc::clone(&self.journal));
        Reply::pending(async move {
            journal.waiting.fetch_add(1, Ordering::SeqCst);
            let _ = journal.open.subscribe().wait_for(|open| *open).await;
            if journal.fails.load(Ordering::SeqCst) { Err(broken()) } else { inner.commit(commit).await }
        })
    }

    fn read(&self, range: ReadRange) -> Reply<Piece> {
        self.inner.read(range)
    }

    fn append_after(&self, at: Position) -> Reply<Option<AppendShape>> {
        self.inner.append_after(at)
    }
}

fn webhook(receiver: &Receiver) -> Value {
    json!({"type": "webhook", "pattern": "events/*", "webhook": {"url": receiver.url()}, "lease_ttl_ms": 1000})
}

/// Appends while no server looks, as one does that ends before it could write down what follows.
async fn append_unseen(world: &World, path: &str) {
    let engine = Engine::new(Arc::clone(&world.storage), Arc::new(SystemClock));
    let request = CreateRequest { content_type: Some("application/json".into()), ..CreateRequest::default() };
    engine.create(path, request).await.unwrap();
    let append = Append::new("application/json", "[1]".into());
    engine.stream(path).await.unwrap().append(append).await.unwrap();
}

#[tokio::test]
async fn s_sub_12_subscriptions_cursors_and_generations_outlive_a_restart() {
    let world = World::default();
    let api = world.start().await;
    api.put("s", &pull("events/*")).await;
    let tail = api.stream("events/a", "[1]").await;
    let work = api.claim("s").await;
    api.post("s", "ack", token(&work), &ack(&work, &[("events/a", &tail)], true)).await;
    api.append("events/a", "[2]").await;
    let held = api.claim("s").await;
    assert_eq!(held["generation"], 2);
    api.put("gone", &pull("other/*")).await;
    api.call("DELETE", "__ds/subscriptions/gone", None, "").await;
    let before = api.get("s").await;
    api.0.shutdown().await;

    let api = world.start().await;
    assert_eq!(api.get("s").await, before);
    assert_eq!(api.call("GET", "__ds/subscriptions/gone", None, "").await.status, 404);
    assert_eq!(api.post("s", "claim", None, &json!({"worker": "x"})).await.code(), code(409, "ALREADY_CLAIMED"));
    // The lease and its token are good still.
    let tail = entry(&held, "events/a")["tail_offset"].as_str().unwrap().to_owned();
    let done = api.post("s", "ack", token(&held), &ack(&held, &[("events/a", &tail)], true)).await;
    assert_eq!((done.status, done.json()), (200, json!({"ok": true, "next_wake": false})));
}

#[tokio::test]
async fn s_hook_7_a_retry_that_is_due_after_a_restart_comes_at_its_time() {
    let mut receiver = Receiver::start().await;
    let world = World::default();
    let api = world.start().await;
    api.put("s", &webhook(&receiver)).await;
    receiver.answer("503 Busy", "");
    let tail = api.stream("events/a", "[1]").await;
    let first = receiver.next().await.json();
    eventually("failed", async || api.get("s").await["status"] == "failed").await;
    api.0.shutdown().await;

    let api = world.start().await;
    assert_eq!(api.get("s").await["status"], "failed");
    // The first delay is at least 800 ms: until then the server, which looks, finds nothing due.
    world.clock.advance(799);
    api.append("events/a", "[2]").await;
    assert!(receiver.is_empty());
    world.clock.advance(401);
    receiver.answer("200 OK", r#"{"done":true}"#);
    let again = receiver.next().await.json();
    assert_eq!((&again["wake_id"], &again["generation"]), (&first["wake_id"], &first["generation"]));
    assert_eq!(entry(&again, "events/a")["tail_offset"], tail, "S-WAKE-2: the snapshot of the wake");
    assert_eq!(receiver.next().await.json()["generation"], 2, "and then what came since");
}

#[tokio::test]
async fn a_wake_that_may_not_have_arrived_is_sent_again_after_a_restart() {
    let mut receiver = Receiver::start().await;
    let world = World::default();
    let api = world.start().await;
    api.put("s", &webhook(&receiver)).await;
    api.put("p", &pull("events/*")).await;
    api.stream("wakes", "").await;
    // The delivery is under way when the server stops.
    receiver.hang();
    api.stream("events/a", "[1]").await;
    let first = receiver.next().await.json();
    api.wakes("wakes", 1).await;
    api.0.shutdown().await;

    let api = world.start().await;
    let again = receiver.next().await.json();
    assert_eq!((&again["wake_id"], &again["generation"]), (&first["wake_id"], &first["generation"]));
    // The wake event is stored once, however often it is announced.
    api.append("events/a", "[2]").await;
    api.claim("p").await;
    api.wakes("wakes", 1).await;
}

#[tokio::test]
async fn what_was_appended_while_nobody_looked_wakes_at_the_next_start() {
    let mut receiver = Receiver::start().await;
    let world = World::default();
    let api = world.start().await;
    let old = api.stream("events/old", "[1]").await;
    let body = json!({
        "type": "webhook", "pattern": "events/*", "streams": ["named", "missing"], "webhook": {"url": receiver.url()},
    });
    api.put("s", &body).await;
    api.0.shutdown().await;
    for path in ["events/old", "events/new", "named", "other"] {
        append_unseen(&world, path).await;
    }
    // In one wake or in several.
    receiver.answer("200 OK", r#"{"done":true}"#);
    let _api = world.start().await;
    let mut pending = Vec::new();
    while pending.len() < 3 {
        let work = receiver.next().await.json();
        assert_eq!(entry(&work, "missing")["has_pending"], false);
        let streams = work["streams"].as_array().unwrap().iter().filter(|stream| stream["has_pending"] == true);
        pending.extend(streams.map(|stream| (stream["path"].clone(), stream["acked_offset"].clone())));
    }
    pending.sort_by_key(|(path, _)| path.to_string());
    let zero = json!("0000000000000000_0000000000000000");
    let expected = [("events/new", json!("-1")), ("events/old", json!(old)), ("named", zero)];
    assert_eq!(pending, expected.map(|(path, offset)| (json!(path), offset)));
}

#[tokio::test]
async fn nothing_leaves_before_it_is_stored() {
    let mut receiver = Receiver::start().await;
    let storage = Fragile::new();
    let world = World::over(Arc::clone(&storage) as _);
    let api = world.start().await;
    api.put("s", &webhook(&receiver)).await;
    storage.journal.open.send_replace(false);
    let waiting = storage.journal.waiting.load(Ordering::SeqCst);
    api.stream("events/a", "[1]").await;
    eventually("the wake is written", async || storage.journal.waiting.load(Ordering::SeqCst) > waiting).await;
    assert!(receiver.is_empty());
    storage.journal.open.send_replace(true);
    let work = receiver.next().await.json();

    // Nor is an ack confirmed.
    storage.journal.open.send_replace(false);
    let done = ack(&work, &[], true);
    let mut answer = Box::pin(api.post("s", "callback", token(&work), &done));
    let waiting = storage.journal.waiting.load(Ordering::SeqCst);
    tokio::select! {
        answer = &mut answer => panic!("confirmed: {}", answer.text()),
        () = eventually("the ack is written", async || storage.journal.waiting.load(Ordering::SeqCst) > waiting) => {}
    }
    storage.journal.open.send_replace(true);
    assert_eq!(answer.await.status, 200);
}

#[tokio::test]
async fn when_the_journal_fails_nothing_is_confirmed_and_nothing_is_lost() {
    let storage = Fragile::new();
    let world = World::over(Arc::clone(&storage) as _);
    let api = world.start().await;
    api.stream("wakes", "").await;
    api.put("s", &pull("events/*")).await;
    let tail = api.stream("events/a", "[1]").await;
    let work = api.claim("s").await;
    storage.fail(true);
    let done = ack(&work, &[("events/a", &tail)], true);
    assert_eq!(api.post("s", "ack", token(&work), &done).await.code(), code(503, "STORAGE_FAILED"));
    assert_eq!(api.put("t", &pull("events/*")).await.code(), code(503, "STORAGE_FAILED"));
    // Streams do not depend on it.
    api.append("events/a", "[2]").await;
    let new = api.stream("events/b", "[1]").await;
    storage.fail(false);
    eventually("the journal is back", async || {
        let answer = api.call("GET", "__ds/subscriptions/s", None, "").await;
        answer.status == 200 && acked_offset(&answer.json(), "events/b").is_some()
    })
    .await;
    let view = api.get("s").await;
    assert_eq!(acked_offset(&view, "events/a").as_deref(), Some("-1"), "the ack was not confirmed");
    assert_eq!(api.call("GET", "__ds/subscriptions/t", None, "").await.status, 404);
    // The same request again is what happens.
    let answer = api.post("s", "ack", token(&work), &done).await;
    assert_eq!((answer.status, answer.json()["next_wake"].clone()), (200, json!(true)));
    let next = api.claim("s").await;
    assert_eq!(entry(&next, "events/b")["tail_offset"], new);
}

/// The names of the internal streams.
fn journals(storage: &dyn Storage) -> Vec<String> {
    let Reply::Ready(Some(Ok(listed))) = storage.list("__ds/subscriptions/", None, 100) else { unreachable!() };
    listed.iter().map(|listed| listed.meta.name.to_string()).collect()
}

#[tokio::test]
async fn the_journal_is_replaced_when_it_has_outgrown_what_it_says() {
    let world = World::default();
    let api = world.start().await;
    let long = "x".repeat(20_000);
    let mut body = pull("events/*");
    body["description"] = json!(long);
    for _ in 0..60 {
        assert_eq!(api.put("s", &body).await.status, 201);
        assert_eq!(api.call("DELETE", "__ds/subscriptions/s", None, "").await.status, 204);
    }
    api.put("s", &body).await;
    let names = journals(&*world.storage);
    assert_eq!(names.len(), 1, "{names:?}");
    let number = u64::from_str_radix(names[0].rsplit('/').next().unwrap(), 16).unwrap();
    assert!((2..10).contains(&number), "{number}");
    let before = api.get("s").await;
    api.0.shutdown().await;
    assert_eq!(world.start().await.get("s").await, before);
}

#[tokio::test]
async fn a_new_journal_counts_even_if_the_old_one_is_still_there() {
    let world = World::default();
    let api = world.start().await;
    api.put("s", &pull("events/*")).await;
    api.0.shutdown().await;
    let engine = Engine::new(Arc::clone(&world.storage), Arc::new(SystemClock));
    let body = r#"[{"subscriptions_format":1}]"#;
    let request =
        CreateRequest { content_type: Some("application/json".into()), body: body.into(), ..CreateRequest::default() };
    engine.create("__ds/subscriptions/0000000000000002", request).await.unwrap();
    let api = world.start().await;
    assert_eq!(api.call("GET", "__ds/subscriptions/s", None, "").await.status, 404);
    assert_eq!(journals(&*world.storage), ["__ds/subscriptions/0000000000000002"]);
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_keeps_the_server_from_starting() {
    for (body, why) in [
        (r#"[{"subscriptions_format":2}]"#, "its format is 2, not 1"),
        ("[{\"other\":1}]", "subscriptions_format"),
        (r#"[{"subscriptions_format":1},{"id":"s","nonsense":true}]"#, "cannot be used"),
    ] {
        let world = World::default();
        let engine = Engine::new(Arc::clone(&world.storage), Arc::new(SystemClock));
        let content_type = Some("application/json".into());
        let request = CreateRequest { content_type, body: body.into(), ..CreateRequest::default() };
        engine.create("__ds/subscriptions/0000000000000001", request).await.unwrap();
        let started = crate::support::quick().storage(Arc::clone(&world.storage)).start().await;
        let error = started.err().unwrap().to_string();
        assert!(error.contains(why) && error.contains("__ds/subscriptions/0000000000000001"), "{error}");
    }
}

#[tokio::test]
async fn deleting_and_making_a_subscription_anew_does_not_silence_its_wake_stream() {
    let world = World::default();
    let api = world.start().await;
    api.stream("wakes", "").await;
    api.stream("events/a", "").await;
    for round in 1..=3 {
        api.put("s", &pull("events/*")).await;
        api.append("events/a", "[1]").await;
        let events = api.wakes("wakes", round).await;
        assert_eq!(events.last().unwrap()["generation"], 1);
        api.call("DELETE", "__ds/subscriptions/s", None, "").await;
    }
}
