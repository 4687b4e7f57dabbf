//! Rules of forks (PROTOCOL.md section 7). Pure.

use std::sync::Arc;

use everstream::proto::content_type::{StreamFormat, same_media_type};

use super::error::EngineError;
use super::expiry::Lifetime;
use super::position::Position;

/// What a create asks for when it forks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkRequest {
    /// Name of the source.
    pub source: String,
    /// `Stream-Fork-Offset`; the source's tail when absent (S-FORK-2).
    pub offset: Option<Position>,
    /// `Stream-Fork-Sub-Offset`; absent is 0 (S-FORK-4).
    pub sub_offset: u64,
}

/// How a fork hangs on its source. Kept for the life of the fork.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkPoint {
    /// Name of the source. The name stays the source's as long as the fork lives (S-FORK-18).
    pub source: Arc<str>,
    /// The fork offset, as requested or as it defaulted.
    pub offset: Position,
    /// The sub-offset, as requested.
    pub sub_offset: u64,
    /// Where the fork's own data begins: the inherited data ends here (S-FORK-7).
    pub base: Position,
    /// The lifetime that the fork has if its request names none (T-LIFE).
    pub inherited: Lifetime,
}

/// The source at the moment of the fork.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// Its content type.
    pub content_type: &'a str,
    /// Its tail.
    pub tail: Position,
}

/// One append of a stream, by the positions of its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendShape {
    /// Where it begins.
    pub start: Position,
    /// Where each of its messages ends, in order; never empty.
    pub ends: Vec<Position>,
}

/// Checks content type and offset of a fork request against its source (T-PUT 11 and 12) and gives the
/// fork offset.
///
/// # Errors
/// The explicit content type differs, or the offset lies beyond the tail.
pub(super) fn fork_offset(
    request: &ForkRequest,
    content_type: Option<&str>,
    source: Source<'_>,
) -> Result<Position, EngineError> {
    if content_type.is_some_and(|given| !same_media_type(given, source.content_type)) {
        return Err(EngineError::ForkContentTypeDiffers);
    }
    match request.offset {
        Some(offset) if offset > source.tail => Err(EngineError::ForkBeyondTail),
        Some(offset) => Ok(offset),
        None => Ok(source.tail),
    }
}

/// Where the fork's own data begins: `sub_offset` messages or bytes past the fork offset (S-FORK-3).
///
/// `following` is the append that ends first after the fork offset, cut at the source's tail; `None` at
/// the tail. A fork offset inside a message moves to that message's end, as reads do.
///
/// # Errors
/// The sub-offset reaches beyond the end of that append (S-FORK-5).
pub(super) fn base(
    format: StreamFormat,
    offset: Position,
    sub_offset: u64,
    following: Option<&AppendShape>,
) -> Result<Position, EngineError> {
    let Some(append) = following else {
        return if sub_offset == 0 { Ok(offset) } else { Err(EngineError::ForkSubOffsetBeyond) };
    };
    let aligned = if append.start >= offset || append.ends.contains(&offset) {
        offset
    } else {
        append.ends.iter().copied().find(|&end| end > offset).unwrap_or(offset)
    };
    if sub_offset == 0 {
        return Ok(aligned);
    }
    let target = if format == StreamFormat::Json {
        let beyond = usize::try_from(sub_offset - 1).ok();
        beyond.and_then(|skip| append.ends.iter().copied().filter(|&end| end > aligned).nth(skip))
    } else {
        let end = append.ends.last().copied();
        let target = aligned.0.checked_add(sub_offset).map(Position);
        target.filter(|&target| end.is_some_and(|end| target <= end))
    };
    target.ok_or(EngineError::ForkSubOffsetBeyond)
}

/// The lifetime of a fork (T-LIFE): its own if it asks for one, else the source's.
pub(super) fn lifetime(requested: &Lifetime, source: &Lifetime) -> Lifetime {
    match requested {
        Lifetime::Unlimited => source.clone(),
        Lifetime::Ttl(_) | Lifetime::Until(_) => requested.clone(),
    }
}

/// References to a stream and whether its owner deleted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Live forks that name the stream as source (S-FORK-14).
    pub forks: u32,
    /// Deleted, or expired, while forks lived (S-FORK-18, S-EXP-6).
    pub soft_deleted: bool,
}

/// What deletion or expiry of a stream comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Remove it with its data.
    Remove,
    /// Hide it and keep its data for its forks.
    SoftDelete,
}

impl References {
    /// What deleting the stream means while it has these references (S-DEL-2).
    pub fn removal(self) -> Removal {
        if self.forks > 0 { Removal::SoftDelete } else { Removal::Remove }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BEYOND: EngineError = EngineError::ForkSubOffsetBeyond;

    fn shape(start: u64, ends: &[u64]) -> AppendShape {
        AppendShape { start: Position(start), ends: ends.iter().copied().map(Position).collect() }
    }

    #[test]
    fn a_json_sub_offset_counts_messages_up_to_the_end_of_one_append() {
        let append = shape(10, &[12, 15, 20]);
        let at = |sub| base(StreamFormat::Json, Position(10), sub, Some(&append));
        assert_eq!(at(0), Ok(Position(10)));
        assert_eq!(at(1), Ok(Position(12)));
        assert_eq!(at(3), Ok(Position(20)));
        assert_eq!(at(4), Err(BEYOND));
        assert_eq!(at(u64::MAX), Err(BEYOND));
        let from_inside = base(StreamFormat::Json, Position(12), 1, Some(&append));
        assert_eq!(from_inside, Ok(Position(15)));
    }

    #[test]
    fn other_sub_offsets_count_bytes_up_to_the_end_of_one_append() {
        let append = shape(10, &[20]);
        let at = |sub| base(StreamFormat::Binary, Position(10), sub, Some(&append));
        assert_eq!(at(3), Ok(Position(13)));
        assert_eq!(at(10), Ok(Position(20)));
        assert_eq!(at(11), Err(BEYOND));
        assert_eq!(at(u64::MAX), Err(BEYOND));
    }

    #[test]
    fn at_the_tail_only_a_sub_offset_of_zero_is_possible() {
        assert_eq!(base(StreamFormat::Json, Position(9), 0, None), Ok(Position(9)));
        assert_eq!(base(StreamFormat::Json, Position(9), 1, None), Err(BEYOND));
    }

    #[test]
    fn a_fork_offset_inside_a_message_moves_to_its_end() {
        let append = shape(10, &[12, 15]);
        assert_eq!(base(StreamFormat::Json, Position(11), 0, Some(&append)), Ok(Position(12)));
        assert_eq!(base(StreamFormat::Json, Position(13), 0, Some(&append)), Ok(Position(15)));
    }

    #[test]
    fn every_cell_of_t_life_is_as_the_table_says() {
        use super::super::expiry::Deadline;
        let until = |at| Lifetime::Until(Deadline { at, text: "x".into() });
        for source in [Lifetime::Unlimited, Lifetime::Ttl(5), until(9)] {
            assert_eq!(lifetime(&Lifetime::Unlimited, &source), source);
            assert_eq!(lifetime(&Lifetime::Ttl(7), &source), Lifetime::Ttl(7));
            assert_eq!(lifetime(&until(1), &source), until(1));
        }
    }

    #[test]
    fn offset_and_type_are_checked_against_the_source() {
        let source = Source { content_type: "text/plain; charset=utf-8", tail: Position(5) };
        let request = |offset| ForkRequest { source: "s".into(), offset, sub_offset: 0 };
        assert_eq!(fork_offset(&request(None), None, source), Ok(Position(5)));
        assert_eq!(fork_offset(&request(Some(Position(5))), Some("TEXT/PLAIN"), source), Ok(Position(5)));
        assert_eq!(fork_offset(&request(Some(Position(6))), None, source), Err(EngineError::ForkBeyondTail));
        assert_eq!(fork_offset(&request(None), Some("text/html"), source), Err(EngineError::ForkContentTypeDiffers));
    }

    #[test]
    fn a_stream_with_forks_is_only_hidden() {
        let mut references = References::default();
        assert_eq!(references.removal(), Removal::Remove);
        references.forks = 1;
        assert_eq!(references.removal(), Removal::SoftDelete);
    }
}
