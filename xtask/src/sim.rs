//! Seeds of the simulation, on a build that is optimised; or of products that are broken on purpose.

use anyhow::Result;

use crate::mutants;
use crate::process::{cargo, run as call};

/// So many seeds must have caught a mutant.
const SEEDS_OF_MUTANTS: u64 = 400;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds; 1000, or one where --seed names it; 400 at most for each mutant
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, conflicts_with = "mutants")]
    seed: Option<u64>,
    /// How many run at once; as many as there are processors
    #[arg(long, conflicts_with = "mutants")]
    jobs: Option<usize>,
    /// Breaks the product in many ways, one after the other, and shows that each is caught; or only those with this
    /// name, `*` stands for any text
    #[arg(long, num_args = 0..=1, default_missing_value = "*", value_name = "NAME")]
    mutants: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(pattern) = &arguments.mutants {
        return mutants::run(pattern, arguments.seeds.unwrap_or(SEEDS_OF_MUTANTS));
    }
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
