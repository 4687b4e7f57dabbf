//! Where subscriptions are kept: an internal stream of the server's own storage, so that they are as durable as streams
//! are (S-SUB-12).
//!
//! A journal is a JSON stream `__ds/subscriptions/{number}`: a header, a snapshot of each subscription, then the changes
//! since. When the changes outgrow the snapshots, a new journal with the next number is created, with everything in its
//! initial content, which is atomic; then the old one is deleted. After a crash between the two, the highest number counts.

use bytes::Bytes;
use serde::Serialize;

use super::record::{FORMAT, Header, Record};
use crate::engine::{Append, CreateRequest, Engine, EngineError, Position};
use crate::storage::{StorageError, StorageErrorKind};

const PREFIX: &str = "__ds/subscriptions/";
const JSON: &str = "application/json";
/// Changes of this size do not yet count as much.
const SMALL: usize = 256 << 10;
/// How much is read at once.
const PIECE: usize = 1 << 20;

/// The journal that is written.
pub(super) struct Journal {
    engine: Engine,
    /// Zero while there is none.
    number: u64,
    snapshot_bytes: usize,
    change_bytes: usize,
}

impl Journal {
    /// Finds the journal and reads it.
    ///
    /// # Errors
    /// A failure of the storage, or a journal that cannot be read.
    pub(super) async fn open(engine: Engine) -> Result<(Self, Vec<Record>), EngineError> {
        let mut journals = engine.list_internal(PREFIX).await?;
        let last = journals.pop();
        for older in journals {
            engine.delete(&older.meta.name).await?;
        }
        let mut journal = Self { engine, number: 0, snapshot_bytes: 0, change_bytes: 0 };
        let Some(last) = last else { return Ok((journal, Vec::new())) };
        let name = &last.meta.name;
        let number = name.strip_prefix(PREFIX).and_then(|number| u64::from_str_radix(number, 16).ok());
        journal.number = number.ok_or_else(|| unreadable(name, "its name is not a number"))?;
        let records = journal.read(name).await?;
        Ok((journal, records))
    }

    async fn read(&mut self, name: &str) -> Result<Vec<Record>, EngineError> {
        let mut records = Vec::new();
        let messages = read_all(&self.engine, name).await?;
        let mut messages = messages.iter();
        let header = messages.next().ok_or_else(|| unreadable(name, "it is empty"))?;
        let header: Header = serde_json::from_str(header.get()).map_err(|error| unreadable(name, error))?;
        if header.subscriptions_format != FORMAT {
            return Err(unreadable(name, format!("its format is {}, not {FORMAT}", header.subscriptions_format)));
        }
        for message in messages {
            self.change_bytes += message.get().len();
            records.push(serde_json::from_str(message.get()).map_err(|error| unreadable(name, error))?);
        }
        Ok(records)
    }

    /// Whether [`replace`](Self::replace) is due, rather than [`append`](Self::append).
    pub(super) fn is_outgrown(&self) -> bool {
        self.number == 0 || self.change_bytes > self.snapshot_bytes.max(SMALL)
    }

    /// Adds records; durable when it returns.
    ///
    /// # Errors
    /// A failure of the storage: what is durable then shows when the journal is opened again.
    pub(super) async fn append(&mut self, records: &[Record]) -> Result<(), EngineError> {
        let body = encode(records)?;
        self.change_bytes += body.len();
        let stream = self.engine.stream(&name_of(self.number)).await?;
        stream.append(Append::new(JSON, body)).await.map(drop)
    }

    /// Begins a new journal with a snapshot of everything; durable when it returns.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(super) async fn replace(&mut self, snapshot: &[Record]) -> Result<(), EngineError> {
        let mut body = vec![b'['];
        let written = serde_json::to_writer(&mut body, &Header { subscriptions_format: FORMAT });
        written.map_err(|error| unreadable("a new journal", error))?;
        for record in snapshot {
            body.push(b',');
            serde_json::to_writer(&mut body, record).map_err(|error| unreadable("a new journal", error))?;
        }
        body.push(b']');
        let size = body.len();
        create(&self.engine, &name_of(self.number + 1), body.into()).await?;
        let old = self.number;
        self.number += 1;
        self.snapshot_bytes = size;
        self.change_bytes = 0;
        if old > 0
            && let Err(error) = self.engine.delete(&name_of(old)).await
        {
            tracing::warn!(%error, "an old journal of subscriptions could not be deleted; the next start does it");
        }
        Ok(())
    }
}

/// Creates an internal JSON stream with its content, unless it is there.
///
/// # Errors
/// A failure of the storage.
pub(super) async fn create(engine: &Engine, name: &str, body: Bytes) -> Result<(), EngineError> {
    let request = CreateRequest { content_type: Some(JSON.into()), body, ..CreateRequest::default() };
    engine.create(name, request).await.map(drop)
}

/// All messages of an internal JSON stream.
///
/// # Errors
/// A failure of the storage, or content that is not JSON.
pub(super) async fn read_all(
    engine: &Engine,
    name: &str,
) -> Result<Vec<Box<serde_json::value::RawValue>>, EngineError> {
    let stream = engine.stream(name).await?;
    let mut messages = Vec::new();
    let mut from = Position::ZERO;
    loop {
        let piece = stream.read(from, PIECE).await?;
        if piece.is_empty() {
            return Ok(messages);
        }
        // Stored messages end in a comma each.
        let mut text = vec![b'['];
        piece.data.iter().for_each(|block| text.extend_from_slice(block));
        text.pop();
        text.push(b']');
        let found: Vec<_> = serde_json::from_slice(&text).map_err(|error| unreadable(name, error))?;
        messages.extend(found);
        from = piece.next;
    }
}

fn name_of(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

fn encode(records: &[impl Serialize]) -> Result<Bytes, EngineError> {
    serde_json::to_vec(records).map(Bytes::from).map_err(|error| unreadable("a record", error))
}

/// Damage: going on without what cannot be read would lose wakes.
pub(super) fn unreadable(name: &str, why: impl std::fmt::Display) -> EngineError {
    let message = format!("the internal stream {name} cannot be used: {why}");
    EngineError::Storage(StorageError { kind: StorageErrorKind::Io, message })
}
