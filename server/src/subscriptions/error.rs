//! Why the control API refuses (PROTOCOL.md T-SUBERR).

use crate::engine::EngineError;

/// A row of T-SUBERR, or a failure of the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The subscription's lease is held (S-PULL-3).
    AlreadyClaimed {
        /// By whom.
        holder: String,
        /// In which generation.
        generation: u64,
    },
    /// The id is taken by another configuration (S-SUB-3).
    AlreadyExists,
    /// The wake is over, or another one has taken its place.
    Fenced,
    /// A field cannot be used; says which.
    Invalid(String),
    /// An ack names a stream or an offset that it cannot (T-ACK 6).
    InvalidOffset(String),
    /// A claim with nothing to do.
    NoPendingWork,
    /// No such subscription, or no such route.
    NotFound,
    /// The storage failed.
    Storage(EngineError),
    /// The token was genuine and is too old.
    TokenExpired,
    /// There is no token, or not one of this subscription's.
    TokenInvalid,
    /// The webhook may not be reached (S-SSRF).
    UrlRejected(String),
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Self::Storage(error)
    }
}

impl Refusal {
    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }
}
