//! The owner of a stack: whose code asked for the memory, and through which container.
//!
//! The owner frame is the innermost frame of the user's own code; where a stack has none, the
//! innermost frame of a dependency. The container operation between the allocator and the owner
//! (`Vec growth`, `HashMap resize`) is kept as a short note, because it is diagnostic.

use crate::model::frame::{Frame, NameId, Role, Symbols};
use crate::model::role::{crate_of, crate_of_file, normalize};
use crate::model::stack::AddressId;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// Whose a stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The owner frame.
    pub frame: &'a Frame,
    /// The address it belongs to.
    pub address: AddressId,
    /// Frames of the stack, inlined ones included, that are inside of it: all that lie between the allocator and the owner.
    pub depth: usize,
    /// Its crate (for C++: namespace), where name or file tell.
    pub krate: Option<&'a str>,
    /// The container operation that asked for the memory on the owner's behalf.
    pub container: Option<&'static str>,
}

/// The owner of one stack, innermost address first; `None` for an empty stack. For many stacks use [`Owners`].
pub fn owner<'a>(symbols: &'a Symbols, stack: impl Iterator<Item = AddressId>) -> Option<Owner<'a>> {
    Owners::new(symbols).of(stack)
}

/// Finds owners of many stacks; each distinct name is judged once.
#[derive(Debug)]
pub struct Owners<'a> {
    symbols: &'a Symbols,
    judged: HashMap<(NameId, Option<NameId>), Judged, FxBuildHasher>,
    /// The crate that each name tells, once asked for.
    crates: Vec<Option<Option<&'a str>>>,
    frames: Vec<(AddressId, &'a Frame)>,
}

#[derive(Clone, Copy, Debug)]
struct Judged {
    /// An entry point of the language into the allocator: what lies inside of it is the allocator's, whoever wrote it.
    entry: bool,
    container: Option<&'static str>,
}

/// Frames from the inside in which entry points are looked for: jemalloc and a wrapper around it take up to 12.
const DEEPEST_ENTRY: usize = 32;

impl<'a> Owners<'a> {
    /// For the stacks of one symbol table.
    pub fn new(symbols: &'a Symbols) -> Self {
        Owners { symbols, judged: HashMap::default(), crates: Vec::new(), frames: Vec::new() }
    }

    /// The owner of a stack, innermost address first; `None` for an empty stack.
    pub fn of(&mut self, stack: impl Iterator<Item = AddressId>) -> Option<Owner<'a>> {
        let symbols = self.symbols;
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        let owner = self.find(&mut frames, stack.flat_map(|address| symbols.frames(address).iter().map(move |frame| (address, frame))));
        self.frames = frames;
        owner
    }

    /// Fills `frames` from `stack` as far as is needed: the owner is nearly always among the innermost.
    fn find(
        &mut self,
        frames: &mut Vec<(AddressId, &'a Frame)>,
        mut stack: impl Iterator<Item = (AddressId, &'a Frame)>,
    ) -> Option<Owner<'a>> {
        frames.extend(stack.by_ref().take(DEEPEST_ENTRY));
        // A user's own `GlobalAlloc` runs inside `__rust_alloc`: it hands memory out, it does not ask for it.
        let inside = frames.iter().rposition(|(_, frame)| frame.role == Role::Allocator && self.judge(frame).entry);
        let start = inside.map_or(0, |at| at + 1);
        let is_named_user = |frame: &Frame| frame.role == Role::User && frame.unresolved.is_none();
        let named = match frames[start..].iter().position(|(_, frame)| is_named_user(frame)) {
            Some(at) => Some(start + at),
            None => {
                let before = frames.len();
                let mut found = false;
                frames.extend(stack.take_while(|(_, frame)| !std::mem::replace(&mut found, is_named_user(frame))));
                (before..frames.len()).find(|&at| is_named_user(frames[at].1))
            }
        };
        let frames = frames.as_slice();
        let first = |wanted: &dyn Fn(&Frame) -> bool| frames[start..].iter().position(|(_, frame)| wanted(frame)).map(|at| at + start);
        let depth = named
            .or_else(|| first(&|frame| frame.role == Role::User))
            .or_else(|| first(&|frame| frame.role == Role::Dependency))
            .or_else(|| self.least_hidden(frames, start))?;
        let &(address, frame) = frames.get(depth)?;
        let container = (0..depth).rev().find_map(|at| {
            let (_, frame) = frames[at];
            if matches!(frame.role, Role::Library | Role::Dependency) { self.judge(frame).container } else { None }
        });
        let krate = match frame.unresolved {
            None => self.named_crate(frame).or_else(|| self.symbols.file(frame).and_then(crate_of_file)),
            Some(_) => None,
        };
        Some(Owner { frame, address, depth, krate, container })
    }

    /// In a stack of hidden frames only: what is neither allocator, container nor a crate below std, else `main`, else the outermost.
    fn least_hidden(&mut self, frames: &[(AddressId, &'a Frame)], start: usize) -> Option<usize> {
        let main = frames.iter().position(|(_, frame)| self.symbols.function(frame) == "main");
        let other = (start..frames.len()).find(|&at| {
            let frame = frames[at].1;
            let below = self.named_crate(frame).is_some_and(|name| ["alloc", "core", "hashbrown"].contains(&name));
            frame.role != Role::Allocator && !below && self.judge(frame).container.is_none()
        });
        let last = frames.len().checked_sub(1);
        match (main, other) {
            (Some(main), Some(other)) if other < main => Some(other),
            (Some(main), _) => Some(main),
            (None, other) => other.or(last),
        }
    }

    /// The crate that the name of a frame's function tells.
    fn named_crate(&mut self, frame: &Frame) -> Option<&'a str> {
        let (symbols, index) = (self.symbols, frame.function.0 as usize);
        if index >= self.crates.len() {
            self.crates.resize(index + 1, None);
        }
        *self.crates[index].get_or_insert_with(|| crate_of(symbols.function(frame)))
    }

    fn judge(&mut self, frame: &Frame) -> Judged {
        let symbols = self.symbols;
        *self.judged.entry((frame.function, frame.file)).or_insert_with(|| {
            let normal = normalize(symbols.function(frame));
            let last = normal.rsplit("::").next().unwrap_or_default();
            let entry = ["__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc"].contains(&last);
            Judged { entry, container: container(&normal, symbols.file(frame)) }
        })
    }
}

/// Operations of containers: where the function stands (path, or the file's place in the library for
/// bare names), the start of its last segment, the note. The first that matches decides.
/// Sources: paths of std 1.95 and libstdc++ 12, as seen in stacks.
const CONTAINERS: [(&str, &[&str], &str); 47] = [
    ("alloc::fmt", &["format"], "format!"),
    ("alloc::string", &["push"], "String push"),
    ("alloc::string", &["from_utf8", "from_utf16"], "String from bytes"),
    ("alloc::string", &["to_string", "spec_to_string"], "to_string"),
    ("alloc::string", &["write_str", "write_char", "write_fmt"], "String write"),
    ("alloc::string", &["clone"], "String clone"),
    ("alloc::string", &["with_capacity"], "String::with_capacity"),
    ("alloc::string", &["extend", "from_iter", "reserve", "insert", "replace"], "String growth"),
    ("alloc::string", &["from", "to_owned"], "String from str"),
    ("alloc::str", &["to_owned", "to_lowercase", "to_uppercase", "replace", "repeat", "join", "concat"], "String from str"),
    ("alloc::borrow", &["into_owned", "to_mut"], "Cow to owned"),
    ("alloc::slice", &["to_vec", "to_owned", "into_vec"], "slice to Vec"),
    ("alloc::slice", &["sort", "stable_sort"], "sort buffer"),
    ("alloc::slice", &["join", "concat", "repeat"], "slice concat"),
    ("alloc::vec", &["push", "extend", "insert", "append", "resize", "reserve", "spec_extend", "try_reserve"], "Vec growth"),
    ("alloc::vec", &["with_capacity"], "Vec::with_capacity"),
    ("alloc::vec", &["from_elem"], "vec![x; n]"),
    ("alloc::vec", &["clone"], "Vec clone"),
    ("alloc::vec", &["shrink", "into_boxed_slice"], "Vec shrink"),
    ("alloc::vec", &["from_iter", "from", "collect"], "collect into Vec"),
    ("alloc::raw_vec", &["grow", "reserve", "do_reserve", "finish_grow", "try_reserve"], "Vec growth"),
    ("alloc::raw_vec", &["with_capacity", "try_allocate_in", "allocate_in"], "Vec::with_capacity"),
    ("alloc::raw_vec", &["shrink"], "Vec shrink"),
    ("alloc::collections::vec_deque", &["push", "grow", "reserve", "extend", "with_capacity", "append", "insert"], "VecDeque growth"),
    ("alloc::collections::btree::set", &[""], "BTreeSet insert"),
    ("alloc::collections::btree", &[""], "BTreeMap insert"),
    ("alloc::collections::binary_heap", &["push", "extend", "append"], "BinaryHeap push"),
    ("alloc::collections::linked_list", &["push", "append"], "LinkedList push"),
    ("alloc::boxed", &["new", "box_new", "from", "clone", "try_new", "pin"], "Box::new"),
    ("alloc::sync", &["new", "from", "allocate", "try_allocate", "pin", "default", "make_mut", "copy_from"], "Arc::new"),
    ("alloc::rc", &["new", "from", "allocate", "try_allocate", "pin", "default", "make_mut", "copy_from"], "Rc::new"),
    ("alloc::ffi::c_str", &[""], "CString"),
    ("std::collections::hash::set", &[""], "HashSet resize"),
    ("std::collections::hash", &[""], "HashMap resize"),
    ("hashbrown::set", &[""], "HashSet resize"),
    ("hashbrown", &[""], "HashMap resize"),
    ("std::sync::mpmc", &["send", "start_send", "write", "new"], "channel send"),
    ("std::sync::mpsc", &["send"], "channel send"),
    (
        "bumpalo::Bump",
        &["new_chunk", "alloc_layout_slow", "try_alloc_layout_slow", "alloc", "try_alloc", "with_capacity"],
        "Bump arena chunk",
    ),
    (
        "std::vector",
        &["push_back", "emplace_back", "_M_realloc", "_M_default_append", "reserve", "resize", "insert", "_M_fill", "_M_range"],
        "std::vector growth",
    ),
    ("std::__cxx11::basic_string", &[""], "std::string"),
    ("std::basic_string", &[""], "std::string"),
    ("std::deque", &[""], "std::deque growth"),
    ("std::_Hashtable", &[""], "unordered_map insert"),
    ("std::_Rb_tree", &[""], "std::map insert"),
    ("std::__shared_ptr", &[""], "std::make_shared"),
    ("std::make_unique", &[""], "std::make_unique"),
];

fn container(normal: &str, file: Option<&str>) -> Option<&'static str> {
    let last = normal.rsplit("::").find(|part| !part.starts_with('{')).unwrap_or(normal);
    let bare = !normal.contains("::");
    let from_file = if bare { file.and_then(path_of_file) } else { None };
    let path = from_file.as_deref().unwrap_or(normal);
    let within = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let (_, _, note) =
        CONTAINERS.iter().find(|(prefix, starts, _)| within(prefix) && starts.iter().any(|start| last.starts_with(start)))?;
    Some(note)
}

/// `/rustc/<hash>/library/alloc/src/raw_vec/mod.rs` as `alloc::raw_vec`: where a function with a bare name stands.
fn path_of_file(file: &str) -> Option<String> {
    let krate = crate_of_file(file)?;
    let (_, inside) = file.rsplit_once("/src/")?;
    let inside = inside.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let mut path = krate.to_owned();
    if inside != "lib" {
        path.push_str("::");
        path.push_str(&inside.replace('/', "::"));
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::role::role_of;

    const STD: &str = "/rustc/59807616e/library";

    /// One frame per address, from names and files, innermost first.
    fn symbols(frames: &[(&str, Option<&str>)]) -> Symbols {
        let mut symbols = Symbols::default();
        for (function, file) in frames {
            let (name, path) = (symbols.names.intern(function), file.map(|file| symbols.names.intern(file)));
            let role = role_of(function, *file, Some("/srv/app"));
            symbols.push([Frame { file: path, ..Frame::named(name, role) }]);
        }
        symbols
    }

    #[track_caller]
    fn check(frames: &[(&str, Option<&str>)], function: &str, krate: Option<&str>, container: Option<&str>) {
        let symbols = symbols(frames);
        let found = owner(&symbols, (0..frames.len() as u32).map(AddressId)).unwrap();
        assert_eq!(symbols.function(found.frame), function);
        assert_eq!(found.krate, krate);
        assert_eq!(found.container, container);
        assert_eq!(symbols.function(&symbols.frames(found.address)[0]), function);
    }

    #[test]
    fn innermost_user_frame() {
        let raw_vec = format!("{STD}/alloc/src/raw_vec/mod.rs");
        let vec = format!("{STD}/alloc/src/vec/mod.rs");
        check(
            &[
                ("_rjem_je_prof_backtrace", None),
                (
                    "<tikv_jemallocator::Jemalloc as core::alloc::global::GlobalAlloc>::alloc",
                    Some("/r/registry/src/i/tikv-jemallocator-0.6.0/src/lib.rs"),
                ),
                ("__rustc::__rust_alloc", Some("/srv/app/src/main.rs")),
                ("alloc::raw_vec::RawVec<T,A>::grow_one", Some(&raw_vec)),
                ("alloc::vec::Vec<T,A>::push", Some(&vec)),
                ("serde_json::de::parse", Some("/r/registry/src/i/serde_json-1.0.0/src/de.rs")),
                ("app::load::{{closure}}", Some("/srv/app/src/load.rs")),
                ("app::main", Some("/srv/app/src/main.rs")),
            ],
            "app::load::{{closure}}",
            Some("app"),
            Some("Vec growth"),
        );
    }

    #[test]
    fn line_tables_only() {
        check(
            &[
                ("__rust_realloc", Some(&format!("{STD}/alloc/src/alloc.rs"))),
                ("grow_one<u8, alloc::alloc::Global>", Some(&format!("{STD}/alloc/src/raw_vec/mod.rs"))),
                ("push", Some(&format!("{STD}/alloc/src/string.rs"))),
                ("push", Some("/srv/quarryd/src/queue.rs")),
            ],
            "push",
            Some("quarryd"),
            Some("String push"),
        );
    }

    #[test]
    fn an_allocator_of_the_users_is_not_the_owner() {
        check(
            &[
                ("_rjem_malloc", None),
                ("count_and_alloc", Some("/srv/app/src/alloc.rs")),
                ("__rustc::__rust_alloc", Some("/srv/app/src/alloc.rs")),
                ("app::work", Some("/srv/app/src/main.rs")),
            ],
            "app::work",
            Some("app"),
            None,
        );
    }

    #[test]
    fn dependencies_own_what_no_user_asked_for() {
        check(
            &[
                ("_rjem_malloc", None),
                ("hashbrown::raw::RawTable<T,A>::reserve_rehash", Some("/rust/deps/hashbrown-0.16.1/src/raw.rs")),
                ("std::collections::hash::map::HashMap<K,V,S,A>::insert", Some(&format!("{STD}/std/src/collections/hash/map.rs"))),
                ("tokio::runtime::park", Some("/r/registry/src/i/tokio-1.0.0/src/runtime/park.rs")),
                ("std::thread::lifecycle::spawn_unchecked::{{closure}}", Some(&format!("{STD}/std/src/thread/lifecycle.rs"))),
                ("start_thread", None),
            ],
            "tokio::runtime::park",
            Some("tokio"),
            Some("HashMap resize"),
        );
    }

    #[test]
    fn hidden_frames_only() {
        let init = format!("{STD}/std/src/sys/pal/unix/stack_overflow.rs");
        check(
            &[("_rjem_malloc", None), ("std::sys::pal::unix::stack_overflow::imp::init", Some(&init)), ("main", None), ("_start", None)],
            "std::sys::pal::unix::stack_overflow::imp::init",
            Some("std"),
            None,
        );
        check(&[("malloc", None), ("main", None), ("_start", None)], "main", None, None);
        check(&[("malloc", None)], "malloc", None, None);
        let empty = Symbols::default();
        assert_eq!(owner(&empty, std::iter::empty()), None);
    }

    #[test]
    fn tables_are_ordered() {
        // A later line is reachable: no earlier one takes everything it would match.
        for (i, (prefix, starts, note)) in CONTAINERS.iter().enumerate() {
            for (earlier, their_starts, _) in &CONTAINERS[..i] {
                let covers = prefix.strip_prefix(earlier).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
                let all = starts.iter().all(|start| their_starts.iter().any(|their| start.starts_with(their)));
                assert!(!(covers && all), "{note} is never reached");
            }
        }
    }
}
