//! What a subscription is configured with (PROTOCOL.md T-SUBNEW), parsed and normalised. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::address::WebhookPolicy;
use super::error::Refusal;
use crate::clock::Millis;
use crate::glob::Glob;
use crate::http::check_name;

const LEASES: std::ops::RangeInclusive<Millis> = 1_000..=600_000;
const DEFAULT_LEASE: Millis = 30_000;

/// A configuration. Two of them are equal exactly if a repeated PUT confirms the first (S-SUB-3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    /// How workers are woken.
    #[serde(flatten)]
    pub(super) kind: Kind,
    /// Streams by pattern, without slashes at its ends.
    pub(super) pattern: Option<Arc<str>>,
    /// Streams by path.
    pub(super) streams: BTreeSet<Arc<str>>,
    /// How long a worker may be silent.
    pub(super) lease_ttl_ms: Millis,
    /// Free text.
    pub(super) description: Option<String>,
}

/// How workers are woken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Kind {
    /// By an event in a stream; then one of them claims the work.
    PullWake {
        /// The stream.
        wake_stream: Arc<str>,
    },
    /// By a request to an address.
    Webhook {
        /// The address.
        url: String,
    },
}

impl Spec {
    /// Reads the body of a create.
    ///
    /// # Errors
    /// A field that cannot be used (`INVALID_REQUEST`), or a webhook that may not be reached (S-SSRF). `webhooks` is
    /// `None` where they are switched off.
    pub(super) fn parse(body: &[u8], webhooks: Option<WebhookPolicy>) -> Result<Self, Refusal> {
        let fields = object(body)?;
        let pattern = match present(&fields, "pattern") {
            None => None,
            Some(Value::String(text)) => {
                text.parse::<Glob>().map_err(|_| Refusal::invalid("pattern is empty"))?;
                Some(Arc::from(text.trim_matches('/')))
            }
            Some(_) => return Err(Refusal::invalid("pattern must be a string")),
        };
        let streams: BTreeSet<Arc<str>> = match present(&fields, "streams") {
            None => BTreeSet::new(),
            Some(streams) => paths(streams)?.into_iter().collect(),
        };
        if pattern.is_none() && streams.is_empty() {
            return Err(Refusal::invalid("a subscription needs a pattern or streams"));
        }
        let lease_ttl_ms = match present(&fields, "lease_ttl_ms") {
            None => DEFAULT_LEASE,
            Some(value) => value
                .as_u64()
                .filter(|ttl| LEASES.contains(ttl))
                .ok_or_else(|| Refusal::invalid("lease_ttl_ms must be an integer from 1000 to 600000"))?,
        };
        let description = match present(&fields, "description") {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(Refusal::invalid("description must be a string")),
        };
        let kind = match present(&fields, "type").and_then(Value::as_str) {
            Some("webhook") => webhook(&fields, webhooks)?,
            Some("pull-wake") => {
                let wake_stream = present(&fields, "wake_stream")
                    .ok_or_else(|| Refusal::invalid("a pull-wake subscription needs a wake_stream"))?;
                Kind::PullWake { wake_stream: path(wake_stream)? }
            }
            _ => return Err(Refusal::invalid("type must be \"webhook\" or \"pull-wake\"")),
        };
        if let Kind::PullWake { wake_stream } = &kind
            && streams.contains(wake_stream)
        {
            return Err(Refusal::invalid(
                "the wake_stream cannot be one of the streams: each wake would cause another",
            ));
        }
        Ok(Self { kind, pattern, streams, lease_ttl_ms, description })
    }

    /// The pattern, to match with.
    pub(super) fn glob(&self) -> Option<Glob> {
        self.pattern.as_deref()?.parse().ok()
    }
}

fn webhook(fields: &Map<String, Value>, policy: Option<WebhookPolicy>) -> Result<Kind, Refusal> {
    let policy = policy.ok_or_else(|| Refusal::invalid("webhooks are switched off on this server"))?;
    let url = match present(fields, "webhook").and_then(|webhook| webhook.get("url")) {
        Some(Value::String(url)) if !url.is_empty() => url.clone(),
        _ => return Err(Refusal::invalid("a webhook subscription needs webhook.url")),
    };
    policy.check(&url).map_err(Refusal::UrlRejected)?;
    Ok(Kind::Webhook { url })
}

/// The body of a request that adds streams (S-SUB-11).
pub(super) fn parse_streams(body: &[u8]) -> Result<Vec<Arc<str>>, Refusal> {
    let fields = object(body)?;
    paths(present(&fields, "streams").ok_or_else(|| Refusal::invalid("streams is missing"))?)
}

/// The body of a claim (S-PULL-2).
pub(super) fn parse_claim(body: &[u8]) -> Result<String, Refusal> {
    match object(body)?.get("worker") {
        Some(Value::String(worker)) if !worker.is_empty() => Ok(worker.clone()),
        _ => Err(Refusal::invalid("worker must be a string that is not empty")),
    }
}

/// The body of a rotation of keys: how long the keys before stay listed. Default a day: longer than any receiver keeps
/// a webhook before it looks at it.
pub(super) fn parse_rotation(body: &[u8]) -> Result<Duration, Refusal> {
    const DEFAULT: Duration = Duration::from_secs(24 * 3600);
    const MOST_MS: u64 = 366 * 24 * 3_600_000;
    if body.is_empty() {
        return Ok(DEFAULT);
    }
    match object(body)?.get("overlap_ms").map(Value::as_u64) {
        None => Ok(DEFAULT),
        Some(Some(ms)) if ms <= MOST_MS => Ok(Duration::from_millis(ms)),
        Some(_) => Err(Refusal::invalid("overlap_ms must be milliseconds, and a year at most")),
    }
}

/// The body of ack, callback and release (S-PULL-6, S-PULL-7).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Ack {
    pub(super) wake_id: String,
    pub(super) generation: u64,
    #[serde(default)]
    pub(super) acks: Vec<AckedStream>,
    #[serde(default)]
    pub(super) done: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct AckedStream {
    #[serde(alias = "path")]
    pub(super) stream: String,
    pub(super) offset: String,
}

impl Ack {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map_err(|error| Refusal::Invalid(format!("the body cannot be used: {error}")))
    }
}

/// The path of a stream, without slashes at its ends (S-SUB-2).
pub(super) fn path_of(text: &str) -> Result<Arc<str>, Refusal> {
    let path = text.trim_matches('/');
    check_name(path).map_err(|why| Refusal::Invalid(format!("{text:?} names no stream: {why}")))?;
    Ok(path.into())
}

fn path(value: &Value) -> Result<Arc<str>, Refusal> {
    let text = value.as_str().ok_or_else(|| Refusal::invalid("the path of a stream must be a string"))?;
    path_of(text)
}

fn paths(value: &Value) -> Result<Vec<Arc<str>>, Refusal> {
    let list = value.as_array().ok_or_else(|| Refusal::invalid("streams must be an array of paths"))?;
    list.iter().map(path).collect()
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Refusal::invalid("the body must be a JSON object")),
        Err(error) => Err(Refusal::Invalid(format!("the body is not JSON: {error}"))),
    }
}

/// A field that is there and not `null`.
fn present<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Spec, Refusal> {
        Spec::parse(body.as_bytes(), Some(WebhookPolicy::default()))
    }

    #[test]
    fn s_sub_2_and_t_subnew_say_what_a_configuration_is() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"type":"webhook","pattern":"a"}"#,
            r#"{"type":"webhook","pattern":"a","webhook":{}}"#,
            r#"{"type":"webhook","webhook":{"url":"https://example.com"}}"#,
            r#"{"type":"webhook","streams":[],"webhook":{"url":"https://example.com"}}"#,
            r#"{"type":"webhook","pattern":"","webhook":{"url":"https://example.com"}}"#,
            r#"{"type":"webhook","pattern":"//","webhook":{"url":"https://example.com"}}"#,
            r#"{"type":"webhook","pattern":7,"webhook":{"url":"https://example.com"}}"#,
            r#"{"type":"push","pattern":"a"}"#,
            r#"{"type":"pull-wake","pattern":"a"}"#,
            r#"{"type":"pull-wake","pattern":"a","wake_stream":""}"#,
            r#"{"type":"pull-wake","streams":["w"],"wake_stream":"w"}"#,
            r#"{"type":"pull-wake","streams":"a","wake_stream":"w"}"#,
            r#"{"type":"pull-wake","streams":[""],"wake_stream":"w"}"#,
            r#"{"type":"pull-wake","streams":["a/../b"],"wake_stream":"w"}"#,
            r#"{"type":"pull-wake","streams":["__ds/keys"],"wake_stream":"w"}"#,
            r#"{"type":"pull-wake","streams":["a"],"wake_stream":"__ds/keys"}"#,
            r#"{"type":"pull-wake","pattern":"a","wake_stream":"w","lease_ttl_ms":999}"#,
            r#"{"type":"pull-wake","pattern":"a","wake_stream":"w","lease_ttl_ms":600001}"#,
            r#"{"type":"pull-wake","pattern":"a","wake_stream":"w","lease_ttl_ms":1000.5}"#,
            r#"{"type":"pull-wake","pattern":"a","wake_stream":"w","description":1}"#,
        ] {
            assert!(matches!(parse(bad), Err(Refusal::Invalid(_))), "{bad}: {:?}", parse(bad));
        }
        let unsafe_url = r#"{"type":"webhook","pattern":"a","webhook":{"url":"https://10.0.0.1/"}}"#;
        assert!(matches!(parse(unsafe_url), Err(Refusal::UrlRejected(_))));
        let off = Spec::parse(br#"{"type":"webhook","pattern":"a","webhook":{"url":"https://example.com"}}"#, None);
        assert!(matches!(off, Err(Refusal::Invalid(_))));
    }

    #[test]
    fn s_sub_3_equal_after_normalising_is_equal() {
        let first = r#"{"type":"pull-wake","pattern":"/a/*/","streams":["y","/x/"],"wake_stream":"w/"}"#;
        let spec = parse(first).unwrap();
        assert_eq!((spec.pattern.as_deref(), spec.lease_ttl_ms), (Some("a/*"), 30_000));
        let same = r#"{"wake_stream":"w","streams":["x","y","x"],"pattern":"a/*","type":"pull-wake","lease_ttl_ms":30000,
            "description":null}"#;
        assert_eq!(parse(same).unwrap(), spec);
        for other in [
            r#"{"type":"pull-wake","pattern":"a/*","streams":["x"],"wake_stream":"w"}"#,
            r#"{"type":"pull-wake","pattern":"A/*","streams":["x","y"],"wake_stream":"w"}"#,
            r#"{"type":"pull-wake","pattern":"a/*","streams":["x","y"],"wake_stream":"v"}"#,
            r#"{"type":"pull-wake","pattern":"a/*","streams":["x","y"],"wake_stream":"w","lease_ttl_ms":30001}"#,
            r#"{"type":"pull-wake","pattern":"a/*","streams":["x","y"],"wake_stream":"w","description":""}"#,
        ] {
            assert_ne!(parse(other).unwrap(), spec, "{other}");
        }
    }

    #[test]
    fn s_pull_7_acks_name_streams_by_either_field() {
        let ack = Ack::parse(
            br#"{"wake_id":"w","generation":3,"acks":[{"stream":"a","offset":"0_1"},{"path":"b","offset":"0_2"}]}"#,
        )
        .unwrap();
        assert_eq!(ack.acks.iter().map(|it| &*it.stream).collect::<Vec<_>>(), ["a", "b"]);
        assert!(!ack.done);
        for bad in
            ["", "{}", r#"{"wake_id":"w"}"#, r#"{"wake_id":"w","generation":-1}"#, r#"{"wake_id":1,"generation":1}"#]
        {
            assert!(matches!(Ack::parse(bad.as_bytes()), Err(Refusal::Invalid(_))), "{bad}");
        }
        assert!(matches!(parse_claim(br#"{"worker":""}"#), Err(Refusal::Invalid(_))));
        assert_eq!(parse_claim(br#"{"worker":"a"}"#), Ok("a".into()));
    }
}
