//! One instant of a process: any of dump, resident memory, allocator statistics.

use crate::model::allocator::AllocatorStats;
use crate::model::heap::HeapProfile;
use crate::model::memory::{Cgroup, GlibcHeap, MemoryMap, ProcessMetrics, ProcessStatus};

/// Where a snapshot's time comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeSource {
    /// The file name is Unix time in milliseconds.
    Name,
    /// The input itself says it (pprof, Prometheus).
    Content,
    /// A time line in a series file.
    SeriesLine,
    /// jemalloc's dump sequence number: order only.
    Sequence,
    /// Modification time of the file.
    ModificationTime,
    /// None of these: the order of the arguments.
    ArgumentOrder,
}

impl TimeSource {
    /// Whether it is a time, rather than an order.
    pub fn is_time(self) -> bool {
        !matches!(self, TimeSource::Sequence | TimeSource::ArgumentOrder)
    }
}

/// One instant.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// File stem or name that people know it by; unique within a timeline.
    pub name: String,
    /// Unix time in milliseconds; for [`TimeSource::Sequence`] and [`TimeSource::ArgumentOrder`] a mere ordinal.
    pub unix_ms: i64,
    /// Where the time comes from.
    pub time_source: TimeSource,
    /// The dump was written as the process ended: what is freed on the way out is missing in it.
    pub at_exit: bool,
    /// The dump; its stacks are ids of the timeline's table.
    pub heap: Option<HeapProfile>,
    /// smaps or smaps_rollup.
    pub memory: Option<MemoryMap>,
    /// Allocator statistics.
    pub stats: Option<AllocatorStats>,
    /// /proc/PID/status.
    pub status: Option<ProcessStatus>,
    /// cgroup files.
    pub cgroup: Option<Cgroup>,
    /// glibc malloc_info.
    pub glibc: Option<GlibcHeap>,
    /// What a monitoring system recorded of the process.
    pub metrics: Option<ProcessMetrics>,
    /// Workload counters at this time, in the order of [`crate::model::timeline::Timeline::counters`]; `None` where no row is near enough.
    pub counters: Vec<Option<f64>>,
    /// Which file each part was read from, for evidence: (`heap`, path).
    pub files: Vec<(Part, String)>,
}

/// The parts a snapshot may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the fields of `Snapshot`")]
pub enum Part {
    Heap,
    Memory,
    Stats,
    Status,
    Cgroup,
    Glibc,
    Metrics,
}

impl Snapshot {
    /// A snapshot with nothing in it yet.
    pub fn empty(name: impl Into<String>, unix_ms: i64, time_source: TimeSource) -> Self {
        Snapshot {
            name: name.into(),
            unix_ms,
            time_source,
            at_exit: false,
            heap: None,
            memory: None,
            stats: None,
            status: None,
            cgroup: None,
            glibc: None,
            metrics: None,
            counters: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The file a part was read from.
    pub fn file(&self, part: Part) -> Option<&str> {
        self.files.iter().find(|(p, _)| *p == part).map(|(_, file)| file.as_str())
    }
}
