//! The receiver of `docs/subscriptions.md`, as it stands there: it checks signatures with Node's own cryptography.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::Api;
use crate::support::{eventually, quick};

const PAGE: &str = include_str!("../../../docs/subscriptions.md");

/// The block of code that follows a marker.
fn example(marker: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("<!-- tested: {marker} -->\n")).unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once("\n```").unwrap().0
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_receiver_of_the_docs_takes_what_is_signed_and_nothing_else() {
    let api = Api(quick().start().await.unwrap());
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let node = Command::new("node")
        .args(["--input-type=module", "--eval", example("receiver.mjs")])
        .env("PORT", port.to_string())
        .env("JWKS_URL", api.0.stream_url("__ds/jwks.json"))
        .stdout(Stdio::null())
        .spawn();
    let _node = Running(node.expect("Node is needed, as for the official suite"));
    let connect = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    eventually("the receiver listens", connect).await;

    let url = format!("http://127.0.0.1:{port}/hook");
    let forged = json!({"type": "webhook", "pattern": "x", "webhook": {"url": url}}).to_string();
    let answer = post_forged(port, &forged).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");

    let body = json!({"type": "webhook", "pattern": "events/*", "webhook": {"url": url}});
    assert_eq!(api.put("s", &body).await.status, 201);
    let tail = api.stream("events/a", "[1]").await;
    api.acked("s", "events/a", &tail).await;
    assert_eq!(api.get("s").await["status"], "active");
}

/// A webhook that nobody signed as it should be.
async fn post_forged(port: u16, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let signature = "t=1700000000,kid=ds_x,ed25519=AAAA";
    let request = format!(
        "POST /hook HTTP/1.1\r\nhost: x\r\nconnection: close\r\nwebhook-signature: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}
