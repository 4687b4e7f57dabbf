//! Carries the events of a stream to the followers that sit at its tail (`engine::relay`).
//!
//! Only what is plain is carried: whole events at an open tail, of moderate size. For everything else - the end of a stream, text
//! cut inside a code point, data that cannot be read, large data - the followers are called, and each does what is right for
//! it (`sse`).

use std::sync::Arc;

use everstream::proto::content_type::StreamFormat;
use tokio::time::Instant;

use super::{App, sse};
use crate::engine::{Lane, Position, Round, SseKey, Stream, Tail};
use crate::metrics;
use crate::net::chunk_of;

/// So many bytes of data are sent in one event: with what is put around them it is still of moderate size.
const MOST: usize = sse::LARGE_EVENT / 2;

/// Carries a lane until nobody is left in it.
pub(super) async fn carry(app: Arc<App>, stream: Arc<Stream>, lane: Arc<Lane>) {
    let mut tail = stream.tail();
    let mut at = tail.position;
    // Whoever sat down before this looked.
    lane.call_before(at).await;
    loop {
        tail = tokio::select! {
            biased;
            tail = stream.changed(tail) => tail,
            () = lane.over() => return,
        };
        while at < tail.position {
            match round(&app, &stream, at, tail).await {
                Some((round, size)) => {
                    let taken = lane.offer(&round).await;
                    metrics::count(&app.metrics().served_bytes, (size * taken) as u64);
                    at = round.to;
                }
                None => {
                    at = tail.position;
                    lane.call_before(at).await;
                }
            }
        }
        if tail.closed || tail.ended.is_some() {
            lane.call_all().await;
        }
    }
}

/// The next events after a position, and their size, if there is nothing special about them.
async fn round(app: &App, stream: &Stream, from: Position, tail: Tail) -> Option<(Round, usize)> {
    if tail.closed || tail.ended.is_some() {
        return None;
    }
    let cursor = sse::cursor(app);
    let key = |to| SseKey { from, to, closed: false, cursor };
    let (to, events) = match stream.sse_cache().get(key(tail.position)) {
        Some(events) => (tail.position, events),
        None => {
            let result = stream.read(from, app.piece_bytes().min(MOST)).await.ok()?;
            let is_cut = stream.format() == StreamFormat::Text && sse::ends_inside_code_point(&result.data);
            if result.is_empty() || result.is_at_end() || is_cut {
                return None;
            }
            let events = sse::events(stream.format(), &result, result.next, cursor);
            if result.is_up_to_date() && events.len() < sse::LARGE_EVENT {
                stream.sse_cache().put(key(result.next), events.clone());
            }
            (result.next, events)
        }
    };
    let size = events.len();
    let round = || Round { from, to, cursor, bytes: chunk_of(&events), at: Instant::now() };
    (size < sse::LARGE_EVENT).then(|| (round(), size))
}
