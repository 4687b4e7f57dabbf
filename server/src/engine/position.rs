//! Positions: offsets as the server counts them (PROTOCOL.md S-OFF-6).
//!
//! A position is the number of stored bytes before it, and goes over the wire as
//! `0000000000000000_0000000000001234`. The first field is always zero here.

use std::fmt;

use everstream::proto::offset::Offset;

/// A place in a stream: the number of stored bytes before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Length of the wire form: two fields of 16 digits and the underscore.
const WIRE_LEN: usize = 33;

impl Position {
    /// The start of every stream.
    pub const ZERO: Self = Self(0);

    /// Reads the wire form, `^\d{1,16}_\d{1,16}$`; anything else is `None` (S-OFF-7).
    ///
    /// A first field above zero names a place beyond everything that this server hands out.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, second) = text.split_once('_')?;
        let number = |field: &str| {
            let digits = (1..=16).contains(&field.len()) && field.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| field.parse::<u64>().ok()).flatten()
        };
        match (number(first)?, number(second)?) {
            (0, at) => Some(Self(at)),
            _ => Some(Self(u64::MAX)),
        }
    }

    /// The wire form, on the stack.
    pub fn to_wire(self) -> Wire {
        let mut wire = [b'0'; WIRE_LEN];
        wire[16] = b'_';
        let mut rest = self.0;
        for digit in wire[17..].iter_mut().rev() {
            if rest == 0 {
                break;
            }
            // A digit is below 10, so the cast keeps it.
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Wire(wire)
    }

    /// The wire form as the protocol crate's offset, for SSE control events.
    pub fn to_offset(self) -> Offset {
        // Digits and one underscore satisfy every rule of S-OFF-3 and S-OFF-4.
        #[allow(clippy::unwrap_used)]
        Offset::new(self.to_wire().as_str()).unwrap()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_wire().as_str())
    }
}

/// The wire form of a [`Position`].
pub struct Wire([u8; WIRE_LEN]);

impl Wire {
    /// As text.
    pub fn as_str(&self) -> &str {
        // Only ASCII digits and `_` are ever written.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_two_short_decimal_fields_are_a_position() {
        for bad in ["", "0", "_", "0_", "_0", "0_0_0", "-1", "now", "+1_0", "a_b", "0_12345678901234567", "0_0 ", "0_١"]
        {
            assert_eq!(Position::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Position::parse("0_7"), Some(Position(7)));
        assert_eq!(Position::parse("9999999999999999_9999999999999999"), Some(Position(u64::MAX)));
    }

    proptest! {
        #[test]
        fn the_wire_form_comes_back_and_orders_like_the_position(a in 0..10u64.pow(16), b in 0..10u64.pow(16)) {
            let (a, b) = (Position(a), Position(b));
            prop_assert_eq!(Position::parse(&a.to_string()), Some(a));
            prop_assert_eq!(a.to_offset().cmp(&b.to_offset()), a.cmp(&b));
        }
    }
}
