//! Subscriptions over real sockets (PROTOCOL.md sections 17 and 18). What needs no socket is tested in virtual time,
//! beside the state machine.
#![allow(clippy::unwrap_used)]

mod control;
mod durability;
mod examples;
mod pull_wake;
mod receiver;
#[path = "../support/mod.rs"]
mod support;
mod webhook;

use std::sync::Arc;

use everstream_server::storage::{MemoryStorage, Storage};
use everstream_server::{RunningServer, ServerBuilder};
use serde_json::{Value, json};
use support::{Answer, TestClock, eventually, quick, request};

/// A server whose storage and clock outlive it.
struct World {
    storage: Arc<dyn Storage>,
    clock: Arc<TestClock>,
}

impl Default for World {
    fn default() -> Self {
        Self::over(Arc::new(MemoryStorage::new()))
    }
}

impl World {
    fn over(storage: Arc<dyn Storage>) -> Self {
        Self { storage, clock: TestClock::at(1_700_000_000_000) }
    }

    async fn start(&self) -> Api {
        self.start_with(|server| server).await
    }

    async fn start_with(&self, change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Api {
        let server = quick().storage(Arc::clone(&self.storage)).clock(Arc::clone(&self.clock) as _);
        Api(change(server).start().await.unwrap())
    }
}

/// The control API and the streams of one server.
struct Api(RunningServer);

impl Api {
    async fn call(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![support::JSON];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        request(&self.0, method, &format!("/v1/stream/{path}"), &headers, body.as_bytes()).await
    }

    async fn put(&self, id: &str, body: &Value) -> Answer {
        self.call("PUT", &format!("__ds/subscriptions/{id}"), None, &body.to_string()).await
    }

    async fn get(&self, id: &str) -> Value {
        let answer = self.call("GET", &format!("__ds/subscriptions/{id}"), None, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn post(&self, id: &str, what: &str, token: Option<&str>, body: &Value) -> Answer {
        self.call("POST", &format!("__ds/subscriptions/{id}/{what}"), token, &body.to_string()).await
    }

    /// Creates a JSON stream, with content if there is some.
    async fn stream(&self, path: &str, body: &str) -> String {
        let answer = self.call("PUT", path, None, body).await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        answer.offset()
    }

    async fn append(&self, path: &str, body: &str) -> String {
        let answer = self.call("POST", path, None, body).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
        answer.offset()
    }

    async fn events(&self, path: &str) -> Vec<Value> {
        let answer = self.call("GET", path, None, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Waits for wake events, and for no more of them than asked for.
    async fn wakes(&self, path: &str, count: usize) -> Vec<Value> {
        eventually("wake events", async || self.events(path).await.len() >= count).await;
        let events = self.events(path).await;
        assert_eq!(events.len(), count, "{events:?}");
        events
    }

    async fn claim(&self, id: &str) -> Value {
        let answer = self.post(id, "claim", None, &json!({"worker": "w"})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Waits until the cursor of a stream is there.
    async fn acked(&self, id: &str, path: &str, offset: &str) {
        eventually("the cursor", async || acked_offset(&self.get(id).await, path).as_deref() == Some(offset)).await;
    }
}

trait Json {
    fn json(&self) -> Value;
    fn code(&self) -> (u16, String);
}

impl Json for Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and error code (T-SUBERR).
    fn code(&self) -> (u16, String) {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        assert!(self.status < 400 || body["error"]["message"].is_string(), "{}", self.text());
        (self.status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn acked_offset(subscription: &Value, path: &str) -> Option<String> {
    let streams = subscription["streams"].as_array()?;
    Some(streams.iter().find(|stream| stream["path"] == path)?["acked_offset"].as_str()?.to_owned())
}

/// The entry of a stream in what a worker is handed.
fn entry<'a>(work: &'a Value, path: &str) -> &'a Value {
    work["streams"].as_array().unwrap().iter().find(|stream| stream["path"] == path).unwrap()
}

fn pull(pattern: &str) -> Value {
    json!({"type": "pull-wake", "pattern": pattern, "wake_stream": "wakes", "lease_ttl_ms": 1000})
}

/// The acks of a wake, for these streams at these offsets.
fn ack(work: &Value, acks: &[(&str, &str)], done: bool) -> Value {
    let acks: Vec<_> = acks.iter().map(|(stream, offset)| json!({"stream": stream, "offset": offset})).collect();
    json!({"wake_id": work["wake_id"], "generation": work["generation"], "acks": acks, "done": done})
}

fn token(work: &Value) -> Option<&str> {
    work["token"].as_str().or_else(|| work["callback_token"].as_str())
}
