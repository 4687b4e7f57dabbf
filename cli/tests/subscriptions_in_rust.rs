//! The fragments of Rust in `docs/subscriptions.md`, as they stand there but for the address, against a real server.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use everstream::{Batch, Client, CreateOptions, Lease, SubscriptionOptions};
use everstream_faults::{Answer, Fault, FaultPlan, FaultProxy, Rule, StatusCode};
use everstream_server::{RunningServer, Server};

const PAGE: &str = include_str!("../../docs/subscriptions.md");
const THIS: &str = include_str!("subscriptions_in_rust.rs");
const ADDRESS: &str = "\"http://127.0.0.1:4437/v1/stream\"";

type Outcome<T> = Result<T, Box<dyn Error>>;

async fn work_of_a_webhook(root: &str, signature: &str, body: &[u8]) -> Outcome<Lease> {
    // Fragment 1.
    let subscriptions = Client::new()?.subscriptions(root)?;
    let verifier = subscriptions.webhook_verifier()?.subscription("mailer");

    // In the handler: an error of the kind `InvalidSignature` is a 401, any other a 503.
    let wake = verifier.verify(signature, body).await?;

    // In what does the work, after the answer.
    let lease = subscriptions.work_of(&wake, Duration::from_secs(30))?;
    // End.
    Ok(lease)
}

async fn worker(root: &str, process: impl AsyncFn(&str, Batch) -> Outcome<()>) -> Outcome<()> {
    // Fragment 2.
    let subscriptions = Client::new()?.subscriptions(root)?;
    let mut worker = subscriptions.worker("workers", "worker-1").await?;
    loop {
        let lease = worker.next().await?; // heartbeats keep it from here on
        let mut acks = Vec::new();
        for stream in lease.pending() {
            let mut reader = lease.read(stream)?;
            while let Some(batch) = reader.next().await {
                process(&stream.path, batch?).await?;
            }
            acks.extend(reader.offset().map(|offset| (stream.path.clone(), offset.clone())));
        }
        lease.finish(&acks).await?; // LeaseLost: another worker has it, or will
    }
    // End.
}

/// Words, since the formatter has its own idea of the space between them.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn the_fragments_of_the_page_are_those_above() {
    let page = PAGE.replace(ADDRESS, "root");
    let mut shown = page.split("```rust\n").skip(1).map(|it| it.split_once("```").unwrap().0);
    let mut tested = THIS.split("    // Fragment ").skip(1).map(|it| it.split_once("    // End.").unwrap().0);
    for number in ["1.", "2."] {
        let (shown, tested) = (shown.next().unwrap(), tested.next().unwrap());
        assert_eq!([&[number], &*words(shown)].concat(), words(tested));
    }
    assert_eq!(shown.next(), None);
}

struct World {
    server: RunningServer,
    root: String,
}

impl World {
    async fn start() -> Self {
        let server = Server::builder().bind(([127, 0, 0, 1], 0)).start().await.unwrap();
        let root = server.stream_url("x").trim_end_matches("/x").to_owned();
        Self { server, root }
    }

    async fn stream(&self, path: &str, body: &'static str) {
        let options = CreateOptions {
            content_type: Some("application/json".to_owned()),
            body: Some(body.into()),
            ..CreateOptions::default()
        };
        Client::new().unwrap().stream(&format!("{}/{path}", self.root)).unwrap().create(&options).await.unwrap();
    }

    async fn subscribe(&self, id: &str, options: SubscriptionOptions) {
        let subscriptions = Client::new().unwrap().subscriptions(&self.root).unwrap();
        subscriptions.create(id, &options).await.unwrap();
    }
}

#[tokio::test]
async fn a_receiver_takes_a_webhook_and_gets_its_work() {
    let world = World::start().await;
    // A proxy that answers by itself is a service that takes webhooks, and tells what came.
    let answer = Fault::Answer(Box::new(Answer::new(StatusCode::ACCEPTED)));
    let plan = FaultPlan::scripted([Rule::new(answer).always()]);
    let receiver = FaultProxy::start(world.server.addr(), plan).await.unwrap();
    receiver.record();
    world.subscribe("mailer", SubscriptionOptions::webhook(receiver.url(), "mail/*")).await;
    world.stream("mail/a", "[1]").await;
    while receiver.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let webhook = receiver.requests().remove(0);
    let signature = webhook.headers["webhook-signature"].to_str().unwrap();
    let lease = work_of_a_webhook(&world.root, signature, &webhook.body).await.unwrap();
    assert_eq!(lease.pending().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["mail/a"]);
    let tail = lease.pending().next().unwrap().tail_offset.clone().unwrap();
    assert!(!lease.finish(&[("mail/a".to_owned(), tail)]).await.unwrap(), "there is nothing more to do");
    let error = work_of_a_webhook(&world.root, signature, b"{}").await.unwrap_err();
    assert_eq!(error.downcast_ref::<everstream::Error>().unwrap().code(), "INVALID_SIGNATURE");
    receiver.shutdown().await;
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_worker_goes_from_work_to_work() {
    let world = World::start().await;
    world.stream("wakes", "").await;
    world.subscribe("workers", SubscriptionOptions::pull_wake("wakes", "jobs/*")).await;
    world.stream("jobs/a", "[1,2]").await;
    let seen = Mutex::new(Vec::new());
    let process = async |path: &str, batch: Batch| {
        for message in batch.messages() {
            let text = String::from_utf8(message.to_vec())?;
            seen.lock().unwrap().push(format!("{path} {text}"));
            match text.as_str() {
                "2" => world.stream("jobs/b", "[3]").await,
                "3" => return Err("enough".into()),
                _ => {}
            }
        }
        Ok(())
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), worker(&world.root, process)).await.unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "enough");
    assert_eq!(*seen.lock().unwrap(), ["jobs/a 1", "jobs/a 2", "jobs/b 3"]);
    let subscriptions = Client::new().unwrap().subscriptions(&world.root).unwrap();
    let shown = subscriptions.get("workers").await.unwrap();
    let acked: Vec<_> =
        shown.streams.iter().map(|it| (it.path.as_str(), it.acked_offset.to_string() != "-1")).collect();
    assert_eq!(acked, [("jobs/a", true), ("jobs/b", false)]);
    world.server.shutdown().await;
}
