//! The npm package in browsers: compiled to WebAssembly, and tested in Chromium.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, forget_package, npm, npm_ci_without_scripts, output, root, run as call, target_dir};
use crate::steps::Step;
use crate::{apt, chromium, node};

const TARGET: &str = "wasm32-unknown-unknown";
const CRATE: &str = "everstream-web";
/// A profile of its own: what a page downloads is to be small.
const PROFILE: &str = "web";

/// Where Debian has the compiler for WebAssembly, and the sources of its library.
const DEBIAN: [&str; 3] = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/lib/rustlib/src/rust/library/std/Cargo.toml"];

/// The packages that have it.
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The first that ends at once in the manner of below, as `1.MINOR`. Debian's updates have a newer one.
const OLDEST_MINOR: u32 = 92;

/// What nobody sees in a page is left out: there a panic ends the module without a word.
const SMALLER: &str = "-Zlocation-detail=none -Zfmt-debug=none -Zunstable-options -Cpanic=immediate-abort";

pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new("web: build", build),
        Step::new("web: types and packaging of all", || node::script("check")),
        Step::new("web: tests in Chromium", tests),
    ]
}

/// Everything, with what it stands on.
pub(crate) fn steps_alone() -> Vec<Step> {
    let mut steps = vec![Step::new("Node: install", node::install)];
    steps.extend(self::steps());
    steps
}

/// Compiles the core, and builds the part of the package that runs in browsers.
pub(crate) fn build() -> Result<()> {
    let module = compile()?;
    let glue = target_dir().join("web").join("glue");
    fs::create_dir_all(&glue).with_context(|| format!("cannot create {}", glue.display()))?;
    // Written anew only when it is another one: optimising takes a while.
    if fs::read(&module)? != fs::read(glue.join("compiled.wasm")).unwrap_or_default() {
        let mut write = cargo(["run", "--quiet", "--package", "everstream-web-glue", "--"]);
        call(write.arg(&module).arg(&glue))?;
        fs::copy(&module, glue.join("compiled.wasm"))?;
    }
    npm_ci_without_scripts(&node::package())?;
    call(npm(&node::package(), ["run", "--silent", "build:web", "--"]).arg(&glue))
}

/// Whether the part of the package that runs in browsers is there, of this run or of an earlier one.
pub(crate) fn is_built() -> bool {
    node::package().join("dist/web/index.mjs").exists()
}

fn tests() -> Result<()> {
    let chromium = chromium::find()?;
    for example in ["react", "vue", "svelte"] {
        npm_ci_without_scripts(&root().join("examples").join(example))?;
    }
    npm_ci_without_scripts(&node::package().join("test-web/runtimes"))?;
    node::run_script("test:web", &[("CHROMIUM", chromium)])
}

/// The module, as the compiler leaves it.
fn compile() -> Result<PathBuf> {
    let compiler = Compiler::find()?;
    let folder = target_dir().join("web");
    call(&mut compiler.command(&folder))?;
    Ok(folder.join(TARGET).join(PROFILE).join("everstream_web.wasm"))
}

enum Compiler {
    /// The one that builds everything else has the target.
    Installed,
    /// Debian's, which builds its own library from source, and this linker.
    Debian(PathBuf),
}

impl Compiler {
    fn find() -> Result<Self> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()))?;
        let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
        if libraries.join(TARGET).exists() {
            return Ok(Self::Installed);
        }
        let linker = libraries.join(env!("XTASK_HOST")).join("bin/rust-lld");
        let is_there = || DEBIAN.iter().all(|path| Path::new(path).exists()) && is_new_enough(DEBIAN[0]);
        if !is_there() && linker.exists() && apt::may_install() {
            apt::install(&PACKAGES)?;
        }
        if is_there() && linker.exists() {
            return Ok(Self::Debian(linker));
        }
        bail!(
            "there is no compiler for WebAssembly: `rustup target add {TARGET}`, or on Debian, with a Rust of rustup's, \
             `apt-get update` and `apt-get install {}` (1.{OLDEST_MINOR} or newer)",
            PACKAGES.join(" ")
        )
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = match self {
            Self::Installed => cargo(["build"]),
            Self::Debian(linker) => {
                let mut command = Command::new("/usr/bin/cargo");
                forget_package(&mut command);
                command
                    .current_dir(root())
                    .args(["build", "-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"])
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", SMALLER)
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                    // Rustup's, for the compiler that it has chosen.
                    .env_remove("CARGO")
                    .env_remove("RUSTUP_TOOLCHAIN");
                command
            }
        };
        command
            .args(["--package", CRATE, "--target", TARGET, "--profile", PROFILE, "--locked", "--target-dir"])
            .arg(folder);
        command
    }
}

/// Whether a compiler is one of those that [`SMALLER`] is written for.
fn is_new_enough(compiler: &str) -> bool {
    let version = output(Command::new(compiler).arg("--version")).unwrap_or_default();
    minor(&version).is_some_and(|minor| minor >= OLDEST_MINOR)
}

/// Of `rustc 1.MINOR.PATCH (...)`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_compiler_is_read() {
        assert_eq!(minor("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"), Some(96));
        assert_eq!(minor("error: no toolchain"), None);
    }
}
