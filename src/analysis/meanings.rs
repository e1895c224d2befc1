//! What each verdict means: what shows it, what looks like it and is not, what to do. One line a kind; the rules are in
//! [`judge`](crate::analysis::judge), [`trend`](crate::analysis::trend) and [`explain`](crate::analysis::explain).

use crate::analysis::finding::VerdictKind;

/// A verdict in words, for `--list-detectors` and docs/detectors.md.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    /// One line.
    pub summary: &'static str,
    /// What shows it.
    pub shown_by: &'static str,
    /// What looks like it and is not.
    pub near_misses: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// The meaning of a verdict.
pub fn meaning(kind: VerdictKind) -> Meaning {
    let of = |summary, shown_by, near_misses, fix| Meaning { summary, shown_by, near_misses, fix };
    match kind {
        VerdictKind::Leak => of(
            "live bytes of a stack grow in step with time or work, to the end",
            "growth beyond the sampling error, in step over five intervals or more, that no cache filling within half of the window explains.",
            "A cache that fills, a load (`growth_plateau`, `one_time`), bytes that move from stack to stack, jobs seen in mid-work (`sawtooth`), a table that doubled once.",
            "Bound what holds it, or free it where its work ends; the pattern says which.",
        ),
        VerdictKind::Growth => of(
            "growth whose cause is open",
            "two to five snapshots, too few samples, a loop that counts to an end, or no shape that is better supported than another.",
            "A leak, which needs a course; growth within the noise, which is not shown.",
            "Capture what the report says is missing.",
        ),
        VerdictKind::BumpArenaGrowth => of(
            "a bump arena takes chunk after chunk",
            "chunks of one arena that come in two or more separate jumps, while the memory touched grows to the end.",
            "An arena that is reset, or that took its chunks at once and is flat since.",
            "Give the arena the life of one unit of work.",
        ),
        VerdictKind::ForeignAllocatorLeak => of(
            "another allocator's heap grows in step, to the end",
            "its resident bytes in smaps, or what is in use by malloc_info, grow linearly over eight snapshots or more.",
            "A heap that grew and is flat since (`foreign_allocator_retention`).",
            "Profile that allocator: link the C code against jemalloc, or record malloc_info.",
        ),
        VerdictKind::GrowthPlateau => of(
            "live memory grew and levelled off: a cache that warmed, a load that ended",
            "a rate that fell to a quarter or to nothing, or a saturating curve that fits far better than a line, against time and every counter.",
            "A leak whose work slows down, which goes on per unit of work; a cache that is still filling.",
            "Nothing, or a smaller capacity.",
        ),
        VerdictKind::OneTime => of(
            "live memory grew once: initialisation, a table that was loaded",
            "80 % of the rise within a third of the window, and two quiet intervals after it.",
            "The tail of a saturation that was under way at the first snapshot; a gap between snapshots; a table that doubled and goes on being filled.",
            "Nothing, or load less.",
        ),
        VerdictKind::Sawtooth => of(
            "live memory comes and goes",
            "a fall of at least half of the range, beyond the noise.",
            "A dump at the end of the program; sampling noise of objects that come and go; data that moved to another stack.",
            "Nothing; compare snapshots of the same phase.",
        ),
        VerdictKind::DirtyRetention => of(
            "freed pages that the allocator keeps until their decay",
            "dirty pages in the statistics, most of the growth of RSS.",
            "Fragmentation, whose pages hold live objects; pages already given back (`madv_free_lag`).",
            "Set background_thread:true, or a shorter dirty_decay_ms.",
        ),
        VerdictKind::MadvFreeLag => of(
            "pages given back with MADV_FREE that the kernel still counts",
            "LazyFree in smaps, most of the growth of RSS.",
            "Dirty pages, which were not given back.",
            "Set muzzy_decay_ms:0 where RSS matters.",
        ),
        VerdictKind::Fragmentation => of(
            "room in pages that still hold some live object",
            "active less allocated in the statistics, with the size classes whose slabs are half empty and the stacks that hold them.",
            "Thread caches and dirty pages, which no live object holds.",
            "Allocate what stays apart from what comes and goes.",
        ),
        VerdictKind::Thp => of(
            "transparent huge pages make untouched memory resident",
            "AnonHugePages in smaps grew, and RSS by more than was allocated.",
            "Huge pages that are in use as a whole.",
            "Set thp:never, or give up huge pages for sparse ranges.",
        ),
        VerdictKind::Tcache => of(
            "freed objects in thread caches",
            "tcache_bytes in the statistics, most of the growth of RSS.",
            "Live objects: the statistics count cached ones as allocated.",
            "Lower lg_tcache_max, or use fewer threads.",
        ),
        VerdictKind::ForeignAllocatorRetention => of(
            "another allocator keeps what was freed, or what it holds does not go on growing",
            "its heap in smaps grew and is flat, or malloc_info shows that what is in use did not grow.",
            "A heap that grows to the end (`foreign_allocator_leak`).",
            "malloc_trim(0), MALLOC_ARENA_MAX, or one allocator for the whole process.",
        ),
        VerdictKind::FileMapping => of(
            "pages of mapped files",
            "the rows of files in smaps, most of the growth of RSS.",
            "Private pages of a file that were written: these are the program's.",
            "Nothing: the kernel drops clean pages when it needs memory.",
        ),
        VerdictKind::DirectMmap => of(
            "anonymous memory that the program maps itself",
            "anonymous mappings that have the marks of no allocator.",
            "Mappings of jemalloc, of other allocators and of thread stacks.",
            "Look at the program's mmap and munmap calls.",
        ),
        VerdictKind::ThreadStacks => of(
            "stacks of threads",
            "the rows of stacks in smaps, most of the growth of RSS.",
            "Address space of stacks that was never touched.",
            "Fewer threads, or less deep recursion.",
        ),
        VerdictKind::VirtualOnly => of(
            "address space grew, memory did not",
            "size in smaps grew by 256 MiB or more and ten times as much as RSS.",
            "Memory that is resident.",
            "Nothing.",
        ),
        VerdictKind::Steady => of(
            "nothing grew",
            "RSS within 4 MiB or a tenth, and no stack that grows in step.",
            "A leak that refills what others freed; the report says how small a leak would have shown.",
            "Nothing.",
        ),
        VerdictKind::Inconclusive => of(
            "the evidence does not suffice",
            "one snapshot, or neither dumps nor resident memory.",
            "`growth`, where something is seen to grow.",
            "Capture what the report names.",
        ),
    }
}
