//! jemalloc's settings: where each comes from, which one counts, and whether it serves leak triage.

use super::{Check, State};
use crate::capture::describe::option;
use crate::capture::program::Jemalloc;
use crate::units::iec;

/// Below this a sampled small object costs more than it tells: in jemalloc up to 5.3.0 each takes 16 KiB of its own
/// (86 MiB of small objects became 116 at 14, 92 at 17), so RSS itself is distorted.
const FINEST: u64 = 17;
/// Above this a stack of 25 MiB is seen by fewer than 12 samples: its estimate is off by more than half.
const COARSEST: u64 = 21;
/// jemalloc's default.
const DEFAULT_LG: u64 = 19;

/// A text of settings and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// `the variable _RJEM_MALLOC_CONF`.
    pub name: String,
    pub text: String,
}

/// Settings in the order in which jemalloc applies them: later ones win.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub sources: Vec<Source>,
    /// Read from the memory of the process; these are the facts.
    pub measured: Measured,
}

/// Variables of jemalloc in a live process; `None` where they could not be read (stripped, no permission).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    pub prof: Option<bool>,
    pub active: Option<bool>,
    pub accum: Option<bool>,
    pub unbias: Option<bool>,
    pub lg_sample: Option<u64>,
    pub lg_interval: Option<i64>,
    pub prefix: Option<String>,
    pub background_thread: Option<bool>,
}

impl Settings {
    /// The value in force, with the name of its source.
    pub fn get(&self, name: &str) -> Option<(&str, &str)> {
        self.sources.iter().rev().find_map(|source| Some((option(&source.text, name)?, source.name.as_str())))
    }

    fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)?.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.0.parse().ok()
    }

    /// Whether allocations are sampled at all: measured, else as set.
    pub fn is_on(&self) -> bool {
        self.measured.prof.unwrap_or_else(|| self.flag("prof") == Some(true))
    }

    /// Bytes between samples, as a power of two.
    pub fn lg_sample(&self) -> u64 {
        self.measured.lg_sample.or_else(|| self.number("lg_prof_sample")).unwrap_or(DEFAULT_LG)
    }

    /// The prefix of dump files; `None` when dumps need an explicit name.
    pub fn prefix(&self) -> Option<String> {
        let set = self.measured.prefix.clone().or_else(|| self.get("prof_prefix").map(|(value, _)| value.to_owned()));
        Some(set.unwrap_or_else(|| "jeprof".to_owned())).filter(|prefix| !prefix.is_empty())
    }

    /// The checks, for a process that runs or for the next start of a program.
    pub fn checks(&self, jemalloc: &Jemalloc, runs: bool, live_bytes: Option<u64>) -> Vec<Check> {
        let variable = &jemalloc.variable;
        let mut checks = Vec::new();
        let from = self.get("prof").map_or_else(String::new, |(_, source)| format!(", set by {source}"));
        let how = if self.measured.prof.is_some() { ", read from its memory" } else { from.as_str() };
        let start = format!("start it with {variable}={}", self.advised());
        if !self.is_on() {
            let now = if runs {
                "heap profiling is off in this process and cannot be switched on later"
            } else {
                "heap profiling is off unless it is switched on at the start"
            };
            checks.push(Check::new("profiling_on", if runs { State::Bad } else { State::Doubt }, format!("{now}{how}")).remedy(start));
            return checks;
        }
        checks.push(Check::new("profiling_on", State::Good, format!("heap profiling is on{how}")));
        let active = self.measured.active.or_else(|| self.flag("prof_active")).unwrap_or(true);
        if !active {
            let finding = "sampling is paused (prof.active is false): what is allocated meanwhile is invisible for ever";
            checks.push(
                Check::new("sampling_active", State::Bad, finding).remedy("start it with prof_active:true, or set prof.active by mallctl"),
            );
        }
        checks.push(sampling(self.lg_sample(), live_bytes, variable));
        let accum = self.measured.accum.or_else(|| self.flag("prof_accum")).unwrap_or(false);
        checks.push(if accum {
            Check::new("accumulated", State::Good, "accumulated counts are recorded: freed objects can be told from held ones")
        } else {
            Check::new("accumulated", State::Note, "accumulated counts are not recorded: how many objects of a stack were freed is unknown")
                .remedy(format!("prof_accum:true in {variable}; costs memory for every stack ever seen"))
        });
        if self.measured.unbias.or_else(|| self.flag("prof_unbias")) == Some(false) {
            let finding = "prof_unbias is false: stacks with objects of mixed sizes are underestimated, by up to a fifth in bytes";
            checks.push(Check::new("unbias", State::Doubt, finding).remedy("leave prof_unbias at its default, true"));
        }
        checks
    }

    /// What to set: what is set already, with what is missing.
    pub fn advised(&self) -> String {
        let mut value = String::from("prof:true,prof_active:true");
        value += &format!(",lg_prof_sample:{}", self.lg_sample().clamp(FINEST, COARSEST));
        for source in &self.sources {
            for pair in source.text.split(',').filter(|pair| !pair.is_empty()) {
                let key = pair.split(':').next().unwrap_or(pair);
                if !matches!(key, "prof" | "prof_active" | "lg_prof_sample" | "prof_unbias") {
                    value += &format!(",{pair}");
                }
            }
        }
        value
    }
}

/// Whether the sampling interval suits what is to be found.
pub(super) fn sampling(lg: u64, live_bytes: Option<u64>, variable: &str) -> Check {
    let interval = 2f64.powi(i32::try_from(lg).unwrap_or(i32::MAX).min(63));
    // A stack of this size goes unseen with a probability of 5 % (3 R).
    let unseen = iec(3.0 * interval);
    let mut finding = format!("1 sample per {}: a stack holding less than {unseen} may not show", iec(interval));
    if let Some(live) = live_bytes {
        // The relative error of a stack with k samples is 1/sqrt(k), 95 % within twice that.
        let tenth = live as f64 / 10.0;
        let error = 196.0 / (tenth / interval).max(1e-9).sqrt();
        let error = if error < 100.0 { format!("estimated ±{error:.0} %") } else { "too little to be estimated".to_owned() };
        finding += &format!("; a tenth of its {} is {error}", iec(live as f64));
    }
    let set = |lg: u64| format!("lg_prof_sample:{lg} in {variable}");
    match lg {
        ..FINEST => Check::new(
            "sampling",
            State::Doubt,
            format!("{finding}; so fine that profiling itself distorts RSS (each sampled small object takes pages of its own)"),
        )
        .remedy(set(FINEST)),
        FINEST..=COARSEST => Check::new("sampling", State::Good, finding),
        _ => Check::new("sampling", State::Doubt, format!("{finding}; too coarse for most leaks")).remedy(set(DEFAULT_LG)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jemalloc() -> Jemalloc {
        Jemalloc { version: Some("5.3.0".into()), variable: "_RJEM_MALLOC_CONF".into(), profiling: true }
    }

    fn settings(texts: &[&str]) -> Settings {
        let sources = texts.iter().enumerate().map(|(i, text)| Source { name: format!("source {i}"), text: (*text).to_owned() }).collect();
        Settings { sources, measured: Measured::default() }
    }

    #[track_caller]
    fn check(texts: &[&str], expected: &[(&str, State)]) {
        let checks = settings(texts).checks(&jemalloc(), true, None);
        assert_eq!(checks.iter().map(|c| (c.id, c.state)).collect::<Vec<_>>(), expected, "{checks:#?}");
    }

    #[test]
    fn the_last_source_counts() {
        check(&["prof:true", "prof:false"], &[("profiling_on", State::Bad)]);
        check(&["prof:false", "prof:true"], &[("profiling_on", State::Good), ("sampling", State::Good), ("accumulated", State::Note)]);
        check(&[], &[("profiling_on", State::Bad)]);
    }

    #[test]
    fn settings_that_cost_evidence_are_doubted() {
        let paused = "prof:true,prof_active:false,lg_prof_sample:12,prof_accum:true,prof_unbias:false";
        check(
            &[paused],
            &[
                ("profiling_on", State::Good),
                ("sampling_active", State::Bad),
                ("sampling", State::Doubt),
                ("accumulated", State::Good),
                ("unbias", State::Doubt),
            ],
        );
        assert_eq!(sampling(25, None, "MALLOC_CONF").state, State::Doubt);
    }

    #[test]
    fn what_was_measured_outranks_what_was_set() {
        let mut settings = settings(&["prof:true"]);
        settings.measured.prof = Some(false);
        let checks = settings.checks(&jemalloc(), true, None);
        assert_eq!(checks[0].state, State::Bad);
        assert!(checks[0].finding.contains("read from its memory"), "{checks:?}");
    }

    #[test]
    fn advice_keeps_what_is_set() {
        let advice = settings(&["narenas:4,prof:false", "lg_prof_sample:30"]).advised();
        assert_eq!(advice, "prof:true,prof_active:true,lg_prof_sample:21,narenas:4");
    }

    #[test]
    fn precision_is_told_for_the_size_of_the_process() {
        let finding = sampling(19, Some(4 << 30), "MALLOC_CONF").finding;
        assert_eq!(
            finding,
            "1 sample per 512.0 KiB: a stack holding less than 1.5 MiB may not show; a tenth of its 4.0 GiB is estimated ±7 %"
        );
        assert!(sampling(19, Some(1 << 20), "MALLOC_CONF").finding.ends_with("a tenth of its 1.0 MiB is too little to be estimated"));
    }
}
