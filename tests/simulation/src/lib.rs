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
//! - an earlier epoch of a producer id stores nothing after a later one, whoever uses it, and a batch never changes;
//! - a fork begins with what its source held;
//! - a flush tells of every failure; nothing holds more than it may; the offset that a writer is told is behind its message;
//! - who waits at the tail hears of a message when its writer does; nobody waits for ever.
//!
//! Each of these is a [`Check`]. `cargo xtask sim --mutants` shows that they see: it breaks the product in many ways, one
//! after the other, and each must be caught.

mod cluster;
mod dice;
mod entropy;
mod history;
mod judge;
mod network;
mod reader;
mod record;
mod scenario;
mod story;
mod verdict;
mod watcher;
mod world;
mod writer;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::history::{Check, Summary};

/// A broken promise.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Problem {
    /// Which run; [`run`] repeats it.
    pub seed: u64,
    /// Which promise.
    pub check: Check,
    /// What is wrong.
    pub what: String,
    /// What happened, as far as it concerns the problem.
    pub story: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {}: {}\n\n{}", self.seed, self.check, self.what, self.story)
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
