//! The units of a file's `.debug_info`: where each begins, what its root says, which addresses it covers.
//!
//! Only the root entry of a unit is read here, and of its abbreviations only that of the root:
//! a file has thousands of units and a profile touches a few hundred.

use super::die::{Abbreviations, Cursor, Spec, Value, value};
use crate::binary::dwarf::{Dwarf, Reader};
use crate::binary::roots::MOST_ATTRIBUTES;
use gimli::{DebugAddrBase, DebugAddrIndex, DebugRngListsBase, DebugRngListsIndex, DebugStrOffsetsBase, DebugStrOffsetsIndex};
use gimli::{DwAt, DwForm, DwarfFileType, Encoding, RangeListsOffset, UnitType};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Longest name that is read, in bytes: a section without a NUL must not be searched for each name.
const LONGEST_NAME: usize = 64 << 10;
/// Units with code that run one line program: compilers give each its own.
const MOST_SHARING: usize = 16;
/// Entries of range lists that a unit may have beyond one per byte: a list may be read for many entries.
const FREE_RANGES: usize = 4096;

/// The debug information of one file (or one split unit), indexed by unit.
#[derive(Debug)]
pub(crate) struct DebugInfo<'a> {
    /// Its sections.
    pub dwarf: Dwarf<'a>,
    info: &'a [u8],
    abbrev: &'a [u8],
    /// In the order of the section.
    pub units: Vec<Unit<'a>>,
    /// Distinct abbreviation tables by offset and by what their units make of them, each read when it is first needed.
    tables: Vec<(TableKey, OnceLock<Abbreviations>)>,
    /// Distinct offsets of line programs, ascending: each ends before the next.
    programs: Vec<u64>,
}

/// Offset of an abbreviation table, then size of addresses, of offsets and version of the units that refer to it.
type TableKey = (usize, u8, u8, u16);

fn table_key(offset: usize, encoding: Encoding) -> TableKey {
    (offset, encoding.address_size, encoding.format.word_size(), encoding.version)
}

/// A unit: its header and what its root entry says.
#[derive(Clone, Debug)]
pub(crate) struct Unit<'a> {
    /// Offset of its header.
    pub start: usize,
    /// Offset of its root entry.
    pub root: usize,
    /// Offset after its last entry.
    pub end: usize,
    /// Size of addresses and offsets, version.
    pub encoding: Encoding,
    /// Index of its abbreviation table.
    table: usize,
    /// Whether it may cover code: not a type unit, not a partial one.
    pub compiles: bool,
    /// The addresses that its root states.
    covers: RangeAttributes<'a>,
    /// Offset of its line program.
    pub line_offset: Option<u64>,
    /// Whether so many units before it have this line program that it is left alone: each would run it.
    pub shares_lines: bool,
    /// Working directory of the compiler.
    pub directory: Option<Value<'a>>,
    /// Source language, `DW_AT_language`.
    pub language: Option<gimli::DwLang>,
    /// Identity of the split unit that it is the skeleton of (or that it is).
    pub split_id: Option<u64>,
    address_base: u64,
    strings_base: u64,
    range_lists_base: u64,
    /// Base of range lists that a skeleton states for its split unit (GNU form of DWARF 4).
    split_ranges_base: u64,
    /// What is added to offsets of range lists: the former, in the split unit.
    ranges_base: u64,
}

impl<'a> DebugInfo<'a> {
    /// Reads the headers and roots of every unit. A malformed header ends the list, as nothing tells where the next begins.
    pub fn new(dwarf: Dwarf<'a>) -> Self {
        let info = slice(&dwarf.debug_info);
        let abbrev = slice(&dwarf.debug_abbrev);
        let mut units: Vec<Unit<'a>> = Vec::new();
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            units.extend(Unit::new(&header, info.len(), dwarf.file_type));
        }
        let mut keys: Vec<TableKey> = units.iter().map(|unit| table_key(unit.table, unit.encoding)).collect();
        keys.sort_unstable();
        keys.dedup();
        for unit in &mut units {
            let own = table_key(unit.table, unit.encoding);
            unit.table = keys.partition_point(|&key| key < own);
        }
        let mut sharing = vec![0usize; keys.len()];
        units.iter().for_each(|unit| sharing[unit.table] += 1);
        let tables = keys.into_iter().map(|key| (key, OnceLock::new())).collect();
        let mut found = DebugInfo { dwarf, info, abbrev, units: Vec::new(), tables, programs: Vec::new() };
        units.par_iter_mut().for_each(|unit| {
            // What is malformed leaves the rest of the root as it is.
            let _ = found.read_root(unit, sharing[unit.table] == 1);
        });
        found.programs = units.iter().filter_map(|unit| unit.line_offset).collect();
        found.programs.sort_unstable();
        found.programs.dedup();
        let mut uses = vec![0usize; found.programs.len()];
        for unit in units.iter_mut().filter(|unit| unit.compiles) {
            let Some(Ok(program)) = unit.line_offset.map(|offset| found.programs.binary_search(&offset)) else { continue };
            uses[program] += 1;
            unit.shares_lines = uses[program] > MOST_SHARING;
        }
        found.units = units;
        found
    }

    fn read_root(&self, unit: &mut Unit<'a>, owns_table: bool) -> Option<()> {
        let mut cursor = Cursor::new(&self.info[..unit.end], unit.root);
        let code = cursor.uleb()?;
        // Only the root's abbreviation is needed yet: with rustc it is the first of the table, with GCC one of the last.
        // (Reading all of them took a fourteenth of the time of a whole difference of 3,000 stacks.)
        let mut table = Cursor::new(&self.abbrev[..self.table_end(unit)], self.tables[unit.table].0.0);
        while let Some(other) = table.uleb().filter(|&other| other != 0) {
            let (_tag, _children) = (table.uleb()?, table.u8()?);
            let mut attributes = 0;
            while let Some(spec) = read_spec(&mut table)? {
                attributes += 1;
                if attributes > MOST_ATTRIBUTES {
                    return None;
                }
                if other == code {
                    unit.set(spec, value(&mut cursor, spec, unit.encoding)?);
                }
            }
            if other == code {
                return Some(());
            }
            // What many units share is read once for all.
            if !owns_table {
                let table = self.abbreviations(unit);
                for &spec in table.specs(table.get(code)?) {
                    unit.set(spec, value(&mut cursor, spec, unit.encoding)?);
                }
                return Some(());
            }
        }
        None
    }

    /// Where the abbreviations of a unit end: where the next table begins, whatever the table says itself.
    fn table_end(&self, unit: &Unit<'a>) -> usize {
        let ((offset, ..), _) = &self.tables[unit.table];
        let next = self.tables[unit.table..].iter().map(|(key, _)| key.0).find(|other| other > offset);
        next.unwrap_or(self.abbrev.len()).min(self.abbrev.len())
    }

    /// The abbreviations of a unit. Tables that overlap end where the next one begins: they would be read once for each unit.
    pub fn abbreviations(&self, unit: &Unit<'a>) -> &Abbreviations {
        let ((offset, ..), table) = &self.tables[unit.table];
        table.get_or_init(|| Abbreviations::parse(self.abbrev, *offset, self.table_end(unit), unit.encoding))
    }

    /// Where the next line program after this one begins.
    pub fn line_limit(&self, offset: u64) -> Option<u64> {
        self.programs.get(self.programs.partition_point(|&program| program <= offset)).copied()
    }

    /// A cursor at an entry of a unit, which ends with the unit.
    pub fn entry(&self, unit: &Unit<'a>, offset: usize) -> Cursor<'a> {
        Cursor::new(&self.info[..unit.end], offset)
    }

    /// The unit that holds the entry at an offset in `.debug_info`.
    pub fn unit_at(&self, offset: usize) -> Option<&Unit<'a>> {
        let after = self.units.partition_point(|unit| unit.start <= offset);
        self.units[..after].last().filter(|unit| unit.root <= offset && offset < unit.end)
    }

    /// A string; `None` when it lies outside its section, or does not end within a reasonable length.
    pub fn string(&self, unit: &Unit<'a>, value: Value<'a>) -> Option<&'a [u8]> {
        match value {
            Value::Text(text) => Some(text).filter(|text| text.len() <= LONGEST_NAME),
            Value::String(offset) => string_at(slice(&self.dwarf.debug_str), offset),
            Value::LineString(offset) => string_at(slice(&self.dwarf.debug_line_str), offset),
            Value::AlternateString(offset) => string_at(slice(&self.dwarf.sup()?.debug_str), offset),
            Value::StringIndex(index) => {
                let (base, index) = (DebugStrOffsetsBase(usize_of(unit.strings_base)?), DebugStrOffsetsIndex(usize_of(index)?));
                let offset = self.dwarf.debug_str_offsets.get_str_offset(unit.encoding.format, base, index).ok()?;
                string_at(slice(&self.dwarf.debug_str), offset.0 as u64)
            }
            _ => None,
        }
    }

    /// An address; of an index the entry of `.debug_addr`.
    pub fn address(&self, unit: &Unit<'a>, value: Value<'a>) -> Option<u64> {
        match value {
            Value::Address(address) => Some(address),
            Value::AddressIndex(index) => {
                let (base, index) = (DebugAddrBase(usize_of(unit.address_base)?), DebugAddrIndex(usize_of(index)?));
                self.dwarf.debug_addr.get_address(unit.encoding.address_size, base, index).ok()
            }
            _ => None,
        }
    }

    /// Calls `each` with every range `[begin, end)` of an entry, from its attributes; empty ones are left out.
    /// `budget` is the number of list entries that may still be read. `None` when a list is malformed or the budget is spent.
    pub fn for_each_range(
        &self,
        unit: &Unit<'a>,
        attributes: &RangeAttributes<'a>,
        budget: &mut usize,
        mut each: impl FnMut(u64, u64),
    ) -> Option<()> {
        if let Some(ranges) = attributes.ranges {
            let offset = match ranges {
                Value::Section(offset) | Value::Number(offset) => RangeListsOffset(usize_of(offset.checked_add(unit.ranges_base)?)?),
                Value::RangesIndex(index) => {
                    let base = DebugRngListsBase(usize_of(unit.range_lists_base)?);
                    self.dwarf.ranges.get_offset(unit.encoding, base, DebugRngListsIndex(usize_of(index)?)).ok()?
                }
                _ => return Some(()),
            };
            let address_base = DebugAddrBase(usize_of(unit.address_base)?);
            let base = unit.covers.low_pc.and_then(|low| self.address(unit, low)).unwrap_or(0);
            let mut list = self.dwarf.ranges.ranges(offset, unit.encoding, base, &self.dwarf.debug_addr, address_base).ok()?;
            while let Some(range) = list.next().ok()? {
                *budget = budget.checked_sub(1)?;
                if range.begin < range.end {
                    each(range.begin, range.end);
                }
            }
            return Some(());
        }
        let Some(begin) = attributes.low_pc.and_then(|low| self.address(unit, low)) else { return Some(()) };
        let end = match attributes.high_pc {
            // A tombstone of all ones wraps and is left out.
            Some(Value::Number(size)) => begin.wrapping_add(size),
            Some(high) => self.address(unit, high).unwrap_or(begin),
            None => begin,
        };
        if begin < end {
            each(begin, end);
        }
        Some(())
    }

    /// How many entries of range lists may be read for a unit.
    pub fn range_budget(unit: &Unit<'a>) -> usize {
        FREE_RANGES + (unit.end - unit.start.min(unit.end))
    }

    /// The ranges of addresses that a unit says it covers, in the order of its list; empty when it says nothing. `left` is
    /// what all units together may still read of their lists.
    pub fn unit_ranges(&self, unit: &Unit<'a>, left: &mut usize) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        let most = Self::range_budget(unit).min(*left);
        let mut budget = most;
        let _ = self.for_each_range(unit, &unit.covers, &mut budget, |begin, end| found.push((begin, end)));
        *left -= most - budget;
        found
    }

    /// How many entries the lists of ranges of all units have at most, together: no two units share a list.
    pub fn most_ranges(&self) -> usize {
        self.units.len() + slice(self.dwarf.ranges.debug_ranges()).len() + slice(self.dwarf.ranges.debug_rnglists()).len()
    }

    /// Of a split unit what its skeleton knows: bases and addresses (DWARF 5, section 3.1.3).
    pub fn inherit(&mut self, skeleton: &Unit<'a>) {
        for unit in &mut self.units {
            unit.covers.low_pc = unit.covers.low_pc.or(skeleton.covers.low_pc);
            unit.address_base = skeleton.address_base;
            // In the GNU form of DWARF 4 the lists are in the main file; from DWARF 5 on they are split too.
            if unit.encoding.version < 5 {
                unit.ranges_base = skeleton.split_ranges_base;
            }
        }
    }
}

/// The attributes that tell the addresses of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RangeAttributes<'a> {
    pub low_pc: Option<Value<'a>>,
    pub high_pc: Option<Value<'a>>,
    pub ranges: Option<Value<'a>>,
}

impl<'a> Unit<'a> {
    /// What the header says; `None` for one of `.debug_types`.
    fn new(header: &gimli::UnitHeader<Reader<'a>>, section: usize, file: DwarfFileType) -> Option<Self> {
        let start = header.debug_info_offset()?.0;
        let (compiles, split_id) = match header.type_() {
            UnitType::Type { .. } | UnitType::SplitType { .. } | UnitType::Partial => (false, None),
            UnitType::Skeleton(id) | UnitType::SplitCompilation(id) => (true, Some(id.0)),
            UnitType::Compilation => (true, None),
        };
        let encoding = header.encoding();
        Some(Unit {
            start,
            root: start.saturating_add(header.header_size()),
            end: start.saturating_add(header.length_including_self()).min(section),
            encoding,
            table: header.debug_abbrev_offset().0,
            compiles,
            covers: RangeAttributes::default(),
            line_offset: None,
            shares_lines: false,
            directory: None,
            language: None,
            split_id,
            address_base: 0,
            strings_base: DebugStrOffsetsBase::<usize>::default_for_encoding_and_file(encoding, file).0 as u64,
            range_lists_base: DebugRngListsBase::<usize>::default_for_encoding_and_file(encoding, file).0 as u64,
            split_ranges_base: 0,
            ranges_base: 0,
        })
    }

    /// An attribute of the root.
    fn set(&mut self, spec: Spec, value: Value<'a>) {
        let number = match value {
            Value::Number(number) | Value::Section(number) => Some(number),
            _ => None,
        };
        match (spec.name, number) {
            (gimli::DW_AT_low_pc, _) => self.covers.low_pc = Some(value),
            (gimli::DW_AT_high_pc, _) => self.covers.high_pc = Some(value),
            (gimli::DW_AT_ranges, _) => self.covers.ranges = Some(value),
            (gimli::DW_AT_comp_dir, _) => self.directory = Some(value),
            (gimli::DW_AT_stmt_list, _) => self.line_offset = number,
            (gimli::DW_AT_language, Some(language)) => self.language = u16::try_from(language).ok().map(gimli::DwLang),
            (gimli::DW_AT_addr_base | gimli::DW_AT_GNU_addr_base, Some(base)) => self.address_base = base,
            (gimli::DW_AT_str_offsets_base, Some(base)) => self.strings_base = base,
            (gimli::DW_AT_rnglists_base, Some(base)) => self.range_lists_base = base,
            (gimli::DW_AT_GNU_ranges_base, Some(base)) => self.split_ranges_base = base,
            (gimli::DW_AT_GNU_dwo_id, Some(id)) => self.split_id = self.split_id.or(Some(id)),
            _ => {}
        }
    }
}

/// The next attribute of an abbreviation as it stands in the section; `Some(None)` at its end.
fn read_spec(cursor: &mut Cursor<'_>) -> Option<Option<Spec>> {
    let (name, form) = (cursor.uleb()?, cursor.uleb()?);
    if name == 0 && form == 0 {
        return Some(None);
    }
    let (name, form) = (DwAt(u16::try_from(name).ok()?), DwForm(u16::try_from(form).ok()?));
    let constant = if form == gimli::DW_FORM_implicit_const { cursor.sleb()? } else { 0 };
    Some(Some(Spec { name, form, constant }))
}

fn string_at(section: &[u8], offset: u64) -> Option<&[u8]> {
    let rest = section.get(usize_of(offset)?..)?;
    let rest = &rest[..rest.len().min(LONGEST_NAME)];
    Some(&rest[..memchr::memchr(0, rest)?])
}

fn slice<'a>(section: &impl gimli::Section<Reader<'a>>) -> &'a [u8] {
    section.reader().slice()
}

fn usize_of(number: u64) -> Option<usize> {
    usize::try_from(number).ok()
}
