//! Asking the binaries why stacks grow: which files to read, for which stacks, and what they could not tell.
//!
//! Read are only files that are proven to be the ones that ran, and only where a suspect has frames of the program's own
//! code. What they say is joined with the stacks by [`crate::analysis::join`].

use super::executable::kept;
use super::source::{BinarySources, SourceArgs};
use crate::analysis::finding::{FrameView, Missing};
use crate::analysis::join::{self, Driver, Explained, Explanation, Growing, GrowingStack, Knowledge};
use crate::analysis::ownership::Graph;
use crate::analysis::view;
use crate::binary::facts::{Options, ownership_facts_with};
use crate::model::frame::{DebugInfo, ModuleId, ModuleStatus, ModuleSymbols, Role, Symbols};
use crate::model::stack::StackId;
use crate::model::timeline::Timeline;
use crate::symbolize::cache::Kept;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where to look beside the binaries, and whether an answer of before will do.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Where the sources are.
    pub source: &'a SourceArgs,
    /// Neither read nor write the cache.
    pub no_cache: bool,
}

/// What one binary says of the groups that concern it. Kept as JSON: where the same stacks grew by as much, the binary says
/// the same.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Answer {
    /// In the order of the question.
    groups: Vec<Option<Explanation>>,
    /// In the order of the question: the loop that drives a growth.
    drivers: Vec<Option<Driver>>,
    /// What the binary does not let one see; told where a group stays unexplained.
    limits: Vec<Missing>,
}

/// Asks every binary that suspects have frames of their own code in.
pub fn explain(groups: &[Growing], timeline: &Timeline, symbols: &Symbols, asking: Asking<'_>) -> Explained {
    let none = groups.len();
    let mut explained = Explained { groups: vec![None; none], drivers: vec![None; none], missing: Vec::new() };
    for (index, module) in (0u32..).zip(&symbols.modules) {
        let id = ModuleId(index);
        let wanted: Vec<usize> = (0..groups.len()).filter(|&at| concerns(&groups[at], id, timeline, symbols)).collect();
        let usable = module.status == ModuleStatus::Ok && module.debug_info != DebugInfo::None;
        let Some(file) = module.file.as_ref().filter(|_| usable && !wanted.is_empty()) else { continue };
        let frames: Vec<Stacks> = wanted.iter().map(|&at| stacks_in(&groups[at], id, timeline, symbols)).collect();
        let Some(answer) = ask(Path::new(file), module, &frames, asking) else { continue };
        for ((&at, found), driver) in wanted.iter().zip(answer.groups).zip(answer.drivers) {
            explained.drivers[at] = explained.drivers[at].take().or(driver);
            let better = |new: &Explanation| explained.groups[at].as_ref().is_none_or(|old| new.weight() > old.weight());
            if let Some(found) = found.filter(better) {
                explained.groups[at] = Some(found);
            }
        }
        if wanted.iter().any(|&at| explained.groups[at].is_none()) {
            explained.missing.extend(answer.limits);
        }
    }
    explained
}

/// The answer of one binary, from the cache where it is there; `None` where the file cannot be read.
fn ask(file: &Path, module: &ModuleSymbols, groups: &[Stacks], asking: Asking<'_>) -> Option<Answer> {
    let beside = module.debug_files.clone();
    let options = Options {
        debug_file: beside.debug,
        alternate: beside.alternate,
        package: beside.package,
        split: beside.split,
        named_only: true,
        addresses: addresses(groups),
        ..Options::default()
    };
    // Sources change by themselves: what they say is read each time.
    let keeps = !asking.no_cache && !asking.source.is_wanted();
    let kept = keeps.then(|| kept(file, &options, &["join", &module.name, &question(groups)])).flatten();
    if let Some(answer) = kept.as_ref().and_then(Kept::read).and_then(|answer| serde_json::from_slice::<Answer>(&answer).ok())
        && (answer.groups.len(), answer.drivers.len()) == (groups.len(), groups.len())
    {
        return Some(answer);
    }
    let mut sources = BinarySources::default();
    let facts = ownership_facts_with(file, &options, |types, built| {
        sources = asking.source.of_binary(types, built);
        sources.lines.clone()
    })
    .ok()?;
    let graph = Graph::new(&facts);
    let known = Knowledge::new(&graph, &sources.texts);
    let explain = |group: &Stacks| {
        let stacks: Vec<GrowingStack<'_>> = group.iter().map(|(growth, frames)| GrowingStack { growth_bytes: *growth, frames }).collect();
        (join::join(&known, &stacks), join::driver(&known, &stacks))
    };
    let (found, drivers) = groups.iter().map(explain).unzip();
    let answer = Answer { groups: found, drivers, limits: join::limits(&facts, &module.name, &sources.notes(), asking.source.is_wanted()) };
    if let Some(kept) = kept.filter(|_| facts.is_of_named_files())
        && let Ok(text) = serde_json::to_vec(&answer)
    {
        kept.store(&text);
    }
    Some(answer)
}

/// The stacks of a group in full: with another growth, another frame or another name the answer may be another.
fn question(groups: &[Stacks]) -> String {
    let mut text = String::new();
    for group in groups {
        text.push_str("group\n");
        for (growth, frames) in group {
            text.push_str(&format!("{:x}\n", growth.to_bits()));
            for frame in frames {
                let at = frame.svma.unwrap_or_default();
                text.push_str(&format!(" {at:x} {:?} {}\n", frame.role, frame.function));
            }
        }
    }
    text
}

/// Whether one of a group's stacks has a frame of the program's own code, or of a dependency, in a module.
fn concerns(group: &Growing, module: ModuleId, timeline: &Timeline, symbols: &Symbols) -> bool {
    let own = |stack: StackId| {
        timeline.stacks.stack(stack).any(|address| {
            symbols.frames(address).iter().any(|frame| {
                frame.module == Some(module) && matches!(frame.role, Role::User | Role::Dependency) && frame.unresolved.is_none()
            })
        })
    };
    group.stacks.iter().any(|&(stack, _)| own(stack))
}

/// Bytes by which stacks grew, with their frames, innermost first.
type Stacks = Vec<(f64, Vec<FrameView>)>;

fn stacks_in(group: &Growing, module: ModuleId, timeline: &Timeline, symbols: &Symbols) -> Stacks {
    group.stacks.iter().map(|&(stack, growth)| (growth, frames_in(stack, module, timeline, symbols))).collect()
}

/// Addresses of the stacks' frames, in the file's own terms, sorted.
fn addresses(groups: &[Stacks]) -> Vec<u64> {
    let frames = groups.iter().flatten().flat_map(|(_, frames)| frames);
    let mut found: Vec<u64> = frames.filter_map(|frame| frame.svma).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// A stack, with addresses only where a frame is in the module: those of other files mean nothing in this one.
fn frames_in(stack: StackId, module: ModuleId, timeline: &Timeline, symbols: &Symbols) -> Vec<FrameView> {
    let addresses = timeline.stacks.stack(stack);
    addresses
        .flat_map(|address| symbols.frames(address).iter().map(move |frame| (address, frame)))
        .map(|(address, frame)| {
            let mut shown = view::frame(&timeline.stacks, symbols, address, frame);
            shown.svma = shown.svma.filter(|_| frame.module == Some(module));
            shown
        })
        .collect()
}
