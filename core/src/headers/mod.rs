//! Headers of requests and answers: the types of the crate `http`.
//!
//! In a page these are smaller ones with the same names: the crate knows each standard header by a number of its own, and
//! its map is made for servers. Both together are a tenth of what a page would download.

#[cfg(any(test, all(target_family = "wasm", target_os = "unknown")))]
mod small;

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod full {
    pub use http::header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
        IF_NONE_MATCH, RETRY_AFTER,
    };

    /// The same with memory of its own, and no more than it takes. Values as they come from a connection are parts of what it
    /// read, and hold all of that; the map has room for as many headers again.
    #[cfg(feature = "driver")]
    pub(crate) fn detached(headers: HeaderMap) -> HeaderMap {
        // A copy is as large as what is in it.
        let mut headers = headers.clone();
        let mut memory = bytes::BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
        for value in headers.values_mut() {
            memory.extend_from_slice(value.as_bytes());
            // It was a value before.
            if let Ok(mut copy) = HeaderValue::from_maybe_shared(memory.split().freeze()) {
                copy.set_sensitive(value.is_sensitive());
                *value = copy;
            }
        }
        headers
    }
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub use self::full::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use self::small::*;
