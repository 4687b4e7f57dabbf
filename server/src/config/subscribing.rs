//! `[subscriptions]`.

use serde::{Deserialize, Serialize};

/// Which subscriptions clients may have.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Subscribing {
    /// Whether subscriptions may be webhooks. Default true: they go to public addresses over https, and over http to
    /// this machine while the server itself listens on loopback only (S-SSRF-1).
    pub webhooks: bool,
    /// Whether webhooks may go to private and loopback addresses, over http too (S-SSRF). Default false: clients that
    /// may create subscriptions could make the server talk to whatever is in its network.
    pub private_webhooks: bool,
}

impl Default for Subscribing {
    fn default() -> Self {
        Self { webhooks: true, private_webhooks: false }
    }
}
