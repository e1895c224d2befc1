//! Types, statics and the places of functions, read from DWARF in one pass over the units.
//!
//! Rust repeats a type in every unit that uses it, so types are keyed by qualified name and the
//! definition with the most members is kept. Discriminants, sizes and niches are not read: for
//! ownership only the set of members matters. Function bodies are skipped here ([`super::bodies`]
//! reads those that matter); only where each function's entry stands and what it is called is kept.
//!
//! ```text
//! DW_TAG_structure_type "Vec<u32, Global>"   in namespaces alloc, vec      -> type alloc::vec::Vec<u32, Global>
//!   DW_TAG_template_type_parameter "T" -> u32                              -> parameter T
//!   DW_TAG_member "buf" -> RawVec<u32, Global>                             -> member .buf
//!   DW_TAG_subprogram "push<u32, Global>" (declaration)                    -> function, Self = the type
//! ```

mod merge;
mod unit;

use super::texts::{TextId, Texts};
use super::units::{EntryOffset, UnitPlan, Units};
use hashbrown::HashMap;
use merge::Merger;
use rayon::prelude::*;
use rustc_hash::{FxBuildHasher, FxHasher};
use std::hash::Hasher;
use std::ops::Range;
use unit::UnitTypes;

pub(super) use unit::file_name;

/// A type of one [`TypeTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

impl TypeId {
    /// Position in tables by type.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A qualified name: a segment and the path in front of it. Path 0 is the empty path.
pub type PathId = u32;

/// What kind of type an entry describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TypeKind {
    /// Named, but not described in any unit that was read.
    #[default]
    Unknown,
    /// A number, a `bool`, a `char`.
    Base,
    /// A struct, a tuple, a closure, a slice reference, a trait object.
    Struct,
    /// A union.
    Union,
    /// An enum; its variants are its members.
    Enum,
    /// An array; its element is its only member.
    Array,
    /// A pointer, a reference, a `Box` of a sized type; its target is its only member.
    Pointer,
    /// A function.
    Function,
}

/// A field, a variant, a base class, a template parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name; `__0` for positions.
    pub label: TextId,
    /// Its type; `None` when the entry is damaged or lies in a unit that was not read.
    pub target: Option<TypeId>,
}

#[derive(Clone, Debug, Default)]
struct TypeDef {
    path: PathId,
    kind: TypeKind,
    members: Range<u32>,
    parameters: Range<u32>,
}

/// A static or thread-local variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Static {
    /// Qualified name. For a thread-local of Rust the name of the `thread_local!` item.
    pub path: PathId,
    /// Its type.
    pub type_id: Option<TypeId>,
    /// Where it stands; for thread-locals the offset in the thread's block.
    pub address: u64,
    /// One for each thread.
    pub thread_local: bool,
}

/// `impl trait for concrete`, used as a trait object somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vtable {
    /// Name of the variable: `<X as Tr>::{vtable}`.
    pub name: TextId,
    /// X, where the entry says so.
    pub concrete: Option<TypeId>,
}

/// Where a function's entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionEntry {
    /// The entry.
    pub entry: EntryOffset,
    /// Scope and name; 0 when the entry it refers to has them.
    pub path: PathId,
    /// The entry that it completes (`DW_AT_specification`, `DW_AT_abstract_origin`); 0 for none.
    pub origin: EntryOffset,
    /// The entry of the type that it returns; 0 for nothing.
    pub returns: EntryOffset,
    /// Line of the declaration; 0 where the entry has none.
    pub line: u32,
    /// Index into [`TypeTable::files`] where it is declared; `None` where the entry has no file.
    pub file: Option<u32>,
}

/// A source file as the debug information names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    /// Relative to the working directory of the compiler where it lies below it.
    pub name: String,
    /// Working directory of the compiler.
    pub directory: String,
}

/// Types, statics and function entries of a binary.
#[derive(Clone, Debug, Default)]
pub struct TypeTable {
    /// Names of types, members and path segments.
    pub texts: Texts,
    paths: Vec<(PathId, TextId)>,
    types: Vec<TypeDef>,
    members: Vec<Member>,
    by_entry: Vec<(EntryOffset, TypeId)>,
    type_of_path: HashMap<PathId, TypeId, FxBuildHasher>,
    /// Static and thread-local variables with a location, in order of units.
    pub statics: Vec<Static>,
    /// Virtual tables of trait objects.
    pub vtables: Vec<Vtable>,
    /// Functions, by entry.
    pub functions: Vec<FunctionEntry>,
    /// Files where functions are declared, in order of units.
    pub files: Vec<FileName>,
    /// Units whose entries end early, because they are malformed.
    pub damaged: usize,
    /// Units in which the names of unnamed types are longer, together, than any compiler makes them.
    pub limited: usize,
}

/// Path segments that are followed at most; real ones nest below 40.
const DEEPEST_PATH: usize = 128;

impl TypeTable {
    /// Reads all units of user code and its dependencies; `read` is told the size of each.
    pub fn read(units: &Units<'_>, read: &(dyn Fn(u64) + Sync)) -> Self {
        let mut merger = Merger::default();
        let plans: Vec<&UnitPlan<'_>> = units.read_ones().collect();
        // Batches bound the memory of parsed and not yet merged units; merging in order makes ids the same for any number of threads.
        for batch in plans.chunks(4 * rayon::current_num_threads().max(1)) {
            let parsed: Vec<Option<UnitTypes<'_>>> = batch.par_iter().map(|plan| UnitTypes::read(units, plan)).collect();
            for unit in parsed.iter().flatten() {
                merger.table.damaged += usize::from(unit.damaged);
                merger.merge(unit);
            }
            read(batch.iter().map(|plan| u64::from(plan.end - plan.start)).sum());
        }
        merger.finish()
    }

    /// The number of types.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is no type.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Every type.
    pub fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        (0..self.types.len() as u32).map(TypeId)
    }

    /// What kind of type it is.
    pub fn kind(&self, id: TypeId) -> TypeKind {
        self.types[id.index()].kind
    }

    /// Fields, variants or the target, in their order.
    pub fn members(&self, id: TypeId) -> &[Member] {
        let range = &self.types[id.index()].members;
        &self.members[range.start as usize..range.end as usize]
    }

    /// Template parameters that are types, in their order.
    pub fn parameters(&self, id: TypeId) -> &[Member] {
        let range = &self.types[id.index()].parameters;
        &self.members[range.start as usize..range.end as usize]
    }

    /// The template parameter with this name.
    pub fn parameter(&self, id: TypeId, name: &str) -> Option<TypeId> {
        self.parameters(id).iter().find(|parameter| self.texts.get(parameter.label) == name)?.target
    }

    /// The qualified name, as DWARF spells it.
    pub fn name(&self, id: TypeId) -> String {
        self.path(self.types[id.index()].path)
    }

    /// The last segment of the name, with its arguments: `Vec<u8, alloc::alloc::Global>`.
    pub fn short_name(&self, id: TypeId) -> &str {
        self.texts.get(self.paths[self.types[id.index()].path as usize].1)
    }

    /// The path that the type stands in.
    pub fn scope(&self, id: TypeId) -> PathId {
        self.paths[self.types[id.index()].path as usize].0
    }

    /// A path as text.
    pub fn path(&self, path: PathId) -> String {
        let mut segments = Vec::new();
        let mut at = path;
        while let Some(&(parent, segment)) = self.paths.get(at as usize).filter(|_| at != 0) {
            segments.push(self.texts.get(segment));
            if segments.len() >= DEEPEST_PATH {
                break;
            }
            at = parent;
        }
        segments.reverse();
        segments.join("::")
    }

    /// The parts of a path: what is in front of the last segment, and the last segment.
    pub fn split(&self, path: PathId) -> (PathId, &str) {
        let (parent, segment) = self.paths[path as usize];
        (parent, self.texts.get(segment))
    }

    /// The first segment of a path: its crate.
    pub fn root(&self, path: PathId) -> &str {
        let mut at = path;
        for _ in 0..DEEPEST_PATH {
            let (parent, segment) = self.paths[at as usize];
            if parent == 0 {
                return self.texts.get(segment);
            }
            at = parent;
        }
        ""
    }

    /// The type that an entry describes.
    pub fn at(&self, entry: EntryOffset) -> Option<TypeId> {
        let found = self.by_entry.binary_search_by_key(&entry, |&(at, _)| at).ok()?;
        Some(self.by_entry[found].1)
    }

    /// The type that a path names.
    pub fn of_path(&self, path: PathId) -> Option<TypeId> {
        self.type_of_path.get(&path).copied()
    }

    /// The function at an entry.
    pub fn function(&self, entry: EntryOffset) -> Option<FunctionEntry> {
        let found = self.functions.binary_search_by_key(&entry, |function| function.entry).ok()?;
        Some(self.functions[found])
    }

    /// The path of a function: its own, or that of the entry that it completes.
    pub fn function_path(&self, entry: EntryOffset) -> Option<PathId> {
        let mut at = entry;
        for _ in 0..4 {
            let function = self.function(at)?;
            if function.path != 0 {
                return Some(function.path);
            }
            at = function.origin;
        }
        None
    }
}

fn hash_path(parent: PathId, name: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(parent);
    hasher.write(name);
    hasher.finish()
}
