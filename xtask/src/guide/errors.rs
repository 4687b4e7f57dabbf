//! The table of errors is the contract of all languages, no row more or less.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::process::root;

#[derive(Deserialize)]
struct Kind {
    kind: String,
    code: String,
    python: String,
    js: String,
}

pub(super) fn check() -> Result<()> {
    let read = |path: &str| fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"));
    let kinds = serde_json::from_str::<Vec<Kind>>(&read("tests/contract/errors.json")?)?;
    let page = read("docs/errors.md")?;
    let shown = page.lines().filter_map(names).collect::<BTreeSet<_>>();
    let agreed = kinds.iter().map(|it| [it.code.as_str(), &it.kind, &it.python]).collect::<BTreeSet<_>>();
    ensure!(kinds.iter().all(|it| it.python == it.js), "docs/errors.md has one column for Python and Node");
    ensure!(
        shown == agreed,
        "docs/errors.md and tests/contract/errors.json differ in {:?}",
        shown.symmetric_difference(&agreed).collect::<Vec<_>>()
    );
    println!("{} errors", kinds.len());
    Ok(())
}

/// The names of a row that begins with a code.
fn names(line: &str) -> Option<[&str; 3]> {
    let mut cells = line.strip_prefix("| `")?.split(" | ");
    let mut name = || Some(cells.next()?.trim_matches('`'));
    let names = [name()?, name()?, name()?];
    names[0].chars().all(|char| char.is_ascii_uppercase() || char == '_').then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_its_names() {
        assert_eq!(
            names("| `NOT_FOUND` | `NotFound` | `NotFoundError` | 404. |"),
            Some(["NOT_FOUND", "NotFound", "NotFoundError"])
        );
        assert_eq!(names("| Code | Rust | Python |"), None);
        assert_eq!(names("text"), None);
    }
}
