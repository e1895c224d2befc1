//! The grammar of one `/proc/PID/maps` line, also the head of a smaps record and the tail of a heap dump.
//!
//! ```text
//! 7f16ae600000-7f16aea00000 rw-p 00000000 00:00 0
//! 55ef23c0a000-55ef23c0b000 r-xp 00001000 fe:00 10125594   /opt/demo/server
//! 7ffd8a5f0000-7ffd8a611000 rw-p 00000000 00:00 0          [stack]
//! ```
//!
//! Written by the kernel's `fs/proc/task_mmu.c` (`man 5 proc`). The name is everything after the
//! inode's blanks, verbatim: it may hold blanks, tabs, backslashes and bytes that are not UTF-8.

use crate::address::{AddrRange, Avma, FileOffset};

/// One line, borrowed from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapsLine<'a> {
    /// Where the mapping is in the process.
    pub range: AddrRange<Avma>,
    /// `r-xp`: read, write, execute, private or shared.
    pub perms: [u8; 4],
    /// Offset of the mapping in its file, in bytes.
    pub offset: FileOffset,
    /// Device of the file, major and minor; zeros for anonymous memory.
    pub device: (u32, u32),
    /// Inode of the file; 0 for anonymous memory.
    pub inode: u64,
    /// Path or kernel name, raw; empty for anonymous memory.
    pub name: &'a [u8],
}

/// Parses a line without its newline; `None` when it is not of this grammar.
pub fn parse_line(line: &[u8]) -> Option<MapsLine<'_>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (start, rest) = hex(line)?;
    let (end, rest) = hex(rest.strip_prefix(b"-")?)?;
    let rest = rest.strip_prefix(b" ")?;
    let (perms, rest) = rest.split_at_checked(4)?;
    let perms: [u8; 4] = perms.try_into().ok()?;
    let legal = [b"r-", b"w-", b"x-"].iter().zip(perms).all(|(set, p)| set.contains(&p));
    if !legal || !b"ps".contains(&perms[3]) || start > end {
        return None;
    }
    let (offset, rest) = hex(rest.strip_prefix(b" ")?)?;
    let (major, rest) = hex(rest.strip_prefix(b" ")?)?;
    let (minor, rest) = hex(rest.strip_prefix(b":")?)?;
    let (inode, rest) = decimal(rest.strip_prefix(b" ")?)?;
    let name = match rest {
        [] => rest,
        [b' ' | b'\t', ..] => rest.trim_ascii_start(),
        _ => return None,
    };
    Some(MapsLine {
        range: AddrRange::new(Avma::new(start), Avma::new(end)),
        perms,
        offset: FileOffset::new(offset),
        device: (u32::try_from(major).ok()?, u32::try_from(minor).ok()?),
        inode,
        name,
    })
}

fn hex(text: &[u8]) -> Option<(u64, &[u8])> {
    let len = text.iter().take_while(|c| c.is_ascii_hexdigit()).count();
    if len == 0 || len > 16 {
        return None;
    }
    let digits = std::str::from_utf8(&text[..len]).ok()?;
    Some((u64::from_str_radix(digits, 16).ok()?, &text[len..]))
}

fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let len = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let digits = std::str::from_utf8(&text[..len]).ok()?;
    Some((digits.parse().ok()?, &text[len..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn name(line: &str, expected: Option<&str>) {
        let parsed = parse_line(line.as_bytes());
        assert_eq!(parsed.map(|l| String::from_utf8_lossy(l.name).into_owned()).as_deref(), expected);
    }

    #[test]
    fn names_are_verbatim() {
        name("7f16ae600000-7f16aea00000 rw-p 00000000 00:00 0 ", Some(""));
        name("7f16ae600000-7f16aea00000 rw-p 00000000 00:00 0", Some(""));
        name("55ef23c0a000-55ef23c0b000 r--p 00000000 00:00 10125594    /opt/a b (deleted)", Some("/opt/a b (deleted)"));
        name("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0    [vsyscall]", Some("[vsyscall]"));
    }

    #[test]
    fn other_lines_are_not_maps() {
        name("Rss:   12 kB", None);
        name("7f16ae600000-7f16aea00000 rw-q 00000000 00:00 0 ", None);
        name("7f16aea00000-7f16ae600000 rw-p 00000000 00:00 0 ", None);
        name("11111111111111111-2 rw-p 00000000 00:00 0 ", None);
        name("", None);
    }
}
