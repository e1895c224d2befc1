//! Drop glue in machine code: what each destructor reaches.
//!
//! Works without debug information: legacy symbol names keep the type of drop glue in full
//! (`core::ptr::drop_in_place<bumpalo::collections::vec::Vec<(u32,alloc::vec::Vec<u8>)>>`). Only edges
//! between destructors are followed, because panic paths reach everything. Linkers and LLVM fold
//! identical bodies, so a symbol's type may be another type of the same layout.

use super::code::{self, Flow, Memory};
use super::elf::ElfFile;
use super::type_name;
use crate::names;
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

/// A destructor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destructor {
    /// Its first address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What it destroys, as the symbol or the debug information spells it; `None` where the name does not say (legacy names of
    /// `drop_slow` and of `Drop` implementations leave type arguments out).
    pub subject: Option<String>,
    /// Destructors that it calls or takes the address of: indices, ascending.
    pub calls: Vec<u32>,
    /// It calls a deallocation function, or takes its address.
    pub frees: bool,
}

/// All destructors of a binary, by address.
#[derive(Clone, Debug, Default)]
pub struct GlueGraph {
    destructors: Vec<Destructor>,
    by_subject: HashMap<String, Vec<u32>, FxBuildHasher>,
    /// Machine code could be decoded.
    pub decoded: bool,
}

/// Destructors that are decoded at most; the largest known service has 40,000.
const MOST_DESTRUCTORS: usize = 1 << 20;

impl GlueGraph {
    /// Finds the destructors among the symbols and `named`: further ones as (start, end, subject), from debug information.
    pub fn read(elf: &ElfFile, memory: &Memory<'_>, named: &[(u64, u64, Option<String>)]) -> Self {
        let mut graph = GlueGraph { decoded: code::decoder(elf.machine()).is_some(), ..GlueGraph::default() };
        let mut frees: HashSet<u64, FxBuildHasher> = HashSet::default();
        for &(start, end, ref subject) in named {
            graph.destructors.push(Destructor { start, end, subject: subject.clone(), calls: Vec::new(), frees: false });
        }
        for symbol in elf.symbols() {
            let (start, end) = (symbol.start.get(), symbol.start.get().saturating_add(symbol.size));
            if is_deallocation(symbol.name) {
                frees.insert(start);
            } else if is_destructor(symbol.name) && graph.destructors.len() < MOST_DESTRUCTORS {
                let subject = std::str::from_utf8(symbol.name).ok().and_then(|name| subject_of(&names::demangle(name)));
                graph.destructors.push(Destructor { start, end, subject, calls: Vec::new(), frees: false });
            }
        }
        // Of several names of one address the one from debug information is first: it names the type in full.
        graph.destructors.sort_by_key(|a| (a.start, a.subject.is_none()));
        graph.destructors.dedup_by_key(|destructor| destructor.start);
        let index: HashMap<u64, u32, FxBuildHasher> =
            (0..).zip(&graph.destructors).map(|(index, destructor)| (destructor.start, index)).collect();
        for destructor in &mut graph.destructors {
            let Some(code) = code::skeleton(elf, memory, &[(destructor.start, destructor.end)]) else { break };
            let targets = code.steps.iter().filter_map(|step| match step.flow {
                Flow::Call(target) | Flow::Jump(target) => target,
                Flow::Branch(target) | Flow::Switch(target) => Some(target),
                Flow::Return | Flow::Stop => None,
            });
            // Loops over elements hoist the address of the deallocation function into a register.
            let taken = code.references.iter().map(|&(_, address)| address);
            for target in targets.chain(taken) {
                destructor.frees |= frees.contains(&target) || memory.import(target).is_some_and(|name| is_deallocation(name.as_bytes()));
                destructor.calls.extend(index.get(&target));
            }
            destructor.calls.sort_unstable();
            destructor.calls.dedup();
        }
        for (index, destructor) in (0..).zip(&graph.destructors) {
            if let Some(subject) = &destructor.subject {
                graph.by_subject.entry(type_name::key(subject)).or_default().push(index);
            }
        }
        graph
    }

    /// Every destructor, by address.
    pub fn destructors(&self) -> &[Destructor] {
        &self.destructors
    }

    /// The destructor that starts at an address.
    pub fn at(&self, start: u64) -> Option<&Destructor> {
        let found = self.destructors.binary_search_by_key(&start, |destructor| destructor.start).ok()?;
        Some(&self.destructors[found])
    }

    /// Whether there is out-of-line glue for a type (any spelling).
    pub fn has(&self, type_name: &str) -> bool {
        self.by_subject.contains_key(&type_name::key(type_name))
    }

    /// Whether destroying a type gives memory back to the global heap: `None` where its glue was never made out of line,
    /// or the machine has no decoder.
    pub fn frees(&self, type_name: &str) -> Option<bool> {
        let starts = self.by_subject.get(&type_name::key(type_name)).filter(|_| self.decoded)?;
        let mut seen: HashSet<u32, FxBuildHasher> = starts.iter().copied().collect();
        let mut queue: Vec<u32> = starts.clone();
        while let Some(index) = queue.pop() {
            let destructor = &self.destructors[index as usize];
            if destructor.frees {
                return Some(true);
            }
            queue.extend(destructor.calls.iter().copied().filter(|&call| seen.insert(call)));
        }
        Some(false)
    }
}

/// The type that a destructor with this demangled name destroys.
pub fn subject_of(name: &str) -> Option<String> {
    if let Some(at) = name.find("drop_in_place") {
        let rest = name[at + "drop_in_place".len()..].trim_start_matches("::");
        let inside = rest.strip_prefix('<')?;
        let inside = inside.strip_suffix('>')?;
        return (inside != "T" && inside != "_").then(|| inside.to_owned());
    }
    // v0 names keep the arguments: `<alloc::sync::Arc<quarry::Page>>::drop_slow`.
    let head = name.strip_suffix("::drop_slow")?;
    let head = head.strip_prefix('<').and_then(|inside| inside.strip_suffix('>')).unwrap_or(head);
    let arguments = type_name::type_arguments(head);
    (!arguments.is_empty() && !arguments.contains(&"T")).then(|| head.to_owned())
}

/// Names of destructors and of the collection parts that give buffers back: the nodes of the graph.
fn is_destructor(name: &[u8]) -> bool {
    const PARTS: [&[u8]; 7] = [b"drop_in_place", b"Drop$GT$4drop", b"drop_slow", b"RawVec", b"RawTable", b"deallocat", b"4Drop4drop"];
    (name.starts_with(b"_ZN") || name.starts_with(b"_R")) && PARTS.iter().any(|part| memchr::memmem::find(name, part).is_some())
}

/// Whether a function with this demangled path gives memory back to the global heap.
pub fn deallocates(path: &str) -> bool {
    is_deallocation(path.rsplit("::").next().unwrap_or(path).as_bytes())
}

/// Functions that give memory back to the global heap: Rust's, jemalloc's, mimalloc's and C's, with the usual prefixes.
fn is_deallocation(name: &[u8]) -> bool {
    const ENDS: [&str; 14] = [
        "__rust_dealloc",
        "__rdl_dealloc",
        "__rg_dealloc",
        "sdallocx",
        "dallocx",
        "free",
        "cfree",
        "je_free",
        "_rjem_free",
        "_rjem_sdallocx",
        "mi_free",
        "mi_free_size_aligned",
        "_ZdlPv",
        "_ZdlPvm",
    ];
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let name = names::strip_clone_marks(name);
    // Rust 1.87 and later mangle the shims: `_RNvCs…_7___rustc14___rust_dealloc`.
    ENDS.contains(&name)
        || name.ends_with("14___rust_dealloc")
        || name.ends_with("13___rdl_dealloc")
        || name.ends_with("12___rg_dealloc")
        || ["_rjem_", "je_", "_rjem_je_"].iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| ENDS.contains(&rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects() {
        assert_eq!(subject_of("core::ptr::drop_in_place<alloc::vec::Vec<u8>>").as_deref(), Some("alloc::vec::Vec<u8>"));
        assert_eq!(subject_of("core::ptr::drop_in_place::<a::B>").as_deref(), Some("a::B"));
        assert_eq!(subject_of("alloc::sync::Arc<T,A>::drop_slow"), None);
        assert_eq!(subject_of("<alloc::sync::Arc<a::B>>::drop_slow").as_deref(), Some("alloc::sync::Arc<a::B>"));
        assert_eq!(subject_of("core::ptr::drop_in_place"), None);
        assert!(is_deallocation(b"_RNvCs1234_7___rustc14___rust_dealloc"));
        assert!(is_deallocation(b"_rjem_sdallocx"));
        assert!(!is_deallocation(b"free_list_push"));
    }

    #[test]
    fn this_program_frees_what_it_drops() {
        let elf = ElfFile::open(&std::env::current_exe().unwrap()).unwrap();
        let memory = Memory::new(&elf);
        let graph = GlueGraph::read(&elf, &memory, &[]);
        assert!(graph.destructors().len() > 50);
        let known = graph.destructors().iter().filter_map(|destructor| destructor.subject.as_deref());
        let owning = known.filter(|subject| subject.starts_with("alloc::vec::Vec<") || *subject == "alloc::string::String");
        let verdicts: Vec<Option<bool>> = owning.map(|subject| graph.frees(subject)).collect();
        assert!(!verdicts.is_empty() && verdicts.iter().filter(|&&verdict| verdict == Some(true)).count() * 2 > verdicts.len());
    }
}
