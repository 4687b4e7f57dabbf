//! What is said when arguments cannot be understood.

use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::Cli;
use crate::output::{complain, say};

/// Says what is wrong with the arguments, in the official words where there are any. Help is a success, and
/// `--help` anywhere is help (API.md section 4).
pub(crate) fn explain(error: clap::Error, args: &[OsString]) -> u8 {
    let asks_for_help = || args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "--help" || arg == "-h");
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            say(&error.to_string());
            return crate::SUCCESS;
        }
        _ if asks_for_help() => {
            let name = args.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            say(&Cli::command().bin_name(name).render_help().to_string());
            return crate::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            complain(&format!("Error: No command specified\n\n{error}"));
            return crate::FAILURE;
        }
        _ => {}
    }
    let named = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let headline = match error.kind() {
        ErrorKind::InvalidSubcommand => format!("Unknown command \"{}\"", named(ContextKind::InvalidSubcommand)),
        ErrorKind::UnknownArgument => match misplaced(&named(ContextKind::InvalidArg), args) {
            Some(hint) => hint,
            None => format!("Unknown option \"{}\"", named(ContextKind::InvalidArg)),
        },
        ErrorKind::MissingRequiredArgument if named(ContextKind::InvalidArg).contains("<STREAM_ID>") => {
            "Missing stream_id".to_owned()
        }
        ErrorKind::InvalidValue if named(ContextKind::InvalidValue).is_empty() => {
            let flag = named(ContextKind::InvalidArg);
            format!("{} requires a value", flag.split(' ').next().unwrap_or_default())
        }
        _ => {
            let text = error.to_string();
            complain(&format!("Error: {}", text.strip_prefix("error: ").unwrap_or(&text)));
            return crate::FAILURE;
        }
    };
    let hint = likeliest(&error).map(|name| format!("\n  Hint: there is `{name}`")).unwrap_or_default();
    complain(&format!("Error: {headline}{hint}\n\nFor more information, try '--help'."));
    crate::FAILURE
}

/// What may have been meant.
fn likeliest(error: &clap::Error) -> Option<&String> {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg];
    match kinds.into_iter().find_map(|kind| error.get(kind))? {
        ContextValue::String(name) => Some(name),
        // The most similar one is the last.
        ContextValue::Strings(names) => names.last(),
        _ => None,
    }
}

/// A flag of a command that stands before its name.
fn misplaced(flag: &str, args: &[OsString]) -> Option<String> {
    let is_before_command = args.get(1).is_some_and(|first| first.to_string_lossy().starts_with(flag));
    let is_known = matches!(flag, "--content-type" | "--json" | "--batch-json" | "--lines");
    (is_before_command && is_known).then(|| {
        format!(
            "\"{flag}\" must come after the command and stream_id\n  \
             Example: durable-stream create <stream_id> {flag}"
        )
    })
}
