//! Bytes to raw records, one file per format. No I/O, no analysis.
//!
//! What an input is, is decided by its content (each format sniffs), never by its name. A parser returns
//! [`Parsed`]: what is sound, and warnings about the rest; or a [`ParseError`] when nothing is.
//!
//! Adding a format = one file here, one line in the table of formats, one conversion in `model::ingest`.

pub mod capture_json;
pub mod cgroup;
pub mod compress;
pub mod counters;
pub mod heap;
pub mod leak_line;
pub mod malloc_info;
pub mod maps;
pub mod pmap;
pub mod pprof;
pub mod prof_log;
pub mod prof_recent;
pub mod prometheus;
pub mod series;
pub mod smaps;
pub mod stats_json;
pub mod stats_text;
pub mod status;
pub mod suppressions;

use crate::origin::{Position, Warning};
use std::fmt;

/// What an input can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A heap dump in text, of any family ([`heap`]).
    Heap,
    /// A pprof heap profile ([`pprof`]).
    Pprof,
    /// smaps, smaps_rollup, or a series of them ([`smaps`]).
    Smaps,
    /// `/proc/PID/status` ([`status`]).
    Status,
    /// jemalloc statistics as text, possibly inside a log ([`stats_text`]).
    StatsText,
    /// jemalloc statistics as JSON, possibly inside a log ([`stats_json`]).
    StatsJson,
    /// glibc's `malloc_info` ([`malloc_info`]).
    MallocInfo,
    /// Workload counters ([`counters`]).
    Counters,
    /// `capture.json` ([`capture_json`]).
    CaptureJson,
    /// Totals of `pmap` ([`pmap`]).
    Pmap,
    /// Memory files of a cgroup ([`cgroup`]).
    Cgroup,
    /// jemalloc's allocation log ([`prof_log`]).
    ProfLog,
    /// jemalloc's recent allocations ([`prof_recent`]).
    ProfRecent,
    /// jemalloc's and the process's metrics in Prometheus ([`prometheus`]).
    Prometheus,
    /// jemalloc's leak summary at exit ([`leak_line`]).
    LeakLine,
}

/// How a format is told by content, and what it is called. In this order: the first that fits is it.
#[derive(Debug)]
pub struct FormatInfo {
    /// Which one.
    pub format: Format,
    /// Its name for people.
    pub name: &'static str,
    /// Whether a (decompressed) input is of it.
    pub sniff: fn(&[u8]) -> bool,
}

/// Every format. Those that may stand inside a log come before those that match loosely.
pub const FORMATS: &[FormatInfo] = &[
    FormatInfo { format: Format::Heap, name: "heap dump", sniff: |text| heap::sniff(text).is_some() },
    FormatInfo { format: Format::Pprof, name: "pprof profile", sniff: pprof::sniff },
    FormatInfo { format: Format::Status, name: "/proc/PID/status", sniff: status::sniff },
    FormatInfo { format: Format::StatsText, name: "jemalloc statistics (text)", sniff: stats_text::sniff },
    FormatInfo { format: Format::StatsJson, name: "jemalloc statistics (JSON)", sniff: stats_json::sniff },
    FormatInfo { format: Format::MallocInfo, name: "glibc malloc_info", sniff: malloc_info::sniff },
    FormatInfo { format: Format::ProfLog, name: "jemalloc allocation log (prof_log)", sniff: prof_log::sniff },
    FormatInfo { format: Format::ProfRecent, name: "jemalloc recent allocations (prof_recent)", sniff: prof_recent::sniff },
    FormatInfo { format: Format::Prometheus, name: "Prometheus metrics", sniff: prometheus::sniff },
    FormatInfo { format: Format::LeakLine, name: "jemalloc leak summary", sniff: leak_line::sniff },
    FormatInfo { format: Format::Counters, name: "counters", sniff: counters::sniff },
    FormatInfo { format: Format::CaptureJson, name: "capture.json", sniff: capture_json::sniff },
    FormatInfo { format: Format::Smaps, name: "smaps", sniff: smaps::sniff },
    FormatInfo { format: Format::Pmap, name: "pmap", sniff: pmap::sniff },
    FormatInfo { format: Format::Cgroup, name: "cgroup memory files", sniff: cgroup::sniff },
];

/// Whether this is a program or library (ELF). It holds the words of the texts that it can print: a jemalloc inside of it
/// looks like its own statistics.
pub fn is_program(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// What a (decompressed) input is, by its content; `None` when it is nothing known.
pub fn sniff(text: &[u8]) -> Option<Format> {
    if is_program(text) {
        return None;
    }
    FORMATS.iter().find(|info| (info.sniff)(text)).map(|info| info.format)
}

/// What a parser made of an input: the sound part, and what it had to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The sound part.
    pub value: T,
    /// What was bad, where, and what was done about it.
    pub warnings: Vec<Warning>,
}

impl<T> Parsed<T> {
    /// A value without warnings.
    pub fn clean(value: T) -> Self {
        Parsed { value, warnings: Vec::new() }
    }
}

/// Nothing in the input could be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Byte offset in the (decompressed) input.
    pub offset: usize,
    /// What is wrong: what was expected and what was found, quoted.
    pub message: String,
    /// What to do about it, where there is something to do.
    pub help: Option<String>,
}

impl ParseError {
    /// An error at `offset`.
    pub fn new(offset: usize, message: impl Into<String>) -> Self {
        ParseError { offset, message: message.into(), help: None }
    }

    /// The same with advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The position in `text`, the input it came from.
    pub fn position(&self, text: &[u8]) -> Position {
        Position::of(text, self.offset)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}
