//! Seeds of the simulation, on a build that is optimised.

use anyhow::Result;

use crate::process::{cargo, run as call};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds; 1000, or one where --seed names it
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long)]
    seed: Option<u64>,
    /// How many run at once; as many as there are processors
    #[arg(long)]
    jobs: Option<usize>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut command = cargo(["run", "--quiet", "--release", "--package=everstream-simulation", "--"]);
    let numbers =
        [("--seeds", arguments.seeds), ("--seed", arguments.seed), ("--jobs", arguments.jobs.map(|it| it as u64))];
    for (name, number) in numbers {
        if let Some(number) = number {
            command.args([name, &number.to_string()]);
        }
    }
    call(&mut command)
}
