//! Everything that skipped-drop and ownership analysis needs to know of one binary, read in one go.
//!
//! [`ownership_facts`] opens the files and puts together what the other modules of this folder read:
//! types and statics, the bodies and machine code of the functions that matter, exception tables,
//! drop glue. The result owns its data; analysis works on it without touching a file.

use super::BinaryError;
use super::bodies::{Body, FunctionName, Functions, Local};
use super::catalogue;
use super::code::{self, Code, Flow, Memory};
use super::dwarf::{self, Sections};
use super::elf::{ElfFile, Machine};
use super::glue::{self, GlueGraph};
use super::loops::{CallLoop, loops};
use super::progress::Progress;
use super::split::SplitFiles;
use super::texts::Texts;
use super::type_name;
use super::types::{TypeKind, TypeTable};
use super::units::{EntryOffset, Origin, Units};
use super::unwind::{CallSite, UnwindTable};
use crate::address::{BuildId, Svma};
use crate::names;
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;
use std::cell::Cell;
use std::path::{Path, PathBuf};

/// How much of a binary can be read: decides what an analysis may claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No symbols at all.
    Nothing,
    /// A symbol table.
    Symbols,
    /// Line tables: names of inlined calls without paths.
    LineTables,
    /// Functions and inlined calls with their paths; no types (`debug = 1`).
    Lines,
    /// Types, variables, everything (`debug = 2`).
    Types,
}

/// A function that is called from the functions in [`OwnershipFacts::functions`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callee {
    /// Its first address.
    pub address: u64,
    /// Path without arguments.
    pub path: String,
    /// The type that it destroys, when it is drop glue.
    pub destroys: Option<String>,
    /// Its name in full: index into [`OwnershipFacts::names`]; `None` where only the symbol is known.
    pub name: Option<u32>,
    /// Index into [`OwnershipFacts::functions`]; `None` for functions that were not looked at.
    pub function: Option<u32>,
    /// It never returns: panics, aborts, resumes unwinding. Told by its code.
    pub never_returns: bool,
}

/// A function with everything known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Name, inlined calls, variables.
    pub body: Body,
    /// Calls, jumps and branches; `None` on machines without a decoder.
    pub code: Option<Code>,
    /// Where calls unwind to.
    pub call_sites: Vec<CallSite>,
    /// Source line of calls: (address of the call, file as in the line table, line). Only for calls to functions that are looked at.
    pub call_lines: Vec<(u64, u32)>,
}

/// A function as a source file declares it, with its variables: also where all its code was inlined elsewhere or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Index into [`TypeTable::files`].
    pub file: u32,
    /// Line of the declaration.
    pub line: u32,
    /// Index into [`OwnershipFacts::names`].
    pub name: u32,
    /// Its own variables and parameters; those of closures inside it are theirs.
    pub locals: Vec<Local>,
}

/// Lines of a source file: (index into [`TypeTable::files`], first line, last line).
pub type FileLines = (u32, u32, u32);

/// What is known of a binary.
#[derive(Debug)]
pub struct OwnershipFacts {
    /// The file as given.
    pub path: PathBuf,
    /// Its identity.
    pub build_id: Option<BuildId>,
    /// Its machine code.
    pub machine: Machine,
    /// Time of the last change of the file.
    pub modified: Option<std::time::SystemTime>,
    /// How much can be read.
    pub level: Level,
    /// Units of Rust code that is not the standard library.
    pub rust_units: usize,
    /// Units of C++.
    pub cpp_units: usize,
    /// Skeleton units whose split debug information was not found.
    pub missing_split: usize,
    /// Files of split debug information that were read one by one.
    pub loose_files: usize,
    /// Parts of the debug information that could not be read.
    pub damaged: usize,
    /// Parts of the debug information that were left out because there is more of them than a compiler writes.
    pub limited: usize,
    /// Compressed sections that could not be unfolded, or unfold to more than sections do.
    pub refused: Vec<String>,
    /// Functions have landing pads: not built with `panic = "abort"`.
    pub unwinds: bool,
    /// Types, statics, virtual tables.
    pub types: TypeTable,
    /// Functions that matter, by entry; then those known from symbols only, by address.
    pub functions: Vec<Function>,
    /// Names that bodies and callees refer to.
    pub names: Vec<FunctionName>,
    /// Names of variables.
    pub texts: Texts,
    /// Called functions, by address.
    pub callees: Vec<Callee>,
    /// Calls to functions that matter: (address of the call, target), by address.
    pub calls: Vec<(u64, u64)>,
    /// Drop glue.
    pub glue: GlueGraph,
    /// Drop glue inlined in drop glue, as type names: what the first's destructor destroys.
    pub nested: Vec<(String, String)>,
    /// Closures that run once: passed to `OnceLock::get_or_init` and its like. As the debug information names their
    /// environments, sorted.
    pub once_closures: Vec<String>,
    /// Paths of types with a `Drop` implementation, without arguments, sorted.
    pub drop_impls: Vec<String>,
    /// Functions declared in the lines that were asked for, by file and line.
    pub declared: Vec<Declared>,
    /// The loops around the addresses of interest, by address; none in code that could not be followed.
    pub loops: Vec<CallLoop>,
}

impl OwnershipFacts {
    /// Whether nothing was read, or looked for in vain, beside the files that [`Options`] names.
    pub fn is_of_named_files(&self) -> bool {
        self.loose_files == 0 && self.missing_split == 0
    }
}

/// What to read besides the binary itself.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file with the debug information, where it is kept apart.
    pub debug_file: Option<PathBuf>,
    /// The package of split debug information, where it is not beside the binary.
    pub package: Option<PathBuf>,
    /// Files of split debug information, where they are neither beside the binary nor where the compiler wrote them.
    pub split: Vec<PathBuf>,
    /// The file of debug information that dwz shares between binaries.
    pub alternate: Option<PathBuf>,
    /// Nothing is looked for besides: neither beside the binary nor where it says that its compiler wrote files. For binaries
    /// whose files were found already, within what a capture may reach.
    pub named_only: bool,
    /// Addresses of interest, in the file's own addresses: the functions around them are looked at too.
    pub addresses: Vec<u64>,
    /// Told how far the reading is.
    pub progress: Progress,
}

/// Wrappers of wrappers of functions that skip a drop: how far callers are followed.
const DEEPEST_WRAPPER: usize = 4;
/// Bytes of an entry of the procedure linkage table.
const PLT_ENTRY: u64 = 16;
/// Entries that complete one another.
const LONGEST_ORIGIN: usize = 4;
/// Rows of line programs that are run through: each unit's once for its calls, and once for each function without a path in its
/// name. A binary of 1 GB has some 50 million rows in all.
const MOST_ROWS: usize = 1 << 27;
/// Functions that are looked at in full.
const MOST_FUNCTIONS: usize = 200_000;

/// Reads a binary.
///
/// # Errors
/// When the file cannot be opened or is no ELF file. Missing or damaged debug information is no error: see [`OwnershipFacts::level`].
pub fn ownership_facts(path: &Path, options: &Options) -> Result<OwnershipFacts, BinaryError> {
    ownership_facts_with(path, options, |_, _| Vec::new())
}

/// [`ownership_facts`], and the functions declared in lines that `wanted` chooses from the files of the debug information
/// and the time of the binary's last change.
///
/// # Errors
/// Those of [`ownership_facts`].
pub fn ownership_facts_with(
    path: &Path,
    options: &Options,
    wanted: impl FnOnce(&TypeTable, Option<std::time::SystemTime>) -> Vec<FileLines>,
) -> Result<OwnershipFacts, BinaryError> {
    let elf = ElfFile::open(path)?;
    let separate = match &options.debug_file {
        Some(file) => Some(ElfFile::open(file)?),
        None => None,
    };
    let debug = separate.as_ref().unwrap_or(&elf);
    // Strings only: units that binaries share are not read.
    let alternate = options.alternate.as_ref().and_then(|file| ElfFile::open(file).ok());
    let split = SplitFiles::find(path, options, debug);
    let package = split.package.as_ref().and_then(|package| dwarf::load_package(package));
    let units = Units::read(dwarf::load(debug, alternate.as_ref(), Sections::ForSymbols), |id, parent| match &package {
        Some(package) => package.find_cu(gimli::DwoId(id), parent).ok().flatten(),
        None => Some(dwarf::load_split(split.loose.get(&id)?, parent, Sections::ForSymbols)),
    });
    // Twice: once for types, once for bodies.
    let bytes: u64 = units.read_ones().map(|plan| u64::from(plan.end - plan.start)).sum();
    let read = options.progress.counter(2 * bytes);
    let types = TypeTable::read(&units, &read);
    let mut lines = wanted(&types, elf.file().modified());
    lines.sort_unstable();
    let groups = declared_in(&types, &lines);
    let mut functions = Functions::read(&units, &types, &groups.iter().map(|&(_, entry)| entry).collect(), &read);
    let memory = Memory::new(&elf);
    let unwind = UnwindTable::read(&elf);

    let symbols = if debug.has_symbol_table() { debug } else { &elf };
    let glue = GlueGraph::read(symbols, &memory, &named_glue(&units, &types, &mut functions));
    let mut reader = Reader {
        elf: &elf,
        symbols,
        units: &units,
        types: &types,
        functions: &mut functions,
        memory: &memory,
        unwind: &unwind,
        glue: &glue,
        rows: Cell::new(MOST_ROWS),
    };
    let (bodies, calls) = reader.bodies(&options.addresses);
    let callees = reader.callees(&bodies);
    let nested = reader.nested();
    let mut drops = reader.drop_impls();
    drops.extend(drop_impls(symbols));
    drops.sort_unstable();
    drops.dedup();
    let declared = reader.declared(&groups);
    let loops = reader.loops(&bodies, &options.addresses);

    let count = |origin| units.plans.iter().filter(|plan| plan.origin == origin).count();
    Ok(OwnershipFacts {
        path: path.to_owned(),
        build_id: elf.build_id().cloned(),
        machine: elf.machine(),
        modified: elf.file().modified(),
        level: level(&units, &types, symbols),
        rust_units: count(Origin::Rust),
        cpp_units: count(Origin::Cpp),
        missing_split: units.missing_split,
        loose_files: split.loose.len(),
        damaged: units.damaged + types.damaged,
        limited: types.limited + functions.limited,
        refused: [Some(&elf), separate.as_ref()].into_iter().flatten().flat_map(ElfFile::refused).collect(),
        unwinds: bodies.iter().any(|function| !function.call_sites.is_empty()),
        once_closures: once_closures(&types),
        drop_impls: drops,
        functions: bodies,
        names: functions.names,
        texts: functions.texts,
        callees,
        calls,
        glue,
        nested,
        types,
        declared,
        loops,
    })
}

/// The entries of functions declared in some lines: (entry of the declaration, entry), by declaration. A function has up to
/// four: in its type, its definition, the abstract one of an inlined function, its code.
fn declared_in(types: &TypeTable, lines: &[FileLines]) -> Vec<(EntryOffset, EntryOffset)> {
    if lines.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for function in &types.functions {
        let mut first = *function;
        for _ in 0..LONGEST_ORIGIN {
            match types.function(first.origin).filter(|_| first.line == 0 || first.file.is_none()) {
                Some(origin) => first = origin,
                None => break,
            }
        }
        let Some(file) = first.file else { continue };
        let inside = |&(other, start, end): &FileLines| other == file && (start..=end).contains(&first.line);
        let from = lines.partition_point(|&(other, ..)| other < file);
        if lines[from..].iter().take_while(|(other, ..)| *other == file).any(inside) {
            found.push((first.entry, function.entry));
        }
    }
    found.sort_unstable();
    found
}

fn level(units: &Units<'_>, types: &TypeTable, symbols: &ElfFile) -> Level {
    let has_types = types.ids().any(|id| matches!(types.kind(id), TypeKind::Struct | TypeKind::Enum));
    if has_types {
        Level::Types
    } else if types.functions.iter().any(|function| function.path != 0 && types.split(function.path).0 != 0) {
        Level::Lines
    } else if units.read_ones().next().is_some() {
        Level::LineTables
    } else if symbols.has_symbol_table() {
        Level::Symbols
    } else {
        Level::Nothing
    }
}

/// Destructors that debug information names: glue and `drop_slow` with their arguments, also where symbols leave them out.
fn named_glue(units: &Units<'_>, types: &TypeTable, functions: &mut Functions) -> Vec<(u64, u64, Option<String>)> {
    let mut found = Vec::new();
    for index in 0..functions.places.len() {
        let place = functions.places[index];
        let Some(path) = types.function_path(place.entry) else { continue };
        let (_, name) = types.split(path);
        if type_name::base(name) == "drop_in_place" {
            found.push((place.start, place.end, glue::subject_of(name)));
        } else if type_name::base(name) == "drop_slow" {
            let id = functions.name(units, types, place.entry);
            found.push((place.start, place.end, counted(&functions.names[id as usize])));
        }
    }
    found
}

/// `alloc::sync::Arc<T>` of `alloc::sync::Arc::drop_slow` with argument T.
fn counted(name: &FunctionName) -> Option<String> {
    let owner = name.path.strip_suffix("::drop_slow")?;
    let argument = name.arguments.first()?;
    Some(format!("{owner}<{}>", argument.name))
}

/// Closures among the type arguments of functions that run what they are given once.
fn once_closures(types: &TypeTable) -> Vec<String> {
    const ONCE: [&str; 7] =
        ["get_or_init", "get_or_try_init", "get_or_init_private", "call_once_force", "initialize", "force", "call_once_slow"];
    let mut found: Vec<String> = Vec::new();
    let mut seen: HashSet<u32, FxBuildHasher> = HashSet::default();
    for function in types.functions.iter().filter(|function| function.path != 0) {
        if !seen.insert(function.path) {
            continue;
        }
        let (_, name) = types.split(function.path);
        let is_once = ONCE.contains(&type_name::base(name))
            && matches!(types.root(function.path), "std" | "core" | "once_cell" | "lazy_static" | "spin");
        if is_once {
            found.extend(
                type_name::type_arguments(name).into_iter().filter(|argument| argument.contains("{closure_env#")).map(str::to_owned),
            );
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn drop_impls(symbols: &ElfFile) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for symbol in symbols.symbols() {
        let is_drop = [&b"Drop$GT$4drop"[..], b"4Drop4drop"].iter().any(|part| memchr::memmem::find(symbol.name, part).is_some());
        if !is_drop {
            continue;
        }
        let name = names::demangle(&String::from_utf8_lossy(symbol.name)).into_owned();
        let head = name.strip_suffix("::drop").and_then(type_name::split_impl);
        if let Some((subject, "core::ops::drop::Drop")) = head {
            found.push(type_name::without_arguments(subject));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

struct Reader<'r, 'd> {
    elf: &'r ElfFile,
    symbols: &'r ElfFile,
    units: &'r Units<'d>,
    types: &'r TypeTable,
    functions: &'r mut Functions,
    memory: &'r Memory<'r>,
    unwind: &'r UnwindTable,
    glue: &'r GlueGraph,
    /// Rows of line programs that may still be run through.
    rows: Cell<usize>,
}

impl Reader<'_, '_> {
    /// The functions that matter, and calls to them.
    fn bodies(&mut self, addresses: &[u64]) -> (Vec<Function>, Vec<(u64, u64)>) {
        let mut calls: Vec<(u64, u64)> = Vec::new();
        let mut entries: Vec<EntryOffset> = self.functions.relevant.clone();
        let mut unnamed: Vec<(u64, u64)> = Vec::new();
        let mut seen: HashSet<EntryOffset, FxBuildHasher> = entries.iter().copied().collect();
        let mut seen_unnamed: HashSet<u64, FxBuildHasher> = HashSet::default();
        let mut functions: HashMap<EntryOffset, Function, FxBuildHasher> = HashMap::default();

        let mut want = |this: &Self, address: u64, entries: &mut Vec<EntryOffset>| {
            if let Some(place) = this.functions.at(address) {
                if seen.insert(place.entry) {
                    entries.push(place.entry);
                }
            } else if let Some(range) = this.unwind.function(address).or_else(|| this.symbol_range(address))
                && seen_unnamed.insert(range.0)
            {
                unnamed.push(range);
            }
        };
        let mut targets: HashSet<u64, FxBuildHasher> = self.functions.listed.iter().map(|&(address, _)| address).collect();
        let arena_glue = self.glue.destructors().iter().filter(|destructor| {
            destructor
                .subject
                .as_deref()
                .is_some_and(|subject| catalogue::mentions_arena(subject) && catalogue::arena_elements(subject).is_some())
        });
        targets.extend(arena_glue.map(|destructor| destructor.start));
        for _ in 0..DEEPEST_WRAPPER {
            let found = code::callers(self.elf, self.memory, &targets);
            for &(call, _) in &found {
                want(self, call, &mut entries);
            }
            calls.extend(found);
            // Generic functions among them may be wrappers: who calls those?
            targets.clear();
            for entry in std::mem::take(&mut entries) {
                if functions.len() >= MOST_FUNCTIONS {
                    break;
                }
                let Some(body) = self.load(entry, &mut functions) else { continue };
                let (name, start) = (body.name, body.ranges.first().map(|range| range.0));
                if !self.functions.names[name as usize].arguments.is_empty() {
                    targets.extend(start);
                }
            }
            if targets.is_empty() {
                break;
            }
        }
        // Last: who calls these is of no interest unless they are wrappers, and then they are here already.
        for &address in addresses {
            want(self, address, &mut entries);
        }
        for entry in entries {
            self.load(entry, &mut functions);
        }
        let mut result: Vec<Function> = functions.into_values().collect();
        result.sort_by_key(|function| function.body.entry);
        unnamed.sort_unstable();
        for range in unnamed {
            let name = self.symbol_name(range.0);
            self.functions.names.push(name);
            let name = self.functions.names.len() as u32 - 1;
            let body = Body { name, ranges: vec![range], ..Body::default() };
            result.push(self.with_code(body));
        }
        calls.sort_unstable();
        calls.dedup();
        self.add_call_lines(&mut result, &calls);
        (result, calls)
    }

    /// Reads a function with its code; `None` when its unit is damaged.
    fn load<'f>(&mut self, entry: EntryOffset, functions: &'f mut HashMap<EntryOffset, Function, FxBuildHasher>) -> Option<&'f Body> {
        let body = self.functions.load(self.units, self.types, entry)?;
        self.name_by_symbol(&body);
        let function = self.with_code(body);
        Some(&functions.entry(entry).or_insert(function).body)
    }

    fn symbol_range(&self, address: u64) -> Option<(u64, u64)> {
        let symbol = self.symbols.symbol_at(Svma::new(address))?;
        Some((symbol.start.get(), symbol.start.get().saturating_add(symbol.size)))
    }

    fn symbol_name(&self, address: u64) -> FunctionName {
        let Some(symbol) = self.symbols.symbol_at(Svma::new(address)) else { return FunctionName::default() };
        let linkage = String::from_utf8_lossy(symbol.name);
        let name = names::demangle(&linkage).into_owned();
        FunctionName { path: type_name::without_arguments(&name), name, ..FunctionName::default() }
    }

    /// Line tables name functions without their path: the symbol has it, and the line table the file.
    fn name_by_symbol(&mut self, body: &Body) {
        let Some(&(start, _)) = body.ranges.first() else { return };
        if self.functions.names[body.name as usize].path.contains("::") {
            return;
        }
        let symbol = self.symbol_name(start);
        let line = self.lines(body.entry, &[start]).first().map(|&(_, line)| line);
        let name = &mut self.functions.names[body.name as usize];
        if symbol.path.contains("::") {
            name.path = symbol.path;
        }
        if name.line == 0 {
            name.line = line.unwrap_or(0);
        }
    }

    fn with_code(&self, body: Body) -> Function {
        let code = code::skeleton(self.elf, self.memory, &body.ranges);
        let call_sites = body.ranges.iter().flat_map(|&(start, _)| self.unwind.call_sites(self.elf, start)).collect();
        Function { body, code, call_sites, call_lines: Vec::new() }
    }

    /// Looks up the source lines of calls to functions that matter: each unit's line program runs once.
    fn add_call_lines(&self, functions: &mut [Function], calls: &[(u64, u64)]) {
        let mut wanted: HashMap<EntryOffset, (EntryOffset, Vec<u64>), FxBuildHasher> = HashMap::default();
        let calls_in = |function: &Function| -> Vec<u64> {
            let within = |&(start, end): &(u64, u64)| {
                let from = calls.partition_point(|&(call, _)| call < start);
                let to = calls.partition_point(|&(call, _)| call < end);
                calls[from..to.max(from)].iter().map(|&(call, _)| call)
            };
            function.body.ranges.iter().flat_map(within).collect()
        };
        for function in functions.iter().filter(|function| function.body.entry != 0) {
            let Some(plan) = self.units.plan_of(function.body.entry) else { continue };
            let found = calls_in(function);
            if !found.is_empty() {
                wanted.entry(plan.start).or_insert((function.body.entry, Vec::new())).1.extend(found);
            }
        }
        let mut lines: HashMap<u64, u32, FxBuildHasher> = HashMap::default();
        for (entry, mut addresses) in wanted.into_values() {
            addresses.sort_unstable();
            lines.extend(self.lines(entry, &addresses));
        }
        for function in functions.iter_mut().filter(|function| function.body.entry != 0) {
            let mut found: Vec<(u64, u32)> = calls_in(function).into_iter().filter_map(|call| Some((call, *lines.get(&call)?))).collect();
            found.sort_unstable();
            found.dedup_by_key(|(address, _)| *address);
            function.call_lines = found;
        }
    }

    /// The line of each address, which must be sorted, by the line program of an entry's unit.
    fn lines(&self, entry: EntryOffset, addresses: &[u64]) -> Vec<(u64, u32)> {
        let mut found = Vec::new();
        let Some(plan) = self.units.plan_of(entry) else { return found };
        let Some(program) = self.units.cached(plan).and_then(|unit| self.units.lines(plan, &unit)) else { return found };
        let mut rows = (*program).clone().rows();
        let mut before: Option<(u64, u32)> = None;
        let mut left = self.rows.get();
        while let Ok(Some((_, row))) = rows.next_row() {
            let Some(rest) = left.checked_sub(1) else { break };
            left = rest;
            if let Some((start, line)) = before {
                let from = addresses.partition_point(|&address| address < start);
                let inside = addresses[from..].iter().take_while(|&&address| address < row.address());
                found.extend(inside.map(|&address| (address, line)));
            }
            let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or(0));
            before = (!row.end_sequence()).then_some((row.address(), line));
        }
        self.rows.set(left);
        found.sort_unstable();
        found.dedup_by_key(|(address, _)| *address);
        found
    }

    fn callees(&mut self, functions: &[Function]) -> Vec<Callee> {
        let mut targets: Vec<u64> = functions
            .iter()
            .filter_map(|function| function.code.as_ref())
            .flat_map(|code| code.steps.iter())
            .filter_map(|step| match step.flow {
                Flow::Call(target) | Flow::Jump(target) => target,
                _ => None,
            })
            .collect();
        targets.sort_unstable();
        targets.dedup();
        let by_start: HashMap<u64, u32, FxBuildHasher> =
            (0..).zip(functions).filter_map(|(index, function)| Some((function.body.ranges.first()?.0, index))).collect();
        let mut returns: HashMap<u64, bool, FxBuildHasher> = HashMap::default();
        targets
            .into_iter()
            .map(|address| {
                let destroys = self.glue.at(address).and_then(|destructor| destructor.subject.clone());
                let function = by_start.get(&address).copied();
                let never_returns = !self.returns(address, &mut returns);
                if let Some(import) = self.memory.import(address) {
                    return Callee { address, path: import.to_owned(), never_returns, ..Callee::default() };
                }
                let place = self.functions.at(address).filter(|place| place.start == address);
                let name = place.map(|place| self.functions.name(self.units, self.types, place.entry));
                // Line tables name functions without their path: the symbol has it.
                let known = name.map(|name| &self.functions.names[name as usize].path).filter(|path| path.contains("::"));
                let path = match known.cloned().unwrap_or_else(|| self.symbol_name(address).path) {
                    path if path.is_empty() => name.map(|name| self.functions.names[name as usize].path.clone()).unwrap_or_default(),
                    path => path,
                };
                Callee { address, path, destroys, name, function, never_returns }
            })
            .collect()
    }

    /// The loops around the addresses of interest.
    fn loops(&self, functions: &[Function], addresses: &[u64]) -> Vec<CallLoop> {
        let mut returns: HashMap<u64, bool, FxBuildHasher> = HashMap::default();
        let mut found: Vec<CallLoop> = Vec::new();
        for function in functions {
            let inside = |address: &u64| function.body.ranges.iter().any(|(start, end)| (start..end).contains(&address));
            let calls: Vec<u64> = addresses.iter().copied().filter(|address| inside(address)).collect();
            found.extend(loops(self.elf, self.memory, &function.body.ranges, &calls, &mut |target| !self.returns(target, &mut returns)));
        }
        found.sort_by_key(|one| one.call);
        found.dedup_by_key(|one| one.call);
        found
    }

    /// Whether the function at an address has a way back to its caller. Follows tail jumps; what cannot be read returns.
    fn returns(&self, address: u64, known: &mut HashMap<u64, bool, FxBuildHasher>) -> bool {
        /// Tail jumps that are followed: shims of panics are two deep.
        const MOST_JUMPS: usize = 16;
        /// C functions without a way back, as imports or through the procedure linkage table.
        const NEVER: [&str; 10] = [
            "abort",
            "exit",
            "_exit",
            "_Exit",
            "quick_exit",
            "longjmp",
            "pthread_exit",
            "_Unwind_Resume",
            "__cxa_rethrow",
            "__stack_chk_fail",
        ];
        if let Some(&known) = known.get(&address) {
            return known;
        }
        let mut queue = vec![address];
        let mut seen = vec![address];
        let mut answer = false;
        while let Some(at) = queue.pop() {
            if let Some(name) = self.memory.import(at) {
                answer |= !NEVER.contains(&name);
                continue;
            }
            let range =
                self.unwind.function(at).filter(|range| range.0 == at).or_else(|| self.symbol_range(at).filter(|range| range.0 == at));
            // Entries of the procedure linkage table have neither: one jump through a slot.
            let range = range.unwrap_or((at, at.saturating_add(PLT_ENTRY)));
            let Some(code) = code::skeleton(self.elf, self.memory, &[range]) else { return true };
            for step in &code.steps {
                match step.flow {
                    Flow::Return | Flow::Jump(None) => answer = true,
                    Flow::Jump(Some(target)) | Flow::Branch(target)
                        if !(range.0..range.1).contains(&target) && seen.len() < MOST_JUMPS && !seen.contains(&target) =>
                    {
                        seen.push(target);
                        queue.push(target);
                    }
                    _ => {}
                }
            }
            if answer || code.steps.is_empty() {
                answer = true;
                break;
            }
        }
        known.insert(address, answer);
        answer
    }

    /// Types with a `Drop` implementation that the debug information has, inlined or not.
    fn drop_impls(&mut self) -> Vec<String> {
        let mut seen: HashSet<u32, FxBuildHasher> = HashSet::default();
        let types = self.types;
        let is_drop = |path: u32| {
            let (scope, name) = types.split(path);
            name == "drop" && types.split(scope).1.starts_with("{impl#")
        };
        let found: Vec<EntryOffset> = types
            .functions
            .iter()
            .filter(|function| function.path != 0 && is_drop(function.path) && seen.insert(function.path))
            .map(|function| function.entry)
            .collect();
        let mut impls = Vec::new();
        for entry in found {
            let id = self.functions.name(self.units, self.types, entry);
            let path = &self.functions.names[id as usize].path;
            if let Some((subject, "core::ops::drop::Drop")) = path.strip_suffix("::drop").and_then(type_name::split_impl) {
                impls.push(type_name::without_arguments(subject));
            }
        }
        impls
    }

    /// The declared functions with their variables.
    fn declared(&mut self, groups: &[(EntryOffset, EntryOffset)]) -> Vec<Declared> {
        let mut found: Vec<Declared> = Vec::new();
        for &(first, entry) in groups {
            let Some(place) = self.types.function(first) else { continue };
            let Some(body) = self.functions.load(self.units, self.types, entry) else { continue };
            let locals: Vec<Local> = body.locals.into_iter().filter(|local| local.frame.is_none()).collect();
            let declared = Declared { file: place.file.unwrap_or(0), line: place.line, name: body.name, locals };
            // Entries of one instance: those with variables say more, and one of them is enough.
            let (names, name) = (&self.functions.names, |declared: &Declared| declared.name as usize);
            let same =
                found.iter_mut().rev().take_while(|other| (other.file, other.line) == (declared.file, declared.line)).find(|other| {
                    names[name(other)].path == names[name(&declared)].path
                        && names[name(other)].arguments == names[name(&declared)].arguments
                });
            match same {
                Some(other) if other.locals.len() < declared.locals.len() => *other = declared,
                Some(_) => {}
                None => found.push(declared),
            }
        }
        found.sort_by_key(|declared| (declared.file, declared.line));
        found
    }

    fn nested(&mut self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (outer, inner) in std::mem::take(&mut self.functions.nested_glue) {
            let mut subject = |entry| {
                let name = self.functions.name(self.units, self.types, entry);
                let name = &self.functions.names[name as usize];
                glue::subject_of(&name.name).or_else(|| counted(name))
            };
            if let (Some(outer), Some(inner)) = (subject(outer), subject(inner)) {
                found.push((outer, inner));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
