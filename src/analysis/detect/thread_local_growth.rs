//! A thread-local value that keeps growing while its thread lives.

use super::{Detector, Match, NAME, Step, Trace};
use crate::model::frame::Role;

/// How many of the program's own functions away from the allocation the access may stand.
const NEAR: usize = 2;

pub(super) const DETECTOR: Detector = Detector {
    id: "thread_local_growth",
    summary: "a thread-local collection grows while its thread lives",
    shown_by: "`LocalKey::with` (or its kin) called by the program's own code near the allocation.",
    near_misses: "Thread-locals of libraries (a runtime's context, a hasher's seed, a random generator); the first use in each thread, which ends when all threads have run.",
    fix: "Bound the thread's collection, or shrink it when a unit of work ends.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let step = trace
        .stacks
        .iter()
        .find_map(|strand| strand.near(NEAR).iter().find(|step| is_access(step) && called_by_user(&strand.steps, step.index)))?;
    Some(Match {
        weight: NAME,
        evidence: vec![
            step.shows(format!("the memory is allocated inside `{}`: a thread-local value holds it until its thread ends", step.name())),
        ],
        remedy: format!(
            "bound the thread-local collection that `{}` fills (drop what exceeds a few, or shrink at the end of a unit of work); in a pool threads never end, so nothing else empties it",
            trace.owner()
        ),
        refuted_by: "growth ends when every thread has run once, or the value is taken out of the thread-local and dropped".to_owned(),
        keywords: vec!["thread_local", "LocalKey::with", "per-thread pool"],
    })
}

fn is_access(step: &Step<'_>) -> bool {
    step.path.within("std::thread::local::LocalKey") || (step.path.within("std::thread::local") && step.path.last().contains("with"))
}

/// Whether the program's own code, and not a library, makes the access.
fn called_by_user(steps: &[Step<'_>], access: usize) -> bool {
    let outside =
        steps[access + 1..].iter().find(|step| !is_access(step) && !matches!(step.frame.role, Some(Role::Library | Role::Runtime)));
    outside.is_some_and(|step| step.frame.role == Some(Role::User))
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::check;

    #[test]
    fn access_by_the_program() {
        check(
            "a malloc\nl alloc::vec::Vec<T,A>::with_capacity\nu app::borrow::{{closure}}\nl std::thread::local::LocalKey<T>::try_with\nl std::thread::local::LocalKey<T>::with\nu app::borrow\nu app::rank",
            Some("thread_local_growth"),
        );
    }

    #[test]
    fn near_misses() {
        // The runtime's own context.
        check(
            "a malloc\nl alloc::vec::Vec<T,A>::with_capacity\nu app::handle\nl std::thread::local::LocalKey<T>::with\nd tokio::runtime::context::budget\nu app::main",
            None,
        );
        // Too far out to hold this memory.
        check("a malloc\nu app::a\nu app::b\nu app::c\nl std::thread::local::LocalKey<T>::with\nu app::d", None);
        check("a malloc\nu app::LocalKey::with\nu app::rank", None);
    }
}
