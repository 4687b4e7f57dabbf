//! A bounded number of inputs for each target. `FUZZ_SEED=7 cargo test -p everstream-fuzz` draws others.

use everstream_fuzz::{TARGETS, smoke, target};

fn holds(name: &str) {
    let target = target(name).expect("a target of this name");
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    smoke::run(target, seed, target.smoke_inputs);
}

/// A test for each target, and the proof that none is missing.
macro_rules! smoke {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { holds(stringify!($name)); })*

        #[test]
        fn every_target_has_a_smoke_run() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

smoke!(sse, json, control, answers, addresses, producer, producer_hostile, reader, reader_hostile, requests, recovery);
