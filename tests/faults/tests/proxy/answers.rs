//! Faults on the way back: the server has done its work each time.

use std::time::{Duration, Instant};

use everstream_faults::{
    Answer, AnswerEnd, CutAt, Fault, FaultKind, FaultPlan, FaultProxy, HeaderName, HeaderValue, Rule, StatusCode,
};

use crate::origin::{Origin, TEXT};
use crate::wire::{End, Got, Wire, request};

async fn first_meets(fault: Fault) -> (Origin, FaultProxy) {
    let origin = Origin::start().await;
    let proxy = FaultProxy::start(origin.addr, FaultPlan::scripted([Rule::new(fault)])).await.expect("start");
    (origin, proxy)
}

async fn cut(target: &str, at: CutAt) -> Got {
    let (origin, proxy) = first_meets(Fault::CutBody { at }).await;
    let got = request(proxy.addr(), "GET", target, b"").await;
    assert_eq!(origin.seen().requests.len(), 1);
    got
}

#[tokio::test]
async fn reset_after_loses_the_answer_of_work_that_was_done() {
    let (origin, proxy) = first_meets(Fault::ResetAfter).await;
    let got = request(proxy.addr(), "POST", "/echo", b"kept").await;
    assert_eq!((got.end, got.bytes.len()), (End::Reset, 0));
    assert_eq!(origin.seen().bodies(), [b"kept"]);
}

#[tokio::test]
async fn a_status_hides_the_request_from_the_server() {
    let code = StatusCode::TOO_MANY_REQUESTS;
    let (origin, proxy) = first_meets(Fault::Status { code, retry_after: Some(3), after: false }).await;
    let got = request(proxy.addr(), "POST", "/echo", &vec![1; 1_000_000]).await;
    assert_eq!((got.status(), got.end, got.header("retry-after")), (Some(429), End::Closed, Some("3".to_owned())));
    assert_eq!(origin.seen().connections, 0);
}

#[tokio::test]
async fn a_status_after_hides_the_answer_from_the_client() {
    let (origin, proxy) = first_meets(Fault::status_after(StatusCode::SERVICE_UNAVAILABLE)).await;
    let got = request(proxy.addr(), "POST", "/echo", b"kept").await;
    assert_eq!((got.status(), got.header("retry-after"), got.header("stream-next-offset")), (Some(503), None, None));
    assert_eq!(origin.seen().bodies(), [b"kept"]);
}

#[tokio::test]
async fn a_status_leaves_the_connection_usable() {
    let (origin, proxy) = first_meets(Fault::status(StatusCode::BAD_GATEWAY)).await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.send("POST", "/echo", &[], b"lost").await;
    wire.read_until("Injected fault").await;
    wire.send("POST", "/echo", &[], b"kept;").await;
    wire.read_until("kept;").await;
    assert_eq!(origin.seen().bodies(), [b"kept;"]);
}

#[tokio::test]
async fn an_answer_is_held_back_after_the_work_is_done() {
    let delay = Duration::from_millis(150);
    let (origin, proxy) = first_meets(Fault::DelayAfter(delay)).await;
    assert_eq!(request(proxy.addr(), "POST", "/echo", b"slow").await.raw_body(), b"slow");
    assert!(origin.seen().requests[0].at.elapsed() >= delay);
}

#[tokio::test]
async fn a_body_of_known_length_is_cut_inside_a_character() {
    // The second byte of "é".
    let got = cut("/text", CutAt::Byte(2)).await;
    assert_eq!((got.status(), got.end), (Some(200), End::Reset));
    assert_eq!(got.header("content-length"), Some(TEXT.len().to_string()));
    assert_eq!(got.header("stream-next-offset"), Some("7".to_owned()));
    assert_eq!(got.raw_body(), b"h\xc3");
    assert!(std::str::from_utf8(got.raw_body()).is_err());
}

#[tokio::test]
async fn a_chunked_body_is_cut_inside_a_character() {
    let got = cut("/chunked", CutAt::Byte(12)).await;
    let (data, complete) = got.chunked_body();
    assert_eq!((got.end, complete), (End::Reset, false));
    assert_eq!(data, &TEXT.as_bytes()[..12]);
}

#[tokio::test]
async fn a_part_is_a_part_of_the_length_known_or_not() {
    let half = TEXT.len() / 2;
    assert_eq!(cut("/text", CutAt::Part(0.5)).await.raw_body(), &TEXT.as_bytes()[..half]);
    assert_eq!(cut("/chunked", CutAt::Part(0.5)).await.chunked_body(), (TEXT.as_bytes()[..half].to_vec(), false));
}

#[tokio::test]
async fn a_cut_behind_the_end_still_cuts() {
    let got = cut("/text", CutAt::Byte(1_000_000)).await;
    assert_eq!((got.end, got.raw_body()), (End::Reset, &TEXT.as_bytes()[..TEXT.len() - 1]));
    let got = cut("/chunked", CutAt::Byte(1_000_000)).await;
    assert_eq!((got.end, got.chunked_body()), (End::Reset, (TEXT.as_bytes().to_vec(), false)));
}

#[tokio::test]
async fn a_cut_before_the_first_byte_sends_the_head() {
    let got = cut("/text", CutAt::Byte(0)).await;
    assert_eq!((got.status(), got.end, got.raw_body()), (Some(200), End::Reset, &b""[..]));
}

#[tokio::test]
async fn an_answer_without_a_body_is_dropped_by_a_cut() {
    let got = cut("/empty", CutAt::Byte(0)).await;
    assert_eq!((got.end, got.bytes.len()), (End::Reset, 0));
}

#[tokio::test]
async fn a_large_body_arrives_to_the_last_byte_before_the_cut() {
    let (_origin, proxy) = first_meets(Fault::CutBody { at: CutAt::Byte(5_000_000) }).await;
    let body: Vec<u8> = (0..6_000_000_u32).map(|i| (i % 251) as u8).collect();
    let got = request(proxy.addr(), "POST", "/echo", &body).await;
    assert_eq!(got.end, End::Reset);
    assert!(got.raw_body() == &body[..5_000_000], "{} bytes arrived", got.raw_body().len());
}

#[tokio::test]
async fn a_stalled_answer_sends_its_part_and_then_nothing_until_the_reset() {
    let pause = Duration::from_millis(150);
    let (origin, proxy) = first_meets(Fault::Stall { at: CutAt::Byte(4), pause }).await;
    let started = Instant::now();
    let mut wire = Wire::open(proxy.addr()).await;
    wire.send("GET", "/text", &[], b"").await;
    let begin = wire.read_until("h\u{e9}l").await;
    assert!(begin.ends_with("h\u{e9}l"));
    let rest = wire.read_to_end().await;
    assert_eq!((rest.end, rest.bytes.len()), (End::Reset, 0));
    assert!(started.elapsed() >= pause);
    assert_eq!(origin.seen().requests.len(), 1);
}

#[tokio::test]
async fn a_stalled_answer_without_a_body_never_comes() {
    let pause = Duration::from_millis(50);
    let (origin, proxy) = first_meets(Fault::Stall { at: CutAt::Byte(4), pause }).await;
    let started = Instant::now();
    let got = request(proxy.addr(), "POST", "/empty", b"x").await;
    assert_eq!((got.end, got.bytes.len()), (End::Reset, 0));
    assert!(started.elapsed() >= pause);
    assert_eq!(origin.seen().requests.len(), 1);
}

/// Emits three events of 7 bytes and reads until the connection ends.
async fn cut_events(after_bytes: u64, clean: bool) -> Got {
    let (origin, proxy) = first_meets(Fault::CutSse { after_bytes, clean }).await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.send("GET", "/events?live=sse", &[("connection", "close")], b"").await;
    for event in ["data:1\n", "data:2\n", "data:3\n"] {
        origin.emit(event);
    }
    let got = wire.read_to_end().await;
    origin.wait(|seen| seen.abandoned == 1).await;
    got
}

#[tokio::test]
async fn events_can_end_cleanly_at_any_byte() {
    for after_bytes in 0..20 {
        let got = cut_events(after_bytes, true).await;
        assert_eq!((got.status(), got.end), (Some(200), End::Closed));
        let sent = b"data:1\ndata:2\ndata:3\n";
        assert_eq!(got.chunked_body(), (sent[..after_bytes as usize].to_vec(), true));
    }
}

#[tokio::test]
async fn events_can_end_in_a_reset_at_any_byte() {
    for after_bytes in 0..20 {
        let got = cut_events(after_bytes, false).await;
        assert_eq!((got.status(), got.end), (Some(200), End::Reset));
        let sent = b"data:1\ndata:2\ndata:3\n";
        assert_eq!(got.chunked_body(), (sent[..after_bytes as usize].to_vec(), false));
    }
}

#[tokio::test]
async fn events_that_end_before_the_cut_end_as_the_fault_says() {
    for (clean, end) in [(true, End::Closed), (false, End::Reset)] {
        let (origin, proxy) = first_meets(Fault::CutSse { after_bytes: 1_000, clean }).await;
        let mut wire = Wire::open(proxy.addr()).await;
        wire.send("GET", "/events?live=sse", &[("connection", "close")], b"").await;
        origin.emit("data:1\n");
        origin.emit("");
        let got = wire.read_to_end().await;
        assert_eq!((got.end, got.chunked_body()), (end, (b"data:1\n".to_vec(), clean)));
    }
}

#[tokio::test]
async fn a_written_answer_arrives_piece_by_piece_and_the_server_sees_nothing() {
    let answer = Answer::new(StatusCode::OK)
        .header(HeaderName::from_static("stream-next-offset"), HeaderValue::from_static("9"))
        .piece("ab")
        .piece("c");
    for (end, ended, complete) in [(AnswerEnd::Complete, End::Closed, true), (AnswerEnd::Reset, End::Reset, false)] {
        let (origin, proxy) = first_meets(Fault::Answer(Box::new(answer.clone().end(end)))).await;
        let got = request(proxy.addr(), "GET", "/text", b"").await;
        assert_eq!((got.status(), got.header("stream-next-offset"), got.end), (Some(200), Some("9".to_owned()), ended));
        assert_eq!(got.chunked_body(), (b"abc".to_vec(), complete));
        assert!(got.bytes.windows(8).any(|part| part == b"2\r\nab\r\n1"), "the pieces are chunks of their own");
        assert_eq!(origin.seen().connections, 0);
    }
}

#[tokio::test]
async fn a_written_answer_stays_open_until_the_client_goes() {
    let answer = Answer::new(StatusCode::OK).piece("ab").end(AnswerEnd::Open);
    let (_origin, proxy) = first_meets(Fault::Answer(Box::new(answer))).await;
    let mut wire = Wire::open(proxy.addr()).await;
    wire.send("GET", "/text", &[], b"").await;
    wire.read_until("ab").await;
    assert_eq!(request(proxy.addr(), "GET", "/text", b"").await.raw_body(), TEXT.as_bytes());
}

#[tokio::test]
async fn a_recording_proxy_remembers_requests_and_their_fate() {
    let (_origin, proxy) = first_meets(Fault::ResetBefore).await;
    proxy.record();
    request(proxy.addr(), "POST", "/echo?b=1&a=%20", b"lost").await;
    request(proxy.addr(), "POST", "/echo", b"kept").await;
    let seen = proxy.requests();
    let told: Vec<_> = seen.iter().map(|it| (&it.body[..], it.query.as_deref(), it.fault, it.status)).collect();
    assert_eq!(told[0], (&b"lost"[..], Some("b=1&a=%20"), Some(FaultKind::ResetBefore), None));
    assert_eq!(told[1], (&b"kept"[..], None, None, Some(200)));
}
