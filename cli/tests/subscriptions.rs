//! Subscriptions from the side of workers and receivers: the client library and the command line, against a real server.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use everstream::{Client, CreateOptions, ErrorKind, ReadFrom, SubscriptionOptions, Subscriptions, Wake};
use everstream_server::storage::MemoryStorage;
use support::Setup;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(60);

struct World {
    setup: Setup,
    client: Client,
    subscriptions: Subscriptions,
}

impl World {
    async fn new() -> Self {
        let setup = Setup::new().await;
        let client = Client::new().unwrap();
        let subscriptions = client.subscriptions(&format!("{}/v1/stream", setup.server.url())).unwrap();
        Self { setup, client, subscriptions }
    }

    async fn json(&self, name: &str) -> everstream::DurableStream {
        let stream = self.client.stream(&self.setup.server.stream_url(name)).unwrap();
        stream.create(&CreateOptions::json()).await.unwrap();
        stream
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("it comes")
}

#[tokio::test]
async fn a_worker_waits_claims_reads_acks_and_gets_what_comes_later() {
    let world = World::new().await;
    world.json("wakes").await;
    let options = SubscriptionOptions::pull_wake("wakes", "jobs/**");
    assert!(world.subscriptions.create("workers", &options).await.unwrap().1);
    assert!(!world.subscriptions.create("workers", &options).await.unwrap().1);
    let mut worker = world.subscriptions.worker("workers", "one").await.unwrap();
    let stream = world.json("jobs/a b").await;
    for round in 0..3 {
        let (lease, appended) = soon(async { tokio::join!(worker.next(), stream.append(format!("{round}"))) }).await;
        let (lease, tail) = (lease.unwrap(), appended.unwrap().offset.unwrap());
        assert_eq!(lease.generation(), round + 1);
        let pending: Vec<_> = lease.pending().collect();
        assert_eq!(pending.len(), 1);
        let mut reader = lease.read(pending[0]).unwrap();
        let text = reader.collect_bytes().await.unwrap();
        assert_eq!(text, format!("[{round}]"));
        assert_eq!(reader.offset(), Some(&tail));
        assert!(!lease.finish(&[("jobs/a b".into(), tail)]).await.unwrap());
    }
    let shown = world.subscriptions.get("workers").await.unwrap();
    assert!(matches!(&shown.streams[0].acked_offset, ReadFrom::At(_)));
    let listed = world.subscriptions.list().await.unwrap();
    assert_eq!(listed.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["workers"]);
}

#[tokio::test]
async fn work_that_is_given_back_goes_to_another_worker_and_is_whole() {
    let world = World::new().await;
    world.json("wakes").await;
    let options = SubscriptionOptions::pull_wake("wakes", "jobs/*");
    world.subscriptions.create("s", &options).await.unwrap();
    let mut first = world.subscriptions.worker("s", "first").await.unwrap();
    let mut second = world.subscriptions.worker("s", "second").await.unwrap();
    world.json("jobs/a").await.append("1").await.unwrap();
    let lease = soon(first.next()).await.unwrap();
    // Nobody else has it meanwhile.
    assert!(world.subscriptions.claim("s", "third").await.unwrap().is_none());
    lease.release().await.unwrap();
    let lease = soon(second.next()).await.unwrap();
    let pending = lease.pending().next().unwrap();
    assert_eq!(lease.read(pending).unwrap().collect_bytes().await.unwrap(), "[1]");
}

#[tokio::test]
async fn c_hook_4_a_worker_whose_subscription_is_gone_is_told() {
    let world = World::new().await;
    world.json("wakes").await;
    let lease = Some(Duration::from_secs(1));
    let options = SubscriptionOptions { lease, ..SubscriptionOptions::pull_wake("wakes", "jobs/*") };
    world.subscriptions.create("s", &options).await.unwrap();
    world.json("jobs/a").await.append("1").await.unwrap();
    let mut worker = world.subscriptions.worker("s", "w").await.unwrap();
    let lease = soon(worker.next()).await.unwrap();
    world.subscriptions.delete("s").await.unwrap();
    soon(lease.lost()).await;
    assert_eq!(soon(worker.next()).await.unwrap_err().kind(), &ErrorKind::NotFound);
}

/// Takes one webhook, and answers it with what `check` says.
async fn receive<T>(listener: &TcpListener, check: impl AsyncFnOnce(&str, &[u8]) -> (u16, &'static str, T)) -> T {
    let (socket, _) = soon(listener.accept()).await.unwrap();
    let mut socket = BufReader::new(socket);
    let (mut signature, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        soon(socket.read_line(&mut line)).await.unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "webhook-signature" => signature = value.to_owned(),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    soon(socket.read_exact(&mut body)).await.unwrap();
    let (status, text, value) = check(&signature, &body).await;
    let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    socket.write_all(answer.as_bytes()).await.unwrap();
    value
}

#[tokio::test]
async fn c_hook_1_a_webhook_is_verified_before_and_after_a_rotation_and_worked_on() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/hook", listener.local_addr().unwrap().port());
    world.subscriptions.create("hook", &SubscriptionOptions::webhook(url, "users/*")).await.unwrap();
    let stream = world.json("users/1").await;
    stream.append("1").await.unwrap();

    let take = async |signature: &str, body: &[u8]| {
        let verifier = world.subscriptions.webhook_verifier().unwrap();
        let changed = [body, b" "].concat();
        assert_eq!(verifier.verify(signature, &changed).await.unwrap_err().code(), "INVALID_SIGNATURE");
        let other = world.subscriptions.webhook_verifier().unwrap().subscription("other");
        assert_eq!(other.verify(signature, body).await.unwrap_err().code(), "INVALID_SIGNATURE");
        let wake: Wake = verifier.verify(signature, body).await.unwrap();
        (202, "", wake)
    };
    let wake = receive(&listener, take).await;
    assert_eq!((wake.subscription_id.as_str(), wake.generation), ("hook", 1));
    // The answer was not `done`: the work goes on by callbacks.
    let lease = world.subscriptions.work_of(&wake, Duration::from_secs(30)).unwrap();
    let pending = lease.pending().next().unwrap();
    let mut reader = lease.read(pending).unwrap();
    assert_eq!(reader.collect_bytes().await.unwrap(), "[1]");
    let acks = [(pending.path.clone(), reader.offset().unwrap().clone())];
    lease.ack(&acks).await.unwrap();

    let kid = world.subscriptions.rotate_key(None).await.unwrap();
    stream.append("2").await.unwrap();
    assert!(lease.finish(&[]).await.unwrap(), "a new wake has begun");
    let by = async |signature: &str, body: &[u8]| {
        assert!(signature.contains(&format!("kid={kid},")), "{signature}");
        take(signature, body).await
    };
    assert_eq!(receive(&listener, by).await.generation, 2);
}

#[tokio::test]
async fn a_rotated_key_and_the_one_before_it_outlive_a_restart() {
    let storage = Arc::new(MemoryStorage::new());
    let jwks = async |setup: &Setup| {
        let url = setup.server.url();
        let mut socket = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        let request = "GET /v1/stream/__ds/jwks.json HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        soon(socket.read_to_string(&mut text)).await.unwrap();
        text.split("\r\n\r\n").nth(1).unwrap().to_owned()
    };
    let setup = Setup::with(|server| server.storage(Arc::clone(&storage) as _)).await;
    let run = setup.cli.run(&["subscription", "rotate-key"]).await.ok();
    let kid = run.trim().rsplit(' ').next().unwrap().to_owned();
    let before = jwks(&setup).await;
    assert_eq!((before.matches("\"kid\"").count(), before.matches(&kid).count()), (2, 1), "{before}");
    setup.server.shutdown().await;
    let setup = Setup::with(|server| server.storage(storage)).await;
    assert_eq!(jwks(&setup).await, before);
    setup.cli.run(&["subscription", "rotate-key", "--overlap", "0"]).await.ok();
    assert_eq!(jwks(&setup).await.matches("\"kid\"").count(), 1);
}

#[tokio::test]
async fn the_command_line_creates_shows_lists_and_deletes_subscriptions() {
    let setup = Setup::new().await;
    let run = async |args: &[&str]| setup.cli.run(&[&["subscription"], args].concat()).await;
    let create = ["create", "s", "--pattern", "jobs/**", "--wake-stream", "wakes", "--lease", "5s"];
    assert_eq!(run(&create).await.ok().trim(), "Subscription created: \"s\"");
    assert_eq!(run(&create).await.ok().trim(), "Subscription is there already: \"s\"");
    let error = run(&["create", "s", "--pattern", "other", "--wake-stream", "wakes"]).await.fails();
    assert!(error.contains("another configuration"), "{error}");
    assert!(run(&["get", "s"]).await.ok().contains("Pull-wake: wakes"));
    let json: serde_json::Value = serde_json::from_str(&run(&["get", "s", "--output", "json"]).await.ok()).unwrap();
    assert_eq!((&json["leaseMs"], &json["pattern"]), (&5000.into(), &"jobs/**".into()));
    assert_eq!(run(&["list"]).await.ok(), "s\tPull-wake: wakes\tactive\n");
    run(&["delete", "s"]).await.ok();
    assert_eq!(run(&["list"]).await.ok(), "");
    assert!(run(&["get", "s"]).await.fails().contains("no such subscription"));
    assert!(run(&["work", "s", "-n", "1"]).await.fails().contains("no such subscription"));
}

#[tokio::test]
async fn the_command_line_works_prints_and_acks() {
    let setup = Setup::new().await;
    let run = async |args: &[&str]| setup.cli.run(args).await;
    run(&["subscription", "create", "s", "--pattern", "jobs/**", "--wake-stream", "wakes"]).await.ok();
    run(&["create", "jobs/a", "--json"]).await.ok();
    run(&["write", "jobs/a", "[1, 12345678901234567890123]", "--batch-json"]).await.ok();
    let printed = run(&["subscription", "work", "s", "-n", "1"]).await.ok();
    let expected = "{\"stream\":\"jobs/a\",\"data\":1}\n{\"stream\":\"jobs/a\",\"data\":12345678901234567890123}\n";
    assert_eq!(printed, expected);
    run(&["create", "jobs/b", "--content-type", "text/plain"]).await.ok();
    run(&["write", "jobs/b", "x"]).await.ok();
    assert_eq!(run(&["subscription", "work", "s", "-n", "1"]).await.ok(), "{\"stream\":\"jobs/b\",\"text\":\"x\"}\n");
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_that_fails_gives_its_work_back_and_one_that_succeeds_acks_it() {
    let setup = Setup::new().await;
    let run = async |args: &[&str]| setup.cli.run(args).await;
    run(&["subscription", "create", "s", "--pattern", "jobs/**", "--wake-stream", "wakes"]).await.ok();
    run(&["create", "jobs/a", "--json"]).await.ok();
    run(&["write", "jobs/a", "1", "--json"]).await.ok();
    let work = ["subscription", "work", "s", "-n", "1", "--", "sh", "-c"];
    let error = run(&[&work[..], &["cat > /dev/null; exit 3"]].concat()).await.fails();
    assert!(error.contains("The command failed on stream \"jobs/a\""), "{error}");
    let out = run(&[&work[..], &["printf '%s ' \"$EVERSTREAM_STREAM\"; cat"]].concat()).await.ok();
    assert_eq!(out, "jobs/a 1\n");
    let get = run(&["subscription", "get", "s"]).await.ok();
    assert!(!get.contains("up to -1"), "{get}");
}
