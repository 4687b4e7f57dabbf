//! docs/cli.md does what it says: every block is run, in order, in one folder and against one server.
//!
//! In a `console` block `$ ` begins a command and the lines below it are what it prints; `...` stands for anything
//! within a line. Servers of `sh` blocks are only checked: they would not end.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;

use support::Setup;

/// A command and what it prints.
struct Example {
    command: String,
    output: Vec<String>,
}

fn blocks(page: &str, language: &str) -> Vec<Vec<String>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(found) = line.strip_prefix("```") else { continue };
        let block: Vec<String> = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
        if found == language {
            blocks.push(block);
        }
    }
    blocks
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for line in blocks(page, "console").concat() {
        match line.strip_prefix("$ ") {
            Some(command) => examples.push(Example { command: command.to_owned(), output: Vec::new() }),
            None => examples.last_mut().expect("a block begins with a command").output.push(line),
        }
    }
    examples
}

/// Whether a line is what was expected, where `...` is anything.
fn matches(expected: &str, line: &str) -> bool {
    let mut parts = expected.split("...");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        match rest.find(part) {
            Some(at) if !part.is_empty() => rest = &rest[at + part.len()..],
            Some(_) => rest = "",
            None => return false,
        }
    }
    rest.is_empty()
}

#[tokio::test]
async fn every_block_of_the_page_does_what_it_says() {
    let page = include_str!("../../docs/cli.md");
    let Setup { server: _server, cli } = Setup::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::join_paths(
        [Path::new(cli.binary).parent().unwrap().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .unwrap();
    let run = |command: String| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command} 2>&1")]).current_dir(folder.path());
        shell.env("PATH", &path).env("STREAM_URL", &cli.url).env("LC_ALL", "C").env_remove("STREAM_AUTH");
        async { tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap() }
    };
    let examples = examples(page);
    assert!(examples.len() > 25, "the page has {} commands", examples.len());
    for Example { command, output } in examples {
        let grouped = format!("{{ {command}\n}}");
        let shown = String::from_utf8(run(grouped).await.stdout).unwrap();
        let lines: Vec<&str> = shown.lines().collect();
        let fits =
            lines.len() == output.len() && output.iter().zip(&lines).all(|(expected, line)| matches(expected, line));
        assert!(fits, "$ {command}\n{shown}\nand not\n{}", output.join("\n"));
    }
    for command in blocks(page, "sh").concat() {
        let command = command.split('#').next().unwrap_or_default().trim().to_owned();
        assert!(command.starts_with("everstream serve"), "{command}");
        let checked = run(format!("{{ {command} --check-config\n}}")).await;
        assert!(checked.status.success(), "{command}: {checked:?}");
    }
}

#[test]
fn dots_stand_for_anything_within_a_line() {
    assert!(matches("a ... c", "a b c") && matches("...", "x") && matches("a...", "abc") && matches("x", "x"));
    assert!(!matches("a ... c", "a b d") && !matches("x", "xy") && !matches("a...", "b"));
}
