//! The npm package: installed as from a checkout, and everything that it must pass.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{forget_package, npm, npm_ci, npm_ci_without_scripts, root, run as call, target_dir};
use crate::steps::Step;

/// What is generated, and committed so that it can be read and reviewed.
const GENERATED: [&str; 2] = ["native.js", "native.d.ts"];

/// The folder of the package.
pub(crate) fn package() -> PathBuf {
    root().join("bindings-node")
}

pub(crate) fn steps() -> Vec<Step> {
    vec![Step::new("Node: install", install), Step::new("Node: tests", || script("test"))]
}

/// Installs what the package needs and builds it; what is generated must be what is committed.
pub(crate) fn install() -> Result<()> {
    install_as("dev")
}

/// As [`install`], with one of cargo's profiles.
pub(crate) fn install_as(profile: &str) -> Result<()> {
    let read = |name: &str| fs::read_to_string(package().join(name)).with_context(|| format!("cannot read {name}"));
    let before = GENERATED.map(|name| read(name).unwrap_or_default());
    // The build that comes with an installation has another profile.
    npm_ci_without_scripts(&package())?;
    // Both have the package in them as it is built here.
    npm_ci(&root().join("examples/node"))?;
    npm_ci(&package().join("test/state"))?;
    let mut build = in_package(npm(&package(), ["run", "--silent", "build"]));
    call(build.env("EVERSTREAM_PROFILE", profile))?;
    for (name, before) in GENERATED.iter().zip(before) {
        if read(name)? != before {
            bail!("bindings-node/{name} was not what the sources make: it is now, commit it");
        }
    }
    Ok(())
}

/// One of the package's own scripts.
pub(crate) fn script(name: &str) -> Result<()> {
    run_script(name, &[])
}

/// [`script`], with these variables.
pub(crate) fn run_script(name: &str, variables: &[(&str, PathBuf)]) -> Result<()> {
    call(in_package(npm(&package(), ["run", "--silent", name])).envs(variables.iter().cloned()))
}

fn in_package(mut command: Command) -> Command {
    forget_package(&mut command);
    // What a proxy of the environment must not carry.
    command.env("CARGO_TARGET_DIR", target_dir()).env("NO_PROXY", "127.0.0.1,localhost");
    command
}
