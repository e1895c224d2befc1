//! The line between two texts of a series that says when the next one was taken.
//!
//! ```text
//! 1763650000123                      milliseconds; 10 digits are seconds, 16 micro-, 19 nanoseconds
//! === 2025-11-20T14:46:40.123Z ===   `date -Is`, `date --iso-8601=ns`, log stamps
//! Thu Nov 20 14:46:40 UTC 2025       `date`
//! t=12.5                             seconds since the recording began
//! ```
//!
//! Written by a shell loop (`while sleep 10; do date; cat /proc/PID/smaps; done`), so in whatever form the
//! author thought of. `smaps` finds the lines; here they get their meaning.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use regex::bytes::{Captures, Regex};
use std::sync::LazyLock;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesTime {
    /// Unix milliseconds; whether the line names its time zone (else it was read as UTC).
    Unix {
        /// Milliseconds since 1970.
        ms: i64,
        /// A zone, or a number that needs none.
        zoned: bool,
    },
    /// Milliseconds since a start that is not known.
    Relative {
        /// Milliseconds.
        ms: i64,
    },
}

/// 1990 to 2100 in milliseconds: other numbers of ten digits are not times.
const PLAUSIBLE: std::ops::Range<i64> = 631_152_000_000..4_102_444_800_000;

static ISO: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?-u)\b(\d{4})-(\d\d)-(\d\d)[T _](\d\d)[:-](\d\d)(?:[:-](\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|UTC|[+-]\d\d:?\d\d)?").ok()
});
static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?-u)\b(?:(\d{1,2})\s+)?(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\s+(?:(\d{1,2})\s+)?(?:(\d{4})\s+)?(\d{1,2}):(\d\d):(\d\d)(?:\s+([AP]M))?(?:\s+([A-Z]{1,5}|[+-]\d{4}))?(?:\s+(\d{4}))?",
    )
    .ok()
});
static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?-u)\b(\d{9,19})(?:\.(\d{1,9}))?\b").ok());
static RELATIVE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?-u)^[^0-9A-Za-z+.]*(?:t|time|uptime|elapsed|sec|seconds)?\s*[=:]?\s*\+?(\d{1,8})(?:\.(\d{1,9}))?\s*(s|sec|ms)?[^0-9A-Za-z]*$",
    )
    .ok()
});

/// The time in the last of `lines` that has one.
pub fn time(lines: &[&[u8]]) -> Option<SeriesTime> {
    lines.iter().rev().find_map(|line| time_of(line))
}

fn time_of(line: &[u8]) -> Option<SeriesTime> {
    // A time stands in the first words of a line; a long line is something else.
    let line = &line[..line.len().min(200)];
    let captures = |regex: &'static LazyLock<Option<Regex>>| regex.as_ref()?.captures(line);
    if let Some(found) = captures(&ISO)
        && let Some(time) = iso(&found)
    {
        return Some(time);
    }
    if let Some(found) = captures(&DATE)
        && let Some(time) = date(&found)
    {
        return Some(time);
    }
    if let Some(found) = captures(&NUMBER) {
        let digits = found.get(1).map_or(0, |m| m.len());
        let value: i64 = integer(&found, 1)?;
        let ms = match digits {
            9..=10 => value.checked_mul(1000)?.checked_add(i64::from(fraction(&found, 2)) / 1_000_000)?,
            11..=13 => value,
            14..=16 => value / 1000,
            _ => value / 1_000_000,
        };
        return PLAUSIBLE.contains(&ms).then_some(SeriesTime::Unix { ms, zoned: true });
    }
    let found = captures(&RELATIVE)?;
    let value: i64 = integer(&found, 1)?;
    let ms = match found.get(3).map(|unit| unit.as_bytes()) {
        Some(b"ms") => value,
        _ => value * 1000 + i64::from(fraction(&found, 2)) / 1_000_000,
    };
    Some(SeriesTime::Relative { ms })
}

fn iso(found: &Captures<'_>) -> Option<SeriesTime> {
    let field = |i: usize| integer::<i16>(found, i);
    let small = |i: usize| integer::<i8>(found, i);
    let civil = DateTime::new(field(1)?, small(2)?, small(3)?, small(4)?, small(5)?, small(6).unwrap_or(0), fraction(found, 7)).ok()?;
    let zone = found.get(8).map(|zone| zone.as_bytes());
    unix(civil, zone.and_then(offset))
}

fn date(found: &Captures<'_>) -> Option<SeriesTime> {
    const MONTHS: [&[u8]; 12] = [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let month = MONTHS.iter().position(|name| found.get(2).is_some_and(|m| m.as_bytes() == *name))? as i8 + 1;
    let day: i8 = integer(found, 1).or_else(|| integer(found, 3))?;
    let year: i16 = integer(found, 4).or_else(|| integer(found, 10))?;
    let hour: i8 = integer(found, 5)?;
    let hour = match found.get(8).map(|half| half.as_bytes()) {
        Some(b"PM") if hour < 12 => hour + 12,
        Some(b"AM") if hour == 12 => 0,
        _ => hour,
    };
    let civil = DateTime::new(year, month, day, hour, integer(found, 6)?, integer(found, 7)?, 0).ok()?;
    unix(civil, found.get(9).and_then(|zone| offset(zone.as_bytes())))
}

fn unix(civil: DateTime, offset: Option<Offset>) -> Option<SeriesTime> {
    let ms = offset.unwrap_or(Offset::UTC).to_timestamp(civil).ok()?.as_millisecond();
    Some(SeriesTime::Unix { ms, zoned: offset.is_some() })
}

/// `Z`, `UTC`, `GMT`, `+02:00`, `-0530`. Other abbreviations mean different things in different places.
fn offset(zone: &[u8]) -> Option<Offset> {
    if matches!(zone, b"Z" | b"UTC" | b"GMT") {
        return Some(Offset::UTC);
    }
    let (sign, rest) = zone.split_first()?;
    let digits: Vec<u8> = rest.iter().copied().filter(u8::is_ascii_digit).collect();
    let number: i32 = std::str::from_utf8(&digits).ok()?.parse().ok()?;
    let seconds = (number / 100 * 60 + number % 100) * 60;
    match sign {
        b'+' => Offset::from_seconds(seconds).ok(),
        b'-' => Offset::from_seconds(-seconds).ok(),
        _ => None,
    }
}

fn integer<T: std::str::FromStr>(found: &Captures<'_>, group: usize) -> Option<T> {
    std::str::from_utf8(found.get(group)?.as_bytes()).ok()?.parse().ok()
}

/// Digits after the point, as nanoseconds.
fn fraction(found: &Captures<'_>, group: usize) -> i32 {
    let Some(digits) = found.get(group) else { return 0 };
    let mut padded = String::from_utf8_lossy(digits.as_bytes()).into_owned();
    while padded.len() < 9 {
        padded.push('0');
    }
    padded.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn unix_ms(line: &str, expected: i64) {
        match time(&[line.as_bytes()]) {
            Some(SeriesTime::Unix { ms, .. }) => assert_eq!(ms, expected, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn numbers_by_their_length() {
        unix_ms("1763650000", 1_763_650_000_000);
        unix_ms("=== 1763650000123 ===", 1_763_650_000_123);
        unix_ms("# snapshot 3 at 1763650000.123456", 1_763_650_000_123);
        unix_ms("1763650000123456", 1_763_650_000_123);
        unix_ms("ts=1763650000123456789", 1_763_650_000_123);
    }

    #[test]
    fn dates() {
        unix_ms("2025-11-20T14:46:40Z", 1_763_650_000_000);
        unix_ms("--- 2025-11-20 15:46:40.123 +01:00", 1_763_650_000_123);
        unix_ms("2025-11-20T20:16:40+0530", 1_763_650_000_000);
        unix_ms("Thu Nov 20 14:46:40 UTC 2025", 1_763_650_000_000);
        unix_ms("Thu Nov 20 02:46:40 PM UTC 2025", 1_763_650_000_000);
        unix_ms("Thu, 20 Nov 2025 14:46:40 +0000", 1_763_650_000_000);
        assert_eq!(time(&[b"2025-11-20 14:46:40"]), Some(SeriesTime::Unix { ms: 1_763_650_000_000, zoned: false }));
        assert_eq!(time(&[b"Thu Nov 20 14:46:40 CET 2025"]), Some(SeriesTime::Unix { ms: 1_763_650_000_000, zoned: false }));
    }

    #[test]
    fn relative_and_none() {
        assert_eq!(time(&[b"t=12.5"]), Some(SeriesTime::Relative { ms: 12_500 }));
        assert_eq!(time(&[b"12s"]), Some(SeriesTime::Relative { ms: 12_000 }));
        assert_eq!(time(&[b"100"]), Some(SeriesTime::Relative { ms: 100_000 }));
        assert_eq!(time(&[b"hello 12 worlds"]), None);
        assert_eq!(time(&[b"1763650000", b"pid 4121 of server"]), Some(SeriesTime::Unix { ms: 1_763_650_000_000, zoned: true }));
        assert_eq!(time(&[b"2025-13-45T99:99:99Z"]), None);
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = time(&[&line]);
        }

        #[test]
        fn any_stamp_is_survived(line in "[0-9A-Za-z:+ ./=T-]{0,60}") {
            let _ = time(&[line.as_bytes()]);
        }
    }
}
