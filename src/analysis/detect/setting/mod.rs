//! Detectors of settings: what keeps memory resident that no object needs, or keeps the profile from answering. They
//! look at the ledger and the allocator's statistics, never at frames; one file each, one line in
//! [`SETTING_DETECTORS`].
//!
//! Each names the setting, what it changes and what it costs. A retention that is small beside RSS is not worth a
//! setting: see `Settings::material`.

mod background_thread_off;
mod decay_too_slow;
mod huge_pages;
mod large_thread_caches;
mod muzzy_lag;
mod sampling_too_coarse;
mod sampling_too_fine;
mod second_allocator;
mod too_many_arenas;

use crate::analysis::finding::Evidence;
use crate::analysis::ledger::{Ledger, RowKind};
use crate::analysis::triage::{STEADY_BYTES, STEADY_SHARE};
use crate::model::allocator::{AllocatorStats, Options};

/// What a detector of settings sees: the last snapshot's statistics and the whole ledger.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Statistics of the last snapshot that has them.
    pub stats: Option<&'a AllocatorStats>,
    /// The file they were read from.
    pub stats_file: &'a str,
    /// Where the memory is.
    pub ledger: &'a Ledger,
    /// Mean bytes between samples; `None` without dumps, 1 for exact profiles.
    pub sampling_interval: Option<f64>,
    /// `malloc_conf` as recorded.
    pub malloc_conf: Option<&'a str>,
    /// The environment variable that this jemalloc reads, where it is known.
    pub variable: Option<&'a str>,
    /// Threads of the process, else those that allocate, where either was recorded.
    pub threads: Option<u64>,
}

impl Settings<'_> {
    /// Resident bytes of all rows of a kind in the last snapshot.
    fn last(&self, kind: RowKind) -> f64 {
        self.ledger.rows.iter().filter(|row| row.kind == kind).map(|row| row.last() as f64).sum()
    }

    /// What a kind holds in the last snapshot, where that is enough for a setting to matter: the same bounds below which
    /// growth is called steady, applied to RSS.
    fn material(&self, kind: RowKind) -> Option<f64> {
        let rss = self.ledger.rss.last().copied()? as f64;
        let bytes = self.last(kind);
        (bytes >= STEADY_BYTES.max(STEADY_SHARE * rss)).then_some(bytes)
    }

    fn options(&self) -> Option<&Options> {
        self.stats.map(|stats| &stats.options)
    }

    /// A figure of the statistics as evidence.
    fn says(&self, claim: impl Into<String>, figure: &str) -> Evidence {
        Evidence::new(claim, format!("{}: {figure}", self.stats_file))
    }
}

/// A setting to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Facts behind it.
    pub evidence: Vec<Evidence>,
    /// The setting as jemalloc spells it (`background_thread:true`), or what to run instead.
    pub setting: String,
    /// Whether `setting` belongs into `malloc_conf`.
    pub is_malloc_conf: bool,
    /// What changes.
    pub effect: String,
    /// What that costs.
    pub cost: String,
}

impl Advice {
    /// How to set it, added to what is set already: `_RJEM_MALLOC_CONF=...`; `None` where it is no option of the allocator.
    pub fn variable(&self, settings: &Settings<'_>) -> Option<String> {
        self.is_malloc_conf.then(|| assignment([self.setting.as_str()], settings))
    }
}

/// Several of them in one assignment; `None` for fewer than two.
pub fn together<'a>(advice: impl Iterator<Item = &'a Advice>, settings: &Settings<'_>) -> Option<String> {
    let options: Vec<&str> = advice.filter(|one| one.is_malloc_conf).map(|one| one.setting.as_str()).collect();
    (options.len() > 1).then(|| assignment(options, settings))
}

/// The variable with what is set already and what is to be set, which wins.
fn assignment<'a>(options: impl IntoIterator<Item = &'a str>, settings: &Settings<'_>) -> String {
    let key = |option: &'a str| option.split(':').next().unwrap_or_default();
    let mut all: Vec<&str> = Vec::new();
    // A recorded text that could end the quotes is not repeated.
    let recorded = settings.malloc_conf.unwrap_or_default();
    if recorded.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:.-|/,".contains(&b)) {
        all.extend(recorded.split(',').filter(|one| !one.is_empty()));
    }
    for option in options {
        all.retain(|one| one.split(':').next() != Some(key(option)));
        all.push(option);
    }
    format!("{}={}", settings.variable.unwrap_or("MALLOC_CONF"), all.join(","))
}

/// One detector of a setting.
#[derive(Debug)]
pub struct SettingDetector {
    /// Its word in reports.
    pub id: &'static str,
    /// One line for `--list-detectors`.
    pub summary: &'static str,
    /// What shows it.
    pub shown_by: &'static str,
    /// What looks like it and is not.
    pub near_misses: &'static str,
    /// What to do, in general.
    pub fix: &'static str,
    /// Looks at the ledger and the statistics.
    pub examine: fn(&Settings<'_>) -> Option<Advice>,
}

/// Every detector of a setting, in the order in which they are worth doing.
pub const SETTING_DETECTORS: &[&SettingDetector] = &[
    &second_allocator::DETECTOR,
    &background_thread_off::DETECTOR,
    &decay_too_slow::DETECTOR,
    &muzzy_lag::DETECTOR,
    &huge_pages::DETECTOR,
    &too_many_arenas::DETECTOR,
    &large_thread_caches::DETECTOR,
    &sampling_too_fine::DETECTOR,
    &sampling_too_coarse::DETECTOR,
];

/// All advice, with the detector's word.
pub fn advise(settings: &Settings<'_>) -> Vec<(&'static str, Advice)> {
    SETTING_DETECTORS.iter().filter_map(|detector| Some((detector.id, (detector.examine)(settings)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::ledger::{Basis, Row};

    /// A ledger and statistics to be changed.
    #[derive(Debug, Default)]
    pub(super) struct Sketch {
        pub ledger: Ledger,
        pub stats: AllocatorStats,
        pub sampling_interval: Option<f64>,
        pub threads: u64,
    }

    impl Sketch {
        /// First and last RSS in MiB.
        pub fn new(first: u64, last: u64) -> Sketch {
            Sketch {
                ledger: Ledger { snapshots: vec![0, 1], rss: vec![first << 20, last << 20], ..Ledger::default() },
                ..Sketch::default()
            }
        }

        /// A row in MiB.
        pub fn row(mut self, kind: RowKind, first: i64, last: i64) -> Self {
            let bytes = vec![first << 20, last << 20];
            self.ledger.rows.push(Row { kind, label: "row".into(), basis: Basis::Measured, source: String::new(), bytes });
            self
        }

        pub fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
            change(&mut self.stats.options);
            self
        }

        pub fn advise(&self) -> Vec<(&'static str, Advice)> {
            advise(&self.settings())
        }

        pub fn settings(&self) -> Settings<'_> {
            Settings {
                stats: Some(&self.stats),
                stats_file: "9.stats.json",
                ledger: &self.ledger,
                sampling_interval: self.sampling_interval,
                malloc_conf: Some("prof:true,dirty_decay_ms:50000"),
                variable: Some("_RJEM_MALLOC_CONF"),
                threads: Some(self.threads).filter(|&threads| threads > 0),
            }
        }

        /// The words of all advice.
        #[track_caller]
        pub fn check(&self, expected: &[&str]) {
            assert_eq!(self.advise().iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_table_is_consistent() {
        let frames = crate::analysis::detect::DETECTORS.iter().map(|d| d.id);
        let mut ids: Vec<&str> = SETTING_DETECTORS.iter().map(|d| d.id).chain(frames).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "ids are unique over both tables");
        for detector in SETTING_DETECTORS {
            assert!(detector.id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", detector.id);
            for text in [detector.summary, detector.shown_by, detector.near_misses, detector.fix] {
                assert!(text.len() > 20 && !text.contains('\n'), "{}: {text}", detector.id);
            }
            assert!(detector.summary.len() <= 80 && !detector.summary.ends_with('.'), "{}", detector.id);
        }
    }

    #[test]
    fn without_anything_there_is_no_advice() {
        let ledger = Ledger::default();
        let none = Settings {
            stats: None,
            stats_file: "",
            ledger: &ledger,
            sampling_interval: None,
            malloc_conf: None,
            variable: None,
            threads: None,
        };
        assert_eq!(advise(&none), []);
    }

    #[test]
    fn settings_are_added_to_what_is_set() {
        let sketch = Sketch::new(1, 1);
        let mut advice = Advice {
            evidence: Vec::new(),
            setting: "dirty_decay_ms:1000".into(),
            is_malloc_conf: true,
            effect: String::new(),
            cost: String::new(),
        };
        assert_eq!(advice.variable(&sketch.settings()).as_deref(), Some("_RJEM_MALLOC_CONF=prof:true,dirty_decay_ms:1000"));
        let plain = Settings { malloc_conf: Some("prof:true;rm -rf"), variable: None, ..sketch.settings() };
        assert_eq!(advice.variable(&plain).as_deref(), Some("MALLOC_CONF=dirty_decay_ms:1000"));
        let other = Advice { setting: "background_thread:true".into(), ..advice.clone() };
        let both = together([&advice, &other].into_iter(), &sketch.settings());
        assert_eq!(both.as_deref(), Some("_RJEM_MALLOC_CONF=prof:true,dirty_decay_ms:1000,background_thread:true"));
        advice.is_malloc_conf = false;
        assert_eq!(advice.variable(&plain), None);
        assert_eq!(together([&advice, &other].into_iter(), &plain), None);
    }
}
