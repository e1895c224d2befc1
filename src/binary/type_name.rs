//! Type names as text: splitting generics, comparing spellings.
//!
//! The same type is spelt in several ways: DWARF prints allocators and spaces
//! (`alloc::vec::Vec<u8, alloc::alloc::Global>`), symbols print neither (`alloc::vec::Vec<u8>`), and
//! C++ compilers differ in spaces before `>`. [`key`] is the form in which spellings compare equal;
//! [`display`] is the form for people. Nothing here recurses: names are untrusted and may nest deeply.

use std::borrow::Cow;

/// Default type arguments that DWARF prints and symbols leave out. rustc omits defaults in the type
/// names of symbols (`rustc_symbol_mangling::legacy`).
const DEFAULT_ARGUMENTS: [&str; 3] = ["alloc::alloc::Global", "std::hash::random::RandomState", "std::collections::hash::map::RandomState"];

/// Walks `text` and calls `visit(byte offset, byte, depth)` for every byte, where depth counts open
/// brackets before the byte (a closing bracket has the depth inside). The `>` of `->` is no bracket.
fn walk(text: &str, mut visit: impl FnMut(usize, u8, usize) -> bool) {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    for (at, &byte) in bytes.iter().enumerate() {
        if !visit(at, byte, depth) {
            return;
        }
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// The name without its last generic arguments, and these: `a::Vec<u8, G>` is `a::Vec` and `u8, G`.
/// `None` for names that do not end in arguments (`&Vec<u8>` ends in those of what it points to: it gives `None`).
pub fn split_arguments(name: &str) -> Option<(&str, &str)> {
    let name = name.trim_end();
    if !name.ends_with('>') || name.ends_with("->") || name.starts_with(['&', '*', '(', '[']) || name.starts_with("dyn ") {
        return None;
    }
    let mut open = None;
    walk(name, |at, byte, depth| {
        if depth == 0 && byte == b'<' {
            open = Some(at);
        }
        true
    });
    let open = open.filter(|&open| open > 0)?;
    Some((&name[..open], name[open + 1..name.len() - 1].trim()))
}

/// The parts of a list `u32, alloc::vec::Vec<u8, G>`, split at its outermost commas and trimmed. Lifetimes stay.
pub fn list(arguments: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    walk(arguments, |at, byte, depth| {
        if depth == 0 && byte == b',' {
            parts.push(arguments[start..at].trim());
            start = at + 1;
        }
        true
    });
    let last = arguments[start..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts
}

/// The name without generic arguments: `alloc::vec::Vec<u8>` is `alloc::vec::Vec`.
pub fn base(name: &str) -> &str {
    split_arguments(name).map_or(name, |(base, _)| base.strip_suffix("::").unwrap_or(base))
}

/// Type arguments of a name: no lifetimes, no constants. Empty for a name without arguments.
pub fn type_arguments(name: &str) -> Vec<&str> {
    let Some((_, arguments)) = split_arguments(name) else { return Vec::new() };
    list(arguments).into_iter().filter(|argument| !is_constant(argument)).collect()
}

/// Whether a generic argument is a lifetime or a constant rather than a type.
pub fn is_constant(argument: &str) -> bool {
    argument.starts_with('\'') || argument.starts_with(|c: char| c.is_ascii_digit() || c == '-') || matches!(argument, "true" | "false")
}

/// The last segment of a path, without arguments: `alloc::vec::Vec<u8>` is `Vec`.
pub fn last_segment(name: &str) -> &str {
    let base = base(name);
    base.rsplit("::").next().unwrap_or(base)
}

/// The path in front of the last `::` outside brackets and what follows it:
/// `<a::B<c::D> as E>::f` is `<a::B<c::D> as E>` and `f`.
pub fn split_path(name: &str) -> Option<(&str, &str)> {
    let mut last = None;
    let bytes = name.as_bytes();
    walk(name, |at, byte, depth| {
        if depth == 0 && byte == b':' && bytes.get(at + 1) == Some(&b':') {
            last = Some(at);
        }
        true
    });
    last.map(|at| (&name[..at], &name[at + 2..]))
}

/// A function or type path without any generic arguments: `a::Vec<T>::push<U>` is `a::Vec::push`,
/// `<a::Vec<T>>::push` (v0 symbols) too. Trait implementations `<X<T> as Tr>::f` keep their head without inner arguments.
pub fn without_arguments(path: &str) -> String {
    let (head, rest) = match path.strip_prefix('<') {
        // The bracket that closes the head.
        Some(_) => {
            let mut close = path.len();
            walk(path, |at, byte, depth| {
                let closes = depth == 1 && byte == b'>' && path.as_bytes()[at - 1] != b'-';
                if closes {
                    close = at;
                }
                !closes
            });
            (path.get(1..close).unwrap_or_default(), path.get(close + 1..).unwrap_or_default())
        }
        None => ("", path),
    };
    let mut out = String::with_capacity(path.len());
    let is_impl = split_impl(path.get(..head.len() + 2).unwrap_or_default()).is_some();
    if is_impl {
        out.push('<');
    }
    strip_into(head, &mut out);
    if is_impl {
        out.push('>');
    }
    strip_into(rest, &mut out);
    let plain = out.replace("::::", "::");
    plain.strip_suffix("::").map(str::to_owned).unwrap_or(plain)
}

fn strip_into(text: &str, out: &mut String) {
    let mut angle = 0usize;
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'<' => {
                if angle == 0 {
                    out.push_str(&text[start..at]);
                }
                angle += 1;
            }
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' => {
                angle = angle.saturating_sub(1);
                if angle == 0 {
                    start = at + 1;
                }
            }
            _ => {}
        }
    }
    if angle == 0 {
        out.push_str(&text[start.min(text.len())..]);
    }
}

/// `X` and `Tr` of `<X as Tr>`; `None` for any other text.
pub fn split_impl(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('<')?.strip_suffix('>')?;
    let mut at_as = None;
    walk(inside, |at, byte, depth| {
        if depth == 0 && byte == b' ' && inside[at..].starts_with(" as ") && at_as.is_none() {
            at_as = Some(at);
        }
        true
    });
    let at = at_as?;
    Some((inside[..at].trim(), inside[at + 4..].trim()))
}

/// The spelling in which names of one type compare equal: no optional spaces, no default arguments, no lifetimes.
pub fn key(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ' ' {
            let joins = out.chars().next_back().is_some_and(is_word) && chars.peek().is_some_and(|&next| is_word(next));
            if joins {
                out.push(' ');
            }
            continue;
        }
        out.push(c);
        if matches!(c, '>' | ',') {
            remove_default(&mut out, c.len_utf8());
        }
    }
    out
}

/// Removes a default argument that ends `tail` bytes before the end of `out`.
fn remove_default(out: &mut String, tail: usize) {
    let before = out.len() - tail;
    for argument in DEFAULT_ARGUMENTS {
        let Some(rest) = out[..before].strip_suffix(argument).and_then(|rest| rest.strip_suffix(',')) else { continue };
        let start = rest.len();
        out.replace_range(start..before, "");
        return remove_default_again(out, tail);
    }
}

/// A second default in front of the first (`, RandomState, Global>`).
fn remove_default_again(out: &mut String, tail: usize) {
    let before = out.len() - tail;
    for argument in DEFAULT_ARGUMENTS {
        if let Some(rest) = out[..before].strip_suffix(argument).and_then(|rest| rest.strip_suffix(',')) {
            let start = rest.len();
            out.replace_range(start..before, "");
            return;
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '\''
}

/// The spelling for people: the global allocator, which is in every name, is left out, and a blank stands behind every
/// comma, also in the names of symbols.
pub fn display(name: &str) -> Cow<'_, str> {
    const GLOBAL: &str = ", alloc::alloc::Global>";
    let is_dense = |name: &str| name.as_bytes().windows(2).any(|pair| pair[0] == b',' && !b" )>".contains(&pair[1]));
    if !name.contains(GLOBAL) && !is_dense(name) {
        return Cow::Borrowed(name);
    }
    let plain = name.replace(GLOBAL, ">");
    if !is_dense(&plain) {
        return Cow::Owned(plain);
    }
    let mut out = String::with_capacity(plain.len() + 8);
    let mut chars = plain.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == ',' && chars.peek().is_some_and(|next| ![' ', ')', '>'].contains(next)) {
            out.push(' ');
        }
    }
    Cow::Owned(out)
}

/// The element or pointee of a reference, slice or raw pointer name: `&mut [T]` gives `&mut ` and `[T]`.
pub fn split_pointer(name: &str) -> Option<(&'static str, &str)> {
    ["&mut ", "&", "*const ", "*mut "].iter().find_map(|&prefix| Some((prefix, name.strip_prefix(prefix)?)))
}

/// The element type of `[T]` or `[T; 4]`.
pub fn slice_element(name: &str) -> Option<&str> {
    let inside = name.strip_prefix('[')?.strip_suffix(']')?;
    let mut semicolon = None;
    walk(inside, |at, byte, depth| {
        if depth == 0 && byte == b';' {
            semicolon = Some(at);
        }
        true
    });
    Some(inside[..semicolon.unwrap_or(inside.len())].trim())
}

/// The elements of a tuple name `(u32, T)`; `None` for any other name.
pub fn tuple(name: &str) -> Option<Vec<&str>> {
    let inside = name.strip_prefix('(')?.strip_suffix(')')?;
    Some(list(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split() {
        assert_eq!(split_arguments("a::Vec<(u8, b::C<d>), e>"), Some(("a::Vec", "(u8, b::C<d>), e")));
        assert_eq!(split_arguments("&a::Vec<u8>"), None);
        assert_eq!(split_arguments("<a as b>"), None);
        assert_eq!(split_arguments("a::F<fn(u8) -> u8>"), Some(("a::F", "fn(u8) -> u8")));
        assert_eq!(list("(u8, b::C<d>), e"), ["(u8, b::C<d>)", "e"]);
        assert_eq!(list("dyn Fn(u8) -> a::B<c>, d"), ["dyn Fn(u8) -> a::B<c>", "d"]);
        assert_eq!(type_arguments("bumpalo::Bump<1>"), Vec::<&str>::new());
        assert_eq!(type_arguments("x::alloc<1, 'a, T>"), ["T"]);
        assert_eq!(last_segment("alloc::vec::Vec<u8>"), "Vec");
        assert_eq!(split_path("<a::B<c::D> as E>::f"), Some(("<a::B<c::D> as E>", "f")));
        assert_eq!(split_impl("<a::B<(c, d)> as E<f>>"), Some(("a::B<(c, d)>", "E<f>")));
        assert_eq!(slice_element("[[u8; 4]; 2]"), Some("[u8; 4]"));
        assert_eq!(without_arguments("a::Vec<T>::push<U>"), "a::Vec::push");
        assert_eq!(without_arguments("<a::Vec<T>>::push::<U>"), "a::Vec::push");
        assert_eq!(without_arguments("<a::Vec<T,A> as core::ops::drop::Drop>::drop"), "<a::Vec as core::ops::drop::Drop>::drop");
        assert_eq!(tuple("(u32, a::B<c, d>)"), Some(vec!["u32", "a::B<c, d>"]));
    }

    #[test]
    fn spellings_of_one_type_are_equal() {
        let same = |a: &str, b: &str| assert_eq!(key(a), key(b));
        same("alloc::vec::Vec<u8, alloc::alloc::Global>", "alloc::vec::Vec<u8>");
        same("(u32, alloc::vec::Vec<u8, alloc::alloc::Global>)", "(u32,alloc::vec::Vec<u8>)");
        same("h::HashMap<u32, u64, std::hash::random::RandomState, alloc::alloc::Global>", "h::HashMap<u32,u64>");
        same("std::vector<int, std::allocator<int> >", "std::vector<int,std::allocator<int>>");
        same("alloc::boxed::Box<dyn a::B, alloc::alloc::Global>", "alloc::boxed::Box<dyn a::B>");
        assert_ne!(key("&mut T"), key("&T"));
        assert_eq!(key("&mut T"), "&mut T");
        assert_eq!(
            display("alloc::vec::Vec<alloc::vec::Vec<u8, alloc::alloc::Global>, alloc::alloc::Global>"),
            "alloc::vec::Vec<alloc::vec::Vec<u8>>"
        );
        assert_eq!(display("(i16,alloc::string::String)"), "(i16, alloc::string::String)");
        assert_eq!(display("(a::B,)"), "(a::B,)");
    }

    proptest::proptest! {
        #[test]
        fn any_text(name in "[a-z<>(),:;& \\[\\]-]{0,60}") {
            key(&name);
            split_arguments(&name).map(|(_, arguments)| list(arguments));
            split_path(&name);
            split_impl(&name);
            slice_element(&name);
            tuple(&name);
            base(&name);
            without_arguments(&name);
            without_arguments(&format!("<{name}"));
        }
    }
}
