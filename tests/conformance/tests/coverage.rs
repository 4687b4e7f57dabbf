//! Every rule and every defect has a case, and no case names one that is not there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;

use everstream_conformance::{Gaps, MatrixSize, Plan, generated_cases, load_cases};

fn obligations() -> BTreeSet<String> {
    let text = fs::read_to_string(Plan::home().join("obligations.txt")).unwrap();
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

fn named() -> BTreeSet<String> {
    let cases = load_cases(&Plan::home().join("cases")).unwrap();
    cases.into_iter().flat_map(|case| case.rules.into_iter().chain(case.defects)).collect()
}

fn gaps() -> Gaps {
    Gaps::load(&Plan::home().join("known-gaps.toml")).unwrap()
}

#[test]
fn every_rule_and_every_defect_is_named_by_a_case() {
    let (obligations, named) = (obligations(), named());
    assert!(obligations.len() > 100, "the list is not there");
    let uncovered: BTreeSet<String> = gaps().uncovered.into_iter().map(|gap| gap.id).collect();
    let missing: Vec<_> = obligations.difference(&named).filter(|id| !uncovered.contains(*id)).collect();
    assert!(missing.is_empty(), "no case names {missing:?}");
    let stale: Vec<_> = uncovered.intersection(&named).collect();
    assert!(stale.is_empty(), "{stale:?} have cases: take them out of known-gaps.toml");
}

#[test]
fn cases_name_only_rules_and_defects_that_are_there() {
    let obligations = obligations();
    let strange: Vec<_> = named().into_iter().filter(|id| !obligations.contains(id)).collect();
    assert!(strange.is_empty(), "nobody knows {strange:?}");
    for case in generated_cases(MatrixSize::Full) {
        assert!(case.rules.iter().all(|id| obligations.contains(id)), "{}", case.name);
    }
}

#[test]
fn known_gaps_are_gaps_of_cases_that_are_there() {
    let mut cases = load_cases(&Plan::home().join("cases")).unwrap();
    cases.extend(generated_cases(MatrixSize::Full));
    for gap in gaps().cases {
        let pattern = wildmatch::WildMatch::new(&gap.name);
        assert!(cases.iter().any(|case| pattern.matches(&case.name)), "no case is called {}", gap.name);
        if let Some(server) = &gap.server {
            assert!(["ours", "ours-on-disk", "official"].contains(&server.as_str()), "there is no server {server}");
        }
        if let Some(language) = &gap.language {
            let adapters = ["rust", "python", "python-async", "node", "browser"];
            assert!(adapters.contains(&language.as_str()), "there is no adapter for {language}");
        }
    }
}
