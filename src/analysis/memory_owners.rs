//! Whose memory a kernel mapping is, by its fingerprint.
//!
//! ```text
//! 5563f000-5581a000 rw-p ... [heap]        ac       the C library's malloc (brk)
//! 7fb4000000-7fb45b9000 rw-p               nr  \    a malloc arena of a thread: 64 MiB aligned,
//! 7fb45b9000-7fb8000000 ---p               nr  /    reserved to the next 64 MiB
//! 7fb8440000-7fb8441000 ---p               nh  \    guard page and
//! 7fb8441000-7fb8c41000 rw-p               ac nh /  stack of a thread
//! 7fb9000000-7fb9400000 rw-p               nr       jemalloc (MAP_NORESERVE, no reserved tail)
//! 7fb9441000-7fb94c5000 rw-p               ac       the program's own mmap
//! ```
//!
//! The flags are those the kernel prints (VmFlags: `nr` MAP_NORESERVE, `ac` accounted, `nh` no huge pages);
//! each rule names what it rests on and how sure it is. Pieces add up to the mappings exactly.

use crate::analysis::finding::Confidence;
use crate::model::memory::{MemoryMap, Residency, Vma};
use crate::units::Bytes;
use std::collections::BTreeSet;

/// Who owns a piece of memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// jemalloc; its statistics split it further.
    Jemalloc,
    /// Another allocator or runtime, by name.
    Foreign(&'static str),
    /// Stacks of threads.
    ThreadStack,
    /// A mapped file, by path without ` (deleted)`; its .data and .bss too.
    File(String),
    /// Memory shared with other processes or by file descriptor, by name.
    Shared(String),
    /// Anonymous memory of the program's own, or of the kernel, by description.
    Other(String),
}

/// Names of other allocators.
pub mod foreign {
    /// brk area.
    pub const GLIBC_HEAP: &str = "C library malloc, main heap";
    /// Arenas of threads.
    pub const GLIBC_ARENAS: &str = "C library malloc, thread arenas";
    /// Chunks with a mapping of their own, where malloc_info counts them.
    pub const GLIBC_BLOCKS: &str = "C library malloc, large blocks";
    /// The same without malloc_info: a block has the looks of any other mmap.
    pub const GLIBC_BLOCKS_OR_OWN: &str = "C library malloc, large blocks, or own mmap";
    /// mimalloc.
    pub const MIMALLOC: &str = "mimalloc";
    /// tcmalloc of either kind.
    pub const TCMALLOC: &str = "tcmalloc";
    /// The Go runtime.
    pub const GO: &str = "Go runtime";
    /// The Java virtual machine.
    pub const JVM: &str = "Java virtual machine";
    /// Scudo, PartitionAlloc, ...: named by their own mapping names.
    pub const NAMED: &str = "other allocator";
    /// A second copy of jemalloc, whose statistics are not in the capture.
    pub const SECOND_JEMALLOC: &str = "another jemalloc";
}

/// The description of plain anonymous mappings.
pub const OWN_MMAP: &str = "anonymous mmap";
/// Small mappings that the loader makes.
const LOADER: &str = "loader and thread-local storage";
const KERNEL: &str = "kernel (vdso)";

/// A mapping, or the part of one, with its owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Position in `MemoryMap::vmas`.
    pub vma: usize,
    /// Who owns it.
    pub owner: Owner,
    /// How sure that is.
    pub confidence: Confidence,
    /// Its figures; pieces of one mapping add up to it.
    pub residency: Residency,
}

/// What is known besides the mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// jemalloc wrote a dump or statistics: it is there.
    pub jemalloc: bool,
    /// Address space that its statistics account for (`mapped + retained`).
    pub jemalloc_space: Option<Bytes>,
    /// jemalloc takes the brk area first (`dss:primary`).
    pub dss_primary: bool,
    /// glibc's own count of chunks with a mapping of their own (malloc_info).
    pub glibc_mmapped: Option<Bytes>,
}

/// HEAP_MAX_SIZE of glibc on 64-bit machines (malloc/arena.c): size and alignment of a thread arena's heap.
const GLIBC_HEAP_SIZE: u64 = 64 << 20;
/// A guard below a stack is a page or a few; the reserved tails of allocators are larger.
const MOST_GUARD: u64 = 1 << 20;
/// Default stacks are 2 MiB (Rust) and 8 MiB (pthreads). Larger ones without a guard could be anything that asked for no huge pages.
const MOST_UNGUARDED_STACK: u64 = 16 << 20;
/// mimalloc hints its memory to 2..30 TiB (MI_HINT_BASE, MI_HINT_MAX in src/os.c): far below where the kernel
/// places mmaps (0x7f..) and programs (0x55..).
const MIMALLOC_HINTS: std::ops::Range<u64> = 2 << 40..30 << 40;
/// Go hints its arenas to 0xc000000000 and up (runtime/malloc.go).
const GO_HINTS: std::ops::Range<u64> = 0xc0_0000_0000..0x100_0000_0000;
/// The loader's and each library's small anonymous mappings: TLS of the first thread, link maps.
const MOST_LOADER: u64 = 128 << 10;
/// jemalloc maps regions of its page size classes from 2 MiB on, which are multiples of this.
const JEMALLOC_GRAIN: u64 = 512 << 10;
/// How far the mappings may exceed what the statistics account for before mappings are doubted: base
/// blocks and the moment between smaps and statistics make up to some MiB.
const SPACE_SLACK: u64 = 16 << 20;

/// Assigns every mapping an owner.
pub fn owners(map: &MemoryMap, known: &Known) -> Vec<Piece> {
    let program = Program::of(&map.vmas);
    let mut pieces: Vec<Piece> = Vec::with_capacity(map.vmas.len());
    let mut joined: Vec<usize> = Vec::new();
    for (i, vma) in map.vmas.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|at| map.vmas.get(at)).filter(|before| before.mapping.range.end == vma.mapping.range.start);
        let after = map.vmas.get(i + 1).filter(|after| after.mapping.range.start == vma.mapping.range.end);
        let (owner, confidence) = match arena_start(vma, after) {
            Some(start) if !program.mimalloc_at(vma) && !program.go && !program.jvm => {
                if start > vma.mapping.range.start.get() {
                    joined.push(pieces.len());
                }
                (Owner::Foreign(foreign::GLIBC_ARENAS), Confidence::High)
            }
            _ => owner(vma, before, after, &program, known, pieces.last()),
        };
        pieces.push(Piece { vma: i, owner, confidence, residency: vma.residency });
    }
    arenas_apart(map, known, joined, &mut pieces);
    doubt_space(map, known, &mut pieces);
    unreserved(map, known, &mut pieces);
    glibc_blocks(known, &mut pieces);
    pieces
}

/// What the mapped files tell of the program.
struct Program {
    jemalloc: bool,
    tcmalloc: bool,
    mimalloc: bool,
    jvm: bool,
    go: bool,
}

impl Program {
    fn of(vmas: &[Vma]) -> Program {
        let has = |name: &[u8]| vmas.iter().any(|vma| memchr::memmem::find(&vma.mapping.name, name).is_some());
        let go = vmas.iter().any(|vma| vma.mapping.range.start.get() == GO_HINTS.start) || has(b"[anon: Go:");
        Program {
            jemalloc: has(b"/libjemalloc.so"),
            tcmalloc: has(b"libtcmalloc"),
            mimalloc: has(b"libmimalloc"),
            jvm: has(b"/libjvm.so"),
            go,
        }
    }

    fn mimalloc_at(&self, vma: &Vma) -> bool {
        MIMALLOC_HINTS.contains(&vma.mapping.range.start.get())
    }
}

fn owner(
    vma: &Vma,
    before: Option<&Vma>,
    after: Option<&Vma>,
    program: &Program,
    known: &Known,
    previous: Option<&Piece>,
) -> (Owner, Confidence) {
    if !vma.mapping.name.is_empty() {
        return named(vma, program, known);
    }
    let start = vma.mapping.range.start.get();
    let size = vma.mapping.range.len();
    let writable = &vma.mapping.perms[..3] == b"rw-";
    let (nr, ac, nh) = (vma.has_flag("nr"), vma.has_flag("ac"), vma.has_flag("nh"));
    if program.go && GO_HINTS.contains(&start) {
        return (Owner::Foreign(foreign::GO), Confidence::High);
    }
    if program.mimalloc_at(vma) {
        return (Owner::Foreign(foreign::MIMALLOC), if program.mimalloc { Confidence::High } else { Confidence::Medium });
    }
    if vma.mapping.perms[2] == b'x' {
        return (Owner::Other("code made at run time".into()), Confidence::High);
    }
    if !writable {
        return (
            Owner::Other(if vma.mapping.perms[0] == b'-' { "reserved address space".into() } else { OWN_MMAP.into() }),
            Confidence::Medium,
        );
    }
    let guarded = before.is_some_and(is_guard);
    if guarded && !nr {
        return (Owner::ThreadStack, if nh { Confidence::High } else { Confidence::Medium });
    }
    if nh && ac && size <= MOST_UNGUARDED_STACK {
        return (Owner::ThreadStack, Confidence::Medium);
    }
    // .bss follows the data of its file without a gap.
    if let (Some(before), Some(Owner::File(path)), false) = (before, previous.map(|piece| &piece.owner), nr)
        && before.mapping.perms[3] == b'p'
    {
        return (Owner::File(path.clone()), Confidence::High);
    }
    if program.jvm && after.is_some_and(|after| after.mapping.perms[0] == b'-' && after.has_flag("nr")) {
        return (Owner::Foreign(foreign::JVM), Confidence::Medium);
    }
    if nr {
        let sure = if known.jemalloc || program.jemalloc { Confidence::High } else { Confidence::Low };
        return if program.mimalloc && !known.jemalloc {
            (Owner::Foreign(foreign::MIMALLOC), Confidence::Medium)
        } else {
            (Owner::Jemalloc, sure)
        };
    }
    if program.tcmalloc && size >= MOST_LOADER {
        return (Owner::Foreign(foreign::TCMALLOC), Confidence::Medium);
    }
    // The Go runtime maps its tables (spans, bitmaps) wherever the kernel puts them, and knows no other allocator.
    if program.go && !known.jemalloc {
        return (Owner::Foreign(foreign::GO), Confidence::Medium);
    }
    let below_file = after.is_some_and(|after| after.mapping.path().is_some());
    if size < MOST_LOADER && (below_file || before.is_none()) {
        return (Owner::Other(LOADER.into()), Confidence::Medium);
    }
    (Owner::Other(OWN_MMAP.into()), Confidence::Medium)
}

/// Mappings with a name: files, and what the kernel or the program names.
fn named(vma: &Vma, program: &Program, known: &Known) -> (Owner, Confidence) {
    let name = vma.mapping.display_name();
    let file = name.strip_suffix(" (deleted)").unwrap_or(&name);
    let shared = |label: &str| (Owner::Shared(label.to_owned()), Confidence::High);
    let allocator = |label| (Owner::Foreign(label), Confidence::High);
    if let Some(given) = name.strip_prefix("[anon:").and_then(|rest| rest.strip_suffix(']')) {
        let given = given.trim();
        // As set by glibc (glibc.mem.decorate_maps), Go, tcmalloc, jemalloc (--enable-pageid), Android's allocators.
        return match given {
            _ if given.starts_with("jemalloc") || given == "libc_malloc" && known.jemalloc => (Owner::Jemalloc, Confidence::High),
            _ if given.starts_with("Go:") => allocator(foreign::GO),
            _ if given.starts_with("tcmalloc") => allocator(foreign::TCMALLOC),
            _ if given.starts_with("mimalloc") || given.starts_with("mi-") => allocator(foreign::MIMALLOC),
            _ if given.starts_with("glibc: malloc arena") => allocator(foreign::GLIBC_ARENAS),
            _ if given.starts_with("glibc: malloc") => allocator(foreign::GLIBC_BLOCKS),
            _ if given.starts_with("glibc: pthread stack") || given.starts_with("stack_and_tls") => (Owner::ThreadStack, Confidence::High),
            _ if given.starts_with("scudo")
                || given.starts_with("partition_alloc")
                || given.starts_with("GWP-ASan")
                || given == "libc_malloc" =>
            {
                allocator(foreign::NAMED)
            }
            _ => (Owner::Other(given.to_owned()), Confidence::High),
        };
    }
    match name.as_ref() {
        "[heap]" if program.tcmalloc => (Owner::Foreign(foreign::TCMALLOC), Confidence::High),
        "[heap]" if known.dss_primary => (Owner::Jemalloc, Confidence::Medium),
        "[heap]" => allocator(foreign::GLIBC_HEAP),
        "[stack]" => (Owner::ThreadStack, Confidence::High),
        _ if name.starts_with("[stack:") => (Owner::ThreadStack, Confidence::High),
        _ if name.starts_with("[v") || name == "[uprobes]" => (Owner::Other(KERNEL.into()), Confidence::High),
        _ if name.starts_with("[anon_shmem:") => shared(name.trim_start_matches("[anon_shmem:").trim_end_matches(']')),
        _ if file.starts_with("/SYSV") => shared("System V shared memory"),
        _ if file == "/dev/zero" => shared("shared anonymous memory"),
        _ if file.starts_with("/memfd:") || file.starts_with("/dev/shm/") => shared(file.trim_start_matches('/')),
        _ if file.starts_with("/anon_hugepage") => (Owner::Other("huge pages (hugetlb)".into()), Confidence::High),
        _ if file.starts_with('/') => (Owner::File(file.to_owned()), Confidence::High),
        _ => (Owner::Other(name.into_owned()), Confidence::Medium),
    }
}

/// A page or a few that nobody may touch, below a stack.
fn is_guard(vma: &Vma) -> bool {
    vma.mapping.is_anonymous() && vma.mapping.perms[..3] == *b"---" && vma.mapping.range.len() <= MOST_GUARD && !vma.has_flag("nr")
}

/// Where the topmost thread arena in `vma` begins, if it ends in one: reserved address space follows up to the
/// next 64 MiB.
fn arena_start(vma: &Vma, after: Option<&Vma>) -> Option<u64> {
    let after = after?;
    let (start, end) = (vma.mapping.range.start.get(), vma.mapping.range.end.get());
    let tail = after.mapping.is_anonymous() && after.mapping.perms[..3] == *b"---" && after.mapping.range.end.get() % GLIBC_HEAP_SIZE == 0;
    let heap = vma.mapping.is_anonymous() && vma.mapping.perms[..3] == *b"rw-" && !vma.has_flag("ac");
    if !tail || !heap || end == start || after.mapping.range.len() >= GLIBC_HEAP_SIZE {
        return None;
    }
    let own = (end - 1) / GLIBC_HEAP_SIZE * GLIBC_HEAP_SIZE;
    (own >= start).then_some(own)
}

/// The kernel joins neighbors with equal flags: below an arena's 64 MiB in one mapping lies something else,
/// jemalloc's memory or further heaps of the arena, which are full and have no reserved tail. How much of
/// it is heaps is told by the address space that jemalloc's statistics account for.
fn arenas_apart(map: &MemoryMap, known: &Known, joined: Vec<usize>, pieces: &mut Vec<Piece>) {
    let arena = |piece: &Piece| piece.owner == Owner::Foreign(foreign::GLIBC_ARENAS);
    if !pieces.iter().any(arena) {
        return;
    }
    // Joined pieces are seen as arenas only at first: what is below them counts as jemalloc's until told otherwise.
    let below = |i: usize| {
        let range = map.vmas[pieces[i].vma].mapping.range;
        ((range.end.get() - 1) / GLIBC_HEAP_SIZE * GLIBC_HEAP_SIZE).saturating_sub(range.start.get())
    };
    let mut held: u64 = joined.iter().map(|&i| below(i)).fold(0, u64::saturating_add);
    held = pieces
        .iter()
        .filter(|piece| piece.owner == Owner::Jemalloc)
        .map(|piece| piece.residency.size.get())
        .fold(held, u64::saturating_add);
    let mut heaps = match known.jemalloc_space {
        Some(space) => (held.saturating_sub(space.get()).saturating_add(GLIBC_HEAP_SIZE / 2)) / GLIBC_HEAP_SIZE,
        // Without statistics nothing speaks against either; a process without jemalloc has only heaps.
        None if known.jemalloc => 0,
        None => u64::MAX,
    };
    let density = Density::of(map, pieces, &joined);
    let joined_below: Vec<(usize, u64)> = joined.iter().map(|&i| (i, below(i))).collect();
    for &(i, below) in joined_below.iter().rev() {
        let full = (below / GLIBC_HEAP_SIZE).min(heaps);
        heaps = heaps.saturating_sub(full);
        let below = below - full * GLIBC_HEAP_SIZE;
        if below == 0 {
            continue;
        }
        let vma = &map.vmas[pieces[i].vma];
        let (low, high) = split(vma, below, density);
        pieces[i].residency = high;
        let owner = if known.jemalloc || full == 0 { Owner::Jemalloc } else { Owner::Other(OWN_MMAP.into()) };
        pieces.insert(i, Piece { vma: pieces[i].vma, owner, confidence: Confidence::Medium, residency: low });
    }
    // Heaps that are not joined with anything: full, so exactly as large and as aligned as a heap.
    for piece in pieces.iter_mut().filter(|piece| piece.owner == Owner::Jemalloc) {
        let range = map.vmas[piece.vma].mapping.range;
        let exact = range.start.get().is_multiple_of(GLIBC_HEAP_SIZE)
            && range.len().is_multiple_of(GLIBC_HEAP_SIZE)
            && piece.residency.size.get() == range.len();
        let count = range.len() / GLIBC_HEAP_SIZE;
        if exact && count > 0 && count <= heaps {
            heaps = heaps.saturating_sub(count);
            (piece.owner, piece.confidence) = (Owner::Foreign(foreign::GLIBC_ARENAS), Confidence::Medium);
        }
    }
}

/// How much of their mappings the two allocators have resident, where each is alone.
#[derive(Clone, Copy)]
struct Density {
    jemalloc: f64,
    arena: f64,
    /// Resident bytes of an arena that was never used: its header.
    fresh_arena: u64,
}

/// An arena begins with this much writable (HEAP_MIN_SIZE and the top pad of 128 KiB).
const FRESH_ARENA: u64 = 0x21000;

impl Density {
    fn of(map: &MemoryMap, pieces: &[Piece], joined: &[usize]) -> Density {
        let alone = |i: &usize| !joined.contains(i);
        let share = |owner: Owner, usual: f64| {
            let of = || (0..pieces.len()).filter(alone).map(|i| &pieces[i]).filter(|piece| piece.owner == owner);
            let size: f64 = of().map(|piece| piece.residency.size.get() as f64).sum();
            let rss: f64 = of().map(|piece| piece.residency.rss.get() as f64).sum();
            // A few pages say nothing.
            if size >= MOST_GUARD as f64 { (rss / size).clamp(0.01, 1.0) } else { usual }
        };
        let fresh = |i: &usize| {
            map.vmas[pieces[*i].vma].mapping.range.len() == FRESH_ARENA && pieces[*i].owner == Owner::Foreign(foreign::GLIBC_ARENAS)
        };
        let mut unused: Vec<u64> = (0..pieces.len()).filter(alone).filter(fresh).map(|i| pieces[i].residency.rss.get()).collect();
        unused.sort_unstable();
        Density {
            jemalloc: share(Owner::Jemalloc, 0.6),
            // A heap grows by what is used of it and is cut when its top is free.
            arena: 0.95,
            fresh_arena: unused.get(unused.len() / 2).copied().unwrap_or(4096),
        }
    }
}

/// The statistics say how much address space is jemalloc's. Mappings beyond it that are not of its sizes are
/// the program's own reservations with the same flags.
fn doubt_space(map: &MemoryMap, known: &Known, pieces: &mut [Piece]) {
    let Some(space) = known.jemalloc_space else { return };
    let held: u64 = pieces.iter().filter(|piece| piece.owner == Owner::Jemalloc).map(|piece| piece.residency.size).sum::<Bytes>().get();
    let mut excess = held.saturating_sub(space.get());
    if excess <= SPACE_SLACK {
        return;
    }
    let mut doubtful: Vec<usize> = (0..pieces.len())
        .filter(|&i| pieces[i].owner == Owner::Jemalloc && !map.vmas[pieces[i].vma].mapping.range.len().is_multiple_of(JEMALLOC_GRAIN))
        .collect();
    doubtful.sort_by_key(|&i| std::cmp::Reverse(pieces[i].residency.size));
    for i in doubtful {
        let size = pieces[i].residency.size.get();
        if size <= excess.saturating_add(JEMALLOC_GRAIN) {
            (pieces[i].owner, pieces[i].confidence) = (Owner::Other("anonymous mmap without reservation".into()), Confidence::Low);
            excess = excess.saturating_sub(size);
        }
    }
}

/// Where memory may not be overcommitted (vm.overcommit_memory = 2), or an edited smaps has no flags, jemalloc's
/// mappings look like any other: as much of them as the statistics account for is taken, largest first.
fn unreserved(map: &MemoryMap, known: &Known, pieces: &mut [Piece]) {
    let (true, Some(space)) = (known.jemalloc, known.jemalloc_space) else { return };
    let held: u64 = pieces.iter().filter(|piece| piece.owner == Owner::Jemalloc).map(|piece| piece.residency.size).sum::<Bytes>().get();
    // Half: then what is found cannot be most of it.
    if held >= space.get() / 2 {
        return;
    }
    let mut candidates: Vec<usize> = (0..pieces.len())
        .filter(|&i| {
            let vma = &map.vmas[pieces[i].vma];
            matches!(&pieces[i].owner, Owner::Other(what) if what == OWN_MMAP)
                && vma.mapping.perms == *b"rw-p"
                && vma.mapping.range.len().is_multiple_of(JEMALLOC_GRAIN)
        })
        .collect();
    candidates.sort_by_key(|&i| std::cmp::Reverse(pieces[i].residency.size));
    let mut missing = (space.get() - held).saturating_add(SPACE_SLACK);
    for i in candidates {
        let size = pieces[i].residency.size.get();
        if size <= missing {
            (pieces[i].owner, pieces[i].confidence) = (Owner::Jemalloc, Confidence::Low);
            missing -= size;
        }
    }
}

/// Blocks of the C library's malloc look like the program's own mmaps. Its own count tells how much of them it
/// is; in a program without jemalloc all of them are taken to be.
fn glibc_blocks(known: &Known, pieces: &mut [Piece]) {
    let own = |piece: &Piece| matches!(&piece.owner, Owner::Other(what) if what == OWN_MMAP);
    let mut left = match known.glibc_mmapped {
        Some(mmapped) => mmapped.get(),
        None if !known.jemalloc && !pieces.iter().any(|piece| piece.owner == Owner::Jemalloc) => u64::MAX,
        None => return,
    };
    let owners: BTreeSet<Owner> = pieces.iter().map(|piece| piece.owner.clone()).collect();
    if known.glibc_mmapped.is_none()
        && owners.iter().any(|owner| matches!(owner, Owner::Foreign(foreign::TCMALLOC | foreign::MIMALLOC | foreign::GO | foreign::JVM)))
    {
        return;
    }
    for piece in pieces.iter_mut().filter(|piece| own(piece)) {
        let size = piece.residency.size.get();
        // Neighbors merge: a mapping may hold several blocks, but not more than there are.
        if size <= left {
            (piece.owner, piece.confidence) = match left {
                u64::MAX => (Owner::Foreign(foreign::GLIBC_BLOCKS_OR_OWN), Confidence::Low),
                _ => (Owner::Foreign(foreign::GLIBC_BLOCKS), Confidence::Medium),
            };
            left = left.saturating_sub(if left == u64::MAX { 0 } else { size });
        }
    }
}

/// Figures of the lowest `below` bytes of a mapping, and of the arena above them.
fn split(vma: &Vma, below: u64, density: Density) -> (Residency, Residency) {
    let all = vma.residency;
    let whole = vma.mapping.range.len().max(1);
    let above = whole.saturating_sub(below);
    let rss = all.rss.get();
    let rss_above = if above == FRESH_ARENA {
        density.fresh_arena.min(rss)
    } else {
        let (low, high) = (below as f64 * density.jemalloc, above as f64 * density.arena);
        ((rss as f64 * high / (low + high).max(1.0)) as u64).min(above).min(rss)
    };
    // Neither part can hold more than its size.
    let rss_above = rss_above.max(rss.saturating_sub(below)).min(rss);
    let part = |bytes: Bytes| Bytes::new((u128::from(bytes.get()) * u128::from(rss_above) / u128::from(rss.max(1))) as u64);
    let high = Residency {
        size: Bytes::new(above),
        rss: Bytes::new(rss_above),
        pss: part(all.pss),
        anonymous: part(all.anonymous),
        private_dirty: part(all.private_dirty),
        private_clean: part(all.private_clean),
        swap: part(all.swap),
        ..Residency::default()
    };
    let low = Residency {
        size: all.size.saturating_sub(high.size),
        rss: all.rss.saturating_sub(high.rss),
        pss: all.pss.saturating_sub(high.pss),
        anonymous: all.anonymous.saturating_sub(high.anonymous),
        private_dirty: all.private_dirty.saturating_sub(high.private_dirty),
        private_clean: all.private_clean.saturating_sub(high.private_clean),
        swap: all.swap.saturating_sub(high.swap),
        // The C library gives nothing back lazily and asks for no huge pages.
        ..all
    };
    (low, high)
}
