//! A profile whose samples are too few to answer.
//!
//! Sixteen new samples resolve a growth (relative error 25 %). What grows by less than sixteen sampling intervals
//! cannot be told from noise.

use super::{Advice, SettingDetector, Settings};
use crate::analysis::finding::Evidence;
use crate::analysis::ledger::RowKind;
use crate::analysis::triage::{STEADY_BYTES, STEADY_SHARE};
use crate::units::iec;

/// New samples that resolve a growth.
const RESOLVED: f64 = 16.0;
/// The finest interval worth its cost: at 2^14 sampling itself added half of `allocated` in a measured capture.
const FINEST_LG: f64 = 15.0;

pub(super) const DETECTOR: SettingDetector = SettingDetector {
    id: "sampling_too_coarse",
    summary: "the profile has too few samples to see growth that matters",
    shown_by: "a tenth of the growth of RSS is less than sixteen sampling intervals.",
    near_misses: "A coarse interval beside a large growth; profiles that record every allocation.",
    fix: "Lower lg_prof_sample so that growth of that size has sixteen samples.",
    examine,
};

fn examine(settings: &Settings<'_>) -> Option<Advice> {
    let interval = settings.sampling_interval.filter(|&interval| interval > 1.0)?;
    let growth = settings.ledger.rss_growth()? as f64;
    let matters = STEADY_SHARE * growth;
    // Growth that is called steady asks nothing of the profile.
    // Where sampling itself is much of the memory, more samples make it worse.
    if growth < STEADY_BYTES || RESOLVED * interval <= matters || settings.material(RowKind::SamplingOverhead).is_some() {
        return None;
    }
    let wanted = (matters / RESOLVED).log2().floor().max(FINEST_LG);
    (wanted < interval.log2().floor()).then(|| Advice {
        evidence: vec![Evidence::new(
            format!(
                "at one sample per {} a growth below {} cannot be told from noise; a tenth of the growth of RSS is {}",
                iec(interval),
                iec(RESOLVED * interval),
                iec(matters)
            ),
            "sampling interval of the dumps, RSS",
        )],
        setting: format!("lg_prof_sample:{wanted:.0}"),
        is_malloc_conf: true,
        effect: format!("growth of {} shows", iec(RESOLVED * wanted.exp2())),
        cost: "more samples: more time in allocation, and pages of its own for each sampled small object; below 17 that distorts RSS"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;

    fn sketch(first: u64, last: u64, interval: u64) -> Sketch {
        Sketch { sampling_interval: Some(interval as f64), ..Sketch::new(first, last) }
    }

    #[test]
    fn too_few_samples() {
        let advice = sketch(20, 60, 1 << 19).advise();
        assert_eq!((advice[0].0, advice[0].1.setting.as_str()), ("sampling_too_coarse", "lg_prof_sample:18"));
    }

    #[test]
    fn near_misses() {
        sketch(200, 2000, 1 << 19).check(&[]); // large growth
        sketch(20, 21, 1 << 19).check(&[]); // steady
        sketch(20, 60, 1).check(&[]); // exact
        sketch(20, 26, 1 << 15).check(&[]); // as fine as is worth it
    }
}
