//! The protocol without IO.
//!
//! State machines and codecs that a driver feeds with what happened (`handle_*`) and asks for what to do
//! (`poll_*`). Nothing here touches a socket, a clock or a source of randomness: time comes in as a
//! [`Instant`], a plain duration since the driver's own start, and jitter as numbers that the driver drew.
//! The same code runs under tokio, under the bindings, in the server and in simulations.

#[cfg(any(test, all(target_family = "wasm", target_os = "unknown")))]
mod base64;
pub mod call;
pub mod content_type;
pub mod control;
mod date;
pub mod jitter;
pub mod json;
pub mod names;
pub mod object;
pub mod offset;
pub mod producer;
pub mod read;
pub mod request;
pub mod response;
pub mod retry;
pub mod sse;
pub mod subscription;
pub mod url;

/// A moment, as the time since the driver's own start. Comparable only within one driver.
pub type Instant = std::time::Duration;
