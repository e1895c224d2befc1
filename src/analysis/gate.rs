//! Gates of `check`: whether what was found is within the limits that a build was given.
//!
//! Significance-aware: growth and rates are compared by their *lower* bound, so that noise never fails a build. A
//! gate that could not be judged says so; it neither passes nor fails.

use crate::analysis::detect::path::Path;
use crate::analysis::estimate::Interval;
use crate::analysis::finding::{Confidence, Suspect};
use crate::analysis::triage::singular;
use crate::units::{iec, signed_iec};

/// What a build allows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Bytes of live growth, first to last snapshot, of all suspects together.
    pub growth: Option<f64>,
    /// Bytes per unit of a counter or of time, of all suspects together.
    pub rates: Vec<RateLimit>,
    /// Bytes of RSS in any snapshot.
    pub rss: Option<f64>,
    /// Suspects that are known and do not count.
    pub baseline: Option<Baseline>,
}

/// So many bytes per unit.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Bytes.
    pub bytes: f64,
    /// A counter's column name, or `second`, `minute`, `hour`.
    pub per: String,
}

/// Suspects that were accepted earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// In order of the file.
    pub known: Vec<Known>,
}

/// One accepted suspect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its owner's path without generics.
    pub owner: String,
    /// Its pattern.
    pub pattern: Option<String>,
}

impl Known {
    /// What identifies a suspect in later builds.
    pub fn of(suspect: &Suspect) -> Known {
        Known {
            fingerprint: suspect.fingerprint.clone(),
            owner: Path::of(&suspect.owner).as_str().to_owned(),
            pattern: suspect.pattern.map(str::to_owned),
        }
    }

    /// The fingerprint holds the kind, and a kind may waver between `growth` and `leak` from run to run: the same
    /// owner with the same pattern is the same suspect.
    fn is(&self, suspect: &Suspect) -> bool {
        let other = Known::of(suspect);
        self.fingerprint == other.fingerprint || (!self.owner.is_empty() && self.owner == other.owner && self.pattern == other.pattern)
    }
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// All suspects, suppressed ones included.
    pub suspects: &'a [Suspect],
    /// Number of heap dumps: below two nothing is known of growth.
    pub dumps: usize,
    /// RSS at each snapshot, bytes; empty when unknown.
    pub rss: &'a [u64],
    /// How far each counter went from first to last dump, and the time as `second`.
    pub exposures: &'a [(String, f64)],
}

/// How a gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Within the limit.
    Passed,
    /// Beyond the limit, significantly.
    Failed,
    /// The capture does not tell.
    NotJudged,
}

impl State {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            State::Passed => "passed",
            State::Failed => "failed",
            State::NotJudged => "not_judged",
        }
    }
}

/// One gate, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Its word: `max_growth`, `max_rate`, `max_rss`, `new_suspects`, `leaks`.
    pub id: &'static str,
    /// As typed, for people: `--max-growth 5.0 MiB`.
    pub label: String,
    /// The limit in bytes (per unit), where it has one.
    pub limit: Option<f64>,
    /// Per which unit, for rates.
    pub per: Option<String>,
    /// What was compared.
    pub observed: Option<Interval>,
    /// How it ended.
    pub state: State,
    /// A sentence.
    pub message: String,
    /// Positions of the suspects that count towards it.
    pub suspects: Vec<usize>,
}

/// All gates of one check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// In the order growth, rates, RSS, suspects.
    pub gates: Vec<Gate>,
    /// Positions of the suspects that count: neither suppressed nor known.
    pub counted: Vec<usize>,
    /// Positions of the suspects that the baseline knows.
    pub known: Vec<usize>,
    /// Fingerprints of the baseline that were not seen again.
    pub gone: Vec<String>,
}

impl Checked {
    /// Whether some gate failed.
    pub fn failed(&self) -> bool {
        self.gates.iter().any(|gate| gate.state == State::Failed)
    }

    /// Whether some gate could not be judged.
    pub fn not_judged(&self) -> bool {
        self.gates.iter().any(|gate| gate.state == State::NotJudged)
    }
}

/// Judges every limit; without any, whether there is a leak.
pub fn check(seen: Seen<'_>, limits: &Limits) -> Checked {
    let (mut known, mut counted) = (Vec::new(), Vec::new());
    for (index, suspect) in seen.suspects.iter().enumerate().filter(|(_, s)| s.suppressed.is_none()) {
        let is_known = limits.baseline.as_ref().is_some_and(|baseline| baseline.known.iter().any(|known| known.is(suspect)));
        if is_known { known.push(index) } else { counted.push(index) }
    }
    let gone = limits.baseline.iter().flat_map(|baseline| &baseline.known);
    let gone = gone.filter(|known| !seen.suspects.iter().any(|suspect| known.is(suspect))).map(|known| known.fingerprint.clone());
    let mut gates = Vec::new();
    if let Some(limit) = limits.growth {
        gates.push(growth(seen, &counted, limit));
    }
    gates.extend(limits.rates.iter().map(|limit| rate(seen, &counted, limit)));
    if let Some(limit) = limits.rss {
        gates.push(rss(seen, limit));
    }
    let limited = limits.growth.is_some() || !limits.rates.is_empty();
    if limits.baseline.is_some() && !limited {
        gates.push(new_suspects(seen, &counted));
    } else if gates.is_empty() {
        gates.push(leaks(seen, &counted));
    }
    Checked { gates, known, gone: gone.collect(), counted }
}

/// Why growth cannot be judged: with fewer than two dumps the absence of suspects says nothing.
fn no_growth(seen: Seen<'_>) -> Option<String> {
    (seen.dumps < 2 && seen.suspects.is_empty()).then(|| match seen.dumps {
        0 => "the capture has no heap dumps: growth of live memory is not known".to_owned(),
        _ => "the capture has one heap dump: growth needs two".to_owned(),
    })
}

impl Gate {
    /// Not judged yet, about these suspects.
    fn open(id: &'static str, label: String, suspects: &[usize]) -> Gate {
        let suspects = suspects.to_vec();
        Gate { id, label, limit: None, per: None, observed: None, state: State::NotJudged, message: String::new(), suspects }
    }
}

fn growth(seen: Seen<'_>, counted: &[usize], limit: f64) -> Gate {
    let label = format!("--max-growth {}", iec(limit));
    let gate = Gate { limit: Some(limit), ..Gate::open("max_growth", label, counted) };
    if let Some(message) = no_growth(seen) {
        return Gate { message, ..gate };
    }
    let sum = total(counted.iter().map(|&i| seen.suspects[i].growth));
    let state = if sum.low > limit { State::Failed } else { State::Passed };
    let what = suspects(counted.len());
    let message = match counted.len() {
        0 => "no suspects".to_owned(),
        _ => format!("{what} grew by {} (95 %: {} to {})", iec(sum.estimate), iec(sum.low), iec(sum.high)),
    };
    Gate { observed: Some(sum), state, message, ..gate }
}

fn rate(seen: Seen<'_>, counted: &[usize], limit: &RateLimit) -> Gate {
    let label = format!("--max-rate {}/{}", iec(limit.bytes), limit.per);
    let gate = Gate { limit: Some(limit.bytes), per: Some(limit.per.clone()), ..Gate::open("max_rate", label, counted) };
    if let Some(message) = no_growth(seen) {
        return Gate { message, ..gate };
    }
    let Some(exposure) = exposure(seen.exposures, &limit.per) else {
        let message = format!("`{}` did not move between the first and the last dump, or is not recorded at both", limit.per);
        return Gate { message, ..gate };
    };
    let rates =
        counted.iter().map(|&i| rate_of(&seen.suspects[i], &limit.per).unwrap_or_else(|| scaled(seen.suspects[i].growth, 1.0 / exposure)));
    let sum = total(rates);
    let state = if sum.low > limit.bytes { State::Failed } else { State::Passed };
    let message = match counted.len() {
        0 => "no suspects".to_owned(),
        n => format!(
            "{} grew by {} per {} (95 %: {} to {})",
            suspects(n),
            iec(sum.estimate),
            singular(&limit.per),
            iec(sum.low),
            iec(sum.high)
        ),
    };
    Gate { observed: Some(sum), state, message, ..gate }
}

fn rss(seen: Seen<'_>, limit: f64) -> Gate {
    let gate = Gate {
        limit: Some(limit),
        message: "the capture has neither smaps nor status: RSS is not known".to_owned(),
        ..Gate::open("max_rss", format!("--max-rss {}", iec(limit)), &[])
    };
    let Some((at, &highest)) = seen.rss.iter().enumerate().rev().max_by_key(|(_, bytes)| **bytes) else { return gate };
    let bytes = highest as f64;
    Gate {
        observed: Some(Interval { estimate: bytes, low: bytes, high: bytes }),
        state: if bytes > limit { State::Failed } else { State::Passed },
        message: format!("highest RSS {} in snapshot {} of {}", iec(bytes), at + 1, seen.rss.len()),
        ..gate
    }
}

fn new_suspects(seen: Seen<'_>, counted: &[usize]) -> Gate {
    // Growth whose interval holds zero may be noise.
    let new: Vec<usize> = counted.iter().copied().filter(|&i| seen.suspects[i].growth.low > 0.0).collect();
    let label = "--baseline: no new suspects".to_owned();
    let gate = Gate::open("new_suspects", label, &new);
    if let Some(message) = no_growth(seen) {
        return Gate { message, ..gate };
    }
    let sum = total(new.iter().map(|&i| seen.suspects[i].growth));
    Gate {
        observed: Some(sum),
        state: if new.is_empty() { State::Passed } else { State::Failed },
        message: match new.len() {
            0 => "no suspect that the baseline does not know".to_owned(),
            n => format!("{} that the baseline does not know: {}", suspects(n), signed_iec(sum.estimate)),
        },
        ..gate
    }
}

/// Without limits: a leak of at least medium confidence fails.
fn leaks(seen: Seen<'_>, counted: &[usize]) -> Gate {
    let leaks: Vec<usize> =
        counted.iter().copied().filter(|&i| seen.suspects[i].kind.is_leak() && seen.suspects[i].confidence >= Confidence::Medium).collect();
    let label = "no leak of medium or high confidence".to_owned();
    let gate = Gate::open("leaks", label, &leaks);
    if let Some(message) = no_growth(seen) {
        return Gate { message, ..gate };
    }
    let sum = total(leaks.iter().map(|&i| seen.suspects[i].growth));
    Gate {
        observed: Some(sum),
        state: if leaks.is_empty() { State::Passed } else { State::Failed },
        message: match leaks.len() {
            0 => "none found".to_owned(),
            n => format!("{} grew by {} (95 %: {} to {})", suspects(n), iec(sum.estimate), iec(sum.low), iec(sum.high)),
        },
        ..gate
    }
}

fn suspects(count: usize) -> String {
    if count == 1 { "1 suspect".to_owned() } else { format!("{count} suspects") }
}

/// Intervals added up: they are independent, so their half-widths add in quadrature.
fn total(intervals: impl Iterator<Item = Interval>) -> Interval {
    let (mut estimate, mut down, mut up) = (0.0, 0.0, 0.0);
    for one in intervals {
        estimate += one.estimate;
        down += (one.estimate - one.low).powi(2);
        up += (one.high - one.estimate).powi(2);
    }
    Interval { estimate, low: estimate - f64::sqrt(down), high: estimate + f64::sqrt(up) }
}

fn scaled(interval: Interval, factor: f64) -> Interval {
    Interval { estimate: interval.estimate * factor, low: interval.low * factor, high: interval.high * factor }
}

/// Seconds in a unit of time.
fn seconds(unit: &str) -> Option<f64> {
    match unit {
        "second" => Some(1.0),
        "minute" => Some(60.0),
        "hour" => Some(3600.0),
        _ => None,
    }
}

/// How far a unit went; `None` when it did not move or is not known.
fn exposure(exposures: &[(String, f64)], per: &str) -> Option<f64> {
    let of = |name: &str| exposures.iter().find(|(known, _)| known == name).map(|(_, amount)| *amount);
    let amount = match seconds(per) {
        Some(unit) => of("second")? / unit,
        None => of(per)?,
    };
    (amount > 0.0 && amount.is_finite()).then_some(amount)
}

/// The fitted rate of a suspect in this unit.
fn rate_of(suspect: &Suspect, per: &str) -> Option<Interval> {
    let wanted = seconds(per);
    suspect.rates.iter().find_map(|rate| match (wanted, seconds(&rate.per)) {
        (Some(wanted), Some(own)) => Some(scaled(rate.bytes, wanted / own)),
        (None, None) if rate.per == per => Some(rate.bytes),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::finding::{Rate, VerdictKind};
    use crate::analysis::suppress::tests::suspect;

    const MIB: f64 = 1_048_576.0;

    /// A suspect with this growth in MiB; 600 s and 1000 requests.
    fn grown(owner: &str, low: f64, estimate: f64, high: f64) -> Suspect {
        let mut one = suspect(&format!("a malloc\nu {owner}"));
        one.fingerprint = crate::analysis::finding::fingerprint([owner]);
        one.growth = Interval { estimate: estimate * MIB, low: low * MIB, high: high * MIB };
        one.rates = vec![
            Rate { per: "requests".into(), bytes: scaled(one.growth, 1e-3), r2: 0.99 },
            Rate { per: "minute".into(), bytes: scaled(one.growth, 0.1), r2: 0.9 },
        ];
        one
    }

    fn seen<'a>(suspects: &'a [Suspect], exposures: &'a [(String, f64)]) -> Seen<'a> {
        Seen { suspects, dumps: 10, rss: &[100 << 20, 300 << 20, 200 << 20], exposures }
    }

    fn exposures() -> Vec<(String, f64)> {
        vec![("second".into(), 600.0), ("requests".into(), 1000.0), ("documents".into(), 500.0)]
    }

    #[track_caller]
    fn state(suspects: &[Suspect], limits: &Limits) -> Vec<State> {
        check(seen(suspects, &exposures()), limits).gates.iter().map(|gate| gate.state).collect()
    }

    #[test]
    fn the_lower_bound_decides() {
        let limit = |mib: f64| Limits { growth: Some(mib * MIB), ..Limits::default() };
        let one = [grown("app::remember", 4.0, 6.0, 8.0)];
        assert_eq!(state(&one, &limit(5.0)), [State::Passed]);
        assert_eq!(state(&one, &limit(3.9)), [State::Failed]);
        assert_eq!(state(&[], &limit(0.0)), [State::Passed]);
        // Together they are beyond a limit that each is within; the errors do not add up in full.
        let two = [grown("app::a", 4.0, 6.0, 8.0), grown("app::b", 4.0, 6.0, 8.0)];
        assert_eq!(state(&two, &limit(9.0)), [State::Failed]);
        assert_eq!(state(&two, &limit(9.3)), [State::Passed]);
    }

    #[test]
    fn suppressed_and_known_suspects_do_not_count() {
        let mut suspects = [grown("app::a", 4.0, 6.0, 8.0), grown("app::b", 4.0, 6.0, 8.0)];
        suspects[0].suppressed = Some("known".into());
        let mut limits = Limits { growth: Some(3.0 * MIB), ..Limits::default() };
        assert_eq!(state(&suspects, &limits), [State::Failed]);
        limits.baseline = Some(Baseline { known: vec![Known::of(&suspects[1])] });
        let checked = check(seen(&suspects, &exposures()), &limits);
        assert_eq!((checked.failed(), checked.counted.len(), checked.known.as_slice()), (false, 0, &[1][..]));
    }

    #[test]
    fn rates_are_per_counter_or_time() {
        let one = [grown("app::remember", 4.0, 6.0, 8.0)]; // 4.2 KiB per request at least
        let limit = |bytes: f64, per: &str| Limits { rates: vec![RateLimit { bytes, per: per.into() }], ..Limits::default() };
        assert_eq!(state(&one, &limit(4000.0, "requests")), [State::Failed]);
        assert_eq!(state(&one, &limit(4300.0, "requests")), [State::Passed]);
        // 0.4 MiB per minute, asked for per hour.
        assert_eq!(state(&one, &limit(23.0 * MIB, "hour")), [State::Failed]);
        assert_eq!(state(&one, &limit(25.0 * MIB, "hour")), [State::Passed]);
        // A counter without a fit: growth over exposure, 8.4 KiB per document at least.
        assert_eq!(state(&one, &limit(8000.0, "documents")), [State::Failed]);
        assert_eq!(state(&one, &limit(9000.0, "documents")), [State::Passed]);
        assert_eq!(state(&one, &limit(1.0, "pages")), [State::NotJudged]);
    }

    #[test]
    fn the_highest_rss_counts() {
        let limit = |mib: u64| Limits { rss: Some((mib << 20) as f64), ..Limits::default() };
        assert_eq!(state(&[], &limit(299)), [State::Failed]);
        assert_eq!(state(&[], &limit(300)), [State::Passed]);
        let none = Seen { rss: &[], ..seen(&[], &[]) };
        assert!(check(none, &limit(1)).not_judged());
    }

    #[test]
    fn a_baseline_alone_fails_on_new_suspects() {
        let old = grown("app::a", 4.0, 6.0, 8.0);
        let limits = Limits {
            baseline: Some(Baseline { known: vec![Known::of(&old), Known { fingerprint: "0".repeat(16), ..Known::default() }] }),
            ..Limits::default()
        };
        let checked = check(seen(std::slice::from_ref(&old), &exposures()), &limits);
        assert_eq!((checked.failed(), checked.gone.as_slice()), (false, &["0".repeat(16)][..]));
        // The kind is part of the fingerprint and may waver.
        let mut wavering = old.clone();
        wavering.fingerprint = "1".repeat(16);
        assert_eq!(state(&[wavering], &limits), [State::Passed]);
        assert_eq!(state(&[old.clone(), grown("app::b", 1.0, 6.0, 8.0)], &limits), [State::Failed]);
        // Growth that may be none is noise.
        assert_eq!(state(&[old, grown("app::b", -1.0, 6.0, 8.0)], &limits), [State::Passed]);
    }

    #[test]
    fn without_limits_leaks_fail() {
        let mut one = grown("app::a", 4.0, 6.0, 8.0);
        assert_eq!(state(std::slice::from_ref(&one), &Limits::default()), [State::Failed]);
        one.confidence = Confidence::Low;
        assert_eq!(state(std::slice::from_ref(&one), &Limits::default()), [State::Passed]);
        one.confidence = Confidence::High;
        one.kind = VerdictKind::Growth;
        assert_eq!(state(&[one], &Limits::default()), [State::Passed]);
    }

    #[test]
    fn nothing_seen_is_not_a_pass() {
        let blind = Seen { dumps: 1, ..seen(&[], &[]) };
        for limits in [
            Limits::default(),
            Limits { growth: Some(1.0), ..Limits::default() },
            Limits { baseline: Some(Baseline::default()), ..Limits::default() },
        ] {
            assert!(check(blind, &limits).not_judged());
        }
    }
}
