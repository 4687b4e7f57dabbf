//! What must hold for any input, as plain functions over bytes.
//!
//! Each [`Target`] is one such function: it panics when what it asserts does not hold. Two things call it.
//! libFuzzer looks for inputs that reach new code (`cargo xtask fuzz`, by way of the package in `fuzz/`). The
//! [`smoke`] run needs nothing but a compiler: it draws inputs from a seed, and is part of `cargo xtask test`.
//!
//! What a target finds is mended in the crate concerned and gets a test there.

mod input;
pub mod smoke;
pub mod targets;

/// One claim about all inputs.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and of the file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Panics when the claim does not hold for these bytes.
    pub run: fn(&[u8]),
    /// Inputs to start from; none where any bytes do.
    pub seeds: &'static [&'static [u8]],
    /// How many inputs a smoke run draws: as many as take a few seconds in a test build.
    pub smoke_inputs: u32,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "sse", run: targets::sse::run, seeds: targets::sse::SEEDS, smoke_inputs: 20_000 },
    Target { name: "json", run: targets::json::run, seeds: targets::json::SEEDS, smoke_inputs: 20_000 },
    Target { name: "control", run: targets::control::run, seeds: targets::control::SEEDS, smoke_inputs: 20_000 },
    Target { name: "answers", run: targets::answers::run, seeds: &[], smoke_inputs: 20_000 },
    Target { name: "addresses", run: targets::addresses::run, seeds: targets::addresses::SEEDS, smoke_inputs: 20_000 },
    Target { name: "producer", run: targets::producer::run, seeds: &[], smoke_inputs: 5_000 },
    Target { name: "producer_hostile", run: targets::producer_hostile::run, seeds: &[], smoke_inputs: 20_000 },
    Target { name: "reader", run: targets::reader::run, seeds: &[], smoke_inputs: 5_000 },
    Target { name: "reader_hostile", run: targets::reader_hostile::run, seeds: &[], smoke_inputs: 20_000 },
    Target { name: "requests", run: targets::requests::run, seeds: &[], smoke_inputs: 1_500 },
    Target { name: "recovery", run: targets::recovery::run, seeds: &[], smoke_inputs: 1_500 },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
