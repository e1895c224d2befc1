//! Candidates for reference cycles: counted boxes that grow and whose owner makes them itself.
//!
//! A stack shows that an `Arc` or `Rc` was made, never that it is in a cycle; the types' graph in the binary tells
//! whether a cycle is possible (`heaptriage owners BINARY`).

use super::{BINARY, Detector, Match, NAME, Trace};
use crate::model::frame::Role;

/// What makes a counted box that may hold others.
const COUNTED: &[(&[&str], &[&str])] = &[
    (
        &["alloc::sync::Arc", "alloc::rc::Rc", "alloc::sync", "alloc::rc", "triomphe::Arc"],
        &["new", "new_cyclic", "new_in", "new_cyclic_in", "pin"],
    ),
    (
        &["std::make_shared", "std::allocate_shared", "std::__shared_count", "std::__shared_ptr", "std::shared_ptr"],
        &["make_shared", "allocate_shared", "__shared_count", "__shared_ptr", "shared_ptr"],
    ),
];

pub(super) const DETECTOR: Detector = Detector {
    id: "rc_cycle",
    summary: "reference-counted values that may hold each other (candidate only)",
    shown_by: "`Arc::new`, `Rc::new` or `std::make_shared` called by the program's own code is where the growth is allocated. A stack cannot show the cycle itself.",
    near_misses: "Shared text and slices (`Arc<str>`), which hold nothing; counted boxes that a library makes for itself; boxes kept in a collection, which `unbounded_map` and its kin name first.",
    fix: "Make one direction of the cycle a `Weak`, or break it where the object's life ends.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    if let Some(explanation) = trace.explained("rc_cycle") {
        let types = explanation.cycle.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
        return Some(Match {
            weight: BINARY,
            evidence: Vec::new(), // what the types show is the explanation's own
            remedy: format!(
                "break the cycle of {types} where the object's life ends (timeouts and errors included), or make the direction that leads back a `Weak`"
            ),
            refuted_by: "the values are still in use (a collection holds them), and their cycle is broken when they end".to_owned(),
            keywords: vec!["Rc cycle", "Arc cycle", "Weak reference"],
        });
    }
    let (strand, step) = trace.stacks.iter().find_map(|strand| {
        let library = strand.library();
        let step = library.iter().rfind(|step| COUNTED.iter().any(|(prefixes, methods)| step.path.is(prefixes, methods)))?;
        // Between the box and the program's own code: nobody else, or the box is somebody else's.
        library[step.index + 1..]
            .iter()
            .all(|outer| outer.frame.role == Some(Role::Library) && !outer.path.within("std::thread"))
            .then_some((strand, step))
    })?;
    Some(Match {
        weight: NAME,
        evidence: vec![step.shows(format!(
            "`{}` makes counted boxes here that are not freed: either something still refers to them, or they refer to each other",
            step.name()
        ))],
        remedy: format!(
            "look at what `{}` puts into the box: if it can reach the box again, make that direction a `Weak` or clear it where the object's life ends (timeouts and errors included); `heaptriage owners BINARY --type NAME` lists the cycles that its types allow",
            strand.caller(step).unwrap_or_else(|| trace.owner())
        ),
        refuted_by: "a collection holds the boxes (then that collection is what grows), or the types allow no cycle".to_owned(),
        keywords: vec!["Rc cycle", "Arc cycle", "Weak reference"],
    })
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};
    use crate::analysis::join::Explanation;

    #[test]
    fn a_cycle_that_the_types_allow_is_stronger() {
        let explanation = Explanation { pattern: Some("rc_cycle".into()), cycle: vec!["app::Page".into()], ..Explanation::default() };
        let (id, found) =
            Sketch::new("a malloc\nl alloc::string::String::push_str\nu app::fetch").explained(explanation).examine().unwrap();
        assert_eq!((id, found.weight), ("rc_cycle", 3));
        assert!(found.remedy.contains("`app::Page`"), "{}", found.remedy);
    }

    #[test]
    fn counted_boxes_of_the_program() {
        check("a malloc\nl alloc::boxed::Box<T>::new\nl alloc::sync::Arc<T>::new\nu app::fetch_page", Some("rc_cycle"));
        check(
            "a operator new(unsigned long)\nl std::__shared_count<(__gnu_cxx::_Lock_policy)2>::__shared_count<app::Node>(app::Node*&)\nl std::make_shared<app::Node>()\nu app::link()",
            Some("rc_cycle"),
        );
    }

    #[test]
    fn near_misses() {
        check(
            "a malloc\nl alloc::sync::Arc<[T]>::allocate_for_slice\nl <alloc::sync::Arc<str> as core::convert::From<&str>>::from\nu app::name",
            None,
        );
        check("a malloc\nl alloc::sync::Arc<T>::new\nd tokio::sync::oneshot::channel\nu app::ask", None);
        check("a malloc\nl alloc::boxed::Box<T>::new\nu app::fetch_page", None);
    }
}
