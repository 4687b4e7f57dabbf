//! The two servers.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use everstream::proto::names;

use super::super::peer;
use crate::process::{cargo, run, target_dir};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Ours,
    Rival,
}

/// Where it keeps its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    OnDisk,
    InMemory,
}

impl Peer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "everstream",
            Self::Rival => "durable-streams",
        }
    }

    /// Where its streams are.
    pub(super) fn root(self) -> &'static str {
        match self {
            Self::Ours => names::STREAM_ROOT,
            Self::Rival => "",
        }
    }
}

/// Both programs.
pub(super) struct Programs {
    ours: PathBuf,
    rival: PathBuf,
}

impl Programs {
    /// Those that are given; else ours is built, and the other one is installed unless it was before.
    pub(super) fn find(ours: Option<PathBuf>, rival: Option<PathBuf>) -> Result<Self> {
        let ours = match ours {
            Some(ours) => ours,
            None => {
                run(&mut cargo(["build", "--release", "--package", "everstream-cli", "--bin", "everstream"]))?;
                target_dir().join("release").join("everstream")
            }
        };
        Ok(Self { ours, rival: rival.map_or_else(peer::program, Ok)? })
    }

    /// Starts one, with an empty folder.
    pub(super) fn start(&self, peer: Peer, kept: Kept) -> Result<Server> {
        let folder = target_dir().join("bench").join(format!("matrix-{}", peer.name()));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        // Free a moment ago.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (program, options) = match (peer, kept) {
            (Peer::Ours, Kept::OnDisk) => (&self.ours, "serve --storage log"),
            (Peer::Ours, Kept::InMemory) => (&self.ours, "serve --storage memory"),
            (Peer::Rival, Kept::OnDisk) => (&self.rival, "--durability wal"),
            (Peer::Rival, Kept::InMemory) => (&self.rival, "--durability memory"),
        };
        let mut words = vec![program.display().to_string()];
        words.extend(options.split(' ').map(str::to_owned));
        words.extend(["--port".to_owned(), port.to_string(), "--data-dir".to_owned(), folder.display().to_string()]);
        Server::start(words, folder, port).with_context(|| format!("cannot start {}", peer.name()))
    }
}

/// A server at work, which ends with this value, and its folder with it.
pub(super) struct Server {
    child: Child,
    words: Vec<String>,
    folder: PathBuf,
    port: u16,
}

impl Server {
    fn start(words: Vec<String>, folder: PathBuf, port: u16) -> Result<Self> {
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, words, folder, port };
        for _ in 0..500 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("it does not listen")
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What starts it again, for a shell.
    pub(super) fn command_line(&self) -> String {
        let quoted = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
        self.words.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What stays is removed by the next start.
        let _ = fs::remove_dir_all(self.folder());
    }
}
