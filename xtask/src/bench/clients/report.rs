//! The runs of clients as a table.

use std::fmt::Write as _;

use super::super::compare::median;
use super::super::report::Conditions;
use super::{Comparison, Measurement, Sample, Unit};

pub(super) struct Table<'a> {
    pub(super) measurement: &'a Measurement,
    pub(super) samples: Vec<(&'static str, Vec<Sample>)>,
}

impl Table<'_> {
    /// What each client took, to look at; it says as much about the machine as about the client.
    pub(super) fn medians(&self) -> String {
        let mut text = format!("{}:\n", self.measurement.name);
        for (client, samples) in &self.samples {
            let wall = middle(samples, |sample| sample.wall);
            let cpu = middle(samples, |sample| sample.cpu);
            let memory = mebibytes(samples);
            let rate = self.measurement.amount as f64 / wall;
            writeln!(text, "  {client}: {wall:.3} s, {rate:.0} a second, CPU {cpu:.3} s, {memory} MiB").expect(TAKES);
        }
        text
    }

    pub(super) fn markdown(&self, conditions: &Conditions) -> String {
        let what = format!("{}. {}", self.measurement.what, conditions.markdown());
        let mut text = format!("#### {}\n\n{what}\n", self.measurement.name);
        // One by one or not, it is the same for all.
        let timed = self.samples.iter().flat_map(|(_, samples)| samples).all(|sample| sample.p50.is_some());
        let mut columns = vec!["Ours", "Against", "Aim", "Speed", "CPU"];
        columns.extend(timed.then_some("p50, p99, ours"));
        columns.extend(timed.then_some("p50, p99, theirs"));
        columns.extend(["CPU, ours", "CPU, theirs", "Peak memory", "Threads"]);
        line(&mut text, &columns);
        line(&mut text, &vec!["---"; columns.len()]);
        for comparison in self.measurement.comparisons {
            line(&mut text, &self.row(comparison, timed));
        }
        text
    }

    fn row(&self, comparison: &Comparison, timed: bool) -> Vec<String> {
        let (ours, theirs) = (self.of(comparison.ours), self.of(comparison.theirs));
        let ratio = |of: fn(&Sample, &Sample) -> f64| {
            let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| of(ours, theirs)).collect();
            let middle = median(&mut ratios).unwrap_or(f64::NAN);
            // Sorted by the median.
            format!("{middle:.2} ({:.2} to {:.2})", ratios[0], ratios[ratios.len() - 1])
        };
        let mut cells = vec![
            format!("`{}`", comparison.ours),
            format!("`{}`", comparison.theirs),
            comparison.aim.to_owned(),
            ratio(|ours, theirs| theirs.time() / ours.time()),
            ratio(|ours, theirs| ours.cpu / theirs.cpu),
        ];
        if timed {
            cells.extend([latency(ours), latency(theirs)]);
        }
        cells.extend([
            self.cpu(ours),
            self.cpu(theirs),
            format!("{} / {} MiB", mebibytes(ours), mebibytes(theirs)),
            format!("{} / {}", middle(ours, |sample| sample.threads), middle(theirs, |sample| sample.threads)),
        ]);
        cells
    }

    fn of(&self, client: &str) -> &[Sample] {
        self.samples.iter().find(|(name, _)| *name == client).map_or(&[], |(_, samples)| samples)
    }

    fn cpu(&self, samples: &[Sample]) -> String {
        let cpu = middle(samples, |sample| sample.cpu) / self.measurement.amount as f64;
        match self.measurement.unit {
            Unit::One => format!("{:.2} µs", cpu * 1e6),
            Unit::Megabyte => format!("{:.2} ms/MB", cpu * 1e9),
            Unit::Start => format!("{:.1} ms", cpu * 1e3),
        }
    }
}

impl Sample {
    /// What speed is measured by: the time of one operation in the middle, or of all of them.
    fn time(&self) -> f64 {
        self.p50.unwrap_or(self.wall)
    }
}

const TAKES: &str = "a string takes everything";

fn middle<T: Copy + PartialOrd>(samples: &[Sample], of: impl Fn(&Sample) -> T) -> T {
    median(&mut samples.iter().map(of).collect::<Vec<_>>()).expect("there is a round")
}

fn mebibytes(samples: &[Sample]) -> u64 {
    middle(samples, |sample| sample.peak_rss) >> 20
}

fn latency(samples: &[Sample]) -> String {
    let of = |time: fn(&Sample) -> Option<f64>| middle(samples, |sample| time(sample).unwrap_or(f64::NAN)) * 1e3;
    format!("{:.3}, {:.3} ms", of(|sample| sample.p50), of(|sample| sample.p99))
}

fn line<T: AsRef<str>>(text: &mut String, cells: &[T]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    writeln!(text, "| {} |", cells.join(" | ")).expect(TAKES);
}

#[cfg(test)]
mod tests {
    use super::super::{Stream, held};
    use super::*;

    const COMPARISONS: &[Comparison] = &[held("a", "b", "speed 1.00")];

    #[test]
    fn a_row_compares_the_runs_of_each_round() {
        let measurement = Measurement {
            name: "test",
            what: "Something",
            stream: Stream::Own,
            amount: 1_000_000,
            unit: Unit::One,
            comparisons: COMPARISONS,
        };
        let sample = |wall, cpu| Sample { wall, cpu, peak_rss: 3 << 20, threads: 1, p50: None, p99: None };
        let ours = vec![sample(1.0, 2.0), sample(2.0, 2.0), sample(4.0, 2.0)];
        let theirs = vec![sample(2.0, 1.0), sample(8.0, 4.0), sample(4.0, 8.0)];
        let table = Table { measurement: &measurement, samples: vec![("a", ours), ("b", theirs)] };
        let text = table.markdown(&Conditions::now(3).expect("Linux"));
        let row = text.lines().last().unwrap_or_default().to_owned();
        let speed = "2.00 (1.00 to 4.00)";
        let cpu = "0.50 (0.25 to 2.00)";
        assert_eq!(
            row,
            format!("| `a` | `b` | speed 1.00 | {speed} | {cpu} | 2.00 µs | 4.00 µs | 3 / 3 MiB | 1 / 1 |")
        );
    }
}
