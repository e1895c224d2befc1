//! `tree`, `peek`, `list` and `flamegraph`: one dump, or two, as calls.

use super::args::{ByArgs, FilterArgs, OutputArgs, SampleArgs, TimeArgs};
use super::diff::{Pair, Sides, sides};
use super::load::{self, Named};
use super::output::{Format, Output};
use super::symbols::SymbolArgs;
use super::{Context, Outcome, html};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::peek;
use crate::analysis::places::{By, NameMatch, Places, Shown};
use crate::analysis::redact::redact;
use crate::analysis::tree::{self, Paths, Which};
use crate::capture::Opened;
use crate::model::frame::Symbols;
use crate::model::stack::AddressId;
use crate::report::views::palette::Palette;
use crate::report::views::{About, calls, folded, svg, text};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use regex::Regex;
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What every view of dumps takes.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// See [`ByArgs`].
    #[command(flatten)]
    pub by: ByArgs,
    /// See [`SampleArgs`].
    #[command(flatten)]
    pub samples: SampleArgs,
    /// See [`FilterArgs`].
    #[command(flatten)]
    pub filter: FilterArgs,
    /// See [`TimeArgs`].
    #[command(flatten)]
    pub time: TimeArgs,
    /// Leave out what tells of the machine: directories, the process's name, names of threads.
    #[arg(long)]
    pub redact: bool,
    /// See [`SymbolArgs`].
    #[command(flatten)]
    pub symbols: SymbolArgs,
    /// See [`OutputArgs`].
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `tree`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage tree jeprof.4121.0.f.heap --focus index
  heaptriage tree capture/ --by crate --min-share 2")]
pub struct TreeArgs {
    /// A heap dump, or a capture of which the last dump is taken.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Leave out branches below this share of all, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.5)]
    min_share: f64,
    #[command(flatten)]
    view: ViewArgs,
}

/// Arguments of `peek`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage peek jeprof.4121.0.f.heap read_page
  heaptriage peek capture/ '^milli::index' --all-frames")]
pub struct PeekArgs {
    /// A heap dump, or a capture of which the last dump is taken.
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// Which functions.
    #[arg(value_name = "REGEX")]
    regex: String,
    #[command(flatten)]
    view: ViewArgs,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage list jeprof.4121.0.f.heap read_page
  heaptriage list capture/ read_page --source-dir ~/src/indexer")]
pub struct ListArgs {
    /// A heap dump, or a capture of which the last dump is taken.
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// Which functions.
    #[arg(value_name = "REGEX")]
    regex: String,
    /// Where sources lie that are not where they were compiled: paths are looked up below it, from their whole
    /// length down to the file name. Repeatable.
    #[arg(long, value_name = "DIR")]
    source_dir: Vec<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
}

/// Arguments of `flamegraph`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage flamegraph jeprof.4121.0.f.heap -o heap.svg
  heaptriage flamegraph now.heap --base before.heap --icicle --by crate --palette safe -o growth.svg")]
pub struct FlamegraphArgs {
    /// A heap dump, or a capture of which the last dump is taken.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Show the difference to another dump: red grew, blue shrank.
    #[arg(long, value_name = "BASE", visible_alias = "diff_base")]
    base: Option<PathBuf>,
    #[command(flatten)]
    drawing: DrawingArgs,
    #[command(flatten)]
    view: ViewArgs,
}

/// How a flamegraph is drawn.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Drawing")]
pub struct DrawingArgs {
    /// Root at the top, callees below (a page begins that way).
    #[arg(long)]
    icicle: bool,
    /// Turn stacks round: functions that allocate at the root, their callers upon them.
    #[arg(long, visible_alias = "inverted")]
    reverse: bool,
    /// Leave out frames narrower than this, in pixels of an SVG 1,180 wide.
    #[arg(long, value_name = "PIXELS", default_value_t = svg::LEAST_WIDTH, alias = "minwidth")]
    min_width: f64,
    /// Title instead of what it is of.
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Colors.
    #[arg(long, value_name = "NAME", default_value = "role", alias = "colors")]
    palette: PaletteKind,
}

/// Colors of flamegraphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PaletteKind {
    /// By whose code it is: own, dependencies, library. Differences: red grew, blue shrank.
    #[default]
    Role,
    /// One color a crate. Differences: red grew, blue shrank.
    Crate,
    /// Told apart with any color vision. Differences: orange grew, purple shrank.
    #[value(alias = "colorblind", alias = "colourblind")]
    Safe,
}

impl DrawingArgs {
    /// As it is drawn unless asked otherwise.
    pub fn plain() -> Self {
        DrawingArgs { min_width: svg::LEAST_WIDTH, ..DrawingArgs::default() }
    }

    fn drawing(&self) -> svg::Drawing {
        let palette = match self.palette {
            PaletteKind::Role => Palette::Role,
            PaletteKind::Crate => Palette::Crate,
            PaletteKind::Safe => Palette::Safe,
        };
        svg::Drawing { title: self.title.clone(), palette, icicle: self.icicle, reverse: self.reverse }
    }

    /// The least share of the whole that is drawn.
    fn least(&self) -> anyhow::Result<f64> {
        anyhow::ensure!((0.0..=1_180.0).contains(&self.min_width), "--min-width is a width in pixels, from 0 to 1180");
        Ok(svg::share(self.min_width))
    }

    /// How a page begins.
    fn start(&self) -> html::Look {
        html::Look { reverse: self.reverse, safe_colors: self.palette == PaletteKind::Safe }
    }
}

/// One dump, opened and named, with the options of its view.
pub(super) struct Ready {
    pub(super) named: Named,
    pub(super) at: usize,
    pub(super) filter: Filter,
    pub(super) measure: Measure,
    pub(super) format: Format,
    pub(super) output: Output,
}

impl ViewArgs {
    /// Refuses bad arguments, opens the output, then the dump.
    pub(super) fn ready(&self, command: &str, inputs: &[PathBuf]) -> anyhow::Result<Ready> {
        let format = self.output.format(command)?;
        let filter = self.filter.filter(&self.samples)?;
        let measure = self.samples.measure();
        let output = self.output.create(format)?;
        let opened = load::dumps(inputs, filter.needs_threads(), &self.time)?;
        let at = opened.timeline.snapshots.len() - 1;
        let mut named = load::name(opened, &[at], &self.symbols)?;
        load::check_recorded(named.profile(at)?, &named.opened.timeline.snapshots[at], &filter, measure)?;
        if self.redact {
            self.filter.allows_redaction()?;
            redact(&mut [named.recorded()]);
        }
        Ok(Ready { named, at, filter, measure, format, output })
    }

    pub(super) fn about<'a>(&self, ready: &'a Ready, by: By) -> anyhow::Result<About<'a>> {
        Ok(About {
            current: ready.named.profiled(ready.at, ready.at + 1)?,
            base: None,
            by,
            measure: ready.measure,
            sort_cum: self.by.cum,
            filters: ready.filter.echo().into_iter().chain(self.time.echo()).collect(),
            modules: &ready.named.symbols.modules,
            notices: &ready.named.opened.notices,
        })
    }
}

/// Writes the result and says what was odd.
pub(super) fn finish(mut ready: Ready, bytes: &[u8], context: &Context) -> anyhow::Result<Outcome> {
    ready.output.write_all(bytes)?;
    ready.output.finish()?;
    context.notices(&ready.named.opened.notices);
    Ok(Outcome::Done)
}

/// Runs `tree`.
pub fn tree(args: &TreeArgs, context: &Context) -> anyhow::Result<Outcome> {
    let least = args.min_share / 100.0;
    anyhow::ensure!((0.0..=1.0).contains(&least), "--min-share is a share in percent, from 0 to 100");
    let ready = args.view.ready("tree", &args.inputs)?;
    let mut table = Places::new(args.view.by.by(), NameMatch::Exact);
    let mut shown = Shown::new(&mut table, &ready.named.opened.timeline.stacks, &ready.named.symbols, &ready.filter);
    let mut paths = Paths::new(&table);
    paths.add(&table, &mut shown, ready.named.profile(ready.at)?, Which::Current, &ready.filter, ready.measure);
    let tree = tree::build(&paths, &table, least * paths.weight().current);
    let about = args.view.about(&ready, table.by())?;
    let text = match ready.format {
        Format::Json => calls::tree_json(&about, &table, &paths, &tree, &shown.hidden()),
        _ => calls::tree_text(&about, &table, &paths, &tree, least, &shown.hidden(), ready.output.look()),
    };
    finish(ready, text.as_bytes(), context)
}

/// Functions shown by `peek` and `list` unless asked for more.
const FUNCTIONS: usize = 10;

/// Runs `peek`.
pub fn peek(args: &PeekArgs, context: &Context) -> anyhow::Result<Outcome> {
    let re = Regex::new(&args.regex).context("bad regular expression")?;
    let ready = args.view.ready("peek", std::slice::from_ref(&args.input))?;
    let mut table = Places::new(args.view.by.by(), NameMatch::Exact);
    let mut shown = Shown::new(&mut table, &ready.named.opened.timeline.stacks, &ready.named.symbols, &ready.filter);
    let found = peek::peek(&table, &mut shown, ready.named.profile(ready.at)?, &ready.filter, ready.measure, &re);
    anyhow::ensure!(!found.functions.is_empty(), "{}", nothing_matches(&args.input, &args.regex, &ready.filter));
    let about = args.view.about(&ready, table.by())?;
    let most = args.view.output.rows(FUNCTIONS);
    let text = match ready.format {
        Format::Json => calls::peek_json(&about, &table, &found, &shown.hidden(), most),
        _ => calls::peek_text(&about, &table, &found, &shown.hidden(), most, ready.output.look()),
    };
    finish(ready, text.as_bytes(), context)
}

/// Runs `list`.
pub fn list(args: &ListArgs, context: &Context) -> anyhow::Result<Outcome> {
    let re = Regex::new(&args.regex).context("bad regular expression")?;
    let ready = args.view.ready("list", std::slice::from_ref(&args.input))?;
    let mut table = Places::new(By::Function, NameMatch::Exact);
    let mut shown = Shown::new(&mut table, &ready.named.opened.timeline.stacks, &ready.named.symbols, &ready.filter);
    let found = peek::list(&table, &mut shown, ready.named.profile(ready.at)?, &ready.filter, ready.measure, &re);
    anyhow::ensure!(!found.functions.is_empty(), "{}", nothing_matches(&args.input, &args.regex, &ready.filter));
    let about = args.view.about(&ready, table.by())?;
    let most = args.view.output.rows(FUNCTIONS);
    let here = compiled_here(&ready.named.symbols, &ready.named.opened);
    let source = |file: &str| source(file, &args.source_dir, here.contains(file));
    let text = match ready.format {
        Format::Json => calls::list_json(&about, &table, &found, &shown.hidden(), &source, most),
        _ => calls::list_text(&about, &table, &found, &shown.hidden(), &source, most, ready.output.look()),
    };
    finish(ready, text.as_bytes(), context)
}

fn nothing_matches(input: &Path, regex: &str, filter: &Filter) -> String {
    let frames = if filter.all_frames { "" } else { ", or --all-frames if it is of the allocator or the library" };
    let (input, regex) = (input.display().to_string(), crate::origin::printable(regex));
    format!(
        "{}: no function in these stacks matches `{regex}`\n  help: `heaptriage top` lists the names{frames}",
        crate::origin::printable(&input)
    )
}

/// Endings of files that `list` reads: a path in debug information may name anything.
const SOURCES: [&str; 17] = ["rs", "c", "cc", "cpp", "cxx", "c++", "h", "hh", "hpp", "hxx", "inc", "inl", "ipp", "tcc", "go", "s", "S"];
/// Most bytes of a source file.
const MOST_SOURCE: u64 = 16 << 20;

/// Source files named by binaries that were given, or that lie where this machine has them. What a profile or a binary
/// inside a capture names may be any file of this machine: it is looked up below `--source-dir` only.
fn compiled_here<'a>(symbols: &'a Symbols, opened: &'a Opened) -> HashSet<&'a str> {
    let trusted: Vec<bool> = symbols
        .modules
        .iter()
        .map(|module| module.file.as_ref().is_some_and(|file| !opened.bin_dirs.iter().any(|dir| Path::new(file).starts_with(dir))))
        .collect();
    let frames = (0..opened.timeline.stacks.addresses().len() as u32).map(AddressId).flat_map(|address| symbols.frames(address));
    let named = frames.filter(|frame| frame.module.is_some_and(|module| trusted.get(module.0 as usize) == Some(&true)));
    named.filter_map(|frame| symbols.file(frame)).collect()
}

/// The lines of a source file: below a given directory, else where it was compiled if that is on this machine.
fn source(file: &str, directories: &[PathBuf], compiled_here: bool) -> Option<Vec<String>> {
    let path = Path::new(file);
    let ending = path.extension()?.to_str()?;
    if !SOURCES.contains(&ending) {
        return None;
    }
    let parts: Vec<&std::ffi::OsStr> = path.iter().filter(|part| *part != "/").collect();
    let inside = parts.iter().all(|part| *part != "..");
    let below = directories.iter().filter(|_| inside).flat_map(|directory| {
        let parts = &parts;
        (0..parts.len()).map(move |skipped| parts[skipped..].iter().fold(directory.clone(), |path, part| path.join(part)))
    });
    let found = below
        .chain(compiled_here.then(|| path.to_owned()))
        .find(|path| std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= MOST_SOURCE))?;
    let text = std::fs::read(found).ok()?;
    Some(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

/// Runs `flamegraph`.
pub fn flamegraph(args: &FlamegraphArgs, context: &Context) -> anyhow::Result<Outcome> {
    let (view, drawing) = (&args.view, &args.drawing);
    let least = drawing.least()?;
    if let Some(base) = &args.base {
        let format = view.output.format("flamegraph")?;
        let filter = view.filter.filter(&view.samples)?;
        let mut output = view.output.create(format)?;
        let pair = Pair { base: base.clone(), current: args.inputs.clone() };
        let mut sides = sides(&pair, filter.needs_threads(), &view.time, &view.symbols)?;
        sides.redact(view)?;
        let filters = filter.echo().into_iter().chain(view.time.echo()).collect();
        difference(&sides, format, view.by.by(), &filter, view.samples.measure(), filters, drawing, &mut output)?;
        output.finish()?;
        context.notices(&sides.notices());
        return Ok(Outcome::Done);
    }
    let ready = view.ready("flamegraph", &args.inputs)?;
    let mut table = Places::new(view.by.by(), NameMatch::Exact);
    let mut shown = Shown::new(&mut table, &ready.named.opened.timeline.stacks, &ready.named.symbols, &ready.filter);
    let mut paths = Paths::new(&table);
    paths.add(&table, &mut shown, ready.named.profile(ready.at)?, Which::Current, &ready.filter, ready.measure);
    if drawing.reverse {
        paths.reverse();
    }
    let mut bytes = Vec::new();
    if ready.format == Format::Html {
        let about = view.about(&ready, table.by())?;
        let words = text::level_words(&about, &paths.total.1, paths.stacks);
        let name = || format!("heaptriage flamegraph: {}", ready.named.opened.timeline.snapshots[ready.at].name);
        let title = drawing.title.clone().unwrap_or_else(name);
        let side = html::Side { timeline: &ready.named.opened.timeline, symbols: &ready.named.symbols, at: ready.at };
        bytes = html::dumps(&title, &words, None, side, &ready.filter, ready.measure, drawing.start())?.into_bytes();
    } else if ready.format == Format::Folded {
        folded::write(&table, &paths, false, &mut bytes)?;
    } else {
        let about = view.about(&ready, table.by())?;
        let tree = tree::build(&paths, &table, least * paths.weight().current);
        let look = drawing.drawing();
        let what = text::level_words(&about, &paths.total.1, paths.stacks);
        let caption = svg::Caption { what, hidden: &shown.hidden(), matched: None, look: &look };
        bytes = svg::flamegraph(&about, &table, &tree, &caption).into_bytes();
    }
    finish(ready, &bytes, context)
}

/// Writes a difference as a flamegraph or as folded stacks.
#[allow(clippy::too_many_arguments, reason = "what is compared, what of it, and how it is drawn")]
pub fn difference(
    sides: &Sides,
    format: Format,
    by: By,
    filter: &Filter,
    measure: Measure,
    filters: Vec<String>,
    drawing: &DrawingArgs,
    output: &mut Output,
) -> anyhow::Result<()> {
    let least = drawing.least()?;
    let (base, current) = (sides.base.profile(sides.base_at)?, sides.current().profile(sides.current_at)?);
    sides.check_recorded(filter, measure)?;
    let mut table = Places::new(by, sides.names());
    let mut base_shown = Shown::new(&mut table, &sides.base.opened.timeline.stacks, &sides.base.symbols, filter);
    let mut other_shown = sides.other.as_ref().map(|other| Shown::new(&mut table, &other.opened.timeline.stacks, &other.symbols, filter));
    let mut paths = Paths::new(&table);
    paths.add(&table, &mut base_shown, base, Which::Base, filter, measure);
    let hidden = match &mut other_shown {
        None => {
            paths.add(&table, &mut base_shown, current, Which::Current, filter, measure);
            base_shown.hidden()
        }
        Some(shown) => {
            paths.next_process();
            paths.add(&table, shown, current, Which::Current, filter, measure);
            shown.hidden()
        }
    };
    if drawing.reverse {
        paths.reverse();
    }
    if format == Format::Html {
        let name = |named: &Named, at: usize| named.opened.timeline.snapshots[at].name.clone();
        let sides_named =
            || format!("heaptriage flamegraph: {} to {}", name(&sides.base, sides.base_at), name(sides.current(), sides.current_at));
        let title = drawing.title.clone().unwrap_or_else(sides_named);
        let base = html::Side { timeline: &sides.base.opened.timeline, symbols: &sides.base.symbols, at: sides.base_at };
        let now = sides.current();
        let now = html::Side { timeline: &now.opened.timeline, symbols: &now.symbols, at: sides.current_at };
        let page = html::dumps(&title, &filters.join("\n"), Some(base), now, filter, measure, drawing.start())?;
        return Ok(output.write_all(page.as_bytes())?);
    }
    if format == Format::Folded {
        return Ok(folded::write(&table, &paths, true, output)?);
    }
    let (modules, notices) = (sides.modules(), sides.notices());
    let about = sides.about(by, (measure, false), filters, &modules, &notices)?;
    let tree = tree::build(&paths, &table, least * paths.weight().larger());
    let change = sides.total_change(&paths, filter, measure)?;
    let look = drawing.drawing();
    let what = text::change_level_words(&about, &change);
    let caption = svg::Caption { what, hidden: &hidden, matched: Some(sides.matched), look: &look };
    output.write_all(svg::flamegraph(&about, &table, &tree, &caption).as_bytes())?;
    Ok(())
}
