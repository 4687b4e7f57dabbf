//! What passes through when no fault is met, and the life of the proxy itself.

use std::io::ErrorKind;

use everstream_faults::{Fault, FaultKind, FaultPlan, FaultProxy, Rule};
use tokio::net::TcpStream;

use crate::origin::{Origin, TEXT};
use crate::wire::{End, Wire, request, request_with};

async fn transparent() -> (Origin, FaultProxy) {
    let origin = Origin::start().await;
    let proxy = FaultProxy::start(origin.addr, FaultPlan::none()).await.expect("start");
    (origin, proxy)
}

#[tokio::test]
async fn bodies_pass_both_ways_unchanged() {
    let (origin, proxy) = transparent().await;
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let got = request(proxy.addr(), "POST", "/echo?a=b%20c", &big).await;
    assert_eq!((got.status(), got.end), (Some(200), End::Closed));
    assert!(got.raw_body() == big);
    let seen = origin.seen();
    assert_eq!((seen.requests[0].method.as_str(), seen.requests[0].target.as_str()), ("POST", "/echo?a=b%20c"));
    assert!(seen.requests[0].body == big);
    assert_eq!(proxy.counts().to_string(), "1 requests, 0 faults");
}

#[tokio::test]
async fn chunked_bodies_pass_both_ways() {
    let (origin, proxy) = transparent().await;
    let mut wire = Wire::open(proxy.addr()).await;
    let head = b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    wire.send_raw(&[&head[..], b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"].concat()).await;
    assert_eq!(wire.read_to_end().await.raw_body(), b"abcde");
    assert_eq!(origin.seen().bodies(), [b"abcde"]);
    let got = request(proxy.addr(), "GET", "/chunked", b"").await;
    assert_eq!(got.chunked_body(), (TEXT.as_bytes().to_vec(), true));
}

#[tokio::test]
async fn answers_without_a_body_keep_their_head() {
    let (_origin, proxy) = transparent().await;
    let got = request(proxy.addr(), "HEAD", "/text", b"").await;
    assert_eq!(got.header("content-length"), Some(TEXT.len().to_string()));
    assert_eq!((got.status(), got.raw_body()), (Some(200), &b""[..]));
    let got = request(proxy.addr(), "POST", "/empty", b"x").await;
    assert_eq!((got.status(), got.raw_body()), (Some(204), &b""[..]));
}

#[tokio::test]
async fn headers_of_one_connection_stay_on_it() {
    let (origin, proxy) = transparent().await;
    let sent = [("keep-alive", "timeout=5"), ("te", "trailers"), ("x-hop", "1"), ("producer-seq", "4")];
    let mut wire = Wire::open(proxy.addr()).await;
    wire.send("POST", "/echo", &[&sent[..], &[("connection", "close, X-Hop")]].concat(), b"x").await;
    let got = wire.read_to_end().await;
    let headers = &origin.seen().requests[0].headers;
    for name in ["connection", "keep-alive", "te", "x-hop"] {
        assert!(!headers.contains_key(name), "{name} reached the origin");
    }
    assert_eq!(headers["producer-seq"], "4");
    assert_eq!(headers["host"], "test");
    assert_eq!((got.header("x-private"), got.header("stream-next-offset")), (None, Some("7".to_owned())));
}

#[tokio::test]
async fn connections_are_kept_alive_on_both_sides() {
    let (origin, proxy) = transparent().await;
    let mut wire = Wire::open(proxy.addr()).await;
    for i in 0..20 {
        let mark = format!("request {i};");
        wire.send("POST", "/echo", &[], mark.as_bytes()).await;
        wire.read_until(&mark).await;
        wire.send("GET", "/chunked", &[], b"").await;
        wire.read_until("0\r\n\r\n").await;
        wire.send("POST", "/empty", &[], b"x").await;
        wire.read_until("204 No Content").await;
    }
    let seen = origin.seen();
    assert_eq!((seen.requests.len(), seen.connections), (60, 1));
}

#[tokio::test]
async fn events_pass_while_the_answer_is_open() {
    let (origin, proxy) = transparent().await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.send("GET", "/events?live=sse", &[], b"").await;
    for i in 0..10 {
        // Each is emitted only after the client has read the one before: nothing waits for more to come.
        let event = format!("event: data\ndata:[{i}]\n\n");
        origin.emit(&event);
        wire.read_until(&event).await;
    }
    assert_eq!(origin.seen().abandoned, 0);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_by_the_origin() {
    let (origin, proxy) = transparent().await;
    let mut waiting = Wire::open(proxy.addr()).await;
    waiting.send("GET", "/never", &[], b"").await;
    origin.wait(|seen| seen.requests.len() == 1).await;
    drop(waiting);
    origin.wait(|seen| seen.abandoned == 1).await;

    let mut reading = Wire::open(proxy.addr()).await;
    reading.send("GET", "/events?live=sse", &[], b"").await;
    origin.emit("data:1\n\n");
    reading.read_until("data:1").await;
    drop(reading);
    origin.wait(|seen| seen.abandoned == 2).await;
}

#[tokio::test]
async fn a_server_that_fails_is_a_reset_for_the_client() {
    let (origin, proxy) = transparent().await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.send("GET", "/never", &[], b"").await;
    origin.wait(|seen| seen.requests.len() == 1).await;
    origin.stop();
    assert_eq!(wire.read_to_end().await.end, End::Reset);
    assert_eq!(proxy.counts().upstream_failures, 1);

    let second = Origin::start().await;
    proxy.set_upstream(second.addr);
    assert_eq!(request(proxy.addr(), "POST", "/echo", b"x").await.status(), Some(200));
    assert_eq!(second.seen().requests.len(), 1);
}

#[tokio::test]
async fn a_kept_alive_client_follows_the_server_to_its_new_address() {
    let (first, proxy) = transparent().await;
    let second = Origin::start().await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.send("POST", "/echo", &[], b"one;").await;
    wire.read_until("one;").await;
    proxy.set_upstream(second.addr);
    wire.send("POST", "/echo", &[], b"two;").await;
    wire.read_until("two;").await;
    assert_eq!((first.seen().bodies(), second.seen().bodies()), (vec![&b"one;"[..]], vec![&b"two;"[..]]));
}

#[tokio::test]
async fn faults_stop_when_told() {
    let (_origin, proxy) = transparent().await;
    proxy.set_plan(FaultPlan::scripted([Rule::new(Fault::ResetBefore).always()]));
    assert_eq!(request(proxy.addr(), "POST", "/echo", b"x").await.end, End::Reset);
    assert_eq!(request(proxy.addr(), "POST", "/echo", b"x").await.end, End::Reset);
    proxy.stop_faults();
    assert_eq!(request(proxy.addr(), "POST", "/echo", b"x").await.status(), Some(200));
    let counts = proxy.counts();
    assert_eq!((counts.requests, counts.total(), counts.of(FaultKind::ResetBefore)), (3, 2, 2));
}

#[tokio::test]
async fn it_listens_where_it_is_told_and_stops_when_shut_down() {
    let (origin, proxy) = transparent().await;
    let addr = proxy.addr();
    assert_eq!(proxy.url(), format!("http://127.0.0.1:{}", addr.port()));
    let mut open = Wire::open(addr).await;
    open.send("GET", "/never", &[], b"").await;
    origin.wait(|seen| seen.requests.len() == 1).await;
    proxy.shutdown().await;
    assert_eq!(TcpStream::connect(addr).await.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
    assert!(open.read_to_end().await.bytes.is_empty());
    origin.wait(|seen| seen.abandoned == 1).await;

    let again = FaultProxy::start_on(addr, origin.addr, FaultPlan::none()).await.expect("the address is free again");
    assert_eq!(again.addr(), addr);
    assert_eq!(request_with(addr, "POST", "/echo", &[], b"x").await.status(), Some(200));
}
