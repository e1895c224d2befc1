//! `mem::forget` of a value that owns memory.
//!
//! `forget` allocates nothing, so no stack of a heap profile passes through it: only the binary can show it, by the
//! call in debug information or by a value alive at the allocation that no normal path drops.

use super::{BINARY, Detector, Match, Trace};

pub(super) const DETECTOR: Detector = Detector {
    id: "mem_forget",
    summary: "a value that owns memory is given to `mem::forget`",
    shown_by: "the binary only: a call of `core::mem::forget` with a type that owns heap memory in a function on the stack. `forget` allocates nothing and is never on a stack itself.",
    near_misses: "Guards and panic-safety types; values whose ownership was copied out before (`ptr::read`, handing a buffer to C); `forget` inside the standard library.",
    fix: "Drop the value, or let the new owner take it by value.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let site = trace.site(&["forget"])?;
    let claim = format!("{} calls `mem::forget` on a `{}`, which is then never dropped; {}", site.at(), site.type_name, site.owning("it"));
    Some(Match {
        weight: BINARY,
        evidence: vec![site.shows(site.perhaps(claim))],
        remedy: format!("drop the `{}` instead of forgetting it, or hand it to its new owner by value", site.type_name),
        refuted_by: "the value's ownership was passed on before (to C code, or by `ptr::read`), and the new owner frees it".to_owned(),
        keywords: vec!["mem::forget", "destructor skipped"],
    })
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    #[test]
    fn a_site_of_the_binary() {
        let (id, found) =
            Sketch::new("a malloc\nl alloc::boxed::Box<T>::new\nu app::acquire").site("forget", "app::Lease").examine().unwrap();
        assert_eq!((id, found.weight), ("mem_forget", 3));
        assert!(found.remedy.starts_with("drop the `app::Lease`"));
    }

    #[test]
    fn near_misses() {
        // A function of the program that forgets an entry says nothing.
        check("a malloc\nu app::sessions::forget\nu app::run", None);
        assert_eq!(Sketch::new("a malloc\nu app::acquire").site("arena-str", "str").pattern(), None);
    }
}
