//! Inputs to a timeline with names: what every command that reads dumps begins with.

use super::symbols::SymbolArgs;
use crate::address::BuildId;
use crate::capture::{self, OpenOptions, Opened};
use crate::model::frame::Symbols;
use crate::model::timeline::Timeline;
use crate::origin::Notice;
use crate::symbolize::{RecordedModule, symbolize};
use std::path::PathBuf;

/// A timeline with the names of its addresses.
#[derive(Debug)]
pub struct Named {
    /// What was read.
    pub timeline: Timeline,
    /// Names of its addresses.
    pub symbols: Symbols,
    /// What was left out or refused.
    pub notices: Vec<Notice>,
}

/// Opens and names.
///
/// # Errors
/// Nothing usable in the inputs; with `--strict` a binary that is missing or another build.
pub fn named(inputs: &[PathBuf], args: &SymbolArgs, options: &OpenOptions) -> anyhow::Result<Named> {
    let opened = capture::open(inputs, options)?;
    let (symbols, refused) = names(&opened, args);
    args.check(&symbols)?;
    let Opened { timeline, mut notices, .. } = opened;
    notices.extend(refused);
    Ok(Named { timeline, symbols, notices })
}

/// Names from the input itself (pprof), else from the binaries.
fn names(opened: &Opened, args: &SymbolArgs) -> (Symbols, Vec<Notice>) {
    let timeline = &opened.timeline;
    if let Some(symbols) = &timeline.symbols {
        return (symbols.clone(), Vec::new());
    }
    // Modules are loaded as a program runs: the snapshot with the most mappings knows the most addresses.
    let spaces = timeline.snapshots.iter().rev().filter_map(|s| s.heap.as_ref()).map(|heap| &heap.mappings);
    let Some(space) = spaces.max_by_key(|space| space.mappings().len()) else { return (Symbols::default(), Vec::new()) };
    let mut options = args.options();
    options.search_dirs.extend(opened.bin_dirs.iter().cloned());
    let recorded =
        |(path, id): &(String, Option<String>)| Some(RecordedModule { path: path.clone(), build_id: BuildId::from_hex(id.as_deref()?)? });
    options.recorded = timeline.process.modules.iter().filter_map(recorded).collect();
    symbolize(&timeline.stacks, space, &options)
}
