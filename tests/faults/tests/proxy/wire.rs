//! A client so plain that it shows what is on the wire.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How the other side ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

/// What a client got until its connection ended.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
}

impl Got {
    pub(crate) fn head(&self) -> String {
        let end = self.head_len().unwrap_or(self.bytes.len());
        String::from_utf8(self.bytes[..end].to_vec()).expect("a head is text")
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.head().split(' ').nth(1)?.parse().ok()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let head = self.head();
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        Some(line[name.len() + 1..].trim().to_owned())
    }

    /// The body as sent, chunk framing and all.
    pub(crate) fn raw_body(&self) -> &[u8] {
        self.head_len().map_or(&[], |end| &self.bytes[end..])
    }

    /// The data of a chunked body, and whether its last chunk came.
    pub(crate) fn chunked_body(&self) -> (Vec<u8>, bool) {
        let (mut data, mut rest) = (Vec::new(), self.raw_body());
        while let Some(line_end) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let size = std::str::from_utf8(&rest[..line_end]).expect("a size is text");
            let size = usize::from_str_radix(size, 16).expect("a size is hexadecimal");
            if size == 0 {
                return (data, true);
            }
            data.extend_from_slice(&rest[line_end + 2..line_end + 2 + size]);
            rest = &rest[line_end + 2 + size + 2..];
        }
        (data, false)
    }

    fn head_len(&self) -> Option<usize> {
        self.bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
    }
}

/// One connection to the proxy.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.expect("the proxy listens"))
    }

    pub(crate) async fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        self.send_raw(&[request.as_bytes(), b"\r\n", body].concat()).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        // The other side may break the connection while this writes; what it answered is still read.
        let _ = self.0.write_all(bytes).await;
    }

    /// Reads until what came contains `text`.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        let reading = async {
            while !bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                assert_ne!(self.0.read_buf(&mut bytes).await.expect("no error before the text"), 0, "closed too early");
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reading).await.expect("in time");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until the connection ends.
    pub(crate) async fn read_to_end(mut self) -> Got {
        let mut bytes = Vec::new();
        let reading = async {
            loop {
                match self.0.read_buf(&mut bytes).await {
                    Ok(0) => return End::Closed,
                    Ok(_) => {}
                    Err(error) => return end_of(&error),
                }
            }
        };
        let end = tokio::time::timeout(Duration::from_secs(10), reading).await.expect("in time");
        Got { bytes, end }
    }
}

fn end_of(error: &io::Error) -> End {
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    End::Reset
}

/// Sends one request on a connection of its own, and reads until that ends.
pub(crate) async fn request(addr: SocketAddr, method: &str, target: &str, body: &[u8]) -> Got {
    request_with(addr, method, target, &[], body).await
}

pub(crate) async fn request_with(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Got {
    let mut wire = Wire::open(addr).await;
    wire.send(method, target, &[headers, &[("connection", "close")]].concat(), body).await;
    wire.read_to_end().await
}
