//! The ledger over time, for `rss`: text, JSON and CSV. (The chart is `chart`.)

use super::cells::cell;
use super::document::{Block, Table};
use super::wire::{TOOL, Tool, WarningWire, print, warning};
use super::{slabs, text};
use crate::analysis::account::{Accounting, Beside};
use crate::analysis::ledger::{Row, RowKind, RssSource};
use crate::model::snapshot::{Part, Snapshot, TimeSource};
use crate::model::timeline::Timeline;
use crate::origin::{Notice, printable};
use crate::units::{ByteDelta, Bytes, percent};
use serde::Serialize;

/// What is rendered.
#[derive(Clone, Copy, Debug)]
pub struct RssReport<'a> {
    /// The snapshots.
    pub timeline: &'a Timeline,
    /// Their ledger.
    pub accounting: &'a Accounting,
    /// What was left out of the input.
    pub notices: &'a [Notice],
}

/// Rows that share a column in the line of a snapshot.
const COLUMNS: [(&str, &[RowKind]); 8] = [
    ("live", &[RowKind::Live]),
    ("allocator", &[RowKind::SamplingOverhead, RowKind::Tcache, RowKind::Fragmentation, RowKind::Metadata]),
    ("dirty+lazy", &[RowKind::Dirty, RowKind::LazyFree]),
    ("untouched/huge", &[RowKind::Untouched, RowKind::HugePages]),
    ("other malloc", &[RowKind::ForeignHeap]),
    ("stacks", &[RowKind::ThreadStacks]),
    ("files+shared", &[RowKind::FileMapped, RowKind::SharedMemory]),
    ("other", &[RowKind::OtherAnonymous, RowKind::Unattributed]),
];

impl RssReport<'_> {
    /// The table first/last/growth, notes, then one line per snapshot; at most `rows` rows and lines.
    pub fn text(&self, rows: usize) -> String {
        let mut blocks = vec![Block::Title(self.title())];
        if let Some(table) = self.table(rows) {
            blocks.push(Block::Table(table));
        }
        let ledger = &self.accounting.ledger;
        let slabs = self.accounting.slabs.as_ref().map(slabs::summary);
        if !ledger.notes.is_empty() || slabs.is_some() {
            blocks.push(Block::Heading("Beside it".into()));
            blocks.extend(ledger.notes.iter().cloned().chain(slabs).map(Block::Paragraph));
        }
        if self.timeline.snapshots.len() > 1 {
            blocks.push(Block::Table(self.lines(rows)));
        }
        text::render(&blocks)
    }

    /// What is covered, in one line.
    pub(super) fn title(&self) -> String {
        let process = &self.timeline.process;
        let name = process.name.as_deref().map_or("process".into(), printable);
        let pid = process.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let count = self.timeline.snapshots.len();
        let span = match (self.timeline.snapshots.first(), self.timeline.snapshots.last()) {
            (Some(a), Some(b)) if a.time_source.is_time() && count > 1 => format!(" over {}", clock(b.unix_ms.saturating_sub(a.unix_ms))),
            _ => String::new(),
        };
        let allocator =
            process.jemalloc_version.as_deref().map(|version| format!(", jemalloc {}", short_version(version))).unwrap_or_default();
        let plural = if count == 1 { "" } else { "s" };
        let source = match self.accounting.ledger.rss_source {
            RssSource::None => ", RSS not recorded".to_owned(),
            source => format!(", RSS from {source}"),
        };
        format!("heaptriage rss: {name}{pid}, {count} snapshot{plural}{span}{allocator}{source}")
    }

    fn table(&self, most: usize) -> Option<Table> {
        let ledger = &self.accounting.ledger;
        let growth = ledger.rss_growth().map(|growth| growth as f64);
        let total: f64 = growth.unwrap_or_else(|| ledger.rows.iter().map(|row| row.growth() as f64).sum());
        if ledger.snapshots.is_empty() {
            return None;
        }
        let head = ["Where the memory is", "first", "last", "growth", "share of growth", ""].map(str::to_owned).to_vec();
        let cells = |label: String, first: i64, last: i64, delta: i64, basis: String| {
            vec![label, size(first), size(last), ByteDelta::new(delta).to_string(), percent(delta as f64, total), basis]
        };
        let mut shown: Vec<Vec<String>> = Vec::new();
        let mut small: Vec<&Row> = Vec::new();
        for (i, row) in ledger.rows.iter().enumerate() {
            // Dozens of libraries that neither hold nor gain anything are one line.
            let minor = row.kind == RowKind::FileMapped && row.last().max(row.first()) < MINOR && row.growth().abs() < MINOR / 16;
            if minor || i >= most && row.kind != RowKind::Unattributed {
                small.push(row);
                continue;
            }
            if row.kind == RowKind::Unattributed && !small.is_empty() {
                shown.push(self.rest(&small, cells));
                small.clear();
            }
            shown.push(cells(printable(&row.label).into_owned(), row.first(), row.last(), row.growth(), row.basis.to_string()));
        }
        if let (Some(first), Some(last)) = (ledger.rss.first(), ledger.rss.last()) {
            shown.push(cells("RSS".into(), *first as i64, *last as i64, growth.unwrap_or(0.0) as i64, String::new()));
        }
        Some(Table { head, rows: shown, total: true })
    }

    fn rest(&self, small: &[&Row], cells: impl Fn(String, i64, i64, i64, String) -> Vec<String>) -> Vec<String> {
        let sum = |get: fn(&Row) -> i64| small.iter().map(|row| get(row)).sum::<i64>();
        let what = if small.iter().all(|row| row.kind == RowKind::FileMapped) { "smaller files" } else { "smaller rows" };
        cells(format!("{} {what}", small.len()), sum(Row::first), sum(Row::last), sum(Row::growth), "measured".into())
    }

    fn lines(&self, most: usize) -> Table {
        let ledger = &self.accounting.ledger;
        let used: Vec<usize> = (0..COLUMNS.len())
            .filter(|&c| ledger.rows.iter().any(|row| COLUMNS[c].1.contains(&row.kind) && row.bytes.iter().any(|&b| b != 0)))
            .collect();
        let mut head = vec!["Snapshots".to_owned(), "after".to_owned(), "RSS".to_owned()];
        head.extend(used.iter().map(|&c| COLUMNS[c].0.to_owned()));
        // Beside RSS, where there is any.
        let swapping = self.accounting.beside.iter().any(|beside| beside.swap.is_some_and(|swap| swap > Bytes::ZERO));
        head.extend(swapping.then(|| "swapped out".to_owned()));
        head.push(String::new());
        let start = self.timeline.snapshots.first().map_or(0, |snapshot| snapshot.unix_ms);
        let count = self.timeline.snapshots.len();
        let mut rows = Vec::new();
        for (i, snapshot) in self.timeline.snapshots.iter().enumerate() {
            if rows.len() + 1 == most && count > most {
                rows.push(vec![format!("... and {} more", count - rows.len())]);
                break;
            }
            let after = if snapshot.time_source.is_time() { clock(snapshot.unix_ms.saturating_sub(start)) } else { format!("#{}", i + 1) };
            let rss = self.accounting.resident[i].map_or("-".into(), |(rss, _)| rss.to_string());
            let mut row = vec![printable(&snapshot.name).into_owned(), after, rss];
            let covered = ledger.snapshots.binary_search(&i).ok();
            row.extend(used.iter().map(|&c| match covered {
                Some(at) => {
                    size(ledger.rows.iter().filter(|row| COLUMNS[c].1.contains(&row.kind)).filter_map(|row| row.bytes.get(at)).sum())
                }
                None => "-".to_owned(),
            }));
            row.extend(swapping.then(|| self.accounting.beside[i].swap.map_or("-".into(), |swap| swap.to_string())));
            row.push(lacks(snapshot));
            rows.push(row);
        }
        Table { head, rows, total: false }
    }

    /// JSON of schema `heaptriage/rss/1`.
    pub fn json(&self) -> String {
        let ledger = &self.accounting.ledger;
        let process = &self.timeline.process;
        let rows = ledger.rows.iter().zip(&self.accounting.confidence).map(|(row, confidence)| JsonRow {
            kind: row.kind.word(),
            label: &row.label,
            basis: row.basis.to_string(),
            confidence: confidence.word(),
            source: &row.source,
            first_bytes: row.first(),
            last_bytes: row.last(),
            growth_bytes: row.growth(),
            bytes: &row.bytes,
        });
        let snapshots = self.timeline.snapshots.iter().enumerate().map(|(i, snapshot)| JsonSnapshot {
            name: &snapshot.name,
            unix_ms: snapshot.unix_ms,
            time_source: time_word(snapshot.time_source),
            in_ledger: ledger.snapshots.binary_search(&i).is_ok(),
            sources: snapshot.files.iter().map(|(part, file)| (part_word(*part), file.as_str())).collect(),
            rss_bytes: self.accounting.resident[i].map(|(rss, _)| rss.get()),
            rss_source: self.accounting.resident[i].map(|(_, source)| source.to_string()),
            beside: JsonBeside::of(&self.accounting.beside[i]),
        });
        let document = Json {
            schema: "heaptriage/rss/1",
            tool: TOOL,
            capture: JsonCapture {
                process: process.name.as_deref(),
                pid: process.pid,
                snapshots: self.timeline.snapshots.len(),
                first_unix_ms: self.timeline.snapshots.first().map(|s| s.unix_ms),
                last_unix_ms: self.timeline.snapshots.last().map(|s| s.unix_ms),
                allocator: process.jemalloc_version.as_deref().map(|version| format!("jemalloc {}", short_version(version))),
            },
            ledger: JsonLedger {
                rss: JsonRss {
                    source: ledger.rss_source.to_string(),
                    first_bytes: ledger.rss.first().copied(),
                    last_bytes: ledger.rss.last().copied(),
                    growth_bytes: ledger.rss_growth(),
                    bytes: &ledger.rss,
                },
                rows: rows.collect(),
                coverage: ledger.coverage.map(|c| JsonInterval { estimate: c.estimate, low: c.low, high: c.high }),
                untouched_causes: self
                    .accounting
                    .untouched_causes
                    .iter()
                    .map(|cause| JsonCause { what: &cause.what, at_least_bytes: cause.at_least.get(), at_most_bytes: cause.at_most.get() })
                    .collect(),
                seconds_to_limit: self.accounting.seconds_to_limit,
                notes: &ledger.notes,
            },
            slabs: self.accounting.slabs.as_ref().map(slabs::value),
            snapshots: snapshots.collect(),
            files: self
                .accounting
                .files
                .iter()
                .map(|file| JsonFile {
                    path: &file.path,
                    rss_bytes: file.rss.get(),
                    private_dirty_bytes: file.private_dirty.get(),
                    clean_bytes: file.clean.get(),
                })
                .collect(),
            warnings: self.notices.iter().map(warning).collect(),
        };
        print(&document)
    }

    /// One line per snapshot of the ledger, one column per row.
    pub fn csv(&self) -> String {
        let ledger = &self.accounting.ledger;
        let mut out = String::from("unix_ms,snapshot,rss_bytes");
        for row in &ledger.rows {
            out.push(',');
            out.push_str(&cell(&format!("{}: {}", row.kind.word(), row.label)));
        }
        out.push('\n');
        for (at, &i) in ledger.snapshots.iter().enumerate() {
            let Some(snapshot) = self.timeline.snapshots.get(i) else { continue };
            let rss = ledger.rss.get(at).map(u64::to_string).unwrap_or_default();
            out.push_str(&format!("{},{},{rss}", snapshot.unix_ms, cell(&snapshot.name)));
            for row in &ledger.rows {
                out.push_str(&format!(",{}", row.bytes.get(at).copied().unwrap_or(0)));
            }
            out.push('\n');
        }
        out
    }
}

/// Files below this that do not move are added up in the table for people.
const MINOR: i64 = 1 << 20;

fn size(bytes: i64) -> String {
    let text = Bytes::new(bytes.unsigned_abs()).to_string();
    if bytes < 0 { format!("-{text}") } else { text }
}

/// `5.3.0-1-g54eaed...` without the hash.
pub fn short_version(version: &str) -> &str {
    version.split('-').next().unwrap_or(version)
}

/// `5 min 2 s`, `3 h 4 min`, `850 ms`.
pub(super) fn clock(ms: i64) -> String {
    let s = ms / 1000;
    match ms {
        0..=999 => format!("{ms} ms"),
        1000..=119_999 => format!("{}.{} s", s, ms % 1000 / 100),
        120_000..=7_199_999 => format!("{} min {} s", s / 60, s % 60),
        7_200_000..=172_799_999 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// What a snapshot does not have.
fn lacks(snapshot: &Snapshot) -> String {
    let parts = [
        (Part::Heap, "dump", snapshot.heap.is_some()),
        (Part::Memory, "smaps", snapshot.memory.is_some()),
        (Part::Stats, "statistics", snapshot.stats.is_some()),
    ];
    let missing: Vec<&str> = parts.iter().filter(|(.., there)| !there).map(|(_, name, _)| *name).collect();
    if missing.is_empty() { String::new() } else { format!("no {}", missing.join(", ")) }
}

fn time_word(source: TimeSource) -> &'static str {
    match source {
        TimeSource::Name => "name",
        TimeSource::Content => "content",
        TimeSource::SeriesLine => "series_line",
        TimeSource::Sequence => "sequence",
        TimeSource::ModificationTime => "modification_time",
        TimeSource::ArgumentOrder => "argument_order",
    }
}

fn part_word(part: Part) -> &'static str {
    match part {
        Part::Heap => "heap",
        Part::Memory => "smaps",
        Part::Stats => "stats",
        Part::Status => "status",
        Part::Cgroup => "cgroup",
        Part::Glibc => "malloc_info",
        Part::Metrics => "metrics",
    }
}

#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    tool: Tool,
    capture: JsonCapture<'a>,
    ledger: JsonLedger<'a>,
    slabs: Option<serde_json::Value>,
    snapshots: Vec<JsonSnapshot<'a>>,
    files: Vec<JsonFile<'a>>,
    warnings: Vec<WarningWire<'a>>,
}

#[derive(Serialize)]
struct JsonCapture<'a> {
    process: Option<&'a str>,
    pid: Option<u64>,
    snapshots: usize,
    first_unix_ms: Option<i64>,
    last_unix_ms: Option<i64>,
    allocator: Option<String>,
}

#[derive(Serialize)]
struct JsonLedger<'a> {
    rss: JsonRss<'a>,
    rows: Vec<JsonRow<'a>>,
    coverage: Option<JsonInterval>,
    untouched_causes: Vec<JsonCause<'a>>,
    seconds_to_limit: Option<f64>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct JsonRss<'a> {
    source: String,
    first_bytes: Option<u64>,
    last_bytes: Option<u64>,
    growth_bytes: Option<i64>,
    bytes: &'a [u64],
}

#[derive(Serialize)]
struct JsonRow<'a> {
    kind: &'static str,
    label: &'a str,
    basis: String,
    confidence: &'static str,
    source: &'a str,
    first_bytes: i64,
    last_bytes: i64,
    growth_bytes: i64,
    bytes: &'a [i64],
}

#[derive(Serialize)]
struct JsonInterval {
    estimate: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct JsonCause<'a> {
    what: &'a str,
    at_least_bytes: u64,
    at_most_bytes: u64,
}

#[derive(Serialize)]
struct JsonSnapshot<'a> {
    name: &'a str,
    unix_ms: i64,
    time_source: &'static str,
    in_ledger: bool,
    sources: std::collections::BTreeMap<&'static str, &'a str>,
    rss_bytes: Option<u64>,
    rss_source: Option<String>,
    #[serde(flatten)]
    beside: JsonBeside,
}

#[derive(Serialize)]
struct JsonBeside {
    virtual_bytes: Option<u64>,
    retained_bytes: Option<u64>,
    swap_bytes: Option<u64>,
    pss_bytes: Option<u64>,
    anon_huge_pages_bytes: Option<u64>,
    lazy_free_bytes: Option<u64>,
    muzzy_bytes: Option<u64>,
    jemalloc_rss_bytes: Option<u64>,
    allocated_bytes: Option<u64>,
    cgroup_current_bytes: Option<u64>,
    cgroup_max_bytes: Option<u64>,
    peak_rss_bytes: Option<u64>,
    threads: Option<u64>,
}

impl JsonBeside {
    fn of(beside: &Beside) -> JsonBeside {
        let get = |bytes: Option<Bytes>| bytes.map(Bytes::get);
        JsonBeside {
            virtual_bytes: get(beside.virtual_size),
            retained_bytes: get(beside.retained),
            swap_bytes: get(beside.swap),
            pss_bytes: get(beside.pss),
            anon_huge_pages_bytes: get(beside.anon_huge_pages),
            lazy_free_bytes: get(beside.lazy_free),
            muzzy_bytes: get(beside.muzzy),
            jemalloc_rss_bytes: get(beside.jemalloc_rss),
            allocated_bytes: get(beside.allocated),
            cgroup_current_bytes: get(beside.cgroup_current),
            cgroup_max_bytes: get(beside.cgroup_max),
            peak_rss_bytes: get(beside.peak_rss),
            threads: beside.threads,
        }
    }
}

#[derive(Serialize)]
struct JsonFile<'a> {
    path: &'a str,
    rss_bytes: u64,
    private_dirty_bytes: u64,
    clean_bytes: u64,
}
