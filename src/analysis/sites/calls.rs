//! Tier 1: calls of functions that skip drop glue, inlined or not.
//!
//! The direct caller decides: in the standard library or the arena crate itself it is no site; in user
//! code it is the site; in a generic wrapper that is instantiated for the type at stake the wrapper is
//! the way and its caller the site, up the inlined calls and, out of line, up the calls.

use super::frames::{Frame, Standing, chain, function_name, innermost, wrapper_name};
use super::{LineOf, Site, owns};
use crate::analysis::ownership::{Graph, NodeId, library};
use crate::analysis::walk::{self, Stops};
use crate::binary::bodies::FunctionName;
use crate::binary::catalogue::{self, SiteKind, Skip};
use crate::binary::code::Flow;
use crate::binary::facts::{Function, Level, OwnershipFacts};
use crate::binary::type_name;

/// A call of a listed function.
#[derive(Clone, Debug)]
struct Call<'f> {
    /// What was called.
    name: &'f FunctionName,
    /// Function that holds the call.
    function: usize,
    /// Frame that calls: index of an inlined call, or the function itself.
    caller: Option<u32>,
    /// Line of the call in the caller.
    line: u32,
    /// Code of the inlined call, or the call instruction.
    addresses: Vec<u64>,
    /// Out of line: the call instruction.
    at: Option<u64>,
}

/// A user's frame where a wrapper chain ends.
pub(super) struct Place<'f> {
    pub frame: Frame<'f>,
    pub function: usize,
    pub line: u32,
    pub via: Vec<String>,
    pub standing: Standing,
}

/// Wrappers that are followed.
const DEEPEST_WRAPPER: usize = 6;
/// Callers of one wrapper that become sites of their own.
const MOST_CALLERS: usize = 1000;

/// Every site that a call shows.
pub fn find(graph: &Graph<'_>, standings: &[Standing]) -> Vec<Site> {
    let facts = graph.facts;
    let calls = listed_calls(facts);
    let taken_back = taken_back(facts, standings, &calls);
    let mut found: Vec<Site> = Vec::new();
    for call in &calls {
        let Some(skip) = skip_of(facts, call.name) else { continue };
        let Some(type_name) = type_at_stake(skip, call.name) else { continue };
        for place in places(facts, standings, call.function, call.caller, call.line, &type_name, skip.kind, 0) {
            let arguments: Vec<&str> = call.name.arguments.iter().map(|argument| argument.name.as_str()).collect();
            let cleared = emptied(facts, call, skip.kind, &type_name)
                .or_else(|| once(facts, &facts.functions[place.function], &place))
                .or_else(|| moved_out(graph, call, skip.kind, &type_name))
                .or_else(|| paired(facts, &taken_back, skip.kind, &type_name, call, &place));
            let site = Site {
                kind: skip.kind,
                skip: skip.path,
                owns: owns(graph, skip.kind, &type_name, &arguments),
                type_name: type_name.clone(),
                function: function_name(&place.frame.name.path),
                file: place.frame.name.file.clone(),
                line: (place.line != 0).then_some(place.line),
                line_of: LineOf::Call,
                tier: 1,
                complete: true,
                addresses: call.addresses.clone(),
                via: place.via,
                cleared,
                standing: place.standing,
                functions: vec![place.function],
            };
            super::add(&mut found, site);
        }
    }
    found
}

/// The listed function that a name means. Line tables have no paths: unmistakable names count.
fn skip_of(facts: &OwnershipFacts, name: &FunctionName) -> Option<&'static Skip> {
    if let Some(skip) = catalogue::skip_at(&name.path) {
        return Some(skip);
    }
    let plain = type_name::base(&name.name);
    let unmistakable = facts.level == Level::LineTables && matches!(plain, "into_bump_slice" | "into_bump_slice_mut" | "into_bump_str");
    unmistakable.then(|| catalogue::SKIPS.iter().find(|skip| skip.path.rsplit("::").next() == Some(plain))).flatten()
}

/// The type at stake in a call.
fn type_at_stake(skip: &Skip, name: &FunctionName) -> Option<String> {
    match skip.kind {
        SiteKind::StringLeak => return Some(skip.path.rsplit_once("::").map_or("alloc::string::String", |(owner, _)| owner).to_owned()),
        SiteKind::CStringIntoRaw => return Some("alloc::ffi::c_str::CString".to_owned()),
        SiteKind::ArenaStr => return Some("u8".to_owned()),
        _ => {}
    }
    let named = name.arguments.iter().find(|argument| argument.parameter == "T");
    named.or_else(|| name.arguments.get(skip.argument)).map(|argument| argument.name.clone())
}

/// Every call of a listed function, inlined or out of line; of nested listed calls the outermost.
fn listed_calls(facts: &OwnershipFacts) -> Vec<Call<'_>> {
    let is_listed = |name: &FunctionName| skip_of(facts, name).is_some() || !catalogue::takes_back(&name.path).is_empty();
    let mut found = Vec::new();
    for (index, function) in facts.functions.iter().enumerate() {
        for inlined in &function.body.inlined {
            let name = &facts.names[inlined.name as usize];
            if !is_listed(name) {
                continue;
            }
            let nested = chain(facts, function, inlined.parent).iter().any(|frame| is_listed(frame.name));
            if nested {
                continue;
            }
            let addresses = inlined.ranges.iter().map(|range| range.0).collect();
            found.push(Call { name, function: index, caller: inlined.parent, line: inlined.call_line, addresses, at: None });
        }
        for &(start, end) in &function.body.ranges {
            let from = facts.calls.partition_point(|&(call, _)| call < start);
            let to = facts.calls.partition_point(|&(call, _)| call < end);
            for &(at, target) in &facts.calls[from..to] {
                let Some(name) = walk::callee(facts, target).and_then(|callee| callee.name).map(|id| &facts.names[id as usize]) else {
                    continue;
                };
                if !is_listed(name) {
                    continue;
                }
                let caller = innermost(function, at);
                if chain(facts, function, caller).iter().any(|frame| is_listed(frame.name)) {
                    continue;
                }
                found.push(Call { name, function: index, caller, line: call_line(function, at), addresses: vec![at], at: Some(at) });
            }
        }
    }
    found
}

fn call_line(function: &Function, at: u64) -> u32 {
    let found = function.call_lines.binary_search_by_key(&at, |&(call, _)| call);
    found.map_or(0, |found| function.call_lines[found].1)
}

/// The user's frames that a call belongs to: the direct caller, or the callers of generic wrappers.
#[allow(clippy::too_many_arguments)]
pub(super) fn places<'f>(
    facts: &'f OwnershipFacts,
    standings: &[Standing],
    function: usize,
    caller: Option<u32>,
    line: u32,
    type_name: &str,
    kind: SiteKind,
    depth: usize,
) -> Vec<Place<'f>> {
    let frames = chain(facts, &facts.functions[function], caller);
    let mut via: Vec<String> = Vec::new();
    let mut line = line;
    for frame in &frames {
        let standing = standings[frame.name_id as usize];
        // Where a dependency's wrapper hands to an arena, its caller is the site; what it forgets otherwise is its own business.
        let passes =
            is_wrapper(frame.name, type_name) && (standing == Standing::User || standing == Standing::Dependency && kind.is_arena());
        if standing == Standing::Library {
            return Vec::new();
        }
        if !passes {
            via.reverse();
            return vec![Place { frame: *frame, function, line, via, standing }];
        }
        via.push(wrapper_name(&frame.name.path));
        if frame.inlined.is_some() {
            line = frame.call_line;
        }
    }
    // The function itself is a wrapper: its callers.
    let mut found: Vec<Place<'f>> = Vec::new();
    let start = facts.functions[function].body.ranges.first().map(|range| range.0);
    let callers: Vec<u64> =
        facts.calls.iter().filter(|&&(_, target)| Some(target) == start).map(|&(call, _)| call).take(MOST_CALLERS).collect();
    for call in callers.into_iter().filter(|_| depth < DEEPEST_WRAPPER) {
        let Some(index) = walk::function_at(facts, call) else { continue };
        let outer = &facts.functions[index];
        for mut place in places(facts, standings, index, innermost(outer, call), call_line(outer, call), type_name, kind, depth + 1) {
            place.via.extend(via.iter().rev().cloned());
            found.push(place);
        }
    }
    if found.is_empty() {
        // Nobody calls it directly (a function pointer, a library's interface): it is the place.
        let frame = frames[frames.len() - 1];
        via.pop();
        via.reverse();
        found.push(Place { frame, function, line, via, standing: standings[frame.name_id as usize] });
    }
    found
}

/// Whether a function is generic in the type at stake: one instance for each, and the caller chose it.
pub(super) fn is_wrapper(name: &FunctionName, type_name: &str) -> bool {
    let stake = type_name::key(type_name);
    name.arguments.iter().any(|argument| {
        let argument = type_name::key(&argument.name);
        // `freeze<T>` for T itself or for a collection of T; numbers are in every type and say nothing.
        argument == stake
            || argument.contains(&stake) && stake.contains("::") && !argument.contains("{closure")
            || argument.contains("::") && !argument.contains("{closure") && stake.contains(&argument)
    })
}

/// A taking-back call in user code.
struct TakenBack<'f> {
    kinds: &'static [SiteKind],
    type_key: String,
    function: usize,
    caller: String,
    at: Option<u64>,
    ranges: Vec<(u64, u64)>,
    name: &'f str,
}

fn taken_back<'f>(facts: &'f OwnershipFacts, standings: &[Standing], calls: &[Call<'f>]) -> Vec<TakenBack<'f>> {
    let mut found = Vec::new();
    for call in calls {
        let kinds = catalogue::takes_back(&call.name.path);
        let function = &facts.functions[call.function];
        let frames = chain(facts, function, call.caller);
        let Some(frame) = frames.first() else { continue };
        if kinds.is_empty() || standings[frame.name_id as usize] == Standing::Library {
            continue;
        }
        let argument = call.name.arguments.iter().find(|argument| argument.parameter == "T").or_else(|| call.name.arguments.first());
        // What a dependency makes of its own numbers is no way back for the program's.
        let own = argument.is_some_and(|argument| argument.name.contains("::") && !library::is_standard(&argument.name));
        if standings[frame.name_id as usize] == Standing::Dependency && !own {
            continue;
        }
        found.push(TakenBack {
            kinds,
            type_key: argument.map(|argument| type_name::key(&argument.name)).unwrap_or_default(),
            function: call.function,
            caller: function_name(&frame.name.path),
            at: call.at,
            ranges: if call.at.is_none() { call.addresses.iter().map(|&start| (start, start + 1)).collect() } else { Vec::new() },
            name: &call.name.path,
        });
    }
    found
}

/// Why a site's value is taken back; `None` when it is not, or not on every way out of the function that gave it away.
fn paired(
    facts: &OwnershipFacts,
    taken: &[TakenBack<'_>],
    kind: SiteKind,
    type_name: &str,
    call: &Call<'_>,
    place: &Place<'_>,
) -> Option<String> {
    let key = type_name::key(type_name);
    let short = |name: &str| {
        let mut parts: Vec<&str> = name.rsplit("::").take(2).collect();
        parts.reverse();
        parts.join("::")
    };
    let matching = || taken.iter().filter(|back| back.kinds.contains(&kind) && (back.type_key == key || back.type_key.is_empty()));
    let here = function_name(&place.frame.name.path);
    if let Some(back) = matching().find(|back| back.caller != here) {
        return Some(format!("`{}` in `{}` takes it back", short(back.name), back.caller));
    }
    // In the same function: on every way out?
    let same: Vec<&TakenBack<'_>> = matching().filter(|back| back.function == call.function).collect();
    let first = same.first()?;
    let mut stops = Stops {
        ranges: same.iter().flat_map(|back| back.ranges.iter().copied()).collect(),
        calls: same.iter().filter_map(|back| back.at).collect(),
    };
    stops.sort();
    let start = call.at.map(|at| at + 1).or_else(|| call.addresses.first().copied())?;
    let function = &facts.functions[call.function];
    // The call itself is not a stop: walk from behind it.
    let behind = function.code.as_ref()?.from(start.saturating_sub(1)).first().map_or(start, |step| step.next);
    let ways = walk::ways(facts, function, &[behind], &stops)?;
    (!ways.leaves && ways.complete).then(|| format!("`{}` takes it back in the same function", short(first.name)))
}

/// Why a forgotten value loses nothing: the function reads a part out of it that owns memory (`ptr::read`).
fn moved_out(graph: &Graph<'_>, call: &Call<'_>, kind: SiteKind, type_name: &str) -> Option<String> {
    if kind != SiteKind::Forget {
        return None;
    }
    let facts = graph.facts;
    let function = &facts.functions[call.function];
    let called = function.code.iter().flat_map(|code| &code.steps).filter_map(|step| match step.flow {
        Flow::Call(Some(target)) => walk::callee(facts, target)?.name,
        _ => None,
    });
    let parts: Vec<NodeId> = graph.find(type_name).map(|node| graph.edges(node).iter().map(|edge| edge.to).collect()).unwrap_or_default();
    let read = function.body.inlined.iter().map(|inlined| inlined.name).chain(called).find_map(|id| {
        let name = &facts.names[id as usize];
        let reads = matches!(
            name.path.as_str(),
            "core::ptr::read" | "core::mem::transmute_copy" | "core::ptr::mut_ptr::read" | "core::ptr::const_ptr::read"
        );
        let part = name.arguments.iter().find(|argument| argument.parameter == "T" || argument.parameter.is_empty())?;
        (reads && graph.find(&part.name).is_some_and(|node| parts.contains(&node)) && graph.owns(&part.name).is_yes()).then_some(part)
    })?;
    Some(format!("its `{}` is moved out before (`ptr::read`)", type_name::display(&read.name)))
}

/// Why a frozen container is empty: no way leads from a call that adds elements to the freezing but through `clear` or `drain(..)`.
/// Only where the calls are out of line: inlined ones are judged by the path walk.
fn emptied(facts: &OwnershipFacts, call: &Call<'_>, kind: SiteKind, element: &str) -> Option<String> {
    let goal = call.at.filter(|_| kind == SiteKind::ArenaFreeze)?;
    let function = &facts.functions[call.function];
    let element = type_name::key(element);
    let mut starts: Vec<u64> = Vec::new();
    let mut stops = Stops::default();
    let mut drained = None;
    for step in &function.code.as_ref()?.steps {
        let (Flow::Call(Some(target)) | Flow::Jump(Some(target))) = step.flow else { continue };
        let Some(name) = walk::callee(facts, target).and_then(|callee| callee.name).map(|id| &facts.names[id as usize]) else { continue };
        let of_container =
            name.path.starts_with("bumpalo::collections::vec::Vec::") || name.path.starts_with("<bumpalo::collections::vec::Vec as ");
        if !of_container || name.arguments.first().is_none_or(|argument| type_name::key(&argument.name) != element) {
            continue;
        }
        let method = type_name::base(&name.name);
        if method == "clear" || method == "drain" && name.arguments.iter().any(|argument| argument.name.ends_with("RangeFull")) {
            stops.calls.push(step.at);
            drained = Some(method);
        } else if super::paths::adds(method) {
            starts.push(step.next);
        }
    }
    stops.sort();
    let drained = drained?;
    (!starts.is_empty() && !walk::reaches(facts, function, &starts, &stops, goal)?)
        .then(|| format!("it is empty by then: `{drained}` takes the elements out on every way"))
}

/// Why a site runs once: in a closure that a once-cell runs, or in the initialiser of a static.
fn once(facts: &OwnershipFacts, function: &Function, place: &Place<'_>) -> Option<String> {
    const RUNNERS: [&str; 10] = [
        "OnceLock::get_or_init",
        "OnceLock::get_or_try_init",
        "OnceLock::initialize",
        "OnceCell::get_or_init",
        "OnceCell::get_or_try_init",
        "Once::call_once",
        "Once::call_once_force",
        "LazyLock::force",
        "Lazy::force",
        "OnceCell::initialize",
    ];
    let frames = chain(facts, function, place.frame.inlined);
    for frame in frames.iter().skip(1) {
        let outer = function_name(&frame.name.path);
        if let Some(runner) = RUNNERS.iter().find(|runner| outer.ends_with(&format!("::{runner}"))) {
            return Some(format!("it runs once, in `{runner}`"));
        }
    }
    // Out of line: the closure's environment is an argument of a function that runs it once.
    let path = &place.frame.name.path;
    let here = function_name(path);
    if *path != here && facts.once_closures.iter().any(|closure| closure.starts_with(&format!("{here}::{{closure_env#"))) {
        return Some("it runs once, in the closure of a once-cell".to_owned());
    }
    let is_static = facts.types.statics.iter().any(|variable| !variable.thread_local && facts.types.path(variable.path) == here);
    (is_static && *path != here).then(|| format!("it runs once, when `{here}` is initialised"))
}
