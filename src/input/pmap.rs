//! `pmap` totals: the poorest evidence of resident memory, but what people have at hand.
//!
//! ```text
//! 4121:   ./server
//! Address           Kbytes     RSS   Dirty Mode  Mapping
//! 000055d0c1a2e000     280     280       0 r---- server
//! ---------------- ------- ------- -------
//! total kB          363912   57061   51234
//! ```
//!
//! Written by procps `pmap -x`; `pmap -X` prints a table with the kernel's names and a last line `... KB`.

use crate::input::{ParseError, Parsed};

/// Sums of the last line, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The process, from the first line.
    pub pid: Option<u64>,
    /// Address space.
    pub size_kib: u64,
    /// Resident; `None` for plain `pmap`.
    pub rss_kib: Option<u64>,
    /// Anonymous, with `-X`.
    pub anonymous_kib: Option<u64>,
}

/// Whether `text` opens like pmap: `PID:   command`, then a head or addresses.
pub fn sniff(text: &[u8]) -> bool {
    let mut lines = text.split(|&b| b == b'\n');
    let first = lines.next().unwrap_or_default();
    let second = String::from_utf8_lossy(lines.next().unwrap_or_default());
    pid(first).is_some()
        && (second.trim_start().starts_with("Address") || second.split_ascii_whitespace().nth(1).is_some_and(|word| word.ends_with('K')))
}

fn pid(line: &[u8]) -> Option<u64> {
    let colon = memchr::memchr(b':', line)?;
    std::str::from_utf8(&line[..colon]).ok()?.trim().parse().ok()
}

/// Reads the totals.
pub fn parse(text: &[u8]) -> Result<Parsed<Totals>, ParseError> {
    let whole = String::from_utf8_lossy(text);
    let mut totals = Totals { pid: pid(text.split(|&b| b == b'\n').next().unwrap_or_default()), ..Totals::default() };
    let mut head: Vec<&str> = Vec::new();
    for line in whole.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let numbers = |words: &[&str]| words.iter().map(|word| word.trim_end_matches('K').parse::<u64>().ok()).collect::<Vec<_>>();
        match words.as_slice() {
            ["Address", ..] => head = words,
            ["total", rest @ ..] => {
                let rest = rest.strip_prefix(&["kB"]).unwrap_or(rest);
                let numbers = numbers(rest);
                if let Some(Some(size)) = numbers.first() {
                    totals.size_kib = *size;
                    totals.rss_kib = numbers.get(1).copied().flatten();
                    return Ok(Parsed::clean(totals));
                }
            }
            // `pmap -X`: sums stand under the columns that are sums, from `Size` on.
            [rest @ .., "KB"] if !rest.is_empty() => {
                let sums: Option<Vec<u64>> = numbers(rest).into_iter().collect();
                if let (Some(sums), Some(first)) = (sums, head.iter().position(|name| *name == "Size")) {
                    let column = |name: &str| sums.get(head.iter().position(|column| *column == name)?.checked_sub(first)?).copied();
                    totals.size_kib = column("Size").unwrap_or(0);
                    totals.rss_kib = column("Rss");
                    totals.anonymous_kib = column("Anonymous");
                    return Ok(Parsed::clean(totals));
                }
            }
            _ => {}
        }
    }
    Err(ParseError::new(text.len(), "expected the totals of pmap in its last line, found none")
        .help("give the whole output of `pmap -x PID`, or better /proc/PID/smaps"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn totals_of_three_kinds() {
        let x = b"4121:   ./server\nAddress           Kbytes     RSS   Dirty Mode  Mapping\n000055d0c1a2e000     280     280       0 r---- server\n---------------- ------- ------- ------- \ntotal kB          363912   57061   51234\n";
        assert!(sniff(x));
        assert_eq!(parse(x).unwrap().value, Totals { pid: Some(4121), size_kib: 363_912, rss_kib: Some(57_061), anonymous_kib: None });
        let plain = b"4121:   ./server\n000055d0c1a2e000    280K r---- server\n total           363912K\n";
        assert!(sniff(plain));
        assert_eq!(parse(plain).unwrap().value, Totals { pid: Some(4121), size_kib: 363_912, rss_kib: None, anonymous_kib: None });
        let big = b"7:   cat\n         Address Perm   Offset Device Inode Size Rss Pss Anonymous Mapping\n    55d0c1a2e000 r--p 00000000  fe:00   1    8    8   1         0 cat\n ==== === === =====\n 300 200 100 50 KB\n";
        assert_eq!(parse(big).unwrap().value, Totals { pid: Some(7), size_kib: 300, rss_kib: Some(200), anonymous_kib: Some(50) });
        assert!(parse(b"4121: x\nAddress\n").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = sniff(&text);
            let _ = parse(&text);
        }
    }
}
