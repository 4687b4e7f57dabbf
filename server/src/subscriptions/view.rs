//! What clients and workers see: subscriptions, webhooks and wake events as JSON. Pure.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::links::Link;
use super::spec::Kind;
use super::subscription::{STREAMS_PER_WAKE, Subscription, Wake};
use crate::clock::Millis;
use crate::http::encode_name;

/// A subscription (S-SUB-7, S-SUB-8). `base_url` is where the client reached the stream root.
pub(super) fn subscription(id: &str, subscription: &Subscription, base_url: &str, kid: &str) -> Value {
    let streams = subscription
        .links()
        .iter()
        .map(|link| json!({"path": link.path, "link_type": link.link_type(), "acked_offset": link.acked.to_string()}));
    let mut view = summary(id, subscription, base_url, kid);
    view["streams"] = streams.collect();
    view
}

/// The same without its streams, of which there may be many.
pub(super) fn summary(id: &str, subscription: &Subscription, base_url: &str, kid: &str) -> Value {
    let spec = subscription.spec();
    let mut view = json!({
        "id": id,
        "subscription_id": id,
        "pattern": spec.pattern,
        "lease_ttl_ms": spec.lease_ttl_ms,
        "created_at": rfc3339(subscription.created_at()),
        "status": if subscription.is_failing() { "failed" } else { "active" },
        "description": spec.description,
        "webhook": null,
        "wake_stream": null,
    });
    match &spec.kind {
        Kind::Webhook { url } => {
            let jwks_url = format!("{base_url}/__ds/jwks.json");
            view["type"] = "webhook".into();
            view["webhook"] = json!({"url": url, "signing": {"alg": "ed25519", "kid": kid, "jwks_url": jwks_url}});
        }
        Kind::PullWake { wake_stream } => {
            view["type"] = "pull-wake".into();
            view["wake_stream"] = json!(wake_stream);
        }
    }
    view
}

/// The body of a webhook (S-HOOK-1): the streams as they were when the wake began.
/// `public_url` is the stream root as configured; otherwise it is what the creator of the subscription used.
pub(super) fn webhook(
    id: &str,
    subscription: &Subscription,
    wake: &Wake,
    token: &str,
    public_url: Option<&str>,
) -> Value {
    let base_url = public_url.unwrap_or_else(|| subscription.base_url());
    let at_wake = |link: &Link| match wake.snapshot.get(&link.path) {
        Some(tail) => entry(link, &tail.to_string(), true),
        None => entry(link, &tail_of(subscription, link), false),
    };
    let links = subscription.links();
    let pending = wake.snapshot.keys().filter_map(|path| links.find(path));
    let others = links.iter().filter(|link| !wake.snapshot.contains_key(&link.path));
    let streams = pending.chain(others).take(STREAMS_PER_WAKE).map(at_wake);
    json!({
        "subscription_id": id,
        "wake_id": wake.id,
        "generation": subscription.generation(),
        "streams": streams.collect::<Vec<_>>(),
        "callback_url": format!("{base_url}/__ds/subscriptions/{}/callback", encode_segment(id)),
        "callback_token": token,
    })
}

/// The answer to a claim (S-PULL-2): the streams as they are.
pub(super) fn claim(subscription: &Subscription, wake: &Wake, token: &str) -> Value {
    let links = subscription.links();
    let streams = links
        .urgent(STREAMS_PER_WAKE)
        .map(|link| entry(link, &tail_of(subscription, link), links.is_pending(&link.path)));
    json!({
        "wake_id": wake.id,
        "generation": subscription.generation(),
        "token": token,
        "streams": streams.collect::<Vec<_>>(),
        "lease_ttl_ms": subscription.spec().lease_ttl_ms,
    })
}

/// The event in a wake stream (S-PULL-1).
pub(super) fn wake_event(id: &str, subscription: &Subscription, wake: &Wake, now: Millis) -> Value {
    json!({
        "type": "wake",
        "subscription_id": id,
        "stream": wake.trigger,
        "generation": subscription.generation(),
        "ts": now,
    })
}

/// S-WAKE-5.
fn entry(link: &Link, tail: &str, has_pending: bool) -> Value {
    json!({
        "path": link.path,
        "link_type": link.link_type(),
        "acked_offset": link.acked.to_string(),
        "tail_offset": tail,
        "has_pending": has_pending,
    })
}

/// The tail of a stream; of one that is not there, where the worker is.
fn tail_of(subscription: &Subscription, link: &Link) -> String {
    match subscription.links().tail(&link.path) {
        Some(tail) => tail.to_string(),
        None => link.acked.to_string(),
    }
}

/// An id is one segment of a path (S-SUB-1).
fn encode_segment(id: &str) -> String {
    encode_name(id).replace('/', "%2F")
}

fn rfc3339(at: Millis) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000).ok()?;
    moment.format(&Rfc3339).ok()
}
