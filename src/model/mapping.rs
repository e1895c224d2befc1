//! Mappings of a process: which file is where.

use crate::address::{AddrRange, Avma, FileOffset};
use std::borrow::Cow;

/// One kernel mapping, as in `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where it is in the process.
    pub range: AddrRange<Avma>,
    /// `r-xp`.
    pub perms: [u8; 4],
    /// Offset in the file.
    pub offset: FileOffset,
    /// Device of the file, major and minor.
    pub device: (u32, u32),
    /// Inode of the file; 0 for anonymous memory.
    pub inode: u64,
    /// Path or kernel name (`[heap]`), raw bytes; empty for anonymous memory. A newline stands as `\012`.
    pub name: Box<[u8]>,
}

impl Mapping {
    /// The name for people and for comparison; bytes that are not UTF-8 are replaced.
    pub fn display_name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    /// The path without ` (deleted)`; `None` for anonymous memory and kernel names.
    pub fn path(&self) -> Option<&[u8]> {
        let name = self.name.strip_suffix(b" (deleted)").unwrap_or(&self.name);
        name.starts_with(b"/").then_some(name)
    }

    /// The kernel marked the file as unlinked (or its name really ends so).
    pub fn is_deleted(&self) -> bool {
        self.name.ends_with(b" (deleted)")
    }

    /// Neither a file nor a kernel name.
    pub fn is_anonymous(&self) -> bool {
        self.name.is_empty() && self.inode == 0
    }

    /// Code may run here.
    pub fn is_executable(&self) -> bool {
        self.perms[2] == b'x'
    }
}

/// The mappings of one process at one time, sorted by start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSpace {
    mappings: Vec<Mapping>,
}

impl AddressSpace {
    /// Sorts the mappings; overlapping ones are kept (a dump may be read while they change).
    pub fn new(mut mappings: Vec<Mapping>) -> Self {
        mappings.sort_by_key(|m| (m.range.start, m.range.end));
        AddressSpace { mappings }
    }

    /// All mappings, by address.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// The mapping that holds `address`.
    pub fn find(&self, address: Avma) -> Option<&Mapping> {
        let after = self.mappings.partition_point(|m| m.range.start <= address);
        self.mappings[..after].iter().rev().take(4).find(|m| m.range.contains(address))
    }

    /// Whether the dump had no mappings section.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }
}
