//! What a source file declares: functions with their lines and parameters, types with their fields, names taken in by `use`.

use super::tokens::Tokens;
use std::ops::Range;

/// A function of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The type of the `impl` around it, as tokens.
    pub self_type: Option<Range<usize>>,
    /// Names of its type parameters and of those of the `impl` around it.
    pub generics: Vec<String>,
    /// Parameters: (name, type as tokens). `self` is among them where it is taken by value.
    pub parameters: Vec<(String, Range<usize>)>,
    /// What it returns, as tokens; `None` for nothing.
    pub returns: Option<Range<usize>>,
    /// It is an `async fn`: its code is a closure of its name.
    pub asynchronous: bool,
    /// First line of its head, without attributes.
    pub first_line: u32,
    /// Line of the opening brace.
    pub head_line: u32,
    /// Line of the closing brace.
    pub last_line: u32,
    /// The tokens between the braces.
    pub body: Range<usize>,
}

/// A type of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Its name.
    pub name: String,
    /// Names of its type parameters.
    pub generics: Vec<String>,
    /// Fields of a struct, or of all variants of an enum: (name or position, type as tokens).
    pub fields: Vec<(String, Range<usize>)>,
    /// It has a `Drop` implementation in this file.
    pub drops: bool,
}

/// What a file declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// Functions in order, outer ones before inner ones.
    pub functions: Vec<Function>,
    /// Structs and enums.
    pub types: Vec<Type>,
    /// What `use` makes known: (name, full path).
    pub uses: Vec<(String, Vec<String>)>,
    /// Paths of glob imports.
    pub globs: Vec<Vec<String>>,
    /// Other names of types: (name, type as tokens).
    pub aliases: Vec<(String, Range<usize>)>,
}

/// An `impl` around functions.
struct Implementation {
    /// Token that closes it.
    end: usize,
    self_type: Option<Range<usize>>,
    generics: Vec<String>,
    drop: bool,
}

impl Items {
    /// Reads the declarations of a file.
    pub fn read(tokens: &Tokens<'_>) -> Self {
        let mut items = Items::default();
        let mut drops: Vec<String> = Vec::new();
        let mut impls: Vec<Implementation> = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            while impls.last().is_some_and(|around| at >= around.end) {
                impls.pop();
            }
            // Fields, methods and variables may have these names: only words that begin an item count.
            let starts_item = at == 0 || !matches!(tokens.text(at - 1), "." | ":" | "'");
            match tokens.text(at) {
                "fn" if tokens.is_word(at) && tokens.is_word(at + 1) && starts_item => {
                    at = items.function(tokens, at, impls.last());
                    continue;
                }
                "impl" if tokens.is_word(at) && starts_item => {
                    if let Some(around) = implementation(tokens, at) {
                        if let Some(name) = around.self_type.as_ref().filter(|_| around.drop) {
                            drops.push(last_name(tokens, name));
                        }
                        impls.push(around);
                    }
                }
                "struct" | "enum" | "union" if tokens.is_word(at + 1) && starts_item => items.declared_type(tokens, at),
                "type" if tokens.is_word(at + 1) && starts_item => {
                    if let Some(sign) = (at + 2..(at + 200).min(tokens.len())).find(|&sign| tokens.is(sign, "=") || tokens.is(sign, ";"))
                        && tokens.is(sign, "=")
                    {
                        let end = (sign..tokens.len()).find(|&end| tokens.is(end, ";")).unwrap_or(sign);
                        items.aliases.push((tokens.text(at + 1).to_owned(), sign + 1..end));
                    }
                }
                "use" if starts_item => items.used(tokens, at + 1),
                _ => {}
            }
            at += 1;
        }
        for declared in &mut items.types {
            declared.drops = drops.contains(&declared.name);
        }
        items
    }

    /// The innermost function whose body holds a token.
    pub fn function_at(&self, index: usize) -> Option<usize> {
        let inside = (0..).zip(&self.functions).filter(|(_, function)| function.body.contains(&index));
        inside.min_by_key(|(_, function)| function.body.len()).map(|(at, _)| at)
    }

    /// Reads the function whose `fn` stands at `at`; returns where to go on.
    fn function(&mut self, tokens: &Tokens<'_>, at: usize, around: Option<&Implementation>) -> usize {
        let mut generics = around.map(|around| around.generics.clone()).unwrap_or_default();
        let mut next = at + 2;
        if tokens.is(next, "<") {
            let end = tokens.behind_angle(next);
            generics.extend(type_parameters(tokens, next, end));
            next = end.max(next + 1);
        }
        if !tokens.is(next, "(") || tokens.partner[next] <= next {
            return at + 2;
        }
        let close = tokens.partner[next];
        let self_type = around.and_then(|around| around.self_type.clone());
        let parameters = parameters(tokens, next + 1..close, self_type.as_ref());
        // Up to the body, or to the semicolon of a declaration.
        let mut end = close + 1;
        while end < tokens.len() && !matches!(tokens.text(end), "{" | ";") {
            end = if matches!(tokens.text(end), "(" | "[") && tokens.partner[end] > end { tokens.partner[end] + 1 } else { end + 1 };
        }
        if !tokens.is(end, "{") || tokens.partner[end] <= end {
            return close + 1;
        }
        let arrow = close + 1;
        let returns = (tokens.is(arrow, "-") && tokens.is(arrow + 1, ">")).then(|| {
            let stop = (arrow + 2..end).find(|&stop| tokens.is(stop, "where")).unwrap_or(end);
            arrow + 2..stop
        });
        let mut first = at;
        while first > 0
            && (matches!(tokens.text(first - 1), "pub" | "const" | "async" | "unsafe" | "extern" | "default")
                || tokens.list[first - 1].kind == super::tokens::Kind::Literal
                || tokens.is(first - 1, ")") && first > 1 && is_visibility(tokens, first - 1))
        {
            first = if tokens.is(first - 1, ")") { tokens.partner[first - 1] } else { first - 1 };
        }
        self.functions.push(Function {
            name: tokens.text(at + 1).to_owned(),
            self_type,
            generics,
            parameters,
            returns,
            asynchronous: (first..at).any(|word| tokens.is(word, "async")),
            first_line: tokens.line(first),
            head_line: tokens.line(end),
            last_line: tokens.line(tokens.partner[end]),
            body: end + 1..tokens.partner[end],
        });
        end + 1 // functions inside it are read too
    }

    fn declared_type(&mut self, tokens: &Tokens<'_>, at: usize) {
        let name = tokens.text(at + 1).to_owned();
        let mut next = at + 2;
        let mut generics = Vec::new();
        if tokens.is(next, "<") {
            let end = tokens.behind_angle(next);
            generics = type_parameters(tokens, next, end);
            next = end.max(next + 1);
        }
        while next < tokens.len() && !matches!(tokens.text(next), "{" | "(" | ";") {
            next += 1;
        }
        let mut fields = Vec::new();
        if tokens.partner.get(next).is_some_and(|&close| close > next) {
            let inside = next + 1..tokens.partner[next];
            match (tokens.text(at), tokens.text(next)) {
                ("enum", _) => {
                    for variant in list(tokens, inside) {
                        let open = variant.clone().find(|&open| matches!(tokens.text(open), "{" | "(") && tokens.partner[open] > open);
                        if let Some(open) = open {
                            fields_of(tokens, open, &mut fields);
                        }
                    }
                }
                _ => fields_of(tokens, next, &mut fields),
            }
        }
        self.types.push(Type { name, generics, fields, drops: false });
    }

    fn used(&mut self, tokens: &Tokens<'_>, at: usize) {
        let end = (at..tokens.len().min(at + 2000)).find(|&end| tokens.is(end, ";")).unwrap_or(at);
        self.use_tree(tokens, at..end, &[], 0);
    }

    fn use_tree(&mut self, tokens: &Tokens<'_>, range: Range<usize>, front: &[String], depth: usize) {
        /// `use` trees within each other.
        const DEEPEST: usize = 16;
        let mut path: Vec<String> = front.to_vec();
        let mut at = range.start;
        while at < range.end && depth < DEEPEST {
            if tokens.is_path_sign(at) {
                at += 2;
                continue;
            }
            match tokens.text(at) {
                "{" if tokens.partner[at] > at => {
                    for part in list(tokens, at + 1..tokens.partner[at]) {
                        self.use_tree(tokens, part, &path, depth + 1);
                    }
                    return;
                }
                "*" => {
                    self.globs.push(path);
                    return;
                }
                "as" => {
                    self.uses.push((tokens.text(at + 1).to_owned(), path));
                    return;
                }
                "self" if !path.is_empty() => {}
                word if tokens.is_word(at) => path.push(word.to_owned()),
                _ => {}
            }
            at += 1;
        }
        if let Some(name) = path.last().cloned() {
            self.uses.push((name, path));
        }
    }
}

/// `pub(crate)`
fn is_visibility(tokens: &Tokens<'_>, close: usize) -> bool {
    let open = tokens.partner[close];
    open > 0 && open < close && tokens.is(open - 1, "pub")
}

/// Reads the head of the `impl` at `at`; `None` for `impl Trait` in a type.
fn implementation(tokens: &Tokens<'_>, at: usize) -> Option<Implementation> {
    let mut next = at + 1;
    let mut generics = Vec::new();
    if tokens.is(next, "<") {
        let end = tokens.behind_angle(next);
        generics = type_parameters(tokens, next, end);
        next = end.max(next + 1);
    }
    let start = next;
    let mut of = None;
    let mut stop = None;
    while next < tokens.len() {
        match tokens.text(next) {
            "for" if !tokens.is(next + 1, "<") => of = Some(next),
            "where" => stop = stop.or(Some(next)),
            "{" | ";" | ")" | "," => break,
            "<" => {
                next = tokens.behind_angle(next).max(next + 1);
                continue;
            }
            "(" | "[" if tokens.partner[next] > next => next = tokens.partner[next],
            _ => {}
        }
        next += 1;
    }
    if !tokens.is(next, "{") || tokens.partner[next] <= next {
        return None;
    }
    let drop = of.is_some_and(|of| of > start && tokens.is(of - 1, "Drop"));
    let self_type = of.map_or(start, |of| of + 1)..stop.unwrap_or(next);
    Some(Implementation { end: tokens.partner[next], self_type: (!self_type.is_empty()).then_some(self_type), generics, drop })
}

fn last_name(tokens: &Tokens<'_>, range: &Range<usize>) -> String {
    let stop = range.clone().find(|&at| tokens.is(at, "<")).unwrap_or(range.end);
    range
        .clone()
        .take_while(|&at| at < stop)
        .filter(|&at| tokens.is_word(at))
        .map(|at| tokens.text(at).to_owned())
        .last()
        .unwrap_or_default()
}

/// Names of the type parameters between `<` and `>`.
fn type_parameters(tokens: &Tokens<'_>, open: usize, end: usize) -> Vec<String> {
    if end <= open + 1 {
        return Vec::new();
    }
    list(tokens, open + 1..end - 1)
        .into_iter()
        .filter(|part| tokens.is_word(part.start) && !tokens.is(part.start, "const"))
        .map(|part| tokens.text(part.start).to_owned())
        .collect()
}

/// The parts of a list between commas outside brackets.
pub fn list(tokens: &Tokens<'_>, range: Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = range.start;
    let mut at = range.start;
    while at < range.end {
        match tokens.text(at) {
            "(" | "[" | "{" if tokens.partner[at] > at => at = tokens.partner[at],
            // Only where it is a list of arguments: `a < b` has no end.
            "<" => at = tokens.behind_angle(at).saturating_sub(1).clamp(at, range.end.saturating_sub(1)),
            "," => {
                parts.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    if start < range.end {
        parts.push(start..range.end);
    }
    parts
}

fn parameters(tokens: &Tokens<'_>, range: Range<usize>, self_type: Option<&Range<usize>>) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    for part in list(tokens, range) {
        let start = part.clone().find(|&at| !tokens.is(at, "mut")).unwrap_or(part.start);
        if tokens.is(start, "self") && !tokens.is(start + 1, ":") {
            found.extend(self_type.map(|own| ("self".to_owned(), own.clone())));
            continue;
        }
        if let Some(colon) = part.clone().find(|&at| tokens.is(at, ":") && !tokens.is_path_sign(at))
            && tokens.is_word(colon - 1)
            && colon - start <= 1
        {
            found.push((tokens.text(colon - 1).to_owned(), colon + 1..part.end));
        }
    }
    found
}

/// Fields between braces, or positions between parentheses.
fn fields_of(tokens: &Tokens<'_>, open: usize, fields: &mut Vec<(String, Range<usize>)>) {
    let named = tokens.is(open, "{");
    for (position, part) in list(tokens, open + 1..tokens.partner[open]).into_iter().enumerate() {
        let mut at = part.start;
        loop {
            if tokens.is(at, "#") && tokens.partner.get(at + 1).is_some_and(|&close| close > at + 1) {
                at = tokens.partner[at + 1] + 1;
            } else if tokens.is(at, "pub") {
                at += 1;
                if tokens.is(at, "(") && tokens.partner[at] > at && !tokens.is(at + 1, "(") && named {
                    at = tokens.partner[at] + 1;
                }
            } else {
                break;
            }
        }
        if !named {
            fields.push((position.to_string(), at..part.end));
        } else if tokens.is_word(at) && tokens.is(at + 1, ":") {
            fields.push((tokens.text(at).to_owned(), at + 2..part.end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
use std::mem::{self, ManuallyDrop as Kept, forget};
use std::rc::Rc;
use bumpalo::collections::*;
type Parts = (u8, Vec<u8>);
pub struct Body<T> { #[x(y)] pub data: Vec<u8>, pub(crate) kind: Map<u8, T> }
enum Op { Nop, Ins(Box<[u8; 64]>), At { x: String } }
struct Pair(pub u8, String);
impl<T: Clone> Drop for Body<T> { fn drop(&mut self) {} }
impl<'a, T> Body<T>
where T: Copy {
    #[inline]
    pub(crate) fn take(self, n: usize,
        mut other: Vec<(u8, T)>) -> Result<Vec<u8>, Error>
    {
        fn inner(x: &str) -> u8 { 0 }
        let f = |y: u8| inner(\"}\");
    }
}
fn free<F: Fn(u8) -> Vec<u8>>(f: F, (a, b): (u8, u8)) {}
";

    #[test]
    fn declarations() {
        let tokens = Tokens::new(TEXT);
        let items = Items::read(&tokens);
        let names: Vec<&str> = items.functions.iter().map(|function| function.name.as_str()).collect();
        assert_eq!(names, ["drop", "take", "inner", "free"]);
        let take = &items.functions[1];
        assert_eq!((take.first_line, take.head_line, take.last_line), (13, 15, 18));
        let shown: Vec<(&str, String)> = take.parameters.iter().map(|(name, ty)| (name.as_str(), tokens.joined(ty.clone()))).collect();
        assert_eq!(shown, [("self", "Body<T>".to_owned()), ("n", "usize".to_owned()), ("other", "Vec<(u8,T)>".to_owned())]);
        assert_eq!(take.returns.clone().map(|range| tokens.joined(range)).as_deref(), Some("Result<Vec<u8>,Error>"));
        assert_eq!(take.generics, ["T"]);
        assert_eq!(items.functions[3].parameters.len(), 1);
        assert_eq!(items.functions[3].generics, ["F"]);
        assert!(items.types[0].drops && !items.types[1].drops);
        let fields: Vec<Vec<&str>> = items.types.iter().map(|ty| ty.fields.iter().map(|(name, _)| name.as_str()).collect()).collect();
        assert_eq!(fields, [vec!["data", "kind"], vec!["0", "x"], vec!["0", "1"]]);
        let path = |name: &str| items.uses.iter().find(|(used, _)| used == name).map(|(_, path)| path.join("::"));
        assert_eq!(path("Kept").as_deref(), Some("std::mem::ManuallyDrop"));
        assert_eq!(path("mem").as_deref(), Some("std::mem"));
        assert_eq!(path("forget").as_deref(), Some("std::mem::forget"));
        assert_eq!(items.globs, [vec!["bumpalo".to_owned(), "collections".to_owned()]]);
        let inner = items.functions[2].body.start;
        assert_eq!(items.function_at(inner), Some(2));
    }

    proptest::proptest! {
        #[test]
        fn any_text_reads(text in "(fn |impl |struct |enum |use |type |[a-z<>(){}:;,&'\" =-]){0,60}") {
            Items::read(&Tokens::new(&text));
        }
    }
}
