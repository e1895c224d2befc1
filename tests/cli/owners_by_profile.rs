//! The same owner from a Rust program in every build profile and both manglings.

use crate::programs::Workshop;
use heaptriage::model::frame::DebugInfo;
use heaptriage::model::role::normalize;

/// Number of the sample, owner by normalized name, its line, container operation.
const OWNERS: [(u64, &str, u32, &str); 11] = [
    (1, "owners::push_words", 61, "Vec growth"),
    (2, "owners::remember", 68, "HashMap resize"),
    (3, "owners::spell", 75, "String push"),
    (4, "owners::boxed", 82, "Box::new"),
    (5, "owners::shared", 89, "Arc::new"),
    (6, "owners::formatted", 96, "format!"),
    (7, "owners::sorted_keys", 103, "BTreeMap insert"),
    (8, "owners::queued", 110, "VecDeque growth"),
    (9, "owners::Shelf::extend", 120, "collect into Vec"),
    (10, "owners::in_closure::{closure}", 129, "Vec::with_capacity"),
    (11, "owners::work_in_thread", 141, "Vec growth"),
];

/// `lines`: the debug information has them. `containers`: inlined calls are known, so the container operation is.
#[track_caller]
fn check(profile: &str, flags: &[&str], level: DebugInfo, lines: bool, containers: bool) {
    let shop = Workshop::new();
    shop.rustc("owners.rs", "app", flags);
    let printed = shop.profile("app");
    let named = printed.named(&shop.with_binary("app"));
    assert_eq!(named.module("app").debug_info, level, "{profile}");
    for (number, name, line, container) in OWNERS {
        let owner = named.owner(number);
        let function = named.symbols.function(owner.frame);
        assert_eq!(normalize(function), name, "{profile} {number}: {function}");
        assert_eq!(owner.krate, Some("owners"), "{profile} {number}");
        if lines {
            assert_eq!(owner.frame.line, Some(line), "{profile} {number}");
        }
        if containers {
            assert_eq!(owner.container, Some(container), "{profile} {number}");
        }
    }
}

#[test]
fn debug() {
    check("debug", &["-g"], DebugInfo::Full, true, true);
    check("debug, v0", &["-g", "-Csymbol-mangling-version=v0"], DebugInfo::Full, true, true);
}

#[test]
fn release() {
    check("release", &["-g", "-Copt-level=3"], DebugInfo::Full, true, true);
    check("release, v0", &["-g", "-Copt-level=3", "-Csymbol-mangling-version=v0"], DebugInfo::Full, true, true);
    check("release, debug = 1", &["-Cdebuginfo=1", "-Copt-level=3"], DebugInfo::Lines, true, true);
}

#[test]
fn line_tables_only() {
    check("line tables", &["-Cdebuginfo=line-tables-only", "-Copt-level=3"], DebugInfo::Lines, true, true);
    check(
        "line tables, v0",
        &["-Cdebuginfo=line-tables-only", "-Copt-level=3", "-Csymbol-mangling-version=v0"],
        DebugInfo::Lines,
        true,
        true,
    );
}

/// No debug information of the program's own: std still brings some of its own, and the functions are symbols.
#[test]
fn no_debug_information() {
    check("symbols", &["-Copt-level=3"], DebugInfo::Lines, false, false);
    check("symbols, v0", &["-Copt-level=3", "-Csymbol-mangling-version=v0"], DebugInfo::Lines, false, false);
}
