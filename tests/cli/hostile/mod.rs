//! Input from crashing processes, binaries from strangers, names from anyone: nothing may panic, hang, grow without
//! bound, leave the capture, or reach a terminal raw.

mod binaries;
mod bombs;
mod dwarf;
mod dwarf_bombs;
#[path = "../../../fuzz/entries.rs"]
mod entries;
mod entry_points;
mod memory;
mod mutate;
mod mutation;
mod names;
mod program;
mod sameness;
mod surroundings;

/// Whether everything is tried, however long it takes: `HEAPTRIAGE_THOROUGH=1` in the environment. See docs/fuzzing.md.
fn thorough() -> bool {
    std::env::var_os("HEAPTRIAGE_THOROUGH").is_some_and(|value| value != "0")
}
