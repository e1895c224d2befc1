//! The units of a file's debug information that say something about user code, wherever they are kept.
//!
//! Units of the standard library and of C carry no types that user code does not repeat, and are
//! left out: in a small service they are most of the debug information. Entries are addressed by one
//! number over all units ([`EntryOffset`]): the offset in the section, plus a base for each split file.

use super::dwarf::{self, Dwarf, Unit};
use super::roots::{LineProgram, Roots};
use gimli::{AttributeValue, UnitHeader};
use std::sync::{Arc, Mutex};

/// An entry of any unit.
pub type EntryOffset = u32;

/// Who wrote a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Rust: the program's own crates and its dependencies.
    Rust,
    /// The Rust standard library and the crates inside it.
    RustLibrary,
    /// C++.
    Cpp,
    /// C, assembly, anything else.
    Other,
}

/// A unit that is read, or a skeleton of one.
#[derive(Debug)]
pub struct UnitPlan<'d> {
    /// Index into [`Units::sources`].
    pub source: usize,
    header: UnitHeader<dwarf::Reader<'d>>,
    skeleton: Option<UnitHeader<dwarf::Reader<'d>>>,
    /// First entry offset.
    pub start: EntryOffset,
    /// After the last one.
    pub end: EntryOffset,
    /// Who wrote it.
    pub origin: Origin,
    /// Where its line program stands: index into [`Units::sources`], that of the main file for most split units, and offset.
    lines: Option<(usize, usize)>,
}

/// Debug information of one file or of one split unit, and where its entry offsets start.
#[derive(Debug)]
pub struct Source<'d> {
    /// Its sections.
    pub dwarf: Dwarf<'d>,
    roots: Roots<'d>,
    base: u64,
}

/// All units of a binary.
#[derive(Debug, Default)]
pub struct Units<'d> {
    /// The main file first, then split units.
    pub sources: Vec<Source<'d>>,
    /// By entry offset.
    pub plans: Vec<UnitPlan<'d>>,
    /// Units without debug information of their own: their split part was not loaded.
    pub missing_split: usize,
    /// Units whose header or abbreviations are damaged, or that lie beyond 4 GiB of debug information.
    pub damaged: usize,
    cache: Mutex<Vec<(EntryOffset, Arc<Unit<'d>>)>>,
}

/// Units that are kept loaded.
const MOST_CACHED: usize = 16;

impl<'d> Units<'d> {
    /// The units of `dwarf`; `split` gives the debug information of a skeleton unit, where it could be found.
    pub fn read(dwarf: Dwarf<'d>, mut split: impl FnMut(u64, &Dwarf<'d>) -> Option<Dwarf<'d>>) -> Self {
        let mut units = Units::default();
        let mut skeletons = Vec::new();
        units.add(dwarf, |plan, unit| {
            if let Some(id) = unit.dwo_id.filter(|_| is_skeleton(unit)) {
                skeletons.push((plan.header, plan.lines, id.0));
                return false;
            }
            true
        });
        for (header, lines, id) in skeletons {
            let Some(found) = split(id, &units.sources[0].dwarf) else {
                units.missing_split += 1;
                continue;
            };
            units.add(found, |plan, unit| {
                plan.skeleton = Some(header);
                // Files and lines stay with the addresses.
                plan.lines = plan.lines.or(lines);
                unit.dwo_id.is_none_or(|found| found.0 == id)
            });
        }
        units
    }

    fn add(&mut self, dwarf: Dwarf<'d>, mut keep: impl FnMut(&mut UnitPlan<'d>, &Unit<'d>) -> bool) {
        let base = self.plans.last().map_or(0, |plan| u64::from(plan.end));
        let source = self.sources.len();
        let (roots, headers, damaged) = Roots::new(&dwarf);
        self.damaged += usize::from(damaged);
        let mut programs = Vec::new();
        for header in headers {
            let Some(offset) = header.debug_info_offset() else { continue };
            let start = base + offset.0 as u64;
            let end = start + header.length_including_self() as u64;
            let (Ok(start), Ok(end), Some((unit, lines))) = (u32::try_from(start), u32::try_from(end), roots.unit(&dwarf, header)) else {
                self.damaged += 1;
                continue;
            };
            programs.extend(lines);
            let mut plan =
                UnitPlan { source, header, skeleton: None, start, end, origin: origin(&unit), lines: lines.map(|offset| (source, offset)) };
            if keep(&mut plan, &unit) {
                self.plans.push(plan);
            }
        }
        roots.set_programs(programs);
        self.sources.push(Source { dwarf, roots, base });
    }

    /// Units of user code and its dependencies, in order.
    pub fn read_ones(&self) -> impl Iterator<Item = &UnitPlan<'d>> + Clone {
        self.plans.iter().filter(|plan| matches!(plan.origin, Origin::Rust | Origin::Cpp))
    }

    /// Loads a unit: abbreviations and root attributes; `None` when it is damaged. Its line program is [`Units::lines`].
    pub fn load(&self, plan: &UnitPlan<'d>) -> Option<Unit<'d>> {
        let of = |source: &Source<'d>, header| source.roots.unit(&source.dwarf, header).map(|(unit, _)| unit);
        let mut unit = of(&self.sources[plan.source], plan.header)?;
        if let Some(skeleton) = plan.skeleton {
            let skeleton = of(&self.sources[0], skeleton)?;
            unit.copy_relocated_attributes(&skeleton);
            unit.comp_dir = unit.comp_dir.or(skeleton.comp_dir);
        }
        Some(unit)
    }

    /// The line program of a unit; `None` when it has none, or a malformed one.
    pub fn lines(&self, plan: &UnitPlan<'d>, unit: &Unit<'d>) -> Option<Arc<LineProgram<'d>>> {
        let (source, offset) = plan.lines?;
        let source = &self.sources[source];
        source.roots.lines(&source.dwarf, offset, unit)
    }

    /// [`Units::load`], keeping the last few units: entries refer to the same units again and again.
    pub fn cached(&self, plan: &UnitPlan<'d>) -> Option<Arc<Unit<'d>>> {
        let mut cache = self.cache.lock().ok()?;
        if let Some(found) = cache.iter().position(|(start, _)| *start == plan.start) {
            let last = cache.len() - 1;
            cache.swap(found, last);
            return Some(Arc::clone(&cache[last].1));
        }
        let unit = Arc::new(self.load(plan)?);
        if cache.len() >= MOST_CACHED {
            cache.remove(0);
        }
        cache.push((plan.start, Arc::clone(&unit)));
        Some(unit)
    }

    /// The sections that a unit's attributes refer to.
    pub fn dwarf(&self, plan: &UnitPlan<'d>) -> &Dwarf<'d> {
        &self.sources[plan.source].dwarf
    }

    /// The sections that a unit's line table refers to: those of the main file, also for split units.
    pub fn line_dwarf(&self, plan: &UnitPlan<'d>) -> &Dwarf<'d> {
        &self.sources[if plan.skeleton.is_some() { 0 } else { plan.source }].dwarf
    }

    /// The unit that holds an entry.
    pub fn plan_of(&self, entry: EntryOffset) -> Option<&UnitPlan<'d>> {
        let after = self.plans.partition_point(|plan| plan.start <= entry);
        self.plans.get(after.checked_sub(1)?).filter(|plan| entry < plan.end)
    }

    /// The entry that a reference attribute of a unit points to; `None` for other attributes, other files and type units.
    pub fn reference(&self, plan: &UnitPlan<'d>, value: AttributeValue<dwarf::Reader<'d>>) -> Option<EntryOffset> {
        let offset = match value {
            AttributeValue::UnitRef(offset) => u64::from(plan.start).checked_add(offset.0 as u64)?,
            AttributeValue::DebugInfoRef(offset) => self.sources[plan.source].base.checked_add(offset.0 as u64)?,
            _ => return None,
        };
        u32::try_from(offset).ok()
    }
}

fn is_skeleton(unit: &Unit<'_>) -> bool {
    // DWARF 5 says so; the GNU form of DWARF 4 has a unit with a split name and no children.
    unit.dwo_name().is_ok_and(|name| name.is_some())
}

fn origin(unit: &Unit<'_>) -> Origin {
    match dwarf::language(unit) {
        Some(gimli::DW_LANG_Rust) if is_library(unit) => Origin::RustLibrary,
        Some(gimli::DW_LANG_Rust) => Origin::Rust,
        Some(
            gimli::DW_LANG_C_plus_plus
            | gimli::DW_LANG_C_plus_plus_03
            | gimli::DW_LANG_C_plus_plus_11
            | gimli::DW_LANG_C_plus_plus_14
            | gimli::DW_LANG_C_plus_plus_17
            | gimli::DW_LANG_C_plus_plus_20,
        ) => Origin::Cpp,
        _ => Origin::Other,
    }
}

/// rustc's own crates are built under `/rustc/<commit>`, the crates that std bundles under `/rust/deps/`.
fn is_library(unit: &Unit<'_>) -> bool {
    unit.comp_dir.is_some_and(|dir| [&b"/rustc/"[..], b"/rust/deps/"].iter().any(|prefix| dir.slice().starts_with(prefix)))
}
