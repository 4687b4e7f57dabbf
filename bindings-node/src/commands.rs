//! The command line, in the process of whoever calls it.

use std::ffi::OsString;

use napi_derive::napi;

/// Runs one command, the program's name first; gives the exit code. Blocks.
#[napi(catch_unwind)]
pub fn run_command(args: Vec<String>) -> u8 {
    let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
    everstream_cli::run(&args)
}
