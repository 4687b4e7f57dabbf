//! Traces of requests, sent to a collector. `cargo test -p everstream-cli --features otlp --test otlp`
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{Cli, Follower};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(60);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn has(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Takes requests until one is the export with this span; gives its head and body.
async fn collect(listener: &TcpListener, span: &str) -> (String, Vec<u8>) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        let (head, body) = loop {
            assert!(socket.read_buf(&mut received).await.unwrap() > 0, "a whole request");
            let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(received[..end].to_vec()).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let length: usize = length.parse().unwrap();
            if received.len() == end + 4 + length {
                break (head, received.split_off(end + 4));
            }
        };
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        socket.write_all(answer).await.unwrap();
        if has(&body, span.as_bytes()) {
            return (head, body);
        }
    }
}

#[tokio::test]
async fn a_request_is_a_span_of_the_trace_that_it_belongs_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("otlp.endpoint=http://{}", listener.local_addr().unwrap());
    let cli = Cli::new("");
    let args = ["serve", "--port", "0", "--storage", "memory", "--set", &endpoint, "--set", "otlp.service_name=shop"];
    let mut server = Follower::new(cli.command(&args));
    let line = server.line().await.unwrap();
    let addr = line.rsplit("http://").next().unwrap().to_owned();
    let mut socket = TcpStream::connect(&addr).await.unwrap();
    let request = format!(
        "PUT /v1/stream/traced?secret=1 HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n\
         traceparent: 00-{TRACE}-{PARENT}-01\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    // The rest is sent when the server stops, at the latest.
    server.signal("TERM").await;
    let (head, body) = tokio::time::timeout(LIMIT, collect(&listener, "/v1/stream/traced")).await.expect("it comes");
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    for part in [&bytes(TRACE)[..], &bytes(PARENT), b"create", b"PUT", b"shop", b"service.name"] {
        assert!(has(&body, part), "{}", String::from_utf8_lossy(part));
    }
    assert!(!has(&body, b"secret"), "queries stay out");
    assert_eq!(server.finish().await.1.code, 0);
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_nobodys_trouble() {
    let cli = Cli::new("");
    let args = ["serve", "--port", "0", "--storage", "memory", "--set", "otlp.endpoint=http://127.0.0.1:9"];
    let mut server = Follower::new(cli.command(&args));
    let line = server.line().await.unwrap();
    let mut cli = Cli::new(line.rsplit(' ').next().unwrap());
    cli.url = line.rsplit(' ').next().unwrap().to_owned();
    cli.run(&["create", "a"]).await.ok();
    server.signal("TERM").await;
    assert_eq!(server.finish().await.1.code, 0);
}
