//! What a run consists of, drawn from its seed.

use std::time::Duration;

use everstream::{LiveMode, ProducerOptions};

use crate::dice::Dice;

/// The producer id that several writers fight for.
pub(crate) const SHARED_ID: &str = "shared";

/// Everything that one run does, before any fault is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) streams: Vec<StreamPlan>,
    pub(crate) keeping: Keeping,
    /// When the server dies, and how long it stays dead.
    pub(crate) crashes: Vec<(Duration, Duration)>,
    /// When the server's clock jumps, and by how many milliseconds.
    pub(crate) clock_jumps: Vec<(Duration, i64)>,
    pub(crate) network: NetworkPlan,
    pub(crate) max_read_bytes: usize,
    pub(crate) long_poll: Duration,
    pub(crate) sse_lifetime: Duration,
}

/// Where the server keeps its streams.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keeping {
    Memory,
    Log,
}

#[derive(Clone, Debug)]
pub(crate) struct NetworkPlan {
    /// Chance of a fault per request, until [`calm_after`](Self::calm_after).
    pub(crate) fault_rate: f64,
    /// When the network becomes whole.
    pub(crate) calm_after: Duration,
    pub(crate) episodes: Vec<Episode>,
    /// Longest time that a request or a piece of an answer travels, in milliseconds.
    pub(crate) latency_ms: u64,
}

/// A time in which some clients are cut off.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    /// Every client whose number divided by this leaves no rest: 1 is everyone.
    pub(crate) every: usize,
    pub(crate) kind: EpisodeKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EpisodeKind {
    /// Connections are refused, and those that are there break.
    Refused,
    /// Nothing arrives, and nobody is told.
    Silent,
    /// Everything takes this many milliseconds longer.
    Slow(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct StreamPlan {
    pub(crate) name: String,
    pub(crate) content_type: &'static str,
    pub(crate) life: Life,
    pub(crate) writers: Vec<WriterPlan>,
    pub(crate) readers: Vec<ReaderPlan>,
    /// How a reader waits at the tail that no fault concerns, where there is one.
    pub(crate) watched: Option<LiveMode>,
}

/// What becomes of a stream besides being closed at the end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Life {
    Plain,
    /// Deleted and created anew at this time.
    Recreated(Duration),
    /// Expires when nobody uses it for so long.
    Expiring(Duration),
    /// Made from the stream of this index, at what is its tail then.
    Fork {
        source: usize,
        at: Duration,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct WriterPlan {
    pub(crate) kind: WriterKind,
    pub(crate) messages: u64,
    /// Longest pause between two messages, in milliseconds.
    pub(crate) pause_ms: u64,
    /// Chance, per message, that the process dies and another one goes on with the next epoch.
    pub(crate) death_rate: f64,
}

#[derive(Clone, Debug)]
pub(crate) enum WriterKind {
    /// A producer with this id.
    Producer(&'static str, ProducerOptions),
    /// A handle whose appends carry an identity.
    Idempotent,
    /// A handle whose appends carry none.
    Plain,
}

#[derive(Clone, Debug)]
pub(crate) struct ReaderPlan {
    pub(crate) live: LiveMode,
    pub(crate) max_batch_bytes: usize,
    /// Chance, per batch, that the process dies in the middle of it and another goes on from its checkpoint.
    pub(crate) death_rate: f64,
}

impl Scenario {
    pub(crate) fn draw(seed: u64) -> Self {
        let dice = Dice::new(seed ^ 0x51a0_1a7e);
        let active_ms = 2_000 + dice.below(20_000);
        let count = 1 + dice.below(3) as usize;
        let mut streams: Vec<_> = (0..count).map(|index| StreamPlan::draw(&dice, index, active_ms)).collect();
        if dice.chance(0.4) {
            let at = dice.ms(100..active_ms);
            let mut fork = StreamPlan::draw(&dice, count, active_ms);
            let source = dice.below(count as u64) as usize;
            fork.content_type = streams[source].content_type;
            fork.life = Life::Fork { source, at };
            streams.push(fork);
        }
        Self {
            streams,
            keeping: dice.pick(&[Keeping::Memory, Keeping::Log, Keeping::Log]),
            crashes: (0..dice.below(4)).map(|_| (dice.ms(0..active_ms), dice.ms(0..3_000))).collect(),
            clock_jumps: (0..dice.below(3))
                .map(|_| (dice.ms(0..active_ms), dice.below(120_000) as i64 - 60_000))
                .collect(),
            network: NetworkPlan {
                fault_rate: dice.pick(&[0.0, 0.02, 0.1, 0.3, 0.5]),
                calm_after: Duration::from_millis(active_ms),
                episodes: (0..dice.below(4)).map(|_| Episode::draw(&dice, active_ms)).collect(),
                latency_ms: dice.pick(&[2, 20, 200]),
            },
            max_read_bytes: dice.pick(&[64, 1000, 1 << 20]),
            long_poll: dice.pick(&[Duration::from_secs(1), Duration::from_secs(30)]),
            sse_lifetime: dice.pick(&[Duration::from_secs(2), Duration::from_secs(60)]),
        }
    }
}

impl Episode {
    fn draw(dice: &Dice, active_ms: u64) -> Self {
        let from = dice.ms(0..active_ms);
        let kind = match dice.below(3) {
            0 => EpisodeKind::Refused,
            1 => EpisodeKind::Silent,
            _ => EpisodeKind::Slow(100 + dice.below(2_000)),
        };
        Self { from, to: from + dice.ms(50..8_000), every: 1 + dice.below(3) as usize, kind }
    }
}

impl StreamPlan {
    fn draw(dice: &Dice, index: usize, active_ms: u64) -> Self {
        let life = match dice.below(10) {
            0 => Life::Recreated(dice.ms(0..active_ms)),
            1 => Life::Expiring(Duration::from_secs(1 + dice.below(5))),
            _ => Life::Plain,
        };
        // Two that fight for one id, or up to three that do not know of each other.
        let writers = if dice.chance(0.2) {
            let auto_claim = dice.chance(0.5);
            (0..2).map(|epoch| WriterPlan::producer(dice, SHARED_ID, 10 * epoch, auto_claim)).collect()
        } else {
            (0..1 + dice.below(3) as usize).map(|writer| WriterPlan::draw(dice, writer)).collect()
        };
        Self {
            name: format!("s{index}"),
            content_type: dice.pick(&["application/json", "text/plain", "application/octet-stream"]),
            life,
            writers,
            readers: (0..1 + dice.below(3)).map(|_| ReaderPlan::draw(dice)).collect(),
            watched: dice.pick(&[None, Some(LiveMode::LongPoll), Some(LiveMode::Sse)]),
        }
    }
}

impl WriterPlan {
    fn draw(dice: &Dice, index: usize) -> Self {
        const IDS: [&str; 3] = ["a", "b", "c"];
        let mut plan = Self::producer(dice, IDS[index % IDS.len()], 0, false);
        match dice.below(6) {
            0 => plan.kind = WriterKind::Idempotent,
            1 => plan.kind = WriterKind::Plain,
            _ => {}
        }
        plan
    }

    fn producer(dice: &Dice, id: &'static str, epoch: u64, auto_claim: bool) -> Self {
        let options = ProducerOptions {
            epoch,
            auto_claim,
            linger: Duration::from_millis(dice.pick(&[0, 1, 5, 50])),
            max_batch_bytes: dice.pick(&[60, 200, 1 << 20]),
            max_batch_items: dice.pick(&[None, Some(1), Some(3), Some(10)]),
            max_in_flight: dice.pick(&[1, 2, 5, 8]),
            max_buffered_bytes: dice.pick(&[100, 1000, 1 << 20]),
            delivery_timeout: dice.pick(&[Some(Duration::from_secs(2)), Some(Duration::from_secs(120)), None]),
            request_timeout: Duration::from_secs(1 + dice.below(5)),
            ..ProducerOptions::default()
        };
        Self {
            kind: WriterKind::Producer(id, options),
            messages: 1 + dice.below(80),
            pause_ms: dice.pick(&[0, 5, 300]),
            death_rate: dice.pick(&[0.0, 0.0, 0.03]),
        }
    }
}

impl ReaderPlan {
    fn draw(dice: &Dice) -> Self {
        Self {
            live: dice.pick(&[LiveMode::Auto, LiveMode::LongPoll, LiveMode::Sse]),
            max_batch_bytes: dice.pick(&[16, 64, 4 << 20]),
            death_rate: dice.pick(&[0.0, 0.0, 0.2]),
        }
    }
}
