//! A value that owns heap memory is placed into a bump arena, which never runs destructors.
//!
//! `Bump::alloc_with`, `alloc_slice_fill_with` and their kin call back for the value: memory of the global heap that
//! is allocated in that call belongs to a value that nobody drops.

use super::{BINARY, CALL, Detector, Match, Trace};

/// Methods of `Bump` that call back for the value they place.
const PLACES: &[&str] = &[
    "alloc_with",
    "try_alloc_with",
    "alloc_try_with",
    "try_alloc_try_with",
    "alloc_slice_fill_with",
    "try_alloc_slice_fill_with",
    "alloc_slice_try_fill_with",
    "alloc_slice_fill_iter",
    "try_alloc_slice_fill_iter",
    "alloc_slice_fill_default",
    "alloc_slice_fill_clone",
    "alloc_slice_clone",
    "try_alloc_slice_clone",
];

pub(super) const DETECTOR: Detector = Detector {
    id: "bump_alloc_skips_drop",
    summary: "a value that owns heap memory is placed in a bump arena: never dropped",
    shown_by: "the binary: `Bump::alloc*` of a type that owns heap memory. From stacks alone: heap memory allocated inside `Bump::alloc_with`, `alloc_slice_fill_with`, `alloc_slice_clone` and the like.",
    near_misses: "`bumpalo::boxed::Box`, which drops its value; types that own nothing; chunks of the arena itself.",
    fix: "Use `bumpalo::boxed::Box::new_in`, which drops, or a type whose memory is in the arena.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let found = |weight, evidence| {
        Match {
        weight,
        evidence: vec![evidence],
        remedy: "place it with `bumpalo::boxed::Box::new_in`, which runs the destructor, or use a type whose memory is in the arena (`bumpalo::collections::Vec`, `alloc_str`)".to_owned(),
        refuted_by: "the value is read out of the arena again (`ptr::read`) and dropped, or what it owns is freed by hand".to_owned(),
        keywords: vec!["bumpalo Bump::alloc", "drop not run", "arena owns heap memory"],
    }
    };
    if let Some(site) = trace.site(&["arena-alloc", "arena-alloc-slice", "bump-box-leak"]) {
        let claim = format!(
            "{} places a `{}` into a bump arena, which never runs its destructor; {}",
            site.at(),
            site.type_name,
            site.owning("it")
        );
        return Some(found(BINARY, site.shows(site.perhaps(claim))));
    }
    let step = trace
        .stacks
        .iter()
        .filter(|strand| strand.pool().is_none())
        .find_map(|strand| strand.near(1).iter().find(|step| step.path.is(&["bumpalo"], PLACES)))?;
    let claim = format!("heap memory is allocated inside `{}`, for a value that the arena never drops", step.name());
    Some(found(CALL, step.shows(claim)))
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    #[test]
    fn heap_memory_for_a_value_in_the_arena() {
        check(
            "a malloc\nl alloc::string::String::clone\nd bumpalo::Bump<_>::alloc_slice_clone\nu app::keep",
            Some("bump_alloc_skips_drop"),
        );
        check(
            "a malloc\nl alloc::fmt::format\nu app::keep::{{closure}}\nd bumpalo::Bump<_>::alloc_with\nu app::keep",
            Some("bump_alloc_skips_drop"),
        );
        assert_eq!(Sketch::new("a malloc\nu app::keep").site("arena-alloc", "app::Doc").pattern(), Some("bump_alloc_skips_drop"));
    }

    #[test]
    fn near_misses() {
        // A chunk for the same call is the arena's.
        check(
            "a malloc\nd bumpalo::Bump<_>::new_chunk\nd bumpalo::Bump<_>::alloc_layout_slow\nd bumpalo::Bump<_>::alloc_slice_fill_with\nu app::keep",
            Some("bump_arena_outlives_work"),
        );
        check("a malloc\nl alloc::string::String::clone\nd bumpalo::boxed::Box<T>::new_in\nu app::keep", None);
        check("a malloc\nl alloc::string::String::clone\nu app::Bump::alloc_with\nu app::keep", None);
        assert_eq!(Sketch::new("a malloc\nu app::keep").site("arena-copy", "u8").pattern(), None);
    }
}
