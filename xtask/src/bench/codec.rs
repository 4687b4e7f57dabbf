//! The codecs alone, in memory: events out of an SSE answer, messages out of JSON text.

use std::convert::Infallible;

use anyhow::{Result, ensure};
use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use everstream::proto::json;
use everstream::proto::sse::{SseDecoder, SseEncoder};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Scale;
use super::compare::{Comparison, Row, Unit, compare};
use super::data::{batches, message};
use super::measure::{Meter, Sample};
use super::roles::{Job, Side};
use crate::process::runtime;

pub(super) fn group(scale: Scale) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (messages_per_event, piece) in [(1, 1 << 10), (1, 64 << 10), (100, 1 << 10), (100, 64 << 10)] {
        let messages = scale.of(500_000);
        let job = |side| Sse { side, messages, messages_per_event, piece };
        rows.push(compare(
            scale,
            Comparison {
                what: format!(
                    "`SseDecoder`: events of {} bytes in pieces of {} KiB",
                    messages_per_event * 100,
                    piece >> 10
                ),
                yardstick: "eventsource-stream 0.2",
                aim: None,
                amount: job(Side::Ours).wire().len() as u64,
                unit: Unit::Gigabyte,
                ours: Job::Sse(job(Side::Ours)),
                theirs: Job::Sse(job(Side::Yardstick)),
            },
        )?);
    }
    let job = |side| Frame { side, messages: 10_000, times: scale.of(500) };
    let Frame { messages, times, .. } = job(Side::Ours);
    rows.push(compare(
        scale,
        Comparison {
            what: format!("`json::messages`: an array of {messages} messages"),
            yardstick: "serde_json, `Vec<&RawValue>`",
            aim: None,
            amount: job(Side::Ours).text().len() as u64 * times,
            unit: Unit::Gigabyte,
            ours: Job::Frame(job(Side::Ours)),
            theirs: Job::Frame(job(Side::Yardstick)),
        },
    )?);
    Ok(rows)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sse {
    side: Side,
    messages: u64,
    messages_per_event: u64,
    piece: usize,
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    events: u64,
    data_bytes: u64,
}

impl Decoded {
    fn take(&mut self, kind: &str, data: &str) {
        self.events += 1;
        if kind == "data" {
            self.data_bytes += data.len() as u64;
        }
    }
}

impl Sse {
    /// A data event and a control event for every so many messages, as a server sends them.
    fn wire(&self) -> Bytes {
        let mut encoder = SseEncoder::new();
        for event in self.events() {
            encoder.text(&event);
            encoder.event("control", r#"{"streamNextOffset":"0000000000000000_0000000000000100","upToDate":true}"#);
        }
        encoder.take()
    }

    fn events(&self) -> impl Iterator<Item = String> {
        let each = self.messages_per_event;
        (0..self.messages / each).map(move |event| {
            let messages: Vec<String> = (event * each..(event + 1) * each).map(message).collect();
            format!("[{}]", messages.join(","))
        })
    }

    pub(super) fn run(&self) -> Result<Sample> {
        let wire = self.wire();
        let pieces: Vec<Bytes> =
            (0..wire.len()).step_by(self.piece).map(|at| wire.slice(at..wire.len().min(at + self.piece))).collect();
        let mut decoded = Decoded::default();
        let meter = Meter::start_own()?;
        match self.side {
            Side::Ours => {
                let mut decoder = SseDecoder::new();
                for piece in &pieces {
                    decoder.feed(piece, |event| decoded.take(&event.kind, &event.data))?;
                }
            }
            Side::Yardstick => runtime()?.block_on(async {
                let pieces = stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
                let mut events = std::pin::pin!(pieces.eventsource());
                while let Some(event) = events.next().await {
                    let event = event?;
                    decoded.take(&event.event, &event.data);
                }
                anyhow::Ok(())
            })?,
        }
        let sample = meter.stop()?;
        let sent = Decoded {
            events: self.messages / self.messages_per_event * 2,
            data_bytes: self.events().map(|event| event.len() as u64).sum(),
        };
        ensure!(decoded == sent, "{decoded:?} instead of {sent:?}");
        Ok(sample)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Frame {
    side: Side,
    messages: u64,
    times: u64,
}

impl Frame {
    fn text(&self) -> Bytes {
        let messages: Vec<String> = (0..self.messages).map(message).collect();
        batches(&messages, usize::MAX).concat().into()
    }

    pub(super) fn run(&self) -> Result<Sample> {
        let text = self.text();
        let mut found = 0;
        let meter = Meter::start_own()?;
        for _ in 0..self.times {
            found += match self.side {
                Side::Ours => json::messages(&text)?.len(),
                Side::Yardstick => serde_json::from_slice::<Vec<&RawValue>>(&text)?.len(),
            };
        }
        let sample = meter.stop()?;
        ensure!(found as u64 == self.messages * self.times, "{found} messages were found");
        Ok(sample)
    }
}
