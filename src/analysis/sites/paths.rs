//! Tier 2: containers in an arena that some way out of a function leaves without dropping.
//!
//! `into_bump_slice` compiles to nothing. What survives is the container: a variable, inlined calls of
//! its methods, and its drop glue on the ways where it is dropped, at least when unwinding. The machine
//! code is walked from where the container has elements; ways that meet its glue are fine, a way that
//! leaves without is a finding, unless the container was moved on:
//!
//! | moved | told by |
//! |---|---|
//! | to the caller | it, or a type that holds it by value, is the function's return type |
//! | into its iterator | `IntoIter` of the same elements in the function |
//! | to a callee | a called function that holds it and does not make it; judged there |
//! | into another value | a variable of a type that holds it by value, and no slice of its elements |

mod holders;
mod moved;
mod untold;

use super::calls::{Place, places};
use super::frames::{Standing, chain, function_name};
use super::{LineOf, Site};
use crate::analysis::ownership::Graph;
use crate::analysis::ownership::rule::Owns;
use crate::analysis::walk::{self, Stops};
use crate::binary::bodies::{self, FunctionName, Inlined};
use crate::binary::catalogue::{self, SiteKind};
use crate::binary::code::Flow;
use crate::binary::facts::{Function, Level, OwnershipFacts};
use crate::binary::glue;
use crate::binary::type_name;
use crate::binary::types::{TypeId, TypeKind};
use hashbrown::HashSet;
use holders::Holders;
use moved::{Moved, moved};
use rustc_hash::FxBuildHasher;
use std::collections::BTreeMap;

/// What the walks found.
#[derive(Debug, Default)]
pub struct Found {
    /// Containers that some way leaves, cleared ones with the reason; with the type of the container.
    pub sites: Vec<(Site, String)>,
    /// Containers that every way drops.
    pub dropped: usize,
    /// Containers that may be dropped where nothing shows it: see `untold`.
    pub untold: usize,
}

/// A container that a function holds.
#[derive(Debug, Default)]
struct Held {
    /// Its type as spelt.
    type_name: String,
    /// Frames that have a variable of its type, by value: (frame, line, is a parameter).
    variables: Vec<(Option<u32>, u32, bool)>,
    /// Frames that call its constructor inline: (frame, line of the call).
    made: Vec<(Option<u32>, u32)>,
    /// Inlined calls of its methods.
    methods: Vec<u32>,
    /// Out-of-line calls of its methods: (call, address behind it, adds elements).
    calls: Vec<(u64, u64, bool)>,
    /// Glue of it, inlined or called, was seen anywhere.
    glue: bool,
    /// Only inside variables of these types, which hold it by value.
    inside: Vec<TypeId>,
}

/// What is asked of every inlined call and every variable, answered once for each name and type.
struct Known {
    /// By name: the type that glue of this name destroys.
    subjects: Vec<Option<String>>,
    /// By type: it is a container in an arena.
    arena: Vec<bool>,
    /// By type: names of the containers that it holds directly in its fields, where it is a struct of a crate's own.
    inside: Vec<Vec<String>>,
}

impl Known {
    fn new(graph: &Graph<'_>, holders: &Holders) -> Self {
        let facts = graph.facts;
        let types = &facts.types;
        let arena: Vec<bool> = types.ids().map(|id| bodies::is_arena_container(types, id)).collect();
        let holds = |id: TypeId| {
            let direct = types.kind(id) == TypeKind::Struct
                && types.members(id).iter().filter_map(|member| member.target).any(|target| arena[target.index()]);
            match graph.of_type(id).filter(|_| direct) {
                Some(node) => holders.inside(graph, node),
                None => Vec::new(),
            }
        };
        let inside = types.ids().map(holds).collect();
        Known { subjects: facts.names.iter().map(|name| glue::subject_of(&name.name)).collect(), arena, inside }
    }

    /// The type that glue of this name destroys.
    fn subject(&self, name: u32) -> Option<&str> {
        self.subjects[name as usize].as_deref()
    }
}

/// Looks at every container in an arena that a function holds.
pub fn find(graph: &Graph<'_>, standings: &[Standing]) -> Found {
    let facts = graph.facts;
    let mut found = Found::default();
    if is_unoptimised(facts) {
        return found; // there the calls themselves are visible, and moves are not
    }
    // A drop that was inlined has no symbol.
    let sees_inlined = facts.level > Level::Symbols;
    let holders = Holders::new(graph);
    let known = Known::new(graph, &holders);
    let held: Vec<BTreeMap<String, Held>> = facts.functions.iter().map(|function| containers(graph, &known, standings, function)).collect();
    for (index, function) in facts.functions.iter().enumerate() {
        for (key, container) in &held[index] {
            let elements = catalogue::arena_elements(&container.type_name).unwrap_or_default();
            let owns = owns_elements(graph, &container.type_name, &elements);
            // Where it may unwind, an owning container has glue for that; without types its absence is all there is to go by.
            let untold = matches!(owns, Owns::Maybe(_)) && facts.level != Level::Types && !container.glue;
            if owns == Owns::No || untold || function.code.is_none() || is_table_of_a_map(key, &held[index]) {
                continue;
            }
            let stops = stops(graph, &holders, &known, function, key, &held[index]);
            let starts = starts(facts, function, container);
            let Some(ways) = walk::ways(facts, function, &starts, &stops) else { continue };
            if !ways.leaves {
                found.dropped += usize::from(ways.complete);
                continue;
            }
            if untold::is_untold(facts, function, &starts, &stops, index, key, &held) {
                found.untold += 1;
                continue;
            }
            let element = elements.first().copied().unwrap_or(&container.type_name).to_owned();
            for (frame, lines) in frames_that_lose(facts, standings, function, container) {
                let cleared = moved(graph, &holders, &held, index, key, container, frame);
                if matches!(cleared, Some(Moved::Silently)) {
                    continue;
                }
                let (line, line_of) = line(facts, function, container, frame, lines, &element);
                for place in places(facts, standings, index, frame, line, &element, SiteKind::ArenaFreeze, 0) {
                    // Wrappers of types of the same layout are folded into one: a caller that holds others called theirs.
                    let callers = &held[place.function];
                    if place.function != index && !callers.is_empty() && !callers.contains_key(key) {
                        continue;
                    }
                    let (line, line_of) = if place.via.is_empty() { (line, line_of) } else { (place.line, LineOf::Call) };
                    let site = site(&place, container, &element, owns.clone(), line, line_of, ways, cleared.as_ref(), sees_inlined);
                    found.sites.push((site, container.type_name.clone()));
                }
            }
        }
    }
    found
}

/// Whether a container is the table inside a map or set that the function holds too: one loss, told of the whole.
fn is_table_of_a_map(key: &str, held: &BTreeMap<String, Held>) -> bool {
    let Some(("hashbrown::raw::RawTable", _)) = type_name::split_arguments(key) else { return false };
    let Some(&entry) = type_name::type_arguments(key).first() else { return false };
    held.keys().any(|other| {
        let arguments = type_name::type_arguments(other);
        match (type_name::split_arguments(other).map_or("", |(path, _)| path), &arguments[..]) {
            ("hashbrown::map::HashMap" | "std::collections::hash::map::HashMap", [key, value, ..]) => entry == format!("({key},{value})"),
            ("hashbrown::set::HashSet" | "std::collections::hash::set::HashSet", [key, ..]) => entry == format!("({key},())"),
            ("hashbrown::table::HashTable", [value, ..]) => entry == *value,
            _ => false,
        }
    })
}

#[allow(clippy::too_many_arguments)]
fn site(
    place: &Place<'_>,
    container: &Held,
    element: &str,
    owns: Owns,
    line: u32,
    line_of: LineOf,
    ways: walk::Ways,
    cleared: Option<&Moved>,
    sees_inlined: bool,
) -> Site {
    let kind = if type_name::base(&container.type_name).ends_with("::Box") { SiteKind::BumpBoxLeak } else { SiteKind::ArenaFreeze };
    Site {
        kind,
        skip: "",
        type_name: element.to_owned(),
        owns,
        function: function_name(&place.frame.name.path),
        file: place.frame.name.file.clone(),
        line: (line != 0).then_some(line),
        line_of,
        tier: 2,
        complete: ways.complete && sees_inlined,
        addresses: vec![ways.at],
        via: place.via.clone(),
        cleared: match cleared {
            Some(Moved::Because(reason)) => Some(reason.clone()),
            _ => None,
        },
        standing: place.standing,
        functions: vec![place.function],
    }
}

/// Code without optimisation calls `mem::forget` and `ManuallyDrop::new` as functions of their own.
fn is_unoptimised(facts: &OwnershipFacts) -> bool {
    facts.callees.iter().any(|callee| matches!(callee.path.as_str(), "core::mem::forget" | "core::mem::manually_drop::ManuallyDrop::new"))
}

/// Whether the elements of a container own heap memory; the glue of the container itself settles what types do not tell.
fn owns_elements(graph: &Graph<'_>, container: &str, elements: &[&str]) -> Owns {
    let mut unsure = Owns::No;
    for element in elements {
        match graph.owns(element) {
            Owns::No => {}
            Owns::Maybe(reason) => unsure = Owns::Maybe(reason),
            yes => return yes,
        }
    }
    if let Owns::Maybe(_) = unsure {
        let facts = graph.facts;
        if matches!(facts.level, Level::Lines | Level::LineTables)
            && has_glue(graph, container)
            && !elements.iter().any(|element| has_glue(graph, element))
        {
            return Owns::No; // glue of the container was made, and none of its elements
        }
        match facts.glue.frees(container) {
            Some(true) => return Owns::Yes(crate::analysis::ownership::rule::Via { fields: Vec::new(), owner: elements.join(", ") }),
            Some(false) => return Owns::No,
            None => {}
        }
    }
    unsure
}

fn has_glue(graph: &Graph<'_>, name: &str) -> bool {
    graph.has_glue(name) || graph.has_glue(&format!("[{name}]"))
}

/// The containers in an arena that a function holds, by key of their type.
fn containers(graph: &Graph<'_>, known: &Known, standings: &[Standing], function: &Function) -> BTreeMap<String, Held> {
    let facts = graph.facts;
    let mut found: BTreeMap<String, Held> = BTreeMap::new();
    let entry = |found: &mut BTreeMap<String, Held>, name: &str| -> String {
        let key = type_name::key(name);
        let held = found.entry(key.clone()).or_default();
        if held.type_name.is_empty() {
            name.clone_into(&mut held.type_name);
        }
        key
    };
    for local in &function.body.locals {
        if !known.arena[local.type_id.index()] {
            continue;
        }
        let key = entry(&mut found, &facts.types.name(local.type_id));
        if let Some(held) = found.get_mut(&key) {
            held.variables.push((local.frame, local.line, local.is_parameter));
        }
    }
    // In a struct of the program's own: a builder around the vector.
    for local in &function.body.locals {
        let name_id = local.frame.map_or(function.body.name, |frame| function.body.inlined[frame as usize].name);
        if standings[name_id as usize] == Standing::Library {
            continue;
        }
        for name in &known.inside[local.type_id.index()] {
            let key = type_name::key(name);
            let by_itself = found.get(&key).is_some_and(|held| held.inside.is_empty());
            let held = found.entry(key.clone()).or_default();
            if !by_itself {
                held.type_name.clone_from(name);
                if !held.inside.contains(&local.type_id) {
                    held.inside.push(local.type_id);
                }
                held.variables.push((local.frame, local.line, local.is_parameter));
            }
        }
    }
    for (index, inlined) in (0u32..).zip(&function.body.inlined) {
        let name = &facts.names[inlined.name as usize];
        if let Some(subject) = known.subject(inlined.name) {
            if catalogue::arena_elements(subject).is_none() {
                continue;
            }
            let key = entry(&mut found, subject);
            if let Some(held) = found.get_mut(&key) {
                held.glue = true;
            }
            continue;
        }
        let Some(container) = method_of(facts, name) else { continue };
        let method = type_name::base(&name.name);
        // Methods by reference say nothing of who holds it; those that make it or take it do, unless the library does.
        let makes = is_constructor(method);
        if !makes && !found.contains_key(&type_name::key(&container)) {
            continue;
        }
        let key = entry(&mut found, &container);
        if let Some(held) = found.get_mut(&key) {
            if makes {
                held.made.push((inlined.parent, inlined.call_line));
            }
            held.methods.push(index);
        }
    }
    // Glue that is called: in a landing pad or not, the function holds the container.
    for step in function.code.iter().flat_map(|code| &code.steps) {
        let (Flow::Call(Some(target)) | Flow::Jump(Some(target))) = step.flow else { continue };
        let Some(callee) = walk::callee(facts, target) else { continue };
        if let Some(subject) = callee.destroys.as_deref().filter(|subject| catalogue::arena_elements(subject).is_some()) {
            let key = known_key(&found, subject);
            let key = key.unwrap_or_else(|| entry(&mut found, subject));
            if let Some(held) = found.get_mut(&key) {
                held.glue = true;
            }
            continue;
        }
        let Some(name) = callee.name.map(|id| &facts.names[id as usize]) else { continue };
        let Some(container) = method_of(facts, name) else { continue };
        let makes = is_constructor(type_name::base(&name.name));
        if makes || found.contains_key(&type_name::key(&container)) {
            let key = entry(&mut found, &container);
            if let Some(held) = found.get_mut(&key) {
                held.calls.push((step.at, step.next, adds(type_name::base(&name.name))));
                if makes {
                    held.made.push((super::frames::innermost(function, step.at), 0));
                }
            }
        }
    }
    // A function that only pushes through a reference holds nothing.
    found.retain(|_, held| !held.variables.is_empty() || !held.made.is_empty() || held.glue);
    found
}

/// Linkers fold glue of types with the same layout under one name: where the called glue's type is not held, but exactly
/// one container is, it is that one's.
fn known_key(found: &BTreeMap<String, Held>, subject: &str) -> Option<String> {
    let key = type_name::key(subject);
    if found.contains_key(&key) {
        return Some(key);
    }
    let mut held = found.iter().filter(|(_, held)| !held.variables.is_empty() || !held.made.is_empty());
    match (held.next(), held.next()) {
        (Some((key, _)), None) => Some(key.clone()),
        _ => None,
    }
}

/// The arena container whose method a function is.
fn method_of(facts: &OwnershipFacts, name: &FunctionName) -> Option<String> {
    if let Some(id) = name.self_type.filter(|&id| bodies::is_arena_container(&facts.types, id)) {
        return Some(facts.types.name(id));
    }
    let (owner, _) = type_name::split_path(&name.path)?;
    let owner = match type_name::split_impl(owner) {
        Some((subject, _)) => subject,
        None => owner,
    };
    if !matches!(owner, "bumpalo::collections::vec::Vec" | "bumpalo::boxed::Box") {
        return None;
    }
    let element = name.arguments.iter().find(|argument| argument.parameter == "T").or_else(|| name.arguments.first())?;
    Some(format!("{owner}<{}>", element.name))
}

fn is_constructor(method: &str) -> bool {
    matches!(method, "new_in" | "with_capacity_in" | "from_iter_in" | "collect_in" | "split_off" | "clone" | "pin_in")
}

/// Whether a method can add elements: the others need no walk of their own.
pub(super) fn adds(method: &str) -> bool {
    !catalogue::CONSTRUCTORS.contains(&method)
        && !matches!(
            method,
            "drop"
                | "set_len"
                | "drain"
                | "clear"
                | "truncate"
                | "len"
                | "is_empty"
                | "capacity"
                | "as_ptr"
                | "as_mut_ptr"
                | "as_slice"
                | "as_mut_slice"
                | "deref"
                | "deref_mut"
                | "into_bump_slice"
                | "into_bump_slice_mut"
                | "pop"
                | "remove"
                | "swap_remove"
                | "iter"
                | "bump"
                | "index"
                | "index_mut"
        )
}

/// Where the container may have elements: its inlined methods that add some; without such, behind its calls or at the entry.
fn starts(facts: &OwnershipFacts, function: &Function, held: &Held) -> Vec<u64> {
    let methods = || held.methods.iter().map(|&index| &function.body.inlined[index as usize]);
    let name = |inlined: &Inlined| type_name::base(&facts.names[inlined.name as usize].name).to_owned();
    let places = |inlined: &Inlined| block_starts(function, &inlined.ranges);
    let mut starts: Vec<u64> = methods().filter(|inlined| adds(&name(inlined))).flat_map(places).collect();
    starts.extend(held.calls.iter().filter(|(.., adds)| *adds).map(|&(_, next, _)| next));
    if starts.is_empty() {
        starts.extend(methods().filter(|inlined| is_constructor(&name(inlined))).flat_map(places));
        starts.extend(held.calls.iter().map(|&(_, next, _)| next));
    }
    let enters = held.variables.iter().any(|&(frame, _, is_parameter)| frame.is_none() && is_parameter);
    if starts.is_empty() || enters {
        starts.extend(function.body.ranges.first().map(|range| range.0));
    }
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// The starts of ranges, without those that follow an earlier one in straight-line code: schedulers interleave neighbouring calls.
fn block_starts(function: &Function, ranges: &[(u64, u64)]) -> Vec<u64> {
    let mut sorted: Vec<u64> = ranges.iter().map(|range| range.0).collect();
    sorted.sort_unstable();
    let mut kept: Vec<u64> = Vec::new();
    for start in sorted {
        let same_block = kept.last().is_some_and(|&last| {
            let step = function.code.as_ref().and_then(|code| code.from(last).first());
            step.is_none_or(|step| step.at >= start)
        });
        if !same_block {
            kept.push(start);
        }
    }
    kept
}

/// Where it is dropped, emptied or moved into something that is: inlined glue and calls of glue, of it or of a type that holds it.
fn stops(graph: &Graph<'_>, holders: &Holders, known: &Known, function: &Function, key: &str, others: &BTreeMap<String, Held>) -> Stops {
    let facts = graph.facts;
    let mut stops = Stops::default();
    let drops = |subject: &str| type_name::key(subject) == key || holders.holds(graph, subject, key);
    for inlined in &function.body.inlined {
        let name = &facts.names[inlined.name as usize];
        let plain = type_name::base(&name.name);
        let is_drop = match known.subject(inlined.name) {
            Some(subject) => drops(subject),
            // `<Vec<T> as Drop>::drop` itself, and what empties it: `clear`, `drain(..)`.
            None => {
                let empties =
                    plain == "clear" || plain == "drain" && name.arguments.iter().any(|argument| argument.name.ends_with("RangeFull"));
                (plain == "drop" || empties) && method_of(facts, name).is_some_and(|container| type_name::key(&container) == key)
            }
        };
        if is_drop {
            stops.ranges.extend_from_slice(&inlined.ranges);
        }
    }
    let mut folded: Vec<u64> = Vec::new();
    for step in function.code.iter().flat_map(|code| &code.steps) {
        let (Flow::Call(Some(target)) | Flow::Jump(Some(target))) = step.flow else { continue };
        let Some(callee) = walk::callee(facts, target) else { continue };
        let by_name = callee.name.map(|id| &facts.names[id as usize]);
        let is_method = by_name.is_some_and(|name| {
            matches!(type_name::base(&name.name), "drop" | "clear")
                && method_of(facts, name).is_some_and(|container| type_name::key(&container) == key)
        });
        match &callee.destroys {
            Some(subject) if drops(subject) => stops.calls.push(step.at),
            Some(subject) if catalogue::arena_elements(subject).is_some() && !others.contains_key(&type_name::key(subject)) => {
                folded.push(step.at)
            }
            _ if is_method => stops.calls.push(step.at),
            _ => {}
        }
    }
    // Glue folded under another type's name: it drops the only container here, or one of those without glue of their own.
    let own_glue = others.get(key).is_some_and(|held| held.glue) && !stops.calls.is_empty();
    if !own_glue {
        stops.calls.extend(folded);
    }
    stops.sort();
    without_hoisted(function, stops)
}

/// Leaves out what was hoisted from the drop in front of the branch that decides whether there is one:
///
/// ```text
///     mov  8(%rsp),%r15     \ loads of the drop, so says the line of the debug information;
///     mov  32(%rsp),%rbp    / the way that does not drop runs through them too
///     test $1,%bl
///     jne  drop
/// ```
fn without_hoisted(function: &Function, mut stops: Stops) -> Stops {
    let Some(code) = function.code.as_ref() else { return stops };
    let all = stops.ranges.clone();
    let in_drop = |at: u64| all.iter().any(|&(start, end)| (start..end).contains(&at));
    stops.ranges.retain(|&(start, end)| {
        let Some(step) = code.from(start).first() else { return true };
        let decides = match step.flow {
            Flow::Branch(target) => in_drop(target) != in_drop(step.next),
            _ => false,
        };
        step.at < end || in_drop(step.at) || !decides
    });
    stops
}

/// Frames of user code or dependencies where the container is at last: not moved into a frame further in or out.
/// (frame, lines of its variables there)
fn frames_that_lose(facts: &OwnershipFacts, standings: &[Standing], function: &Function, held: &Held) -> Vec<(Option<u32>, Vec<u32>)> {
    // Frames of the library belong to the first frame around them that is none.
    let owner = |frame: Option<u32>| {
        chain(facts, function, frame)
            .into_iter()
            .find(|frame| standings[frame.name_id as usize] != Standing::Library)
            .map(|frame| frame.inlined)
    };
    let mut frames: BTreeMap<Option<u32>, Vec<u32>> = BTreeMap::new();
    for &(frame, line, _) in &held.variables {
        if let Some(owner) = owner(frame) {
            let lines = frames.entry(owner).or_default();
            if owner == frame {
                lines.push(line);
            }
        }
    }
    for &(frame, line) in &held.made {
        if let Some(owner) = owner(frame) {
            let lines = frames.entry(owner).or_default();
            if owner == frame && lines.is_empty() {
                lines.push(line);
            }
        }
    }
    if frames.is_empty() {
        frames.extend(owner(None).map(|owner| (owner, Vec::new())));
    }
    // Taken by value by an inlined call: judged there, the frames around it only passed it on.
    let takers: Vec<Option<u32>> = held
        .variables
        .iter()
        .filter(|&&(frame, _, is_parameter)| is_parameter && frame.is_some())
        .filter_map(|&(frame, ..)| owner(frame).filter(|&owner| owner == frame))
        .collect();
    let passed: HashSet<Option<u32>, FxBuildHasher> =
        takers.iter().flat_map(|&taker| chain(facts, function, taker).into_iter().skip(1).map(|frame| frame.inlined)).collect();
    frames.into_iter().filter(|(frame, _)| takers.contains(frame) || !passed.contains(frame)).collect()
}

/// The line of a site: where a slice of the elements is declared behind the container; else the container's own line.
fn line(facts: &OwnershipFacts, function: &Function, held: &Held, frame: Option<u32>, lines: Vec<u32>, element: &str) -> (u32, LineOf) {
    let own = lines.iter().copied().filter(|&line| line != 0).min().unwrap_or(0);
    let element = type_name::key(element);
    let slices = [format!("&[{element}]"), format!("&mut [{element}]")];
    let slice = function
        .body
        .locals
        .iter()
        .filter(|local| {
            local.frame == frame
                && !local.is_parameter
                && local.line >= own
                && slices.contains(&type_name::key(&facts.types.name(local.type_id)))
        })
        .map(|local| local.line)
        .min();
    if let Some(line) = slice {
        return (line, LineOf::Variable);
    }
    if own != 0 {
        return (own, LineOf::Variable);
    }
    let made = held.made.iter().find(|(at, line)| *at == frame && *line != 0).map(|&(_, line)| line);
    if let Some(line) = made {
        return (line, LineOf::Variable);
    }
    let name = frame.map_or(function.body.name, |frame| function.body.inlined[frame as usize].name);
    (facts.names[name as usize].line, LineOf::Function)
}
