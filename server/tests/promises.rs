//! The tests that the documentation names beside its promises are there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// What stands in backquotes in the last column of tables and is a name of several words.
fn named(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| {
            !name.starts_with('_')
                && name.matches('_').count() >= 3
                && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        })
        .collect()
}

#[test]
fn each_promise_names_tests_that_are_there() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    for folder in ["server/src", "server/tests", "cli/tests"] {
        sources(&root.join(folder), &mut code);
    }
    for (page, at_least) in [("docs/server.md", 25), ("docs/subscriptions.md", 6)] {
        let page = fs::read_to_string(root.join(page)).unwrap();
        let named = named(&page);
        assert!(named.len() >= at_least, "{named:?}");
        for name in named {
            assert!(code.contains(&format!("fn {name}(")), "no test is called {name}");
        }
    }
}
