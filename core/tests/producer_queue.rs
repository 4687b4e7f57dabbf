//! Appends that never wait: what finds no space waits in the producer.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Reply, Script, answer};
use everstream::{Delivery, DurableStream, ErrorKind, Producer, ProducerOptions};

const URL: &str = "http://h/v1/stream/a";
const TEXT: (&str, &str) = ("content-type", "text/plain");
const NEXT: (&str, &str) = ("stream-next-offset", "0_5");
const CLOSED: (&str, &str) = ("stream-closed", "true");
const SECOND: Duration = Duration::from_secs(1);

/// Answers each request after a second, and a batch that has this in it with 400.
fn script(refused: &'static str) -> Script {
    Script::new(move |seen, number| {
        let reply = match (seen.method.as_str(), seen.header("stream-closed")) {
            ("HEAD", _) => answer(200, &[TEXT, NEXT]),
            (_, "true") => answer(200, &[("stream-next-offset", "9"), CLOSED]),
            _ if !refused.is_empty() && String::from_utf8_lossy(&seen.body).contains(refused) => answer(400, &[]),
            _ => Reply::Answer { status: 200, headers: vec![("stream-next-offset", format!("{number}"))], body: "" },
        };
        Reply::After(SECOND, Box::new(reply))
    })
}

fn stream(script: &Script) -> DurableStream {
    script.client().stream(URL).unwrap()
}

/// Room for three messages of two bytes.
fn small() -> ProducerOptions {
    ProducerOptions { max_buffered_bytes: 6, max_in_flight: 1, linger: Duration::ZERO, ..ProducerOptions::default() }
}

/// One whose stream is known, and one whose stream is asked first.
async fn both(script: &Script) -> [Producer; 2] {
    let known = stream(script).with_content_type("text/plain").producer("p", small()).await.unwrap();
    [known, stream(script).producer_lazy("q", small()).unwrap()]
}

fn bodies(script: &Script) -> Vec<String> {
    let posts = script.seen().into_iter().filter(|seen| seen.method == "POST");
    posts.map(|seen| String::from_utf8(seen.body.to_vec()).unwrap()).collect()
}

fn queue(producer: &Producer, messages: std::ops::Range<u32>) -> Vec<Delivery> {
    messages.map(|number| producer.queue(number.to_string()).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_space_waits_in_order_and_what_follows_waits_behind_it() {
    for at in 0..2 {
        let script = script("");
        let producer = both(&script).await.into_iter().nth(at).unwrap();
        assert!(!producer.is_full());
        producer.ready().await;
        let deliveries = queue(&producer, 10..20);
        assert!(producer.is_full());
        assert_eq!(producer.pending_messages(), 10);
        assert!(producer.buffered_bytes() >= 20);
        assert_eq!(producer.try_append("x").unwrap_err().kind(), &ErrorKind::BufferFull);
        let too_large = producer.queue("1234567");
        assert!(too_large.is_err_and(|error| *error.kind() == ErrorKind::InvalidArgument) || at == 0);
        producer.ready().await;
        assert!(!producer.is_full());
        assert!(producer.pending_messages() > 0, "nothing was on its way any more");
        let flushed = producer.flush().await;
        assert_eq!(deliveries.iter().map(Delivery::message).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        // The one that is too large is refused at once, or where it would have gone.
        assert_eq!(flushed.map_or_else(|error| error.failures().len(), |_| 0), usize::from(at == 0));
        assert_eq!(bodies(&script).concat(), "10111213141516171819");
        assert_eq!((producer.pending_messages(), producer.buffered_bytes()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_takes_its_turn_behind_what_waits() {
    for at in 0..2 {
        let script = script("");
        let producer = both(&script).await.into_iter().nth(at).unwrap();
        let deliveries = queue(&producer, 10..16);
        assert!(producer.close(Some(b"end")).await.unwrap().closed);
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        assert_eq!(bodies(&script).concat(), "101112131415end");
        assert_eq!(producer.queue("late").unwrap_err().kind(), &ErrorKind::AlreadyClosed);
    }
}

#[tokio::test(start_paused = true)]
async fn detach_and_restart_come_after_what_waits() {
    for at in 0..2 {
        let script = script("");
        let producer = both(&script).await.into_iter().nth(at).unwrap();
        let waiting = queue(&producer, 10..16);
        producer.restart().await.unwrap();
        assert_eq!((producer.epoch(), producer.next_seq()), (1, 0));
        for delivery in waiting {
            delivery.await.unwrap();
        }
        let waiting = queue(&producer, 20..26);
        assert_eq!(producer.detach().await.unwrap().messages, 6);
        assert_eq!(producer.queue("late").unwrap_err().kind(), &ErrorKind::AlreadyClosed);
        assert!(waiting.iter().all(|delivery| delivery.outcome().unwrap().is_ok()));
        assert_eq!(bodies(&script).concat(), "101112131415202122232425");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_batch_that_failed_is_refused_and_told() {
    for at in 0..2 {
        let script = script("14");
        let producer = both(&script).await.into_iter().nth(at).unwrap();
        let deliveries = queue(&producer, 10..16);
        let error = producer.flush().await.unwrap_err();
        assert_eq!(error.failures().iter().map(|failure| failure.messages).sum::<u64>(), 3);
        let lost = deliveries.iter().filter(|delivery| delivery.outcome().unwrap().is_err());
        assert_eq!(lost.count(), 3);
        assert!(!producer.is_full());
        assert!(producer.queue("16").is_err());

        // And it can begin again.
        producer.restart().await.unwrap();
        producer.queue("17").unwrap().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn giving_up_settles_what_waits_and_what_nobody_holds_is_sent() {
    let script = script("");
    for producer in both(&script).await {
        let deliveries = queue(&producer, 10..16);
        let (ready, ()) = tokio::join!(tokio::time::timeout(SECOND / 2, producer.ready()), async {
            producer.abort(everstream::Error::new(ErrorKind::Cancelled, "given up"));
        });
        ready.unwrap();
        for delivery in deliveries {
            assert_eq!(delivery.await.unwrap_err().kind(), &ErrorKind::Cancelled);
        }
    }
    let before = bodies(&script).len();
    for producer in both(&script).await {
        let deliveries = queue(&producer, 10..16);
        drop(producer);
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    }
    assert_eq!(bodies(&script)[before..].concat(), "101112131415".repeat(2));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_is_sent_although_its_producer_lingers() {
    let script = script("");
    let options = ProducerOptions { linger: 3600 * SECOND, max_batch_bytes: 4, ..small() };
    let producer = stream(&script).with_content_type("text/plain").producer("p", options).await.unwrap();
    let deliveries = queue(&producer, 10..15);
    drop(producer);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(bodies(&script).concat(), "1011121314");
}

#[tokio::test(start_paused = true)]
async fn lines_are_documents_of_their_own_and_one_that_is_none_harms_no_other() {
    let script = Script::new(|_, number| Reply::Answer {
        status: 200,
        headers: vec![("content-type", "application/json".into()), ("stream-next-offset", format!("{number}"))],
        body: "",
    });
    let options = || ProducerOptions { max_buffered_bytes: 12, max_in_flight: 1, ..ProducerOptions::default() };
    let json = stream(&script).with_content_type("application/json");
    let known = json.producer("p", options()).await.unwrap();
    let asked = stream(&script).producer_lazy("q", options()).unwrap();
    for (producer, name) in [(known, "known"), (asked, "asked")] {
        let before = bodies(&script).len();
        let queued = producer.queue_json_lines("1\n{\n[2,\"x\"]\n\n3333333333333333\n4\n5");
        let refused = queued.iter().filter(|it| it.refused).map(|it| it.delivery.message()).collect::<Vec<_>>();
        assert_eq!(refused, [1, 3, 4], "{name}");
        assert_eq!(queued.iter().map(|it| it.messages).sum::<u64>(), 7, "{name}");
        let error = producer.flush().await.unwrap_err();
        assert_eq!(error.failures().iter().map(|it| it.first_message).collect::<Vec<_>>(), [1, 3, 4], "{name}");
        for it in queued {
            assert_eq!(it.delivery.await.is_err(), it.refused, "{name}");
        }
        assert_eq!(bodies(&script)[before..].concat().replace("][", ","), "[1,[2,\"x\"],4,5]", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn lines_of_one_batch_share_a_delivery_and_of_no_json_stream_none_is_taken() {
    let script = script("");
    let json = stream(&script).with_content_type("application/json");
    let producer =
        json.producer("p", ProducerOptions { max_batch_items: Some(2), ..ProducerOptions::default() }).await.unwrap();
    let queued = producer.queue_json_lines("1\n2\n3");
    assert_eq!(queued.iter().map(|it| (it.messages, it.refused)).collect::<Vec<_>>(), [(2, false), (1, false)]);
    producer.flush().await.unwrap();
    let text = stream(&script).with_content_type("text/plain").producer("p", ProducerOptions::default()).await.unwrap();
    let queued = text.queue_json_lines("1\n2");
    assert!(queued.iter().all(|it| it.refused) && queued.len() == 2);
    assert_eq!(text.flush().await.unwrap_err().failures().len(), 2);
}
