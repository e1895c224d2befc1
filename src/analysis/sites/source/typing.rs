//! Types of expressions in source text, as far as declarations tell: the debug information's variables and fields first,
//! then what the sources declare.
//!
//! Names come out as the debug information spells them (`alloc::vec::Vec<u8>`), so that the ownership graph knows them. What
//! cannot be told is `None`, never a guess: a method that is in neither table, an inferred parameter.

use super::SourceText;
use super::items::{Function, Items, list};
use super::tokens::{Kind, Tokens};
use crate::analysis::ownership::rule::{Owns, Via};
use crate::analysis::ownership::{Graph, library};
use crate::binary::type_name;
use std::ops::Range;

/// A source file with what it declares.
#[derive(Debug)]
pub struct File<'s> {
    /// Index of the file in the debug information.
    pub file: u32,
    /// Its tokens.
    pub tokens: Tokens<'s>,
    /// Its declarations.
    pub items: Items,
    /// The module that it is, from the functions that the debug information places in it; empty where unknown.
    pub module: String,
}

/// All sources at hand.
#[derive(Debug)]
pub struct Sources<'g, 'f, 's> {
    /// The ownership graph of the binary.
    pub graph: &'g Graph<'f>,
    /// The files, in the order given.
    pub files: Vec<File<'s>>,
}

/// Where an expression stands.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    /// Index into [`Sources::files`].
    pub file: usize,
    /// The function around it.
    pub function: Option<&'a Function>,
    /// What its type parameters are: (name, type).
    pub generics: Vec<(String, String)>,
    /// Variables of the debug information: (name, type, line).
    pub locals: &'a [(String, String, u32)],
    /// Token of the expression: variables behind it are not declared yet.
    pub at: usize,
}

/// Expressions within each other that are followed.
const DEEPEST: usize = 24;

/// Standard types: (name, the path of its definition, a word in the path under which people import it). Source: library/.
const STANDARD: &[(&str, &str, &str)] = &[
    ("Box", "alloc::boxed::Box", ""),
    ("Vec", "alloc::vec::Vec", ""),
    ("String", "alloc::string::String", ""),
    ("Option", "core::option::Option", ""),
    ("Result", "core::result::Result", ""),
    ("Rc", "alloc::rc::Rc", "rc"),
    ("Arc", "alloc::sync::Arc", "sync"),
    ("Weak", "alloc::rc::Weak", "rc"),
    ("Weak", "alloc::sync::Weak", "sync"),
    ("VecDeque", "alloc::collections::vec_deque::VecDeque", "collections"),
    ("BinaryHeap", "alloc::collections::binary_heap::BinaryHeap", "collections"),
    ("LinkedList", "alloc::collections::linked_list::LinkedList", "collections"),
    ("BTreeMap", "alloc::collections::btree::map::BTreeMap", "collections"),
    ("BTreeSet", "alloc::collections::btree::set::BTreeSet", "collections"),
    ("HashMap", "std::collections::hash::map::HashMap", "collections"),
    ("HashSet", "std::collections::hash::set::HashSet", "collections"),
    ("Cell", "core::cell::Cell", "cell"),
    ("RefCell", "core::cell::RefCell", "cell"),
    ("UnsafeCell", "core::cell::UnsafeCell", "cell"),
    ("OnceCell", "core::cell::once::OnceCell", "cell"),
    ("Mutex", "std::sync::poison::mutex::Mutex", "sync"),
    ("RwLock", "std::sync::poison::rwlock::RwLock", "sync"),
    ("MutexGuard", "std::sync::poison::mutex::MutexGuard", "sync"),
    ("OnceLock", "std::sync::once_lock::OnceLock", "sync"),
    ("LazyLock", "std::sync::lazy_lock::LazyLock", "sync"),
    ("CString", "alloc::ffi::c_str::CString", "ffi"),
    ("OsString", "std::ffi::os_str::OsString", "ffi"),
    ("PathBuf", "std::path::PathBuf", "path"),
    ("File", "std::fs::File", "fs"),
    ("TcpStream", "std::net::tcp::TcpStream", "net"),
    ("TcpListener", "std::net::tcp::TcpListener", "net"),
    ("UdpSocket", "std::net::udp::UdpSocket", "net"),
    ("ManuallyDrop", "core::mem::manually_drop::ManuallyDrop", "mem"),
    ("MaybeUninit", "core::mem::maybe_uninit::MaybeUninit", "mem"),
    ("PhantomData", "core::marker::PhantomData", "marker"),
    ("Pin", "core::pin::Pin", "pin"),
    ("NonNull", "core::ptr::non_null::NonNull", "ptr"),
];

/// The same for the arena crate.
const ARENA: &[(&str, &str)] = &[
    ("Bump", "bumpalo::Bump"),
    ("Vec", "bumpalo::collections::vec::Vec"),
    ("String", "bumpalo::collections::string::String"),
    ("Box", "bumpalo::boxed::Box"),
];

/// Names that need no `use`.
const PRELUDE: [&str; 5] = ["Box", "Vec", "String", "Option", "Result"];

impl<'g, 'f, 's> Sources<'g, 'f, 's> {
    /// Reads the declarations of all files.
    pub fn new(graph: &'g Graph<'f>, texts: &'s [SourceText]) -> Self {
        let facts = graph.facts;
        let read = |text: &'s SourceText| {
            let tokens = Tokens::new(&text.text);
            let items = Items::read(&tokens);
            let mut file = File { file: text.file, tokens, items, module: String::new() };
            // A free function's path is its module and its name.
            let free = facts.declared.iter().filter(|declared| declared.file == text.file).find_map(|declared| {
                let path = &facts.names[declared.name as usize].path;
                let (front, last) = type_name::split_path(path)?;
                let function = file
                    .items
                    .functions
                    .iter()
                    .find(|function| function.name == last && (function.first_line..=function.head_line).contains(&declared.line))?;
                match &function.self_type {
                    None => Some(front.to_owned()),
                    Some(_) if front.starts_with('<') => None,
                    Some(_) => Some(type_name::split_path(front)?.0.to_owned()),
                }
            });
            file.module = free.unwrap_or_default();
            file
        };
        Sources { graph, files: texts.iter().map(read).collect() }
    }

    /// The full path that a path in a file means; `None` for names that nothing declares.
    pub fn path(&self, file: usize, segments: &[&str]) -> Option<Vec<String>> {
        let items = &self.files[file].items;
        let &first = segments.first()?;
        let mut full: Vec<String> = match items.uses.iter().find(|(name, _)| name == first) {
            Some((_, path)) => path.clone(),
            None => vec![first.to_owned()],
        };
        full.extend(segments[1..].iter().map(|&segment| segment.to_owned()));
        Some(full)
    }

    /// The type that tokens spell.
    pub fn type_at(&self, scope: &Scope<'_>, range: Range<usize>, depth: usize) -> Option<String> {
        let tokens = &self.files[scope.file].tokens;
        let mut at = range.start;
        if at >= range.end || depth > DEEPEST {
            return None;
        }
        match tokens.text(at) {
            "&" => {
                at += 1;
                if tokens.list.get(at).is_some_and(|token| token.kind == Kind::Lifetime) {
                    at += 1;
                }
                let is_mut = tokens.is(at, "mut");
                let inside = self.type_at(scope, at + usize::from(is_mut)..range.end, depth + 1)?;
                return Some(format!("&{}{inside}", if is_mut { "mut " } else { "" }));
            }
            "*" => {
                let inside = self.type_at(scope, at + 2..range.end, depth + 1)?;
                return Some(format!("*{} {inside}", tokens.text(at + 1)));
            }
            "(" => {
                let parts = list(tokens, at + 1..tokens.partner[at].min(range.end));
                let names: Option<Vec<String>> = parts.into_iter().map(|part| self.type_at(scope, part, depth + 1)).collect();
                return Some(format!("({})", names?.join(", ")));
            }
            "[" => {
                let end = tokens.partner[at].min(range.end);
                let semicolon = (at..end).find(|&sign| tokens.is(sign, ";"));
                let inside = self.type_at(scope, at + 1..semicolon.unwrap_or(end), depth + 1)?;
                return Some(match semicolon {
                    Some(semicolon) => format!("[{inside}; {}]", tokens.joined(semicolon + 1..end)),
                    None => format!("[{inside}]"),
                });
            }
            "dyn" => {
                let first = (at + 1..range.end).find(|&stop| tokens.is(stop, "+")).unwrap_or(range.end);
                return Some(format!("dyn {}", self.type_at(scope, at + 1..first, depth + 1)?));
            }
            "impl" | "_" | "fn" | "for" | "unsafe" | "extern" | "!" => return None,
            _ => {}
        }
        // A path; arguments of its last segment.
        let mut segments: Vec<&str> = Vec::new();
        let mut arguments: Vec<Range<usize>> = Vec::new();
        while at < range.end {
            if tokens.is_path_sign(at) {
                at += 2;
            } else if tokens.is(at, "<") {
                let end = tokens.behind_angle(at).min(range.end);
                if end <= at + 1 {
                    break;
                }
                arguments = list(tokens, at + 1..end - 1);
                at = end;
            } else if tokens.is_word(at) {
                segments.push(tokens.text(at));
                at += 1;
            } else {
                break;
            }
        }
        let is_type = |part: &Range<usize>| tokens.list[part.start].kind != Kind::Lifetime && tokens.list[part.start].kind != Kind::Number;
        let arguments: Vec<Option<String>> =
            arguments.into_iter().filter(is_type).map(|part| self.type_at(scope, part, depth + 1)).collect();
        self.named(scope, &segments, &arguments, depth)
    }

    /// The type of this name with these arguments; unknown arguments become `_`.
    fn named(&self, scope: &Scope<'_>, segments: &[&str], arguments: &[Option<String>], depth: usize) -> Option<String> {
        let file = &self.files[scope.file];
        let &last = segments.last()?;
        if segments.len() == 1 {
            if let Some((_, name)) = scope.generics.iter().find(|(name, _)| name == last) {
                return Some(name.clone());
            }
            if last == "Self" {
                let own = scope.function?.self_type.clone()?;
                return self.type_at(scope, own, depth + 1);
            }
            if library::is_plain(last) {
                return Some(last.to_owned());
            }
            if scope.function.is_some_and(|function| function.generics.iter().any(|name| name == last)) {
                return None;
            }
            if let Some((_, alias)) = file.items.aliases.iter().find(|(name, _)| name == last) {
                return self.type_at(scope, alias.clone(), depth + 1);
            }
        }
        let path = self.path(scope.file, segments)?;
        let base = self.type_path(scope.file, &path)?;
        if arguments.is_empty() {
            return Some(base);
        }
        let arguments: Vec<&str> = arguments.iter().map(|argument| argument.as_deref().unwrap_or("_")).collect();
        Some(format!("{base}<{}>", arguments.join(", ")))
    }

    /// The path of a type as the debug information has it.
    fn type_path(&self, file: usize, path: &[String]) -> Option<String> {
        let (root, last) = (path.first()?.as_str(), path.last()?.as_str());
        let own = |name: &str| self.files[file].items.types.iter().any(|declared| declared.name == name);
        let globs = &self.files[file].items.globs;
        if path.len() == 1 && !own(last) {
            let globbed = |front: &str| globs.iter().any(|glob| glob.first().is_some_and(|root| root == front));
            if globbed("bumpalo")
                && globs.iter().any(|glob| glob.last().is_some_and(|end| end == "collections"))
                && let Some((_, path)) = ARENA[1..].iter().find(|(name, _)| *name == last)
            {
                return Some((*path).to_owned());
            }
            if PRELUDE.contains(&last)
                || globs.iter().any(|glob| glob.first().is_some_and(|root| matches!(root.as_str(), "std" | "core" | "alloc")))
            {
                let standard = STANDARD.iter().find(|(name, _, under)| {
                    *name == last && (under.is_empty() || globs.iter().any(|glob| glob.last().is_some_and(|end| end == under)))
                });
                if let Some((_, path, _)) = standard {
                    return Some((*path).to_owned());
                }
            }
        }
        if matches!(root, "std" | "core" | "alloc") {
            let standard =
                STANDARD.iter().find(|(name, _, under)| *name == last && (under.is_empty() || path.iter().any(|segment| segment == under)));
            return Some(standard.map_or_else(|| path.join("::"), |(_, path, _)| (*path).to_owned()));
        }
        if root == "bumpalo" {
            return Some(ARENA.iter().find(|(name, _)| *name == last).map_or_else(|| path.join("::"), |(_, path)| (*path).to_owned()));
        }
        // Declared in this file, else in another that is at hand.
        let declares = |file: &&File<'_>| file.items.types.iter().any(|declared| declared.name == last);
        let mut others = self.files.iter().filter(declares);
        let declaring = if own(last) { Some(&self.files[file]) } else { others.next().filter(|_| others.next().is_none()) };
        if let Some(declaring) = declaring.filter(|declaring| !declaring.module.is_empty()) {
            return Some(format!("{}::{last}", declaring.module));
        }
        // The debug information's types of this name: one in the path's own crate, or the only one.
        let suffix = format!("::{last}");
        let mut found: Vec<&str> = self
            .graph
            .ids()
            .map(|node| type_name::base(self.graph.name(node)))
            .filter(|base| base.ends_with(&suffix) && !library::is_standard(base))
            .collect();
        found.sort_unstable();
        found.dedup();
        // The one of the path's own crate, or of all; of several those in a module of the written name.
        let of_crate: Vec<&str> = found.iter().copied().filter(|base| base.split("::").next() == Some(root)).collect();
        if !of_crate.is_empty() {
            found = of_crate;
        }
        if found.len() > 1 && path.len() > 2 {
            let module = path[path.len() - 2].as_str();
            found.retain(|base| base.split("::").any(|segment| segment == module));
        }
        if let [one] = found.as_slice() {
            return Some((*one).to_owned());
        }
        (path.len() > 1 && !matches!(root, "crate" | "self" | "super") || own(last)).then(|| path.join("::"))
    }

    /// The type of a field.
    fn field(&self, owner: &str, field: &str) -> Option<String> {
        let owner = strip(owner);
        let types = &self.graph.facts.types;
        if let Some(id) = self.graph.find(owner).and_then(|node| self.graph.type_id(node)) {
            let position = format!("__{field}");
            let members = types.members(id);
            let found = members.iter().find(|member| {
                let label = types.texts.get(member.label);
                label == field || label == position
            });
            if let Some(target) = found.and_then(|member| member.target) {
                return Some(types.name(target));
            }
        }
        if let Some(elements) = type_name::tuple(owner) {
            return field.parse::<usize>().ok().and_then(|position| elements.get(position).map(|&element| element.to_owned()));
        }
        if let Some(inner) = pointee(owner) {
            return self.field(inner, field);
        }
        let (file, declared) = self.declaration(owner)?;
        let (_, range) = declared.fields.iter().find(|(name, _)| name == field)?;
        let generics = declared.generics.iter().cloned().zip(type_name::type_arguments(owner).into_iter().map(str::to_owned)).collect();
        self.type_at(&Scope { file, generics, ..Scope::default() }, range.clone(), 0)
    }

    /// The declaration of a user's type.
    fn declaration(&self, name: &str) -> Option<(usize, &super::items::Type)> {
        let base = type_name::base(name);
        let (front, last) = type_name::split_path(base).unwrap_or(("", base));
        let of = |file: &File<'s>| file.module == front;
        let all =
            || (0..).zip(&self.files).filter_map(|(index, file)| Some((index, file, file.items.types.iter().find(|ty| ty.name == last)?)));
        let (index, _, declared) = all().find(|(_, file, _)| of(file)).or_else(|| {
            let mut all = all();
            all.next().filter(|_| all.next().is_none())
        })?;
        Some((index, declared))
    }

    /// A function of the sources by name, a method of `owner` where that is given.
    fn function(&self, file: usize, name: &str, owner: Option<&str>) -> Option<(usize, &Function)> {
        let owner_name = owner.map(|owner| type_name::last_segment(strip(owner)));
        let fits = |file: &File<'s>, function: &Function| {
            function.name == name
                && match (owner_name, &function.self_type) {
                    (None, None) => true,
                    (Some(owner), Some(own)) => own.clone().any(|at| file.tokens.text(at) == owner),
                    _ => false,
                }
        };
        let in_file = |(index, file): (usize, &'_ File<'s>)| {
            let found = file.items.functions.iter().position(|function| fits(file, function))?;
            Some((index, found))
        };
        let (index, at) = in_file((file, &self.files[file])).or_else(|| {
            let mut all = self.files.iter().enumerate().filter_map(in_file);
            all.next().filter(|_| all.next().is_none())
        })?;
        Some((index, &self.files[index].items.functions[at]))
    }

    fn returned(&self, file: usize, function: &Function, owner: Option<&str>) -> Option<String> {
        let range = function.returns.clone()?;
        let mut generics = Vec::new();
        if let Some(owner) = owner {
            generics.push(("Self".to_owned(), strip(owner).to_owned()));
            let names = function.generics.iter().cloned();
            generics.extend(names.zip(type_name::type_arguments(strip(owner)).into_iter().map(str::to_owned)));
        }
        self.type_at(&Scope { file, generics, function: Some(function), ..Scope::default() }, range, 0)
    }

    /// The type of a variable.
    pub fn variable(&self, scope: &Scope<'_>, name: &str, depth: usize) -> Option<String> {
        let tokens = &self.files[scope.file].tokens;
        let line = tokens.line(scope.at);
        // `let x = f(x)`: the new one is not there yet.
        let declares = (0..scope.at)
            .rev()
            .take(256)
            .take_while(|&at| !matches!(tokens.text(at), ";" | "{" | "}"))
            .find(|&at| tokens.is(at, "let") && (tokens.is(at + 1, name) || tokens.is(at + 1, "mut") && tokens.is(at + 2, name)));
        let line = declares.map_or(line, |at| tokens.line(at).saturating_sub(1));
        let best = scope.locals.iter().filter(|(local, _, at)| local == name && *at <= line).max_by_key(|(.., at)| *at);
        if let Some((_, ty, _)) = best {
            return Some(ty.clone());
        }
        let function = scope.function?;
        // The last declaration in front of it.
        let mut at = scope.at;
        while at > function.body.start {
            at -= 1;
            if !tokens.is(at, "let") {
                continue;
            }
            let start = at + 1 + usize::from(tokens.is(at + 1, "mut"));
            let inner = Scope { at, ..scope.clone() };
            if tokens.is(start, name) && tokens.is(start + 1, ":") && !tokens.is_path_sign(start + 1) {
                let end = (start + 2..scope.at).find(|&end| tokens.is(end, "=") || tokens.is(end, ";")).unwrap_or(start + 2);
                return self.type_at(scope, start + 2..end, depth + 1);
            }
            if tokens.is(start, name) && tokens.is(start + 1, "=") {
                return self.type_of(&inner, start + 2..statement_end(tokens, start + 2, scope.at), depth + 1);
            }
            // `if let Some(name) = …`, `let Ok(name) = … else`.
            if matches!(tokens.text(start), "Some" | "Ok") && tokens.is(start + 1, "(") {
                let inside = start + 2 + usize::from(tokens.is(start + 2, "mut"));
                if tokens.is(inside, name) && tokens.is(inside + 1, ")") && tokens.is(inside + 2, "=") {
                    let whole = self.type_of(&inner, inside + 3..statement_end(tokens, inside + 3, scope.at), depth + 1)?;
                    return type_name::type_arguments(strip(&whole)).first().map(|&first| first.to_owned());
                }
            }
        }
        let (_, range) = function.parameters.iter().find(|(parameter, _)| parameter == name)?;
        self.type_at(scope, range.clone(), depth + 1)
    }

    /// The type of an expression.
    pub fn type_of(&self, scope: &Scope<'_>, range: Range<usize>, depth: usize) -> Option<String> {
        let tokens = &self.files[scope.file].tokens;
        let (mut at, end) = (range.start, range.end);
        if at >= end || depth > DEEPEST {
            return None;
        }
        if let Some(cast) = top_level(tokens, at..end, "as") {
            return self.type_at(scope, cast + 1..end, depth + 1);
        }
        match tokens.text(at) {
            "&" => {
                let is_mut = tokens.is(at + 1, "mut");
                let inside = self.type_of(scope, at + 1 + usize::from(is_mut)..end, depth + 1)?;
                return Some(format!("&{}{inside}", if is_mut { "mut " } else { "" }));
            }
            "*" => {
                let inside = self.type_of(scope, at + 1..end, depth + 1)?;
                return pointee(&inside).map(str::to_owned);
            }
            "unsafe" | "move" => at += 1,
            _ => {}
        }
        let mut current: String;
        match tokens.text(at) {
            open @ ("(" | "[" | "{") if tokens.list[at].kind == Kind::Punct => {
                let close = tokens.partner[at];
                if close <= at || close >= end {
                    return None;
                }
                let inside = at + 1..close;
                current = match open {
                    "{" => {
                        let last =
                            (inside.start..inside.end).rev().find(|&sign| tokens.is(sign, ";") && tokens.enclosing(sign, at) == Some(at));
                        self.type_of(scope, last.map_or(inside.start, |last| last + 1)..inside.end, depth + 1)?
                    }
                    "[" => {
                        let semicolon = top_level(tokens, inside.clone(), ";");
                        let parts = list(tokens, inside.start..semicolon.unwrap_or(inside.end));
                        let element = self.type_of(scope, parts.first()?.clone(), depth + 1)?;
                        match semicolon {
                            Some(semicolon) => format!("[{element}; {}]", tokens.joined(semicolon + 1..inside.end)),
                            None => format!("[{element}; {}]", parts.len()),
                        }
                    }
                    _ => {
                        let parts = list(tokens, inside.clone());
                        let comma = tokens.is(close - 1, ",");
                        let types: Option<Vec<String>> = parts.into_iter().map(|part| self.type_of(scope, part, depth + 1)).collect();
                        match types?.as_slice() {
                            [one] if !comma => one.clone(),
                            many => format!("({})", many.join(", ")),
                        }
                    }
                };
                at = close + 1;
            }
            text if tokens.list[at].kind == Kind::Literal => {
                current = if text.starts_with(['"', 'r']) { "&str".to_owned() } else { return None };
                at += 1;
            }
            text if tokens.list[at].kind == Kind::Number => {
                let suffix =
                    ["u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "f32", "f64"].into_iter().find(|s| text.ends_with(s));
                current = suffix?.to_owned();
                at += 1;
            }
            _ if tokens.is_word(at) => (current, at) = self.primary(scope, at, end, depth)?,
            _ => return None,
        }
        // What follows: fields, methods, `?`.
        while at < end {
            if tokens.is(at, "?") {
                current = unwrapped(&current)?;
                at += 1;
            } else if tokens.is(at, ".") {
                let name = tokens.text(at + 1);
                let mut next = at + 2;
                if tokens.is_path_sign(next) {
                    next = tokens.behind_angle(next + 2);
                }
                if name == "await" {
                    at += 2;
                } else if tokens.is(next, "(") && tokens.partner[next] > next {
                    current = self.method(scope, &current, name)?;
                    at = tokens.partner[next] + 1;
                } else {
                    current = self.field(&current, name)?;
                    at += 2;
                }
            } else if tokens.is(at, "[") && tokens.partner[at] > at {
                let inner = strip(&current).to_owned();
                let element = type_name::slice_element(&inner).or_else(|| type_name::type_arguments(&inner).first().copied())?;
                current = element.to_owned();
                at = tokens.partner[at] + 1;
            } else {
                return None; // an operator
            }
        }
        Some(current)
    }

    /// A variable, a call, a struct literal, a macro: its type and where it ends.
    fn primary(&self, scope: &Scope<'_>, start: usize, end: usize, depth: usize) -> Option<(String, usize)> {
        let tokens = &self.files[scope.file].tokens;
        let mut at = start;
        let mut segments: Vec<&str> = Vec::new();
        let mut arguments: Vec<Vec<Range<usize>>> = Vec::new();
        while at < end {
            if tokens.is_path_sign(at) {
                at += 2;
            } else if tokens.is(at, "<") && at > start && tokens.is_path_sign(at - 2) {
                let close = tokens.behind_angle(at);
                if close <= at + 1 {
                    return None;
                }
                *arguments.last_mut()? = list(tokens, at + 1..close - 1);
                at = close;
            } else if tokens.is_word(at) && (at == start || tokens.is_path_sign(at - 2)) {
                segments.push(tokens.text(at));
                arguments.push(Vec::new());
                at += 1;
            } else {
                break;
            }
        }
        let &last = segments.last()?;
        let is_type = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase());
        if tokens.is(at, "!") && tokens.partner.get(at + 1).is_some_and(|&close| close > at + 1) {
            let (inside, close) = (at + 2..tokens.partner[at + 1], tokens.partner[at + 1]);
            let ty = match last {
                "format" => "alloc::string::String".to_owned(),
                "vec" => {
                    let semicolon = top_level(tokens, inside.clone(), ";").unwrap_or(inside.end);
                    let first = list(tokens, inside.start..semicolon).into_iter().next()?;
                    let element = self.type_of(scope, first, depth + 1);
                    format!("alloc::vec::Vec<{}>", element.as_deref().unwrap_or("_"))
                }
                _ => return None,
            };
            return Some((ty, close + 1));
        }
        if tokens.is(at, "(") && at < end {
            let close = tokens.partner[at];
            if close <= at {
                return None;
            }
            let inside = list(tokens, at + 1..close);
            let turbofish = |index: usize| -> Vec<Option<String>> {
                arguments[index].iter().map(|part| self.type_at(scope, part.clone(), depth + 1)).collect()
            };
            return Some((self.call(scope, &segments, &turbofish, &inside, depth)?, close + 1));
        }
        if tokens.is(at, "{") && is_type(last) && tokens.partner[at] > at {
            return Some((self.named(scope, &segments, &[], depth)?, tokens.partner[at] + 1));
        }
        if segments.len() == 1 {
            return Some((self.variable(scope, last, depth)?, at));
        }
        // `Enum::Variant` without content.
        let front = &segments[..segments.len() - 1];
        is_type(last).then(|| self.named(scope, front, &[], depth)).flatten().map(|ty| (ty, at))
    }

    fn call(
        &self,
        scope: &Scope<'_>,
        segments: &[&str],
        turbofish: &dyn Fn(usize) -> Vec<Option<String>>,
        inside: &[Range<usize>],
        depth: usize,
    ) -> Option<String> {
        let (&name, front) = segments.split_last()?;
        let argument = || self.type_of(scope, inside.first()?.clone(), depth + 1);
        let Some(&owner) = front.last() else {
            match name {
                "Some" => return Some(format!("core::option::Option<{}>", argument()?)),
                "Ok" => return Some(format!("core::result::Result<{}, _>", argument()?)),
                _ => {}
            }
            if let Some((file, function)) = self.function(scope.file, name, None) {
                return self.returned(file, function, None);
            }
            if let Some(found) = self.path(scope.file, segments).and_then(|path| self.passed_on(scope, &path, inside, depth)) {
                return Some(found);
            }
            // A tuple struct.
            return self
                .files
                .iter()
                .any(|file| file.items.types.iter().any(|ty| ty.name == name))
                .then(|| self.named(scope, segments, &[], depth))?;
        };
        if !owner.starts_with(|c: char| c.is_ascii_uppercase()) {
            let path = self.path(scope.file, segments)?;
            return self.passed_on(scope, &path, inside, depth).or_else(|| {
                let (file, function) = self.function(scope.file, name, None)?;
                self.returned(file, function, None)
            });
        }
        let given = turbofish(front.len() - 1);
        let own = self.named(scope, front, &given, depth)?;
        let base = type_name::base(&own);
        match (base, name) {
            (
                "alloc::boxed::Box"
                | "alloc::rc::Rc"
                | "alloc::sync::Arc"
                | "core::mem::manually_drop::ManuallyDrop"
                | "core::cell::Cell"
                | "core::cell::RefCell"
                | "core::cell::UnsafeCell"
                | "std::sync::poison::mutex::Mutex"
                | "std::sync::poison::rwlock::RwLock",
                "new",
            ) => Some(format!("{base}<{}>", argument().as_deref().unwrap_or("_"))),
            ("bumpalo::boxed::Box", "new_in") => Some(format!("{base}<{}>", argument().as_deref().unwrap_or("_"))),
            ("alloc::boxed::Box", "into_raw" | "leak") => {
                let sign = if name == "leak" { "&mut" } else { "*mut" };
                Some(format!("{sign} {}", pointee(&argument()?)?))
            }
            ("alloc::rc::Rc" | "alloc::sync::Arc", "into_raw" | "as_ptr") => Some(format!("*const {}", pointee(&argument()?)?)),
            ("std::fs::File", "open" | "create" | "create_new")
            | ("std::net::tcp::TcpStream", "connect")
            | ("std::net::tcp::TcpListener" | "std::net::udp::UdpSocket", "bind") => Some(format!("core::result::Result<{base}, _>")),
            ("alloc::boxed::Box" | "alloc::rc::Rc" | "alloc::sync::Arc", "from_raw") => {
                Some(format!("{base}<{}>", pointee(&argument()?).unwrap_or("_")))
            }
            ("core::mem::manually_drop::ManuallyDrop", "into_inner" | "take") => {
                type_name::type_arguments(strip(&argument()?)).first().map(|&inner| inner.to_owned())
            }
            ("alloc::ffi::c_str::CString", "new") => Some("core::result::Result<alloc::ffi::c_str::CString, _>".to_owned()),
            ("alloc::vec::Vec", "new" | "with_capacity") => Some(if given.is_empty() { format!("{base}<_>") } else { own.clone() }),
            _ if library::holding(&own).is_some() && matches!(name, "new" | "with_capacity" | "from" | "default") && !own.contains('<') => {
                Some(own)
            }
            _ => {
                if let Some((file, function)) = self.function(scope.file, name, Some(&own)) {
                    return self.returned(file, function, Some(&own));
                }
                // `Enum::Variant(…)`
                name.starts_with(|c: char| c.is_ascii_uppercase()).then_some(own)
            }
        }
    }

    /// Functions of the standard library that give back what they are given, or what it points to.
    fn passed_on(&self, scope: &Scope<'_>, path: &[String], inside: &[Range<usize>], depth: usize) -> Option<String> {
        let argument = || self.type_of(scope, inside.first()?.clone(), depth + 1);
        if !matches!(path.first()?.as_str(), "std" | "core" | "alloc") {
            return None;
        }
        match (path.get(path.len().checked_sub(2)?)?.as_str(), path.last()?.as_str()) {
            ("mem", "take" | "replace") => Some(strip(&argument()?).to_owned()),
            ("hint", "black_box") | ("convert", "identity") => argument(),
            _ => None,
        }
    }

    fn method(&self, scope: &Scope<'_>, receiver: &str, name: &str) -> Option<String> {
        let plain = strip(receiver);
        let arguments = type_name::type_arguments(plain);
        let first = || arguments.first().map(|&first| first.to_owned());
        let base = type_name::base(plain);
        match name {
            "clone" | "split_off" | "take" if name != "take" || base == "core::option::Option" => Some(plain.to_owned()),
            "to_owned" if plain == "str" => Some("alloc::string::String".to_owned()),
            "to_owned" => Some(plain.to_owned()),
            "to_string" | "into_string" | "repeat" => Some("alloc::string::String".to_owned()),
            "unwrap" | "expect" | "unwrap_or_default" | "unwrap_or" | "unwrap_or_else" | "unwrap_unchecked" => unwrapped(plain),
            "into_boxed_slice" => Some(format!("alloc::boxed::Box<[{}]>", first()?)),
            "into_boxed_str" => Some("alloc::boxed::Box<str>".to_owned()),
            "to_vec" | "into_vec" => {
                let slice = pointee(plain).unwrap_or(plain);
                Some(format!("alloc::vec::Vec<{}>", type_name::slice_element(slice).or(arguments.first().copied())?))
            }
            "into_bytes" if base == "alloc::string::String" => Some("alloc::vec::Vec<u8>".to_owned()),
            "pop" | "pop_front" | "pop_back" if library::holding(plain).is_some() => Some(format!("core::option::Option<{}>", first()?)),
            "into_inner" if matches!(base, "core::cell::RefCell" | "core::cell::Cell" | "core::cell::UnsafeCell") => first(),
            _ => {
                let owner = if library::is_standard(plain) { pointee(plain).unwrap_or(plain) } else { plain };
                let (file, function) = self.function(scope.file, name, Some(owner))?;
                self.returned(file, function, Some(owner))
            }
        }
    }

    /// Whether losing a value of this type loses heap memory.
    pub fn owns(&self, name: &str) -> Owns {
        self.owns_at(name, 0)
    }

    fn owns_at(&self, name: &str, depth: usize) -> Owns {
        if library::is_plain(name) || library::resource(name).is_some() {
            return Owns::No;
        }
        if name == "_" || depth > DEEPEST {
            return Owns::Maybe("its type is told neither by the debug info nor by the source".to_owned());
        }
        let described = self.graph.find(name).and_then(|node| self.graph.type_id(node));
        if described.is_some_and(|id| self.graph.facts.types.kind(id) != crate::binary::types::TypeKind::Unknown) {
            return self.graph.owns(name);
        }
        use library::Holding;
        let parts: Vec<(String, String)> = match library::holding(name) {
            Some((Holding::Boxed | Holding::Counted | Holding::Weak | Holding::Elements | Holding::Block, _)) => {
                return Owns::Yes(Via { fields: Vec::new(), owner: name.to_owned() });
            }
            Some((Holding::Nothing, _)) => return Owns::No,
            Some((Holding::Inline | Holding::ArenaElements, held)) => {
                held.into_iter().map(|held| (String::new(), held.to_owned())).collect()
            }
            None => {
                if let Some(elements) = type_name::tuple(name) {
                    elements.iter().enumerate().map(|(position, element)| (position.to_string(), (*element).to_owned())).collect()
                } else if let Some(element) = type_name::slice_element(name) {
                    vec![(String::new(), element.to_owned())]
                } else if let Some((file, declared)) = self.declaration(name) {
                    let arguments = type_name::type_arguments(name).into_iter().map(str::to_owned);
                    let scope = Scope { file, generics: declared.generics.iter().cloned().zip(arguments).collect(), ..Scope::default() };
                    let field = |(label, range): &(String, Range<usize>)| {
                        (label.clone(), self.type_at(&scope, range.clone(), 0).unwrap_or_else(|| "_".to_owned()))
                    };
                    declared.fields.iter().map(field).collect()
                } else {
                    return self.graph.owns(name);
                }
            }
        };
        let mut unsure = None;
        for (label, part) in parts {
            match self.owns_at(&part, depth + 1) {
                Owns::Yes(mut via) => {
                    if !label.is_empty() {
                        via.fields.insert(0, label);
                    }
                    return Owns::Yes(via);
                }
                Owns::Maybe(reason) => unsure = unsure.or(Some(reason)),
                Owns::No => {}
            }
        }
        // The machine code of its glue settles what the source leaves open.
        match (unsure, self.graph.facts.glue.frees(name)) {
            (_, Some(true)) => Owns::Yes(Via { fields: Vec::new(), owner: name.to_owned() }),
            (Some(reason), None) => Owns::Maybe(reason),
            _ => Owns::No,
        }
    }
}

/// Without references in front.
pub fn strip(name: &str) -> &str {
    let mut name = name;
    while let Some(rest) = name.strip_prefix("&mut ").or_else(|| name.strip_prefix('&')) {
        name = rest;
    }
    name
}

/// What a reference, raw pointer, box or count points to.
pub fn pointee(name: &str) -> Option<&str> {
    if let Some((_, inner)) = type_name::split_pointer(name) {
        return Some(inner);
    }
    let points = matches!(
        type_name::base(name),
        "alloc::boxed::Box"
            | "alloc::rc::Rc"
            | "alloc::sync::Arc"
            | "core::mem::manually_drop::ManuallyDrop"
            | "core::pin::Pin"
            | "core::ptr::non_null::NonNull"
    );
    points.then(|| type_name::type_arguments(name).first().copied()).flatten()
}

fn unwrapped(name: &str) -> Option<String> {
    let base = type_name::base(strip(name));
    matches!(base, "core::option::Option" | "core::result::Result")
        .then(|| type_name::type_arguments(strip(name)).first().map(|&first| first.to_owned()))
        .flatten()
}

/// The last place of a word or sign outside brackets.
pub fn top_level(tokens: &Tokens<'_>, range: Range<usize>, text: &str) -> Option<usize> {
    let mut found = None;
    let mut at = range.start;
    while at < range.end {
        match tokens.text(at) {
            "(" | "[" | "{" if tokens.partner[at] > at => at = tokens.partner[at],
            _ if tokens.is(at, text) => found = Some(at),
            _ => {}
        }
        at += 1;
    }
    found
}

/// Where the expression of a `let` that starts at `start` ends: the semicolon, the `else` or the brace of an `if let`.
pub fn statement_end(tokens: &Tokens<'_>, start: usize, limit: usize) -> usize {
    let mut at = start;
    while at < tokens.len() && at <= limit.max(start) + 4096 {
        match tokens.text(at) {
            ";" | "else" | "}" | ")" | "]" => return at,
            "{" if at > start && !tokens.is(at - 1, "unsafe") && !struct_literal(tokens, at) => return at,
            "(" | "[" | "{" if tokens.partner[at] > at => at = tokens.partner[at],
            _ => {}
        }
        at += 1;
    }
    at.min(tokens.len())
}

/// Whether a brace opens a struct literal rather than a block: `Name {` behind a sign that starts an expression.
fn struct_literal(tokens: &Tokens<'_>, brace: usize) -> bool {
    tokens.is_word(brace - 1) && tokens.text(brace - 1).starts_with(|c: char| c.is_ascii_uppercase())
}
