//! Inputs to a timeline with names: what every command that reads dumps begins with.

use super::load;
use super::symbols::SymbolArgs;
use crate::capture::{self, OpenOptions, Opened};
use crate::model::frame::Symbols;
use crate::model::timeline::Timeline;
use crate::origin::Notice;
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
    let mut opened = capture::open(inputs, options)?;
    let all: Vec<usize> = (0..opened.timeline.snapshots.len()).collect();
    let symbols = load::names(&mut opened, &all, args)?;
    let Opened { timeline, notices, .. } = opened;
    Ok(Named { timeline, symbols, notices })
}
