//! `/proc/PID/status`: sums of memory, threads, identity.
//!
//! ```text
//! Name:   server
//! Pid:    3178
//! VmRSS:      1636 kB
//! RssAnon:     112 kB
//! Threads:        1
//! ```
//!
//! Written by the kernel's `fs/proc/array.c` (`man 5 proc`). Unknown keys are passed over.

use crate::input::{ParseError, Parsed};
use crate::origin::{Warning, quote};

/// Keys with a number, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// `Name:`, the command's name of at most 15 bytes, raw.
    pub name: Option<&'a [u8]>,
    /// `VmRSS`, 1636: kibibytes where the kernel prints `kB`, else as printed.
    pub numbers: Vec<(&'a str, u64)>,
}

impl Status<'_> {
    /// The number of a key.
    pub fn get(&self, key: &str) -> Option<u64> {
        self.numbers.iter().find(|(name, _)| *name == key).map(|(_, number)| *number)
    }
}

/// Whether `text` opens like a status file.
pub fn sniff(text: &[u8]) -> bool {
    text.starts_with(b"Name:") && memchr::memmem::find(&text[..text.len().min(4096)], b"\nPid:").is_some()
}

/// Reads a status file.
pub fn parse(text: &[u8]) -> Result<Parsed<Status<'_>>, ParseError> {
    let mut status = Status::default();
    let mut warnings = Vec::new();
    let mut offset = 0;
    for line in text.split(|&b| b == b'\n') {
        let start = offset;
        offset += line.len() + 1;
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (key, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if key == b"Name" {
            status.name = Some(value);
            continue;
        }
        let Ok(key) = std::str::from_utf8(key) else { continue };
        let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
        // Lists (`Uid: 0 0 0 0`) and masks are not figures of memory.
        if digits == 0 || !matches!(value[digits..].trim_ascii(), b"" | b"kB") {
            if key.starts_with("Vm") || key.starts_with("Rss") {
                warnings.push(Warning::at(start, format!("{} is not a size: left out", quote(line))));
            }
            continue;
        }
        let number = std::str::from_utf8(&value[..digits]).ok().and_then(|text| text.parse().ok());
        if let Some(number) = number {
            status.numbers.push((key, number));
        }
    }
    if status.get("Pid").is_none() && status.get("VmRSS").is_none() {
        return Err(ParseError::new(0, "expected /proc/PID/status with `Pid:` or `VmRSS:`, found neither"));
    }
    Ok(Parsed { value: status, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn figures_and_identity() {
        let text = b"Name:\tcat\nUid:\t0\t0\t0\t0\nPid:\t3178\nVmRSS:\t    1636 kB\nRssAnon:\t     112 kB\nThreads:\t1\nSigQ:\t0/96365\n";
        let status = parse(text).unwrap().value;
        assert_eq!(status.name, Some(&b"cat"[..]));
        assert_eq!((status.get("Pid"), status.get("VmRSS"), status.get("Threads")), (Some(3178), Some(1636), Some(1)));
        assert_eq!(status.get("Uid"), None);
        assert!(sniff(text));
        assert!(parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&text);
        }
    }
}
