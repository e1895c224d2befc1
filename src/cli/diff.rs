//! `diff`: what grew and shrank between two dumps, two captures, two runs or two builds.

use super::args::TimeArgs;
use super::load::{self, Named};
use super::output::{Format, Output};
use super::symbols::SymbolArgs;
use super::top::ROWS;
use super::view::ViewArgs;
use super::{Context, Outcome, html, view};
use crate::analysis::diff::{Change, DiffOptions, Match, independent, independent_change, same_process, total_of};
use crate::analysis::export::{Builder, Dump, add_difference};
use crate::analysis::export_filter;
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::places::{By, NameMatch, Places, Shown};
use crate::analysis::redact::redact;
use crate::analysis::tree::Paths;
use crate::capture::{self, OpenOptions, Opened};
use crate::model::frame::{ModuleSymbols, Symbols};
use crate::model::heap::HeapProfile;
use crate::model::mapping::Mapping;
use crate::model::snapshot::Part;
use crate::origin::Notice;
use crate::report::views::{About, csv, jeprof, json, text};
use anyhow::bail;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct DiffArgs {
    /// BASE and CURRENT: dumps, or captures of which the last dump is taken. One capture, or more than two
    /// dumps, are a series whose first and last are compared.
    #[arg(required = true, value_name = "BASE CURRENT")]
    inputs: Vec<PathBuf>,
    /// The dump to compare with, as jeprof and pprof spell it.
    #[arg(long, value_name = "BASE", visible_alias = "diff_base")]
    base: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
}

const EXAMPLES: &str = "Examples:
  heaptriage diff jeprof.4121.0.i0.heap jeprof.4121.9.i9.heap
  heaptriage diff before/ after/ --by crate --focus index --format csv -o growth.csv";

/// Runs `diff`.
pub fn run(args: &DiffArgs, context: &Context) -> anyhow::Result<Outcome> {
    let pair = match (&args.base, args.inputs.as_slice()) {
        (Some(base), current) => Pair { base: base.clone(), current: current.to_vec() },
        (None, [base, current]) => Pair { base: base.clone(), current: vec![current.clone()] },
        (None, series) => return show(series_ends(series, &args.view)?, &args.view, context),
    };
    compare("diff", &pair, &args.view, context)
}

/// A dump and what it is compared with.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The first: its last dump.
    pub base: PathBuf,
    /// The second: its last dump.
    pub current: Vec<PathBuf>,
}

/// Two dumps with names, of one process or of two.
#[derive(Debug)]
pub struct Sides {
    /// The process of the first dump, and of the second where `other` is `None`.
    pub base: Named,
    /// Index of the first dump.
    pub base_at: usize,
    /// The process of the second dump, where it is another.
    pub other: Option<Named>,
    /// Index of the second dump.
    pub current_at: usize,
    /// How many dumps there were to choose from.
    pub of_dumps: (usize, usize),
    /// How stacks are matched.
    pub matched: Match,
}

impl Sides {
    /// Takes out what tells of the machine, where `view` asks for that.
    pub fn redact(&mut self, view: &ViewArgs) -> anyhow::Result<()> {
        if view.redact {
            view.filter.allows_redaction()?;
            let mut all: Vec<_> = [&mut self.base].into_iter().chain(&mut self.other).map(Named::recorded).collect();
            redact(&mut all);
        }
        Ok(())
    }

    /// The process of the second dump.
    pub fn current(&self) -> &Named {
        self.other.as_ref().unwrap_or(&self.base)
    }

    /// How names are compared.
    pub fn names(&self) -> NameMatch {
        if self.matched == Match::Name { NameMatch::Normalized } else { NameMatch::Exact }
    }

    /// Refuses counts that were not recorded, and a thread that is not there.
    pub fn check_recorded(&self, filter: &Filter, measure: Measure) -> anyhow::Result<()> {
        for (named, at) in [(&self.base, self.base_at), (self.current(), self.current_at)] {
            load::check_recorded(named.profile(at)?, &named.opened.timeline.snapshots[at], filter, measure)?;
        }
        Ok(())
    }

    /// What a view of both says of itself.
    pub fn about<'a>(
        &self,
        by: By,
        (measure, sort_cum): (Measure, bool),
        filters: Vec<String>,
        modules: &'a [ModuleSymbols],
        notices: &'a [Notice],
    ) -> anyhow::Result<About<'a>> {
        Ok(About {
            current: self.current().profiled(self.current_at, self.of_dumps.1)?,
            base: Some(self.base.profiled(self.base_at, self.of_dumps.0)?),
            by,
            measure,
            sort_cum,
            filters,
            modules,
            notices,
        })
    }

    /// The change of all stacks in `paths`, to which both dumps were added.
    pub fn total_change(&self, paths: &Paths, filter: &Filter, measure: Measure) -> anyhow::Result<Change> {
        if self.other.is_some() {
            return Ok(independent_change(paths.total.0, paths.total.1));
        }
        let (base, current) = (self.base.profile(self.base_at)?, self.base.profile(self.current_at)?);
        let options = DiffOptions { filter, measure, sort_cum: false };
        Ok(total_of(base, current, self.base.opened.timeline.stacks.len(), options, |stack| paths.keeps(stack)))
    }

    /// Modules of both processes.
    pub fn modules(&self) -> Vec<ModuleSymbols> {
        let mut modules = self.current().symbols.modules.clone();
        if self.other.is_some() {
            let known = |module: &ModuleSymbols| {
                self.current()
                    .symbols
                    .modules
                    .iter()
                    .any(|m| m.name == module.name && m.build_id == module.build_id && m.status == module.status)
            };
            modules.extend(self.base.symbols.modules.iter().filter(|module| !known(module)).cloned());
        }
        modules
    }

    /// What was left out or is odd on either side, each thing once.
    pub fn notices(&self) -> Vec<Notice> {
        let mut notices = self.base.opened.notices.clone();
        if let Some(other) = &self.other {
            notices.extend(other.opened.notices.iter().filter(|n| !self.base.opened.notices.contains(n)).cloned());
        }
        notices
    }
}

/// Opens a dump and what it is compared with.
pub fn sides(pair: &Pair, threads: bool, time: &TimeArgs, symbols: &SymbolArgs) -> anyhow::Result<Sides> {
    if pair.current.len() == 1 && load::is_file(&pair.base) && load::is_file(&pair.current[0]) {
        return two_files(&pair.base, &pair.current[0], threads, time, symbols);
    }
    let base = load::dumps(std::slice::from_ref(&pair.base), threads, time)?;
    let current = load::dumps(&pair.current, threads, time)?;
    two_processes(base, current, symbols)
}

/// Two plain files: of one process if their address spaces say so.
fn two_files(base: &PathBuf, current: &PathBuf, threads: bool, time: &TimeArgs, symbols: &SymbolArgs) -> anyhow::Result<Sides> {
    if base == current {
        let opened = load::dumps(std::slice::from_ref(base), threads, time)?;
        let last = opened.timeline.snapshots.len() - 1;
        return one_process(opened, last, last, symbols);
    }
    let runs = capture::open_runs(&[base.clone(), current.clone()], &OpenOptions { threads, ordered: true })?;
    let of = |opened: &Opened, path: &PathBuf| {
        let label = path.display().to_string();
        let from = |file: Option<&str>| file.is_some_and(|file| file == label || (file == "<stdin>" && label == "-"));
        opened.timeline.snapshots.iter().any(|s| s.heap.is_some() && from(s.file(Part::Heap)))
    };
    let place = |path| runs.iter().position(|opened| of(opened, path));
    let (Some(base_run), Some(current_run)) = (place(base), place(current)) else {
        // One is no dump, or both have the name of one snapshot, in folders of two captures.
        let alone = |path: &PathBuf| load::dumps(std::slice::from_ref(path), threads, time);
        return two_processes(alone(base)?, alone(current)?, symbols);
    };
    let mut runs: Vec<Option<Opened>> = runs.into_iter().map(Some).collect();
    let mut take = |index: usize| runs[index].take().unwrap_or_default();
    if base_run == current_run {
        let both = load::with_dumps(take(base_run), &TimeArgs::default())?;
        let at = |path: &PathBuf| {
            let label = path.display().to_string();
            let file = |file: Option<&str>| file.is_some_and(|file| file == label || (file == "<stdin>" && label == "-"));
            both.timeline.snapshots.iter().position(|s| file(s.file(Part::Heap))).unwrap_or(0)
        };
        let (base_at, current_at) = (at(base), at(current));
        return one_process(both, base_at, current_at, symbols);
    }
    let (base, current) = (take(base_run), take(current_run));
    two_processes(load::with_dumps(base, time)?, load::with_dumps(current, time)?, symbols)
}

fn one_process(opened: Opened, base_at: usize, current_at: usize, symbols: &SymbolArgs) -> anyhow::Result<Sides> {
    let named = load::name(opened, &[base_at, current_at], symbols)?;
    Ok(Sides { base: named, base_at, other: None, current_at, of_dumps: (1, 1), matched: Match::Address })
}

fn two_processes(base: Opened, current: Opened, symbols: &SymbolArgs) -> anyhow::Result<Sides> {
    let (base_at, current_at) = (base.timeline.snapshots.len() - 1, current.timeline.snapshots.len() - 1);
    let base = load::name(base, &[base_at], symbols)?;
    let current = load::name(current, &[current_at], symbols)?;
    let same = same_build((&base.symbols, base.profile(base_at)?), (&current.symbols, current.profile(current_at)?));
    let matched = if same { Match::Module } else { Match::Name };
    Ok(Sides { base, base_at, other: Some(current), current_at, of_dumps: (base_at + 1, current_at + 1), matched })
}

/// Whether both sides share a module, and none that they share is of two builds: by build-id, else by where its code lies in the file.
fn same_build(base: (&Symbols, &HeapProfile), current: (&Symbols, &HeapProfile)) -> bool {
    let in_both = |module: &ModuleSymbols| current.0.modules.iter().find(|other| other.name == module.name).cloned();
    let shared: Vec<_> = base.0.modules.iter().filter_map(|module| Some((module, in_both(module)?))).collect();
    let same = |(module, other): &(&ModuleSymbols, ModuleSymbols)| match (&module.build_id, &other.build_id) {
        (Some(a), Some(b)) => a == b,
        _ => match (code_of(base.1, module), code_of(current.1, other)) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        },
    };
    !shared.is_empty() && shared.iter().all(same)
}

/// From where to where in its file a module is mapped as code: two builds seldom agree to the page, two runs of one always do.
fn code_of(profile: &HeapProfile, module: &ModuleSymbols) -> Option<(u64, u64)> {
    let is_it = |mapping: &&Mapping| mapping.is_executable() && mapping.path().is_some_and(|path| path == module.path.as_bytes());
    let mut code = profile.mappings.mappings().iter().filter(is_it).map(|mapping| {
        let start = mapping.offset.get();
        (start, start.saturating_add(mapping.range.end.get().saturating_sub(mapping.range.start.get())))
    });
    let first = code.next()?;
    Some(code.fold(first, |whole, part| (whole.0.min(part.0), whole.1.max(part.1))))
}

fn series_ends(series: &[PathBuf], view: &ViewArgs) -> anyhow::Result<Sides> {
    let filter = view.filter.filter(&view.samples)?;
    let opened = load::dumps(series, filter.needs_threads(), &view.time)?;
    let last = opened.timeline.snapshots.len() - 1;
    if last == 0 {
        bail!(
            "only one heap dump among the inputs, and a difference needs two\n  help: heaptriage diff BASE CURRENT, or a capture with several dumps"
        );
    }
    let mut sides = one_process(opened, 0, last, &view.symbols)?;
    sides.of_dumps = (last + 1, last + 1);
    Ok(sides)
}

/// Runs a comparison of two inputs for `command`.
pub fn compare(command: &str, pair: &Pair, view: &ViewArgs, context: &Context) -> anyhow::Result<Outcome> {
    // Bad arguments are refused before the dumps are read.
    view.output.format(if command == "top" { "diff" } else { command })?;
    let threads = view.filter.filter(&view.samples)?.needs_threads();
    show(sides(pair, threads, &view.time, &view.symbols)?, view, context)
}

fn show(mut sides: Sides, args: &ViewArgs, context: &Context) -> anyhow::Result<Outcome> {
    let by = &args.by;
    let format = args.output.format("diff")?;
    let filter = args.filter.filter(&args.samples)?;
    let measure = args.samples.measure();
    let mut output = args.output.create(format)?;
    sides.check_recorded(&filter, measure)?;
    sides.redact(args)?;
    let (base, current) = (sides.base.profile(sides.base_at)?, sides.current().profile(sides.current_at)?);
    let filters: Vec<String> = filter.echo().into_iter().chain(args.time.echo()).collect();
    if matches!(format, Format::Svg | Format::Folded) {
        let plain = view::DrawingArgs::plain();
        view::difference(&sides, format, by.by(), &filter, measure, filters, &plain, &mut output)?;
        output.finish()?;
        context.notices(&sides.notices());
        return Ok(Outcome::Done);
    }
    let mut table = Places::new(by.by(), sides.names());
    let mut base_shown = Shown::new(&mut table, &sides.base.opened.timeline.stacks, &sides.base.symbols, &filter);
    let options = DiffOptions { filter: &filter, measure, sort_cum: by.cum };
    let diff = match &sides.other {
        None => same_process(&table, &mut base_shown, base, current, sides.base.opened.timeline.stacks.len(), options),
        Some(other) => {
            let mut shown = Shown::new(&mut table, &other.opened.timeline.stacks, &other.symbols, &filter);
            independent(&table, (&mut base_shown, base), (&mut shown, current), sides.matched, options)
        }
    };
    let (modules, notices) = (sides.modules(), sides.notices());
    let about = sides.about(table.by(), (measure, by.cum), filters, &modules, &notices)?;
    let all = args.output.rows(usize::MAX);
    let title = format!("heaptriage diff: {} to {}", side_name(&sides.base, sides.base_at), side_name(sides.current(), sides.current_at));
    let text = match format {
        Format::Pprof => {
            pprof_of(&sides, &filter, &title, &about, args.redact, &mut output)?;
            String::new()
        }
        Format::Html => {
            let text = text::diff(&about, &table, &diff, args.output.rows(ROWS), crate::report::views::Look::default());
            let base = html::Side { timeline: &sides.base.opened.timeline, symbols: &sides.base.symbols, at: sides.base_at };
            let named = sides.current();
            let current = html::Side { timeline: &named.opened.timeline, symbols: &named.symbols, at: sides.current_at };
            html::dumps(&title, &text, Some(base), current, &filter, measure, html::Look::default())?
        }
        Format::Json => json::diff(&about, &table, &diff, all),
        Format::Csv => csv::diff(&about, &table, &diff, all),
        Format::Jeprof => jeprof::diff(&about, &table, &diff, all, args.samples.show_bytes()),
        _ => text::diff(&about, &table, &diff, args.output.rows(ROWS), output.look()),
    };
    output.write_all(text.as_bytes())?;
    output.finish()?;
    context.notices(&notices);
    Ok(Outcome::Done)
}

/// What people know a side by.
fn side_name(named: &Named, at: usize) -> String {
    let name = named.opened.timeline.snapshots.get(at).map_or("", |s| s.file(Part::Heap).unwrap_or(&s.name));
    crate::origin::printable(name).into_owned()
}

/// Writes the difference as pprof: every frame that the filter does not name, of the stacks that it keeps.
fn pprof_of(sides: &Sides, filter: &Filter, title: &str, about: &About<'_>, redact: bool, out: &mut Output) -> anyhow::Result<()> {
    if filter.thread.is_some() {
        bail!("a difference as pprof is of all threads\n  help: leave out --thread");
    }
    let current = sides.current();
    let kept = |named: &Named, heap: &HeapProfile| {
        export_filter::kept(&named.opened.timeline.stacks, &named.symbols, heap, filter, Measure::InuseSpace)
    };
    let (base_heap, current_heap) = (sides.base.profile(sides.base_at)?, current.profile(sides.current_at)?);
    let (keep_base, keep_current) = (kept(&sides.base, base_heap), kept(current, current_heap));
    let mut builder = Builder::new(title, redact);
    builder.about().comments = std::iter::once(format!("{title}; values are estimates of the change"))
        .chain(about.filters.iter().map(|filter| format!("filter {filter}")))
        .collect();
    let snapshot = &current.opened.timeline.snapshots[sides.current_at];
    builder.about().unix_ms = snapshot.time_source.is_time().then_some(snapshot.unix_ms);
    let base = Dump { heap: base_heap, stacks: &sides.base.opened.timeline.stacks, symbols: &sides.base.symbols, keep: Some(&keep_base) };
    let current =
        Dump { heap: current_heap, stacks: &current.opened.timeline.stacks, symbols: &current.symbols, keep: Some(&keep_current) };
    add_difference(&mut builder, &base, &current, filter);
    let mut profile = builder.finish();
    profile.restrict(filter);
    Ok(crate::report::pprof::write(&profile, Measure::InuseSpace, out)?)
}
