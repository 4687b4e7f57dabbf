//! Our own client and server with each fault between them: what was acknowledged is stored once, in order, and
//! read once, in order.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use everstream::{Backoff, Client, CreateOptions, DurableStream, LiveMode, ProducerOptions, ReadOptions, RetryPolicy};
use everstream_faults::{CutAt, Fault, FaultPlan, FaultProxy, Method, Rule, StatusCode};
use everstream_server::{RunningServer, Server};

const MESSAGES: usize = 60;

struct Setup {
    server: RunningServer,
    proxy: FaultProxy,
    /// Through the proxy.
    stream: DurableStream,
    /// Past it.
    direct: DurableStream,
}

async fn setup(content_type: &str, plan: FaultPlan) -> Setup {
    let server = Server::builder()
        .bind(([127, 0, 0, 1], 0))
        .long_poll_timeout(Duration::from_millis(500))
        .max_read_bytes(200)
        .start()
        .await
        .unwrap();
    let proxy = FaultProxy::start(server.addr(), plan).await.unwrap();
    let backoff = Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(50), ..Backoff::default() };
    let client = Client::builder().retry(RetryPolicy { backoff, ..RetryPolicy::default() }).build().unwrap();
    let handle = |base: &str| client.stream(&format!("{base}/v1/stream/s")).unwrap().with_content_type(content_type);
    let direct = handle(&server.url());
    direct.create(&CreateOptions::content_type(content_type)).await.unwrap();
    Setup { stream: handle(&proxy.url()), direct, proxy, server }
}

/// Numbered, with code points of two and three bytes to cut through.
fn message(json: bool, number: usize) -> String {
    if json { format!("{{\"n\":{number},\"text\":\"é€{number}\"}}") } else { format!("<{number} é€>") }
}

fn expected(json: bool) -> String {
    let all: Vec<String> = (0..MESSAGES).map(|number| message(json, number)).collect();
    if json { format!("[{}]", all.join(",")) } else { all.concat() }
}

async fn read_all(stream: &DurableStream, live: LiveMode) -> String {
    let options =
        ReadOptions { live, max_batch_bytes: 100, request_timeout: Duration::from_secs(5), ..ReadOptions::default() };
    let mut reader = stream.read(options);
    let (mut json, mut parts) = (false, Vec::new());
    while let Some(batch) = reader.next().await {
        let batch = batch.unwrap();
        json = batch.is_json();
        if json {
            parts.extend(batch.messages().map(|text| String::from_utf8(text.to_vec()).unwrap().into_bytes()));
        } else {
            parts.push(batch.bytes().to_vec());
        }
    }
    if json {
        format!("[{}]", String::from_utf8(parts.join(&b',')).unwrap())
    } else {
        String::from_utf8(parts.concat()).unwrap()
    }
}

fn write_faults() -> Vec<Fault> {
    let mut faults = vec![
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::TruncateRequest,
        Fault::Duplicate,
        Fault::Delay(Duration::from_millis(30)),
        Fault::DelayAfter(Duration::from_millis(30)),
        Fault::Reorder { bound: Duration::from_millis(50) },
        Fault::CutBody { at: CutAt::Byte(0) },
    ];
    for code in [429, 500, 502, 503, 504] {
        faults.push(Fault::status(StatusCode::from_u16(code).unwrap()));
    }
    for code in [500, 502, 504] {
        faults.push(Fault::status_after(StatusCode::from_u16(code).unwrap()));
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_at_each_batch_leaves_every_message_stored_once_in_order() {
    for content_type in ["application/json", "text/plain"] {
        let json = content_type == "application/json";
        for fault in write_faults() {
            for (nth, max_in_flight) in [(1, 1), (1, 5), (2, 5), (5, 5)] {
                let case = format!("{content_type} {fault:?} at batch {nth}, {max_in_flight} in flight");
                let rule = Rule::new(fault.clone()).method(Method::POST).nth(nth).times(2);
                let it = setup(content_type, FaultPlan::scripted([rule])).await;
                let options = ProducerOptions {
                    max_batch_items: Some(10),
                    max_in_flight,
                    request_timeout: Duration::from_secs(5),
                    ..ProducerOptions::default()
                };
                let producer = it.stream.producer("p", options).await.unwrap();
                for number in 0..MESSAGES {
                    producer.append(message(json, number)).await.unwrap();
                }
                let flushed = producer.flush().await.unwrap();
                assert_eq!(flushed.messages + flushed.duplicates, MESSAGES as u64, "{case}");
                assert!(producer.close(None).await.unwrap().closed, "{case}");
                assert_eq!(read_all(&it.direct, LiveMode::CatchUp).await, expected(json), "{case}");
                assert!(it.proxy.counts().total() > 0, "{case}: no fault was met");
                it.proxy.shutdown().await;
                it.server.shutdown().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_and_gzip_carry_the_same() {
    for content_type in ["application/json", "text/plain"] {
        let json = content_type == "application/json";
        let it = setup(content_type, FaultPlan::none()).await;
        let client = Client::builder().http2_prior_knowledge().gzip().build().unwrap();
        let stream = client.stream(it.direct.url()).unwrap();
        let follower = {
            let stream = stream.clone();
            tokio::spawn(async move { read_all(&stream, LiveMode::Auto).await })
        };
        let options = ProducerOptions { max_batch_items: Some(7), auto_claim: true, ..ProducerOptions::default() };
        let producer = stream.producer("p", options).await.unwrap();
        for number in 0..MESSAGES {
            producer.append(message(json, number)).await.unwrap();
        }
        producer.close(None).await.unwrap();
        assert_eq!(follower.await.unwrap(), expected(json));
        assert_eq!(read_all(&stream, LiveMode::CatchUp).await, expected(json));
        it.server.shutdown().await;
    }
}

fn read_faults() -> Vec<Fault> {
    let mut faults = vec![
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Delay(Duration::from_millis(30)),
        Fault::Stall { at: CutAt::Part(0.5), pause: Duration::from_millis(30) },
        Fault::status(StatusCode::SERVICE_UNAVAILABLE),
    ];
    for at in [0, 1, 7, 50, 133] {
        faults.push(Fault::CutBody { at: CutAt::Byte(at) });
    }
    for after_bytes in [0, 20, 61, 100, 333] {
        faults.push(Fault::CutSse { after_bytes, clean: after_bytes % 2 == 0 });
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_in_each_mode_lets_a_reader_get_every_message_once_in_order() {
    for content_type in ["application/json", "text/plain", "application/octet-stream"] {
        let json = content_type == "application/json";
        for live in [LiveMode::CatchUp, LiveMode::LongPoll, LiveMode::Sse, LiveMode::Auto] {
            for fault in read_faults() {
                let case = format!("{content_type} {live:?} {fault:?}");
                // Every second read from the second on, a few times over.
                let rules = [2, 4, 6].map(|nth| Rule::new(fault.clone()).method(Method::GET).nth(nth));
                let it = setup(content_type, FaultPlan::scripted(rules)).await;
                // A reader that stops at the tail has to find everything there; the others follow the writer.
                let follower = (live != LiveMode::CatchUp).then(|| {
                    let stream = it.stream.clone();
                    tokio::spawn(async move { read_all(&stream, live).await })
                });
                let writer = it.direct.producer("p", ProducerOptions::default()).await.unwrap();
                for number in 0..MESSAGES {
                    let delivery = writer.append(message(json, number)).await.unwrap();
                    if number % 10 == 0 {
                        delivery.await.unwrap();
                    }
                }
                writer.close(None).await.unwrap();
                let read = match follower {
                    Some(follower) => follower.await.unwrap(),
                    None => read_all(&it.stream, live).await,
                };
                assert_eq!(read, expected(json), "{case}");
                it.proxy.shutdown().await;
                it.server.shutdown().await;
            }
        }
    }
}
