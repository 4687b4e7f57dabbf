//! The registry stream: complete, by whatever cause streams come and go.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use everstream_server::RunningServer;
use everstream_server::config::Config;
use everstream_server::engine::CreateRequest;
use everstream_server::storage::MemoryStorage;
use serde_json::Value;
use support::{Client, JSON, TEXT, TestClock, eventually, quick};

/// The events so far.
async fn events(server: &RunningServer) -> Vec<Value> {
    let answer = Client(server).get("__registry__").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    serde_json::from_slice(&answer.body).unwrap()
}

/// The streams that the events leave.
async fn streams(server: &RunningServer) -> BTreeSet<String> {
    let mut streams = BTreeSet::new();
    for event in events(server).await {
        let key = event["key"].as_str().unwrap().to_owned();
        match event["headers"]["operation"].as_str().unwrap() {
            "insert" => assert!(streams.insert(key.clone()), "{key} twice"),
            "delete" => assert!(streams.remove(&key), "{key} was not there"),
            other => panic!("{other}"),
        }
    }
    streams
}

async fn until_there_are(server: &RunningServer, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    let what = format!("{expected:?}");
    eventually(&what, async || streams(server).await == expected).await;
}

#[tokio::test]
async fn it_has_what_was_there_before_it_was_asked_for_and_itself() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("a/b", &[TEXT], "x").await;
    client.put("gone", &[TEXT], "").await;
    client.delete("gone").await;
    until_there_are(&server, &["__registry__", "a/b"]).await;
    let all = events(&server).await;
    let event = all.iter().find(|event| event["key"] == "a/b").unwrap();
    assert_eq!(event["type"], "stream");
    assert_eq!(event["value"]["path"], "a/b");
    assert_eq!(event["value"]["contentType"], "text/plain");
    assert!(event["value"]["createdAt"].as_u64().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn creates_and_deletes_are_followed_and_repeats_are_not() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    assert_eq!(client.head("__registry__").await.status, 200);
    for _ in 0..2 {
        client.put("a", &[TEXT], "").await;
    }
    client.put("b", &[JSON], "").await;
    until_there_are(&server, &["__registry__", "a", "b"]).await;
    client.delete("a").await;
    client.delete("a").await;
    until_there_are(&server, &["__registry__", "b"]).await;
    client.put("a", &[TEXT], "").await;
    until_there_are(&server, &["__registry__", "a", "b"]).await;
    assert_eq!(events(&server).await.len(), 5);
}

#[tokio::test]
async fn expiry_and_the_end_of_forks_are_in_it() {
    let clock = TestClock::at(1_800_000_000_000);
    let server = quick().clock(Arc::clone(&clock) as Arc<_>).start().await.unwrap();
    let client = Client(&server);
    client.head("__registry__").await;
    client.put("short", &[TEXT, ("stream-ttl", "5")], "").await;
    client.put("source", &[TEXT], "x").await;
    client.put("fork", &[("stream-forked-from", "/v1/stream/source")], "").await;
    until_there_are(&server, &["__registry__", "short", "source", "fork"]).await;
    clock.advance(5_000);
    until_there_are(&server, &["__registry__", "source", "fork"]).await;
    // Its path answers 410 from here on, though its data is kept for the fork.
    client.delete("source").await;
    until_there_are(&server, &["__registry__", "fork"]).await;
    // With the fork goes the source, which is not said twice.
    client.delete("fork").await;
    until_there_are(&server, &["__registry__"]).await;
    client.put("source", &[TEXT], "").await;
    until_there_are(&server, &["__registry__", "source"]).await;
}

#[tokio::test]
async fn what_a_crash_left_out_is_made_up_for_at_the_next_start() {
    let storage = Arc::new(MemoryStorage::new());
    let start = async |registry: bool| {
        let mut config = Config::default();
        config.server.port = 0;
        config.server.registry = registry;
        let server = everstream_server::Server::builder().config(config).storage(Arc::clone(&storage) as Arc<_>);
        server.start().await.unwrap()
    };
    let server = start(true).await;
    let client = Client(&server);
    for name in ["stays", "goes", "again"] {
        client.put(name, &[TEXT], "").await;
    }
    until_there_are(&server, &["__registry__", "stays", "goes", "again"]).await;
    server.shutdown().await;
    // Nobody keeps the registry meanwhile, as after a crash before its events were stored.
    let server = start(false).await;
    let client = Client(&server);
    client.delete("goes").await;
    client.put("new", &[TEXT], "").await;
    client.delete("again").await;
    let since = client.get("again").await.status;
    assert_eq!(since, 404);
    client.put("again", &[JSON], "").await;
    server.shutdown().await;
    let server = start(true).await;
    until_there_are(&server, &["__registry__", "stays", "new", "again"]).await;
}

#[tokio::test]
async fn only_the_server_writes_it() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    assert_eq!(client.put("__registry__", &[JSON], "").await.status, 200, "as the official page does");
    assert_eq!(client.put("__registry__", &[TEXT], "").await.status, 409);
    assert_eq!(client.post("__registry__", &[JSON], "{}").await.status, 405);
    assert_eq!(client.delete("__registry__").await.status, 405);
    until_there_are(&server, &["__registry__"]).await;
}

#[tokio::test]
async fn switched_off_it_is_a_stream_like_any_other() {
    let mut config = Config::default();
    config.server.port = 0;
    config.server.registry = false;
    let server = everstream_server::Server::builder().config(config).start().await.unwrap();
    let client = Client(&server);
    assert_eq!(client.get("__registry__").await.status, 404);
    assert_eq!(client.put("__registry__", &[TEXT], "").await.status, 201);
    assert_eq!(client.post("__registry__", &[TEXT], "x").await.status, 204);
}

/// What a follower knows that reads from an offset on, and from the beginning when the registry is another one.
#[derive(Default)]
struct Follower {
    incarnation: Option<String>,
    offset: Option<String>,
    streams: BTreeSet<String>,
    most_events: usize,
    anew: usize,
}

impl Follower {
    async fn poll(&mut self, server: &RunningServer) {
        let from = self.offset.as_deref().unwrap_or("-1");
        let answer = Client(server).get(&format!("__registry__?offset={from}")).await;
        let incarnation = answer.header("stream-incarnation").map(str::to_owned);
        if answer.status != 200 || (self.incarnation.is_some() && self.incarnation != incarnation) {
            self.anew += 1;
            *self = Self { anew: self.anew, most_events: self.most_events, ..Self::default() };
            return;
        }
        self.incarnation = incarnation;
        let events: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
        self.most_events = self.most_events.max(events.len());
        for event in events {
            let key = event["key"].as_str().unwrap().to_owned();
            match event["headers"]["operation"].as_str().unwrap() {
                "insert" => assert!(self.streams.insert(key.clone()), "{key} twice"),
                _ => assert!(self.streams.remove(&key), "{key} was not there"),
            }
        }
        self.offset = Some(answer.offset());
    }
}

#[tokio::test]
async fn it_does_not_grow_without_end_and_followers_miss_nothing() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("stays", &[TEXT], "").await;
    let mut follower = Follower::default();
    follower.poll(&server).await;
    let engine = server.engine().clone();
    let mut churned = 0;
    while churned < 30_000 {
        for number in churned..churned + 500 {
            let request = CreateRequest { content_type: Some("text/plain".into()), ..CreateRequest::default() };
            engine.create(&format!("s/{number}"), request).await.unwrap();
            if number % 1000 != 0 {
                engine.delete(&format!("s/{number}")).await.unwrap();
            }
        }
        churned += 500;
        follower.poll(&server).await;
    }
    let mut expected: BTreeSet<String> = (0..30).map(|number| format!("s/{}", number * 1000)).collect();
    expected.extend(["__registry__".to_owned(), "stays".to_owned()]);
    eventually("the follower knows all streams", async || {
        follower.poll(&server).await;
        follower.streams == expected
    })
    .await;
    assert!(follower.anew > 0, "it was begun anew");
    assert!(events(&server).await.len() < 15_000, "60,000 events came");
    // And it goes on.
    client.delete("stays").await;
    expected.remove("stays");
    until_there_are(&server, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}
