//! Dirty pages that are kept for longer than the default, or for ever.

use super::{Advice, SettingDetector, Settings};
use crate::analysis::ledger::RowKind;
use crate::units::iec;

/// jemalloc's default since 5.0 (`DIRTY_DECAY_MS_DEFAULT`): shorter decays are not slow.
const DEFAULT_MS: i64 = 10_000;

pub(super) const DETECTOR: SettingDetector = SettingDetector {
    id: "decay_too_slow",
    summary: "freed pages are kept for longer than needed, or for ever",
    shown_by: "dirty pages are material and dirty_decay_ms (of the process or of an arena) is -1 or above the default of 10 s.",
    near_misses: "The default decay without background threads (`background_thread_off`); dirty pages below a tenth of RSS.",
    fix: "Set dirty_decay_ms to some seconds.",
    examine,
};

fn examine(settings: &Settings<'_>) -> Option<Advice> {
    let dirty = settings.material(RowKind::Dirty)?;
    let stats = settings.stats?;
    let slow = |decay: i64| !(0..=DEFAULT_MS).contains(&decay);
    // An arena's own setting overrides the process's.
    let arenas = stats.arenas.iter().filter(|arena| arena.dirty_decay_ms.is_some_and(slow)).count();
    let decay = stats
        .options
        .dirty_decay_ms
        .filter(|&decay| slow(decay))
        .or_else(|| stats.arenas.iter().filter_map(|a| a.dirty_decay_ms).find(|&d| slow(d)))?;
    let (kept, where_from) = (
        if decay < 0 { "for ever".to_owned() } else { format!("for {} s", decay / 1000) },
        if stats.options.dirty_decay_ms.is_some_and(slow) {
            "opt.dirty_decay_ms".to_owned()
        } else {
            format!("dirty_decay_ms of {arenas} arenas")
        },
    );
    Some(Advice {
        evidence: vec![settings.says(
            format!("freed pages are kept {kept} before they are returned (dirty_decay_ms {decay}); {} wait", iec(dirty)),
            &where_from,
        )],
        setting: "dirty_decay_ms:5000".to_owned(),
        is_malloc_conf: true,
        effect: format!("up to {} return to the system within seconds of being freed", iec(dirty)),
        cost: "more madvise calls, and page faults when the memory is needed again".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;
    use crate::analysis::ledger::RowKind;
    use crate::model::allocator::ArenaStats;

    fn sketch(decay: i64) -> Sketch {
        Sketch::new(20, 240).row(RowKind::Dirty, 0, 180).options(|o| {
            o.background_thread = Some(true);
            o.dirty_decay_ms = Some(decay);
        })
    }

    #[test]
    fn long_and_infinite_decays() {
        sketch(60_000).check(&["decay_too_slow"]);
        let advice = sketch(-1).advise();
        assert!(advice[0].1.evidence[0].claim.starts_with("freed pages are kept for ever"));
    }

    #[test]
    fn an_arena_may_have_its_own() {
        let mut own = sketch(10_000);
        own.stats.arenas = vec![ArenaStats { dirty_decay_ms: Some(-1), ..ArenaStats::default() }];
        assert_eq!(own.advise()[0].1.evidence[0].source, "9.stats.json: dirty_decay_ms of 1 arenas");
    }

    #[test]
    fn near_misses() {
        sketch(10_000).check(&[]);
        sketch(0).check(&[]);
        Sketch::new(20, 240).row(RowKind::Dirty, 0, 10).options(|o| o.dirty_decay_ms = Some(-1)).check(&[]);
    }
}
