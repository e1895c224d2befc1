//! The join: growing stacks connected to what the binary says of drops and owners.
//!
//! Pure: the caller reads the binary with `binary::facts::ownership_facts`, passing the `svma` of the growing frames as
//! [`Options::addresses`](crate::binary::facts::Options), builds a [`Knowledge`] once, and asks [`join`] for each group:
//!
//! ```text
//! let facts = ownership_facts(path, &Options { addresses, ..Options::default() })?;
//! let graph = Graph::new(&facts);
//! let known = Knowledge::new(&graph, &sources);
//! let explanation = join(&known, &stacks);   // None: nothing in the binary explains it
//! ```
//!
//! What is asked, in this order: is a value that owns what grows never dropped in a function of the stack, or in one that
//! such a function calls; does an arena grow, and who holds it; do counted values grow whose types can form a cycle; does a
//! static hold it. Scores are those of the terms below, weighted over the stacks by their growth.

mod driver;
mod limits;

pub use driver::{Driver, driver};
pub use limits::limits;

use crate::analysis::finding::{Evidence, FrameView, Missing, SiteView};
use crate::analysis::ownership::cycles::{Cycle, Rank, cycles};
use crate::analysis::ownership::owners::{Owners, Ways};
use crate::analysis::ownership::rule::Owns;
use crate::analysis::ownership::{EdgeKind, Graph, NodeId, library, short};
use crate::analysis::sites::frames::{Frame, chain, function_name, innermost};
use crate::analysis::sites::{Site, Sites, SourceText, sites_with};
use crate::analysis::walk;
use crate::binary::catalogue::{self, SiteKind};
use crate::binary::code::Flow;
use crate::binary::facts::{Function, Level, OwnershipFacts};
use crate::binary::type_name;
use crate::model::frame::Role;
use crate::model::role::normalize;
use crate::model::stack::StackId;
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A group that grows, as the triage asks about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Growing {
    /// Its stacks with the bytes by which each grew, most first.
    pub stacks: Vec<(StackId, f64)>,
}

/// What the binaries say, group by group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explained {
    /// In the order of the question; `None` where nothing explains it.
    pub groups: Vec<Option<Explanation>>,
    /// In the order of the question: the loop that drives a growth, where it counts to an end.
    pub drivers: Vec<Option<Driver>>,
    /// What could not be told, and what would help.
    pub missing: Vec<Missing>,
}

/// A stack that grows.
#[derive(Clone, Copy, Debug)]
pub struct GrowingStack<'a> {
    /// Bytes by which it grew; only positive growth counts.
    pub growth_bytes: f64,
    /// Innermost first, hidden and inlined frames included; [`FrameView::svma`] lies inside the call.
    pub frames: &'a [FrameView],
}

/// Why a group grows, as far as the binary tells. It can be kept and read again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Explanation {
    /// The word of the contract for the bug pattern.
    pub pattern: Option<Cow<'static, str>>,
    /// Sites that explain it, best first.
    pub sites: Vec<SiteView>,
    /// Score of the best site by the terms of this module; 0 without a site.
    pub score: f64,
    /// The static, thread-local or type that holds what grows, with the path.
    pub holder: Option<String>,
    /// The types of the reference cycle that what grows belongs to.
    pub cycle: Vec<String>,
    /// What shows it, each with its source.
    pub evidence: Vec<Evidence>,
    /// Share of the group's growth in the stacks that the explanation fits.
    pub covered: f64,
}

impl Explanation {
    /// How much it says: of the answers of two binaries the higher one counts.
    pub fn weight(&self) -> f64 {
        let named = if self.holder.is_some() || !self.cycle.is_empty() { 1.0 } else { 0.0 };
        self.score.max(named) * self.covered
    }
}

/// What a binary says, computed once for all groups.
#[derive(Debug)]
pub struct Knowledge<'g, 'f> {
    graph: &'g Graph<'f>,
    sites: Sites,
    cycles: Vec<Cycle>,
    arena_owners: Owners,
    /// Code of the functions: (first address, first address after it, index), by address.
    code: Vec<(u64, u64, usize)>,
}

impl<'g, 'f> Knowledge<'g, 'f> {
    /// Finds sites, cycles and the owners of arenas.
    pub fn new(graph: &'g Graph<'f>, sources: &[SourceText]) -> Self {
        let functions = graph.facts.functions.iter().enumerate();
        let mut code: Vec<(u64, u64, usize)> =
            functions.flat_map(|(index, function)| function.body.ranges.iter().map(move |&(start, end)| (start, end, index))).collect();
        code.sort_unstable();
        Knowledge { graph, sites: sites_with(graph, sources), cycles: cycles(graph), arena_owners: graph.owners("bumpalo::Bump"), code }
    }

    /// The function whose code holds an address.
    fn function_at(&self, address: u64) -> Option<usize> {
        let after = self.code.partition_point(|&(start, ..)| start <= address);
        let &(_, end, index) = self.code.get(after.checked_sub(1)?)?;
        (address < end).then_some(index)
    }
}

// The terms of the score. Measured on labelled binaries; see docs/concepts/skipped-drops.md.
/// The lost type owns heap memory: without it a site explains nothing.
const OWNS: f64 = 3.0;
/// The site is in a function of the stack; less for each function further out.
const ON_STACK: f64 = 3.0;
const FURTHER_OUT: f64 = 0.25;
/// The site is in a function that one of the stack's functions calls.
const IN_CALLEE: f64 = 2.0;
/// The container that grows is inside the lost type; or it is known and is not; or the lost type ends in a trait object.
const INSIDE: f64 = 4.0;
const NOT_INSIDE: f64 = -3.0;
const BEHIND_OBJECT: f64 = 1.0;
/// What grows is a vector, a function of the stack collects in place, and there is a vector inside the lost type: it may be the same buffer.
const IN_PLACE: f64 = 2.0;
/// A call in the debug information, or a walk of the machine code.
const SEEN: f64 = 2.0;
const WALKED: f64 = 1.5;
/// The container was alive in a frame of the stack when it allocated.
const ALIVE: f64 = 1.0;
/// From here a site explains; from [`POSSIBLE`] it may.
pub const EXPLAINS: f64 = 8.0;
/// Below it a site is not named.
pub const POSSIBLE: f64 = 6.0;

/// A user function of a stack in the binary.
struct Person {
    /// As in [`View::users`].
    user: String,
    /// Index of its name.
    name: u32,
    /// The function whose code it is in.
    function: usize,
    /// The inlined call that it is; `None` for the function itself.
    frame: Option<u32>,
}

/// What a stack looks like in the binary.
struct View<'a> {
    growth: f64,
    /// User functions, innermost first, closures folded, normalized.
    users: Vec<String>,
    /// Functions of the binary that its user frames are in: indices into the facts.
    functions: Vec<usize>,
    /// The same with what the binary knows of them.
    people: Vec<Person>,
    /// What is allocated: the container, as keys that a conversion keeps (see [`equivalents`]); empty when unknown.
    growing: Vec<String>,
    /// What is allocated is a vector's buffer.
    is_vector: bool,
    /// A function of the stack collects one vector's buffer into another's (`into_iter().map().collect()`).
    collects_in_place: bool,
    /// A chunk of an arena.
    arena: bool,
    /// Types alive in its frames: (function, type).
    alive: Vec<(String, String)>,
    /// Keys of the types of thread-locals that its frames access.
    thread_locals: Vec<String>,
    frames: &'a [FrameView],
}

/// Explains a group of stacks; `None` when nothing in the binary does.
pub fn join(known: &Knowledge<'_, '_>, stacks: &[GrowingStack<'_>]) -> Option<Explanation> {
    let views: Vec<View<'_>> = stacks.iter().filter(|stack| stack.growth_bytes > 0.0).map(|stack| view(known, stack)).collect();
    let total: f64 = views.iter().map(|view| view.growth).sum();
    if views.is_empty() || total <= 0.0 {
        return None;
    }
    by_site(known, &views, total)
        .or_else(|| by_arena(known, &views, total))
        .or_else(|| by_cycle(known, &views, total))
        .or_else(|| by_static(known, &views, total))
}

fn view<'a>(known: &Knowledge<'_, '_>, stack: &GrowingStack<'a>) -> View<'a> {
    let facts = known.graph.facts;
    let mut view = View {
        growth: stack.growth_bytes,
        users: Vec::new(),
        functions: Vec::new(),
        people: Vec::new(),
        growing: Vec::new(),
        is_vector: false,
        collects_in_place: false,
        arena: false,
        alive: Vec::new(),
        thread_locals: Vec::new(),
        frames: stack.frames,
    };
    for frame in stack.frames {
        let name = normalize(&function_name(&frame.function)).into_owned();
        view.arena |= is_arena_growth(&frame.function);
        let place = frame.svma.and_then(|svma| Some((svma, known.function_at(svma)?)));
        if let Some((svma, index)) = place {
            let function = &facts.functions[index];
            for inner in chain(facts, function, innermost(function, svma)) {
                let argument = inner.name.arguments.first().filter(|_| inner.name.path.starts_with("std::thread::local::LocalKey::"));
                if let Some(key) = argument.map(|argument| type_name::key(&argument.name)).filter(|key| !view.thread_locals.contains(key)) {
                    view.thread_locals.push(key);
                }
            }
        }
        if frame.role != Some(Role::User) {
            // Only what lies between the allocator and the user's first function names what is allocated.
            if let (true, Some((svma, index))) = (view.users.is_empty(), place) {
                let function = &facts.functions[index];
                for inner in chain(facts, function, innermost(function, svma)) {
                    let arguments: Vec<&str> = inner.name.arguments.iter().map(|argument| argument.name.as_str()).collect();
                    let container = container_of(&inner.name.path, &arguments);
                    if let Some(container) = container {
                        view.growing = equivalents(&container);
                        view.is_vector = is_vector(&container);
                    }
                }
            }
            continue;
        }
        if view.users.last() != Some(&name) {
            view.users.push(name.clone());
        }
        let Some((svma, index)) = place else { continue };
        let function = &facts.functions[index];
        let mut inner = chain(facts, function, innermost(function, svma)).into_iter();
        if let Some(found) = inner.find(|inner| normalize(&function_name(&inner.name.path)) == name) {
            view.people.push(Person { user: name.clone(), name: found.name_id, function: index, frame: found.inlined });
        }
        if !view.functions.contains(&index) {
            view.functions.push(index);
            view.collects_in_place |= collects_in_place(facts, &facts.functions[index]);
            view.alive.extend(walk::alive(facts, &facts.functions[index], svma).into_iter().map(|alive| (name.clone(), alive)));
        }
    }
    view
}

/// Whether a type is a vector, or what a vector's buffer may become.
fn is_vector(name: &str) -> bool {
    matches!(type_name::base(name), "alloc::vec::Vec" | "alloc::raw_vec::RawVec" | "alloc::boxed::Box")
        && (type_name::base(name) != "alloc::boxed::Box" || name.contains("<["))
}

/// Whether a function collects in place: `alloc::vec::in_place_collect`, inlined or called.
fn collects_in_place(facts: &OwnershipFacts, function: &Function) -> bool {
    let is_one = |name: &str| name.contains("in_place_collect") || name.contains("from_iter_in_place");
    let inlined = function.body.inlined.iter().map(|inlined| &facts.names[inlined.name as usize]);
    let called = function.code.iter().flat_map(|code| &code.steps).filter_map(|step| match step.flow {
        Flow::Call(Some(target)) | Flow::Jump(Some(target)) => walk::callee(facts, target),
        _ => None,
    });
    inlined.into_iter().any(|name| is_one(&name.path) || is_one(&name.name)) || called.into_iter().any(|callee| is_one(&callee.path))
}

fn is_arena_growth(function: &str) -> bool {
    function.contains("bumpalo") && (function.contains("new_chunk") || function.contains("alloc_layout_slow"))
}

/// The container whose method asks for memory, from the method's path and type arguments.
fn container_of(path: &str, arguments: &[&str]) -> Option<String> {
    let argument = arguments.first()?;
    // Parts of collections without an element type say nothing.
    let (owner, _) = type_name::split_path(path)?;
    let owner = type_name::split_impl(owner).map_or(owner, |(subject, _)| subject);
    const OWNERS: [&str; 9] = [
        "alloc::vec::Vec",
        "alloc::raw_vec::RawVec",
        "alloc::boxed::Box",
        "alloc::rc::Rc",
        "alloc::sync::Arc",
        "alloc::collections::vec_deque::VecDeque",
        "alloc::collections::btree::map::BTreeMap",
        "std::collections::hash::map::HashMap",
        "hashbrown::map::HashMap",
    ];
    if owner == "alloc::string::String" {
        return Some(owner.to_owned());
    }
    if owner.ends_with("::HashMap") || owner.ends_with("::BTreeMap") {
        // std's map is hashbrown's: one spelling for both.
        let map = if owner.ends_with("::HashMap") { "std::collections::hash::map::HashMap" } else { owner };
        return OWNERS.contains(&owner).then(|| Some(format!("{map}<{argument}, {}>", arguments.get(1)?))).flatten();
    }
    OWNERS.contains(&owner).then(|| format!("{owner}<{argument}>"))
}

/// The spellings under which a buffer may be kept: conversions keep the allocation.
fn equivalents(container: &str) -> Vec<String> {
    let base = type_name::base(container);
    let element = type_name::type_arguments(container).first().map(|element| (*element).to_owned());
    let text =
        base == "alloc::string::String" || matches!(base, "alloc::vec::Vec" | "alloc::raw_vec::RawVec") && element.as_deref() == Some("u8");
    let mut names: Vec<String> = vec![container.to_owned()];
    if text {
        names.extend(
            [
                "alloc::string::String",
                "alloc::vec::Vec<u8>",
                "alloc::boxed::Box<str>",
                "alloc::boxed::Box<[u8]>",
                "alloc::ffi::c_str::CString",
            ]
            .map(str::to_owned),
        );
        names.extend(["std::path::PathBuf", "std::ffi::os_str::OsString"].map(str::to_owned));
    } else if let (Some(element), "alloc::vec::Vec" | "alloc::raw_vec::RawVec" | "alloc::collections::vec_deque::VecDeque") =
        (&element, base)
    {
        names.extend([
            format!("alloc::vec::Vec<{element}>"),
            format!("alloc::boxed::Box<[{element}]>"),
            format!("alloc::collections::vec_deque::VecDeque<{element}>"),
        ]);
    }
    let mut keys: Vec<String> = names.iter().map(|name| type_name::key(name)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Keys of every type that a value of this type owns, itself included; and whether a trait object ends it.
fn closure(graph: &Graph<'_>, name: &str) -> (HashSet<String, FxBuildHasher>, bool) {
    /// Types that are followed: beyond it everything is inside everything.
    const MOST: usize = 20_000;
    let mut keys = HashSet::default();
    let mut objects = false;
    let Some(start) = graph.find(name) else { return (keys, objects) };
    let mut seen: HashSet<NodeId, FxBuildHasher> = HashSet::default();
    let mut queue = vec![start];
    while let Some(node) = queue.pop() {
        if seen.len() >= MOST || !seen.insert(node) {
            continue;
        }
        objects |= graph.name(node).starts_with("dyn ");
        keys.insert(type_name::key(graph.name(node)));
        queue.extend(graph.edges(node).iter().filter(|edge| edge.kind != EdgeKind::Weak).map(|edge| edge.to));
    }
    (keys, objects)
}

fn by_site(known: &Knowledge<'_, '_>, views: &[View<'_>], total: f64) -> Option<Explanation> {
    let mut scored: Vec<(f64, f64, &Site)> = Vec::new();
    for site in known.sites.sites.iter().filter(|site| site.is_finding() && site.owns.is_yes()) {
        if !views.iter().any(|view| standpoint(known, view, site).is_some()) {
            continue;
        }
        let (inside, objects) = lost(known, site);
        let fitting: Vec<(f64, f64)> = views
            .iter()
            .filter_map(|view| Some((score(known, view, site, &inside, objects)?.total(), view.growth)))
            .filter(|(score, _)| *score >= POSSIBLE)
            .collect();
        let covered: f64 = fitting.iter().map(|(_, growth)| growth).sum();
        if covered > 0.0 {
            let mean = fitting.iter().map(|(score, growth)| score * growth).sum::<f64>() / covered;
            scored.push((mean, covered / total, site));
        }
    }
    scored.sort_by(|a, b| {
        (b.0 * b.1).total_cmp(&(a.0 * a.1)).then_with(|| a.2.function.cmp(&b.2.function)).then_with(|| a.2.type_name.cmp(&b.2.type_name))
    });
    let &(score, covered, best) = scored.first()?;
    let mut explanation = Explanation { pattern: pattern(best).map(Cow::Borrowed), score, covered, ..Explanation::default() };
    explanation.sites =
        scored.iter().filter(|(other, ..)| score - other < 2.0).map(|(score, _, site)| site_view(known, site, *score)).collect();
    let verb = if score >= EXPLAINS { "explains" } else { "may explain" };
    explanation.evidence.push(Evidence::new(
        format!("it {verb} {:.0} % of the growth: {}", covered * 100.0, terms(known, views, best)),
        format!("{score:.2} points; {EXPLAINS} explain, {POSSIBLE} may"),
    ));
    let alive = views.iter().flat_map(|view| &view.alive).find(|(_, alive)| {
        catalogue::arena_elements(alive)
            .is_some_and(|elements| elements.iter().any(|other| type_name::key(other) == type_name::key(&best.type_name)))
    });
    if let Some((function, alive)) = alive {
        explanation.evidence.push(Evidence::new(
            format!("a `{}` was alive in `{function}` when it allocated what grows", type_name::display(alive)),
            format!("exception table of {}", binary(known)),
        ));
    }
    Some(explanation)
}

/// The terms of a site's score for one stack, in words.
fn terms(known: &Knowledge<'_, '_>, views: &[View<'_>], site: &Site) -> String {
    let (inside, objects) = lost(known, site);
    let mut scored: Vec<Score> = views.iter().filter_map(|view| score(known, view, site, &inside, objects)).collect();
    scored.sort_by(|a, b| b.total().total_cmp(&a.total()));
    let Some(best) = scored.first() else { return String::new() };
    best.terms.iter().map(|(points, what)| format!("{what} ({points:+})")).collect::<Vec<_>>().join(", ")
}

/// How well a site fits a stack.
struct Score {
    /// Points, and for what.
    terms: Vec<(f64, &'static str)>,
}

impl Score {
    fn total(&self) -> f64 {
        self.terms.iter().map(|(points, _)| points).sum()
    }
}

/// Where a site stands as seen from a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standpoint {
    /// In the user function at this depth.
    OnStack(usize),
    /// In a function that the one at this depth calls.
    Called(usize),
}

/// Where a site stands; `None` where the stack has nothing to do with it.
fn standpoint(known: &Knowledge<'_, '_>, view: &View<'_>, site: &Site) -> Option<Standpoint> {
    let facts = known.graph.facts;
    let name = normalize(&site.function).into_owned();
    if let Some(depth) = view.users.iter().position(|user| *user == name) {
        return Some(Standpoint::OnStack(depth));
    }
    let starts: Vec<u64> = site.functions.iter().filter_map(|&at| Some(facts.functions.get(at)?.body.ranges.first()?.0)).collect();
    let depth_of = |frames: &[Frame<'_>]| {
        frames.iter().find_map(|frame| {
            let caller = normalize(&function_name(&frame.name.path)).into_owned();
            view.users.iter().position(|user| *user == caller)
        })
    };
    let called = view.functions.iter().filter_map(|&index| {
        let function = &facts.functions[index];
        // Inlined into it, or called by it.
        let inlined = function.body.inlined.iter().filter_map(|inlined| {
            let is_it = normalize(&function_name(&facts.names[inlined.name as usize].path)) == name;
            is_it.then(|| depth_of(&chain(facts, function, inlined.parent))).flatten()
        });
        let steps = function.code.iter().flat_map(|code| &code.steps);
        let direct = steps
            .filter(|step| matches!(step.flow, Flow::Call(Some(target)) if starts.contains(&target)))
            .filter_map(|step| depth_of(&chain(facts, function, innermost(function, step.at))));
        inlined.chain(direct).min()
    });
    called.min().map(Standpoint::Called)
}

/// Whether what is allocated below the function at `depth` can be what that function hands to the site: a function on the way
/// gives it back, takes the place for it, or is one of its type's own; or its holder was alive.
fn hands_over(known: &Knowledge<'_, '_>, view: &View<'_>, site: &Site, depth: usize) -> bool {
    let (facts, key) = (known.graph.facts, type_name::key(&site.type_name));
    if depth == 0 || view.growing.contains(&key) || lost_block(site).is_some_and(|block| view.growing.contains(&type_name::key(block))) {
        return true;
    }
    let holds = |name: &str| type_name::key(name) == key || closure(known.graph, name).0.contains(&key);
    let own = |user: &str| type_name::split_path(user).is_some_and(|(owner, _)| owner == type_name::base(&site.type_name));
    let pointee = |name: &str| type_name::split_pointer(name).map_or_else(|| name.to_owned(), |(_, inside)| inside.to_owned());
    let shares = |name: &str| {
        let base = type_name::base(name);
        ["::Arc", "::Rc", "Guard"].iter().any(|end| base.ends_with(end))
    };
    let on_the_way = &view.users[..depth];
    on_the_way.iter().any(|user| own(user))
        || view.people.iter().filter(|person| on_the_way.contains(&person.user)).any(|person| {
            let returned = facts.names[person.name as usize].returns;
            let parameters =
                facts.functions[person.function].body.locals.iter().filter(|local| local.is_parameter && local.frame == person.frame);
            returned.is_some_and(|id| holds(&facts.types.name(id)))
                || parameters.into_iter().any(|local| holds(&pointee(&facts.types.name(local.type_id))))
        })
        || view.alive.iter().any(|(user, alive)| match view.users.iter().position(|other| other == user) {
            // What is whole already is not being made.
            Some(at) if at == depth => type_name::key(alive) != key && !shares(alive) && holds(alive),
            Some(at) if at < depth => !shares(alive) && holds(alive),
            _ => false,
        })
}

/// The block that a site gives away with the value: `Box<T>` of `Box::into_raw`.
fn lost_block(site: &Site) -> Option<&str> {
    match &site.owns {
        Owns::Yes(via) if site.kind.loses_its_own_block() => Some(&via.owner),
        _ => None,
    }
}

/// Keys of everything that a site loses; and whether a trait object ends it.
fn lost(known: &Knowledge<'_, '_>, site: &Site) -> (HashSet<String, FxBuildHasher>, bool) {
    let (mut inside, objects) = closure(known.graph, &site.type_name);
    inside.insert(type_name::key(&site.type_name));
    inside.extend(lost_block(site).into_iter().flat_map(equivalents));
    (inside, objects)
}

fn score(known: &Knowledge<'_, '_>, view: &View<'_>, site: &Site, inside: &HashSet<String, FxBuildHasher>, objects: bool) -> Option<Score> {
    if view.arena {
        return None; // sites do not explain chunks, owners do
    }
    let place = match standpoint(known, view, site)? {
        Standpoint::OnStack(depth) => (ON_STACK - FURTHER_OUT * depth as f64, "its function is on the stack"),
        Standpoint::Called(depth) if hands_over(known, view, site, depth) => (IN_CALLEE, "a function of the stack calls its function"),
        Standpoint::Called(_) => return None,
    };
    let fits = if view.growing.is_empty() {
        (0.0, "what grows has no type")
    } else if view.growing.iter().any(|key| inside.contains(key)) {
        (INSIDE, "what grows is inside the lost type")
    } else if objects {
        (BEHIND_OBJECT, "what grows may be behind a trait object in the lost type")
    } else if view.collects_in_place && view.is_vector && inside.iter().any(|key| is_vector(key)) {
        (IN_PLACE, "what grows may be collected in place into a vector inside the lost type")
    } else {
        (NOT_INSIDE, "what grows is not inside the lost type")
    };
    let key = type_name::key(&site.type_name);
    let alive = view.alive.iter().any(|(_, alive)| {
        catalogue::arena_elements(alive).is_some_and(|elements| elements.iter().any(|element| type_name::key(element) == key))
    });
    let seen = match site.tier {
        1 => (SEEN, "the call is in the debug information"),
        3 => (SEEN, "the call is in the source text"),
        _ => (WALKED, "the machine code leaves without dropping it"),
    };
    let mut terms = vec![(OWNS, "the lost type owns heap memory"), place, fits, seen];
    if alive {
        terms.push((ALIVE, "it was alive when the memory was allocated"));
    }
    Some(Score { terms })
}

fn by_arena(known: &Knowledge<'_, '_>, views: &[View<'_>], total: f64) -> Option<Explanation> {
    let growing: f64 = views.iter().filter(|view| view.arena).map(|view| view.growth).sum();
    if growing * 2.0 < total {
        return None;
    }
    let mut explanation =
        Explanation { pattern: Some(Cow::Borrowed("bump_arena_outlives_work")), covered: growing / total, ..Explanation::default() };
    let source =
        format!("{} of {}", if known.arena_owners.roots.is_empty() { "drop glue and types" } else { "types and statics" }, binary(known));
    if let Some(root) =
        known.arena_owners.roots.first().filter(|_| known.arena_owners.roots.len() == 1).or_else(|| touched_root(known, views))
    {
        explanation.holder = Some(format!("{}: {}", root.name, root.path));
        explanation.evidence.push(Evidence::new(format!("the arena is held by `{}`: {}", root.name, root.path), source));
        return Some(explanation);
    }
    // An owner whose type a function of the stack borrows or keeps alive is the one; a local arena has none.
    let owners: Vec<_> =
        known.arena_owners.owners.iter().filter(|owner| !owner.is_library && !owner.type_name.contains("{closure_env")).collect();
    let named = owners.iter().find(|owner| views.iter().filter(|view| view.arena).any(|view| view.mentions(known, &owner.type_name)));
    let owner = named.or_else(|| owners.first().filter(|_| owners.len() == 1))?;
    explanation.holder = Some(format!("{}: {}", owner.type_name, owner.path));
    explanation.evidence.push(Evidence::new(format!("the arena is held by `{}`: {}", owner.type_name, owner.path), source));
    Some(explanation)
}

impl View<'_> {
    /// Whether a function of the stack has a variable of this type or a reference to it.
    fn mentions(&self, known: &Knowledge<'_, '_>, name: &str) -> bool {
        let facts = known.graph.facts;
        self.functions
            .iter()
            .flat_map(|&index| &facts.functions[index].body.locals)
            .any(|local| facts.types.name(local.type_id).contains(name))
    }
}

/// The root whose address the stack's functions take.
fn touched_root<'k>(known: &'k Knowledge<'_, '_>, views: &[View<'_>]) -> Option<&'k crate::analysis::ownership::owners::Root> {
    let facts = known.graph.facts;
    known.arena_owners.roots.iter().find(|root| {
        let by_name = views.iter().flat_map(|view| view.frames).any(|frame| frame.function.contains(&root.name));
        let by_address = root.address != 0
            && !root.thread_local
            && views.iter().flat_map(|view| &view.functions).any(|&index| {
                facts.functions[index].code.as_ref().is_some_and(|code| code.references.iter().any(|&(_, address)| address == root.address))
            });
        let key = type_name::key(&root.type_name);
        let by_access =
            root.thread_local && views.iter().flat_map(|view| &view.thread_locals).any(|accessed| key.contains(accessed.as_str()));
        by_name || by_address || by_access
    })
}

fn by_cycle(known: &Knowledge<'_, '_>, views: &[View<'_>], total: f64) -> Option<Explanation> {
    for cycle in known.cycles.iter().filter(|cycle| cycle.rank == Rank::Suspect && !cycle.is_library) {
        let names: HashSet<String, FxBuildHasher> = cycle.nodes.iter().map(|&node| type_name::key(known.graph.name(node))).collect();
        let inside: HashSet<String, FxBuildHasher> = cycle.types.iter().flat_map(|name| closure(known.graph, name).0).collect();
        // Something counted of the cycle is allocated or alive; payload counts with it only where it belongs to it.
        let counted = |view: &View<'_>| {
            let alive = view.alive.iter().any(|(_, alive)| {
                let base = type_name::base(alive);
                matches!(base, "alloc::rc::Rc" | "alloc::sync::Arc") && names.contains(&type_name::key(alive))
            });
            alive || view.growing.iter().any(|key| names.contains(key))
        };
        if !views.iter().any(&counted) {
            continue;
        }
        let covered: f64 =
            views.iter().filter(|view| counted(view) || view.growing.iter().any(|key| inside.contains(key))).map(|view| view.growth).sum();
        if covered * 2.0 < total {
            continue;
        }
        let evidence = Evidence::new(
            format!("{} can form a reference cycle: {}; {}", cycle.types.join(" and "), cycle.path, cycle.why),
            match known.graph.facts.level {
                Level::Types => format!("types of {}", binary(known)),
                _ => format!("drop glue of {}", binary(known)),
            },
        );
        return Some(Explanation {
            pattern: Some(Cow::Borrowed("rc_cycle")),
            cycle: cycle.types.clone(),
            evidence: vec![evidence],
            covered: covered / total,
            ..Explanation::default()
        });
    }
    None
}

fn by_static(known: &Knowledge<'_, '_>, views: &[View<'_>], total: f64) -> Option<Explanation> {
    let facts = known.graph.facts;
    let mut by_name: HashMap<String, (f64, String), FxBuildHasher> = HashMap::default();
    let mut ways: HashMap<NodeId, Ways, FxBuildHasher> = HashMap::default();
    for view in views.iter().filter(|view| !view.growing.is_empty()) {
        for variable in facts.types.statics.iter().filter(|variable| variable.address != 0) {
            let Some(node) = variable.type_id.and_then(|id| known.graph.of_type(id)) else { continue };
            let touched = view.functions.iter().any(|&index| {
                facts.functions[index]
                    .code
                    .as_ref()
                    .is_some_and(|code| code.references.iter().any(|&(_, address)| address == variable.address))
            });
            let name = facts.types.path(variable.path);
            if !touched && !view.frames.iter().any(|frame| frame.function.contains(&name)) || library::is_plain(known.graph.name(node)) {
                continue;
            }
            let target = view.growing.iter().find_map(|key| known.graph.find(key));
            let mut reaches = |target: NodeId| ways.entry(target).or_insert_with(|| Ways::to(known.graph, &[target])).reach(node);
            let Some(target) = target.filter(|&target| reaches(target)) else { continue };
            let held = format!("{name} holds a `{}`", short(known.graph.name(target)));
            by_name.entry(name).or_insert((0.0, held)).0 += view.growth;
        }
    }
    let mut found: Vec<(String, (f64, String))> = by_name.into_iter().collect();
    found.sort_by(|a, b| b.1.0.total_cmp(&a.1.0).then_with(|| a.0.cmp(&b.0)));
    let (name, (growth, held)) = found.into_iter().next()?;
    let evidence = vec![Evidence::new(held, format!("types and statics of {}", binary(known)))];
    Some(Explanation { holder: Some(name), evidence, covered: growth / total, ..Explanation::default() })
}

fn pattern(site: &Site) -> Option<&'static str> {
    Some(match site.kind {
        // A raw pointer is somebody's to take back; what is leaked is nobody's.
        SiteKind::BoxLeak | SiteKind::VecLeak | SiteKind::StringLeak if site.skip.contains("into_raw") => "into_raw",
        SiteKind::ArenaFreeze | SiteKind::BumpBoxLeak => "bump_slice_skips_drop",
        SiteKind::ArenaAlloc | SiteKind::ArenaAllocSlice => "bump_alloc_skips_drop",
        SiteKind::Forget => "mem_forget",
        SiteKind::ManuallyDrop | SiteKind::ManuallyDropField => "manually_drop",
        SiteKind::BoxLeak | SiteKind::VecLeak | SiteKind::StringLeak => "box_leak",
        SiteKind::RcIntoRaw | SiteKind::ArcIntoRaw | SiteKind::CStringIntoRaw => "into_raw",
        SiteKind::ArenaStr | SiteKind::ArenaCopy => return None,
    })
}

/// A site as a report shows it.
fn site_view(known: &Knowledge<'_, '_>, site: &Site, score: f64) -> SiteView {
    SiteView {
        kind: site.kind.word().to_owned(),
        skip: site.skip.rsplit("::").next().unwrap_or_default().to_owned(),
        type_name: type_name::display(&site.type_name).into_owned(),
        owns_via: match &site.owns {
            Owns::Yes(via) => via.text(),
            _ => String::new(),
        },
        function: site.function.clone(),
        file: site.file.clone(),
        line: site.line,
        tier: site.tier,
        via: site.via.clone(),
        addresses: site.addresses.clone(),
        complete: site.complete,
        binary: binary(known),
        explains: score >= EXPLAINS,
    }
}

fn binary(known: &Knowledge<'_, '_>) -> String {
    let facts = known.graph.facts;
    let name = facts.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match &facts.build_id {
        // Enough to tell builds apart; the table of symbols has it in full.
        Some(id) => format!("{name}, build-id {}...", id.to_string().chars().take(8).collect::<String>()),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_keep_their_identity_through_conversions() {
        assert!(equivalents("alloc::string::String").contains(&"alloc::boxed::Box<str>".to_owned()));
        assert!(equivalents("alloc::vec::Vec<u16, alloc::alloc::Global>").contains(&"alloc::boxed::Box<[u16]>".to_owned()));
        assert!(!equivalents("alloc::vec::Vec<u16>").contains(&"alloc::string::String".to_owned()));
    }

    #[test]
    fn containers_are_named_by_their_methods() {
        assert_eq!(container_of("alloc::vec::Vec::push", &["a::B"]).as_deref(), Some("alloc::vec::Vec<a::B>"));
        assert_eq!(container_of("<alloc::vec::Vec as core::iter::Extend>::extend", &["u8"]).as_deref(), Some("alloc::vec::Vec<u8>"));
        assert_eq!(container_of("alloc::raw_vec::RawVecInner::finish_grow", &["alloc::alloc::Global"]), None);
        let map = Some("std::collections::hash::map::HashMap<u32, u64>");
        assert_eq!(container_of("hashbrown::map::HashMap::insert", &["u32", "u64", "s::S"]).as_deref(), map);
        assert_eq!(container_of("hashbrown::map::HashMap::insert", &["u32"]), None);
    }
}
