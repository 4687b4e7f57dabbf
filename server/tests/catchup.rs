//! Many readers catch up at once, on real files and sockets: what is sent from files is what was stored.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use everstream_server::RunningServer;
use everstream_server::storage::{Folder, LogOptions, LogStorage};
use support::{Connection, JSON, quick};

/// A value in a pattern that repeats nowhere.
fn value(number: usize, len: usize) -> String {
    let mut text = String::with_capacity(len + 16);
    while text.len() < len {
        text.push_str(&format!("{:x}.", (number * 7919 + text.len()) * 2_654_435_761));
    }
    text
}

async fn read_all(server: &RunningServer, path: &str, json: bool, rounds: usize) -> Vec<Vec<u8>> {
    let mut connection = Connection::open(server).await;
    let mut all = Vec::new();
    for _ in 0..rounds {
        let (mut offset, mut body) = ("-1".to_owned(), Vec::new());
        loop {
            let answer = connection.request("GET", &format!("{path}?offset={offset}"), &[], b"").await;
            assert_eq!(answer.status, 200);
            match (json, &answer.body[..]) {
                (true, [b'[', messages @ .., b']']) => body.extend([messages, b","].concat()),
                (false, bytes) => body.extend_from_slice(bytes),
                (true, _) => panic!("not an array"),
            }
            if answer.header("stream-up-to-date").is_some() {
                break;
            }
            offset = answer.offset();
        }
        all.push(body);
    }
    all
}

/// Sizes of appends: each alone in an answer, several of them in one, and so many that they are copied together.
#[tokio::test]
async fn everybody_gets_what_was_stored_wherever_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    // What was appended last is in memory and in the log, the rest in runs.
    let options = LogOptions::default().segment_bytes(4 << 20);
    let storage = LogStorage::with_disk(Arc::new(Folder::open(folder.path()).unwrap()), options).unwrap();
    let server = quick().storage(Arc::new(storage)).start().await.unwrap();
    let mut writer = Connection::open(&server).await;
    for (path, json, size) in [
        ("/v1/stream/bytes-1m", false, 1 << 20),
        ("/v1/stream/json-1m", true, 1 << 20),
        ("/v1/stream/bytes-100k", false, 100_000),
        ("/v1/stream/json-100k", true, 100_000),
        ("/v1/stream/json-9k", true, 9_000),
    ] {
        let content_type = if json { JSON } else { ("content-type", "application/octet-stream") };
        assert_eq!(writer.request("PUT", path, &[content_type], b"").await.status, 201);
        let mut expected = Vec::new();
        for number in 0..6_500_000 / size {
            let text = value(number, size);
            let body = if json { format!("\"{text}\"") } else { text };
            assert_eq!(writer.request("POST", path, &[content_type], body.as_bytes()).await.status, 204);
            expected.extend(body.bytes().chain(json.then_some(b',')));
        }
        let readers = (0..4).map(|_| read_all(&server, path, json, 4));
        for bodies in futures_util::future::join_all(readers).await {
            for (round, body) in bodies.into_iter().enumerate() {
                assert!(body == expected, "{path}, round {round}: {} of {} bytes", body.len(), expected.len());
            }
        }
    }
}
