//! The demo's reader in Python: two processes, one after the other, as if the first had been killed half-way.

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
use crate::python::Python;

/// Reads from the beginning to the end: the first half as server-sent events, the rest by long-poll.
pub(super) async fn read(python: &Python, proxy: &FaultProxy, expected: usize, view: &View) -> Result<Arrival> {
    wait_until_created(&stream_through(proxy)?).await?;
    let checkpoint = target_dir().join("demo-checkpoint.json");
    // One of an earlier demo is none of this stream.
    let _ = std::fs::remove_file(&checkpoint);
    let mut messages = Vec::with_capacity(expected);
    let mut resumed_at = 0;
    for (live, enough) in [("sse", expected / 2), ("long-poll", usize::MAX)] {
        resumed_at = messages.len();
        let mut child = Command::new(python.program("python"))
            .arg(root().join("xtask/src/demo/reader.py"))
            .arg(format!("{}/v1/stream/{STREAM}", proxy.url()))
            .arg(&checkpoint)
            .args([live, &enough.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the reader in Python does not start")?;
        let stdout = child.stdout.take().context("the output of the reader is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = next(lines.next_line()).await?? {
            let batch: Vec<&RawValue> = serde_json::from_str(&line).context("the reader prints arrays of messages")?;
            messages.extend(batch.iter().map(|message| Bytes::copy_from_slice(message.get().as_bytes())));
            view.read(batch.len() as u64);
        }
        let status = next(child.wait()).await??;
        ensure!(status.success(), "the reader in Python failed: {status}");
    }
    Ok(Arrival { messages, resumed_at })
}

async fn next<T>(future: impl Future<Output = T>) -> Result<T> {
    timeout(STUCK, future).await.with_context(|| format!("nothing has arrived for {:?}", Duration::as_secs(&STUCK)))
}
