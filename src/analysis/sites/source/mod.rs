//! Tier 3: the source text, for what optimised code leaves no trace of: `forget`, `leak`, `into_raw`, `ManuallyDrop::new`.
//!
//! Two steps, because the binary is read in between: [`lines_of_interest`] tells in which functions of a file such calls stand,
//! so that the reader of the debug information loads the variables of those; `find` then judges each call. Text that is not
//! compiled into the binary (tests, other platforms, generic functions that nobody uses) has no entry there and is no site.
//!
//! A call is harmless when it runs once, when what it took was moved out before, or when the value is taken back: on every way
//! out of the same function, or, where the pointer goes elsewhere, by another function. A way out that neither takes it back
//! nor hands it on loses it, whatever other ways do.

mod items;
mod tokens;
mod typing;
mod ways;

use super::frames::{Standing, function_name, standing};
use super::{LineOf, Site};
use crate::analysis::ownership::Graph;
use crate::analysis::ownership::rule::{Owns, Via};
use crate::binary::catalogue::{self, SiteKind, Skip};
use crate::binary::facts::{Declared, Level};
use crate::binary::type_name;
use crate::binary::types::TypeTable;
use items::{Function, Items, list};
use std::ops::Range;
use tokens::{Kind, Tokens};
use typing::{Scope, Sources, pointee, strip};
use ways::{Fate, fate};

/// The text of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Index into the debug information's files ([`crate::binary::types::TypeTable::files`]).
    pub file: u32,
    /// Its content.
    pub text: String,
}

/// First and last lines of the functions of a source file that call something of the catalogue.
pub fn lines_of_interest(text: &str) -> Vec<(u32, u32)> {
    let tokens = Tokens::new(text);
    let items = Items::read(&tokens);
    let mut found: Vec<(u32, u32)> = Vec::new();
    for at in 0..tokens.len() {
        if is_call(&tokens, at)
            && let Some(function) = items.function_at(at)
        {
            let function = &items.functions[function];
            found.push((function.first_line, function.last_line));
        }
    }
    // The names of the file's module and of what its functions return come from the others.
    found.extend(items.functions.iter().find(|function| function.self_type.is_none()).map(|free| (free.first_line, free.head_line)));
    found.dedup();
    found
}

/// How many functions of a text stand on the lines that the debug information gives them, and how many do not: whether it is
/// what the binary was built from. Functions that macros made are left out: their line is the macro's.
pub fn standing_functions(types: &TypeTable, file: u32, text: &str) -> (usize, usize) {
    let tokens = Tokens::new(text);
    let items = Items::read(&tokens);
    let (mut right, mut wrong) = (0usize, 0usize);
    for function in types.functions.iter().filter(|function| function.file == Some(file) && function.path != 0) {
        let name = type_name::base(types.split(function.path).1);
        if name.starts_with('{') {
            continue;
        }
        let mut named = items.functions.iter().filter(|item| item.name == name).peekable();
        if named.peek().is_some() {
            let here = named.any(|item| (item.first_line..=item.head_line).contains(&function.line));
            right += usize::from(here);
            wrong += usize::from(!here);
        }
    }
    (right, wrong)
}

/// A word of the catalogue with something in parentheses behind it.
fn is_call(tokens: &Tokens<'_>, at: usize) -> bool {
    tokens.is_word(at)
        && !tokens.is(at.wrapping_sub(1), "fn")
        && arguments(tokens, at).is_some()
        && (catalogue::may_be_listed(tokens.text(at)) || tokens.is(at, "into_raw_parts"))
}

/// The parentheses behind a name, with or without type arguments in between.
fn arguments(tokens: &Tokens<'_>, name: usize) -> Option<Range<usize>> {
    let mut at = name + 1;
    if tokens.is_path_sign(at) && tokens.is(at + 2, "<") {
        at = tokens.behind_angle(at + 2);
    }
    (tokens.is(at, "(") && tokens.partner[at] > at).then(|| at + 1..tokens.partner[at])
}

/// A call in a source file.
#[derive(Clone, Debug)]
struct Call {
    /// Token of the name.
    at: usize,
    /// Path in front of the name, as written; empty for methods.
    path: Vec<usize>,
    /// The receiver of a method.
    receiver: Option<Range<usize>>,
    /// The arguments.
    arguments: Range<usize>,
}

fn call_at(tokens: &Tokens<'_>, at: usize) -> Option<Call> {
    let arguments = arguments(tokens, at)?;
    if tokens.is(at.wrapping_sub(1), ".") {
        return Some(Call { at, path: Vec::new(), receiver: Some(receiver(tokens, at - 1)..at - 1), arguments });
    }
    let mut path = Vec::new();
    let mut front = at;
    while front >= 2 && tokens.is_path_sign(front - 2) {
        let mut segment = front - 3;
        if tokens.is(segment, ">") {
            // `Box::<T>::leak`: back over the type arguments.
            let mut depth = 0usize;
            loop {
                match tokens.text(segment) {
                    ">" => depth += 1,
                    "<" => depth -= 1,
                    _ => {}
                }
                if depth == 0 || segment == 0 {
                    break;
                }
                segment -= 1;
            }
            if segment >= 2 && tokens.is_path_sign(segment - 2) {
                segment -= 2;
            }
            segment = segment.checked_sub(1)?;
        }
        if !tokens.is_word(segment) {
            break;
        }
        path.insert(0, segment);
        front = segment;
    }
    Some(Call { at, path, receiver: None, arguments })
}

/// Where the expression in front of a method's dot starts.
fn receiver(tokens: &Tokens<'_>, dot: usize) -> usize {
    let mut at = dot;
    while at > 0 {
        let before = at - 1;
        match tokens.text(before) {
            // The end of a statement: `for … { … } v.leak()`, `if (…) v.leak()`.
            ")" | "]" | "}" if at < dot && matches!(tokens.list[at].kind, Kind::Word | Kind::Number | Kind::Literal) => break,
            ")" | "]" | "}" if tokens.partner[before] < before => {
                // A block in front is a statement of its own unless something is called on it.
                at = tokens.partner[before];
                if tokens.is(before, "}") && (at == 0 || !tokens.is_word(at - 1)) {
                    break;
                }
            }
            "." | "?" | "!" => at = before,
            ">" if tokens.is(before.wrapping_sub(1), "-") => break,
            ">" => {
                let open = (0..before).rev().take(256).find(|&open| tokens.is(open, "<") && tokens.behind_angle(open) == before + 1);
                match open {
                    Some(open) => at = open,
                    None => break,
                }
            }
            ":" if before > 0 && tokens.is_path_sign(before - 1) => at = before - 1,
            "return" | "let" | "in" | "match" | "if" | "while" | "else" | "move" | "mut" | "as" | "break" => break,
            _ if matches!(tokens.list[before].kind, Kind::Word | Kind::Number | Kind::Literal) => {
                // Two words side by side do not belong together.
                if at < dot && matches!(tokens.list[at].kind, Kind::Word | Kind::Number | Kind::Literal) {
                    break;
                }
                at = before;
            }
            _ => break,
        }
    }
    at
}

/// Judges every call of the catalogue in the sources.
pub(super) fn find(graph: &Graph<'_>, standings: &[Standing], texts: &[SourceText], found: &mut Vec<Site>) {
    let facts = graph.facts;
    if texts.is_empty() || !matches!(facts.level, Level::Types | Level::Lines) {
        return;
    }
    let sources = Sources::new(graph, texts);
    let taken: Vec<Taken> = (0..sources.files.len()).flat_map(|file| taken_in(&sources, file)).collect();
    // Of machines without a decoder no code was walked: there the text is all there is.
    let walks = facts.level == Level::Types && facts.functions.iter().any(|function| function.code.is_some());
    let mut new: Vec<(bool, Site)> = Vec::new();
    for (index, file) in sources.files.iter().enumerate() {
        for at in (0..file.tokens.len()).filter(|&at| is_call(&file.tokens, at)) {
            let Some(call) = call_at(&file.tokens, at) else { continue };
            let Some(function) = file.items.function_at(at).map(|function| &file.items.functions[function]) else { continue };
            for instance in instances(graph, file.file, function) {
                let in_variable = call.receiver.as_ref().is_some_and(|receiver| receiver.len() == 1);
                let sites = judge(&sources, standings, index, function, &instance, &call, &taken);
                new.extend(sites.into_iter().map(|site| (in_variable && walks && site.kind.is_arena(), site)));
            }
        }
    }
    // Without types in the debug information the sources' own declarations tell what a type owns.
    for site in found.iter_mut().filter(|site| matches!(site.owns, Owns::Maybe(_))) {
        let told = sources.owns(&site.type_name);
        if !matches!(told, Owns::Maybe(_)) {
            site.owns = told;
        }
    }
    for (is_judged, site) in new {
        add(found, site, is_judged);
    }
}

/// Adds a site that neither the calls nor the walk showed; of those that they did, the line is known now.
/// Of a container in a variable the walk of the machine code knows better (`is_judged`): what it did not find is dropped.
fn add(found: &mut Vec<Site>, site: Site, is_judged: bool) {
    let key = type_name::key(&site.type_name);
    let same = |other: &Site| other.kind == site.kind && other.function == site.function;
    if let Some(known) = found.iter_mut().find(|other| {
        same(other) && (other.line == site.line && (other.line_of == LineOf::Call || other.tier == 1) || site.type_name == "_")
    }) {
        // The text knows of what was moved out or comes back.
        if known.tier == 1 && known.line == site.line {
            known.cleared = known.cleared.take().or(site.cleared);
        }
        return;
    }
    // A container in an arena that is given away: the walk found the same, without its reason.
    let lost = catalogue::arena_elements(&site.type_name).and_then(|elements| elements.first().map(|element| type_name::key(element)));
    let gives_away = !matches!(site.kind, SiteKind::ManuallyDropField);
    let walked = |other: &&mut Site| {
        let other_key = type_name::key(&other.type_name);
        let is_it = other.kind == site.kind || other.kind == SiteKind::ArenaFreeze && gives_away;
        other.tier == 2
            && is_it
            && other.function == site.function
            && (other_key == key || lost.as_ref() == Some(&other_key))
            && (other.line_of != LineOf::Call || other.kind != site.kind)
    };
    match found.iter_mut().find(walked) {
        Some(known) => {
            if known.kind != site.kind && type_name::key(&known.type_name) != key {
                // The walk knows the elements; the call was given the whole.
                known.type_name = site.type_name;
                known.owns = site.owns;
            }
            known.kind = site.kind;
            known.line = site.line;
            known.line_of = LineOf::Call;
            known.cleared = known.cleared.take().or(site.cleared);
        }
        None if is_judged => {}
        None => found.push(site),
    }
}

/// One compiled instance of a source function.
struct Instance {
    name: u32,
    /// (name, type, line)
    locals: Vec<(String, String, u32)>,
    /// What its type parameters are.
    generics: Vec<(String, String)>,
}

fn instances(graph: &Graph<'_>, file: u32, function: &Function) -> Vec<Instance> {
    let facts = graph.facts;
    let inside = |declared: &&Declared| declared.file == file && (function.first_line..=function.last_line).contains(&declared.line);
    let all: Vec<&Declared> = facts.declared.iter().filter(inside).collect();
    let locals: Vec<(String, String, u32)> = all
        .iter()
        .flat_map(|declared| &declared.locals)
        .map(|local| (facts.texts.get(local.name).to_owned(), facts.types.name(local.type_id), local.line))
        .collect();
    let mut found: Vec<Instance> = Vec::new();
    for declared in all.iter().filter(|declared| declared.line <= function.head_line) {
        let name = &facts.names[declared.name as usize];
        // A closure on the first line of its function is no function of its own.
        if function_name(&name.path) != name.path && !function.asynchronous {
            continue;
        }
        let generics: Vec<(String, String)> = name
            .arguments
            .iter()
            .zip(function.generics.iter().map(Some).chain(std::iter::repeat(None)))
            .filter_map(|(argument, printed)| {
                let parameter = if argument.parameter.is_empty() { printed?.clone() } else { argument.parameter.clone() };
                Some((parameter, argument.name.clone()))
            })
            .collect();
        let known = found.iter().any(|other| facts.names[other.name as usize].path == name.path && other.generics == generics);
        if !known {
            // Variables of this instance first; those of closures and of what the compiler copied are the same for all.
            let mut own: Vec<(String, String, u32)> = declared
                .locals
                .iter()
                .map(|local| (facts.texts.get(local.name).to_owned(), facts.types.name(local.type_id), local.line))
                .collect();
            own.extend(
                locals
                    .iter()
                    .filter(|(name, _, line)| !own.iter().any(|(other, _, at)| other == name && at == line))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            found.push(Instance { name: declared.name, locals: own, generics });
        }
    }
    found
}

/// What a call skips: the entry of the catalogue and the type at stake; `None` for the type where nothing tells it.
fn meaning(sources: &Sources<'_, '_, '_>, scope: &Scope<'_>, call: &Call) -> Option<(&'static Skip, Option<String>)> {
    let file = &sources.files[scope.file];
    let tokens = &file.tokens;
    let name = tokens.text(call.at);
    if let Some(receiver) = call.receiver.clone() {
        // What a method does depends on its receiver.
        let ty = sources.type_of(scope, receiver, 0)?;
        let owner = type_name::base(strip(&ty)).to_owned();
        let is_method = !matches!(owner.as_str(), "alloc::boxed::Box" | "alloc::rc::Rc" | "alloc::sync::Arc" | "bumpalo::Bump");
        let skip = catalogue::skip_at(&format!("{owner}::{name}")).filter(|_| is_method)?;
        return Some((skip, at_stake(skip.kind, strip(&ty))));
    }
    let mut segments: Vec<&str> = call.path.iter().map(|&at| tokens.text(at)).collect();
    segments.push(name);
    let path = sources.path(scope.file, &segments)?;
    let path = path.join("::");
    let skip = match path.as_str() {
        "std::mem::forget" | "core::mem::forget" => catalogue::skip_at("core::mem::forget"),
        _ => {
            // The type in front, as far as it is written.
            let start = *call.path.first()?;
            let owner = sources.type_at(scope, start..call.at.checked_sub(2)?, 0)?;
            catalogue::skip_at(&format!("{}::{name}", type_name::base(&owner)))
        }
    }?;
    if skip.kind.is_arena() && skip.kind != SiteKind::BumpBoxLeak {
        return None; // these do real work, and the debug information has them
    }
    let argument = list(tokens, call.arguments.clone()).into_iter().next();
    let value = argument.and_then(|argument| sources.type_of(scope, argument, 0));
    let stake = value.as_deref().and_then(|value| at_stake(skip.kind, value)).or_else(|| from_result(sources, scope, call, skip.kind));
    Some((skip, stake))
}

/// The type at stake in losing a value of this type.
fn at_stake(kind: SiteKind, value: &str) -> Option<String> {
    let first = || type_name::type_arguments(value).first().filter(|&&first| first != "_").map(|&first| first.to_owned());
    match kind {
        SiteKind::Forget | SiteKind::ManuallyDrop => Some(value.to_owned()),
        SiteKind::StringLeak | SiteKind::CStringIntoRaw => Some(type_name::base(value).to_owned()),
        SiteKind::ArenaStr => Some("u8".to_owned()),
        _ => first(),
    }
}

/// `let r: &'static mut T = Box::leak(…)`: the variable that takes the result has the type.
fn from_result(sources: &Sources<'_, '_, '_>, scope: &Scope<'_>, call: &Call, kind: SiteKind) -> Option<String> {
    let tokens = &sources.files[scope.file].tokens;
    let name = result_variable(tokens, call, true)?;
    let behind = Scope { at: call.arguments.end + 2, ..scope.clone() };
    let ty = sources.variable(&behind, name, 8)?;
    match kind {
        SiteKind::ManuallyDrop => type_name::type_arguments(&ty).first().map(|&inner| inner.to_owned()),
        SiteKind::BoxLeak | SiteKind::RcIntoRaw | SiteKind::ArcIntoRaw => pointee(&ty).map(str::to_owned),
        SiteKind::VecLeak => pointee(&ty).and_then(type_name::slice_element).map(str::to_owned),
        _ => None,
    }
}

/// The variable that a call's result goes to: `let [mut] name [: type] = call`; `bare`: the call is all of the right side.
fn result_variable<'t>(tokens: &Tokens<'t>, call: &Call, bare: bool) -> Option<&'t str> {
    let start = call.receiver.as_ref().map(|receiver| receiver.start).or(call.path.first().copied()).unwrap_or(call.at);
    let mut at = start;
    // Back to the `let` over what may stand around the call.
    for _ in 0..64 {
        at = at.checked_sub(1)?;
        match tokens.text(at) {
            "let" => break,
            ";" | "}" => return None,
            "{" if !tokens.is(at.wrapping_sub(1), "unsafe") => return None,
            _ => {}
        }
    }
    if !tokens.is(at, "let") || bare && !matches!(tokens.text(call.arguments.end + 1), ";") {
        return None;
    }
    let name = at + 1 + usize::from(tokens.is(at + 1, "mut"));
    let plain = tokens.is_word(name) && matches!(tokens.text(name + 1), "=" | ":");
    let direct =
        tokens.is(start.wrapping_sub(1), "=") || tokens.is(start.wrapping_sub(1), "{") && tokens.is(start.wrapping_sub(2), "unsafe");
    (plain && (direct || !bare)).then(|| tokens.text(name))
}

#[allow(clippy::too_many_arguments)]
fn judge(
    sources: &Sources<'_, '_, '_>,
    standings: &[Standing],
    index: usize,
    function: &Function,
    instance: &Instance,
    call: &Call,
    taken: &[Taken],
) -> Vec<Site> {
    let facts = sources.graph.facts;
    let file = &sources.files[index];
    let name = &facts.names[instance.name as usize];
    let standing = standing(name);
    let scope = Scope { file: index, function: Some(function), generics: instance.generics.clone(), locals: &instance.locals, at: call.at };
    let Some((skip, stake)) = meaning(sources, &scope, call).filter(|_| standing == Standing::User) else { return Vec::new() };
    let type_name = stake.unwrap_or_else(|| "_".to_owned());
    let here = function_name(&name.path);
    let owns = match skip.kind {
        kind if kind.is_harmless() => Owns::No,
        kind if kind.loses_its_own_block() => super::owns(sources.graph, kind, &type_name, &[]),
        _ => sources.owns(&type_name),
    };
    if owns == Owns::Yes(Via::default()) {
        return Vec::new();
    }
    let cleared = runs_once(file, function, call)
        .or_else(|| emptied(&file.tokens, function, call, skip.kind))
        .or_else(|| moved_out(&file.tokens, function, call, skip.kind))
        .or_else(|| in_a_struct(sources, &scope, call, skip.kind))
        .or_else(|| taken_back(sources, taken, index, function, call, skip.kind, &type_name));
    let site = Site {
        kind: skip.kind,
        skip: skip.path,
        type_name: type_name.clone(),
        owns,
        function: here,
        file: name.file.clone(),
        line: Some(file.tokens.line(call.at)),
        line_of: LineOf::Call,
        tier: 3,
        complete: true,
        addresses: Vec::new(),
        via: Vec::new(),
        cleared,
        standing,
        functions: functions_of(sources.graph, name),
    };
    // A generic function that was made for this type: whoever chose the type is the site.
    let is_wrapper = super::calls::is_wrapper(name, &type_name);
    let places = if is_wrapper { callers(sources.graph, standings, name, &type_name, skip.kind) } else { Vec::new() };
    if places.is_empty() {
        return vec![site];
    }
    places
        .into_iter()
        .map(|place| Site {
            function: function_name(&place.path),
            file: place.file,
            line: place.line,
            via: place.via,
            functions: vec![place.function],
            standing: place.standing,
            ..site.clone()
        })
        .collect()
}

/// The functions of the binary that a source function is compiled into.
fn functions_of(graph: &Graph<'_>, name: &crate::binary::bodies::FunctionName) -> Vec<usize> {
    let facts = graph.facts;
    let is_it = |id: u32| {
        let other = &facts.names[id as usize];
        other.path == name.path && other.arguments == name.arguments
    };
    (0..)
        .zip(&facts.functions)
        .filter(|(_, function)| is_it(function.body.name) || function.body.inlined.iter().any(|inlined| is_it(inlined.name)))
        .map(|(index, _)| index)
        .collect()
}

struct Caller {
    path: String,
    file: Option<String>,
    line: Option<u32>,
    via: Vec<String>,
    function: usize,
    standing: Standing,
}

/// Who calls an instance of a generic wrapper, inlined or not.
fn callers(
    graph: &Graph<'_>,
    standings: &[Standing],
    name: &crate::binary::bodies::FunctionName,
    type_name: &str,
    kind: SiteKind,
) -> Vec<Caller> {
    let facts = graph.facts;
    let is_it = |id: u32| {
        let other = &facts.names[id as usize];
        other.path == name.path && other.arguments == name.arguments
    };
    let mut found: Vec<Caller> = Vec::new();
    for (index, function) in facts.functions.iter().enumerate() {
        let mut from: Vec<Option<u32>> =
            (0..).zip(&function.body.inlined).filter(|(_, call)| is_it(call.name)).map(|(at, _)| Some(at)).collect();
        if is_it(function.body.name) {
            from.push(None);
        }
        for at in from {
            for place in super::calls::places(facts, standings, index, at, 0, type_name, kind, 0) {
                if place.via.is_empty() || found.iter().any(|other| other.path == place.frame.name.path && other.line == Some(place.line)) {
                    continue;
                }
                found.push(Caller {
                    path: place.frame.name.path.clone(),
                    file: place.frame.name.file.clone(),
                    line: (place.line != 0).then_some(place.line),
                    via: place.via,
                    function: place.function,
                    standing: place.standing,
                });
            }
        }
    }
    found
}

/// Whether a call stands where code runs once: the argument of a once-cell's initialiser, a static, `main` outside of loops.
fn runs_once(file: &typing::File<'_>, function: &Function, call: &Call) -> Option<String> {
    const RUNNERS: [&str; 8] = [
        "get_or_init",
        "get_or_try_init",
        "call_once",
        "call_once_force",
        "get_or_insert_with",
        "LazyLock::new",
        "Lazy::new",
        "OnceLock::from",
    ];
    let tokens = &file.tokens;
    let mut at = call.at;
    let mut loops = false;
    let mut closure = false;
    while let Some(open) = tokens.enclosing(at, function.body.start.saturating_sub(1)) {
        if tokens.is(open, "(") && open > 0 {
            let name = tokens.text(open - 1);
            let owner = if open > 3 && tokens.is_path_sign(open - 3) { tokens.text(open.saturating_sub(4)) } else { "" };
            let full = format!("{owner}::{name}");
            if let Some(runner) = RUNNERS.iter().find(|runner| **runner == name || **runner == full) {
                return Some(format!("it runs once, in `{runner}`"));
            }
            closure |= tokens.is(open + 1, "|") || tokens.is(open + 1, "move");
        }
        if tokens.is(open, "{") {
            let head = (function.body.start..open).rev().take_while(|&before| !matches!(tokens.text(before), ";" | "{" | "}"));
            for before in head {
                loops |= matches!(tokens.text(before), "loop" | "while" | "for");
                closure |= tokens.is(before, "|") || tokens.is(before, "async");
            }
        }
        at = open;
    }
    let is_main = function.name == "main" && function.self_type.is_none() && function.parameters.is_empty();
    (is_main && !loops && !closure).then(|| "it runs once, in `main`".to_owned())
}

/// A frozen container is empty: `clear()` or `drain(..)` is the last that happens to it before.
fn emptied(tokens: &Tokens<'_>, function: &Function, call: &Call, kind: SiteKind) -> Option<String> {
    let receiver = call.receiver.clone().filter(|receiver| kind == SiteKind::ArenaFreeze && receiver.len() == 1)?;
    let name = tokens.text(receiver.start);
    let last = (function.body.start..receiver.start).rev().find(|&at| tokens.is(at, name) && !tokens.is(at.wrapping_sub(1), "."))?;
    let method = tokens.text(last + 2);
    let open = last + 3;
    let all = tokens.is(open, "(")
        && match method {
            "clear" => true,
            // `..` and nothing more.
            "drain" => tokens.partner[open] == open + 3,
            _ => false,
        };
    // In the same block as the freezing: not only on some ways.
    let block = |at| {
        let mut open = tokens.enclosing(at, function.body.start);
        while let Some(bracket) = open.filter(|&bracket| !tokens.is(bracket, "{")) {
            open = tokens.enclosing(bracket, function.body.start);
        }
        open
    };
    let same = block(last) == block(receiver.start);
    (tokens.is(last + 1, ".") && all && same).then(|| format!("it is empty by then: `{method}` takes the elements out"))
}

/// What a forgotten value owned was moved out before: read through a pointer to it.
fn moved_out(tokens: &Tokens<'_>, function: &Function, call: &Call, kind: SiteKind) -> Option<String> {
    if kind != SiteKind::Forget || call.arguments.len() != 1 || !tokens.is_word(call.arguments.start) {
        return None;
    }
    let name = tokens.text(call.arguments.start);
    for at in function.body.start..call.at {
        let reads = matches!(tokens.text(at), "read" | "transmute_copy" | "copy_nonoverlapping" | "take" | "replace");
        let inside = arguments(tokens, at).filter(|_| reads && !tokens.is(at.wrapping_sub(1), "."));
        if let Some(inside) = inside.filter(|inside| inside.clone().any(|part| tokens.is(part, name))) {
            let whole = tokens.joined(inside);
            return Some(format!("what it owns is moved out before (`{}({whole})`)", tokens.text(at)));
        }
    }
    None
}

/// `Held { buffer: ManuallyDrop::new(…) }`: a struct with a destructor of its own looks after its field.
fn in_a_struct(sources: &Sources<'_, '_, '_>, scope: &Scope<'_>, call: &Call, kind: SiteKind) -> Option<String> {
    if kind != SiteKind::ManuallyDrop {
        return None;
    }
    let tokens = &sources.files[scope.file].tokens;
    let open = tokens.enclosing(call.at, scope.function?.body.start)?;
    let is_literal =
        tokens.is(open, "{") && open > 0 && tokens.is_word(open - 1) || tokens.is(open, "(") && open > 0 && tokens.is_word(open - 1);
    if !is_literal {
        return None;
    }
    let name = tokens.text(open - 1);
    let named = sources.type_at(scope, open - 1..open, 0)?;
    let drops = sources.graph.has_drop_impl(&named)
        || sources.files.iter().any(|file| file.items.types.iter().any(|declared| declared.name == name && declared.drops));
    drops.then(|| format!("`{}` has a `Drop` implementation, which may drop the field", type_name::base(&named)))
}

/// A call that takes back what others gave away.
#[derive(Clone, Debug)]
struct Taken {
    kinds: &'static [SiteKind],
    /// The type, where it is told.
    stake: Option<String>,
    file: usize,
    /// First line of the function that it stands in.
    function: u32,
    /// `Box::from_raw`
    what: String,
    /// Name of the function.
    caller: String,
}

/// Every call in a file that takes something back.
fn taken_in(sources: &Sources<'_, '_, '_>, index: usize) -> Vec<Taken> {
    let file = &sources.files[index];
    let tokens = &file.tokens;
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|&at| is_call(tokens, at)) {
        let Some(function) = file.items.function_at(at).map(|function| &file.items.functions[function]) else { continue };
        let Some(call) = call_at(tokens, at).filter(|call| call.receiver.is_none() && !call.path.is_empty()) else { continue };
        let scope = Scope { file: index, function: Some(function), at, ..Scope::default() };
        let Some(owner) = sources.type_at(&scope, call.path[0]..at - 2, 0) else { continue };
        let path = format!("{}::{}", type_name::base(&owner), tokens.text(at));
        let kinds = catalogue::takes_back(&path);
        if kinds.is_empty() {
            continue;
        }
        // The variables of the debug information where the function was compiled, else what the source says.
        let instance = instances(sources.graph, file.file, function).into_iter().next();
        let locals = instance.as_ref().map(|instance| instance.locals.as_slice()).unwrap_or_default();
        let scope = Scope { locals, ..scope };
        let argument = list(tokens, call.arguments.clone()).into_iter().next();
        let pointer = argument.and_then(|argument| sources.type_of(&scope, argument, 0));
        let written = type_name::type_arguments(&owner).first().map(|&written| written.to_owned());
        let stake = written.or_else(|| {
            pointer.as_deref().and_then(|pointer| {
                let inner = pointee(strip(pointer)).or_else(|| pointee(pointer))?;
                // `void *` says nothing.
                (!inner.ends_with("c_void") && inner != "_").then(|| inner.to_owned())
            })
        });
        let short = format!("{}::{}", type_name::last_segment(&owner), tokens.text(at));
        found.push(Taken { kinds, stake, file: index, function: function.first_line, what: short, caller: function.name.clone() });
    }
    found
}

/// Why what a call gives away comes back.
#[allow(clippy::too_many_arguments)]
fn taken_back(
    sources: &Sources<'_, '_, '_>,
    taken: &[Taken],
    index: usize,
    function: &Function,
    call: &Call,
    kind: SiteKind,
    stake: &str,
) -> Option<String> {
    let key = type_name::key(stake);
    let fits = |back: &&Taken| {
        back.kinds.contains(&kind)
            && match &back.stake {
                // Sources spell paths as imported: the last segments decide.
                Some(other) => {
                    let other = type_name::key(other);
                    other == key
                        || stake == "_"
                        || type_name::last_segment(&other) == type_name::last_segment(&key)
                        || kind == SiteKind::ManuallyDrop
                            && type_name::type_arguments(stake).first().is_some_and(|element| type_name::key(element) == other)
                }
                None => back.file == index || kind == SiteKind::CStringIntoRaw,
            }
    };
    let same = |back: &&Taken| back.file == index && back.function == function.first_line;
    let tokens = &sources.files[index].tokens;
    let variable = result_variable(tokens, call, false);
    let local = variable.map(|variable| fate(tokens, function, call.arguments.end + 1, variable, kind));
    match local {
        Some(Fate::TakenBack) => {
            let back = taken.iter().filter(fits).find(same);
            return Some(format!("`{}` takes it back in the same function", back.map_or("from_raw", |back| back.what.as_str())));
        }
        Some(Fate::Lost) => return None,
        Some(Fate::HandedOn) | None => {}
    }
    let back = taken.iter().filter(fits).find(|back| !same(back))?;
    Some(format!("`{}` in `{}` takes it back", back.what, back.caller))
}

#[cfg(test)]
mod tests {
    use super::{Tokens, receiver};

    #[test]
    fn receivers_end_where_a_statement_does() {
        for (text, expected) in [
            ("for i in 0..n { v.push(i); } v.leak()", "v"),
            ("if (a > b) v.leak()", "v"),
            ("let x = make(n)?.inner.leak()", "make(n)?.inner"),
            ("self.parts[at].leak()", "self.parts[at]"),
            ("let v = { make() }.leak()", "{make()}"),
        ] {
            let tokens = Tokens::new(text);
            let dot = (0..tokens.len()).rev().find(|&at| tokens.is(at, ".")).unwrap();
            assert_eq!(tokens.joined(receiver(&tokens, dot)..dot), expected, "{text}");
        }
    }
}
