//! Pools and arenas known by name: memory that is kept for reuse and bounded by something, or handed out without
//! being taken back until an arena ends. Data in one place, each line with its source.
//!
//! A pool is neither guilty nor cleared by its name: one that fills and stays is fine, one that goes on growing is
//! asked who owns it. What its growth does is judged by `triage`.

use super::path::Path;
use crate::model::frame::{NameId, Role, Symbols};
use crate::model::stack::AddressId;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// How a pool gives memory back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Hands out pieces of chunks, takes none back: everything is freed when the arena is reset or dropped.
    Arena,
    /// Keeps what was freed for the next use: as large as the largest use so far.
    Reuse,
    /// Evicts at a configured limit.
    Cache,
    /// One entry for each place in the code, thread or open handle.
    Registry,
}

impl PoolKind {
    /// The noun in reports.
    pub fn word(self) -> &'static str {
        match self {
            PoolKind::Arena => "arena",
            PoolKind::Reuse => "pool",
            PoolKind::Cache => "cache",
            PoolKind::Registry => "registry",
        }
    }
}

/// A known pool.
#[derive(Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its word: unique, snake_case.
    pub id: &'static str,
    /// How it gives memory back.
    pub kind: PoolKind,
    /// Paths of types, modules or functions that are its own.
    paths: &'static [&'static str],
    /// The functions below these paths that obtain memory for it; empty for any.
    functions: &'static [&'static str],
    /// What it is: "LMDB's dirty pages".
    pub what: &'static str,
    /// What bounds it; completes "bounded by".
    pub bounded_by: &'static str,
    /// What to do when it grows and should not.
    pub remedy: &'static str,
    /// Where this is known from.
    pub source: &'static str,
}

/// Finds the pools of many stacks; each distinct function is judged once.
#[derive(Debug)]
pub struct Finder<'a> {
    symbols: &'a Symbols,
    judged: HashMap<(NameId, Option<NameId>), Option<&'static Pool>, FxBuildHasher>,
}

impl<'a> Finder<'a> {
    /// For the stacks of one symbol table.
    pub fn new(symbols: &'a Symbols) -> Self {
        Finder { symbols, judged: HashMap::default() }
    }

    /// The pool that a stack's memory belongs to: the innermost known function between the allocator and the first
    /// frame of the program's own code, that frame included (a pool may be the program's own).
    pub fn pool(&mut self, stack: impl Iterator<Item = AddressId>) -> Option<&'static Pool> {
        let symbols = self.symbols;
        let frames = stack.flat_map(|address| symbols.frames(address)).map(|frame| (Some(frame.role), frame));
        let known = innermost(frames, |frame| {
            let judge = || known(&Path::of_names(symbols.function(frame), symbols.file(frame)));
            *self.judged.entry((frame.function, frame.file)).or_insert_with(judge)
        });
        known.map(|(_, pool)| pool)
    }
}

/// The same of frames whose paths are known already, with the position of the pool's frame.
pub(super) fn known_at<'p>(frames: impl Iterator<Item = (Option<Role>, &'p Path)>) -> Option<(usize, &'static Pool)> {
    innermost(frames, known)
}

fn known(path: &Path) -> Option<&'static Pool> {
    POOLS.iter().find(|pool| pool.owns(path))
}

fn innermost<F>(
    frames: impl Iterator<Item = (Option<Role>, F)>,
    mut known: impl FnMut(F) -> Option<&'static Pool>,
) -> Option<(usize, &'static Pool)> {
    for (index, (role, frame)) in frames.enumerate() {
        // The allocator's own frames come first and say nothing of who asked.
        if role != Some(Role::Allocator)
            && let Some(pool) = known(frame)
        {
            return Some((index, pool));
        }
        if role == Some(Role::User) {
            return None;
        }
    }
    None
}

impl Pool {
    fn owns(&self, path: &Path) -> bool {
        self.paths.iter().any(|prefix| path.within(prefix)) && (self.functions.is_empty() || self.functions.contains(&path.last()))
    }

    /// A sentence for growth that ended: "LMDB's dirty pages, kept for reuse, bounded by the largest transaction".
    pub fn cleared(&self) -> String {
        let how = match self.kind {
            PoolKind::Arena => "freed as a whole",
            PoolKind::Reuse => "kept for reuse",
            PoolKind::Cache => "evicts at its limit",
            PoolKind::Registry => "one entry each",
        };
        format!("{}, {how}, bounded by {}", self.what, self.bounded_by)
    }
}

/// The table.
pub const POOLS: &[Pool] = &[
    // Bump arenas.
    Pool {
        id: "bumpalo",
        kind: PoolKind::Arena,
        paths: &["bumpalo"],
        functions: &[
            "new_chunk",
            "alloc_layout_slow",
            "with_capacity",
            "try_with_capacity",
            "with_min_align_and_capacity",
            "try_with_min_align_and_capacity",
        ],
        what: "a bumpalo `Bump`",
        bounded_by: "the life of the `Bump`",
        remedy: "give the `Bump` the life of one unit of work: create it per unit, or call `reset()` between units",
        source: "bumpalo src/lib.rs, `Bump::new_chunk`; https://docs.rs/bumpalo",
    },
    Pool {
        id: "typed_arena",
        kind: PoolKind::Arena,
        paths: &["typed_arena"],
        functions: &["grow", "reserve", "reserve_extend", "alloc_slow_path", "with_capacity", "alloc_extend"],
        what: "a `typed_arena::Arena`",
        bounded_by: "the life of the arena",
        remedy: "give the arena the life of one unit of work; it has no way to free a single element",
        source: "typed-arena src/lib.rs, `ChunkList::reserve`; https://docs.rs/typed-arena",
    },
    Pool {
        id: "rustc_arena",
        kind: PoolKind::Arena,
        paths: &["rustc_arena"],
        functions: &["grow"],
        what: "an arena of the Rust compiler",
        bounded_by: "the compilation session",
        remedy: "drop the session (`GlobalCtxt`) between units of work",
        source: "rustc compiler/rustc_arena/src/lib.rs, `TypedArena::grow`, `DroplessArena::grow`",
    },
    Pool {
        id: "tantivy_arena",
        kind: PoolKind::Arena,
        paths: &["tantivy_stacker", "stacker::memory_arena"],
        functions: &["add_page", "new", "allocate_space"],
        what: "the arena of a tantivy segment writer",
        bounded_by: "the memory budget of the index writer, per indexing thread",
        remedy: "lower the budget given to `Index::writer`, or commit more often",
        source: "tantivy stacker/src/memory_arena.rs, `MemoryArena::add_page`",
    },
    Pool {
        id: "postgresql_context",
        kind: PoolKind::Arena,
        paths: &[
            "AllocSetAlloc",
            "AllocSetAllocLarge",
            "AllocSetAllocFromNewBlock",
            "AllocSetContextCreateInternal",
            "AllocSetRealloc",
            "GenerationAlloc",
            "GenerationAllocLarge",
            "GenerationAllocFromNewBlock",
            "SlabAlloc",
            "SlabAllocFromNewBlock",
            "BumpAlloc",
            "BumpAllocFromNewBlock",
            "MemoryContextAlloc",
            "MemoryContextAllocExtended",
            "MemoryContextAllocZero",
            "palloc",
            "palloc0",
            "palloc_extended",
            "repalloc",
        ],
        functions: &[],
        what: "a PostgreSQL memory context",
        bounded_by: "the life of the context (tuple, query, transaction, cache)",
        remedy: "allocate in a context that is reset per unit of work (`MemoryContextSwitchTo`), and look which one grows with `pg_backend_memory_contexts` or `MemoryContextStats(TopMemoryContext)`",
        source: "PostgreSQL src/backend/utils/mmgr/README, aset.c, generation.c, slab.c, bump.c, mcxt.c",
    },
    Pool {
        id: "llvm_bump_ptr_allocator",
        kind: PoolKind::Arena,
        paths: &["llvm::BumpPtrAllocatorImpl"],
        functions: &[],
        what: "an LLVM `BumpPtrAllocator`",
        bounded_by: "the life of the allocator (`ASTContext`, `LLVMContext`, pass)",
        remedy: "destroy or `Reset()` the object that owns the allocator between units of work",
        source: "LLVM llvm/include/llvm/Support/Allocator.h, `StartNewSlab`",
    },
    Pool {
        id: "v8_zone",
        kind: PoolKind::Arena,
        paths: &["v8::internal::Zone", "v8::internal::AccountingAllocator"],
        functions: &["Expand", "NewExpand", "AsanNew", "AllocateSegment", "Allocate", "New"],
        what: "a V8 `Zone`",
        bounded_by: "one parse or compile job",
        remedy: "find the compile job that does not end, or the code that is compiled anew for each unit of work",
        source: "V8 src/zone/zone.cc, `Zone::Expand`; src/zone/accounting-allocator.cc",
    },
    Pool {
        id: "rocksdb_arena",
        kind: PoolKind::Arena,
        paths: &["rocksdb::Arena", "rocksdb::ConcurrentArena", "leveldb::Arena"],
        functions: &[],
        what: "the arena of a RocksDB or LevelDB memtable",
        bounded_by: "write_buffer_size times max_write_buffer_number, per column family",
        remedy: "lower write_buffer_size or max_write_buffer_number, set db_write_buffer_size, or find the iterator or snapshot that keeps old memtables",
        source: "RocksDB memory/arena.cc, `Arena::AllocateNewBlock`; https://github.com/facebook/rocksdb/wiki/Memory-usage-in-RocksDB",
    },
    Pool {
        id: "pmr_monotonic_buffer",
        kind: PoolKind::Arena,
        paths: &["std::pmr::monotonic_buffer_resource", "std::__1::pmr::monotonic_buffer_resource"],
        functions: &[],
        what: "a `std::pmr::monotonic_buffer_resource`",
        bounded_by: "the life of the resource: deallocate does nothing",
        remedy: "call `release()` between units of work, or use an `unsynchronized_pool_resource`, which reuses what is freed",
        source: "ISO C++17 [mem.res.monotonic.buffer]; libstdc++ src/c++17/memory_resource.cc, `_M_new_buffer`",
    },
    Pool {
        id: "zig_arena_allocator",
        kind: PoolKind::Arena,
        paths: &["heap::arena_allocator::ArenaAllocator", "heap::ArenaAllocator"],
        functions: &[],
        what: "a Zig `ArenaAllocator`",
        bounded_by: "the life of the arena: free does nothing except for the last allocation",
        remedy: "call `reset(.retain_capacity)` or `deinit()` between units of work",
        source: "Zig lib/std/heap/arena_allocator.zig, `createNode`",
    },
    Pool {
        id: "protobuf_arena",
        kind: PoolKind::Arena,
        paths: &["google::protobuf::internal::SerialArena", "google::protobuf::internal::ThreadSafeArena", "google::protobuf::Arena"],
        functions: &[],
        what: "a protobuf `Arena`",
        bounded_by: "the life of the arena",
        remedy: "use one arena per request, or call `Reset()` between requests",
        source: "protobuf src/google/protobuf/arena.cc, `SerialArena::AllocateNewBlock`; https://protobuf.dev/reference/cpp/arenas",
    },
    Pool {
        id: "clickhouse_arena",
        kind: PoolKind::Arena,
        paths: &["DB::Arena", "DB::ArenaWithFreeLists"],
        functions: &[],
        what: "a ClickHouse `Arena`",
        bounded_by: "the query's aggregation or dictionary that owns it",
        remedy: "find the aggregation state or dictionary that owns the arena; max_bytes_before_external_group_by bounds it for queries",
        source: "ClickHouse src/Common/Arena.h, `addMemoryChunk`",
    },
    Pool {
        id: "duckdb_arena",
        kind: PoolKind::Arena,
        paths: &["duckdb::ArenaAllocator"],
        functions: &[],
        what: "a DuckDB `ArenaAllocator`",
        bounded_by: "the operator or transaction that owns it",
        remedy: "find the operator state or transaction that stays open, or `Reset()` the arena",
        source: "DuckDB src/storage/arena_allocator.cpp, `AllocateNewBlock`",
    },
    Pool {
        id: "apr_pool",
        kind: PoolKind::Arena,
        paths: &["apr_palloc", "apr_pcalloc", "apr_pool_create_ex", "allocator_alloc"],
        functions: &[],
        what: "an APR pool",
        bounded_by: "the life of the pool (request, connection, process)",
        remedy: "allocate from the request's pool and not from the connection's or the process's, or clear a subpool per unit of work",
        source: "APR memory/unix/apr_pools.c, `allocator_alloc`",
    },
    Pool {
        id: "nginx_pool",
        kind: PoolKind::Arena,
        paths: &["ngx_palloc", "ngx_palloc_block", "ngx_palloc_large", "ngx_pnalloc", "ngx_pcalloc", "ngx_create_pool"],
        functions: &[],
        what: "an nginx pool",
        bounded_by: "the life of the pool (request, connection, cycle)",
        remedy: "allocate from the request's pool, or destroy a pool of your own per unit of work",
        source: "nginx src/core/ngx_palloc.c",
    },
    Pool {
        id: "talloc",
        kind: PoolKind::Arena,
        paths: &["__talloc", "__talloc_with_prefix", "_talloc", "talloc_named_const", "_talloc_zero", "_talloc_array"],
        functions: &[],
        what: "a talloc context",
        bounded_by: "the life of its parent context",
        remedy: "parent the allocation to a context that ends with the unit of work; `talloc_report_full` shows the tree",
        source: "Samba lib/talloc/talloc.c",
    },
    // Kept for reuse.
    Pool {
        id: "lmdb_dirty_pages",
        kind: PoolKind::Reuse,
        paths: &["mdb_page_malloc", "mdb_midl_alloc", "mdb_midl_grow", "mdb_midl_need", "mdb_midl_append"],
        functions: &[],
        what: "LMDB's dirty pages and page lists",
        bounded_by: "the largest write transaction",
        remedy: "commit in smaller transactions; the pages return to the environment's list and are reused, not freed",
        source: "LMDB libraries/liblmdb/mdb.c, `mdb_page_malloc`, me_dpages",
    },
    Pool {
        id: "crossbeam_deque",
        kind: PoolKind::Reuse,
        paths: &["crossbeam_deque::deque"],
        functions: &["resize", "alloc", "push_batch"],
        what: "the queues of a work-stealing scheduler",
        bounded_by: "the largest number of tasks queued at once",
        remedy: "bound the number of tasks that are queued at once",
        source: "crossbeam-deque src/deque.rs, `Worker::resize`",
    },
    Pool {
        id: "sharded_slab",
        kind: PoolKind::Reuse,
        paths: &["sharded_slab"],
        functions: &[],
        what: "the span storage of tracing-subscriber",
        bounded_by: "the largest number of spans open at once",
        remedy: "look for spans that are entered and never closed (a `Span` kept in a long-lived value)",
        source: "sharded-slab src/lib.rs; tracing-subscriber src/registry/sharded.rs",
    },
    Pool {
        id: "slab",
        kind: PoolKind::Reuse,
        paths: &["slab::Slab"],
        functions: &[],
        what: "a `slab::Slab`",
        bounded_by: "the largest number of entries at once",
        remedy: "look for entries that are inserted and never removed",
        source: "slab src/lib.rs; https://docs.rs/slab",
    },
    Pool {
        id: "connection_pool",
        kind: PoolKind::Reuse,
        paths: &[
            "r2d2",
            "deadpool",
            "bb8",
            "mobc",
            "sqlx_core::pool",
            "hyper_util::client::legacy::pool",
            "hyper::client::pool",
            "diesel::r2d2",
        ],
        functions: &[],
        what: "a connection pool",
        bounded_by: "its maximum number of connections",
        remedy: "set the pool's maximum size and idle timeout",
        source: "https://docs.rs/r2d2, https://docs.rs/deadpool, https://docs.rs/bb8, https://docs.rs/sqlx",
    },
    // Caches with a limit.
    Pool {
        id: "regex_cache",
        kind: PoolKind::Cache,
        paths: &[
            "regex_automata::util::pool",
            "regex_automata::meta::strategy",
            "regex_automata::hybrid::dfa",
            "regex_automata::hybrid::regex",
            "regex_automata::nfa::thompson::pikevm",
            "regex_automata::nfa::thompson::backtrack",
            "regex::pool",
            "regex::exec",
        ],
        functions: &[],
        what: "the caches of regular expressions",
        bounded_by: "the number of expressions times the threads that search at once, and dfa_size_limit for each",
        remedy: "compile each expression once and share it; lower `dfa_size_limit` where there are many",
        source: "regex-automata src/util/pool.rs, src/hybrid/dfa.rs (`cache_capacity`)",
    },
    Pool {
        id: "bounded_cache",
        kind: PoolKind::Cache,
        paths: &[
            "moka",
            "mini_moka",
            "quick_cache",
            "lru::LruCache",
            "cached::stores",
            "foyer",
            "schnellru",
            "hashlink::lru_cache",
            "clru",
        ],
        functions: &[],
        what: "a cache with a capacity",
        bounded_by: "the capacity it was made with",
        remedy: "set a capacity in bytes (a weigher) where entries differ in size, and check that it was not made unbounded",
        source: "https://docs.rs/moka, https://docs.rs/quick_cache, https://docs.rs/lru",
    },
    Pool {
        id: "rocksdb_block_cache",
        kind: PoolKind::Cache,
        paths: &["rocksdb::lru_cache", "rocksdb::LRUCacheShard", "rocksdb::BlockFetcher", "rocksdb::clock_cache"],
        functions: &[],
        what: "RocksDB's block cache",
        bounded_by: "the capacity of the block cache, plus blocks pinned by iterators",
        remedy: "set the capacity of the block cache, share one between column families, and close iterators",
        source: "https://github.com/facebook/rocksdb/wiki/Memory-usage-in-RocksDB",
    },
    Pool {
        id: "sqlite_page_cache",
        kind: PoolKind::Cache,
        paths: &["pcache1Alloc", "pcache1AllocPage", "pcache1FetchStage2", "pcache1InitBulk"],
        functions: &[],
        what: "SQLite's page cache",
        bounded_by: "PRAGMA cache_size, per connection",
        remedy: "lower PRAGMA cache_size, or the number of connections",
        source: "SQLite src/pcache1.c",
    },
    Pool {
        id: "rustls_sessions",
        kind: PoolKind::Cache,
        paths: &["rustls::limited_cache", "rustls::server::handy", "rustls::client::handy"],
        functions: &[],
        what: "the TLS session cache of rustls",
        bounded_by: "its number of sessions (256 unless set)",
        remedy: "share one `ClientConfig` or `ServerConfig`: each has a cache of its own",
        source: "rustls src/limited_cache.rs, src/client/handy.rs",
    },
    // The measurement itself.
    Pool {
        id: "symbolizer_cache",
        kind: PoolKind::Registry,
        paths: &["std::backtrace_rs::symbolize", "backtrace::symbolize"],
        functions: &[],
        what: "the symbolizer's cache of debug information",
        bounded_by: "the debug information of the modules that appear in backtraces",
        remedy: "nothing, where it stays; `RUST_BACKTRACE=0`, or symbolize outside of the process, where it matters",
        source: "backtrace-rs src/symbolize/gimli.rs, `Cache` (MAPPINGS_CACHE_SIZE)",
    },
    Pool {
        id: "heap_profiler",
        kind: PoolKind::Reuse,
        paths: &["jemalloc_pprof", "pprof_util", "pprof", "pyroscope", "pyroscope_pprofrs", "dhat"],
        functions: &[],
        what: "a profiling agent inside the process",
        bounded_by: "the size of one profile",
        remedy: "nothing, where it stays; take dumps from outside where it matters",
        source: "https://docs.rs/jemalloc_pprof, https://docs.rs/pprof, https://docs.rs/pyroscope, https://docs.rs/dhat",
    },
    // One entry for each place in the code, thread or handle.
    Pool {
        id: "tracing_callsites",
        kind: PoolKind::Registry,
        paths: &["tracing_core::callsite", "tracing_log"],
        functions: &[],
        what: "the registry of tracing's call sites",
        bounded_by: "the number of span and event macros in the program",
        remedy: "nothing; each call site registers once",
        source: "tracing-core src/callsite.rs",
    },
    Pool {
        id: "thread_local_crate",
        kind: PoolKind::Registry,
        paths: &["thread_local::ThreadLocal", "thread_local::thread_id", "thread_local::allocate_bucket"],
        functions: &[],
        what: "the buckets of the thread_local crate",
        bounded_by: "the largest number of threads alive at once",
        remedy: "look for threads that are created and never end",
        source: "thread_local src/lib.rs, `ThreadLocal::insert`",
    },
    Pool {
        id: "crossbeam_epoch",
        kind: PoolKind::Registry,
        paths: &["crossbeam_epoch"],
        functions: &[],
        what: "the garbage queues of crossbeam-epoch",
        bounded_by: "the number of threads, and what was retired since the slowest of them was last unpinned",
        remedy: "look for a thread that stays pinned (a `Guard` kept alive): nothing is freed meanwhile",
        source: "crossbeam-epoch src/internal.rs",
    },
    Pool {
        id: "tokio_threads",
        kind: PoolKind::Registry,
        paths: &["tokio::runtime::blocking::pool", "rayon_core::registry"],
        functions: &[],
        what: "the threads of a runtime",
        bounded_by: "max_blocking_threads (512 unless set) or the number of cores",
        remedy: "set max_blocking_threads, and look for blocking work that does not end",
        source: "tokio src/runtime/blocking/pool.rs; rayon-core src/registry.rs",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::detect::fixture::frames;

    #[track_caller]
    fn check(stack: &str, expected: Option<&str>) {
        let paths: Vec<(Option<Role>, Path)> = frames(stack).iter().map(|frame| (frame.role, Path::of(frame))).collect();
        assert_eq!(known_at(paths.iter().map(|(role, path)| (*role, path))).map(|(_, pool)| pool.id), expected);
    }

    #[test]
    fn pools_are_known_by_their_leaf() {
        check("a malloc\nd mdb_page_malloc\nd mdb_page_alloc\nd mdb_put\nu app::store", Some("lmdb_dirty_pages"));
        check(
            "a _rjem_malloc\nl alloc::alloc::alloc\nd bumpalo::Bump<_>::new_chunk\nd bumpalo::Bump<_>::alloc_layout_slow\nu app::plan",
            Some("bumpalo"),
        );
        check("a malloc\nu AllocSetAlloc\nu palloc\nu ExecInitNode", Some("postgresql_context"));
        check(
            "a operator new(unsigned long)\nd llvm::BumpPtrAllocatorImpl<llvm::MallocAllocator, 4096ul, 4096ul, 128ul>::StartNewSlab()\nu app::parse",
            Some("llvm_bump_ptr_allocator"),
        );
        check(
            "a malloc\nu v8::internal::AccountingAllocator::AllocateSegment(unsigned long, bool)\nu v8::internal::Zone::Expand(unsigned long)",
            Some("v8_zone"),
        );
        check(
            "a operator new[](unsigned long)\nu rocksdb::Arena::AllocateNewBlock(unsigned long)\nu rocksdb::MemTable::Add()",
            Some("rocksdb_arena"),
        );
        check(
            "a operator new(unsigned long)\nl std::pmr::(anonymous namespace)::newdel_res_t::do_allocate(unsigned long, unsigned long)\nl std::pmr::monotonic_buffer_resource::_M_new_buffer(unsigned long, unsigned long)\nu work()",
            Some("pmr_monotonic_buffer"),
        );
        check(
            "a malloc\nl heap.CAllocator.alloc\nl heap.arena_allocator.ArenaAllocator.createNode\nu main.work",
            Some("zig_arena_allocator"),
        );
    }

    #[test]
    fn callers_further_out_are_not_pools() {
        // The program's own code stands between: its memory is not the pool's.
        check("a malloc\nl alloc::vec::Vec<T,A>::push\nu app::on_page\nd mdb_cursor_get\nd mdb_page_malloc", None);
        check("a malloc\nu app::bumpalo_like::new_chunk", None);
        // Memory that a closure allocates for a bumpalo container is not the arena's.
        check("a malloc\nl alloc::string::String::clone\nd bumpalo::collections::vec::Vec<T>::extend\nu app::plan", None);
        check("a malloc\nl alloc::vec::Vec<T,A>::push\nu app::palloc_like", None);
        check("", None);
    }

    #[test]
    fn the_table_is_consistent() {
        let mut ids: Vec<&str> = POOLS.iter().map(|p| p.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), POOLS.len());
        for pool in POOLS {
            assert!(pool.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{}", pool.id);
            assert!(!pool.paths.is_empty(), "{}", pool.id);
            for text in [pool.what, pool.bounded_by, pool.remedy, pool.source] {
                assert!(text.len() > 8 && !text.ends_with('.'), "{}: {text}", pool.id);
            }
            assert!(pool.cleared().contains("bounded by"));
        }
    }
}
