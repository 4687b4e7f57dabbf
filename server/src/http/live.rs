//! `GET` with `live=long-poll` (PROTOCOL.md section 11).

use std::sync::Arc;

use everstream::proto::names;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;

use super::body::Body;
use super::error::HttpError;
use super::extract::ReadQuery;
use super::{App, Turn, cache, read, stream_response, truth};
use crate::engine::{Ended, EngineError, Stream, Tail};
use crate::metrics::LiveMode;

pub(super) async fn handle(
    app: &Arc<App>,
    stream: Arc<Stream>,
    query: &ReadQuery<'_>,
    parts: &Parts,
    turn: &Turn,
) -> Result<Response<Body>, HttpError> {
    let _live = app.metrics().live(LiveMode::LongPoll);
    let deadline = Instant::now() + app.config().server.long_poll_timeout;
    let mut tail = stream.tail();
    let mut position = query.start.resolve(tail.position);
    let mut waiting = None;
    loop {
        match tail.ended {
            Some(Ended::Removed) => return Err(EngineError::NotFound.into()),
            Some(Ended::SoftDeleted) => return Err(EngineError::SoftDeleted.into()),
            // What is durable was said; the next request finds the stream loaded anew.
            Some(Ended::Reloaded) => return Ok(nothing(app, &stream, query, tail)),
            None => {}
        }
        if position < tail.position {
            let result = app.read(&stream, position).await?;
            if !result.is_empty() {
                if let Some((_, alarm)) = waiting {
                    turn.keep_alarm(alarm);
                }
                let cursor = (!result.is_at_end()).then(|| cursor(app, query));
                return read::respond(app, &stream, &result, query, parts, cursor).await;
            }
            // The position was inside the last message: what comes next begins at the tail.
            position = result.next;
            tail = result.tail;
        }
        if tail.closed {
            return Ok(nothing(app, &stream, query, tail));
        }
        let (follower, alarm) = waiting.get_or_insert_with(|| (stream.follow(), turn.take_alarm(app)));
        let over = tokio::select! {
            biased;
            changed = follower.changed(tail) => {
                tail = changed;
                continue;
            }
            () = alarm.until(deadline) => stream.tail(),
        };
        // What became durable at the last moment must not be skipped by the offset of a 204.
        if over == tail {
            return Ok(nothing(app, &stream, query, tail));
        }
        tail = over;
    }
}

/// The 204 of a read at the tail (S-LP-5, S-LP-6).
fn nothing(app: &App, stream: &Stream, query: &ReadQuery<'_>, tail: Tail) -> Response<Body> {
    let mut response = stream_response(stream, tail.position, 0);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(names::STREAM_UP_TO_DATE, truth());
    headers.insert(header::CACHE_CONTROL, cache::NO_STORE);
    if tail.closed {
        headers.insert(names::STREAM_CLOSED, truth());
    } else {
        headers.insert(names::STREAM_CURSOR, HeaderValue::from(cursor(app, query)));
    }
    response
}

pub(super) fn cursor(app: &App, query: &ReadQuery<'_>) -> u64 {
    let now = app.engine().clock().now();
    cache::cursor(query.cursor.as_deref(), now, app.config().server.cursor_interval)
}
