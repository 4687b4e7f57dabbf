//! What is published, built as it is published: crates, Python's source and binary packages, the npm packages and the
//! command line. With `--check` each is installed into a clean place, and used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::node;
use crate::process::{cargo, forget_package, npm, npm_ci_without_scripts, output, root, run as call, target_dir};
use crate::python::{self, Python};
use crate::sample::{LOCAL, write};
use crate::steps::{Step, run_all};

/// Those that users depend on, each after what it needs.
const CRATES: [&str; 3] = ["everstream", "everstream-server", "everstream-cli"];

/// Programs that write and read through a server in process.
const PYTHON: &str = r#"
from everstream import DurableStream
from everstream.testing import Server

with Server() as server:
    handle = DurableStream.create(server.stream_url("a"), content_type="application/json")
    with handle.producer("p") as producer:
        producer.append({"n": 1})
    print(handle.stream(live=False).read_json())
"#;
const NODE: &str = r#"
import { DurableStream, IdempotentProducer, stream } from "everstream"
import { Server } from "everstream/testing"

const server = new Server()
await server.start()
const handle = await DurableStream.create({ url: server.streamUrl("a"), contentType: "application/json" })
const producer = new IdempotentProducer(handle, "p")
producer.append({ n: 1 })
await producer.detach()
console.log(JSON.stringify(await (await stream({ url: handle.url, live: false })).json()))
await server.stop()
"#;

/// Options of `cargo xtask package`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Installs each package into a clean place, and uses it
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let check = arguments.check;
    run_all(vec![
        Step::new("crates", move || crates(check)),
        Step::new("Python: source package and wheel", move || python(check)),
        Step::new("npm packages", move || npm_packages(check)),
        Step::new("command line", move || command_line(check)),
    ])?;
    println!("packages are in {}", folder().display());
    Ok(())
}

/// Where all of it ends up.
fn folder() -> PathBuf {
    target_dir().join("packages")
}

/// An empty folder of this name.
fn emptied(path: PathBuf) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// cargo's own check builds each from its archive, against the archives of the others.
fn crates(check: bool) -> Result<()> {
    let mut package = cargo(["package", "--locked", "--quiet"]);
    for name in CRATES {
        package.args(["--package", name]);
    }
    if !check {
        package.arg("--no-verify");
    }
    call(&mut package)?;
    let to = emptied(folder().join("crates"))?;
    copy_files(&target_dir().join("package"), &to, "crate")?;
    ensure!(files(&to)?.len() == CRATES.len(), "target/package has archives of another version: remove it");
    Ok(())
}

/// The wheel is made from the source package, so that both are seen to be whole.
fn python(check: bool) -> Result<()> {
    let tools = Python::environment("package")?;
    tools.pip(["build".as_ref(), "maturin>=1.16,<2".as_ref()])?;
    let to = emptied(folder().join("python"))?;
    let mut build = Command::new(tools.program("python"));
    build.args(["-m", "build", "--outdir"]).arg(&to).arg(python::package());
    forget_package(&mut build);
    call(build.env("CARGO_TARGET_DIR", target_dir()))?;
    if check {
        let clean = emptied(target_dir().join("python/clean"))?;
        fs::remove_dir(&clean)?;
        let clean = Python::environment("clean")?;
        let wheel = one(&to, "whl")?;
        clean.pip(["--no-index".as_ref(), wheel.as_path()])?;
        let program = target_dir().join("python/package-check.py");
        write(&program, PYTHON)?;
        let found = printed(Command::new(clean.program("python")).arg(&program))?;
        ensure!(found.trim() == "[{'n': 1}]", "the installed package printed {found:?}");
        println!("{}", printed(Command::new(clean.program("everstream")).arg("--version"))?.trim());
    }
    Ok(())
}

/// The package, and the one with the add-on for this platform.
fn npm_packages(check: bool) -> Result<()> {
    npm_ci_without_scripts(&node::package())?;
    call(npm(&node::package(), ["run", "--silent", "build"]).env("CARGO_TARGET_DIR", target_dir()))?;
    let to = emptied(folder().join("npm"))?;
    let staged = emptied(target_dir().join("npm-package"))?;
    let mut stage = Command::new("node");
    call(stage.arg("scripts/stage.mjs").arg(&staged).current_dir(node::package()))?;
    for package in ["everstream", "platform"] {
        let mut pack = npm(&staged.join(package), ["pack", "--ignore-scripts", "--silent", "--pack-destination"]);
        output(pack.arg(&to))?;
    }
    if check {
        let clean = emptied(target_dir().join("npm-clean"))?;
        write(&clean.join("package.json"), "{ \"private\": true, \"type\": \"module\" }\n")?;
        let mut install = npm(&clean, ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
        call(install.args(files(&to)?))?;
        write(&clean.join("main.js"), NODE)?;
        let found = printed(Command::new("node").arg("main.js").current_dir(&clean))?;
        ensure!(found.trim() == r#"[{"n":1}]"#, "the installed package printed {found:?}");
        let everstream = clean.join("node_modules/.bin/everstream");
        println!("{}", printed(Command::new(everstream).arg("--version"))?.trim());
    }
    Ok(())
}

/// The program, with its licence, in one archive.
fn command_line(check: bool) -> Result<()> {
    call(&mut cargo(["build", "--release", "--locked", "--package", "everstream-cli", "--bin", "everstream"]))?;
    let staged = emptied(target_dir().join("cli-package/everstream"))?;
    let program = format!("everstream{}", std::env::consts::EXE_SUFFIX);
    for (from, name) in [
        (target_dir().join("release").join(&program), program.as_str()),
        (root().join("LICENSE"), "LICENSE"),
        (root().join("CHANGELOG.md"), "CHANGELOG.md"),
        (root().join("packaging/everstream.service"), "everstream.service"),
    ] {
        fs::copy(&from, staged.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let to = emptied(folder().join("cli"))?;
    let archive = to.join(format!("everstream-{}-{}.tar.gz", std::env::consts::OS, std::env::consts::ARCH));
    call(
        Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(target_dir().join("cli-package")).arg("everstream"),
    )?;
    if check {
        let clean = emptied(target_dir().join("cli-clean"))?;
        call(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&clean))?;
        let program = clean.join("everstream").join(&program);
        println!("{}", printed(Command::new(program).arg("--version"))?.trim());
    }
    Ok(())
}

/// What a program prints. Installed without scripts and sources, it has nothing that it could build.
fn printed(command: &mut Command) -> Result<String> {
    output(command.env("NO_PROXY", LOCAL))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.is_file()).collect())
}

/// The one file with this extension.
fn one(folder: &Path, extension: &str) -> Result<PathBuf> {
    let mut found = files(folder)?;
    found.retain(|path| path.extension().is_some_and(|found| found == extension));
    ensure!(found.len() == 1, "{} has {} files *.{extension}", folder.display(), found.len());
    found.pop().context("there is one")
}

fn copy_files(from: &Path, to: &Path, extension: &str) -> Result<()> {
    for file in files(from)? {
        if file.extension().is_some_and(|found| found == extension) {
            let name = file.file_name().context("a file has a name")?;
            fs::copy(&file, to.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
        }
    }
    Ok(())
}
