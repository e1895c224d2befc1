//! The ownership graph: which type holds which, by value or through boxes, counts and collections.
//!
//! Nodes are types by name, generic instances apart; edges lead from owner to owned. Two sources,
//! one graph: with types in the debug information the edges are fields, variants and the arguments of
//! library types; without them ([`Level::Lines`] and below) they are what each type's drop glue
//! destroys, and fields have no names. Borrows, raw pointers and markers are no edges.
//!
//! ```text
//! Registry --.by_name--> HashMap<String, Arc<IndexState>> --element--> Arc<IndexState> --counted--> IndexState --.scratch--> ...
//! ```

pub mod cycles;
pub mod library;
pub mod owners;
pub mod rule;

use crate::binary::facts::{Level, OwnershipFacts};
use crate::binary::type_name;
use crate::binary::types::{TypeId, TypeKind};
use hashbrown::{HashMap, HashSet};
use library::Holding;
use rustc_hash::{FxBuildHasher, FxHasher};
use std::hash::Hasher;

/// A type of one [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// How an owner holds what it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeKind {
    /// A field, a variant, the element of an array, the inside of a cell.
    Inline,
    /// In a block of its own.
    Boxed,
    /// Shared, with a strong count.
    Counted,
    /// Shared, without keeping it.
    Weak,
    /// An element of a collection.
    Element,
    /// Behind a raw pointer that a marker says is owned.
    Pointer,
    /// Inside a union or `ManuallyDrop`: no glue drops it, but it may be there (`OnceLock`, thread-locals).
    Undropped,
    /// A type used as this trait object.
    Implementor,
}

/// One type holds another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// The owned type.
    pub to: NodeId,
    /// How.
    pub kind: EdgeKind,
    /// Index into [`Graph::labels`]: name of the field; 0 where it has none.
    label: u32,
}

/// The graph.
#[derive(Debug)]
pub struct Graph<'f> {
    /// What it was built from.
    pub facts: &'f OwnershipFacts,
    names: Vec<Box<str>>,
    type_ids: Vec<Option<TypeId>>,
    /// By type of the debug information; empty without types.
    nodes: Vec<NodeId>,
    by_key: HashMap<u64, NodeId, FxBuildHasher>,
    edges: Vec<Vec<Edge>>,
    labels: Vec<Box<str>>,
    label_ids: HashMap<Box<str>, u32, FxBuildHasher>,
    /// Without types: what glue destroys.
    destroys: HashMap<u64, Vec<String>, FxBuildHasher>,
    /// Concrete types behind trait objects, by key of the trait object's type.
    implementors: HashMap<u64, Vec<String>, FxBuildHasher>,
    drop_impls: HashSet<String, FxBuildHasher>,
    /// Keys of types whose drop glue was seen, out of line or inlined in other glue.
    glue: HashSet<u64, FxBuildHasher>,
    /// For each type how far inside it the nearest raw pointer lies by value: the number of types around it; 255 for none.
    raw_pointers: Vec<u8>,
    /// The node that edges are being added to, and those that it has: types have few members, hostile ones a million.
    linked: (NodeId, HashSet<Edge, FxBuildHasher>),
    /// Bytes of names that arguments of other names may still add.
    left: usize,
}

/// Types that arguments of type names may add to the graph: names nest, and hostile ones without end.
const MOST_ADDED: usize = 1 << 20;
/// Bytes of such names, besides those of the types that the debug information has.
const FREE_NAMES: usize = 16 << 20;
/// Types behind one trait object that are followed; of `dyn Error` there are hundreds.
const MOST_IMPLEMENTORS: usize = 256;

impl<'f> Graph<'f> {
    /// Builds the graph of a binary.
    pub fn new(facts: &'f OwnershipFacts) -> Self {
        let mut graph = Graph {
            facts,
            names: Vec::new(),
            type_ids: Vec::new(),
            nodes: Vec::new(),
            by_key: HashMap::default(),
            edges: Vec::new(),
            labels: vec!["".into()],
            label_ids: HashMap::default(),
            destroys: HashMap::default(),
            implementors: HashMap::default(),
            drop_impls: facts.drop_impls.iter().cloned().collect(),
            glue: HashSet::default(),
            raw_pointers: raw_pointers(facts),
            linked: (NodeId(0), HashSet::default()),
            left: FREE_NAMES,
        };
        let subjects = facts.glue.destructors().iter().filter_map(|destructor| destructor.subject.as_ref());
        let nested = facts.nested.iter().flat_map(|(outer, inner)| [outer, inner]);
        graph.glue.extend(subjects.chain(nested).map(|name| hash_key(name)));
        graph.read_vtables();
        if facts.level == Level::Types {
            for id in facts.types.ids() {
                let name = facts.types.name(id);
                graph.left = graph.left.saturating_add(name.len());
                let node = graph.add(&name, Some(id));
                graph.nodes.push(node);
            }
        } else {
            graph.read_glue();
        }
        let mut next = 0;
        while next < graph.names.len() && !graph.is_limited() {
            graph.connect(NodeId(next as u32));
            next += 1;
        }
        graph
    }

    /// Whether names have more names inside them than any compiler writes: what the rest of the types hold is then not known.
    pub fn is_limited(&self) -> bool {
        self.left == 0 || self.names.len() >= self.facts.types.len() + MOST_ADDED
    }

    /// The number of types.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no type.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Every type.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.names.len() as u32).map(NodeId)
    }

    /// Name of a type, as the debug information spells it.
    pub fn name(&self, node: NodeId) -> &str {
        &self.names[node.index()]
    }

    /// What a type holds.
    pub fn edges(&self, node: NodeId) -> &[Edge] {
        self.edges.get(node.index()).map_or(&[], Vec::as_slice)
    }

    /// Name of the field that an edge stands for; empty where it has none.
    pub fn label(&self, edge: &Edge) -> &str {
        &self.labels[edge.label as usize]
    }

    /// The type with this name, in any spelling.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.by_key.get(&hash_key(name)).copied()
    }

    /// The entry of a type in the debug information.
    pub fn type_id(&self, node: NodeId) -> Option<TypeId> {
        self.type_ids[node.index()]
    }

    /// The node of a type of the debug information.
    pub fn of_type(&self, id: TypeId) -> Option<NodeId> {
        // Equal keys share the first.
        self.nodes.get(id.index()).copied().or_else(|| self.find(&self.facts.types.name(id)))
    }

    /// Whether drop glue of a type was made at all, as far as symbols and inlined calls show.
    pub fn has_glue(&self, name: &str) -> bool {
        self.glue.contains(&hash_key(name))
    }

    /// Whether a type has a `Drop` implementation of its own.
    pub fn has_drop_impl(&self, name: &str) -> bool {
        self.drop_impls.contains(type_name::base(name))
    }

    fn add(&mut self, name: &str, type_id: Option<TypeId>) -> NodeId {
        let hash = hash_key(name);
        if let Some(&found) = self.by_key.get(&hash) {
            let known = &mut self.type_ids[found.index()];
            *known = known.or(type_id);
            return found;
        }
        let id = NodeId(self.names.len() as u32);
        if type_id.is_none() {
            self.left = self.left.saturating_sub(name.len());
        }
        self.names.push(name.into());
        self.type_ids.push(type_id);
        self.edges.push(Vec::new());
        self.by_key.insert(hash, id);
        id
    }

    fn intern_label(&mut self, label: &str) -> u32 {
        if label.is_empty() {
            return 0;
        }
        if let Some(&id) = self.label_ids.get(label) {
            return id;
        }
        let id = self.labels.len() as u32;
        self.labels.push(label.into());
        self.label_ids.insert(label.into(), id);
        id
    }

    fn link(&mut self, from: NodeId, to: &str, kind: EdgeKind, label: &str) {
        let to = self.add(to, None);
        self.link_node(from, to, kind, label);
    }

    fn link_node(&mut self, from: NodeId, to: NodeId, kind: EdgeKind, label: &str) {
        let label = self.intern_label(label);
        let edge = Edge { to, kind, label };
        let (of, known) = &mut self.linked;
        if *of != from {
            *of = from;
            known.clear();
            known.extend(self.edges[from.index()].iter().copied());
        }
        if known.insert(edge) {
            self.edges[from.index()].push(edge);
        }
    }

    /// Virtual tables name the types behind trait objects: `<X as Tr>::{vtable}`.
    fn read_vtables(&mut self) {
        for vtable in &self.facts.types.vtables {
            let name = self.facts.types.texts.get(vtable.name);
            let Some((concrete, object)) = name.strip_suffix("::{vtable}").and_then(type_name::split_impl) else { continue };
            let concrete = vtable.concrete.map(|id| self.facts.types.name(id)).unwrap_or_else(|| concrete.to_owned());
            let list = self.implementors.entry(hash_key(&format!("dyn {object}"))).or_default();
            if list.len() < MOST_IMPLEMENTORS && !list.contains(&concrete) {
                list.push(concrete);
            }
        }
        for list in self.implementors.values_mut() {
            list.sort_unstable();
        }
    }

    /// Without types: glue inlined in or called from glue says what its type holds.
    fn read_glue(&mut self) {
        let mut pairs: Vec<(String, String)> = self.facts.nested.clone();
        let destructors = self.facts.glue.destructors();
        for destructor in destructors {
            let Some(outer) = &destructor.subject else { continue };
            self.add(outer, None);
            for &call in &destructor.calls {
                if let Some(inner) = &destructors[call as usize].subject {
                    pairs.push((outer.clone(), inner.clone()));
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        for (outer, inner) in pairs {
            self.add(&outer, None);
            self.destroys.entry(hash_key(&outer)).or_default().push(inner);
        }
    }

    /// Adds the edges of a type.
    fn connect(&mut self, node: NodeId) {
        let name = self.names[node.index()].clone();
        if library::is_plain(&name) {
            return;
        }
        if let Some((holding, held)) = library::holding(&name) {
            let kind = match holding {
                Holding::Boxed => EdgeKind::Boxed,
                Holding::Counted => EdgeKind::Counted,
                Holding::Weak => EdgeKind::Weak,
                Holding::Elements | Holding::ArenaElements => EdgeKind::Element,
                Holding::Inline => EdgeKind::Inline,
                Holding::Block | Holding::Nothing => return,
            };
            for argument in held {
                self.link(node, argument, kind, "");
            }
            return;
        }
        if let Some(object) = name.strip_prefix("dyn ") {
            self.connect_object(node, object);
            return;
        }
        match self.type_ids[node.index()] {
            Some(id) if self.facts.types.kind(id) != TypeKind::Unknown => self.connect_type(node, id, &name),
            _ => self.connect_name(node, &name),
        }
    }

    fn connect_object(&mut self, node: NodeId, object: &str) {
        // `dyn Tr + Send` has the virtual tables of `dyn Tr + Send`; without markers they are looked for too.
        let plain = object.split(" + ").next().unwrap_or(object);
        for spelling in [object, plain] {
            let found = self.implementors.get(&hash_key(&format!("dyn {spelling}"))).cloned();
            for concrete in found.unwrap_or_default() {
                self.link(node, &concrete, EdgeKind::Implementor, "");
            }
        }
    }

    /// Edges from fields and variants.
    fn connect_type(&mut self, node: NodeId, id: TypeId, name: &str) {
        let types = &self.facts.types;
        let kind = match types.kind(id) {
            TypeKind::Pointer | TypeKind::Function | TypeKind::Base | TypeKind::Unknown => return,
            TypeKind::Union => EdgeKind::Undropped,
            _ if type_name::base(name) == "core::mem::manually_drop::ManuallyDrop" => EdgeKind::Undropped,
            TypeKind::Struct | TypeKind::Enum | TypeKind::Array => EdgeKind::Inline,
        };
        let mut marked: Vec<String> = Vec::new();
        let mut raw = false;
        for member in types.members(id) {
            let Some(to) = member.target.and_then(|target| self.of_type(target)) else { continue };
            let target_name = self.name(to);
            raw |= target_name.starts_with('*')
                || target_name.starts_with("core::ptr::non_null::NonNull<")
                || target_name.starts_with("core::ptr::unique::Unique<");
            match target_name.strip_prefix("core::marker::PhantomData<").and_then(|rest| rest.strip_suffix('>')) {
                Some(marker) => marked.push(marker.to_owned()),
                None => self.link_node(node, to, kind, types.texts.get(member.label)),
            }
        }
        // A raw pointer beside a marker of what it owns: hash tables, channels, slabs. A marker of a borrow is none.
        let raw = raw || self.holds_raw_pointer(id, 3);
        for marker in marked.into_iter().filter(|marker| raw && !library::is_plain(marker)) {
            self.link(node, &marker, EdgeKind::Pointer, "");
        }
    }

    /// Whether a raw pointer lies by value inside a type, at most `depth` types deep.
    pub(crate) fn holds_raw_pointer(&self, id: TypeId, depth: u8) -> bool {
        self.raw_pointers.get(id.index()).is_some_and(|&at| at <= depth)
    }

    /// Edges from what the name and the glue say.
    fn connect_name(&mut self, node: NodeId, name: &str) {
        if let Some(element) = type_name::slice_element(name) {
            self.link(node, element, EdgeKind::Inline, "");
            return;
        }
        if let Some(elements) = type_name::tuple(name) {
            for (index, element) in elements.into_iter().enumerate() {
                self.link(node, element, EdgeKind::Inline, &format!("__{index}"));
            }
            return;
        }
        if type_name::base(name) == "core::mem::manually_drop::ManuallyDrop" {
            for argument in type_name::type_arguments(name) {
                self.link(node, argument, EdgeKind::Undropped, "");
            }
            return;
        }
        for inner in self.destroys.get(&hash_key(name)).cloned().unwrap_or_default() {
            self.link(node, &inner, EdgeKind::Inline, "");
        }
    }
}

/// For each type how many types lie around the nearest raw pointer inside it; 255 where there is none near.
fn raw_pointers(facts: &OwnershipFacts) -> Vec<u8> {
    /// Farther in, no answer depends on it.
    const DEEPEST: u8 = 4;
    const NONE: u8 = u8::MAX;
    let types = &facts.types;
    let mut found = vec![NONE; types.len()];
    for depth in 0..=DEEPEST {
        for id in types.ids() {
            if found[id.index()] != NONE {
                continue;
            }
            let holds = |target: TypeId| match types.kind(target) {
                TypeKind::Pointer => depth == 0 && types.short_name(target).starts_with('*'),
                TypeKind::Struct | TypeKind::Enum | TypeKind::Union => depth > 0 && found[target.index()] < depth,
                _ => false,
            };
            if types.members(id).iter().filter_map(|member| member.target).any(holds) {
                found[id.index()] = depth;
            }
        }
    }
    found
}

fn hash_key(name: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(type_name::key(name).as_bytes());
    hasher.finish()
}

/// A type name for people: paths shortened to their last segment, default arguments left out.
///
/// `std::collections::hash::map::HashMap<alloc::string::String, alloc::sync::Arc<a::S, Global>, RandomState, Global>` is
/// `HashMap<String, Arc<S>>`. Longer than a paragraph it ends in `…`.
pub fn short(name: &str) -> String {
    /// Closures of closures have names of some hundred characters; no one reads more.
    const LONGEST: usize = 600;
    let key = type_name::key(name);
    let mut out = String::with_capacity(key.len());
    let mut word = String::new();
    let mut rest = key.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ':' && rest.peek() == Some(&':') {
            rest.next();
            word.clear();
            continue;
        }
        if c.is_alphanumeric() || c == '_' || c == '{' || c == '}' || c == '#' {
            word.push(c);
            continue;
        }
        out.push_str(&word);
        if c == '(' && matches!(word.as_str(), "mut" | "const" | "dyn") {
            out.push(' '); // the key has no blank where none is needed to read it
        }
        word.clear();
        out.push(c);
        if c == ',' {
            out.push(' ');
        }
    }
    out.push_str(&word);
    if let Some((end, _)) = out.char_indices().nth(LONGEST) {
        out.truncate(end);
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        assert_eq!(
            short(
                "std::collections::hash::map::HashMap<alloc::string::String, alloc::sync::Arc<a::S, alloc::alloc::Global>, std::hash::random::RandomState, alloc::alloc::Global>"
            ),
            "HashMap<String, Arc<S>>"
        );
        assert_eq!(short("&mut (u8, a::B)"), "&mut (u8, B)");
        assert_eq!(short("alloc::boxed::Box<dyn a::B>"), "Box<dyn B>");
    }
}
