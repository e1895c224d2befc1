//! What explains the growth of RSS, row by row of the ledger, and the verdict that follows.

use crate::analysis::estimate::Interval;
use crate::analysis::finding::{Cleared, Confidence, Evidence, FrameView, Rate, Suspect, Verdict, VerdictKind, fingerprint};
use crate::analysis::judge::{Call, Judged};
use crate::analysis::ledger::{Ledger, RowKind};
use crate::analysis::trend::{
    Course, LEAST_INTERVALS, MANY_INTERVALS, Regressor, Series, Shape, TIME, Trend, course, falls_only_at_the_end,
};
use crate::analysis::triage::{LIVE_ROWS, STEADY_BYTES, STEADY_SHARE, Summary, singular};
use crate::model::allocator::Options;
use crate::units::{iec, percent, signed_iec};

/// Standard error of a foreign heap's figure: read some ms apart from the rest, page-granular.
const FOREIGN_NOISE: f64 = 256.0 * 1024.0;
/// What explains more than this share of the growth is named beside the verdict.
const ALSO_SHARE: f64 = 0.10;
/// `virtual_only`: address space grew by this much, ...
const VIRTUAL_BYTES: f64 = 256.0 * 1024.0 * 1024.0;
/// ... this many times more than RSS.
const VIRTUAL_TIMES: f64 = 10.0;
/// Share of the growth from which one cause is the answer with high confidence, and with medium.
const DOMINANT: (f64, f64) = (0.6, 0.4);

/// Share of the growth that the verdict's cause explains at least.
const MAIN_SHARE: f64 = 0.25;
/// Why growth that is known is neither a leak nor cleared.
pub(crate) const COVERED: &str = "a suppression covers it";
/// Label of the cause that is live memory.
const LIVE: &str = "live heap";

/// One explanation of growth.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// What it is.
    pub kind: VerdictKind,
    /// First-to-last growth of RSS it explains, bytes.
    pub growth: f64,
    /// Where: the row's label.
    pub label: String,
    /// The course of the row in words, why it is no leak.
    pub reason: String,
}

/// Another allocator's heap, judged.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// Present when its growth goes on.
    pub suspect: Option<Suspect>,
    /// What its growth is.
    pub kind: Option<VerdictKind>,
    /// First-to-last growth, bytes.
    pub growth: f64,
    /// Which allocator.
    pub label: String,
    /// Its course in words.
    pub reason: String,
}

/// Judges growth outside jemalloc by its shape: smaps cannot tell used from free bytes of another allocator, so the
/// confidence stays medium unless malloc_info says what is in use.
pub fn foreign(ledger: &Ledger, regressors: &[Regressor]) -> Foreign {
    let rows: Vec<_> = ledger.rows.iter().filter(|row| row.kind == RowKind::ForeignHeap).collect();
    let n = ledger.snapshots.len();
    let levels: Vec<f64> = (0..n).map(|i| rows.iter().map(|row| row.bytes[i] as f64).sum()).collect();
    let mut labels: Vec<(i64, &str)> = rows.iter().map(|row| (row.growth(), row.label.as_str())).collect();
    labels.sort_by(|a, b| b.cmp(a));
    let label = labels.first().map_or_else(String::new, |(_, label)| (*label).to_owned());
    let series = Series::measured(levels, FOREIGN_NOISE);
    let growth = series.growth();
    if n < 2 || growth < STEADY_BYTES {
        let reason = format!("{} are too few to tell its course", iec(growth.max(0.0)));
        return Foreign { growth, label, reason, ..Foreign::default() };
    }
    let resident = course(&series, regressors);
    let in_use = InUse::of(ledger, &series, regressors);
    let live = in_use.as_ref().and_then(|in_use| in_use.course.as_ref());
    let judged = live.unwrap_or(&resident);
    let (kind, reason) = match (judged.shape, &in_use) {
        // It does not need a course to see that what is in use did not grow.
        (_, Some(in_use)) if in_use.grown < KEPT * in_use.of => (
            VerdictKind::ForeignAllocatorRetention,
            format!(
                "what is in use inside it does not grow (malloc_info: {} of the {}): it keeps what was freed",
                signed_iec(in_use.grown),
                signed_iec(in_use.of)
            ),
        ),
        (shape, _) => by_shape(shape, n, live.is_some()),
    };
    let suspect = (kind == VerdictKind::ForeignAllocatorLeak).then(|| {
        let confidence = if live.is_some() { Confidence::High } else { Confidence::Medium };
        foreign_suspect(&label, growth, judged, &series, confidence, in_use.as_ref())
    });
    Foreign { suspect, kind: Some(kind), growth, label, reason }
}

/// Growth of what is in use below this share of the growth of the heap: the heap keeps what was freed.
const KEPT: f64 = 0.25;
/// malloc_info must span this share of the growth of the heap to speak for it.
const SPANNED: f64 = 0.5;

/// What malloc_info says, at two snapshots or more.
struct InUse {
    /// Growth of what is in use between the first malloc_info and the last, bytes.
    grown: f64,
    /// Growth of the heap's resident bytes between them.
    of: f64,
    /// Snapshots that have it.
    count: usize,
    /// Its course, with enough of them.
    course: Option<Course>,
}

impl InUse {
    fn of(ledger: &Ledger, heap: &Series, regressors: &[Regressor]) -> Option<InUse> {
        let points: Vec<(usize, f64)> = ledger.foreign_in_use.iter().map(|&(at, bytes)| (at, bytes as f64)).collect();
        let (&(from, first), &(to, last)) = (points.first()?, points.last()?);
        let of = heap.levels.get(to)? - heap.levels.get(from)?;
        if from == to || of < SPANNED * heap.growth() {
            return None;
        }
        let at = |regressor: &Regressor| {
            let values = points.iter().map(|&(at, _)| regressor.values.get(at).copied()).collect::<Option<Vec<f64>>>()?;
            Some(Regressor { name: regressor.name.clone(), values }).filter(Regressor::moves)
        };
        let regressors: Vec<Regressor> = regressors.iter().filter_map(at).collect();
        let enough = points.len() > LEAST_INTERVALS;
        let course =
            enough.then(|| course(&Series::measured(points.iter().map(|(_, bytes)| *bytes).collect(), FOREIGN_NOISE), &regressors));
        Some(InUse { grown: last - first, of, count: points.len(), course })
    }
}

/// What a course is, where what is in use grew as well or is not known.
fn by_shape(shape: Shape, n: usize, in_use: bool) -> (VerdictKind, String) {
    let ordinal = |at: usize| crate::analysis::judge::ordinal(at + 1);
    match shape {
        _ if n <= LEAST_INTERVALS => (VerdictKind::Growth, "too few snapshots to tell its course".to_owned()),
        shape if shape.is_ongoing() && !in_use && n <= MANY_INTERVALS => (
            VerdictKind::Growth,
            format!(
                "it grew to the end of {n} snapshots, and smaps cannot tell what it holds from what it keeps: take {} or more, with malloc_info",
                MANY_INTERVALS + 1
            ),
        ),
        Shape::Linear | Shape::Accelerating => (VerdictKind::ForeignAllocatorLeak, "it grows to the end, in step".to_owned()),
        Shape::Plateau(from) if in_use => (
            VerdictKind::GrowthPlateau,
            format!(
                "what is in use inside it (malloc_info) grew and is flat since the {} malloc_info: the program holds it",
                ordinal(from)
            ),
        ),
        Shape::Step(from) if in_use => (
            VerdictKind::OneTime,
            format!("what is in use inside it (malloc_info) grew once, before the {} malloc_info: the program holds it", ordinal(from)),
        ),
        Shape::Plateau(from) | Shape::Step(from) => (
            VerdictKind::ForeignAllocatorRetention,
            format!("flat since the {} snapshot: kept by that allocator, or held by the program; it does not go on", ordinal(from)),
        ),
        Shape::Sawtooth | Shape::Falling => (VerdictKind::ForeignAllocatorRetention, "it comes back down".to_owned()),
        _ => (VerdictKind::ForeignAllocatorRetention, "it does not grow in step with time or work to the end".to_owned()),
    }
}

fn foreign_suspect(label: &str, growth: f64, judged: &Course, series: &Series, confidence: Confidence, known: Option<&InUse>) -> Suspect {
    let in_use = known.is_some_and(|known| known.course.is_some());
    let source = match known.filter(|_| in_use) {
        Some(known) => format!("malloc_info of {} snapshots", known.count),
        None => "smaps of every snapshot".to_owned(),
    };
    let source = source.as_str();
    let mut evidence = vec![Evidence::new(
        format!("{label} grew by {} in {} of {} intervals, and goes on", iec(growth), judged.rises, judged.intervals),
        source,
    )];
    if let Some(known) = known {
        evidence.push(Evidence::new(
            format!("what is in use inside it grew by {} while the heap grew by {}", iec(known.grown.max(0.0)), iec(known.of.max(0.0))),
            format!("malloc_info of {} snapshots", known.count),
        ));
    }
    if let Some(trend) = judged.best_trend() {
        evidence.push(Evidence::new(
            format!("{} per {}, r² {:.3}", iec(trend.rate.estimate), singular(&trend.per), trend.r2),
            if trend.per == TIME { source } else { "counters.csv" },
        ));
    }
    let rates = judged.best.into_iter().chain((0..judged.trends.len()).filter(|i| Some(*i) != judged.best)).map(|i| {
        let trend = &judged.trends[i];
        Rate { per: trend.per.clone(), bytes: trend.rate, r2: trend.r2 }
    });
    Suspect {
        fingerprint: fingerprint([VerdictKind::ForeignAllocatorLeak.word(), label]),
        pattern: Some("second_allocator"),
        confidence,
        shape: judged.shape,
        rises: (judged.rises, judged.intervals),
        rates: rates.collect(),
        owner: FrameView { function: label.to_owned(), ..FrameView::default() },
        stacks: 0,
        levels: series.levels.clone(),
        evidence,
        refuted_by: match in_use {
            true => "the bytes in use of malloc_info fall again in a longer capture".to_owned(),
            false => "malloc_info(3) shows that the bytes in use inside it do not grow: then it is kept, not leaked".to_owned(),
        },
        remedy: format!(
            "the heap profile cannot see this allocator: {}link the C code against jemalloc (unprefixed build, or LD_PRELOAD) and profile \
             again to see whose it is",
            if known.is_some() { "" } else { "record malloc_info beside each snapshot, or " }
        ),
        keywords: vec!["malloc_info".to_owned(), "mallinfo2".to_owned(), "malloc_trim".to_owned()],
        ..Suspect::new(VerdictKind::ForeignAllocatorLeak, Interval::symmetric(growth, 2.0 * FOREIGN_NOISE), Vec::new())
    }
}

/// Every explanation with positive growth, largest first.
pub fn causes(ledger: &Ledger, judged: &[Judged], foreign: &Foreign) -> Vec<Cause> {
    let growth = |kinds: &[RowKind]| ledger.growth_of(kinds) as f64;
    let rss = ledger.rss_growth().unwrap_or(0) as f64;
    let allocated = growth(&[RowKind::Live, RowKind::SamplingOverhead, RowKind::Tcache]);
    // What huge pages made resident: no more than they grew, nor than RSS grew beyond what was allocated.
    let thp = ledger.anon_huge_growth().map_or(0.0, |huge| (huge as f64).min(rss - allocated)).max(0.0);
    let thp = thp.max(growth(&[RowKind::HugePages]));
    let live = growth(&LIVE_ROWS) - (thp - growth(&[RowKind::HugePages])).max(0.0);
    let (live_kind, live_reason) = live_kind(ledger, judged);
    let mut all = vec![
        Cause { kind: live_kind, growth: live, label: LIVE.to_owned(), reason: live_reason },
        Cause {
            kind: VerdictKind::Thp,
            growth: thp,
            label: "huge pages".to_owned(),
            reason: "a transparent huge page makes 2 MiB resident where one page of it is touched".to_owned(),
        },
        Cause {
            kind: VerdictKind::Tcache,
            growth: growth(&[RowKind::Tcache]),
            label: "thread caches".to_owned(),
            reason: "freed objects that thread caches keep for the next allocation of their threads".to_owned(),
        },
        Cause {
            kind: VerdictKind::Fragmentation,
            growth: growth(&[RowKind::Fragmentation]),
            label: "fragmentation".to_owned(),
            reason: "space in pages that still hold some live object".to_owned(),
        },
        Cause {
            kind: VerdictKind::DirtyRetention,
            growth: growth(&[RowKind::Dirty]),
            label: "dirty pages".to_owned(),
            reason: "freed, kept by the allocator until its decay runs".to_owned(),
        },
        Cause {
            kind: VerdictKind::MadvFreeLag,
            growth: growth(&[RowKind::LazyFree]),
            label: "LazyFree pages".to_owned(),
            reason: "given back with MADV_FREE: the kernel takes them when it needs memory".to_owned(),
        },
        Cause {
            kind: foreign.kind.unwrap_or(VerdictKind::Growth),
            growth: growth(&[RowKind::ForeignHeap]),
            label: foreign.label.clone(),
            reason: foreign.reason.clone(),
        },
        Cause {
            kind: VerdictKind::ThreadStacks,
            growth: growth(&[RowKind::ThreadStacks]),
            label: "thread stacks".to_owned(),
            reason: "stacks stay resident as deep as they were once used; they go with their threads".to_owned(),
        },
        Cause {
            kind: VerdictKind::FileMapping,
            growth: growth(&[RowKind::FileMapped, RowKind::SharedMemory]),
            label: largest_label(ledger, &[RowKind::FileMapped, RowKind::SharedMemory]),
            reason: "pages of mapped files: page cache that the kernel drops when it needs memory, unless they are private and dirty"
                .to_owned(),
        },
        Cause {
            kind: VerdictKind::DirectMmap,
            growth: growth(&[RowKind::OtherAnonymous]),
            label: "other anonymous memory".to_owned(),
            reason: "anonymous memory that no allocator owns: the program maps it itself".to_owned(),
        },
    ];
    all.retain(|cause| cause.growth > 0.0);
    all.sort_by(|a, b| b.growth.total_cmp(&a.growth));
    all
}

fn largest_label(ledger: &Ledger, kinds: &[RowKind]) -> String {
    let rows = ledger.rows.iter().filter(|row| kinds.contains(&row.kind));
    rows.max_by_key(|row| row.growth()).map_or_else(|| "mapped files".to_owned(), |row| row.label.clone())
}

/// What the growth of live memory is, by the growths that make it up; without dumps by the course of its row.
fn live_kind(ledger: &Ledger, judged: &[Judged]) -> (VerdictKind, String) {
    let mut weights: Vec<(VerdictKind, f64, String)> = Vec::new();
    for group in judged {
        let (kind, reason) = match &group.call {
            Call::Suspect(_, Confidence::Low) => (VerdictKind::Growth, "it may be a leak".to_owned()),
            Call::Suspect(kind, _) => (*kind, String::new()),
            Call::Cleared(kind, reason) if *kind != VerdictKind::Steady => (*kind, reason.clone()),
            Call::Open(reason) => (VerdictKind::Growth, reason.clone()),
            _ => continue,
        };
        let weight = group.delta.bytes.max(0.0);
        match weights.iter_mut().find(|(other, ..)| *other == kind) {
            Some((_, sum, _)) => *sum += weight,
            None => weights.push((kind, weight, reason)),
        }
    }
    if let Some((kind, _, reason)) = weights.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
        return (kind, reason);
    }
    let n = ledger.snapshots.len();
    let levels: Vec<f64> =
        (0..n).map(|i| ledger.rows.iter().filter(|row| LIVE_ROWS.contains(&row.kind)).map(|row| row.bytes[i] as f64).sum()).collect();
    let time = Regressor { name: "snapshot".to_owned(), values: (0..n).map(|i| i as f64).collect() };
    let course = course(&Series::measured(levels, FOREIGN_NOISE), &[time]);
    let rising = course.trends.first().is_some_and(Trend::still_grows);
    match course.shape {
        // The sum of a cache that fills and a leak beside it slows down too, and goes on.
        Shape::Plateau(_) if rising => (
            VerdictKind::Growth,
            "the live heap slowed down and still grows: a cache that fills, or a leak beside one, as only heap dumps can tell".to_owned(),
        ),
        Shape::Plateau(_) => (VerdictKind::GrowthPlateau, "the live heap grew and stopped".to_owned()),
        Shape::Step(_) => (VerdictKind::OneTime, "the live heap grew once".to_owned()),
        Shape::Sawtooth => (VerdictKind::Sawtooth, "the live heap comes back down".to_owned()),
        _ if judged.is_empty() => (VerdictKind::Growth, "whose it is only heap dumps can tell".to_owned()),
        _ => {
            let reason = "no stack of the dumps grew by more than the error of its estimate, or what grew in one shrank in another: a longer \
                          capture, or finer sampling, tells whose it is";
            (VerdictKind::Growth, reason.to_owned())
        }
    }
}

/// Rows above a tenth of the growth that are no leak, as cleared growth.
pub fn cleared_rows(ledger: &Ledger, causes: &[Cause]) -> Vec<Cleared> {
    let rise = ledger.rss_growth().unwrap_or(0) as f64;
    let is_row = |cause: &&Cause| {
        // Nothing is known of what the program maps itself but its size.
        let open = [VerdictKind::Growth, VerdictKind::DirectMmap].contains(&cause.kind);
        cause.label != LIVE && !cause.kind.is_leak() && !open
    };
    causes
        .iter()
        .filter(is_row)
        .filter(|cause| cause.growth >= (ALSO_SHARE * rise).max(STEADY_BYTES))
        .map(|cause| Cleared {
            kind: cause.kind,
            growth: Interval::exact(cause.growth),
            owner: None,
            reason: match cause.label == cause.kind.word() {
                true => cause.reason.clone(),
                false => format!("{}: {}", cause.label, cause.reason),
            },
            levels: Vec::new(),
        })
        .collect()
}

/// The conclusion.
pub fn verdict(
    summary: &Summary,
    ledger: &Ledger,
    suspects: &[Suspect],
    judged: &[Judged],
    causes: &[Cause],
    options: &Options,
) -> Verdict {
    let rise = ledger.rss_growth().map(|growth| growth as f64);
    let total = rise.unwrap_or_else(|| causes.iter().map(|c| c.growth).sum::<f64>());
    let others = |kind: VerdictKind| -> Vec<VerdictKind> {
        let mut kinds: Vec<VerdictKind> = Vec::new();
        for cause in causes.iter().filter(|c| c.growth >= ALSO_SHARE * total && c.growth >= STEADY_BYTES / 4.0) {
            if cause.kind != kind && cause.kind != VerdictKind::Growth && !kinds.contains(&cause.kind) {
                kinds.push(cause.kind);
            }
        }
        kinds
    };
    if let Some(suspect) = suspects.iter().find(|s| s.kind.is_leak() && s.confidence > Confidence::Low && s.suppressed.is_none()) {
        let also = others(suspect.kind);
        let summary = leak_sentence(suspect, suspects, rise, causes, &also);
        return Verdict { kind: suspect.kind, also, confidence: suspect.confidence, summary };
    }
    let Some(rise) = rise else {
        let counted = counted_only(summary, ledger, causes, options);
        return counted.unwrap_or_else(|| without_rss(summary, suspects, judged));
    };
    let last = ledger.rss.last().copied().unwrap_or(0) as f64;
    if ledger.snapshots.len() < 2 {
        return Verdict {
            kind: VerdictKind::Inconclusive,
            also: Vec::new(),
            confidence: Confidence::Low,
            summary: "One snapshot shows where memory is, not what grows: take a second one after more work.".to_owned(),
        };
    }
    if let Some(swapped) = swapped(summary, ledger, rise, last) {
        return Verdict { also: others(swapped.kind).into_iter().filter(|_| rise >= STEADY_BYTES).collect(), ..swapped };
    }
    if let Some(size) = ledger.virtual_growth().map(|growth| growth as f64)
        && size >= VIRTUAL_BYTES
        && size >= VIRTUAL_TIMES * rise
        && size >= last
        && rise < STEADY_BYTES.max(STEADY_SHARE * last)
    {
        return Verdict {
            kind: VerdictKind::VirtualOnly,
            also: Vec::new(),
            confidence: Confidence::High,
            summary: format!(
                "Not a leak: address space grew by {}, memory did not ({} of RSS). The allocator keeps address ranges whose pages it \
                     has given back; they cost nothing but room in VSZ.",
                iec(size),
                signed_iec(rise)
            ),
        };
    }
    if rise < STEADY_BYTES.max(STEADY_SHARE * last) {
        let (confidence, seen) = live_heap_seen(summary, ledger, judged, suspects);
        return Verdict {
            kind: VerdictKind::Steady,
            also: others(VerdictKind::Steady).into_iter().filter(|_| rise >= STEADY_BYTES).collect(),
            confidence,
            summary: format!("Nothing to report: RSS changed by {} on {} ({}){seen}", signed_iec(rise), iec(last), percent(rise, last)),
        };
    }
    let Some(main) = causes.first().filter(|cause| cause.growth >= MAIN_SHARE * rise) else {
        return Verdict {
            kind: VerdictKind::Inconclusive,
            also: others(VerdictKind::Inconclusive),
            confidence: Confidence::Low,
            summary: match largest_row(ledger, rise) {
                Some((label, growth)) => {
                    format!(
                        "RSS grew by {}, {} of it in the row `{label}`: what that consists of, this capture does not tell.",
                        iec(rise),
                        percent(growth, rise)
                    )
                }
                None => format!("RSS grew by {}, and no single cause explains a quarter of it.", iec(rise)),
            },
        };
    };
    let share = main.growth / rise;
    let confidence = match (main.kind, share) {
        (VerdictKind::Growth, _) => Confidence::Low,
        (_, s) if s >= DOMINANT.0 => Confidence::High,
        (_, s) if s >= DOMINANT.1 => Confidence::Medium,
        _ => Confidence::Low,
    };
    let confidence = match main.kind {
        VerdictKind::GrowthPlateau if still_rising(judged).is_some() => confidence.min(Confidence::Medium),
        _ => confidence,
    };
    let mut confidence = confidence.min(most_certain(main, summary, ledger));
    let also = others(main.kind);
    let mut summary = benign_sentence(main, &of_growth(main.growth, rise, "RSS growth"), rise, &also, causes, options, suspects);
    if let (VerdictKind::GrowthPlateau, Some(rate)) = (main.kind, still_rising(judged)) {
        summary.push_str(&format!(" It still grows by {}/s at the end: a longer capture would show where it stops.", iec(rate)));
    }
    let sawtooth = judged.iter().filter(|j| matches!(j.call, Call::Cleared(VerdictKind::Sawtooth, _)));
    let largest = sawtooth.max_by(|a, b| a.series.range().total_cmp(&b.series.range()));
    if main.kind == VerdictKind::Sawtooth && largest.is_some_and(|j| falls_only_at_the_end(&j.series)) {
        confidence = Confidence::Low;
        summary.push_str(
            " The only fall is that to the last dump: one taken while the program ends looks the same, and a leak before it too.",
        );
    }
    let open = suspects.iter().find(|s| s.growth.estimate >= ALSO_SHARE * rise).filter(|_| main.kind != VerdictKind::Growth);
    if let Some(open) = open {
        confidence = confidence.min(Confidence::Medium);
        summary.push_str(&format!(" What grew at `{}` (+{}) is open beside it.", open.owner.function, iec(open.growth.estimate)));
    }
    Verdict { kind: main.kind, confidence, summary, also }
}

/// What RSS alone would get wrong: memory that went to swap has not gone away, and what came back from there is not new.
fn swapped(summary: &Summary, ledger: &Ledger, rise: f64, last: f64) -> Option<Verdict> {
    let moved = ledger.swap_growth()? as f64;
    let memory = rise + moved;
    let limit = STEADY_BYTES.max(STEADY_SHARE * (last + ledger.swap.last().copied().unwrap_or(0) as f64));
    let verdict = |kind, summary| Some(Verdict { kind, also: Vec::new(), confidence: Confidence::Low, summary });
    match (rise < limit, memory < limit) {
        (true, false) => verdict(
            VerdictKind::Inconclusive,
            format!(
                "RSS changed by {} while {} went to swap: the process has {} more than at first, and RSS does not show whose it is. {}",
                signed_iec(rise),
                iec(moved),
                iec(memory),
                match summary.heap_dumps {
                    0 | 1 => "Two heap dumps would, or a recording without swap.",
                    _ => "The heap dumps show no leak; a recording without swap would tell.",
                }
            ),
        ),
        (false, true) => verdict(
            VerdictKind::Steady,
            format!(
                "Nothing to report: RSS grew by {}, and {} came back from swap; together they changed by {}.",
                iec(rise),
                iec(-moved),
                signed_iec(memory)
            ),
        ),
        _ => None,
    }
}

/// The row that grew most, where it holds the better part of a growth that has no cause.
fn largest_row(ledger: &Ledger, rise: f64) -> Option<(&str, f64)> {
    let row = ledger.rows.iter().max_by_key(|row| row.growth())?;
    (row.growth() as f64 >= BETTER_PART * rise).then_some((row.label.as_str(), row.growth() as f64))
}

/// Shares of the live heap that the dumps explain, between which they show the same heap as the statistics.
const AGREES: (f64, f64) = (0.75, 1.33);

/// Half of a growth is its better part.
const BETTER_PART: f64 = 0.5;

/// How sure an explanation of growth may be: one that rests on the course of live memory needs dumps, and any of them needs
/// more than the two ends of a course.
fn most_certain(main: &Cause, summary: &Summary, ledger: &Ledger) -> Confidence {
    let by_course = matches!(main.kind, VerdictKind::GrowthPlateau | VerdictKind::OneTime | VerdictKind::Sawtooth);
    // The course of the whole heap hides what leaks in a part of it; and dumps that show another heap than the statistics do
    // were taken at another moment.
    if by_course && main.label == LIVE && summary.heap_dumps < 2 {
        return Confidence::Low;
    }
    let apart = ledger.coverage.is_some_and(|c| c.high < AGREES.0 || c.low > AGREES.1);
    if by_course && main.label == LIVE && apart {
        return Confidence::Medium;
    }
    match ledger.snapshots.len() > LEAST_INTERVALS && (!by_course || summary.heap_dumps > LEAST_INTERVALS) {
        true => Confidence::High,
        false => Confidence::Medium,
    }
}

/// How sure it is that the live heap hides nothing while RSS stands still, and the rest of that sentence. Memory that was
/// not looked at, or not often enough, is no evidence of absence.
fn live_heap_seen(summary: &Summary, ledger: &Ledger, judged: &[Judged], suspects: &[Suspect]) -> (Confidence, String) {
    if summary.heap_dumps < 2 {
        let blind = ". There are no two heap dumps: a leak into memory that others freed would not show.";
        return (Confidence::Low, blind.to_owned());
    }
    if summary.heap_dumps <= LEAST_INTERVALS || ledger.snapshots.len() <= LEAST_INTERVALS {
        let few = format!(
            ", and no stack is shown to grow in step with time or work; {} snapshots are too few to see a small leak.",
            summary.heap_dumps.min(ledger.snapshots.len())
        );
        return (Confidence::Low, few);
    }
    if let Some(open) = suspects.first() {
        let text = format!(
            "; live memory at `{}` grew by {} while other memory was freed, and why is open.",
            open.owner.function,
            iec(open.growth.estimate)
        );
        return (Confidence::Low, text);
    }
    let open = judged.iter().filter(|j| matches!(j.call, Call::Open(_)) && j.course.shape.is_ongoing());
    match open.max_by(|a, b| a.delta.bytes.total_cmp(&b.delta.bytes)) {
        Some(open) => {
            let many = open.course.intervals >= MANY_INTERVALS;
            let text = format!(
                "; the largest growth of a stack that is open is {} of live memory, too little to judge.",
                signed_iec(open.delta.bytes)
            );
            (if many { Confidence::Medium } else { Confidence::Low }, text)
        }
        // What comes and goes may hide as much as RSS may move and still be called steady.
        None => {
            let hidden = judged.iter().map(Judged::could_hide).fold(0.0, f64::max);
            let confidence = if hidden < STEADY_BYTES { Confidence::High } else { Confidence::Medium };
            (confidence, ", and no stack grows in step with time or work.".to_owned())
        }
    }
}

/// The rate at which the largest plateau still grows at the end, where that is beyond its noise and would add more than a
/// tenth to its growth in another window.
fn still_rising(judged: &[Judged]) -> Option<f64> {
    let plateau = |j: &&Judged| matches!(j.call, Call::Cleared(VerdictKind::GrowthPlateau, _));
    let largest = judged.iter().filter(plateau).max_by(|a, b| a.delta.bytes.total_cmp(&b.delta.bytes))?;
    let time = largest.course.trends.iter().find(|trend| trend.per == TIME)?;
    let window = largest.delta.bytes / time.rate.estimate;
    (time.late.low > 0.0 && time.late.estimate * window >= ALSO_SHARE * largest.delta.bytes).then_some(time.late.estimate)
}

/// Without RSS: what the allocator counts, where something else than live memory explains its growth, or nothing grew.
fn counted_only(summary: &Summary, ledger: &Ledger, causes: &[Cause], options: &Options) -> Option<Verdict> {
    if ledger.snapshots.len() < 2 || !summary.sources.contains(&"stats") {
        return None;
    }
    let dumps = summary.sources.contains(&"heap");
    let rise: f64 = ledger.rows.iter().map(|row| row.growth() as f64).sum();
    let last: f64 = ledger.rows.iter().map(|row| row.last() as f64).sum();
    let outside = "RSS was not recorded, so memory outside the allocator is not covered.";
    let verdict =
        |kind, confidence, text: String| Some(Verdict { kind, also: Vec::new(), confidence, summary: format!("{text} {outside}") });
    if rise < STEADY_BYTES.max(STEADY_SHARE * last) {
        let text = format!("What the allocator counts changed by {} on {}.", signed_iec(rise), iec(last));
        // What the dumps say of live memory says more.
        return if dumps { None } else { verdict(VerdictKind::Steady, Confidence::Low, text) };
    }
    let main = causes.first().filter(|cause| cause.growth >= MAIN_SHARE * rise)?;
    if dumps && main.label == LIVE {
        return None;
    }
    let share = of_growth(main.growth, rise, "growth that the allocator counts");
    verdict(main.kind, Confidence::Low, benign_sentence(main, &share, rise, &[], causes, options, &[]))
}

/// `84.0 % of the RSS growth`; a part that is more than the whole in bytes, beside what shrank.
fn of_growth(part: f64, rise: f64, of: &str) -> String {
    match part > MORE_THAN_ALL * rise {
        false => format!("{} of the {of}", percent(part, rise)),
        true => format!("more than the whole {of} ({} of {}; other memory shrank)", signed_iec(part), signed_iec(rise)),
    }
}

/// A share from which on a part is called more than the whole.
const MORE_THAN_ALL: f64 = 1.005;

fn without_rss(summary: &Summary, suspects: &[Suspect], judged: &[Judged]) -> Verdict {
    let low = |kind, text: String| Verdict { kind, also: Vec::new(), confidence: Confidence::Low, summary: text };
    if let Some(suspect) = suspects.first() {
        let text = format!(
            "Live memory at `{}` grew by {} (95 %: {} to {}) between the dumps; whether it goes on, they cannot show.",
            suspect.owner.function,
            iec(suspect.growth.estimate),
            iec(suspect.growth.low),
            iec(suspect.growth.high)
        );
        return low(VerdictKind::Growth, text);
    }
    let mut cleared: Vec<(&VerdictKind, f64, &String)> = judged
        .iter()
        .filter_map(|j| match &j.call {
            Call::Cleared(kind, reason) => Some((kind, j.series.range(), reason)),
            _ => None,
        })
        .collect();
    cleared.sort_by(|a, b| b.1.total_cmp(&a.1));
    let dumps = judged.first().map_or(0, |j| j.levels.len());
    match cleared.first() {
        Some((kind, range, reason)) if *range >= STEADY_BYTES => Verdict {
            kind: **kind,
            also: Vec::new(),
            // What comes back down leaves RSS to the rest of the process, of which nothing is known.
            confidence: if **kind == VerdictKind::Sawtooth { Confidence::Low } else { Confidence::Medium },
            summary: format!("Not a leak in the live heap. Of its largest growth ({}): {reason}. RSS was not recorded.", iec(*range)),
        },
        _ if dumps >= 2 => Verdict {
            kind: VerdictKind::Steady,
            also: Vec::new(),
            confidence: Confidence::Low,
            summary: format!(
                "No stack grew beyond the sampling noise over {dumps} dumps. RSS was not recorded, so memory outside the live heap is not covered."
            ),
        },
        _ => low(
            VerdictKind::Inconclusive,
            match summary.sources.contains(&"heap") {
                true => "One dump shows what is live, not what grows: take a second one after more work.".to_owned(),
                false => "Neither heap dumps nor resident memory were recorded: nothing can be said about growth.".to_owned(),
            },
        ),
    }
}

fn leak_sentence(suspect: &Suspect, all: &[Suspect], rise: Option<f64>, causes: &[Cause], also: &[VerdictKind]) -> String {
    let owner = &suspect.owner;
    let subject = match (suspect.kind, suspect.stacks, owner.krate.as_deref()) {
        (VerdictKind::ForeignAllocatorLeak, ..) => format!("Memory outside the profiled heap ({})", owner.function),
        (VerdictKind::BumpArenaGrowth, ..) => format!("A bump arena filled by `{}`", owner.function),
        (_, 1, Some(krate)) => format!("One stack of {krate}"),
        (_, n, Some(krate)) => format!("{n} stacks of {krate} that meet in `{}`", owner.function),
        (_, n, None) => format!("{n} {} at `{}`", if n == 1 { "stack" } else { "stacks" }, owner.function),
    };
    let rate = suspect.rates.first().map_or_else(String::new, |r| format!(" by {} per {}", iec(r.bytes.estimate), singular(&r.per)));
    let plural = suspect.stacks > 1 && suspect.kind == VerdictKind::Leak;
    let (verb, is) = if plural { ("grow", "are") } else { ("grows", "is") };
    let fate = match suspect.kind {
        VerdictKind::ForeignAllocatorLeak => "to the end of the capture".to_owned(),
        VerdictKind::BumpArenaGrowth => "and is never reset or dropped".to_owned(),
        _ => match suspect.survival {
            Some(survival) if survival > 0.9 => "and nothing of it is freed".to_owned(),
            _ => format!("and {is} not freed"),
        },
    };
    let g = suspect.growth;
    let mut text = format!("{subject} {verb}{rate} {fate}: +{} (95 %: {} to {}).", iec(g.estimate), iec(g.low), iec(g.high));
    let mut second_growth = String::new();
    let more: Vec<&Suspect> = all.iter().skip(1).filter(|s| s.kind.is_leak() && s.confidence > Confidence::Low).collect();
    if let Some(second) = more.first() {
        let (growths, largest) = if more.len() == 1 { ("growth takes", "") } else { ("growths take", "the largest ") };
        second_growth = format!(
            " {} more {growths} the same course, {largest}at `{}` (+{}).",
            more.len(),
            second.owner.function,
            iec(second.growth.estimate)
        );
    }
    if let Some(rise) = rise.filter(|&rise| rise >= STEADY_BYTES) {
        text.push_str(&format!(" It is {}", of_growth(g.estimate, rise, "RSS growth")));
        // The row of live memory holds what leaks as well: said beside it is the rest.
        let leaked: f64 = all.iter().filter(|s| s.kind.is_leak() && s.confidence > Confidence::Low).map(|s| s.growth.estimate).sum();
        let rest = |cause: &Cause| match cause.label == LIVE {
            true => Cause { growth: (cause.growth - leaked).max(0.0), label: "other live memory".to_owned(), ..cause.clone() },
            false => cause.clone(),
        };
        let others = causes.iter().filter(|c| also.contains(&c.kind)).map(rest).filter(|c| c.growth >= ALSO_SHARE * rise);
        let beside: Vec<String> = others.take(2).map(|c| beside(&c, rise)).collect();
        text.push_str(&if beside.is_empty() { ".".to_owned() } else { format!("; {}.", beside.join(", ")) });
    }
    text + &second_growth
}

fn benign_sentence(
    main: &Cause,
    share: &str,
    rise: f64,
    also: &[VerdictKind],
    causes: &[Cause],
    options: &Options,
    suspects: &[Suspect],
) -> String {
    let decay = |name: &str, value: Option<i64>| value.map_or_else(String::new, |ms| format!(" ({name} is {ms})"));
    let what = match main.kind {
        VerdictKind::GrowthPlateau => {
            format!("Not a leak: live memory grew and levelled off. It is {share}; {}.", main.reason)
        }
        VerdictKind::OneTime => format!("Not a leak: live memory grew once. It is {share}; {}.", main.reason),
        VerdictKind::Sawtooth => format!("Not a leak: live memory comes and goes. It is {share}; {}.", main.reason),
        VerdictKind::Growth => {
            if main.reason == COVERED {
                return format!("Nothing else is shown to leak: {} grew, {share}, and {COVERED}.", main.label);
            }
            let place = suspects.first().map_or_else(String::new, |s| format!(" The largest part is at `{}`.", s.owner.function));
            format!("Cause open: {} grew, {share}; {}.{place}", main.label, main.reason)
        }
        VerdictKind::DirtyRetention => {
            let threads = match options.background_thread {
                Some(false) => " No background thread runs the decay: only allocation on the same arena does.",
                _ => "",
            };
            format!(
                "Not a leak: {share} is memory already freed that the allocator keeps as dirty pages{}.{threads}",
                decay("dirty_decay_ms", options.dirty_decay_ms)
            )
        }
        VerdictKind::MadvFreeLag => format!(
            "Not a leak: {share} is memory already given back with MADV_FREE that the kernel still counts (LazyFree){}.",
            decay("muzzy_decay_ms", options.muzzy_decay_ms)
        ),
        VerdictKind::Fragmentation => {
            format!("Not a leak: {share} is fragmentation, room in pages that still hold some live object.")
        }
        VerdictKind::Thp => format!(
            "Not a leak: {share} is transparent huge pages, which make memory resident that was allocated but not touched{}.",
            options.thp.as_ref().map_or_else(String::new, |thp| format!(" (opt.thp is {thp})"))
        ),
        VerdictKind::Tcache => format!("Not a leak: {share} is freed objects in thread caches."),
        VerdictKind::ForeignAllocatorRetention => {
            format!("Not shown to be a leak: {share} is in another allocator ({}); {}.", main.label, main.reason)
        }
        VerdictKind::FileMapping => {
            format!(
                "Not a leak: {share} is pages of mapped files, most in {}. The kernel drops clean ones when it needs memory.",
                main.label
            )
        }
        VerdictKind::DirectMmap => format!(
            "{} is anonymous memory that the program maps itself: no allocator and no heap profile sees it, so whether it is leaked is open. Look at its mmap calls: `perf trace -e mmap,munmap`, or `strace -fe mmap,munmap -k`, shows who makes them.",
            capitalized(share)
        ),
        VerdictKind::ThreadStacks => {
            format!("Not a heap leak: {share} is thread stacks. Fewer threads, or less deep recursion, would lower it.")
        }
        _ => format!("{share} is {}.", main.label),
    };
    let beside: Vec<String> = causes.iter().filter(|c| also.contains(&c.kind)).take(2).map(|c| beside(c, rise)).collect();
    match beside.is_empty() {
        true => what,
        false => format!("{what} {}.", capitalized(&beside.join(", "))),
    }
}

/// `16.6 % is dirty pages (dirty retention)`.
fn beside(cause: &Cause, rise: f64) -> String {
    let word = cause.kind.word().replace('_', " ");
    let kind = format!(" ({word})");
    let kind = if word == cause.label || cause.label.ends_with(&kind) { String::new() } else { kind };
    let part = if cause.growth > MORE_THAN_ALL * rise { signed_iec(cause.growth) } else { percent(cause.growth, rise) };
    format!("{part} is {}{kind}", cause.label)
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
