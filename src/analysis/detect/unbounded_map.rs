//! A map that is only ever inserted into: a cache without eviction, a registry without removal.
//!
//! The keys' and values' own memory is allocated before they are inserted; what shows the map is its table or its
//! nodes, often on another stack of the same group.

use super::{Detector, Match, NAME, Step, Strand, Trace};
use crate::analysis::finding::Evidence;
use crate::model::frame::Role;

/// Maps and sets whose table is one allocation.
const TABLES: &[&str] = &[
    "hashbrown",
    "std::collections::hash",
    "indexmap",
    "dashmap",
    "papaya",
    "scc",
    "ahash",
    "std::_Hashtable",
    "std::__1::unordered_map",
    "std::unordered_map",
    "std::unordered_set",
    "absl",
    "folly::f14",
    "boost::unordered",
    "phmap",
    "robin_hood",
    "ankerl::unordered_dense",
    "llvm::DenseMapBase",
    "llvm::StringMapImpl",
];
/// Maps and sets whose nodes are allocated one by one.
const TREES: &[&str] = &[
    "alloc::collections::btree",
    "std::_Rb_tree",
    "std::map",
    "std::set",
    "crossbeam_skiplist",
    "im::ord",
    "im::hash",
    "rpds",
    "std::__detail::_Hashtable_alloc",
];
/// What fills a map.
const FILLS: &[&str] = &[
    "insert",
    "insert_full",
    "insert_unique",
    "insert_unique_unchecked",
    "insert_entry",
    "insert_recursing",
    "insert_recursing_mut",
    "try_insert",
    "replace",
    "entry",
    "rustc_entry",
    "or_insert",
    "or_insert_with",
    "or_insert_with_key",
    "or_default",
    "get_or_insert_with",
    "find_or_find_insert_index",
    "find_or_find_insert_slot",
    "raw_entry_mut",
    "extend",
    "push",
    "reserve",
    "emplace",
    "try_emplace",
    "insert_or_assign",
    "operator[]",
    "_M_emplace",
    "_M_emplace_hint_unique",
    "_M_emplace_unique",
    "_M_insert_unique_node",
    "_M_insert_unique",
    "_M_insert_",
    "_M_rehash",
    "_M_rehash_aux",
    "_M_allocate_node",
    "_M_create_node",
    "_M_get_node",
    "_M_insert_bucket_begin",
    "prepare_insert",
    "rehash",
    "grow",
    "RehashTable",
];
/// What makes a map of known contents at once: not growth of a map that lives.
const MAKES: &[&str] = &[
    "clone",
    "from_iter",
    "from",
    "with_capacity",
    "with_capacity_and_hasher",
    "with_capacity_and_hasher_in",
    "bulk_build_from_sorted_iter",
    "append",
    "collect",
];
/// A smaller table belongs to one of many small maps, which are somebody's payload: 4 KiB hold some dozens of entries.
const LEAST_TABLE: f64 = 4096.0;

pub(super) const DETECTOR: Detector = Detector {
    id: "unbounded_map",
    summary: "a map is inserted into and nothing is removed",
    shown_by: "a stack of the group on which a map grows its table or adds a node (`HashMap`, `BTreeMap`, `IndexMap`, `DashMap`, `std::map`, `std::unordered_map`, absl, folly), for a table of at least 4 KiB.",
    near_misses: "Caches with a capacity (moka, lru, quick_cache); maps that are cloned or collected at once; many small maps, each part of some object; a table that doubles once.",
    fix: "Evict by size, age or count, or remove the entry where its key's life ends.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let (strand, step) = trace.stacks.iter().find_map(|strand| filling(strand).map(|step| (strand, step)))?;
    let mut evidence = vec![step.shows(format!("`{}` adds entries to a map", step.name()))];
    if !std::ptr::eq(strand, trace.heaviest()) {
        evidence.push(Evidence::new(
            "the map and the heaviest stack grow together: its keys or values hold that memory",
            "stacks of the group",
        ));
    }
    Some(Match {
        weight: NAME,
        evidence,
        remedy: format!(
            "evict from the map that `{}` fills (by size, age or count), or remove each entry where the life of its key ends; check that removal uses the same key as insertion",
            strand.caller(step).unwrap_or_else(|| trace.owner())
        ),
        refuted_by: "the set of keys is bounded and growth ends when all were seen, or entries are removed later".to_owned(),
        keywords: vec!["cache without eviction", "HashMap insert without remove", "registry growth"],
    })
}

/// The frame on which a map is filled with the stack's memory: its own table or node, or what a closure makes for it.
fn filling<'s, 'a>(strand: &'s Strand<'a>) -> Option<&'s Step<'a>> {
    if strand.pool().is_some() {
        return None;
    }
    let near = strand.near(1);
    let of_map = |step: &&Step<'_>| TABLES.iter().chain(TREES).any(|prefix| step.path.within(prefix));
    if near.iter().filter(of_map).any(|step| MAKES.contains(&step.path.last())) {
        return None;
    }
    // The outermost one is the operation that people know: `HashMap::insert` rather than `RawTable::reserve`.
    let step = near.iter().filter(of_map).rfind(|step| FILLS.contains(&step.path.last()))?;
    let own = !near[..step.index].iter().any(|inner| inner.frame.role == Some(Role::User));
    let table = TABLES.iter().any(|prefix| step.path.within(prefix));
    (!(own && table) || strand.object_bytes >= LEAST_TABLE).then_some(step)
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    const TABLE: &str = "a malloc\nl hashbrown::raw::RawTableInner::resize_inner\nl hashbrown::raw::RawTable<T,A>::reserve_rehash\nl hashbrown::map::HashMap<K,V,S,A>::insert\nl std::collections::hash::map::HashMap<K,V,S,A>::insert\nu app::Memo::remember\nu app::serve";

    #[test]
    fn tables_and_nodes() {
        let (id, found) = Sketch::new(TABLE).object_bytes(1_048_577.0).examine().unwrap();
        assert_eq!(id, "unbounded_map");
        assert_eq!(found.evidence[0].claim, "`std::collections::hash::map::HashMap::insert` adds entries to a map");
        check(
            "a malloc\nl alloc::collections::btree::node::NodeRef<K,V,T>::insert_recursing\nl alloc::collections::btree::map::entry::VacantEntry<K,V,A>::insert\nl alloc::collections::btree::map::BTreeMap<K,V,A>::insert\nu app::index",
            Some("unbounded_map"),
        );
        check(
            "a operator new(unsigned long)\nl std::_Rb_tree<int, int>::_M_create_node(int const&)\nl std::map<int, int>::operator[](int const&)\nu app::index(int)",
            Some("unbounded_map"),
        );
    }

    #[test]
    fn the_values_may_be_heavier_than_the_map() {
        let sketch = Sketch::new("a malloc\nl alloc::string::String::push_str\nu app::render").beside(TABLE, 1e6);
        assert_eq!(sketch.pattern(), Some("unbounded_map"));
        // A closure makes the value inside `or_insert_with`.
        check(
            "a malloc\nl alloc::vec::Vec<T,A>::with_capacity\nu app::touch::{{closure}}\nl std::collections::hash::map::Entry<K,V>::or_insert_with\nu app::touch",
            Some("unbounded_map"),
        );
    }

    #[test]
    fn near_misses() {
        // A small table is part of some object.
        assert_eq!(Sketch::new(TABLE).object_bytes(300.0).pattern(), None);
        check(
            "a malloc\nl hashbrown::raw::RawTable<T,A>::clone\nl <hashbrown::map::HashMap<K,V,S,A> as core::clone::Clone>::clone\nu app::copy",
            None,
        );
        let collected = "a malloc\nl hashbrown::raw::RawTable<T,A>::reserve_rehash\nl hashbrown::map::HashMap<K,V,S,A>::insert\nl <std::collections::hash::map::HashMap<K,V,S> as core::iter::traits::collect::FromIterator<(K,V)>>::from_iter\nu app::load";
        assert_eq!(Sketch::new(collected).object_bytes(1e6).pattern(), None);
        let cache = "a malloc\nl hashbrown::raw::RawTable<T,A>::reserve_rehash\nl hashbrown::map::HashMap<K,V,S,A>::insert\nd moka::sync::cache::Cache<K,V>::insert\nu app::remember";
        assert_eq!(Sketch::new(cache).object_bytes(1e6).pattern(), None);
        // A map further out, filled by another function.
        check(
            "a malloc\nl alloc::string::String::clone\nu app::text::copy\nu app::touch::{{closure}}\nl std::collections::hash::map::Entry<K,V>::or_insert_with\nu app::touch",
            None,
        );
    }
}
