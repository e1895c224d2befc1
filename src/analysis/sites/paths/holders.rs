//! Which types hold a container by value: moved into one of them, a container lives on.

use crate::analysis::ownership::{EdgeKind, Graph, NodeId, library};
use crate::binary::catalogue;
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;
use std::cell::RefCell;

/// Types that hold a container by value, by key of the container.
pub(super) struct Holders {
    holders: HashMap<NodeId, Vec<NodeId>, FxBuildHasher>,
    /// By container: everything that holds it.
    reached: RefCell<HashMap<NodeId, HashSet<NodeId, FxBuildHasher>, FxBuildHasher>>,
}

impl Holders {
    pub fn new(graph: &Graph<'_>) -> Self {
        let mut holders: HashMap<NodeId, Vec<NodeId>, FxBuildHasher> = HashMap::default();
        for node in graph.ids() {
            for edge in graph.edges(node).iter().filter(|edge| matches!(edge.kind, EdgeKind::Inline | EdgeKind::Boxed | EdgeKind::Element))
            {
                holders.entry(edge.to).or_default().push(node);
            }
        }
        Holders { holders, reached: RefCell::default() }
    }

    /// The containers that a struct of a crate's own holds directly in its fields: names of their types.
    pub fn inside(&self, graph: &Graph<'_>, outer: NodeId) -> Vec<String> {
        let name = graph.name(outer);
        if library::is_standard(name) || library::holding(name).is_some() || name.starts_with("bumpalo::") || name.contains("{closure_env")
        {
            return Vec::new();
        }
        let fields = graph.edges(outer).iter().filter(|edge| edge.kind == EdgeKind::Inline).map(|edge| graph.name(edge.to));
        fields.filter(|field| catalogue::arena_elements(field).is_some()).map(str::to_owned).collect()
    }

    /// Whether `outer` holds the container with this key: by value, in a box or as elements of a collection.
    pub fn holds(&self, graph: &Graph<'_>, outer: &str, key: &str) -> bool {
        /// Types around a container that are looked at.
        const MOST: usize = 4096;
        let (Some(outer), Some(inner)) = (graph.find(outer), graph.find(key)) else { return false };
        let mut reached = self.reached.borrow_mut();
        let all = reached.entry(inner).or_insert_with(|| {
            let mut seen: HashSet<NodeId, FxBuildHasher> = HashSet::default();
            let mut queue = vec![inner];
            while let Some(at) = queue.pop() {
                for &holder in self.holders.get(&at).into_iter().flatten() {
                    if seen.len() < MOST && seen.insert(holder) {
                        queue.push(holder);
                    }
                }
            }
            seen
        });
        all.contains(&outer)
    }
}
