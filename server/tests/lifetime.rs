//! Expiry on a clock that the test moves, and forks: stitching, soft deletion, cascades.
#![allow(clippy::unwrap_used)]

mod support;

use everstream_server::RunningServer;
use std::sync::Arc;
use support::{Answer, Client, JSON, TEXT, TestClock, patient, quick};

async fn on_a_clock() -> (RunningServer, Arc<TestClock>) {
    let clock = TestClock::at(1_800_000_000_000);
    let server = quick().clock(Arc::clone(&clock) as Arc<_>).start().await.unwrap();
    (server, clock)
}

fn at(position: u64) -> String {
    format!("0000000000000000_{position:016}")
}

fn from(name: &str) -> (&'static str, String) {
    ("stream-forked-from", format!("/v1/stream/{name}"))
}

async fn fork(client: &Client<'_>, name: &str, source: &str, more: &[(&str, &str)]) -> Answer {
    let (header, path) = from(source);
    let mut headers = vec![(header, path.as_str())];
    headers.extend_from_slice(more);
    client.put(name, &headers, "").await
}

#[tokio::test]
async fn successful_reads_and_writes_restart_the_window_and_nothing_else_does() {
    let (server, clock) = on_a_clock().await;
    let client = Client(&server);
    client.put("s", &[TEXT, ("stream-ttl", "10")], "x").await;
    let producer = [TEXT, ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    let offset = format!("s?offset={}", at(1));
    for round in 0..5 {
        clock.advance(9_000);
        let status = match round {
            0 => client.get("s").await.status,
            1 => client.post("s", &producer, "y").await.status,
            2 => client.post("s", &producer, "y").await.status,
            3 => client.get("s?offset=now").await.status,
            _ => client.get(&offset).await.status,
        };
        assert!(status < 300, "round {round}: {status}");
    }
    clock.advance(9_000);
    client.head("s").await;
    client.put("s", &[TEXT, ("stream-ttl", "10")], "").await;
    client.post("s", &[JSON], "1").await;
    client.post("s", &[TEXT, ("producer-id", "p")], "1").await;
    client.get("s?offset=nonsense").await;
    clock.advance(1_000);
    assert_eq!(client.get("s").await.status, 404);
    assert_eq!(client.head("s").await.status, 404);
    assert_eq!(client.post("s", &[TEXT], "x").await.status, 404);
    assert_eq!(client.delete("s").await.status, 404);
}

#[tokio::test]
async fn closing_restarts_the_window_too() {
    let (server, clock) = on_a_clock().await;
    let client = Client(&server);
    client.put("s", &[TEXT, ("stream-ttl", "10")], "").await;
    clock.advance(9_000);
    assert_eq!(client.post("s", &[("stream-closed", "true")], "").await.status, 204);
    clock.advance(9_000);
    assert_eq!(client.head("s").await.status, 200);
    clock.advance(1_000);
    assert_eq!(client.head("s").await.status, 404);
}

#[tokio::test]
async fn a_deadline_stands_whatever_is_read_or_written() {
    let (server, clock) = on_a_clock().await;
    let client = Client(&server);
    // 1_800_000_000 is 2027-01-15T08:00:00Z.
    let deadline = ("stream-expires-at", "2027-01-15T09:00:10+01:00");
    client.put("s", &[TEXT, deadline], "x").await;
    clock.advance(9_999);
    assert_eq!(client.get("s").await.status, 200);
    assert_eq!(client.post("s", &[TEXT], "y").await.status, 204);
    let same = ("stream-expires-at", "2027-01-15T08:00:10Z");
    assert_eq!(client.put("s", &[TEXT, same], "").await.status, 200);
    clock.advance(1);
    assert_eq!(client.get("s").await.status, 404);
    let past = client.put("p", &[("stream-expires-at", "1999-01-01T00:00:00Z")], "").await;
    assert_eq!((past.status, client.head("p").await.status), (201, 404));
}

#[tokio::test]
async fn an_expired_path_is_free_for_any_configuration() {
    let (server, clock) = on_a_clock().await;
    let client = Client(&server);
    let first = client.put("s", &[TEXT, ("stream-ttl", "1")], "old").await;
    client.post("s", &[TEXT, ("stream-seq", "9")], "x").await;
    clock.advance(2_000);
    let second = client.put("s", &[JSON], "1").await;
    assert_eq!((second.status, second.offset()), (201, at(2)));
    assert_ne!(second.header("stream-incarnation"), first.header("stream-incarnation"));
    assert_eq!(client.get("s").await.text(), "[1]");
    assert_eq!(client.post("s", &[JSON, ("stream-seq", "1")], "2").await.status, 204);
    assert_eq!(client.put("z", &[("stream-ttl", "0")], "").await.status, 201);
    assert_eq!(client.head("z").await.status, 404);
}

#[tokio::test]
async fn the_reaper_removes_what_has_expired_and_only_that() {
    let (server, clock) = on_a_clock().await;
    let client = Client(&server);
    client.put("short", &[("stream-ttl", "1")], "").await;
    client.put("long", &[("stream-ttl", "100")], "").await;
    client.put("ever", &[], "").await;
    clock.advance(1_000);
    server.engine().sweep().await;
    let names = async || {
        let page = server.engine().list("", None, 10).await.unwrap();
        page.iter().map(|listed| listed.meta.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["ever", "long"]);
    clock.advance(60_000);
    client.get("long").await;
    clock.advance(60_000);
    server.engine().sweep().await;
    assert_eq!(names().await, ["ever", "long"], "its entry in the queue was older than its deadline");
    clock.advance(40_000);
    server.engine().sweep().await;
    assert_eq!(names().await, ["ever"]);
}

#[tokio::test]
async fn a_stream_with_a_live_reader_does_not_run_out() {
    let clock = TestClock::at(1_800_000_000_000);
    let server = patient().clock(Arc::clone(&clock) as Arc<_>).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT, ("stream-ttl", "10")], "").await;
    let (mut events, _) = client.sse("s?offset=now&live=sse").await;
    events.events(1).await;
    for _ in 0..5 {
        clock.advance(60_000);
        server.engine().sweep().await;
        assert_eq!(client.head("s").await.status, 200);
    }
    drop(events);
    // HEAD touches nothing, so once the reader is gone the window runs out.
    support::eventually("the reader is gone and the window over", async || {
        clock.advance(10_000);
        client.head("s").await.status == 404
    })
    .await;
}

#[tokio::test]
async fn a_fork_reads_what_it_inherited_and_then_its_own() {
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("a", &[JSON], "[1,2]").await;
    client.post("a", &[JSON], "[3,4,5]").await;
    let offset = at(4);
    let made = fork(&client, "b", "a", &[("stream-fork-offset", &offset), ("stream-fork-sub-offset", "2")]).await;
    assert_eq!((made.status, made.offset()), (201, at(8)));
    assert_eq!(made.header("content-type"), Some("application/json"));
    assert_eq!((made.header("stream-forked-from"), made.header("stream-fork-offset")), (None, None));
    assert_eq!(client.get("b").await.text(), "[1,2,3,4]");
    client.post("b", &[JSON], "6").await;
    client.post("a", &[JSON], "7").await;
    assert_eq!(client.get("b").await.text(), "[1,2,3,4,6]");
    assert_eq!(client.get("a").await.text(), "[1,2,3,4,5,7]");
    let at_end = client.get(&format!("b?offset={}", made.offset())).await;
    assert_eq!(at_end.text(), "[6]");

    let deeper = fork(&client, "c", "b", &[("stream-fork-offset", &at(2)), ("stream-fork-sub-offset", "1")]).await;
    assert_eq!((deeper.status, deeper.offset()), (201, at(4)));
    client.post("c", &[JSON], "8").await;
    assert_eq!(client.get("c").await.text(), "[1,2,8]");
    let repeat = fork(&client, "c", "b", &[("stream-fork-sub-offset", "1")]).await;
    assert_eq!(repeat.status, 200);
    assert_eq!(fork(&client, "c", "b", &[]).await.status, 409);
}

#[tokio::test]
async fn a_byte_fork_may_cut_a_message_at_every_level() {
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("a", &[TEXT], "abcdef").await;
    let sub = |count: &'static str| [("stream-fork-offset", "0_0"), ("stream-fork-sub-offset", count)];
    assert_eq!(fork(&client, "b", "a", &sub("4")).await.offset(), at(4));
    assert_eq!(fork(&client, "c", "b", &sub("2")).await.offset(), at(2));
    assert_eq!(fork(&client, "x", "b", &sub("5")).await.status, 400, "b has only four bytes there");
    assert_eq!(fork(&client, "x", "a", &sub("7")).await.status, 400);
    client.post("b", &[TEXT], "B").await;
    client.post("c", &[TEXT], "C").await;
    assert_eq!(client.get("b").await.text(), "abcdB");
    assert_eq!(client.get("c").await.text(), "abC");
    assert_eq!(client.get(&format!("c?offset={}", at(2))).await.text(), "C");
    assert_eq!(client.head("x").await.status, 404);
}

#[tokio::test]
async fn forks_start_open_with_fresh_producers_and_do_not_hear_their_source() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    let producer = [TEXT, ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0"), ("stream-seq", "z")];
    client.put("a", &[TEXT], "x").await;
    client.post("a", &producer, "y").await;
    client.post("a", &[("stream-closed", "true")], "").await;
    let made = fork(&client, "b", "a", &[]).await;
    assert_eq!((made.status, made.header("stream-closed")), (201, None));
    assert_eq!(client.post("b", &producer, "z").await.status, 200);
    assert_eq!(client.get("b").await.text(), "xyz");
    client.put("o", &[TEXT], "x").await;
    fork(&client, "p", "o", &[]).await;
    client.post("o", &[TEXT], "late").await;
    assert_eq!(client.get("p?offset=now&live=long-poll").await.status, 204);
    assert_eq!(client.get("p?offset=-1&live=long-poll").await.text(), "x");
}

#[tokio::test]
async fn a_deleted_source_is_gone_but_feeds_its_forks_until_the_last_goes() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("a", &[TEXT], "1").await;
    fork(&client, "b", "a", &[]).await;
    client.post("b", &[TEXT], "2").await;
    fork(&client, "c", "b", &[]).await;
    client.post("c", &[TEXT], "3").await;
    assert_eq!(client.delete("a").await.status, 204);
    assert_eq!(client.delete("b").await.status, 204);
    for name in ["a", "b"] {
        assert_eq!(client.get(name).await.status, 410);
        assert_eq!(client.head(name).await.status, 410);
        assert_eq!(client.post(name, &[TEXT], "x").await.status, 410);
        assert_eq!(client.post(name, &[("stream-closed", "true")], "").await.status, 410);
        assert_eq!(client.delete(name).await.status, 410);
        assert_eq!(client.put(name, &[TEXT], "").await.status, 409);
        assert_eq!(fork(&client, "x", name, &[]).await.status, 409);
    }
    assert_eq!(fork(&client, "c", "b", &[]).await.status, 200, "a repeat needs no source");
    assert_eq!(client.get("c").await.text(), "123");
    assert_eq!(client.delete("c").await.status, 204);
    for name in ["a", "b", "c"] {
        assert_eq!(client.get(name).await.status, 404, "{name}");
    }
    assert!(server.engine().list("", None, 9).await.unwrap().is_empty());
    assert_eq!(client.put("a", &[TEXT], "").await.status, 201);
}

#[tokio::test]
async fn a_source_that_nobody_deleted_survives_its_forks() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("a", &[TEXT], "1").await;
    fork(&client, "b", "a", &[]).await;
    let rejected = fork(&client, "c", "a", &[("stream-fork-offset", "0_9")]).await;
    assert_eq!(rejected.status, 400);
    assert_eq!(fork(&client, "d", "a", &[JSON]).await.status, 409);
    client.delete("b").await;
    assert_eq!(client.get("a").await.text(), "1");
    assert_eq!(client.delete("a").await.status, 204);
    assert_eq!(client.get("a").await.status, 404, "rejected forks left no reference behind");
}

#[tokio::test]
async fn expiry_of_forks_and_sources_follows_the_rules_of_deletion() {
    let (server, clock) = on_a_clock().await;
    let client = Client(&server);
    client.put("a", &[TEXT, ("stream-ttl", "10")], "1").await;
    fork(&client, "b", "a", &[("stream-ttl", "30")]).await;
    assert_eq!(client.head("b").await.header("stream-ttl"), Some("30"));
    clock.advance(10_000);
    assert_eq!(client.get("a").await.status, 410, "expired, but its fork lives");
    assert_eq!(client.put("a", &[TEXT, ("stream-ttl", "10")], "").await.status, 409);
    server.engine().sweep().await;
    assert_eq!(client.get("a").await.status, 410);
    assert_eq!(client.get("b").await.text(), "1");
    clock.advance(30_000);
    server.engine().sweep().await;
    assert_eq!((client.get("b").await.status, client.get("a").await.status), (404, 404));
    assert!(server.engine().list("", None, 9).await.unwrap().is_empty());
}
