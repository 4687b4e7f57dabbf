//! What one sees of the demo: bars on a terminal, plain lines anywhere else, and the result.

use std::fmt;
use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use everstream_faults::{FaultCounts, FaultKind, FaultProxy};
use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::compare::Comparison;

/// How often the bar of faults looks at the proxy.
const REFRESH: Duration = Duration::from_millis(100);

/// The bars of a run.
pub(crate) struct View {
    bars: MultiProgress,
    written: ProgressBar,
    read: ProgressBar,
    faults: ProgressBar,
}

impl View {
    pub(crate) fn start(records: usize, seed: u64, rate: f64) -> Self {
        println!(
            "{} records through a proxy that breaks {}% of the requests, seed {seed}",
            HumanCount(records as u64),
            rate * 100.0
        );
        let bars = MultiProgress::with_draw_target(if stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let bar = |name: &'static str, template: &str, length| {
            let style = ProgressStyle::with_template(template).expect("the template is well-formed").with_key(
                "rate",
                |state: &ProgressState, out: &mut dyn fmt::Write| {
                    // A bar has no way to fail.
                    let _ = write!(out, "{} records/s", HumanCount(state.per_sec() as u64));
                },
            );
            bars.add(ProgressBar::new(length).with_style(style).with_prefix(name))
        };
        let counted = "{prefix:8} {bar:40} {human_pos}/{human_len} {rate}";
        Self {
            written: bar("written", counted, records as u64),
            read: bar("read", counted, records as u64),
            faults: bar("faults", "{prefix:8} {wide_msg}", 0),
            bars,
        }
    }

    pub(crate) fn written(&self, records: u64) {
        self.written.inc(records);
    }

    pub(crate) fn read(&self, records: u64) {
        self.read.inc(records);
    }

    /// Shows what the proxy does, until it is dropped.
    pub(crate) async fn watch(&self, proxy: &FaultProxy) {
        loop {
            self.faults.set_message(by_kind(&proxy.counts()));
            tokio::time::sleep(REFRESH).await;
        }
    }

    /// Replaces the bars by the result.
    pub(crate) fn finish(self, result: &Outcome<'_>) {
        // A terminal that cannot be cleared is no reason to fail.
        let _ = self.bars.clear();
        println!("\n{result}");
    }
}

/// The result of a run.
pub(crate) struct Outcome<'a> {
    pub(crate) comparison: &'a Comparison,
    pub(crate) bytes: u64,
    pub(crate) resumed_at: usize,
    pub(crate) faults: FaultCounts,
    pub(crate) time: Duration,
}

impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { sent, arrived, lost, duplicated, out_of_order, changed } = *self.comparison;
        for (name, count) in [
            ("records sent", sent),
            ("records arrived", arrived),
            ("lost", lost),
            ("duplicated", duplicated),
            ("out of order", out_of_order),
            ("changed", changed),
        ] {
            writeln!(f, "{name:<16} {:>9}", HumanCount(count as u64).to_string())?;
        }
        let seconds = self.time.as_secs_f64();
        let rate = (arrived as f64 / seconds.max(f64::EPSILON)) as u64;
        for (name, value) in [
            ("time", format!("{seconds:.1} s, {} records/s", HumanCount(rate))),
            ("reader replaced", format!("after {} records", HumanCount(self.resumed_at as u64))),
            ("bytes", HumanBytes(self.bytes).to_string()),
            ("requests", HumanCount(self.faults.requests).to_string()),
            ("faults met", by_kind(&self.faults)),
        ] {
            writeln!(f, "{name:<16} {value}")?;
        }
        f.write_str(if self.comparison.is_faithful() {
            "\nEvery record arrived once, in order and unchanged."
        } else {
            "\nFAILED: what arrived is not what was sent."
        })
    }
}

/// `103: cut-body 11, delay 9, ...`, the kinds that were met.
fn by_kind(counts: &FaultCounts) -> String {
    let met = FaultKind::ALL.into_iter().filter(|kind| counts.of(*kind) > 0);
    let kinds: Vec<_> = met.map(|kind| format!("{kind} {}", counts.of(kind))).collect();
    match counts.total() {
        0 => "0".to_owned(),
        total => format!("{}: {}", HumanCount(total), kinds.join(", ")),
    }
}
