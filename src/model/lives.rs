//! Sampled objects with the times at which they were allocated and freed (jemalloc's allocation log, and its list of
//! recent allocations).

use crate::model::stack::StackId;

/// One record of lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    /// The file it was read from, for evidence.
    pub file: String,
    /// How long the log ran, ns: only objects that were freed meanwhile are in it. `None` for a list of the latest
    /// allocations, live and freed.
    pub duration_ns: Option<u64>,
    /// The objects.
    pub objects: Vec<Life>,
}

/// One sampled object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Where it was allocated; `None` when no dump has the stack.
    pub stack: Option<StackId>,
    /// Bytes handed out.
    pub usable_size: u64,
    /// Bytes asked for, where recorded.
    pub requested: Option<u64>,
    /// When it was allocated, ns of one clock.
    pub born_ns: u64,
    /// When it was freed, where recorded.
    pub freed_ns: Option<u64>,
    /// It is freed.
    pub released: bool,
}
