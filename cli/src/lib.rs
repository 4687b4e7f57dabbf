//! The command line for Durable Streams: `everstream`, and the same under the official name `durable-stream`.
//!
//! [`run`] is all there is: it parses, runs one command, and turns what came of it into an exit code - 0 for
//! success, help and the end of a stream, 1 for every failure, whose reason is on standard error (docs/cli.md).

mod archive;
mod args;
mod commands;
mod explain;
mod logging;
#[cfg(feature = "otlp")]
mod otlp;
mod output;
mod pipe;
mod signals;
mod style;
mod target;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Cli, Command};
use self::output::Failure;
use self::target::Target;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(&std::env::args_os().collect::<Vec<_>>()).into()
}

/// Runs one command, whose name and arguments are given as the operating system would; gives the exit code.
#[must_use]
pub fn run(args: &[OsString]) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return explain::explain(error, args),
    };
    let result = execute(cli);
    // The process may go on, and end in a way that flushes nothing; who reads on has read it all.
    let _ = std::io::stdout().flush();
    match result {
        Ok(()) => SUCCESS,
        Err(failure) => {
            output::complain(&failure.shown(style::is_colored(&std::io::stderr())));
            FAILURE
        }
    }
}

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;

/// Says how many threads the runtime has.
const THREADS: &str = "TOKIO_WORKER_THREADS";

fn execute(cli: Cli) -> Result<(), Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Serve(_)) && std::env::var_os(THREADS).is_none() {
        runtime.worker_threads(commands::serve::threads());
    }
    let runtime =
        runtime.enable_all().build().map_err(|error| Failure::new(format!("Error: cannot start: {error}")))?;
    let result = runtime.block_on(dispatch(cli));
    // A read of standard input that waits for the terminal must not hold up the exit.
    runtime.shutdown_background();
    result
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    if let Command::Serve(args) = &command {
        return commands::serve::run(args, global.auth.as_deref(), global.verbose).await;
    }
    match &command {
        // They ask no server.
        Command::Completions(args) => return commands::manual::completions(args),
        Command::Man(args) => return commands::manual::man(args),
        _ => {}
    }
    logging::for_client(global.verbose);
    let target = Target::new(&global)?;
    match command {
        Command::Bench(args) => commands::bench::run(&target, &args).await,
        Command::Close(args) => commands::close::run(&target, &args).await,
        Command::Completions(args) => commands::manual::completions(&args),
        Command::Create(args) => commands::create::run(&target, &args).await,
        Command::Delete(args) => commands::delete::run(&target, &args).await,
        Command::Export(args) => commands::export::run(&target, &args).await,
        Command::Fork(args) => commands::fork::run(&target, &args).await,
        Command::Fsck(args) => commands::fsck::run(args).await,
        Command::Head(args) => commands::head::run(&target, &args).await,
        Command::Import(args) => commands::import::run(&target, &args).await,
        Command::Ls(args) => commands::ls::run(&target, &args).await,
        Command::Man(args) => commands::manual::man(&args),
        Command::Read(args) => commands::read::run(&target, &args).await,
        Command::Serve(args) => commands::serve::run(&args, global.auth.as_deref(), global.verbose).await,
        Command::Sign(args) => commands::sign::run(&target, &args),
        Command::Subscription(args) => commands::subscription::run(&target, &args).await,
        Command::Tail(args) => commands::tail::run(&target, &args).await,
        Command::Token(args) => commands::token::run(&args),
        Command::Write(args) => commands::write::run(&target, &args).await,
    }
}
