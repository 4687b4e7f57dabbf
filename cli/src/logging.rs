//! Logs on standard error.
//!
//! A server logs. A client command is quiet, but says when it has been trying in vain for a while: waiting for a
//! server that is down must never look like waiting for data.

use std::fmt;
use std::io::stderr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use everstream_server::config::LogFormat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::output::complain;
use crate::style::is_colored;

/// Trouble that ends sooner is not worth a word.
const QUIET: Duration = Duration::from_secs(1);
/// Trouble that goes on is mentioned this often.
const REPEAT: Duration = Duration::from_secs(10);
/// After so long without trouble the next one is new.
const CALM: Duration = Duration::from_secs(30);

/// The log of `serve`: `info` and above unless `RUST_LOG` or `-v` says otherwise.
///
/// `traces` gets what the log does not: spans of requests.
pub(crate) fn for_server(format: LogFormat, verbose: u8, traces: Option<Box<dyn Layer<Registry> + Send + Sync>>) {
    let filter = filter(match verbose {
        0 => "info",
        1 => "info,everstream=debug,everstream_server=debug",
        _ => "debug,everstream=trace,everstream_server=trace",
    });
    if let Some(traces) = traces {
        let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
        let lines = match format {
            LogFormat::Json => lines.json().with_filter(filter).boxed(),
            _ => lines.with_ansi(std::io::IsTerminal::is_terminal(&stderr())).with_filter(filter).boxed(),
        };
        tracing_subscriber::registry().with(vec![lines, traces]).init();
        return;
    }
    // One filter for everything is cheaper than one for each layer.
    let logs = tracing_subscriber::fmt().with_writer(stderr).with_env_filter(filter);
    match format {
        LogFormat::Json => logs.json().init(),
        _ => logs.with_ansi(is_colored(&stderr())).init(),
    }
}

/// The log of every other command: notices of trouble, or with `-v` everything.
pub(crate) fn for_client(verbose: u8) {
    if verbose == 0 {
        let only_client = Targets::new().with_target("everstream::client", Level::DEBUG);
        tracing_subscriber::registry().with(Notices::default().with_filter(only_client)).init();
        return;
    }
    let level = if verbose == 1 { "everstream=debug" } else { "everstream=trace" };
    tracing_subscriber::fmt()
        .with_writer(stderr)
        .with_ansi(is_colored(&stderr()))
        .with_env_filter(filter(level))
        .init();
}

fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default))
}

/// Says that the client is trying again, when it has done so for a while.
#[derive(Default)]
struct Notices(Mutex<Option<Trouble>>);

struct Trouble {
    since: Instant,
    last: Instant,
    mentioned: Option<Instant>,
}

impl Trouble {
    /// Notes one more failed try; whether it is to be mentioned.
    fn goes_on(trouble: &mut Option<Self>, now: Instant) -> bool {
        let trouble = match trouble {
            Some(trouble) if now - trouble.last < CALM => trouble,
            other => other.insert(Self { since: now, last: now, mentioned: None }),
        };
        trouble.last = now;
        let due = now - trouble.since >= QUIET && trouble.mentioned.is_none_or(|at| now - at >= REPEAT);
        if due {
            trouble.mentioned = Some(now);
        }
        due
    }
}

impl<S: Subscriber> Layer<S> for Notices {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // The client reports each failed try as an event with the error.
        let mut error = ErrorText(None);
        event.record(&mut error);
        let Some(error) = error.0 else { return };
        let Ok(mut trouble) = self.0.lock() else { return };
        if Trouble::goes_on(&mut trouble, Instant::now()) {
            complain(&format!("Trying again: {error}"));
        }
    }
}

struct ErrorText(Option<String>);

impl Visit for ErrorText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "error" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_mentioned_when_it_lasts_and_then_now_and_then() {
        let (start, mut trouble) = (Instant::now(), None);
        let mut mentioned = |seconds| Trouble::goes_on(&mut trouble, start + Duration::from_secs(seconds));
        assert!(!mentioned(0));
        assert!(mentioned(2));
        assert!(!mentioned(5));
        assert!(mentioned(12));
        assert!(!mentioned(60), "new trouble after a calm");
        assert!(mentioned(62));
    }
}
