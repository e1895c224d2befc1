//! jemalloc's own statistics, from any version and either form of `malloc_stats_print`.
//!
//! `None` means that the input does not say, never zero.

use crate::units::Bytes;

/// Run-time options as parsed by the process (`opt.*`) and build options (`config.*`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are jemalloc's, see jemalloc(3)")]
pub struct Options {
    pub background_thread: Option<bool>,
    /// -1 means never.
    pub dirty_decay_ms: Option<i64>,
    /// -1 means never.
    pub muzzy_decay_ms: Option<i64>,
    pub retain: Option<bool>,
    pub narenas: Option<u64>,
    pub oversize_threshold: Option<u64>,
    pub thp: Option<String>,
    pub metadata_thp: Option<String>,
    pub percpu_arena: Option<String>,
    pub dss: Option<String>,
    pub tcache: Option<bool>,
    pub tcache_max: Option<u64>,
    pub lg_tcache_max: Option<u64>,
    pub prof: Option<bool>,
    pub prof_active: Option<bool>,
    pub prof_accum: Option<bool>,
    pub lg_prof_sample: Option<u64>,
    pub config_prof: Option<bool>,
    pub config_cache_oblivious: Option<bool>,
    pub config_malloc_conf: Option<String>,
}

/// Counters of one arena, or merged over all of them. Sizes in bytes (pages already multiplied).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArenaStats {
    /// Arena index; `None` for the merged figures.
    pub index: Option<u64>,
    /// Threads assigned.
    pub threads: Option<u64>,
    /// Own decay settings in ms; `None` where the merged figures say "n/a".
    pub dirty_decay_ms: Option<i64>,
    /// As above.
    pub muzzy_decay_ms: Option<i64>,
    /// Pages in use.
    pub active: Option<Bytes>,
    /// Freed, kept until decay (jemalloc's dirty, not the kernel's).
    pub dirty: Option<Bytes>,
    /// Handed back lazily (`MADV_FREE`).
    pub muzzy: Option<Bytes>,
    /// Live small objects.
    pub small_allocated: Option<Bytes>,
    /// Live large objects.
    pub large_allocated: Option<Bytes>,
    /// Address space in use.
    pub mapped: Option<Bytes>,
    /// Address space kept without memory behind it.
    pub retained: Option<Bytes>,
    /// Bootstrap metadata.
    pub base: Option<Bytes>,
    /// Internal metadata.
    pub internal: Option<Bytes>,
    /// Upper bound of resident memory of this arena.
    pub resident: Option<Bytes>,
    /// Freed objects in thread caches, counted as allocated.
    pub tcache: Option<Bytes>,
    /// Stashed by use-after-free detection (5.3).
    pub tcache_stashed: Option<Bytes>,
    /// Purge sweeps of dirty pages so far.
    pub dirty_npurge: Option<u64>,
    /// Pages purged from dirty so far, in bytes.
    pub dirty_purged: Option<Bytes>,
    /// Arena's age in ns.
    pub uptime_ns: Option<u64>,
}

/// One small size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BinStats {
    /// Object size in bytes.
    pub size: u64,
    /// Objects per slab.
    pub regions_per_slab: u64,
    /// Bytes of a slab.
    pub slab_size: u64,
    /// Live objects: exact, not sampled.
    pub live: u64,
    /// Allocations so far.
    pub nmalloc: u64,
    /// Frees so far.
    pub ndalloc: u64,
    /// Slabs in use.
    pub slabs: u64,
    /// Slabs with free room; `None` before 5.2.1.
    pub nonfull_slabs: Option<u64>,
}

/// One large size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LargeStats {
    /// Class size in bytes.
    pub size: u64,
    /// Live extents: exact, not sampled.
    pub live: u64,
    /// Allocations so far.
    pub nmalloc: u64,
    /// Frees so far.
    pub ndalloc: u64,
}

/// `malloc_stats_print` of one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocatorStats {
    /// `5.3.0-0-g54eaed...`; `None` when the text was cut or made by a subset of the letters.
    pub version: Option<String>,
    /// Options in force.
    pub options: Options,
    /// Page size in bytes.
    pub page_size: Option<u64>,
    /// Usable bytes of all live allocations, thread caches included.
    pub allocated: Option<Bytes>,
    /// Bytes in pages in use.
    pub active: Option<Bytes>,
    /// Metadata, not all of it resident.
    pub metadata: Option<Bytes>,
    /// Upper bound of resident memory; includes muzzy pages in 5.0-5.2.1 and not from 5.3.0 on.
    pub resident: Option<Bytes>,
    /// Address space in use.
    pub mapped: Option<Bytes>,
    /// Address space kept without memory behind it.
    pub retained: Option<Bytes>,
    /// Background threads running.
    pub background_threads: Option<u64>,
    /// Number of arenas initialised.
    pub arenas_initialized: Option<u64>,
    /// Sum over arenas (computed from them where the input has no merged figures).
    pub merged: ArenaStats,
    /// Per arena, where printed.
    pub arenas: Vec<ArenaStats>,
    /// Small classes of the merged figures, by size.
    pub bins: Vec<BinStats>,
    /// Large classes of the merged figures, by size.
    pub large: Vec<LargeStats>,
}

impl AllocatorStats {
    /// Major, minor and patch of [`AllocatorStats::version`].
    pub fn version_numbers(&self) -> Option<(u32, u32, u32)> {
        parse_version(self.version.as_deref()?)
    }
}

/// `5.3.0-0-g54eaed...` to (5, 3, 0).
pub fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}
