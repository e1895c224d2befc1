//! Interned values: a table that gives equal values one home and never forgets any.

use super::{Detector, Match, NAME, Trace};

/// Interning crates.
const INTERNERS: &[&str] =
    &["string_cache", "lasso", "internment", "string_interner", "ustr", "symbol_table", "intaglio", "rustc_span::symbol::Interner"];
/// How many of the program's own functions away from the allocation the name may stand.
const NEAR: usize = 3;

pub(super) const DETECTOR: Detector = Detector {
    id: "interning",
    summary: "a table of interned values grows with values that come from outside",
    shown_by: "an interning crate (string_cache, lasso, internment, ustr, ...) or a function of the program called `intern`, `get_or_intern`, `Interner::...` near the allocation.",
    near_misses: "A vocabulary that is bounded (keywords, field names): its growth ends; names like `internal`.",
    fix: "Intern only what comes from a bounded set; give the table the life of the work whose values it holds.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let step = trace.stacks.iter().find_map(|strand| {
        strand
            .near(NEAR)
            .iter()
            .find(|step| INTERNERS.iter().any(|prefix| step.path.within(prefix)) || step.path.segments().any(says_intern))
    })?;
    Some(Match {
        weight: NAME,
        evidence: vec![step.shows(format!("`{}` keeps one copy of each distinct value for good", step.name()))],
        remedy: "intern only values of a bounded set, not ids, paths or user input; or give the table the life of the work whose values it holds".to_owned(),
        refuted_by: "the number of distinct values is bounded and growth ends when all were seen".to_owned(),
        keywords: vec!["string interning", "symbol table growth", "unbounded distinct values"],
    })
}

/// `intern`, `intern_str`, `get_or_intern`, `Interner`, not `internal`.
fn says_intern(segment: &str) -> bool {
    segment.contains("Interner") || segment.split('_').any(|word| matches!(word, "intern" | "interned" | "interner"))
}

#[cfg(test)]
mod tests {
    use super::says_intern;
    use crate::analysis::detect::fixture::check;

    #[test]
    fn interners() {
        check("a malloc\nl alloc::boxed::Box<T>::from\nd lasso::rodeo::Rodeo::get_or_intern\nu app::parse", Some("interning"));
        check("a malloc\nl alloc::string::String::clone\nu app::Names::insert_new\nu app::Names::intern\nu app::parse", Some("interning"));
        assert!(says_intern("get_or_intern") && says_intern("StringInterner") && says_intern("intern"));
    }

    #[test]
    fn near_misses() {
        check("a malloc\nl alloc::string::String::clone\nu app::internal::copy\nu app::parse", None);
        check("a malloc\nl alloc::string::String::clone\nu app::a\nu app::b\nu app::c\nu app::intern", None);
        assert!(!says_intern("internal") && !says_intern("internet") && !says_intern("international_name"));
    }
}
