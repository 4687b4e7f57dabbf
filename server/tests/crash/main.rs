//! Crashes of the storage `log`, on a disk that loses, tears and reorders what was not synced, fails and
//! fills up. After each one: every answered append is there once with its producer state, nothing appears
//! twice, and retries are recognised.
//!
//! A seed draws what is done and what the disk does; the ids of streams and the order of hash tables it does
//! not, so a failure may take a few runs to come back. `EVERSTREAM_CRASH_SEEDS=N` runs N seeds, `EVERSTREAM_CRASH_FIRST=S` begins
//! at S; `cargo xtask crash` sets both.
#![allow(clippy::unwrap_used)]

mod damage;
mod large;
mod run;
mod trouble;

use run::{Totals, run};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn nothing_that_was_answered_is_lost_or_stored_twice() {
    let (first, seeds) = (number("EVERSTREAM_CRASH_FIRST", 1), number("EVERSTREAM_CRASH_SEEDS", 60));
    let mut totals = Totals::default();
    for seed in first..first + seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        match result {
            Ok(one) => totals.add(&one),
            Err(panic) => {
                eprintln!("seed {seed}: again by EVERSTREAM_CRASH_FIRST={seed} EVERSTREAM_CRASH_SEEDS=1");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!(
        "{seeds} seeds from {first}: {} crashes ({} while starting), {} appends answered, {} retried and recognised, \
         {} refused by a full or failing disk, lost 0, duplicated 0",
        totals.crashes, totals.crashes_while_starting, totals.answered, totals.recognised, totals.refused
    );
    // A run that meets nothing shows nothing; a single seed need not meet everything.
    let met = totals.recognised > 0 && totals.refused > 0 && totals.crashes_while_starting > 0;
    assert!(totals.crashes >= seeds && totals.answered > seeds && (seeds < 20 || met), "{totals:?}");
}
