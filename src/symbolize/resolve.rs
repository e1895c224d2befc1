//! Addresses of one module to names, files and lines: debug information first, then, frame by frame,
//! the symbol table.
//!
//! The result is columnar and holds raw linkage names: each is demangled once, when it is shown.

use super::cache::Cache;
use super::locate::Located;
use crate::address::Svma;
use crate::binary::elf::{ElfFile, FunctionSymbol};
use crate::binary::lookup::{self, DebugFiles, Level, Origin, RawFrame};
use crate::model::frame::{DebugInfo, NameId, Names};
use crate::names;
use std::path::Path;

/// Names of a list of addresses, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resolved {
    names: Names,
    files: Names,
    frames: Vec<ResolvedFrame>,
    ends: Vec<u32>,
    /// For each address, what kind of unit speaks of it.
    origins: Vec<Origin>,
}

/// One frame, innermost first within its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedFrame {
    /// Index of the linkage name.
    pub name: u32,
    /// Index of the file.
    pub file: Option<u32>,
    /// Line in it.
    pub line: Option<u32>,
}

impl Resolved {
    /// The frames of the address at a position; empty when it has no name.
    pub fn frames(&self, position: usize) -> &[ResolvedFrame] {
        let Some(&end) = self.ends.get(position) else { return &[] };
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        self.frames.get(start as usize..end as usize).unwrap_or_default()
    }

    /// How much the file tells.
    pub fn debug_info(&self) -> DebugInfo {
        match Level::of(&self.origins) {
            Level::Types => DebugInfo::Full,
            Level::Lines => DebugInfo::Lines,
            Level::None if self.frames.is_empty() => DebugInfo::None,
            Level::None => DebugInfo::Names,
        }
    }

    /// The number of addresses that something is true of.
    pub fn count(&self, what: Origin) -> usize {
        self.origins.iter().filter(|origin| origin.has(what)).count()
    }

    /// What kind of unit speaks of the address at a position.
    pub fn origin(&self, position: usize) -> Origin {
        self.origins.get(position).copied().unwrap_or_default()
    }

    /// The index of a linkage name, added where it is new.
    pub fn intern_name(&mut self, name: &str) -> u32 {
        self.names.intern(name).0
    }

    /// The index of a file, added where it is new.
    pub fn intern_file(&mut self, file: &str) -> u32 {
        self.files.intern(file).0
    }

    /// Appends a frame to the address that is being put together, innermost first.
    pub fn push(&mut self, frame: ResolvedFrame) {
        self.frames.push(frame);
    }

    /// Ends the address that is being put together.
    pub fn end(&mut self, origin: Origin) {
        self.origins.push(origin);
        self.ends.push(self.frames.len() as u32);
    }

    /// The number of distinct names.
    pub fn name_count(&self) -> usize {
        self.names.len()
    }

    /// The number of distinct files.
    pub fn file_count(&self) -> usize {
        self.files.len()
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

/// Looks up the addresses of one module, in the cache where there is one.
pub(crate) fn resolve(found: &Located, addresses: &[Svma], inlines: bool, cache: Option<&Path>) -> Resolved {
    let Some(cache) = cache.and_then(|dir| Cache::open(dir, found, inlines)) else { return look_up(found, addresses, inlines) };
    let missing = cache.missing(addresses);
    if missing.is_empty() && !addresses.is_empty() {
        return cache.merge(addresses, &missing, Resolved::default());
    }
    let merged = cache.merge(addresses, &missing, look_up(found, &missing, inlines));
    if found.changed().is_none() {
        cache.store(addresses, &merged);
    }
    merged
}

/// Looks up addresses in the files of a module.
fn look_up(found: &Located, addresses: &[Svma], inlines: bool) -> Resolved {
    let files =
        DebugFiles { main: found.debug_file(), alternate: found.alternate.as_ref(), package: found.package.as_ref(), split: &found.split };
    let lookup = lookup::look_up(files, addresses, inlines);
    let symbols = symbols(found, addresses, &lookup);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut out = Resolved::default();
    let names: Vec<u32> = lookup.names.iter().map(|name| out.names.intern(&String::from_utf8_lossy(name)).0).collect();
    let files: Vec<u32> = lookup.files.iter().map(|file| out.files.intern(file).0).collect();
    for (position, symbol) in symbols.iter().enumerate() {
        let frames = lookup.frames(position);
        let outermost = frames.len().checked_sub(1);
        for (depth, frame) in frames.iter().enumerate() {
            let file = frame.file.map(|file| files[file as usize]);
            let own = frame.name.map(|name| names[name as usize]);
            let name = match symbol {
                Some(symbol) if Some(depth) == outermost && is_better(symbol, frame, &lookup.names) => {
                    Some(out.names.intern(&text(symbol.name)).0)
                }
                _ => own,
            };
            // A frame without a name says nothing that the frames around it do not.
            out.frames.extend(name.map(|name| ResolvedFrame { name, file, line: frame.line }));
        }
        if let (true, Some(symbol)) = (frames.is_empty(), symbol) {
            let name = out.names.intern(&text(symbol.name)).0;
            out.frames.push(ResolvedFrame { name, file: None, line: None });
        }
        out.end(lookup.origins[position]);
    }
    out
}

/// The symbols of the addresses whose function the debug information does not name in full.
fn symbols<'a>(found: &'a Located, addresses: &[Svma], lookup: &lookup::Lookup<'_>) -> Vec<Option<FunctionSymbol<'a>>> {
    let lacks = |frame: &RawFrame| frame.name.is_none_or(|name| frame.mangles && !is_mangled(lookup.names[name as usize]));
    let mut lacking: Vec<usize> = (0..addresses.len()).filter(|&at| lookup.frames(at).last().is_none_or(lacks)).collect();
    lacking.sort_unstable_by_key(|&at| (addresses[at], at));
    let sorted: Vec<Svma> = lacking.iter().map(|&at| addresses[at]).collect();
    let mut symbols = vec![None; addresses.len()];
    let mut fill = |file: &'a ElfFile| {
        for (&at, symbol) in lacking.iter().zip(file.symbols_at(&sorted)) {
            symbols[at] = symbols[at].take().or(symbol);
        }
    };
    // A stripped file keeps only what it exports; its debug file has the whole table.
    match &found.debug {
        Some(debug) if !found.binary.has_symbol_table() => {
            fill(debug);
            fill(&found.binary);
        }
        _ => fill(&found.binary),
    }
    symbols
}

/// Whether a symbol names the function of a frame better than the debug information: there is no name,
/// or it is the bare last part (`push`), as line tables have it, of the symbol's whole path.
fn is_better(symbol: &FunctionSymbol<'_>, frame: &RawFrame, names: &[&[u8]]) -> bool {
    match frame.name.map(|name| names[name as usize]) {
        None => true,
        Some(name) => frame.mangles && !is_mangled(name) && is_mangled(symbol.name) && ends_with_name(symbol.name, name),
    }
}

fn is_mangled(name: &[u8]) -> bool {
    name.starts_with(b"_R") || name.starts_with(b"_Z")
}

/// Whether the last part of a mangled symbol is the function that line tables call `name`, generics
/// aside. Linkers fold functions of equal code, and then the symbol may be another's.
fn ends_with_name(symbol: &[u8], name: &[u8]) -> bool {
    let (symbol, name) = (String::from_utf8_lossy(symbol), String::from_utf8_lossy(name));
    let full = names::demangle(&symbol);
    // `{closure#0}` here, `{{closure}}` there.
    fn bare(part: &str) -> &str {
        if part.starts_with("{closure") || part.starts_with("{{closure") {
            "{closure}"
        } else {
            part.split(['<', '(']).next().unwrap_or_default()
        }
    }
    let bare_name = bare(&name);
    let last = |part: &str| bare(part) == bare_name;
    !bare_name.is_empty() && full.split("::").any(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_names_match_the_end_of_symbols() {
        let check = |symbol: &str, name: &str, expected: bool| {
            assert_eq!(ends_with_name(symbol.as_bytes(), name.as_bytes()), expected, "{symbol} {name}")
        };
        check("_ZN3app5queue4push17h0123456789abcdefE", "push<u8>", true);
        check("_ZN3app5queue4push17h0123456789abcdefE", "pop<u8>", false);
        check("_ZN3app3run28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE", "{closure#0}", true);
        check("_ZN3app4fillEi", "fill", true);
        check("_ZN3app4fillEi", "", false);
    }
}
