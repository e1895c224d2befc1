//! Numbers in a heap dump's lines, and the table of its distinct addresses: the hot part of parsing.
//!
//! A dump of a million stacks is 600 MB, of which nine tenths are hexadecimal addresses. The usual
//! address (` 0x55947ca47263`, twelve digits) is read as two overlapping machine words.

use std::hash::{BuildHasher, RandomState};

/// Sampled objects and bytes of one line, as printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawCounts {
    /// Objects.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

impl RawCounts {
    /// Neither an object nor a byte.
    pub fn is_zero(self) -> bool {
        self == RawCounts::default()
    }

    /// Component-wise, saturating.
    pub(super) fn plus(self, other: RawCounts) -> RawCounts {
        RawCounts { objects: self.objects.saturating_add(other.objects), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// The value of eight hexadecimal digits, first digit in the lowest byte; any bit in `bad` afterwards
/// means that one of them was no digit.
#[inline(always)]
fn eight_digits(text: [u8; 8], bad: &mut u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let x = u64::from_le_bytes(text);
    let letter = (x >> 6) & EACH;
    let value = (x & (0x0f * EACH)) + 9 * letter;
    // A digit is 0x30 + 0..=9, a letter 0x40 or 0x60 + 1..=6. With `value` as computed, `value + 6`
    // carries into bit 4 for letters and for nothing else, and `value` itself never does.
    *bad |= (x >> 7) & EACH;
    *bad |= ((x >> 4) & EACH) ^ (EACH ^ letter);
    *bad |= !((x >> 5) | letter) & EACH;
    *bad |= ((value + 6 * EACH) >> 4 & EACH) ^ letter;
    *bad |= (value >> 4) & EACH;
    let x = (value << 4 | value >> 8) & 0x00ff_00ff_00ff_00ff;
    let x = (x << 8 | x >> 16) & 0x0000_ffff_0000_ffff;
    (x << 16 | x >> 32) & 0xffff_ffff
}

/// ` 0x` and exactly twelve digits before a blank or the end of the line: the address, in 15 bytes.
#[inline(always)]
pub(super) fn usual_address(text: &[u8], at: usize) -> Option<u64> {
    let window: &[u8; 16] = text.get(at..)?.first_chunk()?;
    let &[b' ', b'0', b'x', a, b, c, d, e, f, g, h, i, j, k, l, b' ' | b'\n'] = window else { return None };
    let mut bad = 0;
    let high = eight_digits([a, b, c, d, e, f, g, h], &mut bad);
    let low = eight_digits([e, f, g, h, i, j, k, l], &mut bad) & 0xffff;
    (bad == 0).then_some(high << 16 | low)
}

/// `0x` and 1 to 16 digits; the address and the position after it.
pub(super) fn any_address(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let digits = text.get(at..)?.strip_prefix(b"0x")?;
    let mut value = 0u64;
    let mut len = 0;
    for &digit in digits {
        let Some(nibble) = (digit as char).to_digit(16) else { break };
        if value >> 60 != 0 {
            return None;
        }
        value = value << 4 | u64::from(nibble);
        len += 1;
    }
    (len > 0).then_some((value, at + 2 + len))
}

/// Decimal digits at `at`; the number and the position after it. `None` without digits or beyond `u64`.
#[inline]
pub(super) fn decimal(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    let mut end = at;
    while let Some(digit) = text.get(end).map(|c| c.wrapping_sub(b'0')).filter(|&d| d < 10) {
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
        end += 1;
    }
    (end > at).then_some((value, end))
}

/// What stands where a counter line is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadCounts {
    /// Where.
    pub at: usize,
    /// What should stand there.
    pub expected: &'static str,
}

/// Both pairs of a counter line and the position after the closing bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    pub live: RawCounts,
    pub accumulated: RawCounts,
    /// One of the numbers was negative (jemalloc 3.x prints signed ones) and is taken as 0.
    pub negative: bool,
    pub end: usize,
}

/// `objects: bytes [objects: bytes]`, each number padded with any blanks.
pub(super) fn counters(text: &[u8], at: usize) -> Result<Counters, BadCounts> {
    const EXPECTED: [&str; 4] = ["an object count", "a byte count", "an accumulated object count", "an accumulated byte count"];
    const AFTER: [u8; 4] = *b":[:]";
    let mut numbers = [0; 4];
    let mut at = at;
    let mut negative = false;
    for (i, number) in numbers.iter_mut().enumerate() {
        at = skip_blanks(text, at);
        let minus = text.get(at) == Some(&b'-');
        let (value, end) = decimal(text, at + usize::from(minus)).ok_or(BadCounts { at, expected: EXPECTED[i] })?;
        negative |= minus && value > 0;
        *number = if minus { 0 } else { value };
        if text.get(end).is_some_and(|c| c.is_ascii_alphabetic()) {
            // `4x` is one wrong word, not a number and a missing colon.
            return Err(BadCounts { at, expected: EXPECTED[i] });
        }
        at = if AFTER[i] == b'[' { skip_blanks(text, end) } else { end };
        if text.get(at) != Some(&AFTER[i]) {
            return Err(BadCounts { at, expected: ["`:`", "`[`", "`:`", "`]`"][i] });
        }
        at += 1;
    }
    let [objects, bytes, accumulated_objects, accumulated_bytes] = numbers;
    Ok(Counters {
        live: RawCounts { objects, bytes },
        accumulated: RawCounts { objects: accumulated_objects, bytes: accumulated_bytes },
        negative,
        end: at,
    })
}

/// The first position from `at` that is neither a blank nor a tab.
pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// Position of the newline at or after `at`, or the end of the text.
#[inline]
pub(super) fn line_end(text: &[u8], at: usize) -> usize {
    match text.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        Some(found) => at + found,
        None => text.len(),
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    address: u64,
    id: u32,
}

const EMPTY: Slot = Slot { address: 0, id: u32::MAX };

/// Distinct addresses, numbered in order of appearance.
///
/// Open addressing over 16-byte slots, at most half full: one cache line for nearly every look-up.
/// The multiplier is random, so that no file can be made whose addresses all collide.
#[derive(Clone, Debug)]
pub(super) struct AddressTable {
    slots: Vec<Slot>,
    shift: u32,
    multiplier: u64,
    pub addresses: Vec<u64>,
}

impl AddressTable {
    pub fn new() -> Self {
        const FIRST_BITS: u32 = 10;
        AddressTable {
            slots: vec![EMPTY; 1 << FIRST_BITS],
            shift: 64 - FIRST_BITS,
            multiplier: RandomState::new().hash_one(0u8) | 1,
            addresses: Vec::new(),
        }
    }

    /// The number of `address`, new or old.
    #[inline(always)]
    pub fn id(&mut self, address: u64) -> u32 {
        let slot = self.find(address);
        match self.slots.get(slot) {
            Some(found) if found.id != u32::MAX => found.id,
            _ => self.add(address, slot),
        }
    }

    /// The slot that holds `address`, or the empty one where it belongs.
    #[inline(always)]
    fn find(&self, address: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (address.wrapping_mul(self.multiplier) >> self.shift) as usize & mask;
        loop {
            match self.slots.get(slot) {
                Some(found) if found.address != address && found.id != u32::MAX => slot = (slot + 1) & mask,
                _ => return slot,
            }
        }
    }

    #[cold]
    fn add(&mut self, address: u64, slot: usize) -> u32 {
        let id = self.addresses.len() as u32;
        self.addresses.push(address);
        self.slots[slot] = Slot { address, id };
        if self.addresses.len() * 2 > self.slots.len() {
            let larger = self.slots.len() * 4;
            self.shift -= 2;
            self.slots = vec![EMPTY; larger];
            for id in 0..self.addresses.len() {
                let address = self.addresses[id];
                let slot = self.find(address);
                self.slots[slot] = Slot { address, id: id as u32 };
            }
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_judged_as_a_digit() {
        for byte in 0..=255u8 {
            for place in 0..12 {
                let mut line = *b" 0x55947ca47263 ";
                line[3 + place] = byte;
                let digits = std::str::from_utf8(&line[3..15]).ok();
                let expected = digits.filter(|d| !d.starts_with('+')).and_then(|d| u64::from_str_radix(d, 16).ok());
                assert_eq!(usual_address(&line, 0), expected, "{byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn other_lengths_take_the_slow_way() {
        assert_eq!(usual_address(b" 0x420cef 0x420cef ", 0), None);
        assert_eq!(usual_address(b" 0x55947ca47263", 0), None);
        assert_eq!(any_address(b"0x420cef ", 0), Some((0x42_0cef, 8)));
        assert_eq!(any_address(b"0xffffffffffffffff", 0), Some((u64::MAX, 18)));
        assert_eq!(any_address(b"0x10000000000000000", 0), None);
        assert_eq!(any_address(b"0x", 0), None);
        assert_eq!(any_address(b"420cef", 0), None);
    }

    #[test]
    fn counters_are_read_with_any_padding() {
        let read = |text: &str| {
            counters(text.as_bytes(), 0)
                .map(|c| (c.live.objects, c.live.bytes, c.accumulated.objects, c.accumulated.bytes, c.end))
                .map_err(|bad| (bad.at, bad.expected))
        };
        assert_eq!(read("1: 2 [3: 4]"), Ok((1, 2, 3, 4, 11)));
        assert_eq!(read("    20:  6000000 [    20:  6000000] @"), Ok((20, 6_000_000, 20, 6_000_000, 35)));
        assert_eq!(read("-1: -8 [0: 0]"), Ok((0, 0, 0, 0, 13)));
        assert_eq!(read("18446744073709551615: 0 [0: 0]"), Ok((u64::MAX, 0, 0, 0, 30)));
        assert_eq!(read("18446744073709551616: 0 [0: 0]"), Err((0, "an object count")));
        assert_eq!(read("4x: 2 [3: 4]"), Err((0, "an object count")));
        assert_eq!(read("1: 2 3: 4]"), Err((5, "`[`")));
        assert_eq!(read("1: 2 [3: 4"), Err((10, "`]`")));
        assert_eq!(read(""), Err((0, "an object count")));
    }

    #[test]
    fn addresses_are_numbered_in_order() {
        let mut table = AddressTable::new();
        for i in 0..10_000u64 {
            assert_eq!(u64::from(table.id(i * 16)), i);
        }
        for i in 0..10_000u64 {
            assert_eq!(u64::from(table.id(i * 16)), i);
        }
        assert_eq!(table.addresses.len(), 10_000);
    }
}
