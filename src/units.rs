//! Quantities that carry their unit: bytes, changes of bytes, objects, pages, shares.
//!
//! Owns their arithmetic and the one way they are printed. Knows nothing of where they come from.
//! People get IEC units (`1.4 GiB`), machines get integers with the unit in the key.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// A number of bytes. Smaps prints kibibytes; [`Bytes::from_kib`] is the only way in from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Bytes = Bytes(0);

    /// `count` bytes.
    pub const fn new(count: u64) -> Self {
        Bytes(count)
    }

    /// The kernel's "kB", which is 1,024 bytes. Saturates.
    pub const fn from_kib(kib: u64) -> Self {
        Bytes(kib.saturating_mul(1024))
    }

    /// `pages` pages of `page_size` bytes. Saturates.
    pub const fn from_pages(pages: u64, page_size: u64) -> Self {
        Bytes(pages.saturating_mul(page_size))
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The change from `earlier` to `self`, saturating at the ends of `i64`.
    pub fn since(self, earlier: Bytes) -> ByteDelta {
        let delta = i128::from(self.0) - i128::from(earlier.0);
        ByteDelta(delta.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }

    /// Subtraction that stops at zero.
    pub const fn saturating_sub(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_sub(other.0))
    }
}

/// Sums saturate: a hostile input can reach 2^64, and a wrapped total would be a lie.
impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        *self = *self + other;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(items: I) -> Bytes {
        items.fold(Bytes::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&iec(self.0 as f64))
    }
}

/// A signed change. Prints its sign: `+3.2 MiB`, `-512 B`, `0 B`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteDelta(i64);

impl ByteDelta {
    /// No change.
    pub const ZERO: ByteDelta = ByteDelta(0);

    /// A change by `count` bytes.
    pub const fn new(count: i64) -> Self {
        ByteDelta(count)
    }

    /// The nearest whole number of bytes, saturating; NaN is no change.
    pub fn from_f64(bytes: f64) -> Self {
        ByteDelta(bytes.round() as i64)
    }

    /// The number of bytes, negative where memory shrank.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl Add for ByteDelta {
    type Output = ByteDelta;
    fn add(self, other: ByteDelta) -> ByteDelta {
        ByteDelta(self.0.saturating_add(other.0))
    }
}

impl AddAssign for ByteDelta {
    fn add_assign(&mut self, other: ByteDelta) {
        *self = *self + other;
    }
}

impl Sub for ByteDelta {
    type Output = ByteDelta;
    fn sub(self, other: ByteDelta) -> ByteDelta {
        ByteDelta(self.0.saturating_sub(other.0))
    }
}

impl Sum for ByteDelta {
    fn sum<I: Iterator<Item = ByteDelta>>(items: I) -> ByteDelta {
        items.fold(ByteDelta::ZERO, Add::add)
    }
}

impl fmt::Display for ByteDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&signed_iec(self.0 as f64))
    }
}

/// A number of objects (allocations).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Objects(u64);

impl Objects {
    /// `count` objects.
    pub const fn new(count: u64) -> Self {
        Objects(count)
    }

    /// The number of objects.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Add for Objects {
    type Output = Objects;
    fn add(self, other: Objects) -> Objects {
        Objects(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&grouped(self.0))
    }
}

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes in a unit as [`iec`] prints it; `None` for anything else.
pub fn iec_unit(unit: &str) -> Option<f64> {
    UNITS.iter().position(|u| *u == unit).map(|power| 1024f64.powi(power as i32))
}

/// `1.4 GiB`, `512 B`: one decimal from KiB up. For estimates, which are not whole numbers.
pub fn iec(bytes: f64) -> String {
    let mut value = bytes.abs();
    // Nothing has no sign.
    let sign = if bytes < 0.0 && value >= 0.5 { "-" } else { "" };
    let mut unit = 0;
    // 1023.95 would print as `1024.0`: the next unit is the right one.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{sign}{value:.0} B") } else { format!("{sign}{value:.1} {}", UNITS[unit]) }
}

/// [`iec`] with a sign in front of anything that is not zero.
pub fn signed_iec(bytes: f64) -> String {
    let text = iec(bytes);
    match text.as_str() {
        "0 B" => text,
        _ if bytes > 0.0 => format!("+{text}"),
        _ => text,
    }
}

/// Both ends of a range: `24.1 to 26.6 MiB`, and with a unit each where these differ.
pub fn iec_range(low: f64, high: f64) -> String {
    let (low, high) = (iec(low), iec(high));
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} to {high}"),
        _ => format!("{low} to {high}"),
    }
}

/// `12,345,678`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `84.0 %` of a total; `-` when the total is zero. The caller names the denominator.
pub fn percent(part: f64, total: f64) -> String {
    if total == 0.0 || !total.is_finite() || !part.is_finite() {
        return "-".to_owned();
    }
    let text = format!("{:.1} %", 100.0 * part / total);
    // Nothing has no sign.
    if text == "-0.0 %" { "0.0 %".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_in_iec_units() {
        assert_eq!(Bytes::new(0).to_string(), "0 B");
        assert_eq!(Bytes::new(1023).to_string(), "1023 B");
        assert_eq!(Bytes::from_kib(1).to_string(), "1.0 KiB");
        assert_eq!(Bytes::new(1024 * 1024 - 1).to_string(), "1.0 MiB");
        assert_eq!(Bytes::new(u64::MAX).to_string(), "16.0 EiB");
    }

    #[test]
    fn changes_print_their_sign() {
        assert_eq!(ByteDelta::new(-512).to_string(), "-512 B");
        assert_eq!(ByteDelta::new(3_355_443).to_string(), "+3.2 MiB");
        assert_eq!(ByteDelta::ZERO.to_string(), "0 B");
        assert_eq!((signed_iec(-0.3), iec(-0.3)), ("0 B".to_owned(), "0 B".to_owned()));
    }

    #[test]
    fn differences_do_not_wrap() {
        assert_eq!(Bytes::new(0).since(Bytes::new(u64::MAX)).get(), i64::MIN);
        assert_eq!((Bytes::new(u64::MAX) + Bytes::new(1)).get(), u64::MAX);
    }

    #[test]
    fn ranges_name_their_unit_once() {
        assert_eq!(iec_range(25_270_682.0, 27_892_122.0), "24.1 to 26.6 MiB");
        assert_eq!(iec_range(-320_000.0, 2_097_152.0), "-312.5 KiB to 2.0 MiB");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
