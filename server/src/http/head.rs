//! `HEAD`: metadata without touching the lifetime (PROTOCOL.md section 9).

use std::sync::Arc;

use everstream::proto::names;
use http::{HeaderValue, Response, header};

use super::body::Body;
use super::cache::{self, Tag};
use super::error::HttpError;
use super::{App, insert, stream_response, truth};
use crate::engine::Lifetime;

pub(super) async fn handle(app: &Arc<App>, name: &str) -> Result<Response<Body>, HttpError> {
    let stream = app.engine().stream(name).await?;
    let (meta, tail) = (stream.meta(), stream.tail());
    let mut response = stream_response(&stream, tail.position, 0);
    let headers = response.headers_mut();
    insert(headers, &header::CONTENT_TYPE, meta.content_type.as_bytes());
    headers.insert(header::CACHE_CONTROL, cache::NO_STORE);
    let tag = Tag::new(meta.id, names::OFFSET_BEGINNING, tail.position, tail.closed, None);
    headers.insert(header::ETAG, tag.into_header());
    if tail.closed {
        headers.insert(names::STREAM_CLOSED, truth());
    }
    match &meta.lifetime {
        Lifetime::Unlimited => {}
        Lifetime::Ttl(seconds) => {
            headers.insert(names::STREAM_TTL, HeaderValue::from(*seconds));
        }
        Lifetime::Until(deadline) => {
            if let Ok(text) = HeaderValue::from_str(&deadline.text) {
                headers.insert(names::STREAM_EXPIRES_AT, text);
            }
        }
    }
    Ok(response)
}
