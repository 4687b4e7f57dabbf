//! The plan of a proxy: which requests meet which fault.

use std::time::Duration;

use crate::fault::FaultKind;
use crate::rule::Rule;

/// Which requests meet which fault. Plain data: a [`Decider`](crate::Decider) or a
/// [`FaultProxy`](crate::FaultProxy) carries it out.
///
/// The methods that narrow a plan speak of seeded plans. A script is carried out to the letter.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    pub(crate) source: Source,
    pub(crate) kinds: Vec<FaultKind>,
    pub(crate) max_delay: Duration,
    pub(crate) max_stall: Duration,
    pub(crate) max_consecutive: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Seeded { seed: u64, rate: f64 },
    Scripted(Vec<Rule>),
}

impl FaultPlan {
    /// Every request passes.
    pub fn none() -> Self {
        Self::scripted([])
    }

    /// Each request meets a fault with probability `rate`, drawn from `seed` and the request's ordinal. The kind is
    /// drawn from those that fit the request: only an SSE read meets [`FaultKind::CutSse`], for example.
    ///
    /// [`FaultKind::Duplicate`] fits what a proxy may repeat: PUT, DELETE, and a POST with a `Producer-Id`.
    pub fn seeded(seed: u64, rate: f64) -> Self {
        Self::of(Source::Seeded { seed, rate })
    }

    /// Requests meet the faults of these rules. Each rule counts its own matches, whether or not another rule harms
    /// the same request; of two rules for one request, the earlier one counts.
    pub fn scripted(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self::of(Source::Scripted(rules.into_iter().collect()))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            kinds: FaultKind::ALL.to_vec(),
            max_delay: Duration::from_millis(50),
            max_stall: Duration::from_millis(200),
            max_consecutive: 3,
        }
    }

    /// Draws from these kinds only. Default: all.
    pub fn only(mut self, kinds: impl IntoIterator<Item = FaultKind>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }

    /// Draws from all kinds chosen so far but these.
    pub fn without(mut self, kinds: impl IntoIterator<Item = FaultKind>) -> Self {
        let dropped: Vec<_> = kinds.into_iter().collect();
        self.kinds.retain(|kind| !dropped.contains(kind));
        self
    }

    /// The longest delay, hold and `Retry-After`. Default: 50 ms, so that `Retry-After` is 0 or absent.
    pub fn max_delay(mut self, max: Duration) -> Self {
        self.max_delay = max;
        self
    }

    /// The longest time an answer stalls before it is reset. Default: 200 ms.
    pub fn max_stall(mut self, max: Duration) -> Self {
        self.max_stall = max;
        self
    }

    /// How many times in a row the same request may break before it is let through, so that a client that retries
    /// always gets on. The same request is one with the same method, path, producer epoch and producer seq.
    /// Default: 3.
    pub fn max_consecutive(mut self, max: u32) -> Self {
        self.max_consecutive = max;
        self
    }
}
