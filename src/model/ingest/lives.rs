//! Lives of objects to the model: their stacks become those of the dumps.

use crate::address::ReturnAddress;
use crate::input::prof_log::RawLives;
use crate::model::lives::{Life, Lives};
use crate::model::stack::{StackId, StackTable};

/// A record of lives over the stacks of the process's dumps; it adds none.
pub fn lives(file: &str, raw: &RawLives, stacks: &StackTable) -> Lives {
    let known: Vec<Option<StackId>> =
        raw.stacks.iter().map(|stack| stacks.find(&stack.iter().map(|&address| ReturnAddress::new(address)).collect::<Vec<_>>())).collect();
    let life = |object: &crate::input::prof_log::RawLife| Life {
        stack: known.get(object.stack as usize).copied().flatten(),
        usable_size: object.usable_size,
        requested: object.requested,
        born_ns: object.born_ns,
        freed_ns: object.freed_ns,
        released: object.released,
    };
    Lives { file: file.to_owned(), duration_ns: raw.duration_ns, objects: raw.objects.iter().map(life).collect() }
}
