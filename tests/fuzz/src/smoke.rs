//! A short run without a fuzzer: seeded random inputs, and mutations of seeds.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::Target;

/// Inputs are at most so long.
const LONGEST: usize = 600;

/// Runs a target on inputs drawn from a seed: the same seed draws the same inputs. An input that it fails on is
/// written to a file, which `cargo xtask fuzz` can run again.
///
/// # Panics
/// What the target asserts does not hold for one of them.
pub fn run(target: &Target, seed: u64, inputs: u32) {
    let mut rng = SmallRng::seed_from_u64(seed);
    for seed_input in target.seeds {
        try_input(target, seed_input);
    }
    for _ in 0..inputs {
        try_input(target, &draw(target.seeds, &mut rng));
    }
}

fn try_input(target: &Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let path = file_for(target.name, input);
        let written = fs::write(&path, input);
        eprintln!("target `{}` fails on {:?}", target.name, String::from_utf8_lossy(input));
        if written.is_ok() {
            let (name, path) = (target.name, path.display());
            eprintln!("run it again: cargo xtask fuzz --target {name} --input {path}");
        }
        resume_unwind(panic);
    }
}

fn file_for(name: &str, input: &[u8]) -> PathBuf {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    std::env::temp_dir().join(format!("everstream-fuzz-{name}-{:016x}", hasher.finish()))
}

/// Half of the inputs are random bytes, the others are seeds with a few changes.
fn draw(seeds: &[&[u8]], rng: &mut SmallRng) -> Vec<u8> {
    let mut input = match rng.random_range(0..seeds.len() * 2 + 1) {
        at if at < seeds.len() => seeds[at].to_vec(),
        _ => {
            let mut bytes = vec![0; rng.random_range(0..LONGEST)];
            rng.fill_bytes(&mut bytes);
            return bytes;
        }
    };
    for _ in 0..rng.random_range(1..6) {
        mutate(&mut input, seeds, rng);
    }
    input.truncate(LONGEST);
    input
}

fn mutate(input: &mut Vec<u8>, seeds: &[&[u8]], rng: &mut SmallRng) {
    let at = rng.random_range(0..=input.len());
    let length = rng.random_range(0..=input.len() - at).min(24);
    match rng.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        1 => input.insert(at, rng.random()),
        2 => drop(input.drain(at..at + length)),
        3 => {
            let part = input[at..at + length].to_vec();
            input.splice(at..at, part);
        }
        4 => {
            let other = seeds[rng.random_range(0..seeds.len())];
            let from = rng.random_range(0..=other.len());
            input.splice(at..at, other[from..].iter().copied());
        }
        _ => input.insert(at, *b"\n\r:{}[],\"\\ 0-9e.\xff\x80%/?&=_".get(rng.random_range(0..26)).unwrap_or(&0)),
    }
}
