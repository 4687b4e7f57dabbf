//! The conformance adapter of the Rust client: commands as JSON lines in, results as JSON lines out.
//!
//! It converts and calls, nothing more: whatever a case finds, it finds in the library. The official runner of Durable
//! Streams can be pointed at it as well as ours; `tests/conformance/README.md` has the commands.

mod adapter;
mod bench;
mod commands;
mod hooks;
mod producing;
mod protocol;
mod reading;

use std::io;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::adapter::Adapter;
use crate::protocol::{encode, unparsable};

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut adapter = Adapter::new();
    let mut input = BufReader::new(tokio::io::stdin());
    let mut output = tokio::io::stdout();
    let mut line = Vec::new();
    // Until `shutdown`, or until the runner is gone.
    while input.read_until(b'\n', &mut line).await? > 0 {
        if line.trim_ascii().is_empty() {
            line.clear();
            continue;
        }
        let command = serde_json::from_slice::<Value>(&line).ok().filter(|command| command["type"].is_string());
        let is_last = command.as_ref().is_some_and(|command| command["type"] == "shutdown");
        let result = match command {
            Some(command) => adapter.answer(command).await,
            None => unparsable(),
        };
        output.write_all(encode(&result).as_bytes()).await?;
        output.flush().await?;
        line.clear();
        if is_last {
            break;
        }
    }
    Ok(())
}
