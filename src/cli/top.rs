//! `top`: the heaviest owners of one dump.

use super::diff::{self, Pair};
use super::output::Format;
use super::view::{ViewArgs, finish};
use super::{Context, Outcome};
use crate::analysis::places::{NameMatch, Places, Shown};
use crate::analysis::top;
use crate::report::views::{csv, jeprof, json, text};
use clap::Args;
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
    view: ViewArgs,
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
        return diff::compare("top", &pair, &args.view, context);
    }
    let ready = args.view.ready("top", &args.inputs)?;
    let (by, output) = (&args.view.by, &args.view.output);
    let mut table = Places::new(by.by(), NameMatch::Exact);
    let mut shown = Shown::new(&mut table, &ready.named.opened.timeline.stacks, &ready.named.symbols, &ready.filter);
    let result = top::top(&table, &mut shown, ready.named.profile(ready.at)?, &ready.filter, ready.measure, by.cum);
    let about = args.view.about(&ready, table.by())?;
    let all = output.rows(usize::MAX);
    let text = match ready.format {
        Format::Json => json::top(&about, &table, &result, all),
        Format::Csv => csv::top(&about, &table, &result, all),
        Format::Jeprof => jeprof::top(&about, &table, &result, all, args.view.samples.show_bytes()),
        _ => text::top(&about, &table, &result, output.rows(ROWS), ready.output.look()),
    };
    finish(ready, text.as_bytes(), context)
}
