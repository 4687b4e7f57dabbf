//! Durations and sizes as people write them: `30s`, `64MiB`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};

/// From small to large; the first is what a bare number means.
const SIZES: [(&str, u64); 5] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads a duration: seconds, or a number with a unit, such as `500ms`, `90s`, `10m`, `2h`, `7d`.
///
/// # Errors
/// Says how to write one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let malformed = || "give seconds, or a number with ms, s, m, h or d".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| malformed())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86400.0,
        _ => return Err(malformed()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| "that is too long".to_owned())
}

/// Reads a size: bytes, or a whole number with `KiB`, `MiB`, `GiB` or `TiB`.
///
/// # Errors
/// Says how to write one.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = SIZES.iter().find(|(name, _)| *name == unit.trim_start()).map(|&(_, factor)| factor);
    let number = number.parse::<u64>().ok();
    match (number, factor) {
        (Some(number), Some(factor)) => number.checked_mul(factor).ok_or_else(|| "that is too large".to_owned()),
        _ => Err("give bytes, or a whole number with KiB, MiB, GiB or TiB".to_owned()),
    }
}

fn show_duration(duration: Duration) -> String {
    match (duration.as_secs(), duration.as_millis()) {
        (seconds, _) if duration.subsec_nanos() == 0 => format!("{seconds}s"),
        (_, millis) if duration.subsec_nanos().is_multiple_of(1_000_000) => format!("{millis}ms"),
        _ => format!("{}s", duration.as_secs_f64()),
    }
}

fn show_size(size: u64) -> String {
    let fits = |&&(_, factor): &&(&str, u64)| size != 0 && size.is_multiple_of(factor);
    let (unit, factor) = SIZES.iter().rfind(fits).unwrap_or(&SIZES[0]);
    format!("{}{unit}", size / factor)
}

/// Takes both `30` and `"30s"`.
struct Written<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(|why| E::custom(format!("`{text}`: {why}")))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// For `#[serde(with = "units::duration")]`.
pub(super) mod duration {
    use super::*;

    pub(crate) fn serialize<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&show_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_any(Written { expected: "a duration such as \"30s\"", parse: parse_duration })
    }
}

/// For `#[serde(with = "units::size")]`.
pub(super) mod size {
    use super::*;

    pub(crate) fn serialize<N: Copy + TryInto<u64>, S: serde::Serializer>(size: &N, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&show_size((*size).try_into().unwrap_or(u64::MAX)))
    }

    pub(crate) fn deserialize<'de, N: TryFrom<u64>, D: serde::Deserializer<'de>>(from: D) -> Result<N, D::Error> {
        let size = from.deserialize_any(Written { expected: "a size such as \"64MiB\"", parse: parse_size })?;
        N::try_from(size).map_err(|_| D::Error::custom("that is too large"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_seconds_unless_a_unit_says_otherwise() {
        for (text, millis) in [("30", 30_000), ("0.5", 500), ("10m", 600_000), ("2h", 7_200_000), ("250ms", 250)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "m", "5x", "-1", "1h30", "1e999", "nan"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_bytes_unless_a_unit_says_otherwise() {
        for (text, bytes) in [("0", 0), ("17", 17), ("64MiB", 64 << 20), ("1 GiB", 1 << 30), ("3KiB", 3072)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "1.5MiB", "-1", "1MB", "99999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(millis in 0..30 * 86_400_000_u64, size: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&show_size(size)), Ok(size));
        }
    }
}
