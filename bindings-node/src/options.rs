//! Option objects of TypeScript's to the core's options. Defaults are the core's: only what was given is set.
//! Times are milliseconds.

use std::time::Duration;

use everstream::{
    Backoff, Checkpoint, CreateOptions, Error, Fork, LiveMode, Offset, ProducerOptions, ReadOptions, RetryPolicy,
    SseResilience,
};
use napi::Env;
use napi_derive::napi;

use crate::error;

/// When and how often requests are tried again.
#[napi(object)]
pub struct RetryOptions {
    pub initial_delay: Option<f64>,
    pub max_delay: Option<f64>,
    pub multiplier: Option<f64>,
    pub max_retries: Option<f64>,
    pub total: Option<f64>,
    pub retry_appends_on5xx: Option<bool>,
}

impl RetryOptions {
    pub(crate) fn build(&self, env: Env) -> napi::Result<RetryPolicy> {
        let mut policy = RetryPolicy::default();
        let Backoff { initial, max, .. } = &mut policy.backoff;
        set_duration(env, "initialDelay", self.initial_delay, initial)?;
        set_duration(env, "maxDelay", self.max_delay, max)?;
        // One that is given alone bounds the default of the other.
        if self.max_delay.is_none() {
            *max = (*max).max(*initial);
        } else if self.initial_delay.is_none() {
            *initial = (*initial).min(*max);
        }
        set(self.multiplier, &mut policy.backoff.multiplier);
        if let Some(retries) = self.max_retries {
            if retries.is_nan() || retries < 0.0 {
                return Err(error::invalid_argument(env, format!("maxRetries must be >= 0, not {retries}")));
            }
            policy.max_retries = if retries.is_finite() { Some(retries as u32) } else { None };
        }
        if let Some(total) = self.total {
            policy.max_elapsed = if total.is_finite() { Some(duration(env, "total", total)?) } else { None };
        }
        set(self.retry_appends_on5xx, &mut policy.plain_appends_on_500);
        Ok(policy)
    }
}

/// What a new stream is to be.
#[napi(object)]
pub struct NewStreamOptions {
    pub content_type: Option<String>,
    pub ttl_seconds: Option<f64>,
    pub expires_at: Option<String>,
    pub closed: Option<bool>,
    pub fork_from: Option<String>,
    pub fork_offset: Option<String>,
    pub fork_sub_offset: Option<f64>,
}

impl NewStreamOptions {
    pub(crate) fn build(self, env: Env) -> napi::Result<CreateOptions> {
        let mut options = CreateOptions { content_type: self.content_type, ..CreateOptions::default() };
        options.expires_at = self.expires_at;
        set(self.closed, &mut options.closed);
        if let Some(ttl) = self.ttl_seconds {
            options.ttl = Some(duration(env, "ttlSeconds", ttl * 1000.0)?);
        }
        if let Some(source) = self.fork_from {
            let offset = self.fork_offset.map(|text| offset(env, &text)).transpose()?;
            let sub_offset = self.fork_sub_offset.map_or(0, |it| it as u64);
            options.fork = Some(Fork { source, offset, sub_offset });
        }
        Ok(options)
    }
}

/// How a stream is read.
#[napi(object)]
pub struct NativeReadOptions {
    pub offset: Option<String>,
    /// The JSON form of a checkpoint; wins over `offset`.
    pub checkpoint: Option<String>,
    #[napi(ts_type = "'auto' | 'catch-up' | 'long-poll' | 'sse'")]
    pub live: Option<String>,
    pub json: Option<bool>,
    pub max_batch_bytes: Option<f64>,
    pub etag: Option<String>,
    pub request_timeout: Option<f64>,
    pub stall_timeout: Option<f64>,
    pub sse: Option<SseOptions>,
    /// Whether batches may be fetched before they are asked for.
    pub read_ahead: Option<bool>,
}

/// When SSE gives way to long-poll.
#[napi(object)]
pub struct SseOptions {
    pub min_connection_duration: Option<f64>,
    pub max_short_connections: Option<u32>,
    pub backoff_base_delay: Option<f64>,
    pub backoff_max_delay: Option<f64>,
}

impl NativeReadOptions {
    pub(crate) fn build(&self, env: Env) -> napi::Result<ReadOptions> {
        let mut options = ReadOptions { if_none_match: self.etag.clone(), ..ReadOptions::default() };
        if let Some(text) = &self.checkpoint {
            options.from = Checkpoint::from_json(text).map_err(|refused| error::throw(env, &refused))?;
        } else if let Some(text) = &self.offset {
            let from = text.parse().map_err(|why| refused_offset(env, text, why))?;
            options.from = Checkpoint { from, ..Checkpoint::default() };
        }
        if let Some(live) = &self.live {
            options.live = match live.as_str() {
                "auto" => LiveMode::Auto,
                "catch-up" => LiveMode::CatchUp,
                "long-poll" => LiveMode::LongPoll,
                "sse" => LiveMode::Sse,
                other => {
                    let message = format!(
                        "live must be a boolean, \"auto\", \"catch-up\", \"long-poll\" or \"sse\", not {other:?}"
                    );
                    return Err(error::invalid_argument(env, message));
                }
            };
        }
        set(self.json, &mut options.json);
        set_size(env, "maxBatchBytes", self.max_batch_bytes, &mut options.max_batch_bytes)?;
        set_duration(env, "requestTimeout", self.request_timeout, &mut options.request_timeout)?;
        set_duration(env, "stallTimeout", self.stall_timeout, &mut options.stall_timeout)?;
        if let Some(sse) = &self.sse {
            let SseResilience { min_connection, max_short_connections, backoff_base, backoff_max } = &mut options.sse;
            set_duration(env, "minConnectionDuration", sse.min_connection_duration, min_connection)?;
            set(sse.max_short_connections, max_short_connections);
            set_duration(env, "backoffBaseDelay", sse.backoff_base_delay, backoff_base)?;
            set_duration(env, "backoffMaxDelay", sse.backoff_max_delay, backoff_max)?;
        }
        Ok(options)
    }
}

/// How a producer batches and sends.
#[napi(object)]
pub struct NativeProducerOptions {
    pub epoch: Option<f64>,
    pub auto_claim: Option<bool>,
    pub ask_tail: Option<bool>,
    pub linger_ms: Option<f64>,
    pub max_batch_bytes: Option<f64>,
    pub max_batch_items: Option<f64>,
    pub max_in_flight: Option<f64>,
    pub max_buffered_bytes: Option<f64>,
    /// `Infinity` is for ever.
    pub delivery_timeout: Option<f64>,
    pub request_timeout: Option<f64>,
}

impl NativeProducerOptions {
    pub(crate) fn build(&self, env: Env) -> napi::Result<ProducerOptions> {
        let mut options = ProducerOptions::default();
        // The core cannot be told of what its types cannot hold.
        if self.epoch.is_some_and(|epoch| epoch < 0.0) {
            return Err(error::invalid_argument(env, "epoch must be >= 0"));
        }
        if self.linger_ms.is_some_and(|linger| linger < 0.0) {
            return Err(error::invalid_argument(env, "lingerMs must be >= 0"));
        }
        if let Some(epoch) = self.epoch {
            options.epoch = epoch as u64;
        }
        set(self.auto_claim, &mut options.auto_claim);
        set(self.ask_tail, &mut options.ask_tail);
        set_duration(env, "lingerMs", self.linger_ms, &mut options.linger)?;
        set_size(env, "maxBatchBytes", self.max_batch_bytes, &mut options.max_batch_bytes)?;
        set_size(env, "maxInFlight", self.max_in_flight, &mut options.max_in_flight)?;
        set_size(env, "maxBufferedBytes", self.max_buffered_bytes, &mut options.max_buffered_bytes)?;
        set_duration(env, "requestTimeout", self.request_timeout, &mut options.request_timeout)?;
        if let Some(items) = self.max_batch_items {
            let mut limit = 0;
            set_size(env, "maxBatchItems", Some(items), &mut limit)?;
            options.max_batch_items = Some(limit);
        }
        if let Some(limit) = self.delivery_timeout {
            let limit = if limit.is_finite() { Some(duration(env, "deliveryTimeout", limit)?) } else { None };
            options.delivery_timeout = limit;
        }
        Ok(options)
    }
}

pub(crate) fn set<T>(given: Option<T>, field: &mut T) {
    if let Some(value) = given {
        *field = value;
    }
}

/// A number of bytes or things, which is to be at least 1.
fn set_size(env: Env, name: &str, given: Option<f64>, field: &mut usize) -> napi::Result<()> {
    let Some(value) = given else { return Ok(()) };
    if value.is_nan() || value < 1.0 {
        return Err(error::invalid_argument(env, format!("{name} must be > 0")));
    }
    // A number that no machine has is as good as the largest one: the conversion saturates.
    *field = value as usize;
    Ok(())
}

pub(crate) fn set_duration(env: Env, name: &str, given: Option<f64>, field: &mut Duration) -> napi::Result<()> {
    if let Some(millis) = given {
        *field = duration(env, name, millis)?;
    }
    Ok(())
}

fn duration(env: Env, name: &str, millis: f64) -> napi::Result<Duration> {
    if millis == f64::INFINITY {
        return Ok(Duration::from_secs(u32::MAX.into()));
    }
    Duration::try_from_secs_f64(millis / 1000.0)
        .map_err(|_| error::invalid_argument(env, format!("{name} must be a number >= 0, not {millis}")))
}

fn offset(env: Env, text: &str) -> napi::Result<Offset> {
    Offset::new(text).map_err(|why| refused_offset(env, text, why))
}

fn refused_offset(env: Env, offset: &str, why: impl std::fmt::Display) -> napi::Error {
    error::throw(env, &Error::invalid_argument(format!("offset {offset:?}: {why}")))
}
