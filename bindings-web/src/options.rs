//! Option objects of TypeScript's to the core's options. Defaults are the core's: only what was given is set.
//! Times are milliseconds.

use std::time::Duration;

use everstream::proto::object::quoted;
use everstream::{
    Backoff, Checkpoint, CreateOptions, Fork, LiveMode, Offset, ProducerOptions, ReadOptions, RetryPolicy,
    SseResilience,
};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::error;
use crate::value::Fields;

#[wasm_bindgen]
extern "C" {
    /// A number as JavaScript writes it: the code that Rust has for that is long, and a page downloads it.
    #[wasm_bindgen(js_name = String)]
    fn shown(number: f64) -> String;
}

type Result<T> = std::result::Result<T, JsValue>;

/// When and how often requests are tried again.
pub(crate) fn retry(given: &Fields) -> Result<RetryPolicy> {
    let mut policy = RetryPolicy::default();
    let Backoff { initial, max, .. } = &mut policy.backoff;
    let (initial_given, max_given) = (duration_of(given, "initialDelay")?, duration_of(given, "maxDelay")?);
    set(initial_given, initial);
    set(max_given, max);
    // One that is given alone bounds the default of the other.
    if max_given.is_none() {
        *max = (*max).max(*initial);
    } else if initial_given.is_none() {
        *initial = (*initial).min(*max);
    }
    set(given.number("multiplier"), &mut policy.backoff.multiplier);
    if let Some(retries) = given.number("maxRetries") {
        if retries.is_nan() || retries < 0.0 {
            return Err(error::invalid_argument(format!("maxRetries must be >= 0, not {}", shown(retries))));
        }
        policy.max_retries = if retries.is_finite() { Some(retries as u32) } else { None };
    }
    if let Some(total) = given.number("total") {
        policy.max_elapsed = if total.is_finite() { Some(duration("total", total)?) } else { None };
    }
    set(given.flag("retryAppendsOn5Xx"), &mut policy.plain_appends_on_500);
    Ok(policy)
}

/// What a new stream is to be.
pub(crate) fn create(given: &Fields) -> Result<CreateOptions> {
    let mut options = CreateOptions { content_type: given.text("contentType"), ..CreateOptions::default() };
    options.expires_at = given.text("expiresAt");
    set(given.flag("closed"), &mut options.closed);
    if let Some(ttl) = given.number("ttlSeconds") {
        options.ttl = Some(duration("ttlSeconds", ttl * 1000.0)?);
    }
    if let Some(source) = given.text("forkFrom") {
        let refused = |text: &str, why| error::invalid_argument(format!("offset {}: {why}", quoted(text)));
        let offset = given.text("forkOffset");
        let offset = offset.map(|text| Offset::new(text.as_str()).map_err(|why| refused(&text, why))).transpose()?;
        let sub_offset = given.number("forkSubOffset").map_or(0, |it| it as u64);
        options.fork = Some(Fork { source, offset, sub_offset });
    }
    Ok(options)
}

/// How a stream is read.
pub(crate) fn read(given: &Fields) -> Result<ReadOptions> {
    let mut options = ReadOptions { if_none_match: given.text("etag"), ..ReadOptions::default() };
    if let Some(text) = given.text("checkpoint") {
        options.from = Checkpoint::from_json(&text).map_err(|refused| error::value(&refused))?;
    } else if let Some(text) = given.text("offset") {
        let from = text.parse().map_err(|why| error::invalid_argument(format!("offset {}: {why}", quoted(&text))))?;
        options.from = Checkpoint { from, ..Checkpoint::default() };
    }
    if let Some(live) = given.text("live") {
        options.live = match live.as_str() {
            "auto" => LiveMode::Auto,
            "catch-up" => LiveMode::CatchUp,
            "long-poll" => LiveMode::LongPoll,
            "sse" => LiveMode::Sse,
            other => {
                let modes = "a boolean, \"auto\", \"catch-up\", \"long-poll\" or \"sse\"";
                return Err(error::invalid_argument(format!("live must be {modes}, not {}", quoted(other))));
            }
        };
    }
    set(given.flag("json"), &mut options.json);
    set(size_of(given, "maxBatchBytes")?, &mut options.max_batch_bytes);
    set(duration_of(given, "requestTimeout")?, &mut options.request_timeout);
    set(duration_of(given, "stallTimeout")?, &mut options.stall_timeout);
    if let Some(sse) = given.fields("sse") {
        let SseResilience { min_connection, max_short_connections, backoff_base, backoff_max } = &mut options.sse;
        set(duration_of(&sse, "minConnectionDuration")?, min_connection);
        set(sse.number("maxShortConnections").map(|it| it as u32), max_short_connections);
        set(duration_of(&sse, "backoffBaseDelay")?, backoff_base);
        set(duration_of(&sse, "backoffMaxDelay")?, backoff_max);
    }
    Ok(options)
}

/// How a producer batches and sends.
pub(crate) fn producer(given: &Fields) -> Result<ProducerOptions> {
    let mut options = ProducerOptions::default();
    // The core cannot be told of what its types cannot hold.
    for name in ["epoch", "lingerMs"] {
        if given.number(name).is_some_and(|value| value < 0.0) {
            return Err(error::invalid_argument(format!("{name} must be >= 0")));
        }
    }
    set(given.number("epoch").map(|it| it as u64), &mut options.epoch);
    set(given.flag("autoClaim"), &mut options.auto_claim);
    set(given.flag("askTail"), &mut options.ask_tail);
    set(duration_of(given, "lingerMs")?, &mut options.linger);
    set(size_of(given, "maxBatchBytes")?, &mut options.max_batch_bytes);
    set(size_of(given, "maxInFlight")?, &mut options.max_in_flight);
    set(size_of(given, "maxBufferedBytes")?, &mut options.max_buffered_bytes);
    set(duration_of(given, "requestTimeout")?, &mut options.request_timeout);
    set(size_of(given, "maxBatchItems")?.map(Some), &mut options.max_batch_items);
    if let Some(limit) = given.number("deliveryTimeout") {
        options.delivery_timeout = if limit.is_finite() { Some(duration("deliveryTimeout", limit)?) } else { None };
    }
    Ok(options)
}

fn set<T>(given: Option<T>, field: &mut T) {
    if let Some(value) = given {
        *field = value;
    }
}

/// A number of bytes or things, which is to be at least 1.
fn size_of(given: &Fields, name: &str) -> Result<Option<usize>> {
    let Some(value) = given.number(name) else { return Ok(None) };
    if value.is_nan() || value < 1.0 {
        return Err(error::invalid_argument(format!("{name} must be > 0")));
    }
    // A number that no machine has is as good as the largest one: the conversion saturates.
    Ok(Some(value as usize))
}

pub(crate) fn duration_of(given: &Fields, name: &str) -> Result<Option<Duration>> {
    given.number(name).map(|millis| duration(name, millis)).transpose()
}

fn duration(name: &str, millis: f64) -> Result<Duration> {
    if millis == f64::INFINITY {
        return Ok(Duration::from_secs(u32::MAX.into()));
    }
    Duration::try_from_secs_f64(millis / 1000.0)
        .map_err(|_| error::invalid_argument(format!("{name} must be a number >= 0, not {}", shown(millis))))
}
