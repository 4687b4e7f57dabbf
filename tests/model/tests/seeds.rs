//! Many seeds, and what the runs together must have met.

use everstream_model::{Scenario, Summary, run, run_scenario};

/// `MODEL_SEEDS=100000 MODEL_FIRST=0 cargo test -p everstream-model --release` runs more of them.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first = number("MODEL_FIRST").unwrap_or(0);
    first..first + number("MODEL_SEEDS").unwrap_or(4000)
}

#[test]
fn every_seed_keeps_the_promises() {
    let mut total = Summary::default();
    for seed in seeds() {
        match run(seed) {
            Ok(summary) => {
                total.stored += summary.stored;
                total.duplicates += summary.duplicates;
                total.failed += summary.failed;
                total.unknown += summary.unknown;
                total.requests += summary.requests;
                total.faults += summary.faults;
                total.recreated += summary.recreated;
            }
            Err(problem) => panic!("{problem}\n{:#?}", Scenario::draw(problem.seed)),
        }
    }
    println!("{total:?}");
    // The runs must have been hard enough to mean something.
    assert!(total.faults > total.requests / 20, "{total:?}");
    assert!(total.stored > total.failed, "{total:?}");
    assert!(total.unknown > 0 && total.recreated > 0, "{total:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..50 {
        assert_eq!(run(seed).unwrap(), run(seed).unwrap());
    }
}

#[test]
fn without_an_end_to_patience_nothing_fails_that_one_producer_writes() {
    for seed in 0..1000 {
        let mut scenario = Scenario::draw(seed);
        scenario.producers.truncate(1);
        scenario.producers[0].delivery_timeout = None;
        scenario.recreate_at = None;
        let summary = run_scenario(&scenario).unwrap();
        assert_eq!(
            (summary.stored + summary.duplicates, summary.failed),
            (scenario.messages, 0),
            "seed {seed}: {summary:?}"
        );
    }
}
