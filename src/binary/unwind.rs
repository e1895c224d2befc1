//! Exception tables: which landing pad runs when a call unwinds.
//!
//! `.eh_frame` gives each function's range and the address of its language-specific data in
//! `.gcc_except_table`, whose call-site table maps ranges of calls to landing pads (Itanium C++ ABI,
//! "Exception Handling Tables"; LLVM `EHStreamer.cpp` and GCC `except.cc` write it, for Rust too).
//! A landing pad runs the destructors of what is alive at the call. Type tables and actions are not read.

use super::dwarf::Reader;
use super::elf::ElfFile;
use crate::address::Svma;
use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, Pointer, Reader as _, UnwindSection};

/// Calls in `[start, end)` unwind into `pad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// First address of the calls.
    pub start: u64,
    /// First address after them.
    pub end: u64,
    /// The landing pad.
    pub pad: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    end: u64,
    /// Address of the language-specific data; 0 for none.
    lsda: u64,
}

/// The functions of a file that have unwind information, by address.
#[derive(Debug, Default)]
pub struct UnwindTable {
    entries: Vec<Entry>,
}

/// Call sites of one function that are read at most: generated parsers have some ten thousand.
const MOST_CALL_SITES: usize = 1 << 20;

impl UnwindTable {
    /// Reads `.eh_frame`; what cannot be read ends the table early.
    pub fn read(elf: &ElfFile) -> Self {
        let mut table = UnwindTable::default();
        let Some(bytes) = elf.section(".eh_frame") else { return table };
        let mut bases = BaseAddresses::default();
        for (name, set) in [
            (".eh_frame", BaseAddresses::set_eh_frame as fn(BaseAddresses, u64) -> BaseAddresses),
            (".text", BaseAddresses::set_text),
            (".got", BaseAddresses::set_got),
        ] {
            if let Some(range) = elf.section_range(name) {
                bases = set(bases, range.start.get());
            }
        }
        let mut frames = EhFrame::new(bytes, LittleEndian);
        frames.set_address_size(8);
        let mut entries = frames.entries(&bases);
        let mut cie: Option<(gimli::EhFrameOffset, gimli::CommonInformationEntry<Reader<'_>>)> = None;
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let offset = partial.cie_offset();
            let cached = cie.as_ref().filter(|(at, _)| *at == offset).map(|(_, cie)| cie.clone());
            let Ok(fde) = partial.parse(|section, bases, offset| match &cached {
                Some(cie) => Ok(cie.clone()),
                None => section.cie_from_offset(bases, offset),
            }) else {
                continue;
            };
            cie = Some((offset, fde.cie().clone()));
            let lsda = match fde.lsda() {
                Some(Pointer::Direct(address)) => address,
                _ => 0,
            };
            let start = fde.initial_address();
            table.entries.push(Entry { start, end: start.saturating_add(fde.len()), lsda });
        }
        table.entries.sort_unstable_by_key(|entry| entry.start);
        table
    }

    /// The function around `address`: first address and first address after it.
    pub fn function(&self, address: u64) -> Option<(u64, u64)> {
        self.entry(address).map(|entry| (entry.start, entry.end))
    }

    fn entry(&self, address: u64) -> Option<&Entry> {
        let after = self.entries.partition_point(|entry| entry.start <= address);
        let entry = &self.entries[after.checked_sub(1)?];
        (address < entry.end).then_some(entry)
    }

    /// The share of a section's bytes that lies in functions with unwind information; 0 without the section.
    pub fn share_of(&self, elf: &ElfFile, section: &str) -> f64 {
        let Some(range) = elf.section_range(section) else { return 0.0 };
        let size = range.end.get().saturating_sub(range.start.get());
        let (mut covered, mut at) = (0, range.start.get());
        for entry in &self.entries {
            let (start, end) = (entry.start.max(at), entry.end.min(range.end.get()));
            if start < end {
                (covered, at) = (covered + (end - start), end);
            }
        }
        if size == 0 { 0.0 } else { covered as f64 / size as f64 }
    }

    /// Every function with unwind information, by address.
    pub fn functions(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.entries.iter().map(|entry| (entry.start, entry.end))
    }

    /// Whether any function has landing pads: code built with `panic = "abort"` has none but those of the standard library.
    pub fn has_landing_pads(&self, address: u64) -> bool {
        self.entry(address).is_some_and(|entry| entry.lsda != 0)
    }

    /// The call sites with a landing pad of the function around `address`, by address; empty where it has none.
    pub fn call_sites(&self, elf: &ElfFile, address: u64) -> Vec<CallSite> {
        let Some(entry) = self.entry(address).filter(|entry| entry.lsda != 0) else { return Vec::new() };
        let Some(section) = elf.section_range(".gcc_except_table") else { return Vec::new() };
        let Some(bytes) = elf.section(".gcc_except_table") else { return Vec::new() };
        let lsda = Svma::new(entry.lsda);
        if !section.contains(lsda) {
            return Vec::new();
        }
        let into = (entry.lsda - section.start.get()) as usize;
        let Some(bytes) = bytes.get(into..) else { return Vec::new() };
        parse(bytes, entry.start).unwrap_or_default()
    }
}

/// Parses one language-specific data area; addresses count from `function`, its landing pad base.
fn parse(bytes: &[u8], function: u64) -> gimli::Result<Vec<CallSite>> {
    let mut reader = Reader::new(bytes, LittleEndian);
    // Landing pad base: rustc and GCC leave it out (DW_EH_PE_omit), and then it is the function.
    let base = gimli::DwEhPe(reader.read_u8()?);
    if base != gimli::DW_EH_PE_omit {
        return Err(gimli::Error::UnsupportedPointerEncoding(base));
    }
    if gimli::DwEhPe(reader.read_u8()?) != gimli::DW_EH_PE_omit {
        reader.read_uleb128()?; // offset of the type table
    }
    let encoding = gimli::DwEhPe(reader.read_u8()?);
    let length = reader.read_uleb128()?;
    let mut table = reader.split(usize::try_from(length).unwrap_or(usize::MAX))?;
    let mut sites = Vec::new();
    while !table.is_empty() && sites.len() < MOST_CALL_SITES {
        let start = read_offset(&mut table, encoding)?;
        let length = read_offset(&mut table, encoding)?;
        let pad = read_offset(&mut table, encoding)?;
        table.read_uleb128()?; // action
        if pad != 0 {
            let start = function.wrapping_add(start);
            sites.push(CallSite { start, end: start.saturating_add(length), pad: function.wrapping_add(pad) });
        }
    }
    sites.sort_by_key(|site| (site.start, site.end));
    Ok(sites)
}

fn read_offset(reader: &mut Reader<'_>, encoding: gimli::DwEhPe) -> gimli::Result<u64> {
    match encoding {
        gimli::DW_EH_PE_uleb128 => reader.read_uleb128(),
        gimli::DW_EH_PE_udata2 => reader.read_u16().map(u64::from),
        gimli::DW_EH_PE_udata4 => reader.read_u32().map(u64::from),
        gimli::DW_EH_PE_udata8 | gimli::DW_EH_PE_absptr => reader.read_u64(),
        other => Err(gimli::Error::UnsupportedPointerEncoding(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_two_calls() {
        // No base, no types, uleb128 offsets, 8 bytes: [0x10,+5) to 0x40; [0x20,+5) to nothing.
        let bytes = [0xff, 0xff, 0x01, 8, 0x10, 5, 0x40, 0, 0x20, 5, 0, 0];
        assert_eq!(parse(&bytes, 0x1000).unwrap(), [CallSite { start: 0x1010, end: 0x1015, pad: 0x1040 }]);
        assert!(parse(&bytes[..9], 0x1000).is_err(), "cut off");
        assert!(parse(&[], 0).is_err());
    }

    #[test]
    fn this_program_unwinds() {
        let elf = ElfFile::open(&std::env::current_exe().unwrap()).unwrap();
        let table = UnwindTable::read(&elf);
        assert!(table.entries.len() > 100);
        let with_pads = table.functions().filter(|&(start, _)| !table.call_sites(&elf, start).is_empty()).count();
        assert!(with_pads > 100, "{with_pads}");
        for (start, end) in table.functions() {
            for site in table.call_sites(&elf, start) {
                assert!(start <= site.start && site.end <= end, "{site:x?} outside {start:x}..{end:x}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let _ = parse(&bytes, 0x1000);
        }
    }
}
