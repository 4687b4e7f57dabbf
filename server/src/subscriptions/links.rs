//! The streams of one subscription, where its workers are in them, and which have something new. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::engine::Position;
use crate::storage::StreamId;

/// The last position that was processed (S-WAKE-4); `BEGINNING` lies before everything, and goes over the wire as `-1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Acked(Option<Position>);

impl Acked {
    pub(super) const BEGINNING: Self = Self(None);

    pub(super) fn at(position: Position) -> Self {
        Self(Some(position))
    }

    /// Whether a stream with this tail has something after it (S-WAKE-1).
    pub(super) fn is_before(self, tail: Position) -> bool {
        tail > self.0.unwrap_or(Position::ZERO)
    }
}

impl fmt::Display for Acked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(position) => position.fmt(f),
            None => f.write_str("-1"),
        }
    }
}

impl FromStr for Acked {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "-1" => Ok(Self::BEGINNING),
            _ => Position::parse(text).map(Self::at).ok_or("malformed offset"),
        }
    }
}

impl Serialize for Acked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Acked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One stream of a subscription, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) path: Arc<str>,
    /// Named by the client.
    pub(super) explicit: bool,
    /// Matched by the pattern.
    pub(super) glob: bool,
    pub(super) acked: Acked,
    /// The incarnation that `acked` is about; `None` while there is no stream of this name. An offset of a stream that
    /// was deleted means nothing in the next one.
    #[serde(with = "incarnation", default)]
    pub(super) stream: Option<StreamId>,
}

impl Link {
    /// `explicit`, also when the pattern matches too (S-SUB-6).
    pub(super) fn link_type(&self) -> &'static str {
        if self.explicit { "explicit" } else { "glob" }
    }
}

mod incarnation {
    use super::*;

    pub(super) fn serialize<S: Serializer>(id: &Option<StreamId>, serializer: S) -> Result<S::Ok, S::Error> {
        id.map(|id| id.0).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StreamId>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(StreamId))
    }
}

/// All links of a subscription.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    by_path: BTreeMap<Arc<str>, (Link, Option<Position>)>,
    /// Those with something new.
    pending: BTreeSet<Arc<str>>,
}

impl Links {
    /// Sets a link. Its tail is known no more if it is about another incarnation.
    pub(super) fn set(&mut self, link: Link) {
        let path = Arc::clone(&link.path);
        let tail = match self.by_path.get(&path) {
            Some((known, tail)) if known.stream == link.stream => *tail,
            _ => None,
        };
        self.by_path.insert(Arc::clone(&path), (link, tail));
        self.judge(&path);
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.by_path.remove(path);
        self.pending.remove(path);
    }

    /// Moves a cursor, never back.
    pub(super) fn ack(&mut self, path: &str, acked: Acked) {
        if let Some((link, _)) = self.by_path.get_mut(path) {
            link.acked = link.acked.max(acked);
            self.judge(path);
        }
    }

    /// Takes note of a tail. One that is lower than one before is old news.
    pub(super) fn saw(&mut self, path: &str, tail: Position) {
        if let Some((_, known)) = self.by_path.get_mut(path) {
            *known = (*known).max(Some(tail));
            self.judge(path);
        }
    }

    fn judge(&mut self, path: &str) {
        let Some((link, tail)) = self.by_path.get(path) else { return };
        if tail.is_some_and(|tail| link.acked.is_before(tail)) {
            self.pending.insert(Arc::clone(&link.path));
        } else {
            self.pending.remove(path);
        }
    }

    pub(super) fn find(&self, path: &str) -> Option<&Link> {
        self.by_path.get(path).map(|(link, _)| link)
    }

    /// The last tail that was seen, if the stream is there.
    pub(super) fn tail(&self, path: &str) -> Option<Position> {
        self.by_path.get(path)?.1
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.by_path.values().map(|(link, _)| link)
    }

    /// The links with something new, by path, and their tails.
    pub(super) fn pending(&self) -> impl Iterator<Item = (&Arc<str>, Position)> {
        self.pending.iter().filter_map(|path| Some((path, self.tail(path)?)))
    }

    pub(super) fn is_pending(&self, path: &str) -> bool {
        self.pending.contains(path)
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// At most `limit` links, those with something new first.
    pub(super) fn urgent(&self, limit: usize) -> impl Iterator<Item = &Link> {
        let pending = self.pending.iter().filter_map(|path| self.find(path));
        pending.chain(self.iter().filter(|link| !self.pending.contains(&link.path))).take(limit)
    }
}

/// Tails are not kept: they are the streams' own.
impl PartialEq for Links {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Serialize for Links {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Links {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut links = Self::default();
        Vec::<Link>::deserialize(deserializer)?.into_iter().for_each(|link| links.set(link));
        Ok(links)
    }
}
