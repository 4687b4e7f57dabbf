//! What is sent and what is answered, as JSON (T-SUBNEW, S-SUB-7, S-HOOK-1, S-PULL-2, S-PULL-7).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use super::request::encode;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::offset::{Offset, ReadFrom};

/// What a new subscription is to be (T-SUBNEW).
#[derive(Clone, Debug)]
pub struct SubscriptionOptions {
    /// How workers are woken.
    pub kind: SubscriptionKind,
    /// Streams by pattern: `*` is one segment, `**` any number of them (T-GLOB). It or `streams` must be there.
    pub pattern: Option<String>,
    /// Streams by path below the stream root.
    pub streams: Vec<String>,
    /// How long a worker may be silent: 1 s to 10 min, in whole milliseconds. `None` is the server's default, 30 s.
    pub lease: Option<Duration>,
    /// Text for people.
    pub description: Option<String>,
}

/// How a subscription wakes its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionKind {
    /// The server appends an event to a stream, and workers claim.
    PullWake {
        /// The stream, which the application creates with the content type `application/json`.
        wake_stream: String,
    },
    /// The server sends a signed POST.
    Webhook {
        /// Where to.
        url: String,
    },
}

impl SubscriptionKind {
    /// The kind that the one of the two asks for that is there.
    ///
    /// # Errors
    /// `InvalidArgument` when none is there, or both.
    pub fn of(wake_stream: Option<String>, webhook_url: Option<String>) -> Result<Self> {
        match (wake_stream, webhook_url) {
            (Some(wake_stream), None) => Ok(Self::PullWake { wake_stream }),
            (None, Some(url)) => Ok(Self::Webhook { url }),
            _ => Err(Error::invalid_argument("a subscription has either a wake stream or the URL of a webhook")),
        }
    }
}

impl SubscriptionOptions {
    /// A pull-wake subscription to the streams of a pattern.
    pub fn pull_wake(wake_stream: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::of(SubscriptionKind::PullWake { wake_stream: wake_stream.into() }, pattern)
    }

    /// A webhook for the streams of a pattern.
    pub fn webhook(url: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::of(SubscriptionKind::Webhook { url: url.into() }, pattern)
    }

    fn of(kind: SubscriptionKind, pattern: impl Into<String>) -> Self {
        Self { kind, pattern: Some(pattern.into()), streams: Vec::new(), lease: None, description: None }
    }

    /// The body of a PUT.
    ///
    /// # Errors
    /// `InvalidArgument` when there is neither pattern nor stream (S-SUB-2), or the lease is out of range.
    pub(super) fn body(&self) -> Result<Bytes> {
        if self.pattern.as_deref().unwrap_or_default().is_empty() && self.streams.is_empty() {
            return Err(Error::invalid_argument("a subscription needs a pattern or streams"));
        }
        let range = Duration::from_secs(1)..=Duration::from_secs(600);
        if self.lease.is_some_and(|lease| !range.contains(&lease)) {
            return Err(Error::invalid_argument("lease must be 1 s to 10 min"));
        }
        let (kind, url, wake_stream) = match &self.kind {
            SubscriptionKind::PullWake { wake_stream } => ("pull-wake", None, Some(wake_stream.as_str())),
            SubscriptionKind::Webhook { url } => ("webhook", Some(url.as_str()), None),
        };
        encode(&NewBody {
            kind,
            pattern: self.pattern.as_deref(),
            streams: &self.streams,
            webhook: url.map(|url| Webhook { url: url.into() }),
            wake_stream,
            lease_ttl_ms: self.lease.map(|lease| lease.as_millis() as u64),
            description: self.description.as_deref(),
        })
    }
}

#[derive(Serialize)]
struct NewBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    streams: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<Webhook>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wake_stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

#[derive(Deserialize, Serialize)]
struct Webhook {
    url: String,
}

/// A subscription as the server shows it (S-SUB-7).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subscription {
    /// Its name.
    pub id: String,
    /// How workers are woken.
    pub kind: SubscriptionKind,
    /// Streams by pattern.
    pub pattern: Option<String>,
    /// The streams that it follows, with its cursor in each.
    pub streams: Vec<LinkedStream>,
    /// How long a worker may be silent.
    pub lease: Duration,
    /// Whether a webhook waits for its next try.
    pub status: SubscriptionStatus,
    /// When it was created (RFC 3339), if the server says so.
    pub created_at: Option<String>,
    /// Text for people.
    pub description: Option<String>,
}

/// S-SUB-9.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionStatus {
    /// All is well.
    Active,
    /// A webhook failed and will be tried again.
    Failed,
}

impl<'de> Deserialize<'de> for Subscription {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct View {
            id: String,
            #[serde(rename = "type")]
            kind: String,
            pattern: Option<String>,
            #[serde(default)]
            streams: Vec<LinkedStream>,
            webhook: Option<Webhook>,
            wake_stream: Option<String>,
            lease_ttl_ms: u64,
            status: SubscriptionStatus,
            created_at: Option<String>,
            description: Option<String>,
        }
        let view = View::deserialize(deserializer)?;
        let kind = match (view.kind.as_str(), view.webhook, view.wake_stream) {
            ("webhook", Some(Webhook { url }), _) => SubscriptionKind::Webhook { url },
            ("pull-wake", _, Some(wake_stream)) => SubscriptionKind::PullWake { wake_stream },
            (kind, ..) => return Err(serde::de::Error::custom(format!("a subscription of type {kind:?}"))),
        };
        Ok(Self {
            id: view.id,
            kind,
            pattern: view.pattern,
            streams: view.streams,
            lease: Duration::from_millis(view.lease_ttl_ms),
            status: view.status,
            created_at: view.created_at,
            description: view.description,
        })
    }
}

/// A stream of a subscription (S-WAKE-5).
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct LinkedStream {
    /// Its path below the stream root.
    pub path: String,
    /// Whether it was named.
    #[serde(default)]
    pub link_type: LinkType,
    /// Up to where it was processed; read from here (S-WAKE-4).
    #[serde(deserialize_with = "position")]
    pub acked_offset: ReadFrom,
    /// Its tail, where the server says it.
    #[serde(default, deserialize_with = "offset")]
    pub tail_offset: Option<Offset>,
    /// Whether there is something after `acked_offset`.
    #[serde(default)]
    pub has_pending: bool,
}

/// S-SUB-6.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LinkType {
    /// By its path.
    Explicit,
    /// By the pattern.
    #[default]
    Glob,
}

/// The body of a webhook (S-HOOK-1). Take it from [`KeySet::verify`](super::KeySet::verify) only.
#[derive(Clone, Deserialize)]
#[non_exhaustive]
pub struct Wake {
    /// The subscription.
    pub subscription_id: String,
    /// Names this wake.
    pub wake_id: String,
    /// Fences: a later wake has a higher one.
    pub generation: u64,
    /// The streams, with cursors and tails.
    pub streams: Vec<LinkedStream>,
    /// Where acks and heartbeats go.
    pub callback_url: String,
    /// What they show. A secret for the time of the wake.
    pub callback_token: String,
}

impl Wake {
    /// Reads the body of a webhook that was verified before, such as one that waited in a queue.
    ///
    /// # Errors
    /// `Parse` when it is none.
    pub fn from_json(body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).map_err(|error| {
            Error::new(ErrorKind::Parse, format!("the webhook is no wake: {error}")).with_source(error)
        })
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wake")
            .field("subscription_id", &self.subscription_id)
            .field("wake_id", &self.wake_id)
            .field("generation", &self.generation)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

/// The answer to a claim (S-PULL-2).
#[derive(Clone, Deserialize)]
#[non_exhaustive]
pub struct Claimed {
    /// Names the wake.
    pub wake_id: String,
    /// Fences: a later wake has a higher one.
    pub generation: u64,
    /// What acks and heartbeats show. A secret for the time of the wake.
    pub token: String,
    /// The streams, with cursors and tails.
    pub streams: Vec<LinkedStream>,
    /// How long the worker may be silent.
    #[serde(rename = "lease_ttl_ms", deserialize_with = "milliseconds")]
    pub lease: Duration,
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed")
            .field("wake_id", &self.wake_id)
            .field("generation", &self.generation)
            .field("streams", &self.streams)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// The answer to an ack (S-PULL-5).
#[derive(Clone, Deserialize)]
#[non_exhaustive]
pub struct Acked {
    /// Whether a new wake was begun: there is more to do.
    pub next_wake: bool,
    /// A token to go on with, when the one that was shown gets old (S-LEASE-4).
    #[serde(default)]
    pub token: Option<String>,
}

impl fmt::Debug for Acked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acked").field("next_wake", &self.next_wake).finish_non_exhaustive()
    }
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn position<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<ReadFrom, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Offset>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    // A stream that is not there has no tail; its cursor stands in for it.
    text.filter(|text| text != "-1").map(Offset::new).transpose().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_not_set_is_left_out_of_a_new_subscription() {
        let options = SubscriptionOptions::pull_wake("wakes", "jobs/**");
        let body: Value = serde_json::from_slice(&options.body().unwrap()).unwrap();
        assert_eq!(body, json!({"type": "pull-wake", "pattern": "jobs/**", "wake_stream": "wakes"}));
        let options = SubscriptionOptions {
            pattern: None,
            streams: vec!["a".into()],
            lease: Some(Duration::from_millis(1500)),
            ..SubscriptionOptions::webhook("https://h/", "")
        };
        let body: Value = serde_json::from_slice(&options.body().unwrap()).unwrap();
        let expected =
            json!({"type": "webhook", "streams": ["a"], "webhook": {"url": "https://h/"}, "lease_ttl_ms": 1500});
        assert_eq!(body, expected);
    }

    #[test]
    fn s_sub_2_a_subscription_of_nothing_is_refused_before_it_is_sent() {
        assert_eq!(SubscriptionOptions::pull_wake("wakes", "").body().unwrap_err().code(), "INVALID_ARGUMENT");
        let options =
            SubscriptionOptions { lease: Some(Duration::ZERO), ..SubscriptionOptions::pull_wake("wakes", "a") };
        assert_eq!(options.body().unwrap_err().code(), "INVALID_ARGUMENT");
    }

    #[test]
    fn a_subscription_is_of_one_kind() {
        let of = |wake_stream: Option<&str>, url: Option<&str>| {
            SubscriptionKind::of(wake_stream.map(str::to_owned), url.map(str::to_owned))
        };
        assert_eq!(of(Some("w"), None).unwrap(), SubscriptionKind::PullWake { wake_stream: "w".into() });
        assert_eq!(of(None, Some("https://h/")).unwrap(), SubscriptionKind::Webhook { url: "https://h/".into() });
        for (wake_stream, url) in [(None, None), (Some("w"), Some("https://h/"))] {
            assert_eq!(of(wake_stream, url).unwrap_err().code(), "INVALID_ARGUMENT");
        }
    }

    #[test]
    fn a_subscription_is_read_as_the_server_shows_it() {
        let shown = json!({
            "id": "s", "subscription_id": "s", "type": "pull-wake", "pattern": "a/*", "wake_stream": "wakes",
            "webhook": null, "streams": [{"path": "a/b", "link_type": "glob", "acked_offset": "-1"}],
            "lease_ttl_ms": 30000, "created_at": "2026-01-01T00:00:00Z", "status": "active", "description": null,
        });
        let it: Subscription = serde_json::from_value(shown).unwrap();
        assert_eq!(it.kind, SubscriptionKind::PullWake { wake_stream: "wakes".into() });
        assert_eq!((it.lease, it.status), (Duration::from_secs(30), SubscriptionStatus::Active));
        assert_eq!(it.streams[0].acked_offset, ReadFrom::Beginning);
        assert!(serde_json::from_value::<Subscription>(json!({"id": "s", "type": "push"})).is_err());
    }
}
