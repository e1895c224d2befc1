//! `rss`: the ledger over time.

use super::args::{OutputArgs, PrivacyArgs, TimeArgs};
use super::output::Format;
use super::{Context, Outcome};
use crate::analysis::account;
use crate::analysis::redact::{Recorded, redact_accounting};
use crate::capture::{self, OpenOptions};
use crate::model::frame::Symbols;
use crate::origin::Notice;
use crate::report::chart;
use crate::report::rss::RssReport;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  heaptriage rss capture/
  while sleep 10; do date +%s; cat /proc/4121/smaps; done > series.txt
  heaptriage rss series.txt --format svg -o rss.svg";

/// Arguments of `rss`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct RssArgs {
    /// Capture directories, smaps, smaps_rollup, jemalloc statistics, dumps, series of them; `-` is standard input.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    privacy: PrivacyArgs,
}

/// Runs `rss`.
pub fn run(args: RssArgs, context: &Context) -> anyhow::Result<Outcome> {
    let format = args.output.format("rss")?;
    let mut output = args.output.create(format)?;
    let mut opened = capture::open(&args.inputs, &OpenOptions::default())?;
    for program in &opened.programs {
        opened.notices.push(Notice::new(program.display().to_string(), "is a program: not needed here, `rss` names no stacks"));
    }
    args.time.apply(&mut opened.timeline)?;
    let mut accounting = account::accounting(&opened.timeline);
    if args.privacy.redact {
        let recorded = Recorded { timeline: &mut opened.timeline, symbols: &mut Symbols::default(), notices: &mut opened.notices };
        redact_accounting(recorded, &mut accounting);
    }
    context.notices(&opened.notices);
    let report = RssReport { timeline: &opened.timeline, accounting: &accounting, notices: &opened.notices };
    let text = match format {
        Format::Json => report.json(),
        Format::Csv => report.csv(),
        Format::Svg => chart::svg(&report),
        _ => report.text(args.output.rows(usize::MAX)),
    };
    output.write_all(text.as_bytes())?;
    output.finish()?;
    Ok(Outcome::Done)
}
