//! Everything that can go wrong with an operation, flat: the HTTP layer answers it in one match.

use std::fmt;

use everstream::proto::json::JsonError;

use super::position::Position;
use crate::storage::StorageError;

/// Why an operation was refused. The stream is as it was before (S-APPEND-5).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The stream is closed; nothing was appended (T-POST 8).
    Closed {
        /// The final offset.
        tail: Position,
    },
    /// A create names a stream that exists with another configuration (T-PUT 9).
    ConfigDiffers,
    /// The media type is not the stream's (T-POST 9).
    ContentTypeDiffers,
    /// A JSON append of `[]` (S-JSON-2).
    EmptyArray,
    /// An append without a body that does not close (S-APPEND-2).
    EmptyBody,
    /// A newer epoch of this producer is at work (T-PROD).
    Fenced {
        /// The current epoch.
        epoch: u64,
    },
    /// A fork offset lies beyond the source's tail (T-PUT 12).
    ForkBeyondTail,
    /// A fork names a content type that is not the source's (T-PUT 11).
    ForkContentTypeDiffers,
    /// The fork source does not exist (T-PUT 10).
    ForkSourceNotFound,
    /// The fork source is soft-deleted (T-PUT 10).
    ForkSourceSoftDeleted,
    /// A sub-offset reaches beyond the one append that follows the fork offset (S-FORK-5).
    ForkSubOffsetBeyond,
    /// A producer skipped a seq (T-PROD).
    Gap {
        /// The seq that is to come next.
        expected: u64,
        /// The seq that came.
        received: u64,
    },
    /// A JSON body is not one JSON document (S-JSON-1).
    InvalidJson(JsonError),
    /// An append with a body names no content type (S-APPEND-3).
    MissingContentType,
    /// A new epoch starts with a seq above 0 (T-PROD).
    NewEpochNotAtZero,
    /// No such stream, or it has expired.
    NotFound,
    /// A create names a path that a soft-deleted stream still occupies (T-PUT 7).
    PathTaken,
    /// `Stream-Seq` is not greater than the last one (S-SEQ-2).
    SeqRegression,
    /// Deleted by its owner, kept for its forks (S-FORK-18).
    SoftDeleted,
    /// The storage failed.
    Storage(StorageError),
    /// The append would make the stream larger than allowed.
    StreamFull {
        /// How many bytes it may have.
        limit: u64,
    },
    /// There are as many streams as are allowed.
    TooManyStreams {
        /// How many there may be.
        limit: u64,
    },
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { .. } => f.write_str("stream is closed"),
            Self::ConfigDiffers => f.write_str("stream exists with another configuration"),
            Self::ContentTypeDiffers => f.write_str("content type differs from the stream's"),
            Self::EmptyArray => f.write_str("an empty JSON array appends nothing"),
            Self::EmptyBody => f.write_str("an append needs a body"),
            Self::Fenced { epoch } => write!(f, "producer epoch is stale, the current one is {epoch}"),
            Self::ForkBeyondTail => f.write_str("fork offset is beyond the tail of the source"),
            Self::ForkContentTypeDiffers => f.write_str("content type differs from the fork source's"),
            Self::ForkSourceNotFound => f.write_str("fork source not found"),
            Self::ForkSourceSoftDeleted => f.write_str("fork source is deleted"),
            Self::ForkSubOffsetBeyond => f.write_str("fork sub-offset is beyond the append that follows"),
            Self::Gap { expected, received } => write!(f, "producer seq {expected} expected, {received} received"),
            Self::InvalidJson(error) => error.fmt(f),
            Self::MissingContentType => f.write_str("an append needs a content type"),
            Self::NewEpochNotAtZero => f.write_str("a new producer epoch starts at seq 0"),
            Self::NotFound => f.write_str("stream not found"),
            Self::PathTaken => f.write_str("path is occupied by a deleted stream that still has forks"),
            Self::SeqRegression => f.write_str("Stream-Seq is not greater than the last one"),
            Self::SoftDeleted => f.write_str("stream is deleted"),
            Self::Storage(error) => error.fmt(f),
            Self::StreamFull { limit } => {
                write!(f, "the stream would be larger than the {limit} bytes allowed; delete it or write to another")
            }
            Self::TooManyStreams { limit } => {
                write!(f, "there are {limit} streams, and no more are allowed; delete some")
            }
        }
    }
}

impl std::error::Error for EngineError {}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<JsonError> for EngineError {
    fn from(error: JsonError) -> Self {
        Self::InvalidJson(error)
    }
}
