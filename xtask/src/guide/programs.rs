//! The programs and sessions of the guide, run in their order against one server and held against what the pages show.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use everstream_server::Server;

use super::page::{Page, Sample};
use crate::process::{output, runtime, target_dir};
use crate::python::Python;
use crate::sample::{DEFAULT_ADDRESS, LOCAL, RustPrograms, Shell, commands, node_project, same, write};

/// Pages whose samples need something of their own around them, and the tests that run them.
const ELSEWHERE: [(&str, &str); 7] = [
    ("browser.md", "bindings-node/test-web/docs.test.ts"),
    ("cli.md", "cli/tests/docs.rs"),
    ("node.md", "bindings-node/test/docs.test.ts"),
    ("python.md", "bindings-python/tests/test_docs.py"),
    ("server.md", "server/tests and cli/tests"),
    (
        "subscriptions.md",
        "cli/tests/subscriptions_in_rust.rs, server/tests/subscriptions; beside those of python.md and node.md",
    ),
    ("benchmarks.md", "cargo xtask bench"),
];

/// What the Rust programs may use.
const DEPENDENCIES: &str = r#"[dependencies]
everstream = { path = "core" }
everstream-server = { path = "server" }
serde = { version = "1", features = ["derive"] }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
"#;

pub(super) fn run(pages: &[Page]) -> Result<()> {
    let runtime = runtime()?;
    let server = runtime.block_on(Server::builder().bind(([127, 0, 0, 1], 0)).start())?;
    let here = |code: &str| code.replace(DEFAULT_ADDRESS, &server.addr().to_string());

    let samples = samples(pages);
    let of = |language: &str| samples.values().filter(|it| it.language == language).count();
    ensure!(
        ["rust", "python", "js", "console"].iter().all(|language| of(language) > 0),
        "the guide has lost its programs"
    );
    let rust = samples.iter().filter(|(_, it)| it.language == "rust").map(|(name, it)| (name.clone(), here(&it.code)));
    let rust = rust.collect::<Vec<_>>();
    let rust =
        RustPrograms::build("guide", DEPENDENCIES, rust.iter().map(|(name, code)| (name.as_str(), code.as_str())))?;
    let python = Python::for_tests()?;
    let node = node_project()?;
    let shell = Shell::new()?;

    for (name, sample) in &samples {
        let code = here(&sample.code);
        let printed = match sample.language.as_str() {
            "rust" => rust.output(name),
            "python" => {
                program(&python.program("python"), &target_dir().join(format!("guide-python/{name}.py")), &code)
            }
            "js" => program(Path::new("node"), &node.join(format!("{name}.mjs")), &code),
            "console" => session(&shell, &server.addr().to_string(), &sample.code).map(|()| String::new()),
            _ => continue,
        };
        let printed = printed.with_context(|| format!("docs: {name} failed"))?;
        if let Some(expected) = &sample.printed {
            same(&format!("docs: {name}"), expected, &printed.replace(&server.addr().to_string(), DEFAULT_ADDRESS))?;
        }
        println!("ok {name} ({})", sample.language);
    }
    runtime.block_on(server.shutdown());
    Ok(())
}

/// By page and place, in their order; the names are good for files.
fn samples(pages: &[Page]) -> BTreeMap<String, &Sample> {
    let here = |page: &&Page| !ELSEWHERE.iter().any(|(name, _)| *name == page.name);
    let mut samples = BTreeMap::new();
    for page in pages.iter().filter(here) {
        let stem = page.name.trim_end_matches(".md").to_lowercase();
        samples.extend((1..).zip(&page.samples).map(|(number, sample)| (format!("{stem}_{number:02}"), sample)));
    }
    samples
}

fn program(interpreter: &Path, file: &Path, code: &str) -> Result<String> {
    write(file, code)?;
    output(Command::new(interpreter).arg(file).env("NO_PROXY", LOCAL))
}

/// Each line after a `$` goes to a shell; the lines below it are what it prints.
fn session(shell: &Shell, address: &str, code: &str) -> Result<()> {
    for (line, expected) in commands(code)? {
        let mut command = shell.command(&line.replace(DEFAULT_ADDRESS, address));
        let actual = output(command.env("STREAM_URL", format!("http://{address}")))?;
        same(&format!("`{line}`"), &expected, &actual.replace(address, DEFAULT_ADDRESS))?;
    }
    Ok(())
}
