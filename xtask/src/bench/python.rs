//! The Python client against other clients for Python: `bindings-python/bench/measure.py`.

use std::process::Command;

use anyhow::Result;

use super::clients::{Comparison, Language, Measurement, Runner, Stream, Unit, held};
use super::roles::ServerProcess;
use crate::python::{Python, package};

pub(super) const LANGUAGE: Language =
    Language { command: "bench python", measurements: &MEASUREMENTS, serve: ServerProcess::start, install };

const MESSAGES: u64 = 500_000;
const BYTES: u64 = 256 << 20;

const CATCH_UP: &[Comparison] = &[
    held("everstream_async", "durable_streams_async", "speed 1.50"),
    held("everstream_async", "aiohttp_async", "speed 1.00"),
    held("everstream_sync", "durable_streams_sync", "speed 1.50"),
    held("everstream_sync", "httpx_sync", "-"),
    held("everstream_sync", "aiohttp_async", "speed 1.00"),
];
const EACH_ITS_LIKE: &[Comparison] = &[
    held("everstream_async", "durable_streams_async", "-"),
    held("everstream_async", "aiohttp_async", "-"),
    held("everstream_sync", "durable_streams_sync", "-"),
    held("everstream_sync", "httpx_sync", "-"),
];

const MEASUREMENTS: [Measurement; 9] = [
    Measurement {
        name: "produce",
        what: "Writes 200,000 messages of 100 bytes, given as dicts, to a JSON stream",
        stream: Stream::Own,
        amount: 200_000,
        unit: Unit::One,
        comparisons: &[
            held("everstream_async", "durable_streams_async", "speed 3.00, CPU 0.35"),
            held("everstream_async", "aiohttp_async", "-"),
            held("everstream_sync", "durable_streams_async", "speed 3.00, CPU 0.35"),
            held("everstream_sync", "httpx_sync", "-"),
        ],
    },
    Measurement {
        name: "produce_text",
        what: "Writes 200,000 messages of 100 bytes, given as JSON text",
        stream: Stream::Own,
        amount: 200_000,
        unit: Unit::One,
        comparisons: &[held("everstream_async", "aiohttp_async", "-"), held("everstream_sync", "httpx_sync", "-")],
    },
    Measurement {
        name: "append",
        what: "Appends 2,000 messages of 100 bytes, given as dicts, and waits for each",
        stream: Stream::Own,
        amount: 2_000,
        unit: Unit::One,
        comparisons: &[
            held("everstream_async", "durable_streams_async", "speed 2.00"),
            held("everstream_async", "aiohttp_async", "-"),
            held("everstream_sync", "durable_streams_sync", "speed 2.00"),
            held("everstream_sync", "httpx_sync", "-"),
        ],
    },
    Measurement {
        name: "read_json",
        what: "Reads 500,000 JSON messages of 100 bytes into a list",
        stream: Stream::Json,
        amount: MESSAGES,
        unit: Unit::One,
        comparisons: CATCH_UP,
    },
    Measurement {
        name: "iter_json",
        what: "Reads 500,000 JSON messages of 100 bytes, one by one",
        stream: Stream::Json,
        amount: MESSAGES,
        unit: Unit::One,
        comparisons: CATCH_UP,
    },
    Measurement {
        name: "read_bytes",
        what: "Reads 256 MiB into one object",
        stream: Stream::Bytes,
        amount: BYTES,
        unit: Unit::Megabyte,
        comparisons: EACH_ITS_LIKE,
    },
    Measurement {
        name: "iter_bytes",
        what: "Reads 256 MiB, piece by piece",
        stream: Stream::Bytes,
        amount: BYTES,
        unit: Unit::Megabyte,
        comparisons: EACH_ITS_LIKE,
    },
    Measurement {
        name: "tail",
        what: "Follows 500 JSON streams by SSE, with 500 events a second in all, for ten seconds",
        stream: Stream::Own,
        amount: 5_000,
        unit: Unit::One,
        comparisons: &[held("everstream_async", "durable_streams_async", "CPU and memory 0.50")],
    },
    Measurement {
        name: "import",
        what: "What an interpreter takes longer that imports the client",
        stream: Stream::Own,
        amount: 11,
        unit: Unit::Start,
        comparisons: &[
            held("everstream_sync", "durable_streams_sync", "50 ms"),
            held("everstream_sync", "httpx_sync", "-"),
            held("everstream_sync", "aiohttp_async", "-"),
        ],
    },
];

/// A virtual environment with the clients in it.
fn install() -> Result<Runner> {
    let python = Python::environment("bench")?;
    python.pip(["--requirement".as_ref(), package().join("bench/requirements.txt").as_path(), &package()])?;
    let interpreter = python.program("python");
    Ok(Box::new(move || {
        let mut command = Command::new(&interpreter);
        command.current_dir(package().join("bench")).arg("measure.py");
        command
    }))
}
