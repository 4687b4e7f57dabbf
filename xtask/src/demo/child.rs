//! The demo's reader in another language: two processes, one after the other, as if the first had been killed half-way.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use everstream_faults::FaultProxy;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::view::View;
use super::{Arrival, STREAM, STUCK, stream_through, wait_until_created};
use crate::process::{root, target_dir};

/// What a reader is started with.
pub(super) struct Program {
    /// What runs it.
    pub(super) interpreter: PathBuf,
    /// Its file, beside this one.
    pub(super) script: &'static str,
}

/// Reads from the beginning to the end: the first half as server-sent events, the rest by long-poll.
pub(super) async fn read(program: &Program, proxy: &FaultProxy, expected: usize, view: &View) -> Result<Arrival> {
    wait_until_created(&stream_through(proxy)?).await?;
    let checkpoint = target_dir().join("demo-checkpoint.json");
    // One of an earlier demo is none of this stream.
    let _ = std::fs::remove_file(&checkpoint);
    let mut messages = Vec::with_capacity(expected);
    let mut resumed_at = 0;
    for (live, enough) in [("sse", expected / 2), ("long-poll", usize::MAX)] {
        resumed_at = messages.len();
        let mut child = Command::new(&program.interpreter)
            .arg(root().join("xtask/src/demo").join(program.script))
            .arg(format!("{}/v1/stream/{STREAM}", proxy.url()))
            .arg(&checkpoint)
            .args([live, &enough.to_string()])
            // The way to the proxy is this machine, whatever the environment says about other proxies.
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", program.script))?;
        let stdout = child.stdout.take().context("the output of the reader is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = next(lines.next_line()).await?? {
            let batch: Vec<&RawValue> = serde_json::from_str(&line).context("the reader prints arrays of messages")?;
            messages.extend(batch.iter().map(|message| Bytes::copy_from_slice(message.get().as_bytes())));
            view.read(batch.len() as u64);
        }
        let status = next(child.wait()).await??;
        ensure!(status.success(), "{} failed: {status}", program.script);
    }
    Ok(Arrival { messages, resumed_at })
}

async fn next<T>(future: impl Future<Output = T>) -> Result<T> {
    timeout(STUCK, future).await.with_context(|| format!("nothing has arrived for {:?}", Duration::as_secs(&STUCK)))
}
