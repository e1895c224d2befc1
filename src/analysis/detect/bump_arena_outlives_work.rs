//! A bump arena that outlives the work it serves: its chunks grow, because nothing is taken back before the arena is
//! reset or dropped.
//!
//! The arenas are known by name ([`pools`](super::pools)): bumpalo, LLVM's `BumpPtrAllocator`, V8's `Zone`, memory
//! contexts of PostgreSQL, memtables of RocksDB, `std::pmr::monotonic_buffer_resource`, Zig's `ArenaAllocator`, ...
//! The stack blames whoever crossed the end of a chunk; the owner of the arena is the one to ask.

use super::pools::PoolKind;
use super::{BINARY, CALL, Detector, Match, Trace};
use crate::analysis::finding::Evidence;
use crate::analysis::trend::Shape;

pub(super) const DETECTOR: Detector = Detector {
    id: "bump_arena_outlives_work",
    summary: "a bump arena grows because it lives longer than the work it serves",
    shown_by: "a stack on which a known arena obtains a chunk (`bumpalo::Bump::new_chunk`, `AllocSetAlloc`, `BumpPtrAllocatorImpl::StartNewSlab`, `Zone::Expand`, ...), in a growth that goes on.",
    near_misses: "An arena that grows to the size of its largest unit of work and is reset: its growth ends. Heap memory that is allocated while an arena's container is filled is not the arena's. A function of the program that merely has such a name further out on the stack.",
    fix: "Give the arena the life of one unit of work, or reset it between units; ask who owns it, not who allocated last.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let (step, pool) = trace.stacks.iter().find_map(|strand| strand.pool().filter(|(_, pool)| pool.kind == PoolKind::Arena))?;
    let made_here = step.path.last().contains("with_capacity") || step.path.last().contains("ContextCreate");
    let claim = if made_here {
        format!("`{}` makes {}: arenas accumulate, each freed only as a whole", step.name(), pool.what)
    } else {
        format!("`{}` obtains a chunk for {}, which takes nothing back before it is reset or dropped", step.name(), pool.what)
    };
    let mut evidence = vec![step.shows(claim)];
    let held = trace.explained("bump_arena_outlives_work");
    if trace.case.course.shape == Shape::Jumps {
        evidence.push(Evidence::new("its live bytes move in separate jumps, as doubling chunks do", "live bytes at each dump"));
    }
    Some(Match {
        weight: if held.is_some() { BINARY } else { CALL },
        evidence,
        remedy: match held.and_then(|explanation| explanation.holder.as_ref()) {
            Some(holder) => format!("{}; it lives as long as `{holder}`", pool.remedy),
            None => format!("{}; the stack shows who crossed the end of a chunk, the owner of the arena is the one to ask", pool.remedy),
        },
        refuted_by: format!(
            "the arena is reset or dropped after the last snapshot, or it is meant to live as long as the process and what is put into it is bounded ({})",
            pool.bounded_by
        ),
        keywords: vec!["bump arena", pool.id, "arena lifetime", "reset"],
    })
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};
    use crate::analysis::join::Explanation;
    use crate::analysis::trend::Shape;

    const CHUNK: &str = "a _rjem_malloc\nl alloc::alloc::alloc\nd bumpalo::Bump<_>::new_chunk\nd bumpalo::Bump<_>::alloc_layout_slow\nd bumpalo::Bump<_>::alloc_slice_copy\nu app::plan\nu app::execute";

    #[test]
    fn chunks_of_arenas() {
        check(CHUNK, Some("bump_arena_outlives_work"));
        check("a malloc\nu AllocSetAllocFromNewBlock\nu AllocSetAlloc\nu palloc\nu ExecProcNode", Some("bump_arena_outlives_work"));
        let (_, found) = Sketch::new(CHUNK).shape(Shape::Jumps).examine().unwrap();
        assert_eq!(found.evidence.len(), 2);
        assert!(found.evidence[0].claim.starts_with("`bumpalo::Bump::new_chunk` obtains a chunk for a bumpalo `Bump`"), "{found:?}");
        assert_eq!(found.evidence[0].source, "stack, frame 2");
    }

    #[test]
    fn the_binary_names_the_holder() {
        let explanation = Explanation {
            pattern: Some("bump_arena_outlives_work".into()),
            holder: Some("app::REGISTRY: Mutex<Bump>".into()),
            ..Explanation::default()
        };
        let (id, found) = Sketch::new(CHUNK).explained(explanation).examine().unwrap();
        assert_eq!((id, found.weight), ("bump_arena_outlives_work", 3));
        assert!(found.remedy.ends_with("it lives as long as `app::REGISTRY: Mutex<Bump>`"), "{}", found.remedy);
    }

    #[test]
    fn arenas_that_accumulate() {
        let (id, found) = Sketch::new("a malloc\nd bumpalo::Bump::with_capacity\nu app::begin").examine().unwrap();
        assert_eq!(id, "bump_arena_outlives_work");
        assert!(found.evidence[0].claim.contains("arenas accumulate"));
    }

    #[test]
    fn the_arena_may_be_on_another_stack_of_the_group() {
        let sketch = Sketch::new("a malloc\nl alloc::string::String::clone\nu app::plan").beside(CHUNK, 1e6);
        assert_eq!(sketch.pattern(), Some("bump_arena_outlives_work"));
    }

    #[test]
    fn near_misses() {
        // A container of the arena crate, memory of the global heap: another pattern.
        check(
            "a malloc\nl alloc::string::String::clone\nu app::plan::{{closure}}\nl core::iter::Iterator::next\nd bumpalo::collections::vec::Vec<T>::extend\nu app::plan",
            Some("bump_slice_skips_drop"),
        );
        // Further out than the program's own code.
        check("a malloc\nu app::visit\nd bumpalo::Bump<_>::new_chunk\nu app::plan", None);
        // A bounded pool is no arena.
        check("a malloc\nd mdb_page_malloc\nd mdb_page_alloc\nu app::store", None);
    }
}
