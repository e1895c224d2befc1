//! Memory that C code allocates: no destructor of the other language will free it.

use super::{Detector, Match, NAME, Step, Trace};
use crate::model::frame::Role;

pub(super) const DETECTOR: Detector = Detector {
    id: "c_allocation",
    summary: "C code allocates and does not free",
    shown_by: "no frame of another language between `malloc` and a function of C: its file is C, or its name is a plain one directly above `malloc`, `calloc`, `realloc` or `strdup`.",
    near_misses: "`operator new` (C++ has destructors); Rust functions with C names (`#[no_mangle]`), which allocate through `__rust_alloc` or have a Rust file; known pools such as LMDB's pages.",
    fix: "Find the `free` (or the library's own destroy function) that each such allocation should have, error and replace paths included.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let strand = trace.heaviest();
    if strand.pool().is_some() {
        return None;
    }
    let after = strand.after_allocator();
    let entry = &strand.steps[..strand.steps.len() - after.len()];
    if entry.iter().any(|step| {
        step.frame.function.contains("rust")
            || step.frame.function.contains("Jemalloc as")
            || step.frame.function.starts_with("operator new")
    }) {
        return None;
    }
    // `strdup` and the like of the C library stand between; a Rust or C++ library function says that it is none of C.
    let library = after.iter().take_while(|step| step.frame.role == Some(Role::Library)).count();
    if after[..library].iter().any(|step| step.name().contains("::")) {
        return None;
    }
    let step = after.get(library)?;
    is_c(step, entry).then(|| Match {
        weight: NAME,
        evidence: vec![step.shows(format!("`{}` is C and calls the allocator itself: only a `free` in C code, or the library's destroy function, gives this memory back", step.name()))],
        remedy: format!("look in `{}` and its callers for the path without `free`: an early return, a pointer that is overwritten, an element that is replaced; through a binding, call the library's destroy function from `Drop`", step.name()),
        refuted_by: "the library keeps this memory for reuse and its growth ends, or its destroy function is called later".to_owned(),
        keywords: vec!["malloc without free", "FFI ownership", "C library leak"],
    })
}

fn is_c(step: &Step<'_>, entry: &[Step<'_>]) -> bool {
    let name = &step.frame.function;
    if step.frame.role == Some(Role::Runtime) || name.contains("+0x") || name.starts_with("0x") {
        return false;
    }
    match step.frame.file.as_deref().and_then(|file| file.rsplit_once('.')) {
        Some((_, extension)) => matches!(extension, "c" | "h"),
        // Without a file, a plain name alone could be a Rust function with a C name: the entry must be C's as well.
        None => !name.contains("::") && !name.contains('(') && entry.iter().any(|step| ENTRIES.contains(&step.frame.function.as_str())),
    }
}

/// The allocator's functions that only C code calls by these names.
const ENTRIES: &[&str] = &["malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign", "valloc"];

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::check;

    #[test]
    fn c_functions() {
        check(
            "a prof_backtrace_impl\na je_malloc_default\nu tok_push_variant | /srv/app/c/tokenizer.c\nu tok_scan | /srv/app/c/tokenizer.c\nu app::tokenize",
            Some("c_allocation"),
        );
        check("a je_malloc_default\na malloc\nd xmlNewNode\nd xmlParse\nu app::load", Some("c_allocation"));
        check("a malloc\nl strdup\nu config_set | /srv/app/config.c\nu main", Some("c_allocation"));
    }

    #[test]
    fn near_misses() {
        check("a malloc\na __rustc::__rust_alloc\nu flush_hook | /srv/app/src/flush.rs", None);
        check("a malloc\nl alloc::vec::Vec<T,A>::push\nu flush_hook", None);
        check("a _rjem_je_malloc_default\nu flush_hook", None);
        check("a malloc\na operator new(unsigned long)\nu build | /srv/app/build.cc", None);
        check("a malloc\nd mdb_page_malloc | /build/lmdb/mdb.c\nu app::store", None);
        check("a malloc\nu libfoo.so+0x1234", None);
    }
}
