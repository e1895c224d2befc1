//! `schema`: the JSON Schema of an output.

use super::{Context, Outcome};
use crate::report::schemas::SCHEMAS;
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::io::Write;

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage schema top
  heaptriage schema diff > diff.schema.json")]
pub struct SchemaArgs {
    /// Which output.
    #[arg(value_parser = PossibleValuesParser::new(SCHEMAS.map(|(name, _)| name)))]
    name: String,
}

/// Runs `schema`.
pub fn run(args: &SchemaArgs, _: &Context) -> anyhow::Result<Outcome> {
    let found = SCHEMAS.iter().find(|(name, _)| *name == args.name).map_or("", |(_, schema)| schema);
    std::io::stdout().write_all(found.as_bytes())?;
    Ok(Outcome::Done)
}
