//! Whose code a frame is: tables, with a source per line.
//!
//! Three things tell it, the surest first: the module (a stripped libjemalloc has no names), the
//! source file (with `debug = "line-tables-only"` inlined frames are called `push` and `alloc`), and
//! the normalized name. Names are matched by whole segments: `logd::` is nobody's `log::`.

pub use super::frame::Role;
use super::name;
pub use super::name::{crate_of, crate_of_file, normalize};
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Modules by the start of their base name. Source: the sonames of the projects.
const MODULES: [(&str, Role); 18] = [
    ("libjemalloc", Role::Allocator), // jemalloc
    ("libtcmalloc", Role::Allocator), // gperftools
    ("libprofiler", Role::Allocator), // gperftools
    ("libmimalloc", Role::Allocator), // mimalloc
    ("[vdso]", Role::Runtime),        // kernel
    ("ld-linux", Role::Runtime),      // glibc, the dynamic linker
    ("ld-musl", Role::Library),       // musl: linker and C library in one
    ("libc.so", Role::Library),       // glibc
    ("libc-2.", Role::Library),       // glibc before 2.34
    ("libpthread", Role::Runtime),    // glibc before 2.34
    ("libm.so", Role::Library),       // glibc
    ("libm-2.", Role::Library),       // glibc before 2.34
    ("libdl", Role::Library),         // glibc before 2.34
    ("libstdc++", Role::Library),     // GCC
    ("libc++", Role::Library),        // LLVM
    ("libgcc_s", Role::Library),      // GCC: the unwinder
    ("libunwind", Role::Library),     // LLVM, nongnu
    ("libstd-", Role::Library),       // rustc with -C prefer-dynamic
];

/// Source files by a part of their path; the first that matches decides.
/// Sources: paths seen in debug information of rustc 1.95 and GCC 12 builds.
const FILES: [(&str, Role); 20] = [
    ("/library/alloc/src/alloc.rs", Role::Allocator), // rustc: __rust_alloc, Global, exchange_malloc
    ("/library/std/src/alloc.rs", Role::Allocator),   // rustc: System, __rdl_alloc
    ("/library/std/src/sys/alloc/", Role::Allocator), // rustc: System
    ("/library/std/src/rt.rs", Role::Runtime),        // rustc: lang_start
    ("/library/std/src/panicking.rs", Role::Runtime), // rustc: catch_unwind
    ("/library/std/src/panic.rs", Role::Runtime),     // rustc: catch_unwind
    ("/library/std/src/sys/backtrace.rs", Role::Runtime), // rustc: __rust_begin_short_backtrace
    ("/library/std/src/thread/", Role::Runtime),      // rustc: spawn
    ("/library/std/src/sys/thread/", Role::Runtime),  // rustc: thread_start
    ("/library/std/src/sys/pal/unix/thread.rs", Role::Runtime), // rustc before 1.90
    ("/tikv-jemallocator-", Role::Allocator),         // crates.io
    ("/tikv-jemalloc-sys-", Role::Allocator),         // crates.io; also the build directory of its C code
    ("/jemallocator-", Role::Allocator),              // crates.io
    ("/jemalloc-sys-", Role::Allocator),              // crates.io
    ("/mimalloc-", Role::Allocator),                  // crates.io
    ("/libmimalloc-sys-", Role::Allocator),           // crates.io
    ("/hashbrown-", Role::Library),                   // crates.io: also what std's HashMap is made of
    ("/allocator-api2-", Role::Library),              // crates.io: stands in for alloc:: on stable
    ("/rust/deps/", Role::Library),                   // rustc: crates that std is built with
    ("/include/c++/", Role::Library),                 // libstdc++, libc++
];

/// What a path that none of [`FILES`] matched says: the toolchain, then packages that were fetched.
/// Sources: cargo (registry, git checkouts, `cargo vendor`); Debian (headers and librust packages).
const ORIGINS: [(&str, Role); 9] = [
    ("/rustc/", Role::Library),                   // sources of std as shipped
    ("/rustlib/src/rust/", Role::Library),        // the same from the rust-src component
    ("/registry/src/", Role::Dependency),         // ~/.cargo/registry/src/<host>/<crate>, or remapped
    ("/cargo/registry/", Role::Dependency),       // remapped without `src`
    ("/git/checkouts/", Role::Dependency),        // ~/.cargo/git/checkouts
    ("/.cargo/", Role::Dependency),               // any other remapping
    ("/share/cargo/registry/", Role::Dependency), // Debian librust-*-dev
    ("/usr/include/", Role::Library),             // C and C++ headers of the system
    ("/usr/src/debug/", Role::Dependency),        // distribution packages
];

/// Functions of C by exact name. Sources: jemalloc `src/jemalloc.c`, `src/prof*.c`; `malloc(3)`; gperftools `src/tcmalloc.cc`.
const ALLOCATOR_FUNCTIONS: [&str; 46] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
    "free",
    "cfree",
    "mallocx",
    "rallocx",
    "xallocx",
    "smallocx",
    "sdallocx",
    "dallocx",
    "nallocx",
    "malloc_default",
    "prof_backtrace",
    "prof_backtrace_impl",
    "prof_alloc_prep",
    "prof_tctx_create",
    "prof_sample_new_event_wait",
    "prof_malloc_sample_object",
    "imalloc",
    "imalloc_body",
    "imalloc_fastpath",
    "imalloc_no_sample",
    "imalloc_sample",
    "imalloc_init_check",
    "irallocx_prof",
    "irallocx_prof_sample",
    "ixallocx_prof",
    "ixallocx_helper",
    "do_rallocx",
    "arallocx",
    "__libc_malloc",
    "__libc_calloc",
    "__libc_realloc",
    "__libc_memalign",
    "tc_malloc",
    "tc_calloc",
    "tc_realloc",
    "tc_new",
    "tc_newarray",
];

/// Prefixes that only an allocator's own functions have: tikv-jemalloc-sys builds, jemalloc's private namespace.
const ALLOCATOR_PREFIXES: [&str; 4] = ["_rjem_", "je_", "__rjem_", "mi_heap_malloc"];

/// Normalized names of the language's entry points to the allocator. Source: rustc `library/alloc/src/alloc.rs`.
const ALLOCATOR_ENTRIES: [&str; 12] = [
    "__rust_alloc",
    "__rust_alloc_zeroed",
    "__rust_realloc",
    "__rust_dealloc",
    "__rg_alloc",
    "__rg_alloc_zeroed",
    "__rg_realloc",
    "__rg_dealloc",
    "__rdl_alloc",
    "__rdl_alloc_zeroed",
    "__rdl_realloc",
    "__rdl_dealloc",
];

/// Modules of names whose functions only hand over to the allocator.
const ALLOCATOR_PATHS: [&str; 5] = ["alloc::alloc", "std::alloc", "std::sys::alloc", "tikv_jemallocator", "jemallocator"];

/// In front of the name of a trait that allocators implement. Source: rustc `library/core/src/alloc/`.
static AS_ALLOCATOR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(" as core::alloc::"));

/// Functions that start programs and threads, by exact normalized name. Sources: glibc `csu/`, `nptl/`; libstdc++ `thread.cc`.
const RUNTIME_FUNCTIONS: [&str; 11] = [
    "_start",
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "__libc_csu_init",
    "start_thread",
    "clone",
    "clone3",
    "__clone",
    "__clone3",
    "execute_native_thread_routine",
];

/// The same by the start of the normalized path. Sources: rustc `library/std/src/{rt,panic,panicking,thread}*`.
const RUNTIME_PATHS: [&str; 8] = [
    "std::rt",
    "std::panicking",
    "std::panic",
    "std::thread",
    "std::sys::backtrace",
    "std::sys_common::backtrace",
    "std::sys::thread",
    "std::sys::pal::unix::thread",
];

/// Crates and namespaces of the language's library. `__rustc` is where rustc puts `__rust_alloc`.
const LIBRARY_CRATES: [&str; 12] = [
    "alloc",
    "core",
    "std",
    "hashbrown",
    "allocator_api2",
    "__gnu_cxx",
    "__cxxabiv1",
    "proc_macro",
    "test",
    "__rustc",
    "rustc_std_workspace_alloc",
    "compiler_builtins",
];

/// Directories of shared libraries that the system installs.
const SYSTEM_DIRECTORIES: [&str; 6] = ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/local/lib/", "/nix/store/"];

/// Whose code a frame is: its demangled name, its source file and the path of its module as far as known.
pub fn role_of(function: &str, file: Option<&str>, module_path: Option<&str>) -> Role {
    role_in_file(function, file.map(|path| SourceFile { path, role: role_of_file(path) }), module_path)
}

/// A source file, and whose code it is as far as its path tells: judged once for the many functions in it.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// As the compiler spelled it.
    pub path: &'a str,
    /// What [`role_of_file`] says.
    pub role: Option<Role>,
}

/// [`role_of`], where whose code the file is has been judged.
pub fn role_in_file(function: &str, file: Option<SourceFile<'_>>, module_path: Option<&str>) -> Role {
    let module = module_path.and_then(role_of_module);
    if let Some(Role::Allocator) = module {
        return Role::Allocator;
    }
    let normal = normalize(function);
    if let Some(role) = role_of_entry(function, &normal, file) {
        return role;
    }
    if let Some(role) = file.and_then(|file| file.role) {
        return role;
    }
    if let Some(role) = module {
        return role;
    }
    // A file that is nobody else's is the user's, whatever the name looks like.
    if file.is_none_or(|file| file.path.is_empty()) && crate_of(function).is_some_and(|name| LIBRARY_CRATES.contains(&name)) {
        return Role::Library;
    }
    if module_path.is_some_and(is_system) { Role::Dependency } else { Role::User }
}

/// Whose code an address without a name is, by its module.
pub fn role_of_unnamed(module_path: &str) -> Role {
    role_of(module_path, None, Some(module_path))
}

/// Names that mean the same wherever they are written: a `#[global_allocator]` puts the user's file
/// beside `__rust_alloc`.
fn role_of_entry(function: &str, normal: &str, file: Option<SourceFile<'_>>) -> Option<Role> {
    let last = normal.rsplit("::").next().unwrap_or(normal);
    let path = normal.strip_suffix(last).and_then(|path| path.strip_suffix("::")).unwrap_or("");
    if ALLOCATOR_ENTRIES.contains(&last) && matches!(path, "" | "__rustc" | "alloc::alloc" | "std::alloc") {
        return Some(Role::Allocator);
    }
    let implementations = AS_ALLOCATOR.find_iter(function.as_bytes()).filter_map(|at| function.get(at + AS_ALLOCATOR.needle().len()..));
    if implementations
        .filter_map(|rest| rest.split_once(">::"))
        .any(|(name, _)| matches!(name, "global::GlobalAlloc" | "GlobalAlloc" | "Allocator"))
    {
        return Some(Role::Allocator);
    }
    let bare = path.is_empty();
    if bare && (last.starts_with("operator new") || last.starts_with("operator delete")) {
        return Some(Role::Allocator);
    }
    // A Rust function of the user may be called `malloc`; one of C may not.
    let rust_file = file.is_some_and(|file| file.path.ends_with(".rs"));
    if bare && !rust_file && (ALLOCATOR_FUNCTIONS.contains(&last) || ALLOCATOR_PREFIXES.iter().any(|prefix| last.starts_with(prefix))) {
        return Some(Role::Allocator);
    }
    if bare && !rust_file && RUNTIME_FUNCTIONS.contains(&last) {
        return Some(Role::Runtime);
    }
    // The C `main` that rustc writes has no source; that of a C program has.
    if normal == "main" && file.is_none_or(|file| file.path.is_empty()) {
        return Some(Role::Runtime);
    }
    let within = |paths: &[&str]| paths.iter().any(|prefix| normal.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("::")));
    let own = file.is_none_or(|file| file.path.is_empty() || file.role.is_some());
    if own && (within(&RUNTIME_PATHS) || normal.starts_with("core::ops::function::Fn")) {
        return Some(Role::Runtime);
    }
    (own && within(&ALLOCATOR_PATHS)).then_some(Role::Allocator)
}

/// Whose code a source file is; `None` when it may well be the user's.
pub fn role_of_file(path: &str) -> Option<Role> {
    let find = |table: &[(&str, Role)]| table.iter().find(|(part, _)| path.contains(part)).map(|&(_, role)| role);
    let library = |role: Option<Role>| role.filter(|_| !path.contains("/library/") || name::is_toolchain(path));
    library(FILES.iter().find(|(part, _)| path.contains(part)).map(|&(_, role)| role))
        .or_else(|| jemalloc_source(path))
        .or_else(|| find(&ORIGINS))
        .or_else(|| {
            // `cargo vendor`: vendor/<crate>/src/...
            let (_, rest) = path.split_once("/vendor/")?;
            (rest.ends_with(".rs") && rest.contains("/src/")).then_some(Role::Dependency)
        })
}

/// C sources of jemalloc in a directory of that name (`jemalloc`, `jemalloc-5.3.0`); a user's project
/// may carry the name as well, but not with such files.
fn jemalloc_source(path: &str) -> Option<Role> {
    let c = path.ends_with(".c") || path.ends_with(".h") || path.ends_with("jemalloc_cpp.cpp");
    let versioned = |part: &str| {
        part.strip_prefix("jemalloc")
            .is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit())))
    };
    (c && path.split('/').any(versioned)).then_some(Role::Allocator)
}

fn role_of_module(path: &str) -> Option<Role> {
    let name = path.rsplit('/').next().unwrap_or(path);
    MODULES.iter().find(|(start, _)| name.starts_with(start)).map(|&(_, role)| role)
}

fn is_system(path: &str) -> bool {
    let library = path.rsplit('/').next().is_some_and(|name| name.contains(".so"));
    library && SYSTEM_DIRECTORIES.iter().any(|dir| path.starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(function: &str, file: Option<&str>, module: Option<&str>, expected: Role) {
        assert_eq!(role_of(function, file, module), expected, "{function} in {file:?}");
    }

    const APP: Option<&str> = Some("/srv/app");

    #[test]
    fn release_and_debug_builds() {
        let std = Some("/rustc/59807616e/library/alloc/src/raw_vec/mod.rs");
        check("alloc::raw_vec::RawVecInner<A>::finish_grow", std, APP, Role::Library);
        check("<alloc::alloc::Global>::grow_impl", Some("/rustc/59807616e/library/alloc/src/alloc.rs"), APP, Role::Allocator);
        check(
            "<tikv_jemallocator::Jemalloc as core::alloc::global::GlobalAlloc>::alloc",
            Some("/c/registry/src/i/tikv-jemallocator-0.6.0/src/lib.rs"),
            APP,
            Role::Allocator,
        );
        check("<app::Counting as core::alloc::global::GlobalAlloc>::alloc", Some("/srv/app/src/main.rs"), APP, Role::Allocator);
        // The file is that of `#[global_allocator]`.
        check("__rustc::__rust_alloc", Some("/srv/app/src/main.rs"), APP, Role::Allocator);
        check("std::rt::lang_start_internal::{closure#0}", Some("/rustc/59807616e/library/std/src/rt.rs"), APP, Role::Runtime);
        check("main", None, APP, Role::Runtime);
        check("app::main", Some("/srv/app/src/main.rs"), APP, Role::User);
        check("hashbrown::raw::RawTable<T,A>::reserve_rehash", Some("/rust/deps/hashbrown-0.16.1/src/raw.rs"), APP, Role::Library);
        check(
            "serde_json::de::from_str",
            Some("/usr/local/cargo/registry/src/index.crates.io-19/serde_json-1.0.150/src/de.rs"),
            APP,
            Role::Dependency,
        );
        check("milli::index", Some("/home/u/.cargo/git/checkouts/meili-1/abc/crates/milli/src/lib.rs"), APP, Role::Dependency);
    }

    #[test]
    fn line_tables_only_go_by_file() {
        check("grow_one<u8, alloc::alloc::Global>", Some("/rustc/59807616e/library/alloc/src/raw_vec/mod.rs"), APP, Role::Library);
        check("alloc", Some("/srv/app/src/pool.rs"), APP, Role::User);
        check("push", Some("/srv/app/src/queue.rs"), APP, Role::User);
        check("realloc", Some("/srv/app/src/queue.rs"), APP, Role::User);
        check("__rust_realloc", Some("/rustc/59807616e/library/alloc/src/alloc.rs"), APP, Role::Allocator);
    }

    #[test]
    fn without_debug_information_go_by_name() {
        check("alloc::raw_vec::RawVecInner<A>::finish_grow", None, APP, Role::Library);
        check("<alloc::alloc::Global>::grow_impl", None, APP, Role::Allocator);
        check("std::thread::Builder::spawn_unchecked_::{{closure}}", None, APP, Role::Runtime);
        check("<alloc::boxed::Box<F> as core::ops::function::FnOnce<A>>::call_once", None, APP, Role::Library);
        check("app::run", None, APP, Role::User);
        check("_rjem_je_prof_backtrace", None, APP, Role::Allocator);
        check("je_malloc_default", None, APP, Role::Allocator);
        check("operator new(unsigned long)", None, Some("/usr/lib/libstdc++.so.6"), Role::Allocator);
        check("libjemalloc.so.2+0x1234", None, Some("/usr/lib/libjemalloc.so.2"), Role::Allocator);
        check("fopen", None, Some("/usr/lib/x86_64-linux-gnu/libc.so.6"), Role::Library);
        check("png_read_row", None, Some("/usr/lib/libpng16.so.16"), Role::Dependency);
        check("app+0x1234", None, APP, Role::User);
    }

    #[test]
    fn lookalikes_are_the_users() {
        check("logd::write", Some("/srv/app/logd/src/lib.rs"), APP, Role::User);
        check("corex::alloc::run", None, APP, Role::User);
        check("stdx::run", None, APP, Role::User);
        check("prof_report", Some("/srv/app/prof.c"), APP, Role::User);
        check("app::alloc::Pool::take", None, APP, Role::User);
        check("malloc_statistics", None, APP, Role::User);
        check("demo::run", Some("/home/u/jemalloc-leak-demo/src/main.rs"), APP, Role::User);
        check("alloc::take", Some("/srv/app/alloc/src/lib.rs"), APP, Role::User);
        check("app::library::std::rt::x", Some("/srv/app/library/std/src/rt.rs"), APP, Role::User);
        check("main", Some("/srv/app/main.c"), APP, Role::User);
    }

    #[test]
    fn c_sources_of_jemalloc() {
        check("prof_backtrace_impl", Some("/build/jemalloc-5.3.0/src/prof_sys.c"), APP, Role::Allocator);
        check("arena_malloc_hard", Some("/t/release/build/tikv-jemalloc-sys-1/out/build/src/arena.c"), APP, Role::Allocator);
        check("arena_malloc_hard", Some("/src/jemalloc/src/arena.c"), APP, Role::Allocator);
    }

    #[test]
    fn tables_have_no_line_twice() {
        let unique = |names: &[&str]| {
            let mut sorted = names.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), names.len());
        };
        unique(&MODULES.map(|(name, _)| name));
        unique(&FILES.map(|(part, _)| part));
        unique(&ORIGINS.map(|(part, _)| part));
        unique(&ALLOCATOR_FUNCTIONS);
        unique(&LIBRARY_CRATES);
        unique(&RUNTIME_FUNCTIONS);
    }
}
