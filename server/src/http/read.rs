//! `GET`: what exists at an offset (PROTOCOL.md section 10). Long-poll and SSE go on from here.

use std::sync::Arc;

use bytes::Bytes;
use everstream::proto::content_type::StreamFormat;
use everstream::proto::names;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::{Block, Body};
use super::cache::{self, Tag};
use super::compress;
use super::error::HttpError;
use super::extract::{self, Live, ReadQuery, Start};
use super::{App, Turn, insert, live, sse, stream_response, truth};
use crate::engine::{EngineError, ReadResult, Stream};
use crate::storage::{FileSpan, StorageError, StorageErrorKind};

/// Answers with fewer bytes, or in more blocks, are copied together: one block is one write.
const JOIN_BELOW: usize = 16 * 1024;
const MOST_BLOCKS: usize = 48;

pub(super) async fn handle(
    app: &Arc<App>,
    name: &str,
    parts: &Parts,
    turn: &Turn,
) -> Result<Response<Body>, HttpError> {
    // The stream is looked up before the query is judged (S-READ-1).
    let stream = app.engine().stream(name).await?;
    let query = extract::read_query(parts.uri.query())?;
    stream.touch_by_reader();
    match query.live {
        None => catch_up(app, &stream, &query, parts).await,
        Some(Live::LongPoll) => Box::pin(live::handle(app, stream, &query, parts, turn)).await,
        Some(Live::Sse) => Ok(sse::handle(app, stream, &query, turn)),
    }
}

async fn catch_up(
    app: &Arc<App>,
    stream: &Stream,
    query: &ReadQuery<'_>,
    parts: &Parts,
) -> Result<Response<Body>, HttpError> {
    if query.start == Start::Now {
        let tail = stream.tail();
        let at_tail = ReadResult { data: Vec::new(), spans: Vec::new(), next: tail.position, tail };
        return respond(app, stream, &at_tail, query, parts, None).await;
    }
    let from = query.start.resolve(stream.tail().position);
    let result = app.read(stream, from).await?;
    respond(app, stream, &result, query, parts, None).await
}

/// The 200 of a catch-up or long-poll read, or the 304 in its place.
pub(super) async fn respond(
    app: &App,
    stream: &Stream,
    result: &ReadResult,
    query: &ReadQuery<'_>,
    parts: &Parts,
    cursor: Option<u64>,
) -> Result<Response<Body>, HttpError> {
    let mut response = stream_response(stream, result.next, usize::from(cursor.is_some()));
    let headers = response.headers_mut();
    insert(headers, &header::CONTENT_TYPE, stream.meta().content_type.as_bytes());
    if is_active(&stream.meta().content_type) {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    if result.is_up_to_date() {
        headers.insert(names::STREAM_UP_TO_DATE, truth());
    }
    if result.is_at_end() {
        headers.insert(names::STREAM_CLOSED, truth());
    }
    if let Some(cursor) = cursor {
        headers.insert(names::STREAM_CURSOR, HeaderValue::from(cursor));
    }
    let compressible = app.config().server.compression && result.len() >= compress::SMALLEST;
    let coding = compressible.then(|| compress::negotiate(&parts.headers)).flatten();
    if compressible {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if query.start == Start::Now {
        headers.insert(header::CACHE_CONTROL, cache::NO_STORE);
    } else {
        // An empty answer at an open tail would hide what comes next from those who poll (T-CACHE).
        let momentary = result.is_empty() && !result.is_at_end();
        headers.insert(header::CACHE_CONTROL, if momentary { cache::NO_STORE } else { cache::SHARED });
        let tag = Tag::new(stream.meta().id, &query.offset, result.next, result.is_at_end(), coding);
        let is_known = tag.is_named_by(&parts.headers);
        headers.insert(header::ETAG, tag.into_header());
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
    }
    let blocks = body_blocks(stream.format(), &result.data, &result.spans);
    let body: Body = match coding {
        None => blocks.into(),
        Some(coding) => {
            response.headers_mut().insert(header::CONTENT_ENCODING, coding.to_header());
            let blocks = blocks.into_iter().map(|block| block.data).collect();
            let encoded = Box::pin(compress::encode(blocks, coding)).await.map_err(|error| {
                EngineError::Storage(StorageError {
                    kind: StorageErrorKind::Conflict,
                    message: format!("compression failed: {error}"),
                })
            })?;
            encoded.into()
        }
    };
    *response.body_mut() = body.counted(app.outgoing());
    Ok(response)
}

/// Whether a browser that opens the stream would take it for a page with scripts. It must not run them as if they were of
/// the web page, which is of the same origin and keeps a token.
fn is_active(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().as_bytes();
    let ends_in_xml = media_type.last_chunk().is_some_and(|last: &[u8; 4]| last.eq_ignore_ascii_case(b"+xml"));
    ends_in_xml
        || ["text/html", "text/xml", "application/xml"]
            .iter()
            .any(|active| media_type.eq_ignore_ascii_case(active.as_bytes()))
}

/// Stored bytes as a body: JSON messages are stored with a comma after each, so that all that is left to
/// do is to put brackets around them (S-JSON-3).
fn body_blocks(format: StreamFormat, data: &[Bytes], spans: &[Option<FileSpan>]) -> Vec<Block> {
    let is_json = format == StreamFormat::Json;
    let length: usize = data.iter().map(Bytes::len).sum();
    if (is_json || data.len() > 1) && (length < JOIN_BELOW || data.len() > MOST_BLOCKS) {
        return vec![joined(format, data).into()];
    }
    let spans = spans.iter().cloned().chain(std::iter::repeat(None));
    let stored = data.iter().cloned().zip(spans).map(|(data, span)| Block { data, span });
    if !is_json {
        return stored.collect();
    }
    let mut blocks = Vec::with_capacity(data.len() + 2);
    blocks.push(Bytes::from_static(b"[").into());
    blocks.extend(stored);
    if let Some(last) = blocks.last_mut() {
        last.data.truncate(last.data.len() - 1);
    }
    blocks.push(Bytes::from_static(b"]").into());
    blocks
}

/// As [`body_blocks`], in one piece.
pub(super) fn joined(format: StreamFormat, data: &[Bytes]) -> Bytes {
    let is_json = format == StreamFormat::Json;
    let length: usize = data.iter().map(Bytes::len).sum();
    if is_json && length == 0 {
        return Bytes::from_static(b"[]");
    }
    let mut whole = Vec::with_capacity(length + 1);
    if is_json {
        whole.push(b'[');
    }
    for block in data {
        whole.extend_from_slice(block);
    }
    if is_json && let Some(last) = whole.last_mut() {
        *last = b']';
    }
    whole.into()
}
