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

use super::dwarf::{Reader, Unit};
use super::texts::{TextId, Texts};
use super::units::{EntryOffset, Origin, UnitPlan, Units};
use gimli::{AttributeSpecification, AttributeValue, DwTag, EntriesRaw};
use hashbrown::{HashMap, HashTable};
use rayon::prelude::*;
use rustc_hash::{FxBuildHasher, FxHasher};
use std::hash::Hasher;
use std::ops::Range;

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
/// Longest name of a type or function that is kept whole: of longer ones the begin, and a number that tells it from others.
const LONGEST_NAME: usize = 16 << 10;
/// Chains of typedefs and qualifiers that are followed at most.
const LONGEST_ALIAS: usize = 32;

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

/// Where an open entry's children belong.
#[derive(Clone, Copy, Debug)]
enum Scope {
    /// A namespace or the unit.
    Path(PathId),
    /// A type: index into [`UnitTypes::types`].
    Type(u32, PathId),
    /// A function: only types inside it matter.
    Function(PathId),
    /// Anything else: children are skipped but for types.
    Skip,
}

#[derive(Clone, Debug)]
struct ParsedType {
    entry: EntryOffset,
    path: PathId,
    kind: TypeKind,
    /// What an unnamed or transparent type wraps.
    target: EntryOffset,
    wrap: Wrap,
    declaration: bool,
}

/// How the name of an unnamed type follows from its target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrap {
    /// It has a name.
    Named,
    /// Another name for its target: typedefs and qualifiers.
    Alias,
    /// `[T; n]`
    Array(Option<u64>),
    /// `T*`, `T&`, `T&&`
    Suffix(&'static str),
}

/// One unit, parsed and not yet merged.
#[derive(Debug, Default)]
struct UnitTypes<'d> {
    paths: Vec<(PathId, &'d [u8])>,
    path_table: HashTable<u32>,
    types: Vec<ParsedType>,
    /// (index of the type, is a template parameter, label, target)
    members: Vec<(u32, bool, &'d [u8], EntryOffset)>,
    statics: Vec<(PathId, EntryOffset, u64, bool)>,
    vtables: Vec<(&'d [u8], EntryOffset)>,
    functions: Vec<FunctionEntry>,
    /// Files of functions by their number in the unit: index into [`UnitTypes::files`].
    file_ids: HashMap<u64, Option<u32>, FxBuildHasher>,
    files: Vec<FileName>,
    cpp: bool,
    damaged: bool,
    /// Bytes of its entries.
    size: usize,
}

/// The attributes of an entry that matter here.
#[derive(Clone, Copy, Default)]
struct Attributes<'d> {
    name: Option<&'d [u8]>,
    target: EntryOffset,
    origin: EntryOffset,
    containing: EntryOffset,
    declaration: bool,
    location: Option<&'d [u8]>,
    count: Option<u64>,
    line: u32,
    file: Option<u64>,
}

impl<'d> UnitTypes<'d> {
    fn read(units: &Units<'d>, plan: &UnitPlan<'d>) -> Option<Self> {
        let unit = units.load(plan)?;
        let size = (plan.end - plan.start) as usize;
        let mut parsed = UnitTypes { cpp: plan.origin == Origin::Cpp, size, ..UnitTypes::default() };
        parsed.paths.push((0, b""));
        let mut entries = unit.entries_raw(None).ok()?;
        // A damaged unit ends where the damage is; what was read before it stays.
        parsed.damaged = parsed.read_entries(units, plan, &unit, &mut entries).is_err();
        Some(parsed)
    }

    fn read_entries(
        &mut self,
        units: &Units<'d>,
        plan: &UnitPlan<'d>,
        unit: &Unit<'d>,
        entries: &mut EntriesRaw<'_, Reader<'d>>,
    ) -> gimli::Result<()> {
        let mut open: Vec<Scope> = Vec::new();
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let entry = plan.start.wrapping_add(entries.next_offset().0 as u32);
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let Ok(depth) = usize::try_from(depth) else { break };
            open.truncate(depth);
            let scope = open.last().copied().unwrap_or(Scope::Path(0));
            let tag = abbreviation.tag();
            let inside_function = matches!(scope, Scope::Function(_) | Scope::Skip);
            let wanted = match tag {
                gimli::DW_TAG_subprogram | gimli::DW_TAG_namespace => true,
                gimli::DW_TAG_member | gimli::DW_TAG_inheritance | gimli::DW_TAG_template_type_parameter | gimli::DW_TAG_subrange_type => {
                    matches!(scope, Scope::Type(..))
                }
                gimli::DW_TAG_variable => !inside_function || self.cpp,
                gimli::DW_TAG_variant_part | gimli::DW_TAG_variant => false,
                _ => is_type(tag),
            };
            let child_scope = if wanted {
                let attributes = read_attributes(units, plan, unit, entries, abbreviation.attributes())?;
                let file = attributes.file.filter(|_| tag == gimli::DW_TAG_subprogram).and_then(|file| self.file(units, plan, unit, file));
                self.entry(tag, entry, scope, attributes, file)
            } else {
                entries.skip_attributes(abbreviation.attributes())?;
                match tag {
                    gimli::DW_TAG_compile_unit | gimli::DW_TAG_variant_part | gimli::DW_TAG_variant => scope,
                    _ if matches!(scope, Scope::Function(_)) => scope,
                    _ => Scope::Skip,
                }
            };
            if abbreviation.has_children() {
                open.push(child_scope);
            }
        }
        Ok(())
    }

    /// Takes in an entry; returns the scope of its children.
    fn entry(&mut self, tag: DwTag, entry: EntryOffset, scope: Scope, attributes: Attributes<'d>, file: Option<u32>) -> Scope {
        let outer = match scope {
            Scope::Path(path) | Scope::Type(_, path) | Scope::Function(path) => path,
            Scope::Skip => 0,
        };
        match tag {
            gimli::DW_TAG_namespace => Scope::Path(self.intern(outer, attributes.name.unwrap_or(b"{anonymous}"))),
            gimli::DW_TAG_subprogram => {
                let path = attributes.name.map_or(0, |name| self.intern(outer, name));
                self.functions.push(FunctionEntry {
                    entry,
                    path,
                    origin: attributes.origin,
                    returns: attributes.target,
                    line: attributes.line,
                    file,
                });
                Scope::Function(path)
            }
            gimli::DW_TAG_member | gimli::DW_TAG_inheritance | gimli::DW_TAG_template_type_parameter => {
                if let Scope::Type(index, _) = scope {
                    let is_parameter = tag == gimli::DW_TAG_template_type_parameter;
                    let label = if tag == gimli::DW_TAG_inheritance { b"<base>" } else { attributes.name.unwrap_or(b"") };
                    // Static data members of C++ have a declaration and no place in the object.
                    if !attributes.declaration {
                        self.members.push((index, is_parameter, label, attributes.target));
                    }
                }
                Scope::Skip
            }
            gimli::DW_TAG_subrange_type => {
                if let (Scope::Type(index, _), Some(count)) = (scope, attributes.count)
                    && let Some(ParsedType { wrap: Wrap::Array(length), .. }) = self.types.get_mut(index as usize)
                {
                    *length = Some(count);
                }
                Scope::Skip
            }
            gimli::DW_TAG_variable => {
                self.variable(outer, attributes);
                Scope::Skip
            }
            _ => self.type_entry(tag, entry, outer, attributes),
        }
    }

    /// The number here of a file of the unit's line table.
    fn file(&mut self, units: &Units<'d>, plan: &UnitPlan<'d>, unit: &Unit<'d>, index: u64) -> Option<u32> {
        let files = &mut self.files;
        *self.file_ids.entry(index).or_insert_with(|| {
            files.push(file_name(units, plan, unit, index)?);
            Some(files.len() as u32 - 1)
        })
    }

    fn variable(&mut self, outer: PathId, attributes: Attributes<'d>) {
        let Some(name) = attributes.name else { return };
        if name.ends_with(b"::{vtable}") {
            // X stands in the virtual table's type, which is looked up at the end.
            self.vtables.push((name, attributes.target));
            return;
        }
        let Some((address, thread_local)) = attributes.location.and_then(static_location) else { return };
        // `thread_local!` hides the variable in a constant of a closure; people know it by the item.
        let hidden = name == b"__RUST_STD_INTERNAL_VAL" || name == b"__KEY" || name == b"VAL";
        let path = if hidden { self.item(outer) } else { self.intern(outer, name) };
        self.statics.push((path, attributes.target, address, thread_local));
    }

    /// The innermost enclosing item that people named: no `{constant#0}`, no `{closure#0}`.
    fn item(&self, path: PathId) -> PathId {
        let mut at = path;
        while let Some(&(parent, segment)) = self.paths.get(at as usize) {
            if at == 0 || !(segment.starts_with(b"{") || segment == b"__init" || segment == b"__rust_std_internal_init_fn") {
                return at;
            }
            at = parent;
        }
        path
    }

    fn type_entry(&mut self, tag: DwTag, entry: EntryOffset, outer: PathId, attributes: Attributes<'d>) -> Scope {
        let kind = match tag {
            gimli::DW_TAG_base_type | gimli::DW_TAG_unspecified_type => TypeKind::Base,
            gimli::DW_TAG_union_type => TypeKind::Union,
            gimli::DW_TAG_enumeration_type => TypeKind::Enum,
            gimli::DW_TAG_array_type => TypeKind::Array,
            gimli::DW_TAG_subroutine_type => TypeKind::Function,
            gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type
            | gimli::DW_TAG_ptr_to_member_type => TypeKind::Pointer,
            _ => TypeKind::Struct,
        };
        let wrap = match (tag, attributes.name) {
            (
                gimli::DW_TAG_typedef
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type,
                _,
            ) => Wrap::Alias,
            (gimli::DW_TAG_array_type, _) => Wrap::Array(None),
            (_, Some(_)) => Wrap::Named,
            (gimli::DW_TAG_pointer_type, None) => Wrap::Suffix("*"),
            (gimli::DW_TAG_reference_type, None) => Wrap::Suffix("&"),
            (gimli::DW_TAG_rvalue_reference_type, None) => Wrap::Suffix("&&"),
            _ => Wrap::Named,
        };
        let path = match (wrap, attributes.name) {
            (Wrap::Named, Some(name)) => self.intern(outer, name),
            (Wrap::Named, None) => self.intern(outer, b"{unnamed}"),
            _ => 0,
        };
        let index = self.types.len() as u32;
        self.types.push(ParsedType { entry, path, kind, target: attributes.target, wrap, declaration: attributes.declaration });
        if matches!(kind, TypeKind::Pointer | TypeKind::Array) && attributes.target != 0 {
            self.members.push((index, false, b"", attributes.target));
        }
        if attributes.containing != 0 {
            self.members.push((index, true, b"{containing}", attributes.containing));
        }
        Scope::Type(index, path)
    }

    fn intern(&mut self, parent: PathId, name: &'d [u8]) -> PathId {
        let hash = hash_path(parent, name);
        let paths = &self.paths;
        if let Some(&found) = self.path_table.find(hash, |&id| paths[id as usize] == (parent, name)) {
            return found;
        }
        let id = self.paths.len() as u32;
        self.paths.push((parent, name));
        let paths = &self.paths;
        self.path_table.insert_unique(hash, id, |&id| hash_path(paths[id as usize].0, paths[id as usize].1));
        id
    }
}

fn is_type(tag: DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_structure_type
            | gimli::DW_TAG_class_type
            | gimli::DW_TAG_union_type
            | gimli::DW_TAG_enumeration_type
            | gimli::DW_TAG_base_type
            | gimli::DW_TAG_unspecified_type
            | gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type
            | gimli::DW_TAG_ptr_to_member_type
            | gimli::DW_TAG_array_type
            | gimli::DW_TAG_subroutine_type
            | gimli::DW_TAG_typedef
            | gimli::DW_TAG_const_type
            | gimli::DW_TAG_volatile_type
            | gimli::DW_TAG_restrict_type
            | gimli::DW_TAG_atomic_type
    )
}

fn read_attributes<'d>(
    units: &Units<'d>,
    plan: &UnitPlan<'d>,
    unit: &Unit<'d>,
    entries: &mut EntriesRaw<'_, Reader<'d>>,
    specs: &[AttributeSpecification],
) -> gimli::Result<Attributes<'d>> {
    let mut found = Attributes::default();
    for &spec in specs {
        let attribute = entries.read_attribute(spec)?;
        match spec.name() {
            gimli::DW_AT_name => {
                found.name =
                    units.dwarf(plan).attr_string(unit, attribute.value()).ok().map(|name| name.slice()).filter(|name| !name.is_empty());
            }
            gimli::DW_AT_type => found.target = units.reference(plan, attribute.value()).unwrap_or(0),
            gimli::DW_AT_specification | gimli::DW_AT_abstract_origin => {
                found.origin = units.reference(plan, attribute.value()).unwrap_or(0);
            }
            gimli::DW_AT_containing_type => found.containing = units.reference(plan, attribute.value()).unwrap_or(0),
            gimli::DW_AT_declaration => found.declaration = matches!(attribute.value(), AttributeValue::Flag(true)),
            gimli::DW_AT_location => found.location = attribute.exprloc_value().map(|expression| expression.0.slice()),
            gimli::DW_AT_decl_line => found.line = attribute.udata_value().and_then(|line| u32::try_from(line).ok()).unwrap_or(0),
            gimli::DW_AT_decl_file => {
                found.file = match attribute.value() {
                    AttributeValue::FileIndex(index) => Some(index),
                    _ => attribute.udata_value(),
                }
            }
            gimli::DW_AT_count => found.count = attribute.udata_value(),
            gimli::DW_AT_upper_bound if found.count.is_none() => found.count = attribute.udata_value().and_then(|last| last.checked_add(1)),
            _ => {}
        }
    }
    Ok(found)
}

/// The path of a file of a unit's line table, without the compiler's working directory in front.
pub(super) fn file_name<'d>(units: &Units<'d>, plan: &UnitPlan<'d>, unit: &Unit<'d>, index: u64) -> Option<FileName> {
    let program = units.lines(plan, unit)?;
    let header = program.header();
    let file = header.file(index)?;
    let text = |value| units.line_dwarf(plan).attr_string(unit, value).ok().map(|text| text.to_string_lossy().into_owned());
    let name = text(file.path_name())?;
    let mut path = String::new();
    if !name.starts_with('/') {
        path = file.directory(header).and_then(text).unwrap_or_default();
    }
    if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(&name);
    let directory = unit.comp_dir.map(|directory| directory.to_string_lossy().into_owned()).unwrap_or_default();
    let relative = path.strip_prefix(&directory).filter(|_| !directory.is_empty()).and_then(|rest| rest.strip_prefix('/'));
    Some(FileName { name: relative.unwrap_or(&path).to_owned(), directory })
}

/// The address of a variable that stands at a fixed place: (address, thread-local).
fn static_location(expression: &[u8]) -> Option<(u64, bool)> {
    // DW_OP_addr, and DW_OP_const8u or const4u before a thread-local block's address.
    let (&operation, rest) = expression.split_first()?;
    let (value, rest) = match gimli::DwOp(operation) {
        gimli::DW_OP_addr | gimli::DW_OP_const8u => (u64::from_le_bytes(rest.get(..8)?.try_into().ok()?), &rest[8..]),
        gimli::DW_OP_const4u => (u64::from(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?)), &rest[4..]),
        // Indexed addresses (DWARF 5, split units): the place is known to exist, its number is not needed but to find references.
        gimli::DW_OP_addrx | gimli::DW_OP_GNU_addr_index | gimli::DW_OP_constx | gimli::DW_OP_GNU_const_index => {
            let mut reader = Reader::new(rest, gimli::LittleEndian);
            gimli::Reader::read_uleb128(&mut reader).ok()?;
            (0, reader.slice())
        }
        _ => return None,
    };
    match rest.first().map(|&operation| gimli::DwOp(operation)) {
        None => Some((value, false)),
        Some(gimli::DW_OP_GNU_push_tls_address | gimli::DW_OP_form_tls_address) => Some((value, true)),
        _ => None,
    }
}

fn hash_path(parent: PathId, name: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(parent);
    hasher.write(name);
    hasher.finish()
}

/// Puts parsed units together.
#[derive(Debug)]
struct Merger {
    table: TypeTable,
    path_table: HashTable<u32>,
    /// Targets of members as entries, resolved at the end.
    targets: Vec<EntryOffset>,
    aliases: Vec<(EntryOffset, EntryOffset)>,
    static_types: Vec<EntryOffset>,
    vtable_types: Vec<EntryOffset>,
    file_ids: HashMap<FileName, u32, FxBuildHasher>,
}

impl Default for Merger {
    fn default() -> Self {
        let mut table = TypeTable::default();
        table.paths.push((0, TextId::default()));
        Merger {
            table,
            path_table: HashTable::new(),
            targets: Vec::new(),
            aliases: Vec::new(),
            static_types: Vec::new(),
            vtable_types: Vec::new(),
            file_ids: HashMap::default(),
        }
    }
}

impl Merger {
    fn merge(&mut self, unit: &UnitTypes<'_>) {
        let mut paths: Vec<PathId> = Vec::with_capacity(unit.paths.len());
        for (index, &(parent, name)) in unit.paths.iter().enumerate() {
            // Parents come before their children.
            let path = if index == 0 { 0 } else { self.intern(paths[parent as usize], name) };
            paths.push(path);
        }
        let left = FREE_NAMES + unit.size * 2;
        let names = UnnamedTypes { unit, merger: self, paths: &paths, memo: HashMap::default(), left }.name_all();
        let mut members: Vec<&(u32, bool, &[u8], EntryOffset)> = unit.members.iter().collect();
        members.sort_by_key(|&&(index, is_parameter, ..)| (index, is_parameter)); // stable: keeps the order of fields
        let mut at = 0;
        for (index, parsed) in unit.types.iter().enumerate() {
            let count = members[at..].iter().take_while(|member| member.0 == index as u32).count();
            let own = &members[at..at + count];
            at += count;
            if parsed.wrap == Wrap::Alias {
                self.aliases.push((parsed.entry, parsed.target));
                continue;
            }
            let path = if parsed.wrap == Wrap::Named { paths[parsed.path as usize] } else { names[&(index as u32)] };
            let id = self.type_of(path);
            self.table.by_entry.push((parsed.entry, id));
            let definition = &self.table.types[id.index()];
            let size = definition.members.len() + definition.parameters.len();
            if !parsed.declaration && (definition.kind == TypeKind::Unknown || own.len() > size) {
                self.define(id, parsed.kind, own);
            }
        }
        let files: Vec<u32> = unit.files.iter().map(|file| self.intern_file(file)).collect();
        for function in &unit.functions {
            let file = function.file.map(|file| files[file as usize]);
            self.table.functions.push(FunctionEntry { path: paths[function.path as usize], file, ..*function });
        }
        for &(path, target, address, thread_local) in &unit.statics {
            self.table.statics.push(Static { path: paths[path as usize], type_id: None, address, thread_local });
            self.static_types.push(target);
        }
        for &(name, target) in &unit.vtables {
            let name = self.table.texts.intern_bytes(name);
            self.table.vtables.push(Vtable { name, concrete: None });
            self.vtable_types.push(target);
        }
    }

    fn intern_file(&mut self, file: &FileName) -> u32 {
        if let Some(&known) = self.file_ids.get(file) {
            return known;
        }
        let id = self.table.files.len() as u32;
        self.table.files.push(file.clone());
        self.file_ids.insert(file.clone(), id);
        id
    }

    fn define(&mut self, id: TypeId, kind: TypeKind, members: &[&(u32, bool, &[u8], EntryOffset)]) {
        let start = self.table.members.len() as u32;
        for &&(_, _, label, target) in members {
            let label = self.table.texts.intern_bytes(label);
            self.table.members.push(Member { label, target: None });
            self.targets.push(target);
        }
        let fields = members.iter().filter(|member| !member.1).count() as u32;
        let end = self.table.members.len() as u32;
        let definition = &mut self.table.types[id.index()];
        definition.kind = kind;
        definition.members = start..start + fields;
        definition.parameters = start + fields..end;
    }

    fn type_of(&mut self, path: PathId) -> TypeId {
        if let Some(&id) = self.table.type_of_path.get(&path) {
            return id;
        }
        let id = TypeId(self.table.types.len() as u32);
        self.table.types.push(TypeDef { path, ..TypeDef::default() });
        self.table.type_of_path.insert(path, id);
        id
    }

    fn intern(&mut self, parent: PathId, name: &[u8]) -> PathId {
        let text = match name.get(..LONGEST_NAME) {
            None => self.table.texts.intern_bytes(name),
            Some(begin) => {
                let mut hasher = FxHasher::default();
                hasher.write(name);
                let text = format!("{}…{:016x}", String::from_utf8_lossy(begin), hasher.finish());
                self.table.texts.intern_bytes(text.as_bytes())
            }
        };
        let hash = hash_path(parent, &text.0.to_le_bytes());
        let paths = &self.table.paths;
        if let Some(&found) = self.path_table.find(hash, |&id| paths[id as usize] == (parent, text)) {
            return found;
        }
        let id = self.table.paths.len() as u32;
        self.table.paths.push((parent, text));
        let paths = &self.table.paths;
        self.path_table.insert_unique(hash, id, |&id| hash_path(paths[id as usize].0, &paths[id as usize].1.0.to_le_bytes()));
        id
    }

    /// Resolves what was kept as entries.
    fn finish(mut self) -> TypeTable {
        let table = &mut self.table;
        // Units come in order of their offsets and entries in order within a unit.
        debug_assert!(table.by_entry.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let aliases = &self.aliases;
        let resolve = |table: &TypeTable, entry: EntryOffset| {
            let mut at = entry;
            for _ in 0..LONGEST_ALIAS {
                if let Some(id) = table.at(at) {
                    return Some(id);
                }
                at = aliases[aliases.binary_search_by_key(&at, |&(alias, _)| alias).ok()?].1;
            }
            None
        };
        let targets: Vec<Option<TypeId>> = self.targets.iter().map(|&target| resolve(table, target)).collect();
        for (member, target) in table.members.iter_mut().zip(targets) {
            member.target = target;
        }
        for (index, &target) in self.static_types.iter().enumerate() {
            table.statics[index].type_id = resolve(table, target);
        }
        for (index, &target) in self.vtable_types.iter().enumerate() {
            let vtable_type = resolve(table, target);
            let containing = vtable_type.and_then(|id| table.parameter(id, "{containing}"));
            table.vtables[index].concrete = containing;
        }
        for (alias, target) in self.aliases.iter().map(|&(alias, target)| (alias, resolve(table, target))).collect::<Vec<_>>() {
            if let Some(target) = target {
                table.by_entry.push((alias, target));
            }
        }
        table.by_entry.sort_unstable_by_key(|&(entry, _)| entry);
        table.by_entry.shrink_to_fit();
        self.table
    }
}

/// Names of the unnamed types of a unit: arrays everywhere, pointers in C++.
struct UnnamedTypes<'m, 'u, 'd> {
    unit: &'u UnitTypes<'d>,
    merger: &'m mut Merger,
    paths: &'u [PathId],
    memo: HashMap<u32, PathId, FxBuildHasher>,
    /// Bytes that names may still have.
    left: usize,
}

/// Bytes of names that a unit may give its unnamed types, besides two for each of its own: an array of a type with a long name
/// repeats that name, and a pointer to a pointer to a pointer each time that of the one before.
const FREE_NAMES: usize = 1 << 20;
/// Unnamed types within each other (pointer to array of pointers) that are spelt out; deeper ones become `?`.
const DEEPEST_UNNAMED: usize = 24;

impl UnnamedTypes<'_, '_, '_> {
    fn name_all(mut self) -> HashMap<u32, PathId, FxBuildHasher> {
        for index in 0..self.unit.types.len() as u32 {
            if !matches!(self.unit.types[index as usize].wrap, Wrap::Named | Wrap::Alias) {
                self.name(index);
            }
        }
        self.merger.table.limited += usize::from(self.left == 0);
        self.memo
    }

    fn name(&mut self, index: u32) -> PathId {
        if self.left == 0 {
            let path = self.merger.intern(0, format!("?{:x}", self.unit.types[index as usize].entry).as_bytes());
            self.memo.insert(index, path);
            return path;
        }
        // Down to a type with a name, then back up.
        let mut chain = vec![index];
        let mut text = loop {
            let last = &self.unit.types[chain[chain.len() - 1] as usize];
            let target = self.unit.types.binary_search_by_key(&last.target, |parsed| parsed.entry);
            match target {
                _ if last.target == 0 => break "void".to_owned(),
                Ok(target) => {
                    let parsed = &self.unit.types[target];
                    if parsed.wrap == Wrap::Named {
                        break self.merger.table.path(self.paths[parsed.path as usize]);
                    }
                    if let Some(&path) = self.memo.get(&(target as u32)) {
                        break self.merger.table.path(path);
                    }
                    if chain.len() >= DEEPEST_UNNAMED {
                        break "?".to_owned();
                    }
                    chain.push(target as u32);
                }
                // In another unit, merged before or not at all.
                Err(_) => match self.merger.table.at(last.target) {
                    Some(id) => break self.merger.table.name(id),
                    None => break format!("?{:x}", last.target),
                },
            }
        };
        let mut path = 0;
        while let Some(index) = chain.pop() {
            match self.unit.types[index as usize].wrap {
                Wrap::Array(Some(count)) => text = format!("[{text}; {count}]"),
                Wrap::Array(None) => text = format!("[{text}]"),
                Wrap::Suffix(suffix) => text.push_str(suffix),
                Wrap::Named | Wrap::Alias => continue,
            }
            self.left = self.left.saturating_sub(text.len());
            if self.left == 0 {
                text = format!("?{:x}", self.unit.types[index as usize].entry);
            }
            path = self.merger.intern(0, text.as_bytes());
            self.memo.insert(index, path);
        }
        path
    }
}
