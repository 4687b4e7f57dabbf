//! Requests that a connection sends without waiting for answers, and connections that change from plain requests to
//! others.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Client, Connection, JSON, TEXT, quick, request};

fn post(body: &str, headers: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

const GET: &str = "GET /v1/stream/s HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn appends_and_reads_sent_together_happen_and_are_answered_in_order() {
    let server = quick().start().await.unwrap();
    Client(&server).put("s", &[TEXT], "").await;
    let mut connection = Connection::open(&server).await;
    // More than may be under way, and more than is read at once.
    let appends: String = (0..500).map(|n| post(&format!("{n:03};"), "")).collect();
    connection.send(format!("{appends}{GET}{}{GET}", post("end", "")).as_bytes()).await;
    let mut last = String::new();
    for _ in 0..500 {
        let answer = connection.answer(false).await;
        assert_eq!(answer.status, 204);
        assert!(answer.offset() > last, "{} after {last}", answer.offset());
        last = answer.offset();
    }
    let all: String = (0..500).map(|n| format!("{n:03};")).collect();
    assert_eq!(connection.answer(false).await.text(), all);
    assert_eq!(connection.answer(false).await.status, 204);
    assert_eq!(connection.answer(false).await.text(), format!("{all}end"));
}

#[tokio::test]
async fn a_refused_append_is_answered_in_its_place_and_stores_nothing() {
    let server = quick().start().await.unwrap();
    Client(&server).put("s", &[TEXT], "").await;
    let mut connection = Connection::open(&server).await;
    let batch =
        |seq: u32| post(&seq.to_string(), &format!("producer-id: p\r\nproducer-epoch: 0\r\nproducer-seq: {seq}\r\n"));
    // The third is a repeat, the fourth leaves one out.
    let sent: String = [0, 1, 1, 3, 2].into_iter().map(batch).collect();
    connection.send(format!("{sent}{}{GET}", post("", "")).as_bytes()).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(connection.answer(false).await.status);
    }
    assert_eq!(statuses, [200, 200, 204, 409, 200, 400]);
    assert_eq!(connection.answer(false).await.text(), "012");
}

#[tokio::test]
async fn a_connection_goes_on_when_a_request_of_another_kind_comes() {
    let server = quick().start().await.unwrap();
    Client(&server).put("s", &[TEXT], "").await;
    let chunked = "POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n\
                   2\r\nb;\r\n0\r\n\r\n";
    let mut connection = Connection::open(&server).await;
    let sent = format!("{}{chunked}{}{GET}", post("a;", ""), post("c;", ""));
    connection.send(sent.as_bytes()).await;
    for _ in 0..3 {
        assert_eq!(connection.answer(false).await.status, 204);
    }
    assert_eq!(connection.answer(false).await.text(), "a;b;c;");
    // A live read behind an append.
    let mut connection = Connection::open(&server).await;
    let live = "GET /v1/stream/s?offset=now&live=long-poll HTTP/1.1\r\nhost: x\r\n\r\n";
    connection.send(format!("{}{live}", post("d;", "")).as_bytes()).await;
    assert_eq!(connection.answer(false).await.status, 204);
    let end = connection.answer(false).await;
    assert_eq!((end.status, end.header("stream-up-to-date")), (204, Some("true")));
    // The last request of a connection.
    let mut connection = Connection::open(&server).await;
    connection.send(format!("{GET}GET /v1/stream/s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await;
    for _ in 0..2 {
        assert_eq!(connection.answer(false).await.text(), "a;b;c;d;");
    }
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn a_connection_goes_on_after_live_reads() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "a").await;
    let mut connection = Connection::open(&server).await;
    let live = |query: &str| format!("GET /v1/stream/s?{query} HTTP/1.1\r\nhost: x\r\n\r\n");
    // What is sent behind a live read waits for its end.
    let sent = format!("{}{}{GET}", post("b", ""), live("offset=-1&live=sse"));
    connection.send(sent.as_bytes()).await;
    assert_eq!(connection.answer(false).await.status, 204);
    let head = connection.head_of().await;
    assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")));
    assert_eq!((head.header("content-length"), head.header("content-type")), (None, Some("text/event-stream")));
    assert!(connection.events(2).await.starts_with("event: data\ndata:ab\n"));
    client.post("s", &[TEXT], "c").await;
    assert!(connection.events(2).await.starts_with("event: data\ndata:c\n"));
    client.post("s", &[TEXT, ("stream-closed", "true")], "d").await;
    let last = connection.events(2).await;
    assert!(last.starts_with("event: data\ndata:d\n") && last.contains("\"streamClosed\":true"), "{last}");
    assert_eq!(connection.chunk().await, None);
    assert_eq!(connection.answer(false).await.text(), "abcd");
    connection.send(live("offset=-1&live=long-poll").as_bytes()).await;
    assert_eq!(connection.answer(false).await.text(), "abcd");
    assert_eq!(connection.request("GET", "/v1/stream/s", &[], b"").await.text(), "abcd");
}

#[tokio::test]
async fn a_live_read_ends_with_its_connection() {
    let server = support::patient().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let waiting = async |mode: &str| {
        let metrics = request(&server, "GET", "/metrics", &[], b"").await;
        let row = format!("everstream_live_readers{{mode=\"{mode}\"}} ");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(&row)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {row} in {}", metrics.text()))
    };
    for mode in ["sse", "long-poll"] {
        let mut connection = Connection::open(&server).await;
        let path = format!("/v1/stream/s?offset=now&live={mode}");
        connection.start("GET", &path, &[], b"").await;
        support::eventually("it waits", async || waiting(mode).await == "1").await;
        connection.finish().await;
        support::eventually("it has ended", async || waiting(mode).await == "0").await;
        assert!(connection.ended().await);
    }
}

#[tokio::test]
async fn requests_may_come_in_any_pieces() {
    let server = quick().start().await.unwrap();
    Client(&server).put("s", &[TEXT], "").await;
    let sent = format!("{}{}{GET}", post("abc", ""), post("def", ""));
    for at in [1, 20, sent.find("abc").unwrap(), sent.find("bc").unwrap(), sent.len() - 1] {
        let mut connection = Connection::open(&server).await;
        for part in [&sent[..at], &sent[at..]] {
            connection.send(part.as_bytes()).await;
            // The server has most likely seen the first part before the second leaves.
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            assert_eq!(connection.answer(false).await.status, 204, "{at}");
        }
        assert!(connection.answer(false).await.text().ends_with("abcdef"), "{at}");
    }
    // A large body, of which the first part comes with the head.
    let large = "x".repeat(60_000);
    let mut connection = Connection::open(&server).await;
    connection.send(post(&large, "").as_bytes()).await;
    assert_eq!(connection.answer(false).await.status, 204);
    assert_eq!(connection.request("GET", "/v1/stream/s", &[], b"").await.body.len(), 30 + large.len());
}

#[tokio::test]
async fn bodies_that_come_in_parts_keep_their_order_and_end_where_they_say() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let bodies: Vec<String> = (0..6).map(|n| format!("{n}").repeat(40_000 << n)).collect();
    // The last one is larger than what a connection takes in itself.
    assert!(bodies[5].len() > 1 << 20);
    let sent: String = bodies.iter().map(|body| post(body, "")).collect();
    let mut connection = Connection::open(&server).await;
    for part in format!("{sent}{}", post("end", "")).as_bytes().chunks(70_001) {
        connection.send(part).await;
        tokio::task::yield_now().await;
    }
    for _ in 0..7 {
        assert_eq!(connection.answer(false).await.status, 204);
    }
    let mut read = (Vec::new(), "-1".to_owned());
    loop {
        let answer = connection.request("GET", &format!("/v1/stream/s?offset={}", read.1), &[], b"").await;
        read.1 = answer.offset();
        read.0.extend_from_slice(&answer.body);
        if answer.header("stream-up-to-date").is_some() {
            break;
        }
    }
    assert!(read.0 == format!("{}end", bodies.concat()).as_bytes(), "{} bytes", read.0.len());
}

#[tokio::test]
async fn a_body_behind_a_live_read_is_taken_when_that_is_over() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let (body, live) = ("x".repeat(100_000), "GET /v1/stream/s?offset=now&live=long-poll HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut connection = Connection::open(&server).await;
    connection.send(format!("{live}{}{GET}", post(&body, "")).as_bytes()).await;
    for _ in 0..2 {
        assert_eq!(connection.answer(false).await.status, 204);
    }
    assert_eq!(connection.answer(false).await.body.len(), body.len());
}

#[tokio::test]
async fn a_server_that_stops_takes_the_body_that_has_begun_and_nothing_behind_it() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let sent = format!("{}{}", post(&"x".repeat(100_000), ""), post("y", ""));
    let (begun, rest) = sent.split_at(50_000);
    let (mut uploading, mut idle) = (Connection::open(&server).await, Connection::open(&server).await);
    uploading.send(begun.as_bytes()).await;
    assert_eq!(idle.request("GET", "/healthz", &[], b"").await.status, 200);
    let engine = server.engine().clone();
    let stopped = tokio::spawn(server.shutdown());
    // The other connection is told to end when this one is.
    assert!(idle.is_closed().await);
    uploading.send(rest.as_bytes()).await;
    let answer = uploading.answer(false).await;
    assert_eq!((answer.status, answer.header("connection")), (204, Some("close")));
    assert!(uploading.is_closed().await);
    stopped.await.unwrap();
    assert_eq!(engine.stream("s").await.unwrap().tail().position.0, 100_000);
}

#[tokio::test]
async fn what_was_sent_before_the_sending_side_ended_is_answered() {
    let server = quick().start().await.unwrap();
    Client(&server).put("s", &[TEXT], "").await;
    let mut connection = Connection::open(&server).await;
    connection.send(format!("{}{}{GET}", post("a", ""), post("b", "")).as_bytes()).await;
    connection.finish().await;
    let all = String::from_utf8(connection.everything().await).unwrap();
    assert_eq!(all.matches("HTTP/1.1 204").count(), 2);
    assert!(all.ends_with("\r\n\r\nab"), "{all}");
}

#[tokio::test]
async fn who_sends_and_never_reads_is_not_served_for_ever() {
    let server = quick().start().await.unwrap();
    Client(&server).put("s", &[TEXT], "").await;
    let mut connection = Connection::open(&server).await;
    // Many times more answers than the buffers of both sockets and of the server hold.
    let many = post("x", "").repeat(1000);
    let sending = async {
        for _ in 0..200 {
            connection.send(many.as_bytes()).await;
        }
    };
    tokio::select! {
        () = sending => panic!("the server takes whatever comes"),
        () = support::eventually("the server waits for the reader", async || {
            let before = server.engine().stream("s").await.unwrap().tail();
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            server.engine().stream("s").await.unwrap().tail() == before && before.position.0 > 0
        }) => {}
    }
    assert!(server.engine().stream("s").await.unwrap().tail().position.0 < 200_000);
}

#[tokio::test]
async fn answers_have_the_headers_that_http_asks_for() {
    let server = quick().start().await.unwrap();
    Client(&server).put("j", &[JSON], "[1,2]").await;
    let mut connection = Connection::open(&server).await;
    let got = connection.request("GET", "/v1/stream/j", &[], b"").await;
    assert_eq!((got.status, got.text(), got.header("content-length")), (200, "[1,2]", Some("5")));
    assert!(got.header("date").unwrap().ends_with(" GMT"));
    assert_eq!(got.header("access-control-allow-origin"), Some("*"));
    let tag = got.header("etag").unwrap();
    let same = connection.request("GET", "/v1/stream/j", &[("if-none-match", tag)], b"").await;
    assert_eq!((same.status, same.header("content-length")), (304, None));
    let head = connection.request("HEAD", "/v1/stream/j", &[], b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, None));
    let gone = connection.request("DELETE", "/v1/stream/j", &[], b"").await;
    assert_eq!((gone.status, gone.header("content-length")), (204, None));
    let missing = connection.request("GET", "/v1/stream/j", &[], b"").await;
    assert_eq!(missing.status, 404);
    let made = connection.request("PUT", "/v1/stream/j", &[JSON], b"").await;
    assert_eq!((made.status, made.header("content-length")), (201, Some("0")));
}
