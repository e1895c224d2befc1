//! The types, statics and functions of one unit, read in one pass over its entries.

use super::{FileName, FunctionEntry, PathId, TypeKind, hash_path};
use crate::binary::dwarf::{Reader, Unit};
use crate::binary::units::{EntryOffset, Origin, UnitPlan, Units};
use gimli::{AttributeSpecification, AttributeValue, DwTag, EntriesRaw};
use hashbrown::{HashMap, HashTable};
use rustc_hash::FxBuildHasher;

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
pub(super) struct ParsedType {
    pub entry: EntryOffset,
    pub path: PathId,
    pub kind: TypeKind,
    /// What an unnamed or transparent type wraps.
    pub target: EntryOffset,
    pub wrap: Wrap,
    pub declaration: bool,
}

/// How the name of an unnamed type follows from its target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrap {
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
pub(super) struct UnitTypes<'d> {
    pub paths: Vec<(PathId, &'d [u8])>,
    pub path_table: HashTable<u32>,
    pub types: Vec<ParsedType>,
    /// (index of the type, is a template parameter, label, target)
    pub members: Vec<(u32, bool, &'d [u8], EntryOffset)>,
    pub statics: Vec<(PathId, EntryOffset, u64, bool)>,
    pub vtables: Vec<(&'d [u8], EntryOffset)>,
    pub functions: Vec<FunctionEntry>,
    /// Files of functions by their number in the unit: index into [`UnitTypes::files`].
    pub file_ids: HashMap<u64, Option<u32>, FxBuildHasher>,
    pub files: Vec<FileName>,
    pub cpp: bool,
    pub damaged: bool,
    /// Bytes of its entries.
    pub size: usize,
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
    /// Reads a unit; `None` when it cannot be loaded.
    pub fn read(units: &Units<'d>, plan: &UnitPlan<'d>) -> Option<Self> {
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
pub(in crate::binary) fn file_name<'d>(units: &Units<'d>, plan: &UnitPlan<'d>, unit: &Unit<'d>, index: u64) -> Option<FileName> {
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
