//! Where a container that leaves a function undropped went: to the caller, to a callee, into another value.

use super::{Held, holders::Holders};
use crate::analysis::ownership::Graph;
use crate::analysis::walk;
use crate::binary::catalogue;
use crate::binary::code::Flow;
use crate::binary::facts::{Function, Level, OwnershipFacts};
use crate::binary::glue;
use crate::binary::type_name;
use crate::binary::types::TypeId;
use std::collections::BTreeMap;

/// Why the way that leaves is fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// It is said.
    Because(String),
    /// It is judged elsewhere and not listed twice.
    Silently,
}

/// Why a container that some way leaves undropped is not lost there; `None` when nothing shows that.
pub(super) fn moved(
    graph: &Graph<'_>,
    holders: &Holders,
    held: &[BTreeMap<String, Held>],
    index: usize,
    key: &str,
    container: &Held,
    frame: Option<u32>,
) -> Option<Moved> {
    let facts = graph.facts;
    let function = &facts.functions[index];
    let name_id = frame.map_or(function.body.name, |frame| function.body.inlined[frame as usize].name);
    let name = &facts.names[name_id as usize];
    let is_or_holds = |id| {
        let returned = facts.types.name(id);
        type_name::key(&returned) == key || holders.holds(graph, &returned, key)
    };
    if name.returns.is_some_and(is_or_holds) {
        return Some(Moved::Silently); // moved to the caller, judged there
    }
    if consumed(facts, function, key) {
        return Some(Moved::Because("consumed by its iterator (`into_iter`)".to_owned()));
    }
    if let Some(callee) = taken(graph, held, index, key, container) {
        return Some(callee);
    }
    if facts.level != Level::Types && returned_to_caller(facts, held, index, key, container) {
        return Some(Moved::Silently);
    }
    if facts.level == Level::Types && !has_slice(graph, function, key, name.returns) {
        // By value, or behind a reference: `self.batches.push(rows)`.
        let into = function.body.locals.iter().filter(|local| !container.inside.contains(&local.type_id)).find_map(|local| {
            let name = facts.types.name(local.type_id);
            let holder = name.strip_prefix("&mut ").unwrap_or(&name);
            (!holder.starts_with("core::mem::")
                && !holder.starts_with("core::option::Option<")
                && container.inside.iter().all(|&inside| facts.types.name(inside) != holder)
                && holders.holds(graph, holder, key))
            .then(|| holder.to_owned())
        });
        if let Some(into) = into {
            return Some(Moved::Because(format!("moved into a `{}`, which holds it by value", type_name::display(&into))));
        }
    }
    None
}

/// `IntoIter` of the same elements: a variable, glue, or an inlined `into_iter`.
fn consumed(facts: &OwnershipFacts, function: &Function, key: &str) -> bool {
    let is_iterator = |name: &str| is_iterator_of(key, name);
    function
        .body
        .locals
        .iter()
        .any(|local| facts.types.short_name(local.type_id).starts_with("IntoIter<") && is_iterator(&facts.types.name(local.type_id)))
        || function.body.inlined.iter().any(|inlined| {
            let name = &facts.names[inlined.name as usize];
            type_name::base(&name.name) == "drop_in_place" && glue::subject_of(&name.name).is_some_and(|subject| is_iterator(&subject))
                || type_name::base(&name.name) == "into_iter"
                    && name.path.contains("bumpalo::collections::vec::Vec as")
                    && name.arguments.first().is_none_or(|argument| key.ends_with(&format!("<{}>", type_name::key(&argument.name))))
        })
        || called(facts, function).any(|callee| callee.destroys.as_deref().is_some_and(is_iterator))
}

/// Whether a type is the iterator that takes the elements out of a container: `IntoIter` of its module, with its elements.
fn is_iterator_of(container: &str, name: &str) -> bool {
    let (Some((of_type, _)), Some(elements)) = (type_name::split_arguments(container), catalogue::arena_elements(container)) else {
        return false;
    };
    let name = type_name::key(name);
    let Some((iterator, _)) = type_name::split_arguments(&name) else { return false };
    let module = of_type.rsplit_once("::").map_or("", |(module, _)| module);
    let inside = iterator.strip_prefix(module).and_then(|rest| rest.strip_suffix("IntoIter"));
    inside.is_some_and(|between| between.starts_with("::") && between.ends_with("::"))
        && type_name::type_arguments(&name).starts_with(&elements)
}

pub(super) fn called<'f>(facts: &'f OwnershipFacts, function: &'f Function) -> impl Iterator<Item = &'f crate::binary::facts::Callee> {
    function.code.iter().flat_map(|code| &code.steps).filter_map(|step| match step.flow {
        Flow::Call(Some(target)) | Flow::Jump(Some(target)) => walk::callee(facts, target),
        _ => None,
    })
}

/// A called function that holds the container without making it: it was moved there, and is judged there.
fn taken(graph: &Graph<'_>, held: &[BTreeMap<String, Held>], index: usize, key: &str, container: &Held) -> Option<Moved> {
    let facts = graph.facts;
    let function = &facts.functions[index];
    for callee in called(facts, function) {
        let Some(at) = callee.function.map(|at| at as usize).filter(|&at| at != index) else { continue };
        let Some(other) = held[at].get(key) else { continue };
        let by_value = other.variables.iter().any(|&(frame, _, is_parameter)| frame.is_none() && is_parameter);
        let untold = facts.level != Level::Types && other.made.is_empty() && !container.made.is_empty();
        if by_value || untold {
            return Some(Moved::Silently);
        }
    }
    None
}

/// Without types: a caller holds the container too and does not make it, so this function, which makes it, returns it.
fn returned_to_caller(facts: &OwnershipFacts, held: &[BTreeMap<String, Held>], index: usize, key: &str, container: &Held) -> bool {
    if container.made.is_empty() {
        return false;
    }
    let Some(start) = facts.functions[index].body.ranges.first().map(|range| range.0) else { return false };
    facts.functions.iter().enumerate().any(|(at, function)| {
        at != index
            && held[at].get(key).is_some_and(|other| other.made.is_empty())
            && called(facts, function).any(|callee| callee.address == start)
    })
}

/// A variable or result that is, or holds, a slice of the container's elements: what freezing gives.
fn has_slice(graph: &Graph<'_>, function: &Function, key: &str, returns: Option<TypeId>) -> bool {
    let facts = graph.facts;
    let Some(element) = key.split_once('<').and_then(|(_, rest)| rest.strip_suffix('>')) else { return false };
    let slices = [format!("&[{element}]"), format!("&mut [{element}]")];
    let is_slice = |id| slices.contains(&type_name::key(&facts.types.name(id)));
    let holds_slice = |id| is_slice(id) || facts.types.members(id).iter().filter_map(|member| member.target).any(is_slice);
    function.body.locals.iter().any(|local| is_slice(local.type_id)) || returns.is_some_and(holds_slice)
}

#[cfg(test)]
mod tests {
    use super::is_iterator_of;

    #[test]
    fn iterators_belong_to_their_container() {
        let map = "hashbrown::map::HashMap<u32,app::Doc,foldhash::S,&bumpalo::Bump<1>>";
        assert!(is_iterator_of(map, "hashbrown::map::IntoIter<u32, app::Doc, &bumpalo::Bump<1>>"));
        assert!(!is_iterator_of(map, map), "its own destructor takes nothing out");
        assert!(!is_iterator_of(map, "hashbrown::map::IntoIter<u32, app::Other, &bumpalo::Bump<1>>"));
        let vec = "bumpalo::collections::vec::Vec<(u32,alloc::vec::Vec<u8>)>";
        assert!(is_iterator_of(vec, "bumpalo::collections::vec::IntoIter<(u32, alloc::vec::Vec<u8>)>"));
        assert!(!is_iterator_of(vec, "alloc::vec::into_iter::IntoIter<u8>"));
        assert!(is_iterator_of(
            "alloc::vec::Vec<app::Doc,&bumpalo::Bump<1>>",
            "alloc::vec::into_iter::IntoIter<app::Doc, &bumpalo::Bump<1>>"
        ));
    }
}
