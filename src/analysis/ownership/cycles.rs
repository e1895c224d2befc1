//! Types that can form strong reference cycles: what `Rc` and `Arc` never free.
//!
//! A strongly connected component of the ownership graph with a count inside can be tied into a
//! cycle of values when something in it can change after construction (`RefCell`, `Mutex`), or with
//! `Rc::new_cyclic`. A `Weak` field that leads back says that the author thought of it. Recursive types
//! without counts (`struct Tree { kids: Vec<Tree> }`) are none. Components that close only through a
//! trait object are reported as such: every type used as that object is followed, not the one at run time.

use super::owners::{Step, render};
use super::{EdgeKind, Graph, NodeId, library, short};
use crate::binary::type_name;
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;
use std::collections::VecDeque;

/// How likely a cycle of values is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It can be tied after construction, and no `Weak` leads back.
    Suspect,
    /// It cannot be tied after construction, or looks handled.
    Low,
}

impl Rank {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Rank::Suspect => "suspect",
            Rank::Low => "low",
        }
    }
}

/// A component that can form a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Types with a name of their own in it, sorted; library wrappers are left out.
    pub types: Vec<String>,
    /// One way around: `CrawlSession .pages: Mutex<Vec<Arc<Page>>> .session: Arc<CrawlSession>`.
    pub path: String,
    /// How likely.
    pub rank: Rank,
    /// Why it is ranked so; a sentence without full stop.
    pub why: String,
    /// Every node of the component.
    pub nodes: Vec<NodeId>,
    /// Only types of the standard library: nothing a user could change.
    pub is_library: bool,
}

/// Components that are described at most.
const MOST_CYCLES: usize = 1000;
/// Types of one component that are listed; generic code makes hundreds of instances.
const MOST_TYPES: usize = 12;
/// Types in a component that closes only through trait objects, beyond which it says nothing: everything reaches everything through `dyn Any`.
const MOST_OBJECT_TYPES: usize = 24;

/// Every component that can form a cycle: suspects first, then by name.
pub fn cycles(graph: &Graph<'_>) -> Vec<Cycle> {
    let strict = components(graph, |kind| !matches!(kind, EdgeKind::Weak | EdgeKind::Implementor));
    let mut found: Vec<Cycle> = strict.iter().filter_map(|component| describe(graph, component, false)).collect();
    let known: HashSet<NodeId, FxBuildHasher> = strict.iter().filter(|c| counted(graph, c)).flatten().copied().collect();
    let open = components(graph, |kind| kind != EdgeKind::Weak);
    for component in open.iter().filter(|component| !component.iter().any(|node| known.contains(node))) {
        found.extend(describe(graph, component, true).filter(|cycle| cycle.types.len() <= MOST_OBJECT_TYPES));
    }
    found.sort_by(|a, b| (a.rank, a.is_library, &a.types).cmp(&(b.rank, b.is_library, &b.types)));
    // Instances of one generic differ in names only.
    found.dedup_by(|a, b| a.types == b.types && a.path == b.path);
    found.truncate(MOST_CYCLES);
    found
}

fn counted(graph: &Graph<'_>, component: &[NodeId]) -> bool {
    let inside: HashSet<NodeId, FxBuildHasher> = component.iter().copied().collect();
    component.iter().any(|&node| graph.edges(node).iter().any(|edge| edge.kind == EdgeKind::Counted && inside.contains(&edge.to)))
}

fn describe(graph: &Graph<'_>, component: &[NodeId], through_objects: bool) -> Option<Cycle> {
    if !counted(graph, component) {
        return None;
    }
    let inside: HashSet<NodeId, FxBuildHasher> = component.iter().copied().collect();
    let mut types: Vec<String> = component
        .iter()
        .map(|&node| graph.name(node))
        .filter(|name| {
            library::holding(name).is_none() && !name.starts_with("dyn ") && !name.starts_with(['(', '[']) && !is_part(graph, name)
        })
        .map(|name| type_name::display(name).into_owned())
        .collect();
    types.sort_unstable();
    types.dedup();
    let is_library = types.iter().all(|name| library::is_standard(name));
    if types.len() > MOST_TYPES && !through_objects {
        // Fold instances of generics.
        types = types.iter().map(|name| type_name::base(name).to_owned()).collect();
        types.dedup();
    }
    let cell = component.iter().map(|&node| graph.name(node)).find(|name| library::is_interior_mutable(name));
    let weak = component.iter().find_map(|&node| weak_back(graph, node, &inside));
    let (rank, why) = match (weak, cell) {
        (Some(weak), _) => (Rank::Low, format!("a `{}` leads back into it: looks handled", short(&weak))),
        (None, Some(cell)) if through_objects => {
            let objects: Vec<String> =
                component.iter().map(|&node| graph.name(node)).filter(|name| name.starts_with("dyn ")).map(short).collect();
            let object = objects.first().map_or("a trait object", String::as_str);
            let user = !library::is_standard(object.strip_prefix("dyn ").unwrap_or(object))
                && component.iter().any(|&node| {
                    let name = graph.name(node);
                    name.strip_prefix("dyn ").is_some_and(|object| !library::is_standard(object))
                });
            let why =
                format!("it closes through `{object}`, and can be tied after construction through a `{}`", type_name::last_segment(cell));
            (if user { Rank::Suspect } else { Rank::Low }, why)
        }
        (None, Some(cell)) => (
            Rank::Suspect,
            format!("it can be tied after construction through a `{}`, and nothing in it is `Weak`", type_name::last_segment(cell)),
        ),
        (None, None) => (Rank::Low, "nothing in it can change after construction: only `new_cyclic` could tie it".to_owned()),
    };
    let path = around(graph, component, &inside, through_objects)?;
    Some(Cycle { types, path, rank, why, nodes: component.to_vec(), is_library })
}

/// Whether a name is a variant or a closure of a type rather than a type people wrote.
fn is_part(graph: &Graph<'_>, name: &str) -> bool {
    name.contains("{closure_env") || type_name::split_path(name).is_some_and(|(front, _)| graph.find(front).is_some())
}

/// A `Weak` of a type in the component, held by value inside a type of the component.
fn weak_back(graph: &Graph<'_>, node: NodeId, inside: &HashSet<NodeId, FxBuildHasher>) -> Option<String> {
    /// Cells and options around a `Weak`.
    const DEEPEST: usize = 6;
    let mut queue: Vec<(NodeId, usize)> = vec![(node, 0)];
    let mut seen: HashSet<NodeId, FxBuildHasher> = HashSet::default();
    while let Some((at, depth)) = queue.pop() {
        for edge in graph.edges(at) {
            if edge.kind == EdgeKind::Weak && inside.contains(&edge.to) {
                return Some(graph.name(at).to_owned());
            }
            let descends = !inside.contains(&edge.to) && matches!(edge.kind, EdgeKind::Inline | EdgeKind::Element | EdgeKind::Boxed);
            if descends && depth < DEEPEST && seen.len() < 256 && seen.insert(edge.to) {
                queue.push((edge.to, depth + 1));
            }
        }
    }
    None
}

/// The shortest way around through a count.
fn around(graph: &Graph<'_>, component: &[NodeId], inside: &HashSet<NodeId, FxBuildHasher>, through_objects: bool) -> Option<String> {
    let mut best: Option<Vec<Step>> = None;
    let mut ordered: Vec<NodeId> = component.to_vec();
    ordered.sort_by_key(|&node| graph.name(node));
    for &counted in ordered.iter().filter(|&&node| graph.edges(node).iter().any(|edge| edge.kind == EdgeKind::Counted)).take(32) {
        for edge in graph.edges(counted).iter().filter(|edge| edge.kind == EdgeKind::Counted && inside.contains(&edge.to)) {
            let allow = |kind| kind != EdgeKind::Weak && (through_objects || kind != EdgeKind::Implementor);
            if let Some(way) = way(graph, edge.to, counted, inside, allow)
                && best.as_ref().is_none_or(|best| way.len() + 1 < best.len())
            {
                let mut steps = vec![Step { from: counted, edge: *edge }];
                steps.splice(0..0, way);
                best = Some(steps);
            }
        }
    }
    let mut steps = best?;
    // Start at a type that people wrote.
    let start =
        steps.iter().position(|step| library::holding(graph.name(step.from)).is_none() && !graph.name(step.from).starts_with("dyn "))?;
    steps.rotate_left(start);
    let way = render(graph, &steps);
    let arrow = if way.starts_with('.') { "" } else { "-> " };
    Some(format!("{} {arrow}{way}", short(graph.name(steps[0].from))))
}

fn way(
    graph: &Graph<'_>,
    from: NodeId,
    to: NodeId,
    inside: &HashSet<NodeId, FxBuildHasher>,
    allow: impl Fn(EdgeKind) -> bool,
) -> Option<Vec<Step>> {
    let mut before: HashMap<NodeId, Step, FxBuildHasher> = HashMap::default();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut steps = Vec::new();
            let mut node = to;
            while node != from {
                let step = *before.get(&node)?;
                steps.push(step);
                node = step.from;
            }
            steps.reverse();
            return Some(steps);
        }
        for edge in graph.edges(at).iter().filter(|edge| allow(edge.kind) && inside.contains(&edge.to) && edge.to != from) {
            if !before.contains_key(&edge.to) {
                before.insert(edge.to, Step { from: at, edge: *edge });
                queue.push_back(edge.to);
            }
        }
    }
    None
}

/// Strongly connected components of more than one type or with an edge to itself (Tarjan, without recursion).
fn components(graph: &Graph<'_>, allow: impl Fn(EdgeKind) -> bool) -> Vec<Vec<NodeId>> {
    const UNSEEN: u32 = u32::MAX;
    let count = graph.len();
    let mut index = vec![UNSEEN; count];
    let mut low = vec![0u32; count];
    let mut on_stack = vec![false; count];
    let mut stack: Vec<NodeId> = Vec::new();
    let mut next = 0u32;
    let mut found = Vec::new();
    let mut work: Vec<(NodeId, usize)> = Vec::new();
    for root in graph.ids() {
        if index[root.index()] != UNSEEN {
            continue;
        }
        work.push((root, 0));
        while let Some(&mut (node, ref mut at)) = work.last_mut() {
            if *at == 0 && index[node.index()] == UNSEEN {
                index[node.index()] = next;
                low[node.index()] = next;
                next += 1;
                stack.push(node);
                on_stack[node.index()] = true;
            }
            let edges = graph.edges(node);
            if let Some(edge) = edges.get(*at) {
                *at += 1;
                if !allow(edge.kind) {
                    continue;
                }
                if index[edge.to.index()] == UNSEEN {
                    work.push((edge.to, 0));
                } else if on_stack[edge.to.index()] {
                    low[node.index()] = low[node.index()].min(index[edge.to.index()]);
                }
                continue;
            }
            work.pop();
            if let Some(&(parent, _)) = work.last() {
                low[parent.index()] = low[parent.index()].min(low[node.index()]);
            }
            if low[node.index()] == index[node.index()] {
                let mut component = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack[member.index()] = false;
                    component.push(member);
                    if member == node {
                        break;
                    }
                }
                let loops = component.len() > 1 || graph.edges(node).iter().any(|edge| edge.to == node && allow(edge.kind));
                if loops {
                    component.sort_unstable();
                    found.push(component);
                }
            }
        }
    }
    found
}
