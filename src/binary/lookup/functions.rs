//! Functions and inlined calls at addresses: one pass over a unit's entries for all addresses in it.
//!
//! Each function whose ranges hold a wanted address is looked into, every other entry is passed over.
//! Inlined calls extend the chains of the addresses that they hold:
//!
//! ```text
//!   DW_TAG_subprogram           f   [100, 180)     wanted 120, 150
//!     DW_TAG_inlined_subroutine g   [110, 160)     120: g < f        150: g < f
//!       DW_TAG_inlined_subroutine h [140, 155)                       150: h < g < f
//! ```
//!
//! Frames are those of the addr2line crate, which the tests compare with.

use super::die::{Abbreviation, Abbreviations, Cursor, Look, Value, value};
use super::lines::Lines;
use super::units::{DebugInfo, RangeAttributes, Unit};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// Links of inlined calls kept for each address of a unit, on average: a bound against hostile files, far above what inlining gives.
const LINKS_PER_ADDRESS: usize = 256;
/// Entries within one another that are followed.
const DEEPEST_ENTRY: usize = 8192;
/// References from entry to entry that are followed to a name.
const MOST_REFERENCES: usize = 16;

/// Frames of the sorted addresses of one unit.
#[derive(Debug, Default)]
pub(crate) struct UnitFrames<'a> {
    /// Linkage names, else plain names.
    pub names: Vec<&'a [u8]>,
    /// Source files.
    pub files: Vec<String>,
    /// Frames of each address, innermost first, one address after the other.
    pub frames: Vec<RawFrame>,
    /// For each address, the end of its frames; equal to the one before when the unit knows nothing of it.
    pub ends: Vec<u32>,
    /// Whether the unit's entries ended early because they are malformed.
    pub damaged: bool,
    /// Whether it describes types.
    pub has_types: bool,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawFrame {
    /// Index of the name.
    pub name: Option<u32>,
    /// Index of the file.
    pub file: Option<u32>,
    /// Line.
    pub line: Option<u32>,
}

/// Where the entries of a unit are: in the file, or for a skeleton in its split unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries<'i, 'a> {
    /// The file or split file.
    pub info: &'i DebugInfo<'a>,
    /// The unit in it.
    pub unit: &'i Unit<'a>,
    /// The file that dwz shares.
    pub alternate: Option<&'i DebugInfo<'a>>,
}

/// Frames of the sorted addresses that a unit covers. `lines` is the line program of the unit in the
/// main file. Without `inlines` each address has one frame, its function, at the line of the address.
pub(crate) fn frames<'a>(
    entries: Entries<'_, 'a>,
    main: (&DebugInfo<'a>, &Unit<'a>),
    lines: Option<&Lines<'a>>,
    wanted: &[u64],
    inlines: bool,
) -> UnitFrames<'a> {
    let locations = lines.map(|lines| lines.locate(wanted));
    let mut walk = Walk {
        entries,
        wanted,
        inlines,
        functions: vec![NONE; wanted.len()],
        chains: vec![(NONE, 0); wanted.len()],
        calls: Vec::new(),
        links: Vec::new(),
        budget: DebugInfo::range_budget(entries.unit),
    };
    let damaged = walk.run().is_none();
    let mut out = UnitFrames { damaged, has_types: has_types(entries), ..UnitFrames::default() };
    let mut names = Resolver { entries, by_entry: HashMap::default(), by_text: HashMap::default() };
    let mut files: HashMap<u64, Option<u32>, FxBuildHasher> = HashMap::default();
    let mut file_of = |index: u64, out: &mut UnitFrames<'a>| {
        *files.entry(index).or_insert_with(|| {
            let path = lines?.path(main.0, main.1, index)?;
            out.files.push(path);
            Some(out.files.len() as u32 - 1)
        })
    };
    let some_line = |line: u32| (line != 0).then_some(line);
    for at in 0..wanted.len() {
        // Where the innermost frame stands; then, going outwards, where the call of the frame before stands.
        let location = locations.as_ref().and_then(|locations| locations[at]);
        let mut place = location.map(|location| (file_of(location.file, &mut out), some_line(location.line)));
        let (mut link, _) = walk.chains[at];
        while link != NONE {
            let (call, outer) = walk.links[link as usize];
            let call = walk.calls[call as usize];
            let name = names.id(call.name, &mut out);
            let (file, line) = place.unwrap_or_default();
            out.frames.push(RawFrame { name, file, line });
            place = Some((call.file.and_then(|file| file_of(file, &mut out)), some_line(call.line)));
            link = outer;
        }
        let function = walk.functions[at];
        if function != NONE || place.is_some() {
            let name = walk.calls.get(function as usize).and_then(|function| names.id(function.name, &mut out));
            let (file, line) = place.unwrap_or_default();
            out.frames.push(RawFrame { name, file, line });
        }
        out.ends.push(out.frames.len() as u32);
    }
    out
}

/// Whether a unit describes types (`debug = 2`), rather than only functions and lines: told by its
/// abbreviations, without reading its entries.
fn has_types(entries: Entries<'_, '_>) -> bool {
    let table = entries.info.abbreviations(entries.unit);
    // dwz moves types into partial units, which are imported.
    let tags = [gimli::DW_TAG_base_type, gimli::DW_TAG_structure_type, gimli::DW_TAG_pointer_type, gimli::DW_TAG_imported_unit];
    table.has_tag(&tags)
}

/// No link, no function.
const NONE: u32 = u32::MAX;

/// Where the name of an entry stands.
#[derive(Clone, Copy, Debug)]
enum NameSource<'a> {
    /// In the entry itself.
    Text(Value<'a>),
    /// In the entry that it refers to: its abstract instance or declaration.
    Entry(Value<'a>),
    Nowhere,
}

/// A function, or an inlined call.
#[derive(Clone, Copy, Debug)]
struct Call<'a> {
    name: NameSource<'a>,
    /// Index of the file that the call stands in.
    file: Option<u64>,
    /// Line of the call; 0 for unknown.
    line: u32,
}

struct Walk<'i, 'a> {
    entries: Entries<'i, 'a>,
    wanted: &'i [u64],
    inlines: bool,
    /// For each address the index of its function in `calls`.
    functions: Vec<u32>,
    /// For each address the innermost link of its chain of inlined calls, and the length of the chain.
    chains: Vec<(u32, u32)>,
    calls: Vec<Call<'a>>,
    /// Index of a call, and of the next link outwards.
    links: Vec<(u32, u32)>,
    /// Entries of range lists that may still be read.
    budget: usize,
}

/// A function or inlined call that the pass is inside of.
struct Scope {
    /// Depth of the entry itself.
    depth: usize,
    /// Where the addresses that it holds begin in the list of active ones; they reach to the next scope's.
    first: usize,
    /// Inlined calls around its children.
    inlined: u32,
}

impl<'a> Walk<'_, 'a> {
    /// `None` when the entries are malformed; what was found before stays.
    fn run(&mut self) -> Option<()> {
        let Entries { info, unit, .. } = self.entries;
        let table = info.abbreviations(unit);
        let mut cursor = info.entry(unit, unit.root);
        let mut depth = 0usize;
        // Scopes around the current entry, and the addresses (positions in `wanted`, ascending) that each holds.
        let mut scopes: Vec<Scope> = Vec::new();
        let mut active: Vec<u32> = Vec::new();
        let mut missing = self.wanted.len();
        loop {
            let inside = scopes.last().is_some_and(|scope| scope.first < active.len());
            let (floor, ignored) = (scopes.last().map_or(0, |scope| scope.depth), if inside { Look::Never } else { Look::Inside });
            let is_below_root = depth > 0;
            table.pass(&mut cursor, &mut depth, floor, DEEPEST_ENTRY, ignored);
            while let Some(scope) = scopes.pop_if(|scope| scope.depth >= depth) {
                active.truncate(scope.first);
            }
            // After the root there may be padding. Of functions that share code the first one stays: when each address has
            // its function, and none of them is open, the rest of the unit says nothing new.
            if cursor.is_at_end() || is_below_root && depth == 0 || missing == 0 && scopes.is_empty() {
                return Some(());
            }
            let start = cursor;
            let code = cursor.uleb()?;
            if code == 0 {
                depth = match depth.checked_sub(1) {
                    Some(depth) if depth > 0 => depth,
                    _ => return Some(()),
                };
                continue;
            }
            let abbreviation = table.get(code)?;
            let first = active.len();
            let is_wanted = match abbreviation.tag {
                gimli::DW_TAG_subprogram => abbreviation.has_code || scopes.last().is_some_and(|scope| scope.first < first),
                gimli::DW_TAG_inlined_subroutine => self.inlines && scopes.last().is_some_and(|scope| scope.first < first),
                _ => false,
            };
            if is_wanted {
                let (addresses, call) = self.read(&mut cursor, table, abbreviation)?;
                let inlined = if abbreviation.tag == gimli::DW_TAG_subprogram {
                    self.enter_function(&addresses, call, &mut active)?;
                    missing -= active.len() - first;
                    0
                } else {
                    let outer = scopes.last()?;
                    self.enter_call(&addresses, call, &mut active, outer)?;
                    outer.inlined + 1
                };
                // What a function without wanted addresses holds need not be kept apart from what stands around it.
                if abbreviation.has_children && (active.len() > first || !scopes.is_empty()) {
                    scopes.push(Scope { depth, first, inlined });
                } else {
                    active.truncate(first);
                }
            } else if table.skip(abbreviation, &mut cursor).is_none() {
                // A form that stands in the entry itself: decode one by one.
                cursor = start;
                cursor.uleb()?;
                self.read(&mut cursor, table, abbreviation)?;
            }
            if abbreviation.has_children {
                depth += 1;
                if depth > DEEPEST_ENTRY {
                    return None;
                }
            }
        }
    }

    /// The attributes of a function or inlined call that matter here.
    fn read(&self, cursor: &mut Cursor<'a>, table: &Abbreviations, abbreviation: &Abbreviation) -> Option<(RangeAttributes<'a>, Call<'a>)> {
        let encoding = self.entries.unit.encoding;
        let mut addresses = RangeAttributes::default();
        let (mut linkage, mut plain, mut origin) = (None, None, None);
        let (mut file, mut line) = (None, 0);
        for &spec in table.specs(abbreviation) {
            let value = value(cursor, spec, encoding)?;
            match (spec.name, value) {
                (gimli::DW_AT_low_pc, _) => addresses.low_pc = Some(value),
                (gimli::DW_AT_high_pc, _) => addresses.high_pc = Some(value),
                (gimli::DW_AT_ranges, _) => addresses.ranges = Some(value),
                (gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name, _) => linkage = Some(value),
                (gimli::DW_AT_name, _) => plain = Some(value),
                (gimli::DW_AT_abstract_origin | gimli::DW_AT_specification, _) => origin = Some(value),
                // Before version 5 files count from 1, and 0 is none.
                (gimli::DW_AT_call_file, Value::Number(index)) => file = (index > 0 || encoding.version >= 5).then_some(index),
                (gimli::DW_AT_call_line, Value::Number(number)) => line = number as u32,
                _ => {}
            }
        }
        let name = match (linkage.or(plain), origin) {
            (Some(text), _) => NameSource::Text(text),
            (None, Some(entry)) => NameSource::Entry(entry),
            (None, None) => NameSource::Nowhere,
        };
        Some((addresses, Call { name, file, line }))
    }

    /// Gives a function the wanted addresses in its ranges, and makes them the active ones.
    fn enter_function(&mut self, addresses: &RangeAttributes<'a>, call: Call<'a>, active: &mut Vec<u32>) -> Option<()> {
        let Entries { info, unit, .. } = self.entries;
        let (first, index) = (active.len(), self.calls.len() as u32);
        let (wanted, functions) = (self.wanted, &mut self.functions);
        let found = info.for_each_range(unit, addresses, &mut self.budget, |begin, end| {
            let from = wanted.partition_point(|&address| address < begin);
            for at in from..wanted.len() {
                if wanted[at] >= end {
                    break;
                }
                // Of functions that share code the first one stays.
                if functions[at] == NONE {
                    functions[at] = index;
                    active.push(at as u32);
                }
            }
        });
        if active.len() > first {
            self.calls.push(call);
            active[first..].sort_unstable();
        }
        found
    }

    /// Extends the chains of the active addresses in the ranges of an inlined call, and makes those the active ones.
    fn enter_call(&mut self, addresses: &RangeAttributes<'a>, call: Call<'a>, active: &mut Vec<u32>, outer: &Scope) -> Option<()> {
        let Entries { info, unit, .. } = self.entries;
        let (first, index) = (active.len(), self.calls.len() as u32);
        let (wanted, chains, links) = (self.wanted, &mut self.chains, &mut self.links);
        let most = LINKS_PER_ADDRESS.saturating_mul(wanted.len());
        let found = info.for_each_range(unit, addresses, &mut self.budget, |begin, end| {
            let from = outer.first + active[outer.first..first].partition_point(|&at| wanted[at as usize] < begin);
            for position in from..first {
                let at = active[position];
                if wanted[at as usize] >= end {
                    break;
                }
                let (link, len) = chains[at as usize];
                // Ranges of siblings do not overlap; where they do, the first one stays.
                if len == outer.inlined && links.len() < most {
                    chains[at as usize] = (links.len() as u32, len + 1);
                    links.push((index, link));
                    active.push(at);
                }
            }
        });
        if active.len() > first {
            self.calls.push(call);
            active[first..].sort_unstable();
        }
        found
    }
}

/// Resolves names, each referred entry once.
struct Resolver<'i, 'a> {
    entries: Entries<'i, 'a>,
    by_entry: HashMap<(File, usize), Option<u32>, FxBuildHasher>,
    /// By address of the text: linkers keep each text once.
    by_text: HashMap<(usize, usize), u32, FxBuildHasher>,
}

/// Which file an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum File {
    Own,
    Alternate,
}

impl<'i, 'a> Resolver<'i, 'a> {
    fn id(&mut self, name: NameSource<'a>, out: &mut UnitFrames<'a>) -> Option<u32> {
        let Entries { info, unit, .. } = self.entries;
        match name {
            NameSource::Text(text) => Some(self.intern(info.string(unit, text)?, out)),
            NameSource::Entry(reference) => {
                let (file, offset) = target(File::Own, unit, reference)?;
                if let Some(&id) = self.by_entry.get(&(file, offset)) {
                    return id;
                }
                let name = self.follow(file, offset);
                let id = name.map(|name| self.intern(name, out));
                self.by_entry.insert((file, offset), id);
                id
            }
            NameSource::Nowhere => None,
        }
    }

    fn intern(&mut self, name: &'a [u8], out: &mut UnitFrames<'a>) -> u32 {
        *self.by_text.entry((name.as_ptr() as usize, name.len())).or_insert_with(|| {
            out.names.push(name);
            out.names.len() as u32 - 1
        })
    }

    /// The name of an entry: its linkage name, else its name, else that of the entry that it refers to.
    fn follow(&self, mut file: File, mut offset: usize) -> Option<&'a [u8]> {
        for _ in 0..MOST_REFERENCES {
            let info = match file {
                File::Own => self.entries.info,
                File::Alternate => self.entries.alternate?,
            };
            let unit = info.unit_at(offset)?;
            let table = info.abbreviations(unit);
            let mut cursor = info.entry(unit, offset);
            let code = cursor.uleb()?;
            let (mut plain, mut next) = (None, None);
            for &spec in table.specs(table.get(code)?) {
                let value = value(&mut cursor, spec, unit.encoding)?;
                match spec.name {
                    gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => {
                        if let Some(name) = info.string(unit, value) {
                            return Some(name);
                        }
                    }
                    gimli::DW_AT_name => plain = info.string(unit, value),
                    gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => next = Some(value),
                    _ => {}
                }
            }
            if plain.is_some() {
                return plain;
            }
            (file, offset) = target(file, unit, next?)?;
        }
        None
    }
}

/// The file and offset that a reference in a unit leads to.
fn target(file: File, unit: &Unit<'_>, reference: Value<'_>) -> Option<(File, usize)> {
    match reference {
        Value::Unit(offset) => Some((file, unit.start.checked_add(usize::try_from(offset).ok()?)?)),
        Value::Info(offset) => Some((file, usize::try_from(offset).ok()?)),
        Value::AlternateInfo(offset) => Some((File::Alternate, usize::try_from(offset).ok()?)),
        _ => None,
    }
}
