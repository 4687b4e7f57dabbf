//! The long-lived users of a stream, over a scripted transport with time paused.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Reply, Script, answer, with_body};
use everstream::{Checkpoint, ErrorKind, Extras, LiveMode, ProducerOptions, ReadFrom, ReadOptions};

const URL: &str = "http://h/v1/stream/a";
const TEXT: (&str, &str) = ("content-type", "text/plain");
const JSON: (&str, &str) = ("content-type", "application/json");
const UP_TO_DATE: (&str, &str) = ("stream-up-to-date", "true");
const CLOSED: (&str, &str) = ("stream-closed", "true");

fn catch_up() -> ReadOptions {
    ReadOptions { live: LiveMode::CatchUp, ..ReadOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn c6_the_offset_is_the_one_after_what_was_handed_over() {
    let script = Script::new(|_, number| match number {
        0 => with_body(200, &[JSON, ("stream-next-offset", "5")], "[1,2]"),
        _ => with_body(200, &[JSON, ("stream-next-offset", "9"), UP_TO_DATE], "[3]"),
    });
    let mut reader = script.client().stream(URL).unwrap().read(catch_up());
    assert_eq!(reader.offset(), None);
    let batch = reader.next().await.unwrap().unwrap();
    assert_eq!(batch.json::<u32>().unwrap(), [1, 2]);
    assert_eq!(reader.offset().unwrap().as_str(), "5");
    assert_eq!(reader.checkpoint().from, ReadFrom::At("5".parse().unwrap()));
    let batch = reader.next().await.unwrap().unwrap();
    assert_eq!(batch.json::<u32>().unwrap(), [3]);
    assert!(reader.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn p1_a_closed_stream_ends_a_live_read() {
    let script = Script::new(|seen, _| match seen.url.contains("live") {
        false => with_body(200, &[TEXT, ("stream-next-offset", "1"), UP_TO_DATE], "a"),
        true => with_body(200, &[TEXT, ("stream-next-offset", "2"), UP_TO_DATE, CLOSED], "b"),
    });
    let mut reader = script.client().stream(URL).unwrap().read(ReadOptions::default());
    let mut text = String::new();
    while let Some(batch) = reader.next().await {
        text.push_str(std::str::from_utf8(&batch.unwrap().bytes()).unwrap());
    }
    assert_eq!(text, "ab");
    assert!(reader.is_closed());
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn c15_the_error_hook_is_asked_in_the_middle_of_a_session() {
    let script = Script::new(|seen, number| match number {
        0 => with_body(200, &[TEXT, ("stream-next-offset", "1"), UP_TO_DATE], "a"),
        1 => answer(401, &[]),
        _ => {
            assert!(seen.url.contains("offset=1"));
            with_body(200, &[TEXT, ("stream-next-offset", "2"), UP_TO_DATE, CLOSED], "b")
        }
    });
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let client = script
        .builder()
        .on_error(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Some(Extras::new()) })
        })
        .build()
        .unwrap();
    let whole = client.stream(URL).unwrap().read(ReadOptions::default());
    let batches: Vec<_> = futures_util::StreamExt::collect::<Vec<_>>(whole).await;
    assert_eq!(batches.iter().filter(|batch| batch.as_ref().is_ok_and(|it| !it.is_empty())).count(), 2);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn opening_waits_for_the_first_good_answer_and_takes_nothing_away() {
    let script = Script::new(|_, number| match number {
        0 => answer(503, &[]),
        _ => with_body(200, &[TEXT, ("stream-next-offset", "3"), UP_TO_DATE], "abc"),
    });
    let mut reader = script.client().stream(URL).unwrap().read(catch_up());
    reader.open().await.unwrap();
    assert_eq!((reader.response().unwrap().head().status.as_u16(), reader.content_type()), (200, Some("text/plain")));
    assert_eq!(reader.checkpoint(), &Checkpoint::default(), "nothing was handed over");
    let mut batch = reader.next().await.unwrap().unwrap();
    assert_eq!((&batch.bytes()[..], batch.units()), (&b"abc"[..], 3));
    // What is taken out is nobody else's, and the place stays.
    assert!(batch.take_bytes().is_unique() && batch.bytes().is_empty());
    assert_eq!((batch.len(), batch.units(), batch.is_json(), batch.is_empty()), (0, 3, false, false));
    assert_eq!(batch.checkpoint_at(2), Checkpoint { skip: 2, ..Checkpoint::default() });
    assert_eq!(&batch.checkpoint_at(3), reader.checkpoint());

    let missing = Script::new(|_, _| with_body(404, &[], "no such thing"));
    let error = missing.client().stream(URL).unwrap().read(catch_up()).open().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NotFound);
    assert_eq!(error.response().unwrap().body.as_deref(), Some("no such thing"));
}

#[tokio::test(start_paused = true)]
async fn a_paused_reader_asks_again_from_where_it_is() {
    let script = Script::new(|seen, number| match number {
        0 => with_body(200, &[TEXT, ("stream-next-offset", "1"), UP_TO_DATE], "a"),
        1 => Reply::Silence,
        _ => {
            assert!(seen.url.contains("offset=1"));
            with_body(200, &[TEXT, ("stream-next-offset", "2"), UP_TO_DATE, CLOSED], "b")
        }
    });
    let mut reader = script.client().stream(URL).unwrap().read(ReadOptions::default());
    reader.next().await.unwrap().unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(1), reader.next()).await;
    assert!(waited.is_err());
    reader.pause();
    assert_eq!(&reader.next().await.unwrap().unwrap().bytes()[..], b"b");
    assert_eq!(script.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_failed_can_be_resumed_where_it_was() {
    let script = Script::new(|_, number| match number {
        0 => with_body(200, &[TEXT, ("stream-next-offset", "1")], "a"),
        1 => answer(403, &[]),
        _ => with_body(200, &[TEXT, ("stream-next-offset", "2"), UP_TO_DATE], "b"),
    });
    let mut reader = script.client().stream(URL).unwrap().read(catch_up());
    reader.next().await.unwrap().unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap_err().kind(), &ErrorKind::Forbidden);
    assert!(reader.next().await.is_none());
    reader.resume();
    assert_eq!(reader.next().await.unwrap().unwrap().bytes(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_given_up_and_asked_for_again() {
    let script = Script::new(|_, number| match number {
        0 => Reply::Open {
            headers: vec![("content-type", "text/plain".into()), ("stream-next-offset", "2".into())],
            body: "a",
        },
        _ => with_body(200, &[TEXT, ("stream-next-offset", "2"), UP_TO_DATE], "ab"),
    });
    let mut reader = script.client().stream(URL).unwrap().read(catch_up());
    assert_eq!(reader.next().await.unwrap().unwrap().bytes(), "ab");
    assert_eq!(*script.aborted.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_reader_aborts_its_request_and_cancelling_next_does_not() {
    let script = Script::new(|_, _| {
        Reply::After(
            Duration::from_secs(5),
            Box::new(with_body(200, &[TEXT, ("stream-next-offset", "1"), UP_TO_DATE], "a")),
        )
    });
    let mut reader = script.client().stream(URL).unwrap().read(catch_up());
    assert!(tokio::time::timeout(Duration::from_secs(1), reader.next()).await.is_err());
    assert_eq!(reader.next().await.unwrap().unwrap().bytes(), "a");
    assert_eq!(script.seen().len(), 1);

    let mut reader = script.client().stream(URL).unwrap().read(catch_up());
    assert!(tokio::time::timeout(Duration::from_secs(1), reader.next()).await.is_err());
    drop(reader);
    assert_eq!(*script.aborted.lock().unwrap(), 1);
}

fn stored(number: usize) -> Reply {
    Reply::Answer { status: 200, headers: vec![("stream-next-offset", format!("{number:04}"))], body: "" }
}

#[tokio::test(start_paused = true)]
async fn r1_c11_p6_a_producer_sends_the_headers_and_params_of_its_client() {
    let script = Script::new(|_, number| stored(number));
    let client = script.builder().header("authorization", "Bearer x").unwrap().param("tenant", "t").build().unwrap();
    let stream = client.stream(URL).unwrap().with_content_type("application/json");
    let producer = stream.producer("p", ProducerOptions::default()).await.unwrap();
    let delivery = producer.append("1").await.unwrap();
    assert_eq!(delivery.await.unwrap().offset.unwrap().as_str(), "0000");
    let seen = &script.seen()[0];
    assert_eq!((seen.header("authorization"), seen.header("producer-id")), ("Bearer x", "p"));
    assert!(seen.url.ends_with("?tenant=t"));
}

#[tokio::test(start_paused = true)]
async fn the_producers_content_type_is_the_streams() {
    let script = Script::new(|seen, number| match seen.method.as_str() {
        "HEAD" => answer(200, &[JSON, ("stream-next-offset", "0")]),
        _ => stored(number),
    });
    let producer = script.client().stream(URL).unwrap().producer("p", ProducerOptions::default()).await.unwrap();
    producer.append_json(&["a"]).await.unwrap();
    assert_eq!(producer.append("nonsense").await.unwrap_err().kind(), &ErrorKind::InvalidArgument);
    assert_eq!(producer.flush().await.unwrap().messages, 1);
    assert_eq!(script.seen()[1].body, "[[\"a\"]]");
}

#[tokio::test(start_paused = true)]
async fn c1_r2_flush_waits_through_faults_and_nothing_is_lost() {
    let script = Script::new(|_, number| match number % 4 {
        0 => Reply::Reset,
        1 => answer(500, &[]),
        2 => answer(503, &[]),
        _ => stored(number),
    });
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    let producer =
        stream.producer("p", ProducerOptions { max_in_flight: 1, ..ProducerOptions::default() }).await.unwrap();
    for number in 0..5 {
        let delivery = producer.append(format!("{number}")).await.unwrap();
        assert!(delivery.wait().await.is_ok());
    }
    assert_eq!(producer.flush().await.unwrap().messages, 5);
    let bodies: Vec<_> =
        script.seen().iter().map(|seen| (seen.header("producer-seq").to_owned(), seen.body.clone())).collect();
    assert_eq!(bodies.len(), 20);
    for (index, (seq, body)) in bodies.iter().enumerate() {
        assert_eq!((seq.as_str(), &body[..]), (&*(index / 4).to_string(), (index / 4).to_string().as_bytes()));
    }
}

#[tokio::test(start_paused = true)]
async fn r4_flush_and_receipts_report_what_was_not_stored() {
    let script = Script::new(|_, _| answer(404, &[]));
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    let producer = stream.producer("p", ProducerOptions::default()).await.unwrap();
    let delivery = producer.append("a").await.unwrap();
    producer.append("b").await.unwrap();
    let error = producer.flush().await.unwrap_err();
    assert_eq!((error.code(), error.failures()[0].messages), ("NOT_FOUND", 2));
    assert_eq!(delivery.await.unwrap_err().code(), "NOT_FOUND");
    assert_eq!(producer.append("c").await.unwrap_err().code(), "NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn c14_g4_appends_wait_for_space_in_their_order() {
    let script = Script::new(|_, number| Reply::After(Duration::from_secs(1), Box::new(stored(number))));
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    let options = ProducerOptions {
        max_buffered_bytes: 4,
        max_in_flight: 1,
        linger: Duration::ZERO,
        ..ProducerOptions::default()
    };
    let producer = stream.producer("p", options).await.unwrap();
    let begun = tokio::time::Instant::now();
    let appends = (0..12).map(|number| {
        let producer = producer.clone();
        async move { producer.append(format!("{number:02}")).await.unwrap() }
    });
    let deliveries = futures_util::future::join_all(appends).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "nobody waited");
    assert_eq!(producer.try_append("xxx").unwrap_err().kind(), &ErrorKind::BufferFull);
    producer.flush().await.unwrap();
    assert_eq!(deliveries.iter().map(everstream::Delivery::message).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    let stored: String = script.seen().iter().map(|seen| String::from_utf8(seen.body.to_vec()).unwrap()).collect();
    assert_eq!(stored, "000102030405060708091011");
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_of_a_batch_can_be_renewed() {
    let script = Script::new(|seen, number| {
        assert_eq!(seen.headers.contains_key("authorization"), number > 0);
        if number == 0 { answer(401, &[]) } else { stored(number) }
    });
    let token = || Extras::new().header("Authorization", "Bearer fresh").unwrap();
    let client = script.builder().on_error(move |_| Box::pin(async move { Some(token()) })).build().unwrap();
    let producer = client
        .stream(URL)
        .unwrap()
        .with_content_type("text/plain")
        .producer("p", ProducerOptions::default())
        .await
        .unwrap();
    assert!(producer.append("a").await.unwrap().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn r8_a_producer_that_is_dropped_sends_what_it_has_and_its_task_ends() {
    let script = Script::new(|_, number| stored(number));
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    let options = ProducerOptions { linger: Duration::from_secs(3600), ..ProducerOptions::default() };
    let producer = stream.producer("p", options).await.unwrap();
    let delivery = producer.append("a").await.unwrap();
    drop(producer);
    assert!(delivery.await.is_ok());
    assert_eq!(script.seen().len(), 1);
    let handle = tokio::runtime::Handle::current();
    while handle.metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn close_is_repeated_with_its_first_result_and_detach_leaves_the_stream_open() {
    let script = Script::new(|seen, number| match seen.header("stream-closed") {
        "true" => answer(200, &[("stream-next-offset", "9"), CLOSED]),
        _ => stored(number),
    });
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    let producer = stream.producer("p", ProducerOptions::default()).await.unwrap();
    producer.append("a").await.unwrap();
    assert!(producer.close(Some(b"end")).await.unwrap().closed);
    assert_eq!(producer.close(None).await.unwrap().offset.unwrap().as_str(), "9");
    assert_eq!(script.seen().len(), 2);
    assert_eq!(producer.append("late").await.unwrap_err().kind(), &ErrorKind::AlreadyClosed);

    let producer = stream.producer("q", ProducerOptions::default()).await.unwrap();
    producer.append("a").await.unwrap();
    assert_eq!(producer.detach().await.unwrap().messages, 1);
    assert_eq!(producer.append("late").await.unwrap_err().kind(), &ErrorKind::AlreadyClosed);
    assert!(script.seen()[2..].iter().all(|seen| seen.header("stream-closed").is_empty()));
}

#[tokio::test(start_paused = true)]
async fn c7_r6_a_code_point_cut_by_an_answer_is_handed_over_byte_by_byte() {
    // "é" is two bytes; an SSE event is text, a plain answer is bytes, and neither may turn halves into U+FFFD.
    let script = Script::new(|_, number| match number {
        0 => with_body(200, &[TEXT, ("stream-next-offset", "1")], "a"),
        _ => with_body(200, &[TEXT, ("stream-next-offset", "3"), UP_TO_DATE], "é"),
    });
    let from = Checkpoint { skip: 1, ..Default::default() };
    let mut reader = script.client().stream(URL).unwrap().read(ReadOptions { from, ..catch_up() });
    let mut bytes = Vec::new();
    while let Some(batch) = reader.next().await {
        bytes.extend_from_slice(&batch.unwrap().bytes());
    }
    assert_eq!(bytes, "é".as_bytes());
}

#[tokio::test(start_paused = true)]
async fn c8_large_integers_and_number_text_stay_exact() {
    let script = Script::new(|_, _| {
        with_body(200, &[JSON, ("stream-next-offset", "1"), UP_TO_DATE], "[9007199254740993,1.50,1e400]")
    });
    let mut reader = script.client().stream(URL).unwrap().read(catch_up());
    let batch = reader.next().await.unwrap().unwrap();
    let texts: Vec<_> = batch.messages().collect();
    assert_eq!(texts, ["9007199254740993", "1.50", "1e400"]);
    assert_eq!(serde_json::from_slice::<u64>(&texts[0]).unwrap(), 9_007_199_254_740_993);
}

#[tokio::test(start_paused = true)]
async fn c10_g3_giving_up_on_one_message_harms_no_other() {
    let script = Script::new(|_, number| Reply::After(Duration::from_secs(1), Box::new(stored(number))));
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    let producer = stream.producer("p", ProducerOptions::default()).await.unwrap();
    let first = producer.append("a").await.unwrap();
    let second = producer.append("b").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), first).await.is_err());
    assert!(second.await.is_ok());
    assert_eq!(script.seen()[0].body, "ab");
}

#[tokio::test(start_paused = true)]
async fn p7_a_live_read_goes_on_after_it_has_caught_up() {
    let script = Script::new(|_, number| match number {
        0 => with_body(200, &[TEXT, ("stream-next-offset", "1"), UP_TO_DATE], "a"),
        1 => answer(204, &[("stream-next-offset", "1"), UP_TO_DATE]),
        2 => with_body(200, &[TEXT, ("stream-next-offset", "2"), UP_TO_DATE], "b"),
        _ => answer(204, &[("stream-next-offset", "2"), UP_TO_DATE, CLOSED]),
    });
    let mut reader = script.client().stream(URL).unwrap().read(ReadOptions::default());
    let mut text = Vec::new();
    while let Some(batch) = reader.next().await {
        text.extend_from_slice(&batch.unwrap().bytes());
    }
    assert_eq!(text, b"ab");
}

#[tokio::test(start_paused = true)]
async fn p9_dropping_handles_never_closes_the_stream() {
    let script = Script::new(|_, number| stored(number));
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    let producer = stream.producer("p", ProducerOptions::default()).await.unwrap();
    let delivery = producer.append("a").await.unwrap();
    drop(producer);
    delivery.await.unwrap();
    drop(stream);
    assert!(script.seen().iter().all(|seen| seen.header("stream-closed").is_empty() && seen.method != "DELETE"));
}
