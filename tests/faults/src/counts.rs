//! What a proxy has seen and done.

use std::fmt;

use crate::fault::FaultKind;

/// How many requests a proxy has seen, and how many of them met which fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Requests that arrived from clients, harmed or not.
    pub requests: u64,
    /// Requests on which the server itself could not be reached or broke off. Nothing the proxy did.
    pub upstream_failures: u64,
    met: [u64; FaultKind::ALL.len()],
}

impl FaultCounts {
    /// How many requests met a fault of this kind.
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.met[kind as usize]
    }

    /// How many requests met a fault of any kind.
    pub fn total(&self) -> u64 {
        self.met.iter().sum()
    }

    /// How many kinds were met at least once.
    pub fn kinds_met(&self) -> usize {
        self.met.iter().filter(|met| **met > 0).count()
    }

    pub(crate) fn add(&mut self, kind: FaultKind) {
        self.met[kind as usize] += 1;
    }
}

/// One compact line: `1000 requests, 103 faults (cut-body 11, delay 9, ...)`.
impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} faults", self.requests, self.total())?;
        let met = FaultKind::ALL.into_iter().filter(|kind| self.of(*kind) > 0);
        for (i, kind) in met.enumerate() {
            write!(f, "{}{kind} {}", if i == 0 { " (" } else { ", " }, self.of(kind))?;
        }
        if self.total() > 0 {
            f.write_str(")")?;
        }
        if self.upstream_failures > 0 {
            write!(f, ", {} upstream failures", self.upstream_failures)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_index_their_own_count() {
        for (index, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("no-such-fault".parse::<FaultKind>().is_err());
    }

    #[test]
    fn the_line_names_only_what_was_met() {
        let mut counts = FaultCounts { requests: 9, ..Default::default() };
        assert_eq!(counts.to_string(), "9 requests, 0 faults");
        counts.add(FaultKind::Stall);
        counts.add(FaultKind::CutBody);
        counts.add(FaultKind::Stall);
        counts.upstream_failures = 1;
        assert_eq!(counts.to_string(), "9 requests, 3 faults (cut-body 1, stall 2), 1 upstream failures");
        assert_eq!((counts.total(), counts.kinds_met(), counts.of(FaultKind::Stall)), (3, 2, 2));
    }
}
