//! The triage: from a timeline with names and its ledger to the verdict with its findings.
//!
//! Order of precedence: an ongoing leak that is significant outranks larger growth that is benign; otherwise the verdict
//! is what explains most of the growth of RSS, and what explains more than a tenth of it stands beside it.

mod findings;
mod limits;

use crate::analysis::detect::pools::{Finder, Pool, PoolKind};
use crate::analysis::detect::setting::{self, Advice, Settings, advise};
use crate::analysis::explain;
use crate::analysis::finding::{Cleared, Confidence, Missing, Suspect, Verdict, VerdictKind};
use crate::analysis::group::{Group, Paths, group, together};
use crate::analysis::join::{Explained, Growing};
use crate::analysis::judge::{Call, Judged, Setting, judge};
use crate::analysis::ledger::{Ledger, RowKind};
use crate::analysis::one_dump;
use crate::analysis::series::HeapSeries;
use crate::analysis::slabs::{self, Slabs};
use crate::analysis::suppress::{Suppressions, Usage};
use crate::analysis::trend::{Course, Regressor, Series, TIME, course};
use crate::model::allocator::AllocatorStats;
use crate::model::frame::Symbols;
use crate::model::heap::{Family, Sampling};
use crate::model::snapshot::{Part, Snapshot, TimeSource};
use crate::model::stack::StackId;
use crate::model::timeline::{CounterKind, Timeline};
use findings::{View, is_lost, load_in_progress};
use limits::{blind_spot, missing};

pub use findings::singular;

/// RSS growth below this is not explained but called steady: two base blocks of the allocator.
pub const STEADY_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// The same as a share of the last RSS.
pub const STEADY_SHARE: f64 = 0.10;
/// Groups that the binaries are asked about, heaviest first: a report shows fewer.
const MOST_ASKED: usize = 32;
/// Standard error of a ledger row from being read some ms apart.
const LEDGER_NOISE: f64 = 256.0 * 1024.0;

/// What the triage may be told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only this counter, besides time.
    pub counter: Option<String>,
    /// What is known not to be a leak.
    pub suppressions: Suppressions,
}

/// Everything a report says.
#[derive(Clone, Debug)]
pub struct Triage {
    /// The process and what was recorded of it.
    pub summary: Summary,
    /// The conclusion.
    pub verdict: Verdict,
    /// Where the memory is.
    pub ledger: Ledger,
    /// Suspects, gravest first; suppressed ones last.
    pub suspects: Vec<Suspect>,
    /// What the suppressions did.
    pub suppression: Usage,
    /// Growth that is not a leak.
    pub cleared: Vec<Cleared>,
    /// Settings worth changing: the detector's word, the advice, and the variable that sets it.
    pub advice: Vec<Advised>,
    /// All of them that are options of the allocator in one assignment, where these are several.
    pub advice_together: Option<String>,
    /// Half-empty slabs and the stacks that hold them, where these matter.
    pub slabs: Option<Slabs>,
    /// What would make the answer more certain.
    pub missing: Vec<Missing>,
    /// What a leak smaller than this would have looked like: nothing.
    pub blind_spot: Option<String>,
    /// The groups as judged, for `trend` and the charts.
    pub judged: Vec<Judged>,
}

/// A setting worth changing: the detector's word, the advice, and the assignment that sets it.
pub type Advised = (&'static str, Advice, Option<String>);

/// The process and what was recorded of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Name of the process.
    pub process: Option<String>,
    /// Process id.
    pub pid: Option<u64>,
    /// Number of snapshots.
    pub snapshots: usize,
    /// Number of heap dumps among them.
    pub heap_dumps: usize,
    /// Time of the first, Unix ms.
    pub first_unix_ms: i64,
    /// Time of the last, Unix ms.
    pub last_unix_ms: i64,
    /// Whether the times are times, and not a mere order.
    pub timed: bool,
    /// `heap`, `smaps`, `stats`.
    pub sources: Vec<&'static str>,
    /// Bytes between samples; 1 for exact profiles, `None` without dumps and where they do not tell.
    pub sampling_interval: Option<u64>,
    /// The figures of the dumps are estimates of their writer, with an error of their own that nobody knows (pprof).
    pub estimated_by_writer: bool,
    /// `jemalloc 5.3.0`.
    pub allocator: Option<String>,
    /// Names of the first and last dump, for the commands that reproduce a claim.
    pub dumps: Option<(String, String)>,
    /// Names of the snapshots, in order.
    pub names: Vec<String>,
    /// What is known of how the allocator was set.
    pub settings: SettingsKnown,
}

/// What is known of how the allocator was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettingsKnown {
    /// Which environment variable it reads.
    pub variable: bool,
    /// What was set in it.
    pub values: bool,
}

/// Asks the binaries why groups grow: once, for those that become suspects, gravest growth first. Whoever answers reads files;
/// the triage does not.
pub type Ask<'a> = dyn Fn(&[Growing]) -> Explained + 'a;

/// Runs the triage from what was recorded alone. `symbols` belongs to `timeline.stacks`.
pub fn triage(timeline: &Timeline, symbols: &Symbols, ledger: Ledger, options: &Options) -> Triage {
    triage_with(timeline, &HeapSeries::of(timeline), symbols, ledger, options, &|_| Explained::default())
}

/// Runs the triage and asks the binaries. `series` is what was collected of `timeline`.
pub fn triage_with(
    timeline: &Timeline,
    series: &HeapSeries,
    symbols: &Symbols,
    ledger: Ledger,
    options: &Options,
    ask: &Ask<'_>,
) -> Triage {
    let mut summary = summarize(timeline, series);
    let variable = timeline.process.malloc_conf_variable.as_deref().or_else(|| variable_by_names(symbols));
    summary.settings = SettingsKnown { variable: variable.is_some(), values: timeline.process.malloc_conf.is_some() };
    let paths = Paths::of(&timeline.stacks, symbols);
    let at_dumps = regressors(timeline, &series.snapshots, options);
    let rss: Vec<f64> = ledger.rss.iter().map(|&bytes| bytes as f64).collect();
    let rss_rise = (!rss.is_empty()).then(|| rss.iter().copied().fold(f64::MIN, f64::max) - rss[0]);
    let rss_course = resident_heap(&ledger, &regressors(timeline, &ledger.snapshots, options));
    let stats: Vec<Option<&AllocatorStats>> = series.snapshots.iter().map(|&i| timeline.snapshots[i].stats.as_ref()).collect();
    let setting = Setting { regressors: &at_dumps, rss_rise, stats: &stats, rss_course: rss_course.as_ref() };
    let mut judged = match series.dumps() {
        0 | 1 => Vec::new(),
        _ => judge(series, &paths, arrange(timeline, symbols, series, &paths), &setting),
    };
    let view = View { timeline, symbols, series, paths: &paths, ledger: &ledger, resident: rss_course.as_ref() };
    let asked: Vec<usize> = (0..judged.len()).filter(|&i| view.grade(&judged[i]).is_some()).take(MOST_ASKED).collect();
    let explained = match asked.as_slice() {
        [] => Explained::default(),
        asked => ask(&asked.iter().map(|&i| view.growing(&judged[i])).collect::<Vec<_>>()),
    };
    let explanation = |i: usize| asked.binary_search(&i).ok().and_then(|at| explained.groups.get(at)?.as_ref());
    for (&i, driver) in asked.iter().zip(&explained.drivers) {
        if let Some(driver) = driver.as_ref().filter(|_| view.may_be_a_load(&judged[i], explanation(i))) {
            judged[i].call = Call::Open(load_in_progress(driver));
            judged[i].driver = Some(driver.clone());
        }
    }
    for &i in &asked {
        if judged[i].wants_only_snapshots() && explanation(i).is_some_and(is_lost) {
            judged[i].call = Call::Suspect(VerdictKind::Leak, Confidence::Medium);
        }
    }
    let found = judged.iter().enumerate().filter_map(|(i, j)| Some((i, view.suspect(j, explanation(i))?)));
    let (groups, mut suspects): (Vec<usize>, Vec<Suspect>) = found.unzip();
    let mut outside = explain::foreign(&ledger, &regressors(timeline, &ledger.snapshots, options));
    suspects.extend(outside.suspect.clone());
    let suppression = options.suppressions.apply(&mut suspects);
    // What is known still grew: it is neither a leak nor cleared.
    let known = |suspect: &Suspect| suspect.suppressed.is_some();
    for (&group, _) in groups.iter().zip(&suspects).filter(|(_, suspect)| known(suspect)) {
        judged[group].call = Call::Open(explain::COVERED.to_owned());
    }
    if suspects.get(groups.len()).is_some_and(known) {
        (outside.kind, outside.reason) = (Some(VerdictKind::Growth), explain::COVERED.to_owned());
    }
    suspects.sort_by(|a, b| known(a).cmp(&known(b)).then(rank(b).cmp(&rank(a))).then(b.growth.estimate.total_cmp(&a.growth.estimate)));
    let open = suspects.partition_point(|suspect| !known(suspect));
    let mut cleared: Vec<Cleared> = judged.iter().filter_map(|j| view.cleared(j, rss_rise)).collect();
    let causes = explain::causes(&ledger, &judged, &outside);
    cleared.extend(explain::cleared_rows(&ledger, &causes));
    let mut verdict = explain::verdict(&summary, &ledger, &suspects[..open], &judged, &causes, &allocator_options(timeline));
    if let Some(live) = one_dump::sentence(timeline, series, symbols) {
        verdict.summary = format!("{} {live}", verdict.summary);
    }
    let mut missing = missing(timeline, &summary, symbols, series);
    missing.extend(explained.missing);
    let blind_spot = blind_spot(series, &summary, &judged);
    let (advice, advice_together) = advice(timeline, variable, &ledger, &summary);
    let mut slabs = slabs::slabs(timeline, ledger.rss.last().copied());
    slabs.iter_mut().for_each(|slabs| slabs::join(slabs, timeline, symbols));
    Triage { summary, verdict, ledger, suspects, suppression, cleared, advice, advice_together, slabs, missing, blind_spot, judged }
}

/// Settings worth changing, by the last statistics and the ledger.
fn advice(timeline: &Timeline, variable: Option<&str>, ledger: &Ledger, summary: &Summary) -> (Vec<Advised>, Option<String>) {
    let last = timeline.snapshots.iter().rev().find(|snapshot| snapshot.stats.is_some());
    let threads = timeline.snapshots.iter().rev().find_map(|snapshot| snapshot.status.as_ref()?.threads);
    let settings = Settings {
        stats: last.and_then(|snapshot| snapshot.stats.as_ref()),
        stats_file: last.and_then(|snapshot| snapshot.file(Part::Stats)).unwrap_or("statistics"),
        ledger,
        sampling_interval: summary.sampling_interval.map(|bytes| bytes as f64),
        malloc_conf: timeline.process.malloc_conf.as_deref(),
        variable,
        threads: threads.or_else(|| last?.stats.as_ref()?.arenas.iter().try_fold(0_u64, |sum, arena| sum.checked_add(arena.threads?))),
    };
    let found = advise(&settings);
    let together = setting::together(found.iter().map(|(_, advice)| advice), &settings);
    (
        found
            .into_iter()
            .map(|(id, advice)| {
                let line = advice.variable(&settings);
                (id, advice, line)
            })
            .collect(),
        together,
    )
}

/// The variable by the names that programs call their jemalloc by: tikv's crate prefixes them with `_rjem_` (its private
/// names too, in every build: those say nothing), ports for other systems with `je_`, distributions with nothing.
fn variable_by_names(symbols: &Symbols) -> Option<&'static str> {
    const CALLS: [&str; 8] = ["malloc", "calloc", "realloc", "mallocx", "rallocx", "sdallocx", "aligned_alloc", "posix_memalign"];
    let called = |prefix: &str| symbols.names.iter().any(|name| name.strip_prefix(prefix).is_some_and(|rest| CALLS.contains(&rest)));
    [("_rjem_", "_RJEM_MALLOC_CONF"), ("je_", "JE_MALLOC_CONF"), ("", "MALLOC_CONF")]
        .into_iter()
        .find(|(prefix, _)| called(prefix))
        .map(|(_, variable)| variable)
        // Distributions build it without prefix.
        .or_else(|| symbols.modules.iter().any(|module| module.name.starts_with("libjemalloc")).then_some("MALLOC_CONF"))
}

/// Grave first: leaks before growth, then by confidence.
fn rank(suspect: &Suspect) -> (bool, Confidence) {
    (suspect.kind.is_leak(), suspect.confidence)
}

/// Groups all stacks; the chunks of an arena by themselves, because the blame for a chunk falls on whoever crossed the end
/// of the last one.
fn arrange(timeline: &Timeline, symbols: &Symbols, series: &HeapSeries, paths: &Paths) -> Vec<(Group, Option<&'static Pool>)> {
    let mut pools = Finder::new(symbols);
    let mut pool_of = |s: StackId| pools.pool(timeline.stacks.stack(s));
    let mut arenas: Vec<(&'static Pool, Vec<StackId>)> = Vec::new();
    let mut other = Vec::new();
    for stack in timeline.stacks.ids().filter(|s| series.stacks[s.index()].live.iter().any(|c| c.objects > 0)) {
        match pool_of(stack).filter(|pool| pool.kind == PoolKind::Arena) {
            None => other.push(stack),
            Some(pool) => match arenas.iter_mut().find(|(known, _)| known.id == pool.id) {
                Some((_, stacks)) => stacks.push(stack),
                None => arenas.push((pool, vec![stack])),
            },
        }
    }
    let mut groups: Vec<(Group, Option<&'static Pool>)> = Vec::new();
    for found in group(series, paths, other) {
        // What a cache holds is allocated by whoever asks it; the cache's own nodes grow beside it.
        let grows = |stack: &StackId| series.growth(std::iter::once(&series.stacks[stack.index()])).bytes > 0.0;
        let mut pool = found.stacks.first().and_then(|&heaviest| pool_of(heaviest));
        let mut growing = found.stacks.iter().take_while(|stack| grows(stack));
        while let (None, Some(&stack)) = (pool, growing.next()) {
            pool = pool_of(stack).filter(|pool| pool.kind == PoolKind::Cache);
        }
        groups.push((found, pool));
    }
    for (pool, stacks) in arenas {
        groups.extend(together(series, paths, stacks).into_iter().map(|found| (found, Some(pool))));
    }
    groups
}

/// The options in force, from the last statistics.
fn allocator_options(timeline: &Timeline) -> crate::model::allocator::Options {
    timeline.snapshots.iter().rev().find_map(|s| s.stats.as_ref()).map(|stats| stats.options.clone()).unwrap_or_default()
}

/// Time in seconds first, then every counter that never falls and is known at all of these snapshots.
pub fn regressors(timeline: &Timeline, at: &[usize], options: &Options) -> Vec<Regressor> {
    let Some(&first) = at.first() else { return Vec::new() };
    let start = timeline.snapshots[first].unix_ms;
    let seconds = at.iter().map(|&i| (timeline.snapshots[i].unix_ms - start) as f64 / 1000.0).collect();
    let mut all = vec![Regressor { name: TIME.to_owned(), values: seconds }];
    for (c, counter) in timeline.counters.iter().enumerate() {
        let wanted = options.counter.as_ref().is_none_or(|name| *name == counter.name);
        let values: Option<Vec<f64>> = at.iter().map(|&i| timeline.snapshots[i].counters.get(c).copied().flatten()).collect();
        if let (true, CounterKind::Cumulative, Some(values)) = (wanted, counter.kind, values) {
            all.push(Regressor { name: counter.name.clone(), values });
        }
    }
    all.retain(Regressor::moves);
    all
}

/// The course of what jemalloc has resident; `None` where resident memory was not recorded.
fn resident_heap(ledger: &Ledger, regressors: &[Regressor]) -> Option<Course> {
    if ledger.rss.len() < 3 {
        return None;
    }
    let levels = (0..ledger.snapshots.len()).map(|i| ledger.allocator_resident(i) as f64).collect();
    Some(course(&Series::measured(levels, LEDGER_NOISE), regressors))
}

fn summarize(timeline: &Timeline, series: &HeapSeries) -> Summary {
    let snapshots = &timeline.snapshots;
    let any = |test: fn(&Snapshot) -> bool| snapshots.iter().any(test);
    let sources = [
        ("heap", any(|s| s.heap.is_some())),
        ("smaps", any(|s| s.memory.is_some())),
        ("stats", any(|s| s.stats.is_some())),
        ("status", any(|s| s.status.is_some())),
        ("cgroup", any(|s| s.cgroup.is_some())),
        ("malloc_info", any(|s| s.glibc.is_some())),
        ("metrics", any(|s| s.metrics.is_some())),
    ];
    let version = timeline.process.jemalloc_version.clone().or_else(|| snapshots.iter().find_map(|s| s.stats.as_ref()?.version.clone()));
    let estimated_by_writer = snapshots.iter().any(|s| s.heap.as_ref().is_some_and(|heap| heap.family == Family::Pprof));
    let dump_name = |at: Option<&usize>| at.map(|&i| snapshots[i].file(Part::Heap).unwrap_or(&snapshots[i].name).to_owned());
    Summary {
        process: timeline.process.name.clone(),
        pid: timeline.process.pid,
        snapshots: snapshots.len(),
        heap_dumps: series.dumps(),
        first_unix_ms: snapshots.first().map_or(0, |s| s.unix_ms),
        last_unix_ms: snapshots.last().map_or(0, |s| s.unix_ms),
        timed: snapshots.iter().all(|s| !matches!(s.time_source, TimeSource::Sequence | TimeSource::ArgumentOrder)),
        sources: sources.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect(),
        sampling_interval: series.sampling.last().filter(|_| !estimated_by_writer).map(|sampling| match sampling {
            Sampling::Exact => 1,
            Sampling::Interval(bytes) => bytes.get(),
        }),
        estimated_by_writer,
        allocator: version.map(|v| format!("jemalloc {}", v.split('-').next().unwrap_or(&v))),
        dumps: dump_name(series.snapshots.first()).zip(dump_name(series.snapshots.last())),
        names: snapshots.iter().map(|s| s.name.clone()).collect(),
        settings: SettingsKnown::default(),
    }
}

/// The growth of the rows that are jemalloc's live memory as resident: what is live, less what was never touched.
pub(crate) const LIVE_ROWS: [RowKind; 3] = [RowKind::Live, RowKind::SamplingOverhead, RowKind::Untouched];
