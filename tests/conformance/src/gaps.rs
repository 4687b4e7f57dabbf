//! What is known not to hold, and why.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use wildmatch::WildMatch;

/// The content of `known-gaps.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gaps {
    /// Cases that fail because of a server.
    #[serde(default, rename = "case")]
    pub cases: Vec<CaseGap>,
    /// Rules and defects that no case can show yet.
    #[serde(default, rename = "uncovered")]
    pub uncovered: Vec<Uncovered>,
}

/// Cases that are known to fail.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseGap {
    /// Which cases: a name, `*` for any text.
    pub name: String,
    /// On which server.
    pub server: String,
    /// Why, and whose fault it is.
    pub reason: String,
    /// Whether it comes and goes, so that passing is no news.
    #[serde(default)]
    pub sometimes: bool,
}

/// A rule or defect without a case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uncovered {
    /// Its ID.
    pub id: String,
    /// Why no case can show it.
    pub reason: String,
}

impl Gaps {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read or is not understood, or an entry has no reason.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let gaps: Self = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        let reasons = gaps.cases.iter().map(|gap| &gap.reason).chain(gaps.uncovered.iter().map(|gap| &gap.reason));
        for reason in reasons {
            ensure!(!reason.trim().is_empty(), "a known gap has a reason, in {}", path.display());
        }
        Ok(gaps)
    }

    /// What is known of this case on this server.
    pub(crate) fn of(&self, case: &str, server: &str) -> Option<&CaseGap> {
        self.cases.iter().find(|gap| gap.server == server && WildMatch::new(&gap.name).matches(case))
    }
}
