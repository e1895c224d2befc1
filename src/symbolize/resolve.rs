//! Addresses of one module to names, files and lines.
//!
//! The result is columnar and holds raw linkage names: each is demangled once, when it is shown.

use super::locate::Located;
use crate::address::Svma;
use crate::binary::dwarf::{self, Reader, Sections};
use crate::binary::elf::ElfFile;
use crate::binary::names;
use crate::model::frame::{DebugInfo, NameId, Names};
use addr2line::{LookupContinuation, LookupResult, SplitDwarfLoad};
use std::sync::Arc;

/// Names of a list of addresses, in its order.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    names: Names,
    files: Names,
    frames: Vec<LookupFrame>,
    ends: Vec<u32>,
    /// How much the file tells.
    pub debug_info: DebugInfo,
    /// Split units that were needed and not found.
    pub split_missing: usize,
}

/// One frame, innermost first within its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LookupFrame {
    /// Index of the linkage name.
    pub name: u32,
    /// Index of the file.
    pub file: Option<u32>,
    /// Line in it.
    pub line: Option<u32>,
}

impl Lookup {
    /// The frames of the address at a position; empty when it has no name.
    pub fn frames(&self, position: usize) -> &[LookupFrame] {
        let Some(&end) = self.ends.get(position) else { return &[] };
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.frames[start as usize..end as usize]
    }

    /// A linkage name.
    pub fn name(&self, index: u32) -> &str {
        self.names.get(NameId(index))
    }

    /// A file.
    pub fn file(&self, index: u32) -> &str {
        self.files.get(NameId(index))
    }
}

/// Looks up the addresses of one module.
pub(crate) fn resolve(found: &Located, addresses: &[Svma], inlines: bool) -> Lookup {
    let mut lookup = Lookup {
        names: Names::default(),
        files: Names::default(),
        frames: Vec::new(),
        ends: Vec::new(),
        debug_info: DebugInfo::None,
        split_missing: 0,
    };
    let dwarf = Arc::new(dwarf::load(found.debug_file(), found.alternate.as_ref(), Sections::ForSymbols));
    let package = found.package.as_ref().and_then(|file| dwarf::load_package(file, Sections::ForSymbols));
    let context = addr2line::Context::from_arc_dwarf(Arc::clone(&dwarf)).ok();
    let mut order: Vec<usize> = (0..addresses.len()).collect();
    order.sort_by_key(|&i| addresses[i]);
    let mut by_address: Vec<Vec<LookupFrame>> = vec![Vec::new(); addresses.len()];
    for i in order {
        let address = addresses[i];
        let mut frames = Vec::new();
        if let Some(context) = &context {
            let mut result = context.find_frames(address.get());
            let found_frames = loop {
                match result {
                    LookupResult::Output(output) => break output,
                    LookupResult::Load { load, continuation } => {
                        let split = load_split(found, package.as_ref(), &load);
                        lookup.split_missing += usize::from(split.is_none());
                        result = continuation.resume(split);
                    }
                }
            };
            if let Ok(mut iter) = found_frames {
                while let Ok(Some(frame)) = iter.next() {
                    let name = frame.function.and_then(|name| name.raw_name().ok().map(|name| name.into_owned()));
                    let location = frame.location;
                    let file = location.as_ref().and_then(|l| l.file).map(|file| lookup.files.intern(file).0);
                    frames.push((name, file, location.and_then(|l| l.line)));
                }
            }
        }
        if !inlines && frames.len() > 1 {
            // The physical function, where the innermost call stands in it.
            frames.drain(..frames.len() - 1);
        }
        by_address[i] = name_frames(&mut lookup, found, address, frames);
    }
    for frames in by_address {
        lookup.frames.extend(frames);
        lookup.ends.push(lookup.frames.len() as u32);
    }
    lookup.debug_info = level(found, &lookup);
    lookup
}

/// Fills in what the debug information leaves out, from the symbol table.
fn name_frames(
    lookup: &mut Lookup,
    found: &Located,
    address: Svma,
    frames: Vec<(Option<String>, Option<u32>, Option<u32>)>,
) -> Vec<LookupFrame> {
    let symbol = || symbol_at(found, address);
    if frames.is_empty() {
        let Some(name) = symbol() else { return Vec::new() };
        return vec![LookupFrame { name: lookup.names.intern(&name).0, file: None, line: None }];
    }
    let last = frames.len() - 1;
    let mut named = Vec::with_capacity(frames.len());
    for (depth, (name, file, line)) in frames.into_iter().enumerate() {
        let name = match name {
            // Line tables carry bare names (`push`); the symbol has the whole path of the physical function.
            Some(name) if depth == last && !is_mangled(&name) => {
                symbol().filter(|symbol| is_mangled(symbol) && ends_with_name(symbol, &name)).unwrap_or(name)
            }
            Some(name) => name,
            None if depth == last => match symbol() {
                Some(name) => name,
                None => continue,
            },
            None => continue,
        };
        named.push(LookupFrame { name: lookup.names.intern(&name).0, file, line });
    }
    named
}

fn is_mangled(name: &str) -> bool {
    name.starts_with("_R") || name.starts_with("_Z")
}

/// Whether the last part of a demangled symbol is the function that line tables call `name`, generics aside.
fn ends_with_name(symbol: &str, name: &str) -> bool {
    let full = names::demangle(symbol);
    let bare = name.split(['<', '(']).next().unwrap_or(name);
    let full = full.split('(').next().unwrap_or(&full);
    !bare.is_empty() && full.rsplit("::").any(|part| part.split('<').next() == Some(bare))
}

/// The symbol of an address: from the file itself, else from its debug file.
fn symbol_at(found: &Located, address: Svma) -> Option<String> {
    let of = |file: &ElfFile| file.symbol_at(address).map(|symbol| String::from_utf8_lossy(symbol.name).into_owned());
    match &found.debug {
        Some(debug) if !found.binary.has_symbol_table() => of(debug).or_else(|| of(&found.binary)),
        _ => of(&found.binary),
    }
}

fn load_split<'a>(
    found: &'a Located,
    package: Option<&gimli::DwarfPackage<Reader<'a>>>,
    load: &SplitDwarfLoad<Reader<'a>>,
) -> Option<Arc<dwarf::Dwarf<'a>>> {
    if let Some(split) = package.and_then(|package| package.find_cu(load.dwo_id, &load.parent).ok().flatten()) {
        return Some(Arc::new(split));
    }
    let file = found.split.get(&load.dwo_id.0)?;
    Some(Arc::new(dwarf::load_split(file, &load.parent, Sections::ForSymbols)))
}

/// How much the file tells: types in any of its Rust units, else in any unit.
fn level(found: &Located, lookup: &Lookup) -> DebugInfo {
    let dwarf = dwarf::load(found.debug_file(), None, Sections::ForSymbols);
    let mut headers = dwarf.units();
    let (mut any, mut rust, mut types, mut rust_types) = (false, false, false, false);
    while let Ok(Some(header)) = headers.next() {
        let Ok(unit) = dwarf.unit(header) else { continue };
        let has_types = dwarf::has_types(&unit);
        any = true;
        types |= has_types;
        if dwarf::is_rust(&unit) {
            rust = true;
            rust_types |= has_types;
        }
    }
    match (any, if rust { rust_types } else { types }) {
        (true, true) => DebugInfo::Full,
        (true, false) => DebugInfo::Lines,
        _ if !lookup.frames.is_empty() => DebugInfo::Names,
        _ => DebugInfo::None,
    }
}
