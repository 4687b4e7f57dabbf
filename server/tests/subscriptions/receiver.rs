//! Where webhooks arrive: a small HTTP server that answers as the test says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::LIMIT;

/// A webhook as it came.
#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Hook {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:"))).unwrap();
        line.split_once(':').unwrap().1.trim()
    }
}

pub(crate) struct Receiver {
    addr: SocketAddr,
    hooks: mpsc::UnboundedReceiver<Hook>,
    answers: Arc<Mutex<VecDeque<String>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, hooks) = mpsc::unbounded_channel();
        let answers = Arc::<Mutex<VecDeque<String>>>::default();
        let queue = Arc::clone(&answers);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let Some(hook) = take(&mut socket).await else { continue };
                let answer = queue.lock().unwrap().pop_front();
                let answer = answer.unwrap_or_else(|| response("200 OK", "{}"));
                if answer.is_empty() {
                    held.push(socket);
                } else {
                    let _ = socket.write_all(answer.as_bytes()).await;
                }
                if sender.send(hook).is_err() {
                    return;
                }
            }
        });
        Self { addr, hooks, answers }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    /// What the next webhook is answered with; those after it with `200 {}`.
    pub(crate) fn answer(&self, status: &str, body: &str) {
        self.answer_raw(response(status, body));
    }

    /// The next webhook is not answered, and its connection stays open.
    pub(crate) fn hang(&self) {
        self.answer_raw(String::new());
    }

    pub(crate) fn answer_raw(&self, answer: String) {
        self.answers.lock().unwrap().push_back(answer);
    }

    pub(crate) async fn next(&mut self) -> Hook {
        tokio::time::timeout(LIMIT, self.hooks.recv()).await.expect("no webhook came").unwrap()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

async fn take(socket: &mut TcpStream) -> Option<Hook> {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = socket.read(&mut piece).await.ok().filter(|&read| read > 0)?;
        text.extend_from_slice(&piece[..read]);
        let text = std::str::from_utf8(&text).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let hook = Hook { head: head.into(), body: body.into() };
            if hook.header("content-length").parse() == Ok(body.len()) {
                return Some(hook);
            }
        }
    }
}
