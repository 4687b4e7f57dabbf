//! The results as Markdown, and their place in docs/benchmarks.md.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use time::OffsetDateTime;

use super::compare::{Cost, Row, Unit};
use crate::process::root;

const FILE: &str = "docs/benchmarks.md";
const END: &str = "<!-- end of results -->";
/// Where a text begins to say when and on what it was measured.
const TAKEN: &str = "Taken on ";

/// Under what conditions the numbers came about.
pub(super) struct Conditions {
    rounds: usize,
    cores: usize,
    processor: String,
    load_before: String,
    load_after: String,
}

impl Conditions {
    pub(super) fn now(rounds: usize) -> Result<Self> {
        let load = load()?;
        Ok(Self {
            rounds,
            cores: std::thread::available_parallelism()?.get(),
            processor: processor()?,
            load_after: load.clone(),
            load_before: load,
        })
    }

    /// The measurements are over.
    pub(super) fn end(&mut self) -> Result<()> {
        self.load_after = load()?;
        Ok(())
    }

    pub(super) fn markdown(&self) -> String {
        let Self { rounds, cores, processor, load_before, load_after } = self;
        format!(
            "{TAKEN}{} with {cores} cores ({processor}); load average {load_before} at the start, {load_after} at \
             the end. Medians of {rounds} rounds; lowest and highest in brackets.\n",
            OffsetDateTime::now_utc().date()
        )
    }
}

fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let (minute, _) = text.split_once(' ').context("no load average")?;
    Ok(minute.to_owned())
}

fn processor() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(name.map_or("unknown processor", |(_, name)| name).to_owned())
}

pub(super) fn markdown(groups: &[(&str, Vec<Row>)], conditions: &Conditions) -> String {
    let mut text = conditions.markdown();
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes everything");
    for (name, rows) in groups {
        line(format_args!("\n### {name}\n"));
        line(format_args!("| What | Yardstick | Aim | Speed | CPU, ours | CPU, yardstick | Peak memory |"));
        line(format_args!("|---|---|---|---|---|---|---|"));
        for row in rows {
            line(format_args!(
                "| {} | {} | {} | {:.2} ({:.2} to {:.2}) | {} | {} | {} / {} MiB |",
                row.what,
                row.yardstick,
                row.aim.map_or_else(|| "-".to_owned(), |aim| format!("{aim:.2}")),
                row.speed,
                row.lowest,
                row.highest,
                cpu(&row.ours, row.unit),
                cpu(&row.theirs, row.unit),
                row.ours.peak_rss >> 20,
                row.theirs.peak_rss >> 20,
            ));
        }
    }
    text
}

fn cpu(cost: &Cost, unit: Unit) -> String {
    match unit {
        Unit::Million => format!("{:.2} s/M", cost.cpu),
        Unit::Gigabyte => format!("{:.2} s/GB", cost.cpu),
    }
}

/// Puts the text between the marks of this command.
pub(super) fn write(command: &str, text: &str) -> Result<()> {
    change(command, |_| text.to_owned())
}

/// Puts the section of one measurement among the others of this command, in the order of `names`.
pub(super) fn write_section(command: &str, names: &[&str], name: &str, text: &str) -> Result<()> {
    change(command, |old| with_section(old, names, name, text))
}

fn with_section(old: &str, names: &[&str], name: &str, text: &str) -> String {
    let heading = |name: &str| format!("#### {name}\n");
    let (intro, _) = old.split_once("#### ").unwrap_or_default();
    let sections: Vec<String> = old.split("#### ").skip(1).map(|rest| format!("#### {}\n", rest.trim_end())).collect();
    let kept = |one: &str| sections.iter().find(|section| section.starts_with(&heading(one))).cloned();
    let all: Vec<String> =
        names.iter().filter_map(|one| if *one == name { Some(text.to_owned()) } else { kept(one) }).collect();
    // What stands above holds for the sections that do not say it themselves.
    let intro =
        if all.iter().all(|section| section.contains(TAKEN)) { String::new() } else { intro.trim_start().to_owned() };
    intro + &all.join("\n")
}

/// Changes what is between the marks of this command.
fn change(command: &str, results: impl FnOnce(&str) -> String) -> Result<()> {
    let begin = format!("<!-- results: written by `cargo xtask {command} --write` -->");
    let path = root().join(FILE);
    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
    let (before, rest) = old.split_once(&begin).with_context(|| format!("no place for results in {FILE}"))?;
    let (results_before, after) = rest.split_once(END).with_context(|| format!("no end of results in {FILE}"))?;
    let text = results(results_before);
    fs::write(&path, format!("{before}{begin}\n\n{text}\n{END}{after}"))?;
    println!("{FILE} is up to date");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::with_section;

    #[test]
    fn a_section_takes_its_place_and_leaves_the_others() {
        let names = ["a", "ab", "c"];
        let old = "\n\n#### a\n\nold a\n\n#### c\n\nold c\n\n";
        let new = with_section(old, &names, "ab", "#### ab\n\nnew\n");
        assert_eq!(new, "#### a\n\nold a\n\n#### ab\n\nnew\n\n#### c\n\nold c\n");
        let again = with_section(&new, &names, "a", "#### a\n\nnewer\n");
        assert_eq!(again, "#### a\n\nnewer\n\n#### ab\n\nnew\n\n#### c\n\nold c\n");
    }

    #[test]
    fn what_is_said_of_all_sections_stays_while_one_of_them_does_not_say_it() {
        let names = ["a", "b"];
        let old = "\n\nTaken on Monday.\n\n#### a\n\nold a\n\n#### b\n\nold b\n\n";
        let new = with_section(old, &names, "b", "#### b\n\nTaken on Tuesday.\n");
        assert_eq!(new, "Taken on Monday.\n\n#### a\n\nold a\n\n#### b\n\nTaken on Tuesday.\n");
        let again = with_section(&new, &names, "a", "#### a\n\nTaken on Tuesday, too.\n");
        assert_eq!(again, "#### a\n\nTaken on Tuesday, too.\n\n#### b\n\nTaken on Tuesday.\n");
    }
}
