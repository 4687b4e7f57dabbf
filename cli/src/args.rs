//! The arguments of every command.
//!
//! Names and meanings of the official command line are kept; `tests/official.rs` holds on to them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use everstream::ReadFrom;
use everstream_server::config::parse_duration;

use crate::commands::subscription::SubscriptionArgs;

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

    /// Authorization header, sent as it is, such as "Bearer my-token" [env: STREAM_AUTH]. To `serve`: whether requests
    /// are checked, `auto`, `on` or `off`.
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
    /// Measure a server with one client: appends, reads, and how long a message takes to a live reader.
    Bench(BenchArgs),
    /// Close a stream: it takes no more data, for anyone.
    Close(CloseArgs),
    /// Print a script with which a shell completes commands and options.
    Completions(CompletionsArgs),
    /// Create a stream.
    Create(CreateArgs),
    /// Delete a stream.
    Delete(DeleteArgs),
    /// Write streams to a file.
    Export(ExportArgs),
    /// Create a stream that starts with the data of another one.
    Fork(ForkArgs),
    /// Check the data directory of a server that does not run, and change nothing.
    Fsck(FsckArgs),
    /// Show what the server knows of a stream.
    Head(HeadArgs),
    /// Add the streams of a file that `export` wrote.
    Import(ImportArgs),
    /// List streams, by the server's registry.
    Ls(LsArgs),
    /// Print the manual page, or write the pages of all commands to a folder.
    Man(ManArgs),
    /// Read a stream to standard output, and follow it until it is closed.
    Read(ReadArgs),
    /// Run a server.
    Serve(ServeArgs),
    /// Sign a URL with which anyone may read a stream for a while.
    Sign(SignArgs),
    /// Subscriptions: wake workers when streams have something new.
    Subscription(SubscriptionArgs),
    /// Show the last messages of streams, and what comes after them.
    Tail(TailArgs),
    /// Make a bearer token for a server, and the lines of its configuration that let it in.
    Token(TokenArgs),
    /// Write the words given, or standard input, to a stream; every message is stored exactly once.
    Write(WriteArgs),
}

#[derive(Args, Debug)]
pub(crate) struct StreamArg {
    /// The stream's path below the server URL.
    #[arg(value_name = "STREAM_ID")]
    pub(crate) id: String,
}

/// How results are printed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    /// How results are printed: in words, or as one JSON object a line.
    #[arg(long = "output", value_enum, value_name = "FORM", default_value_t = Form::Text)]
    form: Form,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        self.form == Form::Json
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Json,
    Text,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArg,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// The streams' paths below the server URL. Of several, each line says whose it is.
    #[arg(value_name = "STREAM_ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// Show so many of the messages (JSON) or lines that are there.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(crate) count: usize,
    /// Show only what comes from now on.
    #[arg(long, conflicts_with = "count")]
    pub(crate) since_now: bool,
    /// Stop when what is there was shown.
    #[arg(long)]
    pub(crate) no_follow: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// How many messages are written in a run.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = parse_count)]
    pub(crate) messages: usize,
    /// Bytes of a message.
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = parse_message_size)]
    pub(crate) size: usize,
    /// The stream to use, which must not be there yet [default: a random name].
    #[arg(long, value_name = "STREAM_ID")]
    pub(crate) stream: Option<String>,
    /// Leave the stream there afterwards.
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Whose: bash, zsh, fish, elvish or powershell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Write everstream.1 and a page for each command there [default: print everstream.1].
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
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
    #[command(flatten)]
    pub(crate) output: Output,
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
    #[command(flatten)]
    pub(crate) output: Output,
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
    /// The same as --output json.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct CloseArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArg,
    /// A last message, stored in the same step; \n \t \r \\ are understood.
    #[arg(long, value_name = "CONTENT", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
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
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Only streams whose path starts so.
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Show content type, time of creation, offset and whether it is closed too: in columns on a terminal, else with a tab
    /// between them and the time as milliseconds since 1970.
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) long: bool,
    /// The same as --output json.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Only streams whose path starts so.
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// The file, which must not be there yet [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Go on where an export to the same file broke off.
    #[arg(long, requires = "output")]
    pub(crate) resume: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The file [default: standard input].
    #[arg(value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// What to do about a stream that is there and holds something else.
    #[arg(long, value_enum, default_value_t = OnConflict::Fail)]
    pub(crate) on_conflict: OnConflict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnConflict {
    /// Stop.
    Fail,
    /// Leave it as it is, and go on.
    Skip,
}

#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArg,
    /// The id of the key in the server's configuration, `access.url_keys`.
    #[arg(long, value_name = "ID")]
    pub(crate) key_id: String,
    /// A file with the secret of the key.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,
    /// How long the URL is good: seconds, or 10m, 2h, 7d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub(crate) expires: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// What it is called in the server's log.
    #[arg(long, value_name = "NAME", default_value = "client")]
    pub(crate) name: String,
    /// A pattern of the streams that it is for; can be repeated.
    #[arg(long, value_name = "PATTERN", default_value = "**")]
    pub(crate) streams: Vec<String>,
    /// What it allows: read, append, create, delete, admin.
    #[arg(long, value_name = "OPERATION", value_delimiter = ',', default_value = "read", value_parser = ["read", "append", "create", "delete", "admin"])]
    pub(crate) allow: Vec<String>,
    /// Hash the token on standard input instead of making one.
    #[arg(long)]
    pub(crate) hash: bool,
}

#[derive(Args, Debug)]
pub(crate) struct FsckArgs {
    /// The data directory, such as ./everstream-data.
    pub(crate) dir: PathBuf,
}

/// Every setting can be given here, in a file and in the environment; the table is in `docs/server.md`. These are short
/// for `--set`, and win over both.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Configuration file in TOML; flags win over variables, and variables over the file.
    #[arg(long, value_name = "FILE", env = "EVERSTREAM_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Set any key of the configuration, such as limits.max_connections=100; can be repeated. As a variable it is
    /// EVERSTREAM_LIMITS__MAX_CONNECTIONS.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Check the configuration and exit.
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Print the configuration that would be used, without secrets, and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Address to listen on [default: 127.0.0.1].
    #[arg(long, value_name = "IP")]
    pub(crate) host: Option<String>,
    /// Port to listen on; 0 is any free one [default: 4437].
    #[arg(long)]
    pub(crate) port: Option<String>,
    /// Where streams are kept: log (on disk) or memory [default: log].
    #[arg(long, value_name = "KIND")]
    pub(crate) storage: Option<String>,
    /// Directory of the storage log [default: ./everstream-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// How long a long-poll waits for data, in milliseconds [default: 30000].
    #[arg(long, value_name = "MS")]
    pub(crate) long_poll_timeout_ms: Option<u64>,
    /// After this time an SSE connection ends and the reader connects again [default: 60s].
    #[arg(long, value_name = "TIME")]
    pub(crate) sse_lifetime: Option<String>,
    /// Larger request bodies are refused [default: 64MiB].
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_body_bytes: Option<String>,
    /// How much one answer to a read holds [default: 1MiB].
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_read_bytes: Option<String>,
    /// Put streams at `/` instead of below `/v1/stream`.
    #[arg(long)]
    pub(crate) root: bool,
    /// The web page at /ui: on, read-only or off [default: on while listening on loopback only, else read-only].
    #[arg(long, value_name = "MODE")]
    pub(crate) ui: Option<String>,
    /// Never compress answers.
    #[arg(long)]
    pub(crate) no_compression: bool,
    /// Whose pages may see answers: *, origins, or none [default: *].
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors_origin: Option<String>,
    /// Let clients ask for faults at /_test/inject-error; for tests only.
    #[arg(long)]
    pub(crate) fault_injection: bool,
    /// Form of the log on standard error: text or json; RUST_LOG chooses what is in it [default: text].
    #[arg(long, value_name = "FORM")]
    pub(crate) log_format: Option<String>,
}

impl ServeArgs {
    /// The flags that were given: what they are called, which key they set, and to what.
    pub(crate) fn settings(&self) -> Vec<(&'static str, &'static str, String)> {
        let on = |flag: bool, value: &str| flag.then(|| value.to_owned());
        let all = [
            ("--host", "server.host", self.host.clone()),
            ("--port", "server.port", self.port.clone()),
            ("--storage", "storage.kind", self.storage.clone()),
            ("--data-dir", "storage.data_dir", self.data_dir.clone()),
            (
                "--long-poll-timeout-ms",
                "server.long_poll_timeout",
                self.long_poll_timeout_ms.map(|ms| format!("{ms}ms")),
            ),
            ("--sse-lifetime", "server.sse_lifetime", self.sse_lifetime.clone()),
            ("--max-body-bytes", "limits.max_body_bytes", self.max_body_bytes.clone()),
            ("--max-read-bytes", "limits.max_read_bytes", self.max_read_bytes.clone()),
            ("--root", "server.stream_root", on(self.root, "")),
            ("--ui", "ui.mode", self.ui.clone()),
            ("--no-compression", "server.compression", on(self.no_compression, "false")),
            ("--cors-origin", "server.cors_origin", self.cors_origin.clone()),
            ("--fault-injection", "server.fault_injection", on(self.fault_injection, "true")),
            ("--log-format", "log.format", self.log_format.clone()),
        ];
        all.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value?))).collect()
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be longer than nothing".to_owned()),
        timeout => Ok(timeout),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=100_000_000) => Ok(count),
        _ => Err("must be a number from 1".to_owned()),
    }
}

fn parse_message_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 2..=16_777_216) => Ok(size),
        _ => Err("must be a number from 2 to 16777216".to_owned()),
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
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_is_checked_for_what_it_is_used_for() {
        assert_eq!(parse_ttl("7d"), Ok(Duration::from_secs(604_800)));
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
