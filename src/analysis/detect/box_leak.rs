//! `Box::leak`, `Vec::leak`, `String::leak`: memory given away for good, once per unit of work.

use super::{BINARY, Detector, Match, NAME, Trace};
use crate::model::frame::Role;

/// Names of functions that say of themselves that they leak.
const SAYS_SO: &[&str] = &[
    "leak",
    "leaked",
    "leak_str",
    "leak_string",
    "leak_slice",
    "leak_box",
    "leak_vec",
    "leak_bytes",
    "leak_static",
    "into_static",
    "make_static",
    "to_static",
];
/// Functions that run their closure once: what they allocate is not repeated.
const ONCE: &[&str] = &["get_or_init", "get_or_try_init", "call_once", "call_once_force", "force", "initialize"];

pub(super) const DETECTOR: Detector = Detector {
    id: "box_leak",
    summary: "`leak` gives memory away for good, once per unit of work",
    shown_by: "the binary: `Box::leak`, `Vec::leak` or `String::leak` in a function on the stack. From stacks alone, as a hint: a function of the program that is called `leak_str`, `make_static` and so on.",
    near_misses: "Leaks that happen once, inside `OnceLock::get_or_init`, `LazyLock` or `lazy_static`; a matching `Box::from_raw`; names such as `leak_check` or `leaky_bucket`.",
    fix: "Leak once and share the result, or keep the box in its owner.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let once = |step: &super::Step<'_>| ONCE.contains(&step.path.last()) && step.frame.role != Some(Role::User);
    let found = |weight, evidence| {
        Match {
        weight,
        evidence: vec![evidence],
        remedy: "keep the box in its owner and let it drop; where a `'static` is needed, leak once (`OnceLock`) and share it, or intern by value so that equal ones are leaked once".to_owned(),
        refuted_by: "the number of distinct values is bounded and this one has not been reached, or a matching `Box::from_raw` frees it".to_owned(),
        keywords: vec!["Box::leak", "'static", "OnceLock"],
    }
    };
    if let Some(site) = trace.site(&["box-leak", "vec-leak", "string-leak"]).filter(|site| !site.skip.starts_with("into_raw")) {
        let claim = format!(
            "{} gives a `{}` away for good (`{}`)",
            site.at(),
            site.type_name,
            if site.skip.is_empty() { "leak" } else { &site.skip }
        );
        return Some(found(BINARY, site.shows(site.perhaps(claim))));
    }
    let near = trace.heaviest().near(2);
    let step = near.iter().find(|step| step.frame.role == Some(Role::User) && SAYS_SO.contains(&step.path.last()))?;
    if near[..step.index].iter().any(once) || trace.heaviest().steps.iter().any(|s| once(s) && s.path.within("std::sync")) {
        return None;
    }
    Some(found(NAME, step.shows(format!("`{}` says by its name that it leaks what it makes", step.name()))))
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    #[test]
    fn sites_and_names() {
        assert_eq!(Sketch::new("a malloc\nu app::register").site("box-leak", "app::Hook").pattern(), Some("box_leak"));
        check("a malloc\nl alloc::string::String::into_boxed_str\nu app::text::leak_str\nu app::parse", Some("box_leak"));
    }

    #[test]
    fn near_misses() {
        check("a malloc\nu app::leaky_bucket\nu app::leak_check\nu app::run", None);
        check(
            "a malloc\nl alloc::boxed::Box<T>::new\nu app::leak_box\nu app::init::{{closure}}\nl std::sync::once_lock::OnceLock<T>::get_or_init\nu app::init",
            None,
        );
        // `Rc::new` leaks its box inside the library.
        check("a malloc\nl alloc::boxed::Box<T>::leak\nu app::node", None);
    }
}
