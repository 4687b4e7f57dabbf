//! The book and the references, in `target/docs`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::node;
use crate::process::{cargo, npm, root, run as call, target_dir};
use crate::python::{self, Python};

const MDBOOK: &str = "0.5.4";
const PDOC: &str = "16.0.0";
const TYPEDOC: &str = "0.28.20";

fn folder() -> PathBuf {
    target_dir().join("docs")
}

pub(super) fn build() -> Result<()> {
    let tools = target_dir().join("tools");
    let mdbook = tools.join("bin/mdbook");
    let mut install = cargo(["install", "--quiet", "--locked", "--no-default-features", "--features=search", "mdbook"]);
    call(install.args(["--version", MDBOOK, "--root"]).arg(&tools).env("CARGO_TARGET_DIR", tools.join("target")))?;
    call(Command::new(mdbook).arg("build").arg(root().join("docs")).arg("--dest-dir").arg(folder()))
}

pub(super) fn rust() -> Result<()> {
    call(cargo(["doc", "--no-deps", "--lib"]).env("RUSTDOCFLAGS", "--deny=warnings"))?;
    let (from, to) = (target_dir().join("doc"), folder().join("api/rust"));
    copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

pub(super) fn python() -> Result<()> {
    // With what the tests of its optional parts need, so that those are described too.
    let python = Python::for_tests()?;
    python.pip([format!("pdoc=={PDOC}").as_ref()])?;
    let mut pdoc = Command::new(python.program("pdoc"));
    call(
        pdoc.args(["everstream", "everstream.testing", "everstream.ai", "--docformat", "google", "--output-directory"])
            .arg(folder().join("api/python"))
            .current_dir(python::package()),
    )
}

pub(super) fn node() -> Result<()> {
    node::install()?;
    let mut typedoc = npm(&node::package(), ["exec", "--yes", "--package"]);
    typedoc.args([&format!("typedoc@{TYPEDOC}"), "--", "typedoc"]);
    for entry in ["index", "react", "store", "subscriptions/index", "testing/index"] {
        typedoc.args(["--entryPoints", &format!("ts/{entry}.ts")]);
    }
    typedoc.args(["--readme", "none", "--excludeInternal", "--treatWarningsAsErrors", "--out"]);
    call(typedoc.arg(folder().join("api/node")))
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
