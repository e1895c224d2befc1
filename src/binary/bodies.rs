//! Bodies of functions: which of them matter, and the inlined calls and variables of those.
//!
//! A binary has hundreds of thousands of inlined calls and only some hundred functions with a skipped
//! drop or an arena container in them. [`Functions::read`] walks all bodies once, keeps the place of
//! every function and marks those that matter; [`Functions::load`] then reads one body in full.
//!
//! ```text
//! DW_TAG_subprogram "index_batch"  0x5d490..0x5d704
//!   DW_TAG_variable "v"            bumpalo::collections::vec::Vec<(&str, PayloadOps)>
//!   DW_TAG_inlined_subroutine      -> push, call_line 112, ranges 5d4d4-5d4ed 5d59a-5d5c8
//! ```

use super::catalogue;
use super::dwarf::{Reader, Unit};
use super::texts::{TextId, Texts};
use super::type_name;
use super::types::{PathId, TypeId, TypeKind, TypeTable, file_name};
use super::units::{EntryOffset, UnitPlan, Units};
use crate::names;
use gimli::{AttributeValue, EntriesRaw, UnitOffset};
use hashbrown::{HashMap, HashSet};
use rayon::prelude::*;
use rustc_hash::FxBuildHasher;
use std::sync::Arc;

/// Where the code of a function stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Its entry.
    pub entry: EntryOffset,
}

/// What a function is called and where it is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionName {
    /// Path without generic arguments and hash: `bumpalo::collections::vec::Vec::push`,
    /// `<alloc::vec::Vec as core::ops::drop::Drop>::drop`. From the linkage name where there is one.
    pub path: String,
    /// The name of the entry, with generic arguments: `push<(u32, alloc::vec::Vec<u8, alloc::alloc::Global>)>`.
    pub name: String,
    /// Type arguments: from the entry's parameters, else from its name. (parameter name or empty, type, its name)
    pub arguments: Vec<Argument>,
    /// The type whose method it is, where the entry stands inside one.
    pub self_type: Option<TypeId>,
    /// Source file as the debug information spells it, relative to the working directory of the compiler where it lies below it.
    pub file: Option<String>,
    /// Working directory of the compiler.
    pub directory: Option<String>,
    /// Line of the declaration.
    pub line: u32,
    /// What it returns; `None` for nothing, and without types.
    pub returns: Option<TypeId>,
}

/// A type argument of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Name of the parameter; empty where only the printed name is known.
    pub parameter: String,
    /// The type's name.
    pub name: String,
    /// The type, where there are types.
    pub type_id: Option<TypeId>,
}

/// A call that was inlined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inlined {
    /// The inlined call around it: index into [`Body::inlined`]; `None` for calls in the function itself.
    pub parent: Option<u32>,
    /// What was called: index into [`Functions::names`].
    pub name: u32,
    /// Line of the call, in the file of the frame around it.
    pub call_line: u32,
    /// Its code.
    pub ranges: Vec<(u64, u64)>,
}

/// A variable or parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its name.
    pub name: TextId,
    /// Its type.
    pub type_id: TypeId,
    /// Line of the declaration; 0 where unknown.
    pub line: u32,
    /// A parameter rather than a variable.
    pub is_parameter: bool,
    /// The inlined call that it belongs to; `None` for the function itself.
    pub frame: Option<u32>,
    /// Where the enclosing block's code is; empty for the whole function.
    pub scope: Arc<[(u64, u64)]>,
}

/// One function in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Its entry.
    pub entry: EntryOffset,
    /// What it is called: index into [`Functions::names`].
    pub name: u32,
    /// Its code.
    pub ranges: Vec<(u64, u64)>,
    /// Inlined calls; outer ones before inner ones.
    pub inlined: Vec<Inlined>,
    /// Variables and parameters with a type, in order of entries.
    pub locals: Vec<Local>,
}

/// Functions of a binary's user code and dependencies.
#[derive(Debug, Default)]
pub struct Functions {
    /// By address.
    pub places: Vec<Place>,
    /// Entries of functions that hold a container in an arena or call something listed, in order.
    pub relevant: Vec<EntryOffset>,
    /// Addresses where listed functions start that were not inlined, by address.
    pub listed: Vec<(u64, EntryOffset)>,
    /// Drop glue inlined in drop glue: (outer, inner), entries that were called, without repetition. What the outer's
    /// type owns by value or behind a pointer.
    pub nested_glue: Vec<(EntryOffset, EntryOffset)>,
    /// Names of functions that were looked at.
    pub names: Vec<FunctionName>,
    name_ids: HashMap<EntryOffset, u32, FxBuildHasher>,
    /// Texts of local variables.
    pub texts: Texts,
    /// Functions whose code or content was left out because there is more of it than a compiler writes.
    pub limited: usize,
    budget: Budget,
}

/// How much may still be read. Each function is read once, and each list of ranges for one entry or for a few; a hostile file
/// lets all entries share one list, and nests functions in one another.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    /// Bytes of entries.
    bytes: usize,
    /// Entries of lists of ranges.
    ranges: usize,
}

impl Budget {
    /// For debug information of a size.
    fn of(bytes: usize) -> Self {
        /// On top, for small files.
        const FREE: usize = 4096;
        Budget { bytes: bytes.saturating_mul(4).saturating_add(FREE), ranges: FREE + bytes / 4 }
    }

    fn is_spent(&self) -> bool {
        self.bytes == 0 || self.ranges == 0
    }
}

/// Why a function's entry matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interest {
    /// It skips drop glue.
    Listed,
    /// A method of an arena container, or its glue.
    Container,
}

/// What one unit contributes.
#[derive(Debug, Default)]
struct UnitBodies {
    places: Vec<Place>,
    relevant: Vec<EntryOffset>,
    /// Functions that have a variable of an interesting type, inlined anywhere or not.
    holders: Vec<EntryOffset>,
    /// (function, user function inlined in it): relevant when the latter is a holder.
    inlines: Vec<(EntryOffset, EntryOffset)>,
    /// (glue, glue inlined in it).
    nested_glue: Vec<(EntryOffset, EntryOffset)>,
    budget: Budget,
}

/// Depth of entries inside one function that is followed. Real ones nest below 100.
const DEEPEST_BODY: usize = 4096;
/// Entries of one body that are kept.
const MOST_INLINED: usize = 1 << 20;
/// References from completing to completed entries that are followed: concrete, abstract, declaration.
const LONGEST_ORIGIN: usize = 4;

impl Functions {
    /// Walks the bodies of all functions. Those of `wanted` matter whatever they do, and so do functions that they are inlined in.
    /// `read` is told the size of each unit.
    pub fn read(units: &Units<'_>, types: &TypeTable, wanted: &HashSet<EntryOffset, FxBuildHasher>, read: &(dyn Fn(u64) + Sync)) -> Self {
        let interests = Interests::new(types, wanted);
        let plans: Vec<&UnitPlan<'_>> = units.read_ones().collect();
        let bodies: Vec<UnitBodies> = plans
            .par_iter()
            .map(|plan| {
                let found = UnitBodies::read(units, plan, &interests).unwrap_or_default();
                read(u64::from(plan.end - plan.start));
                found
            })
            .collect();
        let mut functions = Functions::default();
        let mut holders: HashSet<EntryOffset, FxBuildHasher> = HashSet::default();
        for unit in &bodies {
            functions.places.extend_from_slice(&unit.places);
            functions.relevant.extend_from_slice(&unit.relevant);
            functions.nested_glue.extend_from_slice(&unit.nested_glue);
            holders.extend(unit.holders.iter().copied());
            functions.limited += usize::from(unit.budget.is_spent());
        }
        functions.budget = Budget::of(plans.iter().map(|plan| (plan.end - plan.start) as usize).sum());
        for unit in &bodies {
            functions.relevant.extend(unit.inlines.iter().filter(|(_, inlined)| holders.contains(inlined)).map(|(function, _)| *function));
        }
        functions.nested_glue.sort_unstable();
        functions.nested_glue.dedup();
        functions.places.sort_unstable();
        let concrete: HashSet<EntryOffset, FxBuildHasher> = functions.places.iter().map(|place| place.entry).collect();
        functions.relevant.extend(holders.into_iter().chain(wanted.iter().copied()).filter(|entry| concrete.contains(entry)));
        functions.relevant.sort_unstable();
        functions.relevant.dedup();
        functions.listed = functions
            .places
            .iter()
            .filter(|place| interests.of(place.entry).is_some() || interests.of_origin(place.entry).is_some())
            .map(|place| (place.start, place.entry))
            .collect();
        functions
    }

    /// The function whose code holds `address`.
    pub fn at(&self, address: u64) -> Option<Place> {
        let after = self.places.partition_point(|place| place.start <= address);
        self.places[..after].iter().rev().take(2).find(|place| address < place.end).copied()
    }

    /// The name of the function at an entry: an index into [`Functions::names`].
    pub fn name(&mut self, units: &Units<'_>, types: &TypeTable, entry: EntryOffset) -> u32 {
        if let Some(&id) = self.name_ids.get(&entry) {
            return id;
        }
        let name = read_name(units, types, entry);
        let id = self.names.len() as u32;
        self.names.push(name);
        self.name_ids.insert(entry, id);
        id
    }

    /// Reads one function in full; `None` when its unit is damaged.
    pub fn load(&mut self, units: &Units<'_>, types: &TypeTable, entry: EntryOffset) -> Option<Body> {
        if self.budget.is_spent() {
            self.limited += 1;
            return None;
        }
        let plan = units.plan_of(entry)?;
        let unit = units.cached(plan)?;
        let mut entries = unit.entries_raw(Some(UnitOffset((entry - plan.start) as usize))).ok()?;
        let mut body = Body { entry, name: self.name(units, types, entry), ..Body::default() };
        // A damaged body ends where the damage is.
        let _ = self.load_entries(units, types, plan, &unit, &mut entries, &mut body);
        Some(body)
    }

    fn load_entries<'d>(
        &mut self,
        units: &Units<'d>,
        types: &TypeTable,
        plan: &UnitPlan<'d>,
        unit: &Unit<'d>,
        entries: &mut EntriesRaw<'_, Reader<'d>>,
        body: &mut Body,
    ) -> gimli::Result<()> {
        /// The frame and the block that children belong to.
        #[derive(Clone)]
        struct Open {
            frame: Option<u32>,
            block: Arc<[(u64, u64)]>,
            skip: bool,
        }
        let (first, mut at) = (entries.next_depth(), entries.next_offset().0);
        let mut open: Vec<Open> = Vec::new();
        loop {
            if entries.is_empty() {
                return Ok(());
            }
            let (depth, offset) = (entries.next_depth(), entries.next_offset());
            self.budget.bytes = self.budget.bytes.saturating_sub(offset.0 - std::mem::replace(&mut at, offset.0));
            if self.budget.is_spent() {
                self.limited += 1;
                return Ok(());
            }
            let Some(abbreviation) = entries.read_abbreviation()? else {
                if entries.next_depth() <= first {
                    return Ok(());
                }
                continue;
            };
            let Some(depth) = depth.checked_sub(first).and_then(|depth| usize::try_from(depth).ok()).filter(|&depth| depth < DEEPEST_BODY)
            else {
                return Ok(());
            };
            if depth == 0 && !open.is_empty() {
                return Ok(());
            }
            open.truncate(depth);
            let outer = open.last().cloned().unwrap_or(Open { frame: None, block: Arc::default(), skip: false });
            let attributes = BodyAttributes::read(units, plan, unit, entries, abbreviation.attributes())?;
            let mut inner = outer.clone();
            match abbreviation.tag() {
                gimli::DW_TAG_subprogram if depth == 0 => {
                    body.ranges = attributes.ranges(units, plan, unit, &mut self.budget);
                }
                _ if outer.skip => {}
                gimli::DW_TAG_inlined_subroutine if body.inlined.len() < MOST_INLINED => {
                    let Some(origin) = attributes.origin else { continue };
                    let name = self.name(units, types, origin);
                    let ranges = attributes.ranges(units, plan, unit, &mut self.budget);
                    inner.frame = Some(body.inlined.len() as u32);
                    inner.block = Arc::default();
                    body.inlined.push(Inlined { parent: outer.frame, name, call_line: attributes.call_line, ranges });
                }
                gimli::DW_TAG_lexical_block => inner.block = attributes.ranges(units, plan, unit, &mut self.budget).into(),
                tag @ (gimli::DW_TAG_variable | gimli::DW_TAG_formal_parameter) => {
                    let (type_id, name, line) = self.local(units, types, plan, unit, &attributes);
                    if let Some(type_id) = type_id {
                        body.locals.push(Local {
                            name,
                            type_id,
                            line,
                            is_parameter: tag == gimli::DW_TAG_formal_parameter,
                            frame: outer.frame,
                            scope: outer.block.clone(),
                        });
                    }
                }
                _ => inner.skip = true,
            }
            if abbreviation.has_children() {
                open.push(inner);
            } else if depth == 0 {
                return Ok(());
            }
        }
    }

    fn local<'d>(
        &mut self,
        units: &Units<'d>,
        types: &TypeTable,
        plan: &UnitPlan<'d>,
        unit: &Unit<'d>,
        attributes: &BodyAttributes<'d>,
    ) -> (Option<TypeId>, TextId, u32) {
        let text = |unit: &Unit<'d>, plan: &UnitPlan<'d>, value| units.dwarf(plan).attr_string(unit, value).ok();
        if let Some(entry) = attributes.type_entry {
            let name = attributes.name.and_then(|value| text(unit, plan, value)).map(|name| self.texts.intern_bytes(name.slice()));
            return (types.at(entry), name.unwrap_or_default(), attributes.line);
        }
        // The abstract entry has them.
        let Some(origin) = attributes.origin else { return (None, TextId::default(), 0) };
        let Some((origin_plan, origin_unit)) = units.plan_of(origin).and_then(|plan| Some((plan, units.cached(plan)?))) else {
            return (None, TextId::default(), 0);
        };
        let Some(found) = BodyAttributes::at(units, origin_plan, &origin_unit, origin) else { return (None, TextId::default(), 0) };
        let name = found.name.and_then(|value| text(&origin_unit, origin_plan, value)).map(|name| self.texts.intern_bytes(name.slice()));
        (found.type_entry.and_then(|entry| types.at(entry)), name.unwrap_or_default(), found.line)
    }
}

impl UnitBodies {
    fn read<'d>(units: &Units<'d>, plan: &UnitPlan<'d>, interests: &Interests<'_>) -> Option<Self> {
        let unit = units.load(plan)?;
        let mut entries = unit.entries_raw(None).ok()?;
        let mut found = UnitBodies { budget: Budget::of((plan.end - plan.start) as usize), ..UnitBodies::default() };
        let _ = found.read_entries(units, plan, &unit, &mut entries, interests);
        for list in [&mut found.holders, &mut found.relevant] {
            list.sort_unstable();
            list.dedup();
        }
        for list in [&mut found.inlines, &mut found.nested_glue] {
            list.sort_unstable();
            list.dedup();
        }
        Some(found)
    }

    fn read_entries<'d>(
        &mut self,
        units: &Units<'d>,
        plan: &UnitPlan<'d>,
        unit: &Unit<'d>,
        entries: &mut EntriesRaw<'_, Reader<'d>>,
        interests: &Interests<'_>,
    ) -> gimli::Result<()> {
        /// The function around an entry, the origin of the innermost inlined call around it and that of the innermost glue.
        #[derive(Clone, Copy, Default)]
        struct Around {
            function: EntryOffset,
            concrete: bool,
            frame: EntryOffset,
            glue: EntryOffset,
        }
        let mut open: Vec<Around> = Vec::new();
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let entry = plan.start.wrapping_add(entries.next_offset().0 as u32);
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let Ok(depth) = usize::try_from(depth) else { break };
            open.truncate(depth);
            let mut around = open.last().copied().unwrap_or_default();
            match abbreviation.tag() {
                gimli::DW_TAG_subprogram => {
                    let attributes = BodyAttributes::read(units, plan, unit, entries, abbreviation.attributes())?;
                    let ranges = attributes.ranges(units, plan, unit, &mut self.budget);
                    self.places.extend(ranges.iter().map(|&(start, end)| Place { start, end, entry }));
                    let glue = attributes.origin.filter(|&origin| interests.is_glue(origin)).unwrap_or(if interests.is_glue(entry) {
                        entry
                    } else {
                        0
                    });
                    around = Around { function: entry, concrete: !ranges.is_empty(), frame: entry, glue };
                }
                gimli::DW_TAG_variable | gimli::DW_TAG_formal_parameter if around.function != 0 => {
                    let mut type_entry = None;
                    for &spec in abbreviation.attributes() {
                        let attribute = entries.read_attribute(spec)?;
                        if spec.name() == gimli::DW_AT_type {
                            type_entry = units.reference(plan, attribute.value());
                        }
                    }
                    // Variables of inlined calls have no type of their own: the abstract function's entry is the holder.
                    if type_entry.is_some_and(|entry| interests.holds(entry)) {
                        self.holders.push(around.function);
                    }
                }
                gimli::DW_TAG_inlined_subroutine if around.concrete => {
                    let mut origin = None;
                    for &spec in abbreviation.attributes() {
                        let attribute = entries.read_attribute(spec)?;
                        if spec.name() == gimli::DW_AT_abstract_origin {
                            origin = units.reference(plan, attribute.value());
                        }
                    }
                    let Some(origin) = origin else { continue };
                    if interests.wanted.contains(&origin) {
                        self.relevant.push(around.function);
                    }
                    match interests.of(origin) {
                        Some(Interest::Container) => self.relevant.push(around.function),
                        // What the standard library does inside is not of interest.
                        Some(Interest::Listed) if !interests.is_library(around.frame) => self.relevant.push(around.function),
                        _ => {}
                    }
                    if interests.has_types && !interests.is_library(origin) {
                        self.inlines.push((around.function, origin));
                    }
                    around.frame = origin;
                    if interests.is_glue(origin) {
                        if around.glue != 0 {
                            self.nested_glue.push((around.glue, origin));
                        }
                        around.glue = origin;
                    }
                }
                _ => entries.skip_attributes(abbreviation.attributes())?,
            }
            if abbreviation.has_children() {
                open.push(around);
            }
        }
        Ok(())
    }
}

/// Which entries and types matter, looked up by offset.
#[derive(Debug)]
struct Interests<'t> {
    types: &'t TypeTable,
    functions: HashMap<EntryOffset, Interest, FxBuildHasher>,
    /// By index of [`TypeTable::functions`].
    library: Vec<bool>,
    glue: HashSet<EntryOffset, FxBuildHasher>,
    /// By type: holds an arena container by value.
    holding: Vec<bool>,
    has_types: bool,
    wanted: &'t HashSet<EntryOffset, FxBuildHasher>,
}

impl<'t> Interests<'t> {
    fn new(types: &'t TypeTable, wanted: &'t HashSet<EntryOffset, FxBuildHasher>) -> Self {
        let mut of_path: HashMap<PathId, (Option<Interest>, bool, bool), FxBuildHasher> = HashMap::default();
        let mut functions = HashMap::default();
        let mut glue = HashSet::default();
        let mut library = Vec::with_capacity(types.functions.len());
        for function in &types.functions {
            let path = types.function_path(function.entry).unwrap_or(0);
            let &mut (interest, is_library, is_glue) = of_path.entry(path).or_insert_with(|| interest(types, path));
            library.push(is_library);
            if is_glue {
                glue.insert(function.entry);
            }
            if let Some(interest) = interest {
                functions.insert(function.entry, interest);
            }
        }
        let holding = holding(types);
        Interests { types, functions, library, glue, has_types: holding.iter().any(|&holds| holds), holding, wanted }
    }

    fn of(&self, entry: EntryOffset) -> Option<Interest> {
        self.functions.get(&entry).copied()
    }

    fn of_origin(&self, entry: EntryOffset) -> Option<Interest> {
        self.of(self.types.function(entry)?.origin)
    }

    fn is_library(&self, entry: EntryOffset) -> bool {
        let found = self.types.functions.binary_search_by_key(&entry, |function| function.entry);
        found.is_ok_and(|index| self.library[index])
    }

    fn is_glue(&self, entry: EntryOffset) -> bool {
        self.glue.contains(&entry)
    }

    fn holds(&self, type_entry: EntryOffset) -> bool {
        self.has_types && self.types.at(type_entry).is_some_and(|id| self.holding[id.index()])
    }
}

/// Crates whose own code is never a user's site.
pub fn is_library_crate(root: &str) -> bool {
    matches!(root, "core" | "alloc" | "std" | "hashbrown" | "bumpalo" | "allocator_api2" | "bumpalo_herd" | "proc_macro" | "test")
}

/// (why it matters, whether it is the library's own, whether it is drop glue)
fn interest(types: &TypeTable, path: PathId) -> (Option<Interest>, bool, bool) {
    if path == 0 {
        return (None, false, false);
    }
    let (scope, name) = types.split(path);
    let root = types.root(path);
    let plain = type_name::base(name);
    let has_scope = scope != 0;
    // Line tables have no namespaces: the crate is unknown, and only names that are unmistakable count.
    let is_library = is_library_crate(root) && has_scope;
    if plain == "drop_in_place" {
        let inside = type_name::split_arguments(name).map_or("", |(_, inside)| inside);
        let is_arena = catalogue::mentions_arena(inside) && catalogue::arena_elements(inside).is_some();
        return (is_arena.then_some(Interest::Container), true, true);
    }
    let is_listed = catalogue::may_be_listed(plain)
        && match is_library {
            true => catalogue::is_listed(&types.path(scope), plain),
            false => !has_scope && matches!(plain, "into_bump_slice" | "into_bump_slice_mut" | "into_bump_str"),
        };
    if is_listed {
        return (Some(Interest::Listed), is_library, false);
    }
    let scope_text = if root == "bumpalo" { types.path(scope) } else { String::new() };
    let is_method = root == "bumpalo" && (scope_text.starts_with("bumpalo::collections") || scope_text.starts_with("bumpalo::boxed"));
    let is_generic_method = is_library
        && root != "bumpalo"
        && catalogue::mentions_arena(name)
        && type_name::type_arguments(name).iter().any(|argument| argument.starts_with("&bumpalo::Bump"));
    ((is_method || is_generic_method).then_some(Interest::Container), is_library, plain == "drop_slow")
}

/// For each type whether it is, or holds by value, a container in an arena.
fn holding(types: &TypeTable) -> Vec<bool> {
    let mut holds: Vec<bool> = types.ids().map(|id| is_arena_container(types, id)).collect();
    if !holds.contains(&true) {
        return holds;
    }
    // Backwards over members; pointers end it.
    let mut holders: HashMap<TypeId, Vec<TypeId>, FxBuildHasher> = HashMap::default();
    for id in types.ids().filter(|&id| types.kind(id) != TypeKind::Pointer) {
        for target in types.members(id).iter().filter_map(|member| member.target) {
            holders.entry(target).or_default().push(id);
        }
    }
    let mut queue: Vec<TypeId> = types.ids().filter(|id| holds[id.index()]).collect();
    while let Some(id) = queue.pop() {
        for &holder in holders.get(&id).into_iter().flatten() {
            if !std::mem::replace(&mut holds[holder.index()], true) {
                queue.push(holder);
            }
        }
    }
    holds
}

/// Whether a type is a container that drops its elements and lives in an arena.
pub fn is_arena_container(types: &TypeTable, id: TypeId) -> bool {
    let short = types.short_name(id);
    let plausible = matches!(types.kind(id), TypeKind::Struct | TypeKind::Pointer | TypeKind::Unknown)
        && (types.root(types.scope(id)) == "bumpalo" || short.contains("&bumpalo") || short.contains(", &"));
    plausible && catalogue::arena_elements(&types.name(id)).is_some()
}

/// The attributes of an entry in a body that matter.
#[derive(Clone, Default)]
struct BodyAttributes<'d> {
    name: Option<AttributeValue<Reader<'d>>>,
    linkage: Option<AttributeValue<Reader<'d>>>,
    type_entry: Option<EntryOffset>,
    origin: Option<EntryOffset>,
    line: u32,
    file: Option<u64>,
    call_line: u32,
    low: Option<u64>,
    high: Option<AttributeValue<Reader<'d>>>,
    ranges: Option<AttributeValue<Reader<'d>>>,
}

impl<'d> BodyAttributes<'d> {
    fn read(
        units: &Units<'d>,
        plan: &UnitPlan<'d>,
        unit: &Unit<'d>,
        entries: &mut EntriesRaw<'_, Reader<'d>>,
        specs: &[gimli::AttributeSpecification],
    ) -> gimli::Result<Self> {
        let mut found = BodyAttributes::default();
        for &spec in specs {
            let attribute = entries.read_attribute(spec)?;
            let number = || attribute.udata_value().and_then(|line| u32::try_from(line).ok()).unwrap_or(0);
            match spec.name() {
                gimli::DW_AT_name => found.name = Some(attribute.value()),
                gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => found.linkage = Some(attribute.value()),
                gimli::DW_AT_type => found.type_entry = units.reference(plan, attribute.value()),
                gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => found.origin = units.reference(plan, attribute.value()),
                gimli::DW_AT_decl_line => found.line = number(),
                gimli::DW_AT_decl_file => {
                    found.file = match attribute.value() {
                        AttributeValue::FileIndex(index) => Some(index),
                        _ => attribute.udata_value(),
                    }
                }
                gimli::DW_AT_call_line => found.call_line = number(),
                gimli::DW_AT_low_pc => found.low = units.dwarf(plan).attr_address(unit, attribute.value()).ok().flatten(),
                gimli::DW_AT_high_pc => found.high = Some(attribute.value()),
                gimli::DW_AT_ranges => found.ranges = Some(attribute.value()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// The attributes of the entry at an offset.
    fn at(units: &Units<'d>, plan: &UnitPlan<'d>, unit: &Unit<'d>, entry: EntryOffset) -> Option<Self> {
        let mut entries = unit.entries_raw(Some(UnitOffset((entry - plan.start) as usize))).ok()?;
        let abbreviation = entries.read_abbreviation().ok()??;
        Self::read(units, plan, unit, &mut entries, abbreviation.attributes()).ok()
    }

    /// The code that the entry covers. Addresses that the linker set to 0 for removed code are left out.
    fn ranges(&self, units: &Units<'d>, plan: &UnitPlan<'d>, unit: &Unit<'d>, budget: &mut Budget) -> Vec<(u64, u64)> {
        /// Ranges of one entry: cold and hot parts; inlined code is rarely in more than a hundred pieces.
        const MOST_RANGES: usize = 4096;
        let mut found = Vec::new();
        if let Some(value) = self.ranges {
            if let Ok(Some(mut ranges)) = units.dwarf(plan).attr_ranges(unit, value) {
                while let Ok(Some(range)) = ranges.next() {
                    budget.ranges = budget.ranges.saturating_sub(1);
                    if budget.is_spent() || found.len() >= MOST_RANGES {
                        break;
                    }
                    if range.begin != 0 && range.begin < range.end {
                        found.push((range.begin, range.end));
                    }
                }
            }
            return found;
        }
        let (Some(low), Some(high)) = (self.low, self.high) else { return found };
        let end = match high {
            AttributeValue::Udata(size) => low.checked_add(size),
            value => units.dwarf(plan).attr_address(unit, value).ok().flatten(),
        };
        if let Some(end) = end.filter(|&end| low != 0 && low < end) {
            found.push((low, end));
        }
        found
    }
}

fn read_name(units: &Units<'_>, types: &TypeTable, entry: EntryOffset) -> FunctionName {
    let mut found = FunctionName::default();
    let mut linkage: Option<String> = None;
    let mut at = entry;
    for _ in 0..LONGEST_ORIGIN {
        let Some((plan, unit)) = units.plan_of(at).and_then(|plan| Some((plan, units.cached(plan)?))) else { break };
        let Some(attributes) = BodyAttributes::at(units, plan, &unit, at) else { break };
        let text = |value: Option<AttributeValue<Reader<'_>>>| {
            let text = units.dwarf(plan).attr_string(&unit, value?).ok()?;
            Some(text.to_string_lossy().into_owned())
        };
        if found.name.is_empty() {
            found.name = text(attributes.name).unwrap_or_default();
        }
        linkage = linkage.or_else(|| text(attributes.linkage));
        if found.line == 0 {
            found.line = attributes.line;
        }
        found.returns = found.returns.or_else(|| types.at(attributes.type_entry?));
        if let (None, Some(file)) = (&found.file, attributes.file)
            && let Some(file) = file_name(units, plan, &unit, file)
        {
            found.file = Some(file.name);
            found.directory = Some(file.directory);
        }
        if found.arguments.is_empty() {
            found.arguments = template_arguments(units, types, plan, &unit, at);
        }
        if let Some((scope, _)) = types.function(at).filter(|function| function.path != 0).map(|function| types.split(function.path)) {
            found.self_type = found.self_type.or_else(|| types.of_path(scope));
        }
        match attributes.origin {
            Some(origin) => at = origin,
            None => break,
        }
    }
    let path = match linkage {
        Some(linkage) => names::demangle(&linkage).into_owned(),
        None => {
            types.function_path(entry).map(|path| types.path(path)).filter(|path| !path.is_empty()).unwrap_or_else(|| found.name.clone())
        }
    };
    found.path = type_name::without_arguments(&path);
    let printed = type_name::type_arguments(&found.name);
    if found.arguments.is_empty() {
        found.arguments =
            printed.into_iter().map(|name| Argument { parameter: String::new(), name: name.to_owned(), type_id: None }).collect();
    } else if found.arguments.len() == printed.len() {
        // The entry of `[u8]` as a parameter is that of `u8`; the printed name is right.
        for (argument, name) in found.arguments.iter_mut().zip(printed) {
            name.clone_into(&mut argument.name);
        }
    }
    found
}

fn template_arguments<'d>(units: &Units<'d>, types: &TypeTable, plan: &UnitPlan<'d>, unit: &Unit<'d>, entry: EntryOffset) -> Vec<Argument> {
    /// Children of a function that are looked at for its parameters: they come first.
    const MOST_CHILDREN: usize = 64;
    let mut found = Vec::new();
    let Ok(mut entries) = unit.entries_raw(Some(UnitOffset((entry - plan.start) as usize))) else { return found };
    let first = entries.next_depth();
    let Ok(Some(abbreviation)) = entries.read_abbreviation() else { return found };
    if !abbreviation.has_children() || entries.skip_attributes(abbreviation.attributes()).is_err() {
        return found;
    }
    for _ in 0..MOST_CHILDREN {
        let depth = entries.next_depth();
        let Ok(Some(abbreviation)) = entries.read_abbreviation() else { break };
        if depth != first + 1 {
            break;
        }
        let Ok(attributes) = BodyAttributes::read(units, plan, unit, &mut entries, abbreviation.attributes()) else { break };
        if abbreviation.tag() != gimli::DW_TAG_template_type_parameter {
            if abbreviation.has_children() {
                break;
            }
            continue;
        }
        let Some(type_id) = attributes.type_entry.and_then(|entry| types.at(entry)) else { continue };
        let parameter = attributes.name.and_then(|value| units.dwarf(plan).attr_string(unit, value).ok());
        found.push(Argument {
            parameter: parameter.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            name: types.name(type_id),
            type_id: Some(type_id),
        });
    }
    found
}
