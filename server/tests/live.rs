//! Live reads: waking, ending, closing, and the bytes of SSE; then graceful shutdown.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use everstream_server::config::Config;
use everstream_server::{RunningServer, Server};
use support::{Answer, Client, Connection, JSON, TEXT, TestClock, eventually, patient, quick};

fn at(position: u64) -> String {
    format!("0000000000000000_{position:016}")
}

/// 50 intervals after the beginning of cursors.
const NOW: u64 = 1_728_432_000_000 + 50 * 20_000;

fn control(position: u64, rest: &str) -> String {
    format!("event: control\ndata:{{\"streamNextOffset\":\"{}\"{rest}}}\n\n", at(position))
}

const OPEN: &str = ",\"streamCursor\":\"50\",\"upToDate\":true";
const END: &str = ",\"streamClosed\":true,\"upToDate\":true";

async fn holders(server: &RunningServer, name: &str) -> usize {
    Arc::strong_count(&server.engine().stream(name).await.unwrap())
}

/// Starts a long-poll and waits until the server is working on it.
async fn long_poll(server: &RunningServer, name: &str, query: &str) -> Connection {
    let idle = holders(server, name).await;
    let mut connection = Connection::open(server).await;
    let path = format!("/v1/stream/{name}?live=long-poll&{query}");
    connection.start("GET", &path, &[], b"").await;
    eventually("the long-poll waits", async || holders(server, name).await > idle).await;
    connection
}

#[tokio::test]
async fn a_long_poll_returns_what_exists_at_once_and_what_comes_when_it_comes() {
    let server = patient().clock(TestClock::at(NOW)).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "old").await;
    let existing = client.get("s?offset=-1&live=long-poll").await;
    assert_eq!((existing.status, existing.text(), existing.header("stream-cursor")), (200, "old", Some("50")));
    assert_eq!(existing.header("stream-up-to-date"), Some("true"));
    assert!(existing.header("etag").is_some());
    let mut waiting = long_poll(&server, "s", "offset=now").await;
    client.post("s", &[TEXT], "new").await;
    let woken = waiting.answer(false).await;
    assert_eq!((woken.status, woken.text(), woken.offset()), (200, "new", at(6)));
    assert_eq!((woken.header("stream-up-to-date"), woken.header("etag")), (Some("true"), None));
}

#[tokio::test]
async fn a_long_poll_that_times_out_says_where_it_stands() {
    let server = quick().clock(TestClock::at(NOW)).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "abc").await;
    for query in ["offset=now", "offset=0_3", "offset=0_1", "offset=0_99"] {
        let nothing = client.get(&format!("s?live=long-poll&{query}")).await;
        assert_eq!((nothing.status, nothing.offset()), (204, at(3)), "{query}");
        assert_eq!(nothing.header("stream-up-to-date"), Some("true"));
        assert_eq!((nothing.header("stream-cursor"), nothing.header("cache-control")), (Some("50"), Some("no-store")));
        assert!(nothing.header("stream-incarnation").is_some());
    }
    let ahead = client.get("s?live=long-poll&offset=now&cursor=50").await;
    let next: u64 = ahead.header("stream-cursor").unwrap().parse().unwrap();
    assert!((51..=230).contains(&next));
}

#[tokio::test]
async fn closure_and_deletion_wake_a_long_poll() {
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    let closed = |answer: &Answer| {
        let header = |name| answer.header(name).map(str::to_owned);
        (answer.status, header("stream-closed"), header("stream-up-to-date"))
    };
    let yes = || Some("true".to_owned());
    client.put("c", &[TEXT], "").await;
    let mut waiting = long_poll(&server, "c", "offset=now").await;
    client.post("c", &[("stream-closed", "true")], "").await;
    assert_eq!(closed(&waiting.answer(false).await), (204, yes(), yes()));
    assert_eq!(closed(&client.get("c?offset=now&live=long-poll").await), (204, yes(), yes()));

    client.put("f", &[TEXT], "").await;
    let mut waiting = long_poll(&server, "f", "offset=now").await;
    client.post("f", &[TEXT, ("stream-closed", "true")], "last").await;
    let last = waiting.answer(false).await;
    assert_eq!((closed(&last), last.text()), ((200, yes(), yes()), "last"));

    client.put("d", &[TEXT], "").await;
    let mut waiting = long_poll(&server, "d", "offset=now").await;
    client.delete("d").await;
    assert_eq!(waiting.answer(false).await.status, 404);
}

#[tokio::test]
async fn many_long_polls_are_woken_by_one_append() {
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[JSON], "").await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(long_poll(&server, "s", "offset=now").await);
    }
    client.post("s", &[JSON], "{\"n\":1}").await;
    for mut connection in waiting {
        assert_eq!(connection.answer(false).await.text(), "[{\"n\":1}]");
    }
}

/// Follows a JSON stream to its end, when told to begin reading; the messages that came, each with a comma behind it. Offsets
/// that do not grow are an error.
fn follow(mut events: Connection, begin: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<String> {
    tokio::spawn(async move {
        begin.await;
        let (mut bytes, mut messages, mut at) = (Vec::new(), String::new(), String::new());
        while let Some(chunk) = events.chunk().await {
            bytes.extend_from_slice(&chunk);
        }
        for event in String::from_utf8(bytes).unwrap().split_terminator("\n\n") {
            match event.split_once("\ndata:") {
                Some(("event: data", data)) => messages += &format!("{},", &data[1..data.len() - 1]),
                Some(("event: control", data)) => {
                    let next = data.split('"').nth(3).unwrap();
                    assert!(next > at.as_str() || data.contains("streamClosed"), "{next} after {at}");
                    next.clone_into(&mut at);
                }
                _ => panic!("not an event: {event:?}"),
            }
        }
        messages
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_sse_followers_get_all_events_once_large_and_small() {
    const APPENDS: usize = 60;
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[JSON], "").await;
    let message = |at: usize| match at % 10 {
        // Large ones each follower writes by itself.
        9 => format!("\"{at}:{}\"", "x".repeat(20_000)),
        8 => format!("\"{at}:{}\"", "x".repeat(3000)),
        _ => format!("\"{at}\""),
    };
    let mut followers = Vec::new();
    for _ in 0..300 {
        let (events, head) = client.sse("s?offset=-1&live=sse").await;
        assert_eq!(head.status, 200);
        followers.push(follow(events, async {}));
    }
    for at in 0..APPENDS {
        if at % 20 == 10 {
            // Some are gone before the end.
            followers.swap_remove(at).abort();
            followers.push(follow(client.sse("s?offset=-1&live=sse").await.0, async {}));
        }
        assert_eq!(client.post("s", &[JSON], &message(at)).await.status, 204);
    }
    client.post("s", &[("stream-closed", "true")], "").await;
    let expected: String = (0..APPENDS).map(|at| message(at) + ",").collect();
    for follower in followers {
        let got = follower.await.unwrap();
        assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sse_follower_that_does_not_read_for_long_gets_what_it_missed() {
    // More than the sockets of both sides hold.
    const APPENDS: usize = 2000;
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[JSON], "").await;
    let message = |at: usize| format!("\"{at}:{}\"", "x".repeat(7000));
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let slow = follow(client.sse("s?offset=-1&live=sse").await.0, async { wait.await.unwrap() });
    let fast = follow(client.sse("s?offset=-1&live=sse").await.0, async {});
    let mut writer = Connection::open(&server).await;
    for at in 0..APPENDS {
        let answer = writer.request("POST", "/v1/stream/s", &[JSON], message(at).as_bytes()).await;
        assert_eq!(answer.status, 204);
    }
    client.post("s", &[("stream-closed", "true")], "").await;
    let expected: String = (0..APPENDS).map(|at| message(at) + ",").collect();
    assert!(fast.await.unwrap() == expected);
    go.send(()).unwrap();
    assert!(slow.await.unwrap() == expected);
}

#[tokio::test]
async fn sse_sends_data_then_control_and_ends_at_closure() {
    let server = patient().clock(TestClock::at(NOW)).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[JSON], "[{\"n\":1},2]").await;
    let (mut events, head) = client.sse("s?offset=-1&live=sse").await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!((head.header("cache-control"), head.header("content-length")), (Some("no-cache"), None));
    assert_eq!(head.header("stream-sse-data-encoding"), None);
    assert!(head.header("stream-incarnation").is_some());
    let data = "event: data\ndata:[{\"n\":1},2]\n\n";
    assert_eq!(events.events(2).await, format!("{data}{}", control(10, OPEN)));
    client.post("s", &[JSON], "3").await;
    assert_eq!(events.events(2).await, format!("event: data\ndata:[3]\n\n{}", control(12, OPEN)));
    client.post("s", &[JSON, ("stream-closed", "true")], "4").await;
    assert_eq!(events.events(9).await, format!("event: data\ndata:[4]\n\n{}", control(14, END)));

    let (mut events, _) = client.sse("s?offset=now&live=sse").await;
    assert_eq!(events.events(9).await, control(14, END));
    let (mut events, _) = client.sse("s?offset=0_12&live=sse").await;
    assert_eq!(events.events(9).await, format!("event: data\ndata:[4]\n\n{}", control(14, END)));
}

#[tokio::test]
async fn sse_says_at_once_where_the_tail_is() {
    let server = patient().clock(TestClock::at(NOW)).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let (mut events, _) = client.sse("s?offset=-1&live=sse").await;
    assert_eq!(events.events(1).await, control(0, OPEN));
    client.post("s", &[("stream-closed", "true")], "").await;
    assert_eq!(events.events(9).await, control(0, END));
}

#[tokio::test]
async fn sse_keeps_text_lines_apart_and_encodes_bytes() {
    let server = patient().clock(TestClock::at(NOW)).start().await.unwrap();
    let client = Client(&server);
    client.put("t", &[TEXT, ("stream-closed", "true")], "a\r\n b\rc\n\nevent: x").await;
    let (mut events, _) = client.sse("t?offset=-1&live=sse").await;
    let data = "event: data\ndata:a\ndata:  b\ndata:c\ndata:\ndata:event: x\n\n";
    assert_eq!(events.events(9).await, format!("{data}{}", control(17, END)));

    client.put("b", &[("stream-closed", "true")], "\0\u{1}x").await;
    let (mut events, head) = client.sse("b?offset=-1&live=sse").await;
    assert_eq!(head.header("stream-sse-data-encoding"), Some("base64"));
    assert_eq!(events.events(9).await, format!("event: data\ndata:AAF4\n\n{}", control(3, END)));
}

#[tokio::test]
async fn sse_text_is_not_cut_inside_a_code_point() {
    let server = patient().clock(TestClock::at(NOW)).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "ok").await;
    let euro = "€".as_bytes();
    let append = async |bytes: &[u8]| {
        let answer = support::request(&server, "POST", "/v1/stream/s", &[TEXT], bytes).await;
        assert_eq!(answer.status, 204);
    };
    append(&euro[..1]).await;
    let (mut events, _) = client.sse("s?offset=-1&live=sse").await;
    // The first append is whole; the second waits for what completes it.
    let open = OPEN.replace(",\"upToDate\":true", "");
    assert_eq!(events.events(2).await, format!("event: data\ndata:ok\n\n{}", control(2, &open)));
    append(&euro[1..]).await;
    assert_eq!(events.events(2).await, format!("event: data\ndata:€\n\n{}", control(5, OPEN)));
    append(b"\xf0\x9f").await;
    client.post("s", &[("stream-closed", "true")], "").await;
    assert_eq!(events.events(9).await, format!("event: data\ndata:\u{fffd}\n\n{}", control(7, END)));
}

#[tokio::test]
async fn sse_events_are_bounded_and_each_has_its_control() {
    let server = patient().clock(TestClock::at(NOW)).max_read_bytes(4).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[JSON, ("stream-closed", "true")], "[1,2,3,44444]").await;
    let (mut events, _) = client.sse("s?offset=-1&live=sse").await;
    let more = ",\"streamCursor\":\"50\"";
    let expected = [
        "event: data\ndata:[1,2]\n\n".to_owned(),
        control(4, more),
        "event: data\ndata:[3]\n\n".to_owned(),
        control(6, more),
        "event: data\ndata:[44444]\n\n".to_owned(),
        control(12, END),
    ];
    assert_eq!(events.events(99).await, expected.concat());
}

#[tokio::test]
async fn idle_sse_connections_are_kept_alive_and_end_after_their_lifetime() {
    let server = quick().clock(TestClock::at(NOW)).sse_lifetime(Duration::from_millis(400)).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let (mut events, _) = client.sse("s?offset=now&live=sse").await;
    let all = events.events(99).await;
    let each = control(0, OPEN);
    let count = all.matches(&each).count();
    assert_eq!(all, each.repeat(count), "nothing but whole control events");
    assert!(count >= 2, "at least the first and one keep-alive");
}

#[tokio::test]
async fn deletion_ends_sse_without_a_closing_event() {
    let server = patient().clock(TestClock::at(NOW)).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let (mut events, _) = client.sse("s?offset=now&live=sse").await;
    assert_eq!(events.events(1).await, control(0, OPEN));
    client.delete("s").await;
    assert_eq!(events.events(9).await, "");
}

#[tokio::test]
async fn errors_before_the_first_event_are_ordinary_answers() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    assert_eq!(client.get("gone?offset=-1&live=sse").await.status, 404);
    client.put("s", &[TEXT], "").await;
    assert_eq!(client.get("s?live=sse").await.status, 400);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let idle = holders(&server, "s").await;
    let waiting = long_poll(&server, "s", "offset=now").await;
    let (mut events, _) = client.sse("s?offset=now&live=sse").await;
    events.events(1).await;
    assert!(holders(&server, "s").await > idle);
    drop(waiting);
    drop(events);
    eventually("all is freed", async || holders(&server, "s").await == idle).await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_feed_and_not_the_writers() {
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let (mut slow, _) = client.sse("s?offset=now&live=sse").await;
    let piece = "z".repeat(1 << 20);
    for _ in 0..32 {
        assert_eq!(client.post("s", &[TEXT], &piece).await.status, 204);
    }
    client.post("s", &[("stream-closed", "true")], "").await;
    let all = slow.events(1000).await;
    assert_eq!(all.matches('z').count(), 32 << 20, "everything arrives once it is read");
    assert!(all.ends_with(&format!("{END}}}\n\n")));
}

#[tokio::test]
async fn shutdown_ends_live_reads_cleanly_and_closes_the_port() {
    let server = patient().clock(TestClock::at(NOW)).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "abc").await;
    let mut idle = Connection::open(&server).await;
    idle.request("HEAD", "/v1/stream/s", &[], b"").await;
    let mut waiting = long_poll(&server, "s", "offset=now").await;
    let (mut events, _) = client.sse("s?offset=-1&live=sse").await;
    assert_eq!(events.events(2).await, format!("event: data\ndata:abc\n\n{}", control(3, OPEN)));
    let addr = server.addr();
    tokio::time::timeout(support::LIMIT, server.shutdown()).await.unwrap();
    let nothing = waiting.answer(false).await;
    assert_eq!((nothing.status, nothing.offset()), (204, at(3)));
    assert_eq!(events.events(9).await, "");
    assert!(idle.is_closed().await);
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_request_under_way_is_finished_within_the_grace_and_cut_after_it() {
    let server = patient().start().await.unwrap();
    Client(&server).put("s", &[TEXT], "").await;
    let mut slow = Connection::open(&server).await;
    let head = "POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    slow.send(head.as_bytes()).await;
    assert_eq!(slow.head_of().await.status, 100, "the server waits for the body");
    let engine = server.engine().clone();
    let shutdown = tokio::spawn(server.shutdown());
    slow.send(b"abc").await;
    assert_eq!(slow.answer(false).await.status, 204);
    shutdown.await.unwrap();
    assert_eq!(engine.stream("s").await.unwrap().tail().position.0, 3);

    let server = patient().shutdown_grace(Duration::from_millis(50)).start().await.unwrap();
    Client(&server).put("s", &[TEXT], "").await;
    let mut stuck = Connection::open(&server).await;
    stuck.send(head.as_bytes()).await;
    assert_eq!(stuck.head_of().await.status, 100);
    tokio::time::timeout(support::LIMIT, server.shutdown()).await.unwrap();
    assert!(stuck.is_closed().await);
}

#[tokio::test]
async fn a_dropped_server_cuts_its_connections() {
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let (mut events, _) = client.sse("s?offset=now&live=sse").await;
    events.events(1).await;
    drop(server);
    assert!(events.ended().await);
}

#[tokio::test]
async fn a_server_that_drains_is_not_ready_but_serves() {
    let mut config = Config::default();
    config.server.drain_delay = support::LIMIT * 10;
    let server = Server::builder().config(config).bind(([127, 0, 0, 1], 0)).start().await.unwrap();
    let mut connection = Connection::open(&server).await;
    assert_eq!(connection.request("GET", "/readyz", &[], b"").await.status, 200);
    let address = server.addr();
    let shutdown = tokio::spawn(server.shutdown());
    let mut ready = true;
    eventually("it is not ready", async || {
        ready = connection.request("GET", "/readyz", &[], b"").await.status == 200;
        !ready
    })
    .await;
    assert_eq!(connection.request("PUT", "/v1/stream/s", &[TEXT], b"").await.status, 201);
    assert!(tokio::net::TcpStream::connect(address).await.is_ok(), "it still takes connections");
    shutdown.abort();
}
