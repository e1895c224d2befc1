//! Heap profiles of one process as one series a stack.
//!
//! The samples of all dumps are turned around: for each stack its counts at every dump, and from these its estimates
//! and the variance of its moves. Nothing is judged here.

use crate::analysis::estimate::{Delta, Estimated, Side, delta_independent, delta_same_process, unsample};
use crate::analysis::trend::Series;
use crate::model::heap::{Sample, Sampled, Sampling};
use crate::model::stack::StackId;
use crate::model::timeline::Timeline;

/// All dumps of a timeline, by stack.
#[derive(Clone, Debug, Default)]
pub struct HeapSeries {
    /// Positions in `timeline.snapshots` of the snapshots with a dump.
    pub snapshots: Vec<usize>,
    /// Sampling of each of these dumps.
    pub sampling: Vec<Sampling>,
    /// Dumps that are cut and left out: stacks that are not in them would look freed.
    pub partial: usize,
    /// Whether every dump has accumulated counts.
    pub accumulated: bool,
    /// By stack id; a stack that no dump mentions has no counts.
    pub stacks: Vec<StackSeries>,
}

/// Counts of one stack at every dump.
#[derive(Clone, Debug, PartialEq)]
pub struct StackSeries {
    /// Which stack.
    pub stack: StackId,
    /// Live counts, one per dump.
    pub live: Vec<Sampled>,
    /// Accumulated counts, one per dump; empty when not recorded.
    pub accumulated: Vec<Sampled>,
}

impl HeapSeries {
    /// Collects the dumps of a timeline, without cut ones while there are whole ones. A stack that occurs in several records
    /// of one dump is their sum.
    pub fn of(timeline: &Timeline) -> HeapSeries {
        let mut series = HeapSeries::without_counts(timeline);
        for dump in 0..series.dumps() {
            series.add(dump, timeline.snapshots[series.snapshots[dump]].heap.as_ref().map_or(&[], |heap| &heap.samples));
        }
        series
    }

    /// The same, and the samples of all dumps but the first and the last are given up as they are collected: a long
    /// series of dumps is not kept twice (120 kB of 310 kB for each dump of 3,000 stacks).
    pub fn drain(timeline: &mut Timeline) -> HeapSeries {
        let mut series = HeapSeries::without_counts(timeline);
        let last = series.dumps().saturating_sub(1);
        for dump in 0..series.dumps() {
            let Some(heap) = timeline.snapshots[series.snapshots[dump]].heap.as_mut() else { continue };
            let samples = std::mem::take(&mut heap.samples);
            series.add(dump, &samples);
            if dump == 0 || dump == last {
                heap.samples = samples;
            }
        }
        series
    }

    /// Every stack without a count so far. Room is taken as counts come, so that it can be what samples leave free.
    fn without_counts(timeline: &Timeline) -> HeapSeries {
        let mut snapshots: Vec<usize> = (0..timeline.snapshots.len()).filter(|&i| timeline.snapshots[i].heap.is_some()).collect();
        let whole = |&i: &usize| timeline.snapshots[i].heap.as_ref().is_some_and(|heap| !heap.is_partial());
        let (all, some_whole) = (snapshots.len(), snapshots.iter().any(whole));
        snapshots.retain(|i| !some_whole || whole(i));
        let partial = all - snapshots.len();
        let heaps = || snapshots.iter().filter_map(|&i| timeline.snapshots[i].heap.as_ref());
        let accumulated = heaps().count() > 0 && heaps().all(|heap| heap.accumulated);
        let room = || Vec::with_capacity(snapshots.len());
        let stacks = timeline.stacks.ids().map(|stack| StackSeries {
            stack,
            live: room(),
            accumulated: if accumulated { room() } else { Vec::new() },
        });
        HeapSeries { stacks: stacks.collect(), sampling: heaps().map(|heap| heap.sampling).collect(), partial, accumulated, snapshots }
    }

    /// Adds the next dump.
    fn add(&mut self, dump: usize, samples: &[Sample]) {
        for stack in &mut self.stacks {
            stack.live.push(Sampled::default());
            if self.accumulated {
                stack.accumulated.push(Sampled::default());
            }
        }
        for sample in samples {
            let Some(series) = self.stacks.get_mut(sample.stack.index()) else { continue };
            series.live[dump] = series.live[dump].plus(sample.live);
            if self.accumulated {
                series.accumulated[dump] = series.accumulated[dump].plus(sample.accumulated);
            }
        }
    }

    /// Number of dumps.
    pub fn dumps(&self) -> usize {
        self.snapshots.len()
    }

    /// The largest sampling interval among the dumps, in bytes.
    pub fn interval(&self) -> f64 {
        self.sampling.iter().map(|s| s.interval()).fold(1.0, f64::max)
    }

    /// A stack's estimate at one dump.
    pub fn estimate(&self, stack: &StackSeries, dump: usize) -> Estimated {
        unsample(stack.live[dump], self.sampling[dump])
    }

    /// A stack's change between two dumps.
    pub fn delta(&self, stack: &StackSeries, from: usize, to: usize) -> Delta {
        if self.sampling[from] != self.sampling[to] {
            return delta_independent(self.estimate(stack, from), self.estimate(stack, to));
        }
        let side = |dump: usize| Side { live: stack.live[dump], accumulated: stack.accumulated.get(dump).copied() };
        delta_same_process(side(from), side(to), self.sampling[to])
    }

    /// Estimated live bytes and objects at every dump, of a set of stacks.
    pub fn totals<'a>(&self, stacks: impl Iterator<Item = &'a StackSeries>) -> Vec<Estimated> {
        let mut totals = vec![Estimated::default(); self.dumps()];
        for stack in stacks {
            // Most stacks stay as they are from dump to dump, and an estimate takes two exponentials.
            let mut last: Option<(Sampled, Sampling, Estimated)> = None;
            for ((total, &counts), &sampling) in totals.iter_mut().zip(&stack.live).zip(&self.sampling) {
                let estimate = match last {
                    Some((known, same, estimate)) if known == counts && same == sampling => estimate,
                    _ => unsample(counts, sampling),
                };
                last = Some((counts, sampling, estimate));
                *total = total.plus(estimate);
            }
        }
        totals
    }

    /// The levels of a set of stacks with the sampling variance of each move.
    pub fn series<'a>(&'a self, stacks: impl Iterator<Item = &'a StackSeries> + Clone) -> Series {
        let levels: Vec<f64> = self.totals(stacks.clone()).iter().map(|e| e.bytes).collect();
        let mut moves = vec![0.0; levels.len().saturating_sub(1)];
        let (mut weighted, mut weight) = (0.0, 0.0);
        for stack in stacks {
            for (i, spread) in moves.iter_mut().enumerate() {
                let delta = self.delta(stack, i, i + 1);
                *spread += delta.variance_low;
                let per_sample = per_sample_variance(&self.estimate(stack, i + 1));
                weighted += per_sample * delta.samples.abs();
                weight += delta.samples.abs();
            }
        }
        let one_sample = if weight > 0.0 { weighted / weight } else { 0.0 };
        Series::sampled(levels, &moves, one_sample)
    }

    /// First to last change of a set of stacks. Its variance follows the moves seen from dump to dump: exact for
    /// objects that stay, between the bounds where some come and go.
    pub fn growth<'a>(&'a self, stacks: impl Iterator<Item = &'a StackSeries>) -> Delta {
        let Some(last) = self.dumps().checked_sub(1) else { return Delta::default() };
        stacks
            .map(|stack| {
                let mut delta = self.delta(stack, 0, last);
                if stack.accumulated.is_empty() {
                    let path: f64 = (0..last).map(|i| self.delta(stack, i, i + 1).variance_low).sum();
                    delta.variance = path.clamp(delta.variance_low, delta.variance_high.max(delta.variance_low));
                }
                delta
            })
            .sum()
    }

    /// Share of the objects allocated between the first and the last dump that are still live at the last one; `None`
    /// without accumulated counts or allocations.
    pub fn survival<'a>(&'a self, stacks: impl Iterator<Item = &'a StackSeries>) -> Option<f64> {
        let last = self.dumps().checked_sub(1)?;
        if !self.accumulated {
            return None;
        }
        let (mut born, mut grown) = (0.0, 0.0);
        for stack in stacks {
            let ever = |dump: usize| unsample(stack.accumulated[dump], self.sampling[dump]).objects;
            born += (ever(last) - ever(0)).max(0.0);
            grown += self.estimate(stack, last).objects - self.estimate(stack, 0).objects;
        }
        (born > 0.0).then(|| (grown / born).clamp(0.0, 1.0))
    }
}

/// f² of one sampled object: what one more or one fewer of them adds to the variance of the bytes.
fn per_sample_variance(estimate: &Estimated) -> f64 {
    if estimate.samples > 0.0 { estimate.variance / estimate.samples } else { 0.0 }
}
