//! Compression of catch-up and long-poll answers (PROTOCOL.md S-HTTP-14, S-HTTP-15).

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::{HeaderMap, HeaderValue, header};

/// Smaller bodies are sent as they are.
pub(super) const SMALLEST: usize = 1024;
/// Bodies of this size and above are compressed on a thread of their own, so that other connections go on.
const OFF_THREAD: usize = 128 * 1024;

/// A content coding that the server can produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    /// The name of the coding in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// As a `Content-Encoding`.
    pub(super) fn to_header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// The coding to use: gzip before deflate, whatever the client's order, and none that it refuses with `q=0`.
pub(super) fn negotiate(headers: &HeaderMap) -> Option<Coding> {
    let (mut gzip, mut deflate, mut any) = (None, None, None);
    let offered = headers.get_all(header::ACCEPT_ENCODING).iter();
    for item in offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts
            .filter_map(|parameter| parameter.split_once('='))
            .any(|(name, value)| name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0));
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            gzip = Some(!refused);
        } else if name.eq_ignore_ascii_case("deflate") {
            deflate = Some(!refused);
        } else if name == "*" {
            any = Some(!refused);
        }
    }
    if gzip.or(any) == Some(true) {
        Some(Coding::Gzip)
    } else if deflate.or(any) == Some(true) {
        Some(Coding::Deflate)
    } else {
        None
    }
}

/// Encodes a body.
///
/// # Errors
/// The encoder failed, which writing to memory does not do.
pub(super) async fn encode(blocks: Vec<Bytes>, coding: Coding) -> io::Result<Bytes> {
    if blocks.iter().map(Bytes::len).sum::<usize>() < OFF_THREAD {
        return encode_here(&blocks, coding);
    }
    tokio::task::spawn_blocking(move || encode_here(&blocks, coding)).await.map_err(io::Error::other)?
}

fn encode_here(blocks: &[Bytes], coding: Coding) -> io::Result<Bytes> {
    let out = Vec::with_capacity(blocks.iter().map(Bytes::len).sum::<usize>() / 4);
    let write_all = |to: &mut dyn Write| blocks.iter().try_for_each(|block| to.write_all(block));
    let encoded = match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(out, Compression::fast());
            write_all(&mut encoder)?;
            encoder.finish()?
        }
        // HTTP's `deflate` is the zlib format (RFC 9110 section 8.4.1.2).
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(out, Compression::fast());
            write_all(&mut encoder)?;
            encoder.finish()?
        }
    };
    Ok(encoded.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_preferred_and_a_refusal_is_honoured() {
        let rows = [
            ("", None),
            ("identity", None),
            ("gzip", Some(Coding::Gzip)),
            ("deflate, gzip;q=0.1", Some(Coding::Gzip)),
            ("gzip;q=0, deflate", Some(Coding::Deflate)),
            ("gzip; q=0.000 , deflate;Q=0", None),
            ("*", Some(Coding::Gzip)),
            ("*, gzip;q=0", Some(Coding::Deflate)),
            ("*;q=0", None),
            ("br, zstd", None),
        ];
        for (offered, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(offered));
            assert_eq!(negotiate(&headers), expected, "{offered}");
        }
    }
}
