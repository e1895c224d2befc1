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

/// The size class that a mean object size is, up to rounding.
fn class_of(stats: &AllocatorStats, mean: f64) -> Option<u64> {
    let sizes = stats.bins.iter().map(|b| b.size).chain(stats.large.iter().map(|l| l.size));
    sizes
        .filter(|&size| (mean - size as f64).abs() <= SAME_SIZE * size as f64)
        .min_by(|a, b| (mean - *a as f64).abs().total_cmp(&(mean - *b as f64).abs()))
}

fn exact_growth(first: &AllocatorStats, last: &AllocatorStats, size: u64) -> Option<f64> {
    let live = |stats: &AllocatorStats| {
        let small = stats.bins.iter().find(|b| b.size == size).map(|b| b.live);
        small.or_else(|| stats.large.iter().find(|l| l.size == size).map(|l| l.live))
    };
    Some(live(last)? as f64 - live(first).unwrap_or(0) as f64)
}
