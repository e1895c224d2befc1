//! Root entries of units, and the tables that units refer to: abbreviations and line programs.
//!
//! gimli reads the tables of a unit whenever it opens one, and believes what they say of their length. Compilers give each
//! unit tables of its own, or units of one kind (type units, partial units) the same ones; a hostile file lets ten thousand
//! units of twenty bytes refer to one table of a megabyte, or to ten thousand places inside it. Here a table ends where the
//! next one begins, one that units share is read once, and a line program only when a file name or a line is asked for.

use super::dwarf::{Dwarf, Reader, Unit};
use gimli::{Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugLine, DebugLineOffset, IncompleteLineProgram};
use gimli::{DebugAddrBase, DebugLocListsBase, DebugRngListsBase, DebugStrOffsetsBase, LittleEndian, Section, UnitHeader, UnitType};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::sync::{Arc, Mutex, OnceLock};

/// A line program of a unit: its header, and where its rows begin.
pub type LineProgram<'d> = IncompleteLineProgram<Reader<'d>>;

/// What the units of one `.debug_info` refer to.
#[derive(Debug)]
pub struct Roots<'d> {
    /// Distinct offsets of abbreviation tables, ascending.
    tables: Vec<usize>,
    /// Tables of more than one unit.
    shared: HashMap<usize, OnceLock<Option<Arc<Abbreviations>>>, FxBuildHasher>,
    /// Distinct offsets of line programs, ascending.
    programs: OnceLock<Vec<usize>>,
    /// The line programs read last.
    cache: Mutex<Vec<(usize, Option<Arc<LineProgram<'d>>>)>>,
}

/// Line programs that are kept.
const MOST_CACHED: usize = 64;
/// Attributes that an abbreviation may have: compilers give no entry more than some twenty-five. Those without bytes of their own
/// make an entry of one byte cost as much as the table is long.
pub const MOST_ATTRIBUTES: usize = 64;

/// Whether no abbreviation of a table has more than [`MOST_ATTRIBUTES`]; what is malformed is for the reader of the table.
fn has_short_entries(table: &[u8]) -> bool {
    let mut reader = Reader::new(table, LittleEndian);
    let mut next = || gimli::Reader::read_uleb128(&mut reader).ok();
    // A code, a tag, and whether there are children, which is 0 or 1 and so reads like a number.
    while let (Some(1..), Some(_), Some(_)) = (next(), next(), next()) {
        let mut attributes = 0;
        while let (Some(name), Some(form)) = (next(), next())
            && (name, form) != (0, 0)
        {
            attributes += 1;
            if attributes > MOST_ATTRIBUTES {
                return false;
            }
            if form == u64::from(gimli::DW_FORM_implicit_const.0) {
                // Signed and unsigned numbers are equally long.
                next();
            }
        }
    }
    true
}

impl<'d> Roots<'d> {
    /// The headers of `dwarf` in order, and what is known of their tables. The flag says that they end early, malformed.
    pub fn new(dwarf: &Dwarf<'d>) -> (Self, Vec<UnitHeader<Reader<'d>>>, bool) {
        let mut headers = Vec::new();
        let mut all = dwarf.units();
        let damaged = loop {
            match all.next() {
                Ok(Some(header)) => headers.push(header),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        let mut tables: Vec<usize> = headers.iter().map(|header| header.debug_abbrev_offset().0).collect();
        tables.sort_unstable();
        let shared = tables.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).map(|same| (same[0], OnceLock::new())).collect();
        tables.dedup();
        (Roots { tables, shared, programs: OnceLock::new(), cache: Mutex::default() }, headers, damaged)
    }

    fn abbreviations(&self, dwarf: &Dwarf<'d>, offset: usize) -> Option<Arc<Abbreviations>> {
        let read = || {
            let section = dwarf.debug_abbrev.reader().slice();
            let next = self.tables.get(self.tables.partition_point(|&table| table <= offset));
            let end = next.map_or(section.len(), |&next| next.min(section.len()));
            let section = section.get(offset..end).filter(|table| has_short_entries(table))?;
            let table = DebugAbbrev::new(section, LittleEndian);
            table.abbreviations(DebugAbbrevOffset(0)).ok().map(Arc::new)
        };
        match self.shared.get(&offset) {
            Some(table) => table.get_or_init(read).clone(),
            None => read(),
        }
    }

    /// A unit with what its root entry says, but for its line program; and where that stands.
    pub fn unit(&self, dwarf: &Dwarf<'d>, header: UnitHeader<Reader<'d>>) -> Option<(Unit<'d>, Option<usize>)> {
        let (encoding, file) = (header.encoding(), dwarf.file_type);
        let mut unit = Unit {
            abbreviations: self.abbreviations(dwarf, header.debug_abbrev_offset().0)?,
            name: None,
            comp_dir: None,
            low_pc: 0,
            str_offsets_base: DebugStrOffsetsBase::default_for_encoding_and_file(encoding, file),
            addr_base: DebugAddrBase(0),
            loclists_base: DebugLocListsBase::default_for_encoding_and_file(encoding, file),
            rnglists_base: DebugRngListsBase::default_for_encoding_and_file(encoding, file),
            line_program: None,
            dwo_id: match header.type_() {
                UnitType::Skeleton(id) | UnitType::SplitCompilation(id) => Some(id),
                _ => None,
            },
            header,
        };
        let (mut name, mut directory, mut low, mut lines) = (None, None, None, None);
        let abbreviations = Arc::clone(&unit.abbreviations);
        let mut entries = unit.header.entries_raw(&abbreviations, None).ok()?;
        let root = entries.read_abbreviation().ok()??;
        for &spec in root.attributes() {
            let attribute = entries.read_attribute(spec).ok()?;
            // Bases stand in any order, and strings and addresses need them.
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_name, value) => name = Some(value),
                (gimli::DW_AT_comp_dir, value) => directory = Some(value),
                (gimli::DW_AT_low_pc, value) => low = Some(value),
                (gimli::DW_AT_stmt_list, AttributeValue::DebugLineRef(offset)) => lines = Some(offset.0),
                (gimli::DW_AT_str_offsets_base, AttributeValue::DebugStrOffsetsBase(base)) => unit.str_offsets_base = base,
                (gimli::DW_AT_addr_base | gimli::DW_AT_GNU_addr_base, AttributeValue::DebugAddrBase(base)) => unit.addr_base = base,
                (gimli::DW_AT_loclists_base, AttributeValue::DebugLocListsBase(base)) => unit.loclists_base = base,
                (gimli::DW_AT_rnglists_base | gimli::DW_AT_GNU_ranges_base, AttributeValue::DebugRngListsBase(base)) => {
                    unit.rnglists_base = base;
                }
                (gimli::DW_AT_GNU_dwo_id, AttributeValue::DwoId(id)) => unit.dwo_id = unit.dwo_id.or(Some(id)),
                _ => {}
            }
        }
        unit.name = name.and_then(|value| dwarf.attr_string(&unit, value).ok());
        unit.comp_dir = directory.and_then(|value| dwarf.attr_string(&unit, value).ok());
        if let Some(value) = low {
            unit.low_pc = dwarf.attr_address(&unit, value).ok()?.unwrap_or(0);
        }
        Some((unit, lines))
    }

    /// Where line programs stand: to be said before the first is asked for.
    pub fn set_programs(&self, mut programs: Vec<usize>) {
        programs.sort_unstable();
        programs.dedup();
        // Said once, when all units are known.
        let _ = self.programs.set(programs);
    }

    /// The line program at an offset; `None` when it is malformed.
    pub fn lines(&self, dwarf: &Dwarf<'d>, offset: usize, unit: &Unit<'d>) -> Option<Arc<LineProgram<'d>>> {
        let mut cache = self.cache.lock().ok()?;
        if let Some(found) = cache.iter().position(|(at, _)| *at == offset) {
            let last = cache.len() - 1;
            cache.swap(found, last);
            return cache[last].1.clone();
        }
        let programs = self.programs.get().map_or(&[][..], Vec::as_slice);
        let section = dwarf.debug_line.reader().slice();
        let end =
            programs.get(programs.partition_point(|&program| program <= offset)).map_or(section.len(), |&next| next.min(section.len()));
        let program = DebugLine::new(&section[..end], LittleEndian).program(
            DebugLineOffset(offset),
            unit.header.address_size(),
            unit.comp_dir,
            unit.name,
        );
        let program = program.ok().map(Arc::new);
        if cache.len() >= MOST_CACHED {
            cache.remove(0);
        }
        cache.push((offset, program.clone()));
        program
    }
}
