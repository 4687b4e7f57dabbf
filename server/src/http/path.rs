//! URL paths to stream names (PROTOCOL.md section 2).
//!
//! The name of a stream is what follows the stream root, percent-decoded once, without one trailing
//! slash: `/v1/stream/a%20b/` and `/v1/stream/a b` are the same stream (S-URL-5). An encoded slash
//! separates segments like a plain one. Letter case counts.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::engine::is_internal;

/// The longest name, in bytes after decoding.
const LONGEST_NAME: usize = 1024;

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A stream.
    Stream(Cow<'a, str>),
    /// The control API (S-URL-3): what follows its segment, as it came, since an id there may hold encoded slashes.
    Control(&'a str),
    /// A path below the root that can be no stream's; says why.
    Invalid(&'static str),
    /// Nothing here.
    Elsewhere,
}

/// Finds out what a path stands for.
pub(super) fn target<'a>(root: &str, path: &'a str) -> Target<'a> {
    let Some(raw) = path.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')) else {
        return Target::Elsewhere;
    };
    let name = if raw.contains('%') {
        if !is_well_encoded(raw) {
            return Target::Invalid("the path has a percent sign that encodes nothing");
        }
        let Ok(name) = percent_decode_str(raw).decode_utf8() else {
            return Target::Invalid("the path is not UTF-8");
        };
        name
    } else {
        Cow::Borrowed(raw)
    };
    let name = match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.strip_suffix('/').unwrap_or(name)),
        Cow::Owned(mut name) => {
            if name.ends_with('/') {
                name.pop();
            }
            Cow::Owned(name)
        }
    };
    if name.is_empty() {
        return Target::Elsewhere;
    }
    if is_internal(&name) {
        let rest = raw.split_once('/').map_or("", |(_, rest)| rest);
        return Target::Control(rest.strip_suffix('/').unwrap_or(rest));
    }
    match check_name(&name) {
        Ok(()) => Target::Stream(name),
        Err(why) => Target::Invalid(why),
    }
}

/// Whether a stream can have this name, which is decoded already.
///
/// # Errors
/// Says why not.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if is_internal(name) {
        return Err("the segment `__ds` is reserved");
    }
    if name.len() > LONGEST_NAME {
        return Err("the path is too long");
    }
    let is_control = if name.is_ascii() {
        name.bytes().any(|byte| byte.is_ascii_control())
    } else {
        name.chars().any(char::is_control)
    };
    if is_control {
        return Err("the path has a control character");
    }
    if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("the path has an empty segment, `.` or `..`");
    }
    Ok(())
}

/// Whether two hex digits follow each percent sign. What does not decode would be one name here and another elsewhere.
fn is_well_encoded(path: &str) -> bool {
    let mut parts = path.as_bytes().split(|&byte| byte == b'%');
    parts.next();
    parts.all(|part| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit))
}

/// Percent-encodes a stream name for use in a URL.
pub(crate) fn encode_name(name: &str) -> String {
    const RESERVED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?');
    utf8_percent_encode(name, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> Target<'_> {
        Target::Stream(name.into())
    }

    #[test]
    fn names_are_decoded_once_and_lose_one_trailing_slash() {
        for (path, name) in [
            ("/v1/stream/a", "a"),
            ("/v1/stream/a/", "a"),
            ("/v1/stream/a/b", "a/b"),
            ("/v1/stream/a%2Fb", "a/b"),
            ("/v1/stream/a%20b%2520", "a b%20"),
            ("/v1/stream/%C3%A9", "é"),
            ("/v1/stream/...", "..."),
        ] {
            assert_eq!(target("/v1/stream", path), stream(name), "{path}");
        }
        assert_eq!(target("", "/a/b"), stream("a/b"));
    }

    #[test]
    fn traversal_and_garbage_are_refused() {
        let long = format!("/v1/stream/{}", "x".repeat(1025));
        for path in [
            "/v1/stream/..",
            "/v1/stream/a/../b",
            "/v1/stream/%2e%2E/b",
            "/v1/stream/a/./b",
            "/v1/stream//a",
            "/v1/stream/a//",
            "/v1/stream/a%00",
            "/v1/stream/a%0d%0ab",
            "/v1/stream/%ff",
            "/v1/stream/a%",
            "/v1/stream/%zz",
            &long,
        ] {
            assert!(matches!(target("/v1/stream", path), Target::Invalid(_)), "{path}");
        }
    }

    #[test]
    fn the_reserved_segment_is_the_control_api_and_only_as_the_first() {
        for (path, rest) in [
            ("__ds", ""),
            ("__ds/", ""),
            ("__ds/jwks.json", "jwks.json"),
            ("%5F_ds/x/y/", "x/y"),
            ("__ds/x%2Fy", "x%2Fy"),
            ("__ds%2Fkeys", ""),
            ("%5f%5Fds%2fkeys/x", "x"),
        ] {
            assert_eq!(target("/v1/stream", &format!("/v1/stream/{path}")), Target::Control(rest), "{path}");
        }
        assert_eq!(target("/v1/stream", "/v1/stream/a/__ds"), stream("a/__ds"));
        assert_eq!(target("/v1/stream", "/v1/stream/__dsx"), stream("__dsx"));
    }

    #[test]
    fn what_is_not_below_the_root_is_elsewhere() {
        for path in ["/", "/v1/stream", "/v1/stream/", "/v1/streams/a", "/a"] {
            assert_eq!(target("/v1/stream", path), Target::Elsewhere, "{path}");
        }
    }
}
