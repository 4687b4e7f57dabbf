//! `completions` and `man`: what a shell and `man` want to know of the command line.

use std::fs;
use std::io::{self, Write as _};

use clap::CommandFactory as _;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::output::{Failure, say};

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "everstream", &mut script);
    print(&script)
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let command = Cli::command().name("everstream");
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Failure::new(format!("Error: the page cannot be made: {error}")))?;
        return print(&page);
    };
    let failed = |error: io::Error| Failure::new(format!("Failed to write to {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(command, folder).map_err(failed)?;
    say(&format!("Wrote the pages to {}", folder.display()));
    Ok(())
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("Failed to write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
