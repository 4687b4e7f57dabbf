//! How many requests a client may make (PROTOCOL.md S-HTTP-13). Off unless configured.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::config::Limits;

/// A budget of requests for each client address.
pub(super) struct Rate(Limiter);

type Limiter = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

impl Rate {
    /// `None` if there is no limit.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        let rate = NonZeroU32::new(limits.requests_per_second)?;
        let burst = NonZeroU32::new(limits.request_burst).unwrap_or(rate);
        let quota = Quota::per_second(rate).allow_burst(burst);
        Some(Self(RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock)))
    }

    /// Takes one request out of the budget.
    ///
    /// # Errors
    /// It is used up; the time until it is not.
    pub(super) fn check(&self, client: IpAddr) -> Result<(), Duration> {
        self.0.check_key(&network(client)).map_err(|not_until| not_until.wait_time_from(MonotonicClock.now()))
    }

    /// Forgets clients whose budget is full again.
    pub(super) fn sweep(&self) {
        self.0.retain_recent();
    }
}

/// One client: an IPv4 address, or the /64 of an IPv6 address, of which a client has all.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_budgets_of_their_own() {
        let limits = Limits { requests_per_second: 1, request_burst: 2, ..Limits::default() };
        let rate = Rate::new(&limits).expect("a rate is set");
        let client = |text: &str| text.parse().expect("an address");
        for _ in 0..2 {
            assert_eq!(rate.check(client("10.0.0.1")), Ok(()));
            assert_eq!(rate.check(client("2001:db8::1")), Ok(()));
        }
        let wait = rate.check(client("10.0.0.1")).expect_err("the budget is used up");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(rate.check(client("::ffff:10.0.0.1")).is_err(), "the same client over IPv6");
        assert!(rate.check(client("2001:db8::ffff")).is_err(), "the same network");
        assert_eq!(rate.check(client("10.0.0.2")), Ok(()));
        assert!(Rate::new(&Limits::default()).is_none());
    }
}
