//! What skips drop glue, and which containers keep their elements in an arena: tables, with a source per line.
//!
//! Facts about libraries, not about any binary. Paths are without generic arguments. Where the type
//! at stake stands among the type arguments of a function's printed name is needed for debug
//! information without types; with types the parameter is found by its name.

use super::type_name;

/// A kind of site: the words of the JSON output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SiteKind {
    /// A vector in an arena becomes a slice; its elements are never dropped.
    ArenaFreeze,
    /// A value is placed in an arena that runs no destructors.
    ArenaAlloc,
    /// A slice of values is placed in an arena that runs no destructors.
    ArenaAllocSlice,
    /// A `Box` in an arena is leaked.
    BumpBoxLeak,
    /// `mem::forget`.
    Forget,
    /// `ManuallyDrop::new`.
    ManuallyDrop,
    /// A field of type `ManuallyDrop`.
    ManuallyDropField,
    /// A `Box` becomes a raw pointer or a `'static` reference.
    BoxLeak,
    /// A `Vec` becomes a `'static` slice or raw parts.
    VecLeak,
    /// A `String` becomes a `'static` text or raw parts.
    StringLeak,
    /// An `Rc` becomes a raw pointer: its count stays.
    RcIntoRaw,
    /// An `Arc` becomes a raw pointer: its count stays.
    ArcIntoRaw,
    /// A `CString` becomes a raw pointer.
    CStringIntoRaw,
    /// A text is frozen in an arena: nothing is lost.
    ArenaStr,
    /// `Copy` values are placed in an arena: nothing is lost.
    ArenaCopy,
}

impl SiteKind {
    /// The word of the JSON output.
    pub fn word(self) -> &'static str {
        match self {
            SiteKind::ArenaFreeze => "arena-freeze",
            SiteKind::ArenaAlloc => "arena-alloc",
            SiteKind::ArenaAllocSlice => "arena-alloc-slice",
            SiteKind::BumpBoxLeak => "bump-box-leak",
            SiteKind::Forget => "forget",
            SiteKind::ManuallyDrop => "manually-drop",
            SiteKind::ManuallyDropField => "manually-drop-field",
            SiteKind::BoxLeak => "box-leak",
            SiteKind::VecLeak => "vec-leak",
            SiteKind::StringLeak => "string-leak",
            SiteKind::RcIntoRaw => "rc-into-raw",
            SiteKind::ArcIntoRaw => "arc-into-raw",
            SiteKind::CStringIntoRaw => "cstring-into-raw",
            SiteKind::ArenaStr => "arena-str",
            SiteKind::ArenaCopy => "arena-copy",
        }
    }

    /// The value's own block is lost, whatever its type: the pointer leaves Rust's ownership.
    pub fn loses_its_own_block(self) -> bool {
        matches!(
            self,
            SiteKind::BoxLeak
                | SiteKind::VecLeak
                | SiteKind::StringLeak
                | SiteKind::RcIntoRaw
                | SiteKind::ArcIntoRaw
                | SiteKind::CStringIntoRaw
        )
    }

    /// Nothing can be lost: bytes and `Copy` values.
    pub fn is_harmless(self) -> bool {
        matches!(self, SiteKind::ArenaStr | SiteKind::ArenaCopy)
    }

    /// Memory of an arena is involved.
    pub fn is_arena(self) -> bool {
        matches!(
            self,
            SiteKind::ArenaFreeze
                | SiteKind::ArenaAlloc
                | SiteKind::ArenaAllocSlice
                | SiteKind::BumpBoxLeak
                | SiteKind::ArenaStr
                | SiteKind::ArenaCopy
        )
    }
}

/// A function that skips drop glue.
#[derive(Clone, Copy, Debug)]
pub struct Skip {
    /// Path of the function without generic arguments.
    pub path: &'static str,
    /// What it does.
    pub kind: SiteKind,
    /// Place of the type at stake among the type arguments of the function's name.
    pub argument: usize,
}

const fn skip(path: &'static str, kind: SiteKind, argument: usize) -> Skip {
    Skip { path, kind, argument }
}

/// Functions that skip drop glue. Signatures as of bumpalo 3.20, allocator-api2 0.2, Rust 1.95.
pub const SKIPS: &[Skip] = &[
    // bumpalo src/collections/vec.rs: "elements … will not be dropped", mem::forget inside.
    skip("bumpalo::collections::vec::Vec::into_bump_slice", SiteKind::ArenaFreeze, 0),
    skip("bumpalo::collections::vec::Vec::into_bump_slice_mut", SiteKind::ArenaFreeze, 0),
    // bumpalo src/collections/string.rs: bytes.
    skip("bumpalo::collections::string::String::into_bump_str", SiteKind::ArenaStr, 0),
    // bumpalo src/lib.rs: "Bump does not run Drop of values allocated in it".
    skip("bumpalo::Bump::alloc", SiteKind::ArenaAlloc, 0),
    skip("bumpalo::Bump::try_alloc", SiteKind::ArenaAlloc, 0),
    skip("bumpalo::Bump::alloc_with", SiteKind::ArenaAlloc, 1),
    skip("bumpalo::Bump::try_alloc_with", SiteKind::ArenaAlloc, 1),
    skip("bumpalo::Bump::alloc_try_with", SiteKind::ArenaAlloc, 1),
    skip("bumpalo::Bump::try_alloc_try_with", SiteKind::ArenaAlloc, 1),
    skip("bumpalo::Bump::alloc_slice_clone", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::try_alloc_slice_clone", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::alloc_slice_fill_with", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::try_alloc_slice_fill_with", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::alloc_slice_try_fill_with", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::alloc_slice_fill_clone", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::try_alloc_slice_fill_clone", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::alloc_slice_fill_iter", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::try_alloc_slice_fill_iter", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::alloc_slice_try_fill_iter", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::alloc_slice_fill_default", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::try_alloc_slice_fill_default", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo::Bump::alloc_slice_copy", SiteKind::ArenaCopy, 0),
    skip("bumpalo::Bump::try_alloc_slice_copy", SiteKind::ArenaCopy, 0),
    skip("bumpalo::Bump::alloc_slice_fill_copy", SiteKind::ArenaCopy, 0),
    skip("bumpalo::Bump::try_alloc_slice_fill_copy", SiteKind::ArenaCopy, 0),
    skip("bumpalo::Bump::alloc_str", SiteKind::ArenaStr, 0),
    skip("bumpalo::Bump::try_alloc_str", SiteKind::ArenaStr, 0),
    // bumpalo src/boxed.rs.
    skip("bumpalo::boxed::Box::leak", SiteKind::BumpBoxLeak, 0),
    skip("bumpalo::boxed::Box::into_raw", SiteKind::BumpBoxLeak, 0),
    // bumpalo-herd src/lib.rs: forwards to a Bump of the thread.
    skip("bumpalo_herd::Member::alloc", SiteKind::ArenaAlloc, 0),
    skip("bumpalo_herd::Member::alloc_with", SiteKind::ArenaAlloc, 1),
    skip("bumpalo_herd::Member::alloc_slice_clone", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo_herd::Member::alloc_slice_fill_with", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo_herd::Member::alloc_slice_fill_clone", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo_herd::Member::alloc_slice_fill_iter", SiteKind::ArenaAllocSlice, 0),
    skip("bumpalo_herd::Member::alloc_slice_fill_default", SiteKind::ArenaAllocSlice, 0),
    // core and alloc.
    skip("core::mem::forget", SiteKind::Forget, 0),
    skip("core::mem::manually_drop::ManuallyDrop::new", SiteKind::ManuallyDrop, 0),
    skip("alloc::boxed::Box::leak", SiteKind::BoxLeak, 0),
    skip("alloc::boxed::Box::into_raw", SiteKind::BoxLeak, 0),
    skip("alloc::boxed::Box::into_raw_with_allocator", SiteKind::BoxLeak, 0),
    skip("alloc::boxed::Box::into_non_null", SiteKind::BoxLeak, 0),
    skip("alloc::vec::Vec::leak", SiteKind::VecLeak, 0),
    skip("alloc::vec::Vec::into_raw_parts", SiteKind::VecLeak, 0),
    skip("alloc::string::String::leak", SiteKind::StringLeak, 0),
    skip("alloc::string::String::into_raw_parts", SiteKind::StringLeak, 0),
    skip("std::ffi::os_str::OsString::leak", SiteKind::StringLeak, 0),
    skip("std::path::PathBuf::leak", SiteKind::StringLeak, 0),
    skip("alloc::rc::Rc::into_raw", SiteKind::RcIntoRaw, 0),
    skip("alloc::rc::Rc::into_raw_with_allocator", SiteKind::RcIntoRaw, 0),
    skip("alloc::sync::Arc::into_raw", SiteKind::ArcIntoRaw, 0),
    skip("alloc::sync::Arc::into_raw_with_allocator", SiteKind::ArcIntoRaw, 0),
    skip("alloc::ffi::c_str::CString::into_raw", SiteKind::CStringIntoRaw, 0),
    // allocator-api2 src/stable: the same with an allocator parameter.
    skip("allocator_api2::stable::boxed::Box::leak", SiteKind::BoxLeak, 0),
    skip("allocator_api2::stable::boxed::Box::into_raw", SiteKind::BoxLeak, 0),
    skip("allocator_api2::stable::vec::Vec::leak", SiteKind::VecLeak, 0),
];

/// Functions that take back what a site gave away: (path, the kinds they pair with).
pub const TAKES_BACK: &[(&str, &[SiteKind])] = &[
    ("alloc::boxed::Box::from_raw", &[SiteKind::BoxLeak]),
    ("alloc::boxed::Box::from_raw_in", &[SiteKind::BoxLeak]),
    ("alloc::boxed::Box::from_non_null", &[SiteKind::BoxLeak]),
    ("alloc::vec::Vec::from_raw_parts", &[SiteKind::VecLeak, SiteKind::ManuallyDrop, SiteKind::Forget]),
    ("alloc::vec::Vec::from_raw_parts_in", &[SiteKind::VecLeak, SiteKind::ManuallyDrop, SiteKind::Forget]),
    ("alloc::string::String::from_raw_parts", &[SiteKind::StringLeak]),
    ("alloc::rc::Rc::from_raw", &[SiteKind::RcIntoRaw]),
    ("alloc::rc::Rc::decrement_strong_count", &[SiteKind::RcIntoRaw]),
    ("alloc::sync::Arc::from_raw", &[SiteKind::ArcIntoRaw]),
    ("alloc::sync::Arc::decrement_strong_count", &[SiteKind::ArcIntoRaw]),
    ("alloc::ffi::c_str::CString::from_raw", &[SiteKind::CStringIntoRaw]),
    ("bumpalo::boxed::Box::from_raw", &[SiteKind::BumpBoxLeak, SiteKind::ArenaAlloc]),
    ("core::mem::manually_drop::ManuallyDrop::drop", &[SiteKind::ManuallyDrop]),
    ("core::mem::manually_drop::ManuallyDrop::take", &[SiteKind::ManuallyDrop]),
    ("core::mem::manually_drop::ManuallyDrop::into_inner", &[SiteKind::ManuallyDrop]),
];

/// The function that skips drop glue at a path without generic arguments.
pub fn skip_at(path: &str) -> Option<&'static Skip> {
    SKIPS.iter().find(|skip| skip.path == path)
}

/// Whether some skipping or taking-back function ends in this name: a quick test.
pub fn may_be_listed(name: &str) -> bool {
    let ends = |path: &str| path.strip_suffix(name).is_some_and(|front| front.ends_with("::"));
    SKIPS.iter().any(|skip| ends(skip.path)) || TAKES_BACK.iter().any(|(path, _)| ends(path))
}

/// Whether a function in this scope, with this name, skips drops or takes back. Methods stand in their type, or, as some
/// compilers write them, in a numbered block of their module: `alloc::sync::{impl#13}`.
pub fn is_listed(scope: &str, name: &str) -> bool {
    let scope = type_name::without_arguments(scope);
    let block = scope.rsplit_once("::").filter(|(_, last)| last.starts_with("{impl#"));
    let is_it = |path: &str| {
        let owner = path.strip_suffix(name).and_then(|front| front.strip_suffix("::"));
        owner.is_some_and(|owner| match block {
            Some((module, _)) => owner.rsplit_once("::").is_some_and(|(of_type, _)| of_type == module),
            None => owner == scope,
        })
    };
    SKIPS.iter().any(|skip| is_it(skip.path)) || TAKES_BACK.iter().any(|(path, _)| is_it(path))
}

/// The kinds that a function at this path takes back.
pub fn takes_back(path: &str) -> &'static [SiteKind] {
    TAKES_BACK.iter().find(|(listed, _)| *listed == path).map_or(&[], |(_, kinds)| kinds)
}

/// Crates whose containers live in a bump arena.
const ARENA_CRATES: [&str; 1] = ["bumpalo"];

/// Containers with an allocator parameter: (path, place of the allocator among type arguments, number of element types in front).
const ALLOCATOR_CONTAINERS: &[(&str, usize, usize)] = &[
    ("alloc::vec::Vec", 1, 1),
    ("alloc::boxed::Box", 1, 1),
    ("alloc::collections::vec_deque::VecDeque", 1, 1),
    ("alloc::collections::binary_heap::BinaryHeap", 1, 1),
    ("alloc::collections::linked_list::LinkedList", 1, 1),
    ("alloc::collections::btree::map::BTreeMap", 2, 2),
    ("alloc::collections::btree::set::BTreeSet", 1, 1),
    ("std::collections::hash::map::HashMap", 3, 2),
    ("std::collections::hash::set::HashSet", 2, 1),
    ("hashbrown::map::HashMap", 3, 2),
    ("hashbrown::set::HashSet", 2, 1),
    ("hashbrown::table::HashTable", 1, 1),
    ("hashbrown::raw::RawTable", 1, 1),
    ("allocator_api2::stable::vec::Vec", 1, 1),
    ("allocator_api2::stable::boxed::Box", 1, 1),
];

/// The element types of a container that drops its elements and lives in an arena; `None` for any other type.
///
/// `bumpalo::collections::Vec<T>` and `Vec<T, &Bump>` are such; so are maps with an arena allocator.
pub fn arena_elements(type_name: &str) -> Option<Vec<&str>> {
    let (path, _) = type_name::split_arguments(type_name)?;
    let arguments = type_name::type_arguments(type_name);
    match path {
        "bumpalo::collections::vec::Vec" | "bumpalo::boxed::Box" => {
            return Some(arguments.first().map(|&element| vec![element]).unwrap_or_default());
        }
        _ => {}
    }
    let &(_, allocator, elements) = ALLOCATOR_CONTAINERS.iter().find(|(container, ..)| *container == path)?;
    let allocator = arguments.get(allocator)?;
    (!is_global_allocator(allocator)).then(|| arguments[..elements.min(arguments.len())].to_vec())
}

/// Whether memory of this allocator comes from the global heap: the global allocator itself, the system's, and
/// zero-sized handles whose name says so. References to arenas, and anything else, do not.
pub fn is_global_allocator(type_name: &str) -> bool {
    let last = type_name::last_segment(type_name);
    matches!(last, "Global" | "System" | "Jemalloc" | "MiMalloc" | "SnMalloc" | "TCMalloc") && !type_name.starts_with('&')
}

/// Whether a function name can be a method of an arena container or glue of one: a quick test on the text.
pub fn mentions_arena(name: &str) -> bool {
    ARENA_CRATES.iter().any(|arena| name.contains(arena)) || name.contains(", &") || name.contains(",&")
}

/// Methods that add no element: a path walk need not start at them. All others may.
pub const CONSTRUCTORS: [&str; 3] = ["new_in", "with_capacity_in", "with_capacity_and_hasher_in"];

/// Methods that empty a container; `drain` does with an unbounded range.
pub const EMPTIES: [&str; 2] = ["clear", "drain"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        let mut paths: Vec<&str> = SKIPS.iter().map(|skip| skip.path).chain(TAKES_BACK.iter().map(|(path, _)| *path)).collect();
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), count, "each path once");
        assert!(may_be_listed("into_bump_slice"));
        assert!(!may_be_listed("bump_slice"));
        for (scope, name, listed) in [
            ("core::mem", "forget", true),
            ("alloc::sync::Arc<a::B<u8>, alloc::alloc::Global>", "into_raw", true),
            ("alloc::sync::{impl#13}", "from_raw", true),
            ("alloc::sync::{impl#30}", "drop", false),
            ("alloc::sync::Arc<a::B>", "new", false),
            ("core::mem::manually_drop::ManuallyDrop<u8>", "new", true),
            ("alloc::vec::{impl#22}", "drop", false),
        ] {
            assert_eq!(is_listed(scope, name), listed, "{scope} {name}");
        }
        assert_eq!(skip_at("core::mem::forget").map(|skip| skip.kind.word()), Some("forget"));
    }

    #[test]
    fn arena_containers() {
        assert_eq!(arena_elements("bumpalo::collections::vec::Vec<(u32, u8)>"), Some(vec!["(u32, u8)"]));
        assert_eq!(arena_elements("alloc::vec::Vec<u8, alloc::alloc::Global>"), None);
        assert_eq!(arena_elements("alloc::vec::Vec<u8, &bumpalo::Bump<1>>"), Some(vec!["u8"]));
        assert_eq!(arena_elements("hashbrown::map::HashMap<a::K, a::V, s::S, &bumpalo::Bump<1>>"), Some(vec!["a::K", "a::V"]));
        assert_eq!(arena_elements("bumpalo::Bump<1>"), None);
        assert_eq!(arena_elements("&bumpalo::collections::vec::Vec<u8>"), None);
    }
}
