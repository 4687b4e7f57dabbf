//! Faults on the way to the server.

use std::time::{Duration, Instant};

use everstream_faults::{Fault, FaultKind, FaultPlan, FaultProxy, Method, Rule};

use crate::origin::Origin;
use crate::wire::{End, Wire, request};

async fn first_meets(fault: Fault) -> (Origin, FaultProxy) {
    let origin = Origin::start().await;
    let proxy = FaultProxy::start(origin.addr, FaultPlan::scripted([Rule::new(fault)])).await.expect("start");
    (origin, proxy)
}

#[tokio::test]
async fn reset_before_keeps_the_request_from_the_server() {
    let (origin, proxy) = first_meets(Fault::ResetBefore).await;
    let got = request(proxy.addr(), "POST", "/echo", b"x").await;
    assert_eq!((got.end, got.bytes.len()), (End::Reset, 0));
    assert_eq!(origin.seen().connections, 0);
    assert_eq!(request(proxy.addr(), "POST", "/echo", b"again").await.raw_body(), b"again");
    assert_eq!(origin.seen().bodies(), [b"again"]);
}

#[tokio::test]
async fn a_truncated_request_reaches_the_server_by_half() {
    let (origin, proxy) = first_meets(Fault::TruncateRequest).await;
    let got = request(proxy.addr(), "POST", "/echo", b"0123456789").await;
    assert_eq!((got.end, got.bytes.len()), (End::Reset, 0));
    let seen = origin.wait(|seen| seen.broken.len() == 1).await;
    assert_eq!(seen.broken[0], "01234");
    assert!(seen.requests.is_empty());
    assert_eq!(proxy.counts().of(FaultKind::TruncateRequest), 1);
}

#[tokio::test]
async fn a_large_truncated_request_arrives_to_its_last_byte_before_the_cut() {
    let (origin, proxy) = first_meets(Fault::TruncateRequest).await;
    let got = request(proxy.addr(), "POST", "/echo", &vec![7; 4_000_000]).await;
    assert_eq!(got.end, End::Reset);
    let seen = origin.wait(|seen| seen.broken.len() == 1).await;
    assert_eq!(seen.broken[0].len(), 2_000_000);
}

#[tokio::test]
async fn a_truncated_chunked_request_has_no_last_chunk() {
    let (origin, proxy) = first_meets(Fault::TruncateRequest).await;
    let mut wire = Wire::open(proxy.addr()).await;
    let head = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    wire.send_raw(&[&head[..], b"4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"].concat()).await;
    assert_eq!(wire.read_to_end().await.end, End::Reset);
    let seen = origin.wait(|seen| seen.broken.len() == 1).await;
    assert_eq!(seen.broken[0], "abc");
    assert!(seen.requests.is_empty());
}

#[tokio::test]
async fn a_request_without_a_body_is_not_truncated_into_a_whole_one() {
    let (origin, proxy) = first_meets(Fault::TruncateRequest).await;
    assert_eq!(request(proxy.addr(), "GET", "/text", b"").await.end, End::Reset);
    assert_eq!(origin.seen().connections, 0);
}

#[tokio::test]
async fn a_duplicate_is_handled_twice_and_answered_once() {
    let (origin, proxy) = first_meets(Fault::Duplicate).await;
    let got = request(proxy.addr(), "POST", "/echo", b"twice").await;
    assert_eq!((got.status(), got.end, got.raw_body()), (Some(200), End::Closed, &b"twice"[..]));
    assert_eq!(origin.seen().bodies(), [b"twice", b"twice"]);
    assert_eq!(proxy.counts().requests, 1);
}

#[tokio::test]
async fn a_duplicate_without_an_answer_body_keeps_its_connection() {
    let (origin, proxy) = first_meets(Fault::Duplicate).await;
    assert_eq!(request(proxy.addr(), "POST", "/empty", b"x").await.status(), Some(204));
    let seen = origin.seen();
    assert_eq!((seen.requests.len(), seen.connections), (2, 1));
}

#[tokio::test]
async fn a_delayed_request_arrives_late() {
    let delay = Duration::from_millis(150);
    let (origin, proxy) = first_meets(Fault::Delay(delay)).await;
    let started = Instant::now();
    assert_eq!(request(proxy.addr(), "POST", "/echo", b"late").await.raw_body(), b"late");
    assert!(origin.seen().requests[0].at - started >= delay);
}

#[tokio::test]
async fn a_held_request_arrives_after_the_next_one() {
    // The bound is longer than any wait of these tests: only being overtaken can end the hold.
    let (origin, proxy) = first_meets(Fault::Reorder { bound: Duration::from_secs(600) }).await;
    let mut held = Wire::open(proxy.addr()).await;
    held.send("POST", "/echo", &[], b"first;").await;
    while proxy.counts().of(FaultKind::Reorder) == 0 {
        tokio::task::yield_now().await;
    }
    // Neither another stream nor another method lets it go.
    assert_eq!(request(proxy.addr(), "POST", "/other", b"other").await.status(), Some(200));
    assert_eq!(request(proxy.addr(), "GET", "/echo", b"").await.status(), Some(200));
    assert_eq!(request(proxy.addr(), "POST", "/echo", b"second").await.status(), Some(200));
    held.read_until("first;").await;
    assert_eq!(origin.seen().bodies(), [&b"other"[..], b"", b"second", b"first;"]);
}

#[tokio::test]
async fn a_held_request_that_nothing_overtakes_goes_on_by_itself() {
    let (origin, proxy) = first_meets(Fault::Reorder { bound: Duration::from_millis(20) }).await;
    assert_eq!(request(proxy.addr(), "POST", "/echo", b"alone").await.status(), Some(200));
    assert_eq!(origin.seen().bodies(), [b"alone"]);
}

#[tokio::test]
async fn a_script_harms_exactly_the_request_it_names() {
    let origin = Origin::start().await;
    let script =
        [Rule::new(Fault::ResetAfter).method(Method::POST).nth(2), Rule::new(Fault::ResetBefore).query("live=sse")];
    let proxy = FaultProxy::start(origin.addr, FaultPlan::scripted(script)).await.expect("start");
    let mut ends = Vec::new();
    for (method, target) in [("POST", "/a"), ("GET", "/a"), ("POST", "/a"), ("GET", "/a?live=sse"), ("POST", "/a")] {
        ends.push(request(proxy.addr(), method, target, b"").await.end);
    }
    assert_eq!(ends, [End::Closed, End::Closed, End::Reset, End::Reset, End::Closed]);
    assert_eq!(origin.seen().requests.len(), 4);
}
