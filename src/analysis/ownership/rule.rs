//! Does dropping a value give heap memory back? `yes` with the member path that shows it, `maybe` with the reason, or `no`.
//!
//! The rule reads types; where it cannot tell (hand-written owners behind raw pointers), the machine
//! code of the drop glue settles it. Without types the glue decides from the start.

use super::library::{self, Holding};
use super::{EdgeKind, Graph, NodeId};
use crate::binary::facts::Level;
use crate::binary::type_name;
use crate::binary::types::TypeKind;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owns {
    /// It owns heap memory.
    Yes(Via),
    /// It cannot be told, and why.
    Maybe(String),
    /// It owns none.
    No,
}

/// The path to the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// Field names from the type inwards; positions are numbers.
    pub fields: Vec<String>,
    /// The type that owns the memory.
    pub owner: String,
}

impl Via {
    /// `.1.ops: alloc::vec::Vec<a::Op>`; only the type where it owns memory itself.
    pub fn text(&self) -> String {
        let owner = type_name::display(&self.owner);
        if self.fields.is_empty() {
            return owner.into_owned();
        }
        format!("{}: {owner}", self.fields.iter().map(|field| format!(".{field}")).collect::<String>())
    }
}

impl Owns {
    /// The word in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Owns::Yes(_) => "yes",
            Owns::Maybe(_) => "maybe",
            Owns::No => "no",
        }
    }

    /// Whether it owns memory for sure.
    pub fn is_yes(&self) -> bool {
        matches!(self, Owns::Yes(_))
    }
}

/// Types that are looked at for one answer. Real types reach some hundred.
const MOST_VISITS: usize = 20_000;
/// Types within each other that are followed.
const DEEPEST: usize = 128;

impl Graph<'_> {
    /// Whether the type with this name owns heap memory.
    pub fn owns(&self, name: &str) -> Owns {
        let mut walk = Walk { graph: self, visits: 0, open: Vec::new() };
        walk.name(name)
    }
}

struct Walk<'g, 'f> {
    graph: &'g Graph<'f>,
    visits: usize,
    open: Vec<NodeId>,
}

impl Walk<'_, '_> {
    fn name(&mut self, name: &str) -> Owns {
        if library::is_plain(name) {
            return Owns::No;
        }
        match self.graph.find(name) {
            Some(node) => self.node(node),
            None => self.unknown(name),
        }
    }

    fn node(&mut self, node: NodeId) -> Owns {
        let name = self.graph.name(node).to_owned();
        if library::is_plain(&name) || self.open.contains(&node) {
            return Owns::No; // a recursive type owns what its other members own
        }
        self.visits += 1;
        if self.visits > MOST_VISITS || self.open.len() >= DEEPEST {
            return Owns::Maybe("the type nests too deeply to be followed".to_owned());
        }
        if let Some((holding, _)) = library::holding(&name) {
            match holding {
                Holding::Boxed | Holding::Counted | Holding::Weak | Holding::Elements | Holding::Block => {
                    return Owns::Yes(Via { fields: Vec::new(), owner: name });
                }
                Holding::Nothing => return Owns::No,
                Holding::Inline | Holding::ArenaElements => {}
            }
        }
        if name.starts_with("dyn ") {
            return Owns::Maybe(format!("`{}` is a trait object: its concrete type is not known here", type_name::display(&name)));
        }
        self.open.push(node);
        let mut answer = self.members(node);
        self.open.pop();
        // Types of the tables hide nothing: what they hold was asked.
        if answer == Owns::No && library::holding(&name).is_none() {
            answer = self.hidden(node, &name);
        }
        if let Owns::Maybe(reason) = &answer {
            // The machine code of the glue settles it.
            return match self.graph.facts.glue.frees(&name) {
                Some(true) => Owns::Yes(Via { fields: Vec::new(), owner: name }),
                Some(false) => Owns::No,
                None => Owns::Maybe(reason.clone()),
            };
        }
        answer
    }

    fn members(&mut self, node: NodeId) -> Owns {
        let mut unsure = Owns::No;
        let graph = self.graph;
        for edge in graph.edges(node) {
            if !matches!(edge.kind, EdgeKind::Inline | EdgeKind::Element | EdgeKind::Pointer | EdgeKind::Counted | EdgeKind::Boxed) {
                continue;
            }
            match self.node(edge.to) {
                Owns::Yes(mut via) => {
                    let label = graph.label(edge);
                    if !label.is_empty() && is_told(graph.name(node)) {
                        via.fields.insert(
                            0,
                            label.strip_prefix("__").filter(|rest| rest.bytes().all(|b| b.is_ascii_digit())).unwrap_or(label).to_owned(),
                        );
                    }
                    return Owns::Yes(via);
                }
                Owns::Maybe(reason) if unsure == Owns::No => unsure = Owns::Maybe(reason),
                _ => {}
            }
        }
        unsure
    }

    /// Owners that the members do not show: a raw pointer and a `Drop` implementation, or no types at all.
    fn hidden(&mut self, node: NodeId, name: &str) -> Owns {
        let graph = self.graph;
        let described = graph.type_id(node).filter(|&id| graph.facts.types.kind(id) != TypeKind::Unknown);
        let Some(id) = described else { return self.unknown(name) };
        if !matches!(graph.facts.types.kind(id), TypeKind::Struct | TypeKind::Enum)
            || !graph.has_drop_impl(name)
            || !graph.holds_raw_pointer(id, 4)
        {
            return Owns::No;
        }
        for parameter in graph.facts.types.parameters(id).iter().filter_map(|parameter| parameter.target) {
            let parameter = graph.facts.types.name(parameter);
            if let Owns::Yes(via) = self.name(&parameter) {
                return Owns::Yes(via);
            }
        }
        Owns::Maybe(format!("`{}` frees something behind a raw pointer by hand", type_name::display(name)))
    }

    /// A type that is only known by name.
    fn unknown(&mut self, name: &str) -> Owns {
        if type_name::tuple(name).is_some() || type_name::slice_element(name).is_some() || name == "core::mem::manually_drop::ManuallyDrop"
        {
            return Owns::No; // made of its elements, which were asked
        }
        if library::holding(name).is_some() || type_name::base(name) == "core::mem::manually_drop::ManuallyDrop" {
            return Owns::No;
        }
        match self.graph.facts.glue.frees(name) {
            Some(true) => Owns::Yes(Via { fields: Vec::new(), owner: name.to_owned() }),
            Some(false) => Owns::No,
            None if self.graph.facts.level == Level::Types => Owns::No,
            None => Owns::Maybe("no types in the debug info, and no drop glue of it in the machine code".to_owned()),
        }
    }
}

/// Whether fields of a type are worth telling: those inside the standard library are not.
fn is_told(name: &str) -> bool {
    !library::is_standard(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_code() {
        let via = Via { fields: vec!["1".into(), "ops".into()], owner: "alloc::vec::Vec<a::Op, alloc::alloc::Global>".into() };
        assert_eq!(via.text(), ".1.ops: alloc::vec::Vec<a::Op>");
        assert_eq!(Via { fields: vec![], owner: "alloc::string::String".into() }.text(), "alloc::string::String");
    }
}
