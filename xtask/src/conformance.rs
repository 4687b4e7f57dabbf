//! The official server suite against our server.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use everstream_server::Server;
use everstream_server::storage::LogStorage;
use serde::Deserialize;

use crate::cases;
use crate::process::{npm, npm_ci, root, run as call, runtime, target_dir};

/// The suite waits for long-polls to time out; it is told how long that takes.
const LONG_POLL: Duration = Duration::from_millis(500);

#[derive(Args, Default)]
pub(crate) struct Arguments {
    /// What the server keeps its streams in
    #[arg(long, value_enum, default_value_t)]
    storage: Storage,
    #[command(flatten)]
    cases: cases::Arguments,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Storage {
    Log,
    #[default]
    Memory,
}

impl Arguments {
    /// The suite against the storage on disk.
    pub(crate) fn on_disk() -> Self {
        Self { storage: Storage::Log, ..Self::default() }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.cases.cases {
        return cases::run(&arguments.cases);
    }
    let suite = root().join("tests/conformance/server-suite");
    npm_ci(&suite)?;
    let folder = target_dir().join("conformance");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let report = folder.join("server-suite.json");
    // One of an earlier run must not be taken for this one's.
    if report.exists() {
        fs::remove_file(&report).with_context(|| format!("cannot remove {}", report.display()))?;
    }

    let runtime = runtime()?;
    let builder = match arguments.storage {
        Storage::Log => Server::builder().storage(Arc::new(empty_log(&folder)?)),
        Storage::Memory => Server::builder(),
    };
    let server = runtime.block_on(builder.bind(([127, 0, 0, 1], 0)).long_poll_timeout(LONG_POLL).start())?;
    let mut command = npm(&suite, ["test", "--"]);
    command
        .arg(format!("--outputFile.json={}", report.display()))
        .env("CONFORMANCE_TEST_URL", server.url())
        .env("CONFORMANCE_LONG_POLL_MS", LONG_POLL.as_millis().to_string())
        .env("CONFORMANCE_SUBSCRIPTIONS", "1");
    let ran = call(&mut command);
    runtime.block_on(server.shutdown());

    let outcome = Outcome::read(&report).or_else(|error| ran.and(Err(error)))?;
    outcome.print();
    outcome.verdict()
}

/// A storage on disk without a stream.
fn empty_log(folder: &Path) -> Result<LogStorage> {
    let data = folder.join("data");
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    LogStorage::open(&data).with_context(|| format!("cannot keep streams in {}", data.display()))
}

/// What the report of the suite says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: usize,
    skipped: usize,
    failures: Vec<String>,
    /// Files of tests that could not be run at all.
    broken: Vec<String>,
}

impl Outcome {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("the suite left no report at {}", path.display()))?;
        let report: Report = serde_json::from_slice(&text).context("the report of the suite is not understood")?;
        Ok(report.into())
    }

    fn print(&self) {
        let total = self.passed + self.skipped + self.failures.len();
        println!(
            "official server suite: {total} tests, {} passed, {} failed, {} skipped",
            self.passed,
            self.failures.len(),
            self.skipped
        );
        for name in &self.failures {
            println!("  failed: {name}");
        }
        for file in &self.broken {
            println!("  cannot run: {file}");
        }
    }

    fn verdict(&self) -> Result<()> {
        if !self.failures.is_empty() || !self.broken.is_empty() {
            bail!("{} tests of the suite fail", self.failures.len() + self.broken.len());
        }
        if self.passed == 0 {
            bail!("the suite ran no test");
        }
        Ok(())
    }
}

/// The JSON reporter's format, as far as it is of use.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    test_results: Vec<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    name: String,
    status: String,
    assertion_results: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    full_name: String,
    status: String,
}

impl From<Report> for Outcome {
    fn from(report: Report) -> Self {
        let mut outcome = Self::default();
        for file in report.test_results {
            if file.status == "failed" && !file.assertion_results.iter().any(|test| test.status == "failed") {
                outcome.broken.push(file.name);
            }
            for test in file.assertion_results {
                match test.status.as_str() {
                    "passed" => outcome.passed += 1,
                    "skipped" | "pending" | "todo" | "disabled" => outcome.skipped += 1,
                    _ => outcome.failures.push(test.full_name.trim().to_owned()),
                }
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(json: &str) -> Outcome {
        serde_json::from_str::<Report>(json).unwrap().into()
    }

    #[test]
    fn every_test_of_a_report_is_counted_once() {
        let outcome = outcome(
            r#"{"testResults": [{"name": "a", "status": "failed", "assertionResults": [
                {"fullName": "one", "status": "passed"}, {"fullName": " two", "status": "failed"},
                {"fullName": "three", "status": "skipped"}, {"fullName": "four", "status": "passed"}]}]}"#,
        );
        assert_eq!((outcome.passed, outcome.skipped), (2, 1));
        assert_eq!(outcome.failures, ["two"]);
        assert!(outcome.verdict().is_err());
    }

    #[test]
    fn a_suite_that_does_not_run_fails() {
        let broken = outcome(r#"{"testResults": [{"name": "a", "status": "failed", "assertionResults": []}]}"#);
        assert_eq!(broken.broken, ["a"]);
        assert!(broken.verdict().is_err());
        assert!(outcome(r#"{"testResults": []}"#).verdict().is_err());
    }
}
