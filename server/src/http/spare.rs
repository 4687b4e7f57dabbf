//! Memory of requests and answers that is used again: most have about as many headers, and are forgotten soon.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};

use crate::pool::Pool;

/// So many are kept in each thread.
const KEPT: usize = 256;
/// Maps for more headers, some 100 bytes each, are not kept.
const LARGEST: usize = 16;

/// So many bytes of values are taken from the allocator at once. A value that is kept keeps them all.
const VALUES: usize = 2 << 10;
/// As many bytes of requests. A connection that stops in the middle of one may hold more than that in any case.
const REQUESTS: usize = 8 << 10;

thread_local! {
    static SPARE: Pool<HeaderMap> = const { Pool::new(KEPT) };
    static ROOM_FOR_VALUES: Room = Room::new(VALUES);
    static ROOM_FOR_REQUESTS: Room = Room::new(REQUESTS);
}

/// Memory for many copies, which is used again when none of them is left. Each of them would be taken in one thread and given
/// back in another, which costs allocators several times as much.
struct Room {
    bytes: usize,
    free: RefCell<BytesMut>,
}

impl Room {
    fn new(bytes: usize) -> Self {
        Self { bytes, free: RefCell::new(BytesMut::new()) }
    }

    fn copy(&self, bytes: &[u8]) -> Bytes {
        let mut free = self.free.borrow_mut();
        if free.capacity() < bytes.len() {
            free.reserve(self.bytes.max(bytes.len()));
        }
        // Taken off first: whatever counts references waits until all that was written before it has reached the cache.
        let rest = free.split_off(bytes.len());
        let mut copy = std::mem::replace(&mut *free, rest);
        copy.extend_from_slice(bytes);
        copy.freeze()
    }
}

/// An empty map with room for some headers.
pub(crate) fn headers(count: usize) -> HeaderMap {
    match SPARE.with(Pool::take) {
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
        SPARE.with(|spare| spare.keep(headers));
    }
}

/// A value for an answer that is on its way; `None` if the bytes are none of a header's.
pub(super) fn value(bytes: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(ROOM_FOR_VALUES.with(|room| room.copy(bytes))).ok()
}

/// A copy of what a connection has received. What may wait for long, as a live read does, has its own memory.
pub(crate) fn received(bytes: &[u8]) -> Bytes {
    if bytes.starts_with(b"POST ") && bytes.len() < REQUESTS / 2 {
        ROOM_FOR_REQUESTS.with(|room| room.copy(bytes))
    } else {
        Bytes::copy_from_slice(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
        assert_eq!(SPARE.with(Pool::len), 1);
        let again = headers(8);
        assert!(again.is_empty() && again.capacity() >= 8 && !again.contains_key(header::SET_COOKIE));
        (0..2 * KEPT).for_each(|_| keep(HeaderMap::with_capacity(4)));
        assert_eq!(SPARE.with(Pool::len), KEPT);
    }

    #[test]
    fn appends_lie_together_and_what_may_wait_for_long_lies_alone() {
        let text = |method: &str, count| format!("{method} /v1/stream/a HTTP/1.1\r\nx-number: {count}\r\n\r\n");
        let gaps = |method| {
            let received: Vec<_> = (0..100).map(|count| received(text(method, count).as_bytes())).collect();
            assert!(received.iter().enumerate().all(|(count, bytes)| bytes == text(method, count).as_bytes()));
            let follow = |pair: &[Bytes]| pair[0].as_ptr_range().end == pair[1].as_ptr();
            received.windows(2).filter(|pair| !follow(pair)).count()
        };
        assert!(gaps("POST") <= 1);
        assert_eq!(gaps("GET"), 99);
        let large = received(format!("POST {}", "x".repeat(REQUESTS)).as_bytes());
        assert!(large.is_unique());
    }

    #[test]
    fn values_are_their_own_and_their_memory_is_used_again() {
        let kept = value(b"kept").unwrap();
        let many: Vec<_> = (0..1000).map(|number| value(format!("{number}").as_bytes()).unwrap()).collect();
        assert!(many.iter().enumerate().all(|(number, value)| value.as_bytes() == format!("{number}").as_bytes()));
        assert_eq!(kept, "kept");
        assert_eq!(value(&[b'x'; 2 * VALUES]).unwrap().len(), 2 * VALUES);
        assert!(value(b"a\nb").is_none());
        drop((kept, many));
        let places: std::collections::HashSet<_> =
            (0..100 * VALUES).map(|_| value(b"0123456789").unwrap().as_bytes().as_ptr()).collect();
        assert!(places.len() < 2 * VALUES, "{} places", places.len());
    }
}
