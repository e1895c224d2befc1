//! The mappings at the end of a heap dump.
//!
//! ```text
//! MAPPED_LIBRARIES:
//! 55ef23c0a000-55ef23c0b000 r-xp 00001000 fe:00 10125594    /opt/demo/server
//! 0000000100000000-0000000100004000: /opt/demo/server
//!
//! --- Memory map: ---
//!     source=/home
//!   00400000-00fcb000: $source/cppbench_server_main
//! ```
//!
//! The first kind is a copy of `/proc/PID/maps`, the second what jemalloc writes on macOS, the third
//! what old pprof servers write: `NAME=VALUE` lines define what `$NAME` stands for.

use super::{Parser, Section};
use crate::address::{AddrRange, Avma, FileOffset};
use crate::input::maps;

/// One mapping, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMapping {
    /// Where it is in the process.
    pub range: AddrRange<Avma>,
    /// `r-xp`; a short line, which prints none, counts as `r-xp`.
    pub perms: [u8; 4],
    /// Offset in the file; 0 where none is printed.
    pub offset: FileOffset,
    /// Device, major and minor.
    pub device: (u32, u32),
    /// Inode.
    pub inode: u64,
    /// Path or kernel name, raw.
    pub name: Box<[u8]>,
}

impl Parser {
    /// Whether `line` opens the mappings section; if so, what follows belongs to it.
    pub(super) fn maps_head(&mut self, line: &[u8]) -> bool {
        let line = line.trim_ascii();
        let head = line == b"MAPPED_LIBRARIES:" || line.starts_with(b"--- Memory map");
        if head {
            self.section = Section::Maps;
            self.saw_maps = true;
        }
        head
    }

    /// Reads the line at `at`; returns the start of the next.
    pub(super) fn maps_line(&mut self, text: &[u8], at: usize) -> usize {
        let end = super::scan::line_end(text, at);
        let line = text.get(at..end).unwrap_or_default();
        if line.trim_ascii().is_empty() {
            return end + 1;
        }
        if super::sniff(line).is_some() {
            self.second_dump(at);
        } else if let Some(full) = maps::parse_line(line) {
            self.dump.mappings.push(RawMapping {
                range: full.range,
                perms: full.perms,
                offset: full.offset,
                device: full.device,
                inode: full.inode,
                name: full.name.into(),
            });
        } else if let Some((range, path)) = short_line(line) {
            let name = self.substitute(path).into();
            let mapping = RawMapping { range, perms: *b"r-xp", offset: FileOffset::new(0), device: (0, 0), inode: 0, name };
            self.dump.mappings.push(mapping);
        } else if let Some((name, value)) = variable(line) {
            self.variables.push((name.to_vec(), value.to_vec()));
        } else {
            self.bad_maps += 1;
        }
        end + 1
    }

    /// `path` with a leading `$NAME` replaced by its value.
    fn substitute(&self, path: &[u8]) -> Vec<u8> {
        for (name, value) in &self.variables {
            let rest = path.strip_prefix(b"$").and_then(|rest| rest.strip_prefix(name.as_slice()));
            if let Some(rest) = rest.filter(|rest| matches!(rest, [] | [b'/', ..])) {
                return [value.as_slice(), rest].concat();
            }
        }
        path.to_vec()
    }
}

/// `START-END: PATH`.
fn short_line(line: &[u8]) -> Option<(AddrRange<Avma>, &[u8])> {
    let line = line.trim_ascii();
    let dash = memchr::memchr(b'-', line)?;
    let colon = memchr::memchr(b':', line)?;
    let hex = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        // `from_str_radix` would take a sign.
        digits.bytes().all(|d| d.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok())?
    };
    let start = hex(line.get(..dash)?)?;
    let end = hex(line.get(dash + 1..colon)?)?;
    let path = line.get(colon + 1..)?.trim_ascii();
    (start <= end).then_some((AddrRange::new(Avma::new(start), Avma::new(end)), path))
}

/// `NAME=VALUE`, where the name is a word.
fn variable(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii();
    let equals = memchr::memchr(b'=', line)?;
    let name = line.get(..equals)?;
    let word = !name.is_empty() && name.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_');
    word.then_some((name, line.get(equals + 1..)?))
}
