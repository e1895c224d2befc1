//! Freed objects that wait in the caches of threads.
//!
//! jemalloc counts them as allocated, so that they look like live heap to whoever reads `stats.allocated` alone. A cache is
//! emptied bit by bit while its thread allocates; a thread that waits keeps it as it is.

use super::{Advice, SettingDetector, Settings};
use crate::analysis::ledger::RowKind;
use crate::units::iec;

/// Objects up to this size are the ones that are worth caching: most allocations of most programs, and little memory.
const SMALL: u64 = 4096;

pub(super) const DETECTOR: SettingDetector = SettingDetector {
    id: "large_thread_caches",
    summary: "freed objects wait in the caches of threads",
    shown_by: "the thread caches' share of the statistics (tcache_bytes) is material.",
    near_misses: "Caches of some KiB in each of many threads, below a tenth of RSS; dirty pages, which are freed pages and no objects.",
    fix: "Lower tcache_max (before 5.3 lg_tcache_max), or flush the caches of threads that wait.",
    examine,
};

fn examine(settings: &Settings<'_>) -> Option<Advice> {
    let cached = settings.material(RowKind::Tcache)?;
    let options = settings.options()?;
    let most = options.tcache_max.or_else(|| options.lg_tcache_max.and_then(|lg| 1u64.checked_shl(u32::try_from(lg).ok()?)));
    let of = settings.threads.filter(|&threads| threads > 0).map(|threads| format!(" of {threads} threads")).unwrap_or_default();
    let up_to = most.map(|most| format!(", which take objects of up to {}", iec(most as f64))).unwrap_or_default();
    let evidence =
        vec![settings.says(format!("{} of freed objects are in the caches{of}{up_to}", iec(cached)), "tcache_bytes, arenas.tcache_max")];
    let setting = match most {
        // Only small objects are cached: what helps is to have fewer caches, or to empty those of threads that wait.
        Some(most) if most <= SMALL => {
            return Some(Advice {
                evidence,
                setting: "mallctl thread.tcache.flush".to_owned(),
                is_malloc_conf: false,
                effect: format!("called by each thread before it waits for long, up to {} can be used by others", iec(cached)),
                cost: "the next allocations of that thread are slower, until its cache is filled again".to_owned(),
            });
        }
        // As it is spelled already.
        _ if options.lg_tcache_max.is_some() || settings.malloc_conf.is_some_and(|conf| conf.contains("lg_tcache_max:")) => {
            format!("lg_tcache_max:{}", SMALL.ilog2())
        }
        // `tcache_max` is an option since 5.3.0; before, the logarithm is.
        _ if settings.stats.and_then(|stats| stats.version_numbers()).is_some_and(|version| version < (5, 3, 0)) => {
            format!("lg_tcache_max:{}", SMALL.ilog2())
        }
        _ => format!("tcache_max:{SMALL}"),
    };
    Some(Advice {
        evidence,
        setting,
        is_malloc_conf: true,
        effect: format!("objects above {} go back to their arena when they are freed", iec(SMALL as f64)),
        cost: "allocating and freeing objects above that size takes the arena's lock: measure throughput where they are frequent"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;
    use super::*;

    #[test]
    fn caches_that_hold_much() {
        let mut sketch = Sketch::new(100, 120).row(RowKind::Tcache, 2, 30).options(|options| options.tcache_max = Some(1 << 20));
        sketch.threads = 64;
        sketch.check(&["large_thread_caches"]);
        let (_, advice) = &sketch.advise()[0];
        assert_eq!(advice.setting, "tcache_max:4096");
        assert!(advice.evidence[0].claim.contains("30.0 MiB of freed objects are in the caches of 64 threads"), "{advice:?}");
        let old = Sketch::new(100, 120).row(RowKind::Tcache, 2, 30).options(|options| options.lg_tcache_max = Some(20));
        assert_eq!(old.advise()[0].1.setting, "lg_tcache_max:12");
        // 5.0 to 5.2 print the size of the largest class, and take the logarithm.
        let mut printed = Sketch::new(100, 120).row(RowKind::Tcache, 2, 30).options(|options| options.tcache_max = Some(32768));
        printed.stats.version = Some("5.2.1-0-gea6b3e9".into());
        assert_eq!(printed.advise()[0].1.setting, "lg_tcache_max:12");
    }

    #[test]
    fn caches_of_small_objects_are_flushed_not_limited() {
        let sketch = Sketch::new(100, 120).row(RowKind::Tcache, 2, 30).options(|options| options.tcache_max = Some(4096));
        let (_, advice) = &sketch.advise()[0];
        assert!(!advice.is_malloc_conf && advice.setting.contains("flush"), "{advice:?}");
    }

    #[test]
    fn near_misses() {
        Sketch::new(100, 120).row(RowKind::Tcache, 2, 3).check(&[]);
        Sketch::new(100, 120).row(RowKind::Live, 2, 30).check(&[]);
    }
}
