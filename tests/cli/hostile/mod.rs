//! Input from crashing processes, binaries from strangers, names from anyone: nothing may panic, hang, grow without
//! bound, leave the capture, or reach a terminal raw.

mod bombs;
#[path = "../../../fuzz/entries.rs"]
mod entries;
mod entry_points;
mod mutate;
mod mutation;
mod names;
mod program;
mod sameness;
mod surroundings;
