//! What a create means for a path that is taken (PROTOCOL.md T-PUT rows 7 to 9, T-MATCH). Pure.

use bytes::Bytes;
use everstream::proto::content_type::{DEFAULT_CONTENT_TYPE, same_media_type};

use super::error::EngineError;
use super::expiry::Lifetime;
use super::fork::{self, ForkPoint, ForkRequest};

/// A create, as it was asked for.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// `Content-Type`; `None` when absent or not of the shape `type/subtype` (S-CREATE-1).
    pub content_type: Option<String>,
    /// TTL or deadline; `Unlimited` when absent.
    pub lifetime: Lifetime,
    /// Whether the stream is created closed (S-CREATE-7).
    pub closed: bool,
    /// The fork headers.
    pub fork: Option<ForkRequest>,
    /// The initial content, not yet framed.
    pub body: Bytes,
}

/// The stream that has the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Existing<'a> {
    /// Its content type.
    pub content_type: &'a str,
    /// Its lifetime.
    pub lifetime: &'a Lifetime,
    /// Whether it is closed now.
    pub closed: bool,
    /// How it was forked, if it was.
    pub fork: Option<&'a ForkPoint>,
    /// Deleted or expired, but kept for its forks.
    pub soft_deleted: bool,
}

/// Whether the request repeats what exists (T-PUT 7 to 9).
///
/// # Errors
/// The path is occupied by a soft-deleted stream, or some field differs.
pub(super) fn confirm(existing: Existing<'_>, request: &CreateRequest) -> Result<(), EngineError> {
    if existing.soft_deleted {
        return Err(EngineError::PathTaken);
    }
    if matches(existing, request) { Ok(()) } else { Err(EngineError::ConfigDiffers) }
}

fn matches(existing: Existing<'_>, request: &CreateRequest) -> bool {
    let forks_match = match (&request.fork, existing.fork) {
        (None, None) => true,
        (Some(asked), Some(point)) => {
            asked.source == *point.source
                && asked.offset.is_none_or(|offset| offset == point.offset)
                && asked.sub_offset == point.sub_offset
        }
        _ => false,
    };
    // What a fork request leaves out it takes from its source, then as at the first time.
    let type_matches = match (&request.content_type, existing.fork) {
        (None, Some(_)) => true,
        (None, None) => same_media_type(DEFAULT_CONTENT_TYPE, existing.content_type),
        (Some(given), _) => same_media_type(given, existing.content_type),
    };
    let lifetime = match existing.fork {
        Some(point) => fork::lifetime(&request.lifetime, &point.inherited),
        None => request.lifetime.clone(),
    };
    forks_match && type_matches && lifetime == *existing.lifetime && request.closed == existing.closed
}

#[cfg(test)]
mod tests {
    use super::super::expiry::Deadline;
    use super::super::position::Position;
    use super::*;

    fn until(at: u64, text: &str) -> Lifetime {
        Lifetime::Until(Deadline { at, text: text.into() })
    }

    fn plain(lifetime: &Lifetime) -> Existing<'_> {
        Existing {
            content_type: "application/json; charset=utf-8",
            lifetime,
            closed: false,
            fork: None,
            soft_deleted: false,
        }
    }

    fn request(content_type: &str) -> CreateRequest {
        CreateRequest { content_type: Some(content_type.into()), ..CreateRequest::default() }
    }

    #[test]
    fn every_field_of_t_match_decides() {
        let none = Lifetime::Unlimited;
        assert!(matches(plain(&none), &request("APPLICATION/JSON")));
        assert!(!matches(plain(&none), &request("text/plain")));
        assert!(!matches(plain(&none), &CreateRequest::default()));
        let octets = Existing { content_type: DEFAULT_CONTENT_TYPE, ..plain(&none) };
        assert!(matches(octets, &CreateRequest::default()));

        let ttl = |seconds| CreateRequest { lifetime: Lifetime::Ttl(seconds), ..request("application/json") };
        assert!(matches(plain(&Lifetime::Ttl(5)), &ttl(5)));
        assert!(!matches(plain(&Lifetime::Ttl(5)), &ttl(6)));
        assert!(!matches(plain(&Lifetime::Ttl(5)), &request("application/json")));
        assert!(!matches(plain(&none), &ttl(5)));

        let deadline =
            CreateRequest { lifetime: until(1000, "1970-01-01T01:00:01+01:00"), ..request("application/json") };
        assert!(matches(plain(&until(1000, "1970-01-01T00:00:01Z")), &deadline));
        assert!(!matches(plain(&until(1001, "1970-01-01T00:00:01.001Z")), &deadline));

        let closed = CreateRequest { closed: true, ..request("application/json") };
        assert!(!matches(plain(&none), &closed));
        let now_closed = Existing { closed: true, ..plain(&none) };
        assert!(matches(now_closed, &closed));
        assert!(!matches(now_closed, &request("application/json")));
    }

    #[test]
    fn a_repeated_fork_request_may_leave_out_what_it_inherited() {
        let point = ForkPoint {
            source: "src".into(),
            offset: Position(9),
            sub_offset: 2,
            base: Position(11),
            inherited: Lifetime::Ttl(60),
        };
        let fork = |source: &str, offset, sub_offset| CreateRequest {
            fork: Some(ForkRequest { source: source.into(), offset, sub_offset }),
            ..CreateRequest::default()
        };
        let inherited = Lifetime::Ttl(60);
        let existing = Existing { fork: Some(&point), ..plain(&inherited) };
        assert!(matches(existing, &fork("src", None, 2)));
        assert!(matches(existing, &fork("src", Some(Position(9)), 2)));
        assert!(!matches(existing, &fork("src", Some(Position(8)), 2)));
        assert!(!matches(existing, &fork("src", None, 0)));
        assert!(!matches(existing, &fork("other", None, 2)));
        assert!(!matches(existing, &request("application/json")));
        assert!(!matches(plain(&inherited), &fork("src", None, 2)));
        let own = Lifetime::Ttl(7);
        let with_own = Existing { lifetime: &own, ..existing };
        assert!(!matches(with_own, &fork("src", None, 2)));
    }

    #[test]
    fn a_soft_deleted_stream_keeps_its_path() {
        let none = Lifetime::Unlimited;
        let deleted = Existing { soft_deleted: true, ..plain(&none) };
        assert_eq!(confirm(deleted, &request("application/json")), Err(EngineError::PathTaken));
        assert_eq!(confirm(plain(&none), &request("a/b")), Err(EngineError::ConfigDiffers));
    }
}
