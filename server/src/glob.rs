//! Patterns of stream names (PROTOCOL.md T-GLOB): subscriptions and access rules read them alike.
//!
//! A pattern and a name are split at `/`, and empty segments are dropped. A segment `*` stands for exactly one
//! segment, `**` for any number of them, and every other segment for itself: a `*` inside a longer segment is a
//! star, and `%2A` is how to name a segment that is a star. Letter case counts.

use std::fmt;
use std::str::FromStr;

/// A pattern of stream names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`
    Any,
    /// `*`
    One,
    Literal(Box<str>),
}

impl Glob {
    /// The pattern of every name.
    pub fn everything() -> Self {
        Self { segments: vec![Segment::Any] }
    }

    /// The pattern of one name alone, whatever characters are in it.
    pub fn exactly(name: &str) -> Self {
        Self { segments: segments(name).map(|segment| Segment::Literal(segment.into())).collect() }
    }

    /// Whether the pattern matches a name. The time it takes is bounded by the product of both lengths.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<&str> = segments(name).collect();
        let (mut at, mut given) = (0, 0);
        // The last `**`, and the first segment of the name that it does not stand for. Letting only the last one
        // grow is enough: whatever an earlier one could take as well, the last one takes.
        let mut last_any = None;
        while given < name.len() {
            match self.segments.get(at) {
                Some(Segment::Any) => {
                    last_any = Some((at, given));
                    at += 1;
                }
                Some(segment) if segment.is(name[given]) => {
                    at += 1;
                    given += 1;
                }
                _ => {
                    let Some((any, taken)) = last_any else { return false };
                    last_any = Some((any, taken + 1));
                    at = any + 1;
                    given = taken + 1;
                }
            }
        }
        self.segments[at..].iter().all(|segment| *segment == Segment::Any)
    }

    /// Whether the pattern matches every name that begins with `prefix`: it is plain segments that the prefix has in
    /// full, and `**` after them.
    pub fn covers(&self, prefix: &str) -> bool {
        let Some((Segment::Any, literals)) = self.segments.split_last() else {
            return false;
        };
        let mut rest = prefix;
        for literal in literals {
            let Segment::Literal(text) = literal else { return false };
            let Some(after) = rest.strip_prefix(&**text).and_then(|rest| rest.strip_prefix('/')) else {
                return false;
            };
            rest = after;
        }
        true
    }

    /// The first segment, if it is a plain one.
    pub fn first_literal(&self) -> Option<&str> {
        match self.segments.first() {
            Some(Segment::Literal(text)) => Some(text),
            _ => None,
        }
    }

    /// The same pattern with each plain segment changed; `None` when `change` refuses one. What it gives is taken as
    /// it is, whatever characters are in it.
    pub(crate) fn map_literals(&self, mut change: impl FnMut(&str) -> Option<String>) -> Option<Self> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => change(text).map(|text| Segment::Literal(text.into())),
            other => Some(other.clone()),
        });
        Some(Self { segments: segments.collect::<Option<_>>()? })
    }
}

impl Segment {
    fn is(&self, given: &str) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Literal(text) => **text == *given,
        }
    }
}

impl FromStr for Glob {
    type Err = EmptyGlob;

    fn from_str(text: &str) -> Result<Self, EmptyGlob> {
        let segments: Vec<Segment> = segments(text)
            .map(|segment| match segment {
                "**" => Segment::Any,
                "*" => Segment::One,
                literal => Segment::Literal(literal.replace("%2A", "*").replace("%2a", "*").into()),
            })
            .collect();
        if segments.is_empty() { Err(EmptyGlob) } else { Ok(Self { segments }) }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.segments.iter().enumerate() {
            if at > 0 {
                f.write_str("/")?;
            }
            match segment {
                Segment::Any => f.write_str("**")?,
                Segment::One => f.write_str("*")?,
                Segment::Literal(text) => f.write_str(&text.replace('*', "%2A"))?,
            }
        }
        Ok(())
    }
}

/// A pattern without a segment matches nothing, which nobody means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyGlob;

impl fmt::Display for EmptyGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pattern is empty")
    }
}

impl std::error::Error for EmptyGlob {}

fn segments(text: &str) -> impl Iterator<Item = &str> {
    text.split('/').filter(|segment| !segment.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        text.parse().unwrap()
    }

    #[test]
    fn stars_are_segments_and_nothing_else() {
        for (pattern, name, matches) in [
            ("a/b", "a/b", true),
            ("/a//b/", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b", "A/b", false),
            ("a/*", "a/b", true),
            ("a/*", "a", false),
            ("a/*", "a/b/c", false),
            ("a/**", "a", true),
            ("a/**", "a/b/c", true),
            ("a/**", "ab", false),
            ("**", "a/b", true),
            ("**/c", "c", true),
            ("**/c", "a/b/c", true),
            ("**/c", "a/b/cc", false),
            ("a/**/c/**/e", "a/c/x/c/y/e", true),
            ("a/**/c/**/e", "a/x/e", false),
            ("*/**", "a", true),
            ("a*", "a*", true),
            ("a*", "ab", false),
            ("%2A", "*", true),
            ("%2a/b", "*/b", true),
            ("%2A", "x", false),
        ] {
            assert_eq!(glob(pattern).matches(name), matches, "{pattern} {name}");
        }
        assert_eq!("//".parse::<Glob>(), Err(EmptyGlob));
    }

    #[test]
    fn a_prefix_is_covered_only_by_whole_segments_and_a_tail_of_any() {
        for (pattern, prefix, covers) in [
            ("**", "", true),
            ("**", "x", true),
            ("a/**", "a/", true),
            ("a/**", "a/b", true),
            ("a/**", "a", false),
            ("a/**", "ab/", false),
            ("a/**", "", false),
            ("a/*", "a/", false),
            ("*/**", "a/", false),
            ("a/b", "a/b", false),
        ] {
            assert_eq!(glob(pattern).covers(prefix), covers, "{pattern} {prefix}");
        }
    }

    /// The definition, in the plainest and slowest way.
    fn reference(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => {
                reference(rest, name) || name.split_first().is_some_and(|(_, tail)| reference(pattern, tail))
            }
            (Some((&first, rest)), Some((&given, tail))) => (first == "*" || first == given) && reference(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_matches(
            pattern in proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("*"), Just("**")], 1..7),
            name in proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 1..7),
        ) {
            let expected = reference(&pattern, &name);
            prop_assert_eq!(glob(&pattern.join("/")).matches(&name.join("/")), expected);
        }

        #[test]
        fn every_name_below_a_covered_prefix_matches(
            pattern in proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("*"), Just("**")], 1..5),
            prefix in "[ab/]{0,6}",
            rest in "[ab]{1,3}(/[ab]{1,2}){0,2}",
        ) {
            let pattern = glob(&pattern.join("/"));
            if pattern.covers(&prefix) {
                let name = format!("{prefix}{rest}");
                prop_assert!(pattern.matches(&name), "{} {}", pattern, name);
            }
        }

        #[test]
        fn a_pattern_is_shown_as_it_is_read(text in "[a-c*%2A/]{1,12}") {
            if let Ok(pattern) = text.parse::<Glob>() {
                prop_assert_eq!(glob(&pattern.to_string()), pattern);
            }
        }
    }
}
