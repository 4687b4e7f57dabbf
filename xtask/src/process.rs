//! Running other programs, and where their files are.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the workspace")
}

/// Where build output goes, and everything else that may be deleted.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A runtime for what runs in this process, beside the programs that it waits for.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")
}

/// Cargo, in the root of the workspace.
pub(crate) fn cargo<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    forget_package(&mut command);
    command
}

/// `cargo run` tells this program which package it is. Build scripts that look at that would run again.
pub(crate) fn forget_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// npm, in this folder.
pub(crate) fn npm<I: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.current_dir(folder).args(args);
    command
}

/// Installs exactly what the lock file of this folder names, unless that is there already.
pub(crate) fn npm_ci(folder: &Path) -> Result<()> {
    npm_ci_with(folder, &[])
}

/// As [`npm_ci`], and runs nothing that packages want to have run.
pub(crate) fn npm_ci_without_scripts(folder: &Path) -> Result<()> {
    npm_ci_with(folder, &["--ignore-scripts"])
}

fn npm_ci_with(folder: &Path, options: &[&str]) -> Result<()> {
    let changed = |path: &str| fs::metadata(folder.join(path)).and_then(|data| data.modified());
    let locked = changed("package-lock.json").with_context(|| format!("no lock file in {}", folder.display()))?;
    // npm writes it last.
    if changed("node_modules/.package-lock.json").is_ok_and(|installed| installed >= locked) {
        return Ok(());
    }
    run(npm(folder, ["ci", "--no-audit", "--no-fund", "--loglevel=error"]).args(options))
}

/// Runs a program to its end, with its output on ours.
///
/// # Errors
/// It cannot be started, or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    println!("$ {line}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// What a program writes on its standard output.
///
/// # Errors
/// It cannot be started, does not succeed, or writes what is not text.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` writes what is not text"))
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
