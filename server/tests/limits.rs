//! What the server lets clients do: sizes, counts, rates and times. A limit ends what goes beyond it and nothing else.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use everstream_server::config::{Config, Limits};
use everstream_server::storage::LogStorage;
use everstream_server::{RunningServer, Server, ServerBuilder};
use support::{Client, Connection, JSON, TEXT, request};

const SHORT: Duration = Duration::from_millis(100);

async fn limited(change: impl FnOnce(&mut Limits)) -> RunningServer {
    builder(change).start().await.unwrap()
}

fn builder(change: impl FnOnce(&mut Limits)) -> ServerBuilder {
    let mut config = Config::default();
    change(&mut config.limits);
    Server::builder().config(config).bind(([127, 0, 0, 1], 0))
}

#[tokio::test]
async fn a_head_that_is_begun_and_not_finished_ends_the_connection() {
    let server = limited(|limits| limits.header_timeout = SHORT).await;
    for begun in ["G", "GET /v1/stream/s HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r", "\r\n"] {
        let mut connection = Connection::open(&server).await;
        connection.send(begun.as_bytes()).await;
        // A preface is not a head; the connection is idle until its first request, and ends as such.
        if !begun.starts_with("PRI") {
            assert!(connection.ended().await, "{begun:?}");
        }
    }
    // The second request of a connection is watched as the first.
    let mut connection = Connection::open(&server).await;
    assert_eq!(connection.request("GET", "/healthz", &[], b"").await.status, 200);
    connection.send(b"GET /v1").await;
    assert!(connection.is_closed().await);
    // Between requests there is time, even if the next head comes piece by piece.
    let mut connection = Connection::open(&server).await;
    tokio::time::sleep(SHORT * 2).await;
    connection.send(b"GET /healthz HTTP/1.1\r\n").await;
    connection.send(b"host: x\r\n\r\n").await;
    assert_eq!(connection.answer(false).await.status, 200);
}

#[tokio::test]
async fn a_request_sent_behind_a_long_poll_is_no_unfinished_head() {
    let server = limited(|limits| limits.header_timeout = SHORT).await;
    Client(&server).put("s", &[TEXT], "").await;
    let mut connection = Connection::open(&server).await;
    connection.start("GET", "/v1/stream/s?offset=now&live=long-poll", &[], b"").await;
    connection.start("GET", "/v1/stream/s", &[], b"").await;
    tokio::time::sleep(SHORT * 3).await;
    Client(&server).post("s", &[TEXT], "x").await;
    assert_eq!(connection.answer(false).await.text(), "x");
    assert_eq!(connection.answer(false).await.text(), "x");
}

#[tokio::test]
async fn an_idle_connection_is_ended_and_a_waiting_one_is_not() {
    let server = limited(|limits| limits.idle_timeout = SHORT).await;
    Client(&server).put("s", &[TEXT], "").await;
    let mut silent = Connection::open(&server).await;
    let mut used = Connection::open(&server).await;
    assert_eq!(used.request("GET", "/healthz", &[], b"").await.status, 200);
    let mut waiting = Connection::open(&server).await;
    waiting.start("GET", "/v1/stream/s?offset=now&live=long-poll", &[], b"").await;
    assert!(silent.is_closed().await);
    assert!(used.is_closed().await);
    Client(&server).post("s", &[TEXT], "x").await;
    assert_eq!(waiting.answer(false).await.text(), "x");
}

#[tokio::test]
async fn a_body_that_does_not_get_on_is_given_up_and_appends_nothing() {
    let server = limited(|limits| limits.body_timeout = SHORT).await;
    Client(&server).put("s", &[TEXT], "").await;
    let mut slow = Connection::open(&server).await;
    slow.send(b"POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 9000\r\n\r\n")
        .await;
    slow.send(b"begun").await;
    let answer = slow.answer(false).await;
    assert_eq!((answer.status, answer.text()), (408, "the body did not arrive in time"));
    assert!(slow.ended().await);
    // One that gets on may take longer than that.
    let mut steady = Connection::open(&server).await;
    steady
        .send(b"POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 32768\r\n\r\n")
        .await;
    for _ in 0..8 {
        steady.send(&[b'x'; 4096]).await;
        tokio::time::sleep(SHORT / 3).await;
    }
    assert_eq!(steady.answer(false).await.status, 204);
    assert_eq!(Client(&server).get("s").await.body.len(), 32768);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let in_memory = limited(|limits| limits.write_timeout = SHORT).await;
    // Where the same is asked for again, answers go out of the file.
    let on_disk = builder(|limits| limits.write_timeout = SHORT);
    let on_disk = on_disk.storage(Arc::new(LogStorage::open(folder.path()).unwrap())).start().await.unwrap();
    for server in [in_memory, on_disk] {
        let client = Client(&server);
        client.put("s", &[TEXT], "").await;
        // More than the buffers of both sockets take.
        let piece = "x".repeat(1 << 20);
        for _ in 0..16 {
            client.post("s", &[TEXT], &piece).await;
        }
        for live in ["", "&live=sse"] {
            let mut stalled = Connection::open(&server).await;
            for _ in 0..16 {
                stalled.start("GET", &format!("/v1/stream/s?offset=-1{live}"), &[], b"").await;
            }
            support::eventually("the server gives up", async || stalled.is_cut().await).await;
        }
        assert_eq!(client.get("s").await.body.len(), 1 << 20);
    }
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_the_next_is_taken_when_one_has_gone() {
    let server = limited(|limits| limits.max_connections = 2).await;
    let mut first = Connection::open(&server).await;
    let mut second = Connection::open(&server).await;
    for connection in [&mut first, &mut second] {
        assert_eq!(connection.request("GET", "/healthz", &[], b"").await.status, 200);
    }
    let mut third = Connection::open(&server).await;
    let answer = third.answer(false).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(third.is_closed().await);
    assert_eq!(first.request("GET", "/healthz", &[], b"").await.status, 200);
    drop(first);
    support::eventually("a place is free", async || {
        let mut next = Connection::open(&server).await;
        next.start("GET", "/healthz", &[], b"").await;
        next.head_of().await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_full_stream_takes_no_more_but_closes_and_knows_repeats() {
    let server = limited(|limits| limits.max_stream_bytes = 10).await;
    let client = Client(&server);
    assert_eq!(client.put("big", &[TEXT], "0123456789a").await.status, 413);
    client.put("s", &[TEXT], "01234").await;
    let batch = [TEXT, ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    assert_eq!(client.post("s", &batch, "56789").await.status, 200);
    assert_eq!(client.post("s", &batch, "56789").await.status, 204, "a repeat is known in a full stream");
    let refused = client.post("s", &[TEXT], "a").await;
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("10 bytes"), "{}", refused.text());
    assert_eq!(client.get("s").await.text(), "0123456789");
    assert_eq!(client.post("s", &[("stream-closed", "true")], "").await.status, 204);
    // A fork's own bytes are counted, not those that it inherits.
    assert_eq!(client.put("fork", &[TEXT, ("stream-forked-from", "/v1/stream/s")], "").await.status, 201);
    assert_eq!(client.post("fork", &[TEXT], "0123456789").await.status, 204);
    assert_eq!(client.post("fork", &[TEXT], "a").await.status, 413);
}

#[tokio::test]
async fn a_stream_too_many_is_refused_until_one_is_deleted() {
    let server = limited(|limits| limits.max_streams = 2).await;
    let client = Client(&server);
    assert_eq!(client.put("a", &[TEXT], "").await.status, 201);
    assert_eq!(client.put("b", &[TEXT], "").await.status, 201);
    assert_eq!(client.put("c", &[TEXT], "").await.status, 507);
    assert_eq!(client.put("a", &[TEXT], "").await.status, 200, "what is there is no new stream");
    assert_eq!(client.put("d", &[JSON], "{").await.status, 400);
    assert_eq!(client.delete("a").await.status, 204);
    assert_eq!(client.put("c", &[TEXT], "").await.status, 201);
    assert_eq!(client.put("a", &[TEXT], "").await.status, 507);
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let server = limited(|limits| (limits.requests_per_second, limits.request_burst) = (1, 3)).await;
    let client = Client(&server);
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(client.head("none").await.status);
    }
    assert_eq!(statuses[..3], [404, 404, 404]);
    assert!(statuses[3..].contains(&429), "{statuses:?}");
    let refused = loop {
        let answer = client.get("none").await;
        if answer.status == 429 {
            break answer;
        }
    };
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    for free in ["/healthz", "/readyz"] {
        assert_eq!(request(&server, "GET", free, &[], b"").await.status, 200);
    }
}

#[tokio::test]
async fn uploads_share_a_budget() {
    let server = limited(|limits| limits.max_incoming_bytes = 200_000).await;
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let head = b"POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 1000000\r\n\r\n";
    let mut first = Connection::open(&server).await;
    first.send(head).await;
    first.send(&[b'x'; 150_000]).await;
    // Once its bytes have arrived, there is not enough left for another.
    let whole = "x".repeat(190_000);
    let mut refused = None;
    support::eventually("the budget is used up", async || {
        let answer = client.post("s", &[TEXT], &whole).await;
        let is_refused = answer.status == 503;
        refused = Some(answer);
        is_refused
    })
    .await;
    assert_eq!(refused.unwrap().header("retry-after"), Some("1"));
    drop(first);
    support::eventually("the budget is free again", async || client.post("s", &[TEXT], &whole).await.status == 204)
        .await;
}

#[tokio::test]
async fn while_readers_do_not_read_the_others_get_smaller_pieces() {
    let server = limited(|limits| limits.max_outgoing_bytes = 1 << 20).await;
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let piece = "x".repeat(16 << 10);
    for _ in 0..128 {
        client.post("s", &[TEXT], &piece).await;
    }
    assert_eq!(client.get("s").await.body.len(), 1 << 20);
    // They ask for more than the buffers of their sockets take.
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(&server).await;
        for _ in 0..24 {
            connection.start("GET", "/v1/stream/s", &[], b"").await;
        }
        stalled.push(connection);
    }
    support::eventually("pieces get smaller", async || client.get("s").await.body.len() == 64 << 10).await;
    drop(stalled);
    support::eventually("pieces are whole again", async || client.get("s").await.body.len() == 1 << 20).await;
}
