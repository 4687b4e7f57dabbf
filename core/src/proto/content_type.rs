//! Content types: what they mean for framing and for SSE (PROTOCOL.md sections 6, 12 and 13).

/// Content type of a stream that names none (S-CREATE-1).
pub const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// How the bytes of a stream are framed and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamFormat {
    /// Plain bytes; base64 over SSE.
    Binary,
    /// Messages are JSON values (PROTOCOL.md section 14).
    Json,
    /// Plain bytes that are UTF-8 text over SSE.
    Text,
}

impl StreamFormat {
    /// The format that a content type stands for; parameters and letter case do not matter (S-CREATE-3).
    pub fn of(content_type: &str) -> Self {
        let media_type = media_type(content_type);
        if media_type.eq_ignore_ascii_case("application/json") {
            Self::Json
        } else if media_type.len() > 5 && media_type.as_bytes()[..5].eq_ignore_ascii_case(b"text/") {
            Self::Text
        } else {
            Self::Binary
        }
    }

    /// Whether data events over SSE are base64 (S-SSE-2).
    pub fn sse_is_base64(self) -> bool {
        self == Self::Binary
    }
}

/// The media type alone: cut at the first `;` and trimmed. Letter case is kept.
pub fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether two content types name the same media type (S-CREATE-3).
pub fn same_media_type(a: &str, b: &str) -> bool {
    media_type(a).eq_ignore_ascii_case(media_type(b))
}

/// Whether a value has the shape `type/subtype`; anything else counts as absent on create (S-CREATE-1).
pub fn is_well_formed(content_type: &str) -> bool {
    let is_token =
        |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    media_type(content_type).split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_change_the_format() {
        assert_eq!(StreamFormat::of("Application/JSON; charset=utf-8"), StreamFormat::Json);
        assert_eq!(StreamFormat::of("TEXT/markdown;x=y"), StreamFormat::Text);
        for other in ["application/ndjson", "application/x-ndjson", "text", "", "application/json-seq", "image/png"] {
            assert_eq!(StreamFormat::of(other), StreamFormat::Binary, "{other}");
        }
    }

    #[test]
    fn only_a_type_and_a_subtype_make_a_content_type() {
        assert!(is_well_formed("application/json; charset=utf-8"));
        for bad in ["", "json", "/json", "application/", "a b/c", "a/b/c"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
