//! The task runner of the workspace: `cargo xtask <command>`. One module for each command.

mod ai_chat;
mod apt;
#[cfg(target_os = "linux")]
mod bench;
mod cases;
mod chaos;
mod check;
mod chromium;
mod conformance;
mod crash;
mod demo;
mod fuzz;
mod guide;
mod mutants;
mod node;
mod package;
mod process;
mod python;
mod quickstart;
mod sample;
mod sim;
mod steps;
mod test;
mod ui;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of the Everstream workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends real records over a bad network, and shows that all of them arrive, once and in order
    Demo(demo::Arguments),
    /// Runs everything that a change must pass
    Test(test::Arguments),
    /// Checks format, lints, documentation, and that the protocol needs no runtime
    Check,
    /// Measures speed, memory and CPU time against yardsticks, in turn
    #[cfg(target_os = "linux")]
    Bench(bench::Arguments),
    /// Crashes the storage on disk many times, and shows that nothing is lost or stored twice
    Crash(crash::Arguments),
    /// Searches for inputs that break a promise, with libFuzzer
    Fuzz(fuzz::Arguments),
    /// Kills writers, readers and servers on a bad network, and shows that every message is stored and read once
    Chaos(chaos::Arguments),
    /// Runs the official server suite against our server, or with `--cases` our own cases with the clients
    Conformance(conformance::Arguments),
    /// Builds the npm package, checks its types and packaging, and runs its tests
    Node,
    /// Builds what is published; with `--check` installs it into clean places and uses it
    Package(package::Arguments),
    /// Installs the Python package, checks its types and runs its tests
    Python,
    /// Builds the guide and the API references, with links checked and every program in it run
    Docs,
    /// Runs the quick starts of README.md as a reader would
    Quickstart,
    /// Builds the npm package for browsers, and runs its tests in Chromium
    Web,
    /// Runs whole clients and servers on a simulated network and disk, seed by seed
    Sim(sim::Arguments),
    /// Runs the tests of the server's web page in Chromium
    Ui,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Check => check::run(),
        #[cfg(target_os = "linux")]
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Crash(arguments) => crash::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Node => steps::run_all(node::steps()),
        Command::Package(arguments) => package::run(&arguments),
        Command::Python => steps::run_all(python::steps()),
        Command::Docs => guide::run(),
        Command::Quickstart => quickstart::run(),
        Command::Web => steps::run_all(web::steps_alone()),
        Command::Sim(arguments) => sim::run(&arguments),
        Command::Ui => steps::run_all(ui::steps()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
