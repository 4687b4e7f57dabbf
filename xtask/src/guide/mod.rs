//! `docs/`: a book made by mdBook, with the API references beside it. Its links lead somewhere, and its programs run.

mod book;
mod errors;
mod links;
mod page;
mod programs;

use std::fs;

use anyhow::{Context, Result};

use self::page::Page;
use crate::process::root;
use crate::steps::{Step, run_all};

pub(crate) fn run() -> Result<()> {
    run_all(vec![
        Step::new("links and tables of the guide", links),
        Step::new("programs of the guide", programs),
        Step::new("book", book::build),
        Step::new("API reference of Rust", book::rust),
        Step::new("API reference of Python", book::python),
        Step::new("API reference of TypeScript", book::node),
    ])
}

pub(crate) fn links() -> Result<()> {
    links::check(&pages()?)?;
    errors::check()
}

pub(crate) fn programs() -> Result<()> {
    programs::run(&pages()?)
}

/// All pages, by name.
fn pages() -> Result<Vec<Page>> {
    let folder = root().join("docs");
    let mut pages = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
            pages.push(Page::parse(name, &text));
        }
    }
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pages)
}
