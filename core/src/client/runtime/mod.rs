//! What the driver needs of whatever runs it: a clock, timers, tasks, and randomness.
//!
//! With the feature `client` that is tokio. Otherwise it is a [`Host`], which whoever embeds the driver gives it once.

mod host;
#[cfg(feature = "client")]
mod native;

#[cfg(not(feature = "client"))]
pub(super) use self::host::{
    AbortHandle, Clock, JoinSet, Sleep, random, sleep_until, spawn, system_time, timeout, yield_now,
};
pub use self::host::{Host, set_host};
#[cfg(feature = "client")]
pub(super) use self::native::{
    AbortHandle, Clock, JoinSet, Sleep, random, sleep_until, spawn, system_time, timeout, yield_now,
};
#[cfg(feature = "client")]
pub use self::native::{Spawner, spawning_by};
