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
//! sample is expected, the score interval 92 %.

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

    /// The score interval of `bytes` at `z` standard errors. A sum over stacks is treated as one stack with
    /// its mean size and probability, widened to the summed variance where that is larger.
    pub fn interval_at(&self, z: f64) -> Interval {
        if self.samples <= 0.0 || self.objects <= 0.0 {
            return Interval::exact(self.bytes);
        }
        let (k, p) = (self.samples, self.probability());
        let q = 1.0 - p;
        let size = self.bytes / self.objects;
        let half = z * q.sqrt() * (k + z * z * q / 4.0).sqrt();
        let center = k + z * z * q / 2.0;
        // What was sampled exists: at least k objects of the mean size.
        let low = ((center - half) / p).max(k) * size;
        let high = (center + half) / p * size;
        // Mixed sizes: the variance of the sum may exceed that of one stack of the mean size.
        let single = size * (k * q).sqrt() / p;
        let widen = if single > 0.0 { (self.standard_error() / single).max(1.0) } else { 1.0 };
        Interval {
            estimate: self.bytes,
            low: (self.bytes - (self.bytes - low) * widen).clamp(0.0, self.bytes.max(0.0)),
            high: self.bytes + (high - self.bytes).max(0.0) * widen,
        }
    }
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
        return Estimated { objects: c, bytes: b, variance: 0.0, samples: c };
    }
    let x = b / c;
    let p = -(-x / r).exp_m1();
    let q = (-x / r).exp();
    Estimated { objects: c / p, bytes: b / p, variance: c * x * x * q / (p * p), samples: c }
}

/// What may hide behind no sample at all: with 95 % confidence no more than this many bytes are there
/// (`R ln 20`: the chance of missing every byte of it is 5 %).
pub fn unseen_at_most(sampling: Sampling) -> f64 {
    match sampling {
        Sampling::Exact => 0.0,
        Sampling::Interval(_) => sampling.interval() * 20f64.ln(),
    }
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
            samples: self.samples + other.samples,
        }
    }

    /// The 95 % interval of the change.
    pub fn interval(&self) -> Interval {
        Interval::symmetric(self.bytes, Z95 * self.variance.max(0.0).sqrt())
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
    let per_object = |side: &Estimated| if side.samples > 0.0 { side.variance / side.samples } else { 0.0 };
    let f2 = per_object(&a).max(per_object(&b));
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
    Delta { bytes: a.bytes - b.bytes, objects: a.objects - b.objects, variance_low, variance_high, variance, samples: k2 - k1 }
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
