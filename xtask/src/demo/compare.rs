//! What arrived, against what was sent.

use bytes::Bytes;
use serde::Deserialize;

use super::data::Records;

/// The differences. All but the first two are 0 when nothing went wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub(crate) sent: usize,
    pub(crate) arrived: usize,
    /// Never arrived.
    pub(crate) lost: usize,
    /// Arrivals of a record that had arrived before.
    pub(crate) duplicated: usize,
    /// Arrived after a record that was sent later.
    pub(crate) out_of_order: usize,
    /// Not byte for byte what was sent.
    pub(crate) changed: usize,
}

/// The part of a message that says which one it is.
#[derive(Deserialize)]
struct Numbered {
    n: usize,
}

impl Comparison {
    pub(crate) fn of(records: &Records, arrived: &[Bytes]) -> Self {
        let mut result = Self { sent: records.len(), arrived: arrived.len(), ..Self::default() };
        let mut seen = vec![false; records.len()];
        // The first ordinal that is later than all that have arrived.
        let mut next = 0;
        for message in arrived {
            let number = serde_json::from_slice(message).ok().map(|Numbered { n }| n);
            let Some((n, sent)) = number.and_then(|n| Some((n, records.message(n)?))) else {
                result.changed += 1;
                continue;
            };
            if sent.as_bytes() != message {
                result.changed += 1;
            }
            if std::mem::replace(&mut seen[n], true) {
                result.duplicated += 1;
            } else if n < next {
                result.out_of_order += 1;
            }
            next = next.max(n + 1);
        }
        result.lost = seen.iter().filter(|seen| !**seen).count();
        result
    }

    /// Whether every record arrived, once, in order and unchanged.
    pub(crate) fn is_faithful(&self) -> bool {
        let differences = [self.lost, self.duplicated, self.out_of_order, self.changed];
        self.sent == self.arrived && differences.iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(arrived: &[&str]) -> Comparison {
        let records = Records::from(["[1]", "[2]", "[3]"].as_slice());
        let arrived: Vec<_> = arrived.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
        Comparison::of(&records, &arrived)
    }

    const A: &str = r#"{"n":0,"record":[1]}"#;
    const B: &str = r#"{"n":1,"record":[2]}"#;
    const C: &str = r#"{"n":2,"record":[3]}"#;

    #[test]
    fn the_same_records_in_the_same_order_are_faithful() {
        let result = compare(&[A, B, C]);
        assert!(result.is_faithful());
        assert_eq!((result.sent, result.arrived), (3, 3));
    }

    #[test]
    fn each_kind_of_difference_is_counted_as_itself() {
        let counts = |arrived: &[&str]| {
            let result = compare(arrived);
            assert!(!result.is_faithful());
            (result.lost, result.duplicated, result.out_of_order, result.changed)
        };
        assert_eq!(counts(&[A, C]), (1, 0, 0, 0));
        assert_eq!(counts(&[A, B, A, C]), (0, 1, 0, 0));
        assert_eq!(counts(&[A, C, B]), (0, 0, 1, 0));
        assert_eq!(counts(&[A, B, r#"{"n":2,"record":[ 3]}"#]), (0, 0, 0, 1));
        assert_eq!(counts(&[A, B, C, r#"{"n":3,"record":[4]}"#]), (0, 0, 0, 1));
        assert_eq!(counts(&[A, B, C, "cut"]), (0, 0, 0, 1));
        assert_eq!(counts(&[]), (3, 0, 0, 0));
    }
}
