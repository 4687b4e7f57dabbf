//! The server that ours is held against: `durable-streams` of crates.io; here with its data in memory.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::roles::ServerProcess;
use crate::process::{cargo, run, target_dir};

const PACKAGE: &str = "durable-streams@0.1.5";
pub(super) const NAME: &str = "durable-streams 0.1.5 (crates.io), in memory";

/// Starts it, and installs it before if it is not there.
pub(super) fn start() -> Result<ServerProcess> {
    let data = folder().join("data");
    fs::create_dir_all(&data)?;
    let port = free_port()?;
    let child = Command::new(program()?)
        .args(["--durability", "memory", "--port", &port.to_string(), "--data-dir"])
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start durable-streams-server")?;
    let server = ServerProcess::of(child, port, "");
    for _ in 0..500 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(server);
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("durable-streams-server does not listen")
}

fn folder() -> PathBuf {
    target_dir().join("bench").join("durable-streams-0.1.5")
}

/// Its program, which is installed if it is not there.
pub(super) fn program() -> Result<PathBuf> {
    let folder = folder();
    let program = folder.join("bin").join("durable-streams-server");
    if !program.exists() {
        run(cargo(["install", PACKAGE, "--locked", "--root"])
            .arg(&folder)
            .env("CARGO_TARGET_DIR", folder.join("build")))?;
    }
    Ok(program)
}

/// Free a moment ago; the server takes a number only.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
