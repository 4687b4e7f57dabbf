//! Sends webhooks (PROTOCOL.md S-HOOK-1, S-HOOK-6): one POST, no redirects, bounded in time and in what it reads.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::Deserialize;

use super::address::WebhookPolicy;

/// An answer that takes longer is a failure, whatever the lease.
const LONGEST: Duration = Duration::from_secs(30);
/// More of an answer is not read: `{"done":true}` is all that counts.
const LONGEST_ANSWER: usize = 64 << 10;

/// Sends webhooks.
pub(super) struct Deliverer {
    /// Made for the first webhook: it reads the certificates of the system, which a server without webhooks need not have.
    client: OnceLock<Result<reqwest::Client, String>>,
    policy: WebhookPolicy,
}

/// A 2xx answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Accepted {
    /// The work is done.
    #[serde(default)]
    pub(super) done: bool,
}

impl Deliverer {
    pub(super) fn new(policy: WebhookPolicy) -> Self {
        Self { client: OnceLock::new(), policy }
    }

    /// Which addresses may be reached.
    pub(super) fn policy(&self) -> WebhookPolicy {
        self.policy
    }

    /// Posts a body that was signed. The answer must come within the lease.
    ///
    /// # Errors
    /// Says why it counts as not delivered.
    pub(super) async fn send(
        &self,
        url: &str,
        signature: String,
        body: Bytes,
        lease: Duration,
    ) -> Result<Accepted, String> {
        // The policy may be another one than when the subscription was made.
        let url = self.policy.check(url)?;
        let client = self.client.get_or_init(|| client(self.policy)).as_ref()?;
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-signature", signature)
            .timeout(lease.min(LONGEST))
            .body(body);
        // Without the URL, which may hold a secret of the receiver's.
        let mut answer = request.send().await.map_err(|error| innermost(&error.without_url()))?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status()));
        }
        let mut text = Vec::new();
        while text.len() <= LONGEST_ANSWER {
            match answer.chunk().await {
                Ok(Some(chunk)) => text.extend_from_slice(&chunk),
                Ok(None) => return Ok(serde_json::from_slice(&text).unwrap_or(Accepted { done: false })),
                Err(error) => return Err(innermost(&error.without_url())),
            }
        }
        Ok(Accepted { done: false })
    }
}

fn client(policy: WebhookPolicy) -> Result<reqwest::Client, String> {
    // Fails when the process has chosen a provider already, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("everstream-server/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        // A redirect could lead anywhere (S-SSRF-4).
        .redirect(reqwest::redirect::Policy::none())
        // A proxy would resolve names itself, unchecked.
        .no_proxy()
        .dns_resolver(Arc::new(CheckedResolver(policy)))
        .pool_idle_timeout(Duration::from_secs(4))
        .build()
        .map_err(|error| format!("webhooks cannot be sent: {}", innermost(&error)))
}

/// Resolves names once for each connection, and leaves out what webhooks may not reach (S-SSRF-4): the connection goes to
/// an address that was checked, so that a name cannot turn into another address between check and use.
struct CheckedResolver(WebhookPolicy);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0;
        Box::pin(async move {
            let host = name.as_str();
            let found = tokio::net::lookup_host((host, 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|it| policy.allows_resolved(host, it.ip())).collect();
            if allowed.is_empty() {
                return Err(format!("webhooks may not reach what {host} resolves to").into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The innermost error is the one that says something: "connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
