//! `top`: the heaviest owners of one dump.

use super::args::{ByArgs, FilterArgs, OutputArgs, SampleArgs, TimeArgs};
use super::diff::{self, Pair};
use super::load;
use super::output::Format;
use super::symbols::SymbolArgs;
use super::{Context, Outcome};
use crate::analysis::places::{NameMatch, Places, Shown};
use crate::analysis::top;
use crate::report::views::{About, csv, jeprof, json, text};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct TopArgs {
    /// A heap dump, or a capture of which the last dump is taken.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Show the difference to another dump, as `diff` does.
    #[arg(long, value_name = "BASE", visible_alias = "diff_base")]
    base: Option<PathBuf>,
    #[command(flatten)]
    by: ByArgs,
    #[command(flatten)]
    samples: SampleArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    symbols: SymbolArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "Examples:
  heaptriage top jeprof.4121.0.f.heap
  heaptriage top capture/ --by crate --sample inuse_objects --top 10";

/// Rows of text unless asked for more.
pub const ROWS: usize = 20;

/// Runs `top`.
pub fn run(args: &TopArgs, context: &Context) -> anyhow::Result<Outcome> {
    if let Some(base) = &args.base {
        let pair = Pair { base: base.clone(), current: args.inputs.clone() };
        return diff::compare("top", &pair, (&args.by, &args.samples, &args.filter, &args.time, &args.symbols, &args.output), context);
    }
    let format = args.output.format("top")?;
    let filter = args.filter.filter(&args.samples)?;
    let measure = args.samples.measure();
    let mut output = args.output.create(format)?;
    let opened = load::dumps(&args.inputs, filter.needs_threads(), &args.time)?;
    let last = opened.timeline.snapshots.len() - 1;
    let named = load::name(opened, &[last], &args.symbols)?;
    let profile = named.profile(last)?;
    load::check_recorded(profile, &named.opened.timeline.snapshots[last], &filter, measure)?;
    let mut table = Places::new(args.by.by(), NameMatch::Exact);
    let mut shown = Shown::new(&mut table, &named.opened.timeline.stacks, &named.symbols, &filter);
    let result = top::top(&table, &mut shown, profile, &filter, measure, args.by.cum);
    let about = About {
        current: named.profiled(last, last + 1)?,
        base: None,
        by: table.by(),
        measure,
        sort_cum: args.by.cum,
        filters: filter.echo().into_iter().chain(args.time.echo()).collect(),
        modules: &named.symbols.modules,
        notices: &named.opened.notices,
    };
    let all = args.output.rows(usize::MAX);
    let text = match format {
        Format::Json => json::top(&about, &table, &result, all),
        Format::Csv => csv::top(&about, &table, &result, all),
        Format::Jeprof => jeprof::top(&about, &table, &result, all, args.samples.show_bytes()),
        _ => text::top(&about, &table, &result, args.output.rows(ROWS), output.look()),
    };
    output.write_all(text.as_bytes())?;
    output.finish()?;
    context.notices(&named.opened.notices);
    Ok(Outcome::Done)
}
