//! A vector or queue that is pushed to and never emptied.

use super::{Detector, Match, NAME, Step, Trace};

/// What makes a vector larger.
const GROWS: &[(&str, &[&str])] = &[
    (
        "alloc::raw_vec",
        &["grow_one", "grow_amortized", "grow_exact", "reserve_for_push", "do_reserve_and_handle", "finish_grow", "reserve"],
    ),
    ("alloc::collections::vec_deque", &["grow", "reserve", "push_back", "push_front"]),
    (
        "std::vector",
        &[
            "_M_realloc_insert",
            "_M_realloc_append",
            "_M_default_append",
            "_M_range_insert",
            "_M_fill_insert",
            "_M_insert_aux",
            "emplace_back",
            "push_back",
        ],
    ),
    ("std::__1::vector", &["__push_back_slow_path", "__emplace_back_slow_path", "__append"]),
    ("std::deque", &["_M_reallocate_map", "_M_push_back_aux", "_M_push_front_aux"]),
    ("smallvec", &["grow", "try_grow", "reserve", "reserve_one_unchecked"]),
];
/// A smaller buffer is one of many, each the payload of something; one vector that holds a leak is large.
const LEAST_VECTOR: f64 = 262_144.0;

pub(super) const DETECTOR: Detector = Detector {
    id: "unbounded_vec",
    summary: "a vector or queue is pushed to and never emptied",
    shown_by: "a stack of the group on which a vector grows (`RawVec::grow_one`, `VecDeque::grow`, `std::vector::_M_realloc_append`) to buffers of 256 KiB and more on average.",
    near_misses: "Many small buffers, each the payload of something else; buffers made with their final size; a vector that doubles once more and stays.",
    fix: "Empty it where its work ends, bound it, or write it out in pieces.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let (strand, step) =
        trace.stacks.iter().filter(|strand| strand.object_bytes >= LEAST_VECTOR && strand.pool().is_none()).find_map(|strand| {
            let library = strand.library();
            let grown = library.iter().any(grows);
            // The outermost library frame is the operation that people know: `Vec::push`.
            let shown = library.iter().rfind(|step| {
                grows(step)
                    || step.path.within("alloc::vec")
                    || step.path.within("alloc::collections::vec_deque")
                    || step.path.within("alloc::string")
            })?;
            grown.then_some((strand, shown))
        })?;
    Some(Match {
        weight: NAME,
        evidence: vec![step.shows(format!(
            "`{}` makes a buffer larger that is {} on average: few vectors, each long",
            step.name(),
            crate::units::iec(strand.object_bytes)
        ))],
        remedy: format!(
            "empty the vector that `{}` fills where its work ends, bound it, or write it out in pieces; check that what removes from it runs as often as what adds",
            strand.caller(step).unwrap_or_else(|| trace.owner())
        ),
        refuted_by: "its length is bounded and growth ends (a vector doubles: the last step may be the last)".to_owned(),
        keywords: vec!["Vec push without drain", "unbounded queue", "VecDeque growth"],
    })
}

fn grows(step: &Step<'_>) -> bool {
    GROWS.iter().any(|(prefix, methods)| step.path.is(&[prefix], methods))
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    const PUSH: &str = "a realloc\nl alloc::raw_vec::RawVecInner<A>::finish_grow\nl alloc::raw_vec::RawVec<T,A>::grow_one\nl alloc::vec::Vec<T,A>::push\nu app::log_event\nu app::serve";

    #[test]
    fn long_vectors() {
        let (id, found) = Sketch::new(PUSH).object_bytes(3e6).examine().unwrap();
        assert_eq!(id, "unbounded_vec");
        assert_eq!(
            found.evidence[0].claim,
            "`alloc::vec::Vec::push` makes a buffer larger that is 2.9 MiB on average: few vectors, each long"
        );
        let cpp =
            "a operator new(unsigned long)\nl void std::vector<int, std::allocator<int> >::_M_realloc_append<int>(int&&)\nu app::log(int)";
        assert_eq!(Sketch::new(cpp).object_bytes(1e6).pattern(), Some("unbounded_vec"));
    }

    #[test]
    fn near_misses() {
        check(PUSH, None); // 256 B each
        let sized = "a malloc\nl alloc::raw_vec::RawVecInner<A>::try_allocate_in\nl alloc::vec::Vec<T,A>::with_capacity\nu app::read";
        assert_eq!(Sketch::new(sized).object_bytes(1e6).pattern(), None);
    }
}
