//! The server as a process of its own, killed at any moment while many producers write: what they were told is
//! stored is stored, once and in order.

mod support;

use std::time::Duration;

use everstream::{Client, CreateOptions, LiveMode, ProducerOptions, ReadOptions};
use support::{Cli, Follower};

const STREAMS: usize = 4;
const PRODUCERS: usize = 3;
/// Messages of one producer, at least; it goes on until the last kill.
const MESSAGES: usize = 200;

async fn serve(port: &str, data: &str) -> (Follower, String) {
    let args = ["serve", "--port", port, "--data-dir", data, "--set", "storage.segment_bytes=64KiB"];
    let mut server = Follower::new(Cli::new("").command(&args));
    let line = server.line().await.expect("it listens");
    (server, line.strip_prefix("Listening on ").expect(&line).to_owned())
}

/// Appends numbered messages until told to stop; gives how many were acknowledged, which is all of them.
async fn produce(client: Client, url: String, name: String, mut stop: tokio::sync::watch::Receiver<bool>) -> usize {
    let stream = client.stream(&url).expect("a URL");
    let producer = stream.producer(&name, ProducerOptions::default()).await.expect("a producer");
    let mut sent = 0;
    while sent < MESSAGES || !*stop.borrow_and_update() {
        let delivery = producer.append(format!("{name}:{sent};")).await.expect("it is taken");
        sent += 1;
        if sent % 10 == 0 {
            delivery.await.expect("it is stored in the end");
        }
    }
    producer.flush().await.expect("everything is stored in the end");
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_kills_at_any_moment_once_and_in_order() {
    let kills: u64 = std::env::var("EVERSTREAM_KILLS").map_or(5, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8").to_owned();
    let (mut server, url) = serve("0", &data).await;
    let port = url.rsplit(':').next().expect("a port").to_owned();
    let client = Client::new().expect("a client");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut producers = Vec::new();
    for stream in 0..STREAMS {
        let url = format!("{url}/v1/stream/s{stream}");
        let handle = client.stream(&url).expect("a URL");
        handle.create(&CreateOptions::content_type("text/plain")).await.expect("it is created");
        for producer in 0..PRODUCERS {
            let name = format!("p{producer}");
            producers.push((
                url.clone(),
                name.clone(),
                tokio::spawn(produce(client.clone(), url.clone(), name, stopped.clone())),
            ));
        }
    }
    for kill in 0..kills {
        // Any moment will do: another one each time.
        tokio::time::sleep(Duration::from_millis(50 + kill * 37 % 200)).await;
        server.child.start_kill().expect("it runs");
        server.child.wait().await.expect("it ends");
        (server, _) = serve(&port, &data).await;
    }
    stop.send(true).expect("someone listens");
    let mut expected = std::collections::BTreeMap::<String, Vec<(String, usize)>>::new();
    for (url, name, task) in producers {
        let sent = task.await.expect("a producer ends well");
        expected.entry(url).or_default().push((name, sent));
    }
    for (url, producers) in expected {
        let mut reader =
            client.stream(&url).expect("a URL").read(ReadOptions { live: LiveMode::CatchUp, ..ReadOptions::default() });
        let mut text = Vec::new();
        while let Some(batch) = reader.next().await {
            text.extend_from_slice(&batch.expect("it can be read").bytes());
        }
        let text = String::from_utf8(text).expect("UTF-8");
        let total: usize = producers.iter().map(|(_, sent)| sent).sum();
        assert_eq!(text.split_terminator(';').count(), total, "{url}: nothing lost, nothing twice");
        for (name, sent) in producers {
            let own = text.split_terminator(';').filter_map(|message| message.strip_prefix(&format!("{name}:")));
            assert!(own.eq((0..sent).map(|number| number.to_string())), "{url}: {name} is complete and in order");
        }
    }
    server.child.start_kill().expect("it runs");
    server.child.wait().await.expect("it ends");
    Cli::new("").run(&["fsck", &data]).await.ok();
}
