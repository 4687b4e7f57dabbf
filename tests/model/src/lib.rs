//! The client machines joined to the server's own [`StreamState`](everstream_server::engine::StreamState), in
//! virtual time, without sockets.
//!
//! A [`run`] is decided by its seed alone: every loss, delay, duplication, cut and status is drawn from it, so a
//! failing seed fails again. It has one stream, producers that write numbered messages to it, readers that tail it,
//! and a network that harms them until a moment after which it is whole. Then everything has to come to an end, and
//! the history is checked:
//!
//! - what was acknowledged is stored once, in order; what failed for certain is not stored;
//! - what was read is what is stored, once, in order, from the first message to the last;
//! - every other end is a typed error that says what is unknown.

mod clients;
mod history;
mod network;
mod scenario;
pub mod server;
mod world;

pub use self::history::{Problem, Summary};
pub use self::scenario::Scenario;

/// Runs one seed; the summary, or the first broken promise.
///
/// # Errors
/// A promise was broken, or something that should have ended did not.
pub fn run(seed: u64) -> Result<Summary, Problem> {
    run_scenario(&Scenario::draw(seed))
}

/// Runs a scenario of one's own.
///
/// # Errors
/// As [`run`].
pub fn run_scenario(scenario: &Scenario) -> Result<Summary, Problem> {
    world::World::new(scenario).run()
}
