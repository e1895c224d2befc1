//! The ledger: every resident byte of a process in exactly one row.
//!
//! ```text
//!   RSS (smaps)  =  files + shared + stacks + other allocators + other anonymous     each measured in smaps
//!                +  jemalloc's mappings                                              measured in smaps, and split:
//!                     live + sampling overhead + thread caches + fragmentation       counted by the statistics
//!                     + metadata + dirty + lazily freed
//!                     - untouched     pages that the statistics count and that are not resident
//!                     + huge pages    pages that are resident and that the statistics do not count
//! ```
//!
//! Rows add up to RSS exactly in every snapshot. What jemalloc holds resident is measured, never computed from
//! its counters (`stats.resident` is an upper bound): the counters only split it. What cannot be told is the
//! row `unattributed`. Pure: reads snapshots, words nothing for people beyond names and sources of rows.

mod jemalloc;
mod profiled;

use self::jemalloc::Jemalloc;
use self::profiled::{Profiled, profiled};
use crate::analysis::estimate::Interval;
use crate::analysis::finding::Confidence;
use crate::analysis::ledger::{Basis, Ledger, Row, RowKind, RssSource};
use crate::analysis::memory_owners::{self, Known, Owner};
use crate::analysis::slabs::{self, Slabs};
use crate::model::heap::{Family, HeapProfile};
use crate::model::memory::{Detail, MemoryMap, Residency};
use crate::model::snapshot::{Part, Snapshot};
use crate::model::timeline::Timeline;
use crate::units::Bytes;
use std::collections::BTreeMap;

/// The label of what is in jemalloc's mappings where neither statistics nor a profile splits it.
pub const NOT_SPLIT: &str = "in jemalloc's mappings, not split";

/// Figures of one snapshot that are shown beside the ledger, never inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Address space of the process.
    pub virtual_size: Option<Bytes>,
    /// Address space that jemalloc keeps without memory behind it.
    pub retained: Option<Bytes>,
    /// Swapped out.
    pub swap: Option<Bytes>,
    /// Proportional share.
    pub pss: Option<Bytes>,
    /// Anonymous memory in transparent huge pages.
    pub anon_huge_pages: Option<Bytes>,
    /// MADV_FREE'd and still resident, by the kernel.
    pub lazy_free: Option<Bytes>,
    /// The same by the allocator's count (muzzy).
    pub muzzy: Option<Bytes>,
    /// Resident memory in jemalloc's mappings.
    pub jemalloc_rss: Option<Bytes>,
    /// `stats.allocated`.
    pub allocated: Option<Bytes>,
    /// The cgroup's use.
    pub cgroup_current: Option<Bytes>,
    /// The cgroup's limit.
    pub cgroup_max: Option<Bytes>,
    /// Peak of RSS so far.
    pub peak_rss: Option<Bytes>,
    /// Number of threads.
    pub threads: Option<u64>,
    /// In use inside the C library's heaps, by malloc_info.
    pub glibc_in_use: Option<Bytes>,
    /// Stacks of threads in smaps: how many, and their address space.
    pub stacks: Option<(u64, Bytes)>,
}

/// A mapped file in the last snapshot: clean page cache goes by itself, private dirty pages do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFigures {
    /// Path.
    pub path: String,
    /// Resident.
    pub rss: Bytes,
    /// Written by this process (data segments, .bss, copy on write).
    pub private_dirty: Bytes,
    /// Page cache that the kernel can drop.
    pub clean: Bytes,
}

/// Why pages that the statistics count are not resident, as far as it can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What.
    pub what: String,
    /// At least this much: what the other causes together cannot be.
    pub at_least: Bytes,
    /// At most this much of it.
    pub at_most: Bytes,
}

/// The ledger with everything that is shown beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounting {
    /// Rows over the snapshots that can be compared.
    pub ledger: Ledger,
    /// How sure the owner of each row's memory is, in the order of `ledger.rows`.
    pub confidence: Vec<Confidence>,
    /// Resident total of each snapshot of the timeline and where it was read, also of those the ledger does not cover.
    pub resident: Vec<Option<(Bytes, RssSource)>>,
    /// Figures beside the ledger, one per snapshot of the timeline.
    pub beside: Vec<Beside>,
    /// Files of the last covered snapshot, by size.
    pub files: Vec<FileFigures>,
    /// Causes of `untouched` at the last covered snapshot, most likely first.
    pub untouched_causes: Vec<Cause>,
    /// What could not be told, and what to capture; sentences.
    pub limits: Vec<String>,
    /// Half-empty slabs by size class, where these matter.
    pub slabs: Option<Slabs>,
    /// Seconds until the cgroup's limit at the pace of the whole timeline; `None` without growth or limit.
    pub seconds_to_limit: Option<f64>,
}

/// One row of one snapshot.
struct Entry {
    kind: RowKind,
    label: String,
    bytes: i64,
    basis: Basis,
    confidence: Confidence,
    source: String,
}

/// One snapshot, accounted for.
struct Account {
    entries: Vec<Entry>,
    rss: Option<(Bytes, RssSource)>,
    beside: Beside,
    files: Vec<FileFigures>,
    causes: Vec<Cause>,
    limits: Vec<String>,
    /// Live bytes by the statistics, and what the profile estimates.
    coverage: Option<Interval>,
}

/// The ledger of a timeline.
pub fn ledger(timeline: &Timeline) -> Ledger {
    accounting(timeline).ledger
}

/// Accounts for every snapshot of a timeline.
pub fn accounting(timeline: &Timeline) -> Accounting {
    let version = timeline.process.jemalloc_version.as_deref();
    let is_jemalloc =
        timeline.snapshots.iter().any(|snapshot| snapshot.stats.is_some() || snapshot.heap.as_ref().is_some_and(is_jemalloc_dump))
            || version.is_some();
    let profiled = profiled(&timeline.snapshots);
    let mut accounts: Vec<Account> = timeline
        .snapshots
        .iter()
        .zip(&profiled)
        .map(|(snapshot, profiled)| account(snapshot, profiled.as_ref(), version, is_jemalloc))
        .collect();
    let resident = accounts.iter().map(|account| account.rss).collect();
    let beside: Vec<Beside> = accounts.iter().map(|account| account.beside).collect();
    let covered = covered(&timeline.snapshots, &accounts);
    let (rows, confidence) = rows(&accounts, &covered);
    let figures = |get: fn(&Beside) -> Option<Bytes>| -> Vec<u64> {
        let all: Option<Vec<u64>> = covered.iter().map(|&i| get(&beside[i]).map(Bytes::get)).collect();
        all.unwrap_or_default()
    };
    let rss: Option<Vec<u64>> = covered.iter().map(|&i| accounts[i].rss.map(|(rss, _)| rss.get().min(MOST_MEMORY))).collect();
    let ledger = Ledger {
        rows,
        rss: rss.unwrap_or_default(),
        rss_source: covered.last().and_then(|&last| accounts[last].rss).map_or(RssSource::None, |(_, source)| source),
        coverage: covered.iter().rev().find_map(|&i| accounts[i].coverage),
        anon_huge: figures(|beside| beside.anon_huge_pages),
        swap: figures(|beside| beside.swap),
        virtual_size: figures(|beside| beside.virtual_size),
        foreign_in_use: covered
            .iter()
            .enumerate()
            .filter_map(|(at, &i)| Some((at, beside[i].glibc_in_use?.get().min(MOST_MEMORY))))
            .collect(),
        notes: Vec::new(),
        snapshots: covered,
    };
    let last = ledger.snapshots.last().map(|&last| &mut accounts[last]);
    let (files, untouched_causes, mut limits) = last
        .map(|last| (std::mem::take(&mut last.files), std::mem::take(&mut last.causes), std::mem::take(&mut last.limits)))
        .unwrap_or_default();
    if let (Some(&first), Some(&last)) = (ledger.snapshots.first(), ledger.snapshots.last())
        && (first, last) != (0, timeline.snapshots.len() - 1)
        && let (Some(a), Some(b)) = (timeline.snapshots.get(first), timeline.snapshots.get(last))
    {
        limits.push(format!("the ledger runs from {} to {}: snapshots outside lack smaps or statistics that these have", a.name, b.name));
    }
    let seconds_to_limit = seconds_to_limit(timeline, &ledger, &beside);
    let slabs = slabs::slabs(timeline, ledger.rss.last().copied());
    let mut accounting = Accounting { ledger, confidence, resident, beside, files, untouched_causes, limits, slabs, seconds_to_limit };
    accounting.ledger.notes = notes(&accounting);
    accounting
}

fn is_jemalloc_dump(heap: &HeapProfile) -> bool {
    matches!(heap.family, Family::JemallocThreaded | Family::JemallocLegacy)
}

/// How much a snapshot can tell: smaps first, then the allocator's statistics. `None` when nothing.
fn grade(snapshot: &Snapshot, account: &Account) -> Option<u8> {
    let memory = match account.rss {
        Some((_, RssSource::Smaps)) => 6,
        Some((_, RssSource::Rollup | RssSource::Pmap)) => 4,
        Some(_) => 2,
        None => 0,
    };
    let stats = snapshot.stats.as_ref().is_some_and(|stats| stats.allocated.is_some());
    (memory > 0 || stats).then_some(memory + u8::from(stats))
}

/// Snapshots that can be compared with each other: those of the best grade that two have, else of the best.
fn covered(snapshots: &[Snapshot], accounts: &[Account]) -> Vec<usize> {
    let grades: Vec<Option<u8>> = snapshots.iter().zip(accounts).map(|(snapshot, account)| grade(snapshot, account)).collect();
    let of = |grade: u8| grades.iter().enumerate().filter(|(_, g)| **g == Some(grade)).map(|(i, _)| i).collect::<Vec<usize>>();
    let sets = || (0..8).rev().map(of).filter(|set| !set.is_empty());
    sets().find(|set| set.len() > 1).or_else(|| sets().next()).unwrap_or_default()
}

/// Aligns the entries of the covered snapshots by kind and label.
fn rows(accounts: &[Account], covered: &[usize]) -> (Vec<Row>, Vec<Confidence>) {
    let mut rows: BTreeMap<(RowKind, String), (Row, Confidence)> = BTreeMap::new();
    for (at, &i) in covered.iter().enumerate() {
        for entry in &accounts[i].entries {
            let (row, confidence) = rows.entry((entry.kind, entry.label.clone())).or_insert_with(|| {
                let bytes = vec![0; covered.len()];
                let row = Row { kind: entry.kind, label: entry.label.clone(), basis: entry.basis, source: String::new(), bytes };
                (row, entry.confidence)
            });
            row.basis = row.basis.max(entry.basis);
            *confidence = (*confidence).min(entry.confidence);
            row.source.clone_from(&entry.source);
            row.bytes[at] = row.bytes[at].saturating_add(entry.bytes);
        }
    }
    // What stayed zero tells nothing, except that everything is attributed.
    let shown = |row: &Row| row.kind == RowKind::Unattributed || row.bytes.iter().any(|&bytes| bytes != 0);
    let mut rows: Vec<(Row, Confidence)> = rows.into_values().filter(|(row, _)| shown(row)).collect();
    rows.sort_by(|(a, _), (b, _)| (a.kind, b.last()).cmp(&(b.kind, a.last())).then_with(|| a.label.cmp(&b.label)));
    label_files(&mut rows);
    rows.into_iter().unzip()
}

/// Files are called by their base names, or by their paths where two share one.
fn label_files(rows: &mut [(Row, Confidence)]) {
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let is_path = |row: &Row| row.kind == RowKind::FileMapped && row.label.starts_with('/');
    rows.iter().filter(|(row, _)| is_path(row)).for_each(|(row, _)| *count.entry(base(&row.label)).or_default() += 1);
    for (row, _) in rows.iter_mut().filter(|(row, _)| is_path(row)) {
        let base = base(&row.label);
        if count.get(&base) == Some(&1) && !base.is_empty() {
            row.label = base;
        }
        row.label.push_str(" (file mapping)");
    }
}

fn account(snapshot: &Snapshot, profiled: Option<&Profiled>, version: Option<&str>, is_jemalloc: bool) -> Account {
    let stats = snapshot.stats.as_ref();
    let mut account = Account {
        entries: Vec::new(),
        rss: None,
        beside: beside(snapshot),
        files: Vec::new(),
        causes: Vec::new(),
        limits: Vec::new(),
        coverage: None,
    };
    let jemalloc = Jemalloc::of(snapshot, profiled, version);
    account.coverage = jemalloc.coverage;
    if snapshot.memory.as_ref().is_some_and(|memory| memory.total.rss.get() > MOST_MEMORY) {
        account.limits.push("the sizes in smaps exceed every address space: not used".into());
    }
    let plausible = |memory: &&MemoryMap| memory.total.rss.get() <= MOST_MEMORY;
    if let Some(memory) = snapshot.memory.as_ref().filter(plausible).filter(|memory| memory.has_mappings()) {
        account.rss = Some((memory.total.rss, RssSource::Smaps));
        let known = Known {
            jemalloc: is_jemalloc,
            jemalloc_space: stats.and_then(|stats| Some(stats.mapped? + stats.retained.unwrap_or_default())),
            dss_primary: stats.is_some_and(|stats| stats.options.dss.as_deref() == Some("primary")),
            glibc_mmapped: snapshot.glibc.as_ref().map(|glibc| glibc.mmapped),
        };
        let file = snapshot.file(Part::Memory).unwrap_or("smaps").to_owned();
        let mut held = Residency::default();
        let mut held_confidence = Confidence::High;
        let mut files: BTreeMap<String, FileFigures> = BTreeMap::new();
        for piece in memory_owners::owners(memory, &known) {
            let residency = piece.residency;
            let (kind, label) = match piece.owner {
                Owner::Jemalloc => {
                    held.rss += residency.rss;
                    held.lazy_free += residency.lazy_free;
                    held.anon_huge_pages += residency.anon_huge_pages;
                    held.size += residency.size;
                    held.swap += residency.swap;
                    held_confidence = held_confidence.min(piece.confidence);
                    continue;
                }
                Owner::Foreign(label) => (RowKind::ForeignHeap, label.to_owned()),
                Owner::ThreadStack => {
                    let (count, size) = account.beside.stacks.unwrap_or_default();
                    account.beside.stacks = Some((count + 1, size + residency.size));
                    (RowKind::ThreadStacks, "thread stacks".to_owned())
                }
                Owner::File(path) => {
                    let entry = files.entry(path.clone()).or_insert_with(|| FileFigures {
                        path: path.clone(),
                        rss: Bytes::ZERO,
                        private_dirty: Bytes::ZERO,
                        clean: Bytes::ZERO,
                    });
                    entry.rss += residency.rss;
                    entry.private_dirty += residency.private_dirty;
                    entry.clean += residency.private_clean + residency.shared_clean;
                    (RowKind::FileMapped, path)
                }
                Owner::Shared(label) => (RowKind::SharedMemory, label),
                Owner::Other(label) => (RowKind::OtherAnonymous, label),
            };
            account.add(kind, label, signed(residency.rss), Basis::Measured, piece.confidence, &format!("{file}: Rss"));
        }
        account.files = files.into_values().collect();
        account.files.sort_by_key(|file| std::cmp::Reverse(file.rss));
        account.beside.jemalloc_rss = Some(held.rss).filter(|_| is_jemalloc || held.rss > Bytes::ZERO);
        if is_jemalloc || held.rss > Bytes::ZERO {
            jemalloc.split(&held, held_confidence, &file, snapshot, &mut account);
        }
    } else if let Some((rss, source)) = total(snapshot) {
        account.rss = Some((rss, source));
        jemalloc.split_of_total(rss, source, snapshot, &mut account);
    } else if stats.is_some() {
        jemalloc.split_of_total(Bytes::ZERO, RssSource::None, snapshot, &mut account);
        account.limits.push("without smaps the ledger covers jemalloc alone: capture /proc/PID/smaps beside the statistics".into());
    }
    account.close();
    account
}

impl Account {
    fn add(&mut self, kind: RowKind, label: impl Into<String>, bytes: i64, basis: Basis, confidence: Confidence, source: &str) {
        let label = label.into();
        match self.entries.iter_mut().find(|entry| entry.kind == kind && entry.label == label) {
            Some(entry) => {
                entry.bytes = entry.bytes.saturating_add(bytes);
                entry.basis = entry.basis.max(basis);
                entry.confidence = entry.confidence.min(confidence);
            }
            None => self.entries.push(Entry { kind, label, bytes, basis, confidence, source: source.to_owned() }),
        }
    }

    /// The difference to the total is `unattributed`: zero where every rule applied.
    fn close(&mut self) {
        let Some((rss, _)) = self.rss else { return };
        let sum = self.entries.iter().fold(0i64, |sum, entry| sum.saturating_add(entry.bytes));
        let open = signed(rss).saturating_sub(sum);
        self.add(RowKind::Unattributed, "unattributed", open, Basis::Inferred, Confidence::High, "RSS less all other rows");
    }
}

/// No address space is larger (x86-64 with five levels: 2^57 bytes). Figures beyond it are nonsense, and
/// within it no sum of rows overflows.
const MOST_MEMORY: u64 = 1 << 57;

fn signed(bytes: Bytes) -> i64 {
    bytes.get().min(MOST_MEMORY) as i64
}

/// The resident total where there is no smaps.
fn total(snapshot: &Snapshot) -> Option<(Bytes, RssSource)> {
    let rollup = snapshot.memory.as_ref().filter(|memory| !memory.has_mappings() && memory.total.rss.get() <= MOST_MEMORY).map(|memory| {
        let source = if memory.detail == Detail::Pmap { RssSource::Pmap } else { RssSource::Rollup };
        (memory.total.rss, source)
    });
    let plausible = |bytes: &Bytes| bytes.get() <= MOST_MEMORY;
    rollup
        .or_else(|| Some((snapshot.status.as_ref()?.vm_rss?, RssSource::Status)))
        .or_else(|| Some((snapshot.metrics.as_ref()?.rss.filter(plausible)?, RssSource::Metrics)))
}

fn beside(snapshot: &Snapshot) -> Beside {
    let (stats, status, cgroup) = (snapshot.stats.as_ref(), snapshot.status.as_ref(), snapshot.cgroup.as_ref());
    let metrics = snapshot.metrics.as_ref();
    let sums = snapshot.memory.as_ref().map(|memory| memory.total);
    let full = snapshot.memory.as_ref().filter(|memory| memory.has_mappings()).map(|memory| memory.total);
    Beside {
        virtual_size: status.and_then(|status| status.vm_size).or_else(|| full.map(|sums| sums.size)).or_else(|| metrics?.virtual_size),
        retained: stats.and_then(|stats| stats.retained.or(stats.merged.retained)),
        swap: sums.map(|sums| sums.swap).or_else(|| status.and_then(|status| status.vm_swap)),
        pss: sums.map(|sums| sums.pss),
        anon_huge_pages: sums.map(|sums| sums.anon_huge_pages),
        lazy_free: sums.map(|sums| sums.lazy_free),
        muzzy: stats.and_then(|stats| stats.merged.muzzy),
        jemalloc_rss: None,
        allocated: stats.and_then(|stats| stats.allocated),
        cgroup_current: cgroup.and_then(|cgroup| cgroup.current),
        cgroup_max: cgroup.and_then(|cgroup| cgroup.max),
        peak_rss: status.and_then(|status| status.vm_hwm),
        threads: status.and_then(|status| status.threads).or_else(|| metrics?.threads),
        stacks: None,
        glibc_in_use: snapshot.glibc.as_ref().map(|glibc| glibc.system.saturating_sub(glibc.free) + glibc.mmapped),
    }
}

fn stats_source(snapshot: &Snapshot, figure: &str) -> String {
    format!("{}: {figure}", snapshot.file(Part::Stats).unwrap_or("statistics"))
}

fn status_source(snapshot: &Snapshot, figure: &str) -> String {
    format!("{}: {figure}", snapshot.file(Part::Status).unwrap_or("status"))
}

/// At the pace from the first covered snapshot to the last, the time until the cgroup's use meets its limit.
fn seconds_to_limit(timeline: &Timeline, ledger: &Ledger, beside: &[Beside]) -> Option<f64> {
    let (&first, &last) = (ledger.snapshots.first()?, ledger.snapshots.last()?);
    let (a, b) = (beside.get(first)?, beside.get(last)?);
    let left = b.cgroup_max?.since(b.cgroup_current?).get();
    // The cgroup's own use where both ends have it; else this process's RSS.
    let growth = match (a.cgroup_current, b.cgroup_current) {
        (Some(from), Some(to)) => to.since(from).get(),
        _ => ledger.rss_growth()?,
    };
    let (from, to) = (timeline.snapshots.get(first)?, timeline.snapshots.get(last)?);
    let ms = to.unix_ms.checked_sub(from.unix_ms)?;
    (growth > 0 && ms > 0 && from.time_source.is_time() && to.time_source.is_time())
        .then(|| left.max(0) as f64 / (growth as f64 / (ms as f64 / 1000.0)))
}

/// Sentences about the figures beside the ledger, of the last covered snapshot.
fn notes(accounting: &Accounting) -> Vec<String> {
    let mut notes = Vec::new();
    let ledger = &accounting.ledger;
    let (Some(&first), Some(&last)) = (ledger.snapshots.first(), ledger.snapshots.last()) else {
        notes.extend(accounting.beside.last().and_then(|beside| cgroup(beside, None)));
        notes.push("how much of the process is resident is not among the inputs: give smaps, smaps_rollup or status of it too".to_owned());
        return notes;
    };
    let (a, b) = (accounting.beside[first], accounting.beside[last]);
    let grown = |from: Option<Bytes>, to: Bytes| match from {
        Some(from) if first != last => format!(" ({})", to.since(from)),
        _ => String::new(),
    };
    if let Some(coverage) = ledger.coverage {
        let half = (coverage.high - coverage.low) / 2.0;
        notes.push(format!("the profile explains {:.0} % ± {:.0} % of the live heap", 100.0 * coverage.estimate, 100.0 * half));
    }
    let untouched = ledger.rows.iter().find(|row| row.kind == RowKind::Untouched).map_or(0, |row| row.last());
    if untouched < 0 && !accounting.untouched_causes.is_empty() {
        notes.push(untouched_note(untouched.unsigned_abs(), &accounting.untouched_causes));
    }
    if let Some(retained) = b.retained.filter(|bytes| *bytes > Bytes::ZERO) {
        notes.push(format!("retained {retained}{}: address space without memory behind it", grown(a.retained, retained)));
    }
    if let Some(size) = b.virtual_size {
        notes.push(format!("virtual size {size}{}", grown(a.virtual_size, size)));
    }
    if let Some((count, size)) = b.stacks.filter(|(count, _)| *count > 1) {
        let touched: i64 = ledger.rows.iter().filter(|row| row.kind == RowKind::ThreadStacks).map(Row::last).sum();
        let before = match a.stacks {
            Some((before, _)) if first != last && before != count => format!(" ({before} at first)"),
            _ => String::new(),
        };
        notes.push(format!("{count} thread stacks{before}: {} touched of {size}", Bytes::new(touched.unsigned_abs())));
    }
    if let Some(huge) = b.anon_huge_pages.filter(|bytes| *bytes > Bytes::ZERO) {
        notes.push(format!("transparent huge pages {huge}{}", grown(a.anon_huge_pages, huge)));
    }
    if let Some(swap) = b.swap.filter(|bytes| *bytes > Bytes::ZERO) {
        notes.push(format!("swapped out {swap}{}: not in RSS", grown(a.swap, swap)));
    }
    notes.extend(cgroup(&b, accounting.seconds_to_limit));
    notes.extend(accounting.limits.iter().cloned());
    notes
}

/// The cgroup's use and its limit, with the time that is left.
fn cgroup(beside: &Beside, seconds_to_limit: Option<f64>) -> Option<String> {
    let current = beside.cgroup_current?;
    let Some(max) = beside.cgroup_max else { return Some(format!("cgroup uses {current}, without limit")) };
    let time = match seconds_to_limit {
        _ if current.get() >= max.get() - max.get() / 100 => {
            ": it is reached, the kernel drops page cache, swaps, and kills a process where that does not help".to_owned()
        }
        Some(seconds) => format!("; at this pace it is reached in {}", span(seconds)),
        None => String::new(),
    };
    Some(format!("cgroup uses {current} of {max}{time}"))
}

/// What the row `untouched` is made of: the causes that must be there first, then those that may be, largest first; three
/// of them.
fn untouched_note(untouched: u64, causes: &[Cause]) -> String {
    let mut causes: Vec<&Cause> = causes.iter().filter(|cause| cause.at_most.get() >= untouched / 10).collect();
    causes.sort_by_key(|cause| std::cmp::Reverse((cause.at_least, cause.at_most)));
    let amount = |cause: &Cause| match (cause.at_least, cause.at_most) {
        (least, most) if least == most => format!("{least} "),
        (least, _) if least > Bytes::ZERO => format!("at least {least} "),
        (_, most) if most.get() == untouched => "perhaps ".to_owned(),
        (_, most) => format!("at most {most} "),
    };
    let named: Vec<String> = causes.into_iter().take(3).map(|cause| format!("{}{}", amount(cause), cause.what)).collect();
    format!("{} are counted by the allocator and not resident: {}", Bytes::new(untouched), named.join("; "))
}

/// `3 h 20 min`, `12 min`, `40 s`: a forecast deserves two figures at most.
fn span(seconds: f64) -> String {
    let s = seconds.round().clamp(0.0, 1e12) as u64;
    match s {
        0..=119 => format!("{s} s"),
        120..=7_199 => format!("{} min", s / 60),
        7_200..=172_799 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} days", s / 86_400),
    }
}
