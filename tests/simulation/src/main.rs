//! Runs seeds of the simulation, each in a process of its own.

use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Parser;
use everstream_simulation::{Check, Problem, Summary, run};

/// Whole clients and servers on a simulated network and disk, in virtual time.
///
/// `EVERSTREAM_SIM_STORY=1` with `--seed` tells everything that happens.
#[derive(Parser)]
struct Args {
    /// How many seeds. Default: 1000, or one where --seed names it.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many run at once. Default: as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// Run this seed here and give the result as JSON.
    #[arg(long, hide = true)]
    here: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(seed) = args.here {
        // A result is strings and numbers, which have a JSON form.
        println!("{}", serde_json::to_string(&run(seed)).unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    let first = args.seed.unwrap_or(0);
    let seeds = args.seeds.unwrap_or_else(|| if args.seed.is_some() { 1 } else { 1000 });
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    match run_all(first, seeds, jobs.max(1)) {
        Ok(total) => {
            println!("seeds     {first} to {}", first + seeds.saturating_sub(1));
            println!("messages  {} stored, {} failed, {} unknown", total.stored, total.failed, total.unknown);
            println!("readers   {} saw the end, {} lost their stream", total.ended, total.gone);
            println!("wake-ups  {} in time", total.woken);
            println!("network   {} requests, {} faults", total.requests, total.faults);
            println!("digest    {:016x}", total.digest);
            println!("No promise was broken.");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            println!("{problem}\ncargo xtask sim --seed {}   # runs it again", problem.seed);
            ExitCode::FAILURE
        }
    }
}

/// All seeds, or the first problem that came up.
fn run_all(first: u64, seeds: u64, jobs: usize) -> Result<Summary, Problem> {
    let (next, end) = (AtomicU64::new(first), first + seeds);
    let (total, problem) = (Mutex::new(Summary::default()), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || lock(&problem).is_some() {
                        return;
                    }
                    match run_apart(seed) {
                        Ok(summary) => lock(&total).add(&summary),
                        Err(found) => drop(lock(&problem).get_or_insert(found)),
                    }
                }
            });
        }
    });
    let problem = problem.into_inner().unwrap_or_else(PoisonError::into_inner);
    problem.map_or_else(|| Ok(lock(&total).clone()), Err)
}

/// One seed in a process of its own.
fn run_apart(seed: u64) -> Result<Summary, Problem> {
    let failed = |what: String| Problem { seed, check: Check::Service, what, story: String::new() };
    let process = || -> io::Result<_> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--here", &seed.to_string()]).stderr(Stdio::inherit()).output()
    };
    let output = process().map_err(|error| failed(format!("no process for it: {error}")))?;
    serde_json::from_slice::<Result<Summary, Problem>>(&output.stdout)
        .unwrap_or_else(|_| Err(failed(format!("its process ended with {}", output.status))))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
