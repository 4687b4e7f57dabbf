//! Base64 in a page: there speed matters less than what is downloaded, a hundredth of which the library would be.

#![cfg_attr(test, allow(dead_code, reason = "there it is only tested"))]

/// Bytes of whole groups of the standard alphabet, padded, with line ends anywhere; `None` for anything else.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut digits, mut padding) = (0_u32, 0, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'\r' | b'\n' => continue,
            b'=' => {
                padding += 1;
                0
            }
            // Nothing follows padding.
            _ if padding > 0 => return None,
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        group = group << 6 | u32::from(digit);
        digits += 1;
        if digits == 4 {
            // What padding stands for is no part of a byte, and has to be zero.
            let kept = 3_usize.checked_sub(padding).filter(|kept| *kept > 0)?;
            let whole = group.to_be_bytes();
            let (_, rest) = whole[1..].split_at(kept);
            if rest.iter().any(|it| *it != 0) {
                return None;
            }
            bytes.extend_from_slice(&whole[1..=kept]);
            (group, digits) = (0, 0);
        }
    }
    (digits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&STANDARD.encode(&bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_what_it_is_for_the_library(text in "[A-DQgw01+/\r\n]{0,8}[A-DQgw=\n_]{0,4}={0,4}") {
            prop_assert_eq!(decode(&text), STANDARD.decode(text.replace(['\r', '\n'], "")).ok());
        }
    }
}
