//! `trend`: growth per group of stacks over all dumps.

use super::args::{OutputArgs, PrivacyArgs, TimeArgs};
use super::output::Format;
use super::report::triaged;
use super::suppress::SuppressArgs;
use super::symbols::SymbolArgs;
use super::{Context, Outcome};
use crate::report::{text, trend};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Rows shown unless asked for more.
const ROWS: usize = 20;

/// Arguments of `trend`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  heaptriage trend capture/\n  heaptriage trend capture/ --counter documents --format csv -o growth.csv"
)]
pub struct TrendArgs {
    /// A capture directory, or dumps of one process.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    symbols: SymbolArgs,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    suppress: SuppressArgs,
    /// Measure growth against this counter of counters.csv, and time, only.
    #[arg(long, value_name = "NAME")]
    counter: Option<String>,
    #[command(flatten)]
    privacy: PrivacyArgs,
}

/// Runs `trend`.
pub fn run(args: &TrendArgs, context: &Context) -> anyhow::Result<Outcome> {
    let format = args.output.format("trend")?;
    let mut output = args.output.create(format)?;
    let mut done = triaged(&args.inputs, &args.symbols, &args.time, args.counter.as_deref(), &args.suppress, None)?;
    if args.privacy.redact {
        done.redact();
    }
    let places = done.places();
    if done.timeline.snapshots.iter().all(|snapshot| snapshot.heap.is_none()) {
        context.notices(&done.notices);
        anyhow::bail!(
            "no heap dump among the inputs: growth by stack needs two or more\n  help: `heaptriage rss` shows smaps, statistics and metrics over time"
        );
    }
    match format {
        Format::Json => writeln!(output, "{}", serde_json::to_string_pretty(&trend::value(&done.triage, &places))?)?,
        Format::Csv => output.write_all(trend::csv(&done.triage, &places).as_bytes())?,
        _ => output.write_all(text::render(&trend::blocks(&done.triage, &places, args.output.rows(ROWS))).as_bytes())?,
    }
    output.finish()?;
    context.notices(&done.notices);
    Ok(Outcome::Done)
}
