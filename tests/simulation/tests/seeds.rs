//! Some seeds in every test run; `cargo xtask sim` runs more.
#![allow(clippy::unwrap_used)]

use std::process::Command;

fn sim(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_everstream-sim")).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The number before a word of the report.
fn count(report: &str, word: &str) -> u64 {
    let words: Vec<&str> = report.split([' ', '\n', ',']).filter(|it| !it.is_empty()).collect();
    let at = words.iter().position(|it| *it == word).unwrap_or_else(|| panic!("no {word} in {report}"));
    words[at - 1].parse().unwrap()
}

#[test]
fn every_seed_keeps_the_promises() {
    let report = sim(&["--seeds", "200"]);
    println!("{report}");
    // The runs must have been hard enough to mean something.
    assert!(count(&report, "faults") > count(&report, "requests") / 20, "{report}");
    assert!(count(&report, "stored") > count(&report, "failed") + count(&report, "unknown"), "{report}");
    assert!(count(&report, "failed") > 0 && count(&report, "unknown") > 0, "{report}");
    assert!(count(&report, "saw") > 100 && count(&report, "lost") > 0, "{report}");
}

#[test]
fn seeds_that_have_shown_something_keep_the_promises() {
    for seed in ["27", "66", "207793", "303293", "307074", "308047", "309924", "710659", "731374"] {
        println!("{}", sim(&["--seed", seed]));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in ["1", "2", "3", "4", "5", "6"] {
        assert_eq!(sim(&["--seed", seed]), sim(&["--seed", seed]));
    }
}
