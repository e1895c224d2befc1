//! `owners`: who holds a type, and which types can form reference cycles.

use super::args::OutputArgs;
use super::executable::ExecutableArgs;
use super::output::Format;
use super::{Context, Outcome};
use crate::analysis::ownership::Graph;
use crate::analysis::ownership::cycles::cycles;
use crate::binary::facts::{Level, ownership_facts};
use crate::origin::printable;
use crate::report::ownership::{OwnersReport, dot, json, text};
use crate::symbolize::cache::Kept;
use clap::Args;
use std::io::Write;

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
    #[command(flatten)]
    executable: ExecutableArgs,
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
    #[command(flatten)]
    output: OutputArgs,
}

/// Owners shown before the rest is counted.
const ROWS: usize = 40;

/// Reads the binary and prints who holds what.
pub fn run(args: OwnersArgs, context: &Context) -> anyhow::Result<Outcome> {
    let format = args.output.format("owners")?;
    let mut output = args.output.create(format)?;
    let options = args.executable.options(context)?;
    let rows = args.output.rows(ROWS);
    let question = format!("owners {format:?} {rows} {} {}", args.cycles, args.roots);
    let asked = args.type_name.as_ref().map_or(vec![question.as_str()], |name| vec![question.as_str(), name]);
    let kept = args.executable.kept(&options, &asked);
    if let Some(known) = kept.as_ref().and_then(Kept::read) {
        output.write_all(&known)?;
        output.finish()?;
        return Ok(Outcome::Done);
    }
    let facts = ownership_facts(&args.executable.binary, &options)?;
    let graph = Graph::new(&facts);
    let mut notes = notes(&graph);
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
    if let Some(far) = owners.as_ref().map(|owners| owners.too_far).filter(|&far| far > 0) {
        notes.push(format!("{far} more types hold those at the far end of the longest ways: they were not followed."));
    }
    let cycles = (args.cycles || owners.is_none()).then(|| cycles(&graph));
    let report = OwnersReport {
        type_name: args.type_name.as_deref(),
        owners: owners.as_ref(),
        show_owners: !args.roots,
        cycles: cycles.as_deref(),
        notes,
        sees_roots: facts.level == Level::Types,
        rows,
    };
    let result = match format {
        Format::Json => json(&report)?,
        Format::Dot => dot(&report),
        _ => text(&report),
    };
    if let Some(kept) = kept.filter(|_| facts.is_of_named_files()) {
        kept.store(result.as_bytes());
    }
    output.write_all(result.as_bytes())?;
    output.finish()?;
    Ok(Outcome::Done)
}

/// What the binary lets one see of ownership, and what to do where it shows less.
pub(super) fn notes(graph: &Graph<'_>) -> Vec<String> {
    let facts = graph.facts;
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
    if !facts.refused.is_empty() {
        let names: Vec<String> = facts.refused.iter().map(|name| format!("`{}`", printable(name))).collect();
        notes.push(format!("Compressed and not read, as damaged or unfolding without end: {}.", names.join(", ")));
    }
    if facts.limited > 0 {
        notes.push(format!("{} parts of the debug info hold more than a compiler writes, and were left out.", facts.limited));
    }
    if graph.is_limited() {
        notes.push("Names of types hold more names than a compiler writes: what the innermost ones hold is not known.".to_owned());
    }
    notes
}
