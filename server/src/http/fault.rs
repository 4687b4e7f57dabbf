//! Faults on request, for tests of clients (API.md 6.2). Off unless the configuration asks for it.
//!
//! `POST /_test/inject-error` sets a fault for one exact path, in place of an earlier one;
//! `DELETE /_test/inject-error` clears all. A fault is used up by requests that match it, also by one
//! that it cannot harm.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use everstream::proto::sse::SseEncoder;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use parking_lot::Mutex;
use serde::Deserialize;

use super::body::{Body, Part};

/// Where faults are set and cleared.
pub(super) const PATH: &str = "/_test/inject-error";

/// A fault, as it is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fault {
    path: String,
    #[serde(default = "one")]
    count: u64,
    method: Option<String>,
    probability: Option<f64>,
    delay_ms: Option<u64>,
    jitter_ms: Option<u64>,
    #[serde(default)]
    drop_connection: bool,
    status: Option<u16>,
    retry_after: Option<u64>,
    truncate_body_bytes: Option<usize>,
    #[serde(default)]
    corrupt_body: bool,
    inject_sse_event: Option<SseFault>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SseFault {
    event_type: String,
    data: String,
}

fn one() -> u64 {
    1
}

impl Fault {
    fn does_something(&self) -> bool {
        self.delay_ms.is_some()
            || self.drop_connection
            || self.status.is_some()
            || self.truncate_body_bytes.is_some()
            || self.corrupt_body
            || self.inject_sse_event.is_some()
    }

    /// How long to wait before anything else.
    pub(super) fn delay(&self) -> Option<Duration> {
        let delay = self.delay_ms?;
        let jitter = (random_fraction() * self.jitter_ms.unwrap_or_default() as f64) as u64;
        Some(Duration::from_millis(delay.saturating_add(jitter)))
    }

    /// Whether the connection is cut without an answer.
    pub(super) fn drops_connection(&self) -> bool {
        self.drop_connection
    }

    /// The answer given in place of the real one.
    pub(super) fn answer(&self) -> Option<Response<Body>> {
        let status = StatusCode::from_u16(self.status?).ok()?;
        let mut response = Response::new(Body::Full(Bytes::from_static(b"Injected error for testing")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        Some(response)
    }

    /// Bodies are changed as they are stored, so nothing is compressed meanwhile.
    pub(super) fn prepare(&self, headers: &mut HeaderMap) {
        if self.truncate_body_bytes.is_some() || self.corrupt_body {
            headers.remove(header::ACCEPT_ENCODING);
        }
    }

    /// Changes the body of a real answer to a GET.
    pub(super) fn spoil(&self, response: Response<Body>) -> Response<Body> {
        response.map(|body| match body {
            Body::Live(events) => match &self.inject_sse_event {
                Some(fault) => {
                    let mut encoder = SseEncoder::new();
                    encoder.event(&fault.event_type, &fault.data);
                    Body::Live(Box::pin(stream::iter([Part::Whole(encoder.take())]).chain(events)))
                }
                None => Body::Live(events),
            },
            Body::Empty => Body::Empty,
            Body::Full(block) => self.spoil_bytes([block]),
            Body::Blocks(blocks, _) => self.spoil_bytes(blocks.into_iter().map(|block| block.data)),
        })
    }

    fn spoil_bytes(&self, blocks: impl IntoIterator<Item = Bytes>) -> Body {
        let mut bytes = BytesMut::new();
        blocks.into_iter().for_each(|block| bytes.extend_from_slice(&block));
        if let Some(length) = self.truncate_body_bytes {
            bytes.truncate(length);
        }
        if self.corrupt_body {
            for (at, byte) in bytes.iter_mut().enumerate() {
                match at {
                    0 => *byte = b'X',
                    1 => *byte = b'Y',
                    _ if random_fraction() < 0.1 => *byte = b'Z',
                    _ => {}
                }
            }
        }
        bytes.freeze().into()
    }
}

/// The faults that are set, by path.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<HashMap<String, Fault>>);

impl Faults {
    /// Sets the fault that a request body describes.
    ///
    /// # Errors
    /// The body is not a fault, or names no path or nothing to do.
    pub(crate) fn set(&self, body: &[u8]) -> Result<(), &'static str> {
        let fault: Fault = serde_json::from_slice(body).map_err(|_| "not a fault")?;
        if fault.path.is_empty() || !fault.does_something() {
            return Err("a fault needs a path and something to do");
        }
        self.0.lock().insert(fault.path.clone(), fault);
        Ok(())
    }

    /// Clears all faults.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// The fault for a request, used up by it.
    pub(super) fn take(&self, path: &str, method: &Method) -> Option<Fault> {
        let mut faults = self.0.lock();
        let fault = faults.get_mut(path)?;
        if fault.method.as_deref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(method.as_str()))
            || fault.probability.is_some_and(|chance| random_fraction() >= chance)
        {
            return None;
        }
        fault.count = fault.count.saturating_sub(1);
        if fault.count == 0 { faults.remove(path) } else { Some(fault.clone()) }
    }
}

/// From 0 up to 1. Without randomness 0, which means that faults happen.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.0, |random| f64::from(random) / f64::from(u32::MAX))
}
