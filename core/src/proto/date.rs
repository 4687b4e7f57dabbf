//! Dates of HTTP (RFC 9110, section 5.6.7), in all three forms. Whether the weekday and what stands between the parts
//! are the right ones does not matter.

/// The seconds from 1970 to a date; `None` for what is none, or is before.
///
/// The library for this would be a sixtieth of what a page downloads.
pub(super) fn parse(text: &str) -> Option<u64> {
    let mut parts = text.as_bytes().split(|byte| b" ,-:".contains(byte)).filter(|part| !part.is_empty());
    parts.next()?;
    // Into the order of `Sun, 06 Nov 1994 08:49:37 GMT`, also from `Sun Nov  6 08:49:37 1994`.
    let [mut day, mut month, mut year, mut hour, mut minute, mut second] =
        [(); 6].map(|()| parts.next().unwrap_or_default());
    let has_year_last = number(day).is_none();
    if has_year_last {
        (month, day, hour, minute, second, year) = (day, month, year, hour, minute, second);
    }
    if parts.next() != (!has_year_last).then_some(b"GMT") || parts.next().is_some() {
        return None;
    }
    let is_short = year.len() == 2;
    let month = MONTHS.chunks(3).position(|name| name == month)? as u64;
    let [day, year, hour, minute, second] =
        [number(day)?, number(year)?, number(hour)?, number(minute)?, number(second)?];
    let year = match year {
        // What is meant by two digits is the nearest such year, as of 2020.
        0..70 if is_short => year + 2000,
        70..100 if is_short => year + 1900,
        1970..10_000 => year,
        _ => return None,
    };
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years begin in March here, so that a leap day is the last one.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - DAYS_BEFORE_1970;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// From March of the year 0 to January of 1970.
const DAYS_BEFORE_1970: u64 = 719_468;

/// Of at most four digits.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = (1..=4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_date_has_three_forms() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "Sun",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994 GMT",
            "Sun, 06 ov 1994 08:49:37 GMT",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_the_library_writes_is_read(seconds in 0..253_402_300_800_u64) {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            prop_assert_eq!(parse(&text), Some(seconds));
        }

        #[test]
        fn what_the_library_reads_is_the_same(seconds in 0..3_155_760_000_u64) {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            // As in `Sun, 06 Nov 1994 08:49:37 GMT`.
            let (short, day, month, year, time) = (&text[..3], &text[5..7], &text[8..11], &text[12..16], &text[17..25]);
            let weekdays = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
            let long = weekdays.iter().find(|name| name.starts_with(short)).unwrap();
            let with_blank = format!("{:>2}", day.trim_start_matches('0'));
            for other in [
                format!("{short} {month} {with_blank} {time} {year}"),
                format!("{long}, {day}-{month}-{} {time} GMT", &year[2..]),
            ] {
                let date = httpdate::parse_http_date(&other).unwrap();
                prop_assert_eq!(date.duration_since(UNIX_EPOCH).unwrap().as_secs(), seconds, "{}", other);
                prop_assert_eq!(parse(&other), Some(seconds), "{}", other);
            }
        }
    }
}
