//! `into_raw` without its `from_raw`: ownership given to a pointer, usually for C, and never taken back.

use super::{BINARY, Detector, Match, NAME, Trace};
use crate::model::frame::Role;

pub(super) const DETECTOR: Detector = Detector {
    id: "into_raw",
    summary: "ownership goes into a raw pointer and is never taken back",
    shown_by: "the binary: `Box::into_raw`, `Arc::into_raw`, `Rc::into_raw` or `CString::into_raw` in a function on the stack. From stacks alone, as a hint: a growing `CString`, or a function of the program called `into_raw`.",
    near_misses: "A matching `from_raw` or `decrement_strong_count` (wakers, callbacks that take their context back); a `CString` that is only borrowed (`as_ptr`) and dropped.",
    fix: "Take it back with `from_raw` where the pointer's user is done, callbacks that never fire included.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let found = |weight, evidence| {
        Match {
        weight,
        evidence: vec![evidence],
        remedy: "pair every `into_raw` with one `from_raw`: in the callback's last call, in its destructor hook, and on the paths where it is never called".to_owned(),
        refuted_by: "the receiver keeps the pointers by intention and their number is bounded, or frees them later by `from_raw`".to_owned(),
        keywords: vec!["into_raw", "from_raw", "FFI callback context"],
    }
    };
    let given = trace.site(&["box-leak", "vec-leak", "string-leak"]).filter(|site| site.skip.starts_with("into_raw"));
    if let Some(site) = given.or_else(|| trace.site(&["rc-into-raw", "arc-into-raw", "cstring-into-raw"])) {
        let claim = format!("{} turns a `{}` into a raw pointer; from then on nothing frees it by itself", site.at(), site.type_name);
        return Some(found(BINARY, site.shows(site.perhaps(claim))));
    }
    let strand = trace.heaviest();
    if let Some(step) = strand.near(2).iter().find(|step| step.frame.role == Some(Role::User) && step.path.last() == "into_raw") {
        return Some(found(NAME, step.shows(format!("`{}` gives ownership to a raw pointer", step.name()))));
    }
    let step = strand.library().iter().find(|step| step.path.within("alloc::ffi::c_str") || step.path.within("std::ffi::c_str"))?;
    Some(found(
        NAME,
        step.shows(format!(
            "the memory is a `CString` (`{}`), which is made to be handed to C: with `into_raw` it is never freed",
            step.name()
        )),
    ))
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    #[test]
    fn sites_and_names() {
        assert_eq!(Sketch::new("a malloc\nu app::submit").site("arc-into-raw", "app::Job").pattern(), Some("into_raw"));
        check(
            "a malloc\nl <&str as alloc::ffi::c_str::CString::new::SpecNewImpl>::spec_new_impl\nl alloc::ffi::c_str::CString::new\nu app::submit",
            Some("into_raw"),
        );
        check("a malloc\nl alloc::boxed::Box<T>::new\nu app::Context::into_raw\nu app::submit", Some("into_raw"));
    }

    #[test]
    fn near_misses() {
        check("a malloc\nl alloc::string::String::clone\nu app::submit\nu app::into_raw_parts", None);
        check("a malloc\nl alloc::boxed::Box<T>::new\nu app::submit", None);
    }
}
