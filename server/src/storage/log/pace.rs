//! How long a group gathers before it is synced.
//!
//! A sync costs the same for one append and for a hundred, in time and in CPU time. Clients that wait for answers send
//! their next appends at about the same time, when they are answered: a group that begins with the first of them leaves
//! the others for the next sync. So a group waits for about as many appends as were there in the last one, for half a sync,
//! and longer only while they keep coming. A client alone never waits.

use std::time::Duration;

/// Longer syncs do not make groups wait longer.
const LONGEST: Duration = Duration::from_micros(500);
/// How often a group that still grows waits again, each time twice as long.
const ROUNDS: u32 = 3;

/// What the last groups have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// How long a sync takes.
    sync: Duration,
    /// Appends that were in the group or waited for the next one when it was synced.
    together: usize,
}

impl Pace {
    /// A group was synced in this time, and so many changes were in it or waited behind it.
    pub(super) fn note(&mut self, took: Duration, together: usize) {
        self.sync = if self.sync.is_zero() { took } else { (self.sync * 7 + took) / 8 };
        self.together = together;
    }

    /// How many changes are worth no further waiting. Fewer than there were, so that the number can only stay if as many
    /// come anyway.
    pub(super) fn enough(&self) -> usize {
        self.together - self.together / 8
    }

    /// How long to wait for them, again and again while they come.
    pub(super) fn rounds(&self) -> impl Iterator<Item = Duration> + use<> {
        let first = (self.sync / 2).min(LONGEST);
        (0..ROUNDS).map(move |round| first * (1 << round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_alone_never_waits() {
        let mut pace = Pace::default();
        assert_eq!(pace.enough(), 0);
        pace.note(Duration::from_micros(100), 1);
        assert_eq!(pace.enough(), 1);
    }

    #[test]
    fn many_wait_for_most_of_the_others_and_not_for_long() {
        let mut pace = Pace::default();
        pace.note(Duration::from_micros(80), 16);
        assert_eq!(pace.enough(), 14);
        assert_eq!(pace.rounds().collect::<Vec<_>>(), [40, 80, 160].map(Duration::from_micros));
        for _ in 0..100 {
            pace.note(Duration::from_millis(20), 16);
        }
        assert_eq!(pace.rounds().sum::<Duration>(), LONGEST * 7);
    }
}
