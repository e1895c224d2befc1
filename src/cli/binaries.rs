//! Asking the binaries why stacks grow: which files to read, for which stacks, and what they could not tell.
//!
//! Read are only files that are proven to be the ones that ran, and only where a suspect has frames of the program's own
//! code. What they say is joined with the stacks by [`crate::analysis::join`].

use super::source::{BinarySources, SourceArgs};
use crate::analysis::finding::FrameView;
use crate::analysis::join::{self, Driver, Explained, Explanation, Growing, GrowingStack, Knowledge};
use crate::analysis::ownership::Graph;
use crate::analysis::view;
use crate::binary::facts::{Options, ownership_facts_with};
use crate::model::frame::{DebugInfo, ModuleId, ModuleStatus, Role, Symbols};
use crate::model::stack::StackId;
use crate::model::timeline::Timeline;
use std::path::Path;

/// Asks every binary that suspects have frames of their own code in.
pub fn explain(groups: &[Growing], timeline: &Timeline, symbols: &Symbols, source: &SourceArgs) -> Explained {
    let none = groups.len();
    let mut explained = Explained { groups: vec![None; none], drivers: vec![None; none], missing: Vec::new() };
    for (index, module) in (0u32..).zip(&symbols.modules) {
        let id = ModuleId(index);
        let wanted: Vec<usize> = (0..groups.len()).filter(|&at| concerns(&groups[at], id, timeline, symbols)).collect();
        let usable = module.status == ModuleStatus::Ok && module.debug_info != DebugInfo::None;
        let Some(file) = module.file.as_ref().filter(|_| usable && !wanted.is_empty()) else { continue };
        let beside = module.debug_files.clone();
        let options = Options {
            debug_file: beside.debug,
            alternate: beside.alternate,
            package: beside.package,
            split: beside.split,
            addresses: addresses(wanted.iter().map(|&at| &groups[at]), id, timeline, symbols),
            ..Options::default()
        };
        let mut sources = BinarySources::default();
        let read = ownership_facts_with(Path::new(file), &options, |types, built| {
            sources = source.of_binary(types, built);
            sources.lines.clone()
        });
        let Ok(facts) = read else { continue };
        let graph = Graph::new(&facts);
        let known = Knowledge::new(&graph, &sources.texts);
        for &at in &wanted {
            let (found, driver) = explain_group(&known, &groups[at], id, timeline, symbols);
            explained.drivers[at] = explained.drivers[at].take().or(driver);
            let better = |new: &Explanation| explained.groups[at].as_ref().is_none_or(|old| new.weight() > old.weight());
            if let Some(found) = found.filter(better) {
                explained.groups[at] = Some(found);
            }
        }
        let silent = wanted.iter().any(|&at| explained.groups[at].is_none());
        explained
            .missing
            .extend(silent.then(|| join::limits(&facts, &module.name, &sources.notes(), source.is_wanted())).into_iter().flatten());
    }
    explained
}

fn explain_group(
    known: &Knowledge<'_, '_>,
    group: &Growing,
    module: ModuleId,
    timeline: &Timeline,
    symbols: &Symbols,
) -> (Option<Explanation>, Option<Driver>) {
    let frames: Vec<(f64, Vec<FrameView>)> =
        group.stacks.iter().map(|&(stack, growth)| (growth, frames_in(stack, module, timeline, symbols))).collect();
    let stacks: Vec<GrowingStack<'_>> = frames.iter().map(|(growth, frames)| GrowingStack { growth_bytes: *growth, frames }).collect();
    (join::join(known, &stacks), join::driver(known, &stacks))
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

/// Addresses of the groups' frames in a module, in the file's own terms, sorted.
fn addresses<'g>(groups: impl Iterator<Item = &'g Growing>, module: ModuleId, timeline: &Timeline, symbols: &Symbols) -> Vec<u64> {
    let stacks = groups.flat_map(|group| &group.stacks);
    let frames = stacks.flat_map(|&(stack, _)| timeline.stacks.stack(stack)).flat_map(|address| symbols.frames(address));
    let mut found: Vec<u64> =
        frames.filter(|frame| frame.module == Some(module)).filter_map(|frame| frame.svma.map(|svma| svma.get())).collect();
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
