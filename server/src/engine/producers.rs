//! The epoch and seq table of idempotent producers (PROTOCOL.md T-PROD). Pure.

use std::collections::HashMap;

use bytes::Bytes;

/// Identifies one request of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerTag {
    /// Who writes. Any non-empty bytes (S-PROD-2).
    pub id: Bytes,
    /// The fencing number of this writer.
    pub epoch: u64,
    /// The number of this request within the epoch.
    pub seq: u64,
}

/// What the table says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In order: append it.
    Accept,
    /// Seen before: answer as if it had been appended, append nothing.
    Duplicate {
        /// The current epoch.
        epoch: u64,
        /// The highest seq accepted in it (S-PROD-11).
        seq: u64,
    },
    /// A newer epoch is at work.
    Fence {
        /// The current epoch.
        epoch: u64,
    },
    /// A seq is missing before this one.
    Gap {
        /// The seq that is to come next.
        expected: u64,
        /// The seq that came.
        received: u64,
    },
    /// A new epoch must start at seq 0.
    BadFirstSeq,
}

/// Epoch and last accepted seq of each producer of one stream (S-PROD-4).
#[derive(Clone, Debug, Default)]
pub struct Producers {
    /// None for the streams, most of them, that no producer has written to.
    #[expect(clippy::box_collection, reason = "memory has one of these for each stream: a pointer instead of a map")]
    table: Option<Box<HashMap<Bytes, Last>>>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    epoch: u64,
    seq: u64,
}

impl Producers {
    /// Remembers an accepted request.
    pub fn record(&mut self, tag: &ProducerTag) {
        let last = Last { epoch: tag.epoch, seq: tag.seq };
        let table = self.table.get_or_insert_default();
        match table.get_mut(&tag.id) {
            Some(known) => *known = last,
            None => {
                table.insert(tag.id.clone(), last);
            }
        }
    }

    /// Judges a request by its tag alone (S-PROD-5). Changes nothing.
    pub fn check(&self, tag: &ProducerTag) -> Verdict {
        let (e, s) = (tag.epoch, tag.seq);
        match self.table.as_ref().and_then(|table| table.get(&tag.id)) {
            None if s == 0 => Verdict::Accept,
            None => Verdict::Gap { expected: 0, received: s },
            Some(last) if e < last.epoch => Verdict::Fence { epoch: last.epoch },
            Some(last) if e > last.epoch => {
                if s == 0 {
                    Verdict::Accept
                } else {
                    Verdict::BadFirstSeq
                }
            }
            Some(last) if s <= last.seq => Verdict::Duplicate { epoch: last.epoch, seq: last.seq },
            Some(last) if s == last.seq + 1 => Verdict::Accept,
            Some(last) => Verdict::Gap { expected: last.seq + 1, received: s },
        }
    }

    /// How many producers there are.
    pub fn len(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All producers, each with its current epoch and last seq, in no order.
    pub fn iter(&self) -> impl Iterator<Item = ProducerTag> + '_ {
        self.table.iter().flat_map(|table| table.iter()).map(|(id, last)| ProducerTag {
            id: id.clone(),
            epoch: last.epoch,
            seq: last.seq,
        })
    }
}

impl FromIterator<ProducerTag> for Producers {
    fn from_iter<I: IntoIterator<Item = ProducerTag>>(tags: I) -> Self {
        let mut producers = Self::default();
        for tag in tags {
            producers.record(&tag);
        }
        producers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag(epoch: u64, seq: u64) -> ProducerTag {
        ProducerTag { id: Bytes::from_static(b"p"), epoch, seq }
    }

    #[test]
    fn every_row_of_t_prod_is_answered_as_the_table_says() {
        let none = Producers::default();
        let stored: Producers = [tag(5, 7)].into_iter().collect();
        let rows = [
            (&none, tag(0, 0), Verdict::Accept),
            (&none, tag(9, 0), Verdict::Accept),
            (&none, tag(0, 3), Verdict::Gap { expected: 0, received: 3 }),
            (&stored, tag(4, 0), Verdict::Fence { epoch: 5 }),
            (&stored, tag(4, 99), Verdict::Fence { epoch: 5 }),
            (&stored, tag(6, 0), Verdict::Accept),
            (&stored, tag(60, 0), Verdict::Accept),
            (&stored, tag(6, 1), Verdict::BadFirstSeq),
            (&stored, tag(5, 0), Verdict::Duplicate { epoch: 5, seq: 7 }),
            (&stored, tag(5, 7), Verdict::Duplicate { epoch: 5, seq: 7 }),
            (&stored, tag(5, 8), Verdict::Accept),
            (&stored, tag(5, 9), Verdict::Gap { expected: 8, received: 9 }),
        ];
        for (table, tag, verdict) in rows {
            assert_eq!(table.check(&tag), verdict, "{tag:?}");
        }
    }

    #[test]
    fn producers_do_not_influence_one_another() {
        let stored: Producers = [tag(5, 7)].into_iter().collect();
        let other = ProducerTag { id: Bytes::from_static(b"q"), ..tag(0, 0) };
        assert_eq!(stored.check(&other), Verdict::Accept);
    }

    proptest! {
        #[test]
        fn whatever_is_sent_each_epoch_is_accepted_from_zero_without_holes(sent in prop::collection::vec((0..3u64, 0..6u64), 0..60)) {
            let mut table = Producers::default();
            let mut accepted: Vec<(u64, u64)> = Vec::new();
            for (epoch, seq) in sent {
                if table.check(&tag(epoch, seq)) == Verdict::Accept {
                    table.record(&tag(epoch, seq));
                    accepted.push((epoch, seq));
                }
            }
            for pair in accepted.windows(2) {
                let next_in_epoch = pair[1] == (pair[0].0, pair[0].1 + 1);
                let new_epoch = pair[1].0 > pair[0].0 && pair[1].1 == 0;
                prop_assert!(next_in_epoch || new_epoch);
            }
            prop_assert!(accepted.first().is_none_or(|first| first.1 == 0));
        }
    }
}
