//! Producers that are there before it is known what their stream is.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Reply, Script, answer};
use everstream::{Delivery, DurableStream, ErrorKind, Producer, ProducerOptions};
use futures_util::future::join_all;

const URL: &str = "http://h/v1/stream/a";
const TEXT: (&str, &str) = ("content-type", "text/plain");
const JSON: (&str, &str) = ("content-type", "application/json");
const NEXT: (&str, &str) = ("stream-next-offset", "0_5");
const CLOSED: (&str, &str) = ("stream-closed", "true");
const SECOND: Duration = Duration::from_secs(1);

/// HEAD after a second as told; what is posted is stored.
fn script(head: impl Fn(usize) -> Reply + Send + 'static) -> Script {
    Script::new(move |seen, number| match (seen.method.as_str(), seen.header("stream-closed")) {
        ("HEAD", _) => Reply::After(SECOND, Box::new(head(number))),
        (_, "true") => answer(200, &[("stream-next-offset", "9"), CLOSED]),
        _ => Reply::Answer { status: 200, headers: vec![("stream-next-offset", format!("{number}"))], body: "" },
    })
}

fn stream(script: &Script) -> DurableStream {
    script.client().stream(URL).unwrap()
}

fn lazy(script: &Script) -> Producer {
    stream(script).producer_lazy("p", ProducerOptions::default()).unwrap()
}

fn bodies(script: &Script) -> Vec<String> {
    let posts = script.seen().into_iter().filter(|seen| seen.method == "POST");
    posts.map(|seen| String::from_utf8(seen.body.to_vec()).unwrap()).collect()
}

async fn no_task_is_left() {
    let handle = tokio::runtime::Handle::current();
    while handle.metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn json_text_goes_only_where_json_goes_and_failures_reach_the_callers_function() {
    let script = Script::new(|_, _| answer(404, &[]));
    let client = script.client();
    let text = client.stream(URL).unwrap().with_content_type("text/plain");
    let options = everstream::AppendOptions::default();
    assert_eq!(text.append_json_text("1", &options).await.unwrap_err().kind(), &ErrorKind::NotSupported);
    let json = client.stream(URL).unwrap().with_content_type("application/json");
    assert_eq!(json.append_json_text("{", &options).await.unwrap_err().kind(), &ErrorKind::InvalidArgument);
    assert!(script.seen().is_empty());

    let producer = json.producer_lazy("p", ProducerOptions::default()).unwrap();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hook = told.clone();
    producer.on_failure(move |error| hook.lock().unwrap().push(error.code()));
    assert_eq!(producer.try_append_json_text("[").unwrap_err().kind(), &ErrorKind::InvalidArgument);
    let delivery = producer.try_append_json_text("[1]").unwrap();
    assert_eq!(delivery.await.unwrap_err().kind(), &ErrorKind::NotFound);
    assert!(producer.flush().await.is_err());
    assert_eq!(*told.lock().unwrap(), ["NOT_FOUND"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_over_meanwhile_is_sent_in_order_and_settled() {
    let script = script(|_| answer(200, &[TEXT, NEXT]));
    let options = ProducerOptions { epoch: 7, ..ProducerOptions::default() };
    let producer = stream(&script).producer_lazy("p", options).unwrap();
    assert!(script.seen().is_empty());
    let first = producer.try_append("a").unwrap();
    let second = producer.append("b").await.unwrap();
    assert_eq!((first.message(), second.message()), (0, 1));
    assert_eq!((producer.epoch(), producer.next_seq(), producer.in_flight()), (7, 0, 0));
    assert_eq!((producer.pending_messages(), producer.last_offset()), (2, None));
    assert!(producer.buffered_bytes() >= 2);
    let flushing = producer.clone();
    let flush = tokio::spawn(async move { flushing.flush().await });
    tokio::time::sleep(SECOND / 2).await;
    let third = producer.append("c").await.unwrap();
    assert!(first.outcome().is_none());
    assert_eq!(flush.await.unwrap().unwrap().messages, 3);
    let receipts = join_all([&first, &second, &third].map(Delivery::wait)).await;
    assert!(receipts.iter().all(|receipt| receipt.as_ref().unwrap().offset.as_ref().unwrap().as_str() == "1"));
    assert_eq!(producer.append("d").await.unwrap().message(), 3);
    producer.flush().await.unwrap();
    assert_eq!(bodies(&script), ["abc", "d"]);
    assert_eq!(script.seen()[1].header("producer-epoch"), "7");
    assert_eq!((producer.pending_messages(), producer.buffered_bytes(), producer.next_seq()), (0, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn messages_before_and_after_the_opening_share_a_batch_and_its_fate() {
    let script = Script::new(|seen, _| match seen.method.as_str() {
        "HEAD" => Reply::After(SECOND, Box::new(answer(200, &[TEXT, NEXT]))),
        _ => answer(404, &[]),
    });
    let options = ProducerOptions { linger: SECOND, ..ProducerOptions::default() };
    let producer = stream(&script).producer_lazy("p", options).unwrap();
    let early = producer.append("a").await.unwrap();
    tokio::time::sleep(SECOND * 3 / 2).await;
    let late = producer.append("b").await.unwrap();
    let outcomes = join_all([&early, &late].map(Delivery::wait)).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().kind() == &ErrorKind::NotFound));
    assert_eq!(bodies(&script), ["ab"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_json_fails_alone_and_the_flush_tells() {
    let script = script(|_| answer(200, &[JSON, NEXT]));
    let producer = lazy(&script);
    assert_eq!(producer.try_append("").unwrap_err().kind(), &ErrorKind::InvalidArgument);
    let deliveries = [
        producer.append("1").await.unwrap(),
        producer.append("{bad").await.unwrap(),
        producer.append_json("x").await.unwrap(),
        producer.append("also bad").await.unwrap(),
    ];
    let error = producer.flush().await.unwrap_err();
    let failures: Vec<_> = error.failures().iter().map(|lost| (lost.first_message, lost.messages)).collect();
    assert_eq!((error.kind(), failures), (&ErrorKind::InvalidArgument, vec![(1, 1), (3, 1)]));
    let outcomes: Vec<_> = deliveries.iter().map(|delivery| delivery.outcome().unwrap().is_ok()).collect();
    assert_eq!(outcomes, [true, false, true, false]);
    assert_eq!(deliveries[1].outcome().unwrap().unwrap_err().url(), Some(URL));
    // From here on it is known.
    assert_eq!(producer.append("{bad").await.unwrap_err().kind(), &ErrorKind::InvalidArgument);
    assert_eq!(producer.append("5").await.unwrap().message(), 4);
    assert_eq!(producer.flush().await.unwrap().messages, 1);
    assert_eq!(bodies(&script), ["[1]", "[\"x\"]", "[5]"]);
}

#[tokio::test(start_paused = true)]
async fn a_value_on_a_stream_that_is_not_json_fails_alone() {
    let script = script(|_| answer(200, &[TEXT, NEXT]));
    let producer = lazy(&script);
    let value = producer.append_json(&1).await.unwrap();
    let bytes = producer.append("a").await.unwrap();
    assert!(bytes.await.is_ok());
    assert_eq!(value.await.unwrap_err().kind(), &ErrorKind::NotSupported);
    assert_eq!(producer.flush().await.unwrap_err().failures().len(), 1);
    assert_eq!(bodies(&script), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_fails_settles_everything_and_later_calls_give_the_error() {
    let script = script(|_| answer(404, &[]));
    let options = ProducerOptions { epoch: 3, max_buffered_bytes: 6, ..ProducerOptions::default() };
    let producer = stream(&script).producer_lazy("p", options).unwrap();
    let deliveries = [producer.append("aa").await.unwrap(), producer.append("bb").await.unwrap()];
    // There is no space for it, and never will be.
    let (waiting, flushed, closed) = tokio::join!(producer.append("cc"), producer.flush(), producer.close(None));
    assert_eq!(waiting.unwrap_err().kind(), &ErrorKind::NotFound);
    assert_eq!(closed.unwrap_err().kind(), &ErrorKind::NotFound);
    let error = flushed.unwrap_err();
    assert_eq!((error.kind(), error.failures()[0].messages), (&ErrorKind::NotFound, 2));
    for delivery in deliveries {
        let error = delivery.await.unwrap_err();
        assert_eq!((error.kind(), error.outcome_unknown(), error.url()), (&ErrorKind::NotFound, false, Some(URL)));
    }
    let errors = [
        producer.try_append("d").unwrap_err(),
        producer.append_json(&1).await.unwrap_err(),
        producer.flush().await.unwrap_err(),
        producer.close(Some(b"end")).await.unwrap_err(),
        producer.detach().await.unwrap_err(),
        producer.restart().await.unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == &ErrorKind::NotFound && error.failures().is_empty()));
    assert_eq!((producer.epoch(), producer.pending_messages(), producer.buffered_bytes()), (3, 0, 0));
    assert_eq!(script.seen().len(), 1);
    no_task_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_flush_after_a_failed_opening_lists_what_was_lost_once() {
    let script = script(|_| answer(410, &[]));
    let producer = lazy(&script);
    let delivery = producer.append("a").await.unwrap();
    assert!(delivery.await.is_err());
    assert_eq!(producer.flush().await.unwrap_err().failures().len(), 1);
    assert!(producer.flush().await.unwrap_err().failures().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_opening_is_tried_again_as_all_requests_are() {
    let script = script(|number| if number < 2 { answer(503, &[]) } else { answer(200, &[TEXT, NEXT]) });
    let producer = lazy(&script);
    assert!(producer.append("a").await.unwrap().await.is_ok());
    assert_eq!(script.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded_and_appends_wait_in_their_order() {
    let script = script(|_| answer(200, &[TEXT, NEXT]));
    let options = ProducerOptions { max_buffered_bytes: 6, linger: Duration::ZERO, ..ProducerOptions::default() };
    let producer = stream(&script).producer_lazy("p", options).unwrap();
    assert_eq!(producer.try_append("1234567").unwrap_err().kind(), &ErrorKind::InvalidArgument);
    let appends = (10..20).map(|number| {
        let producer = producer.clone();
        async move { producer.append(number.to_string()).await.unwrap() }
    });
    let appends = tokio::spawn(join_all(appends));
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!((producer.pending_messages(), producer.buffered_bytes()), (2, 6));
    assert_eq!(producer.try_append("x").unwrap_err().kind(), &ErrorKind::BufferFull);
    let deliveries = appends.await.unwrap();
    assert_eq!(deliveries.iter().map(Delivery::message).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    producer.flush().await.unwrap();
    assert_eq!(bodies(&script).concat(), "10111213141516171819");
}

#[tokio::test(start_paused = true)]
async fn close_detach_and_restart_take_their_turn() {
    let script = script(|_| answer(200, &[TEXT, NEXT]));
    let producer = lazy(&script);
    producer.append("a").await.unwrap();
    let (first, second, late) = tokio::join!(producer.close(Some(b"end")), producer.close(None), async {
        assert_eq!(producer.pending_messages(), 2);
        producer.append("late").await
    });
    assert!(first.unwrap().closed && second.unwrap().closed);
    assert_eq!(late.unwrap_err().kind(), &ErrorKind::AlreadyClosed);
    assert_eq!(bodies(&script), ["a", "end"]);

    let producer = lazy(&script);
    producer.append("b").await.unwrap();
    let (detached, late, closed) = tokio::join!(producer.detach(), producer.append("late"), producer.close(None));
    assert_eq!(detached.unwrap().messages, 1);
    assert_eq!(late.unwrap_err().kind(), &ErrorKind::AlreadyClosed);
    assert_eq!(closed.unwrap_err().kind(), &ErrorKind::AlreadyClosed);

    let producer = lazy(&script);
    producer.append("c").await.unwrap();
    producer.restart().await.unwrap();
    assert_eq!((producer.epoch(), producer.next_seq()), (1, 0));
    assert!(producer.append("d").await.unwrap().await.is_ok());
    assert_eq!(bodies(&script)[2..], ["b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_last_message_fails_the_close_alone() {
    let script = script(|_| answer(200, &[JSON, NEXT]));
    let producer = lazy(&script);
    let delivery = producer.append("1").await.unwrap();
    assert_eq!(producer.close(Some(b"{bad")).await.unwrap_err().kind(), &ErrorKind::InvalidArgument);
    assert!(delivery.await.is_ok());
    assert!(producer.close(Some(b"2")).await.unwrap().closed);
    assert_eq!(bodies(&script), ["[1]", "[2]"]);
}

#[tokio::test(start_paused = true)]
async fn a_known_stream_is_not_asked_unless_the_tail_is_wanted() {
    let script = script(|_| answer(200, &[JSON, NEXT]));
    let stream = stream(&script).with_content_type("application/json");
    let producer = stream.producer_lazy("p", ProducerOptions::default()).unwrap();
    assert!(producer.append("1").await.unwrap().await.is_ok());
    assert!(script.seen().iter().all(|seen| seen.method == "POST"));

    let options = ProducerOptions { auto_claim: true, ..ProducerOptions::default() };
    let producer = stream.producer_lazy("q", options).unwrap();
    assert_eq!(producer.append("{bad").await.unwrap_err().kind(), &ErrorKind::InvalidArgument);
    assert_eq!(producer.close(Some(b"{bad")).await.unwrap_err().kind(), &ErrorKind::InvalidArgument);
    assert!(producer.append_json("x").await.unwrap().await.is_ok());
    assert_eq!(script.seen()[1].method, "HEAD");
}

#[tokio::test(start_paused = true)]
async fn options_are_checked_at_once() {
    let script = script(|_| answer(200, &[TEXT, NEXT]));
    let stream = stream(&script);
    let refused = |id: &str, options| stream.producer_lazy(id, options).unwrap_err().to_string();
    assert!(refused("", ProducerOptions::default()).contains("producerId"));
    assert!(refused("a\nb", ProducerOptions::default()).contains("header"));
    assert!(refused("p", ProducerOptions { max_in_flight: 0, ..ProducerOptions::default() }).contains("maxInFlight"));
    assert!(script.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn r8_a_producer_that_is_dropped_while_it_opens_sends_what_it_has_or_ends() {
    let script = script(|_| answer(200, &[TEXT, NEXT]));
    let producer = lazy(&script);
    let delivery = producer.append("a").await.unwrap();
    drop(producer);
    assert!(delivery.await.is_ok());
    no_task_is_left().await;

    let idle = lazy(&script);
    tokio::time::sleep(SECOND / 2).await;
    drop(idle);
    no_task_is_left().await;
    assert_eq!((script.seen().len(), *script.aborted.lock().unwrap()), (3, 1));
}

#[test]
fn a_runtime_that_ends_settles_what_it_carried() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    for (stream, unknown) in [
        (stream(&Script::new(|_, _| Reply::Silence)), false),
        (stream(&Script::new(|_, _| Reply::Silence)).with_content_type("text/plain"), true),
    ] {
        let first = runtime();
        let (producer, delivery) = first.block_on(async {
            let producer = stream.producer_lazy("p", ProducerOptions::default()).unwrap();
            let delivery = producer.append("a").await.unwrap();
            assert!(tokio::time::timeout(SECOND, producer.flush()).await.is_err());
            (producer, delivery)
        });
        drop(first);
        runtime().block_on(async {
            let error = delivery.await.unwrap_err();
            assert_eq!((error.kind(), error.outcome_unknown()), (&ErrorKind::Cancelled, unknown));
            assert_eq!(producer.flush().await.unwrap_err().kind(), &ErrorKind::Cancelled);
            assert_eq!(producer.append("b").await.unwrap_err().kind(), &ErrorKind::Cancelled);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_takes_back_what_is_not_sent_and_ends_the_task() {
    let script = script(|_| answer(200, &[TEXT, NEXT]));
    let producer = lazy(&script);
    let early = producer.append("a").await.unwrap();
    producer.abort(everstream::Error::new(ErrorKind::Cancelled, "stop"));
    assert_eq!(early.await.unwrap_err().kind(), &ErrorKind::Cancelled);
    assert_eq!(producer.append("b").await.unwrap_err().kind(), &ErrorKind::Cancelled);
    assert_eq!(producer.flush().await.unwrap_err().kind(), &ErrorKind::Cancelled);
    drop(producer);
    no_task_is_left().await;

    let options = ProducerOptions { linger: SECOND, ..ProducerOptions::default() };
    let producer = stream(&script).with_content_type("text/plain").producer_lazy("p", options).unwrap();
    let unsent = producer.append("a").await.unwrap();
    assert!(producer.queue_json_lines("1")[0].refused, "it is no JSON stream");
    producer.abort(everstream::Error::new(ErrorKind::Cancelled, "stop"));
    let error = unsent.await.unwrap_err();
    assert_eq!((error.kind(), error.outcome_unknown()), (&ErrorKind::Cancelled, false));
    let error = producer.flush().await.unwrap_err();
    let failures: Vec<_> = error.failures().iter().map(|lost| (lost.first_message, lost.messages)).collect();
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(bodies(&script).is_empty());
    drop(producer);
    no_task_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn the_tail_is_not_asked_for_where_that_is_not_wanted() {
    let script = script(|_| answer(200, &[TEXT, NEXT]));
    let options = ProducerOptions { auto_claim: true, ask_tail: false, ..ProducerOptions::default() };
    let producer = stream(&script).with_content_type("text/plain").producer_lazy("p", options).unwrap();
    producer.append("a").await.unwrap().await.unwrap();
    assert_eq!(script.seen().iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>(), ["POST"]);
}
