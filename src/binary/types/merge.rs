//! Parsed units put together: a type that many units repeat is one type, and names of unnamed ones are made up.

use super::unit::{UnitTypes, Wrap};
use super::{FileName, FunctionEntry, Member, PathId, Static, TypeDef, TypeId, TypeKind, TypeTable, Vtable, hash_path};
use crate::binary::texts::TextId;
use crate::binary::units::EntryOffset;
use hashbrown::{HashMap, HashTable};
use rustc_hash::{FxBuildHasher, FxHasher};
use std::hash::Hasher;

/// Longest name of a type or function that is kept whole: of longer ones the begin, and a number that tells it from others.
const LONGEST_NAME: usize = 16 << 10;
/// Chains of typedefs and qualifiers that are followed at most.
const LONGEST_ALIAS: usize = 32;

/// Puts parsed units together.
#[derive(Debug)]
pub(super) struct Merger {
    /// What was put together so far.
    pub table: TypeTable,
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
    /// Adds a unit: units come in the order of the file.
    pub fn merge(&mut self, unit: &UnitTypes<'_>) {
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
    /// Resolves what refers to units that came later.
    pub fn finish(mut self) -> TypeTable {
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
