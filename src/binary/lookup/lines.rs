//! Source lines of addresses: one walk over a unit's line program beside the sorted addresses.
//!
//! No table of rows is kept: a row is compared with the next wanted address and forgotten.
//! Semantics follow `gimli::LineRow` (sequences of dropped functions, whose address is a tombstone,
//! are passed over). The line program is that of DWARF 5, section 6.2.

use super::die::{Cursor, Value};
use super::units::{DebugInfo, Unit};
use crate::binary::dwarf::Reader;
use gimli::{AttributeValue, DebugLine, DebugLineOffset, LineProgramHeader, LittleEndian, Section};

/// File and line of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// Index into the files of the line program.
    pub file: u64,
    /// Line; 0 where the compiler assigns none.
    pub line: u32,
}

/// A unit's line program.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    header: LineProgramHeader<Reader<'a>>,
    program: &'a [u8],
    directory: Option<&'a [u8]>,
}

impl<'a> Lines<'a> {
    /// The line program of a unit; `None` when it has none, its header is malformed, or it does not end before the
    /// next one begins: programs that overlap would be walked once for each unit.
    pub fn of(info: &DebugInfo<'a>, unit: &Unit<'a>) -> Option<Self> {
        let offset = unit.line_offset?;
        let directory = unit.directory.and_then(|directory| info.string(unit, directory));
        let at = DebugLineOffset(usize::try_from(offset).ok()?);
        let section = info.dwarf.debug_line.reader().slice();
        let end = info.line_limit(offset).and_then(|limit| usize::try_from(limit).ok()).map_or(section.len(), |end| end.min(section.len()));
        let program = DebugLine::new(&section[..end], LittleEndian).program(at, unit.encoding.address_size, None, None).ok()?;
        let header = program.header().clone();
        if header.line_range() == 0 {
            return None;
        }
        let program = header.raw_program_buf().slice();
        Some(Lines { header, program, directory })
    }

    /// Where each of the sorted addresses stands in the source; `None` for one in no sequence.
    pub fn locate(&self, wanted: &[u64]) -> Vec<Option<Location>> {
        let mut found = vec![None; wanted.len()];
        let mut missing = wanted.len();
        self.walk(|from, to, location| {
            let mut at = wanted.partition_point(|&wanted| wanted < from);
            while at < wanted.len() && wanted[at] < to {
                if found[at].is_none() {
                    found[at] = Some(location);
                    missing -= 1;
                }
                at += 1;
            }
            // What is found stays: when nothing is missing, the rest of the program says nothing new.
            (missing > 0).then(|| wanted.get(at).copied().unwrap_or(u64::MAX))
        });
        found
    }

    /// The ranges `[begin, end)` of its sequences, in parts where a sequence skips addresses.
    pub fn sequences(&self) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64)> = Vec::new();
        self.walk(|from, to, _| {
            match found.last_mut() {
                Some((_, end)) if *end == from => *end = to,
                _ => found.push((from, to)),
            }
            Some(0)
        });
        found
    }

    /// Runs the program: `span` gets each range `[from, to)` of addresses with its location. It answers which address it waits
    /// for, and gets no more of this sequence before the range that holds it; with `None` it has enough.
    /// A malformed instruction ends the walk.
    fn walk(&self, span: impl FnMut(u64, u64, Location) -> Option<u64>) {
        let _ = self.run(span);
    }

    /// For each special opcode by how much it advances, and by how many lines: instead of a division by a
    /// number that only the header knows. (With the ranges that nobody awaits left out: 184 to 157 million instructions in this file.)
    fn special_opcodes(&self) -> [(u8, i16); 256] {
        let header = &self.header;
        let mut table = [(0, 0); 256];
        let (mut advance, mut lines) = (0u8, 0u8);
        for entry in table.iter_mut().skip(header.opcode_base().into()) {
            *entry = (advance, i16::from(header.line_base()) + i16::from(lines));
            lines += 1;
            if lines == header.line_range() {
                (advance, lines) = (advance.wrapping_add(1), 0);
            }
        }
        table
    }

    fn run(&self, mut span: impl FnMut(u64, u64, Location) -> Option<u64>) -> Option<()> {
        let header = &self.header;
        let opcode_base = header.opcode_base();
        let specials = self.special_opcodes();
        let min_length = u64::from(header.minimum_instruction_length());
        let operations = u64::from(header.maximum_operations_per_instruction()).max(1);
        let address_size = header.address_size();
        // From DWARF's own tombstone -1, or -2 (-1 means another thing in range lists), no address is real.
        let tombstones = (u64::MAX >> (64 - u32::from(address_size.clamp(1, 8)) * 8)) - 1;
        let operand_counts = header.standard_opcode_lengths().slice();
        let mut cursor = Cursor::new(self.program, 0);
        let (mut address, mut operation, mut file, mut line, mut dead) = (0u64, 0u64, 1u64, 1u64, false);
        // The last row of the sequence, and the address that is waited for.
        let (mut row, mut awaited) = (None::<(u64, Location)>, 0);
        // A row, which ends the range of the one before it; `None` at the end of a sequence.
        let mut push = |address: u64, location: Option<Location>| {
            if let Some((from, location)) = row
                && address > awaited
                && from < address
            {
                awaited = span(from, address, location)?;
            }
            row = location.map(|location| (address, location));
            if row.is_none() {
                awaited = 0;
            }
            Some(())
        };
        while let Some(opcode) = cursor.u8() {
            // Addresses stand still in a sequence of a dropped function.
            let mut advance = |by: u64, dead: bool| {
                if dead {
                } else if operations == 1 {
                    address = address.wrapping_add(min_length.wrapping_mul(by));
                } else {
                    let total = operation.wrapping_add(by);
                    operation = total % operations;
                    address = address.wrapping_add(min_length.wrapping_mul(total / operations));
                }
            };
            if opcode >= opcode_base {
                let (by, lines) = specials[usize::from(opcode)];
                line = line.saturating_add_signed(lines.into());
                advance(by.into(), dead);
                if !dead {
                    push(address, Some(Location { file, line: line as u32 }))?;
                }
                continue;
            }
            match gimli::DwLns(opcode) {
                gimli::DW_LNS_copy => {
                    if !dead {
                        push(address, Some(Location { file, line: line as u32 }))?;
                    }
                }
                gimli::DW_LNS_advance_pc => {
                    let by = cursor.uleb()?;
                    advance(by, dead);
                }
                gimli::DW_LNS_advance_line => line = line.saturating_add_signed(cursor.sleb()?),
                gimli::DW_LNS_set_file => file = cursor.uleb()?,
                gimli::DW_LNS_set_column | gimli::DW_LNS_set_isa => drop(cursor.uleb()?),
                gimli::DW_LNS_negate_stmt
                | gimli::DW_LNS_set_basic_block
                | gimli::DW_LNS_set_prologue_end
                | gimli::DW_LNS_set_epilogue_begin => {}
                // As much as opcode 255 would.
                gimli::DW_LNS_const_add_pc => advance(specials[255].0.into(), dead),
                gimli::DW_LNS_fixed_advance_pc => {
                    let by = cursor.u16()?;
                    if !dead {
                        address = address.wrapping_add(by);
                        operation = 0;
                    }
                }
                gimli::DwLns(0) => {
                    let len = cursor.uleb()?;
                    let end = cursor.position().checked_add(usize::try_from(len).ok()?).filter(|&end| end <= self.program.len())?;
                    if len > 0 {
                        match gimli::DwLne(cursor.u8()?) {
                            gimli::DW_LNE_end_sequence => {
                                // Of a dropped function nothing is told up to here.
                                push(if dead { 0 } else { address }, None)?;
                                (address, operation, file, line, dead) = (0, 0, 1, 1, false);
                            }
                            gimli::DW_LNE_set_address => {
                                let set = cursor.uint(u8::try_from(len - 1).ok()?)?;
                                // Linkers write 0, or keep the addend, for functions they drop.
                                dead = set < address || set >= tombstones;
                                if !dead {
                                    (address, operation) = (set, 0);
                                }
                            }
                            _ => {}
                        }
                    }
                    cursor = Cursor::new(self.program, end);
                }
                _ => {
                    for _ in 0..operand_counts.get(usize::from(opcode) - 1).copied().unwrap_or(0) {
                        cursor.uleb()?;
                    }
                }
            }
        }
        Some(())
    }

    /// The path of a file of the program, as the compiler spelled it, below its working directory; `None` for an index it lacks.
    pub fn path(&self, info: &DebugInfo<'a>, unit: &Unit<'a>, index: u64) -> Option<String> {
        // Version 4 and before count from 1, and addr2line gives index 0 an empty name.
        let Some(file) = self.header.file(index) else { return (index == 0).then(String::new) };
        let text = |value: AttributeValue<Reader<'a>>| {
            let text = match value {
                AttributeValue::String(text) => text.slice(),
                AttributeValue::DebugStrRef(offset) => info.string(unit, Value::String(offset.0 as u64))?,
                AttributeValue::DebugLineStrRef(offset) => info.string(unit, Value::LineString(offset.0 as u64))?,
                AttributeValue::DebugStrOffsetsIndex(index) => info.string(unit, Value::StringIndex(index.0 as u64))?,
                _ => return None,
            };
            Some(String::from_utf8_lossy(text))
        };
        let mut path = self.directory.map(|directory| String::from_utf8_lossy(directory).into_owned()).unwrap_or_default();
        if file.directory_index() != 0
            && let Some(directory) = file.directory(&self.header).and_then(text)
        {
            join(&mut path, &directory);
        }
        join(&mut path, &text(file.path_name())?);
        Some(path)
    }
}

fn join(path: &mut String, part: &str) {
    if part.starts_with('/') {
        path.clear();
    } else if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(part);
}
