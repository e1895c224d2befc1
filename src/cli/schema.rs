//! `schema`: the JSON Schema of an output.

use super::output::{Format, Output, choose};
use super::{Context, Outcome};
use crate::report::schemas::SCHEMAS;
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage schema top
  heaptriage schema diff > diff.schema.json")]
pub struct SchemaArgs {
    /// Which output.
    #[arg(value_parser = PossibleValuesParser::new(SCHEMAS.map(|(name, _)| name)))]
    name: String,
    /// Write to FILE instead of standard output; it is replaced only once it is complete.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format of the result: json, the only one.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[arg(long, hide = true, conflicts_with = "format")]
    json: bool,
}

/// Runs `schema`.
pub fn run(args: &SchemaArgs, _: &Context) -> anyhow::Result<Outcome> {
    let format = choose("schema", if args.json { Some(Format::Json) } else { args.format })?;
    let mut output = Output::create(args.output.as_deref(), format)?;
    let found = SCHEMAS.iter().find(|(name, _)| *name == args.name).map_or("", |(_, schema)| schema);
    output.write_all(found.as_bytes())?;
    output.finish()?;
    Ok(Outcome::Done)
}
