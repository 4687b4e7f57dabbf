//! How streams are made, plain ones and forks (PROTOCOL.md sections 6 and 7).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use everstream::proto::content_type::{DEFAULT_CONTENT_TYPE, StreamFormat};

use super::changes::Change;
use super::create::{self, CreateRequest, Existing};
use super::directory::Reservation;
use super::error::EngineError;
use super::fork::{self, ForkPoint, ForkRequest};
use super::messages::Messages;
use super::stream::Stream;
use super::{Created, Engine, EngineLimits, weight};
use crate::storage::{NewStream, StorageError, StorageErrorKind, StreamId, StreamMeta};

impl Engine {
    /// Makes a stream, or confirms one that came into being meanwhile.
    pub(super) async fn create_slow(self, name: Arc<str>, request: CreateRequest) -> Result<Created, EngineError> {
        // The source is looked up before the name is reserved: two creates that name each other as source
        // would otherwise wait for one another.
        let source = match &request.fork {
            Some(fork) => self.find(&fork.source).await?,
            None => None,
        };
        let mut reservation = self.load_reserved(Arc::clone(&name)).await?;
        if let Some(stream) = reservation.stream().cloned() {
            if stream.is_kept_for_forks() {
                return Err(EngineError::PathTaken);
            }
            if !stream.is_expired() {
                return confirm(&stream, &request).map(|()| Created { stream, is_new: false });
            }
            self.remove(&mut reservation, stream).await?;
        }
        let Some(fork) = request.fork.clone() else {
            let meta = self.plain_meta(name, &request)?;
            return self.store(reservation, meta, None, request).await;
        };
        let source = source.ok_or(EngineError::ForkSourceNotFound)?;
        source.add_fork()?;
        let made = match self.fork_meta(name, &request, &fork, &source).await {
            Ok(meta) => self.store(reservation, meta, Some(Arc::clone(&source)), request).await,
            Err(error) => Err(error),
        };
        if made.is_err() {
            // A rejected fork leaves no reference behind (S-FORK-14).
            source.release_fork();
            self.remove_unneeded(&source.meta().name).await;
        }
        made
    }

    fn plain_meta(&self, name: Arc<str>, request: &CreateRequest) -> Result<StreamMeta, EngineError> {
        Ok(StreamMeta {
            name,
            id: new_id()?,
            content_type: request.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE).into(),
            lifetime: request.lifetime.clone(),
            created_at: self.shared.clock.now(),
            fork: None,
        })
    }

    async fn fork_meta(
        &self,
        name: Arc<str>,
        request: &CreateRequest,
        fork: &ForkRequest,
        source: &Stream,
    ) -> Result<StreamMeta, EngineError> {
        let facts = fork::Source { content_type: &source.meta().content_type, tail: source.tail().position };
        let offset = fork::fork_offset(fork, request.content_type.as_deref(), facts)?;
        let following = source.append_after(offset).await?;
        let base = fork::base(source.format(), offset, fork.sub_offset, following.as_ref())?;
        Ok(StreamMeta {
            name,
            id: new_id()?,
            content_type: match &request.content_type {
                Some(given) => given.as_str().into(),
                None => Arc::clone(&source.meta().content_type),
            },
            lifetime: fork::lifetime(&request.lifetime, &source.meta().lifetime),
            created_at: self.shared.clock.now(),
            fork: Some(Box::new(ForkPoint {
                source: Arc::clone(&source.meta().name),
                offset,
                sub_offset: fork.sub_offset,
                base,
                inherited: source.meta().lifetime.clone(),
            })),
        })
    }

    async fn store(
        &self,
        mut reservation: Reservation,
        meta: StreamMeta,
        source: Option<Arc<Stream>>,
        request: CreateRequest,
    ) -> Result<Created, EngineError> {
        let content = Messages::frame(StreamFormat::of(&meta.content_type), request.body)?;
        let is_empty = content.is_empty();
        let EngineLimits { stream_bytes, streams } = self.shared.limits.of(&meta.name);
        if content.data().len() as u64 > stream_bytes {
            return Err(EngineError::StreamFull { limit: stream_bytes });
        }
        let counted = Counted::one_more(&self.shared.streams, &meta.name, streams)?;
        let (name, deadline) = (Arc::clone(&meta.name), meta.lifetime.deadline(meta.created_at));
        let new = NewStream { meta, content, closed: request.closed };
        let loaded = self.shared.storage.create(new).await?;
        counted.keep();
        let stream = self.open(loaded, source);
        reservation.set(Some(Arc::clone(&stream)));
        self.shared.changes.note(&name, || Change::Created(Arc::clone(stream.meta())));
        drop(reservation);
        if !is_empty {
            self.shared.observation.appended(stream.meta(), stream.tail().position);
        }
        if let Some(deadline) = deadline {
            self.shared.expiries.push(deadline, name);
        }
        Ok(Created { stream, is_new: true })
    }
}

/// A stream that is being made, counted already, so that creates at the same time do not go beyond the limit together.
struct Counted<'a>(&'a AtomicU64, u64);

impl<'a> Counted<'a> {
    fn one_more(streams: &'a AtomicU64, name: &str, limit: u64) -> Result<Self, EngineError> {
        let weight = weight(name);
        let counted = Self(streams, weight);
        if streams.fetch_add(weight, Ordering::Relaxed) >= limit {
            return Err(EngineError::TooManyStreams { limit });
        }
        Ok(counted)
    }

    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// Whether a create matches what is there (T-PUT 8).
pub(super) fn confirm(stream: &Stream, request: &CreateRequest) -> Result<(), EngineError> {
    let meta = stream.meta();
    let existing = Existing {
        content_type: &meta.content_type,
        lifetime: &meta.lifetime,
        closed: stream.tail().closed,
        fork: meta.fork.as_deref(),
        soft_deleted: stream.is_kept_for_forks(),
    };
    create::confirm(existing, request)
}

fn new_id() -> Result<StreamId, EngineError> {
    getrandom::u64().map(StreamId).map_err(|error| {
        EngineError::Storage(StorageError {
            kind: StorageErrorKind::Conflict,
            message: format!("no randomness for a stream id: {error}"),
        })
    })
}
