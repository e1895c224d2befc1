//! What drives a growth: a loop that counts to an end, or work that goes on until the program is told to stop.
//!
//! The outermost loop on the way from the thread's first function to the allocation is what repeats the work. Where it
//! counts (see [`crate::binary::loops`]), the growth ends with it: data that is being loaded, and a leak in a batch, look
//! alike until then. Where it does not count, or cannot be followed, nothing is said.

use super::{GrowingStack, Knowledge, binary};
use crate::analysis::finding::FrameView;
use crate::binary::loops::Ends;
use crate::model::frame::Role;
use serde::{Deserialize, Serialize};

/// A loop that counts to an end.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Driver {
    /// The user's function that the loop is in.
    pub function: String,
    /// Where its body does the work.
    pub place: String,
    /// The binary that shows it.
    pub source: String,
}

/// Share of a group's growth that such loops must drive.
const DRIVEN: f64 = 0.9;

/// The loop that drives a group of stacks, if it counts; of several the one that drives most.
pub fn driver(known: &Knowledge<'_, '_>, stacks: &[GrowingStack<'_>]) -> Option<Driver> {
    let total: f64 = stacks.iter().map(|stack| stack.growth_bytes.max(0.0)).sum();
    let driven: Vec<(f64, Driver)> = stacks
        .iter()
        .filter(|stack| stack.growth_bytes > 0.0)
        .filter_map(|stack| {
            let frame = counting(known, stack.frames)?;
            let place = match (&frame.file, frame.line) {
                (Some(file), Some(line)) => format!("{file}:{line}"),
                _ => String::new(),
            };
            Some((stack.growth_bytes, Driver { function: frame.function.clone(), place, source: binary(known) }))
        })
        .collect();
    let sum: f64 = driven.iter().map(|(growth, _)| growth).sum();
    (sum > 0.0 && sum >= DRIVEN * total).then(|| driven.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, driver)| driver))?
}

/// The user's frame in the outermost loop of a stack, if that loop counts.
fn counting<'f>(known: &Knowledge<'_, '_>, frames: &'f [FrameView]) -> Option<&'f FrameView> {
    let loops = &known.graph.facts.loops;
    for frame in frames.iter().rev() {
        let Some(svma) = frame.svma else {
            // Code of the program in another file may have a loop of its own.
            if matches!(frame.role, Some(Role::User | Role::Dependency)) {
                return None;
            }
            continue;
        };
        match loops[loops.binary_search_by_key(&svma, |one| one.call).ok()?].ends {
            Ends::NoLoop => {}
            Ends::Count => return frames.iter().find(|other| other.svma == Some(svma) && other.role == Some(Role::User)),
            Ends::Other => return None,
        }
    }
    None
}
