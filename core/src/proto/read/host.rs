//! Bodies that a host keeps in memory of its own, such as a page: they are copied only where somebody has to look at them.
//! A JSON answer that the host parses whole is never looked at here.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A piece of the body of an answer.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Its bytes.
    Bytes(Bytes),
    /// The host holds more of the body than it did before.
    Host(Arc<dyn HostBody>),
}

impl Piece {
    /// Its bytes; from a host everything that it holds, which it forgets.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Host(body) => {
                let bytes = body.bytes();
                body.clear();
                bytes
            }
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// The body of one answer in the host's memory, to which the host adds what comes in. It adds nothing between handing over
/// a [`Piece`] and being asked for the next one. No method may panic.
pub trait HostBody: Send + Sync + fmt::Debug {
    /// How many bytes it holds.
    fn held(&self) -> usize;
    /// A copy of them.
    fn bytes(&self) -> Bytes;
    /// Forgets them.
    fn clear(&self);
    /// What they say, if they are exactly one JSON array in UTF-8. For anything else nothing: then our own scanner looks
    /// at the text, and says what is wrong with it.
    fn parse(&self) -> Option<ParsedArray>;
}

/// What a host made of a JSON array ([`HostBody::parse`]).
#[derive(Clone)]
pub struct ParsedArray {
    /// How many elements the array has.
    pub len: u64,
    /// The array, in a form that only the host knows.
    pub value: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for ParsedArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedArray").field("len", &self.len).finish_non_exhaustive()
    }
}
