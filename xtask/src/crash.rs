//! The crash suite of the storage `log` in large: many seeds on a simulated disk, then many kills of the real
//! server.

use anyhow::Result;
use clap::Args;

use crate::process::{cargo, run as call};

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many seeds to run; each has up to eight crashes
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How often the real server is killed while producers write; 0 leaves that out
    #[arg(long, default_value_t = 50)]
    kills: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let suite =
        ["test", "--package", "everstream-server", "--test", "crash", "--", "--nocapture", "lost_or_stored_twice"];
    call(
        cargo(suite)
            .env("EVERSTREAM_CRASH_SEEDS", arguments.seeds.to_string())
            .env("EVERSTREAM_CRASH_FIRST", arguments.first.to_string()),
    )?;
    if arguments.kills > 0 {
        let kills = ["test", "--package", "everstream-cli", "--test", "kill", "--", "--nocapture"];
        call(cargo(kills).env("EVERSTREAM_KILLS", arguments.kills.to_string()))?;
    }
    Ok(())
}
