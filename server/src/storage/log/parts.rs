//! Bytes that are written together: small parts in one buffer, large ones from where they are.

use bytes::Bytes;

/// Smaller parts are copied.
const LARGE: usize = 16 << 10;
/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 8 << 20;

#[derive(Default)]
pub(super) struct Parts {
    /// All that is not large.
    small: Vec<u8>,
    /// What is large, and where in `small` it belongs.
    large: Vec<(usize, Bytes)>,
    large_len: usize,
}

impl Parts {
    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.small.len() + self.large_len
    }

    /// Where small parts are put, behind everything. What is in it already may be changed, but neither removed nor moved.
    pub(super) fn small(&mut self) -> &mut Vec<u8> {
        &mut self.small
    }

    /// Adds a part that may be large; whether it is.
    pub(super) fn put(&mut self, part: &Bytes) -> bool {
        let is_large = part.len() >= LARGE;
        if is_large {
            self.large.push((self.small.len(), part.clone()));
            self.large_len += part.len();
        } else {
            self.small.extend_from_slice(part);
        }
        is_large
    }

    /// The bytes in order.
    pub(super) fn slices(&self) -> Vec<&[u8]> {
        let mut slices = Vec::with_capacity(2 * self.large.len() + 1);
        let mut from = 0;
        for (at, part) in &self.large {
            slices.extend([&self.small[from..*at], &part[..]]);
            from = *at;
        }
        slices.push(&self.small[from..]);
        slices
    }

    pub(super) fn clear(&mut self) {
        // What was needed once is not kept.
        if self.small.capacity() > KEPT {
            self.small = Vec::new();
        }
        self.small.clear();
        self.large.clear();
        self.large_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_order_whatever_their_sizes() {
        let mut parts = Parts::default();
        let large = Bytes::from(vec![7; LARGE]);
        let expected = [&b"ab"[..], &large, &large, b"c", &large].concat();
        for _ in 0..2 {
            assert_eq!((parts.len(), parts.slices().concat()), (0, Vec::new()));
            parts.small().push(b'a');
            assert!(!parts.put(&Bytes::from_static(b"b")));
            assert!(parts.put(&large) && parts.put(&large));
            parts.small().push(b'c');
            assert!(parts.put(&large));
            assert_eq!((parts.len(), parts.slices().concat()), (expected.len(), expected.clone()));
            parts.clear();
        }
    }
}
