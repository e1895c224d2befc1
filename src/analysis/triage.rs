//! The triage: from a timeline with names and its ledger to the verdict with its findings.
//!
//! Order of precedence: an ongoing leak that is significant outranks larger growth that is benign; otherwise the verdict
//! is what explains most of the growth of RSS, and what explains more than a tenth of it stands beside it.

use crate::analysis::detect::pools::{Finder, Pool, PoolKind};
use crate::analysis::detect::setting::{self, Advice, Settings, advise};
use crate::analysis::detect::{self, Case, Sibling};
use crate::analysis::estimate::Interval;
use crate::analysis::explain;
use crate::analysis::finding::{Cleared, Confidence, Evidence, FrameView, Missing, Rate, Suspect, Verdict, VerdictKind, fingerprint};
use crate::analysis::group::{Group, Paths, group, together};
use crate::analysis::join::{Driver, Explained, Explanation, Growing};
use crate::analysis::judge::{Call, Judged, MATERIAL_SHARE, RESOLVED_SAMPLES, Setting, judge};
use crate::analysis::ledger::{Ledger, RowKind};
use crate::analysis::lives;
use crate::analysis::one_dump;
use crate::analysis::owner;
use crate::analysis::series::HeapSeries;
use crate::analysis::size_class;
use crate::analysis::slabs::{self, Slabs};
use crate::analysis::suppress::{Suppressions, Usage};
use crate::analysis::trend::{Course, POOL_SLOWED, Regressor, Series, TIME, course};
use crate::analysis::view;
use crate::model::allocator::AllocatorStats;
use crate::model::frame::Symbols;
use crate::model::heap::{Family, HeapProfile, Sampling};
use crate::model::snapshot::{Part, Snapshot, TimeSource};
use crate::model::stack::StackId;
use crate::model::timeline::{CounterKind, Timeline};
use crate::units::{grouped, iec, percent};

/// RSS growth below this is not explained but called steady: two base blocks of the allocator.
pub const STEADY_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// The same as a share of the last RSS.
pub const STEADY_SHARE: f64 = 0.10;
/// Growth shown as cleared has at least this share of the growth of RSS, or of the largest live growth.
const WORTH_A_LINE: f64 = 0.05;
/// Other stacks of a group that the detectors look at.
const SIBLINGS: usize = 8;
/// Groups that the binaries are asked about, heaviest first: a report shows fewer.
const MOST_ASKED: usize = 32;
/// Stacks of a group that the binaries are asked about, heaviest growth first.
const MOST_STACKS: usize = 64;
/// Share of a growth in stacks of which the binary shows where they are lost.
const LOST: f64 = 0.8;
/// Share of a growth, in sampled objects, that threads of the first dump must have grown by to be its threads.
const STAYED: f64 = 0.8;
/// Share of the growth of RSS from which a growth in chunks goes as RSS does.
const MOST_OF_RSS: f64 = 0.8;
/// Finer sampling than every 16 KiB costs more than it shows.
const FINEST_LG: u32 = 14;
/// From 2^17 on what sampling adds to the heap stays within some percent.
const UNDISTORTED_LG: u32 = 17;
/// Patterns of memory that the program can still reach: entries of a structure that is in use.
const REACHABLE: [&str; 3] = ["unbounded_map", "unbounded_vec", "interning"];
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

/// Everything needed to turn a judged group into a finding.
struct View<'a> {
    timeline: &'a Timeline,
    symbols: &'a Symbols,
    series: &'a HeapSeries,
    paths: &'a Paths,
    ledger: &'a Ledger,
    /// Course of what the allocator has resident.
    resident: Option<&'a Course>,
}

impl View<'_> {
    fn owner(&self, judged: &Judged) -> FrameView {
        let place = judged.group.place();
        let frame = place.and_then(|p| self.symbols.frames(p.address).get(p.depth as usize).map(|frame| (p.address, frame)));
        frame.map_or_else(FrameView::default, |(address, frame)| view::frame(&self.timeline.stacks, self.symbols, address, frame))
    }

    /// What a growth is suspected of, how surely, and what is open about it.
    fn grade<'j>(&self, judged: &'j Judged) -> Option<(VerdictKind, Confidence, Option<&'j str>)> {
        match &judged.call {
            Call::Suspect(kind, confidence) => Some((*kind, *confidence, None)),
            // Two snapshots, or a shape that does not show: a suspicion with its interval, if it is of any size.
            Call::Open(why) if self.is_material(judged) => Some((VerdictKind::Growth, Confidence::Low, Some(why))),
            _ => None,
        }
    }

    /// The stacks of a group with the growth of each.
    fn growing(&self, judged: &Judged) -> Growing {
        let last = self.series.dumps().saturating_sub(1);
        let growth = |&stack: &StackId| (stack, self.series.delta(&self.series.stacks[stack.index()], 0, last).bytes);
        let mut stacks: Vec<(StackId, f64)> = judged.group.stacks.iter().map(growth).filter(|(_, bytes)| *bytes > 0.0).collect();
        stacks.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        stacks.truncate(MOST_STACKS);
        Growing { stacks }
    }

    fn suspect(&self, judged: &Judged, explanation: Option<&Explanation>) -> Option<Suspect> {
        let (kind, mut confidence, open) = self.grade(judged)?;
        let heaviest = *judged.group.stacks.first()?;
        let stack = view::stack(&self.timeline.stacks, self.symbols, heaviest);
        let owner = self.owner(judged);
        let operation = self.operation(heaviest);
        let pattern = self.pattern(judged, explanation);
        let (growth, class_claim) = self.growth(judged);
        let mut evidence = self.evidence(judged, growth);
        evidence.extend(class_claim);
        evidence.extend(lives::evidence(&self.timeline.lives, &judged.group.stacks));
        if let Some(why) = open {
            let source = judged.driver.as_ref().map(|driver| format!("machine code of {}", driver.source));
            evidence.push(Evidence::new(why, source.unwrap_or_else(|| dumps_of(self.series))));
        }
        let mut refuted_by = general_refutation(judged);
        let mut remedy = general_remedy(&owner);
        let mut keywords: Vec<String> = Vec::new();
        // What the binary shows comes first: it says why the memory stays.
        let shown = explanation.map_or(&[][..], |explanation| &explanation.evidence);
        evidence.splice(0..0, shown.iter().cloned());
        if let Some((_, found)) = &pattern {
            let at = if found.weight == detect::BINARY { 0 } else { evidence.len() };
            evidence.splice(at..at, found.evidence.iter().cloned());
            refuted_by = format!("{}; or {refuted_by}", found.refuted_by);
            remedy.clone_from(&found.remedy);
            keywords.extend(found.keywords.iter().map(|&k| k.to_owned()));
        }
        // Growth shows that it is kept; only its meaning tells data that is being loaded from entries that were forgotten.
        let reachable = is_reachable(pattern.as_ref());
        if reachable && confidence == Confidence::High {
            confidence = Confidence::Medium;
            let claim = "a structure that the program can reach holds it, and growth alone cannot show that its entries are needed no more: \
                         the confidence is not high. Let the work end, or do the same work twice: data that is loaded stops growing, and the \
                         second time adds nothing";
            evidence.push(Evidence::new(claim, "pattern"));
        }
        evidence.extend(
            judged
                .doubt()
                .filter(|_| kind == VerdictKind::Leak && confidence == Confidence::Medium && !reachable)
                .map(|doubt| Evidence::new(format!("the confidence is medium, not high: {doubt}"), dumps_of(self.series))),
        );
        let names = judged.group.shared.iter().map(|f| self.paths.name(f.key));
        keywords.extend(owner.function.rsplit("::").find(|part| !part.starts_with('{')).map(str::to_owned));
        Some(Suspect {
            fingerprint: fingerprint(std::iter::once(kind.word()).chain(names)),
            kind,
            pattern: pattern.as_ref().map(|(id, _)| *id),
            confidence,
            growth,
            fitted: judged.course.best_trend().map(|t| {
                let units = growth.estimate / t.rate.estimate;
                Interval { estimate: t.robust.estimate * units, low: t.robust.low * units, high: t.robust.high * units }
            }),
            shape: judged.course.shape,
            rises: (judged.course.rises, judged.course.intervals),
            rates: rates(self.pace(judged)),
            survival: judged.survival.filter(|_| !judged.is_table()),
            owner,
            operation,
            stack,
            stacks: judged.group.stacks.len(),
            levels: judged.levels.iter().map(|l| l.bytes).collect(),
            sites: explanation.map_or_else(Vec::new, |explanation| explanation.sites.clone()),
            holder: explanation.and_then(|explanation| explanation.holder.clone()),
            cycle: explanation.map_or_else(Vec::new, |explanation| explanation.cycle.clone()),
            evidence,
            refuted_by,
            remedy,
            keywords,
            source: Vec::new(),
            suppressed: None,
        })
    }

    /// The container operation that a stack allocates in.
    fn operation(&self, stack: StackId) -> Option<String> {
        owner::owner(self.symbols, self.timeline.stacks.stack(stack)).and_then(|o| o.container).map(str::to_owned)
    }

    /// What the detectors say of a group.
    fn pattern(&self, judged: &Judged, explanation: Option<&Explanation>) -> Option<(&'static str, detect::Match)> {
        let heaviest = *judged.group.stacks.first()?;
        let stack = view::stack(&self.timeline.stacks, self.symbols, heaviest);
        let operation = self.operation(heaviest);
        let others: Vec<Sibling> = judged.group.stacks.iter().skip(1).take(SIBLINGS).map(|&s| self.sibling(s)).collect();
        detect::examine(&Case {
            stack: &stack,
            owner: &self.owner(judged),
            operation: operation.as_deref(),
            object_bytes: judged.object_bytes(),
            course: &judged.course,
            survival: judged.survival,
            stacks: judged.group.stacks.len(),
            others: &others,
            explanation,
        })
    }

    /// Whether a growth may be data that is being loaded: it is kept in a structure that is in use, nothing but its growth
    /// speaks for a leak, and the threads that allocate it worked at the first dump already. A thread for each job has its own
    /// loop, which ends each time. What no structure is seen to keep stays a leak: programs leak in loops that count, too.
    fn may_be_a_load(&self, judged: &Judged, explanation: Option<&Explanation>) -> bool {
        let by_growth = matches!(judged.call, Call::Suspect(VerdictKind::Leak, _));
        let shown = explanation.is_some_and(|found| found.pattern.is_some() || !found.cycle.is_empty());
        by_growth && !shown && is_reachable(self.pattern(judged, explanation).as_ref()) && self.threads_stayed(judged)
    }

    /// Whether threads that the first dump lists hold what grew; true where dumps list no threads.
    fn threads_stayed(&self, judged: &Judged) -> bool {
        let dump = |at: Option<&usize>| at.and_then(|&i| self.timeline.snapshots[i].heap.as_ref());
        let (Some(first), Some(last)) = (dump(self.series.snapshots.first()), dump(self.series.snapshots.last())) else { return false };
        let held =
            |heap: &HeapProfile, uid: u64| heap.threads.iter().find(|thread| thread.uid == uid).map_or(0, |thread| thread.live.objects);
        let grown: f64 = first.threads.iter().map(|thread| held(last, thread.uid) as f64 - thread.live.objects as f64).sum();
        let (from, to) = (judged.levels.first().map_or(0.0, |l| l.samples), judged.levels.last().map_or(0.0, |l| l.samples));
        last.threads.is_empty() || grown >= STAYED * (to - from)
    }

    fn sibling(&self, stack: StackId) -> Sibling {
        let last = self.series.dumps().saturating_sub(1);
        let end = self.series.estimate(&self.series.stacks[stack.index()], last);
        Sibling {
            stack: view::stack(&self.timeline.stacks, self.symbols, stack),
            object_bytes: if end.objects > 0.0 { end.bytes / end.objects } else { 0.0 },
        }
    }

    /// The course that tells the rate: an arena's chunks double, the memory touched in them grows smoothly.
    fn pace<'b>(&'b self, judged: &'b Judged) -> &'b Course {
        match self.resident {
            Some(resident) if judged.grows_in_chunks() && resident.shape.is_ongoing() && self.is_most_of_rss(judged) => resident,
            _ => &judged.course,
        }
    }

    /// Whether a growth is so much of that of RSS that the course of RSS is its own.
    fn is_most_of_rss(&self, judged: &Judged) -> bool {
        self.ledger.rss_growth().is_some_and(|growth| judged.delta.bytes >= MOST_OF_RSS * growth as f64)
    }

    /// The growth with its interval, tightened by the exact counts of its size class where these say anything.
    fn growth(&self, judged: &Judged) -> (Interval, Option<Evidence>) {
        let growth = judged.growth();
        let snapshot = |at: Option<&usize>| at.map(|&i| &self.timeline.snapshots[i]);
        let (Some(first), Some(last)) = (snapshot(self.series.snapshots.first()), snapshot(self.series.snapshots.last())) else {
            return (growth, None);
        };
        let (Some(before), Some(after)) = (&first.stats, &last.stats) else { return (growth, None) };
        match size_class::tighten(self.series, &judged.group.stacks, growth, before, after) {
            Some(bound) => {
                let source = format!("{}: bins, lextents", last.file(Part::Stats).unwrap_or("statistics"));
                (bound.growth, Some(Evidence::new(bound.claim, source)))
            }
            None => (growth, None),
        }
    }

    fn is_material(&self, judged: &Judged) -> bool {
        let bytes = judged.delta.bytes;
        let floor = match self.ledger.rss_growth() {
            Some(growth) => (MATERIAL_SHARE * growth as f64).max(STEADY_BYTES),
            // Without resident memory the live heap is the measure: a small program may grow by little that is most of it.
            None => {
                let last = self.series.dumps().saturating_sub(1);
                let live: f64 = self.series.stacks.iter().map(|stack| self.series.estimate(stack, last).bytes).sum();
                STEADY_BYTES.min(STEADY_SHARE * live)
            }
        };
        bytes >= 4.0 * self.series.interval() && bytes >= floor
    }

    fn evidence(&self, judged: &Judged, growth: Interval) -> Vec<Evidence> {
        let dumps = dumps_of(self.series);
        let course = &judged.course;
        let mut all = vec![Evidence::new(
            format!(
                "live bytes of {} grew by {} (95 %: {} to {}), in {} of {} intervals",
                match judged.group.stacks.len() {
                    1 => "one stack".to_owned(),
                    n => format!("{n} stacks that meet in the owner"),
                },
                iec(growth.estimate),
                iec(growth.low),
                iec(growth.high),
                course.rises,
                course.intervals
            ),
            dumps.clone(),
        )];
        let pace = self.pace(judged);
        let smooth = !std::ptr::eq(pace, course);
        if let Some(trend) = pace.best_trend() {
            let others = pace.trends.iter().filter(|t| t.per != trend.per);
            let others: Vec<String> = others.map(|t| format!("per {}: r² {:.3}", singular(&t.per), t.r2)).collect();
            let also = if others.is_empty() { String::new() } else { format!(" ({})", others.join("; ")) };
            all.push(Evidence::new(
                format!(
                    "{}{} per {}, r² {:.3}{also}",
                    match (smooth, judged.is_arena()) {
                        (true, true) => "the memory touched in its chunks grows smoothly: ",
                        (true, false) => "the memory touched in its tables, which double, grows smoothly: ",
                        _ => "",
                    },
                    iec(trend.rate.estimate),
                    singular(&trend.per),
                    trend.r2
                ),
                match (smooth, trend.per.as_str()) {
                    (true, _) => "resident memory of the allocator (smaps)".to_owned(),
                    (_, "second") => dumps.clone(),
                    _ => "counters.csv".to_owned(),
                },
            ));
            if course.shape.is_ongoing() && judged.pool_excluded() {
                all.push(Evidence::new(
                    format!(
                        "the last third of the window grew at {:.2} times the rate of the first third; a cache that fills within half of the \
                         window would have slowed to {POOL_SLOWED}",
                        trend.late_over_early()
                    ),
                    match judged.counted {
                        true => format!("exact counts of its size class in the statistics beside {dumps}"),
                        false => dumps.clone(),
                    },
                ));
            }
        }
        // Every doubling of a table is a new object, and the old one is freed.
        if let Some(survival) = judged.survival.filter(|_| !judged.is_table()) {
            all.push(Evidence::new(
                format!("{} of the objects allocated here since the first dump are still live", percent(survival, 1.0)),
                "accumulated counts of the dumps",
            ));
        }
        all
    }

    fn cleared(&self, judged: &Judged, rise: Option<f64>) -> Option<Cleared> {
        let Call::Cleared(kind, reason) = &judged.call else { return None };
        let size = judged.series.range();
        let worth = size >= (WORTH_A_LINE * rise.unwrap_or(0.0)).max(4.0 * self.series.interval());
        worth.then(|| Cleared {
            kind: *kind,
            growth: judged.growth(),
            owner: Some(self.owner(judged)),
            reason: reason.clone(),
            levels: judged.levels.iter().map(|l| l.bytes).collect(),
        })
    }
}

/// The best-explaining rate first, then time in a unit that reads well.
fn rates(course: &Course) -> Vec<Rate> {
    let mut order: Vec<usize> = (0..course.trends.len()).collect();
    order.sort_by_key(|&i| Some(i) != course.best);
    order
        .into_iter()
        .map(|i| {
            let trend = &course.trends[i];
            let (per, factor) = match trend.per.as_str() {
                "second" => time_unit(trend.rate.estimate),
                counter => (counter.to_owned(), 1.0),
            };
            Rate { per, bytes: trend.rate.per(1.0 / factor), r2: trend.r2 }
        })
        .collect()
}

/// The unit of time in which a rate is at least a KiB.
fn time_unit(per_second: f64) -> (String, f64) {
    let (unit, seconds) = match per_second.abs() {
        rate if rate >= 1024.0 => ("second", 1.0),
        rate if rate * 60.0 >= 1024.0 => ("minute", 60.0),
        _ => ("hour", 3600.0),
    };
    (unit.to_owned(), seconds)
}

/// `documents` as one says it after "per": `document`.
pub fn singular(unit: &str) -> String {
    match unit {
        u if u.ends_with("ies") && u.len() > 4 => format!("{}y", &u[..u.len() - 3]),
        u if ["sses", "shes", "tches", "nches", "rches", "xes"].iter().any(|end| u.ends_with(end)) => u[..u.len() - 2].to_owned(),
        u if u.ends_with('s') && !u.ends_with("ss") && u.len() > 2 => u[..u.len() - 1].to_owned(),
        u => u.to_owned(),
    }
}

/// The dumps, as a source.
fn dumps_of(series: &HeapSeries) -> String {
    match series.dumps() {
        2 => "both dumps".to_owned(),
        n => format!("{n} dumps"),
    }
}

/// Whether a structure that the program can reach is seen to hold it, and not by what the binary says of losses.
fn is_reachable(pattern: Option<&(&'static str, detect::Match)>) -> bool {
    pattern.is_some_and(|(id, found)| REACHABLE.contains(id) && found.weight != detect::BINARY)
}

/// Whether the binary shows where what grows is lost: then a few snapshots that all grew are enough to call it a leak.
fn is_lost(found: &Explanation) -> bool {
    found.covered >= LOST && found.sites.iter().any(|site| site.explains)
}

/// What a loop that counts says of the growth it drives.
fn load_in_progress(driver: &Driver) -> String {
    let at = if driver.place.is_empty() { String::new() } else { format!(" ({})", driver.place) };
    format!(
        "a loop in `{}`{at} that counts to an end allocates it, and until then data that is loaded and a leak look alike: capture until \
         the loop has ended, or let it run twice (a load stays as it is, a leak adds as much again)",
        driver.function
    )
}

fn general_refutation(judged: &Judged) -> String {
    match judged.course.intervals {
        0 | 1 => "a third dump after the same work shows no further growth".to_owned(),
        _ => match judged.course.best_trend().filter(|trend| trend.per != TIME) {
            Some(trend) => format!(
                "`{}` comes to an end by itself (a load, an import), or a capture twice as long shows the growth ending: a cache that fills \
                 more slowly than half of this window looks the same",
                trend.per
            ),
            None => "a capture twice as long shows the growth ending: a load or a cache that fills more slowly than half of this window \
                     looks the same"
                .to_owned(),
        },
    }
}

fn general_remedy(owner: &FrameView) -> String {
    match owner.function.is_empty() {
        true => "find what keeps these allocations and bound it or free it".to_owned(),
        false => {
            format!("find what keeps what `{}` allocates, and bound it, evict from it or free it when its work is done", owner.function)
        }
    }
}

/// The smallest leak that would have shown, said for the all-clear: in a stack of its own, and inside memory that churns.
fn blind_spot(series: &HeapSeries, summary: &Summary, judged: &[Judged]) -> Option<String> {
    let sampling = *series.sampling.last()?;
    let seconds = (summary.last_unix_ms - summary.first_unix_ms) as f64 / 1000.0;
    if series.dumps() < 2 {
        return None;
    }
    if summary.estimated_by_writer {
        return Some(
            "how small a leak would show is not known: pprof does not tell the error of its estimates; give the dumps themselves"
                .to_owned(),
        );
    }
    let Sampling::Interval(interval) = sampling else {
        return Some("every allocation was recorded: any growth of live memory would show".to_owned());
    };
    let least = RESOLVED_SAMPLES * interval.get() as f64;
    let rate = |bytes: f64| match summary.timed && seconds > 0.0 {
        true => format!(" ({} per minute)", iec(bytes / seconds * 60.0)),
        false => String::new(),
    };
    // Growth must stand out of the error of the whole it is part of, and that is largest where objects come and go.
    let hidden = |j: &&Judged| !j.is_suspect();
    let loudest = judged.iter().filter(hidden).map(Judged::could_hide).max_by(f64::total_cmp);
    let within = loudest
        .filter(|&bytes| bytes > least)
        .map_or_else(String::new, |bytes| format!("; where objects come and go most, one below {}{}", iec(bytes), rate(bytes)));
    let finer = match interval.get().max(1).ilog2() {
        lg if lg >= UNDISTORTED_LG + 2 => format!("lg_prof_sample:{} shows a quarter of that, and a capture", lg - 2),
        lg if lg >= FINEST_LG + 2 => {
            format!(
                "lg_prof_sample:{} shows a quarter of that (below {UNDISTORTED_LG} profiling itself adds to RSS), and a capture",
                lg - 2
            )
        }
        _ => "a capture".to_owned(),
    };
    Some(format!(
        "a leak below {}{} in a stack of its own would be invisible at one sample per {}{within}; {finer} four times as long shows a \
         quarter of the rate",
        iec(least),
        rate(least),
        iec(interval.get() as f64),
    ))
}

fn missing(timeline: &Timeline, summary: &Summary, symbols: &Symbols, series: &HeapSeries) -> Vec<Missing> {
    let mut all = Vec::new();
    let has = |source: &str| summary.sources.contains(&source);
    if !has("heap") {
        all.push(Missing::new(
            "heap dumps",
            "whose memory it is cannot be told",
            "run with prof:true and dump with prof.dump, or use `heaptriage record`",
        ));
    } else if series.dumps() == 1 {
        all.push(Missing::new(
            "a second heap dump",
            "one dump shows what is live, not what grows",
            "dump again after the same amount of work",
        ));
    } else if series.dumps() <= crate::analysis::trend::LEAST_INTERVALS {
        all.push(Missing::new(
            "more snapshots",
            format!("{} dumps do not tell a leak from a cache that warms", series.dumps()),
            "take ten or more over a longer window: `heaptriage record --pid N --every 30s`",
        ));
    }
    if series.partial > 0 {
        all.push(Missing::new(
            format!("the whole of {} cut {}", series.partial, if series.partial == 1 { "dump" } else { "dumps" }),
            "a stack that a cut dump lacks would look freed: growth is told from the other dumps",
            "copy the dumps again, and check the room on the disk they were written to",
        ));
    }
    if !has("smaps") && !has("status") {
        all.push(Missing::new(
            "resident memory (smaps)",
            match has("heap") {
                true => "RSS cannot be accounted for: only live heap is shown",
                false => "RSS cannot be accounted for: only what the allocator counts is shown",
            },
            "copy /proc/PID/smaps beside each dump",
        ));
    } else if !has("smaps") {
        all.push(Missing::new("smaps", "RSS cannot be split into heap, files and stacks", "copy /proc/PID/smaps beside each dump"));
    }
    if !has("stats") {
        all.push(Missing::new(
            "allocator statistics (stats.json)",
            match has("heap") {
                true => "live heap, fragmentation and dirty pages are told apart by the profile's estimate only",
                false => "live heap, fragmentation and dirty pages cannot be told apart",
            },
            "write malloc_stats_print(\"J\") beside each dump",
        ));
    }
    if has("heap") && !series.accumulated && series.dumps() > 1 {
        all.push(Missing::new("accumulated counts", "how many objects were freed meanwhile is not known", "run with prof_accum:true"));
    }
    if timeline.counters.is_empty() && series.dumps() > 1 {
        all.push(Missing::new(
            "workload counters",
            "growth is measured against time only, not per request or document",
            "add counters.csv (unix_ms,requests,...) to the capture",
        ));
    }
    for module in &symbols.modules {
        if let (Some(remedy), true) = (&module.remedy, module.symbolized < module.addresses) {
            all.push(Missing::new(
                format!("symbols of {}", module.name),
                format!("{} of {} addresses in it have no name", grouped(module.addresses - module.symbolized), grouped(module.addresses)),
                remedy.clone(),
            ));
        }
    }
    all
}

/// The growth of the rows that are jemalloc's live memory as resident: what is live, less what was never touched.
pub(crate) const LIVE_ROWS: [RowKind; 3] = [RowKind::Live, RowKind::SamplingOverhead, RowKind::Untouched];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_structure_is_seen_to_hold_is_not_reachable() {
        let found = |id, weight| {
            let found = detect::Match { weight, evidence: vec![], remedy: String::new(), refuted_by: String::new(), keywords: vec![] };
            is_reachable(Some(&(id, found)))
        };
        assert!(found("unbounded_map", 1));
        assert!(!found("unbounded_map", detect::BINARY), "the binary shows a loss");
        assert!(!found("c_allocation", 1) && !found("mem_forget", 2));
        // A leak in a loop that counts, of which nothing else is known, stays one.
        assert!(!is_reachable(None));
    }

    #[test]
    fn units_of_work_are_said_in_the_singular() {
        let said: Vec<String> =
            ["documents", "queries", "batches", "flushes", "searches", "caches", "access", "second"].into_iter().map(singular).collect();
        assert_eq!(said, ["document", "query", "batch", "flush", "search", "cache", "access", "second"]);
    }
}
