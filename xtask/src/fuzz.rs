//! Fuzzing with libFuzzer, by way of cargo-fuzz. The run that needs neither is `cargo test -p everstream-fuzz`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use everstream_fuzz::{TARGETS, Target};

use crate::process::{cargo, output, root, run as call, target_dir};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this one; all in turn otherwise
    #[arg(long, value_parser = known)]
    target: Option<&'static Target>,
    /// How long to search, in seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Runs one input again, such as one that was found, and needs no cargo-fuzz
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

fn known(name: &str) -> Result<&'static Target, String> {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    everstream_fuzz::target(name).ok_or_else(|| format!("the targets are {}", names()))
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let (Some(target), Some(path)) = (arguments.target, &arguments.input) {
        let input = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        (target.run)(&input);
        println!("`{}` holds for {}", target.name, path.display());
        return Ok(());
    }
    if output(&mut cargo(["fuzz", "--version"])).is_err() {
        bail!("this needs cargo-fuzz: cargo install cargo-fuzz");
    }
    let targets = arguments.target.map_or_else(|| TARGETS.iter().collect(), |target| vec![target]);
    for target in targets {
        search(target, arguments.seconds)?;
    }
    Ok(())
}

fn search(target: &Target, seconds: u64) -> Result<()> {
    let corpus = target_dir().join("fuzz-corpus").join(target.name);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    for (number, seed) in target.seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number}")), seed)?;
    }
    let mut command = cargo(["fuzz", "run", target.name]);
    command.arg(&corpus).args(["--", "-max_len=1024", "-timeout=20"]).arg(format!("-max_total_time={seconds}"));
    command.current_dir(folder()).env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
    // Sanitizers are not stable; this lets the stable compiler have them.
    call(command.env("RUSTC_BOOTSTRAP", "1")).with_context(|| {
        format!("target `{}` failed; what it failed on is below {}/artifacts", target.name, folder().display())
    })
}

/// cargo-fuzz looks for its package in the folder `fuzz` of the one it is called in.
fn folder() -> PathBuf {
    root().join(Path::new("tests/fuzz"))
}
