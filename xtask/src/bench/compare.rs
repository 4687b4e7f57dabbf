//! Ours and the yardstick in turn, and what comes out of it.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Scale;
use super::measure::Sample;
use super::roles::{self, Job};

/// What CPU time is counted by.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    /// Seconds for 1,000,000 operations or messages.
    Million,
    /// Seconds for 1,000,000,000 bytes.
    Gigabyte,
}

/// One comparison.
pub(super) struct Comparison {
    pub(super) what: String,
    pub(super) yardstick: &'static str,
    /// The least speed that we want, as a part of the yardstick's.
    pub(super) aim: Option<f64>,
    /// Operations, messages or bytes in a run.
    pub(super) amount: u64,
    pub(super) unit: Unit,
    pub(super) ours: Job,
    pub(super) theirs: Job,
}

/// The result of a comparison.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) yardstick: &'static str,
    pub(super) aim: Option<f64>,
    pub(super) unit: Unit,
    /// Our speed as a part of the yardstick's: the median, the lowest and the highest of the rounds.
    pub(super) speed: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
    pub(super) ours: Cost,
    pub(super) theirs: Cost,
}

/// Medians of one side.
pub(super) struct Cost {
    /// CPU seconds for one unit.
    pub(super) cpu: f64,
    pub(super) peak_rss: u64,
}

/// Runs both sides in turn.
///
/// # Errors
/// A run failed, or did not get what it should.
pub(super) fn compare(scale: Scale, comparison: Comparison) -> Result<Row> {
    eprint!("  {} ...", comparison.what);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // One round that does not count: caches are cold and frequencies low.
    for round in 0..=scale.rounds {
        let pair = (run(&comparison.ours)?, run(&comparison.theirs)?);
        if round > 0 {
            ours.push(pair.0);
            theirs.push(pair.1);
        }
    }
    let mut speeds: Vec<f64> =
        ours.iter().zip(&theirs).map(|(ours, theirs)| theirs.wall.as_secs_f64() / ours.wall.as_secs_f64()).collect();
    let speed = median(&mut speeds).context("no rounds")?;
    eprintln!(" {speed:.2} of {}", comparison.yardstick);
    let Comparison { amount, unit, .. } = comparison;
    Ok(Row {
        speed,
        // Sorted by the median.
        lowest: speeds[0],
        highest: speeds[speeds.len() - 1],
        ours: cost(&ours, amount, unit)?,
        theirs: cost(&theirs, amount, unit)?,
        what: comparison.what,
        yardstick: comparison.yardstick,
        aim: comparison.aim,
        unit,
    })
}

fn run(job: &Job) -> Result<Sample> {
    roles::run_apart(job).with_context(|| format!("{job:?}"))
}

fn cost(samples: &[Sample], amount: u64, unit: Unit) -> Result<Cost> {
    let unit = match unit {
        Unit::Million => 1e6,
        Unit::Gigabyte => 1e9,
    };
    let mut cpu: Vec<Duration> = samples.iter().map(|sample| sample.cpu).collect();
    let mut peak_rss: Vec<u64> = samples.iter().map(|sample| sample.peak_rss).collect();
    Ok(Cost {
        cpu: median(&mut cpu).context("no rounds")?.as_secs_f64() / amount as f64 * unit,
        peak_rss: median(&mut peak_rss).context("no rounds")?,
    })
}

/// Sorts the values; the one in the middle.
pub(super) fn median<T: Copy + PartialOrd>(values: &mut [T]) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}
