//! Chaos on real sockets: numbered messages through a bad network, while writer, readers and server are killed.
//!
//! The writer is a producer in the process of an adapter. When that process is killed its successor claims the next
//! epoch with a marker, reads which number was stored last before it, and goes on behind that. Readers are adapters too; their
//! successors go on from the last checkpoint. The server is killed and started again on the same folder. In the
//! end what is stored and what each reader had is compared with the numbers: lost, doubled, out of order.

mod people;
mod server;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use everstream_faults::{FaultPlan, FaultProxy};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::people::{Reader, Writer};
use self::server::Process;
use crate::adapter::AdapterSpec;
use crate::origin::Origin;

/// How long one seed may take; beyond it something hangs.
const SEED_LIMIT: Duration = Duration::from_secs(300);
/// How much of the requests breaks.
const FAULT_RATE: f64 = 0.05;
/// How often each process is killed.
const KILLS: u32 = 3;

const STREAM: &str = "/v1/stream/chaos";

/// What to do in each seed.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// The client.
    pub adapter: AdapterSpec,
    /// The program `everstream`.
    pub server: PathBuf,
    /// How many numbered messages are written.
    pub messages: u64,
}

/// What came of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survived {
    /// The seed.
    pub seed: u64,
    /// One for what is stored, and one for each reader.
    pub sequences: Vec<(String, Difference)>,
    /// How often a process was killed: writer, readers, server.
    pub kills: (u32, u32, u32),
    /// Requests that met a fault.
    pub faults: u64,
    /// How long it took.
    pub time: Duration,
}

/// How a sequence differs from the numbers from 0 on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    /// Numbers that are not there.
    pub lost: u64,
    /// Numbers that are there again.
    pub doubled: u64,
    /// Numbers that come after a greater one, for the first time.
    pub reordered: u64,
}

impl Difference {
    /// Compares what came with the numbers from 0 to `messages`.
    pub fn of(came: &[u64], messages: u64) -> Self {
        let mut difference = Self::default();
        let mut seen = vec![false; usize::try_from(messages).unwrap_or(usize::MAX)];
        let mut greatest = None;
        for number in came {
            match usize::try_from(*number).ok().and_then(|index| seen.get_mut(index)) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    difference.doubled += 1;
                    continue;
                }
            }
            if greatest.is_some_and(|greatest| greatest > *number) {
                difference.reordered += 1;
            }
            greatest = greatest.max(Some(*number));
        }
        difference.lost = seen.iter().filter(|seen| !**seen).count() as u64;
        difference
    }
}

impl Survived {
    /// Whether nothing was lost, doubled or out of order.
    pub fn is_whole(&self) -> bool {
        self.sequences.iter().all(|(_, difference)| *difference == Difference::default())
    }
}

impl fmt::Display for Survived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (writer, readers, server) = self.kills;
        write!(f, "seed {}: ", self.seed)?;
        for (name, it) in &self.sequences {
            write!(f, "{name} lost {} doubled {} reordered {}; ", it.lost, it.doubled, it.reordered)?;
        }
        write!(
            f,
            "killed writer {writer}, readers {readers}, server {server}; {} faults; {:.1?}",
            self.faults, self.time
        )
    }
}

impl Chaos {
    /// Runs one seed.
    ///
    /// # Errors
    /// It hangs, or a process cannot be started.
    pub async fn run(&self, seed: u64) -> Result<Survived> {
        tokio::time::timeout(SEED_LIMIT, self.run_unbounded(seed))
            .await
            .with_context(|| format!("seed {seed} hangs: it did not end within {SEED_LIMIT:?}"))?
    }

    async fn run_unbounded(&self, seed: u64) -> Result<Survived> {
        let start = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut server = Process::start(self.server.clone()).await?;
        let origin = Arc::new(Origin::at(server.addr())?);
        origin.create(STREAM, "application/json", "").await?;
        let proxy = FaultProxy::start(server.addr(), FaultPlan::seeded(seed, FAULT_RATE)).await?;

        let readers: Vec<_> = ["sse", "long-poll"]
            .into_iter()
            .map(|live| {
                let reader = Reader::new(self.adapter.clone(), proxy.url(), live, StdRng::seed_from_u64(rng.random()));
                tokio::spawn(reader.run(KILLS))
            })
            .collect();
        let writer =
            Writer::new(self.adapter.clone(), proxy.url(), origin.clone(), StdRng::seed_from_u64(rng.random()));
        let mut writing = tokio::spawn(writer.run(self.messages, KILLS));

        // The server goes down while they work.
        let mut server_kills = 0;
        let writer_kills = loop {
            let pause = Duration::from_millis(rng.random_range(500..3000));
            tokio::select! {
                done = &mut writing => break done.context("the writer panicked")??,
                () = tokio::time::sleep(pause), if server_kills < KILLS => {
                    server.kill_and_restart().await?;
                    server_kills += 1;
                }
            }
        };
        let content = origin.content(STREAM).await?;
        ensure!(content.closed, "the writer closed the stream, and it is open");
        let stored = numbers(&content.messages.context("the stream is none of JSON")?);
        let mut sequences = vec![("stored".to_owned(), Difference::of(&stored, self.messages))];
        let mut reader_kills = 0;
        for reader in readers {
            let read = reader.await.context("a reader panicked")??;
            sequences.push((read.live.to_owned(), Difference::of(&read.numbers, self.messages)));
            reader_kills += read.kills;
        }
        let faults = proxy.counts().total();
        proxy.shutdown().await;
        server.stop().await;
        Ok(Survived {
            seed,
            sequences,
            kills: (writer_kills, reader_kills, server_kills),
            faults,
            time: start.elapsed(),
        })
    }
}

/// The numbers among the messages; markers are objects.
fn numbers(messages: &[serde_json::Value]) -> Vec<u64> {
    messages.iter().filter_map(serde_json::Value::as_u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_damage_is_counted() {
        let none = Difference::default();
        assert_eq!(Difference::of(&[0, 1, 2], 3), none);
        assert_eq!(Difference::of(&[0, 2], 3), Difference { lost: 1, ..none });
        assert_eq!(Difference::of(&[0, 1, 1, 2], 3), Difference { doubled: 1, ..none });
        assert_eq!(Difference::of(&[0, 2, 1], 3), Difference { reordered: 1, ..none });
        assert_eq!(Difference::of(&[0, 1, 7], 2), Difference { doubled: 1, ..none }, "what nobody wrote");
    }
}
