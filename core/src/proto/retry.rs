//! When to try again, and how long to wait before (PROTOCOL.md section 21). Nothing here sleeps.

use std::time::Duration;

use super::Instant;
use super::jitter::Jitter;
use crate::error::{Error, Result};

/// The longest wait that a server can ask for (C-RETRY-2).
const RETRY_AFTER_CAP: Duration = Duration::from_secs(3600);

/// Exponential backoff with full jitter (C-RETRY-1).
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// Upper bound of the first wait. Default 100 ms.
    pub initial: Duration,
    /// Upper bound of every wait. Default 60 s.
    pub max: Duration,
    /// Growth of the bound from one wait to the next. Default 1.3.
    pub multiplier: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), max: Duration::from_secs(60), multiplier: 1.3 }
    }
}

impl Backoff {
    /// The wait before retry number `attempt`, counted from 0. `fraction` is drawn by the caller from `0.0..1.0`.
    pub fn delay(&self, attempt: u32, fraction: f64, retry_after: Option<Duration>) -> Duration {
        let bound = self.initial.as_secs_f64() * self.multiplier.powi(attempt.min(1000) as i32);
        // The longest durations are rounded up on their way through an f64.
        let jittered = Duration::try_from_secs_f64(bound.min(self.max.as_secs_f64()) * fraction).unwrap_or(self.max);
        jittered.max(retry_after.unwrap_or_default().min(RETRY_AFTER_CAP))
    }
}

/// How often and how long a request is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Waits between tries.
    pub backoff: Backoff,
    /// Retries in a row without progress; `None` is no limit. Default 15 (C-RETRY-3).
    pub max_retries: Option<u32>,
    /// Time in a row without progress, from the first try to the start of the last; `None` is no limit. Default 60 s.
    pub max_elapsed: Option<Duration>,
    /// Whether a plain append is sent again after an explicit 500. Default true, as the official clients
    /// do; a server that stored the data before it answered 500 then has it twice. Producers do not need it.
    pub plain_appends_on_500: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            max_retries: Some(15),
            max_elapsed: Some(Duration::from_secs(60)),
            plain_appends_on_500: true,
        }
    }
}

impl RetryPolicy {
    /// The same waits, without a limit on tries or time: for live reads and producers.
    #[must_use]
    pub fn unbounded(&self) -> Self {
        Self { max_retries: None, max_elapsed: None, ..self.clone() }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the official parameter (C-VAL-1).
    pub fn validate(&self) -> Result<()> {
        if self.backoff.initial.is_zero() {
            return Err(Error::invalid_argument("initialDelayMs must be > 0"));
        }
        if self.backoff.max < self.backoff.initial {
            return Err(Error::invalid_argument("maxDelayMs must be >= initialDelayMs"));
        }
        if self.backoff.multiplier.is_nan() || self.backoff.multiplier < 1.0 {
            return Err(Error::invalid_argument("multiplier must be >= 1"));
        }
        Ok(())
    }
}

/// Tries since the last progress of one request or session.
#[derive(Clone, Debug, Default)]
pub struct RetryState {
    retries: u32,
    since: Option<Instant>,
}

impl RetryState {
    /// Notes the start of a try; the first one starts the clock of `max_elapsed`.
    pub fn starts(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A try failed: the wait before the next one, or `None` when the policy has had enough.
    pub fn failed(
        &mut self,
        policy: &RetryPolicy,
        retry_after: Option<Duration>,
        jitter: &mut Jitter,
        now: Instant,
    ) -> Option<Duration> {
        if policy.max_retries.is_some_and(|max| self.retries >= max) {
            return None;
        }
        let delay = policy.backoff.delay(self.retries, jitter.fraction(), retry_after);
        let since = *self.since.get_or_insert(now);
        if policy.max_elapsed.is_some_and(|max| now.saturating_add(delay).saturating_sub(since) > max) {
            return None;
        }
        self.retries += 1;
        Some(delay)
    }

    /// Something moved: counting starts again (C-RETRY-4).
    pub fn progressed(&mut self) {
        *self = Self::default();
    }

    /// Retries since the last progress.
    pub fn retries(&self) -> u32 {
        self.retries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn default_retries_end_within_twenty_tries_and_thirty_seconds() {
        let (policy, mut state, mut jitter) = (RetryPolicy::default(), RetryState::default(), Jitter::new(1));
        let mut now = Duration::ZERO;
        let mut tries = 1;
        while let Some(delay) = state.failed(&policy, None, &mut jitter, now) {
            now += delay;
            tries += 1;
        }
        assert!(tries < 20 && now < Duration::from_secs(30), "{tries} tries in {now:?}");
    }

    #[test]
    fn a_wait_that_ends_beyond_the_time_limit_is_not_begun() {
        let mut state = RetryState::default();
        let asked = Some(Duration::from_secs(61));
        assert_eq!(state.failed(&RetryPolicy::default(), asked, &mut Jitter::new(0), Duration::ZERO), None);
    }

    #[test]
    fn waits_without_bound_are_waits_and_no_overflow() {
        let backoff = Backoff { initial: Duration::MAX, max: Duration::MAX, multiplier: f64::INFINITY };
        let policy = RetryPolicy { backoff, max_elapsed: None, ..RetryPolicy::default() };
        let (mut state, mut jitter) = (RetryState::default(), Jitter::new(1));
        assert_eq!(policy.backoff.delay(0, 1.0, None), Duration::MAX);
        assert!(state.failed(&policy, None, &mut jitter, Duration::MAX).is_some());
        assert!(
            state
                .failed(&RetryPolicy { max_elapsed: Some(Duration::ZERO), ..policy }, None, &mut jitter, Duration::MAX)
                .is_some()
        );
    }

    #[test]
    fn bad_values_are_refused_by_their_official_names() {
        let with = |change: fn(&mut Backoff)| {
            let mut policy = RetryPolicy::default();
            change(&mut policy.backoff);
            policy.validate().unwrap_err().to_string()
        };
        assert!(with(|b| b.initial = Duration::ZERO).contains("initialDelayMs"));
        assert!(with(|b| b.max = Duration::from_millis(1)).contains("maxDelayMs"));
        assert!(with(|b| b.multiplier = 0.5).contains("multiplier"));
    }

    proptest! {
        #[test]
        fn a_delay_is_bounded_and_never_below_retry_after(attempt: u32, fraction in 0.0..1.0_f64, asked in prop::option::of(0..100_000_u64)) {
            let asked = asked.map(Duration::from_secs);
            let delay = Backoff::default().delay(attempt, fraction, asked);
            let floor = asked.unwrap_or_default().min(RETRY_AFTER_CAP);
            prop_assert!(delay >= floor);
            prop_assert!(delay <= floor.max(Duration::from_secs(60)));
        }
    }
}
