//! Frames: what an address is called.
//!
//! One return address expands to one or more frames, innermost first, when calls were inlined.
//! A name is never guessed: a frame without one says why ([`Unresolved`]).

use crate::address::{BuildId, Svma};
use crate::model::stack::AddressId;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// An interned text: function name, file path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(pub u32);

/// Interned texts.
#[derive(Clone, Debug, Default)]
pub struct Names {
    texts: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32, FxBuildHasher>,
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Names {
    /// The id of a text, added where it is new.
    pub fn intern(&mut self, text: &str) -> NameId {
        if let Some(&id) = self.ids.get(text) {
            return NameId(id);
        }
        let (text, id): (Arc<str>, u32) = (text.into(), self.texts.len() as u32);
        self.texts.push(Arc::clone(&text));
        self.ids.insert(text, id);
        NameId(id)
    }

    /// The text behind an id.
    pub fn get(&self, id: NameId) -> &str {
        &self.texts[id.0 as usize]
    }

    /// Every text, by id.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(AsRef::as_ref)
    }

    /// The number of distinct texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// jemalloc, `malloc`, `__rust_alloc`, `operator new`, the profiler's own frames.
    Allocator,
    /// Containers and the rest of the language's library: `alloc::`, `core::`, `std::`, `hashbrown::`, `libstdc++`.
    Library,
    /// What starts threads and programs: `_start`, `start_thread`, `std::rt::lang_start`.
    Runtime,
    /// Code that a dependency brought (a crate from a registry, a shared library of the system).
    Dependency,
    /// The program's own code.
    User,
}

impl Role {
    /// Whether views hide the frame unless asked for all frames.
    pub fn is_hidden(self) -> bool {
        matches!(self, Role::Allocator | Role::Library | Role::Runtime)
    }
}

/// Why a frame has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unresolved {
    /// The dump has no mappings section, or the address lies in none of its mappings.
    Unmapped,
    /// The mapping is not a file (`[vdso]`, code made at run time).
    NotAFile,
    /// The module's file was not found.
    NoFile,
    /// A file was found and is not the one that ran.
    Mismatch,
    /// The file has neither debug information nor a symbol for the address.
    NoSymbol,
}

/// A module of [`Symbols`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub u32);

/// One function activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Demangled name with the hash suffix removed. For an unnamed frame `module+0xoffset`, or the bare address in hex.
    pub function: NameId,
    /// The linkage name, where it differs.
    pub linkage: Option<NameId>,
    /// Source file as the debug information spells it.
    pub file: Option<NameId>,
    /// Line in it. For a frame that inlined another: where the inlined call stands.
    pub line: Option<u32>,
    /// Module; `None` when the address lies in none.
    pub module: Option<ModuleId>,
    /// The call site in the module's own addresses (return address minus one).
    pub svma: Option<Svma>,
    /// No call instruction of its own: it was inlined into the next frame of the same address.
    pub inlined: bool,
    /// Whose code it is.
    pub role: Role,
    /// Why there is no name; `None` when there is one.
    pub unresolved: Option<Unresolved>,
}

impl Frame {
    /// A frame of which nothing but its name is known, and whose code it is.
    pub fn named(function: NameId, role: Role) -> Self {
        let (linkage, file, line, module, svma) = (None, None, None, None, None);
        Frame { function, linkage, file, line, module, svma, inlined: false, role, unresolved: None }
    }
}

/// How much a module's file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DebugInfo {
    /// Types, variables, inline frames and lines.
    Full,
    /// Inline frames and lines, no types.
    Lines,
    /// Only a symbol table.
    Names,
    /// Nothing.
    None,
}

/// Whether a module's file could be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModuleStatus {
    /// Found, and proven to be the one that ran.
    Ok,
    /// Found and used; neither build-id nor layout proves that it is the one that ran.
    Unproven,
    /// Not found.
    Missing,
    /// Found, and proven not to be the one that ran: not used.
    Mismatched,
    /// Names came with the input (pprof).
    FromInput,
    /// Not a file on disk: vdso, code made at run time.
    NotAFile,
}

/// Files with debug information that belong to a module's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugFiles {
    /// All of it, stripped off the module's file.
    pub debug: Option<PathBuf>,
    /// What several binaries share (dwz).
    pub alternate: Option<PathBuf>,
    /// The package of what was split off (`.dwp`).
    pub package: Option<PathBuf>,
    /// What was split off, file by file (`.dwo`).
    pub split: Vec<PathBuf>,
}

/// One line of the symbols table at the foot of every view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSymbols {
    /// Base name as mapped.
    pub name: String,
    /// Full path as mapped.
    pub path: String,
    /// The file that was read, where one was.
    pub file: Option<String>,
    /// The files with its debug information, where that is kept apart.
    pub debug_files: DebugFiles,
    /// Its build-id.
    pub build_id: Option<BuildId>,
    /// Whether it could be used.
    pub status: ModuleStatus,
    /// How much it tells.
    pub debug_info: DebugInfo,
    /// Distinct addresses seen in it.
    pub addresses: u64,
    /// Of these, named.
    pub symbolized: u64,
    /// What to install or pass to get more; `None` when nothing is missing.
    pub remedy: Option<String>,
}

/// Frames of every address of a stack table.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Function names and file paths.
    pub names: Names,
    /// Modules, in order of first address.
    pub modules: Vec<ModuleSymbols>,
    frames: Vec<Frame>,
    ends: Vec<u32>,
}

impl Symbols {
    /// Appends the frames of the next address, innermost first; addresses come in order of their id.
    pub fn push(&mut self, frames: impl IntoIterator<Item = Frame>) {
        self.frames.extend(frames);
        self.ends.push(self.frames.len() as u32);
    }

    /// The frames of an address, innermost first; empty for an id that was never pushed.
    pub fn frames(&self, address: AddressId) -> &[Frame] {
        let index = address.index();
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.frames[start as usize..end as usize]
    }

    /// Gives files other names: `new` tells that of each. The old ones are forgotten.
    pub fn rename_files(&mut self, new: impl Fn(&str) -> String) {
        let old = std::mem::take(&mut self.names);
        for frame in &mut self.frames {
            frame.function = self.names.intern(old.get(frame.function));
            frame.linkage = frame.linkage.map(|name| self.names.intern(old.get(name)));
            frame.file = frame.file.map(|file| self.names.intern(&new(old.get(file))));
        }
    }

    /// Every source file that a frame names, as often as it does.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.frames.iter().filter_map(|frame| self.file(frame))
    }

    /// The number of addresses with frames.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether no address was pushed.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Name of a frame.
    pub fn function(&self, frame: &Frame) -> &str {
        self.names.get(frame.function)
    }

    /// File of a frame.
    pub fn file(&self, frame: &Frame) -> Option<&str> {
        frame.file.map(|file| self.names.get(file))
    }

    /// Base name of a frame's module.
    pub fn module(&self, frame: &Frame) -> Option<&str> {
        frame.module.map(|module| self.modules[module.0 as usize].name.as_str())
    }
}

impl fmt::Display for DebugInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DebugInfo::Full => "full",
            DebugInfo::Lines => "lines",
            DebugInfo::Names => "names",
            DebugInfo::None => "none",
        })
    }
}

impl fmt::Display for ModuleStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ModuleStatus::Ok => "ok",
            ModuleStatus::Unproven => "unproven",
            ModuleStatus::Missing => "missing",
            ModuleStatus::Mismatched => "mismatched",
            ModuleStatus::FromInput => "from input",
            ModuleStatus::NotAFile => "not a file",
        })
    }
}
