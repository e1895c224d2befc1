//! The ledger as a value: who owns the resident bytes, over time. `account` fills it, reports print it.
//!
//! Invariant, checked by [`Ledger::closes`]: in every snapshot the rows add up to RSS exactly.

use crate::analysis::estimate::Interval;
use std::fmt;

/// Whose bytes a row counts, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKind {
    /// Bytes the program holds.
    Live,
    /// What profiling itself adds to `allocated`.
    SamplingOverhead,
    /// Freed objects in thread caches.
    Tcache,
    /// Space in pages in use that no object uses.
    Fragmentation,
    /// The allocator's own.
    Metadata,
    /// Freed, kept until decay.
    Dirty,
    /// Given back with MADV_FREE, still counted by the kernel.
    LazyFree,
    /// Counted by the statistics and not resident: negative.
    Untouched,
    /// Resident beyond what is active, because a huge page covers it.
    HugePages,
    /// Another allocator.
    ForeignHeap,
    /// Stacks of threads.
    ThreadStacks,
    /// Pages of a mapped file.
    FileMapped,
    /// Shared memory without a file.
    SharedMemory,
    /// Anonymous memory that no allocator owns.
    OtherAnonymous,
    /// What could not be explained.
    Unattributed,
}

impl RowKind {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            RowKind::Live => "live",
            RowKind::SamplingOverhead => "sampling_overhead",
            RowKind::Tcache => "tcache",
            RowKind::Fragmentation => "fragmentation",
            RowKind::Metadata => "metadata",
            RowKind::Dirty => "dirty",
            RowKind::LazyFree => "lazy_free",
            RowKind::Untouched => "untouched",
            RowKind::HugePages => "huge_pages",
            RowKind::ForeignHeap => "foreign_heap",
            RowKind::ThreadStacks => "thread_stacks",
            RowKind::FileMapped => "file_mapped",
            RowKind::SharedMemory => "shared_memory",
            RowKind::OtherAnonymous => "other_anonymous",
            RowKind::Unattributed => "unattributed",
        }
    }

    /// Whether the row is part of jemalloc's resident memory.
    pub fn is_allocator(self) -> bool {
        matches!(
            self,
            RowKind::Live
                | RowKind::SamplingOverhead
                | RowKind::Tcache
                | RowKind::Fragmentation
                | RowKind::Metadata
                | RowKind::Dirty
                | RowKind::LazyFree
                | RowKind::Untouched
                | RowKind::HugePages
        )
    }
}

/// How a figure came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// Counted by the kernel or the allocator.
    Measured,
    /// From samples, with an error.
    Estimated,
    /// Follows from other figures and a rule.
    Inferred,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Basis::Measured => "measured",
            Basis::Estimated => "estimated",
            Basis::Inferred => "inferred",
        })
    }
}

/// One owner of resident bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub kind: RowKind,
    /// For people: `live heap`, `data.mdb (file mapping)`, `glibc malloc`. Unique within a kind.
    pub label: String,
    /// How it came about.
    pub basis: Basis,
    /// File and figure it was read from.
    pub source: String,
    /// Bytes at each snapshot of the ledger; only `Untouched` and `Unattributed` may be negative.
    pub bytes: Vec<i64>,
}

impl Row {
    /// Bytes at the first snapshot.
    pub fn first(&self) -> i64 {
        self.bytes.first().copied().unwrap_or(0)
    }

    /// Bytes at the last snapshot.
    pub fn last(&self) -> i64 {
        self.bytes.last().copied().unwrap_or(0)
    }

    /// Last less first.
    pub fn growth(&self) -> i64 {
        self.last().saturating_sub(self.first())
    }
}

/// Where RSS was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RssSource {
    /// Sum of `Rss` over smaps.
    Smaps,
    /// `Rss` of smaps_rollup.
    Rollup,
    /// The last line of pmap.
    Pmap,
    /// `VmRSS` of status.
    Status,
    /// `process_resident_memory_bytes` of a metrics series.
    Metrics,
    /// Nowhere: the rows are the allocator's statistics alone.
    #[default]
    None,
}

impl fmt::Display for RssSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RssSource::Smaps => "smaps",
            RssSource::Rollup => "smaps_rollup",
            RssSource::Pmap => "pmap",
            RssSource::Status => "VmRSS of status",
            RssSource::Metrics => "metrics",
            RssSource::None => "not recorded",
        })
    }
}

/// Rows over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Positions in `timeline.snapshots` of the snapshots it covers, ascending.
    pub snapshots: Vec<usize>,
    /// Rows in the order of the contract.
    pub rows: Vec<Row>,
    /// RSS at each snapshot, bytes; empty when it was not recorded.
    pub rss: Vec<u64>,
    /// Where RSS was read.
    pub rss_source: RssSource,
    /// Share of `allocated` that the profile explains, at the last snapshot with both.
    pub coverage: Option<Interval>,
    /// `AnonHugePages` at each snapshot; empty when unknown.
    pub anon_huge: Vec<u64>,
    /// Swapped out at each snapshot; empty when unknown.
    pub swap: Vec<u64>,
    /// Size of the address space at each snapshot; empty when unknown.
    pub virtual_size: Vec<u64>,
    /// Bytes in use inside glibc's heap by malloc_info, where it was recorded: position in `snapshots`, and bytes.
    pub foreign_in_use: Vec<(usize, u64)>,
    /// Sentences about figures that stand beside the ledger: retained, swap, limits, coverage, causes of `untouched`.
    pub notes: Vec<String>,
}

impl Ledger {
    /// Growth of RSS from the first to the last snapshot; `None` when it was not recorded.
    pub fn rss_growth(&self) -> Option<i64> {
        growth(&self.rss)
    }

    /// Growth of huge pages.
    pub fn anon_huge_growth(&self) -> Option<i64> {
        growth(&self.anon_huge)
    }

    /// Growth of what is swapped out.
    pub fn swap_growth(&self) -> Option<i64> {
        growth(&self.swap)
    }

    /// Growth of the address space.
    pub fn virtual_growth(&self) -> Option<i64> {
        growth(&self.virtual_size)
    }

    /// jemalloc's resident bytes at a snapshot of the ledger.
    pub fn allocator_resident(&self, at: usize) -> i64 {
        self.rows.iter().filter(|row| row.kind.is_allocator()).filter_map(|row| row.bytes.get(at)).sum()
    }

    /// Growth of all rows of these kinds.
    pub fn growth_of(&self, kinds: &[RowKind]) -> i64 {
        self.rows.iter().filter(|row| kinds.contains(&row.kind)).map(Row::growth).sum()
    }

    /// Whether the rows add up to RSS in every snapshot.
    pub fn closes(&self) -> bool {
        self.rss.iter().enumerate().all(|(at, &rss)| {
            let sum: i128 = self.rows.iter().filter_map(|row| row.bytes.get(at)).map(|&b| i128::from(b)).sum();
            sum == i128::from(rss)
        })
    }
}

fn growth(figures: &[u64]) -> Option<i64> {
    let delta = i128::from(*figures.last()?) - i128::from(*figures.first()?);
    Some(delta.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_knows_whether_it_closes() {
        let row =
            |kind, bytes: &[i64]| Row { kind, label: String::new(), basis: Basis::Measured, source: String::new(), bytes: bytes.to_vec() };
        let rows = vec![row(RowKind::Live, &[10, 20]), row(RowKind::Untouched, &[-3, -5])];
        let mut ledger = Ledger { rows, rss: vec![7, 15], ..Ledger::default() };
        assert!(ledger.closes());
        assert_eq!((ledger.rss_growth(), ledger.allocator_resident(1)), (Some(8), 15));
        ledger.rss[1] = 16;
        assert!(!ledger.closes());
    }
}
