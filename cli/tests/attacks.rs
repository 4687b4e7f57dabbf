//! Attacks on the real process, judged by its memory and by what others get meanwhile.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{Cli, Follower};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the process may hold in memory, whatever is done to it.
const MOST: u64 = 200 << 20;

/// A server as it is run, but for the settings given.
struct Victim {
    process: Follower,
    address: String,
    cli: Cli,
}

impl Victim {
    async fn start(settings: &[&str]) -> Self {
        let mut args = vec!["serve", "--port", "0", "--storage", "memory"];
        settings.iter().for_each(|setting| args.extend(["--set", *setting]));
        let mut command = Cli::new("").command(&args);
        // Nobody reads what it logs.
        command.stderr(std::process::Stdio::null());
        let mut process = Follower::new(command);
        let line = process.line().await.expect("it listens");
        let url = line.strip_prefix("Listening on ").expect(&line).to_owned();
        Self { process, address: url.strip_prefix("http://").expect(&url).to_owned(), cli: Cli::new(url) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// Bytes of the process in memory at most so far.
    fn peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.child.id().unwrap());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Others are served, and memory has stayed within bounds.
    async fn is_unharmed(&self) {
        self.cli.run(&["create", "other"]).await.ok();
        self.cli.run(&["write", "other", "still here\\n"]).await.ok();
        let read = self.cli.run(&["read", "other", "--no-follow"]).await.ok();
        assert!(read.ends_with("still here\n"), "{read}");
        let peak = self.peak();
        assert!(peak < MOST, "the process grew to {} MiB", peak >> 20);
    }
}

/// How many connections this process and its child can have each, at most `wanted`.
fn connections(wanted: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    // What cannot be raised stays as it is.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(wanted, |limit| wanted.min(usize::try_from(limit).unwrap_or(wanted).saturating_sub(200)))
}

#[tokio::test]
async fn ten_thousand_idle_connections() {
    let victim = Victim::start(&[]).await;
    let count = connections(10_000);
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        let mut socket = victim.connect().await;
        // Half of them have said something before.
        if number % 2 == 0 {
            socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = [0; 1024];
            assert!(socket.read(&mut answer).await.unwrap() > 0);
        }
        idle.push(socket);
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn clients_that_ask_for_much_and_never_read() {
    let victim = Victim::start(&[]).await;
    victim.cli.run(&["create", "big", "--content-type", "text/plain"]).await.ok();
    for _ in 0..8 {
        victim.cli.pipe(&["write", "big"], vec![b'x'; 4 << 20]).await.ok();
    }
    let mut stalled = Vec::new();
    for number in 0..600 {
        let mut socket = victim.connect().await;
        let live = ["", "&live=long-poll", "&live=sse"][number % 3];
        // Pipelined, so that the buffers of the sockets fill up and the answers wait in the process.
        let request = format!("GET /v1/stream/big?offset=-1{live} HTTP/1.1\r\nhost: x\r\n\r\n");
        socket.write_all(request.repeat(8).as_bytes()).await.unwrap();
        stalled.push(socket);
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn heads_and_bodies_without_end() {
    let victim = Victim::start(&["limits.max_incoming_bytes=32MiB", "limits.max_body_bytes=16MiB"]).await;
    victim.cli.run(&["create", "s", "--content-type", "text/plain"]).await.ok();
    let attack = async |head: &[u8], piece: &[u8], total: usize| {
        let mut socket = victim.connect().await;
        let mut sent = socket.write_all(head).await;
        for _ in 0..total / piece.len() {
            if sent.is_err() {
                break;
            }
            sent = socket.write_all(piece).await;
        }
        // The server has ended it long before all was sent, or answers and ends it now.
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut answer)).await.expect("it hangs");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let zeros = vec![b'a'; 1 << 16];
    let field = b"x-field: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(1000);
    let hundred = 100 << 20;
    for answer in [
        attack(b"GET /healthz HTTP/1.1\r\nx: ", &zeros, hundred).await,
        attack(b"GET /healthz HTTP/1.1\r\n", &field, hundred).await,
        attack(b"GET /", &zeros, hundred).await,
        attack(&zeros, &zeros, hundred).await,
    ] {
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    let post = "POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n";
    let chunked = format!("{post}transfer-encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n".as_slice(), &zeros, b"\r\n"].concat();
    let endless = attack(chunked.as_bytes(), &chunk, hundred).await;
    assert!(endless.is_empty() || endless.starts_with("HTTP/1.1 413 "), "{endless}");
    // The extension of a chunk, and trailers, are as endless as anything.
    attack(format!("{chunked}1;").as_bytes(), &zeros, hundred).await;
    attack(format!("{chunked}1\r\na\r\n0\r\n").as_bytes(), &field, hundred).await;
    // Many that hold as much as one may, and go no further.
    let head = format!("{post}content-length: 16000000\r\n\r\n");
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut socket = victim.connect().await;
        socket.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..100 {
            if socket.write_all(&zeros).await.is_err() {
                break;
            }
        }
        held.push(socket);
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn heads_that_come_byte_by_byte() {
    let victim = Victim::start(&["limits.header_timeout=1s"]).await;
    let mut slow = Vec::new();
    for _ in 0..connections(1000) {
        let mut socket = victim.connect().await;
        socket.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        slow.push(socket);
    }
    victim.is_unharmed().await;
    // Each is ended, however often it adds a byte.
    for socket in &mut slow {
        let ended = async {
            let mut answer = [0; 64];
            loop {
                tokio::select! {
                    read = socket.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) { return },
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
                if socket.write_all(b"x").await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it is ended");
    }
}

#[tokio::test]
async fn it_stops_with_idle_and_live_connections_open() {
    let victim = Victim::start(&["server.shutdown_grace=60s"]).await;
    victim.cli.run(&["create", "s"]).await.ok();
    let mut open = Vec::new();
    for request in [
        "",
        "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /v1/stream/s?offset=now&live=long-poll HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /v1/stream/s?offset=now&live=sse HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /hea",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let mut socket = victim.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        open.push(socket);
    }
    // The live ones have begun.
    victim.cli.run(&["head", "s"]).await.ok();
    let mut answer = [0; 64];
    assert!(open[3].read(&mut answer).await.unwrap() > 0);
    victim.process.signal("TERM").await;
    let (_, run) = victim.process.finish().await;
    run.ok();
    let mut polled = String::new();
    open[2].read_to_string(&mut polled).await.unwrap();
    assert!(polled.starts_with("HTTP/1.1 204 "), "{polled}");
    let mut events = String::new();
    open[3].read_to_string(&mut events).await.unwrap();
    assert!(events.ends_with("0\r\n\r\n"), "it ends in order: {events}");
}
