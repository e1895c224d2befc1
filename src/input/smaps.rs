//! `/proc/PID/smaps` and `smaps_rollup`: for each mapping, how much of it is resident and as what.
//!
//! ```text
//! 7f16ae600000-7f16aea00000 rw-p 00000000 00:00 0
//! Size:               4096 kB
//! Rss:                2620 kB
//! THPeligible:           1
//! VmFlags: rd wr mr mw me nr
//! ```
//!
//! Written by the kernel's `fs/proc/task_mmu.c` (Documentation/filesystems/proc.rst). Owns the records
//! and where one text ends and the next begins; `series` owns the time lines between them. Tolerant:
//! any order of keys, missing keys, unknown keys (kept), blank lines, edited files.

use crate::input::maps::{self, MapsLine};
use crate::input::{ParseError, Parsed};
use crate::origin::{Warning, quote};

macro_rules! fields {
    ($($variant:ident $name:literal,)*) => {
        /// A key of a record. Values are as printed: kibibytes, or bare for the last few.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are the kernel's, see `man 5 proc`")]
        pub enum Field { $($variant,)* }

        /// The keys by [`Field`], as the kernel spells them.
        pub const NAMES: &[&str] = &[$($name,)*];
        const FIELDS: &[Field] = &[$(Field::$variant,)*];
    };
}

fields! {
    Size "Size", Rss "Rss", Pss "Pss", PssDirty "Pss_Dirty", PssAnon "Pss_Anon", PssFile "Pss_File", PssShmem "Pss_Shmem",
    SharedClean "Shared_Clean", SharedDirty "Shared_Dirty", PrivateClean "Private_Clean", PrivateDirty "Private_Dirty",
    Referenced "Referenced", Anonymous "Anonymous", Ksm "KSM", LazyFree "LazyFree", AnonHugePages "AnonHugePages",
    ShmemPmdMapped "ShmemPmdMapped", FilePmdMapped "FilePmdMapped", SharedHugetlb "Shared_Hugetlb",
    PrivateHugetlb "Private_Hugetlb", Swap "Swap", SwapPss "SwapPss", Locked "Locked",
    KernelPageSize "KernelPageSize", MmuPageSize "MMUPageSize", ThpEligible "THPeligible", ProtectionKey "ProtectionKey",
}

/// Number of known keys.
pub const FIELD_COUNT: usize = NAMES.len();

/// One mapping, borrowed from the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The maps line it opens with.
    pub line: MapsLine<'a>,
    /// Values by [`Field`] as printed; 0 where absent.
    pub values: [u64; FIELD_COUNT],
    /// Bit set by [`Field`]: which keys are there.
    pub present: u32,
    /// The words after `VmFlags:`, raw; empty when absent.
    pub flags: &'a [u8],
    /// Keys this version does not know, with their numbers.
    pub other: Vec<(&'a [u8], u64)>,
}

impl Record<'_> {
    /// The value of a key as printed; `None` where the record has no such line.
    pub fn get(&self, field: Field) -> Option<u64> {
        (self.present & bit(field as usize) != 0).then(|| self.values[field as usize])
    }

    /// Whether it is the only record of a `smaps_rollup`.
    pub fn is_rollup(&self) -> bool {
        self.line.name == b"[rollup]"
    }
}

fn bit(index: usize) -> u32 {
    1 << index
}

/// One line of an smaps text, or of what stands between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    Blank,
    Header(MapsLine<'a>),
    Flags(&'a [u8]),
    Known(usize, u64),
    Unknown(&'a [u8], u64),
    Other(&'a [u8]),
}

/// One smaps text, borrowed from the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section<'a> {
    /// Where it starts in the input.
    pub offset: usize,
    /// Lines before its first record that belong to no record, most recent last (a time line, if any).
    pub preamble: Vec<&'a [u8]>,
    /// In the order of the text.
    pub records: Vec<Record<'a>>,
}

impl Section<'_> {
    /// Only sums are known.
    pub fn is_rollup(&self) -> bool {
        self.records.first().is_some_and(Record::is_rollup)
    }
}

/// More warnings than this of one input tell nothing new; the rest are counted.
const MOST_WARNINGS: usize = 20;
/// Lines kept before a section: a time line and a few words around it. A longer preamble keeps its end.
const MOST_PREAMBLE: usize = 8;

/// The smaps texts of an input, one after the other: only one is in memory at a time.
#[derive(Debug)]
pub struct Sections<'a> {
    text: &'a [u8],
    at: usize,
    /// The first record of the next section, once seen.
    next: Option<(usize, Vec<&'a [u8]>, Record<'a>)>,
    /// Keys in the order of the last record: the kernel repeats it, which makes a line one comparison.
    order: Vec<usize>,
    warnings: Vec<Warning>,
    suppressed: usize,
}

/// The smaps texts in `text`.
pub fn sections(text: &[u8]) -> Sections<'_> {
    Sections { text, at: 0, next: None, order: Vec::new(), warnings: Vec::new(), suppressed: 0 }
}

/// Whether `text` opens like smaps, smaps_rollup or a series of them: a maps line followed by a field.
pub fn sniff(text: &[u8]) -> bool {
    let mut lines = text[..text.len().min(64 << 10)].split(|&b| b == b'\n');
    while let Some(line) = lines.next() {
        if maps::parse_line(line).is_some() {
            return lines.next().is_some_and(|field| matches!(classify(field), Line::Known(..)));
        }
    }
    false
}

/// All texts of an input at once.
pub fn parse(text: &[u8]) -> Result<Parsed<Vec<Section<'_>>>, ParseError> {
    let mut iterator = sections(text);
    let value: Vec<Section<'_>> = iterator.by_ref().collect();
    if value.is_empty() {
        return Err(nothing());
    }
    Ok(Parsed { value, warnings: iterator.warnings() })
}

/// The error for an input without a single record.
pub fn nothing() -> ParseError {
    ParseError::new(0, "expected a mapping of smaps (`7f16ae600000-7f16aea00000 rw-p ...`), found none")
        .help("copy the file while the process lives: `cat /proc/PID/smaps`; a process that has ended gives an empty file")
}

impl<'a> Sections<'a> {
    /// What was left out so far.
    pub fn warnings(self) -> Vec<Warning> {
        let mut warnings = self.warnings;
        if self.suppressed > 0 {
            warnings.push(Warning::whole(format!("{} more lines like these were left out", self.suppressed)));
        }
        warnings
    }

    fn warn(&mut self, offset: usize, message: String) {
        if self.warnings.len() < MOST_WARNINGS {
            self.warnings.push(Warning::at(offset, message));
        } else {
            self.suppressed += 1;
        }
    }

    /// The next whole line and where it starts.
    fn line(&mut self) -> Option<(usize, &'a [u8])> {
        let start = self.at;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at = start + (end + 1).min(rest.len());
        Some((start, rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end])))
    }

    /// Field lines of `record`, until something else comes; the line that ended it is not consumed.
    fn fields(&mut self, record: &mut Record<'a>) {
        let mut nth = 0;
        loop {
            // The kernel's own layout, in the order of the record before: 28 bytes a line.
            if let Some(&expected) = self.order.get(nth)
                && let Some(value) = kernel_line(&self.text[self.at..], expected)
            {
                record.values[expected] = value;
                record.present |= bit(expected);
                self.at += KERNEL_LINE;
                nth += 1;
                continue;
            }
            let before = self.at;
            let Some((offset, line)) = self.line() else { return };
            match classify(line) {
                Line::Blank => {}
                Line::Known(field, value) => {
                    if record.present & bit(field) != 0 && record.values[field] != value {
                        self.warn(offset, format!("a second value for {} in one mapping: the last one is used", NAMES[field]));
                    }
                    record.values[field] = value;
                    record.present |= bit(field);
                    self.order.truncate(nth);
                    if nth < FIELD_COUNT {
                        self.order.push(field);
                    }
                    nth += 1;
                }
                Line::Flags(flags) => record.flags = flags,
                // A mapping has a few dozen keys; a hostile one cannot make this grow without end.
                Line::Unknown(key, value) if record.other.len() < 64 => record.other.push((key, value)),
                Line::Unknown(..) => self.warn(offset, "too many unknown keys in one mapping".into()),
                Line::Header(_) | Line::Other(_) => {
                    self.at = before;
                    return;
                }
            }
        }
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Section<'a>;

    fn next(&mut self) -> Option<Section<'a>> {
        let mut section = Section::default();
        let mut seen = Seen::default();
        let mut preamble: Vec<&'a [u8]> = Vec::new();
        if let Some((offset, preamble, record)) = self.next.take() {
            section = Section { offset, preamble, records: Vec::new() };
            seen.add(&record);
            section.records.push(record);
        }
        loop {
            let before = self.at;
            let Some((offset, line)) = self.line() else { break };
            match classify(line) {
                Line::Header(header) => {
                    let mut record = Record { line: header, values: [0; FIELD_COUNT], present: 0, flags: b"", other: Vec::new() };
                    self.fields(&mut record);
                    if record.present == 0 {
                        let tail = if self.at >= self.text.len() { ": the input ends here" } else { " (a maps line alone)" };
                        self.warn(offset, format!("a mapping without figures was left out{tail}"));
                        continue;
                    }
                    if !section.records.is_empty() && seen.starts_anew(&section, &record, !preamble.is_empty()) {
                        self.next = Some((offset, preamble, record));
                        return Some(section);
                    }
                    if let Some(&line) = preamble.last() {
                        if section.records.is_empty() {
                            section.offset = before;
                            section.preamble = std::mem::take(&mut preamble);
                        } else {
                            self.warn(offset, format!("{} stands between two mappings: left out", quote(line)));
                            preamble.clear();
                        }
                    } else if section.records.is_empty() {
                        section.offset = before;
                    }
                    seen.add(&record);
                    section.records.push(record);
                }
                Line::Blank => {}
                Line::Known(..) | Line::Unknown(..) | Line::Flags(_) if section.records.is_empty() => preamble_push(&mut preamble, line),
                Line::Known(..) | Line::Unknown(..) | Line::Flags(_) => {
                    self.warn(offset, format!("{} belongs to no mapping: left out", quote(line)));
                }
                Line::Other(line) => preamble_push(&mut preamble, line),
            }
        }
        if section.records.is_empty() {
            return None;
        }
        if let Some(&line) = preamble.last() {
            self.warn(self.text.len(), format!("nothing follows {}", quote(line)));
        }
        Some(section)
    }
}

fn preamble_push<'a>(preamble: &mut Vec<&'a [u8]>, line: &'a [u8]) {
    if preamble.len() == MOST_PREAMBLE {
        preamble.remove(0);
    }
    preamble.push(line);
}

/// What tells the first record of the next text from a record out of order in an edited one.
#[derive(Debug, Default)]
struct Seen {
    last: Option<u64>,
    /// Starts of all records, kept only once one was out of order.
    starts: Option<std::collections::HashSet<u64>>,
}

impl Seen {
    fn add(&mut self, record: &Record<'_>) {
        let start = record.line.range.start.get();
        if let Some(starts) = &mut self.starts {
            starts.insert(start);
        }
        self.last = Some(start);
    }

    /// Mappings are printed by address, so a text ends where the addresses go back. A record that is
    /// merely out of place (an edited file) goes back too, but was not there before and does not
    /// follow the mappings that end a text.
    fn starts_anew(&mut self, section: &Section<'_>, record: &Record<'_>, separated: bool) -> bool {
        let Some(last) = section.records.last() else { return false };
        if record.is_rollup() || last.is_rollup() {
            return true;
        }
        let start = record.line.range.start.get();
        if self.last.is_none_or(|previous| start > previous) {
            return false;
        }
        if separated || matches!(last.line.name, b"[vsyscall]" | b"[stack]" | b"[vdso]" | b"[vectors]") {
            return true;
        }
        // Twice in a row: the kernel drops its lock between reads and repeats a mapping that changed meanwhile.
        if self.last == Some(start) && section.records.len() > 1 {
            return false;
        }
        let starts = self.starts.get_or_insert_with(|| section.records.iter().map(|r| r.line.range.start.get()).collect());
        starts.contains(&start)
    }
}

/// `Pss_Dirty:          116 kB` and a newline: sixteen bytes of key, eight of number.
const KERNEL_LINE: usize = 28;

/// The value of a line that is exactly as the kernel prints `field`; `None` for any other line, which
/// the general reader takes. Numbers of more than eight digits (100 GB) shift the columns and go there too.
fn kernel_line(text: &[u8], field: usize) -> Option<u64> {
    let (line, _) = text.split_first_chunk::<KERNEL_LINE>()?;
    let key: &[u8; 16] = line[..16].try_into().ok()?;
    if key != &KERNEL_KEYS[field] || &line[24..] != b" kB\n" {
        return None;
    }
    eight_digits(line[16..24].try_into().ok()?)
}

const KERNEL_KEYS: [[u8; 16]; FIELD_COUNT] = {
    let mut keys = [[b' '; 16]; FIELD_COUNT];
    let mut i = 0;
    while i < FIELD_COUNT {
        let name = NAMES[i].as_bytes();
        let mut j = 0;
        while j < name.len() {
            keys[i][j] = name[j];
            j += 1;
        }
        keys[i][j] = b':';
        i += 1;
    }
    keys
};

/// A number of up to eight digits, padded with blanks on the left. Eight bytes at a time: this is two
/// thirds of reading smaps (Lemire, "Quickly parsing eight digits").
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    const BLANKS: u64 = 0x2020_2020_2020_2020;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let raw = u64::from_le_bytes(text);
    let blanks = (raw ^ BLANKS).trailing_zeros() / 8;
    if blanks == 8 {
        return None;
    }
    let mask = (1u64 << (8 * blanks)) - 1;
    let digits = (raw & !mask) | (ZEROS & mask);
    let high = digits & 0xf0f0_f0f0_f0f0_f0f0;
    let over = digits.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0;
    if high != ZEROS || over != ZEROS {
        return None;
    }
    let pairs = (digits & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(2561) >> 8;
    let quads = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(6_553_601) >> 16;
    Some((quads & 0x0000_ffff_0000_ffff).wrapping_mul(42_949_672_960_001) >> 32)
}

fn classify(line: &[u8]) -> Line<'_> {
    if line.trim_ascii().is_empty() {
        return Line::Blank;
    }
    // Keys begin with a letter and are followed by a colon; a mapping begins with hex digits and a dash.
    if let Some(colon) = memchr::memchr(b':', &line[..line.len().min(48)]) {
        let (key, value) = (&line[..colon], &line[colon + 1..]);
        if key == b"VmFlags" {
            return Line::Flags(value.trim_ascii());
        }
        if is_key(key)
            && let Some(number) = number(value)
        {
            return match NAMES.iter().position(|name| name.as_bytes() == key) {
                Some(field) => Line::Known(FIELDS[field] as usize, number),
                None => Line::Unknown(key, number),
            };
        }
    }
    match maps::parse_line(line) {
        Some(header) => Line::Header(header),
        None => Line::Other(line),
    }
}

fn is_key(key: &[u8]) -> bool {
    key.first().is_some_and(u8::is_ascii_alphabetic) && key.iter().all(|b| b.is_ascii_alphanumeric() || b"_()".contains(b))
}

/// `   4096 kB` or a bare number; more than 64 bits saturate.
fn number(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || !matches!(value[digits..].trim_ascii(), b"" | b"kB" | b"KB" | b"KiB") {
        return None;
    }
    Some(std::str::from_utf8(&value[..digits]).ok()?.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORD: &str = "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \nSize:               4096 kB\nRss:                2620 kB\nPrivate_Hugetlb:       3 kB\nTHPeligible:           1\nVmFlags: rd wr mr mw me nr \n";

    fn one(text: &str) -> Section<'_> {
        parse(text.as_bytes()).unwrap().value.remove(0)
    }

    #[test]
    fn a_record_has_its_figures_and_flags() {
        let section = one(RECORD);
        let record = &section.records[0];
        assert_eq!(record.get(Field::Size), Some(4096));
        assert_eq!(record.get(Field::Rss), Some(2620));
        assert_eq!(record.get(Field::PrivateHugetlb), Some(3));
        assert_eq!(record.get(Field::ThpEligible), Some(1));
        assert_eq!(record.get(Field::Swap), None);
        assert_eq!(record.flags, b"rd wr mr mw me nr");
    }

    #[test]
    fn unknown_keys_odd_order_and_blank_lines_are_taken() {
        let text =
            "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 /a b (deleted)\r\nRss: 8 kB\r\n\r\nFuture_Key:   7 kB\r\nSize: 16 kB\r\n";
        let section = one(text);
        assert_eq!(section.records[0].line.name, b"/a b (deleted)");
        assert_eq!(section.records[0].other, vec![(&b"Future_Key"[..], 7)]);
        assert_eq!((section.records[0].get(Field::Rss), section.records[0].get(Field::Size)), (Some(8), Some(16)));
    }

    #[test]
    fn wide_numbers_leave_the_kernels_columns() {
        let text = RECORD.to_string()
            + "7f0000400000-7f0000500000 rw-p 00000000 00:00 0 \nSize:           123456789012 kB\nRss:            99999999 kB\n";
        let section = one(&text);
        assert_eq!(section.records[1].get(Field::Size), Some(123_456_789_012));
        assert_eq!(section.records[1].get(Field::Rss), Some(99_999_999));
    }

    #[test]
    fn texts_are_told_apart_with_and_without_a_line_between_them() {
        let other = RECORD.replace("7f000", "7f100");
        let text = format!("{RECORD}{other}{RECORD}{other}");
        assert_eq!(parse(text.as_bytes()).unwrap().value.len(), 2);
        let text = format!("100\n{RECORD}{other}200\n{RECORD}{other}");
        let parsed = parse(text.as_bytes()).unwrap();
        let lines: Vec<_> = parsed.value.iter().map(|s| s.preamble.last().copied()).collect();
        assert_eq!(lines, [Some(&b"100"[..]), Some(&b"200"[..])]);
    }

    #[test]
    fn a_record_out_of_order_does_not_start_a_text() {
        let (a, b, c) = (RECORD, RECORD.replace("7f000", "7f100"), RECORD.replace("7f000", "7f200"));
        assert_eq!(parse(format!("{c}{a}{b}").as_bytes()).unwrap().value.len(), 1);
    }

    #[test]
    fn a_cut_text_keeps_what_it_has() {
        let parsed = parse(&RECORD.as_bytes()[..80]).unwrap();
        assert_eq!(parsed.value[0].records[0].get(Field::Size), Some(4096));
        let text = format!("{RECORD}7f0000400000-7f0000500000 rw-p 00000000 00:00 0 ");
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!((parsed.value[0].records.len(), parsed.warnings.len()), (1, 1));
        assert!(parse(b"").is_err());
        assert!(parse(b"hello\n").is_err());
    }

    #[test]
    fn digits_in_columns() {
        assert_eq!(eight_digits(*b"     280"), Some(280));
        assert_eq!(eight_digits(*b"12345678"), Some(12_345_678));
        assert_eq!(eight_digits(*b"        "), None);
        assert_eq!(eight_digits(*b"   1 280"), None);
        assert_eq!(eight_digits(*b"    -280"), None);
        assert_eq!(eight_digits(*b"    28:0"), None);
        assert_eq!(eight_digits(*b"    !280"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Err(error) = parse(&text) {
                prop_assert!(error.offset <= text.len());
            }
        }

        #[test]
        fn mangled_records_are_survived(cut in 0usize..400, at in 0usize..400, byte in any::<u8>()) {
            let mut text = RECORD.repeat(3).into_bytes();
            let end = text.len();
            text[at.min(end - 1)] = byte;
            text.truncate(cut);
            let _ = parse(&text);
        }

        #[test]
        fn columns_and_words_agree(value in 0u64..100_000_000) {
            let line = format!("{:<16}{:>8} kB\n", "Rss:", value);
            prop_assert_eq!(kernel_line(line.as_bytes(), Field::Rss as usize), Some(value));
            prop_assert_eq!(classify(line.trim_end().as_bytes()), Line::Known(Field::Rss as usize, value));
        }
    }
}
