//! The wire: status, headers and bytes of every kind of answer, and bad input of every kind.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read as _;

use support::{Client, Connection, JSON, TEXT, patient, quick, request};

const ZERO: &str = "0000000000000000_0000000000000000";

fn at(position: u64) -> String {
    format!("0000000000000000_{position:016}")
}

#[tokio::test]
async fn create_answers_with_location_type_and_offset() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    let made = client.put("a/b", &[("content-type", "Text/Plain; charset=UTF-8")], "hello").await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), Some("http://example.test/v1/stream/a/b"));
    assert_eq!(made.header("content-type"), Some("Text/Plain; charset=UTF-8"));
    assert_eq!(made.offset(), at(5));
    assert_eq!(made.header("stream-closed"), None);
    let again = client.put("a/b", &[TEXT], "other body").await;
    assert_eq!((again.status, again.header("location"), again.offset()), (200, None, at(5)));
    assert_eq!(again.header("stream-incarnation"), made.header("stream-incarnation"));
    assert_eq!(client.put("a/b", &[JSON], "").await.status, 409);
    assert_eq!(client.get("a/b").await.text(), "hello");
    assert_eq!(client.put("n", &[], "").await.header("content-type"), Some("application/octet-stream"));
    let malformed = client.put("m", &[("content-type", "nonsense")], "").await;
    assert_eq!(malformed.header("content-type"), Some("application/octet-stream"));
    let closed = client.put("c", &[TEXT, ("stream-closed", "TRUE")], "all").await;
    assert_eq!((closed.status, closed.header("stream-closed")), (201, Some("true")));
    assert_eq!(client.put("o", &[TEXT, ("stream-closed", "yes")], "").await.header("stream-closed"), None);
    assert_eq!(client.put("j", &[JSON], "[]").await.offset(), ZERO);
    assert_eq!(client.put("k", &[JSON], "[1,").await.status, 400);
    assert_eq!(client.head("k").await.status, 404);
}

#[tokio::test]
async fn every_outcome_of_an_append_has_the_headers_of_t_resp() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    let producer = |epoch, seq| [TEXT, ("producer-id", "p"), ("producer-epoch", epoch), ("producer-seq", seq)];
    let seqs = |answer: &support::Answer| {
        (
            answer.status,
            answer.header("producer-epoch").map(str::to_owned),
            answer.header("producer-seq").map(str::to_owned),
        )
    };
    let owned = |text: &str| Some(text.to_owned());

    let plain = client.post("s", &[TEXT], "ab").await;
    assert_eq!((plain.status, plain.offset(), plain.header("producer-seq")), (204, at(2), None));
    let first = client.post("s", &producer("3", "0"), "cd").await;
    assert_eq!(seqs(&first), (200, owned("3"), owned("0")));
    assert_eq!(first.offset(), at(4));
    client.post("s", &producer("3", "1"), "ef").await;
    let duplicate = client.post("s", &producer("3", "0"), "cd").await;
    assert_eq!(seqs(&duplicate), (204, owned("3"), owned("1")));
    assert_eq!((duplicate.offset(), duplicate.header("stream-closed")), (at(6), None));
    let stale = client.post("s", &producer("2", "0"), "x").await;
    assert_eq!(seqs(&stale), (403, owned("3"), None));
    let gap = client.post("s", &producer("3", "9"), "x").await;
    assert_eq!(
        (gap.status, gap.header("producer-expected-seq"), gap.header("producer-received-seq")),
        (409, Some("2"), Some("9"))
    );
    assert_eq!(client.post("s", &producer("4", "1"), "x").await.status, 400);
    let other_type = client.post("s", &[JSON], "1").await;
    assert_eq!((other_type.status, other_type.header("stream-closed")), (409, None));
    client.post("s", &[TEXT, ("stream-seq", "b")], "g").await;
    assert_eq!(client.post("s", &[TEXT, ("stream-seq", "b")], "x").await.status, 409);

    let mut closing = producer("3", "2").to_vec();
    closing.push(("stream-closed", "true"));
    let closed = client.post("s", &closing, "").await;
    assert_eq!(seqs(&closed), (204, owned("3"), owned("2")));
    assert_eq!((closed.offset(), closed.header("stream-closed")), (at(7), Some("true")));
    let repeat = client.post("s", &closing, "body").await;
    assert_eq!(seqs(&repeat), (204, owned("3"), owned("2")));
    let late = client.post("s", &[TEXT], "x").await;
    assert_eq!((late.status, late.offset(), late.header("stream-closed")), (409, at(7), Some("true")));
    assert_eq!(client.get("s").await.text(), "abcdefg");
}

#[tokio::test]
async fn what_is_malformed_is_refused_and_changes_nothing() {
    let server = quick().max_body_bytes(1000).start().await.unwrap();
    let client = Client(&server);
    client.put("t", &[TEXT], "kept").await;
    client.put("j", &[JSON], "1").await;
    let big = "x".repeat(1001);
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16);
    let rows: &[Row<'_>] = &[
        ("t", &[TEXT], "", 400),
        ("t", &[], "x", 400),
        ("t", &[JSON], "1", 409),
        ("t", &[TEXT], &big, 413),
        ("t", &[TEXT, ("content-encoding", "gzip")], "x", 415),
        ("t", &[TEXT, ("producer-id", "p")], "x", 400),
        ("t", &[TEXT, ("producer-id", ""), ("producer-epoch", "0"), ("producer-seq", "0")], "x", 400),
        ("t", &[TEXT, ("producer-id", "p"), ("producer-epoch", "1e3"), ("producer-seq", "0")], "x", 400),
        ("t", &[TEXT, ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "9007199254740992")], "x", 400),
        ("t", &[TEXT, ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "1")], "x", 409),
        ("j", &[JSON], "{", 400),
        ("j", &[JSON], "[]", 400),
        ("j", &[JSON], "1 2", 400),
        ("j", &[JSON], "\u{1}", 400),
        ("gone", &[TEXT], "x", 404),
    ];
    for (name, headers, body, status) in rows {
        let answer = client.post(name, headers, body).await;
        assert_eq!(answer.status, *status, "{name} {headers:?} {body:.20}");
        assert_eq!(answer.header("stream-closed"), None);
    }
    let invalid_utf8 = request(&server, "POST", "/v1/stream/j", &[JSON], b"\"\xff\"").await;
    assert_eq!(invalid_utf8.status, 400);
    assert_eq!(client.get("t").await.text(), "kept");
    assert_eq!(client.get("j").await.text(), "[1]");
    let first = [TEXT, ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    assert_eq!(client.post("t", &first, "!").await.status, 200, "no producer state was left behind");
}

#[tokio::test]
async fn bad_creates_are_refused_and_create_nothing() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    let rows: &[&[(&str, &str)]] = &[
        &[("stream-ttl", "01")],
        &[("stream-ttl", "-1")],
        &[("stream-ttl", "1.5")],
        &[("stream-ttl", "1"), ("stream-expires-at", "2040-01-01T00:00:00Z")],
        &[("stream-expires-at", "soon")],
        &[("stream-fork-offset", ZERO)],
        &[("stream-fork-sub-offset", "0")],
        &[("stream-forked-from", "/v1/stream/x"), ("stream-fork-offset", "-1")],
        &[("stream-forked-from", "/v1/stream/x"), ("stream-fork-sub-offset", "")],
        &[("stream-forked-from", "/v1/stream/../x")],
    ];
    for headers in rows {
        assert_eq!(client.put("s", headers, "").await.status, 400, "{headers:?}");
    }
    let orphan = client.put("s", &[("stream-forked-from", "/elsewhere/x")], "").await;
    assert_eq!(orphan.status, 404);
    let own = client.put("s", &[("stream-forked-from", "/v1/stream/s")], "").await;
    assert_eq!(own.status, 404, "a stream that is not there cannot be its own source");
    assert_eq!(client.head("s").await.status, 404);
}

#[tokio::test]
async fn bad_offsets_are_refused_after_the_stream_was_looked_up() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "data").await;
    for query in [
        "offset=",
        "offset=0",
        "offset=abc",
        "offset=0_0&offset=0_0",
        "offset=a%2Cb",
        "offset=a%2Fb",
        "offset=..",
        "offset=0_0%00",
        "offset=0_0%0d%0ax",
        "offset=0+0",
        "live=long-poll",
        "live=sse",
        "live=x&offset=-1",
    ] {
        assert_eq!(client.get(&format!("s?{query}")).await.status, 400, "{query}");
        assert_eq!(client.get(&format!("gone?{query}")).await.status, 404, "{query}");
    }
    let beyond = client.get("s?offset=9999999999999999_9999999999999999").await;
    assert_eq!((beyond.status, beyond.text(), beyond.offset()), (200, "", at(4)));
    assert_eq!(beyond.header("stream-up-to-date"), Some("true"));
    let inside = client.get("s?offset=0_2").await;
    assert_eq!((inside.status, inside.text(), inside.offset()), (200, "", at(4)));
}

#[tokio::test]
async fn paths_and_methods_that_mean_nothing_are_refused() {
    let server = quick().start().await.unwrap();
    let rows = [
        ("GET", "/", 404),
        ("GET", "/v1/stream", 404),
        ("PUT", "/v1/stream/", 404),
        ("PUT", "/v1/stream/a/../b", 400),
        ("PUT", "/v1/stream/%2e%2e/b", 400),
        ("PUT", "/v1/stream/a//b", 400),
        ("PUT", "/v1/stream/a%00", 400),
        ("PATCH", "/v1/stream/a", 405),
        ("BREW", "/v1/stream/a", 405),
        ("GET", "/v1/stream/__ds/jwks.json", 200),
        ("BREW", "/v1/stream/__ds", 404),
        ("GET", "/_test/inject-error", 404),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
    ];
    for (method, path, status) in rows {
        assert_eq!(request(&server, method, path, &[], b"").await.status, status, "{method} {path}");
    }
    let long = format!("/v1/stream/{}", "x".repeat(1025));
    assert_eq!(request(&server, "PUT", &long, &[], b"").await.status, 400);
    let control = request(&server, "POST", "/v1/stream/__ds/nothing", &[], b"").await;
    assert!(control.text().contains("\"SUBSCRIPTION_NOT_FOUND\""));
    let refused = request(&server, "PATCH", "/v1/stream/a", &[], b"").await;
    assert!(refused.header("allow").is_some());
}

#[tokio::test]
async fn a_trailing_slash_and_percent_encoding_do_not_make_another_stream() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("a%20b", &[TEXT], "x").await;
    assert_eq!(client.get("a%20b/").await.text(), "x");
    assert_eq!(client.put("%61%20b", &[TEXT], "").await.status, 200);
    assert_eq!(server.stream_url("a b"), format!("{}/v1/stream/a%20b", server.url()));
    assert!(client.put("x/", &[TEXT], "").await.header("location").unwrap().ends_with("/v1/stream/x/"));
}

#[tokio::test]
async fn a_body_that_breaks_off_appends_nothing() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "").await;
    for head in ["content-length: 10\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut connection = Connection::open(&server).await;
        let request = format!("POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n{head}");
        connection.send(request.as_bytes()).await;
        connection.finish().await;
        assert!(connection.ended().await);
    }
    assert_eq!(client.head("s").await.offset(), ZERO);
}

#[tokio::test]
async fn chunked_bodies_are_one_append_and_limited_like_others() {
    let server = quick().max_body_bytes(8).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[JSON], "").await;
    let head =
        "POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut connection = Connection::open(&server).await;
    connection.send(format!("{head}3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n").as_bytes()).await;
    assert_eq!(connection.answer(false).await.status, 204);
    assert_eq!(client.get("s").await.text(), "[1,2]");
    let mut connection = Connection::open(&server).await;
    connection.send(format!("{head}5\r\n[1,2,\r\n5\r\n3,44]\r\n0\r\n\r\n").as_bytes()).await;
    assert_eq!(connection.answer(false).await.status, 413);
    assert_eq!(client.get("s").await.text(), "[1,2]");
}

#[tokio::test]
async fn json_text_comes_back_as_it_was_written() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[JSON], "").await;
    client.post("s", &[JSON], "[{\"b\":1.00, \"a\":12345678901234567890}, [1]]").await;
    client.post("s", &[JSON], "\u{feff} \"\u{2028}\\u00e9\" ").await;
    let read = client.get("s").await;
    assert_eq!(read.text(), "[{\"b\":1.00, \"a\":12345678901234567890},[1],\"\u{2028}\\u00e9\"]");
    assert_eq!(client.get(&format!("s?offset={}", read.offset())).await.text(), "[]");
    assert_eq!(client.get("s?offset=now").await.text(), "[]");
}

#[tokio::test]
async fn reads_have_the_headers_of_t_get_and_t_cache() {
    let shared = Some("public, max-age=60, stale-while-revalidate=300");
    let server = quick().max_read_bytes(4).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "abc").await;
    client.post("s", &[TEXT], "def").await;
    let first = client.get("s").await;
    assert_eq!((first.status, first.text(), first.offset()), (200, "abc", at(3)));
    assert_eq!((first.header("stream-up-to-date"), first.header("cache-control")), (None, shared));
    let second = client.get(&format!("s?offset={}", first.offset())).await;
    assert_eq!((second.text(), second.header("stream-up-to-date")), ("def", Some("true")));
    let tail = client.get(&format!("s?offset={}", second.offset())).await;
    assert_eq!((tail.status, tail.text(), tail.header("cache-control")), (200, "", Some("no-store")));
    assert!(tail.header("etag").is_some());
    let now = client.get("s?offset=now").await;
    assert_eq!((now.status, now.text(), now.offset()), (200, "", at(6)));
    assert_eq!((now.header("etag"), now.header("cache-control")), (None, Some("no-store")));
    client.post("s", &[("stream-closed", "true")], "").await;
    let partial = client.get("s").await;
    assert_eq!(partial.header("stream-closed"), None);
    let end = client.get(&format!("s?offset={}", second.offset())).await;
    assert_eq!((end.header("stream-closed"), end.header("cache-control")), (Some("true"), shared));
    assert_ne!(end.header("etag"), tail.header("etag"), "closure changes the tag");
    assert_eq!(client.get("s?offset=now").await.header("stream-closed"), Some("true"));
}

#[tokio::test]
async fn a_tag_that_is_known_gets_304_and_a_recreated_stream_has_others() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "abc").await;
    let first = client.get("s").await;
    let tag = first.header("etag").unwrap().to_owned();
    let same = client.get_with("s", &[("if-none-match", &tag)]).await;
    assert_eq!((same.status, same.header("etag")), (304, Some(tag.as_str())));
    assert_eq!(client.get_with("s", &[("if-none-match", &format!("\"x\", W/{tag}"))]).await.status, 304);
    assert_eq!(client.get_with("s", &[("if-none-match", "*")]).await.status, 304);
    assert_eq!(client.get_with("s", &[("if-none-match", "\"x\"")]).await.status, 200);
    assert_eq!(client.head("s").await.header("etag"), Some(tag.as_str()));
    client.post("s", &[("stream-closed", "true")], "").await;
    assert_eq!(client.get_with("s", &[("if-none-match", &tag)]).await.status, 200);
    client.delete("s").await;
    client.put("s", &[TEXT], "xyz").await;
    let again = client.get_with("s", &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.text()), (200, "xyz"));
    assert_ne!(again.header("stream-incarnation"), first.header("stream-incarnation"));
}

#[tokio::test]
async fn head_tells_everything_and_touches_nothing() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT, ("stream-ttl", "3600")], "abc").await;
    let head = client.head("s").await;
    assert_eq!((head.status, head.offset(), head.header("content-type")), (200, at(3), Some("text/plain")));
    assert_eq!((head.header("stream-ttl"), head.header("cache-control")), (Some("3600"), Some("no-store")));
    assert_eq!(head.header("stream-closed"), None);
    client.put("e", &[("stream-expires-at", "2040-01-01T00:00:00+01:00")], "").await;
    let head = client.head("e").await;
    assert_eq!(head.header("stream-expires-at"), Some("2040-01-01T00:00:00+01:00"));
    assert_eq!(client.head("gone").await.status, 404);
}

#[tokio::test]
async fn c16_every_response_carries_cors_and_security_headers() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "abc").await;
    let tag = client.get("s").await.header("etag").unwrap().to_owned();
    let (_connection, sse) = client.sse("s?offset=-1&live=sse").await;
    let answers = [
        client.put("s", &[TEXT], "").await,
        client.post("s", &[TEXT], "x").await,
        client.get_with("s", &[("if-none-match", &tag)]).await,
        client.get("s?offset=now&live=long-poll").await,
        client.head("s").await,
        client.get("gone").await,
        client.delete("gone").await,
        request(&server, "OPTIONS", "/any/where", &[], b"").await,
        request(&server, "PATCH", "/v1/stream/s", &[], b"").await,
        sse,
    ];
    for answer in answers {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("cross-origin"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert!(answer.header("access-control-allow-headers").unwrap().contains("if-none-match"));
        assert!(answer.header("access-control-expose-headers").unwrap().contains("stream-sse-data-encoding"));
    }
    let preflight = request(&server, "OPTIONS", "/v1/stream/s", &[], b"").await;
    assert_eq!((preflight.status, preflight.body.len()), (204, 0));
    let own = quick().cors_origin("https://app.example").start().await.unwrap();
    let answer = Client(&own).get_with("gone", &[("origin", "https://app.example")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    let none = quick().cors_origin("none").start().await.unwrap();
    let client = Client(&none);
    client.put("s", &[TEXT], "abc").await;
    let preflight = request(&none, "OPTIONS", "/v1/stream/s", &[("origin", "https://app.example")], b"").await;
    assert_eq!(preflight.status, 204);
    for answer in [client.get("s").await, client.post("s", &[TEXT], "x").await, client.get("gone").await, preflight] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        for name in ["allow-origin", "allow-methods", "allow-headers", "expose-headers", "max-age"] {
            assert_eq!(answer.header(&format!("access-control-{name}")), None, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn large_answers_are_compressed_when_the_client_offers_it() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    let body = "compressible ".repeat(50_000);
    client.put("s", &[TEXT], &body).await;
    let plain = client.get("s").await;
    assert_eq!((plain.header("content-encoding"), plain.text()), (None, body.as_str()));
    let zipped = client.get_with("s", &[("accept-encoding", "deflate, gzip")]).await;
    assert_eq!((zipped.header("content-encoding"), zipped.header("vary")), (Some("gzip"), Some("accept-encoding")));
    assert_ne!(zipped.header("etag"), plain.header("etag"));
    let mut unzipped = String::new();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut unzipped).unwrap();
    assert_eq!(unzipped, body);
    let deflated = client.get_with("s", &[("accept-encoding", "gzip;q=0, deflate")]).await;
    assert_eq!(deflated.header("content-encoding"), Some("deflate"));
    let mut inflated = String::new();
    flate2::read::ZlibDecoder::new(&deflated.body[..]).read_to_string(&mut inflated).unwrap();
    assert_eq!(inflated, body);
    let tag = zipped.header("etag").unwrap();
    let known = client.get_with("s", &[("accept-encoding", "gzip"), ("if-none-match", tag)]).await;
    assert_eq!((known.status, known.header("content-encoding")), (304, None));
    client.put("small", &[TEXT], &"x".repeat(1023)).await;
    let small = client.get_with("small", &[("accept-encoding", "gzip")]).await;
    assert_eq!(small.header("content-encoding"), None);
    let off = quick().compression(false).start().await.unwrap();
    Client(&off).put("s", &[TEXT], &body).await;
    let plain = Client(&off).get_with("s", &[("accept-encoding", "gzip")]).await;
    assert_eq!(plain.header("content-encoding"), None);
}

#[tokio::test]
async fn large_json_answers_in_many_blocks_are_one_array() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[JSON], "").await;
    let message = format!("\"{}\"", "m".repeat(10_000));
    let mut connection = Connection::open(&server).await;
    for _ in 0..150 {
        connection.request("POST", "/v1/stream/s", &[JSON], message.as_bytes()).await;
    }
    let (mut total, mut offset) = (0, "-1".to_owned());
    loop {
        let piece = client.get(&format!("s?offset={offset}")).await;
        let messages: Vec<String> = serde_json::from_slice(&piece.body).unwrap();
        assert!(piece.body.len() <= 1 << 20);
        total += messages.len();
        offset = piece.offset();
        if piece.header("stream-up-to-date").is_some() {
            break;
        }
    }
    assert_eq!(total, 150);
}

#[tokio::test]
async fn streams_can_live_at_the_root_or_elsewhere() {
    let server = quick().mount_at_root(true).start().await.unwrap();
    assert_eq!(request(&server, "PUT", "/a/b", &[TEXT], b"x").await.status, 201);
    let fork = [("stream-forked-from", "/a/b")];
    assert_eq!(request(&server, "PUT", "/f", &fork, b"").await.status, 201);
    assert_eq!(request(&server, "GET", "/f", &[], b"").await.text(), "x");
    assert_eq!(server.stream_url("a"), format!("{}/a", server.url()));
    let server = quick().stream_root("/streams/").start().await.unwrap();
    assert_eq!(request(&server, "PUT", "/streams/a", &[TEXT], b"x").await.status, 201);
    assert!(quick().stream_root("streams").start().await.is_err());
}

#[tokio::test]
async fn http2_in_clear_text_serves_the_same_streams() {
    use http_body_util::{BodyExt, Empty};
    use hyper::body::Bytes;
    let server = patient().start().await.unwrap();
    Client(&server).put("s", &[TEXT], "hello").await;
    let socket = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(socket),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let get = |query: &str| {
        hyper::Request::get(format!("{}/v1/stream/s{query}", server.url())).body(Empty::<Bytes>::new()).unwrap()
    };
    // A live read under way does not stand in the way of others on the same connection.
    let waiting = sender.send_request(get("?offset=now&live=long-poll"));
    let read = sender.clone().send_request(get("")).await.unwrap();
    assert_eq!(read.headers()["stream-next-offset"], at(5).as_str());
    assert_eq!(read.into_body().collect().await.unwrap().to_bytes(), "hello");
    Client(&server).post("s", &[TEXT], "!").await;
    assert_eq!(waiting.await.unwrap().into_body().collect().await.unwrap().to_bytes(), "!");
}

#[tokio::test]
async fn injected_faults_follow_their_order_and_are_used_up() {
    let server = quick().fault_injection(true).start().await.unwrap();
    let client = Client(&server);
    client.put("s", &[TEXT], "0123456789").await;
    let inject = async |fault: &str| {
        let answer = request(&server, "POST", "/_test/inject-error", &[JSON], fault.as_bytes()).await;
        (answer.status, answer.text().to_owned())
    };
    assert_eq!(inject(r#"{"path":"/v1/stream/s"}"#).await.0, 400);
    assert_eq!(inject(r#"{"status":500}"#).await.0, 400);
    assert_eq!(inject("nonsense").await.0, 400);

    let ok = (200, r#"{"ok":true}"#.to_owned());
    assert_eq!(inject(r#"{"path":"/v1/stream/s","status":503,"count":2,"retryAfter":7,"method":"GET"}"#).await, ok);
    assert_eq!(client.head("s").await.status, 200, "another method");
    let failed = client.get("s").await;
    assert_eq!(
        (failed.status, failed.header("retry-after"), failed.text()),
        (503, Some("7"), "Injected error for testing")
    );
    assert_eq!(failed.header("access-control-allow-origin"), Some("*"));
    assert_eq!(client.get("s").await.status, 503);
    assert_eq!(client.get("s").await.status, 200);

    inject(r#"{"path":"/v1/stream/s","dropConnection":true}"#).await;
    let mut connection = Connection::open(&server).await;
    connection.start("GET", "/v1/stream/s", &[], b"").await;
    assert!(connection.is_closed().await);
    inject(r#"{"path":"/v1/stream/s","truncateBodyBytes":3}"#).await;
    assert_eq!(client.get("s").await.text(), "012");
    inject(r#"{"path":"/v1/stream/s","corruptBody":true,"delayMs":1,"jitterMs":1}"#).await;
    assert!(client.get("s").await.text().starts_with("XY"));
    inject(r#"{"path":"/v1/stream/s","injectSseEvent":{"eventType":"control","data":"{oops"}}"#).await;
    let (mut connection, _) = client.sse("s?offset=-1&live=sse").await;
    assert_eq!(connection.events(1).await, "event: control\ndata:{oops\n\n");
    inject(r#"{"path":"/v1/stream/s","status":500}"#).await;
    assert_eq!(request(&server, "DELETE", "/_test/inject-error", &[], b"").await.status, 200);
    assert_eq!(client.get("s").await.status, 200);
}

#[tokio::test]
async fn streams_are_listed_in_pages_by_name() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    for name in ["b", "a/2", "a/1", "c"] {
        assert_eq!(client.put(name, &[TEXT], "").await.status, 201);
    }
    let paths = |body: &[u8]| -> (Vec<String>, Option<String>) {
        let page: serde_json::Value = serde_json::from_slice(body).unwrap();
        let streams = page["streams"].as_array().unwrap();
        let names = streams.iter().map(|stream| stream["path"].as_str().unwrap().to_owned()).collect();
        (names, page["next"].as_str().map(str::to_owned))
    };
    let first = client.get("__ds/streams?limit=3").await;
    assert_eq!(paths(&first.body), (vec!["a/1".into(), "a/2".into(), "b".into()], Some("b".into())));
    assert_eq!(paths(&client.get("__ds/streams?limit=3&after=b").await.body), (vec!["c".into()], None));
    assert_eq!(paths(&client.get("__ds/streams?prefix=a%2F").await.body).0, ["a/1", "a/2"]);
    assert_eq!(client.get("__ds/streams?limit=0").await.status, 400);
}
