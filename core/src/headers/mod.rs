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

    /// Headers that are kept for long, as text: a quarter of what the map takes. What comes from a connection would also hold
    /// all that was read with it.
    #[cfg(feature = "driver")]
    #[derive(Clone)]
    pub(crate) struct Kept(Box<[u8]>);

    /// Begins the line of a value that is not to be shown. No name begins with it.
    #[cfg(feature = "driver")]
    const SENSITIVE: u8 = b' ';

    #[cfg(feature = "driver")]
    impl Kept {
        pub(crate) fn of(headers: HeaderMap) -> Self {
            let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 3).sum();
            let mut text = Vec::with_capacity(size);
            for (name, value) in &headers {
                if value.is_sensitive() {
                    text.push(SENSITIVE);
                }
                text.extend_from_slice(name.as_str().as_bytes());
                text.push(b':');
                text.extend_from_slice(value.as_bytes());
                text.push(b'\n');
            }
            Self(text.into_boxed_slice())
        }

        pub(crate) fn map(&self) -> HeaderMap {
            let lines = self.0.split(|&byte| byte == b'\n').filter_map(|line| {
                let is_sensitive = line.first() == Some(&SENSITIVE);
                let line = &line[usize::from(is_sensitive)..];
                // No name has a colon in it, and no value a line's end.
                let colon = line.iter().position(|&byte| byte == b':')?;
                let mut value = HeaderValue::from_bytes(&line[colon + 1..]).ok()?;
                value.set_sensitive(is_sensitive);
                Some((HeaderName::from_bytes(&line[..colon]).ok()?, value))
            });
            lines.fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
        }
    }

    #[cfg(all(test, feature = "driver"))]
    mod tests {
        use super::*;

        #[test]
        fn what_is_kept_comes_back_as_it_was() {
            let mut headers = HeaderMap::new();
            for (name, value) in
                [("set-cookie", &b"a=b; c:d"[..]), ("x-empty", b""), ("etag", b"\"1\""), ("set-cookie", b"\xff\t")]
            {
                headers
                    .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
            }
            let mut secret = HeaderValue::from_static("secret");
            secret.set_sensitive(true);
            headers.append(AUTHORIZATION, secret);
            let kept = Kept::of(headers.clone()).map();
            assert_eq!(kept, headers);
            let cookies: Vec<_> = kept.get_all("set-cookie").iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(cookies, [&b"a=b; c:d"[..], b"\xff\t"]);
            assert!(kept[AUTHORIZATION].is_sensitive() && !kept[ETAG].is_sensitive());
            assert!(Kept::of(HeaderMap::new()).map().is_empty());
        }
    }
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub use self::full::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use self::small::*;
