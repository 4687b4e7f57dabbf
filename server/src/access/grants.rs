//! What a caller may do: operations on patterns of streams.

use std::sync::Arc;

use everstream::proto::names;
use serde::{Deserialize, Serialize};

use super::caller::Resource;
use crate::glob::Glob;

/// What can be done with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// `GET` and `HEAD`, live or not; and to fork from it.
    Read,
    /// `POST`: append, close, or both.
    Append,
    /// `PUT`: create, with or without content.
    Create,
    /// `DELETE`.
    Delete,
    /// To list streams, and with a pattern of everything also metrics, subscriptions and fault injection.
    Admin,
}

/// Operations on the streams of one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) pattern: Glob,
    pub(super) operations: Operations,
}

/// Some of the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Operations(u8);

impl Operations {
    fn has(self, operation: Operation) -> bool {
        self.0 & Self::bit(operation) != 0
    }

    fn bit(operation: Operation) -> u8 {
        1 << operation as u8
    }
}

impl FromIterator<Operation> for Operations {
    fn from_iter<T: IntoIterator<Item = Operation>>(operations: T) -> Self {
        Self(operations.into_iter().fold(0, |bits, operation| bits | Self::bit(operation)))
    }
}

/// All grants of a caller.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants(pub(super) Arc<[Grant]>);

impl Grants {
    /// Whether some grant allows it.
    pub(super) fn allow(&self, operation: Operation, resource: Resource<'_>) -> bool {
        self.0.iter().any(|grant| grant.operations.has(operation) && grant.reaches(resource))
    }
}

impl Grant {
    fn reaches(&self, resource: Resource<'_>) -> bool {
        match resource {
            // The registry names every stream, so a star does not reach it unless it reaches every stream.
            Resource::Stream(names::REGISTRY) => {
                self.pattern.covers("") || self.pattern.first_literal() == Some(names::REGISTRY)
            }
            Resource::Stream(name) => self.pattern.matches(name),
            Resource::Listing { prefix } => self.pattern.covers(prefix),
            Resource::Subscription(id) => {
                self.pattern.covers("")
                    || (self.pattern.first_literal() == Some(names::CONTROL_SEGMENT)
                        && self.pattern.matches(&format!("{}/subscriptions/{id}", names::CONTROL_SEGMENT)))
            }
            Resource::Server => self.pattern.covers(""),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn grants(list: &[(&str, &[Operation])]) -> Grants {
        Grants(
            list.iter()
                .map(|(pattern, operations)| Grant {
                    pattern: pattern.parse().unwrap(),
                    operations: operations.iter().copied().collect(),
                })
                .collect(),
        )
    }

    #[test]
    fn only_what_is_granted_is_allowed() {
        let grants = grants(&[("a/**", &[Operation::Read, Operation::Append]), ("b/*", &[Operation::Delete])]);
        assert!(grants.allow(Operation::Read, Resource::Stream("a/x")));
        assert!(grants.allow(Operation::Append, Resource::Stream("a/x/y")));
        assert!(grants.allow(Operation::Delete, Resource::Stream("b/x")));
        for (operation, name) in [
            (Operation::Create, "a/x"),
            (Operation::Delete, "a/x"),
            (Operation::Admin, "a/x"),
            (Operation::Read, "b/x"),
            (Operation::Read, "ab"),
            (Operation::Read, "A/x"),
        ] {
            assert!(!grants.allow(operation, Resource::Stream(name)), "{operation:?} {name}");
        }
        assert!(!Grants::default().allow(Operation::Read, Resource::Stream("a")));
    }

    #[test]
    fn a_star_does_not_reach_the_registry_or_the_control_api() {
        let star =
            grants(&[("*", &[Operation::Read, Operation::Admin]), ("*/**", &[Operation::Read, Operation::Admin])]);
        assert!(star.allow(Operation::Read, Resource::Stream("x")));
        assert!(!star.allow(Operation::Read, Resource::Stream("__registry__")));
        assert!(!star.allow(Operation::Admin, Resource::Server));
        assert!(!star.allow(Operation::Read, Resource::Subscription("s")));
        let named = grants(&[("__registry__", &[Operation::Read]), ("__ds/subscriptions/s", &[Operation::Read])]);
        assert!(named.allow(Operation::Read, Resource::Stream("__registry__")));
        assert!(named.allow(Operation::Read, Resource::Subscription("s")));
        assert!(!named.allow(Operation::Read, Resource::Subscription("t")));
    }

    #[test]
    fn a_listing_needs_a_pattern_of_all_that_it_shows() {
        let tenant = grants(&[("t/**", &[Operation::Admin])]);
        assert!(tenant.allow(Operation::Admin, Resource::Listing { prefix: "t/" }));
        assert!(!tenant.allow(Operation::Admin, Resource::Listing { prefix: "t" }), "shows tx");
        assert!(!tenant.allow(Operation::Admin, Resource::Listing { prefix: "" }));
        assert!(!tenant.allow(Operation::Admin, Resource::Server));
    }
}
