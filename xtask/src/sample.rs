//! Programs and sessions that documents show: how they are run, and held against what the document says they print.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, iter};

use anyhow::{Context, Result, ensure};

use crate::node;
use crate::process::{cargo, npm, output, root, run as call, target_dir};

/// Where documents have their server.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:4437";

/// What no proxy of the environment is to carry.
pub(crate) const LOCAL: &str = "127.0.0.1,localhost";

/// Programs in Rust, as somebody would write them who has the crates as dependencies: a package outside the workspace.
pub(crate) struct RustPrograms {
    folder: PathBuf,
}

impl RustPrograms {
    /// Builds programs, by name; `dependencies` is a part of a manifest whose paths begin at the root of the workspace.
    pub(crate) fn build<'a>(
        name: &str,
        dependencies: &str,
        programs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let folder = target_dir().join(name);
        let absolute = dependencies.replace("path = \"", &format!("path = \"{}/", escaped(root())));
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n\n{absolute}\n[workspace]\n");
        write(&folder.join("Cargo.toml"), &package)?;
        // The versions that everything else is tested with.
        write(&folder.join("Cargo.lock"), &fs::read_to_string(root().join("Cargo.lock"))?)?;
        let sources = folder.join("src/bin");
        if sources.exists() {
            // Those of an earlier run may have other names.
            fs::remove_dir_all(&sources).with_context(|| format!("cannot remove {}", sources.display()))?;
        }
        for (name, text) in programs {
            write(&sources.join(format!("{name}.rs")), text)?;
        }
        let programs = Self { folder };
        call(&mut programs.cargo(["build", "--quiet"]))?;
        Ok(programs)
    }

    /// What a program prints.
    pub(crate) fn output(&self, name: &str) -> Result<String> {
        output(&mut self.cargo(["run", "--quiet", "--bin", name]))
    }

    fn cargo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = cargo(args);
        // One folder for all such packages: they have the same dependencies.
        command.current_dir(&self.folder).env("CARGO_TARGET_DIR", target_dir().join("samples"));
        command
    }
}

/// A project that has the npm package in it: where programs find it.
pub(crate) fn node_project() -> Result<PathBuf> {
    node::install()?;
    let folder = target_dir().join("samples-node");
    write(&folder.join("package.json"), "{ \"private\": true }\n")?;
    let mut install = npm(&folder, ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
    call(install.arg(node::package()))?;
    Ok(folder)
}

pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// For a string of TOML, whose basic strings escape what JSON's do.
fn escaped(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string().trim_matches('"').to_owned()
}

/// Holds what was printed against what the document shows.
pub(crate) fn same(what: &str, expected: &str, actual: &str) -> Result<()> {
    ensure!(
        expected.trim_end() == actual.trim_end(),
        "{what} prints something else than the document shows\n--- shown\n{}\n--- printed\n{}",
        expected.trim_end(),
        actual.trim_end()
    );
    Ok(())
}

/// The commands of a console session, each with what it prints.
pub(crate) fn commands(session: &str) -> Result<Vec<(String, String)>> {
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
pub(crate) struct Shell {
    path: Vec<PathBuf>,
}

impl Shell {
    /// Builds the programs.
    pub(crate) fn new() -> Result<Self> {
        call(&mut cargo(["build", "--workspace", "--all-targets", "--quiet"]))?;
        let inherited = env::var_os("PATH").unwrap_or_default();
        Ok(Self { path: iter::once(target_dir().join("debug")).chain(env::split_paths(&inherited)).collect() })
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let path = env::join_paths(&self.path).expect("they came out of a PATH, and a build folder");
        // `exec` leaves one process, so that it can be stopped.
        let line = if line.contains(['|', ';', '&', '<', '>']) { line.to_owned() } else { format!("exec {line}") };
        command.args(["-c", &line]).env("PATH", path).env("NO_PROXY", LOCAL);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
