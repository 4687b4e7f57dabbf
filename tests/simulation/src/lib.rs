//! Whole clients and whole servers on a simulated network, in virtual time.
//!
//! Where `tests/model` joins the bare machines to the server's state, this runs everything that a user runs - the client
//! library with its tasks, queues and timers, the server with its handlers, engine and storage - and replaces only what
//! lies between and below: the network (a [`Transport`](everstream::Transport)), the clock (tokio's, paused) and
//! randomness (`getrandom`). A [`run`] is decided by its seed alone, so a failing seed fails again.
//!
//! There are streams of every kind, writers and readers that die and come back, a server that dies, a clock that jumps,
//! a network that loses, cuts, doubles, delays and reorders, until a moment after which it is whole. Then everything has
//! to come to an end, and the history is checked:
//!
//! - what was acknowledged is stored once, in order; what failed for certain is not stored;
//! - what was read is what is stored, once, in order, from the first message to the last, and the end is seen;
//! - a flush tells of every failure; nothing buffers more than it may; an earlier life of a producer stores nothing after
//!   a later one;
//! - nobody waits for ever.

mod cluster;
mod dice;
#[allow(clippy::unwrap_used, dead_code)]
#[path = "../../../server/tests/crash/disk.rs"]
mod disk;
mod entropy;
mod history;
mod network;
mod reader;
mod scenario;
mod story;
mod world;
mod writer;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::history::Summary;

/// A broken promise.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Problem {
    /// Which run; [`run`] repeats it.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    /// What happened, as far as it concerns the problem.
    pub story: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}\n\n{}", self.seed, self.what, self.story)
    }
}

impl std::error::Error for Problem {}

/// Runs one seed; the summary, or the first broken promise. Once in a process: what a process did before - tokio counts
/// its runtimes - decides about the next run too.
///
/// # Errors
/// A promise was broken, or something that should have ended did not.
pub fn run(seed: u64) -> Result<Summary, Problem> {
    entropy::seed(seed);
    world::run(seed)
}
