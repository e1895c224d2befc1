//! Growth over many snapshots: how fast, per what, and of which shape.
//!
//! Objects that survive stay sampled, so the error of a growing stack is a random walk: its *increments* are
//! independent, its levels are not. Models are therefore fitted to increments. A stack that churns is the other
//! case: its levels have independent errors and its increments a lag-1 correlation near -0.5; where that is seen,
//! the late slope is tested on levels.
//!
//! A *regressor* is what growth is measured against: time, or a workload counter. Shapes:
//!
//! ```text
//! linear   accelerating   step/one-time   plateau        sawtooth      undetermined: grows, and no shape
//!      /          |           .-----        .----         /| /|        is better supported than another
//!    /          _/          __|            /             / |/ |
//! ```
//!
//! Rules and thresholds were scored on labelled captures and by simulation; each constant names its reason.

use crate::analysis::estimate::{Interval, Z95};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// A saturating fit wins over a straight line only with this AICc advantage: about 20 to 1 (Burnham & Anderson 2002).
pub const AICC_DECISIVE: f64 = 6.0;
/// The same where a second sign (a halved rate) points the same way.
pub const AICC_SUGGESTIVE: f64 = 2.0;
/// "Halved": a pool that fills with a time constant of half the window has a late/early ratio near 0.3, a leak 1.
pub const HALVED: f64 = 0.5;
/// Time constant, as a share of the window, of the pool that a leak is told from. One that fills more slowly cannot be told
/// from a leak at any sample size (a time constant of one window: 83 to 92 % called linear in simulation).
const POOL_TAU: f64 = 0.5;
/// What such a pool has slowed to in the last third of the window, of its rate in the first: `e^(-4/3)`.
pub const POOL_SLOWED: f64 = 0.26;
/// Lag-1 correlation of increments below which a series is turnover (pure turnover -0.5, pure accumulation 0).
pub const TURNOVER: f64 = -0.25;
/// Share of the rise that must fall into at most two adjacent intervals to be called one step.
pub const STEP_SHARE: f64 = 0.8;
/// A step takes at most one of so many parts of the window, or one interval: a cache that fills in two of five intervals
/// is no single event.
const STEP_WINDOW: usize = 3;
/// Intervals after a step that must be quiet.
pub const STEP_QUIET: usize = 2;
/// A fall of this share of the range makes a sawtooth.
pub const DRAWDOWN: f64 = 0.5;
/// An interval in which the regressor moved by less than this share of its mean move is idle.
const IDLE: f64 = 0.1;
/// Error of a level from dump and counter not being of the same instant, as a share of the maximum.
const INSTANT: f64 = 0.01;
/// Intervals needed before a shape is told at all.
pub const LEAST_INTERVALS: usize = 5;

/// Intervals from which a course speaks for itself: its thirds have two intervals each, and one to spare. The call rests on
/// fewer only where something else agrees.
pub const MANY_INTERVALS: usize = 7;

/// Name of the regressor that is time.
pub const TIME: &str = "second";

/// A series of levels with the sampling variance of each increment.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Levels in bytes, one per snapshot.
    pub levels: Vec<f64>,
    /// Variance of each increment (one fewer than levels), in bytes².
    pub variances: Vec<f64>,
}

impl Series {
    /// Levels known exactly but for the moment they were taken at: exact counters, ledger rows. `noise` is the
    /// standard error of a level in bytes.
    pub fn measured(levels: Vec<f64>, noise: f64) -> Self {
        let floor = 2.0 * (noise * noise + (INSTANT * peak(&levels)).powi(2));
        let variances = vec![floor; levels.len().saturating_sub(1)];
        Series { levels, variances }
    }

    /// Levels estimated from samples. `moves` is the sum over stacks of f²·|Δk| of each interval, `one_sample` f² of
    /// one sample. Raw moves would give the smallest increments the largest weight and bend every fit towards
    /// saturation: they are drawn half-way to their mean.
    pub fn sampled(levels: Vec<f64>, moves: &[f64], one_sample: f64) -> Self {
        let mean = moves.iter().sum::<f64>() / moves.len().max(1) as f64;
        let instant = (INSTANT * peak(&levels)).powi(2);
        let variances = moves.iter().map(|&m| 0.5 * m + 0.5 * mean + one_sample + instant).collect();
        Series { levels, variances }
    }

    /// Changes from one snapshot to the next.
    pub fn increments(&self) -> Vec<f64> {
        self.levels.windows(2).map(|w| w[1] - w[0]).collect()
    }

    /// Last minus first level.
    pub fn growth(&self) -> f64 {
        match (self.levels.first(), self.levels.last()) {
            (Some(first), Some(last)) => last - first,
            _ => 0.0,
        }
    }

    /// Highest minus lowest level.
    pub fn range(&self) -> f64 {
        let low = self.levels.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if high >= low { high - low } else { 0.0 }
    }
}

fn peak(levels: &[f64]) -> f64 {
    levels.iter().fold(0.0, |most, level| level.abs().max(most))
}

/// What growth is measured against.
#[derive(Clone, Debug, PartialEq)]
pub struct Regressor {
    /// `second`, or the counter's name.
    pub name: String,
    /// Its value at each snapshot; never falls.
    pub values: Vec<f64>,
}

impl Regressor {
    fn steps(&self) -> Vec<f64> {
        self.values.windows(2).map(|w| w[1] - w[0]).collect()
    }

    /// Whether anything moved at all.
    pub fn moves(&self) -> bool {
        self.values.last() > self.values.first()
    }
}

/// How growth goes with one regressor.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// The regressor's name.
    pub per: String,
    /// Bytes per unit over the whole window (growth over exposure), with its 95 % interval.
    pub rate: Interval,
    /// Robust slope of the levels (Theil-Sen) with its 95 % interval (Sen 1968).
    pub robust: Interval,
    /// Share of the variance of the levels that a straight line explains.
    pub r2: f64,
    /// Intervals in which the regressor moved: an idle one shows nothing of growth per unit.
    pub active: usize,
    /// Whether the last interval is idle: the work ended before the window did.
    pub ends_idle: bool,
    /// Rate over the first third of the intervals (three at least).
    pub early: Interval,
    /// Rate over the last third.
    pub late: Interval,
    /// AICc of the straight line through the origin of increments; smaller is better.
    pub aicc_linear: f64,
    /// AICc of `1 - exp(-x/tau)`.
    pub aicc_saturating: f64,
    /// Its `tau` as a share of the window.
    pub tau: f64,
    /// By how much the straight line fits better than a pool that fills with a time constant of half the window:
    /// difference of chi², divided by the over-dispersion. Both have one parameter, so it is twice the logarithm of
    /// their likelihood ratio.
    pub pool_margin: f64,
    /// AICc with a rate that grows linearly.
    pub aicc_accelerating: f64,
    /// Growth of the rate over the window, in rates; above 0 is acceleration.
    pub acceleration: f64,
    /// Over-dispersion: chi² per degree of freedom of the best model, at least 1; every interval here is widened by its root.
    pub dispersion: f64,
}

impl Trend {
    /// The rate of the last third is above zero.
    pub fn still_grows(&self) -> bool {
        self.late.low > 0.0
    }

    /// The rate has fallen to less than half, beyond the noise.
    pub fn halved(&self) -> bool {
        self.late.high < HALVED * self.early.low
    }

    /// The rate of the last third against the first.
    pub fn late_over_early(&self) -> f64 {
        if self.early.estimate > 0.0 { self.late.estimate / self.early.estimate } else { f64::INFINITY }
    }

    /// It stopped, or slowed at least as much as a pool does that fills within half of the window. Growth that slowed
    /// less and goes on may be a leak whose work slows down.
    pub fn levels_off(&self) -> bool {
        !self.still_grows() || self.late_over_early() <= POOL_SLOWED
    }

    /// The fit prefers saturation beyond doubt.
    pub fn saturates(&self) -> bool {
        self.aicc_saturating + AICC_DECISIVE < self.aicc_linear && self.late_over_early() < HALVED
    }
}

/// Fits one regressor; `None` with fewer than three snapshots or a regressor that stands still.
pub fn fit(series: &Series, regressor: &Regressor) -> Option<Trend> {
    let (dy, dx) = (series.increments(), regressor.steps());
    let n = dy.len();
    if n < 2 || dx.len() != n || !regressor.moves() {
        return None;
    }
    let exposure: f64 = dx.iter().sum();
    let variances: Vec<f64> = series.variances.iter().map(|v| v.max(1.0)).collect();
    let linear = Fit::of(&dy, &variances, std::slice::from_ref(&dx));
    let (saturating, tau) = best_saturating(&dy, &variances, &regressor.values);
    let pool = Fit::of(&dy, &variances, &[filling(&regressor.values, POOL_TAU)]);
    let first = regressor.values[0];
    let squares: Vec<f64> =
        regressor.values.windows(2).map(|w| ((w[1] - first) / exposure).powi(2) - ((w[0] - first) / exposure).powi(2)).collect();
    let accelerating = Fit::of(&dy, &variances, &[dx.clone(), squares]);
    // The smallest chi² per degree of freedom among the models: what no shape explains is over-dispersion.
    let dispersion = [(linear.chi2, n as f64 - 1.0), (saturating.chi2, n as f64 - 2.0), (accelerating.chi2, n as f64 - 2.0)]
        .into_iter()
        .filter(|&(_, freedom)| freedom > 0.0)
        .map(|(chi2, freedom)| chi2 / freedom)
        .fold(f64::INFINITY, f64::min)
        .max(1.0);
    let dispersion = if dispersion.is_finite() { dispersion } else { 1.0 };
    let rate_over = |range: std::ops::Range<usize>| {
        let span: f64 = dx[range.clone()].iter().sum();
        let sum: f64 = dy[range.clone()].iter().sum();
        let se = (variances[range].iter().sum::<f64>() * dispersion).sqrt();
        if span > 0.0 { Interval::symmetric(sum / span, Z95 * se / span) } else { Interval::symmetric(0.0, f64::INFINITY) }
    };
    let third = (n / 3).max(3).min(n);
    let idle = IDLE * exposure / n as f64;
    let robust = theil_sen(&regressor.values, &series.levels);
    Some(Trend {
        per: regressor.name.clone(),
        rate: rate_over(0..n),
        robust,
        r2: r_squared(&regressor.values, &series.levels),
        active: dx.iter().filter(|&&d| d > idle).count(),
        ends_idle: dx[n - 1] <= idle,
        early: rate_over(0..third),
        late: rate_over(n - third..n),
        aicc_linear: linear.aicc(1, n, dispersion),
        aicc_saturating: saturating.aicc(2, n, dispersion),
        tau,
        pool_margin: (pool.chi2 - linear.chi2) / dispersion,
        aicc_accelerating: accelerating.aicc(2, n, dispersion),
        acceleration: match accelerating.coefficients.as_slice() {
            [rate, extra] if rate.abs() * exposure > 0.0 => 2.0 * extra / (rate.abs() * exposure),
            _ => 0.0,
        },
        dispersion,
    })
}

/// A weighted least-squares fit without intercept.
struct Fit {
    chi2: f64,
    coefficients: Vec<f64>,
}

impl Fit {
    /// One or two columns, solved by the normal equations.
    fn of(dy: &[f64], variances: &[f64], columns: &[Vec<f64>]) -> Fit {
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).zip(variances).map(|((a, b), v)| a * b / v).sum() };
        let coefficients = match columns {
            [x] => {
                let xx = dot(x, x);
                vec![if xx > 0.0 { dot(x, dy) / xx } else { 0.0 }]
            }
            [x, y] => {
                let (xx, xy, yy, xd, yd) = (dot(x, x), dot(x, y), dot(y, y), dot(x, dy), dot(y, dy));
                let determinant = xx * yy - xy * xy;
                if determinant.abs() > 1e-12 * xx * yy {
                    vec![(xd * yy - yd * xy) / determinant, (yd * xx - xd * xy) / determinant]
                } else {
                    vec![if xx > 0.0 { xd / xx } else { 0.0 }, 0.0]
                }
            }
            _ => Vec::new(),
        };
        let chi2 = (0..dy.len())
            .map(|i| {
                let fitted: f64 = columns.iter().zip(&coefficients).map(|(column, c)| column[i] * c).sum();
                (dy[i] - fitted).powi(2) / variances[i]
            })
            .sum();
        Fit { chi2, coefficients }
    }

    /// Akaike's criterion with the small-sample correction, the deviance divided by the over-dispersion (QAICc).
    fn aicc(&self, parameters: usize, n: usize, dispersion: f64) -> f64 {
        let (k, n) = (parameters as f64, n as f64);
        let correction = if n - k - 1.0 > 0.0 { 2.0 * k * (k + 1.0) / (n - k - 1.0) } else { f64::INFINITY };
        self.chi2 / dispersion + 2.0 * k + correction
    }
}

/// `y = A (1 - exp(-x/tau))`, `tau` searched over 0.03 to 3 windows on a logarithmic grid.
fn best_saturating(dy: &[f64], variances: &[f64], x: &[f64]) -> (Fit, f64) {
    let mut best: Option<(Fit, f64)> = None;
    for step in 0..=40 {
        let tau = 0.03 * 100f64.powf(f64::from(step) / 40.0);
        let fit = Fit::of(dy, variances, &[filling(x, tau)]);
        if best.as_ref().is_none_or(|(other, _)| fit.chi2 < other.chi2) {
            best = Some((fit, tau));
        }
    }
    best.unwrap_or((Fit { chi2: f64::INFINITY, coefficients: Vec::new() }, 0.0))
}

/// Increments of `1 - exp(-x/tau)`, `tau` as a share of the window.
fn filling(x: &[f64], tau: f64) -> Vec<f64> {
    let (first, span) = (x[0], tau * (x[x.len() - 1] - x[0]));
    x.windows(2).map(|w| (-(w[0] - first) / span).exp() - (-(w[1] - first) / span).exp()).collect()
}

/// Squared correlation of levels and regressor.
fn r_squared(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (&a, &b) in x.iter().zip(y) {
        xx += (a - mx) * (a - mx);
        yy += (b - my) * (b - my);
        xy += (a - mx) * (b - my);
    }
    if xx > 0.0 && yy > 0.0 { (xy * xy / (xx * yy)).min(1.0) } else { 0.0 }
}

/// Most points of a series that the quadratic tests look at; longer ones are thinned evenly, and their intervals are those of
/// so many points (500 have an eighth of a million pairs).
const MOST_POINTS: usize = 500;

fn thinned<'a>(values: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    let n = values.len();
    let kept = n.min(MOST_POINTS);
    (0..kept).map(move |i| values[if kept < 2 { 0 } else { i * (n - 1) / (kept - 1) }])
}

/// Median of all pairwise slopes, with Sen's 95 % interval.
pub fn theil_sen(x: &[f64], y: &[f64]) -> Interval {
    let (x, y): (Vec<f64>, Vec<f64>) = (thinned(x).collect(), thinned(y).collect());
    let n = x.len();
    let mut slopes = Vec::with_capacity(n * n / 2);
    for i in 0..n {
        for j in i + 1..n {
            if x[j] > x[i] {
                slopes.push((y[j] - y[i]) / (x[j] - x[i]));
            }
        }
    }
    if slopes.is_empty() {
        return Interval::default();
    }
    // Sorted, not selected: the slopes from one point on are runs in order, of which this sort makes use (selecting four ranks
    // took three times as long).
    slopes.sort_by(f64::total_cmp);
    let m = slopes.len();
    let median = if m % 2 == 1 { slopes[m / 2] } else { (slopes[m / 2 - 1] + slopes[m / 2]) / 2.0 };
    let nf = n as f64;
    let c = Z95 * (nf * (nf - 1.0) * (2.0 * nf + 5.0) / 18.0).sqrt();
    let low = (((m as f64 - c) / 2.0).floor().max(0.0)) as usize;
    let high = (((m as f64 + c) / 2.0).ceil() as usize).min(m - 1);
    Interval { estimate: median, low: slopes[low.min(m - 1)], high: slopes[high] }
}

/// One-sided p-value of an upward trend (Mann 1945, Kendall 1970): exact without ties up to 30 points, else the
/// normal approximation with the correction for ties.
pub fn mann_kendall(values: &[f64]) -> f64 {
    let values: Vec<f64> = thinned(values).collect();
    let n = values.len();
    if n < 3 {
        return 1.0;
    }
    let mut s = 0i64;
    for i in 0..n {
        for j in i + 1..n {
            s += i64::from(values[j] > values[i]) - i64::from(values[j] < values[i]);
        }
    }
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let ties: Vec<f64> = sorted.chunk_by(|a, b| a == b).map(|run| run.len() as f64).collect();
    if n <= 30 && ties.iter().all(|&t| t < 2.0) {
        return exact_kendall_tail(n, s);
    }
    let nf = n as f64;
    let tied: f64 = ties.iter().map(|t| t * (t - 1.0) * (2.0 * t + 5.0)).sum();
    let variance = (nf * (nf - 1.0) * (2.0 * nf + 5.0) - tied) / 18.0;
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (s as f64 - s.signum() as f64) / variance.sqrt();
    Normal::standard().sf(z)
}

/// P(S >= s) over all orders: the number of permutations by inversions, added up one element at a time.
fn exact_kendall_tail(n: usize, s: i64) -> f64 {
    let mut counts = vec![1.0f64];
    for size in 2..=n {
        let mut next = vec![0.0; counts.len() + size - 1];
        for (inversions, count) in counts.iter().enumerate() {
            for extra in 0..size {
                next[inversions + extra] += count / size as f64;
            }
        }
        counts = next;
    }
    let pairs = (n * (n - 1) / 2) as i64;
    counts.iter().enumerate().filter(|&(inversions, _)| pairs - 2 * inversions as i64 >= s).map(|(_, share)| share).sum()
}

/// Lag-1 correlation of the increments.
pub fn lag1(increments: &[f64]) -> f64 {
    let n = increments.len();
    if n < 4 {
        return 0.0;
    }
    let mean = increments.iter().sum::<f64>() / n as f64;
    let variance: f64 = increments.iter().map(|d| (d - mean).powi(2)).sum();
    let covariance: f64 = increments.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

/// Whether the last half of the levels rises, by ordinary least squares and Student's t at 95 %: for churning series,
/// whose levels have independent errors.
pub fn late_levels_rise(x: &[f64], levels: &[f64]) -> bool {
    let n = levels.len();
    let half = (n / 2).max(4).min(n);
    let (x, y) = (&x[n - half..], &levels[n - half..]);
    if half < 4 {
        return false;
    }
    let nf = half as f64;
    let (mx, my) = (x.iter().sum::<f64>() / nf, y.iter().sum::<f64>() / nf);
    let sxx: f64 = x.iter().map(|a| (a - mx).powi(2)).sum();
    if sxx <= 0.0 {
        return false;
    }
    let slope = x.iter().zip(y).map(|(a, b)| (a - mx) * (b - my)).sum::<f64>() / sxx;
    let residual: f64 = x.iter().zip(y).map(|(a, b)| (b - my - slope * (a - mx)).powi(2)).sum();
    let se = (residual / (nf - 2.0) / sxx).sqrt();
    StudentsT::new(0.0, 1.0, nf - 2.0).is_ok_and(|t| slope > t.inverse_cdf(0.95) * se && slope > 0.0)
}

/// The course of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// In step with its regressor, to the end.
    Linear,
    /// Faster and faster.
    Accelerating,
    /// Once, then quiet; the number is the snapshot after the step.
    Step(usize),
    /// Slowed down or stopped; the number is the snapshot from which it is flat.
    Plateau(usize),
    /// Comes back down.
    Sawtooth,
    /// Comes down from where it began: of its range, less than half lies above its first level.
    Falling,
    /// Grows in separate jumps, no two alike (bump arenas, doubling tables).
    Jumps,
    /// No growth beyond the noise.
    Flat,
    /// Grows; no shape is better supported than another.
    Undetermined,
}

impl Shape {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Shape::Linear => "linear",
            Shape::Accelerating => "accelerating",
            Shape::Step(_) => "step",
            Shape::Plateau(_) => "plateau",
            Shape::Sawtooth => "sawtooth",
            Shape::Falling => "falling",
            Shape::Jumps => "jumps",
            Shape::Flat => "flat",
            Shape::Undetermined => "undetermined",
        }
    }

    /// Whether growth goes on at the end of the window.
    pub fn is_ongoing(self) -> bool {
        matches!(self, Shape::Linear | Shape::Accelerating)
    }
}

/// Everything the shape was judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// The verdict on the shape.
    pub shape: Shape,
    /// Fits by regressor: time first, then the counters.
    pub trends: Vec<Trend>,
    /// Index into `trends` of the one in which a straight line fits best.
    pub best: Option<usize>,
    /// One-sided p-value of an upward trend.
    pub mann_kendall: f64,
    /// Lag-1 correlation of increments.
    pub lag1: f64,
    /// Intervals in which the series grew.
    pub rises: usize,
    /// All intervals.
    pub intervals: usize,
}

impl Course {
    /// The best-explaining fit.
    pub fn best_trend(&self) -> Option<&Trend> {
        self.best.and_then(|best| self.trends.get(best))
    }

    /// Makes a counter that `wanted` names the best one, if it explains the growth as well as the best does.
    pub fn prefer(&mut self, wanted: impl Fn(&str) -> bool) {
        let Some(best) = self.best_trend() else { return };
        if wanted(&best.per) {
            return;
        }
        let limit = explains(best) + AICC_SUGGESTIVE * best.dispersion;
        let named = |trend: &Trend| trend.per != TIME && wanted(&trend.per) && explains(trend) <= limit;
        if let Some(named) = self.trends.iter().position(named) {
            self.best = Some(named);
        }
    }
}

/// Judges the course of a series against time (first regressor) and counters.
pub fn course(series: &Series, regressors: &[Regressor]) -> Course {
    let increments = series.increments();
    let n = increments.len();
    let trends: Vec<Trend> = regressors.iter().filter_map(|regressor| fit(series, regressor)).collect();
    let best = (0..trends.len()).min_by(|&a, &b| explains(&trends[a]).total_cmp(&explains(&trends[b])).then(a.cmp(&b)));
    let mut course = Course {
        shape: Shape::Undetermined,
        mann_kendall: mann_kendall(&series.levels),
        lag1: lag1(&increments),
        rises: increments.iter().filter(|&&d| d > 0.0).count(),
        intervals: n,
        trends,
        best,
    };
    course.shape = shape(series, regressors, &increments, &course);
    course
}

/// How badly a straight line explains the series, comparable between regressors.
fn explains(trend: &Trend) -> f64 {
    // chi² of the linear fit without the division by each regressor's own dispersion.
    (trend.aicc_linear - 2.0) * trend.dispersion
}

fn shape(series: &Series, regressors: &[Regressor], increments: &[f64], course: &Course) -> Shape {
    let n = increments.len();
    let noise = (series.variances.iter().sum::<f64>() / n.max(1) as f64).sqrt();
    let range = series.range();
    if n == 0 || range <= 3.0 * noise {
        return Shape::Flat;
    }
    if n < LEAST_INTERVALS {
        return Shape::Undetermined;
    }
    if falls_back(series, noise) {
        let top = series.levels.iter().copied().fold(f64::MIN, f64::max);
        let rises_first = top - series.levels[0] >= DRAWDOWN * range;
        return if rises_first { Shape::Sawtooth } else { Shape::Falling };
    }
    if let Some(after) = one_step(increments, noise).filter(|&after| came_quickly(regressors, increments, after)) {
        return Shape::Step(after);
    }
    if jumps(increments, noise, series.growth()) {
        return Shape::Jumps;
    }
    let halved_everywhere = !course.trends.is_empty() && course.trends.iter().all(|t| t.halved());
    let saturates_everywhere = !course.trends.is_empty() && course.trends.iter().all(Trend::saturates);
    let suggests_everywhere =
        course.trends.iter().all(|t| t.aicc_saturating + AICC_SUGGESTIVE < t.aicc_linear && t.late_over_early() < HALVED);
    let grows = course.trends.iter().any(Trend::still_grows)
        || (course.lag1 < TURNOVER && regressors.first().is_some_and(|time| late_levels_rise(&time.values, &series.levels)));
    let levels_off = course.trends.iter().all(Trend::levels_off);
    if (halved_everywhere || saturates_everywhere) && levels_off || (!grows && (suggests_everywhere || flat_tail(series, noise))) {
        return Shape::Plateau(flat_from(series, noise));
    }
    if !grows || halved_everywhere || saturates_everywhere {
        return Shape::Undetermined;
    }
    match course.best_trend() {
        Some(t) if t.aicc_accelerating + AICC_DECISIVE < t.aicc_linear && t.acceleration > 0.0 => Shape::Accelerating,
        _ => Shape::Linear,
    }
}

/// Falls by at least half its range at some point, beyond the noise (1 %).
fn falls_back(series: &Series, noise: f64) -> bool {
    let fall = deepest_fall(&series.levels);
    fall >= DRAWDOWN * series.range() && fall > 2.576 * 2f64.sqrt() * noise
}

fn deepest_fall(levels: &[f64]) -> f64 {
    let (mut top, mut fall) = (f64::NEG_INFINITY, 0.0f64);
    for &level in levels {
        top = top.max(level);
        fall = fall.max(top - level);
    }
    fall
}

/// Whether what makes a series a sawtooth is the fall to its last level alone: a dump taken while the program ends looks the same.
pub fn falls_only_at_the_end(series: &Series) -> bool {
    let but_last = &series.levels[..series.levels.len().saturating_sub(1)];
    deepest_fall(but_last) < DRAWDOWN * series.range()
}

/// Two or more rises beyond the noise, silence before the later ones, and silence in at least half of the intervals.
fn jumps(increments: &[f64], noise: f64, growth: f64) -> bool {
    let quiet = |d: f64| d.abs() <= (0.02 * growth).max(noise);
    let rising = |d: f64| d > 3.0 * noise && !quiet(d);
    let silences = increments.iter().filter(|&&d| quiet(d)).count();
    let bursts = (0..increments.len()).filter(|&i| rising(increments[i]) && (i == 0 || quiet(increments[i - 1]))).count();
    growth > 0.0 && bursts >= 2 && 2 * silences >= increments.len()
}

/// At least 80 % of the rise in one interval, or in two adjacent ones where these are at most a third of the window, and
/// two quiet intervals after.
fn one_step(increments: &[f64], noise: f64) -> Option<usize> {
    let total: f64 = increments.iter().sum();
    let n = increments.len();
    (1..=(n / STEP_WINDOW).clamp(1, 2)).find_map(|width| {
        let (at, rise) =
            (0..=n.checked_sub(width)?).map(|i| (i, increments[i..i + width].iter().sum::<f64>())).max_by(|a, b| a.1.total_cmp(&b.1))?;
        let rest = &increments[at + width..];
        let after: f64 = rest.iter().sum();
        let quiet = rest.len() >= STEP_QUIET && after.abs() < (0.2 * rise).max(2.0 * noise);
        // Growth under way when the window opens, and dying down after it, is the end of a saturation rather than one event.
        let dying_down = at == 0 && after > 2.0 * noise;
        (total > 0.0 && rise >= STEP_SHARE * total && quiet && !dying_down).then_some(at + width)
    })
}

/// Whether the steepest of the intervals that end at a snapshot is no longer than a third of the window in time: over a gap
/// between snapshots anything looks like one event.
fn came_quickly(regressors: &[Regressor], increments: &[f64], after: usize) -> bool {
    let Some(time) = regressors.first().filter(|time| time.name == TIME) else { return true };
    let (Some(first), Some(last)) = (time.values.first(), time.values.last()) else { return true };
    let interval = |at: usize| time.values[at + 1] - time.values[at];
    let steepest = (after.saturating_sub(2)..after).max_by(|&a, &b| increments[a].total_cmp(&increments[b]));
    steepest.is_none_or(|at| interval(at) * STEP_WINDOW as f64 <= last - first)
}

/// The last third of the levels (three at least) stays within 10 % of the range.
fn flat_tail(series: &Series, noise: f64) -> bool {
    let n = series.levels.len();
    let tail = &series.levels[n - (n / 3).max(3).min(n)..];
    let low = tail.iter().copied().fold(f64::INFINITY, f64::min);
    let high = tail.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    high - low <= (0.1 * series.range()).max(2.0 * noise)
}

/// The first snapshot from which the level stays within 10 % of the range of its end.
fn flat_from(series: &Series, noise: f64) -> usize {
    let Some(&end) = series.levels.last() else { return 0 };
    let close = (0.1 * series.range()).max(2.0 * noise);
    series.levels.iter().rposition(|level| (level - end).abs() > close).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::estimate::tests::Lcg;

    fn time(n: usize) -> Vec<Regressor> {
        vec![Regressor { name: "second".into(), values: (0..n).map(|i| 4.0 * i as f64).collect() }]
    }

    /// `expected` samples in all, arriving along `curve` (0 to 1), with optional churn of a standing population.
    fn simulate(random: &mut Lcg, n: usize, samples: f64, curve: impl Fn(f64) -> f64) -> Series {
        let f2 = 131_072f64.powi(2);
        let (mut k, mut levels, mut moves) = (0.0, vec![0.0], Vec::new());
        for i in 1..n {
            let share = curve(i as f64 / (n - 1) as f64) - curve((i - 1) as f64 / (n - 1) as f64);
            let came = random.poisson(samples * share.max(0.0)) as f64;
            k += came;
            moves.push(f2 * came);
            levels.push(k * f2.sqrt());
        }
        Series::sampled(levels, &moves, f2)
    }

    fn share_of(shape_is: impl Fn(Shape) -> bool, samples: f64, curve: impl Fn(f64) -> f64 + Copy) -> f64 {
        let mut random = Lcg(7);
        let runs = 300;
        let hits = (0..runs).filter(|_| shape_is(course(&simulate(&mut random, 10, samples, curve), &time(10)).shape)).count();
        hits as f64 / f64::from(runs)
    }

    #[test]
    fn leaks_are_linear() {
        assert!(share_of(Shape::is_ongoing, 100.0, |x| x) > 0.95);
        assert!(share_of(Shape::is_ongoing, 400.0, |x| x) > 0.98);
    }

    #[test]
    fn filling_pools_are_not() {
        assert!(share_of(Shape::is_ongoing, 400.0, |x| 1.0 - (-x / 0.2).exp()) < 0.02);
        assert!(share_of(Shape::is_ongoing, 400.0, |x| 1.0 - (-x / 0.33).exp()) < 0.05);
        assert!(share_of(|s| matches!(s, Shape::Step(_)), 400.0, |x| if x < 0.35 { 0.0 } else { 1.0 }) > 0.95);
    }

    #[test]
    fn measured_courses_have_their_shapes() {
        let of = |levels: &[f64]| {
            let mib: Vec<f64> = levels.iter().map(|l| l * 1048576.0).collect();
            course(&Series::measured(mib, 65536.0), &time(levels.len())).shape
        };
        assert_eq!(of(&[10.0; 9]), Shape::Flat);
        assert_eq!(of(&[1.0, 11.0, 21.0, 30.0, 41.0, 51.0, 60.0, 71.0, 80.0]), Shape::Linear);
        assert!(matches!(of(&[1.0, 30.0, 55.0, 70.0, 78.0, 80.0, 80.1, 80.0, 80.2]), Shape::Plateau(_)));
        assert_eq!(of(&[1.0, 1.0, 1.1, 60.0, 60.0, 60.1, 60.0, 60.2]), Shape::Step(3));
        assert_eq!(of(&[1.0, 90.0, 2.0, 1.0, 88.0, 3.0, 1.0, 95.0]), Shape::Sawtooth);
        assert_eq!(of(&[80.0, 81.0, 70.0, 60.0, 61.0, 40.0, 30.0, 20.0]), Shape::Falling);
        assert_eq!(of(&[2.0, 18.0, 18.0, 50.0, 50.0, 50.0, 50.0, 114.0, 114.0, 114.0]), Shape::Jumps);
        assert_eq!(of(&[1.0, 2.0, 5.0, 10.0, 18.0, 29.0, 42.0, 58.0, 77.0]), Shape::Accelerating);
    }

    #[test]
    fn a_filling_pool_is_weighed_against_a_leak() {
        // Of a pool with a time constant of half the window, few pass the 5 % point that a leak of as many samples passes.
        let passing = |curve: fn(f64) -> f64| {
            let mut random = Lcg(3);
            let passes = |_: &usize| fit(&simulate(&mut random, 10, 100.0, curve), &time(10)[0]).unwrap().pool_margin >= 2.706;
            (0..300).filter(passes).count()
        };
        assert!(passing(|x| x) > 285, "{}", passing(|x| x));
        assert!(passing(|x| 1.0 - (-x / 0.5).exp()) < 6);
        assert!((POOL_SLOWED - (-4.0f64 / 3.0).exp()).abs() < 0.01);
    }

    #[test]
    fn growth_under_way_at_the_start_is_no_single_event() {
        let of =
            |levels: &[f64]| course(&Series::measured(levels.iter().map(|l| l * 1048576.0).collect(), 65536.0), &time(levels.len())).shape;
        // The tail of a saturation, and a load that was complete at the second snapshot.
        assert!(matches!(of(&[39.0, 48.6, 51.5, 52.2, 52.6, 53.4, 53.5, 53.6, 53.7, 53.8]), Shape::Plateau(_)));
        assert_eq!(of(&[9.0, 48.6, 48.6, 48.6, 48.6, 48.7, 48.6, 48.6, 48.6, 48.6]), Shape::Step(1));
    }

    #[test]
    fn of_counters_that_explain_as_well_the_named_one_is_best() {
        let work: Vec<f64> = (0..9).map(|i| f64::from(i) * 100.0 + f64::from(i % 3)).collect();
        let mut regressors = time(9);
        regressors.push(Regressor { name: "requests".into(), values: work.clone() });
        regressors.push(Regressor { name: "leases".into(), values: work.iter().map(|w| w / 2.0).collect() });
        regressors.push(Regressor { name: "restarts".into(), values: vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0] });
        let mut course = course(&Series::measured(work.iter().map(|w| w * 9000.0).collect(), 1000.0), &regressors);
        assert_eq!(course.best_trend().unwrap().per, "requests");
        course.prefer(|name| name == "restarts");
        assert_eq!(course.best_trend().unwrap().per, "requests", "it explains nothing");
        course.prefer(|name| name == "leases");
        assert_eq!(course.best_trend().unwrap().per, "leases");
    }

    #[test]
    fn a_fall_at_the_end_is_known() {
        let of = |levels: &[f64]| falls_only_at_the_end(&Series::measured(levels.to_vec(), 0.1));
        assert!(of(&[1.0, 20.0, 40.0, 60.0, 80.0, 100.0, 2.0]));
        assert!(!of(&[1.0, 80.0, 2.0, 80.0, 2.0, 80.0, 2.0]), "it fell before");
        assert!(!of(&[1.0, 80.0, 2.0, 80.0, 2.0, 40.0, 80.0]));
    }

    #[test]
    fn the_better_regressor_wins() {
        let counter = vec![0.0, 100.0, 110.0, 400.0, 420.0, 430.0, 900.0, 1000.0];
        let levels: Vec<f64> = counter.iter().map(|c| c * 6500.0).collect();
        let mut regressors = time(8);
        regressors.push(Regressor { name: "documents".into(), values: counter });
        let course = course(&Series::measured(levels, 1000.0), &regressors);
        let best = course.best_trend().unwrap();
        assert_eq!(best.per, "documents");
        assert!((best.rate.estimate - 6500.0).abs() < 1.0 && best.r2 > 0.999);
    }

    #[test]
    fn mann_kendall_is_exact_for_short_series() {
        // All ten in order: one permutation of 10!.
        let rising: Vec<f64> = (0..10).map(f64::from).collect();
        assert!((mann_kendall(&rising) - 1.0 / 3_628_800.0).abs() < 1e-12);
        let falling: Vec<f64> = rising.iter().rev().copied().collect();
        assert!((mann_kendall(&falling) - 1.0).abs() < 1e-12);
        assert_eq!(mann_kendall(&[1.0; 40]), 1.0);
    }

    #[test]
    fn long_series_cost_bounded_work() {
        let n = 5_000;
        let levels: Vec<f64> = (0..n).map(|i| f64::from(i) * 10.0).collect();
        let x: Vec<f64> = (0..n).map(f64::from).collect();
        assert!((theil_sen(&x, &levels).estimate - 10.0).abs() < 1e-9);
        assert!(mann_kendall(&levels) < 1e-6);
    }

    #[test]
    fn degenerate_series_do_not_panic() {
        for levels in [vec![], vec![1.0], vec![1.0, 2.0], vec![f64::MAX, 0.0, f64::MAX]] {
            let n = levels.len();
            let _ = course(&Series::measured(levels, 0.0), &time(n));
        }
    }
}
