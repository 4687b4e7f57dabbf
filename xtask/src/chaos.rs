//! Chaos on real sockets, with the client of one language.

use anyhow::{Result, ensure};
use clap::Args;
use everstream_conformance::Chaos;

use crate::cases::Language;
use crate::process::{cargo, run as call, runtime, target_dir};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The client that writes and reads
    #[arg(long, value_enum, default_value = "rust")]
    language: Language,
    /// How many seeds to run
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Numbered messages in each
    #[arg(long, default_value_t = 20_000)]
    messages: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    call(&mut cargo(["build", "--package", "everstream-cli", "--bin", "everstream"]))?;
    let server = target_dir().join("debug").join(format!("everstream{}", std::env::consts::EXE_SUFFIX));
    let chaos = Chaos { adapter: arguments.language.adapter()?, server, messages: arguments.messages };
    let runtime = runtime()?;
    let mut broken = Vec::new();
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        match runtime.block_on(chaos.run(seed)) {
            Ok(survived) => {
                println!("{survived}");
                if !survived.is_whole() {
                    broken.push(seed);
                }
            }
            Err(error) => {
                println!("seed {seed}: {error:#}");
                broken.push(seed);
            }
        }
    }
    ensure!(broken.is_empty(), "seeds {broken:?} lost, doubled or reordered messages, or hung");
    println!("{} seeds x {} messages: lost 0, doubled 0, reordered 0, hangs 0", arguments.seeds, arguments.messages);
    Ok(())
}
