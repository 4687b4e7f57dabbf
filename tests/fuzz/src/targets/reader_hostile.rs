//! The reader against a server that keeps to nothing: any status, headers and bytes, in any order. It never panics,
//! its place never goes back, nothing follows the end, and it always has something to do or to wait for (C-READ-8,
//! S-OFF-2).

use std::time::{Duration, UNIX_EPOCH};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use everstream::proto::Instant;
use everstream::proto::offset::ReadFrom;
use everstream::proto::read::{ReadEvent, ReadSession};
use everstream::proto::response::{Disconnect, ResponseHead};
use everstream::{Checkpoint, Error, ErrorKind, LiveMode, ReadOptions, RetryPolicy, SseResilience};
use http::StatusCode;

use crate::input::answer_headers;

/// One input.
pub fn run(data: &[u8]) {
    // An input that is too short ends the story early; what was told until then has been checked.
    let _ = story(&mut Unstructured::new(data));
}

fn story(u: &mut Unstructured<'_>) -> Result<()> {
    let options = options(u)?;
    let mut place = options.from.clone();
    let mut session = ReadSession::new(options, RetryPolicy::default(), u.arbitrary()?);
    let mut now = Duration::ZERO;
    let mut over = Over::No;
    while !u.is_empty() {
        step(&mut session, &mut now, u)?;
        listen(&mut session, &mut place, &mut over);
        if over == Over::Failed && u.arbitrary()? {
            session.resume();
            over = Over::No;
        }
        let waits = session.poll_timeout().is_some();
        let asks = !waits && session.poll_request(now).is_some();
        listen(&mut session, &mut place, &mut over);
        assert_eq!(waits || asks, over == Over::No, "{session:?}");
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    No,
    Ended,
    Failed,
}

fn options(u: &mut Unstructured<'_>) -> Result<ReadOptions> {
    let from = Checkpoint {
        from: u.choose(&["-1", "now", "0_7", "0000000000000000_0000000000000002"])?.parse().unwrap_or_default(),
        skip: if u.ratio(1, 3)? { u.arbitrary()? } else { 0 },
        incarnation: u.ratio(1, 4)?.then(|| "1".to_owned()),
    };
    Ok(ReadOptions {
        from,
        live: *u.choose(&[LiveMode::Auto, LiveMode::CatchUp, LiveMode::LongPoll, LiveMode::Sse])?,
        json: u.ratio(1, 4)?,
        max_batch_bytes: u.int_in_range(0..=64)?,
        request_timeout: u.arbitrary()?,
        stall_timeout: u.arbitrary()?,
        sse_first_byte_timeout: u.arbitrary()?,
        sse: SseResilience {
            min_connection: u.arbitrary()?,
            max_short_connections: u.int_in_range(0..=5)?,
            backoff_base: u.arbitrary()?,
            backoff_max: u.arbitrary()?,
        },
        if_none_match: if u.ratio(1, 4)? { u.arbitrary()? } else { None },
        prefetch: u.arbitrary()?,
        parsed_by_host: false,
    })
}

fn step(session: &mut ReadSession, now: &mut Instant, u: &mut Unstructured<'_>) -> Result<()> {
    const PIECES: &[&[u8]] = &[
        b"[1,2,[3]]",
        b"[",
        b"1",
        b",",
        b"]",
        b"event: data\ndata:[1]\n\n",
        b"event: data\ndata:/wA=\n\n",
        b"event: control\ndata:{\"streamNextOffset\":\"0_7\",\"upToDate\":true}\n\n",
        b"event: control\ndata:{\"streamNextOffset\":\"0_9\",\"streamClosed\":true}\n\n",
        b"\n\n",
        b":\r",
    ];
    match u.int_in_range(0..=8_u8)? {
        0 | 1 => {
            const STATUSES: &[u16] = &[200, 200, 200, 204, 206, 304, 400, 404, 406, 410, 429, 500, 503];
            let status = if u.ratio(7, 8)? { *u.choose(STATUSES)? } else { u.int_in_range(100..=999)? };
            let status = StatusCode::from_u16(status).expect("100 to 999 is a status");
            session.handle_response(&ResponseHead::new(status, answer_headers(u)?, UNIX_EPOCH), *now);
        }
        2 | 3 => session.handle_bytes(Bytes::from_static(u.choose(PIECES)?), *now),
        4 => {
            let length = u.int_in_range(0..=80)?;
            session.handle_bytes(Bytes::copy_from_slice(u.bytes(length)?), *now);
        }
        5 => session.handle_end(*now),
        6 => {
            let error = Error::new(ErrorKind::Network, "reset");
            session.handle_disconnect(Disconnect { not_sent: u.arbitrary()?, error }, *now);
        }
        7 => {
            *now = session.poll_timeout().map_or(*now, |at| at.max(*now));
            session.handle_timeout(*now);
        }
        _ if u.arbitrary()? => session.interrupt(),
        _ => *now = now.saturating_add(Duration::from_millis(u.arbitrary::<u32>()?.into())),
    }
    Ok(())
}

fn listen(session: &mut ReadSession, place: &mut Checkpoint, over: &mut Over) {
    while let Some(event) = session.poll_event() {
        assert_eq!(*over, Over::No, "{event:?} after the end");
        match event {
            ReadEvent::Batch(batch) => {
                let next = batch.checkpoint();
                if let (ReadFrom::At(before), ReadFrom::At(after)) = (&place.from, &next.from) {
                    // What counts without leading zeros breaks S-OFF-2, and is read all the same.
                    let comparable = after.as_str().len() <= before.as_str().len();
                    assert!(before <= after || !comparable, "back from {place:?} to {next:?}");
                }
                assert_eq!(batch.checkpoint_at(batch.units()), *next);
                assert_eq!(batch.messages().len() as u64, if batch.is_json() { batch.units() } else { 0 });
                assert!(
                    !batch.is_json()
                        || serde_json::from_slice::<Vec<&serde_json::value::RawValue>>(&batch.bytes()).is_ok()
                );
                *place = next.clone();
            }
            ReadEvent::End => *over = Over::Ended,
            ReadEvent::Failed(error) => {
                assert!(!error.code().is_empty());
                *over = Over::Failed;
            }
            _ => {}
        }
    }
}
