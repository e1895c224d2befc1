//! `convert`: a dump or a capture in the format of another tool.

use super::args::{FilterArgs, SampleArgs, TimeArgs};
use super::open::{self, Named};
use super::output::{Format, Output};
use super::symbols::SymbolArgs;
use super::{Context, Outcome, export};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::recording::recording;
use crate::capture::OpenOptions;
use crate::model::heap::HeapProfile;
use crate::model::snapshot::Snapshot;
use crate::report::{callgrind, dot, firefox, pprof, speedscope, stacks_json};
use clap::{Args, ValueEnum};
use flate2::{Compression, GzBuilder};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Write a dump or a capture in the format of another tool: pprof, speedscope, Firefox Profiler, KCachegrind, Graphviz, Parquet.
///
/// Frames are kept unless --hide, --show or --show-from name them (those of the allocator too, but for callgrind and dot, which
/// get them with --all-frames), and values are estimates (unsampled per stack). --sample is the number of folded stacks, and what pprof shows first; other formats carry every
/// number. Of a capture the last dump is converted, unless --snapshot names another; the Firefox Profiler and Parquet get
/// all of them over time.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage convert 1763650000123.heap -o leak.pb.gz && go tool pprof -http=: leak.pb.gz
  heaptriage convert capture/ --to firefox -o leak.firefox.json.gz")]
pub struct ConvertArgs {
    /// A dump, a pprof profile, a capture directory, or `-`.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// File to write; `-` for standard output. Its extension tells the format, unless --to does; `.gz` compresses.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Format to write.
    #[arg(long, value_name = "FORMAT")]
    to: Option<To>,
    /// Which snapshot of a capture: its name, or its number from 1; negative numbers count from the last.
    #[arg(long, value_name = "NAME|N", allow_hyphen_values = true)]
    snapshot: Option<String>,
    /// Tell threads apart, where the dump does.
    #[arg(long)]
    threads: bool,
    /// Leave out directories of paths, and thread names.
    #[arg(long)]
    redact: bool,
    #[command(flatten)]
    samples: SampleArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    symbols: SymbolArgs,
}

/// What `convert` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// pprof protobuf, gzip compressed (.pb.gz, .pprof).
    Pprof,
    /// One line a stack for flamegraph tools (.folded, .collapsed).
    Folded,
    /// speedscope.app (.speedscope.json).
    Speedscope,
    /// profiler.firefox.com: allocations over time, RSS and live tracks (.firefox.json).
    Firefox,
    /// Frames and stacks as plain JSON (.json).
    Json,
    /// One row a stack (.csv).
    Csv,
    /// KCachegrind and QCachegrind (.callgrind, callgrind.out.*).
    Callgrind,
    /// Graphviz call graph (.dot, .gv).
    Dot,
    /// One Parquet table of all snapshots, a row for each stack by name (.parquet).
    #[cfg(feature = "parquet")]
    Parquet,
}

/// Extensions, longest first where one ends in another.
const EXTENSIONS: &[(&str, To)] = &[
    (".speedscope.json", To::Speedscope),
    (".firefox.json", To::Firefox),
    (".profile.json", To::Firefox),
    (".json", To::Json),
    (".speedscope", To::Speedscope),
    (".pb", To::Pprof),
    (".pprof", To::Pprof),
    (".prof", To::Pprof),
    (".folded", To::Folded),
    (".collapsed", To::Folded),
    (".stacks", To::Folded),
    (".csv", To::Csv),
    (".callgrind", To::Callgrind),
    (".cachegrind", To::Callgrind),
    (".dot", To::Dot),
    (".gv", To::Dot),
    #[cfg(feature = "parquet")]
    (".parquet", To::Parquet),
];

impl To {
    /// The format that a file's name asks for.
    fn of_path(path: &Path) -> anyhow::Result<To> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        if plain.starts_with("callgrind.out.") {
            return Ok(To::Callgrind);
        }
        let found = EXTENSIONS.iter().find(|(extension, _)| plain.ends_with(extension));
        if let Some((_, to)) = found {
            return Ok(*to);
        }
        let help = match plain.rsplit('.').next() {
            Some("svg") => "`heaptriage flamegraph` writes SVG",
            Some("html") => "`heaptriage report --format html` and `heaptriage flamegraph --format html` write HTML",
            #[cfg(not(feature = "parquet"))]
            Some("parquet") => "this build has no Parquet: it was made without the feature `parquet`",
            _ => {
                "say it with --to, or name the file .pb.gz, .folded, .speedscope.json, .firefox.json, .json, .csv, .parquet, .callgrind or .dot"
            }
        };
        anyhow::bail!("the name `{}` does not tell a format\n  help: {help}", crate::origin::printable(&path.display().to_string()))
    }
}

/// Runs `convert`.
///
/// # Errors
/// No format, nothing usable in the inputs, no such snapshot, or the output cannot be written.
pub fn run(args: &ConvertArgs, context: &Context) -> anyhow::Result<Outcome> {
    let to = match (args.to, &args.output) {
        (Some(to), _) => to,
        (None, Some(path)) if path != Path::new("-") => To::of_path(path)?,
        _ => anyhow::bail!("no format to convert to\n  help: name a file with -o, or a format with --to"),
    };
    let compressed =
        to != To::Pprof && args.output.as_ref().is_some_and(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz")));
    let format = match to {
        _ if compressed => Format::Pprof, // binary: bytes go through as they are
        To::Pprof => Format::Pprof,
        #[cfg(feature = "parquet")]
        To::Parquet => Format::Pprof, // binary
        To::Json | To::Speedscope | To::Firefox => Format::Json,
        To::Folded | To::Csv | To::Callgrind | To::Dot => Format::Folded,
    };
    let filter = args.filter.filter(&args.samples)?;
    if to == To::Firefox && (filter.thread.is_some() || args.samples.measure() != Measure::InuseSpace) {
        anyhow::bail!(
            "the Firefox Profiler gets live allocations of all threads\n  help: leave out --thread and --sample, or convert to another format"
        );
    }
    #[cfg(feature = "parquet")]
    if to == To::Parquet && (filter.echo().iter().any(|option| option != "--raw-samples") || args.samples.measure() != Measure::InuseSpace)
    {
        anyhow::bail!("Parquet gets every stack with all its numbers\n  help: leave out filters and --sample, and choose in the query");
    }
    let mut output = Output::create(args.output.as_deref(), format)?;
    let threads = args.threads || filter.needs_threads();
    let mut input = open::named(&args.inputs, &args.symbols, &OpenOptions { threads, ..OpenOptions::default() })?;
    args.time.apply(&mut input.timeline)?;
    context.notices(&input.notices);
    if compressed {
        let mut gzip = GzBuilder::new().write(&mut output, Compression::default());
        write(to, args, &input, &filter, &mut gzip)?;
        gzip.finish()?;
    } else {
        write(to, args, &input, &filter, &mut output)?;
    }
    output.finish()?;
    Ok(Outcome::Done)
}

fn write(to: To, args: &ConvertArgs, input: &Named, filter: &Filter, out: &mut impl Write) -> anyhow::Result<()> {
    if to == To::Firefox {
        let title = input.timeline.process.name.as_deref().filter(|_| !args.redact).unwrap_or("heap");
        return Ok(firefox::write(&recording(&input.timeline, &input.symbols, filter, title, args.redact), out)?);
    }
    #[cfg(feature = "parquet")]
    if to == To::Parquet {
        let only = args.snapshot.as_deref().map(|asked| pick(&input.timeline.snapshots, Some(asked))).transpose()?;
        let only = only.map(|(snapshot, _)| snapshot.name.as_str());
        return Ok(out.write_all(&crate::fleet::single::write(&input.timeline, &input.symbols, only, filter.raw_samples)?)?);
    }
    let snapshot = pick(&input.timeline.snapshots, args.snapshot.as_deref())?;
    let measure = args.samples.measure();
    let mut profile = export::profile(input, snapshot, (filter, measure), args.redact)?;
    if matches!(to, To::Callgrind | To::Dot) {
        if !filter.all_frames {
            profile.hide_plumbing();
        }
        profile.name_empty_stacks();
    }
    match to {
        To::Pprof => pprof::write(&profile, measure, out)?,
        To::Folded => stacks_json::write_folded(&profile, measure, out)?,
        To::Speedscope => speedscope::write(&profile, out)?,
        To::Json => stacks_json::write(&profile, out)?,
        To::Csv => stacks_json::write_csv(&profile, out)?,
        To::Callgrind => callgrind::write(&profile, out)?,
        _ => dot::write(&profile, out)?,
    }
    Ok(())
}

/// The snapshot asked for, else the last with a dump.
fn pick<'a>(snapshots: &'a [Snapshot], asked: Option<&str>) -> anyhow::Result<(&'a Snapshot, &'a HeapProfile)> {
    let dumps: Vec<(&Snapshot, &HeapProfile)> = snapshots.iter().filter_map(|s| Some((s, s.heap.as_ref()?))).collect();
    let Some(&last) = dumps.last() else {
        anyhow::bail!("no heap dump among the inputs: there are no stacks to convert");
    };
    let Some(asked) = asked else { return Ok(last) };
    if let Some(found) = dumps.iter().find(|(s, _)| s.name == asked) {
        return Ok(*found);
    }
    let number: Option<i64> = asked.parse().ok();
    let index = number.and_then(|n| match n {
        1.. => usize::try_from(n - 1).ok(),
        _ => usize::try_from(n.checked_neg()?).ok().and_then(|back| dumps.len().checked_sub(back)),
    });
    index.and_then(|index| dumps.get(index)).copied().ok_or_else(|| {
        let names: Vec<&str> = dumps.iter().map(|(s, _)| s.name.as_str()).collect();
        let shown = crate::origin::printable(&names[..names.len().min(5)].join(", ")).into_owned();
        let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
        anyhow::anyhow!("no snapshot `{}` with a dump\n  help: there are {shown}{more}", crate::origin::printable(asked))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_tell_the_format() {
        let of = |name: &str| To::of_path(Path::new(name)).unwrap();
        assert_eq!(of("x/leak.pb.gz"), To::Pprof);
        assert_eq!(of("leak.speedscope.json"), To::Speedscope);
        assert_eq!(of("leak.firefox.json.gz"), To::Firefox);
        assert_eq!(of("LEAK.JSON"), To::Json);
        assert_eq!(of("callgrind.out.4121"), To::Callgrind);
        #[cfg(feature = "parquet")]
        assert_eq!(of("leak.parquet"), To::Parquet);
        assert!(To::of_path(Path::new("leak.svg")).unwrap_err().to_string().contains("flamegraph"));
        assert!(To::of_path(Path::new("leak")).is_err());
    }
}
