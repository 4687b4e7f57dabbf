//! The arguments of `subscription`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand};
use everstream_server::config::parse_duration;

use crate::args::Output;

#[derive(Args, Debug)]
pub(crate) struct SubscriptionArgs {
    #[command(subcommand)]
    pub(crate) command: SubscriptionCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionCommand {
    /// Create a subscription; what its streams hold already is not replayed.
    Create(CreateArgs),
    /// Remove a subscription.
    Delete(IdArg),
    /// Show a subscription, and how far its worker is in each stream.
    Get(GetArgs),
    /// List subscriptions.
    List(ListArgs),
    /// Let the server sign webhooks with a new key.
    RotateKey(RotateArgs),
    /// Work on a pull-wake subscription: wait for new messages, print them or give them to a command, and ack.
    Work(WorkArgs),
}

#[derive(Args, Debug)]
pub(crate) struct IdArg {
    /// The subscription.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) subscription: IdArg,
    /// Streams by pattern: `*` is one segment, `**` any number of them.
    #[arg(long, value_name = "PATTERN", required_unless_present = "streams")]
    pub(crate) pattern: Option<String>,
    /// A stream by its path; can be repeated.
    #[arg(long = "stream", value_name = "STREAM_ID")]
    pub(crate) streams: Vec<String>,
    /// Send webhooks to this URL.
    #[arg(long, value_name = "URL", required_unless_present = "wake_stream", conflicts_with = "wake_stream")]
    pub(crate) webhook: Option<String>,
    /// Announce work in this stream, which is created if it is not there, for workers that claim it.
    #[arg(long, value_name = "STREAM_ID")]
    pub(crate) wake_stream: Option<String>,
    /// How long a worker may be silent: 1s to 10m [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) lease: Option<Duration>,
    /// Text for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) subscription: IdArg,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// How long receivers may still accept the keys before it; 0 ends a key that has leaked at once.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = parse_duration)]
    pub(crate) overlap: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct WorkArgs {
    #[command(flatten)]
    pub(crate) subscription: IdArg,
    /// What this worker is called [default: its process id].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Stop after so many wakes.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// A command for each stream with something new, which is on its standard input: messages of a JSON stream one a
    /// line. EVERSTREAM_STREAM names the stream. Exit code 0 acks it [default: print messages as JSON lines].
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}
