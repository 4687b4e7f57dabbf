//! How fast it is: every measurement is of something of ours and of a yardstick, in turn.
//!
//! Others use the machine too, so wall time alone says little. Both sides of a comparison run A B A B ..., and what is
//! reported is the median of the ratios of neighbours, beside the CPU time that the measured process took. Each run
//! is a process of its own, with the server in another one, and checks what it got: a run that loses data fails.

mod clients;
mod codec;
mod compare;
mod data;
mod json;
mod load;
mod matrix;
mod measure;
mod node;
mod peer;
mod produce;
mod python;
mod read;
mod report;
mod roles;
mod server;

use std::env;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

use self::compare::Row;
use crate::process::{cargo, run as call};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Runs only the groups whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// A tenth of the work and three rounds: to see that it runs, not to compare
    #[arg(long)]
    quick: bool,
    /// Puts the results into docs/benchmarks.md
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    write: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What else is measured, and what this program is when it runs itself.
#[derive(Subcommand)]
enum Role {
    /// Measures the Node client against other clients for Node
    Node(clients::Arguments),
    /// Measures the Python client against other clients for Python
    Python(clients::Arguments),
    /// Measures the server on disk against the crates.io one, under the load of dsbench
    Server(matrix::Arguments),
    /// The server that is measured, or that a client is measured against
    #[command(hide = true)]
    ServeForBench {
        /// Gives each stream in one answer
        #[arg(long)]
        whole: bool,
    },
    /// One run of one side of a comparison
    #[command(hide = true)]
    Run { job: String },
}

/// The same command, built as releases are: both what is measured and what measures it are in this program.
fn as_released() -> Result<()> {
    let mut command = cargo(["run", "--release", "--package", "xtask", "--"]);
    call(command.args(env::args_os().skip(1)))
}

/// How much work there is.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    divisor: u64,
}

impl Scale {
    fn of(self, amount: u64) -> u64 {
        amount / self.divisor
    }
}

type Group = fn(Scale) -> Result<Vec<Row>>;

const GROUPS: [(&str, Group); 5] = [
    ("producer", produce::group),
    ("read", read::group),
    ("json", json::group),
    ("codec", codec::group),
    ("server", server::group),
];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if cfg!(debug_assertions) {
        return as_released();
    }
    match &arguments.role {
        Some(Role::ServeForBench { whole }) => return roles::serve(*whole),
        Some(Role::Run { job }) => return roles::work(job),
        Some(Role::Node(arguments)) => return clients::run(&node::LANGUAGE, arguments),
        Some(Role::Server(arguments)) => return matrix::run(arguments),
        Some(Role::Python(arguments)) => return clients::run(&python::LANGUAGE, arguments),
        None => {}
    }
    let scale = if arguments.quick { Scale { rounds: 3, divisor: 10 } } else { Scale { rounds: 11, divisor: 1 } };
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| name.contains(only));
    let mut conditions = report::Conditions::now(scale.rounds)?;
    let mut tables = Vec::new();
    for (name, group) in GROUPS.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("{name}:");
        tables.push((name, group(scale)?));
    }
    ensure!(!tables.is_empty(), "there is no such group");
    conditions.end()?;
    let text = report::markdown(&tables, &conditions);
    println!("{text}");
    if arguments.write {
        report::write("bench", &text)?;
    }
    Ok(())
}
