//! Return addresses to named frames.
//!
//! ```text
//!   return address --lookup()--> avma --mapping--> module --layout--> svma --DWARF, else symbols--> frames
//! ```
//!
//! Each distinct address is looked up once. Whatever cannot be named stays a value
//! ([`Unresolved`]) and is counted per module; a file that is proven to be another build is never used.

pub mod cache;
pub mod locate;
pub mod proof;
mod resolve;

use crate::address::{Avma, BuildId, Svma};
use crate::binary::lookup::Origin;
use crate::model::frame::{DebugInfo, Frame, ModuleId, ModuleStatus, ModuleSymbols, Symbols, Unresolved};
use crate::model::mapping::{AddressSpace, Mapping};
use crate::model::role::{self, Role, SourceFile};
use crate::model::stack::StackTable;
use crate::names;
use crate::origin::{Notice, shell_word};
use hashbrown::HashMap;
use locate::{Located, Search};
use resolve::Resolved;
use std::path::PathBuf;
use std::time::SystemTime;

/// A binary that the user passed: `--binary [MODULE=]PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryArg {
    /// The module it serves: path, base name or build-id; `None` when the file itself shall tell.
    pub module: Option<String>,
    /// The file.
    pub path: PathBuf,
}

/// What a capture recorded of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedModule {
    /// Path as mapped.
    pub path: String,
    /// Build-id of the file that ran.
    pub build_id: BuildId,
}

/// How to symbolize.
#[derive(Clone, Debug)]
pub struct SymbolOptions {
    /// Binaries given by the user; they come first.
    pub binaries: Vec<BinaryArg>,
    /// Directories of the capture that hold binaries and debug files. Nothing in them leads outside.
    pub search_dirs: Vec<PathBuf>,
    /// Roots of debug file trees, best first: `--debug-dir`, then `/usr/lib/debug`.
    pub debug_dirs: Vec<PathBuf>,
    /// Where paths of mappings are looked up; `/` for this machine.
    pub sysroot: PathBuf,
    /// Directories of binaries by build-id or base name (`PPROF_BINARY_PATH`).
    pub pprof_dirs: Vec<PathBuf>,
    /// The debuginfod client's cache: `<dir>/<build-id>/{debuginfo,executable}`.
    pub debuginfod_cache: Option<PathBuf>,
    /// Build-ids that the capture recorded.
    pub recorded: Vec<RecordedModule>,
    /// Time of the newest dump: a file changed later is doubted. `None` when unknown.
    pub not_after: Option<SystemTime>,
    /// Expand inlined calls to frames of their own.
    pub inlines: bool,
    /// Directory of the cache; `None` to do without.
    pub cache: Option<PathBuf>,
}

impl Default for SymbolOptions {
    fn default() -> Self {
        SymbolOptions {
            binaries: Vec::new(),
            search_dirs: Vec::new(),
            debug_dirs: vec![PathBuf::from("/usr/lib/debug")],
            sysroot: PathBuf::from("/"),
            pprof_dirs: Vec::new(),
            debuginfod_cache: None,
            recorded: Vec::new(),
            not_after: None,
            inlines: true,
            cache: None,
        }
    }
}

/// A module of the process with the addresses seen in it.
#[derive(Debug)]
pub(crate) struct Module<'a> {
    /// Path or kernel name as mapped, without ` (deleted)`.
    pub path: String,
    /// Last component of the path.
    pub name: String,
    /// Raw path; `None` for what is not a file.
    pub raw_path: Option<&'a [u8]>,
    /// The kernel marked it as unlinked.
    pub deleted: bool,
    /// Every mapping of the file.
    pub mappings: Vec<&'a Mapping>,
    /// Lowest mapped address less its offset: where the file begins.
    pub base: u64,
    /// Build-id that the capture recorded.
    pub recorded: Option<BuildId>,
    /// The call sites seen: position in the stack table and address.
    pub addresses: Vec<(usize, Avma)>,
}

impl Module<'_> {
    /// Return addresses seen in the module.
    pub fn returns(&self) -> Vec<Avma> {
        self.addresses.iter().map(|&(_, address)| Avma::new(address.get().saturating_add(1))).collect()
    }
}

/// Names every address of a stack table. The notices say which file was refused, and why.
pub fn symbolize(stacks: &StackTable, space: &AddressSpace, options: &SymbolOptions) -> (Symbols, Vec<Notice>) {
    let addresses: Vec<Avma> = stacks.addresses().iter().map(|address| address.lookup()).collect();
    let (modules, module_of) = modules(&addresses, space, options);
    let mut search = Search::new(options);
    search.assign(&modules);
    let mut named = Vec::with_capacity(modules.len());
    let mut symbols = Symbols::default();
    for (index, module) in modules.iter().enumerate() {
        let mut located = search.locate(index, module);
        let mut lookup =
            located.as_ref().ok().map(|found| resolve::resolve(found, &svmas(module, found), options.inlines, options.cache.as_deref()));
        if let (Ok(found), Some(damaged)) =
            (&located, lookup.as_ref().map(|lookup| lookup.count(Origin::DAMAGED)).filter(|&count| count > 0))
        {
            search.damaged(found, damaged);
        }
        if let (Ok(found), Some(_)) = (&located, &lookup) {
            search.refused(found);
        }
        if let Some(changed) = located.as_ref().ok().and_then(Located::changed) {
            let absent = search.changed(changed);
            (located, lookup) = (Err(absent), None);
        }
        named.push((located, lookup));
    }
    let mut builder = Builder { symbols: &mut symbols, names: HashMap::new(), files: HashMap::new() };
    let mut seen: Vec<usize> = vec![0; modules.len()];
    let mut counted: Vec<u64> = vec![0; modules.len()];
    for (&address, &module_index) in addresses.iter().zip(&module_of) {
        let Some(index) = module_index else {
            builder.unmapped(address);
            continue;
        };
        let (module, (located, lookup)) = (&modules[index], &named[index]);
        let position = seen[index];
        seen[index] += 1;
        let id = ModuleId(index as u32);
        let named = match (located, lookup) {
            (Ok(found), Some(lookup)) => builder.frames(module, id, found, lookup, position),
            _ => false,
        };
        if named {
            counted[index] += 1;
        } else {
            let svma = located.as_ref().ok().map(|found| found.layout.svma(address));
            builder.unnamed(module, id, address, svma, unresolved(module, located));
        }
    }
    let summaries = modules.iter().zip(&named).zip(&counted);
    symbols.modules = summaries.map(|((module, (located, lookup)), &count)| summary(module, located, lookup.as_ref(), count)).collect();
    (symbols, search.notices())
}

/// Groups addresses by the file they lie in. Modules come in order of their first address.
fn modules<'a>(addresses: &[Avma], space: &'a AddressSpace, options: &SymbolOptions) -> (Vec<Module<'a>>, Vec<Option<usize>>) {
    type Key<'a> = (&'a [u8], (u32, u32), u64);
    let key = |m: &'a Mapping| -> Key<'a> { (&m.name, m.device, m.inode) };
    let mut by_key: HashMap<Key<'a>, usize> = HashMap::new();
    let mut modules: Vec<Module<'a>> = Vec::new();
    let mut module_of = Vec::with_capacity(addresses.len());
    for (id, &address) in addresses.iter().enumerate() {
        // Code made at run time and memory of no name have no module.
        let mapping = space.find(address).filter(|m| !m.name.is_empty());
        let index = mapping.map(|mapping| {
            *by_key.entry(key(mapping)).or_insert_with(|| {
                modules.push(module_of_mapping(mapping, options));
                modules.len() - 1
            })
        });
        if let Some(index) = index {
            modules[index].addresses.push((id, address));
        }
        module_of.push(index);
    }
    for mapping in space.mappings() {
        if let Some(&index) = by_key.get(&key(mapping)) {
            let base = mapping.range.start.get().wrapping_sub(mapping.offset.get());
            let module = &mut modules[index];
            module.base = if module.mappings.is_empty() { base } else { module.base.min(base) };
            module.mappings.push(mapping);
        }
    }
    (modules, module_of)
}

fn module_of_mapping<'a>(mapping: &'a Mapping, options: &SymbolOptions) -> Module<'a> {
    let raw_path = mapping.path();
    let path = String::from_utf8_lossy(raw_path.unwrap_or(&mapping.name)).into_owned();
    let name = match raw_path {
        Some(_) => path.rsplit('/').next().unwrap_or_default().to_owned(),
        None => path.clone(),
    };
    let recorded = options.recorded.iter().find(|module| module.path == path || module.path == name);
    Module {
        name,
        raw_path,
        deleted: raw_path.is_some() && mapping.is_deleted(),
        mappings: Vec::new(),
        base: 0,
        recorded: recorded.map(|module| module.build_id.clone()),
        addresses: Vec::new(),
        path,
    }
}

fn svmas(module: &Module<'_>, found: &Located) -> Vec<Svma> {
    module.addresses.iter().map(|&(_, address)| found.layout.svma(address)).collect()
}

fn unresolved(module: &Module<'_>, located: &Result<Located, locate::Absent>) -> Unresolved {
    match located {
        _ if module.raw_path.is_none() => Unresolved::NotAFile,
        Ok(_) => Unresolved::NoSymbol,
        Err(absent) if absent.refused.is_some() => Unresolved::Mismatch,
        Err(_) => Unresolved::NoFile,
    }
}

fn summary(module: &Module<'_>, located: &Result<Located, locate::Absent>, lookup: Option<&Resolved>, symbolized: u64) -> ModuleSymbols {
    let debug_info = lookup.map_or(DebugInfo::None, Resolved::debug_info);
    let (status, file, build_id) = match located {
        Ok(found) if found.proven => (ModuleStatus::Ok, Some(found.binary.path()), found.build_id.clone()),
        Ok(found) => (ModuleStatus::Unproven, Some(found.binary.path()), found.build_id.clone()),
        Err(_) if module.raw_path.is_none() => (ModuleStatus::NotAFile, None, None),
        Err(absent) if absent.refused.is_some() => (ModuleStatus::Mismatched, None, module.recorded.clone()),
        Err(_) => (ModuleStatus::Missing, None, module.recorded.clone()),
    };
    ModuleSymbols {
        name: module.name.clone(),
        path: module.path.clone(),
        file: file.map(|path| path.display().to_string()),
        debug_files: located.as_ref().map(Located::debug_files).unwrap_or_default(),
        remedy: remedy(module, status, debug_info, build_id.as_ref(), lookup),
        build_id,
        status,
        debug_info,
        addresses: module.addresses.len() as u64,
        symbolized,
    }
}

/// What to install or pass to get more names.
fn remedy(
    module: &Module<'_>,
    status: ModuleStatus,
    debug_info: DebugInfo,
    build_id: Option<&BuildId>,
    lookup: Option<&Resolved>,
) -> Option<String> {
    let name = shell_word(&module.name);
    let id = build_id.map(|id| format!(" (build-id {id})")).unwrap_or_default();
    match status {
        ModuleStatus::Missing => {
            Some(format!("pass the file that ran with --binary {name}=PATH{id}, or its root directory with --sysroot"))
        }
        ModuleStatus::Mismatched => Some(format!("the file found is another build: pass the one that ran with --binary {name}=PATH{id}")),
        ModuleStatus::FromInput | ModuleStatus::NotAFile => None,
        ModuleStatus::Ok | ModuleStatus::Unproven => match debug_info {
            DebugInfo::Full => None,
            _ if lookup.is_some_and(|lookup| lookup.count(Origin::SPLIT_MISSING) > 0) => Some(format!(
                "debug information is split off: put {name}.dwp beside the binary, or pass the directory of its .dwo files with --debug-dir"
            )),
            DebugInfo::Lines => None,
            DebugInfo::Names | DebugInfo::None => Some(format!(
                "no debug information: install the debug package{id}, or pass the directory of its .debug file with --debug-dir"
            )),
        },
    }
}

/// Appends frames to [`Symbols`], demangling and judging each distinct name once.
struct Builder<'a> {
    symbols: &'a mut Symbols,
    names: HashMap<NameKey, Named>,
    /// Whose code a file is, by module and index of the file in its [`Resolved`].
    files: HashMap<(ModuleId, u32), Option<Role>>,
}

/// Module, index of the linkage name and of the file in the module's [`Resolved`].
type NameKey = (ModuleId, u32, u32);

#[derive(Clone, Copy)]
struct Named {
    function: crate::model::frame::NameId,
    linkage: Option<crate::model::frame::NameId>,
    file: Option<crate::model::frame::NameId>,
    role: Role,
}

impl Builder<'_> {
    /// Pushes the frames of the module's address at `position`; `false` when there is none.
    fn frames(&mut self, module: &Module<'_>, id: ModuleId, found: &Located, lookup: &Resolved, position: usize) -> bool {
        let frames = lookup.frames(position);
        if frames.is_empty() {
            return false;
        }
        let svma = found.layout.svma(module.addresses[position].1);
        let last = frames.len() - 1;
        let frames: Vec<Frame> = frames
            .iter()
            .enumerate()
            .map(|(depth, frame)| {
                let named = self.name(module, id, lookup, frame);
                Frame {
                    function: named.function,
                    linkage: named.linkage,
                    file: named.file,
                    line: frame.line,
                    module: Some(id),
                    svma: Some(svma),
                    inlined: depth < last,
                    role: named.role,
                    unresolved: None,
                }
            })
            .collect();
        self.symbols.push(frames);
        true
    }

    fn name(&mut self, module: &Module<'_>, id: ModuleId, lookup: &Resolved, frame: &resolve::ResolvedFrame) -> Named {
        let key = (id, frame.name, frame.file.unwrap_or(u32::MAX));
        if let Some(&named) = self.names.get(&key) {
            return named;
        }
        let raw = lookup.name(frame.name);
        let name = names::demangle(raw);
        let file = frame.file.map(|index| {
            let path = lookup.file(index);
            SourceFile { path, role: *self.files.entry((id, index)).or_insert_with(|| role::role_of_file(path)) }
        });
        let names = &mut self.symbols.names;
        let named = Named {
            function: names.intern(&name),
            linkage: (name != raw).then(|| names.intern(raw)),
            file: file.map(|file| names.intern(file.path)),
            role: role::role_in_file(&name, file, Some(&module.path)),
        };
        self.names.insert(key, named);
        named
    }

    fn unmapped(&mut self, address: Avma) {
        let function = self.symbols.names.intern(&format!("{address:#x}"));
        self.symbols.push([unnamed_frame(function, None, None, Unresolved::Unmapped, Role::User)]);
    }

    fn unnamed(&mut self, module: &Module<'_>, id: ModuleId, address: Avma, svma: Option<Svma>, why: Unresolved) {
        let name = format!("{}+{:#x}", module.name, address.get().wrapping_sub(module.base));
        let function = self.symbols.names.intern(&name);
        let role = role::role_of_unnamed(&module.path);
        self.symbols.push([unnamed_frame(function, Some(id), svma, why, role)]);
    }
}

fn unnamed_frame(
    function: crate::model::frame::NameId,
    module: Option<ModuleId>,
    svma: Option<Svma>,
    why: Unresolved,
    role: Role,
) -> Frame {
    Frame { function, linkage: None, file: None, line: None, module, svma, inlined: false, role, unresolved: Some(why) }
}
