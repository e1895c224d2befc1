//! The path of a function's name: what stays when generics, closures, hashes and parameters are taken away.
//!
//! ```text
//! alloc::vec::Vec<T,A>::push                                          alloc::vec::Vec::push
//! <alloc::raw_vec::RawVecInner<_>>::reserve::<alloc::alloc::Global>   alloc::raw_vec::RawVecInner::reserve
//! <alloc::string::String as core::fmt::Write>::write_str              alloc::string::String::write_str
//! quarry::memo::run::{{closure}}                                      quarry::memo::run
//! std::vector<int, std::allocator<int> >::push_back(int const&)       std::vector::push_back
//! ```
//!
//! Binaries built with line tables only give inlined functions their bare names (`grow_one`); the source file says
//! which module they are from (`/library/alloc/src/raw_vec/mod.rs`), and the path is put together again from it.

use crate::analysis::finding::FrameView;
use crate::model::name::normalize;

/// The `::`-separated path of a function; see the module's examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The path of a frame's function, completed by its source file where the name is bare.
    pub fn of(frame: &FrameView) -> Path {
        Path::of_names(&frame.function, frame.file.as_deref())
    }

    /// The same from a function's name and its source file.
    pub fn of_names(function: &str, file: Option<&str>) -> Path {
        let name = plain(function);
        if name.contains("::") {
            return Path(name);
        }
        match file.and_then(module_of) {
            Some(module) => Path(format!("{module}::{name}")),
            None => Path(name),
        }
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path is `prefix` or lies below it, whole segments compared.
    pub fn within(&self, prefix: &str) -> bool {
        self.0.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    /// The last segment: the function's own name.
    pub fn last(&self) -> &str {
        self.0.rsplit("::").next().unwrap_or_default()
    }

    /// Whether it is one of `methods` below one of `prefixes`.
    pub fn is(&self, prefixes: &[&str], methods: &[&str]) -> bool {
        methods.contains(&self.last()) && prefixes.iter().any(|prefix| self.within(prefix))
    }

    /// The segments, outermost module first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split("::")
    }
}

/// The normalised name without closures and compiler suffixes.
fn plain(name: &str) -> String {
    let name = normalize(before_suffix(name));
    let mut path = String::with_capacity(name.len());
    for segment in name.split("::").filter(|segment| !segment.is_empty() && !segment.starts_with('{')) {
        if !path.is_empty() {
            path.push_str("::");
        }
        path.push_str(segment);
    }
    // Zig separates with dots.
    if path.contains("::") { path } else { path.replace('.', "::") }
}

/// Suffixes that compilers append to a function they split or cloned.
const SUFFIXES: [&str; 6] = [" (.llvm.", ".llvm.", ".constprop.", ".isra.", ".part.", ".cold"];

fn before_suffix(name: &str) -> &str {
    let end = SUFFIXES.iter().filter_map(|suffix| name.find(suffix)).min();
    &name[..end.unwrap_or(name.len())]
}

/// The module a source file of Rust's library or of a registry's crate holds.
fn module_of(file: &str) -> Option<String> {
    let (krate, rest) = if let Some((_, rest)) = file.split_once("/library/") {
        rest.split_once("/src/")?
    } else {
        let (before, rest) = file.rsplit_once("/src/")?;
        let folder = before.rsplit('/').next()?;
        // `hashbrown-0.16.1`: a version is what makes a folder a published crate.
        let (krate, version) = folder.rsplit_once('-')?;
        if !version.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        (krate, rest)
    };
    let stem = rest.strip_suffix(".rs")?;
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    let krate = krate.replace('-', "_");
    Some(match stem {
        "lib" => krate,
        _ => format!("{krate}::{}", stem.replace('/', "::")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(plain(name), expected);
    }

    #[test]
    fn rust_names_of_both_manglings() {
        check("alloc::vec::Vec<T,A>::push", "alloc::vec::Vec::push");
        check("alloc::vec::Vec<T,A>::push::hbb90dc0e058d445d", "alloc::vec::Vec::push");
        check(
            "<alloc::raw_vec::RawVecInner<_>>::reserve::do_reserve_and_handle::<alloc::alloc::Global>",
            "alloc::raw_vec::RawVecInner::reserve::do_reserve_and_handle",
        );
        check("<alloc::string::String as core::fmt::Write>::write_str", "alloc::string::String::write_str");
        check("<&mut alloc::string::String as core::fmt::Write>::write_str", "alloc::string::String::write_str");
        check(
            "<alloc::vec::Vec<T,A> as alloc::vec::spec_extend::SpecExtend<&T,core::slice::iter::Iter<T>>>::spec_extend",
            "alloc::vec::Vec::spec_extend",
        );
        check("hashbrown::rustc_entry::<impl hashbrown::map::HashMap<K,V,S,A>>::rustc_entry", "hashbrown::map::HashMap::rustc_entry");
        check(
            "core::ops::function::impls::<impl core::ops::function::FnMut<A> for &mut F>::call_mut",
            "core::ops::function::FnMut::call_mut",
        );
        check("quarry::memo::run::{{closure}}", "quarry::memo::run");
        check("quarry[9f8e7d6c]::memo::run::{closure#0}", "quarry::memo::run");
        check(
            "hashbrown::raw::RawTable<T,A>::reserve_rehash::hde94a4f440385f52 (.llvm.10733454675320324823)",
            "hashbrown::raw::RawTable::reserve_rehash",
        );
        check(
            "<alloc::boxed::Box<dyn core::ops::function::FnOnce<(), Output = ()> + core::marker::Send> as core::ops::function::FnOnce<()>>::call_once",
            "alloc::boxed::Box::call_once",
        );
        check("core::ptr::drop_in_place<fn(u8) -> alloc::vec::Vec<u8>>", "core::ptr::drop_in_place");
    }

    #[test]
    fn names_of_c_and_cpp() {
        check("tok_push_variant", "tok_push_variant");
        check("tok_push_variant.part.0.cold", "tok_push_variant");
        check("heap.arena_allocator.ArenaAllocator.createNode", "heap::arena_allocator::ArenaAllocator::createNode");
        check("std::vector<int, std::allocator<int> >::push_back(int const&)", "std::vector::push_back");
        check("void app::walk<int>(std::map<int, int>&)", "app::walk");
        check("operator new(unsigned long)", "operator new");
        check("(anonymous namespace)::Cache::put(int)", "Cache::put");
        check("rocksdb::Arena::AllocateNewBlock(unsigned long)", "rocksdb::Arena::AllocateNewBlock");
        check("app::Less::operator()(int, int) const", "app::Less::operator()");
    }

    #[test]
    fn odd_names_are_harmless() {
        for name in [
            "",
            "<",
            "<<<<<<<<",
            "a<b",
            "a::<",
            ">",
            "::",
            "<a as b",
            "(((",
            "ä<ö>::ü",
            "[",
            "operator",
            "<<<<<<a as b>::c as d>::e as f>::g as h>::i as j>::k",
        ] {
            let _ = plain(name);
        }
        assert_eq!(plain("ä<ö>::ü"), "ä::ü");
    }

    #[test]
    fn bare_names_get_the_module_of_their_file() {
        let path = |function: &str, file: &str| {
            Path::of(&FrameView { function: function.into(), file: Some(file.into()), ..FrameView::default() }).as_str().to_owned()
        };
        assert_eq!(path("grow_one", "/rustc/59807/library/alloc/src/raw_vec/mod.rs"), "alloc::raw_vec::grow_one");
        assert_eq!(
            path("insert", "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/hashbrown-0.16.1/src/map.rs"),
            "hashbrown::map::insert"
        );
        assert_eq!(path("alloc", "/r/tikv-jemallocator-0.6.1/src/lib.rs"), "tikv_jemallocator::alloc");
        assert_eq!(path("remember", "/srv/app/src/memo.rs"), "remember");
        assert_eq!(path("push<u8>", "/rustc/59807/library/alloc/src/vec/mod.rs"), "alloc::vec::push");
    }

    #[test]
    fn prefixes_are_whole_segments() {
        let path = Path("alloc::vec::Vec::push".into());
        assert!(path.within("alloc::vec") && path.is(&["alloc::vec"], &["push"]));
        assert!(!path.within("alloc::ve") && !path.is(&["alloc::vec"], &["pop"]));
    }
}
