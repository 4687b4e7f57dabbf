//! Load for a server: keep-alive connections, each with a stream of its own and one request at a time.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::data::message;
use super::measure::{Meter, Sample};

const CONNECTIONS: u64 = 16;
/// What an append of bytes carries.
const PAYLOAD: [u8; 100] = [b'x'; 100];

/// What is asked for, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    AppendBytes,
    AppendJson,
    Get,
    Head,
}

/// One run. What it costs is counted in the server's process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) request: Request,
    pub(super) port: u16,
    /// Path of the streams.
    pub(super) root: String,
    pub(super) pid: u32,
    pub(super) requests: u64,
}

impl Load {
    /// On one thread, so that the server has the other core.
    pub(super) fn run(&self) -> Result<Sample> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut workers = Vec::new();
            for number in 0..CONNECTIONS {
                workers.push(self.worker(number).await?);
            }
            let mut running = JoinSet::new();
            let meter = Meter::start(self.pid)?;
            for mut worker in workers {
                running.spawn(async move {
                    worker.work().await?;
                    anyhow::Ok(worker)
                });
            }
            let workers = running.join_all().await;
            let sample = meter.stop()?;
            for worker in workers {
                worker?.check().await?;
            }
            Ok(sample)
        })
    }

    async fn worker(&self, number: u64) -> Result<Worker> {
        let mut connection = Connection::open(self.port).await?;
        // Streams are deleted at the end, but a run that failed may have left some.
        let path = format!("{}/load-{}-{number}", self.root, std::process::id());
        let (content_type, payload) = match self.request {
            Request::AppendJson => ("application/json", message(number).into_bytes()),
            Request::AppendBytes | Request::Get | Request::Head => ("application/octet-stream", PAYLOAD.to_vec()),
        };
        let append = request("POST", &path, Some((content_type, &payload)));
        let answer = connection.ask(&request("PUT", &path, Some((content_type, b"")))).await?;
        ensure!(answer.status == 201, "create: {}", answer.status);
        let wire = match self.request {
            Request::AppendBytes | Request::AppendJson => append,
            Request::Get | Request::Head => {
                let answer = connection.ask(&append).await?;
                ensure!(matches!(answer.status, 200 | 204), "append: {}", answer.status);
                match self.request {
                    Request::Head => request("HEAD", &path, None),
                    _ => request("GET", &format!("{path}?offset=-1"), None),
                }
            }
        };
        Ok(Worker {
            connection,
            path,
            request: self.request,
            wire,
            payload,
            left: self.requests / CONNECTIONS,
            done: 0,
        })
    }
}

struct Worker {
    connection: Connection,
    path: String,
    request: Request,
    wire: Vec<u8>,
    payload: Vec<u8>,
    left: u64,
    done: u64,
}

impl Worker {
    async fn work(&mut self) -> Result<()> {
        while self.left > 0 {
            let answer = self.connection.ask(&self.wire).await?;
            let is_right = match self.request {
                Request::AppendBytes | Request::AppendJson => matches!(answer.status, 200 | 204),
                Request::Get => answer.status == 200 && answer.body == self.payload,
                Request::Head => answer.status == 200 && answer.body.is_empty(),
            };
            ensure!(is_right, "{:?}: {}", self.request, answer.status);
            ensure!(answer.next.is_some(), "{:?}: no next offset", self.request);
            self.left -= 1;
            self.done += 1;
        }
        Ok(())
    }

    /// Everything that was appended is there; then the stream goes.
    async fn check(&mut self) -> Result<()> {
        let expected = match self.request {
            Request::AppendBytes => self.payload.repeat(usize::try_from(self.done)?),
            Request::AppendJson => self.payload.repeat(usize::try_from(self.done)?),
            Request::Get | Request::Head => self.payload.clone(),
        };
        let (mut found, mut offset) = (Vec::new(), "-1".to_owned());
        loop {
            let get = request("GET", &format!("{}?offset={offset}", self.path), None);
            let answer = self.connection.ask(&get).await?;
            ensure!(answer.status == 200, "read: {}", answer.status);
            if self.request == Request::AppendJson {
                // All messages are the same: without commas and brackets they are easily counted.
                let messages: Vec<&serde_json::value::RawValue> = serde_json::from_slice(answer.body)?;
                messages.iter().for_each(|message| found.extend_from_slice(message.get().as_bytes()));
            } else {
                found.extend_from_slice(answer.body);
            }
            let up_to_date = answer.up_to_date;
            offset = answer.next.context("read: no next offset")?.to_owned();
            if up_to_date {
                break;
            }
        }
        ensure!(found == expected, "{} bytes are there instead of {}", found.len(), expected.len());
        let answer = self.connection.ask(&request("DELETE", &self.path, None)).await?;
        ensure!(matches!(answer.status, 200 | 204), "delete: {}", answer.status);
        Ok(())
    }
}

fn request(method: &str, path: &str, content: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut wire = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n").into_bytes();
    if let Some((content_type, body)) = content {
        let headers = format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len());
        wire.extend_from_slice(headers.as_bytes());
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(content.map_or(b"", |(_, body)| body));
    wire
}

/// A connection that costs little beside the server: one socket, one buffer.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// How much of the buffer is filled.
    filled: usize,
}

/// What a load generator has to know of an answer.
struct Answer<'a> {
    status: u16,
    next: Option<&'a str>,
    up_to_date: bool,
    body: &'a [u8],
}

/// The head of an answer, by its places in the buffer.
struct Head {
    status: u16,
    len: usize,
    body_len: usize,
    next: Option<(usize, usize)>,
    up_to_date: bool,
}

impl Connection {
    async fn open(port: u16) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: vec![0; 16 << 10], filled: 0 })
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.socket.write_all(request).await?;
        self.filled = 0;
        let is_head = request.starts_with(b"HEAD");
        let head = loop {
            self.fill().await?;
            if let Some(head) = parse(&self.buffer[..self.filled], is_head)? {
                break head;
            }
        };
        let end = head.len + head.body_len;
        while self.filled < end {
            self.fill().await?;
        }
        ensure!(self.filled == end, "more was answered than was asked for");
        Ok(Answer {
            status: head.status,
            next: head.next.map(|(from, to)| std::str::from_utf8(&self.buffer[from..to])).transpose()?,
            up_to_date: head.up_to_date,
            body: &self.buffer[head.len..end],
        })
    }

    async fn fill(&mut self) -> Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        let read = self.socket.read(&mut self.buffer[self.filled..]).await?;
        ensure!(read > 0, "the server hung up");
        self.filled += read;
        Ok(())
    }
}

/// The head, once it is there.
fn parse(buffer: &[u8], to_head: bool) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = response.parse(buffer)? else {
        return Ok(None);
    };
    let status = response.code.context("no status")?;
    let has_no_body = to_head || matches!(status, 204 | 304);
    let mut head = Head { status, len, body_len: 0, next: None, up_to_date: false };
    let mut is_framed = has_no_body;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") && !has_no_body {
            head.body_len = std::str::from_utf8(header.value)?.parse()?;
            is_framed = true;
        } else if header.name.eq_ignore_ascii_case("stream-next-offset") {
            let from = header.value.as_ptr() as usize - buffer.as_ptr() as usize;
            head.next = Some((from, from + header.value.len()));
        } else if header.name.eq_ignore_ascii_case("stream-up-to-date") {
            head.up_to_date = true;
        }
    }
    if !is_framed {
        bail!("an answer without content-length");
    }
    Ok(Some(head))
}
