//! What happens to streams, from the engine to the machines: as it happens, or by looking at the streams.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::interest::Interest;
use super::links::{Acked, Link};
use super::service::Shared;
use super::spec::{Kind, Spec};
use super::subscription::Seen;
use super::writer::Core;
use crate::engine::{Engine, EngineError, Observer, Position, is_internal};
use crate::storage::{StreamId, StreamMeta};

/// Streams on one page of a listing.
const PAGE: usize = 1000;

/// Streams that something happened to, as the engine told it.
#[derive(Default)]
pub(super) struct News {
    pub(super) interest: RwLock<Interest>,
    streams: Mutex<HashMap<Arc<str>, Event>>,
    /// Told when there is something to look at.
    pub(super) arrived: Notify,
}

#[derive(Clone, Copy)]
enum Event {
    Appended { stream: StreamId, base: Position, tail: Position },
    Removed(StreamId),
}

impl Observer for News {
    fn appended(&self, stream: &StreamMeta, tail: Position) {
        if is_internal(&stream.name) || !self.interest.read().wants(&stream.name) {
            return;
        }
        let event = Event::Appended { stream: stream.id, base: stream.base(), tail };
        self.streams.lock().insert(Arc::clone(&stream.name), event);
        self.arrived.notify_one();
    }

    fn removed(&self, stream: &StreamMeta) {
        if !is_internal(&stream.name) && self.interest.read().wants(&stream.name) {
            self.streams.lock().insert(Arc::clone(&stream.name), Event::Removed(stream.id));
            self.arrived.notify_one();
        }
    }
}

impl Shared {
    /// Tells the machines what the engine told.
    pub(super) fn take_news(&self, core: &mut Core) {
        let news = std::mem::take(&mut *self.news.streams.lock());
        for (path, event) in news {
            match event {
                Event::Appended { stream, base, tail } => {
                    self.saw(core, &Seen { path: &path, stream, base, tail });
                }
                Event::Removed(stream) => {
                    // The guard must be gone when an update writes.
                    let ids = self.news.interest.read().subscribers(&path);
                    for id in ids {
                        let _ = self.update(core, &id, |it, step| it.handle_removed(&path, stream, step));
                    }
                }
            }
        }
    }

    fn saw(&self, core: &mut Core, seen: &Seen<'_>) {
        // The guard must be gone when an update writes.
        let ids = self.news.interest.read().subscribers(seen.path);
        for id in ids {
            let Ok(at) = self.moment() else { return };
            let _ = self.update(core, &id, |subscription, step| subscription.handle_seen(*seen, at, step));
        }
    }

    /// Looks at the streams of one subscription, or of all, as if they had just been appended to.
    pub(super) async fn look_at_streams(&self, id: Option<&str>) -> Result<(), EngineError> {
        let mut prefixes: Vec<String> = Vec::new();
        let mut paths: Vec<Arc<str>> = Vec::new();
        for (_, subscription) in
            self.core.lock().registry.iter().filter(|(other, _)| id.is_none_or(|id| &***other == id))
        {
            prefixes.extend(subscription.spec().glob().map(|glob| glob.first_literal().unwrap_or_default().to_owned()));
            let explicit = subscription.links().iter().filter(|link| link.explicit);
            paths.extend(explicit.map(|link| Arc::clone(&link.path)));
        }
        for path in paths {
            self.look_at_stream(&path).await?;
        }
        prefixes.sort_unstable();
        // Of two prefixes where one begins with the other, the shorter one finds everything.
        prefixes.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        for prefix in prefixes {
            let see = |seen: Seen<'_>| self.saw(&mut self.core.lock(), &seen);
            each_stream(&self.engine, &prefix, see).await?;
        }
        Ok(())
    }

    pub(super) async fn look_at_stream(&self, path: &Arc<str>) -> Result<(), EngineError> {
        if let Some((stream, base, tail)) = self.tail_of(path).await? {
            self.saw(&mut self.core.lock(), &Seen { path, stream, base, tail });
        }
        Ok(())
    }

    pub(super) async fn tail_of(&self, path: &str) -> Result<Option<(StreamId, Position, Position)>, EngineError> {
        match self.engine.stream(path).await {
            Ok(stream) => Ok(Some((stream.meta().id, stream.meta().base(), stream.tail().position))),
            Err(EngineError::NotFound | EngineError::SoftDeleted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The links that a new subscription begins with (S-SUB-4).
    pub(super) async fn present(&self, spec: &Spec) -> Result<Vec<Link>, EngineError> {
        let glob = spec.glob();
        let matches = |path: &str| glob.as_ref().is_some_and(|glob| glob.matches(path));
        let takes_wakes = |path: &str| {
            matches!(&spec.kind, Kind::PullWake { wake_stream } if **wake_stream == *path)
                || self.news.interest.read().is_wake_stream(path)
        };
        let mut links = HashMap::new();
        for path in &spec.streams {
            if let Some((stream, _, tail)) = self.tail_of(path).await? {
                let (path, glob) = (Arc::clone(path), matches(path));
                let link = Link { path, explicit: true, glob, acked: Acked::at(tail), stream: Some(stream) };
                links.insert(Arc::clone(&link.path), link);
            }
        }
        if let Some(glob) = &glob {
            let see = |seen: Seen<'_>| {
                if glob.matches(seen.path) && !takes_wakes(seen.path) {
                    links.entry(Arc::clone(seen.path)).or_insert_with(|| Link {
                        path: Arc::clone(seen.path),
                        explicit: false,
                        glob: true,
                        acked: Acked::at(seen.tail),
                        stream: Some(seen.stream),
                    });
                }
            };
            each_stream(&self.engine, glob.first_literal().unwrap_or_default(), see).await?;
        }
        Ok(links.into_values().collect())
    }
}

/// Shows all streams whose names begin with `prefix`, as the storage has them.
async fn each_stream(engine: &Engine, prefix: &str, mut see: impl FnMut(Seen<'_>)) -> Result<(), EngineError> {
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = engine.list(prefix, after.as_deref(), PAGE).await?;
        for listed in page.iter().filter(|listed| !listed.soft_deleted) {
            let meta = &listed.meta;
            see(Seen { path: &meta.name, stream: meta.id, base: meta.base(), tail: listed.tail });
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(Arc::clone(&last.meta.name)),
            _ => return Ok(()),
        }
    }
}
