//! The arguments of every command, and what is said when they cannot be understood.
//!
//! Names and meanings of the official command line are kept; `tests/official.rs` holds on to them.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use everstream::ReadFrom;

use crate::output::{complain, say};

/// Durable Streams on the command line: serve, create, write, read and more.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command but `serve` understands, before or after its name.
#[derive(Args, Debug)]
#[command(next_help_heading = "Server and connection")]
pub(crate) struct Global {
    /// Stream server URL; without a path, `--stream-root` is added
    /// [env: STREAM_URL] [default: http://127.0.0.1:4437/v1/stream].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Where streams live on a server whose URL has no path; `/` for one started with `serve --root`.
    #[arg(long, global = true, value_name = "PATH", default_value = everstream::proto::names::STREAM_ROOT)]
    pub(crate) stream_root: String,

    /// Authorization header, sent as it is, such as "Bearer my-token" [env: STREAM_AUTH].
    #[arg(long, global = true, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) auth: Option<String>,

    /// A further header of every request; can be repeated.
    #[arg(short = 'H', long = "header", global = true, value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,

    /// How long to go on trying when the server does not answer: seconds, or 500ms, 2m, 1h.
    #[arg(long, global = true, value_name = "TIME", default_value = "30", value_parser = parse_timeout)]
    pub(crate) timeout: Duration,

    /// Say more on standard error; twice for every request.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Close a stream: it takes no more data, for anyone.
    Close(CloseArgs),
    /// Create a stream.
    Create(CreateArgs),
    /// Delete a stream.
    Delete(StreamArg),
    /// Create a stream that starts with the data of another one.
    Fork(ForkArgs),
    /// Show what the server knows of a stream.
    Head(HeadArgs),
    /// List streams, by the server's registry.
    Ls(LsArgs),
    /// Read a stream to standard output, and follow it until it is closed.
    Read(ReadArgs),
    /// Run a server.
    Serve(ServeArgs),
    /// Write the words given, or standard input, to a stream; every message is stored exactly once.
    Write(WriteArgs),
}

#[derive(Args, Debug)]
pub(crate) struct StreamArg {
    /// The stream's path below the server URL.
    #[arg(value_name = "STREAM_ID")]
    pub(crate) id: String,
}

#[derive(Args, Debug)]
pub(crate) struct Lifetime {
    /// Sliding lifetime, restarted by every read and write: seconds, or 10m, 2h, 7d.
    #[arg(long, value_name = "TIME", value_parser = parse_ttl, conflicts_with = "expires_at")]
    pub(crate) ttl: Option<Duration>,
    /// Fixed deadline, such as 2030-01-01T00:00:00Z.
    #[arg(long, value_name = "RFC3339")]
    pub(crate) expires_at: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArg,
    /// Content type of the stream.
    #[arg(long, value_name = "TYPE", default_value = everstream::proto::content_type::DEFAULT_CONTENT_TYPE, overrides_with = "json")]
    pub(crate) content_type: String,
    /// Short for --content-type application/json; the last one given counts.
    #[arg(long, overrides_with = "content_type")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) lifetime: Lifetime,
    /// Create it closed.
    #[arg(long)]
    pub(crate) closed: bool,
}

#[derive(Args, Debug)]
pub(crate) struct WriteArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArg,
    /// What to write: words are joined by spaces, and \n \t \r \\ are understood. Default: standard input.
    #[arg(value_name = "CONTENT", allow_negative_numbers = true)]
    pub(crate) content: Vec<String>,
    /// Content type to send [default: the stream's own].
    #[arg(long, value_name = "TYPE", overrides_with = "json")]
    pub(crate) content_type: Option<String>,
    /// Write to a JSON stream; the input is one message.
    #[arg(long, overrides_with = "content_type")]
    pub(crate) json: bool,
    /// Write to a JSON stream; each element of an array is a message of its own.
    #[arg(long, conflicts_with = "lines")]
    pub(crate) batch_json: bool,
    /// Write standard input line by line as it comes, each line a message of its own.
    #[arg(long, conflicts_with = "content")]
    pub(crate) lines: bool,
    /// Who writes, for fencing [default: a random name].
    #[arg(long, value_name = "ID")]
    pub(crate) producer_id: Option<String>,
    /// Raised each time a producer starts anew under the same --producer-id.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) epoch: u64,
    /// Close the stream after the last message.
    #[arg(long)]
    pub(crate) close: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArg,
    /// Start just after this offset, as --show-offset and head print them.
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true, conflicts_with = "from")]
    pub(crate) offset: Option<ReadFrom>,
    /// Start at the beginning or with what comes from now on [default: beginning].
    #[arg(long, value_enum)]
    pub(crate) from: Option<From>,
    /// Stop after so many messages of a JSON stream, or lines of any other.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Stop when everything that is there has been read.
    #[arg(long, conflicts_with = "live")]
    pub(crate) no_follow: bool,
    /// How to follow the stream.
    #[arg(long, value_enum, default_value_t = Live::Auto)]
    pub(crate) live: Live,
    /// Print the messages of a JSON stream one a line, instead of an array for each answer.
    #[arg(long)]
    pub(crate) json_lines: bool,
    /// Print the offset after each batch on standard error.
    #[arg(long)]
    pub(crate) show_offset: bool,
    /// Resume from where this file says, if it is there, and keep it up to date after each batch printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    Beginning,
    Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Live {
    Auto,
    LongPoll,
    Sse,
}

#[derive(Args, Debug)]
pub(crate) struct HeadArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArg,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CloseArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArg,
    /// A last message, stored in the same step; \n \t \r \\ are understood.
    #[arg(long, value_name = "CONTENT", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ForkArgs {
    /// The stream to start from.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    #[command(flatten)]
    pub(crate) stream: StreamArg,
    /// Inherit everything before this offset [default: everything].
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    pub(crate) offset: Option<everstream::Offset>,
    /// Inherit so many messages (JSON) or bytes beyond --offset.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "offset")]
    pub(crate) sub_offset: u64,
    /// Content type [default: the source's; it must be the same].
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    #[command(flatten)]
    pub(crate) lifetime: Lifetime,
    /// Create it closed.
    #[arg(long)]
    pub(crate) closed: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Only streams whose path starts so.
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Show content type and time of creation (milliseconds since 1970) too.
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) long: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Address to listen on; a server without authentication is not for the network unless you say so.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", env = "EVERSTREAM_HOST")]
    pub(crate) host: IpAddr,
    /// Port to listen on; 0 is any free one.
    #[arg(long, default_value_t = everstream::proto::names::DEFAULT_PORT, env = "EVERSTREAM_PORT")]
    pub(crate) port: u16,
    /// Where streams are kept.
    #[arg(long, value_enum, default_value_t = StorageKind::Memory, env = "EVERSTREAM_STORAGE")]
    pub(crate) storage: StorageKind,
    /// Directory of a storage that keeps files; memory keeps none.
    #[arg(long, value_name = "DIR", env = "EVERSTREAM_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How long a long-poll waits for data, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 30_000, env = "EVERSTREAM_LONG_POLL_TIMEOUT_MS")]
    pub(crate) long_poll_timeout_ms: u64,
    /// After this time an SSE connection ends and the reader connects again.
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = parse_duration, env = "EVERSTREAM_SSE_LIFETIME")]
    pub(crate) sse_lifetime: Duration,
    /// Larger request bodies are refused.
    #[arg(long, value_name = "N", default_value_t = 64 << 20, env = "EVERSTREAM_MAX_BODY_BYTES")]
    pub(crate) max_body_bytes: usize,
    /// How much one answer to a read holds.
    #[arg(long, value_name = "N", default_value_t = 1 << 20, env = "EVERSTREAM_MAX_READ_BYTES")]
    pub(crate) max_read_bytes: usize,
    /// Put streams at `/` instead of below `/v1/stream`.
    #[arg(long, env = "EVERSTREAM_ROOT", value_parser = BoolishValueParser::new())]
    pub(crate) root: bool,
    /// Never compress answers.
    #[arg(long, env = "EVERSTREAM_NO_COMPRESSION", value_parser = BoolishValueParser::new())]
    pub(crate) no_compression: bool,
    /// Access-Control-Allow-Origin.
    #[arg(long, value_name = "ORIGIN", default_value = "*", env = "EVERSTREAM_CORS_ORIGIN")]
    pub(crate) cors_origin: String,
    /// Let clients ask for faults at /_test/inject-error; for tests only.
    #[arg(long, env = "EVERSTREAM_FAULT_INJECTION", value_parser = BoolishValueParser::new())]
    pub(crate) fault_injection: bool,
    /// Form of the log on standard error; RUST_LOG chooses what is in it.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "EVERSTREAM_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StorageKind {
    /// Gone when the server stops.
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Json,
    Text,
}

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
    complain(&format!("Error: {headline}\n\nFor more information, try '--help'."));
    crate::FAILURE
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

/// Seconds, or a number with a unit: `500ms`, `90s`, `10m`, `2h`, `7d`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err("give seconds, or a number with ms, s, m, h or d".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "give seconds, or a number with ms, s, m, h or d".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "that is too long".to_owned())
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be longer than nothing".to_owned()),
        timeout => Ok(timeout),
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text)?;
    if ttl.subsec_nanos() != 0 {
        return Err("is counted in whole seconds".to_owned());
    }
    Ok(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_seconds_unless_a_unit_says_otherwise() {
        for (text, millis) in [("30", 30_000), ("0.5", 500), ("10m", 600_000), ("2h", 7_200_000), ("250ms", 250)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "m", "5x", "-1", "1h30", "1e999", "nan"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_ttl("1.5").is_err());
        assert!(parse_timeout("0").is_err());
    }

    #[test]
    fn flags_may_stand_before_and_after_the_id() {
        let before = Cli::try_parse_from(["x", "--url", "http://a", "write", "--json", "s", "1"]).unwrap();
        let after = Cli::try_parse_from(["x", "write", "s", "1", "--json", "--url=http://a"]).unwrap();
        for cli in [before, after] {
            assert_eq!(cli.global.url.as_deref(), Some("http://a"));
            let Command::Write(args) = cli.command else { panic!("{:?}", cli.command) };
            assert!(args.json && args.stream.id == "s" && args.content == ["1"]);
        }
    }

    #[test]
    fn sentinels_and_negative_numbers_are_values() {
        let cli = Cli::try_parse_from(["x", "read", "s", "--offset", "-1"]).unwrap();
        let Command::Read(args) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(args.offset, Some(ReadFrom::Beginning));
        let cli = Cli::try_parse_from(["x", "write", "s", "-5", "x"]).unwrap();
        let Command::Write(args) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(args.content, ["-5", "x"]);
    }
}
