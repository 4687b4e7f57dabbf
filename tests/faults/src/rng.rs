//! The random numbers of a seeded plan: splitmix64.
//!
//! Written out here and not taken from a crate, so that a seed keeps its meaning whatever is upgraded.

/// The draws that belong to one request.
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64, ordinal: u64) -> Self {
        Self(mix(seed) ^ mix(ordinal.wrapping_add(1)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 to 1, without 1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `end`; 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.part() * end as f64) as u64
    }

    /// One of the items, or none if there is none.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        items.get(self.below(items.len() as u64) as usize).copied()
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_splitmix64() {
        // The first outputs of the reference implementation for state 0.
        let mut draws = Draws(0);
        assert_eq!([draws.next(), draws.next()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn draws_stay_in_their_range_and_cover_it() {
        let mut seen = [0_u32; 5];
        for ordinal in 0..5_000 {
            seen[Draws::new(1, ordinal).below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1_200).contains(n)), "{seen:?}");
        assert_eq!(Draws::new(1, 1).pick::<u8>(&[]), None);
    }
}
