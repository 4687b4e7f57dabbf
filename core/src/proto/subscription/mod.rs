//! Subscriptions as clients and workers see them (PROTOCOL.md sections 17, 18 and 26): bodies, refusals, signatures.

mod body;
mod refusal;
pub mod request;
#[cfg(feature = "webhook")]
mod signature;

pub use self::body::{
    Acked, Claimed, LinkType, LinkedStream, Subscription, SubscriptionKind, SubscriptionOptions, SubscriptionStatus,
    Wake,
};
pub use self::refusal::SubscriptionRefusal;
#[cfg(feature = "webhook")]
pub use self::signature::{KeySet, SIGNATURE_HEADER, SIGNATURE_TOLERANCE, Signature};

use std::time::Duration;

/// How long a worker may wait before it tells the server that it is still at work: a third of the lease, so that two
/// heartbeats can be lost (S-HOOK-5, S-PULL-5).
pub fn heartbeat_interval(lease: Duration) -> Duration {
    (lease / 3).max(Duration::from_millis(100))
}
