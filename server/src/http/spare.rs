//! Maps of headers that are used again: most requests have about as many headers, and so have most answers.

use std::cell::RefCell;

use http::HeaderMap;

/// So many are kept in each thread.
const KEPT: usize = 256;
/// Maps for more headers, some 100 bytes each, are not kept.
const LARGEST: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map with room for some headers.
pub(crate) fn headers(count: usize) -> HeaderMap {
    match SPARE.with_borrow_mut(Vec::pop) {
        Some(mut spare) => {
            spare.reserve(count);
            spare
        }
        None => HeaderMap::with_capacity(count),
    }
}

/// Keeps the memory of a map.
pub(crate) fn keep(mut headers: HeaderMap) {
    if headers.capacity() <= LARGEST && headers.capacity() > 0 {
        headers.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(headers);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn what_is_used_again_is_empty_and_neither_too_much_nor_too_large() {
        let mut map = headers(4);
        map.append(header::SET_COOKIE, HeaderValue::from_static("a"));
        map.append(header::SET_COOKIE, HeaderValue::from_static("b"));
        keep(map);
        keep(HeaderMap::with_capacity(100));
        keep(HeaderMap::new());
        assert_eq!(SPARE.with_borrow(Vec::len), 1);
        let again = headers(8);
        assert!(again.is_empty() && again.capacity() >= 8 && !again.contains_key(header::SET_COOKIE));
        (0..2 * KEPT).for_each(|_| keep(HeaderMap::with_capacity(4)));
        assert_eq!(SPARE.with_borrow(Vec::len), KEPT);
    }
}
