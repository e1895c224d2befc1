//! Addresses of a file to functions, inlined calls, source files and lines: all addresses at once.
//!
//! The sorted addresses are dealt out to the units that cover them; each touched unit is passed over
//! once, units in parallel; names are resolved once. The crate addr2line, which the tests compare
//! with, resolves them again for each address:
//!
//! ```text
//!   addresses --units--> one pass of lines + one pass of entries per unit --> frames, in the order of units
//! ```
//!
//! What the debug information lacks is taken from the symbol table by the caller.

mod die;
mod functions;
mod lines;
mod units;

use super::dwarf::{self, Dwarf, Reader, Sections};
use super::elf::ElfFile;
use crate::address::Svma;
use functions::{Entries, UnitFrames};
use hashbrown::HashMap;
use lines::Lines;
use rayon::prelude::*;
use rustc_hash::FxBuildHasher;
use std::collections::BTreeMap;
use units::DebugInfo;

/// Units that are asked for one address, when several claim it: more than two are seen only in hostile files.
const MOST_UNITS: usize = 8;

/// The files that hold the debug information of a binary.
#[derive(Clone, Copy, Debug)]
pub struct DebugFiles<'a> {
    /// The binary itself, or its detached debug file.
    pub main: &'a ElfFile,
    /// The file that dwz shares between binaries.
    pub alternate: Option<&'a ElfFile>,
    /// The package of split units.
    pub package: Option<&'a ElfFile>,
    /// Split units by identity.
    pub split: &'a BTreeMap<u64, ElfFile>,
}

/// What the debug information says about a list of addresses.
#[derive(Debug, Default)]
pub struct Lookup<'a> {
    /// Linkage names where there are any, else plain names; one may occur twice.
    pub names: Vec<&'a [u8]>,
    /// Source files, as the compiler spelled them below its working directory.
    pub files: Vec<String>,
    frames: Vec<RawFrame>,
    /// For each address, the range of its frames.
    ranges: Vec<(u32, u32)>,
    /// For each address, what kind of unit speaks of it.
    pub origins: Vec<Origin>,
}

/// What kind of unit speaks of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin(u8);

impl Origin {
    /// The unit has frames for it.
    pub const FOUND: Origin = Origin(1);
    /// It is of Rust.
    pub const RUST: Origin = Origin(2);
    /// It describes types.
    pub const TYPES: Origin = Origin(4);
    /// Its debug information is split off, and the split part was not found.
    pub const SPLIT_MISSING: Origin = Origin(8);
    /// Its entries are malformed: frames may be missing.
    pub const DAMAGED: Origin = Origin(16);

    /// Whether all of `other` is true of it.
    pub fn has(self, other: Origin) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both, where `condition` holds.
    #[must_use]
    pub fn with(self, other: Origin, condition: bool) -> Origin {
        if condition { Origin(self.0 | other.0) } else { self }
    }

    /// As a number, to be stored.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// From such a number; `None` for one that this version does not write.
    pub fn from_bits(bits: u8) -> Option<Origin> {
        (bits < 32).then_some(Origin(bits))
    }
}

/// One frame as the debug information has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Index into [`Lookup::names`].
    pub name: Option<u32>,
    /// Index into [`Lookup::files`].
    pub file: Option<u32>,
    /// Line; for a frame that inlined another, that of the inlined call.
    pub line: Option<u32>,
    /// Whether names of its language are mangled (Rust, C++): a plain name is then only the last part of one.
    pub mangles: bool,
}

/// How much debug information there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// None for any of the addresses.
    #[default]
    None,
    /// Functions and lines.
    Lines,
    /// Types too. Where there is Rust, its units decide: C parts of a Rust program are often built with more.
    Types,
}

impl Level {
    /// How much debug information there is for a list of addresses.
    pub fn of(origins: &[Origin]) -> Level {
        let any = |kind: Origin| origins.iter().any(|origin| origin.has(kind));
        let (rust, types) = (any(Origin::FOUND.with(Origin::RUST, true)), Origin::FOUND.with(Origin::TYPES, true));
        match (rust, any(Origin::FOUND)) {
            (true, _) if any(types.with(Origin::RUST, true)) => Level::Types,
            (false, true) if any(types) => Level::Types,
            (_, true) => Level::Lines,
            (_, false) => Level::None,
        }
    }
}

impl Lookup<'_> {
    /// The frames of the address at a position of the list, innermost first; empty when nothing is known of it.
    pub fn frames(&self, position: usize) -> &[RawFrame] {
        let Some(&(start, end)) = self.ranges.get(position) else { return &[] };
        self.frames.get(start as usize..end as usize).unwrap_or_default()
    }
}

/// Looks up addresses, which may come in any order. Without `inlines` each has one frame: its function,
/// at the line of the address.
pub fn look_up<'a>(files: DebugFiles<'a>, addresses: &[Svma], inlines: bool) -> Lookup<'a> {
    let mut order: Vec<u32> = (0..addresses.len() as u32).collect();
    order.sort_unstable_by_key(|&at| (addresses[at as usize], at));
    let sorted: Vec<u64> = order.iter().map(|&at| addresses[at as usize].get()).collect();
    let main = DebugInfo::new(dwarf::load(files.main, None, Sections::ForSymbols));
    let alternate = files.alternate.map(|file| DebugInfo::new(dwarf::load(file, None, Sections::ForSymbols)));
    let package = files.package.and_then(|file| dwarf::load_package(file));
    let source = Source { files, main: &main, alternate: alternate.as_ref(), package: package.as_ref() };
    let covered = Coverage::of(&main);

    let mut found = Merged { lookup: Lookup::default(), names: HashMap::default(), files: HashMap::default() };
    found.lookup.ranges = vec![(0, 0); addresses.len()];
    found.lookup.origins = vec![Origin::default(); addresses.len()];
    let mut open: Vec<u32> = (0..sorted.len() as u32).collect();
    for turn in 0..MOST_UNITS {
        let work = covered.deal(&sorted, &open, turn);
        if work.is_empty() {
            break;
        }
        let results: Vec<UnitResult<'a>> = work.par_iter().map(|(unit, list)| source.unit(*unit, &sorted, list, inlines)).collect();
        open.clear();
        for ((_, list), result) in work.iter().zip(results) {
            found.add(result, list, &order, &mut open);
        }
        open.sort_unstable();
    }
    found.lookup
}

/// Everything that is needed to look into a unit.
struct Source<'i, 'a> {
    files: DebugFiles<'a>,
    main: &'i DebugInfo<'a>,
    alternate: Option<&'i DebugInfo<'a>>,
    package: Option<&'i gimli::DwarfPackage<Reader<'a>>>,
}

struct UnitResult<'a> {
    frames: UnitFrames<'a>,
    is_rust: bool,
    mangles: bool,
    missing_split: bool,
}

impl<'a> Source<'_, 'a> {
    /// Looks up the addresses at positions `list` of `sorted` in one unit.
    fn unit(&self, unit: u32, sorted: &[u64], list: &[u32], inlines: bool) -> UnitResult<'a> {
        let wanted: Vec<u64> = list.iter().map(|&at| sorted[at as usize]).collect();
        let unit = &self.main.units[unit as usize];
        let lines = if unit.shares_lines { None } else { Lines::of(self.main, unit) };
        let split = unit.split_id.and_then(|id| self.split(id)).map(|dwarf| {
            let mut split = DebugInfo::new(dwarf);
            split.inherit(unit);
            split
        });
        let part = split.as_ref().and_then(|split| Some((split, split.units.iter().find(|unit| unit.compiles)?)));
        let (info, entries) = part.unwrap_or((self.main, unit));
        let language = entries.language.or(unit.language);
        let entries = Entries { info, unit: entries, alternate: self.alternate };
        let frames = functions::frames(entries, (self.main, unit), lines.as_ref(), &wanted, inlines);
        UnitResult {
            frames: UnitFrames { damaged: frames.damaged || unit.shares_lines, ..frames },
            is_rust: language == Some(gimli::DW_LANG_Rust),
            mangles: language.is_some_and(is_mangling),
            missing_split: unit.split_id.is_some() && part.is_none(),
        }
    }

    fn split(&self, id: u64) -> Option<Dwarf<'a>> {
        if let Some(split) = self.package.and_then(|package| package.find_cu(gimli::DwoId(id), &self.main.dwarf).ok().flatten()) {
            return Some(split);
        }
        Some(dwarf::load_split(self.files.split.get(&id)?, &self.main.dwarf, Sections::ForSymbols))
    }
}

fn is_mangling(language: gimli::DwLang) -> bool {
    matches!(
        language,
        gimli::DW_LANG_Rust
            | gimli::DW_LANG_C_plus_plus
            | gimli::DW_LANG_C_plus_plus_03
            | gimli::DW_LANG_C_plus_plus_11
            | gimli::DW_LANG_C_plus_plus_14
            | gimli::DW_LANG_C_plus_plus_17
            | gimli::DW_LANG_C_plus_plus_20
    )
}

/// Which units cover which addresses.
struct Coverage {
    /// By end, then unit.
    ranges: Vec<Range>,
}

struct Range {
    begin: u64,
    end: u64,
    unit: u32,
    /// The least begin from here on: where to stop looking.
    least: u64,
}

impl Coverage {
    fn of(info: &DebugInfo<'_>) -> Self {
        let mut ranges = Vec::new();
        let mut programs: HashMap<u64, Vec<(u64, u64)>, FxBuildHasher> = HashMap::default();
        let mut left = info.most_ranges();
        for (index, unit) in info.units.iter().enumerate().filter(|(_, unit)| unit.compiles) {
            let mut stated = info.unit_ranges(unit, &mut left);
            if let (true, Some(offset), false) = (stated.is_empty(), unit.line_offset, unit.shares_lines) {
                // The root states no addresses: its line program does.
                let sequences =
                    programs.entry(offset).or_insert_with(|| Lines::of(info, unit).map(|lines| lines.sequences()).unwrap_or_default());
                stated.clone_from(sequences);
            }
            ranges.extend(stated.into_iter().map(|(begin, end)| Range { begin, end, unit: index as u32, least: 0 }));
        }
        ranges.sort_unstable_by_key(|range| (range.end, range.unit, range.begin));
        let mut least = u64::MAX;
        for range in ranges.iter_mut().rev() {
            least = least.min(range.begin);
            range.least = least;
        }
        Coverage { ranges }
    }

    /// Deals the addresses at positions `open` of `sorted` to the units that are `turn`th to claim them. Units come
    /// in the order of the file, positions in ascending order.
    fn deal(&self, sorted: &[u64], open: &[u32], turn: usize) -> Vec<(u32, Vec<u32>)> {
        let mut dealt: Vec<(u32, u32)> = Vec::with_capacity(open.len());
        let mut from = 0;
        for &position in open {
            let address = sorted[position as usize];
            // Addresses ascend, and so does the first range that does not end before them.
            while self.ranges.get(from).is_some_and(|range| range.end <= address) {
                from += 1;
            }
            let claims = self.ranges[from..].iter().take_while(|range| range.least <= address).filter(|range| range.begin <= address);
            let mut claims = claims.map(|range| range.unit).take(MOST_UNITS * MOST_UNITS);
            let mut seen = [u32::MAX; MOST_UNITS];
            let mut count = 0;
            // A unit with overlapping ranges claims more than once.
            let claim = claims.find(|unit| {
                if seen[..count].contains(unit) || count == MOST_UNITS {
                    return false;
                }
                seen[count] = *unit;
                count += 1;
                count == turn + 1
            });
            dealt.extend(claim.map(|unit| (unit, position)));
        }
        dealt.sort_unstable();
        let groups = dealt.chunk_by(|a, b| a.0 == b.0);
        groups.map(|group| (group[0].0, group.iter().map(|&(_, position)| position).collect())).collect()
    }
}

/// Results of units put together, always in the same order.
struct Merged<'a> {
    lookup: Lookup<'a>,
    /// By address and length of the text: linkers keep each text once, and one that they keep twice is put together by the caller.
    names: HashMap<(usize, usize), u32, FxBuildHasher>,
    files: HashMap<String, u32, FxBuildHasher>,
}

impl<'a> Merged<'a> {
    fn add(&mut self, result: UnitResult<'a>, list: &[u32], order: &[u32], open: &mut Vec<u32>) {
        let UnitResult { frames: unit, is_rust, mangles, missing_split } = result;
        let lookup = &mut self.lookup;
        let tried = Origin::default().with(Origin::DAMAGED, unit.damaged).with(Origin::SPLIT_MISSING, missing_split);
        let kind = Origin::FOUND.with(Origin::RUST, is_rust).with(Origin::TYPES, unit.has_types);
        let name_at = |name: &&'a [u8]| (name.as_ptr() as usize, name.len());
        let names = unit.names.iter().map(|name| *self.names.entry(name_at(name)).or_insert_with(|| push(&mut lookup.names, *name)));
        let names: Vec<u32> = names.collect();
        let files =
            unit.files.into_iter().map(|file| *self.files.entry_ref(&file).or_insert_with(|| push(&mut lookup.files, file.clone())));
        let files: Vec<u32> = files.collect();
        let mut start = 0;
        for (&position, &end) in list.iter().zip(&unit.ends) {
            let frames = &unit.frames[start as usize..end as usize];
            start = end;
            let slot = order[position as usize] as usize;
            let origin = &mut lookup.origins[slot];
            *origin = origin.with(tried, true).with(kind, !frames.is_empty());
            if frames.is_empty() {
                open.push(position);
                continue;
            }
            let first = lookup.frames.len() as u32;
            lookup.frames.extend(frames.iter().map(|frame| RawFrame {
                name: frame.name.map(|name| names[name as usize]),
                file: frame.file.map(|file| files[file as usize]),
                line: frame.line,
                mangles,
            }));
            lookup.ranges[slot] = (first, lookup.frames.len() as u32);
        }
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> u32 {
    list.push(item);
    list.len() as u32 - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use addr2line::{LookupContinuation, LookupResult};
    use std::path::Path;
    use std::sync::Arc;

    type Frame = (Option<String>, Option<String>, Option<u32>);

    /// The frames that addr2line finds, which are right by definition.
    fn oracle(files: DebugFiles<'_>, addresses: &[Svma]) -> Vec<Vec<Frame>> {
        let dwarf = dwarf::load(files.main, files.alternate, Sections::All);
        let package = files.package.map(|file| dwarf::load_package(file).unwrap());
        let context = addr2line::Context::from_arc_dwarf(Arc::new(dwarf)).unwrap();
        let of = |address: &Svma| {
            let mut result = context.find_frames(address.get());
            let mut frames = loop {
                match result {
                    LookupResult::Output(output) => break output.unwrap(),
                    LookupResult::Load { load, continuation } => {
                        let split = package.as_ref().and_then(|package| package.find_cu(load.dwo_id, &load.parent).unwrap());
                        let split =
                            split.or_else(|| Some(dwarf::load_split(files.split.get(&load.dwo_id.0)?, &load.parent, Sections::All)));
                        result = continuation.resume(split.map(Arc::new));
                    }
                }
            };
            let mut found = Vec::new();
            while let Some(frame) = frames.next().unwrap() {
                let name = frame.function.map(|name| name.raw_name().unwrap().into_owned());
                let location = frame.location;
                found.push((name, location.as_ref().and_then(|l| l.file).map(str::to_owned), location.and_then(|l| l.line)));
            }
            found
        };
        addresses.iter().map(of).collect()
    }

    fn ours(files: DebugFiles<'_>, addresses: &[Svma]) -> Vec<Vec<Frame>> {
        let found = look_up(files, addresses, true);
        let frame = |frame: &RawFrame| {
            let name = frame.name.map(|name| String::from_utf8_lossy(found.names[name as usize]).into_owned());
            (name, frame.file.map(|file| found.files[file as usize].clone()), frame.line)
        };
        (0..addresses.len()).map(|at| found.frames(at).iter().map(frame).collect()).collect()
    }

    /// Compares both on every `step`th byte of the code.
    fn compare(path: &Path, step: usize) {
        let file = ElfFile::open(path).unwrap();
        let none = BTreeMap::new();
        let files = DebugFiles { main: &file, alternate: None, package: None, split: &none };
        let code = file.section_range(".text").unwrap();
        let addresses: Vec<Svma> = (code.start.get()..code.end.get()).step_by(step).map(Svma::new).collect();
        let (expected, found) = (oracle(files, &addresses), ours(files, &addresses));
        for ((address, expected), found) in addresses.iter().zip(expected).zip(found) {
            assert_eq!(found, expected, "{address:#x} in {}", path.display());
        }
    }

    #[test]
    fn frames_of_this_program_are_those_of_addr2line() {
        compare(&std::env::current_exe().unwrap(), 1009);
    }

    /// A unit is left when all that is wanted of it is found: for one address sooner than for many.
    #[test]
    fn frames_of_one_address_are_those_among_many() {
        let file = ElfFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/bin/quarryd")).unwrap();
        let none = BTreeMap::new();
        let files = DebugFiles { main: &file, alternate: None, package: None, split: &none };
        let code = file.section_range(".text").unwrap();
        let addresses: Vec<Svma> = (code.start.get()..code.end.get()).step_by(7919).map(Svma::new).collect();
        let together = ours(files, &addresses);
        assert!(together.iter().filter(|frames| frames.len() > 1).count() > 10, "of {} addresses", addresses.len());
        for (&address, expected) in addresses.iter().zip(&together) {
            assert_eq!(ours(files, &[address]), std::slice::from_ref(expected), "{address:#x}");
        }
        assert_eq!(oracle(files, &addresses), together);
    }
}
