//! The registry: a stream that says which streams there are (API.md section 5).
//!
//! `__registry__` is a JSON stream of State Protocol events: an insert for each stream, itself included, and a delete
//! for each that is gone, by whatever cause. It is made when somebody asks for it first, and kept from then on; a server
//! whose registry nobody reads pays one atomic load for each create and delete.
//!
//! Events follow the changes: a create is answered before the registry says so. What a crash leaves out is made up for
//! at the next start, when the registry is compared with the streams that there are. The same happens when events come
//! faster than they can be stored for long.
//!
//! Streams that come and go would make it grow without end. So when it has many more events than there are streams, it is
//! begun anew: closed, deleted, and created with an insert for each stream that it said was there. A follower at its tail
//! has seen every event by then, and sees the end; the next incarnation begins with the state that the one before has ended
//! with, so nobody who reads it from its beginning misses anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use everstream::proto::content_type::StreamFormat;
use everstream::proto::names;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Millis;
use crate::engine::{Append, Change, CreateRequest, Engine, EngineError, Payload, Position};
use crate::storage::StreamMeta;

const CONTENT_TYPE: &str = "application/json";
/// Streams listed, and events stored, in one step.
const PAGE: usize = 1000;
/// How much of the registry is read in one step.
const PIECE: usize = 1 << 20;
/// It is begun anew when it has more events than this, and
const MANY: u64 = 10_000;
/// more than so many for each stream that is there.
const MANY_FOR_EACH: u64 = 4;
/// How long to wait after a failure of the storage.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the registry of an engine.
#[derive(Debug)]
pub(crate) struct Registry {
    engine: Engine,
    is_open: AtomicBool,
    opening: Mutex<()>,
    /// Events in it.
    events: AtomicU64,
}

/// The part of an event that matters here.
#[derive(Deserialize)]
struct Event {
    key: String,
    value: Option<EventValue>,
    headers: EventHeaders,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventValue {
    created_at: Option<Millis>,
}

#[derive(Deserialize)]
struct EventHeaders {
    operation: String,
}

impl Registry {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, is_open: AtomicBool::new(false), opening: Mutex::new(()), events: AtomicU64::new(0) }
    }

    /// Sees to it that the registry is there and complete. Cheap when it is.
    ///
    /// # Errors
    /// The name is taken by a stream of another kind, or a failure of the storage.
    pub(crate) async fn open(&self) -> Result<(), EngineError> {
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        let _alone = self.opening.lock().await;
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        // Whatever happens from here on is either in the list below, or among the changes, or in both.
        self.engine.keep_changes();
        self.create().await?;
        self.reconcile().await?;
        self.is_open.store(true, Ordering::Release);
        Ok(())
    }

    /// Keeps the registry until the server stops.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        // One that was there before goes on.
        if self.engine.stream(names::REGISTRY).await.is_ok() {
            while let Err(error) = self.open().await {
                tracing::warn!(%error, "the registry cannot be kept; it will be tried again");
                if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
            }
        }
        while stop.run_until_cancelled(self.engine.wait_for_changes()).await.is_some() {
            self.store_changes(&stop).await;
        }
        self.store_changes(&stop).await;
    }

    /// Stores the changes that have come up.
    async fn store_changes(&self, stop: &CancellationToken) {
        // Opening compares with the list, which has what came before it.
        let _alone = self.opening.lock().await;
        if !self.is_open.load(Ordering::Acquire) {
            return;
        }
        let mut changes = self.engine.take_changes();
        loop {
            let stored = match &changes {
                Some(changes) => self.append(changes.iter().map(event).collect()).await,
                None => self.reconcile().await,
            };
            let stored = match stored {
                Ok(()) if self.is_outgrown() => self.begin_anew().await,
                stored => stored,
            };
            let Err(error) = stored else { return };
            if !self.is_open.load(Ordering::Acquire) {
                tracing::warn!(%error, "the registry could not be begun anew; it will be when somebody reads it");
                return;
            }
            tracing::warn!(%error, "the registry lags behind; it will be tried again");
            // Which of the events were stored is not known: comparing finds out.
            changes = None;
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }

    fn is_outgrown(&self) -> bool {
        let events = self.events.load(Ordering::Relaxed);
        events > MANY && events / MANY_FOR_EACH > self.engine.stream_count()
    }

    /// Puts the state that it describes in its place. Whoever reads it meanwhile waits.
    async fn begin_anew(&self) -> Result<(), EngineError> {
        let mut state = BTreeMap::new();
        let stream = self.engine.stream(names::REGISTRY).await?;
        let mut position = Position::ZERO;
        loop {
            let piece = stream.read(position, PIECE).await?;
            for message in messages(&piece.data) {
                let Some(key) = message["key"].as_str().map(str::to_owned) else { continue };
                match message["headers"]["operation"].as_str() {
                    Some("delete") => drop(state.remove(&key)),
                    _ => drop(state.insert(key, message)),
                }
            }
            if piece.is_empty() || piece.is_up_to_date() {
                break;
            }
            position = piece.next;
        }
        self.is_open.store(false, Ordering::Release);
        // After a crash from here on it is made as at first, from the list of streams.
        stream.append(Append::close_only()).await?;
        self.create().await?;
        let itself = self.engine.stream(names::REGISTRY).await?;
        state.insert(names::REGISTRY.to_owned(), inserted(itself.meta()));
        let events = state.into_values().collect();
        self.append(events).await?;
        self.is_open.store(true, Ordering::Release);
        tracing::debug!(events = self.events.load(Ordering::Relaxed), "the registry was begun anew");
        Ok(())
    }

    /// Sees to it that there is one that takes events.
    async fn create(&self) -> Result<(), EngineError> {
        match self.engine.stream(names::REGISTRY).await {
            // It was to be begun anew.
            Ok(ended) if ended.tail().closed => self.engine.delete(names::REGISTRY).await?,
            _ => {}
        }
        let request = CreateRequest { content_type: Some(CONTENT_TYPE.to_owned()), ..CreateRequest::default() };
        self.engine.create(names::REGISTRY, request).await?;
        self.events.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Compares the registry with the streams that there are, and adds what it lacks.
    async fn reconcile(&self) -> Result<(), EngineError> {
        let mut said = self.said().await?;
        let mut after = None;
        loop {
            let page = self.engine.list("", after.as_deref(), PAGE).await?;
            let mut events = Vec::new();
            for listed in page.iter().filter(|listed| !listed.soft_deleted) {
                match said.remove(&*listed.meta.name) {
                    Some(created_at) if created_at == listed.meta.created_at => {}
                    // Another one of that name.
                    Some(_) => events.extend([deleted(&listed.meta.name), inserted(&listed.meta)]),
                    None => events.push(inserted(&listed.meta)),
                }
            }
            self.append(events).await?;
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.meta.name.to_string()),
                _ => break,
            }
        }
        self.append(said.keys().map(|name| deleted(name)).collect()).await
    }

    /// What the registry says: names, and when they were created.
    async fn said(&self) -> Result<HashMap<String, Millis>, EngineError> {
        let stream = self.engine.stream(names::REGISTRY).await?;
        let (mut said, mut count) = (HashMap::new(), 0);
        let mut position = Position::ZERO;
        loop {
            let piece = stream.read(position, PIECE).await?;
            for event in events(&piece.data) {
                count += 1;
                match event.headers.operation.as_str() {
                    "delete" => said.remove(&event.key),
                    _ => said.insert(event.key, event.value.and_then(|value| value.created_at).unwrap_or_default()),
                };
            }
            if piece.is_empty() || piece.is_up_to_date() {
                self.events.store(count, Ordering::Relaxed);
                return Ok(said);
            }
            position = piece.next;
        }
    }

    async fn append(&self, events: Vec<Value>) -> Result<(), EngineError> {
        let stream = self.engine.stream(names::REGISTRY).await?;
        for events in events.chunks(PAGE) {
            let body = Value::from(events).to_string();
            let append = Append {
                content_type: Some(CONTENT_TYPE.as_bytes()),
                payload: Payload::frame(StreamFormat::Json, body.into()),
                close: false,
                producer: None,
                stream_seq: None,
            };
            stream.append(append).await?;
            self.events.fetch_add(events.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn event(change: &Change) -> Value {
    match change {
        Change::Created(meta) => inserted(meta),
        Change::Removed(name) => deleted(name),
    }
}

fn inserted(meta: &StreamMeta) -> Value {
    json!({
        "type": "stream",
        "key": &*meta.name,
        "value": {"path": &*meta.name, "contentType": &*meta.content_type, "createdAt": meta.created_at},
        "headers": {"operation": "insert"},
    })
}

fn deleted(name: &str) -> Value {
    json!({"type": "stream", "key": name, "headers": {"operation": "delete"}})
}

/// The events in stored bytes: JSON messages with a comma after each. What is no event is passed over: the stream may
/// be from a time when everyone could write to it.
fn events(data: &[Bytes]) -> Vec<Event> {
    messages(data).into_iter().filter_map(|message| serde_json::from_value(message).ok()).collect()
}

fn messages(data: &[Bytes]) -> Vec<Value> {
    let mut array = Vec::with_capacity(data.iter().map(Bytes::len).sum::<usize>() + 2);
    array.push(b'[');
    data.iter().for_each(|block| array.extend_from_slice(block));
    if array.len() > 1 {
        array.pop();
    }
    array.push(b']');
    serde_json::from_slice(&array).unwrap_or_default()
}
