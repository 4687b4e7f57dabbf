//! What lets caches share answers: entity tags, `Cache-Control`, cursors (PROTOCOL.md sections 10, 15, 16).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use super::compress::Coding;
use crate::clock::Millis;
use crate::engine::Position;
use crate::storage::StreamId;

/// Answers with data that anyone may share.
pub(super) const SHARED: HeaderValue = HeaderValue::from_static("public, max-age=60, stale-while-revalidate=300");
/// Answers with data that only the client itself may keep.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=60, stale-while-revalidate=300");
/// Answers that describe only this moment.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// SSE (S-SSE-1).
pub(super) const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// An entity tag: incarnation, start as requested, end, closure, coding (S-ETAG-1, S-ETAG-2, S-ETAG-5).
pub(super) struct Tag(String);

impl Tag {
    pub(super) fn new(id: StreamId, start: &str, end: Position, closed: bool, coding: Option<Coding>) -> Self {
        let (id, end, closed) = (id.to_digits(), end.to_wire(), if closed { ":c" } else { "" });
        // ASCII alone.
        let id = std::str::from_utf8(&id).unwrap_or_default();
        // Each coding is a representation of its own (S-HTTP-15).
        let (dash, coding) = coding.map_or(("", ""), |coding| ("-", coding.name()));
        Self(["\"", id, ":", start, ":", end.as_str(), closed, dash, coding, "\""].concat())
    }

    /// As a header value.
    pub(super) fn into_header(self) -> HeaderValue {
        // Hex digits, offsets that were parsed, and punctuation: always legal.
        HeaderValue::try_from(self.0).unwrap_or(const { HeaderValue::from_static("\"\"") })
    }

    /// Whether `If-None-Match` names this tag: a list of tags, weak or not, or `*` (S-ETAG-4).
    pub(super) fn is_named_by(&self, headers: &HeaderMap) -> bool {
        names_tag(headers, &self.0)
    }
}

/// Whether `If-None-Match` names a tag, which is given in its strong form.
pub(super) fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == tag)
}

/// 2024-10-09T00:00:00Z, where cursors count from.
const CURSOR_EPOCH: Millis = 1_728_432_000_000;

/// The cursor of a live answer (S-CUR): the number of the present interval, or a number ahead of the
/// client's own if that is not behind.
pub(super) fn cursor(client: Option<&str>, now: Millis, interval: Duration) -> u64 {
    let interval = interval.as_secs().max(1);
    let present = now.saturating_sub(CURSOR_EPOCH) / (interval * 1000);
    let client = client
        .filter(|text| (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse::<u64>().ok());
    match client {
        Some(client) if client >= present => {
            let seconds = random() % 3600 + 1;
            client + seconds.div_ceil(interval)
        }
        _ => present,
    }
}

/// A number that differs from call to call, to keep apart what would come together. It guards nothing, so that it need not
/// cost each long-poll a system call: it is a hash of nothing, under keys that are others each time.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NOW: Millis = CURSOR_EPOCH + 100_000;
    const INTERVAL: Duration = Duration::from_secs(20);

    #[test]
    fn a_client_that_is_behind_gets_the_present_interval() {
        for client in [None, Some("4"), Some(""), Some("x"), Some("-1"), Some("1234567890123456"), Some("+9")] {
            assert_eq!(cursor(client, NOW, INTERVAL), 5, "{client:?}");
        }
        assert_eq!(cursor(None, 0, INTERVAL), 0);
    }

    #[test]
    fn a_client_that_is_not_behind_moves_on_by_up_to_an_hour() {
        for client in ["5", "6", "999999999999999"] {
            let number: u64 = client.parse().unwrap_or_default();
            for _ in 0..100 {
                let next = cursor(Some(client), NOW, INTERVAL);
                assert!((number + 1..=number + 180).contains(&next), "{client} -> {next}");
            }
        }
    }

    #[test]
    fn clients_that_ask_together_are_sent_apart() {
        let cursors: HashSet<u64> = (0..200).map(|_| cursor(Some("6"), NOW, INTERVAL)).collect();
        // Of 180 steps, 200 clients leave 60 out on average.
        assert!(cursors.len() > 60, "{cursors:?}");
    }

    #[test]
    fn if_none_match_takes_lists_weak_tags_and_a_star() {
        let tag = Tag::new(StreamId(1), "-1", Position(5), true, None);
        let named = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            tag.is_named_by(&headers)
        };
        assert!(named("\"0000000000000001:-1:0000000000000000_0000000000000005:c\""));
        assert!(named("\"x\", W/\"0000000000000001:-1:0000000000000000_0000000000000005:c\""));
        assert!(named("*"));
        assert!(!named("\"0000000000000001:-1:0000000000000000_0000000000000005\""));
        assert!(!named("0000000000000001:-1:0000000000000000_0000000000000005:c"));
    }
}
