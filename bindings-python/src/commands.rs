//! The command line, in the process of whoever calls it.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs one command, the program's name first; gives the exit code. Blocks with the interpreter released.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| everstream_cli::run(&args))
}
