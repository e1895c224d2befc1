//! `sites`: places where drop glue is skipped for types that own heap memory.

use super::args::OutputArgs;
use super::executable::ExecutableArgs;
use super::output::Format;
use super::source::{BinarySources, SourceArgs};
use super::{Context, Outcome};
use crate::analysis::ownership::Graph;
use crate::analysis::sites::sites_with;
use crate::binary::facts::{Level, OwnershipFacts, ownership_facts_with};
use crate::report::sites::{SitesReport, json, sarif, text};
use crate::symbolize::cache::Kept;
use clap::Args;
use std::io::Write;

/// Arguments of `sites`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage sites target/release/indexer
      Where values that own heap memory are never dropped, from the binary and its debug information.
  heaptriage sites target/release/indexer --source-root .
      Also calls of forget, leak and into_raw, of which optimised code keeps no trace.
  heaptriage sites indexer --debug-file indexer.debug --json
      Every site with its types and addresses, cleared ones with the reason.")]
pub struct SitesArgs {
    #[command(flatten)]
    executable: ExecutableArgs,
    /// Show sites in dependencies too.
    #[arg(long)]
    pub dependencies: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Findings shown before the rest is counted.
const ROWS: usize = 40;

/// Reads the binary and prints where drops are skipped.
pub fn run(args: SitesArgs, context: &Context) -> anyhow::Result<Outcome> {
    let format = args.output.format("sites")?;
    let mut output = args.output.create(format)?;
    let mut sources = BinarySources::default();
    let options = args.executable.options(context)?;
    let rows = args.output.rows(ROWS);
    let question = format!("sites {format:?} {rows} {}", args.dependencies);
    // Sources change by themselves: what they say is read each time.
    let kept = if args.source.is_wanted() { None } else { args.executable.kept(&options, &[&question]) };
    if let Some(known) = kept.as_ref().and_then(Kept::read) {
        output.write_all(&known)?;
        output.finish()?;
        return Ok(Outcome::Done);
    }
    let facts = ownership_facts_with(&args.executable.binary, &options, |types, built| {
        sources = args.source.of_binary(types, built);
        sources.lines.clone()
    })?;
    let graph = Graph::new(&facts);
    let found = sites_with(&graph, &sources.texts);
    let binary = args.executable.binary.to_string_lossy();
    let report = SitesReport {
        binary: &binary,
        build_id: facts.build_id.as_ref().map(ToString::to_string),
        debug_info: debug_info(&facts),
        sites: &found,
        notes: notes(&graph, args.source.is_wanted().then_some(&sources)),
        rows,
        dependencies: args.dependencies,
    };
    let result = match format {
        Format::Json => json(&report)?,
        Format::Sarif => sarif(&report)?,
        _ => text(&report),
    };
    if let Some(kept) = kept.filter(|_| facts.is_of_named_files()) {
        kept.store(result.as_bytes());
    }
    output.write_all(result.as_bytes())?;
    output.finish()?;
    Ok(Outcome::Done)
}

fn debug_info(facts: &OwnershipFacts) -> &'static str {
    match facts.level {
        Level::Types => "full",
        Level::Lines | Level::LineTables => "lines",
        Level::Symbols => "names",
        Level::Nothing => "none",
    }
}

fn notes(graph: &Graph<'_>, sources: Option<&BinarySources>) -> Vec<String> {
    let facts = graph.facts;
    let mut notes = super::owners::notes(graph);
    if facts.rust_units == 0 && facts.cpp_units > 0 {
        notes.push("This is a C++ binary: skipped drops are looked for in Rust code only.".to_owned());
    } else if facts.rust_units > 0 {
        match sources {
            Some(sources) if facts.level >= Level::Lines => {
                notes.extend(sources.notes());
                notes.extend(sources.remark());
            }
            Some(_) => notes.push("Sources were not used: line tables do not say where functions are declared; rebuild with debug = 2.".to_owned()),
            None => notes.push(
                "In optimised code forget, leak, into_raw and ManuallyDrop leave no trace: pass the sources with --source-root to see those."
                    .to_owned(),
            ),
        }
    }
    if facts.functions.iter().any(|function| function.code.is_none()) {
        notes.push("The machine code of this architecture is not walked: only calls that the debug info shows were found.".to_owned());
    }
    notes
}
