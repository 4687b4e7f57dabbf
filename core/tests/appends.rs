//! The appends of one handle: their order, what shares a POST, and whose failure is whose (C-WRITE-4, C10).
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Reply, Script, Seen, answer};
use everstream::{AppendOptions, DurableStream, ErrorKind};
use futures_util::future::join_all;

const URL: &str = "http://h/v1/stream/a";
const JSON: (&str, &str) = ("content-type", "application/json");
const NEXT: (&str, &str) = ("stream-next-offset", "0_5");
const SECOND: Duration = Duration::from_secs(1);

fn slow(reply: Reply) -> Reply {
    Reply::After(SECOND, Box::new(reply))
}

fn slowly_stored(_: &Seen, number: usize) -> Reply {
    let next = ("stream-next-offset", format!("{number}"));
    slow(Reply::Answer { status: 204, headers: vec![next], body: "" })
}

fn text(script: &Script) -> DurableStream {
    script.client().stream(URL).unwrap().with_content_type("text/plain")
}

fn bodies(script: &Script) -> Vec<String> {
    script.seen().iter().map(|seen| String::from_utf8(seen.body.to_vec()).unwrap()).collect()
}

fn seq(seq: &str) -> AppendOptions {
    AppendOptions { seq: Some(seq.into()), ..AppendOptions::default() }
}

/// A POST with the message `first` is under way from here on.
async fn busy(stream: &DurableStream) -> tokio::task::JoinHandle<everstream::Result<everstream::Appended>> {
    let first = tokio::spawn(stream.append("first"));
    tokio::time::sleep(SECOND / 2).await;
    first
}

async fn no_task_is_left() {
    let handle = tokio::runtime::Handle::current();
    while handle.metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn appends_made_meanwhile_share_the_next_post_in_the_order_of_the_calls() {
    let script = Script::new(slowly_stored);
    let stream = text(&script);
    let first = busy(&stream).await;
    // Polled in the reverse order, on clones.
    let mut calls: Vec<_> = (0..9).map(|number| stream.clone().append(format!(",{number}"))).collect();
    calls.reverse();
    for appended in join_all(calls).await {
        assert_eq!(appended.unwrap().offset.unwrap().as_str(), "1");
    }
    assert_eq!(first.await.unwrap().unwrap().offset.unwrap().as_str(), "0");
    assert_eq!(bodies(&script), ["first", ",0,1,2,3,4,5,6,7,8"]);
    no_task_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn json_messages_share_an_array_and_stay_messages() {
    let script = Script::new(slowly_stored);
    let stream = script.client().stream(URL).unwrap().with_content_type("application/json");
    let calls = [stream.append("[1,2]"), stream.append_json("x"), stream.append("{bad"), stream.append("3")];
    let results = join_all(calls).await;
    assert_eq!(results[2].as_ref().unwrap_err().kind(), &ErrorKind::InvalidArgument);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert_eq!(bodies(&script), ["[[1,2],\"x\",3]"]);
}

#[tokio::test(start_paused = true)]
async fn a_post_stays_below_a_mebibyte_and_a_larger_message_goes_alone() {
    let script = Script::new(slowly_stored);
    let stream = text(&script);
    let calls = [600 << 10, 400 << 10, 100 << 10, 2 << 20, 1].map(|size| stream.append(vec![b'x'; size]));
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    let sizes: Vec<_> = script.seen().iter().map(|seen| seen.body.len()).collect();
    assert_eq!(sizes, [1000 << 10, 100 << 10, 2 << 20, 1]);

    // Brackets and commas count: 512 KiB twice, and three bytes around them.
    let script = Script::new(slowly_stored);
    let stream = script.client().stream(URL).unwrap().with_content_type("application/json");
    let digits = |count: usize| stream.append(vec![b'7'; count]);
    join_all([digits(512 << 10), digits((512 << 10) - 2), digits(512 << 10), digits((512 << 10) - 3)]).await;
    let sizes: Vec<_> = script.seen().iter().map(|seen| seen.body.len()).collect();
    assert_eq!(sizes, [(512 << 10) + 2, 512 << 10, 1 << 20]);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_judges_by_itself_goes_alone_and_in_its_turn() {
    let script = Script::new(slowly_stored);
    let stream = text(&script);
    let other = AppendOptions { content_type: Some("text/markdown".into()), ..AppendOptions::default() };
    let appends = [
        stream.append("a"),
        stream.append("b"),
        stream.append_with("c", &seq("1")),
        stream.append_with("d", &seq("2")),
        stream.append("e"),
        stream.append_with("f", &other),
        stream.append("g"),
    ];
    let closes = [stream.close_with("end", &AppendOptions::default()), stream.close()];
    let late = stream.append("late");
    let (appends, closes, late) = tokio::join!(join_all(appends), join_all(closes), late);
    assert!(appends.iter().all(Result::is_ok) && closes.iter().all(Result::is_ok) && late.is_ok());
    assert_eq!(bodies(&script), ["ab", "c", "d", "e", "f", "g", "end", "", "late"]);
    let seen = script.seen();
    assert_eq!((seen[2].header("stream-seq"), seen[3].header("stream-seq")), ("2", ""));
    assert_eq!(seen[4].header("content-type"), "text/markdown");
    let closing: Vec<_> = seen.iter().map(|seen| seen.header("stream-closed") == "true").collect();
    assert_eq!(closing, [false, false, false, false, false, false, true, true, false]);
    assert_eq!(closes[1].as_ref().unwrap().final_offset.as_ref().unwrap().as_str(), "7");
}

#[tokio::test(start_paused = true)]
async fn c10_a_message_that_is_given_up_before_its_turn_is_not_sent() {
    let script = Script::new(slowly_stored);
    let stream = text(&script);
    let first = busy(&stream).await;
    let (a, b, c) = (stream.append("a"), stream.append("b"), stream.append("c"));
    assert!(tokio::time::timeout(SECOND / 4, b).await.is_err());
    let (a, c) = tokio::join!(a, c);
    assert!(a.is_ok() && c.is_ok() && first.await.unwrap().is_ok());
    assert_eq!(bodies(&script), ["first", "ac"]);
}

#[tokio::test(start_paused = true)]
async fn c10_a_post_goes_on_while_one_of_its_callers_waits() {
    let script = Script::new(slowly_stored);
    let stream = text(&script);
    let (a, b) = (stream.append("a"), stream.append("b"));
    let a = tokio::time::timeout(SECOND / 2, a);
    let (a, b) = tokio::join!(a, b);
    assert!(a.is_err() && b.is_ok());
    assert_eq!((bodies(&script), *script.aborted.lock().unwrap()), (vec!["ab".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_post_that_nobody_waits_for_is_aborted_and_the_next_one_goes() {
    let script = Script::new(|seen, number| match &seen.body[..] {
        b"ab" => Reply::Silence,
        _ => slowly_stored(seen, number),
    });
    let stream = text(&script);
    let (a, b) = (stream.append("a"), stream.append("b"));
    let both = tokio::spawn(async { tokio::join!(a, b) });
    tokio::time::sleep(SECOND).await;
    let begun = tokio::time::Instant::now();
    let c = stream.append("c");
    both.abort();
    assert!(c.await.is_ok());
    assert_eq!((*script.aborted.lock().unwrap(), begun.elapsed()), (1, SECOND));

    assert!(tokio::time::timeout(SECOND / 2, stream.append("alone")).await.is_err());
    no_task_is_left().await;
    assert_eq!((*script.aborted.lock().unwrap(), begun.elapsed()), (2, SECOND * 3 / 2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_that_of_its_post_alone() {
    let script = Script::new(|seen, number| match &seen.body[..] {
        b"ab" => slow(Reply::Reset),
        _ => slowly_stored(seen, number),
    });
    let stream = text(&script);
    let first = busy(&stream).await;
    let calls = [stream.append("a"), stream.append("b"), stream.append_with("c", &seq("1")), stream.append("d")];
    let results = join_all(calls).await;
    for lost in &results[..2] {
        let error = lost.as_ref().unwrap_err();
        assert_eq!((error.code(), error.outcome_unknown()), ("NETWORK_ERROR", true));
    }
    assert!(results[2..].iter().all(Result::is_ok) && first.await.unwrap().is_ok());
    assert_eq!(bodies(&script), ["first", "ab", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_is_never_polled_goes_with_the_next_one_that_is() {
    let script = Script::new(slowly_stored);
    let stream = text(&script);
    let idle = stream.append("a");
    tokio::time::sleep(SECOND).await;
    assert!(script.seen().is_empty());
    stream.append("b").await.unwrap();
    assert_eq!(bodies(&script), ["ab"]);
    assert!(idle.await.is_ok());
    drop(stream.append("c"));
    stream.append("d").await.unwrap();
    assert_eq!(bodies(&script), ["ab", "d"]);
}

/// HEAD after a second as told, POSTs stored.
fn unknown_type(head: impl Fn() -> Reply + Send + 'static) -> Script {
    Script::new(move |seen, number| match seen.method.as_str() {
        "HEAD" => slow(head()),
        _ => slowly_stored(seen, number),
    })
}

#[tokio::test(start_paused = true)]
async fn an_unknown_content_type_is_asked_for_once_and_bad_json_fails_alone() {
    let script = unknown_type(|| answer(200, &[JSON, NEXT]));
    let stream = script.client().stream(URL).unwrap();
    let calls = [stream.append("1"), stream.append("{bad"), stream.append_json(&[2]), stream.append("3")];
    let closed = stream.close();
    let results = join_all(calls).await;
    assert_eq!(results[1].as_ref().unwrap_err().kind(), &ErrorKind::InvalidArgument);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    closed.await.unwrap();
    let methods: Vec<_> = script.seen().iter().map(|seen| seen.method.clone()).collect();
    assert_eq!(methods, ["HEAD", "POST", "POST"]);
    assert_eq!(bodies(&script)[1..], ["[1,[2],3]", ""]);
}

#[tokio::test(start_paused = true)]
async fn values_on_a_stream_that_is_not_json_fail_alone() {
    let script = unknown_type(|| answer(200, &[("content-type", "text/plain"), NEXT]));
    let stream = script.client().stream(URL).unwrap();
    let results = join_all([stream.append("a"), stream.append_json(&1), stream.append("b")]).await;
    assert_eq!(results[1].as_ref().unwrap_err().kind(), &ErrorKind::NotSupported);
    assert_eq!(bodies(&script)[1..], ["ab"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_content_type_those_who_need_it_fail_and_the_others_go() {
    let script = unknown_type(|| answer(404, &[]));
    let stream = script.client().stream(URL).unwrap();
    let typed = AppendOptions { content_type: Some("text/plain".into()), ..AppendOptions::default() };
    let results = join_all([stream.append("a"), stream.append("b"), stream.append_with("c", &typed)]).await;
    assert!(results[..2].iter().all(|result| result.as_ref().unwrap_err().kind() == &ErrorKind::NotFound));
    assert!(results[2].is_ok());
    assert_eq!(bodies(&script), ["", "c"]);
}

#[tokio::test(start_paused = true)]
async fn the_question_for_the_content_type_outlives_the_one_who_asked_first_but_not_all() {
    let script = unknown_type(|| answer(200, &[JSON, NEXT]));
    let stream = script.client().stream(URL).unwrap();
    let (a, b) = (tokio::time::timeout(SECOND / 2, stream.append("1")), stream.append("2"));
    let (a, b) = tokio::join!(a, b);
    assert!(a.is_err() && b.is_ok());
    assert_eq!(bodies(&script), ["", "[2]"]);

    let script = unknown_type(|| Reply::Silence);
    let stream = script.client().stream(URL).unwrap();
    let both = join_all([stream.append("1"), stream.append("2")]);
    assert!(tokio::time::timeout(SECOND * 2, both).await.is_err());
    no_task_is_left().await;
    assert_eq!((*script.aborted.lock().unwrap(), script.seen().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_batching_each_append_is_a_post_at_once() {
    let script = Script::new(slowly_stored);
    let stream = text(&script).with_batching(false);
    let begun = tokio::time::Instant::now();
    let results = join_all([stream.append("a"), stream.append("b"), stream.append("c")]).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!((bodies(&script).len(), begun.elapsed()), (3, SECOND));
    // Other headers make another handle, which keeps the setting.
    let other = stream.with(&everstream::Extras::new());
    join_all([other.append("d"), other.append("e")]).await;
    assert_eq!(bodies(&script).len(), 5);
}

#[test]
fn a_runtime_that_ends_fails_what_it_carried_and_the_next_one_goes_on() {
    let script = Script::new(|seen, number| match number {
        0 => Reply::Silence,
        _ => slowly_stored(seen, number),
    });
    let stream = text(&script);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let first = runtime();
    let (mut lost, mut waiting) = (None, None);
    first.block_on(async {
        let mut call = stream.append("a");
        assert!(tokio::time::timeout(SECOND, &mut call).await.is_err());
        lost = Some(call);
        waiting = Some(stream.append("b"));
    });
    drop(first);
    runtime().block_on(async {
        let error = lost.unwrap().await.unwrap_err();
        assert_eq!((error.kind(), error.outcome_unknown()), (&ErrorKind::Cancelled, true));
        let error = waiting.unwrap().await.unwrap_err();
        assert_eq!((error.kind(), error.outcome_unknown()), (&ErrorKind::Cancelled, false));
        stream.append("c").await.unwrap();
    });
    assert_eq!(bodies(&script), ["a", "c"]);
}

#[test]
fn a_poll_outside_of_a_runtime_does_not_harm_the_handle() {
    let script = Script::new(slowly_stored);
    let stream = text(&script);
    let mut call = stream.append("a");
    let poll = std::panic::AssertUnwindSafe(|| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = call.as_mut().poll(&mut context);
    });
    assert!(std::panic::catch_unwind(poll).is_err());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(stream.append("b")).unwrap();
    assert_eq!(bodies(&script), ["b"]);
}
