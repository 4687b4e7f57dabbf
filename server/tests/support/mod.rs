//! A small HTTP/1.1 client over a real socket, so that tests see the bytes of the wire, and a server to aim at.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use everstream_server::clock::{Clock, Millis};
use everstream_server::{RunningServer, Server, ServerBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing here takes longer than this unless it hangs.
pub const LIMIT: Duration = Duration::from_secs(20);
/// The content type of most tests.
pub const TEXT: (&str, &str) = ("content-type", "text/plain");
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// A server on a free port with a short long-poll.
pub fn quick() -> ServerBuilder {
    Server::builder().bind(([127, 0, 0, 1], 0)).long_poll_timeout(Duration::from_millis(100))
}

/// A server whose live reads wait longer than any test.
pub fn patient() -> ServerBuilder {
    quick().long_poll_timeout(Duration::from_secs(60))
}

/// A clock that stands until it is moved.
#[derive(Default)]
pub struct TestClock(AtomicU64);

impl TestClock {
    pub fn at(now: Millis) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now)))
    }

    pub fn advance(&self, by: Millis) {
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Millis {
        self.0.load(Ordering::SeqCst)
    }
}

/// One connection, used for one request after the other.
pub struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// A response, its body complete unless it was read with [`Connection::head_of`].
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn offset(&self) -> String {
        self.header("stream-next-offset").unwrap().to_owned()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Connection {
    pub async fn open(server: &RunningServer) -> Self {
        Self::to(server.addr()).await
    }

    pub async fn to(addr: std::net::SocketAddr) -> Self {
        Self { socket: TcpStream::connect(addr).await.unwrap(), buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Ends the sending side.
    pub async fn finish(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    /// Sends a request with its length.
    pub async fn start(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: example.test\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT") {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.send(&[head.as_bytes(), body].concat()).await;
    }

    /// Sends a request and takes the whole answer.
    pub async fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.start(method, path, headers, body).await;
        self.answer(method == "HEAD").await
    }

    /// Takes a whole answer.
    pub async fn answer(&mut self, is_head: bool) -> Answer {
        let mut answer = self.head_of().await;
        if is_head || matches!(answer.status, 204 | 304) {
            return answer;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.extend(chunk);
            }
        } else {
            let length: usize = answer.header("content-length").unwrap().parse().unwrap();
            while self.buffer.len() < length {
                assert!(self.fill().await, "the body broke off");
            }
            answer.body = self.buffer.drain(..length).collect();
        }
        answer
    }

    /// Takes the head of an answer.
    pub async fn head_of(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.fill().await, "no answer: {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Answer { status, headers: headers.collect(), body: Vec::new() }
    }

    /// Takes one chunk of a chunked body; `None` at its end or when the connection is cut.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[..end]).unwrap(), 16).unwrap();
                if self.buffer.len() >= end + size + 4 {
                    let chunk = self.buffer[end + 2..end + 2 + size].to_vec();
                    self.buffer.drain(..end + size + 4);
                    return (size > 0).then_some(chunk);
                }
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Takes SSE bytes until there are `events` events, or all of them if the connection ends first.
    pub async fn events(&mut self, events: usize) -> String {
        let mut text = String::new();
        while text.matches("\n\n").count() < events {
            let Some(chunk) = self.chunk().await else { break };
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        text
    }

    /// Whether the server has closed the connection, with nothing left to read.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill().await
    }

    /// Reads whatever comes until the server closes the connection.
    pub async fn ended(&mut self) -> bool {
        while self.fill().await {}
        true
    }

    /// Reads until the server closes the connection; everything that came.
    pub async fn everything(mut self) -> Vec<u8> {
        self.ended().await;
        self.buffer
    }

    /// Whether the server has cut the connection, found out without reading what it has sent.
    pub async fn is_cut(&mut self) -> bool {
        tokio::task::yield_now().await;
        matches!(self.socket.try_write(b"\n"), Err(error) if error.kind() != std::io::ErrorKind::WouldBlock)
    }

    async fn fill(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let read = tokio::time::timeout(LIMIT, self.socket.read(&mut piece)).await;
        let length = read.expect("the server hangs").unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..length]);
        length > 0
    }
}

/// One request on a connection of its own.
pub async fn request(
    server: &RunningServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    Connection::open(server).await.request(method, path, headers, body).await
}

/// Shorthands for one server.
pub struct Client<'a>(pub &'a RunningServer);

impl Client<'_> {
    pub async fn put(&self, name: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        request(self.0, "PUT", &format!("/v1/stream/{name}"), headers, body.as_bytes()).await
    }

    pub async fn post(&self, name: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        request(self.0, "POST", &format!("/v1/stream/{name}"), headers, body.as_bytes()).await
    }

    /// A GET of a name with its query.
    pub async fn get(&self, name: &str) -> Answer {
        self.get_with(name, &[]).await
    }

    pub async fn get_with(&self, name: &str, headers: &[(&str, &str)]) -> Answer {
        request(self.0, "GET", &format!("/v1/stream/{name}"), headers, b"").await
    }

    pub async fn head(&self, name: &str) -> Answer {
        request(self.0, "HEAD", &format!("/v1/stream/{name}"), &[], b"").await
    }

    pub async fn delete(&self, name: &str) -> Answer {
        request(self.0, "DELETE", &format!("/v1/stream/{name}"), &[], b"").await
    }

    /// Opens an SSE connection and takes the head of its answer.
    pub async fn sse(&self, name_and_query: &str) -> (Connection, Answer) {
        let mut connection = Connection::open(self.0).await;
        connection.start("GET", &format!("/v1/stream/{name_and_query}"), &[], b"").await;
        let head = connection.head_of().await;
        (connection, head)
    }
}

/// Waits until `look` is true, giving way to other tasks meanwhile; panics after [`LIMIT`].
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut look: F) {
    let looked = async {
        while !look().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, looked).await.is_ok(), "never: {what}");
}
