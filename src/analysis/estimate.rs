//! Undoing the sampling, and the error of what comes out.
//!
//! jemalloc samples an allocation of usable size `s` with probability `P(s) = 1 - exp(-s/R)`, `R` the
//! sampling interval, independently of all others (`src/prof.c`, `doc_internal/PROFILING_INTERNALS.md`).
//! One stack's line holds `c` objects and `b` bytes, `x = b/c` on average; `p = P(x)`, `q = 1 - p`:
//!
//! ```text
//! objects N = c / p        bytes B = b / p                    (jeprof AdjustSamples, pprof scaleHeapSample)
//! Var(B) = c x² q / p²     standard error of B = x √(c q) / p
//! ```
//!
//! The formula is right for every jemalloc: with `prof_unbias` (5.3.0 and later) the printed numbers are
//! chosen so that it yields the unbiased estimate. It belongs to a stack's line, never to a sum of lines.
//!
//! Intervals are score (Wilson-type) intervals: the usual `B ± 1.96 SE` covers 63 % instead of 95 % when one
//! sample is expected, the score interval 92 %. With `V` the variance and `s` the skewness of the error,
//!
//! ```text
//! low, high = B + SE (z²/2 s ∓ z √(1 + z² s²/4))        SE = √V        s = Σ c x³ q²/p³ / V^1.5
//! ```
//!
//! is the score interval of one stack exactly (there `s = √(q/c)`), and for sums its first-order extension (the
//! scaling of Dobson et al. 1991, Stat. Med. 10, with the skewness of the weighted sum in place of `1/√c`): variances
//! and third moments add, so that a few exact giants beside many tiny objects do not widen it.

use crate::model::heap::{Sampled, Sampling};

/// Two-sided 95 % quantile of the normal distribution.
pub const Z95: f64 = 1.959_963_984_540_054;

/// An estimate of what a program holds, from sampled counts: not a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimated {
    /// Objects.
    pub objects: f64,
    /// Bytes.
    pub bytes: f64,
    /// Variance of `bytes` from sampling, in bytes².
    pub variance: f64,
    /// Third central moment of its error, in bytes³.
    pub third: f64,
    /// Bytes that were sampled themselves: they exist.
    pub seen: f64,
    /// Sampled objects behind it (with `prof_unbias` the printed, transformed count).
    pub samples: f64,
}

impl Estimated {
    /// The sum of two independent estimates (different stacks).
    pub fn plus(self, other: Estimated) -> Estimated {
        Estimated {
            objects: self.objects + other.objects,
            bytes: self.bytes + other.bytes,
            variance: self.variance + other.variance,
            third: self.third + other.third,
            seen: self.seen + other.seen,
            samples: self.samples + other.samples,
        }
    }

    /// Standard error of `bytes`.
    pub fn standard_error(&self) -> f64 {
        self.variance.max(0.0).sqrt()
    }

    /// Mean probability that an object here was sampled; 1 where there is nothing to undo.
    pub fn probability(&self) -> f64 {
        if self.objects > 0.0 { (self.samples / self.objects).clamp(f64::MIN_POSITIVE, 1.0) } else { 1.0 }
    }

    /// The 95 % interval of `bytes`.
    pub fn interval(&self) -> Interval {
        self.interval_at(Z95)
    }

    /// The score interval of `bytes` at `z` standard errors.
    pub fn interval_at(&self, z: f64) -> Interval {
        let interval = score(self.bytes, self.variance, self.third, 0.0, z);
        Interval { low: interval.low.max(self.seen).min(self.bytes), ..interval }
    }
}

/// `estimate` with the score interval of an error of this variance and third moment. Without any new sample both are 0:
/// then up to `z²` samples' worth (`unseen` bytes each) may have come or gone, the score interval of a count of 0.
fn score(estimate: f64, variance: f64, third: f64, unseen: f64, z: f64) -> Interval {
    let se = variance.max(0.0).sqrt();
    if se <= 0.0 {
        return Interval::symmetric(estimate, z * z * unseen);
    }
    let skewness = third / (se * se * se);
    if !skewness.is_finite() {
        return Interval::symmetric(estimate, z * se);
    }
    let shift = z * z / 2.0 * skewness;
    let half = z * (1.0 + z * z * skewness * skewness / 4.0).sqrt();
    Interval { estimate, low: estimate + se * (shift - half), high: estimate + se * (shift + half) }
}

impl std::iter::Sum for Estimated {
    fn sum<I: Iterator<Item = Estimated>>(items: I) -> Estimated {
        items.fold(Estimated::default(), Estimated::plus)
    }
}

/// A value with its 95 % interval, in the unit of the value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    /// The best single value.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// A value known exactly.
    pub fn exact(value: f64) -> Self {
        Interval { estimate: value, low: value, high: value }
    }

    /// `estimate ± half`.
    pub fn symmetric(estimate: f64, half: f64) -> Self {
        Interval { estimate, low: estimate - half, high: estimate + half }
    }

    /// Every end divided by a positive number.
    pub fn per(self, units: f64) -> Self {
        Interval { estimate: self.estimate / units, low: self.low / units, high: self.high / units }
    }

    /// Whether the interval lies on one side of zero.
    pub fn is_significant(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Undoes the sampling of one stack's line. Zero objects are zero bytes, whatever the line says of bytes.
pub fn unsample(counts: Sampled, sampling: Sampling) -> Estimated {
    if counts.objects == 0 {
        return Estimated::default();
    }
    let (c, b) = (counts.objects as f64, counts.bytes as f64);
    let r = sampling.interval();
    if r <= 1.0 || counts.bytes == 0 {
        return Estimated { objects: c, bytes: b, seen: b, samples: c, ..Estimated::default() };
    }
    let x = b / c;
    let p = -(-x / r).exp_m1();
    let q = (-x / r).exp();
    let f = x / p;
    Estimated { objects: c / p, bytes: b / p, variance: c * f * f * q, third: c * f * f * f * q * q, seen: b, samples: c }
}

/// The change of one stack, or of a sum of stacks, between two dumps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Delta {
    /// Change of the estimate in bytes.
    pub bytes: f64,
    /// Change of the estimate in objects.
    pub objects: f64,
    /// Variance of `bytes` if every sampled object of the smaller side survived: right for a pure leak.
    pub variance_low: f64,
    /// Variance of `bytes` if no object survived from the first to the second dump.
    pub variance_high: f64,
    /// The one to use: between the two where accumulated counts tell, else the high one.
    pub variance: f64,
    /// Third central moment of the error of `bytes`, in bytes³: what came less what went.
    pub third: f64,
    /// What one sampled object stands for besides itself, at most, in bytes: `x q / p`.
    pub unseen: f64,
    /// Change of the sampled count.
    pub samples: f64,
}

impl Delta {
    /// The sum over different stacks.
    pub fn plus(self, other: Delta) -> Delta {
        Delta {
            bytes: self.bytes + other.bytes,
            objects: self.objects + other.objects,
            variance_low: self.variance_low + other.variance_low,
            variance_high: self.variance_high + other.variance_high,
            variance: self.variance + other.variance,
            third: self.third + other.third,
            unseen: self.unseen.max(other.unseen),
            samples: self.samples + other.samples,
        }
    }

    /// The 95 % score interval of the change.
    pub fn interval(&self) -> Interval {
        self.interval_with(self.variance)
    }

    /// The same with this variance, which may be better known than `self.variance`.
    pub fn interval_with(&self, variance: f64) -> Interval {
        score(self.bytes, variance, self.third, self.unseen, Z95)
    }
}

impl std::iter::Sum for Delta {
    fn sum<I: Iterator<Item = Delta>>(items: I) -> Delta {
        items.fold(Delta::default(), Delta::plus)
    }
}

/// One side of a [`Delta`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Side {
    /// The line's live counts.
    pub live: Sampled,
    /// The line's accumulated counts; `None` when they were not recorded.
    pub accumulated: Option<Sampled>,
}

/// The change of one stack between two dumps of the same process.
///
/// An object live at both times is sampled in both or in neither and cancels, so only objects that came (`n`
/// sampled) or went (`d`) add variance: `f² (n + d)` with `f = x √q / p`. Without accumulated counts
/// `|k₂-k₁| ≤ n + d ≤ k₁ + k₂`, and the upper bound is used. With them `n + d = min(N, k₂) + min(D, k₁)`,
/// `N` and `D` the sampled births and deaths in between.
pub fn delta_same_process(before: Side, after: Side, sampling: Sampling) -> Delta {
    let (b, a) = (unsample(before.live, sampling), unsample(after.live, sampling));
    let (k1, k2) = (b.samples, a.samples);
    let per_object = |sum: f64, side: &Estimated| if side.samples > 0.0 { sum / side.samples } else { 0.0 };
    let f2 = per_object(a.variance, &a).max(per_object(b.variance, &b));
    let f3 = per_object(a.third, &a).max(per_object(b.third, &b));
    let variance_high = b.variance + a.variance;
    let variance_low = (f2 * (k2 - k1).abs()).min(variance_high);
    let variance = match (before.accumulated, after.accumulated) {
        (Some(ac1), Some(ac2)) => {
            let births = (ac2.objects as f64 - ac1.objects as f64).max(0.0);
            let deaths = (births - (k2 - k1)).max(0.0);
            (f2 * (births.min(k2) + deaths.min(k1))).clamp(variance_low, variance_high)
        }
        _ => variance_high,
    };
    Delta {
        bytes: a.bytes - b.bytes,
        objects: a.objects - b.objects,
        variance_low,
        variance_high,
        variance,
        // However many came and went, their difference is known.
        third: f3 * (k2 - k1),
        unseen: unseen(&b).max(unseen(&a)),
        samples: k2 - k1,
    }
}

/// What one sampled object stands for besides itself: `x q / p`, the third moment per variance.
fn unseen(side: &Estimated) -> f64 {
    if side.variance > 0.0 { side.third / side.variance } else { 0.0 }
}

/// The change of one stack between dumps of different processes, or of one process whose sampling interval
/// changed: independent samples, the variances add.
pub fn delta_independent(before: Estimated, after: Estimated) -> Delta {
    let variance = before.variance + after.variance;
    Delta {
        bytes: after.bytes - before.bytes,
        objects: after.objects - before.objects,
        variance_low: variance,
        variance_high: variance,
        variance,
        third: after.third - before.third,
        unseen: unseen(&before).max(unseen(&after)),
        samples: after.samples - before.samples,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::units::Bytes;

    fn every(interval: u64) -> Sampling {
        Sampling::Interval(Bytes::new(interval))
    }

    fn counts(objects: u64, bytes: u64) -> Sampled {
        Sampled { objects, bytes }
    }

    #[test]
    fn small_objects_count_for_the_interval() {
        // x << R: every sample stands for R bytes.
        let e = unsample(counts(10, 320), every(524_288));
        assert!((e.bytes - 10.0 * 524_288.0).abs() / e.bytes < 1e-3);
        assert!((e.standard_error() / e.bytes - 1.0 / 10f64.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn exact_profiles_are_not_touched() {
        let e = unsample(counts(4, 1_310_720), Sampling::Exact);
        assert_eq!((e.objects, e.bytes, e.variance), (4.0, 1_310_720.0, 0.0));
        assert_eq!(unsample(counts(0, 99), every(1024)), Estimated::default());
        assert_eq!(unsample(counts(5, 0), every(1024)).objects, 5.0);
    }

    #[test]
    fn large_objects_are_nearly_exact() {
        let i = unsample(counts(3, 3 << 24), every(1 << 19)).interval();
        assert!(i.high / i.low < 1.000_01);
    }

    #[test]
    fn extreme_inputs_stay_finite() {
        for (c, b) in [(u64::MAX, u64::MAX), (1, u64::MAX), (u64::MAX, 1), (1, 1)] {
            for r in [1, 2, 1 << 19, 1 << 63] {
                let e = unsample(counts(c, b), every(r));
                let i = e.interval();
                assert!(e.bytes.is_finite() && e.variance >= 0.0 && i.low <= i.high, "{c} {b} {r} {e:?} {i:?}");
            }
        }
    }

    #[test]
    fn survivors_cancel_in_one_process() {
        let side = |objects| Side { live: counts(objects, objects * 1024), accumulated: None };
        let grown = delta_same_process(side(100), side(120), every(1 << 17));
        assert!(grown.variance_low < grown.variance_high);
        assert_eq!(grown.variance, grown.variance_high);
        let with = |objects| Side { live: counts(objects, objects * 1024), accumulated: Some(counts(objects, objects * 1024)) };
        let pure = delta_same_process(with(100), with(120), every(1 << 17));
        assert!((pure.variance - pure.variance_low).abs() < 1e-6 * pure.variance_low);
    }

    /// Coverage by simulation: the share of runs whose 95 % interval holds the truth (93-97 % wanted; the score
    /// interval of a small integer count cannot be closer at every expectation).
    #[test]
    fn intervals_cover_the_truth() {
        let mut random = Lcg(42);
        for (objects, size, interval) in
            [(40_000u64, 64u64, 1u64 << 17), (1_500, 4096, 1 << 17), (300, 65_536, 1 << 17), (20_000, 1024, 1 << 19)]
        {
            let p = -(-(size as f64) / interval as f64).exp_m1();
            let runs = 2000;
            let mut covered = 0;
            for _ in 0..runs {
                let sampled = random.binomial(objects, p);
                let i = unsample(counts(sampled, sampled * size), every(interval)).interval();
                let truth = (objects * size) as f64;
                covered += u32::from(i.low <= truth && truth <= i.high);
            }
            let share = f64::from(covered) / f64::from(runs);
            assert!((0.93..=0.975).contains(&share), "{objects} x {size}: {share}");
        }
    }

    /// Sums over stacks of very different sizes: a few giants that are counted exactly beside many tiny objects.
    #[test]
    fn intervals_of_sums_cover_the_truth() {
        let sampling = every(1 << 19);
        let mixes: [&[(u64, u64)]; 4] = [
            &[(10, 16 << 20), (600_000, 16)],
            &[(40, 1 << 20), (30_000, 1024), (200_000, 64)],
            &[(3_000, 4096), (3_000, 65_536), (100_000, 48)],
            &[(2_000, 512), (2_000, 2048), (2_000, 8192)],
        ];
        let mut random = Lcg(11);
        for mix in mixes {
            let truth: f64 = mix.iter().map(|(n, size)| (n * size) as f64).sum();
            let (runs, mut covered, mut width) = (1500, 0, 0.0);
            for _ in 0..runs {
                let sum: Estimated = mix
                    .iter()
                    .map(|&(n, size)| {
                        let k = random.binomial(n, -(-(size as f64) / sampling.interval()).exp_m1());
                        unsample(counts(k, k * size), sampling)
                    })
                    .sum();
                let i = sum.interval();
                covered += u32::from(i.low <= truth && truth <= i.high);
                width += (i.high - i.low) / (2.0 * Z95 * sum.standard_error()) / f64::from(runs);
            }
            let share = f64::from(covered) / f64::from(runs);
            assert!((0.93..=0.972).contains(&share), "{mix:?}: {share}");
            assert!((0.99..1.1).contains(&width), "{mix:?}: as wide as its standard error says, {width}");
        }
    }

    /// Changes between two dumps of one process, by the plan of each case: survivors, births, deaths, size.
    #[test]
    fn intervals_of_changes_cover_the_truth() {
        let mut random = Lcg(5);
        let cases = [
            (20_000u64, 15_000u64, 5_000u64, 1024u64, true),
            (40_000, 30_000, 0, 64, true),
            (5_000, 2_000, 0, 4096, false),
            (0, 400, 0, 65_536, false),
        ];
        for (before, births, deaths, size, accumulated) in cases {
            let sampling = every(1 << 17);
            let p = -(-(size as f64) / sampling.interval()).exp_m1();
            let truth = (births as f64 - deaths as f64) * size as f64;
            let (runs, mut covered) = (2000, 0);
            for _ in 0..runs {
                let old = random.binomial(before - deaths.min(before), p);
                let (dead, new) = (random.binomial(deaths, p), random.binomial(births, p));
                let ever = |k: u64| accumulated.then(|| counts(k, k * size));
                let first = Side { live: counts(old + dead, (old + dead) * size), accumulated: ever(old + dead) };
                let last = Side { live: counts(old + new, (old + new) * size), accumulated: ever(old + dead + new) };
                let delta = delta_same_process(first, last, sampling);
                // A leak of immortal objects: only what came adds noise.
                let i = delta.interval_with(if deaths == 0 { delta.variance_low } else { delta.variance });
                covered += u32::from(i.low <= truth && truth <= i.high);
            }
            let share = f64::from(covered) / f64::from(runs);
            assert!((0.93..=0.972).contains(&share), "{before} +{births} -{deaths} of {size}: {share}");
        }
    }

    /// The same on real dumps of a program whose growth is known (fixtures/known/README.md).
    #[test]
    fn intervals_hold_on_real_dumps() {
        let plan = [(64u64, 40_000u64, 20_000u64), (4096, 4_000, 200), (1024, 6_000, 2_500), (196_608, 20, 12), (32, 20_000, 8_000)];
        let mut printed = std::collections::BTreeMap::new();
        for line in include_str!("../../fixtures/known/dumps.tsv").lines().skip(1) {
            let fields: Vec<u64> = line.split('\t').map(|field| field.parse().unwrap()).collect();
            printed.insert((fields[0], fields[2], fields[1]), counts(fields[3], fields[4]));
        }
        assert_eq!(printed.len(), 60 * 5 * 4);
        let sampling = every(1 << 17);
        let (mut levels, mut steps, mut growths, mut churn) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (&(run, size, dump), &live) in &printed {
            let (_, first, more) = plan.into_iter().find(|(planned, ..)| *planned == size).unwrap();
            let holds = |i: Interval, truth: u64| i.low <= truth as f64 && truth as f64 <= i.high;
            levels.push(holds(unsample(live, sampling).interval(), (first + dump * more) * size));
            let since = |before: u64| {
                let side = |live| Side { live, accumulated: None };
                delta_same_process(side(printed[&(run, size, before)]), side(live), sampling)
            };
            // Objects of 4096 bytes also come and go, and these dumps have no accumulated counts that would tell how many.
            if size == 4096 && dump > 0 {
                churn.push(holds(since(dump - 1).interval(), more * size));
            } else if dump > 0 {
                let delta = since(dump - 1);
                steps.push(holds(delta.interval_with(delta.variance_low), more * size));
            }
            if dump == 3 && size != 4096 {
                let delta = since(0);
                growths.push(holds(delta.interval_with(delta.variance_low), 3 * more * size));
            }
        }
        let share = |held: &[bool]| held.iter().filter(|&&held| held).count() as f64 / held.len() as f64;
        for (what, held) in [("levels", levels), ("growth from dump to dump", steps), ("growth from end to end", growths)] {
            let share = share(&held);
            assert!((0.93..=0.97).contains(&share), "{what}: {share}");
        }
        // The bound for churn that is not counted is wider than need be, never narrower.
        assert!(share(&churn) >= 0.95, "churn: {}", share(&churn));
    }

    /// A small generator: the tests need repeatable noise, not quality.
    pub(crate) struct Lcg(pub u64);

    impl Lcg {
        pub(crate) fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        }

        pub(crate) fn normal(&mut self) -> f64 {
            (-2.0 * self.uniform().ln()).sqrt() * (2.0 * std::f64::consts::PI * self.uniform()).cos()
        }

        /// Poisson by inversion, normal for large means.
        pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
            if mean > 400.0 {
                return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
            }
            let (limit, mut product, mut k) = ((-mean).exp(), self.uniform(), 0);
            while product > limit {
                product *= self.uniform();
                k += 1;
            }
            k
        }

        /// Binomial: exact for few trials, else by its Poisson or normal limit.
        pub(crate) fn binomial(&mut self, n: u64, p: f64) -> u64 {
            if n <= 2000 {
                return (0..n).filter(|_| self.uniform() < p).count() as u64;
            }
            let mean = n as f64 * p;
            if p < 0.05 {
                self.poisson(mean)
            } else {
                (mean + (mean * (1.0 - p)).sqrt() * self.normal()).round().clamp(0.0, n as f64) as u64
            }
        }
    }
}
