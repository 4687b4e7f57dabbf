//! Which subscriptions care for a stream: asked after every append of every stream, once there is a subscription. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::spec::Kind;
use super::subscription::Subscription;
use crate::glob::Glob;

/// Subscriptions by what they watch.
#[derive(Debug, Default)]
pub(super) struct Interest {
    /// Ids by explicit path.
    explicit: HashMap<Arc<str>, HashSet<Arc<str>>>,
    /// Patterns and ids by the first segment of the pattern.
    globs: HashMap<Box<str>, Vec<(Glob, Arc<str>)>>,
    /// Those whose first segment is a star.
    starred: Vec<(Glob, Arc<str>)>,
    /// Wake streams, and how many subscriptions write to each.
    wake_streams: HashMap<Arc<str>, usize>,
}

impl Interest {
    /// Takes in the pattern, the wake stream and the explicit links of a new subscription.
    pub(super) fn add(&mut self, id: &Arc<str>, subscription: &Subscription) {
        let spec = subscription.spec();
        if let Some(glob) = spec.glob() {
            let globs = match glob.first_literal() {
                Some(first) => self.globs.entry(first.into()).or_default(),
                None => &mut self.starred,
            };
            globs.push((glob, Arc::clone(id)));
        }
        if let Kind::PullWake { wake_stream } = &spec.kind {
            *self.wake_streams.entry(Arc::clone(wake_stream)).or_default() += 1;
        }
        for link in subscription.links().iter().filter(|link| link.explicit) {
            self.link(id, &link.path);
        }
    }

    /// Forgets a subscription.
    pub(super) fn remove(&mut self, id: &Arc<str>, subscription: &Subscription) {
        let spec = subscription.spec();
        let is_other = |(_, other): &(Glob, Arc<str>)| other != id;
        match spec.glob().as_ref().and_then(Glob::first_literal) {
            None => self.starred.retain(is_other),
            Some(first) => {
                if let Some(globs) = self.globs.get_mut(first) {
                    globs.retain(is_other);
                    if globs.is_empty() {
                        self.globs.remove(first);
                    }
                }
            }
        }
        if let Kind::PullWake { wake_stream } = &spec.kind
            && let Some(count) = self.wake_streams.get_mut(wake_stream)
        {
            *count -= 1;
            if *count == 0 {
                self.wake_streams.remove(wake_stream);
            }
        }
        for link in subscription.links().iter().filter(|link| link.explicit) {
            self.unlink(id, &link.path);
        }
    }

    /// An explicit link is there.
    pub(super) fn link(&mut self, id: &Arc<str>, path: &Arc<str>) {
        self.explicit.entry(Arc::clone(path)).or_default().insert(Arc::clone(id));
    }

    /// An explicit link is gone.
    pub(super) fn unlink(&mut self, id: &Arc<str>, path: &str) {
        if let Some(ids) = self.explicit.get_mut(path) {
            ids.remove(id);
            if ids.is_empty() {
                self.explicit.remove(path);
            }
        }
    }

    /// Whether any subscription cares. Wake streams wake nobody: a wake event would cause the next one (S-WAKE-3).
    pub(super) fn wants(&self, path: &str) -> bool {
        !self.is_wake_stream(path) && (self.explicit.contains_key(path) || self.matching(path).next().is_some())
    }

    /// Whether wake events go there.
    pub(super) fn is_wake_stream(&self, path: &str) -> bool {
        self.wake_streams.contains_key(path)
    }

    /// The ids of those who care, each once.
    pub(super) fn subscribers(&self, path: &str) -> Vec<Arc<str>> {
        if self.is_wake_stream(path) {
            return Vec::new();
        }
        let explicit = self.explicit.get(path);
        let named = explicit.into_iter().flatten();
        let matching = self.matching(path).filter(|id| explicit.is_none_or(|ids| !ids.contains(*id)));
        named.chain(matching).cloned().collect()
    }

    fn matching<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let first = path.split('/').next().unwrap_or_default();
        let candidates = self.globs.get(first).into_iter().flatten().chain(&self.starred);
        candidates.filter(|(glob, _)| glob.matches(path)).map(|(_, id)| id)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::address::WebhookPolicy;
    use super::super::spec::Spec;
    use super::super::subscription::Moment;
    use super::*;

    fn subscription(body: &str) -> Subscription {
        let spec = Spec::parse(body.as_bytes(), Some(WebhookPolicy::default())).unwrap();
        Subscription::new(spec, String::new(), Vec::new(), Moment { now: 0, random: 0 })
    }

    #[test]
    fn s_wake_3_a_stream_has_the_subscribers_that_name_or_match_it_unless_it_is_a_wake_stream() {
        let by_both = subscription(r#"{"type":"pull-wake","pattern":"a/*","streams":["a/x","b"],"wake_stream":"a/w"}"#);
        let by_star = subscription(r#"{"type":"pull-wake","pattern":"*/x","wake_stream":"v"}"#);
        let (both, star): (Arc<str>, Arc<str>) = ("both".into(), "star".into());
        let mut interest = Interest::default();
        interest.add(&both, &by_both);
        interest.add(&star, &by_star);
        let sorted = |interest: &Interest, path: &str| {
            let mut ids = interest.subscribers(path);
            ids.sort();
            assert_eq!(interest.wants(path), !ids.is_empty(), "{path}");
            ids.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for (path, ids) in [
            ("a/x", vec!["both", "star"]),
            ("a/y", vec!["both"]),
            ("b", vec!["both"]),
            ("c/x", vec!["star"]),
            ("a/w", vec![]),
            ("v", vec![]),
            ("c", vec![]),
            ("a", vec![]),
        ] {
            assert_eq!(sorted(&interest, path), ids, "{path}");
        }
        interest.unlink(&both, "b");
        assert!(!interest.wants("b"));
        interest.remove(&both, &by_both);
        assert_eq!(sorted(&interest, "a/x"), ["star"]);
        assert_eq!(sorted(&interest, "a/w"), Vec::<String>::new());
        interest.remove(&star, &by_star);
        assert!(interest.explicit.is_empty() && interest.globs.is_empty() && interest.wake_streams.is_empty());
        assert!(interest.starred.is_empty());
    }
}
