//! Every link within the guide leads to a page and a heading that are there, and every page is in the table of contents.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::page::Page;
use crate::process::root;

/// The table of contents.
const CONTENTS: &str = "SUMMARY.md";
/// What `cargo xtask docs` puts beside the book.
const MADE: &str = "api/";

pub(super) fn check(pages: &[Page]) -> Result<()> {
    let broken = broken(pages, |path| root().join("docs").join(path).exists());
    ensure!(broken.is_empty(), "links of docs/ lead nowhere:\n{}", broken.join("\n"));
    let links = pages.iter().map(|page| page.links.len()).sum::<usize>();
    println!("{links} links on {} pages", pages.len());
    Ok(())
}

/// What is wrong, a line each.
fn broken(pages: &[Page], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let by_name = pages.iter().map(|page| (page.name.as_str(), page)).collect::<BTreeMap<_, _>>();
    let mut broken = Vec::new();
    for page in pages {
        for link in page.links.iter().filter(|link| !link.contains("://") && !link.starts_with(MADE)) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { &page.name } else { file };
            let found = match by_name.get(file) {
                Some(target) => anchor.is_empty() || target.anchors.contains(anchor),
                None => exists(file),
            };
            if !found {
                broken.push(format!("{}: {link}", page.name));
            }
        }
    }
    if let Some(contents) = by_name.get(CONTENTS) {
        let missing = pages.iter().filter(|page| page.name != CONTENTS && !contents.links.contains(&page.name));
        broken.extend(missing.map(|page| format!("{CONTENTS}: {} is not in it", page.name)));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_nowhere_is_told() {
        let page = |name: &str, text: &str| Page::parse(name.to_owned(), text);
        let pages = [
            page(
                "a.md",
                "# One\n[ok](b.md) [ok](b.md#two) [ok](#one) [ok](https://a.b/c) [ok](api/x.html) [ok](../README.md)",
            ),
            page("b.md", "# Two\n[no](a.md#three) [no](c.md)"),
            page("d.md", ""),
            page(CONTENTS, "[a](a.md) [b](b.md)"),
        ];
        let broken = broken(&pages, |path| path == "../README.md");
        assert_eq!(broken, ["b.md: a.md#three", "b.md: c.md", "SUMMARY.md: d.md is not in it"]);
    }
}
