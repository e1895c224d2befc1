//! Values whose destructor never runs: a `Vec` in a bump arena turned into a slice.
//!
//! `bumpalo::collections::Vec` drops its elements; `into_bump_slice` forgets them. When an element owns memory of the
//! global heap, that memory is lost however soon the arena itself is reset. The allocation site is inside the filling
//! of the vector; the place of the mistake is known only from the binary.

use super::{BINARY, CALL, Detector, Match, Trace};

/// Methods of bumpalo's containers that run the caller's code (clone, iterator, closure) to make elements.
const FILLS: &[&str] = &[
    "extend",
    "from_iter_in",
    "collect_in",
    "extend_from_slice",
    "extend_from_slices_copy",
    "resize",
    "resize_with",
    "collect_from_iter_in",
];

pub(super) const DETECTOR: Detector = Detector {
    id: "bump_slice_skips_drop",
    summary: "a bump-arena vector becomes a slice: its elements are never dropped",
    shown_by: "the binary: a vector in a bump arena whose elements own heap memory is alive at the allocation and turned into a slice on a normal path. From stacks alone, as a hint: heap memory allocated while a bumpalo container is being filled.",
    near_misses: "Elements that own nothing; a vector that is drained, consumed or dropped on every path; chunks of the arena itself, which are `bump_arena_outlives_work`.",
    fix: "Keep the vector and let it drop, or allocate what its elements own in the same arena.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let found = |weight, evidence, type_name: Option<&str>| Match {
        weight,
        evidence: vec![evidence],
        remedy: format!(
            "keep {} and let it drop instead of turning it into a slice, or allocate what its elements own in the same arena (`bumpalo::collections::Vec<'bump, u8>`, `bumpalo::collections::String`)",
            type_name.map_or_else(|| "the `bumpalo::collections::Vec`".to_owned(), |name| format!("the vector of `{name}`")),
        ),
        refuted_by: "the slice's owner drops its elements by hand, or the arena's vector is still alive and dropped later".to_owned(),
        keywords: vec!["bumpalo into_bump_slice", "drop not run", "arena Vec of owning type"],
    };
    if let Some(site) = trace.site(&["arena-freeze"]) {
        let vector = format!("bumpalo::collections::Vec<{}>", site.type_name);
        let owning = site.owning("each");
        let claim = match site.tier {
            1 | 3 => format!(
                "`{vector}::into_bump_slice` in {} turns the vector into a slice, so its elements are never dropped; {owning}",
                site.at()
            ),
            _ => format!(
                "{} leaves a `{vector}` on a normal path without dropping it, as `into_bump_slice` does: its elements are never dropped; {owning}",
                site.at()
            ),
        };
        return Some(found(BINARY, site.shows(site.perhaps(claim)), Some(&site.type_name)));
    }
    let step = trace
        .stacks
        .iter()
        .filter(|strand| strand.pool().is_none())
        .find_map(|strand| strand.near(1).iter().find(|step| step.path.is(&["bumpalo::collections"], FILLS)))?;
    let claim = format!(
        "heap memory is allocated while `{}` fills a container in a bump arena: its elements own memory that only their destructor frees",
        step.name()
    );
    Some(found(CALL, step.shows(claim), None))
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    const FILLED: &str = "a malloc\nl <alloc::vec::Vec<T,A> as core::clone::Clone>::clone\nu app::freeze::{{closure}}\nl <core::iter::adapters::map::Map<I,F> as core::iter::traits::iterator::Iterator>::next\nd bumpalo::collections::vec::Vec<T>::extend\nu app::freeze\nu app::main";

    #[test]
    fn heap_memory_inside_the_filling() {
        check(FILLED, Some("bump_slice_skips_drop"));
        let (_, found) = Sketch::new(FILLED).examine().unwrap();
        assert_eq!((found.weight, found.evidence[0].source.as_str()), (2, "stack, frame 4"));
    }

    #[test]
    fn a_site_of_the_binary_is_stronger() {
        let (id, found) = Sketch::new("a malloc\nl alloc::vec::Vec::push\nu app::add")
            .site("arena-freeze", "(u32, alloc::vec::Vec<u8>)")
            .examine()
            .unwrap();
        assert_eq!((id, found.weight), ("bump_slice_skips_drop", 3));
        assert_eq!(found.evidence[0].source, "debug information of `app::work` at work.rs:7");
        assert!(found.remedy.contains("(u32, alloc::vec::Vec<u8>)"));
    }

    #[test]
    fn near_misses() {
        // The arena's own chunk.
        check(
            "a malloc\nd bumpalo::Bump<_>::new_chunk\nd bumpalo::collections::raw_vec::RawVec<T>::reserve\nd bumpalo::collections::vec::Vec<T>::extend\nu app::freeze",
            Some("bump_arena_outlives_work"),
        );
        // Filled further out, by another function.
        check(
            "a malloc\nl alloc::string::String::clone\nu app::text::normalize\nu app::freeze::{{closure}}\nd bumpalo::collections::vec::Vec<T>::extend\nu app::freeze",
            None,
        );
        // The standard vector drops its elements.
        check("a malloc\nl alloc::string::String::clone\nu app::freeze::{{closure}}\nl alloc::vec::Vec<T,A>::extend\nu app::freeze", None);
        assert_eq!(Sketch::new("a malloc\nu app::add").site("arena-str", "str").pattern(), None);
    }
}
