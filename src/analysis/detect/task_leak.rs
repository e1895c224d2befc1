//! Tasks or threads that are started and never end.
//!
//! A task's cell is freed when it has ended and nobody holds its handle. Memory that is allocated inside a task and
//! stays may be held by its waiting future; that alone is no more than a place to look.

use super::{CALL, Detector, Match, PLACE, Trace};
use crate::model::frame::Role;

/// Where runtimes obtain the memory of a new task.
const CELLS: &[(&str, &[&str])] = &[
    ("tokio::runtime::task", &["new", "new_task", "bind", "bind_inner"]),
    ("tokio::task::spawn", &[]),
    ("tokio::runtime::Handle", &["spawn", "spawn_named", "spawn_blocking"]),
    ("tokio::runtime::handle::Handle", &["spawn", "spawn_named", "spawn_blocking"]),
    ("tokio::runtime::blocking::pool", &["spawn_blocking", "spawn_blocking_inner", "spawn_task"]),
    ("async_task::raw::RawTask", &["allocate"]),
    ("async_task::runnable", &["spawn", "spawn_unchecked"]),
    ("async_std::task", &["spawn"]),
    ("futures_util::stream::futures_unordered::FuturesUnordered", &["push"]),
    ("std::thread::spawn", &[]),
    ("std::thread::Builder", &["spawn", "spawn_unchecked", "spawn_unchecked_"]),
    ("std::thread::builder::Builder", &["spawn", "spawn_unchecked"]),
    ("std::thread::lifecycle", &["spawn_unchecked"]),
];
/// What runs a task; memory allocated below belongs to its future or to what that fills.
const POLLS: &[&str] =
    &["tokio::runtime::task", "async_task::raw", "async_executor", "futures_executor", "futures_util::stream::futures_unordered"];

pub(super) const DETECTOR: Detector = Detector {
    id: "task_leak",
    summary: "tasks or threads are started and never end",
    shown_by: "a stack of the group on which a runtime obtains the cell of a new task or thread. As a mere place to look: memory allocated by an `async` function inside a task.",
    near_misses: "Tasks that have ended and whose result nobody has taken (a `JoinSet` that is not polled); a fixed set of workers started once; a thread's closure, under which everything of that thread runs.",
    fix: "Give each wait a timeout or a cancellation, and join or abort what is spawned.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let found = |weight, evidence| {
        Match {
        weight,
        evidence: vec![evidence],
        remedy: format!("find what the tasks of `{}` wait for (a reply nobody sends, a lock, a permit): give the wait a timeout or a cancellation token, and join or abort what is spawned; tokio-console or a task dump lists them", trace.owner()),
        refuted_by: "the number of live tasks does not grow (`RuntimeMetrics::num_alive_tasks`), or finished tasks are only kept by a `JoinSet` or `JoinHandle` that is polled later".to_owned(),
        keywords: vec!["task leak", "future never completes", "num_alive_tasks", "JoinSet"],
    }
    };
    let cell = trace.stacks.iter().find_map(|strand| {
        strand.library().iter().find(|step| {
            CELLS.iter().any(|(prefix, methods)| step.path.within(prefix) && (methods.is_empty() || methods.contains(&step.path.last())))
        })
    });
    if let Some(step) = cell {
        return Some(found(
            CALL,
            step.shows(format!("`{}` obtains the memory of a new task or thread, which is freed when it has ended", step.name())),
        ));
    }
    let steps = &trace.heaviest().steps;
    let user = steps.iter().find(|step| step.frame.role == Some(Role::User) && is_async(&step.frame.function))?;
    let poll = steps[user.index..]
        .iter()
        .find(|step| step.path.last().starts_with("poll") && POLLS.iter().any(|prefix| step.path.within(prefix)))?;
    Some(found(
        PLACE,
        poll.shows(format!(
            "the memory is allocated by an `async` function (`{}`) inside a task: a future that waits for ever would hold it",
            user.name()
        )),
    ))
}

/// The body of an `async` function or block is a closure in the name that debuggers see.
fn is_async(function: &str) -> bool {
    function.ends_with("{{closure}}")
        || function.contains("{async_fn#")
        || function.contains("{async_block#")
        || function.ends_with('}') && function.contains("{closure#")
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    #[test]
    fn cells_of_tasks() {
        let cell = "a malloc\nl alloc::boxed::Box<T>::new\nd tokio::runtime::task::core::Cell<T,S>::new\nd tokio::runtime::task::new_task\nd tokio::task::spawn::spawn\nu app::ingest";
        check(cell, Some("task_leak"));
        check(
            "a malloc\nl alloc::sync::Arc<T>::new\nl std::thread::Builder::spawn_unchecked_\nl std::thread::spawn\nu app::watch",
            Some("task_leak"),
        );
        assert_eq!(Sketch::new("a malloc\nu app::read").beside(cell, 512.0).examine().unwrap().1.weight, 2);
    }

    #[test]
    fn memory_inside_a_task_is_a_place_to_look() {
        let inside = "a malloc\nl alloc::vec::Vec<T,A>::with_capacity\nu app::read_batch::{{closure}}\nu app::ingest::{{closure}}\nd tokio::runtime::task::core::Core<T,S>::poll\nr start_thread";
        assert_eq!(Sketch::new(inside).examine().map(|(id, m)| (id, m.weight)), Some(("task_leak", 0)));
        // Anything more specific names it instead.
        let map = inside.replace("alloc::vec::Vec<T,A>::with_capacity", "alloc::collections::btree::map::BTreeMap<K,V>::insert");
        check(&map, Some("unbounded_map"));
    }

    #[test]
    fn near_misses() {
        // Everything of a thread runs under its closure.
        check(
            "a malloc\nl alloc::vec::Vec<T,A>::with_capacity\nu app::run::{{closure}}\nl std::thread::Builder::spawn_unchecked_::{{closure}}\nr start_thread",
            None,
        );
        check("a malloc\nu app::spawn\nu app::task::new", None);
    }
}
