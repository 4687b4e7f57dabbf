//! Handles whose appends have an identity: sent again after any failure, stored once (ruling 4 of the API).
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Reply, Script, Seen, answer};
use everstream::{AppendOptions, DurableStream, ErrorKind};
use futures_util::future::join_all;

const URL: &str = "http://h/v1/stream/a";
const NEXT: (&str, &str) = ("stream-next-offset", "0_5");
const CLOSED: (&str, &str) = ("stream-closed", "true");
const SECOND: Duration = Duration::from_secs(1);

fn stream(script: &Script) -> DurableStream {
    script.client().stream(URL).unwrap().with_content_type("text/plain").idempotent()
}

/// Epoch, seq and body of each request, after a check that all have the same id.
fn posts(seen: &[Seen]) -> Vec<(&str, &str, &str)> {
    let id = seen[0].header("producer-id");
    assert!(id.len() == "handle-".len() + 16 && id.starts_with("handle-"), "{id}");
    seen.iter()
        .map(|seen| {
            assert_eq!(seen.header("producer-id"), id);
            (seen.header("producer-epoch"), seen.header("producer-seq"), std::str::from_utf8(&seen.body).unwrap())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn c4_an_append_whose_answer_is_lost_is_sent_again_as_it_was() {
    let script = Script::new(|_, number| match number {
        0 => Reply::Reset,
        1 => answer(502, &[]),
        2 => answer(204, &[NEXT]),
        _ => answer(200, &[NEXT]),
    });
    let stream = stream(&script);
    let appended = stream.append("a").await.unwrap();
    assert_eq!((appended.offset.unwrap().as_str(), appended.duplicate), ("0_5", true));
    assert!(!stream.clone().append("b").await.unwrap().duplicate);
    assert_eq!(posts(&script.seen()), [("0", "0", "a"), ("0", "0", "a"), ("0", "0", "a"), ("0", "1", "b")]);
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_post_share_its_number_and_each_handle_has_its_own_id() {
    let script = Script::new(|_, number| match number {
        0 => Reply::Reset,
        _ => Reply::After(SECOND, Box::new(answer(200, &[NEXT]))),
    });
    let stream = stream(&script);
    let first = tokio::spawn(stream.append("a"));
    tokio::time::sleep(SECOND / 2).await;
    let results = join_all([stream.append("b"), stream.append("c")]).await;
    assert!(results.iter().all(Result::is_ok) && first.await.unwrap().is_ok());
    assert_eq!(posts(&script.seen()), [("0", "0", "a"), ("0", "0", "a"), ("0", "1", "bc")]);

    let one_by_one = stream.with_batching(false);
    assert!(join_all([one_by_one.append("d"), one_by_one.append("e")]).await.iter().all(Result::is_ok));
    assert_eq!(posts(&script.seen()[3..]), [("0", "0", "d"), ("0", "1", "e")]);
    assert_ne!(script.seen()[3].header("producer-id"), script.seen()[0].header("producer-id"));
}

#[tokio::test(start_paused = true)]
async fn a_close_with_a_message_has_a_number_and_one_without_needs_none() {
    let script = Script::new(|seen, number| match (seen.body.is_empty(), number) {
        (false, 0) => Reply::Reset,
        _ => answer(204, &[NEXT, CLOSED]),
    });
    let stream = stream(&script);
    let closed = stream.close_with("end", &AppendOptions::default()).await.unwrap();
    assert_eq!(closed.final_offset.unwrap().as_str(), "0_5");
    let seen = script.seen();
    assert_eq!(posts(&seen), [("0", "0", "end"), ("0", "0", "end")]);
    assert!(seen.iter().all(|seen| seen.header("stream-closed") == "true"));
    stream.close().await.unwrap();
    assert!(!script.seen()[2].headers.contains_key("producer-id"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_for_ever() {
    let script = Script::new(|seen, _| match &seen.body[..] {
        b"large" => answer(413, &[]),
        b"lost" => Reply::Reset,
        _ => answer(200, &[NEXT]),
    });
    let stream = stream(&script);
    let results = join_all(["a", "large", "b", "lost", "c"].map(|data| {
        // Alone in its POST.
        let alone = AppendOptions { content_type: Some(format!("text/{data}")), ..AppendOptions::default() };
        stream.append_with(data, &alone)
    }))
    .await;
    let errors: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!((errors[0].kind(), errors[0].outcome_unknown()), (&ErrorKind::PayloadTooLarge, false));
    assert_eq!((errors[1].kind(), errors[1].outcome_unknown()), (&ErrorKind::Network, true));
    assert_eq!(errors.len(), 2);
    let mut seen = script.seen();
    seen.dedup_by_key(|seen| seen.body.clone());
    assert_eq!(posts(&seen[..2]), [("0", "0", "a"), ("0", "1", "large")]);
    // What was refused or may have been stored used up its identity.
    assert_eq!(posts(&seen[2..4]), [("0", "0", "b"), ("0", "1", "lost")]);
    assert_eq!(posts(&seen[4..]), [("0", "0", "c")]);
    assert_ne!(seen[0].header("producer-id"), seen[2].header("producer-id"));
}

#[tokio::test(start_paused = true)]
async fn an_append_that_is_given_up_leaves_no_number_behind() {
    let script = Script::new(|seen, _| match &seen.body[..] {
        b"slow" => Reply::Silence,
        _ => answer(200, &[NEXT]),
    });
    let stream = stream(&script);
    stream.append("a").await.unwrap();
    assert!(tokio::time::timeout(SECOND, stream.append("slow")).await.is_err());
    stream.append("b").await.unwrap();
    let seen = script.seen();
    assert_eq!(posts(&seen[..2]), [("0", "0", "a"), ("0", "1", "slow")]);
    assert_eq!(posts(&seen[2..]), [("0", "0", "b")]);
    assert_ne!(seen[0].header("producer-id"), seen[2].header("producer-id"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forgot_the_identity_gets_the_append_under_a_new_one() {
    let script = Script::new(|_, number| match number {
        1 => answer(409, &[("producer-expected-seq", "0"), ("producer-received-seq", "1")]),
        // The same, but an earlier try may have been stored before.
        3 => Reply::Reset,
        4 => answer(409, &[("producer-expected-seq", "0"), ("producer-received-seq", "1")]),
        _ => answer(200, &[NEXT]),
    });
    let stream = stream(&script);
    stream.append("a").await.unwrap();
    stream.append("b").await.unwrap();
    let seen = script.seen();
    assert_eq!(posts(&seen[..2]), [("0", "0", "a"), ("0", "1", "b")]);
    assert_eq!(posts(&seen[2..]), [("0", "0", "b")]);
    let error = stream.append("c").await.unwrap_err();
    assert_eq!((error.code(), error.outcome_unknown()), ("SEQUENCE_GAP", true));
}

#[tokio::test(start_paused = true)]
async fn a_closed_stream_stays_closed_and_a_seq_is_refused() {
    let script = Script::new(|_, _| answer(409, &[NEXT, CLOSED]));
    let stream = stream(&script);
    for _ in 0..2 {
        let error = stream.append("a").await.unwrap_err();
        assert_eq!(error.final_offset().unwrap().as_str(), "0_5");
    }
    // A repeat of a seq could be taken for what was stored under it before the close.
    assert_ne!(script.seen()[0].header("producer-id"), script.seen()[1].header("producer-id"));
    let options = AppendOptions { seq: Some("1".into()), ..AppendOptions::default() };
    assert_eq!(stream.append_with("a", &options).await.unwrap_err().kind(), &ErrorKind::InvalidArgument);
    assert_eq!(script.seen().len(), 2);
}
