//! Groups of options that commands share. Each converts into a plain value of the library.

use super::output::{Format, Output, choose};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::places::By;
use crate::model::timeline::Timeline;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use regex::Regex;
use std::path::PathBuf;

/// Where results go, in which format, and how much of them.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Write to FILE instead of standard output; it is replaced only once it is complete.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Format of the result.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Show at most N rows; 0 shows all.
    #[arg(long, value_name = "N", alias = "nodecount")]
    pub top: Option<usize>,
    #[arg(long, hide = true, conflicts_with_all = ["format", "json", "svg", "collapsed"])]
    text: bool,
    #[arg(long, hide = true, conflicts_with_all = ["format", "json", "collapsed"])]
    svg: bool,
    #[arg(long, hide = true, conflicts_with_all = ["format", "json"])]
    collapsed: bool,
}

impl OutputArgs {
    /// The format `command` is to write; an error where it does not write the one asked for.
    pub fn format(&self, command: &str) -> anyhow::Result<Format> {
        // As jeprof and pprof spell them.
        let flags = [(self.json, Format::Json), (self.text, Format::Text), (self.svg, Format::Svg), (self.collapsed, Format::Folded)];
        choose(command, flags.iter().find(|(set, _)| *set).map(|(_, format)| *format).or(self.format))
    }

    /// Opens the output for `format`.
    pub fn create(&self, format: Format) -> anyhow::Result<Output> {
        Output::create(self.output.as_deref(), format)
    }

    /// The number of rows to show: what was asked for, else `default`; `usize::MAX` for all.
    pub fn rows(&self, default: usize) -> usize {
        match self.top {
            Some(0) => usize::MAX,
            Some(rows) => rows,
            None => default,
        }
    }
}

/// The four numbers of a heap profile, as pprof and jeprof spell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SampleKind {
    /// Bytes allocated and not freed.
    #[value(alias = "inuse-space")]
    InuseSpace,
    /// Objects allocated and not freed.
    #[value(alias = "inuse-objects")]
    InuseObjects,
    /// Bytes allocated since the start (needs prof_accum:true).
    #[value(alias = "alloc-space")]
    AllocSpace,
    /// Objects allocated since the start (needs prof_accum:true).
    #[value(alias = "alloc-objects")]
    AllocObjects,
}

/// Which number is shown.
#[derive(Clone, Debug, Args)]
pub struct SampleArgs {
    /// Number to show.
    #[arg(
        long,
        value_name = "KIND",
        default_value = "inuse_space",
        help_heading = "Values",
        aliases = ["sample_index", "sample-index"]
    )]
    sample: SampleKind,
    /// Numbers as sampled, without undoing the sampling.
    #[arg(long, help_heading = "Values")]
    raw_samples: bool,
    #[arg(long = "inuse_space", alias = "inuse-space", hide = true, conflicts_with_all = ["inuse_objects", "alloc_space", "alloc_objects"])]
    inuse_space: bool,
    #[arg(long = "inuse_objects", alias = "inuse-objects", hide = true, conflicts_with_all = ["alloc_space", "alloc_objects"])]
    inuse_objects: bool,
    #[arg(long = "alloc_space", alias = "alloc-space", hide = true, conflicts_with = "alloc_objects")]
    alloc_space: bool,
    #[arg(long = "alloc_objects", alias = "alloc-objects", hide = true)]
    alloc_objects: bool,
    /// Bytes instead of megabytes in `--format jeprof`.
    #[arg(long = "show_bytes", alias = "show-bytes", hide = true)]
    show_bytes: bool,
}

impl SampleArgs {
    /// Whether jeprof's layout is to have bytes instead of megabytes.
    pub fn show_bytes(&self) -> bool {
        self.show_bytes
    }

    /// The number to show, whichever way it was asked for.
    pub fn measure(&self) -> Measure {
        let flags = [
            (self.inuse_space, Measure::InuseSpace),
            (self.inuse_objects, Measure::InuseObjects),
            (self.alloc_space, Measure::AllocSpace),
            (self.alloc_objects, Measure::AllocObjects),
        ];
        flags.iter().find(|(set, _)| *set).map_or_else(|| self.sample.into(), |&(_, measure)| measure)
    }
}

/// What rows stand for and how they are ordered.
#[derive(Clone, Debug, Args)]
pub struct ByArgs {
    /// What a row stands for.
    #[arg(long, value_name = "WHAT", default_value = "function", help_heading = "Values")]
    by: ByKind,
    /// Order by cumulative numbers.
    #[arg(long, help_heading = "Values")]
    pub cum: bool,
    #[arg(long, hide = true, conflicts_with_all = ["lines", "files", "addresses", "by"])]
    functions: bool,
    #[arg(long, hide = true, conflicts_with_all = ["files", "addresses", "by"])]
    lines: bool,
    #[arg(long, hide = true, conflicts_with_all = ["addresses", "by"])]
    files: bool,
    #[arg(long, hide = true, conflicts_with = "by")]
    addresses: bool,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ByKind {
    /// A function.
    Function,
    /// A line of a function.
    Line,
    /// A source file.
    File,
    /// A crate, or the outermost namespace in C++.
    Crate,
    /// A whole stack.
    Stack,
    /// An instruction.
    Address,
}

impl ByArgs {
    /// What a row stands for, whichever way it was asked for.
    pub fn by(&self) -> By {
        match (self.lines, self.files, self.addresses, self.by) {
            (true, ..) | (.., ByKind::Line) => By::Line,
            (_, true, ..) | (.., ByKind::File) => By::File,
            (_, _, true, _) | (.., ByKind::Address) => By::Address,
            (.., ByKind::Function) => By::Function,
            (.., ByKind::Crate) => By::Crate,
            (.., ByKind::Stack) => By::Stack,
        }
    }
}

impl From<SampleKind> for Measure {
    fn from(kind: SampleKind) -> Measure {
        match kind {
            SampleKind::InuseSpace => Measure::InuseSpace,
            SampleKind::InuseObjects => Measure::InuseObjects,
            SampleKind::AllocSpace => Measure::AllocSpace,
            SampleKind::AllocObjects => Measure::AllocObjects,
        }
    }
}

/// Which stacks and frames are shown.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Filters (a regular expression matches function, source file or module)")]
pub struct FilterArgs {
    /// Keep stacks with a frame that matches.
    #[arg(long, value_name = "RE")]
    focus: Option<String>,
    /// Leave out stacks with a frame that matches.
    #[arg(long, value_name = "RE")]
    ignore: Option<String>,
    /// Leave out frames that match; their bytes go to the caller.
    #[arg(long, value_name = "RE")]
    hide: Option<String>,
    /// Show only frames that match.
    #[arg(long, value_name = "RE")]
    show: Option<String>,
    /// Begin stacks at the outermost frame that matches; leave out stacks without one.
    #[arg(long, value_name = "RE", alias = "show_from")]
    show_from: Option<String>,
    /// Keep stacks whose owner frame is of this crate.
    #[arg(long = "crate", value_name = "NAME")]
    crate_name: Option<String>,
    /// Keep what one thread allocated: a name, or jemalloc's thread number (0, 1, ...).
    #[arg(long, value_name = "NAME|ID")]
    thread: Option<String>,
    /// Keep stacks whose mean object has at least this size: 4096, 4KiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    min_size: Option<u64>,
    /// Keep stacks whose mean object has at most this size.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Show allocator, library and runtime frames, which are hidden by default.
    #[arg(long)]
    all_frames: bool,
}

impl FilterArgs {
    /// Whether what is asked for can be said without names of threads.
    ///
    /// # Errors
    /// A thread that is asked for by name.
    pub fn allows_redaction(&self) -> anyhow::Result<()> {
        let by_name = self.thread.as_deref().is_some_and(|thread| thread.parse::<u64>().is_err());
        anyhow::ensure!(!by_name, "--redact leaves out names of threads\n  help: --thread with jemalloc's thread number");
        Ok(())
    }

    /// The filter; an error for a bad regular expression.
    pub fn filter(&self, samples: &SampleArgs) -> anyhow::Result<Filter> {
        let re = |option: &str, text: &Option<String>| -> anyhow::Result<Option<Regex>> {
            text.as_deref().map(|text| Regex::new(text).with_context(|| format!("bad regular expression in --{option}"))).transpose()
        };
        Ok(Filter {
            focus: re("focus", &self.focus)?,
            ignore: re("ignore", &self.ignore)?,
            hide: re("hide", &self.hide)?,
            show: re("show", &self.show)?,
            show_from: re("show-from", &self.show_from)?,
            crate_name: self.crate_name.clone(),
            thread: self.thread.clone(),
            min_size: self.min_size,
            max_size: self.max_size,
            all_frames: self.all_frames,
            raw_samples: samples.raw_samples,
        })
    }
}

/// What is kept to oneself.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct PrivacyArgs {
    /// Leave out paths, command lines and thread names: for a ticket or a colleague elsewhere.
    #[arg(long, help_heading = "Output")]
    pub redact: bool,
}

/// Which part of a series is looked at.
#[derive(Clone, Debug, Default, Args)]
pub struct TimeArgs {
    /// Leave out snapshots before TIME: `2026-11-20T14:00:00Z`, Unix milliseconds, or `-10m` before the last one.
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true, help_heading = "Values")]
    since: Option<Time>,
    /// Leave out snapshots after TIME.
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true, help_heading = "Values")]
    until: Option<Time>,
}

impl TimeArgs {
    /// Removes the snapshots outside; an error when none is left.
    pub fn apply(&self, timeline: &mut Timeline) -> anyhow::Result<()> {
        let Some(last) = timeline.snapshots.iter().map(|s| s.unix_ms).max() else { return Ok(()) };
        let before = timeline.snapshots.len();
        let since = self.since.map_or(i64::MIN, |time| time.unix_ms(last));
        let until = self.until.map_or(i64::MAX, |time| time.unix_ms(last));
        timeline.snapshots.retain(|s| (since..=until).contains(&s.unix_ms));
        if timeline.snapshots.is_empty() && before > 0 {
            anyhow::bail!("--since and --until leave none of {before} snapshots");
        }
        Ok(())
    }

    /// The options as typed, for the output.
    pub fn echo(&self) -> Vec<String> {
        let one = |name: &str, time: Option<Time>| time.map(|time| format!("{name} {time}"));
        one("--since", self.since).into_iter().chain(one("--until", self.until)).collect()
    }
}

/// An end of a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Unix time in milliseconds.
    At(i64),
    /// So many milliseconds before the last snapshot.
    BeforeLast(i64),
}

impl Time {
    fn unix_ms(self, last: i64) -> i64 {
        match self {
            Time::At(ms) => ms,
            Time::BeforeLast(ms) => last.saturating_sub(ms),
        }
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Time::At(ms) => match jiff::Timestamp::from_millisecond(*ms) {
                Ok(time) => write!(f, "{time}"),
                Err(_) => write!(f, "{ms}"),
            },
            Time::BeforeLast(ms) => write!(f, "-{:#}", jiff::SignedDuration::from_millis(*ms)),
        }
    }
}

fn time(text: &str) -> Result<Time, String> {
    let bad = || format!("expected a time such as 2026-11-20T14:00:00Z, 1763650000123 or -10m, found `{text}`");
    if let Ok(ms) = text.parse::<u64>() {
        return i64::try_from(ms).map(Time::At).map_err(|_| bad());
    }
    if let Some(span) = text.strip_prefix('-') {
        let span: jiff::SignedDuration = span.parse().map_err(|_| bad())?;
        return i64::try_from(span.as_millis()).map(Time::BeforeLast).map_err(|_| bad());
    }
    let stamp = text.parse::<jiff::Timestamp>().or_else(|_| {
        // A time without zone is in UTC, as everything that is printed.
        text.parse::<jiff::civil::DateTime>().and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC)).map(|zoned| zoned.timestamp())
    });
    stamp.map(|stamp| Time::At(stamp.as_millisecond())).map_err(|_| bad())
}

/// A size as people write it: `4096`, `4KiB`, `1.5 MB`.
pub fn size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("expected a size such as 4096, 4KiB or 1.5MB, found `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Shell {
        #[command(flatten)]
        samples: SampleArgs,
        #[command(flatten)]
        filter: FilterArgs,
    }

    #[track_caller]
    fn measure(line: &str, expected: Measure) {
        assert_eq!(Shell::parse_from(line.split(' ')).samples.measure(), expected);
    }

    #[test]
    fn every_spelling_of_a_number_is_taken() {
        measure("x", Measure::InuseSpace);
        measure("x --sample alloc_space", Measure::AllocSpace);
        measure("x --sample alloc-space", Measure::AllocSpace);
        measure("x --inuse_objects", Measure::InuseObjects);
        measure("x --alloc-objects", Measure::AllocObjects);
    }

    #[test]
    fn a_bad_expression_names_its_option() {
        let shell = Shell::parse_from(["x", "--hide", "("]);
        let error = shell.filter.filter(&shell.samples).unwrap_err();
        assert_eq!(error.to_string(), "bad regular expression in --hide");
    }

    #[test]
    fn times_are_stamps_or_spans_before_the_last() {
        assert_eq!(time("1763650000123"), Ok(Time::At(1_763_650_000_123)));
        assert_eq!(time("-10m"), Ok(Time::BeforeLast(600_000)));
        assert_eq!(time("2025-11-20T14:46:40Z"), Ok(Time::At(1_763_650_000_000)));
        assert_eq!(time("2025-11-20T14:46:40"), Ok(Time::At(1_763_650_000_000)));
        assert_eq!(time("2025-11-20T14:46:40Z").unwrap().to_string(), "2025-11-20T14:46:40Z");
        assert_eq!(Time::BeforeLast(600_000).to_string(), "-10m");
        assert!(time("yesterday").is_err());
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size("4KiB"), Ok(4096));
        assert_eq!(size("4 KB"), Ok(4000));
        assert_eq!(size("17"), Ok(17));
        assert!(size("many").is_err());
    }
}
