//! The Python package: installed as its users do, and everything that it must pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{forget_package, root, run as call, target_dir};
use crate::steps::Step;

/// An interpreter with packages of its own.
pub(crate) struct Python {
    folder: PathBuf,
}

impl Python {
    /// A virtual environment below the target folder, made at first use.
    pub(crate) fn environment(name: &str) -> Result<Self> {
        let python = Self { folder: target_dir().join("python").join(name) };
        if !python.program("python").exists() {
            fs::create_dir_all(&python.folder).with_context(|| format!("cannot create {}", python.folder.display()))?;
            call(Command::new("python3").args(["-m", "venv"]).arg(&python.folder))
                .context("a virtual environment needs Python 3.10 or later")?;
        }
        Ok(python)
    }

    /// One with our package.
    pub(crate) fn with_package() -> Result<Self> {
        let python = Self::environment("test")?;
        // As users do, but for the profile: cargo has built most of it before, and it says where it goes wrong.
        python.pip(["--config-settings=build-args=--profile=dev".as_ref(), package().as_path()])?;
        Ok(python)
    }

    /// One with our package and what its tests need.
    pub(crate) fn for_tests() -> Result<Self> {
        let python = Self::with_package()?;
        for name in ["requirements.txt", "requirements-compat.txt"] {
            python.pip(["--requirement".as_ref(), package().join("tests").join(name).as_path()])?;
        }
        Ok(python)
    }

    /// A program of the environment.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        if cfg!(windows) { self.folder.join("Scripts").join(name) } else { self.folder.join("bin").join(name) }
    }

    pub(crate) fn pip<'a>(&self, args: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        let mut command = Command::new(self.program("python"));
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(args);
        forget_package(&mut command);
        call(command.env("CARGO_TARGET_DIR", target_dir()))
    }

    /// Runs a program of the environment in the package's folder.
    fn run<'a>(&self, program: &str, args: impl IntoIterator<Item = &'a str>) -> Result<()> {
        call(self.command(program).args(args))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.program(program));
        // What a proxy of the environment must not carry.
        command.current_dir(package()).env("NO_PROXY", "127.0.0.1,localhost");
        command
    }
}

/// The folder of the package.
pub(crate) fn package() -> PathBuf {
    root().join("bindings-python")
}

pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new("Python: install", || Python::for_tests().map(drop)),
        Step::new("Python: types", types),
        Step::new("Python: tests", tests),
    ]
}

/// In development mode. They mostly wait, so a process for each processor takes a part of the time.
fn tests() -> Result<()> {
    let mut pytest = Python::environment("test")?.command("pytest");
    call(pytest.args(["--quiet", "--numprocesses=auto", "--dist=loadfile"]).env("PYTHONDEVMODE", "1"))
}

/// Types hold in the package, and the description of the native module is what is in it.
fn types() -> Result<()> {
    let python = Python::environment("test")?;
    python.run("mypy", [])?;
    let interpreter = python.program("python");
    python.run("pyright", ["--pythonpath", &interpreter.to_string_lossy()])?;
    python.run("stubtest", ["everstream._native", "--ignore-missing-stub", "--mypy-config-file", "pyproject.toml"])
}
