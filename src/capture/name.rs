//! What a file name tells: which files belong together, and when they were written.
//!
//! ```text
//! 1763650000123.stats.json      stem 1763650000123, Unix milliseconds
//! jeprof.4121.12.m3.heap.gz     stem jeprof.4121.12.m3, 12th dump of process 4121 (jemalloc)
//! dump-2025-11-20T14-46-40.heap stem dump-2025-11-20T14-46-40, a date
//! ```
//!
//! A name never tells what a file is: that is decided by content.

use crate::input::series::{self, SeriesTime};

/// What the name of a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What the files of one snapshot share.
    pub stem: String,
    /// Unix milliseconds, where the name has a time.
    pub unix_ms: Option<i64>,
    /// Process and sequence number, where jemalloc made the name.
    pub sequence: Option<Sequence>,
    /// jemalloc wrote it as the process ended (`prof_final`).
    pub at_exit: bool,
}

/// `<prefix>.<pid>.<seq>.<letter>[<n>].heap`, jemalloc `src/prof_sys.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence {
    /// The process.
    pub pid: u64,
    /// Its dumps are counted from 0.
    pub number: u64,
}

/// Ends of names that tell parts of one snapshot apart, longest first.
const SUFFIXES: [&str; 30] = [
    ".smaps_rollup",
    ".malloc_info",
    ".stats.json",
    ".stats.txt",
    ".cgroup.txt",
    ".status.txt",
    ".smaps.txt",
    ".heap.txt",
    ".pprof.pb",
    ".rollup",
    ".status",
    ".cgroup",
    ".smaps",
    ".stats",
    ".pprof",
    ".hprof",
    ".heap",
    ".prof",
    ".dump",
    ".json",
    ".prom",
    ".pmap",
    ".maps",
    ".txt",
    ".log",
    ".xml",
    ".csv",
    ".out",
    ".pb",
    ".dat",
];
const COMPRESSIONS: [&str; 4] = [".gz", ".zst", ".zstd", ".gzip"];

/// Reads a file name without its directories.
pub fn parse(file: &str) -> Name {
    let lower = file.to_ascii_lowercase();
    let mut end = file.len();
    let strip = |end: &mut usize, suffixes: &[&str]| {
        // A stem is never empty: `.heap` is a name, not a suffix.
        if let Some(suffix) = suffixes.iter().find(|suffix| lower[..*end].ends_with(**suffix) && *end > suffix.len()) {
            *end -= suffix.len();
        }
    };
    strip(&mut end, &COMPRESSIONS);
    strip(&mut end, &SUFFIXES);
    let stem = &file[..end];
    let sequence = sequence(stem);
    Name { stem: stem.to_owned(), unix_ms: time(stem), sequence, at_exit: sequence.is_some() && stem.ends_with(".f") }
}

/// A time anywhere in the stem: the digits of a Unix time, or a date.
fn time(stem: &str) -> Option<i64> {
    // `dump_1763650000`: an underscore would make one word of it.
    let words = stem.replace(['_', '.'], " ");
    if let Some(SeriesTime::Unix { ms, .. }) = series::time(&[stem.as_bytes()]).or_else(|| series::time(&[words.as_bytes()])) {
        return Some(ms);
    }
    compact_date(stem)
}

/// `20251120T144640`, `20251120-144640`, `20251120144640`, with milliseconds or a `Z` after it or not.
fn compact_date(stem: &str) -> Option<i64> {
    let bytes = stem.as_bytes();
    (0..bytes.len()).find_map(|start| {
        let starts_word = start == 0 || !bytes[start - 1].is_ascii_digit();
        let digits = |from: usize, n: usize| {
            bytes.get(from..from + n).filter(|run| run.iter().all(u8::is_ascii_digit)).and_then(|run| std::str::from_utf8(run).ok())
        };
        let date = digits(start, 8).filter(|_| starts_word)?;
        let after = start + 8;
        let gap = usize::from(bytes.get(after).is_some_and(|b| b"T-_ ".contains(b)));
        let clock = digits(after + gap, 6)?;
        if bytes.get(after + gap + 6).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let iso = format!("{}-{}-{}T{}:{}:{}Z", &date[..4], &date[4..6], &date[6..], &clock[..2], &clock[2..4], &clock[4..]);
        match series::time(&[iso.as_bytes()]) {
            Some(SeriesTime::Unix { ms, .. }) => Some(ms),
            _ => None,
        }
    })
}

fn sequence(stem: &str) -> Option<Sequence> {
    let mut parts = stem.rsplit('.');
    let kind = parts.next()?;
    let letter = kind.chars().next().filter(|c| "fimu".contains(*c))?;
    let count = &kind[1..];
    if !(count.is_empty() && letter == 'f' || !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let number = parts.next()?.parse().ok()?;
    let pid = parts.next()?.parse().ok()?;
    Some(Sequence { pid, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, stem: &str, unix_ms: Option<i64>) {
        let name = parse(file);
        assert_eq!((name.stem.as_str(), name.unix_ms), (stem, unix_ms));
    }

    #[test]
    fn stems_and_times() {
        check("1763650000123.heap", "1763650000123", Some(1_763_650_000_123));
        check("1763650000123.stats.json.gz", "1763650000123", Some(1_763_650_000_123));
        check("1763650000123.smaps_rollup", "1763650000123", Some(1_763_650_000_123));
        check("heap_1763650000.prof", "heap_1763650000", Some(1_763_650_000_000));
        check("web.dump-2025-11-20T14-46-40.heap", "web.dump-2025-11-20T14-46-40", Some(1_763_650_000_000));
        check("smaps.20251120-144640", "smaps.20251120-144640", Some(1_763_650_000_000));
        check("smaps.20251120-144640.txt", "smaps.20251120-144640", Some(1_763_650_000_000));
        check("before.heap", "before", None);
        check(".heap", ".heap", None);
        check("smaps", "smaps", None);
    }

    #[test]
    fn names_that_jemalloc_makes() {
        assert_eq!(parse("jeprof.4121.12.m3.heap").sequence, Some(Sequence { pid: 4121, number: 12 }));
        assert_eq!(parse("p.14650.8.u0.heap").sequence, Some(Sequence { pid: 14650, number: 8 }));
        assert_eq!(parse("p.4026531836.14650.9.i8.heap.zst").sequence, Some(Sequence { pid: 14650, number: 9 }));
        assert_eq!(parse("p.1.2.f.heap").sequence, Some(Sequence { pid: 1, number: 2 }));
        assert_eq!(parse("p.1.2.x3.heap").sequence, None);
        assert_eq!(["p.1.2.f.heap.gz", "p.1.2.f1.heap", "a.f.heap"].map(|name| parse(name).at_exit), [true, false, false]);
        assert_eq!(parse("a.f.heap").sequence, None);
        assert_eq!(parse("p.14650.8.u0.heap").unix_ms, None);
    }
}
