//! What the journal holds: snapshots of subscriptions, and changes after them. One record is one message, so that it is
//! kept as a whole or not at all.
//!
//! The first message of a journal is [`Header`]. JSON, because the journal is short and operators can read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::links::{Acked, Link};
use super::subscription::Subscription;
use crate::clock::Millis;

/// The first message of a journal.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    /// The format of what follows. Another one than [`FORMAT`] is refused.
    pub(super) subscriptions_format: u32,
}

/// The format that this module writes and reads.
pub(super) const FORMAT: u32 = 1;

/// One step of one subscription.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: Arc<str>,
    #[serde(flatten)]
    pub(super) what: What,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// The subscription as a whole: it is new, or this is a snapshot.
    State(Box<Subscription>),
    /// What happened to it.
    Changes(Vec<Change>),
    /// It is gone.
    Deleted(bool),
}

/// One change of a subscription. Carried out by [`Subscription::apply`] and by nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// A link is new or different.
    Linked(Link),
    /// A link is gone.
    Unlinked { path: Arc<str> },
    /// A worker has processed streams up to these positions.
    Acked { acks: Vec<(Arc<str>, Acked)> },
    /// A wake has begun.
    Woken { wake_id: String, trigger: Arc<str>, snapshot: BTreeMap<Arc<str>, Acked> },
    /// The webhook was answered, or its worker has called back: the lease runs until then.
    Accepted { until: Millis },
    /// The webhook failed, for the n-th time in a row, and is sent again then.
    Failed { failures: u32, retry_at: Millis },
    /// The webhook is being sent again.
    Retried,
    /// A worker has taken the lease.
    Claimed { worker: String, until: Millis },
    /// The wake is over.
    Ended,
}
