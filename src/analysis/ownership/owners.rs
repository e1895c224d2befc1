//! Who holds a type: every owner with its shortest path, and the statics and thread-locals at the roots.

use super::library::{self, Holding};
use super::{Edge, EdgeKind, Graph, NodeId, short};
use crate::binary::type_name;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::collections::VecDeque;

/// One edge of a path with the type it starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The owner.
    pub from: NodeId,
    /// What it holds.
    pub edge: Edge,
}

/// A type that holds the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name; arguments are left out where several instances were folded.
    pub type_name: String,
    /// How many instances of a generic type were folded into this line; 1 for a plain type.
    pub instances: usize,
    /// From its fields to the target: `.scratch: Arc<Scratch> .bump`.
    pub path: String,
    /// Steps from it to the target.
    pub distance: usize,
    /// Strong counts on the way.
    pub counts: usize,
    /// Statics and thread-locals that reach it, sorted.
    pub roots: Vec<String>,
    /// Part of the standard library.
    pub is_library: bool,
    /// Its node (the first instance).
    pub node: NodeId,
}

/// A static or thread-local that reaches the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Qualified name.
    pub name: String,
    /// One for each thread.
    pub thread_local: bool,
    /// From its type to the target.
    pub path: String,
    /// Its type.
    pub type_name: String,
    /// Strong counts on the way.
    pub counts: usize,
    /// Its address in the file's own addresses; 0 where unknown.
    pub address: u64,
}

/// Who holds a type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Types that were asked for: instances and same-named types.
    pub targets: Vec<String>,
    /// Owners by distance, then by name.
    pub owners: Vec<Owner>,
    /// Roots by name.
    pub roots: Vec<Root>,
    /// Types that hold the farthest owners: whether more hold those is not followed.
    pub too_far: usize,
}

/// Shortest ways from every type to a set of targets.
#[derive(Debug)]
pub struct Ways {
    next: HashMap<NodeId, Step, FxBuildHasher>,
    reached: Vec<bool>,
    /// Targets and owners in order of distance.
    order: Vec<NodeId>,
    /// Types that are farther away than [`FARTHEST`], and not followed.
    too_far: usize,
}

/// Types between an owner and what it owns that are followed. Real ways have fewer than thirty.
const FARTHEST: u32 = 128;
/// Steps of a way that are shown, at its begin and at its end.
const SHOWN_STEPS: usize = 24;

impl Ways {
    /// Breadth-first from the targets, backwards. `Weak` and union members are followed by no path but the latter from statics.
    pub fn to(graph: &Graph<'_>, targets: &[NodeId]) -> Ways {
        let mut holders: Vec<Vec<Step>> = vec![Vec::new(); graph.len()];
        for node in graph.ids() {
            for &edge in graph.edges(node).iter().filter(|edge| edge.kind != EdgeKind::Weak) {
                holders[edge.to.index()].push(Step { from: node, edge });
            }
        }
        let mut ways = Ways { next: HashMap::default(), reached: Vec::new(), order: Vec::new(), too_far: 0 };
        let mut seen = vec![false; graph.len()];
        let mut queue: VecDeque<(NodeId, u32)> = VecDeque::new();
        for &target in targets {
            if !std::mem::replace(&mut seen[target.index()], true) {
                queue.push_back((target, 0));
            }
        }
        while let Some((at, distance)) = queue.pop_front() {
            ways.order.push(at);
            if distance >= FARTHEST {
                ways.too_far += holders[at.index()].iter().filter(|step| !seen[step.from.index()]).count();
                continue;
            }
            for &step in &holders[at.index()] {
                if !std::mem::replace(&mut seen[step.from.index()], true) {
                    ways.next.insert(step.from, step);
                    queue.push_back((step.from, distance + 1));
                }
            }
        }
        ways.reached = seen;
        ways
    }

    /// The way from a type to the nearest target; empty for a target itself, `None` where there is none.
    pub fn from(&self, node: NodeId) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        let mut at = node;
        while let Some(&step) = self.next.get(&at) {
            steps.push(step);
            at = step.edge.to;
        }
        self.reach(node).then_some(steps)
    }

    /// Whether a type reaches a target.
    pub fn reach(&self, node: NodeId) -> bool {
        self.reached[node.index()]
    }
}

impl Graph<'_> {
    /// Types that a name given by people means: the full name, the path without arguments, or its last segments.
    pub fn matching(&self, name: &str) -> Vec<NodeId> {
        if let Some(exact) = self.find(name).filter(|_| name.contains('<')) {
            return vec![exact];
        }
        let suffix = format!("::{name}");
        self.ids()
            .filter(|&node| {
                let base = type_name::base(self.name(node));
                base == name || base.ends_with(&suffix)
            })
            .collect()
    }

    /// Who holds the types that `name` means.
    pub fn owners(&self, name: &str) -> Owners {
        let targets = self.matching(name);
        let ways = Ways::to(self, &targets);
        let roots = self.roots(&ways);
        let mut result =
            Owners { targets: targets.iter().map(|&node| type_name::display(self.name(node)).into_owned()).collect(), ..Owners::default() };
        result.targets.sort_unstable();
        result.targets.dedup();

        // Which roots pass through which types: along the way of each root.
        let mut root_names: HashMap<NodeId, Vec<String>, FxBuildHasher> = HashMap::default();
        for (root, node) in &roots {
            for step in ways.from(*node).unwrap_or_default() {
                root_names.entry(step.from).or_default().push(root.name.clone());
            }
        }
        let mut owners: Vec<Owner> = Vec::new();
        // Targets are what no way leads on from.
        for &node in ways.order.iter().filter(|node| ways.next.contains_key(*node)) {
            let name = self.name(node);
            // Wrappers are shown inside the paths of those who hold them.
            if library::holding(name).is_some()
                || name.starts_with(['(', '[', '&', '*'])
                || name.starts_with("dyn ")
                || self.is_variant(name)
            {
                continue;
            }
            let Some(steps) = ways.from(node) else { continue };
            let mut names = root_names.remove(&node).unwrap_or_default();
            names.sort_unstable();
            names.dedup();
            owners.push(Owner {
                type_name: type_name::display(name).into_owned(),
                instances: 1,
                path: render(self, &steps),
                distance: steps.len(),
                counts: counts(&steps),
                roots: names,
                is_library: library::is_standard(name),
                node,
            });
        }
        result.owners = fold(owners);
        result.too_far = ways.too_far;
        result.roots = roots.into_iter().map(|(root, _)| root).collect();
        result
    }

    /// Every static and thread-local of the program and its dependencies that holds heap memory, with the way to the
    /// nearest type that has some, and how many of the standard library do.
    pub fn heap_roots(&self) -> (Owners, usize) {
        let has_memory = |&node: &NodeId| {
            let holding = library::holding(self.name(node)).map(|(holding, _)| holding);
            matches!(holding, Some(Holding::Boxed | Holding::Counted | Holding::Weak | Holding::Elements | Holding::Block))
        };
        let targets: Vec<NodeId> = self.ids().filter(has_memory).collect();
        let roots = self.roots(&Ways::to(self, &targets)).into_iter().map(|(root, _)| root);
        let (library, roots): (Vec<Root>, Vec<Root>) = roots.partition(|root| library::is_standard(&root.name));
        (Owners { roots, ..Owners::default() }, library.len())
    }

    /// Every static and thread-local that reaches a target of `ways`, by name, with the node of its type.
    pub fn roots(&self, ways: &Ways) -> Vec<(Root, NodeId)> {
        let types = &self.facts.types;
        let mut found: Vec<(Root, NodeId)> = Vec::new();
        for variable in &types.statics {
            let Some(node) = variable.type_id.and_then(|id| self.of_type(id)) else { continue };
            let Some(steps) = ways.from(node) else { continue };
            let name = types.path(variable.path);
            // Virtual tables, string constants and the like are no holders.
            if name.contains("{vtable") || library::is_plain(self.name(node)) {
                continue;
            }
            found.push((
                Root {
                    name,
                    thread_local: variable.thread_local,
                    path: render(self, &steps),
                    type_name: type_name::display(self.name(node)).into_owned(),
                    counts: counts(&steps),
                    address: variable.address,
                },
                node,
            ));
        }
        found.sort_by(|a, b| (&a.0.name, a.0.thread_local, a.0.address).cmp(&(&b.0.name, b.0.thread_local, b.0.address)));
        found.dedup_by(|a, b| a.0.name == b.0.name && a.0.thread_local == b.0.thread_local);
        found
    }

    /// Whether a name is that of an enum's variant.
    fn is_variant(&self, name: &str) -> bool {
        !name.contains("{closure_env")
            && type_name::split_path(name).is_some_and(|(front, _)| front.contains("::") && self.find(front).is_some())
    }
}

/// Strong counts on a way.
fn counts(steps: &[Step]) -> usize {
    steps.iter().filter(|step| step.edge.kind == EdgeKind::Counted).count()
}

/// One line for all instances of a generic type that hold the target the same way.
fn fold(owners: Vec<Owner>) -> Vec<Owner> {
    let mut folded: Vec<Owner> = Vec::new();
    let mut by_base: HashMap<String, usize, FxBuildHasher> = HashMap::default();
    for owner in owners {
        let base = type_name::base(&owner.type_name).to_owned();
        match by_base.get(&base) {
            Some(&at) => {
                let first = &mut folded[at];
                first.instances += 1;
                first.type_name = format!("{base}<..>");
                first.roots.extend(owner.roots);
                first.roots.sort_unstable();
                first.roots.dedup();
            }
            None => {
                by_base.insert(base, folded.len());
                folded.push(owner);
            }
        }
    }
    folded.sort_by(|a, b| (a.is_library, a.distance, &a.type_name).cmp(&(b.is_library, b.distance, &b.type_name)));
    folded
}

/// A path for people: the fields that people named, each with its type where it is more than the next type by value.
///
/// `.by_name: HashMap<String, Arc<IndexState>> .scratch: Arc<Scratch> .bump: Mutex<Bump>`
pub fn render(graph: &Graph<'_>, steps: &[Step]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut at = 0;
    while at < steps.len() {
        if at == SHOWN_STEPS && steps.len() > 2 * SHOWN_STEPS {
            at = steps.len() - SHOWN_STEPS;
            parts.push(format!("… {} more …", at - SHOWN_STEPS));
        }
        let step = steps[at];
        let from = graph.name(step.from);
        let label = graph.label(&step.edge);
        let is_wrapper = library::is_standard(from) || library::holding(from).is_some();
        if is_wrapper && step.edge.kind != EdgeKind::Implementor {
            // A static's own type, or a wrapper that no field introduced.
            if parts.is_empty() && at == 0 {
                parts.push(short(from));
            }
            at += 1;
            continue;
        }
        let to = graph.name(step.edge.to);
        if step.edge.kind == EdgeKind::Implementor {
            parts.push(format!("(as `{}`)", short(from)));
            at += 1;
            continue;
        }
        let field = match label.strip_prefix("__").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
            Some(number) => format!(".{number}"),
            None if label.is_empty() => String::new(),
            None => format!(".{label}"),
        };
        let shown = library::holding(to).is_some() || library::is_standard(to) || to.starts_with(['(', '[']);
        parts.push(match (field.is_empty(), shown) {
            (false, true) => format!("{field}: {}", short(to)),
            (false, false) => field,
            (true, _) if parts.is_empty() => short(to),
            (true, _) => format!("-> {}", short(to)),
        });
        at += 1;
    }
    parts.join(" ")
}
