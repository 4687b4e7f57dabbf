//! `subscription work`: a worker that prints what is new, or gives it to a command.
//!
//! A stream is acked when all of it was printed, or when the command has ended with 0. If a command fails the work is
//! given back and the worker ends: going on would give it the same work again at once.

use std::io::Write as _;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use everstream::{Batch, Lease, LinkedStream, Reader, Subscriptions};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::args::WorkArgs;
use crate::output::{Failure, complain};
use crate::signals;

pub(super) async fn run(subscriptions: &Subscriptions, args: &WorkArgs) -> Result<(), Failure> {
    let id = &args.subscription.id;
    let name = args.name.clone().unwrap_or_else(|| format!("everstream-{}", std::process::id()));
    let interrupt = signals::interrupt().map_err(|error| Failure::new(format!("Error: no signals: {error}")))?;
    let mut interrupt = std::pin::pin!(interrupt);
    let failed = |error: &everstream::Error| Failure::of("work on subscription", id, error);
    let mut worker = subscriptions.worker(id, &name).await.map_err(|error| failed(&error))?;
    let mut left = args.count;
    while left != Some(0) {
        let lease = tokio::select! {
            biased;
            () = &mut interrupt => return Ok(()),
            lease = worker.next() => lease.map_err(|error| failed(&error))?,
        };
        let outcome = tokio::select! {
            biased;
            () = &mut interrupt => Outcome::Stopped,
            () = lease.lost() => Outcome::Lost,
            done = all(&lease, args) => match done {
                Ok(()) => Outcome::Done,
                Err(failure) => Outcome::Failed(failure),
            },
        };
        match outcome {
            Outcome::Done => match lease.finish(&[]).await {
                Ok(_) => left = left.map(|left| left - 1),
                Err(error) if error.code() == "FENCED" => complain("The lease was over before the work was finished"),
                Err(error) => return Err(failed(&error)),
            },
            Outcome::Lost => complain("The lease is over: another worker gets the work"),
            Outcome::Stopped => return lease.release().await.map_err(|error| failed(&error)),
            Outcome::Failed(failure) => {
                // It comes again when the lease ends, if this fails too.
                let _ = lease.release().await;
                return Err(failure);
            }
        }
    }
    Ok(())
}

enum Outcome {
    Done,
    Failed(Failure),
    Lost,
    Stopped,
}

/// Works on every stream that has something new, one after the other.
async fn all(lease: &Lease, args: &WorkArgs) -> Result<(), Failure> {
    for stream in lease.pending() {
        let failed = |error: &everstream::Error| Failure::of("work on stream", &stream.path, error);
        let mut reader = lease.read(stream).map_err(|error| failed(&error))?;
        match args.command.split_first() {
            None => print(&mut reader, stream).await?,
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest);
                give(&mut reader, stream, lease, command).await?;
            }
        }
        if let Some(offset) = reader.offset() {
            lease.ack(&[(stream.path.clone(), offset.clone())]).await.map_err(|error| failed(&error))?;
        }
    }
    Ok(())
}

/// Prints messages as lines of JSON, which say where they are from.
async fn print(reader: &mut Reader, stream: &LinkedStream) -> Result<(), Failure> {
    while let Some(batch) = next(reader, stream).await? {
        let mut text = Vec::new();
        for line in lines(&batch, &stream.path) {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(&text)
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::new(format!("Failed to write to stdout: {error}")))?;
    }
    Ok(())
}

fn lines(batch: &Batch, path: &str) -> Vec<String> {
    if batch.is_json() {
        // As it was written: a parser could round its numbers.
        let line = |message: Bytes| format!(r#"{{"stream":{},"data":{}}}"#, json!(path), one_line(&message));
        return batch.messages().map(line).collect();
    }
    let bytes = batch.bytes();
    match std::str::from_utf8(&bytes) {
        Ok("") => Vec::new(),
        Ok(text) => vec![json!({"stream": path, "text": text}).to_string()],
        Err(_) => vec![json!({"stream": path, "base64": STANDARD.encode(&bytes)}).to_string()],
    }
}

/// Gives what is new to a command, and waits until it has done with it.
async fn give(reader: &mut Reader, stream: &LinkedStream, lease: &Lease, mut command: Command) -> Result<(), Failure> {
    let mut child = command
        .env("EVERSTREAM_SUBSCRIPTION", lease.subscription_id())
        .env("EVERSTREAM_STREAM", &stream.path)
        .env("EVERSTREAM_GENERATION", lease.generation().to_string())
        .stdin(Stdio::piped())
        // Work that is not ours any more is not to go on.
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::new(format!("Failed to run the command: {error}")))?;
    feed(reader, stream, &mut child).await?;
    let status =
        child.wait().await.map_err(|error| Failure::new(format!("Failed to wait for the command: {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(format!("The command failed on stream \"{}\": {status}", stream.path))),
    }
}

/// A command that does not read all of it is not wrong: its exit code says whether it is content.
async fn feed(reader: &mut Reader, stream: &LinkedStream, child: &mut Child) -> Result<(), Failure> {
    let mut stdin = child.stdin.take();
    while let Some(batch) = next(reader, stream).await? {
        let text = if batch.is_json() { json_lines(&batch) } else { batch.bytes().to_vec() };
        if let Some(pipe) = &mut stdin
            && pipe.write_all(&text).await.is_err()
        {
            stdin = None;
        }
    }
    if let Some(mut pipe) = stdin {
        // As above.
        let _ = pipe.shutdown().await;
    }
    Ok(())
}

fn json_lines(batch: &Batch) -> Vec<u8> {
    batch.messages().flat_map(|message| (one_line(&message) + "\n").into_bytes()).collect()
}

/// Line breaks between the tokens of a message become spaces; there are none inside of JSON strings.
fn one_line(message: &[u8]) -> String {
    String::from_utf8_lossy(message).replace(['\n', '\r'], " ")
}

async fn next(reader: &mut Reader, stream: &LinkedStream) -> Result<Option<Batch>, Failure> {
    reader.next().await.transpose().map_err(|error| Failure::of("read stream", &stream.path, &error))
}
