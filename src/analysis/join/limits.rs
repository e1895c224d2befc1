//! Why a binary could not explain a suspect, and what to pass or rebuild with.

use crate::analysis::finding::Missing;
use crate::binary::facts::{Level, OwnershipFacts};

/// What the binary of a module does not let one see. Asked only where a suspect stays without explanation.
/// `notes` say which sources were not used; `sourced`: some were asked for.
pub fn limits(facts: &OwnershipFacts, module: &str, notes: &[String], sourced: bool) -> Vec<Missing> {
    let mut found = Vec::new();
    let is_rust = facts.rust_units > 0 || !facts.drop_impls.is_empty();
    if facts.missing_split > 0 {
        found.push(Missing::new(
            format!("split debug information of {module}"),
            "skipped drops and owners cannot be read from what is left in the binary",
            format!("put {module}.dwp beside the binary, or its .dwo files where the compiler wrote them"),
        ));
    }
    if !is_rust {
        return found;
    }
    if facts.functions.iter().any(|function| function.code.is_none()) {
        found.push(Missing::new(
            format!("a decoder for the machine code of {module}"),
            "values that a function leaves without dropping are not seen on this architecture",
            "capture on x86-64",
        ));
    }
    match facts.level {
        Level::Types => {}
        Level::Nothing => {}
        _ if !facts.unwinds => found.push(Missing::new(
            format!("types in the debug information of {module}"),
            "it is built with panic = \"abort\" and without types: skipped drops cannot be seen in it",
            "rebuild with debug = 2 (the code stays the same), and capture again",
        )),
        Level::Lines | Level::LineTables | Level::Symbols => found.push(Missing::new(
            format!("types in the debug information of {module}"),
            "skipped drops are told from its drop glue and exception tables only; owners, statics and reference cycles are not seen",
            "rebuild with debug = 2 (the code stays the same), and capture again",
        )),
    }
    if sourced {
        let about = |note: &String| {
            Missing::new(format!("the sources of {module}"), note.trim_end_matches('.').to_owned(), "pass the sources it was built from")
        };
        found.extend(notes.iter().map(about));
        return found;
    }
    found.push(Missing::new(
        format!("the sources of {module}"),
        "`mem::forget`, `leak`, `into_raw` and `ManuallyDrop` leave no trace in optimised code: a suspect that one of them causes has no pattern",
        "pass the sources with --source-root DIR",
    ));
    found
}
