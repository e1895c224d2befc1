//! Samples so many that profiling itself is what grows.
//!
//! Each sampled small object takes pages of its own (16 KiB and more until jemalloc 5.3.0, a page after it): at one sample
//! for each 16 KiB, 103 of 222 MiB of a capture were that.

use super::{Advice, SettingDetector, Settings};
use crate::analysis::finding::Evidence;
use crate::analysis::ledger::RowKind;
use crate::units::iec;

/// From 2^17 on what sampling adds stays within some percent of the heap.
const FINEST_LG: u32 = 17;

pub(super) const DETECTOR: SettingDetector = SettingDetector {
    id: "sampling_too_fine",
    summary: "profiling itself adds much of the memory",
    shown_by: "lg_prof_sample is below 17, and what sampling adds to `allocated` is material.",
    near_misses: "Fine sampling of a program with large objects, which cost nothing extra; the default of 19.",
    fix: "Set lg_prof_sample:17 or more.",
    examine,
};

fn examine(settings: &Settings<'_>) -> Option<Advice> {
    let interval = settings.sampling_interval?;
    let finest = f64::from(FINEST_LG).exp2();
    let overhead = (interval < finest).then(|| settings.material(RowKind::SamplingOverhead))??;
    Some(Advice {
        evidence: vec![Evidence::new(
            format!(
                "at one sample per {} profiling adds about {}: each sampled small object takes pages of its own",
                iec(interval),
                iec(overhead)
            ),
            "the row `sampling overhead` of the ledger, inferred from dump and version",
        )],
        setting: format!("lg_prof_sample:{FINEST_LG}"),
        is_malloc_conf: true,
        effect: format!("most of these {} go from `allocated`; RSS falls by {}", iec(overhead), resident(settings, overhead)),
        cost: format!(
            "stacks that hold less than {} may not show, and intervals become {:.1} times as wide",
            iec(3.0 * finest),
            (finest / interval).sqrt()
        ),
    })
}

/// How much of it is resident: pages that are counted and not resident may be of it, or of anything else.
fn resident(settings: &Settings<'_>, overhead: f64) -> String {
    let least = (overhead + settings.last(RowKind::Untouched)).max(0.0);
    if least < overhead { format!("{} to {}", iec(least), iec(overhead)) } else { format!("about {}", iec(overhead)) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;
    use super::*;

    #[test]
    fn fine_samples_that_cost_much() {
        let mut sketch = Sketch::new(100, 200).row(RowKind::SamplingOverhead, 20, 80);
        sketch.sampling_interval = Some(16384.0);
        sketch.check(&["sampling_too_fine"]);
        let (_, advice) = &sketch.advise()[0];
        assert_eq!(advice.setting, "lg_prof_sample:17");
        assert_eq!(advice.cost, "stacks that hold less than 384.0 KiB may not show, and intervals become 2.8 times as wide");
    }

    #[test]
    fn pages_that_are_not_resident_may_be_those() {
        let mut sketch = Sketch::new(100, 200).row(RowKind::SamplingOverhead, 20, 80);
        sketch.sampling_interval = Some(16384.0);
        assert!(sketch.advise()[0].1.effect.ends_with("RSS falls by about 80.0 MiB"), "{:?}", sketch.advise());
        let sketch = sketch.row(RowKind::Untouched, -10, -90);
        assert!(sketch.advise()[0].1.effect.ends_with("RSS falls by 0 B to 80.0 MiB"), "{:?}", sketch.advise());
    }

    #[test]
    fn near_misses() {
        let mut sketch = Sketch::new(100, 200).row(RowKind::SamplingOverhead, 2, 8);
        sketch.sampling_interval = Some(16384.0);
        sketch.check(&[]);
        sketch = Sketch::new(1000, 2000).row(RowKind::SamplingOverhead, 20, 800);
        sketch.sampling_interval = Some(524288.0);
        sketch.check(&[]);
    }
}
