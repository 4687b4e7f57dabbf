//! The requests of the control API (T-ROUTE), without their addresses.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use serde_json::json;

use super::SubscriptionOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::offset::{Offset, ReadFrom};
use crate::proto::request::Request;

/// GET of a subscription, of a page of them, or of the keys of webhooks.
///
/// # Errors
/// None that a caller can cause.
pub fn look() -> Result<Request> {
    Request::control(Method::GET, Bytes::new(), None)
}

/// PUT of a subscription.
///
/// # Errors
/// `InvalidArgument` when there is neither pattern nor stream (S-SUB-2), or the lease is out of range.
pub fn create(options: &SubscriptionOptions) -> Result<Request> {
    Request::control(Method::PUT, options.body()?, None)
}

/// DELETE of a subscription, or of one of its streams.
///
/// # Errors
/// None that a caller can cause.
pub fn remove() -> Result<Request> {
    Request::control(Method::DELETE, Bytes::new(), None)
}

/// POST of streams to add (S-SUB-11).
///
/// # Errors
/// None that a caller can cause.
pub fn add_streams(paths: &[String]) -> Result<Request> {
    Request::control(Method::POST, encode(&json!({ "streams": paths }))?, None)
}

/// POST that makes a new key for webhooks; those before it are good for `overlap`.
///
/// # Errors
/// None that a caller can cause.
pub fn rotate_key(overlap: Option<Duration>) -> Result<Request> {
    let body = match overlap {
        Some(overlap) => encode(&json!({ "overlap_ms": overlap.as_millis() as u64 }))?,
        None => Bytes::new(),
    };
    Request::control(Method::POST, body, None)
}

/// POST that takes the work of a pull-wake subscription (S-PULL-2).
///
/// # Errors
/// `InvalidArgument` when the worker has no name.
pub fn claim(worker: &str) -> Result<Request> {
    if worker.is_empty() {
        return Err(Error::invalid_argument("worker must have a name"));
    }
    Request::control(Method::POST, encode(&json!({ "worker": worker }))?, None)
}

/// One wake of a subscription, as its worker shows it (S-WAKE-2).
#[derive(Clone, Copy, Debug)]
pub struct WakeRef<'a> {
    /// Its name.
    pub wake_id: &'a str,
    /// Its fencing number.
    pub generation: u64,
    /// The token that came with it.
    pub token: &'a str,
}

/// Acks of positions as readers tell them, by path. One that has read nothing yet has nothing to ack (C-HOOK-3).
///
/// # Errors
/// `InvalidArgument` for what is no position.
pub fn acks(positions: impl IntoIterator<Item = (String, String)>) -> Result<Vec<(String, Offset)>> {
    let position = |(path, text): (String, String)| match text.parse::<ReadFrom>() {
        Ok(ReadFrom::Beginning) => Ok(None),
        Ok(ReadFrom::At(offset)) => Ok(Some((path, offset))),
        Ok(ReadFrom::Now) => Err(Error::invalid_argument(format!("{path:?}: \"now\" is no position to ack"))),
        Err(why) => Err(Error::invalid_argument(format!("{path:?}: the offset {text:?}: {why}"))),
    };
    positions.into_iter().filter_map(|it| position(it).transpose()).collect()
}

/// POST of acks, which begins the lease anew, or ends the wake if `done` (S-PULL-5, S-PULL-7).
///
/// # Errors
/// `InvalidArgument` for a token that no header can hold.
pub fn ack(wake: WakeRef<'_>, acks: &[(String, Offset)], done: bool) -> Result<Request> {
    #[derive(Serialize)]
    struct Body<'a> {
        wake_id: &'a str,
        generation: u64,
        acks: Vec<Entry<'a>>,
        done: bool,
    }
    #[derive(Serialize)]
    struct Entry<'a> {
        stream: &'a str,
        offset: &'a str,
    }
    let acks = acks.iter().map(|(stream, offset)| Entry { stream, offset: offset.as_str() });
    let body = Body { wake_id: wake.wake_id, generation: wake.generation, acks: acks.collect(), done };
    Request::control(Method::POST, encode(&body)?, Some(wake.token))
}

/// POST that ends the wake without acks (S-PULL-6).
///
/// # Errors
/// `InvalidArgument` for a token that no header can hold.
pub fn release(wake: WakeRef<'_>) -> Result<Request> {
    let body = encode(&json!({"wake_id": wake.wake_id, "generation": wake.generation}))?;
    Request::control(Method::POST, body, Some(wake.token))
}

/// A body of ours.
pub(super) fn encode(body: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("a request cannot be written as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_hook_3_a_reader_that_has_read_nothing_acks_nothing() {
        let of = |text: &str| acks([("a".to_owned(), text.to_owned())]);
        assert_eq!(of("-1").unwrap(), []);
        assert_eq!(of("7").unwrap(), [("a".to_owned(), Offset::new("7").unwrap())]);
        for bad in ["now", "", "a b"] {
            assert_eq!(of(bad).unwrap_err().code(), "INVALID_ARGUMENT", "{bad}");
        }
    }
}
