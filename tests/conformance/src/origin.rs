//! The server behind the proxy, and plain requests to it: the truth that clients are compared with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use everstream_server::storage::LogStorage;
use everstream_server::{RunningServer, Server};
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Cases wait for long-polls to time out.
const LONG_POLL: Duration = Duration::from_millis(500);
/// Small, so that answers have pages.
const MAX_READ_BYTES: usize = 4096;
const LIMIT: Duration = Duration::from_secs(10);

/// Which server to run the cases against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerKind {
    /// Ours, in this process, in memory.
    Ours,
    /// Ours, in this process, on disk.
    OursOnDisk,
    /// The official one of npm, started by this script with node.
    Official(PathBuf),
}

impl ServerKind {
    /// The name in reports and known gaps.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursOnDisk => "ours-on-disk",
            Self::Official(_) => "official",
        }
    }
}

/// A running server.
pub struct Origin {
    addr: SocketAddr,
    http: reqwest::Client,
    running: Running,
}

enum Running {
    Ours(RunningServer, Option<TempDir>),
    Official(Child),
    /// Somebody else's.
    Elsewhere,
}

impl Origin {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start(kind: &ServerKind) -> Result<Self> {
        let http = client()?;
        match kind {
            ServerKind::Ours | ServerKind::OursOnDisk => {
                let mut builder = Server::builder().bind(([127, 0, 0, 1], 0)).long_poll_timeout(LONG_POLL);
                let mut folder = None;
                if *kind == ServerKind::OursOnDisk {
                    let made = TempDir::new().context("cannot make a folder for the streams")?;
                    builder = builder.storage(Arc::new(LogStorage::open(made.path()).context("cannot open the log")?));
                    folder = Some(made);
                }
                let server = builder.max_read_bytes(MAX_READ_BYTES).start().await.context("cannot start our server")?;
                Ok(Self { addr: server.addr(), http, running: Running::Ours(server, folder) })
            }
            ServerKind::Official(script) => {
                // It ends when its input does: with this process at the latest.
                let mut child = Command::new("node")
                    .arg(script)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    // It reports every connection that a case breaks.
                    .stderr(Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
                    .context("the official server needs node")?;
                let output = child.stdout.take().context("the output is a pipe")?;
                let line =
                    BufReader::new(output).lines().next_line().await.context("the official server says nothing")?;
                let url = line.with_context(|| format!("`node {}` did not start", script.display()))?;
                let addr = url.strip_prefix("http://").unwrap_or(&url).replace("localhost", "127.0.0.1");
                let addr = addr.parse().with_context(|| format!("the official server says {url:?}"))?;
                Ok(Self { addr, http, running: Running::Official(child) })
            }
        }
    }

    /// A server that runs already.
    ///
    /// # Errors
    /// No client can be made.
    pub(crate) fn at(addr: SocketAddr) -> Result<Self> {
        Ok(Self { addr, http: client()?, running: Running::Elsewhere })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops it.
    pub async fn stop(self) {
        match self.running {
            // The folder goes when the server has gone.
            Running::Ours(server, _folder) => server.shutdown().await,
            Running::Elsewhere => {}
            Running::Official(mut child) => {
                drop(child.stdin.take());
                if tokio::time::timeout(LIMIT, child.wait()).await.is_err() {
                    // It is killed when it is dropped.
                    drop(child);
                }
            }
        }
    }

    /// Sends a request; the answer as cases speak of it.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &Map<String, Value>,
        body: Vec<u8>,
    ) -> Result<Value> {
        let url = format!("http://{}{path}", self.addr);
        let method = Method::from_bytes(method.as_bytes()).with_context(|| format!("not a method: {method}"))?;
        let mut request = self.http.request(method, url).body(body);
        for (name, value) in headers {
            let value = value.as_str().with_context(|| format!("the header {name} is not text"))?;
            request = request.header(name, value);
        }
        let answer = request.send().await.context("the server does not answer")?;
        let (status, headers) = (answer.status().as_u16(), told(answer.headers()));
        let body = answer.bytes().await.context("the server's answer breaks off")?;
        let mut told = json!({"status": status, "headers": headers, "body": String::from_utf8_lossy(&body)});
        if let Ok(json) = serde_json::from_slice::<Value>(&body) {
            told["json"] = json;
        }
        Ok(told)
    }

    /// Creates a stream.
    pub(crate) async fn create(&self, path: &str, content_type: &str, data: &str) -> Result<()> {
        let headers = Map::from_iter([("content-type".to_owned(), content_type.into())]);
        let answer = self.send("PUT", path, &headers, data.as_bytes().to_vec()).await?;
        ensure!(answer["status"] == 201, "the server does not create {path}: {answer}");
        Ok(())
    }

    /// All that a stream holds, and whether it is closed. Messages of a JSON stream are a list.
    pub(crate) async fn content(&self, path: &str) -> Result<Content> {
        let (mut bytes, mut messages) = (Vec::new(), None::<Vec<Value>>);
        let mut offset = "-1".to_owned();
        loop {
            let mut url = Url::parse(&format!("http://{}{path}", self.addr)).context("not a path")?;
            url.query_pairs_mut().append_pair("offset", &offset);
            let answer = self.http.get(url).send().await.context("the server does not answer")?;
            let status = answer.status().as_u16();
            ensure!(status == 200, "the server does not show {path}: {status}");
            let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let next = text("stream-next-offset").context("no Stream-Next-Offset")?;
            let up_to_date = answer.headers().contains_key("stream-up-to-date");
            let closed = text("stream-closed").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            let is_json = text("content-type").is_some_and(|value| value.starts_with("application/json"));
            let body = answer.bytes().await.context("the server's answer breaks off")?;
            if is_json {
                let list: Vec<Value> = serde_json::from_slice(&body).context("the server's answer is no list")?;
                messages.get_or_insert_default().extend(list);
            }
            bytes.extend_from_slice(&body);
            if up_to_date || closed {
                return Ok(Content { bytes, messages, closed });
            }
            ensure!(next != offset, "the server stands still at {offset} of {path}");
            offset = next;
        }
    }
}

fn client() -> Result<reqwest::Client> {
    // reqwest wants one although no request is encrypted. One that is there already does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(LIMIT).build().context("cannot make a client")
}

/// What a stream holds.
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) messages: Option<Vec<Value>>,
    pub(crate) closed: bool,
}

/// Headers as an object.
pub(crate) fn told(headers: &HeaderMap) -> Map<String, Value> {
    let text = |name: &_| {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        values.join(", ")
    };
    headers.keys().map(|name| (name.as_str().to_owned(), text(name).into())).collect()
}
