//! How library types own: tables of Rust's and C++'s standard types and a few widespread crates.

use crate::binary::catalogue;
use crate::binary::type_name;
use std::borrow::Cow;

/// How a library type holds the types in its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// One value in a block of its own.
    Boxed,
    /// A shared value with a count.
    Counted,
    /// A shared block without its contents.
    Weak,
    /// Elements in a buffer or nodes.
    Elements,
    /// The value inside, by value: no block of its own.
    Inline,
    /// Elements inside a buffer that an arena owns.
    ArenaElements,
    /// Memory of its own without elements: texts, arenas.
    Block,
    /// Nothing: it lives in an arena, or is a marker.
    Nothing,
}

/// A library type: path without arguments, how it holds, and which arguments it holds (the first so many).
type Entry = (&'static str, Holding, usize);

/// Rust. Paths as rustc 1.95 prints them, and where older releases differ, these too. Sources: library/alloc, library/std; the crates' docs.
const RUST: &[Entry] = &[
    ("alloc::boxed::Box", Holding::Boxed, 1),
    ("alloc::rc::Rc", Holding::Counted, 1),
    ("alloc::sync::Arc", Holding::Counted, 1),
    ("alloc::rc::UniqueRc", Holding::Counted, 1),
    ("alloc::sync::UniqueArc", Holding::Counted, 1),
    ("triomphe::arc::Arc", Holding::Counted, 1),
    ("alloc::rc::Weak", Holding::Weak, 1),
    ("alloc::sync::Weak", Holding::Weak, 1),
    ("alloc::string::String", Holding::Block, 0),
    ("alloc::vec::Vec", Holding::Elements, 1),
    ("alloc::raw_vec::RawVec", Holding::Elements, 1),
    ("alloc::vec::into_iter::IntoIter", Holding::Elements, 1),
    ("alloc::collections::vec_deque::VecDeque", Holding::Elements, 1),
    ("alloc::collections::vec_deque::into_iter::IntoIter", Holding::Elements, 1),
    ("alloc::collections::binary_heap::BinaryHeap", Holding::Elements, 1),
    ("alloc::collections::linked_list::LinkedList", Holding::Elements, 1),
    ("alloc::collections::btree::map::BTreeMap", Holding::Elements, 2),
    ("alloc::collections::btree::map::IntoIter", Holding::Elements, 2),
    ("alloc::collections::btree::set::BTreeSet", Holding::Elements, 1),
    ("std::collections::hash::map::HashMap", Holding::Elements, 2),
    ("std::collections::hash::map::IntoIter", Holding::Elements, 2),
    ("std::collections::hash::map::IntoValues", Holding::Elements, 2),
    ("std::collections::hash::map::IntoKeys", Holding::Elements, 2),
    ("std::collections::hash::set::HashSet", Holding::Elements, 1),
    ("std::collections::hash::set::IntoIter", Holding::Elements, 1),
    ("hashbrown::map::HashMap", Holding::Elements, 2),
    ("hashbrown::map::IntoIter", Holding::Elements, 2),
    ("hashbrown::set::HashSet", Holding::Elements, 1),
    ("hashbrown::table::HashTable", Holding::Elements, 1),
    ("hashbrown::raw::RawTable", Holding::Elements, 1),
    ("hashbrown::raw::RawIntoIter", Holding::Elements, 1),
    ("allocator_api2::stable::vec::Vec", Holding::Elements, 1),
    ("allocator_api2::stable::boxed::Box", Holding::Boxed, 1),
    ("smallvec::SmallVec", Holding::Elements, 1),
    ("alloc::ffi::c_str::CString", Holding::Block, 0),
    ("bumpalo::Bump", Holding::Block, 0),
    ("bumpalo::collections::string::String", Holding::Nothing, 0),
    ("bumpalo::collections::vec::Vec", Holding::ArenaElements, 1),
    ("bumpalo::collections::vec::IntoIter", Holding::ArenaElements, 1),
    ("bumpalo::boxed::Box", Holding::ArenaElements, 1),
    ("typed_arena::Arena", Holding::Elements, 1),
    ("core::marker::PhantomData", Holding::Nothing, 0),
    ("core::cell::Cell", Holding::Inline, 1),
    ("core::cell::RefCell", Holding::Inline, 1),
    ("core::cell::UnsafeCell", Holding::Inline, 1),
    ("core::cell::once::OnceCell", Holding::Inline, 1),
    ("core::cell::lazy::LazyCell", Holding::Inline, 1),
    ("core::option::Option", Holding::Inline, 1),
    ("core::result::Result", Holding::Inline, 2),
    ("core::pin::Pin", Holding::Inline, 1),
    ("std::sync::once_lock::OnceLock", Holding::Inline, 1),
    ("std::sync::lazy_lock::LazyLock", Holding::Inline, 1),
    ("std::sync::poison::mutex::Mutex", Holding::Inline, 1),
    ("std::sync::poison::rwlock::RwLock", Holding::Inline, 1),
    ("std::sync::mutex::Mutex", Holding::Inline, 1),
    ("std::sync::rwlock::RwLock", Holding::Inline, 1),
    ("lock_api::mutex::Mutex", Holding::Inline, 2),
    ("lock_api::rwlock::RwLock", Holding::Inline, 2),
    ("once_cell::sync::OnceCell", Holding::Inline, 1),
    ("once_cell::sync::Lazy", Holding::Inline, 1),
    ("once_cell::unsync::OnceCell", Holding::Inline, 1),
    ("tokio::sync::mutex::Mutex", Holding::Inline, 1),
    ("tokio::sync::rwlock::RwLock", Holding::Inline, 1),
    ("alloc::sync::ArcInner", Holding::Inline, 1),
    ("alloc::rc::RcInner", Holding::Inline, 1),
    ("alloc::rc::RcBox", Holding::Inline, 1),
];

/// C++, with inline namespaces (`__cxx11`, `__1`, `__debug`) taken out. Source: libstdc++ and libc++ headers.
const CPP: &[Entry] = &[
    ("std::basic_string", Holding::Block, 0),
    ("std::vector", Holding::Elements, 1),
    ("std::deque", Holding::Elements, 1),
    ("std::list", Holding::Elements, 1),
    ("std::forward_list", Holding::Elements, 1),
    ("std::set", Holding::Elements, 1),
    ("std::multiset", Holding::Elements, 1),
    ("std::unordered_set", Holding::Elements, 1),
    ("std::unordered_multiset", Holding::Elements, 1),
    ("std::map", Holding::Elements, 2),
    ("std::multimap", Holding::Elements, 2),
    ("std::unordered_map", Holding::Elements, 2),
    ("std::unordered_multimap", Holding::Elements, 2),
    ("std::unique_ptr", Holding::Boxed, 1),
    ("std::shared_ptr", Holding::Counted, 1),
    ("std::weak_ptr", Holding::Weak, 1),
    ("std::optional", Holding::Inline, 1),
    ("std::variant", Holding::Inline, usize::MAX),
    ("std::tuple", Holding::Inline, usize::MAX),
    ("std::pair", Holding::Inline, 2),
    ("std::function", Holding::Block, 0),
    ("std::any", Holding::Block, 0),
    ("std::pmr::monotonic_buffer_resource", Holding::Block, 0),
    ("std::pmr::unsynchronized_pool_resource", Holding::Block, 0),
    ("std::pmr::synchronized_pool_resource", Holding::Block, 0),
];

/// How a type of this name holds its arguments, and those that it holds; `None` for types that are not in the tables.
pub fn holding(name: &str) -> Option<(Holding, Vec<&str>)> {
    let base = type_name::base(name);
    if base.starts_with("std::") {
        let plain = without_inline_namespaces(base);
        if let Some(&(_, holding, count)) = CPP.iter().find(|(path, ..)| *path == plain) {
            let arguments = type_name::type_arguments(name);
            // With a polymorphic allocator the buffer comes from a resource: only the elements count.
            let holding = match holding {
                Holding::Elements if name.contains("polymorphic_allocator") => Holding::ArenaElements,
                Holding::Block if name.contains("polymorphic_allocator") => Holding::Nothing,
                other => other,
            };
            return Some((holding, arguments.into_iter().take(count).collect()));
        }
    }
    if let Some(elements) = catalogue::arena_elements(name) {
        return Some((Holding::ArenaElements, elements));
    }
    let &(_, holding, count) = RUST.iter().find(|(path, ..)| *path == base)?;
    Some((holding, type_name::type_arguments(name).into_iter().take(count).collect()))
}

fn without_inline_namespaces(path: &str) -> Cow<'_, str> {
    const INLINE: [&str; 3] = ["__cxx11::", "__1::", "__debug::"];
    if INLINE.iter().any(|namespace| path.contains(namespace)) {
        return Cow::Owned(INLINE.iter().fold(path.to_owned(), |path, namespace| path.replace(namespace, "")));
    }
    Cow::Borrowed(path)
}

/// Types that let a value change behind a shared reference: what ties a cycle after construction. By last segment, so that
/// those of parking_lot, tokio and others count too.
pub fn is_interior_mutable(name: &str) -> bool {
    const NAMES: [&str; 15] = [
        "Cell",
        "RefCell",
        "UnsafeCell",
        "OnceCell",
        "LazyCell",
        "Mutex",
        "RwLock",
        "ReentrantLock",
        "ReentrantMutex",
        "OnceLock",
        "LazyLock",
        "FairMutex",
        "AtomicPtr",
        "ArcSwapAny",
        "DashMap",
    ];
    NAMES.contains(&type_name::last_segment(name))
}

/// Names of numbers, texts by reference, pointers and functions: types that own nothing, whatever they point to.
pub fn is_plain(name: &str) -> bool {
    const PRIMITIVES: [&str; 19] = [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64", "bool", "char", "str", "()",
        "!",
    ];
    PRIMITIVES.contains(&name)
        || name.starts_with(['&', '*'])
        || name.starts_with("fn(")
        || name.starts_with("unsafe fn(")
        || name.starts_with("extern ")
        || name.starts_with("unsafe extern ")
}

/// Resources other than heap memory: losing them leaks a descriptor, a lock or a thread. (last segment, what)
pub fn resource(name: &str) -> Option<&'static str> {
    const RESOURCES: &[(&str, &str)] = &[
        ("std::fs::File", "a file descriptor"),
        ("std::os::fd::owned::OwnedFd", "a file descriptor"),
        ("std::net::tcp::TcpStream", "a socket"),
        ("std::net::tcp::TcpListener", "a socket"),
        ("std::net::udp::UdpSocket", "a socket"),
        ("std::os::unix::net::stream::UnixStream", "a socket"),
        ("std::sync::poison::mutex::MutexGuard", "a lock"),
        ("std::sync::poison::rwlock::RwLockReadGuard", "a lock"),
        ("std::sync::poison::rwlock::RwLockWriteGuard", "a lock"),
    ];
    let base = type_name::base(name);
    RESOURCES.iter().find(|(path, _)| *path == base).map(|&(_, what)| what)
}

/// Whether a type belongs to a standard library rather than to a program or its dependencies.
pub fn is_standard(name: &str) -> bool {
    let name = name.trim_start_matches(['&', '*', '<', '(', '[']);
    ["core::", "alloc::", "std::", "hashbrown::"].iter().any(|root| name.starts_with(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_consistent() {
        let mut paths: Vec<&str> = RUST.iter().chain(CPP).map(|(path, ..)| *path).collect();
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), count, "each path once");
    }

    #[test]
    fn holdings() {
        let check = |name: &str, expected: Option<(Holding, Vec<&str>)>| assert_eq!(holding(name), expected, "{name}");
        check("alloc::vec::Vec<u8, alloc::alloc::Global>", Some((Holding::Elements, vec!["u8"])));
        check("alloc::vec::Vec<u8, &bumpalo::Bump<1>>", Some((Holding::ArenaElements, vec!["u8"])));
        check(
            "std::collections::hash::map::HashMap<a::K, a::V, s::S, alloc::alloc::Global>",
            Some((Holding::Elements, vec!["a::K", "a::V"])),
        );
        check("std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >", Some((Holding::Block, vec![])));
        check("std::vector<Doc, std::allocator<Doc> >", Some((Holding::Elements, vec!["Doc"])));
        check("std::vector<Doc, std::pmr::polymorphic_allocator<Doc> >", Some((Holding::ArenaElements, vec!["Doc"])));
        check("alloc::string::String", Some((Holding::Block, vec![])));
        check("a::String", None);
    }
}
