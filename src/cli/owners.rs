//! `owners`: who holds a type, and which types can form reference cycles.

use super::args::OutputArgs;
use super::output::Format;
use super::{Context, Outcome};
use crate::analysis::ownership::Graph;
use crate::analysis::ownership::cycles::cycles;
use crate::binary::facts::{Level, Options, OwnershipFacts, ownership_facts};
use crate::report::ownership::{OwnersReport, dot, json, text};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `owners`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage owners target/release/indexer --type bumpalo::Bump
      Who holds an arena, and which static keeps it alive for the life of the program.
  heaptriage owners target/release/indexer --cycles
      Types whose Rc or Arc can close a cycle.
  heaptriage owners target/release/indexer --roots
      Every static and thread-local that holds heap memory.")]
pub struct OwnersArgs {
    /// The executable or library, with its debug information.
    #[arg(value_name = "BINARY")]
    pub binary: PathBuf,
    /// The type to look for: its full name, its path without arguments, or the last segments of the path.
    /// Without it, and without --roots, cycles are shown.
    #[arg(long = "type", value_name = "NAME")]
    pub type_name: Option<String>,
    /// Show types that can form strong reference cycles.
    #[arg(long)]
    pub cycles: bool,
    /// Show only the statics and thread-locals that reach the type; without --type, all of them that hold heap memory.
    #[arg(long)]
    pub roots: bool,
    /// The file with the debug information, where it is kept apart from the binary.
    #[arg(long, value_name = "FILE")]
    pub debug_file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Owners shown before the rest is counted.
const ROWS: usize = 40;

/// Reads the binary and prints who holds what.
pub fn run(args: OwnersArgs, _context: &Context) -> anyhow::Result<Outcome> {
    let format = args.output.format("owners")?;
    let mut output = args.output.create(format)?;
    let facts = ownership_facts(&args.binary, &Options { debug_file: args.debug_file.clone(), ..Options::default() })?;
    let graph = Graph::new(&facts);
    let mut notes = notes(&facts);
    let owners = match args.type_name.as_deref() {
        Some(name) => Some(graph.owners(name)),
        None if args.roots => {
            let (owners, library) = graph.heap_roots();
            notes.extend(
                (library > 0).then(|| format!("{library} statics and thread-locals of the standard library hold heap memory too.")),
            );
            Some(owners)
        }
        None => None,
    };
    let cycles = (args.cycles || owners.is_none()).then(|| cycles(&graph));
    let report = OwnersReport {
        type_name: args.type_name.as_deref(),
        owners: owners.as_ref(),
        show_owners: !args.roots,
        cycles: cycles.as_deref(),
        notes,
        sees_roots: facts.level == Level::Types,
        rows: args.output.rows(ROWS),
    };
    let result = match format {
        Format::Json => json(&report)?,
        Format::Dot => dot(&report),
        _ => text(&report),
    };
    output.write_all(result.as_bytes())?;
    output.finish()?;
    Ok(Outcome::Done)
}

/// What the binary lets one see of ownership, and what to do where it shows less.
pub(super) fn notes(facts: &OwnershipFacts) -> Vec<String> {
    let mut notes = Vec::new();
    let first = match facts.level {
        Level::Types => "Debug info: types available, ownership at full strength.".to_owned(),
        Level::Lines | Level::LineTables => {
            "Debug info: line tables only, no types. Ownership is read from the drop glue in the machine code, \
             without field names, statics and thread-locals; rebuild with debug = 2 for those."
                .to_owned()
        }
        Level::Symbols => {
            "No debug info: ownership is read from the drop glue of the symbol table, incomplete; rebuild with debug = 2.".to_owned()
        }
        Level::Nothing => {
            "Neither debug info nor symbols: nothing can be said. Pass the unstripped binary, or its debug file with --debug-file."
                .to_owned()
        }
    };
    notes.push(first);
    if facts.missing_split > 0 {
        let name = facts.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        notes.push(format!(
            "The debug info is split and {} of its units were not found: put `{name}.dwp` next to the binary.",
            facts.missing_split
        ));
    }
    if facts.damaged > 0 {
        notes.push(format!("{} parts of the debug info are damaged and were left out.", facts.damaged));
    }
    notes
}
