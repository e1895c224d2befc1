//! One heap profile: sampled counts by stack.
//!
//! The counts are as the dump prints them. Only `analysis::estimate` turns them into estimates.

use crate::model::mapping::AddressSpace;
use crate::model::stack::StackId;
use crate::units::Bytes;

/// Sampled objects and bytes, as printed; not an estimate of what the program holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Objects.
    pub objects: u64,
    /// Usable bytes of these objects.
    pub bytes: u64,
}

impl Sampled {
    /// Component-wise, saturating.
    pub fn plus(self, other: Sampled) -> Sampled {
        Sampled { objects: self.objects.saturating_add(other.objects), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// How the allocations in a profile were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Every allocation was recorded.
    Exact,
    /// Every byte with probability 1/interval (jemalloc, tcmalloc `heap_v2`).
    Interval(Bytes),
}

impl Sampling {
    /// The mean number of bytes between samples; 1 when every allocation was recorded.
    pub fn interval(self) -> f64 {
        match self {
            Sampling::Exact => 1.0,
            Sampling::Interval(bytes) => (bytes.get() as f64).max(1.0),
        }
    }
}

/// Which program wrote a profile, as far as its format tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `heap_v2/RATE` with thread lines: jemalloc 4.0 and later.
    JemallocThreaded,
    /// `heap profile: ... @ heap_v2/RATE` with stacks that end in `0x0`: jemalloc 3.x.
    JemallocLegacy,
    /// `heap profile: ...` of gperftools, tcmalloc or Go.
    Gperftools,
    /// `@ growth`: growth of the page heap, which is address space and not live memory.
    Growth,
    /// `@ fragmentation`: free space inside spans, which is not live memory either.
    Fragmentation,
    /// pprof protobuf.
    Pprof,
}

/// jemalloc's `prof_unbias` (5.3.0 and later, on by default).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbias {
    /// The counts were corrected per object before printing: stacks of mixed sizes are unbiased.
    On,
    /// Plain sums: stacks of mixed sizes are underestimated.
    Off,
    /// The dump does not tell.
    Unknown,
}

/// One stack with its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which stack.
    pub stack: StackId,
    /// Allocated and not freed when the dump was written.
    pub live: Sampled,
    /// Since the start, freed or not; zeros unless accumulated counts were recorded.
    pub accumulated: Sampled,
}

/// A thread of the profiled process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// jemalloc's thread counter from 0 (not a kernel thread id).
    pub uid: u64,
    /// Name where one was recorded; raw bytes were made UTF-8 lossily.
    pub name: Option<String>,
    /// The header's live total of the thread.
    pub live: Sampled,
}

/// Counters of one stack in one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadSample {
    /// Index into [`HeapProfile::threads`].
    pub thread: u32,
    /// Which stack.
    pub stack: StackId,
    /// Allocated and not freed.
    pub live: Sampled,
    /// Since the start.
    pub accumulated: Sampled,
}

/// One heap dump. Its stacks are ids of a `StackTable` that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapProfile {
    /// Who wrote it.
    pub family: Family,
    /// How allocations were chosen.
    pub sampling: Sampling,
    /// Whether accumulated counts were recorded (`prof_accum`).
    pub accumulated: bool,
    /// Whether the counts were unbiased by the writer.
    pub unbias: Unbias,
    /// The header's totals, as printed.
    pub header: Option<Sampled>,
    /// Threads of the header.
    pub threads: Vec<Thread>,
    /// One entry per stack record, in the order of the dump.
    pub samples: Vec<Sample>,
    /// Per thread; empty unless asked for.
    pub thread_samples: Vec<ThreadSample>,
    /// The mappings section.
    pub mappings: AddressSpace,
    /// The dump ends before its end.
    pub truncated: bool,
}

#[cfg(test)]
impl HeapProfile {
    /// A dump of nothing but these samples, every allocation recorded.
    pub(crate) fn exact(samples: Vec<Sample>) -> Self {
        HeapProfile {
            family: Family::JemallocThreaded,
            sampling: Sampling::Exact,
            accumulated: false,
            unbias: Unbias::Unknown,
            header: None,
            threads: Vec::new(),
            samples,
            thread_samples: Vec::new(),
            mappings: AddressSpace::default(),
            truncated: false,
        }
    }
}

impl HeapProfile {
    /// Whether stacks are missing: it was cut before its mappings, which come last. What it lacks is not gone.
    pub fn is_partial(&self) -> bool {
        self.truncated && self.mappings.is_empty()
    }
}
