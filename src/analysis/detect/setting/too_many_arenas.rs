//! Fragmentation, dirty pages and caches that exist once for each arena.

use super::{Advice, SettingDetector, Settings};
use crate::analysis::ledger::RowKind;
use crate::units::iec;

/// Fewer arenas than this multiply little; the default is four for each core.
const MANY: u64 = 8;

pub(super) const DETECTOR: SettingDetector = SettingDetector {
    id: "too_many_arenas",
    summary: "free space is spread over many arenas",
    shown_by: "eight arenas or more, and fragmentation or dirty pages are material.",
    near_misses: "Many arenas with little free space; fragmentation in one or two arenas, which is the program's pattern of allocation.",
    fix: "Lower narenas to the number of cores, or use percpu_arena.",
    examine,
};

fn examine(settings: &Settings<'_>) -> Option<Advice> {
    let stats = settings.stats?;
    let arenas = stats.arenas_initialized.or(stats.options.narenas).filter(|&arenas| arenas >= MANY)?;
    let free = [RowKind::Fragmentation, RowKind::Dirty].into_iter().filter_map(|kind| settings.material(kind)).sum::<f64>();
    let threads = settings.threads.filter(|&threads| threads > 0);
    let wanted = wanted(arenas, threads);
    (free > 0.0 && wanted < arenas).then(|| Advice {
        evidence: vec![settings.says(
            format!(
                "{} of free space in pages is spread over {arenas} arenas{}: what one arena has free, threads of another cannot use",
                iec(free),
                threads.map(|threads| format!(" for {threads} threads")).unwrap_or_default()
            ),
            "arenas.narenas, active, allocated, pdirty",
        )],
        setting: format!("narenas:{wanted}"),
        is_malloc_conf: true,
        effect: "threads share arenas and reuse each other's free space".to_owned(),
        cost: "more contention for the arenas' locks where many threads allocate at once: measure throughput".to_owned(),
    })
}

/// One for each core (the default is four times that), and never more than one for two threads: fewer threads than that
/// cannot contend.
fn wanted(arenas: u64, threads: Option<u64>) -> u64 {
    let cores = arenas / 4;
    cores.min(threads.map_or(u64::MAX, |threads| threads / 2)).max(2)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;
    use crate::analysis::ledger::RowKind;

    fn sketch(arenas: u64, fragmentation: i64) -> Sketch {
        let mut sketch = Sketch::new(20, 240).row(RowKind::Fragmentation, 0, fragmentation);
        sketch.stats.arenas_initialized = Some(arenas);
        sketch
    }

    #[test]
    fn spread_free_space() {
        sketch(16, 80).check(&["too_many_arenas"]);
        assert_eq!(sketch(16, 80).advise()[0].1.setting, "narenas:4");
    }

    #[test]
    fn arenas_are_weighed_against_threads() {
        let of = |threads: u64| {
            let mut sketch = sketch(32, 80);
            sketch.threads = threads;
            let (_, advice) = sketch.advise().remove(0);
            (advice.setting, advice.evidence[0].claim.contains(&format!("over 32 arenas for {threads} threads")))
        };
        assert_eq!(of(100), ("narenas:8".to_owned(), true), "one for each core");
        assert_eq!(of(8), ("narenas:4".to_owned(), true), "one for two threads");
        assert_eq!(of(1), ("narenas:2".to_owned(), true));
    }

    #[test]
    fn near_misses() {
        sketch(2, 80).check(&[]);
        sketch(16, 10).check(&[]);
    }
}
