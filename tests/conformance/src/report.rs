//! What came of a run, as a table in the terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::case::Case;

/// What came of one case with one language on one server.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The case's name.
    pub case: String,
    /// The language.
    pub language: String,
    /// The server.
    pub server: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// How long it took.
    pub time: Duration,
}

/// Whether a case holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Passed,
    /// It does not, and why.
    Failed(String),
    /// It does not, as is known, and why.
    Gap(String),
}

/// All outcomes of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// The cases that were to run.
    pub cases: Vec<Case>,
    /// The columns: language and server.
    pub columns: Vec<(String, String)>,
    /// What came of them.
    pub outcomes: Vec<Outcome>,
}

/// Cases that share a row: the generated ones of one fault, or one written case.
pub(crate) struct Row<'a> {
    pub(crate) name: String,
    pub(crate) cases: Vec<&'a Case>,
}

/// The numbers of a cell.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) gaps: usize,
    pub(crate) missing: usize,
}

impl Cell {
    fn add(&mut self, verdict: Option<&Verdict>) {
        match verdict {
            Some(Verdict::Passed) => self.passed += 1,
            Some(Verdict::Failed(_)) => self.failed += 1,
            Some(Verdict::Gap(_)) => self.gaps += 1,
            None => self.missing += 1,
        }
    }

    pub(crate) fn total(self) -> usize {
        self.passed + self.failed + self.gaps + self.missing
    }

    pub(crate) fn shown(self) -> String {
        match (self.total(), self.failed, self.gaps, self.missing) {
            (1, 0, 0, 0) => "ok".to_owned(),
            (1, 0, 1, 0) => "gap".to_owned(),
            (1, 1, 0, 0) => "FAILED".to_owned(),
            (1, ..) => "NOT RUN".to_owned(),
            (total, 0, 0, 0) => format!("{total} ok"),
            (total, 0, gaps, 0) => format!("{} ok, {gaps} gaps", total - gaps),
            (total, failed, _, missing) => format!("{}/{total} FAILED", failed + missing),
        }
    }
}

impl Report {
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for case in &self.cases {
            // Generated names have a third part.
            let name = case.name.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
            match rows.last_mut().filter(|row| row.name == name) {
                Some(row) => row.cases.push(case),
                None => rows.push(Row { name, cases: vec![case] }),
            }
        }
        rows
    }

    pub(crate) fn cell(&self, row: &Row<'_>, language: &str, server: &str) -> Cell {
        let found: BTreeMap<&str, &Verdict> = self
            .outcomes
            .iter()
            .filter(|it| it.language == language && it.server == server)
            .map(|it| (it.case.as_str(), &it.verdict))
            .collect();
        let mut cell = Cell::default();
        for case in &row.cases {
            cell.add(found.get(case.name.as_str()).copied());
        }
        cell
    }

    /// Outcomes that are failures.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|it| matches!(it.verdict, Verdict::Failed(_)))
    }

    /// How many outcomes there should be but are not.
    pub fn missing(&self) -> usize {
        (self.cases.len() * self.columns.len()).saturating_sub(self.outcomes.len())
    }

    /// Whether every case ran and held, or did not as is known.
    ///
    /// # Errors
    /// How many did not.
    pub fn verdict(&self) -> Result<()> {
        let failed = self.failures().count() + self.missing();
        ensure!(failed == 0, "{failed} cases do not hold");
        ensure!(!self.outcomes.is_empty(), "no case ran");
        Ok(())
    }

    /// The table, the failures in full, and a line of totals.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let rows = self.rows();
        let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(4).max(4);
        let heads: Vec<String> =
            self.columns.iter().map(|(language, server)| format!("{language} ({server})")).collect();
        let mut line = format!("{:<width$}", "case");
        for head in &heads {
            write!(line, "  {head:<20}").expect("a string takes everything");
        }
        writeln!(text, "{}", line.trim_end()).expect("a string takes everything");
        for row in &rows {
            let mut line = format!("{:<width$}", row.name);
            for (language, server) in &self.columns {
                write!(line, "  {:<20}", self.cell(row, language, server).shown()).expect("a string takes everything");
            }
            writeln!(text, "{}", line.trim_end()).expect("a string takes everything");
        }
        for outcome in self.failures() {
            let Verdict::Failed(why) = &outcome.verdict else { continue };
            let Outcome { case, language, server, .. } = outcome;
            writeln!(text, "\nFAILED {case} with {language} on {server}\n{why}").expect("a string takes everything");
        }
        write!(text, "\n{}", self.totals()).expect("a string takes everything");
        text
    }

    /// One line.
    pub fn totals(&self) -> String {
        let gaps = self.outcomes.iter().filter(|it| matches!(it.verdict, Verdict::Gap(_))).count();
        let failed = self.failures().count();
        let passed = self.outcomes.len() - gaps - failed;
        format!(
            "{} cases x {} languages and servers: {passed} passed, {failed} failed, {gaps} known gaps, {} not run",
            self.cases.len(),
            self.columns.len(),
            self.missing()
        )
    }
}
