//! Ordered snapshots of one process.

use crate::model::frame::Symbols;
use crate::model::lives::Lives;
use crate::model::snapshot::Snapshot;
use crate::model::stack::StackTable;

/// How a workload counter behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// Never falls: work done so far.
    Cumulative,
    /// Goes up and down.
    Gauge,
}

/// A workload counter of `counters.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The column's name.
    pub name: String,
    /// Stated in capture.json, else inferred: a counter that never falls is cumulative.
    pub kind: CounterKind,
}

/// What is known of the process as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Executable's base name, or the best other name.
    pub name: Option<String>,
    /// Process id.
    pub pid: Option<u64>,
    /// Command line.
    pub cmdline: Option<String>,
    /// Start, Unix milliseconds.
    pub start_unix_ms: Option<i64>,
    /// Page size in bytes.
    pub page_size: Option<u64>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// jemalloc version.
    pub jemalloc_version: Option<String>,
    /// `malloc_conf` in force; empty where it is known that nothing was set.
    pub malloc_conf: Option<String>,
    /// The environment variable that its jemalloc reads.
    pub malloc_conf_variable: Option<String>,
    /// Modules with their build-ids as recorded: (path, build-id in hex).
    pub modules: Vec<(String, Option<String>)>,
}

/// Snapshots of one process in time order, with the stacks they share.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The process.
    pub process: Process,
    /// By time.
    pub snapshots: Vec<Snapshot>,
    /// Stacks of all dumps: one address space.
    pub stacks: StackTable,
    /// Names that came with the input (pprof); dumps with addresses only have none.
    pub symbols: Option<Symbols>,
    /// Workload counters.
    pub counters: Vec<Counter>,
    /// Lives of sampled objects, where such records came with the dumps.
    pub lives: Vec<Lives>,
}
