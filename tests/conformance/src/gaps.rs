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
    /// Cases that fail because of a server, or of what a client stands on.
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
    /// On which server; unless it is given, on all.
    pub server: Option<String>,
    /// With the client of which language; unless it is given, with all.
    pub language: Option<String>,
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
        for CaseGap { name, server, language, .. } in &gaps.cases {
            let is_narrow = server.is_some() || language.is_some();
            ensure!(is_narrow, "{name}: a known gap names a server or a language, in {}", path.display());
        }
        Ok(gaps)
    }

    /// What is known of this case with this language on this server.
    pub(crate) fn of(&self, case: &str, language: &str, server: &str) -> Option<&CaseGap> {
        let is_meant = |named: &Option<String>, it: &str| named.as_ref().is_none_or(|named| named == it);
        self.cases.iter().find(|gap| {
            is_meant(&gap.server, server)
                && is_meant(&gap.language, language)
                && WildMatch::new(&gap.name).matches(case)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Gaps> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gaps.toml");
        fs::write(&path, text).unwrap();
        Gaps::load(&path)
    }

    #[test]
    fn a_gap_is_one_of_a_server_of_a_language_or_of_both() {
        let gaps = load(
            r#"
            case = [
                {name = "a/*", server = "official", reason = "its own"},
                {name = "b/*", language = "browser", reason = "its own"},
                {name = "c/*", language = "browser", server = "ours", reason = "their own"},
            ]"#,
        )
        .unwrap();
        let is_known = |case, language, server| gaps.of(case, language, server).is_some();
        assert!(is_known("a/1", "rust", "official") && !is_known("a/1", "rust", "ours"));
        assert!(is_known("b/1", "browser", "official") && !is_known("b/1", "node", "official"));
        assert!(is_known("c/1", "browser", "ours") && !is_known("c/1", "browser", "official"));
    }

    #[test]
    fn a_gap_of_everybody_everywhere_is_refused() {
        assert!(load(r#"case = [{name = "a", reason = "so"}]"#).is_err());
    }
}
