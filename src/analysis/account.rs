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

use crate::analysis::estimate::{Interval, unsample};
use crate::analysis::finding::Confidence;
use crate::analysis::ledger::{Basis, Ledger, Row, RowKind, RssSource};
use crate::analysis::memory_owners::{self, Known, Owner, foreign};
use crate::analysis::slabs::{self, Slabs};
use crate::model::allocator::{AllocatorStats, parse_version};
use crate::model::heap::{Family, HeapProfile};
use crate::model::memory::{MemoryMap, Residency};
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

/// Largest small size class with 4 KiB pages (SC_SMALL_MAXCLASS): larger objects have an extent of their own anyway.
const SMALL_MAX: u64 = 14_336;
/// Pages are this large where the statistics do not say.
const USUAL_PAGE: u64 = 4096;
/// A sampled small object is promoted to the smallest large class (arena_prof_promote, up to 5.3.0).
const PROMOTED: u64 = 16_384;
/// Since this version a sampled object takes whole pages and `allocated` counts its own size.
const PAGE_PROMOTION_SINCE: (u32, u32, u32) = (5, 3, 1);
/// Up to this version `resident` counts muzzy pages.
const MUZZY_IN_RESIDENT: std::ops::RangeInclusive<(u32, u32, u32)> = (5, 0, 0)..=(5, 2, u32::MAX);

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
        Some((_, RssSource::Rollup)) => 4,
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
    if let Some(memory) = snapshot.memory.as_ref().filter(plausible).filter(|memory| !memory.rollup) {
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
    let rollup = snapshot
        .memory
        .as_ref()
        .filter(|memory| memory.rollup && memory.total.rss.get() <= MOST_MEMORY)
        .map(|memory| (memory.total.rss, RssSource::Rollup));
    let plausible = |bytes: &Bytes| bytes.get() <= MOST_MEMORY;
    rollup
        .or_else(|| Some((snapshot.status.as_ref()?.vm_rss?, RssSource::Status)))
        .or_else(|| Some((snapshot.metrics.as_ref()?.rss.filter(plausible)?, RssSource::Metrics)))
}

fn beside(snapshot: &Snapshot) -> Beside {
    let (stats, status, cgroup) = (snapshot.stats.as_ref(), snapshot.status.as_ref(), snapshot.cgroup.as_ref());
    let metrics = snapshot.metrics.as_ref();
    let sums = snapshot.memory.as_ref().map(|memory| memory.total);
    let full = snapshot.memory.as_ref().filter(|memory| !memory.rollup).map(|memory| memory.total);
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

/// What the profile says of the heap at one snapshot.
#[derive(Clone, Copy, Debug)]
struct Profiled {
    /// Live bytes.
    estimate: Interval,
    /// Sampled small objects and their bytes; `None` where sampling costs no memory.
    small: Option<(u64, u64)>,
}

/// Dumps that span this share of the time speak for the snapshots between them, too.
const SPANNED: f64 = 0.5;

/// What the profile says at each snapshot. Dumps are often rarer than smaps: between two of them it is what they say,
/// weighted by time, and before the first and after the last what that one says; a row that is there at every dump only
/// would seem to come and go. Where the dumps span too little of the time for that, and no statistics count what is
/// live, nothing is said of it.
fn profiled(snapshots: &[Snapshot]) -> Vec<Option<Profiled>> {
    // A cut dump says less than its neighbours.
    let whole = |snapshot: &Snapshot| snapshot.heap.as_ref().is_some_and(|heap| !heap.is_partial());
    let some_whole = snapshots.iter().any(whole);
    let own: Vec<Option<Profiled>> =
        snapshots.iter().map(|snapshot| snapshot.heap.as_ref().filter(|_| whole(snapshot) || !some_whole).map(Profiled::of)).collect();
    let known: Vec<(usize, Profiled)> = own.iter().enumerate().filter_map(|(at, own)| Some((at, (*own)?))).collect();
    let time = |at: usize| snapshots[at].unix_ms as f64;
    let (Some(&(first, _)), Some(&(last, _))) = (known.first(), known.last()) else { return own };
    let whole = time(snapshots.len() - 1) - time(0);
    if known.len() < 2 || time(last) - time(first) < SPANNED * whole {
        let resident = snapshots.iter().filter(|snapshot| snapshot.memory.is_some() || snapshot.status.is_some());
        let elsewhere =
            resident.clone().any(|snapshot| snapshot.heap.is_none()) && snapshots.iter().all(|snapshot| snapshot.stats.is_none());
        return if elsewhere { vec![None; snapshots.len()] } else { own };
    }
    (0..snapshots.len())
        .map(|at| {
            let after = known.partition_point(|(dump, _)| *dump < at);
            let (from, to) = (known[after.saturating_sub(1)], known[after.min(known.len() - 1)]);
            let span = time(to.0) - time(from.0);
            let share = if span > 0.0 { ((time(at) - time(from.0)) / span).clamp(0.0, 1.0) } else { 1.0 };
            Some(own[at].unwrap_or_else(|| Profiled::between(&from.1, &to.1, share)))
        })
        .collect()
}

impl Profiled {
    fn of(heap: &HeapProfile) -> Profiled {
        let estimated = heap.samples.iter().map(|sample| unsample(sample.live, heap.sampling));
        let small = (is_jemalloc_dump(heap) && heap.sampling.interval() > 1.0).then(|| {
            let of_slabs =
                |sample: &&crate::model::heap::Sample| sample.live.objects > 0 && sample.live.bytes / sample.live.objects <= SMALL_MAX;
            heap.samples
                .iter()
                .filter(of_slabs)
                .fold((0u64, 0u64), |sum, sample| (sum.0.saturating_add(sample.live.objects), sum.1.saturating_add(sample.live.bytes)))
        });
        Profiled { estimate: estimated.sum::<crate::analysis::estimate::Estimated>().interval(), small }
    }

    /// `share` of the way from one to the other.
    fn between(from: &Profiled, to: &Profiled, share: f64) -> Profiled {
        let mix = |a: f64, b: f64| a + (b - a) * share;
        let (a, b) = (from.estimate, to.estimate);
        let whole = |a: u64, b: u64| mix(a as f64, b as f64).round() as u64;
        Profiled {
            estimate: Interval { estimate: mix(a.estimate, b.estimate), low: mix(a.low, b.low), high: mix(a.high, b.high) },
            small: from.small.zip(to.small).map(|(a, b)| (whole(a.0, b.0), whole(a.1, b.1))),
        }
    }
}

/// What the statistics and the profile say of jemalloc's memory, before it is compared with what is resident.
#[derive(Debug, Default)]
struct Jemalloc {
    /// Counted by the statistics.
    counted: Option<Counted>,
    /// The profile's estimate of live bytes.
    estimate: Option<Interval>,
    /// Where the estimate is from.
    source: String,
    /// What sampling added to `allocated`.
    overhead: u64,
    /// Estimate over live.
    coverage: Option<Interval>,
}

/// Sums of the statistics, in bytes.
#[derive(Debug)]
struct Counted {
    live: i64,
    overhead: i64,
    tcache: i64,
    fragmentation: i64,
    dirty: i64,
    muzzy: i64,
    metadata: Option<i64>,
    /// Dirty pages are not counted but follow from the other figures.
    dirty_inferred: bool,
    /// Bytes in slabs' free regions and in pages around large objects that nothing needs touched: named in causes.
    promoted: u64,
}

impl Jemalloc {
    fn of(snapshot: &Snapshot, profiled: Option<&Profiled>, version: Option<&str>) -> Jemalloc {
        let estimate = profiled.map(|profiled| profiled.estimate);
        let source = match snapshot.file(Part::Heap) {
            Some(file) => format!("{file}: estimate"),
            None => "estimates of the dumps before and after".to_owned(),
        };
        let Some(stats) = snapshot.stats.as_ref() else {
            return Jemalloc { estimate, source, ..Jemalloc::default() };
        };
        let numbers = stats.version_numbers().or_else(|| parse_version(version?));
        let promotion = profiled.and_then(|profiled| profiled.small).map(|small| promoted(small, stats, numbers)).unwrap_or_default();
        let counted = Counted::of(stats, numbers, &promotion);
        let coverage = counted
            .as_ref()
            .zip(estimate.filter(|_| snapshot.heap.as_ref().is_some_and(|heap| !heap.is_partial())))
            .filter(|(counted, _)| counted.live > 0)
            .map(|(counted, estimate)| estimate.per(counted.live as f64));
        Jemalloc { overhead: promotion.overhead, counted, estimate, source, coverage }
    }

    /// Splits what smaps measured.
    fn split(&self, held: &Residency, confidence: Confidence, smaps: &str, snapshot: &Snapshot, account: &mut Account) {
        let measured = signed(held.rss);
        let lazy = signed(held.lazy_free);
        let add = |account: &mut Account, kind, label: &str, bytes: i64, basis, source: &str| {
            account.add(kind, label, bytes, basis, confidence, source)
        };
        add(account, RowKind::LazyFree, "freed, kernel lag (LazyFree)", lazy, Basis::Measured, &format!("{smaps}: LazyFree"));
        let Some(counted) = &self.counted else {
            return self.without_statistics(measured - lazy, confidence, account);
        };
        let mut sum = counted.rows(snapshot, confidence, account) + lazy;
        if let Some(metadata) = counted.metadata {
            // An upper bound (blocks count as touched): no more than is resident at all.
            let room = (measured - lazy).max(0);
            let basis = if metadata > room { Basis::Inferred } else { Basis::Measured };
            add(
                account,
                RowKind::Metadata,
                "allocator metadata",
                metadata.min(room),
                basis,
                &stats_source(snapshot, "resident - active - dirty"),
            );
            sum += metadata.min(room);
        }
        let rest = measured - sum;
        if rest < 0 {
            add(account, RowKind::Untouched, "counted, not resident", rest, Basis::Measured, &format!("{smaps} against the statistics"));
            account.causes = self.causes(counted, lazy, rest.unsigned_abs());
        } else {
            let huge = rest.min(signed(held.anon_huge_pages));
            add(account, RowKind::HugePages, "huge pages beyond what is in use", huge, Basis::Inferred, &format!("{smaps}: AnonHugePages"));
            self.beyond(rest - huge, counted, held, snapshot, confidence, account);
        }
    }

    /// Resident in jemalloc's mappings, counted by nothing.
    fn beyond(&self, rest: i64, counted: &Counted, held: &Residency, snapshot: &Snapshot, confidence: Confidence, account: &mut Account) {
        if rest <= 0 {
            return;
        }
        let smaps = snapshot.file(Part::Memory).unwrap_or("smaps");
        let space = snapshot.stats.as_ref().and_then(|stats| Some(stats.mapped? + stats.retained.unwrap_or_default()));
        // Twice the address space that the statistics account for: they are not of all of these mappings.
        if space.is_some_and(|space| held.size.get() / 2 > space.get()) {
            account.add(
                RowKind::ForeignHeap,
                foreign::SECOND_JEMALLOC,
                rest,
                Basis::Inferred,
                Confidence::Low,
                &format!("{smaps}: mappings beyond `mapped + retained`"),
            );
            account.limits.push("mappings that look like jemalloc's are twice what its statistics account for: a second copy of jemalloc may be in the process".into());
            return;
        }
        // Old versions count no metadata; pages on their way from dirty to unmapped are counted nowhere.
        if counted.metadata.is_none() {
            account.add(
                RowKind::Metadata,
                "allocator metadata",
                rest,
                Basis::Inferred,
                confidence,
                "resident beyond the statistics, which do not count metadata",
            );
            return;
        }
        account.add(
            RowKind::Unattributed,
            "in jemalloc's mappings, beyond its statistics",
            rest,
            Basis::Inferred,
            confidence,
            &format!("{smaps} against the statistics"),
        );
    }

    /// Only the profile says what is in use.
    fn without_statistics(&self, measured: i64, confidence: Confidence, account: &mut Account) {
        let live = self.estimate.map_or(0, |estimate| estimate.estimate.round() as i64);
        if self.estimate.is_some() {
            account.add(RowKind::Live, "live heap", live, Basis::Estimated, confidence, &self.source);
        }
        let rest = measured.saturating_sub(live);
        if rest < 0 {
            account.add(
                RowKind::Untouched,
                "estimated, not resident",
                rest,
                Basis::Estimated,
                confidence,
                "smaps against the profile's estimate",
            );
        } else {
            account.add(RowKind::Unattributed, NOT_SPLIT, rest, Basis::Inferred, confidence, "smaps, without statistics");
        }
        let also = if self.estimate.is_some() {
            "fragmentation, dirty pages and metadata"
        } else {
            "live memory, fragmentation, dirty pages and metadata"
        };
        account
            .limits
            .push(format!("without jemalloc's statistics {also} cannot be told apart: capture malloc_stats_print (option J) beside smaps"));
    }

    /// Splits a total that says nothing of who holds it: as far as the statistics go.
    fn split_of_total(&self, rss: Bytes, source: RssSource, snapshot: &Snapshot, account: &mut Account) {
        let status = snapshot.status.as_ref().filter(|_| source != RssSource::None);
        if let Some(bytes) = status.and_then(|status| status.rss_file) {
            account.add(
                RowKind::FileMapped,
                "all files",
                signed(bytes),
                Basis::Measured,
                Confidence::High,
                &status_source(snapshot, "RssFile"),
            );
        }
        if let Some(bytes) = status.and_then(|status| status.rss_shmem) {
            account.add(
                RowKind::SharedMemory,
                "all shared memory",
                signed(bytes),
                Basis::Measured,
                Confidence::High,
                &status_source(snapshot, "RssShmem"),
            );
        }
        let rollup = snapshot.memory.as_ref().filter(|memory| memory.rollup).map(|memory| memory.total);
        if let Some(rollup) = rollup.filter(|rollup| status.is_none() && rollup.anonymous > Bytes::ZERO) {
            account.add(
                RowKind::FileMapped,
                "all files and shared memory",
                signed(rss.saturating_sub(rollup.anonymous)),
                Basis::Measured,
                Confidence::High,
                "smaps_rollup: Rss - Anonymous",
            );
        }
        let Some(counted) = &self.counted else {
            if self.estimate.is_some() || rollup.is_some() || status.is_some() {
                account.limits.push("without smaps and statistics the owners of anonymous memory cannot be told: capture both".into());
            }
            if let Some(estimate) = self.estimate {
                account.add(
                    RowKind::Live,
                    "live heap",
                    estimate.estimate.round() as i64,
                    Basis::Estimated,
                    Confidence::Medium,
                    &self.source,
                );
            }
            return;
        };
        let confidence = if source == RssSource::None { Confidence::High } else { Confidence::Medium };
        let mut sum = counted.rows(snapshot, confidence, account);
        let metadata = counted.metadata.unwrap_or(0);
        account.add(
            RowKind::Metadata,
            "allocator metadata",
            metadata,
            Basis::Measured,
            confidence,
            &stats_source(snapshot, "resident - active - dirty"),
        );
        sum += metadata;
        if source == RssSource::None {
            return;
        }
        // The kernel's sum of lazily freed pages may include another allocator's.
        let lazy = rollup.map_or(counted.muzzy, |rollup| signed(rollup.lazy_free));
        account.add(
            RowKind::LazyFree,
            "freed, kernel lag (LazyFree)",
            lazy,
            if rollup.is_some() { Basis::Measured } else { Basis::Inferred },
            confidence,
            "smaps_rollup: LazyFree, else muzzy pages",
        );
        sum += lazy;
        // jemalloc holds at most all anonymous memory; whether the rest is its own or another's cannot be told.
        let anonymous = rollup
            .map(|rollup| rollup.anonymous)
            .filter(|bytes| *bytes > Bytes::ZERO)
            .or_else(|| status.and_then(|status| status.rss_anon));
        let room = signed(anonymous.unwrap_or(rss));
        if sum > room {
            account.add(
                RowKind::Untouched,
                "counted, not resident",
                room - sum,
                Basis::Inferred,
                confidence,
                "statistics beyond anonymous RSS",
            );
        }
        if source == RssSource::Metrics {
            account.limits.push(
                "metrics do not count thread caches, sampled objects and size classes: what these hold is inside live heap and fragmentation"
                    .into(),
            );
        }
        account.limits.push(
            "without smaps it cannot be told how much of the anonymous memory is jemalloc's: `unattributed` is what its statistics leave"
                .into(),
        );
    }

    /// What is counted and need not be touched.
    fn causes(&self, counted: &Counted, lazy: i64, untouched: u64) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut name = |what: &str, at_most: u64| {
            if at_most > 0 {
                causes.push(Cause { what: what.to_owned(), at_most: Bytes::new(at_most.min(untouched)) });
            }
        };
        name("extents of sampled objects, of which only the first pages are used", self.overhead.saturating_add(counted.promoted));
        name("free regions and page tails (fragmentation) that were never written", counted.fragmentation.max(0).unsigned_abs());
        name(
            "dirty and muzzy pages that the kernel has taken back or that were never written",
            counted.dirty.saturating_add((counted.muzzy - lazy).max(0)).max(0).unsigned_abs(),
        );
        name("metadata blocks, counted whole", counted.metadata.unwrap_or(0).max(0).unsigned_abs());
        name("live memory that the program has not written (buffers, zeroed tables)", counted.live.max(0).unsigned_abs());
        causes
    }
}

impl Counted {
    fn of(stats: &AllocatorStats, version: Option<(u32, u32, u32)>, promotion: &Promotion) -> Option<Counted> {
        let allocated = signed(stats.allocated?);
        let merged = &stats.merged;
        let active = stats.active.or(merged.active).map_or(allocated, signed);
        let resident = stats.resident.or(merged.resident).map(signed);
        // Metrics have no pages by arena: what is resident beyond pages in use and metadata is dirty.
        let dirty_inferred = merged.dirty.is_none() && stats.metadata.is_some() && resident.is_some();
        let dirty = match (merged.dirty, stats.metadata, resident) {
            (Some(dirty), ..) => signed(dirty),
            (None, Some(metadata), Some(resident)) => (resident - active - signed(metadata)).max(0),
            _ => 0,
        };
        let muzzy = merged.muzzy.map_or(0, signed);
        // Cached objects are freed ones: no more than there are.
        let tcache = (signed(merged.tcache.unwrap_or_default()).saturating_add(signed(merged.tcache_stashed.unwrap_or_default())))
            .clamp(0, allocated);
        let fragmentation = (active - allocated).max(0);
        let (overhead, uncounted) = (signed(Bytes::new(promotion.overhead)), signed(Bytes::new(promotion.uncounted)));
        // The overhead comes out of the row that it inflates; objects that `allocated` leaves out are live.
        let (live, overhead, fragmentation) = if promotion.in_active_only {
            let uncounted = uncounted.min(fragmentation);
            let overhead = overhead.min(fragmentation - uncounted);
            (allocated - tcache + uncounted, overhead, fragmentation - uncounted - overhead)
        } else {
            let overhead = overhead.min(allocated - tcache);
            (allocated - tcache - overhead, overhead, fragmentation)
        };
        let in_resident = version.is_some_and(|version| MUZZY_IN_RESIDENT.contains(&version));
        let metadata = resident.map(|resident| (resident - active - dirty - if in_resident { muzzy } else { 0 }).max(0));
        Some(Counted { live, overhead, tcache, fragmentation, dirty, muzzy, metadata, dirty_inferred, promoted: promotion.padding })
    }

    /// Enters the rows that the statistics count; returns their sum (without metadata).
    fn rows(&self, snapshot: &Snapshot, confidence: Confidence, account: &mut Account) -> i64 {
        let mut add = |kind, label: &str, bytes: i64, basis, figure: &str| {
            account.add(kind, label, bytes, basis, confidence, &stats_source(snapshot, figure))
        };
        add(RowKind::Live, "live heap", self.live, Basis::Measured, "allocated, less thread caches and sampling overhead");
        add(
            RowKind::SamplingOverhead,
            "sampling overhead",
            self.overhead,
            Basis::Inferred,
            "sampled small objects of the dump, each in an extent of its own",
        );
        add(RowKind::Tcache, "thread caches", self.tcache, Basis::Measured, "tcache_bytes");
        add(RowKind::Fragmentation, "fragmentation", self.fragmentation, Basis::Measured, "active - allocated");
        let (basis, figure) = match self.dirty_inferred {
            true => (Basis::Inferred, "resident - active - metadata"),
            false => (Basis::Measured, "pdirty"),
        };
        add(RowKind::Dirty, "freed, awaiting decay (dirty)", self.dirty, basis, figure);
        self.live + self.overhead + self.tcache + self.fragmentation + self.dirty
    }
}

fn stats_source(snapshot: &Snapshot, figure: &str) -> String {
    format!("{}: {figure}", snapshot.file(Part::Stats).unwrap_or("statistics"))
}

fn status_source(snapshot: &Snapshot, figure: &str) -> String {
    format!("{}: {figure}", snapshot.file(Part::Status).unwrap_or("status"))
}

/// What sampling adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Promotion {
    /// Bytes of rows beyond what the objects themselves hold.
    overhead: u64,
    /// Bytes of the sampled objects themselves that `allocated` does not count (5.3.1 and later).
    uncounted: u64,
    /// Both of these are in `active` only.
    in_active_only: bool,
    /// Pages in `active` that no object uses because of sampling.
    padding: u64,
}

/// Sampled small objects live in extents of their own.
///
/// Up to 5.3.0 each counts as 16 KiB in `allocated`, and cache_oblivious adds a page to `active`. Their number
/// is the dump's, which with `prof_unbias` may be printed too high for stacks of mixed sizes: no more than the
/// class has extents. From 5.3.1 on they take whole pages in `active` and are in no class and not in `allocated`
/// (seen: 1265 sampled objects, 10,362,880 bytes of `active` in neither slabs nor large extents: two pages each).
fn promoted((objects, bytes): (u64, u64), stats: &AllocatorStats, version: Option<(u32, u32, u32)>) -> Promotion {
    let Some(version) = version.filter(|version| *version >= (4, 0, 0)) else { return Promotion::default() };
    let page = stats.page_size.unwrap_or(USUAL_PAGE);
    let padded = stats.options.config_cache_oblivious != Some(false);
    if version >= PAGE_PROMOTION_SINCE {
        let Some(extents) = extents_without_class(stats, if padded { page } else { 0 }) else { return Promotion::default() };
        let own = bytes.min(extents);
        return Promotion { overhead: extents - own, uncounted: own, in_active_only: true, padding: extents - own };
    }
    let extents = stats.large.iter().find(|class| class.size == PROMOTED).map_or(objects, |class| class.live);
    let within = objects.min(extents);
    let own = (u128::from(bytes) * u128::from(within) / u128::from(objects.max(1))) as u64;
    let padding = if padded { within.saturating_mul(page) } else { 0 };
    Promotion { overhead: within.saturating_mul(PROMOTED).saturating_sub(own), padding, ..Promotion::default() }
}

/// Bytes in active pages that are neither slabs nor large extents; `pad` is what each large extent has more than
/// its size. `None` without figures by class.
fn extents_without_class(stats: &AllocatorStats, pad: u64) -> Option<u64> {
    let slabs = stats.bins.iter().map(|bin| bin.slabs.saturating_mul(bin.slab_size)).fold(0, u64::saturating_add);
    let count = stats.large.iter().map(|class| class.live).fold(0, u64::saturating_add);
    if stats.bins.is_empty() || slabs == 0 {
        return None;
    }
    let large = stats.merged.large_allocated?.get().saturating_add(count.saturating_mul(pad));
    Some(stats.active?.get().saturating_sub(slabs).saturating_sub(large).min(MOST_MEMORY))
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
    let (Some(&first), Some(&last)) = (ledger.snapshots.first(), ledger.snapshots.last()) else { return notes };
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
        notes.push(format!(
            "{} are counted by the allocator and not resident: never written, or taken back (`heaptriage rss` lists where)",
            Bytes::new(untouched.unsigned_abs())
        ));
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
    match (b.cgroup_current, b.cgroup_max) {
        (Some(current), Some(max)) => {
            let time =
                accounting.seconds_to_limit.map(|seconds| format!("; at this pace it is reached in {}", span(seconds))).unwrap_or_default();
            notes.push(format!("cgroup uses {current} of {max}{time}"));
        }
        (Some(current), None) => notes.push(format!("cgroup uses {current}, without limit")),
        _ => {}
    }
    notes.extend(accounting.limits.iter().cloned());
    notes
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_that_are_rarer_than_smaps_speak_for_what_lies_between() {
        use crate::model::heap::{Sample, Sampled, Sampling, Unbias};
        use crate::model::snapshot::TimeSource;
        use crate::model::stack::StackId;
        let at = |ms: i64, live: Option<u64>| {
            let mut snapshot = Snapshot::empty(ms.to_string(), ms, TimeSource::Name);
            snapshot.status = Some(crate::model::memory::ProcessStatus { vm_rss: Some(Bytes::new(1000)), ..Default::default() });
            snapshot.heap = live.map(|bytes| HeapProfile {
                family: Family::JemallocThreaded,
                sampling: Sampling::Exact,
                accumulated: false,
                unbias: Unbias::Unknown,
                header: None,
                threads: Vec::new(),
                samples: vec![Sample { stack: StackId(0), live: Sampled { objects: 1, bytes }, accumulated: Sampled::default() }],
                thread_samples: Vec::new(),
                mappings: crate::model::mapping::AddressSpace::default(),
                truncated: false,
            });
            snapshot
        };
        let live = |snapshots: Vec<Snapshot>| {
            let ledger = ledger(&Timeline { snapshots, ..Timeline::default() });
            assert!(ledger.closes());
            ledger.rows.into_iter().find(|row| row.kind == RowKind::Live).map(|row| row.bytes)
        };
        assert_eq!(
            live(vec![at(0, None), at(100, Some(100)), at(150, None), at(300, Some(500)), at(310, None)]),
            Some(vec![100, 100, 200, 500, 500])
        );
        // One dump does not show a course; alone it is what it is.
        assert_eq!(live(vec![at(0, None), at(100, Some(100)), at(200, None)]), None);
        assert_eq!(live(vec![at(0, Some(100))]), Some(vec![100]));
    }
}
