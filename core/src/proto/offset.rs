//! Offsets: opaque tokens that name one position in one stream (PROTOCOL.md section 3).
//!
//! [`Offset`] is a position that a server handed out; [`ReadFrom`] is where a read starts, which may
//! also be a sentinel. Two types, so that a sentinel can never be stored as a position (S-OFF-4).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::names;

/// A position in a stream, exactly as the server wrote it.
///
/// Clients never build, trim or count with one (C-REQ-2). Order is bytewise, which for two offsets of
/// one stream is stream order (S-OFF-2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(Arc<str>);

impl Offset {
    /// Checks a token against the rules of PROTOCOL.md S-OFF-3 and S-OFF-4.
    ///
    /// # Errors
    /// The token is empty, longer than 255 characters, a sentinel, or holds a forbidden character.
    pub fn new(token: impl Into<Arc<str>>) -> Result<Self, InvalidOffset> {
        let token = token.into();
        if token.is_empty() {
            return Err(InvalidOffset("an offset may not be empty"));
        }
        if token.len() > 255 {
            return Err(InvalidOffset("an offset is at most 255 characters long"));
        }
        if &*token == names::OFFSET_BEGINNING || &*token == names::OFFSET_NOW {
            return Err(InvalidOffset("`-1` and `now` are places to read from, not offsets"));
        }
        if token.as_bytes().windows(2).any(|pair| pair == b"..")
            || token.bytes().any(|b| matches!(b, b',' | b'&' | b'=' | b'?' | b'/') || b <= b' ' || b == 0x7f)
        {
            return Err(InvalidOffset("an offset has no space, control character, `..`, or any of `,&=?/`"));
        }
        Ok(Self(token))
    }

    /// The token, byte for byte as received.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is before another position of the same stream, also where a server counts without leading zeros:
    /// after its `9` comes `10`, which S-OFF-2 forbids, but which is no reason to take the stream for another one. An
    /// offset never gets shorter as it goes on.
    pub(crate) fn is_surely_before(&self, other: &Self) -> bool {
        self.0.len() <= other.0.len() && self < other
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({})", self.0)
    }
}

impl FromStr for Offset {
    type Err = InvalidOffset;

    fn from_str(token: &str) -> Result<Self, InvalidOffset> {
        Self::new(token)
    }
}

/// Where a read starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadFrom {
    /// The first message that is still there (`-1`).
    #[default]
    Beginning,
    /// The tail at the time of the request: only what comes later (`now`).
    Now,
    /// Just after a known position.
    At(Offset),
}

impl ReadFrom {
    /// The value of the `offset` query parameter, not yet percent-encoded.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Beginning => names::OFFSET_BEGINNING,
            Self::Now => names::OFFSET_NOW,
            Self::At(offset) => offset.as_str(),
        }
    }
}

impl From<Offset> for ReadFrom {
    fn from(offset: Offset) -> Self {
        Self::At(offset)
    }
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReadFrom {
    type Err = InvalidOffset;

    fn from_str(text: &str) -> Result<Self, InvalidOffset> {
        match text {
            names::OFFSET_BEGINNING => Ok(Self::Beginning),
            names::OFFSET_NOW => Ok(Self::Now),
            token => Offset::new(token).map(Self::At),
        }
    }
}

/// A token that cannot be an offset; says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOffset(&'static str);

impl fmt::Display for InvalidOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidOffset {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sentinels_are_places_to_read_from_but_never_offsets() {
        assert_eq!("-1".parse(), Ok(ReadFrom::Beginning));
        assert_eq!("now".parse(), Ok(ReadFrom::Now));
        assert!(Offset::new("-1").is_err());
        assert!(Offset::new("now").is_err());
    }

    #[test]
    fn tokens_that_could_break_a_url_are_refused() {
        for bad in ["", "a b", "a,b", "a&b", "a=b", "a?b", "a/b", "a\0b", "a\r\nb", "..", "a..b"] {
            assert!(Offset::new(bad).is_err(), "{bad:?}");
        }
        assert!(Offset::new("x".repeat(256)).is_err());
    }

    proptest! {
        #[test]
        fn a_token_comes_back_untouched_and_orders_bytewise(a in "[A-Za-z0-9_.~-]{1,40}", b in "[A-Za-z0-9_.~-]{1,40}") {
            if let (Ok(x), Ok(y)) = (Offset::new(a.as_str()), Offset::new(b.as_str())) {
                prop_assert_eq!(x.as_str(), a.as_str());
                prop_assert_eq!(x.cmp(&y), a.as_bytes().cmp(b.as_bytes()));
            }
        }
    }
}
