//! Names of functions taken apart: what stays the same across builds, and which crate they are from.
//!
//! One function has several spellings. Both manglings of Rust occur in one binary (std is v0, user
//! crates are legacy), and every build changes hashes and numbers:
//!
//! ```text
//! alloc::raw_vec::RawVecInner<A>::finish_grow                   legacy
//! <alloc::raw_vec::RawVecInner>::finish_grow                    v0
//! app::run::{{closure}}::h0123456789abcdef                      legacy, hash kept
//! app[8fa3]::run::{closure#0}                                   v0, disambiguator kept
//! <impl serde::de::Deserialize for app::Page>::deserialize      legacy trait impl
//! <app::Page as serde::de::Deserialize>::deserialize            v0 trait impl
//! ```

use memchr::memmem::Finder;
use std::borrow::Cow;
use std::sync::LazyLock;

/// How deep types in names are followed: deeper ones stay as they are.
const DEEPEST: usize = 24;
/// How often a name is gone over: names of compilers are done after one pass, and what comes from a stranger's file ends.
const MOST_PASSES: usize = 64;

/// The name without what changes from build to build or between the manglings: hash suffixes, crate
/// disambiguators, generic arguments, traits of implementations, numbers of closures; of C++ the
/// template arguments, parameters and return types.
///
/// A key for grouping, not an identity: all instances of a generic function share it.
/// Normalizing twice changes nothing.
pub fn normalize(name: &str) -> Cow<'_, str> {
    if is_plain(name) {
        return Cow::Borrowed(name);
    }
    // Of a name with unpaired brackets one pass may leave what the next one takes for a signature.
    let mut last = normal(name, 0);
    for _ in 0..MOST_PASSES {
        if is_plain(&last) {
            break;
        }
        let next = normal(&last, 0);
        if next == last {
            break;
        }
        last = next;
    }
    Cow::Owned(last)
}

/// Whether there is nothing in a name that [`normal`] takes away.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| !matches!(c, '<' | '>' | '[' | '{' | '(' | ' ') && !c.is_control();
    let all = if name.is_ascii() { name.bytes().all(|byte| plain(byte.into())) } else { name.chars().all(plain) };
    all && strip_hash(name).len() == name.len()
}

fn normal(name: &str, depth: usize) -> String {
    if depth > DEEPEST {
        return name.chars().filter(|c| !matches!(c, '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | ' ')).collect();
    }
    let name = strip_signature(strip_hash(name.trim()));
    let mut path = String::with_capacity(name.len());
    let mut first = true;
    for segment in segments(name) {
        let mut segment = segment.trim();
        if let Some(inner) = bracketed(segment) {
            match implementation(inner, first) {
                Implementation::Type(subject) => path = normal(subject, depth + 1),
                Implementation::Generics => {}
            }
        } else {
            let owned;
            if segment.starts_with('{') {
                segment = braces(segment);
            } else {
                owned = without_brackets(segment);
                segment = owned.trim();
            }
            if !segment.is_empty() {
                if !path.is_empty() {
                    path.push_str("::");
                }
                path.push_str(segment);
            }
        }
        first = false;
    }
    path
}

/// The crate (for C++: the outermost namespace) that a name belongs to: that of the implementing type
/// where it is a path, else of the trait. `None` for a bare name, as C has it.
pub fn crate_of(name: &str) -> Option<&str> {
    let mut rest = name.trim();
    for _ in 0..DEEPEST {
        rest = strip_signature(rest);
        rest = strip_reference(rest);
        let first = segments(rest).next()?.trim();
        match bracketed(first) {
            Some(inner) => match implementation(inner, true) {
                Implementation::Type(subject) => rest = subject,
                Implementation::Generics => return None,
            },
            None => {
                if first.len() == rest.len() {
                    return None;
                }
                // `app::view::<impl Trait for Type>`: the path before says where it was written.
                let end = first.find(['<', '[', '(', '{']).unwrap_or(first.len());
                return (end > 0).then(|| &first[..end]);
            }
        }
    }
    None
}

enum Implementation<'a> {
    /// Whose methods follow.
    Type(&'a str),
    /// Generic arguments: nothing to follow.
    Generics,
}

/// What the content of `<...>` as a segment of a path stands for.
fn implementation(inner: &str, first: bool) -> Implementation<'_> {
    let (inner, legacy) = match inner.strip_prefix("impl ") {
        Some(rest) => (rest, true),
        None => (inner, false),
    };
    if legacy {
        let (tr, subject) = match split_at_word(inner, " for ") {
            Some((tr, subject)) => (Some(tr), subject),
            None => (None, inner),
        };
        return choose(subject, tr).map_or(Implementation::Generics, Implementation::Type);
    }
    if let Some((subject, tr)) = split_at_word(inner, " as ") {
        return choose(subject, Some(tr)).map_or(Implementation::Generics, Implementation::Type);
    }
    if first {
        return Implementation::Type(strip_reference(inner));
    }
    Implementation::Generics
}

/// The type if it is a path, else the trait: of `<u8 as alloc::vec::SpecFromElem>` the trait says more,
/// and the legacy mangling has `<T as ...>` there.
fn choose<'a>(subject: &'a str, tr: Option<&'a str>) -> Option<&'a str> {
    let subject = strip_reference(subject);
    let is_path = bracketed(subject).is_some() || segments(subject).nth(1).is_some();
    if is_path { Some(subject) } else { tr.map(strip_reference) }
}

/// `&mut T`, `*const T`, `dyn T`, `[T]`, `[T; 3]`, `(T, U)`: the first type inside.
fn strip_reference(name: &str) -> &str {
    let mut name = name.trim();
    loop {
        let stripped = ["&", "*const ", "*mut ", "mut ", "dyn ", "impl ", "[", "("].iter().find_map(|prefix| name.strip_prefix(prefix));
        match stripped {
            Some(rest) => name = rest.trim_start(),
            None => break,
        }
    }
    // The first of several bounds, elements or lengths.
    let mut end = name.len();
    let mut scan = Scan::new(name);
    while let Some((at, c)) = scan.next() {
        if scan.depth == 0 && matches!(c, '+' | ',' | ';') || scan.depth < 0 {
            end = at;
            break;
        }
    }
    name[..end].trim_end()
}

/// Characters with the depth of `<>`, `()`, `[]` and `{}` around them; `->` and operators of C++ close nothing.
///
/// Names are nearly all ASCII and nearly none has an operator: bytes are looked at, and the words before a
/// bracket only where `operator` occurs at all (names were a third of a report's time, and are a tenth).
struct Scan<'a> {
    text: &'a str,
    at: usize,
    previous: char,
    depth: i32,
    /// Whether the word `operator` occurs.
    operators: bool,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Scan::of_part(text, has_operator(text))
    }

    /// For a part of a name of which it is known whether it has operators.
    fn of_part(text: &'a str, operators: bool) -> Self {
        Scan { text, at: 0, previous: ' ', depth: 0, operators }
    }
}

fn has_operator(name: &str) -> bool {
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("operator"));
    WORD.find(name.as_bytes()).is_some()
}

impl Iterator for Scan<'_> {
    type Item = (usize, char);

    /// The next character; `depth` is that after it for an opening, before it for none, after for a closing one.
    #[inline]
    fn next(&mut self) -> Option<(usize, char)> {
        let at = self.at;
        let c = match *self.text.as_bytes().get(at)? {
            byte if byte.is_ascii() => char::from(byte),
            _ => self.text.get(at..)?.chars().next()?,
        };
        self.at += c.len_utf8();
        let is_bracket = matches!(c, '<' | '>' | '(' | '[' | '{' | ')' | ']' | '}');
        if is_bracket && !(self.operators && is_operator(&self.text[..at], c, &self.text[at..])) {
            match c {
                '<' | '(' | '[' | '{' => self.depth += 1,
                '>' if self.previous == '-' || self.previous == '=' => {}
                _ => self.depth -= 1,
            }
        }
        self.previous = c;
        Some((at, c))
    }
}

/// Whether a bracket belongs to the name of a C++ operator: `operator<<`, `operator()`, `operator[]`, `operator->`.
fn is_operator(before: &str, c: char, from: &str) -> bool {
    let symbols = before.trim_end_matches(['<', '>', '-', '=', '(', '[']);
    let typed = &before[symbols.len()..];
    let array = matches!(c, '[' | ']') && (symbols.ends_with("operator new") || symbols.ends_with("operator delete"));
    if !symbols.ends_with("operator") && !array {
        return false;
    }
    match c {
        '<' | '>' => matches!(typed, "" | "<" | ">" | "-" | "<="),
        '(' => typed.is_empty() && from.starts_with("()"),
        ')' => typed == "(",
        '[' => typed.is_empty() && from.starts_with("[]"),
        _ => typed == "[",
    }
}

/// The parts of a path between `::` outside of brackets.
fn segments(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(name);
    let operators = has_operator(name);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut scan = Scan::of_part(text, operators);
        let mut previous_colon = None;
        while let Some((at, c)) = scan.next() {
            if c == ':' && scan.depth <= 0 {
                if previous_colon == Some(at.wrapping_sub(1)) {
                    rest = Some(&text[at + 1..]);
                    return Some(&text[..at - 1]);
                }
                previous_colon = Some(at);
            }
        }
        rest = None;
        Some(text)
    })
}

/// The content of a segment that is `<...>` from end to end.
fn bracketed(segment: &str) -> Option<&str> {
    let segment = segment.trim();
    let inner = segment.strip_prefix('<')?.strip_suffix('>')?;
    let mut scan = Scan::new(segment);
    while let Some((at, _)) = scan.next() {
        if scan.depth == 0 && at + 1 < segment.len() {
            return None;
        }
    }
    Some(inner)
}

/// Splits at a word outside of brackets.
fn split_at_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let mut scan = Scan::new(text);
    while let Some((at, c)) = scan.next() {
        if c == ' ' && scan.depth == 0 && text[at..].starts_with(word) {
            return Some((&text[..at], &text[at + word.len()..]));
        }
    }
    None
}

/// `Vec<T>` to `Vec`, `app[8fa3]` to `app`; brackets that are an operator's stay.
fn without_brackets(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    let mut scan = Scan::new(segment);
    let mut before = 0;
    while let Some((_, c)) = scan.next() {
        if before <= 0 && scan.depth <= 0 && scan.depth == before {
            out.push(c);
        }
        before = scan.depth;
    }
    out
}

/// `{closure#0}` and `{{closure}}` to `{closure}`; `{impl#3}`, `{shim:vtable#0}`, `{{vtable.shim}}` alike.
fn braces(segment: &str) -> &str {
    const KINDS: [(&str, &str); 5] =
        [("closure", "{closure}"), ("impl", "{impl}"), ("shim", "{shim}"), ("vtable.shim", "{shim}"), ("constant", "{constant}")];
    let inner = segment.trim_start_matches('{');
    let word = inner.split(['#', '}', ':']).next().unwrap_or(inner);
    KINDS.iter().find(|(kind, _)| *kind == word).map_or(segment, |(_, normal)| normal)
}

/// Without `::h` and 16 hex digits at the end.
fn strip_hash(name: &str) -> &str {
    let hash = name.len().checked_sub(16).and_then(|at| name.get(at..)).filter(|hash| hash.bytes().all(|b| b.is_ascii_hexdigit()));
    hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix("::h")).unwrap_or(name)
}

/// Without the parameters and the return type that demangled C++ functions print.
fn strip_signature(name: &str) -> &str {
    let mut open = None;
    let mut word = 0;
    let mut scan = Scan::new(name);
    let mut before = 0;
    while let Some((at, c)) = scan.next() {
        // Parameters follow a name; `(anonymous namespace)` and tuples stand at the start of a segment.
        if c == '(' && before == 0 && scan.depth == 1 && at > word && !name[..at].ends_with(':') {
            open.get_or_insert(at);
        }
        if c == ' '
            && scan.depth == 0
            && open.is_none()
            && !name[..at].ends_with("operator")
            && !name[..at].ends_with("operator new")
            && !name[..at].ends_with("operator delete")
        {
            word = at + 1;
        }
        before = scan.depth;
    }
    let end = open.unwrap_or(name.len());
    name.get(word..end).unwrap_or(name)
}

/// The crate that a Rust source file is from, by the layout of registries, git checkouts, the
/// toolchain and cargo packages: for frames whose name is bare (`debug = "line-tables-only"`).
pub fn crate_of_file(path: &str) -> Option<&str> {
    if !path.ends_with(".rs") {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let after = |marker: &str| parts.iter().position(|part| *part == marker);
    if let Some(at) = after("library").filter(|_| is_toolchain(path)) {
        return parts.get(at + 1).copied();
    }
    let source = parts.iter().rposition(|part| *part == "src").filter(|&at| at > 0)?;
    Some(without_version(parts[source - 1]))
}

/// `/rustc/<hash>/...` and the same sources as the component rust-src installs them.
pub(super) fn is_toolchain(path: &str) -> bool {
    path.contains("/rustc/") || path.contains("/rustlib/src/rust/")
}

/// `serde_json-1.0.150` to `serde_json`; a name without a version stays.
fn without_version(package: &str) -> &str {
    match package.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.') => name,
        // Prerelease and build metadata: `foo-1.0.0-rc.1`.
        Some((front, _)) => match front.rsplit_once('-') {
            Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.') => name,
            _ => package,
        },
        None => package,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, normal: &str, krate: Option<&str>) {
        assert_eq!(normalize(name), normal, "normalize");
        assert_eq!(normalize(normal), normal, "normalize twice");
        assert_eq!(crate_of(name), krate, "crate");
    }

    #[test]
    fn both_manglings_agree() {
        let finish = "alloc::raw_vec::RawVecInner::finish_grow";
        check("alloc::raw_vec::RawVecInner<A>::finish_grow", finish, Some("alloc"));
        check("<alloc::raw_vec::RawVecInner>::finish_grow", finish, Some("alloc"));
        check("<alloc::raw_vec::RawVecInner<alloc::alloc::Global>>::finish_grow::<alloc::alloc::Global>", finish, Some("alloc"));
        check("app::run::{{closure}}::h0123456789abcdef", "app::run::{closure}", Some("app"));
        check("app[8fa3]::run::{closure#0}", "app::run::{closure}", Some("app"));
        let page = "app::Page::deserialize";
        check("app::view::<impl serde::de::Deserialize for app::Page>::deserialize", page, Some("app"));
        check("<app::Page as serde::de::Deserialize>::deserialize", page, Some("app"));
        let convert = "alloc::slice::hack::ConvertVec::to_vec";
        check("<T as alloc::slice::hack::ConvertVec>::to_vec", convert, Some("alloc"));
        check("<u8 as alloc::slice::hack::ConvertVec>::to_vec", convert, Some("alloc"));
        check("alloc::slice::<impl [T]>::to_vec", "alloc::slice::to_vec", Some("alloc"));
    }

    #[test]
    fn types_inside_types() {
        check(
            "<&mut serde_json::de::Deserializer<R> as serde_core::de::Deserializer>::deserialize_any",
            "serde_json::de::Deserializer::deserialize_any",
            Some("serde_json"),
        );
        check(
            "<&dyn core::ops::function::Fn<(), Output = i32> + core::marker::Sync as core::ops::function::FnOnce<()>>::call_once",
            "core::ops::function::Fn::call_once",
            Some("core"),
        );
        check(
            "<serde_json::value::de::<impl serde_core::de::Deserialize for serde_json::value::Value>::deserialize::ValueVisitor as serde_core::de::Visitor>::visit_seq",
            "serde_json::value::Value::deserialize::ValueVisitor::visit_seq",
            Some("serde_json"),
        );
        check(
            "<alloc::boxed::Box<dyn core::ops::FnOnce() -> u8> as core::ops::FnOnce<()>>::call_once",
            "alloc::boxed::Box::call_once",
            Some("alloc"),
        );
        check("<[app::Page; 3] as core::clone::Clone>::clone", "app::Page::clone", Some("app"));
        check("core::ops::function::FnOnce::call_once{{vtable.shim}}", "core::ops::function::FnOnce::call_once", Some("core"));
        check("core::ptr::drop_in_place<app::Page>", "core::ptr::drop_in_place", Some("core"));
        check("grow_one<u8, alloc::alloc::Global>", "grow_one", None);
        check(
            "std::thread::Builder::spawn_unchecked_::{{closure}}::{{closure}}",
            "std::thread::Builder::spawn_unchecked_::{closure}::{closure}",
            Some("std"),
        );
    }

    #[test]
    fn names_of_c_and_cpp() {
        check("malloc", "malloc", None);
        check("operator new(unsigned long)", "operator new", None);
        check("operator new[](unsigned long)", "operator new[]", None);
        check("std::vector<int, std::allocator<int> >::push_back(int const&)", "std::vector::push_back", Some("std"));
        check("void app::fill<int>(std::vector<int>&)", "app::fill", Some("app"));
        check("app::Index::operator()(int) const", "app::Index::operator()", Some("app"));
        check("app::operator<<(std::ostream&, app::Page const&)", "app::operator<<", Some("app"));
        check("(anonymous namespace)::helper(int)", "helper", None);
    }

    #[test]
    fn files_name_crates() {
        let check = |path: &str, krate: Option<&str>| assert_eq!(crate_of_file(path), krate, "{path}");
        check("/rustc/59807616e/library/alloc/src/raw_vec/mod.rs", Some("alloc"));
        check("/usr/local/cargo/registry/src/index.crates.io-1949cf8c6b5b557f/serde_json-1.0.150/src/de.rs", Some("serde_json"));
        check("/home/u/.cargo/registry/src/x/foo-bar-1.0.0-rc.1/src/lib.rs", Some("foo-bar"));
        check("/srv/svc/src/quarryd/src/main.rs", Some("quarryd"));
        check("/srv/svc/src/quarryd/src/bin/tool.rs", Some("quarryd"));
        check("main.rs", None);
        check("src/main.rs", None);
        check("/srv/tok.c", None);
    }

    #[test]
    fn unpaired_brackets_are_gone_over_until_nothing_changes() {
        for name in [")::{> }>A &", "a>(b)> c &4,m&", "<<(>::x y"] {
            let once = normalize(name).into_owned();
            assert_eq!(normalize(&once), once, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_normalized_once(name in "[<>\\[\\]{}()&:# ,;+a-zA-Z0-9_-]{0,60}") {
            let once = normalize(&name).into_owned();
            assert_eq!(normalize(&once), once);
            crate_of(&name);
            crate_of_file(&name);
        }

        #[test]
        fn any_text(name in ".*") {
            normalize(&name);
            crate_of(&name);
        }
    }
}
