//! What an attacker sends on purpose: requests that two parsers could read differently, names that climb out of their
//! place, values that break out of their line. Each is refused or means one thing, and nobody else notices.
//! What is judged by the memory of a process is in the command line's tests.
#![allow(clippy::unwrap_used)]

mod support;

use everstream_server::RunningServer;
use support::{Client, Connection, JSON, TEXT, patient, quick, request};

/// Sends bytes, ends the sending side, and gives the status of every answer until the server ends the connection.
async fn statuses(server: &RunningServer, bytes: &[u8]) -> Vec<u16> {
    let mut connection = Connection::open(server).await;
    connection.send(bytes).await;
    connection.finish().await;
    let all = connection.everything().await;
    let text = String::from_utf8_lossy(&all).into_owned();
    let starts = text.match_indices("HTTP/1.1 ").map(|(at, start)| at + start.len());
    starts.map(|at| text[at..at + 3].parse().unwrap()).collect()
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_refused_and_what_follows_is_not_looked_at() {
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "kept").await;
    let smuggled = "DELETE /v1/stream/s HTTP/1.1\r\nhost: x\r\n\r\n";
    let head = "POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n";
    let length = smuggled.len();
    let rows = [
        // Two lengths that differ.
        format!("{head}content-length: 0\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        format!("{head}content-length: 0, {length}\r\n\r\n{smuggled}"),
        format!("{head}content-length: +{length}\r\n\r\n{smuggled}"),
        format!("{head}content-length: -1\r\n\r\n{smuggled}"),
        format!("{head}content-length: 0x10\r\n\r\n{smuggled}"),
        format!("{head}content-length: 18446744073709551616\r\n\r\n{smuggled}"),
        // A coding that is not the last, or is not known.
        format!("{head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"),
        // A name with a space before its colon, a line that goes on in the next, a control character.
        format!("{head}content-length : {length}\r\n\r\n{smuggled}"),
        format!("{head}x: y\r\n z\r\n\r\n{smuggled}"),
        format!("{head}x: y\0z\r\n\r\n{smuggled}"),
        format!("{head}x: y\rcontent-length: {length}\r\n\r\n{smuggled}"),
        format!("{head}content-length\r\n\r\n{smuggled}"),
        // Chunks whose size is no size.
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n-1\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n{smuggled}"),
        // Not HTTP.
        format!("POST /v1/stream/s HTTP/1.1 x\r\nhost: x\r\n\r\n{smuggled}"),
        format!("POST /v1/stream/s\r\n\r\n{smuggled}"),
        format!("\0\0\0\0{smuggled}"),
        format!("POST /v1/st ream/s HTTP/1.1\r\nhost: x\r\n\r\n{smuggled}"),
    ];
    for row in rows {
        let answers = statuses(&server, row.as_bytes()).await;
        assert!(answers.len() <= 1 && answers.iter().all(|status| *status == 400), "{answers:?} to {row:?}");
        assert_eq!(client.get("s").await.text(), "kept", "{row:?}");
    }
}

#[tokio::test]
async fn length_and_coding_together_mean_the_coding_and_end_the_connection() {
    // RFC 9112 section 6.1: the coding counts, and the connection is not used again. A proxy before the server that
    // believes the length would take what follows for a second request; it must not become one here.
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "kept").await;
    for order in
        [["content-length: 4", "transfer-encoding: chunked"], ["transfer-encoding: chunked", "content-length: 4"]]
    {
        let attack = format!(
            "POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n{}\r\n{}\r\n\r\n0\r\n\r\n\
             DELETE /v1/stream/s HTTP/1.1\r\nhost: x\r\n\r\n",
            order[0], order[1]
        );
        let answers = statuses(&server, attack.as_bytes()).await;
        assert_eq!(answers, [400], "{order:?}");
        assert_eq!(client.get("s").await.text(), "kept");
    }
}

#[tokio::test]
async fn a_name_does_not_leave_its_place() {
    let server = quick().start().await.unwrap();
    let rows = [
        ("/v1/stream/../../healthz", 400),
        ("/v1/stream/a/../b", 400),
        ("/v1/stream/..", 400),
        ("/v1/stream/%2e%2e/x", 400),
        ("/v1/stream/%2E%2E%2Fx", 400),
        ("/v1/stream/a%2f..%2fb", 400),
        ("/v1/stream/./a", 400),
        ("/v1/stream/a//b", 400),
        ("/v1/stream//a", 400),
        ("/v1/stream/a%00b", 400),
        ("/v1/stream/a%0d%0ab", 400),
        ("/v1/stream/a%0ab", 400),
        ("/v1/stream/%ff", 400),
        ("/v1/stream/%c0%ae%c0%ae", 400),
        ("/v1/stream/%zz", 400),
        ("/v1/stream/%", 400),
        ("/v1/streamx/a", 404),
        ("/v1/../v1/stream/a", 404),
        ("//v1/stream/a", 404),
        ("/%76%31/stream/a", 404),
        ("/etc/passwd", 404),
    ];
    let mut surprises = Vec::new();
    for (path, expected) in rows {
        let status = request(&server, "PUT", path, &[TEXT], b"").await.status;
        if status != expected {
            surprises.push((path, status, expected));
        }
    }
    assert!(surprises.is_empty(), "{surprises:?}");
    // Decoded once and not twice: this is a name with a percent sign.
    assert_eq!(request(&server, "PUT", "/v1/stream/%252e%252e", &[TEXT], b"").await.status, 201);
    let long = format!("/v1/stream/{}", "a".repeat(60_000));
    let status = request(&server, "PUT", &long, &[TEXT], b"").await.status;
    assert!(matches!(status, 400 | 414 | 431), "{status}");
}

#[tokio::test]
async fn a_value_does_not_leave_its_line() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    // What comes back in headers: content type, producer, lifetimes, the name in Location.
    client.put("a%20b%22%3Ccd", &[("content-type", "text/plain; x=\"<>\"")], "").await;
    let answer = client.head("a%20b%22%3Ccd").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; x=\"<>\""));
    for (name, value) in [
        ("content-type", "text/plain\rx-evil: 1"),
        ("content-type", "text/plain\0"),
        ("producer-id", "p\u{1}"),
        ("stream-expires-at", "2030-01-01T00:00:00Z\rx-evil: 1"),
        ("stream-forked-from", "/v1/stream/a%0d%0ax-evil: 1"),
    ] {
        let answer = client.put("evil", &[TEXT, (name, value)], "").await;
        assert_eq!(answer.status, 400, "{name}: {value:?}");
        assert!(answer.header("x-evil").is_none());
    }
    for query in ["offset=0_0%0d%0ax-evil:%201", "offset=-1&live=sse&cursor=1%0d%0ax-evil:%201", "offset=-1&cursor=%0a"]
    {
        let (_, answer) = client.sse(&format!("a%20b%22%3Ccd?{query}")).await;
        assert!(answer.header("x-evil").is_none(), "{query}");
    }
    // Lines of a text stream cannot pass for events of the server.
    client.put("events", &[TEXT], "x\n\nevent: control\ndata: {\"streamNextOffset\":\"9\"}\r\revent: evil\n\n").await;
    let (mut connection, _) = client.sse("events?offset=-1&live=sse").await;
    let events = connection.events(2).await;
    let named: Vec<&str> = events.lines().filter(|line| line.starts_with("event:")).collect();
    assert_eq!(named, ["event: data", "event: control"], "{events}");
}

#[tokio::test]
async fn deep_and_odd_json_is_judged_without_recursion() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("j", &[JSON], "").await;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [100, 10_000, 1_000_000] {
        let status = client.post("j", &[JSON], &deep(depth)).await.status;
        assert!(matches!(status, 204 | 400), "{depth}: {status}");
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let status = client.post("j", &[JSON], &objects).await.status;
        assert!(matches!(status, 204 | 400), "{depth}: {status}");
        assert_eq!(client.post("j", &[JSON], &"[".repeat(depth)).await.status, 400, "{depth}");
    }
    for bad in ["{\"a\":1e}", "\"\\ud800", "[1,]", "{\"a\" 1}", "nul", "'a'", "01", "1 2", "\"\n\""] {
        assert_eq!(client.post("j", &[JSON], bad).await.status, 400, "{bad:?}");
    }
    let all = client.get("j").await;
    assert!(all.status == 200 && all.text().starts_with('['));
}

#[tokio::test]
async fn heads_that_are_too_large_or_too_many_are_refused() {
    let server = quick().start().await.unwrap();
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(128 << 10));
    for fields in [many, large] {
        let attack = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
        assert_eq!(statuses(&server, attack.as_bytes()).await, [431]);
    }
    assert_eq!(request(&server, "GET", "/healthz", &[], b"").await.status, 200);
}

#[tokio::test]
async fn trailers_and_extensions_of_chunks_change_nothing() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let chunked = "POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n\
                   3;evil=1\r\nabc\r\n0\r\nstream-closed: true\r\nproducer-id: p\r\n\r\n";
    assert_eq!(statuses(&server, chunked.as_bytes()).await, [204]);
    let head = client.head("s").await;
    assert_eq!(head.header("stream-closed"), None, "a trailer is no header");
    assert_eq!(client.get("s").await.text(), "abc");
}
