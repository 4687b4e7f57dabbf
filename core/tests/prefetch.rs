//! Reads that ask for what follows before the body of an answer is complete, over a scripted transport with time paused.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Reply, Script, with_body};
use everstream::{LiveMode, ReadOptions, Reader};

const URL: &str = "http://h/v1/stream/a";
const TEXT: (&str, &str) = ("content-type", "text/plain");
const UP_TO_DATE: (&str, &str) = ("stream-up-to-date", "true");

fn reader(script: &Script) -> Reader {
    let options = ReadOptions { live: LiveMode::CatchUp, prefetch: true, ..ReadOptions::default() };
    script.client().stream(URL).unwrap().read(options)
}

/// The offsets that were asked for, in order.
fn asked(script: &Script) -> Vec<String> {
    script.seen().iter().map(|seen| seen.url.rsplit_once("offset=").unwrap().1.to_owned()).collect()
}

async fn collected(mut reader: Reader) -> String {
    String::from_utf8(reader.collect_bytes().await.unwrap().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn everything_is_asked_for_once_and_handed_over_in_order() {
    let script = Script::new(|_, number| match number {
        0 => with_body(200, &[TEXT, ("stream-next-offset", "1")], "a"),
        1 => with_body(200, &[TEXT, ("stream-next-offset", "2")], "b"),
        _ => with_body(200, &[TEXT, ("stream-next-offset", "3"), UP_TO_DATE], "c"),
    });
    let mut reader = reader(&script);
    assert_eq!(reader.next().await.unwrap().unwrap().bytes(), "a");
    assert_eq!(asked(&script), ["-1", "1"], "the second request has left already, and not the third");
    assert_eq!(reader.offset().unwrap().as_str(), "1");
    assert_eq!(collected(reader).await, "bc");
    assert_eq!(asked(&script), ["-1", "1", "2"]);
    assert_eq!(*script.aborted.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn c_read_3_what_was_asked_for_too_early_is_dropped_with_a_body_that_breaks_off() {
    let script = Script::new(|_, number| match number {
        0 => Reply::Open {
            headers: vec![("content-type", "text/plain".into()), ("stream-next-offset", "2".into())],
            body: "a",
        },
        1 => Reply::Silence,
        2 => with_body(200, &[TEXT, ("stream-next-offset", "2")], "ab"),
        _ => with_body(200, &[TEXT, ("stream-next-offset", "3"), UP_TO_DATE], "c"),
    });
    assert_eq!(collected(reader(&script)).await, "abc");
    assert_eq!(asked(&script), ["-1", "2", "-1", "2"]);
    assert_eq!(*script.aborted.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_early_request_that_failed_is_made_again() {
    let script = Script::new(|_, number| match number {
        0 => with_body(200, &[TEXT, ("stream-next-offset", "1")], "a"),
        1 => Reply::Reset,
        _ => with_body(200, &[TEXT, ("stream-next-offset", "2"), UP_TO_DATE], "b"),
    });
    assert_eq!(collected(reader(&script)).await, "ab");
    assert_eq!(asked(&script), ["-1", "1", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_aborts_both_requests() {
    let script = Script::new(|_, number| match number {
        0 => Reply::Open {
            headers: vec![("content-type", "text/plain".into()), ("stream-next-offset", "2".into())],
            body: "a",
        },
        1 => Reply::Silence,
        _ => with_body(200, &[TEXT, ("stream-next-offset", "2"), UP_TO_DATE], "ab"),
    });
    let mut reader = reader(&script);
    assert!(tokio::time::timeout(Duration::from_secs(1), reader.next()).await.is_err());
    assert_eq!(asked(&script), ["-1", "2"]);
    reader.pause();
    assert_eq!(*script.aborted.lock().unwrap(), 2);
    assert_eq!(collected(reader).await, "ab");
}
