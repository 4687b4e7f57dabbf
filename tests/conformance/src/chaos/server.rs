//! The server as a process of its own, with a folder that outlives it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const START_LIMIT: Duration = Duration::from_secs(30);

/// A server that can be killed.
pub(super) struct Process {
    program: PathBuf,
    addr: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Process {
    /// Starts it on a free port, and waits until it answers.
    pub(super) async fn start(program: PathBuf) -> Result<Self> {
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        let folder = TempDir::new().context("cannot make a folder for the streams")?;
        let child = spawn(&program, addr, &folder).await?;
        Ok(Self { program, addr, folder, child })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Kills it as if the machine had lost power to it, and starts it again on what it left.
    pub(super) async fn kill_and_restart(&mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill the server")?;
        self.child = spawn(&self.program, self.addr, &self.folder).await?;
        Ok(())
    }

    pub(super) async fn stop(mut self) {
        // Nothing is left to be lost.
        let _ = self.child.kill().await;
    }
}

async fn spawn(program: &Path, addr: SocketAddr, folder: &TempDir) -> Result<Child> {
    let mut child = Command::new(program)
        .arg("serve")
        .args(["--host", &addr.ip().to_string(), "--port", &addr.port().to_string()])
        .args(["--storage", "log", "--long-poll-timeout-ms", "1000"])
        .arg("--data-dir")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let start = Instant::now();
    while TcpStream::connect(addr).await.is_err() {
        if let Some(status) = child.try_wait().context("the server cannot be waited for")? {
            anyhow::bail!("the server does not start: {status}");
        }
        ensure!(start.elapsed() < START_LIMIT, "the server does not listen within {START_LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(child)
}
