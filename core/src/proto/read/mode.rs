//! Choosing how to tail a stream, and giving up on SSE without ending the session (T-LIVE, C-LIVE-3, C-LIVE-4).

use std::time::Duration;

use crate::options::{LiveMode, SseResilience};
use crate::proto::content_type::StreamFormat;
use crate::proto::jitter::Jitter;

/// How the session tails once it is up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Not at all.
    Stop,
    /// As the stream's format suggests, which the first answer tells.
    Undecided,
    LongPoll,
    Sse,
}

impl From<LiveMode> for Tail {
    fn from(mode: LiveMode) -> Self {
        match mode {
            LiveMode::Auto => Self::Undecided,
            LiveMode::CatchUp => Self::Stop,
            LiveMode::LongPoll => Self::LongPoll,
            LiveMode::Sse => Self::Sse,
        }
    }
}

impl Tail {
    /// Decides for SSE where it changes no byte: JSON. Text loses CR there (S-SSE-6), binary grows by a third.
    pub(super) fn decide(&mut self, format: StreamFormat) {
        if *self == Self::Undecided {
            *self = if format == StreamFormat::Json { Self::Sse } else { Self::LongPoll };
        }
    }
}

/// Counts SSE connections that ended too soon.
#[derive(Debug, Default)]
pub(super) struct ShortConnections(u32);

/// What to do after an SSE connection ended without closure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterSse {
    /// Connect again, after this wait.
    Reconnect(Duration),
    /// SSE does not work here: use long-poll from now on.
    FallBack,
}

impl ShortConnections {
    /// A connection ended after it had been open for `lasted`.
    pub(super) fn ended(&mut self, lasted: Duration, rules: &SseResilience, jitter: &mut Jitter) -> AfterSse {
        if lasted >= rules.min_connection {
            self.0 = 0;
            return AfterSse::Reconnect(Duration::ZERO);
        }
        self.0 += 1;
        if self.0 >= rules.max_short_connections {
            return AfterSse::FallBack;
        }
        let bound = rules.backoff_base.saturating_mul(1 << self.0.min(16)).min(rules.backoff_max);
        AfterSse::Reconnect(bound.mul_f64(jitter.fraction()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_short_connections_in_a_row_end_the_use_of_sse() {
        let (rules, mut jitter, mut short) = (SseResilience::default(), Jitter::new(1), ShortConnections::default());
        let brief = Duration::from_millis(999);
        assert!(matches!(short.ended(brief, &rules, &mut jitter), AfterSse::Reconnect(_)));
        assert!(matches!(short.ended(brief, &rules, &mut jitter), AfterSse::Reconnect(_)));
        let long = Duration::from_millis(1000);
        assert_eq!(short.ended(long, &rules, &mut jitter), AfterSse::Reconnect(Duration::ZERO));
        for _ in 0..2 {
            assert!(matches!(short.ended(brief, &rules, &mut jitter), AfterSse::Reconnect(_)));
        }
        assert_eq!(short.ended(brief, &rules, &mut jitter), AfterSse::FallBack);
    }
}
