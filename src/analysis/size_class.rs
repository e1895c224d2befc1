//! Exact counts per size class against sampled growth.
//!
//! The allocator counts live objects of every class exactly (`bins[i].curregs`, `lextents[i].curlextents`). A stack
//! whose objects are all of one class cannot have grown by more objects than its class did, except for those that were
//! sampled: a sampled small object lives in an extent of its own, outside its bin.
//!
//! It is a bound, not a correction: an average that equals a class proves nothing (mixed sizes may have it too), so a
//! class that grew clearly less than the estimate says that the sizes are mixed, and is not used.

use crate::analysis::estimate::{Delta, Interval};
use crate::analysis::series::HeapSeries;
use crate::analysis::trend::Series;
use crate::model::allocator::AllocatorStats;
use crate::model::stack::StackId;
use crate::units::grouped;

/// Printed averages are off by rounding: 96.006 is 96, 4097.21 is 4096.
const SAME_SIZE: f64 = 0.005;
/// Samples from which an average is worth a look.
const LEAST_SAMPLES: f64 = 16.0;
/// A class that grew by this many standard errors less than the estimate: the sizes are mixed.
const MIXED: f64 = 3.0;
/// Share of the growth that must lie in stacks of one class for the bound to say anything of the whole.
const COVERED: f64 = 0.5;
/// Share of a class, and of its growth, that stacks must hold for the class's course to be theirs.
const OWNED: f64 = 0.8;

/// What the exact counts say of a growth.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The growth with its upper end lowered.
    pub growth: Interval,
    /// The sentence for the evidence.
    pub claim: String,
}

/// Tightens `growth` of a group by the exact growth of its size classes; `None` where they say nothing.
pub fn tighten(series: &HeapSeries, stacks: &[StackId], growth: Interval, first: &AllocatorStats, last: &AllocatorStats) -> Option<Bound> {
    let dumps = series.dumps();
    let mut by_class: Vec<(u64, Delta)> = Vec::new();
    for stack in stacks {
        let stack = series.stacks.get(stack.index())?;
        let end = series.estimate(stack, dumps.checked_sub(1)?);
        if end.samples < LEAST_SAMPLES {
            continue;
        }
        let Some(size) = class_of(last, end.bytes / end.objects) else { continue };
        let delta = series.delta(stack, 0, dumps - 1);
        match by_class.iter_mut().find(|(class, _)| *class == size) {
            Some((_, sum)) => *sum = sum.plus(delta),
            None => by_class.push((size, delta)),
        }
    }
    let (mut saved, mut best): (f64, Option<(f64, String)>) = (0.0, None);
    let mut covered = 0.0;
    for (size, delta) in by_class.iter().filter(|(_, delta)| delta.objects > 0.0) {
        let Some(exact) = exact_growth(first, last, *size) else { continue };
        let most = exact.max(0.0) + delta.samples.max(0.0);
        let error = delta.variance_high.sqrt() / *size as f64;
        if most < delta.objects - MIXED * error {
            continue;
        }
        covered += delta.bytes;
        let upper = delta.bytes + 1.96 * delta.variance.sqrt();
        saved += (upper - most * *size as f64).max(0.0);
        let claim = format!(
            "the allocator's exact count of {size}-byte objects grew by {}; the samples say {} for these stacks",
            grouped(exact.max(0.0) as u64),
            grouped(delta.objects.max(0.0) as u64)
        );
        if best.as_ref().is_none_or(|(bytes, _)| delta.bytes > *bytes) {
            best = Some((delta.bytes, claim));
        }
    }
    let (_, claim) = best?;
    if covered < COVERED * growth.estimate {
        return None;
    }
    let high = (growth.high - saved).max(growth.low);
    Some(Bound { growth: Interval { estimate: growth.estimate.min(high), low: growth.low, high }, claim })
}

/// The exact course of a group whose objects are one class's: the class's count at every dump, as bytes, where the samples say
/// that these stacks hold most of the class, and its exact growth is theirs within the noise. `None` otherwise, and where a
/// dump has no statistics beside it.
pub fn exact_course(series: &HeapSeries, stacks: &[StackId], stats: &[Option<&AllocatorStats>]) -> Option<Series> {
    let last = series.dumps().checked_sub(1)?;
    let own: Vec<_> = stacks.iter().filter_map(|stack| series.stacks.get(stack.index())).collect();
    let end = *series.totals(own.iter().copied()).last()?;
    let statistics = stats.last().copied().flatten()?;
    let size = class_of(statistics, end.bytes / end.objects).filter(|_| end.samples >= LEAST_SAMPLES)?;
    // Stacks of other sizes may have the mean of this class together.
    let mixed = own
        .iter()
        .map(|stack| series.estimate(stack, last))
        .any(|e| e.samples >= LEAST_SAMPLES && class_of(statistics, e.bytes / e.objects) != Some(size));
    let levels: Vec<f64> = (0..=last)
        .map(|dump| {
            let sampled = own.iter().map(|stack| stack.live[dump].objects).fold(0, u64::saturating_add);
            Some(live(stats.get(dump).copied().flatten()?, size).unwrap_or(0) as f64 + sampled as f64)
        })
        .collect::<Option<_>>()?;
    let (exact, delta) = (levels[last] - levels[0], series.growth(own.iter().copied()));
    let error = delta.variance_high.sqrt() / size as f64;
    let holds_most = end.objects >= OWNED * levels[last] && delta.objects >= OWNED * exact;
    if mixed || !holds_most || (exact - delta.objects).abs() > MIXED * error {
        return None;
    }
    // What others have of the class comes and goes.
    let others = (levels[last] - end.objects).max(LEAST_SAMPLES).sqrt();
    Some(Series::measured(levels.into_iter().map(|objects| objects * size as f64).collect(), others * size as f64))
}

/// The size class that a mean object size is, up to rounding.
fn class_of(stats: &AllocatorStats, mean: f64) -> Option<u64> {
    let sizes = stats.bins.iter().map(|b| b.size).chain(stats.large.iter().map(|l| l.size));
    sizes
        .filter(|&size| (mean - size as f64).abs() <= SAME_SIZE * size as f64)
        .min_by(|a, b| (mean - *a as f64).abs().total_cmp(&(mean - *b as f64).abs()))
}

fn exact_growth(first: &AllocatorStats, last: &AllocatorStats, size: u64) -> Option<f64> {
    Some(live(last, size)? as f64 - live(first, size).unwrap_or(0) as f64)
}

/// Live objects of a class.
fn live(stats: &AllocatorStats, size: u64) -> Option<u64> {
    let small = stats.bins.iter().find(|b| b.size == size).map(|b| b.live);
    small.or_else(|| stats.large.iter().find(|l| l.size == size).map(|l| l.live))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::series::StackSeries;
    use crate::analysis::trend::{Regressor, Shape, TIME, course};
    use crate::model::allocator::BinStats;
    use crate::model::heap::{Sampled, Sampling};
    use crate::model::stack::StackTable;
    use crate::units::Bytes;

    /// A leak of 224-byte objects as it was sampled at one in 32 KiB: it looks as if it slowed down.
    const SAMPLED: [u64; 12] = [10, 47, 88, 133, 169, 201, 243, 276, 303, 332, 360, 380];
    /// Objects that it lost by then.
    const LOST: [u64; 12] = [2100, 7400, 12_400, 18_000, 23_300, 28_500, 33_800, 39_100, 44_600, 49_900, 54_800, 60_200];

    /// One stack of objects of 224 bytes.
    fn series(sampled: &[u64]) -> (HeapSeries, StackId) {
        let mut stacks = StackTable::default();
        let stack = stacks.intern(&[]);
        let live = sampled.iter().map(|&objects| Sampled { objects, bytes: objects * 224 }).collect();
        let dumps = sampled.len();
        let series = HeapSeries {
            snapshots: (0..dumps).collect(),
            sampling: vec![Sampling::Interval(Bytes::new(1 << 15)); dumps],
            partial: 0,
            accumulated: false,
            stacks: vec![StackSeries { stack, live, accumulated: Vec::new() }],
        };
        (series, stack)
    }

    fn statistics(live: impl Fn(usize) -> u64) -> Vec<AllocatorStats> {
        let one = |dump| AllocatorStats {
            bins: vec![BinStats { size: 224, live: live(dump), ..BinStats::default() }],
            ..AllocatorStats::default()
        };
        (0..SAMPLED.len()).map(one).collect()
    }

    fn exact(sampled: &[u64], live: impl Fn(usize) -> u64) -> Option<Series> {
        let (series, stack) = series(sampled);
        let stats = statistics(live);
        exact_course(&series, &[stack], &stats.iter().map(Some).collect::<Vec<_>>())
    }

    #[test]
    fn a_class_of_its_own_tells_the_course_without_noise() {
        let time = [Regressor { name: TIME.to_owned(), values: (0..12).map(f64::from).collect() }];
        let counted = exact(&SAMPLED, |dump| LOST[dump]).unwrap();
        let course = course(&counted, &time);
        assert_eq!(course.shape, Shape::Linear);
        assert!((0.95..1.05).contains(&course.best_trend().unwrap().late_over_early()));
    }

    #[test]
    fn a_class_that_others_share_tells_nothing() {
        assert_eq!(exact(&SAMPLED, |dump| LOST[dump] + 40_000), None, "as many objects of others");
        assert_eq!(exact(&SAMPLED, |dump| 2 * LOST[dump]), None, "others grow as much");
        assert_eq!(exact(&SAMPLED, |_| 60_000), None, "it did not grow: sizes are mixed");
        assert_eq!(exact(&SAMPLED.map(|n| n / 30), |dump| LOST[dump] / 30), None, "a dozen samples have no size");
        let (series, stack) = series(&SAMPLED);
        let stats = statistics(|dump| LOST[dump]);
        let some: Vec<Option<&AllocatorStats>> = stats.iter().enumerate().map(|(i, one)| (i != 4).then_some(one)).collect();
        assert_eq!(exact_course(&series, &[stack], &some), None, "statistics beside some dumps only");
    }

    #[test]
    fn exact_counts_lower_the_upper_end() {
        let (series, stack) = series(&SAMPLED);
        let growth = series.growth(series.stacks.iter()).interval();
        let stats = |live: [u64; 2]| statistics(move |dump| if dump == 0 { live[0] } else { live[1] });
        let tightened = |live| {
            let stats = stats(live);
            tighten(&series, &[stack], growth, &stats[0], &stats[11])
        };
        let bound = tightened([2_000, 56_000]).unwrap();
        assert!(bound.growth.high < growth.high && bound.growth.low == growth.low, "{bound:?} of {growth:?}");
        assert_eq!(tightened([2_000, 20_000]), None, "a class that grew far less says that the sizes are mixed");
    }
}
