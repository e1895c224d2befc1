//! Containers of which the machine code alone does not tell whether they are dropped.
//!
//! Line tables name inlined calls without their path and symbols name none, so a drop that was inlined leaves only what it
//! does: a loop that frees and does nothing else (the elements, one after the other). And without constructors to see, of two
//! functions that call one another and both hold a container of one type, either may have moved it to the other. Neither is
//! a finding: a false one costs more than one that is only counted.

use super::moved::called;
use super::{Held, walk};
use crate::analysis::walk::Stops;
use crate::binary::code::Flow;
use crate::binary::facts::{Callee, Function, Level, OwnershipFacts};
use crate::binary::glue;
use crate::binary::type_name;
use std::collections::BTreeMap;

/// Whether a container that some way leaves undropped, by all that can be seen, may be dropped or moved all the same.
pub(super) fn is_untold(
    facts: &OwnershipFacts,
    function: &Function,
    starts: &[u64],
    stops: &Stops,
    index: usize,
    key: &str,
    held: &[BTreeMap<String, Held>],
) -> bool {
    facts.level < Level::Lines && (is_shared(facts, index, key, held) || frees_in_a_loop(facts, function, starts, stops))
}

/// A caller or a callee holds a container of the same type.
fn is_shared(facts: &OwnershipFacts, index: usize, key: &str, held: &[BTreeMap<String, Held>]) -> bool {
    let holds = |at: usize| at != index && held[at].contains_key(key);
    let calls = |from: usize, to: usize| called(facts, &facts.functions[from]).any(|callee| callee.function == Some(to as u32));
    let mut callees = called(facts, &facts.functions[index]).filter_map(|callee| callee.function);
    callees.any(|callee| holds(callee as usize)) || (0..held.len()).any(|caller| holds(caller) && calls(caller, index))
}

/// On ways from where the container has elements, loops whose only calls free memory: more than the one in which an arena
/// that the function holds gives back its chunks.
fn frees_in_a_loop(facts: &OwnershipFacts, function: &Function, starts: &[u64], stops: &Stops) -> bool {
    let Some(code) = &function.code else { return false };
    let callee = |flow: Flow| match flow {
        Flow::Call(Some(target)) => walk::callee(facts, target),
        _ => None,
    };
    // Loops hoist the address of the deallocation function into a register: such a call may be one.
    let frees = |flow: Flow| matches!(flow, Flow::Call(None)) || callee(flow).is_some_and(is_free);
    let calls = || code.steps.iter().filter(|step| matches!(step.flow, Flow::Call(_)));
    let runs = |at: u64| walk::reaches(facts, function, starts, stops, at) == Some(true);
    let others: Vec<u64> = calls().filter(|step| !frees(step.flow)).map(|step| step.at).collect();
    let other_work = Stops { ranges: Vec::new(), calls: others };
    let again = |next: u64, at: u64| walk::reaches(facts, function, &[next], &other_work, at) == Some(true);
    let loops = calls().filter(|step| frees(step.flow) && again(step.next, step.at) && runs(step.at)).count();
    // Out of line when unwinding and nowhere else: inlined on the way that returns.
    let mut arena = calls().filter(|step| callee(step.flow).is_some_and(is_arena_drop)).peekable();
    let arena_loop = arena.peek().is_some() && !arena.any(|step| runs(step.at));
    loops > usize::from(arena_loop)
}

fn is_arena_drop(callee: &Callee) -> bool {
    let of_glue = callee.destroys.as_deref().is_some_and(|subject| type_name::base(subject) == "bumpalo::Bump");
    of_glue || callee.path == "<bumpalo::Bump as core::ops::drop::Drop>::drop"
}

/// Gives memory back: a deallocation function, or the destructor of anything.
fn is_free(callee: &Callee) -> bool {
    callee.destroys.is_some() || glue::deallocates(&callee.path)
}
