//! Checks webhooks against the keys of a server, which it fetches (C-HOOK-1).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use super::call;
use crate::client::exchange::{Core, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::Instant;
use crate::proto::names;
use crate::proto::request::Operation;
use crate::proto::subscription::{KeySet, SIGNATURE_TOLERANCE, Signature, Wake, request};
use crate::proto::url::StreamUrl;

/// The keys are fetched for one that is not known at most so often, whoever sends what.
const LEAST_BETWEEN_SEARCHES: Duration = Duration::from_secs(10);
/// As long as the server lets its keys be cached (S-HOOK-3); then a key that was withdrawn is not believed any more.
const FRESH: Duration = Duration::from_secs(300);

/// Tells whether a webhook is from the server. Share one among all requests.
///
/// The keys are those of the server that the program names, whatever the webhook says.
pub struct WebhookVerifier {
    core: Arc<Core>,
    target: Target,
    subscription: Option<String>,
    tolerance: Duration,
    keys: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: KeySet,
    fetched: Option<Instant>,
    /// When they were last fetched for a key that was not among them.
    searched: Option<Instant>,
}

impl WebhookVerifier {
    pub(super) fn new(core: Arc<Core>, root: &str) -> Result<Self> {
        let url = format!("{root}/{}/{}", names::CONTROL_SEGMENT, names::JWKS_ROUTE);
        let target = Target { url: StreamUrl::parse(&url)?, extras: core.extras.clone() };
        Ok(Self { core, target, subscription: None, tolerance: SIGNATURE_TOLERANCE, keys: Mutex::default() })
    }

    /// Takes webhooks of one subscription only. Default: any of the server's.
    #[must_use]
    pub fn subscription(mut self, id: impl Into<String>) -> Self {
        self.subscription = Some(id.into());
        self
    }

    /// How old a signature may be. Default 5 min.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The content of a webhook, if it is genuine. `signature` is the header
    /// [`Webhook-Signature`](crate::proto::subscription::SIGNATURE_HEADER), empty when there is none; `body` is the raw
    /// body.
    ///
    /// # Errors
    /// `InvalidSignature`: answer 401. Others, when the keys cannot be fetched: answer 503, and the server tries again.
    ///
    /// # Cancel safety
    /// It can be dropped at any time.
    pub async fn verify(&self, signature: &str, body: &[u8]) -> Result<Wake> {
        let signature = Signature::parse(signature)?;
        let keys = self.keys_with(signature.kid()).await?;
        // A clock before 1970 finds every signature too far ahead.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wake = keys.verify(&signature, body, now, self.tolerance)?;
        match &self.subscription {
            Some(expected) if *expected != wake.subscription_id => {
                let message =
                    format!("the webhook is of the subscription {:?}, not {expected:?}", wake.subscription_id);
                Err(Error::new(ErrorKind::InvalidSignature, message))
            }
            _ => Ok(wake),
        }
    }

    /// The keys, fetched anew when they are old, or the one that is needed is not among them.
    async fn keys_with(&self, kid: &str) -> Result<KeySet> {
        // One fetch serves all that wait for it.
        let mut known = self.keys.lock().await;
        let now = self.core.now();
        let is_over = |since: Option<Instant>, time| since.is_none_or(|at| now.saturating_sub(at) > time);
        let is_old = is_over(known.fetched, FRESH);
        let is_searched = !is_old && !known.keys.has(kid) && is_over(known.searched, LEAST_BETWEEN_SEARCHES);
        if is_searched {
            known.searched = Some(now);
        }
        if is_old || is_searched {
            match self.fetch().await {
                Ok(keys) => (known.keys, known.fetched) = (keys, Some(self.core.now())),
                Err(error) if known.keys.has(kid) => {
                    tracing::warn!(%error, "the keys of webhooks could not be fetched again; the known ones are used");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(known.keys.clone())
    }

    async fn fetch(&self) -> Result<KeySet> {
        let (_, body) = call(&self.core, &self.target, request::look()?).await?;
        KeySet::from_jwks(&body).map_err(|error| error.with_context(Operation::Control, self.target.url.shown()))
    }
}

impl fmt::Debug for WebhookVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookVerifier")
            .field("url", &self.target.url.shown())
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}
