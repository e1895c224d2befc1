//! Resident memory as the kernel sees it: one record per mapping (smaps), or sums (smaps_rollup, status).

use crate::model::mapping::Mapping;
use crate::units::Bytes;

/// The counted fields of smaps, for one mapping or summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the kernel's, see `man 5 proc`")]
pub struct Residency {
    pub size: Bytes,
    /// Includes LazyFree, excludes hugetlb.
    pub rss: Bytes,
    pub pss: Bytes,
    pub shared_clean: Bytes,
    pub shared_dirty: Bytes,
    pub private_clean: Bytes,
    pub private_dirty: Bytes,
    pub referenced: Bytes,
    pub anonymous: Bytes,
    pub ksm: Bytes,
    /// Given back with MADV_FREE and not written since; still in `rss`.
    pub lazy_free: Bytes,
    pub anon_huge_pages: Bytes,
    pub shmem_pmd_mapped: Bytes,
    pub file_pmd_mapped: Bytes,
    pub shared_hugetlb: Bytes,
    pub private_hugetlb: Bytes,
    pub swap: Bytes,
    pub swap_pss: Bytes,
    pub locked: Bytes,
}

/// One kernel range with what is resident of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vma {
    /// The maps line.
    pub mapping: Mapping,
    /// The counted fields.
    pub residency: Residency,
    /// VmFlags, raw two-letter words separated by blanks: `rd wr mr mw me nr`. Empty when absent.
    pub flags: Box<str>,
    /// Keys that are not in [`Residency`], with their numbers as printed (kB or bare): page sizes other than
    /// 4 kB, and what a later kernel added.
    pub other: Vec<(Box<str>, u64)>,
}

impl Vma {
    /// Whether VmFlags has the word.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.split_ascii_whitespace().any(|word| word == flag)
    }
}

/// smaps of one process at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap {
    /// By address; empty for a rollup.
    pub vmas: Vec<Vma>,
    /// Sums over all mappings.
    pub total: Residency,
    /// How much of it is known.
    pub detail: Detail,
}

/// What a memory map was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// smaps: every mapping.
    #[default]
    Mappings,
    /// smaps_rollup: sums.
    Rollup,
    /// The last line of pmap: sums of less.
    Pmap,
}

impl MemoryMap {
    /// Whether the mappings are known, not only sums over them.
    pub fn has_mappings(&self) -> bool {
        self.detail == Detail::Mappings
    }
}

/// `/proc/PID/status`: what it says of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the kernel's, see `man 5 proc`")]
pub struct ProcessStatus {
    pub name: Option<String>,
    pub pid: Option<u64>,
    pub threads: Option<u64>,
    pub vm_size: Option<Bytes>,
    pub vm_rss: Option<Bytes>,
    pub vm_hwm: Option<Bytes>,
    pub vm_swap: Option<Bytes>,
    pub vm_pte: Option<Bytes>,
    pub rss_anon: Option<Bytes>,
    pub rss_file: Option<Bytes>,
    pub rss_shmem: Option<Bytes>,
}

/// What a monitoring system recorded of a process: the usual process collector's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMetrics {
    /// Resident memory.
    pub rss: Option<Bytes>,
    /// Address space.
    pub virtual_size: Option<Bytes>,
    /// Number of threads.
    pub threads: Option<u64>,
}

/// The memory controller of the process's cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// `memory.current`.
    pub current: Option<Bytes>,
    /// `memory.max`; `None` when unlimited or unknown.
    pub max: Option<Bytes>,
    /// `memory.stat` and the like, by key, in bytes or counts as the kernel gives them.
    pub stat: Vec<(String, u64)>,
}

/// glibc's `malloc_info(3)`, summed over its arenas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlibcHeap {
    /// Memory obtained from the system for arenas (`<system type="current">`).
    pub system: Bytes,
    /// Free inside it (`<total type="fast">` and `"rest"`).
    pub free: Bytes,
    /// In chunks of their own (`<total type="mmap">`).
    pub mmapped: Bytes,
    /// Number of arenas (`<heap nr=..>`).
    pub arenas: u64,
}
