//! A `ManuallyDrop` that nobody drops, often on an error path.

use super::{BINARY, Detector, Match, NAME, Trace};
use crate::model::frame::Role;

pub(super) const DETECTOR: Detector = Detector {
    id: "manually_drop",
    summary: "a `ManuallyDrop` that owns memory is abandoned",
    shown_by: "the binary: `ManuallyDrop::new`, or a field of that type, with a type that owns heap memory and no drop on some normal path. From stacks alone, as a hint: a function of the program on a `ManuallyDrop<...>`.",
    near_misses: "The standard library's own (`Vec::into_iter`, scope guards); a struct with a `Drop` impl that takes care of its field; `ManuallyDrop::into_inner` or `drop` on every path.",
    fix: "Give the type that holds it a `Drop` impl, or call `ManuallyDrop::drop` on every path out, errors included.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let found = |weight, evidence| {
        Match {
        weight,
        evidence: vec![evidence],
        remedy: "call `ManuallyDrop::drop` (or `into_inner`) on every path out, early returns with `?` included; safer: put it into a type whose `Drop` does so".to_owned(),
        refuted_by: "every path that leaves, errors included, drops it or takes it out".to_owned(),
        keywords: vec!["ManuallyDrop", "error path", "destructor skipped"],
    }
    };
    if let Some(site) = trace.site(&["manually-drop", "manually-drop-field"]) {
        let claim = format!("{} keeps a `{}` in a `ManuallyDrop`: it is freed only where the code says so", site.at(), site.type_name);
        return Some(found(BINARY, site.shows(site.perhaps(claim))));
    }
    let step = trace.stacks.iter().find_map(|strand| {
        strand.near(2).iter().find(|step| step.frame.role == Some(Role::User) && step.frame.function.contains("ManuallyDrop<"))
    })?;
    let claim = format!("`{}` works on a `ManuallyDrop`: what it owns is freed only where the code says so", step.frame.function);
    Some(found(NAME, step.shows(claim)))
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    #[test]
    fn sites_and_names() {
        assert_eq!(Sketch::new("a malloc\nu app::receive").site("manually-drop", "alloc::vec::Vec<u8>").pattern(), Some("manually_drop"));
        check(
            "a malloc\nl alloc::vec::Vec<T,A>::reserve\nu <core::mem::ManuallyDrop<app::Upload> as app::Sink>::put\nu app::receive",
            Some("manually_drop"),
        );
    }

    #[test]
    fn near_misses() {
        check("a malloc\nl <core::mem::manually_drop::ManuallyDrop<T> as core::ops::deref::DerefMut>::deref_mut\nu app::receive", None);
        check("a malloc\nu app::a\nu app::b\nu app::c\nu <core::mem::ManuallyDrop<T> as app::Sink>::put", None);
    }
}
