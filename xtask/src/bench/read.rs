//! Catching up with a long stream of bytes, batch by batch: `Reader` against a loop that follows the offsets.

use anyhow::{Result, ensure};
use everstream::{CreateOptions, LiveMode, ReadOptions};
use serde::{Deserialize, Serialize};

use super::Scale;
use super::compare::{Comparison, Row, Unit, compare};
use super::data::{Next, bare_client, client, is_numbered, numbered};
use super::measure::{Meter, Sample};
use super::roles::{Job, ServerProcess, Side};
use crate::process::runtime;

const APPEND: usize = 256 << 10;

pub(super) fn group(scale: Scale) -> Result<Vec<Row>> {
    let server = ServerProcess::start()?;
    let bytes = scale.of(1024) * APPEND as u64;
    let url = server.url("read");
    runtime()?.block_on(fill(&url, bytes))?;
    let job = |side| Job::Read(CatchUp { side, url: url.clone(), bytes });
    let row = compare(
        scale,
        Comparison {
            what: format!("`Reader`: {} MiB of bytes, batch by batch", bytes >> 20),
            yardstick: "reqwest, following the offsets",
            aim: Some(0.9),
            amount: bytes,
            unit: Unit::Gigabyte,
            ours: job(Side::Ours),
            theirs: job(Side::Yardstick),
        },
    )?;
    Ok(vec![row])
}

pub(super) async fn fill(url: &str, bytes: u64) -> Result<()> {
    let stream = client()?.stream(url)?;
    stream.create(&CreateOptions::default()).await?;
    for at in (0..bytes).step_by(APPEND) {
        stream.append(numbered(at, APPEND)).await?;
    }
    Ok(())
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CatchUp {
    side: Side,
    url: String,
    bytes: u64,
}

impl CatchUp {
    pub(super) async fn run(&self) -> Result<Sample> {
        let mut place = Place::default();
        let sample = match self.side {
            Side::Ours => read(&self.url, &mut place).await?,
            Side::Yardstick => follow(&self.url, &mut place).await?,
        };
        ensure!(place.0 == self.bytes, "{} bytes came instead of {}", place.0, self.bytes);
        Ok(sample)
    }
}

/// How far a read is.
#[derive(Default)]
struct Place(u64);

impl Place {
    fn take(&mut self, piece: &[u8]) -> Result<()> {
        ensure!(is_numbered(self.0, piece), "what came at {} belongs elsewhere", self.0);
        self.0 += piece.len() as u64;
        Ok(())
    }
}

async fn read(url: &str, place: &mut Place) -> Result<Sample> {
    let options = ReadOptions { live: LiveMode::CatchUp, ..ReadOptions::default() };
    let mut reader = client()?.stream(url)?.read(options);
    let meter = Meter::start_own()?;
    while let Some(batch) = reader.next().await {
        place.take(&batch?.bytes())?;
    }
    meter.stop()
}

async fn follow(url: &str, place: &mut Place) -> Result<Sample> {
    let client = bare_client()?;
    let mut offset = "-1".to_owned();
    let meter = Meter::start_own()?;
    loop {
        let request = client.get(format!("{url}?offset={offset}"));
        let mut response = request.send().await?.error_for_status()?;
        let next = Next::of(response.headers())?;
        while let Some(piece) = response.chunk().await? {
            place.take(&piece)?;
        }
        if next.up_to_date {
            return meter.stop();
        }
        offset = next.offset;
    }
}
