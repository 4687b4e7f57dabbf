//! The quick starts of README.md, run as a reader would run them, and held against the output shown there.
//!
//! A comment before a code block names it: `<!-- quickstart: rust/main.rs -->`. The blocks are used as they are,
//! except that the server listens on a free port instead of the default one.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, iter};

use anyhow::{Context, Result, bail, ensure};
use everstream_server::Server;

use crate::node;
use crate::process::{cargo, npm, output, root, run as call, runtime, target_dir};
use crate::python::Python;

/// Where README.md has its server.
const DEFAULT_ADDRESS: &str = "127.0.0.1:4437";

/// What no proxy of the environment is to carry.
const LOCAL: &str = "127.0.0.1,localhost";

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
    let folder = target_dir().join("quickstart");
    let core = toml_string(&root().join("core"));
    let files = [
        (
            "Cargo.toml",
            format!(
                "[package]\nname = \"quickstart\"\nedition = \"2024\"\n\n{}\n[workspace]\n",
                manifest.replace(r#"path = "core""#, &format!("path = {core}"))
            ),
        ),
        ("src/main.rs", program.replace(DEFAULT_ADDRESS, &server.addr().to_string())),
        // The versions that everything else is tested with.
        ("Cargo.lock", fs::read_to_string(root().join("Cargo.lock"))?),
    ];
    for (name, text) in files {
        write(&folder.join(name), &text)?;
    }
    let in_folder = |subcommand| {
        let mut command = cargo([subcommand, "--quiet"]);
        command.current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("target"));
        command
    };
    call(&mut in_folder("build"))?;
    let actual = output(&mut in_folder("run"))?;
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
    node::install()?;
    let runtime = runtime()?;
    let server = runtime.block_on(Server::builder().bind(([127, 0, 0, 1], 0)).start())?;
    let folder = target_dir().join("quickstart-node");
    let file = folder.join("main.mjs");
    write(&file, &block(&readme, "node/main.mjs")?.replace(DEFAULT_ADDRESS, &server.addr().to_string()))?;
    write(&folder.join("package.json"), "{ \"private\": true }\n")?;
    let mut install = npm(&folder, ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
    call(install.arg(node::package()))?;
    let actual = output(Command::new("node").arg(&file).env("NO_PROXY", LOCAL))?;
    runtime.block_on(server.shutdown());
    same("main.mjs", &block(&readme, "node/output")?, &actual)
}

/// Each line after a `$` goes to a shell; the lines below it are what it prints.
pub(crate) fn cli() -> Result<()> {
    let readme = readme()?;
    let serve = block(&readme, "cli/serve")?;
    let session = commands(&block(&readme, "cli/session")?)?;

    call(&mut cargo(["build", "--workspace", "--all-targets", "--quiet"]))?;
    let shell = Shell {
        path: iter::once(target_dir().join("debug"))
            .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default()))
            .collect(),
    };
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

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// TOML's basic strings escape what JSON's do.
fn toml_string(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

fn same(what: &str, expected: &str, actual: &str) -> Result<()> {
    ensure!(
        expected.trim_end() == actual.trim_end(),
        "{what} prints something else than README.md shows\n--- README.md\n{}\n--- printed\n{}",
        expected.trim_end(),
        actual.trim_end()
    );
    Ok(())
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

/// The commands of a console session, each with what it prints.
fn commands(session: &str) -> Result<Vec<(String, String)>> {
    let mut commands = Vec::<(String, String)>::new();
    for line in session.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), String::new()));
        } else {
            let (_, printed) = commands.last_mut().context("a session begins with a command")?;
            printed.push_str(line);
            printed.push('\n');
        }
    }
    Ok(commands)
}

/// A shell that finds the programs of the workspace first.
struct Shell {
    path: Vec<PathBuf>,
}

impl Shell {
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let path = env::join_paths(&self.path).expect("they came out of a PATH, and a build folder");
        // `exec` leaves one process, so that it can be stopped.
        let line = if line.contains(['|', ';', '&', '<', '>']) { line.to_owned() } else { format!("exec {line}") };
        command.args(["-c", &line]).env("PATH", path).env("NO_PROXY", LOCAL);
        command
    }
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

    #[test]
    fn a_session_is_commands_and_what_they_print() {
        let session = commands("$ one\nprinted\nmore\n$ two\n").unwrap();
        assert_eq!(session[0], ("one".to_owned(), "printed\nmore\n".to_owned()));
        assert_eq!(session[1], ("two".to_owned(), String::new()));
        assert!(commands("printed\n").is_err());
    }

    #[test]
    fn other_output_than_shown_fails() {
        assert!(same("it", "a\n", "a").is_ok());
        assert!(same("it", "a", "b").is_err());
    }
}
