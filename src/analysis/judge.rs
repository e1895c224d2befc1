//! Is this growth a leak? The rules for live memory, one growth at a time and then against each other.
//!
//! A growth is a leak suspect when it is (1) significant, corrected for the number of growths looked at,
//! (2) resolved by enough samples, (3) a monotone trend, (4) still going on at the end, (5) neither a step nor
//! saturating, (6) not moved here from another stack, and (7) material. A bump arena grows in doublings: for it, two
//! separate jumps and resident memory that still grows stand in for 3 to 5.

use crate::analysis::detect::pools::{Pool, PoolKind};
use crate::analysis::estimate::{Delta, Estimated, Interval};
use crate::analysis::finding::{Confidence, VerdictKind};
use crate::analysis::group::{Group, Paths};
use crate::analysis::join::Driver;
use crate::analysis::series::HeapSeries;
use crate::analysis::size_class::exact_course;
use crate::analysis::trend::{
    AICC_DECISIVE, AICC_SUGGESTIVE, Course, HALVED, LEAST_INTERVALS, MANY_INTERVALS, Regressor, Series, Shape, TIME, Trend, course,
    mann_kendall,
};
use crate::analysis::triage::singular;
use crate::model::allocator::AllocatorStats;
use crate::model::stack::StackId;
use crate::units::{iec, percent};
use statrs::distribution::{ChiSquared, ContinuousCDF, Normal};

/// Chance of one false alarm in a capture that has none (rule 1), divided by the number of growths.
const ALPHA: f64 = 0.01;
/// New samples for a relative standard error of 25 % (rule 2).
pub const RESOLVED_SAMPLES: f64 = 16.0;
/// Growth that few large objects may have: they are sampled nearly always, so counts are exact (rule 2).
const RESOLVED_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// Mann-Kendall level (rule 3).
const TREND_ALPHA: f64 = 0.01;
/// Shrinkage of the same innermost function, as a share of the growth, that says "moved" (rule 6).
const MOVED_SHARE: f64 = 0.5;
/// Correlation of increments with a shrinking group that says "moved" (rule 6).
const MOVED_CORRELATION: f64 = -0.8;
/// Standard error of the sum of two growths that cancel, as a share of the one that grows: a wider one would take anything for
/// the same bytes.
const CANCELS_WITHIN: f64 = 0.25;
/// Share of RSS growth, or of the largest suspect once there is one (rule 7).
pub const MATERIAL_SHARE: f64 = 0.10;
/// Sampling intervals that a material growth has at least (rule 7): four expected samples.
const MATERIAL_INTERVALS: f64 = 4.0;
/// Survival above which nothing churns, so that only net changes add noise.
const IMMORTAL: f64 = 0.9;
/// New samples for high confidence: a pool with a time constant of half the window is told from a leak in 92 % of
/// simulated runs at 100 samples.
const HIGH_SAMPLES: f64 = 100.0;
/// Difference of chi² by which a line must beat a pool that fills within half the window: the one-sided 5 % point of
/// chi² with one degree of freedom. Below it the growth is called open.
const POOL_EXCLUDED: f64 = 2.706;
/// Objects at the end per object at the start up to which their number stood still: a doubling table is one object.
const SAME_NUMBER: f64 = 1.25;
/// Bytes at the end per byte at the start from which a table has doubled.
const DOUBLED: f64 = 1.9;
/// Bytes at the end per byte at the start of tables that have doubled twice.
const TWO_DOUBLINGS: f64 = 3.5;
/// Bytes per unit of a table that doubles move within a factor of two; the rest is for counter and dump being ms apart.
const WITHIN_A_DOUBLING: f64 = 2.2;
/// Chance of being sampled from which objects are counted nearly exactly.
const TABLE_PROBABILITY: f64 = 0.6;
/// Share of a group's growth from which its payload tells the course of tables and payload.
const PAYLOAD_SHARE: f64 = 1.0 / 3.0;
/// Share of the growth of RSS that growing tables must be, so that memory touched smoothly is theirs.
const TABLES_SHARE: f64 = 0.5;
/// Innermost frames of a group whose names choose between counters that explain its growth equally well.
const NAMED_FRAMES: usize = 2;
/// Letters that the name of a counter must have for that.
const NAMED_LETTERS: usize = 4;
/// A share this close above [`MATERIAL_SHARE`] takes one grade of confidence away.
const MARGIN: f64 = 1.2;

/// What a growth is taken for.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// A suspect.
    Suspect(VerdictKind, Confidence),
    /// Not a leak, because.
    Cleared(VerdictKind, String),
    /// Growth whose cause is open; why.
    Open(String),
    /// Within the noise, or too small to matter.
    Nothing,
}

/// One growth with everything it was judged by.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Its stacks and place.
    pub group: Group,
    /// First to last.
    pub delta: Delta,
    /// Estimates at every dump.
    pub levels: Vec<Estimated>,
    /// Levels with the noise of their moves.
    pub series: Series,
    /// Its course.
    pub course: Course,
    /// The course is that of a size class, counted exactly.
    pub counted: bool,
    /// Share of objects allocated since the first dump that are live.
    pub survival: Option<f64>,
    /// The pool or arena its memory belongs to, where one is known by name.
    pub pool: Option<&'static Pool>,
    /// The loop that drives it, where that counts to an end.
    pub driver: Option<Driver>,
    /// The conclusion.
    pub call: Call,
}

impl Judged {
    /// First-to-last growth with its 95 % interval.
    pub fn growth(&self) -> Interval {
        let variance = if self.survival.is_some_and(|s| s > IMMORTAL) { self.delta.variance_low } else { self.delta.variance };
        self.delta.interval_with(variance)
    }

    /// Standard errors that the growth lies above zero, objects that come and go counted against it.
    pub fn z(&self) -> f64 {
        let variance = if self.survival.is_some_and(|s| s > IMMORTAL) { self.delta.variance_low } else { self.delta.variance_high };
        match variance > 0.0 {
            true => self.delta.bytes / variance.sqrt(),
            false if self.delta.bytes > 0.0 => f64::INFINITY,
            false => 0.0,
        }
    }

    /// Growth that could hide in its error: three standard errors, what is significant among some tens of stacks.
    pub fn could_hide(&self) -> f64 {
        3.0 * self.delta.variance.max(0.0).sqrt()
    }

    /// Mean size of the objects live at the end, in bytes.
    pub fn object_bytes(&self) -> f64 {
        self.levels.last().filter(|last| last.objects > 0.0).map_or(0.0, |last| last.bytes / last.objects)
    }

    /// Whether its memory belongs to an arena.
    pub fn is_arena(&self) -> bool {
        self.pool.is_some_and(|pool| pool.kind == PoolKind::Arena)
    }

    /// Whether it is tables that grew.
    pub fn is_table(&self) -> bool {
        are_tables(&self.levels)
    }

    /// Whether a pool that fills within half of the window is a worse explanation than a leak.
    pub fn pool_excluded(&self) -> bool {
        self.course.best_trend().is_some_and(|trend| pool_margin(trend) >= POOL_EXCLUDED)
    }

    /// Whether it grew in each of several intervals, and nothing but more of them is wanting to tell its course.
    pub fn wants_only_snapshots(&self) -> bool {
        let resolved = self.delta.samples >= RESOLVED_SAMPLES || self.delta.bytes >= RESOLVED_BYTES;
        let course = &self.course;
        matches!(self.call, Call::Open(_))
            && resolved
            && (2..LEAST_INTERVALS).contains(&course.intervals)
            && course.rises == course.intervals
    }

    /// What keeps its confidence from being high, where it is the growth itself.
    pub fn doubt(&self) -> Option<String> {
        if self.course.intervals < LEAST_INTERVALS {
            return Some(few_snapshots(&self.course));
        }
        let margin = self.course.best_trend().map_or(0.0, pool_margin);
        if let Some(pool) = self.pool {
            return Some(format!("it is {}, and may still be filling", pool.cleared()));
        }
        if self.grows_in_chunks() {
            return Some("it grew in doublings, which are few".to_owned());
        }
        if margin < AICC_DECISIVE {
            return Some(
                "a cache that fills within half of this window is unlikely, and not excluded; a longer capture would tell".to_owned(),
            );
        }
        (!is_resolved(self))
            .then(|| format!("{:.0} new samples tell its size roughly; a smaller lg_prof_sample would tell more", self.delta.samples))
    }

    /// Whether its live bytes move in jumps while memory is touched smoothly.
    pub fn grows_in_chunks(&self) -> bool {
        self.course.shape == Shape::Jumps && (self.is_arena() || self.is_table())
    }

    /// Whether it is a suspect of a leak kind.
    pub fn is_suspect(&self) -> bool {
        matches!(self.call, Call::Suspect(..))
    }
}

/// What the rules need to know of the process.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// Time first, then the cumulative counters, at the dumps.
    pub regressors: &'a [Regressor],
    /// Highest resident memory less the first; `None` without resident memory.
    pub rss_rise: Option<f64>,
    /// Statistics beside each dump.
    pub stats: &'a [Option<&'a AllocatorStats>],
    /// Course of the allocator's resident memory; `None` where resident memory was not recorded.
    pub rss_course: Option<&'a Course>,
}

/// Judges every group.
pub fn judge(series: &HeapSeries, paths: &Paths, groups: Vec<(Group, Option<&'static Pool>)>, setting: &Setting<'_>) -> Vec<Judged> {
    let mut all: Vec<Judged> = groups
        .into_iter()
        .map(|(group, pool)| {
            let stacks = || group.stacks.iter().map(|s| &series.stacks[s.index()]);
            let own = series.series(stacks());
            let (mut course, counted) = payload_course(series, &group, &own, setting);
            let names: Vec<String> = group.shared.iter().rev().take(NAMED_FRAMES).map(|f| paths.name(f.key).to_lowercase()).collect();
            course.prefer(|counter| {
                let unit = singular(counter).to_lowercase();
                let words = |name: &String| {
                    let mut words = name.split(|c: char| !c.is_alphabetic());
                    words.any(|word| word.len() >= NAMED_LETTERS && (word.starts_with(&unit) || unit.starts_with(word)))
                };
                unit.len() >= NAMED_LETTERS && names.iter().any(words)
            });
            Judged {
                delta: series.growth(stacks()),
                levels: series.totals(stacks()),
                course,
                counted,
                series: own,
                survival: series.survival(stacks()),
                pool,
                driver: None,
                call: Call::Nothing,
                group,
            }
        })
        .collect();
    let looked_at = all.iter().filter(|g| g.levels.iter().any(|l| l.samples >= 2.0)).count().max(1);
    let critical = Normal::standard().inverse_cdf(1.0 - ALPHA / looked_at as f64);
    let rise: f64 = setting.rss_rise.unwrap_or_else(|| all.iter().map(|g| g.delta.bytes.max(0.0)).sum());
    let floor = MATERIAL_INTERVALS * series.interval();
    let calls: Vec<Call> = (0..all.len())
        .map(|i| {
            let moved = moved(&all, i, series, paths);
            call(&all[i], critical, moved, setting)
        })
        .collect();
    for (judged, call) in all.iter_mut().zip(calls) {
        judged.call = call;
    }
    materiality(&mut all, rise, floor);
    containers(&mut all);
    all.sort_by(|a, b| {
        b.is_suspect().cmp(&a.is_suspect()).then(b.delta.bytes.total_cmp(&a.delta.bytes)).then(a.group.stacks.cmp(&b.group.stacks))
    });
    all
}

/// The course of a group. Tables that double beside a payload blur it: where the payload is a third of the growth or more,
/// it alone tells the shape, and the whole tells the rate. Where a size class is theirs, its exact counts tell the shape.
fn payload_course(series: &HeapSeries, group: &Group, own: &Series, setting: &Setting<'_>) -> (Course, bool) {
    let whole = course(own, setting.regressors);
    let one = |&stack: &StackId| std::iter::once(&series.stacks[stack.index()]);
    let payload: Vec<StackId> = group.stacks.iter().copied().filter(|s| !are_tables(&series.totals(one(s)))).collect();
    if payload.is_empty() {
        return (whole, false);
    }
    // Counts of a size class have no sampling noise.
    let exact = exact_course(series, &payload, setting.stats);
    let counted = exact.is_some();
    let of_payload = match exact {
        Some(exact) => exact,
        None if payload.len() == group.stacks.len() => return (whole, false),
        None => series.series(payload.iter().flat_map(one)),
    };
    if of_payload.growth() < PAYLOAD_SHARE * own.growth() {
        return (whole, false);
    }
    let mut told = course(&of_payload, setting.regressors);
    for trend in &mut told.trends {
        if let Some(all) = whole.trends.iter().find(|all| all.per == trend.per) {
            (trend.rate, trend.robust) = (all.rate, all.robust);
        }
    }
    (told, counted)
}

/// Few large objects whose number stood still, from the first dump that has them, while their bytes doubled.
fn are_tables(levels: &[Estimated]) -> bool {
    let Some(last) = levels.last() else { return false };
    let sampled_always = last.objects > 0.0 && last.probability() > TABLE_PROBABILITY;
    let from = levels.iter().find(|level| level.bytes > 0.0);
    sampled_always && from.is_some_and(|from| last.objects <= SAME_NUMBER * from.objects && last.bytes >= DOUBLED * from.bytes)
}

/// Whether tables follow a counter as doubling allows: bytes per unit stay within a factor of two (and a little) while
/// the bytes grow by two doublings or more.
fn follows_by_doubling(judged: &Judged, setting: &Setting<'_>) -> Option<String> {
    let levels = &judged.series.levels;
    let (first, last) = (*levels.first()?, *levels.last()?);
    if !judged.is_table() || first <= 0.0 || last < TWO_DOUBLINGS * first {
        return None;
    }
    let follows = |regressor: &&Regressor| {
        let ratios = levels.iter().zip(&regressor.values).map(|(level, units)| level / units);
        let (low, high) = ratios.fold((f64::INFINITY, 0.0f64), |(low, high), r| (low.min(r), high.max(r)));
        regressor.name != TIME && low > 0.0 && high <= WITHIN_A_DOUBLING * low
    };
    setting.regressors.iter().find(follows).map(|regressor| regressor.name.clone())
}

/// Rules 1 to 6.
fn call(judged: &Judged, critical: f64, moved: Option<String>, setting: &Setting<'_>) -> Call {
    let (bytes, course) = (judged.delta.bytes, &judged.course);
    let range = judged.series.range();
    if matches!(course.shape, Shape::Flat | Shape::Falling) || range <= 0.0 {
        return Call::Nothing;
    }
    if course.shape == Shape::Sawtooth {
        return Call::Cleared(VerdictKind::Sawtooth, sawtooth_reason(judged));
    }
    if bytes <= 0.0 || judged.z() < critical {
        return Call::Nothing;
    }
    if judged.delta.samples < RESOLVED_SAMPLES && bytes < RESOLVED_BYTES {
        return Call::Open(format!("{:.0} new samples do not resolve it; a smaller lg_prof_sample would", judged.delta.samples));
    }
    if let Some(from) = moved {
        return Call::Cleared(VerdictKind::Steady, format!("the bytes moved here from {from}: nothing grew"));
    }
    if course.intervals < LEAST_INTERVALS {
        return Call::Open(few_snapshots(course));
    }
    if judged.is_arena() {
        return arena_call(judged, setting);
    }
    match course.shape {
        Shape::Jumps if table_fills(judged, setting) || follows_by_doubling(judged, setting).is_some() => {
            Call::Suspect(VerdictKind::Leak, Confidence::Medium)
        }
        Shape::Step(_) if judged.is_table() && setting.rss_course.is_none() => Call::Open(
            "a table doubled once and is as large since: without resident memory it cannot be told whether it goes on being filled"
                .to_owned(),
        ),
        Shape::Step(_) if table_fills(judged, setting) => Call::Open(
            "a table doubled once, and the memory touched in it goes on growing: more doublings would tell whether it ends".to_owned(),
        ),
        Shape::Step(after) => {
            Call::Cleared(VerdictKind::OneTime, format!("it came at once and has been flat since the {} snapshot", ordinal(after + 1)))
        }
        Shape::Plateau(from) => {
            let pool = judged.pool.map_or_else(String::new, |pool| format!("{}: ", pool.cleared()));
            Call::Cleared(VerdictKind::GrowthPlateau, pool + &plateau_reason(judged, from))
        }
        Shape::Linear | Shape::Accelerating if idle(course).is_some() => Call::Open(idle(course).unwrap_or_default()),
        Shape::Linear | Shape::Accelerating if course.mann_kendall < TREND_ALPHA => match confidence(judged) {
            Some(confidence) => Call::Suspect(VerdictKind::Leak, confidence),
            None => Call::Open(
                "a cache that is still filling explains it as well as a leak does: a capture twice as long would tell".to_owned(),
            ),
        },
        Shape::Linear | Shape::Accelerating => Call::Open(format!(
            "it grew in {} of {} intervals, which chance alone does too often (p = {:.2})",
            course.rises, course.intervals, course.mann_kendall
        )),
        Shape::Undetermined if course.trends.iter().all(Trend::halved) && !course.trends.is_empty() => Call::Open(format!(
            "it slowed to {} of its first rate and still grows: a longer capture would tell whether it ends",
            percent(course.best_trend().map_or(0.0, Trend::late_over_early), 1.0)
        )),
        Shape::Jumps => Call::Open("it grew in a few separate jumps: more snapshots would tell whether they go on".to_owned()),
        _ => Call::Open("it grew, and no shape (line, plateau, step) is better supported than another".to_owned()),
    }
}

/// Why growth per unit of work is not shown: the work was done in too few of the intervals, or in few and then it ended.
fn idle(course: &Course) -> Option<String> {
    let trend = course.best_trend()?;
    let few = trend.active < LEAST_INTERVALS || (trend.ends_idle && trend.active < MANY_INTERVALS);
    few.then(|| {
        format!(
            "`{}` moved in {} of {} intervals only{}: a capture under steady work would show whether more work goes on adding to it",
            trend.per,
            trend.active,
            course.intervals,
            if trend.ends_idle { " and not in the last" } else { "" }
        )
    })
}

/// A bump arena doubles its chunks: live bytes move in jumps while memory is touched smoothly.
fn arena_call(judged: &Judged, setting: &Setting<'_>) -> Call {
    let noise = (judged.series.variances.iter().sum::<f64>() / judged.series.variances.len().max(1) as f64).sqrt();
    let increments = judged.series.increments();
    let jumps = increments.iter().filter(|&&d| d > 3.0 * noise).count();
    let touched = setting.rss_course.and_then(|course| match course.shape {
        Shape::Undetermined | Shape::Jumps => None,
        shape => Some(shape.is_ongoing()),
    });
    match (judged.course.shape, jumps, touched) {
        (Shape::Linear | Shape::Accelerating, ..) | (_, 2.., Some(true)) => {
            let sure = touched == Some(true) && increments.len() >= LEAST_INTERVALS;
            Call::Suspect(VerdictKind::BumpArenaGrowth, if sure { Confidence::High } else { Confidence::Medium })
        }
        // Each chunk is as large as all before it: its flat stretch says nothing of what is put into it.
        (_, 2.., None) | (Shape::Step(_) | Shape::Plateau(_), _, Some(true)) => {
            Call::Suspect(VerdictKind::BumpArenaGrowth, Confidence::Low)
        }
        (_, _, None) => Call::Open(
            "an arena took a chunk, as large as all before it, and the course of resident memory does not tell whether it goes on being filled"
                .to_owned(),
        ),
        (Shape::Step(after), ..) => Call::Cleared(
            VerdictKind::OneTime,
            format!("the arena took its chunks at once and has been flat since the {} snapshot", ordinal(after + 1)),
        ),
        (Shape::Plateau(from), ..) => Call::Cleared(VerdictKind::GrowthPlateau, plateau_reason(judged, from)),
        (_, _, Some(false)) => Call::Cleared(
            VerdictKind::GrowthPlateau,
            "the arena took chunks, and resident memory has stopped growing: its high-water mark, not a leak".to_owned(),
        ),
        _ => Call::Open("an arena took a chunk; one jump does not tell whether it goes on".to_owned()),
    }
}

/// Tables that double hold what they were asked for smoothly: as many objects as before, each of them larger, while the
/// memory touched in them grows to the end.
fn table_fills(judged: &Judged, setting: &Setting<'_>) -> bool {
    judged.is_table()
        && setting.rss_course.is_some_and(|course| course.shape.is_ongoing())
        && setting.rss_rise.is_some_and(|rise| judged.delta.bytes >= TABLES_SHARE * rise)
}

/// A table that doubles beside its payload joins it: growth in jumps, no larger than the suspect's, met at the frame
/// right above the suspect's owner or deeper.
fn containers(all: &mut Vec<Judged>) {
    let home = |table: &Judged, all: &[Judged]| {
        let is_table = table.course.shape == Shape::Jumps && matches!(table.call, Call::Open(_)) && !table.is_arena();
        let shares = |payload: &Judged| {
            let keys = payload.group.shared.iter().zip(&table.group.shared).take_while(|(a, b)| a.key == b.key).count();
            keys >= 2 && keys + 1 >= payload.group.shared.len()
        };
        let fits = |payload: &Judged| {
            matches!(payload.call, Call::Suspect(VerdictKind::Leak, _)) && payload.delta.bytes >= table.delta.bytes && shares(payload)
        };
        is_table
            .then(|| (0..all.len()).filter(|&i| fits(&all[i])).max_by(|&a, &b| all[a].delta.bytes.total_cmp(&all[b].delta.bytes)))
            .flatten()
    };
    for i in (0..all.len()).rev() {
        let Some(payload) = home(&all[i], all) else { continue };
        let table = all.remove(i);
        let payload = &mut all[if payload > i { payload - 1 } else { payload }];
        payload.delta = payload.delta.plus(table.delta);
        payload.levels = payload.levels.iter().zip(&table.levels).map(|(a, b)| a.plus(*b)).collect();
        payload.group.stacks.extend(table.group.stacks);
    }
}

/// Rule 7, first against RSS, then against the largest suspect.
fn materiality(all: &mut [Judged], rise: f64, floor: f64) {
    let of_rss = |g: &Judged| g.delta.bytes >= MATERIAL_SHARE * rise && g.delta.bytes >= floor;
    let largest = all.iter().filter(|g| g.is_suspect() && of_rss(g)).map(|g| g.delta.bytes).fold(0.0, f64::max);
    for judged in all.iter_mut() {
        let bytes = judged.delta.bytes;
        let stands = of_rss(judged) || (largest > 0.0 && bytes >= MATERIAL_SHARE * largest && bytes >= floor);
        let close = largest <= bytes && bytes < MARGIN * MATERIAL_SHARE * rise;
        match &mut judged.call {
            Call::Suspect(..) if !stands => {
                judged.call = Call::Open(format!(
                    "it follows its work to the end, and is {} of the growth of RSS: too little to be the answer",
                    percent(bytes, rise)
                ));
            }
            Call::Suspect(_, grade) if close && *grade > Confidence::Low => {
                *grade = if *grade == Confidence::High { Confidence::Medium } else { Confidence::Low };
            }
            _ => {}
        }
    }
}

fn few_snapshots(course: &Course) -> String {
    format!("{} snapshots show growth, not its course; take {} or more", course.intervals + 1, LEAST_INTERVALS + 1)
}

/// Whether there are samples enough for high confidence, or few large objects that are counted nearly exactly.
fn is_resolved(judged: &Judged) -> bool {
    let relative_error = judged.delta.variance_low.max(0.0).sqrt() / judged.delta.bytes;
    judged.delta.samples >= HIGH_SAMPLES || relative_error <= 1.0 / HIGH_SAMPLES.sqrt()
}

/// How sure a leak is; `None` where a pool that is still filling explains the growth as well.
fn confidence(judged: &Judged) -> Option<Confidence> {
    let margin = judged.course.best_trend().map_or(0.0, pool_margin);
    // A pool that is bounded by something may still be filling: its bound is evidence against a leak.
    match margin {
        m if m >= AICC_DECISIVE && is_resolved(judged) && judged.pool.is_none() => Some(Confidence::High),
        m if m >= POOL_EXCLUDED => Some(Confidence::Medium),
        _ => None,
    }
}

/// By how much the growth is better explained by a line than by a pool that fills within half of the window, or with
/// whatever time constant fits best.
fn pool_margin(trend: &Trend) -> f64 {
    let free = trend.aicc_saturating + AICC_SUGGESTIVE - trend.aicc_linear;
    if free < 0.0 || trend.late_over_early() <= HALVED { trend.pool_margin.min(free) } else { trend.pool_margin }
}

/// Rule 6: the growth of group `i` has a counterpart that shrinks.
fn moved(all: &[Judged], i: usize, series: &HeapSeries, paths: &Paths) -> Option<String> {
    let (judged, bytes) = (&all[i], all[i].delta.bytes);
    let leaf = |stack| paths.path(stack).last().map(|frame| frame.key);
    let leaves: Vec<u32> = judged.group.stacks.iter().filter_map(|&s| leaf(s)).collect();
    let shrunk: f64 = series
        .stacks
        .iter()
        .filter(|s| leaf(s.stack).is_some_and(|key| leaves.contains(&key)) && !judged.group.stacks.contains(&s.stack))
        .map(|s| series.growth(std::iter::once(s)).bytes.min(0.0))
        .sum();
    if -shrunk >= MOVED_SHARE * bytes {
        return Some(format!("other callers of `{}` ({} fewer there)", leaves.first().map_or("", |&k| paths.name(k)), iec(-shrunk)));
    }
    let increments = judged.series.increments();
    all.iter().enumerate().find_map(|(j, other)| {
        let mirrors = j != i
            && other.delta.bytes <= -MOVED_SHARE * bytes
            && (correlation(&increments, &other.series.increments()) < MOVED_CORRELATION || cancels(&judged.series, &other.series));
        let name = other.group.place().map_or("another stack", |place| paths.name(place.key));
        mirrors.then(|| format!("`{name}` ({} fewer there, interval by interval)", iec(-other.delta.bytes)))
    })
}

/// Whether what shrinks is what grows: their sum stands still over the window and in each interval, as far as the noise tells,
/// and the noise is small against the growth. Steps as even as their noise have no correlation to go by.
fn cancels(grows: &Series, shrinks: &Series) -> bool {
    let net: Vec<f64> = grows.increments().iter().zip(shrinks.increments()).map(|(a, b)| a + b).collect();
    let variances: Vec<f64> = grows.variances.iter().zip(&shrinks.variances).map(|(a, b)| a + b).collect();
    let (sum, error) = (net.iter().sum::<f64>(), variances.iter().sum::<f64>().sqrt());
    let falling: Vec<f64> = shrinks.levels.iter().map(|level| -level).collect();
    let chi2: f64 = net.iter().zip(&variances).map(|(d, v)| d * d / v.max(1.0)).sum();
    net.len() >= LEAST_INTERVALS
        && error <= CANCELS_WITHIN * grows.growth()
        && sum.abs() <= 2.0 * error
        && mann_kendall(&falling) < TREND_ALPHA
        && ChiSquared::new(net.len() as f64).is_ok_and(|distribution| distribution.sf(chi2) > TREND_ALPHA)
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    if n < 3 {
        return 0.0;
    }
    let (ma, mb) = (a.iter().sum::<f64>() / n as f64, b.iter().sum::<f64>() / n as f64);
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        aa += (x - ma) * (x - ma);
        bb += (y - mb) * (y - mb);
        ab += (x - ma) * (y - mb);
    }
    if aa > 0.0 && bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

fn plateau_reason(judged: &Judged, from: usize) -> String {
    match judged.course.trends.first() {
        Some(time) if time.early.estimate > 0.0 => format!(
            "it slowed from {}/s to {}/s; within a tenth of its end since the {} snapshot",
            iec(time.early.estimate),
            iec(time.late.estimate.max(0.0)),
            ordinal(from + 1)
        ),
        _ => format!("flat since the {} snapshot", ordinal(from + 1)),
    }
}

fn sawtooth_reason(judged: &Judged) -> String {
    let (mut top, mut fall) = (f64::NEG_INFINITY, 0.0f64);
    for &level in &judged.series.levels {
        top = top.max(level);
        fall = fall.max(top - level);
    }
    format!("it comes back down: a fall of {} inside the window, so the difference of two snapshots is only their phase", iec(fall))
}

/// `1st`, `2nd`, `11th`.
pub fn ordinal(n: usize) -> String {
    let suffix = match (n % 10, n % 100) {
        (1, h) if h != 11 => "st",
        (2, h) if h != 12 => "nd",
        (3, h) if h != 13 => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals() {
        let all: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 102].into_iter().map(ordinal).collect();
        assert_eq!(all, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd"]);
    }

    /// A group of one stack with these objects of these bytes at each dump.
    fn judged(levels: &[(f64, f64)], regressors: &[Regressor]) -> Judged {
        let levels: Vec<Estimated> = levels
            .iter()
            .map(|&(objects, bytes)| Estimated { objects, bytes, samples: objects, seen: bytes, ..Estimated::default() })
            .collect();
        let series = Series::measured(levels.iter().map(|l| l.bytes).collect(), 4096.0);
        let (first, last) = (levels[0], levels[levels.len() - 1]);
        Judged {
            group: Group { stacks: Vec::new(), shared: Vec::new() },
            delta: Delta { bytes: last.bytes - first.bytes, samples: last.samples - first.samples, ..Delta::default() },
            course: course(&series, regressors),
            counted: false,
            levels,
            series,
            survival: None,
            pool: None,
            driver: None,
            call: Call::Nothing,
        }
    }

    const MIB: f64 = 1024.0 * 1024.0;

    fn messages(values: &[f64]) -> Vec<Regressor> {
        let time = Regressor { name: TIME.to_owned(), values: (0..values.len()).map(|i| i as f64).collect() };
        vec![time, Regressor { name: "messages".to_owned(), values: values.to_vec() }]
    }

    #[test]
    fn a_table_that_doubles_with_its_work_is_a_leak() {
        let work: Vec<f64> = (2..12).map(|i| f64::from(i) * 1000.0).collect();
        let table = |units: f64| (1.0, (units * 64.0).log2().ceil().exp2() * 100.0);
        let levels: Vec<(f64, f64)> = work.iter().map(|&units| table(units)).collect();
        let regressors = messages(&work);
        let setting = Setting { regressors: &regressors, rss_rise: Some(40.0 * MIB), rss_course: None, stats: &[] };
        let found = judged(&levels, &regressors);
        assert_eq!(found.course.shape, Shape::Jumps);
        assert_eq!(call(&found, 3.0, None, &setting), Call::Suspect(VerdictKind::Leak, Confidence::Medium));
        // As much growth in as many jumps by new objects each time: loads, not a table.
        let loads: Vec<(f64, f64)> = levels.iter().map(|&(_, bytes)| (bytes / 65_536.0, bytes)).collect();
        assert!(matches!(call(&judged(&loads, &regressors), 3.0, None, &setting), Call::Open(_)));
        // A table whose work stood still while it doubled does not follow it.
        let idle = messages(&[2e3, 2.1e3, 2.2e3, 2.3e3, 2.4e3, 2.5e3, 2.6e3, 2.7e3, 2.8e3, 2.9e3]);
        let setting = Setting { regressors: &idle, ..setting };
        assert!(matches!(call(&judged(&levels, &idle), 3.0, None, &setting), Call::Open(_)));
    }

    #[test]
    fn work_that_ended_shows_no_trend() {
        let levels = |builds: &[f64]| builds.iter().map(|b| (100.0 + b * 400.0, MIB + b * 1.7 * MIB)).collect::<Vec<_>>();
        let ended = [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 20.0];
        let goes_on = [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0];
        for (builds, is_leak) in [(ended, false), (goes_on, true)] {
            let regressors = messages(&builds);
            let setting = Setting { regressors: &regressors, rss_rise: Some(40.0 * MIB), rss_course: None, stats: &[] };
            let said = call(&judged(&levels(&builds), &regressors), 3.0, None, &setting);
            assert_eq!(matches!(said, Call::Suspect(..)), is_leak, "{builds:?}: {said:?}");
        }
    }

    #[test]
    fn what_cancels_moved() {
        let series = |levels: [f64; 6], noise: f64| Series::measured(levels.iter().map(|l| l * MIB).collect(), noise * MIB);
        let grows = series([20.0, 22.4, 24.9, 27.1, 29.8, 32.1], 0.3);
        assert!(cancels(&grows, &series([30.0, 27.4, 25.2, 23.1, 20.2, 17.9], 0.3)), "as much in every interval");
        assert!(!cancels(&grows, &series([30.0, 27.4, 25.2, 23.1, 20.2, 17.9], 3.0)), "noise would hide anything");
        assert!(!cancels(&grows, &series([30.0, 29.0, 28.0, 27.0, 26.0, 25.0], 0.3)), "half of it is no explanation of all");
        assert!(!cancels(&grows, &series([30.0, 18.0, 18.0, 18.1, 18.0, 17.9], 0.3)), "at once, while it went on growing");
    }

    #[test]
    fn correlations() {
        assert!(correlation(&[1.0, 2.0, 3.0], &[-1.0, -2.0, -3.0]) < -0.999);
        assert_eq!(correlation(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), 0.0);
    }
}
