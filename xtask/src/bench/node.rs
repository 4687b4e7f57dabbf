//! The Node client against other clients for Node: `bindings-node/bench/measure.mjs`.

use std::process::Command;

use anyhow::Result;

use super::clients::{Language, Measurement, Runner, Stream, Unit, held};
use super::roles::ServerProcess;
use crate::node::{self, package};
use crate::process::npm_ci;

pub(super) const LANGUAGE: Language =
    Language { command: "bench node", measurements: &MEASUREMENTS, serve: ServerProcess::start_whole, install };

const MEASUREMENTS: [Measurement; 6] = [
    Measurement {
        name: "produce",
        what: "Writes 200,000 messages of 100 bytes, given as JSON text, to a JSON stream",
        stream: Stream::Own,
        amount: 200_000,
        unit: Unit::One,
        comparisons: &[
            held("everstream", "durable_streams", "speed 3.00, CPU 0.33"),
            held("everstream", "undici", "-"),
        ],
    },
    Measurement {
        name: "append",
        what: "Appends 2,000 messages of 100 bytes, given as JSON text, and waits for each",
        stream: Stream::Own,
        amount: 2_000,
        unit: Unit::One,
        comparisons: &[held("everstream", "durable_streams", "-"), held("everstream", "undici", "speed 1.00")],
    },
    Measurement {
        name: "read_json",
        what: "Reads 500,000 JSON messages of 100 bytes into an array. The official client fails",
        stream: Stream::Json,
        amount: 500_000,
        unit: Unit::One,
        comparisons: &[held("everstream", "undici", "speed 1.00")],
    },
    Measurement {
        name: "iter_json",
        what: "Reads 100,000 JSON messages of 100 bytes, one by one",
        stream: Stream::Json,
        amount: 100_000,
        unit: Unit::One,
        comparisons: &[held("everstream", "durable_streams", "speed 15.0"), held("everstream", "undici", "-")],
    },
    Measurement {
        name: "read_bytes",
        what: "Reads 256 MiB into one array",
        stream: Stream::Bytes,
        amount: 256 << 20,
        unit: Unit::Megabyte,
        comparisons: &[held("everstream", "durable_streams", "speed 1.50"), held("everstream", "undici", "-")],
    },
    Measurement {
        name: "tail",
        what: "Follows 500 JSON streams by SSE, with 500 events a second in all, for ten seconds",
        stream: Stream::Own,
        amount: 5_000,
        unit: Unit::One,
        comparisons: &[held("everstream", "durable_streams", "CPU and memory 0.50")],
    },
];

/// The package, built for release, and the other clients beside it.
fn install() -> Result<Runner> {
    node::install_as("release")?;
    npm_ci(&package().join("bench"))?;
    Ok(Box::new(|| {
        let mut command = Command::new("node");
        command.current_dir(package().join("bench")).arg("measure.mjs");
        command
    }))
}
