//! How streams go: deleted, expired, or no longer needed by their forks (PROTOCOL.md S-DEL, S-EXP, S-FORK-19).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::changes::Change;
use super::directory::Reservation;
use super::error::EngineError;
use super::fork::Removal;
use super::notify::Ended;
use super::stream::Stream;
use super::{Engine, weight};

impl Engine {
    /// Removes a stream, or hides it while forks need its data.
    pub(super) async fn remove(&self, reservation: &mut Reservation, stream: Arc<Stream>) -> Result<(), EngineError> {
        if self.remove_data(reservation, &stream).await? == Removal::Remove
            && let Some(source) = stream.source()
        {
            source.release_fork();
            self.remove_unneeded(&source.meta().name).await;
        }
        Ok(())
    }

    /// Removes or hides one stream and tells its followers.
    async fn remove_data(&self, reservation: &mut Reservation, stream: &Stream) -> Result<Removal, EngineError> {
        // One that was only kept for its forks is gone already, as far as anyone can see.
        let was_there = stream.tail().ended.is_none();
        let removal = stream.begin_removal();
        let meta = stream.meta();
        if let Err(error) = self.shared.storage.delete(&meta.name, meta.id, removal).await {
            stream.restore(removal);
            return Err(error.into());
        }
        self.shared.observation.removed(meta);
        match removal {
            Removal::SoftDelete => stream.end(Ended::SoftDeleted),
            Removal::Remove => {
                self.shared.streams.fetch_sub(weight(&meta.name), Ordering::Relaxed);
                reservation.set(None);
                stream.end(Ended::Removed);
            }
        }
        if was_there {
            self.shared.changes.note(&meta.name, || Change::Removed(Arc::clone(&meta.name)));
        }
        Ok(removal)
    }

    /// Removes a fork source that was deleted and has lost its last fork; then perhaps its own source, and
    /// so on (S-FORK-19). A failure is tried again by a later sweep.
    pub(super) async fn remove_unneeded(&self, name: &Arc<str>) {
        let mut next = Some(Arc::clone(name));
        while let Some(name) = next.take() {
            match self.remove_one_unneeded(&name).await {
                Ok(source) => next = source,
                Err(error) => {
                    tracing::warn!(stream = &*name, %error, "a deleted stream could not be removed; it will be tried again");
                    self.shared.expiries.push(self.shared.clock.now().saturating_add(1000), name);
                }
            }
        }
    }

    /// One step of the cascade; gives the name to look at next.
    async fn remove_one_unneeded(&self, name: &Arc<str>) -> Result<Option<Arc<str>>, EngineError> {
        let mut reservation = self.load_reserved(Arc::clone(name)).await?;
        let Some(stream) = reservation.stream().cloned() else {
            return Ok(None);
        };
        if stream.due() != Some(0) {
            return Ok(None);
        }
        self.remove_data(&mut reservation, &stream).await?;
        Ok(stream.source().map(|source| {
            source.release_fork();
            Arc::clone(&source.meta().name)
        }))
    }

    /// Removes a stream whose time has come; otherwise has it looked at again.
    pub(super) async fn expire(&self, name: Arc<str>) -> Result<(), EngineError> {
        let mut reservation = self.load_reserved(Arc::clone(&name)).await?;
        let Some(stream) = reservation.stream().cloned() else {
            return Ok(());
        };
        match stream.due() {
            Some(deadline) if deadline > self.shared.clock.now() => self.shared.expiries.push(deadline, name),
            Some(_) => self.remove(&mut reservation, stream).await?,
            None => {}
        }
        Ok(())
    }
}
