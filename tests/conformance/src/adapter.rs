//! A running adapter: commands in, results out, one at a time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

/// How long one command may take. A client that needs longer hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);
/// How long the process may take to end after `shutdown`.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// The nine features of the official protocol. An adapter that lacks one has no way to pass.
const FEATURES: [&str; 9] = [
    "auto",
    "batching",
    "batchItems",
    "dynamicHeaders",
    "longPoll",
    "retryOptions",
    "sse",
    "streaming",
    "strictZeroValidation",
];

/// How to start the adapter of a language.
#[derive(Debug, Clone)]
pub struct AdapterSpec {
    /// The language, as reports call it.
    pub language: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Features beyond the nine that it must declare.
    pub features: Vec<String>,
}

/// A process that carries out commands.
pub(crate) struct Adapter {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    errors: JoinHandle<String>,
    must_have: Vec<String>,
}

impl Adapter {
    pub(crate) fn start(spec: &AdapterSpec) -> Result<Self> {
        let mut child = Command::new(&spec.program)
            .args(&spec.arguments)
            // What a proxy of the environment must not carry.
            .env("NO_PROXY", "127.0.0.1,localhost")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the adapter {}", spec.program.display()))?;
        let input = child.stdin.take().context("the input is a pipe")?;
        let output = BufReader::new(child.stdout.take().context("the output is a pipe")?).lines();
        let errors = tokio::spawn(collect(child.stderr.take().context("the errors are a pipe")?));
        Ok(Self { child, input, output, errors, must_have: spec.features.clone() })
    }

    /// Points the client at a server, and gives what it declares. Every feature that it must have is there.
    pub(crate) async fn init(&mut self, server: &str) -> Result<BTreeSet<String>> {
        let result = self.call(&json!({"type": "init", "serverUrl": server})).await?;
        ensure!(result["success"] == true, "`init` failed: {result}");
        let features = result["features"].as_object().into_iter().flatten();
        let declared: BTreeSet<_> = features.filter(|(_, it)| **it == true).map(|(name, _)| name.clone()).collect();
        let wanted = FEATURES.into_iter().chain(self.must_have.iter().map(String::as_str));
        let missing: Vec<_> = wanted.filter(|name| !declared.contains(*name)).collect();
        ensure!(missing.is_empty(), "the adapter lacks {}", missing.join(", "));
        Ok(declared)
    }

    /// Sends a command and waits for its result.
    ///
    /// # Errors
    /// No result comes in time, or what comes is none. The process is of no use then.
    pub(crate) async fn call(&mut self, command: &Value) -> Result<Value> {
        self.send(command).await?;
        self.result(command).await
    }

    pub(crate) async fn send(&mut self, command: &Value) -> Result<()> {
        let mut line = command.to_string();
        line.push('\n');
        self.input.write_all(line.as_bytes()).await.context("the adapter is gone")?;
        self.input.flush().await.context("the adapter is gone")
    }

    /// The result of the command that was sent last.
    pub(crate) async fn result(&mut self, command: &Value) -> Result<Value> {
        let kind = command["type"].as_str().unwrap_or_default();
        let line = tokio::time::timeout(COMMAND_LIMIT, self.output.next_line())
            .await
            .with_context(|| format!("no result of `{kind}` within {COMMAND_LIMIT:?}: the client hangs"))?;
        let Some(line) = line.context("the adapter's output broke")? else {
            bail!("the adapter ended during `{kind}`");
        };
        let result: Value = serde_json::from_str(&line).with_context(|| format!("not a result: {line}"))?;
        let told = if result["success"] == true { &result["type"] } else { &result["commandType"] };
        ensure!(told == kind, "the result of another command than `{kind}`: {line}");
        ensure!(result["success"] == true || result["type"] == "error", "neither success nor error: {line}");
        ensure!(line.is_ascii(), "results are ASCII, since readers split lines at U+2028: {line}");
        Ok(result)
    }

    /// Ends the process as it should end: with 0, in time, and without a word on its error output.
    pub(crate) async fn shut_down(mut self) -> Result<()> {
        self.call(&json!({"type": "shutdown"})).await?;
        drop(self.input);
        let status = tokio::time::timeout(SHUTDOWN_LIMIT, self.child.wait())
            .await
            .context("the adapter goes on after `shutdown`")?
            .context("the adapter cannot be waited for")?;
        let said = self.errors.await.unwrap_or_default();
        ensure!(status.success(), "the adapter ended with {status}: {said}");
        ensure!(said.trim().is_empty(), "the adapter said on its error output: {said}");
        Ok(())
    }

    /// Kills the process; what it said on its error output.
    pub(crate) async fn kill(mut self) -> String {
        // It may have ended by itself.
        let _ = self.child.kill().await;
        self.errors.await.unwrap_or_default()
    }
}

async fn collect(mut errors: ChildStderr) -> String {
    let mut said = Vec::new();
    // What came before the pipe broke is what there is.
    let _ = errors.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}
