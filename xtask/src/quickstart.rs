//! The quick starts of README.md, run as a reader would run them, and held against the output shown there.
//!
//! A comment before a code block names it: `<!-- quickstart: rust/main.rs -->`. The blocks are used as they are,
//! except that the server listens on a free port instead of the default one.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use everstream_server::Server;

use crate::process::{output, root, runtime, target_dir};
use crate::python::Python;
use crate::sample::{DEFAULT_ADDRESS, LOCAL, RustPrograms, Shell, commands, node_project, same, write};

pub(crate) fn run() -> Result<()> {
    rust()?;
    python()?;
    node()?;
    cli()
}

/// A package of its own, with the dependencies that README.md names, so that they are seen to be enough.
pub(crate) fn rust() -> Result<()> {
    let readme = readme()?;
    let manifest = block(&readme, "rust/Cargo.toml")?;
    let program = block(&readme, "rust/main.rs")?;
    let expected = block(&readme, "rust/output")?;

    let runtime = runtime()?;
    let server = runtime.block_on(Server::builder().bind(([127, 0, 0, 1], 0)).start())?;
    let program = program.replace(DEFAULT_ADDRESS, &server.addr().to_string());
    let actual = RustPrograms::build("quickstart", &manifest, [("main", program.as_str())])?.output("main")?;
    runtime.block_on(server.shutdown());
    same("the Rust program", &expected, &actual)
}

/// A program that the installed package runs.
pub(crate) fn python() -> Result<()> {
    let readme = readme()?;
    let runtime = runtime()?;
    let python = Python::with_package()?;
    let folder = target_dir().join("quickstart-python");
    for name in ["python/main.py", "python/main_async.py"] {
        // Each has a server of its own, since both use the same stream.
        let server = runtime.block_on(Server::builder().bind(([127, 0, 0, 1], 0)).start())?;
        let program = block(&readme, name)?.replace(DEFAULT_ADDRESS, &server.addr().to_string());
        let file = folder.join(name);
        write(&file, &program)?;
        let actual = output(Command::new(python.program("python")).arg(&file).env("NO_PROXY", LOCAL))?;
        runtime.block_on(server.shutdown());
        same(name, &block(&readme, "python/output")?, &actual)?;
    }
    Ok(())
}

/// A program in a project of its own, which has the package in it.
pub(crate) fn node() -> Result<()> {
    let readme = readme()?;
    let folder = node_project()?;
    let runtime = runtime()?;
    let server = runtime.block_on(Server::builder().bind(([127, 0, 0, 1], 0)).start())?;
    let file = folder.join("main.mjs");
    write(&file, &block(&readme, "node/main.mjs")?.replace(DEFAULT_ADDRESS, &server.addr().to_string()))?;
    let actual = output(Command::new("node").arg(&file).env("NO_PROXY", LOCAL))?;
    runtime.block_on(server.shutdown());
    same("main.mjs", &block(&readme, "node/output")?, &actual)
}

/// Each line after a `$` goes to a shell; the lines below it are what it prints.
pub(crate) fn cli() -> Result<()> {
    let readme = readme()?;
    let serve = block(&readme, "cli/serve")?;
    let session = commands(&block(&readme, "cli/session")?)?;

    let shell = Shell::new()?;
    let [(serve, _)] = commands(&serve)?.try_into().ok().context("one command starts the server")?;
    // The streams of an earlier run are in the way.
    let data = target_dir().join("quickstart-cli");
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    let server = Serving::start(
        shell.command(&serve).env("EVERSTREAM_SERVER__PORT", "0").env("EVERSTREAM_STORAGE__DATA_DIR", &data),
    )?;
    for (line, expected) in session {
        println!("$ {line}");
        let command = &mut shell.command(&line);
        let actual = output(command.env("STREAM_URL", format!("http://{}", server.address)))?;
        let actual = actual.replace(&server.address, DEFAULT_ADDRESS);
        print!("{actual}");
        same(&format!("`{line}`"), &expected, &actual)?;
    }
    Ok(())
}

fn readme() -> Result<String> {
    fs::read_to_string(root().join("README.md")).context("cannot read README.md")
}

/// The code block after the comment with this name.
fn block(text: &str, name: &str) -> Result<String> {
    let marker = format!("<!-- quickstart: {name} -->");
    let after = text.split_once(&marker).with_context(|| format!("README.md has no block called {name}"))?.1;
    let mut lines = after.lines().skip_while(|line| line.trim().is_empty());
    if !lines.next().is_some_and(|line| line.starts_with("```")) {
        bail!("no code block follows the name {name} in README.md");
    }
    let mut block = String::new();
    for line in lines {
        if line.starts_with("```") {
            return Ok(block);
        }
        block.push_str(line);
        block.push('\n');
    }
    bail!("the code block {name} in README.md does not end");
}

/// A server of the command line. It is stopped when this is dropped.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("the server does not start")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the output of the server is a pipe")?;
        let mut serving = Self { child, address: String::new() };
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim_end().rsplit_once("http://");
        let (_, address) = address.with_context(|| format!("the server does not say where it is: {line:?}"))?;
        address.clone_into(&mut serving.address);
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself, which the session has noticed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_what_its_comment_names() {
        let text = "<!-- quickstart: a -->\n\n```sh\none\n\ntwo\n```\n<!-- quickstart: b -->\ntext\n<!-- quickstart: c -->\n```\n";
        assert_eq!(block(text, "a").unwrap(), "one\n\ntwo\n");
        assert!(block(text, "b").is_err());
        assert!(block(text, "c").is_err());
        assert!(block(text, "d").is_err());
    }
}
