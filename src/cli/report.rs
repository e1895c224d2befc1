//! `report`: the triage of a capture.

use super::args::{OutputArgs, PrivacyArgs, TimeArgs};
use super::binaries::{self, Asking};
use super::output::Format;
use super::source::{SourceArgs, places, snippets};
use super::suppress::{self, SuppressArgs};
use super::symbols::SymbolArgs;
use super::{Context, Outcome, html};
use crate::analysis::account;
use crate::analysis::finding::FrameView;
use crate::analysis::join::{Explained, Growing};
use crate::analysis::judge::Judged;
use crate::analysis::redact::{Recorded, redact_triage};
use crate::analysis::series::HeapSeries;
use crate::analysis::triage::{self, Triage};
use crate::analysis::view;
use crate::capture::program::Program;
use crate::capture::{self, OpenOptions};
use crate::model::frame::{ModuleStatus, Symbols};
use crate::model::timeline::Timeline;
use crate::origin::Notice;
use crate::report::{detectors, markdown, sarif, text, triage_document, triage_json};
use crate::symbolize::{RecordedModule, symbolize};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Suspects shown unless asked for more.
const SUSPECTS: usize = 3;

/// Is it a leak, whose is it, and what now: verdict, where the memory is, suspects with evidence, growth that is none.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage report capture/
  heaptriage report capture/ --binary target/release/indexer --format html -o leak.html")]
pub struct ReportArgs {
    /// A capture directory, or dumps, smaps and statistics of one process, or `-`.
    #[arg(required_unless_present = "list_detectors", value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) symbols: SymbolArgs,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    suppress: SuppressArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// Print the words of all detectors, one line each, and nothing else.
    #[arg(long)]
    list_detectors: bool,
    /// Measure growth against this counter of counters.csv, and time, only.
    #[arg(long, value_name = "NAME")]
    counter: Option<String>,
    /// Show allocator, library and runtime frames.
    #[arg(long)]
    all_frames: bool,
    /// Say how each number was derived.
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    privacy: PrivacyArgs,
}

/// A timeline with names and the triage of it.
#[derive(Debug)]
pub struct Triaged {
    /// What was read.
    pub timeline: Timeline,
    /// Names of its addresses.
    pub symbols: Symbols,
    /// What was left out or refused.
    pub notices: Vec<Notice>,
    /// The result.
    pub triage: Triage,
}

impl Triaged {
    /// Takes out what tells of the machine and its owner; names for the places come after it.
    pub fn redact(&mut self) {
        let recorded = Recorded { timeline: &mut self.timeline, symbols: &mut self.symbols, notices: &mut self.notices };
        redact_triage(recorded, &mut self.triage);
    }

    /// The frame where each judged group comes together, in the order of `triage.judged`.
    pub fn places(&self) -> Vec<FrameView> {
        let place = |judged: &Judged| {
            let at = judged.group.place()?;
            let frame = self.symbols.frames(at.address).get(at.depth as usize)?;
            Some(view::frame(&self.timeline.stacks, &self.symbols, at.address, frame))
        };
        self.triage.judged.iter().map(|judged| place(judged).unwrap_or_default()).collect()
    }
}

/// Opens, names and triages: what `report`, `check` and `trend` have in common. With `source` the binaries are asked why
/// suspects grow.
pub fn triaged(
    inputs: &[PathBuf],
    symbols: &SymbolArgs,
    time: &TimeArgs,
    counter: Option<&str>,
    suppress: &SuppressArgs,
    source: Option<&SourceArgs>,
) -> anyhow::Result<Triaged> {
    triaged_with(false, inputs, symbols, time, counter, suppress, source)
}

/// The same; for a page that shows the threads and every pair of dumps, all samples are kept.
pub fn triaged_with(
    for_page: bool,
    inputs: &[PathBuf],
    symbols: &SymbolArgs,
    time: &TimeArgs,
    counter: Option<&str>,
    suppress: &SuppressArgs,
    source: Option<&SourceArgs>,
) -> anyhow::Result<Triaged> {
    let (mut suppressions, remarks) = suppress.load()?;
    let mut opened = capture::open(inputs, &OpenOptions { threads: for_page, ..OpenOptions::default() })?;
    time.apply(&mut opened.timeline)?;
    opened.without_exit_dump();
    if let Some(name) = counter {
        let known: Vec<&str> = opened.timeline.counters.iter().map(|c| c.name.as_str()).collect();
        anyhow::ensure!(
            known.contains(&name),
            "no counter `{name}` in the capture\n  help: it has {}",
            match known.is_empty() {
                true => "no counters.csv".to_owned(),
                false => known.join(", "),
            }
        );
    }
    let (names, refused) = name_addresses(&opened, symbols);
    symbols.check(&names)?;
    let mut notices = opened.notices;
    notices.extend(refused.into_iter().chain(remarks));
    // Where the executable was handed over, it does not matter what the capture calls it.
    let moot = |notice: &Notice| notice.input.ends_with("capture.json") && notice.message.starts_with("`bin` names");
    let given = !symbols.binaries.is_empty() || !opened.programs.is_empty();
    notices.retain(|notice| !given || !moot(notice));
    let mut timeline = opened.timeline;
    timeline.process.malloc_conf_variable = timeline.process.malloc_conf_variable.take().or_else(|| variable_in_binaries(&names));
    // The capture's day, not the clock's: the same capture gives the same report tomorrow.
    let last = timeline.snapshots.last().filter(|last| last.time_source.is_time());
    suppressions.today = last.and_then(|last| suppress::day(last.unix_ms));
    let ledger = account::ledger(&timeline);
    let options = triage::Options { counter: counter.map(str::to_owned), suppressions };
    let series = if for_page { HeapSeries::of(&timeline) } else { HeapSeries::drain(&mut timeline) };
    let asking = source.map(|source| Asking { source, no_cache: symbols.no_cache });
    let ask = |groups: &[Growing]| asking.map_or_else(Explained::default, |asking| binaries::explain(groups, &timeline, &names, asking));
    let triage = triage::triage_with(&timeline, &series, &names, ledger, &options, &ask);
    Ok(Triaged { timeline, symbols: names, notices, triage })
}

/// The variable that the jemalloc in one of the binaries reads, where they are at hand.
fn variable_in_binaries(names: &Symbols) -> Option<String> {
    let files = names.modules.iter().filter(|module| module.status == ModuleStatus::Ok).filter_map(|module| module.file.as_deref());
    files.filter_map(|file| Program::read(Path::new(file), true).ok()).find_map(|program| Some(program.jemalloc?.variable))
}

/// Names from the input itself (pprof), else from the binaries.
fn name_addresses(opened: &capture::Opened, args: &SymbolArgs) -> (Symbols, Vec<Notice>) {
    let timeline = &opened.timeline;
    if let Some(symbols) = &timeline.symbols {
        return (symbols.clone(), Vec::new());
    }
    let spaces = timeline.snapshots.iter().rev().filter_map(|s| s.heap.as_ref()).map(|heap| &heap.mappings);
    let Some(space) = spaces.max_by_key(|space| space.mappings().len()) else { return (Symbols::default(), Vec::new()) };
    let mut options = args.options();
    options.search_dirs.extend(opened.bin_dirs.iter().cloned());
    options.binaries.extend(opened.binaries());
    let recorded = |(path, id): &(String, Option<String>)| {
        Some(RecordedModule { path: path.clone(), build_id: crate::address::BuildId::from_hex(id.as_deref()?)? })
    };
    options.recorded = timeline.process.modules.iter().filter_map(recorded).collect();
    symbolize(&timeline.stacks, space, &options)
}

/// Runs `report`.
pub fn run(args: &ReportArgs, context: &Context) -> anyhow::Result<Outcome> {
    let format = args.output.format("report")?;
    let mut output = args.output.create(format)?;
    if args.list_detectors {
        output.write_all(detectors::list().as_bytes())?;
        output.finish()?;
        return Ok(Outcome::Done);
    }
    let mut done = triaged_with(
        format == Format::Html,
        &args.inputs,
        &args.symbols,
        &args.time,
        args.counter.as_deref(),
        &args.suppress,
        Some(&args.source),
    )?;
    if args.source.is_wanted() && !args.privacy.redact {
        let owners: Vec<_> = done.triage.suspects.iter().map(|suspect| suspect.owner.clone()).collect();
        for snippet in snippets(&owners, &args.source) {
            done.triage.suspects[snippet.frame].source = snippet.lines;
        }
    }
    if args.privacy.redact {
        done.redact();
    }
    let options = triage_document::Options { top: args.output.rows(SUSPECTS), all_frames: args.all_frames, explain: args.explain };
    let blocks = || triage_document::compose(&done.triage, &done.symbols, &done.notices, options);
    match format {
        Format::Json => {
            let value = triage_json::value(&done.triage, &done.symbols, &done.notices);
            writeln!(output, "{}", serde_json::to_string_pretty(&value)?)?;
        }
        Format::Html => {
            let page = html::triage(&done.triage, &done.timeline, &done.symbols, &blocks(), args.all_frames)?;
            output.write_all(page.as_bytes())?;
        }
        Format::Sarif => {
            let suspects = &done.triage.suspects;
            // Places in the repository say nothing of the machine; with --redact they stay out all the same.
            let places = if args.privacy.redact { sarif::Places::new() } else { places(sarif::frames(suspects).iter(), &args.source) };
            let log = sarif::log(&sarif::findings(suspects, None), &sarif::rules(), &places);
            writeln!(output, "{}", serde_json::to_string_pretty(&log)?)?;
        }
        Format::Markdown => output.write_all(markdown::render(&blocks()).as_bytes())?,
        _ => output.write_all(text::render(&blocks()).as_bytes())?,
    }
    output.finish()?;
    context.notices(&done.notices);
    Ok(Outcome::Done)
}
