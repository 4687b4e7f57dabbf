//! A server in this process, and the real binary run against it.
#![allow(dead_code, unreachable_pub)]

use std::process::Stdio;
use std::time::Duration;

use everstream_server::{RunningServer, Server, ServerBuilder};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Nothing here takes so long unless it hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A server, and the command line told about it.
pub struct Setup {
    pub server: RunningServer,
    pub cli: Cli,
}

impl Setup {
    pub async fn new() -> Self {
        Self::with(|server| server).await
    }

    pub async fn with(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let builder = Server::builder().bind(([127, 0, 0, 1], 0)).long_poll_timeout(Duration::from_millis(500));
        let server = change(builder).start().await.expect("a free port");
        let cli = Cli::new(server.url());
        Self { server, cli }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    #[track_caller]
    pub fn fails(self) -> String {
        assert_eq!(self.code, 1, "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        self.err
    }
}

/// The binary with an environment of its own.
pub struct Cli {
    pub url: String,
    pub binary: &'static str,
}

impl Cli {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), binary: env!("CARGO_BIN_EXE_everstream") }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        command
            .args(args)
            .env_remove("STREAM_AUTH")
            .env_remove("RUST_LOG")
            .env("STREAM_URL", &self.url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, args: &[&str]) -> Run {
        finish(self.command(args).spawn().expect("the binary runs")).await
    }

    pub async fn run_owned<const N: usize>(&self, args: [&str; N]) -> Run {
        self.run(&args).await
    }

    pub async fn pipe(&self, args: &[&str], input: impl AsRef<[u8]>) -> Run {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("the binary runs");
        let mut stdin = child.stdin.take().expect("piped");
        let feed = async {
            // A run that fails early does not read it all.
            let _ = stdin.write_all(input.as_ref()).await;
            drop(stdin);
        };
        tokio::join!(feed, finish(child)).1
    }

    /// Starts a run whose input stays open; write to its `stdin`.
    pub fn feed(&self, args: &[&str]) -> (Follower, ChildStdin) {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        let mut fed = Follower::new(command);
        let stdin = fed.child.stdin.take().expect("piped");
        (fed, stdin)
    }

    /// Starts a run that goes on, to be read line by line.
    pub fn follow(&self, args: &[&str]) -> Follower {
        Follower::new(self.command(args))
    }
}

/// A run under way.
pub struct Follower {
    pub child: Child,
    pub lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    pub fn new(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary runs");
        let stdout = child.stdout.take().expect("piped");
        Self { child, lines: BufReader::new(stdout).lines() }
    }

    pub async fn line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await;
        line.expect("a line comes").expect("it can be read")
    }

    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await;
        assert!(sent.expect("kill runs").success());
    }

    /// The rest of its lines, and how it ended.
    pub async fn finish(mut self) -> (Vec<String>, Run) {
        let mut rest = Vec::new();
        while let Some(line) = self.line().await {
            rest.push(line);
        }
        (rest, finish(self.child).await)
    }
}

pub async fn finish(child: Child) -> Run {
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
    let output = output.expect("it does not hang").expect("it ran");
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
