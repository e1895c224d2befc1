//! Sites: places where drop glue is skipped for a type, from the binary alone.
//!
//! | tier | finds | in |
//! |---|---|---|
//! | 1 ([`calls`]) | inlined calls and calls of functions that skip drop glue | debug builds; in release what does real work (`Bump::alloc`) |
//! | 2 ([`paths`]) | containers in an arena that some way out of a function leaves without dropping | release builds |
//! | 3 ([`source`]) | `forget`, `leak`, `into_raw`, `ManuallyDrop::new` in the source text | any build with functions in its debug information |
//!
//! `forget`, `leak`, `into_raw` and `ManuallyDrop` leave no trace in optimised code: without the sources they are not found there.
//!
//! A site says where something is never dropped, not that memory leaks: that needs growth, which heap dumps show.

pub mod calls;
pub mod frames;
pub mod paths;
pub mod source;

use crate::analysis::ownership::Graph;
use crate::analysis::ownership::rule::{Owns, Via};
pub use crate::binary::catalogue::SiteKind;
use crate::binary::facts::{Level, OwnershipFacts};
pub use crate::binary::type_name;
use crate::binary::types::{TypeId, TypeKind};
use crate::model::role::crate_of;
use frames::{Standing, standings};
use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;
pub use source::SourceText;

/// A place where drop glue is skipped.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// What it does.
    pub kind: SiteKind,
    /// Path of the function that skips the drop; empty where only its absence shows.
    pub skip: &'static str,
    /// The type whose destructor is skipped, as the debug information spells it.
    pub type_name: String,
    /// Whether that type owns heap memory.
    pub owns: Owns,
    /// The user's function, closures folded into it.
    pub function: String,
    /// Its source file.
    pub file: Option<String>,
    /// The line; `None` where unknown.
    pub line: Option<u32>,
    /// What stands at the line.
    pub line_of: LineOf,
    /// 1 inline entry or call, 2 path walk, 3 source text.
    pub tier: u8,
    /// Every jump on the way could be followed.
    pub complete: bool,
    /// Addresses: the inlined call's code, the call, or the way out that leaves without dropping; in the file's own addresses.
    pub addresses: Vec<u64>,
    /// Generic wrappers between the user's function and the function that skips the drop, outermost first.
    pub via: Vec<String>,
    /// Why it is harmless; `None` when nothing shows that.
    pub cleared: Option<String>,
    /// Whose code the function is.
    pub standing: Standing,
    /// The functions of the binary whose code it is in: indices into [`OwnershipFacts::functions`], ascending.
    pub functions: Vec<usize>,
}

/// What stands at the line of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineOf {
    /// The call that skips the drop.
    Call,
    /// The variable that takes the result, or the container's own declaration.
    Variable,
    /// The function.
    Function,
}

/// Everything found, with what was looked at.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    /// By file, line and type.
    pub sites: Vec<Site>,
    /// Containers in an arena whose elements own heap memory, that every way out drops or moves on.
    pub containers_dropped: usize,
    /// Containers of which symbols and line tables do not tell whether they are dropped.
    pub containers_untold: usize,
}

impl Site {
    /// Owns heap memory and nothing shows it to be harmless.
    pub fn is_finding(&self) -> bool {
        self.cleared.is_none() && !matches!(self.owns, Owns::No)
    }

    /// What would show it to be harmless.
    pub fn clears_if(&self) -> &'static str {
        match self.kind {
            SiteKind::ArenaFreeze => "the container is empty there, or its elements are dropped by hand (`ptr::drop_in_place`)",
            SiteKind::ArenaAlloc | SiteKind::ArenaAllocSlice => {
                "the value is read out again (`ptr::read`) or dropped by hand before the arena goes"
            }
            SiteKind::BumpBoxLeak => "`bumpalo::boxed::Box::from_raw` takes it back",
            SiteKind::Forget => "what it owned was moved out before",
            SiteKind::ManuallyDrop | SiteKind::ManuallyDropField => "`ManuallyDrop::drop`, `take` or `into_inner` runs on every way",
            SiteKind::BoxLeak => "it runs once, or `Box::from_raw` takes it back on every way",
            SiteKind::VecLeak | SiteKind::StringLeak => "it runs once, or `from_raw_parts` takes it back on every way",
            SiteKind::RcIntoRaw | SiteKind::ArcIntoRaw => "`from_raw` or `decrement_strong_count` runs for each one",
            SiteKind::CStringIntoRaw => "`CString::from_raw` takes it back, or the C code frees it",
            SiteKind::ArenaStr | SiteKind::ArenaCopy => "always",
        }
    }
}

/// Finds all sites of a binary that it shows itself.
pub fn sites(graph: &Graph<'_>) -> Sites {
    sites_with(graph, &[])
}

/// Finds all sites of a binary, those of its sources included: the texts whose [`source::lines_of_interest`] the facts were
/// read with.
pub fn sites_with(graph: &Graph<'_>, sources: &[SourceText]) -> Sites {
    let facts = graph.facts;
    let standings = standings(facts);
    let mut found = calls::find(graph, &standings);
    let walked = paths::find(graph, &standings);
    let mut result = Sites { containers_dropped: walked.dropped, containers_untold: walked.untold, ..Sites::default() };
    let mut containers: Vec<(Site, String)> = Vec::new();
    for (site, container) in walked.sites {
        containers.push((site.clone(), container));
        add(&mut found, site);
    }
    source::find(graph, &standings, sources, &mut found);
    for (site, container) in containers {
        given_away(&mut found, &site, &container);
    }
    fields(graph, &standings, &mut found);
    for site in &mut found {
        if site.cleared.is_none() && site.owns == Owns::No {
            site.cleared = Some(harmless(site));
        }
        site.addresses.sort_unstable();
        site.addresses.dedup();
        site.functions.sort_unstable();
        site.functions.dedup();
    }
    found.sort_by(|a, b| (&a.file, a.line, a.kind, &a.type_name, &a.function).cmp(&(&b.file, b.line, b.kind, &b.type_name, &b.function)));
    result.sites = found;
    result
}

/// Adds a site, or makes a known one more certain.
fn add(found: &mut Vec<Site>, site: Site) {
    let key = type_name::key(&site.type_name);
    let same = |other: &&mut Site| {
        let place = other.line == site.line || site.line_of != LineOf::Call || other.line_of != LineOf::Call;
        other.kind == site.kind && other.function == site.function && place && type_name::key(&other.type_name) == key
    };
    match found.iter_mut().find(same) {
        Some(known) => {
            known.addresses.extend(site.addresses);
            known.functions.extend(site.functions);
            known.complete &= site.complete;
            // An instance that is not cleared counts.
            if site.cleared.is_none() {
                known.cleared = None;
            }
            if site.line_of < known.line_of && site.line.is_some() {
                known.line = site.line;
                known.line_of = site.line_of;
            }
        }
        None => found.push(site),
    }
}

/// A container that a function leaves because it gave it away whole (`bump.alloc(map)`, `forget(map)`) is one loss: the call's.
fn given_away(found: &mut Vec<Site>, walked: &Site, container: &str) {
    let (container, element) = (type_name::key(container), type_name::key(&walked.type_name));
    let is_given =
        found.iter().any(|other| other.tier != 2 && other.function == walked.function && type_name::key(&other.type_name) == container);
    let is_walked = |site: &Site| {
        (site.tier, site.kind, &site.function) == (2, walked.kind, &walked.function) && type_name::key(&site.type_name) == element
    };
    found.retain(|site| !is_given || !is_walked(site));
}

fn harmless(site: &Site) -> String {
    let name = type_name::display(&site.type_name);
    if let Some(resource) = super::ownership::library::resource(&site.type_name) {
        return format!("`{name}` owns no heap memory (what is lost is {resource})");
    }
    match site.kind {
        SiteKind::ArenaStr => "a text in an arena owns no heap memory".to_owned(),
        SiteKind::ArenaCopy => format!("`{name}` is `Copy`"),
        _ => format!("`{name}` owns no heap memory"),
    }
}

/// Whether losing a value of this type through a site of this kind loses heap memory.
pub(crate) fn owns(graph: &Graph<'_>, kind: SiteKind, type_name: &str, arguments: &[&str]) -> Owns {
    if kind.is_harmless() {
        return Owns::No;
    }
    // `Vec<T, &Bump>::leak` loses the elements only.
    let in_arena = arguments.iter().any(|argument| argument.starts_with("&bumpalo::Bump"));
    if kind.loses_its_own_block() && !in_arena {
        let block = match kind {
            SiteKind::BoxLeak => format!("alloc::boxed::Box<{type_name}>"),
            SiteKind::VecLeak => format!("alloc::vec::Vec<{type_name}>"),
            SiteKind::RcIntoRaw => format!("alloc::rc::Rc<{type_name}>"),
            SiteKind::ArcIntoRaw => format!("alloc::sync::Arc<{type_name}>"),
            _ => type_name.to_owned(),
        };
        return Owns::Yes(Via { fields: Vec::new(), owner: block });
    }
    graph.owns(type_name)
}

/// Fields of type `ManuallyDrop<T>` in user types without a `Drop` implementation: nothing drops them.
fn fields(graph: &Graph<'_>, standings: &[Standing], found: &mut Vec<Site>) {
    let facts = graph.facts;
    if facts.level != Level::Types {
        return;
    }
    let types = &facts.types;
    let crates = user_crates(facts, standings);
    let is_structure = |&id: &TypeId| types.kind(id) == TypeKind::Struct;
    for id in types.ids().filter(is_structure) {
        for member in types.members(id) {
            let Some(target) = member.target else { continue };
            if !types.short_name(target).starts_with("ManuallyDrop<") {
                continue;
            }
            let (owner, field) = (types.name(id), types.texts.get(member.label));
            let inside = types.name(target);
            let Some(&inner) = type_name::type_arguments(&inside).first() else { continue };
            let is_user = crate_of(&owner).is_some_and(|krate| crates.contains(krate)) && !owner.contains("{closure");
            let owns = if is_user { graph.owns(inner) } else { continue };
            if !owns.is_yes() {
                continue;
            }
            let base = type_name::base(&owner).to_owned();
            let cleared = graph.has_drop_impl(&owner).then(|| format!("`{base}` has a `Drop` implementation, which may drop the field"));
            let site = Site {
                kind: SiteKind::ManuallyDropField,
                skip: "",
                type_name: inner.to_owned(),
                owns,
                function: format!("{base}.{field}"),
                file: None,
                line: None,
                line_of: LineOf::Function,
                tier: 1,
                complete: true,
                addresses: Vec::new(),
                via: Vec::new(),
                cleared,
                standing: Standing::User,
                functions: Vec::new(),
            };
            if !found.iter().any(|other| other.kind == site.kind && other.function == site.function) {
                found.push(site);
            }
        }
    }
}

/// The crates that have functions of the program's own.
fn user_crates<'f>(facts: &'f OwnershipFacts, standings: &[Standing]) -> HashSet<&'f str, FxBuildHasher> {
    let users = facts.names.iter().zip(standings).filter(|(_, standing)| **standing == Standing::User);
    users.filter_map(|(function, _)| Some(function.path.split_once("::")?.0)).collect()
}
