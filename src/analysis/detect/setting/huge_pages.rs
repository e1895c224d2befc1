//! Transparent huge pages: 2 MiB become resident where one page is touched.

use super::{Advice, SettingDetector, Settings};
use crate::analysis::finding::Evidence;
use crate::analysis::ledger::RowKind;
use crate::units::iec;

pub(super) const DETECTOR: SettingDetector = SettingDetector {
    id: "huge_pages",
    summary: "transparent huge pages make untouched memory resident",
    shown_by: "memory that is resident beyond what the allocator counts as active, because a huge page covers it, is material.",
    near_misses: "Huge pages whose whole content is in use: they cost nothing.",
    fix: "Set thp:never, or give up huge pages for the ranges that are sparse.",
    examine,
};

fn examine(settings: &Settings<'_>) -> Option<Advice> {
    let covered = settings.material(RowKind::HugePages)?;
    let huge = settings.ledger.anon_huge.last().copied().unwrap_or(0) as f64;
    let thp = settings.options().and_then(|options| options.thp.as_deref());
    let mut evidence = vec![Evidence::new(
        format!("{} are resident only because a huge page covers them, of {} in huge pages", iec(covered), iec(huge)),
        "smaps AnonHugePages of the last snapshot",
    )];
    if let Some(thp) = thp {
        evidence.push(settings.says(format!("thp is {thp}"), "opt.thp"));
    }
    Some(match thp {
        // The allocator has switched them off already: the system's own setting is `always`.
        Some("never") => Advice {
            evidence,
            setting: "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
            is_malloc_conf: false,
            effect: format!("up to {} are no longer made resident", iec(covered)),
            cost: "it holds for the whole machine; programs that profit from huge pages must ask for them".to_owned(),
        },
        _ => Advice {
            evidence,
            setting: "thp:never".to_owned(),
            is_malloc_conf: true,
            effect: format!("up to {} are no longer made resident", iec(covered)),
            cost: "more TLB misses: some percent of run time for programs that walk large tables".to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;
    use crate::analysis::ledger::RowKind;

    #[test]
    fn sparse_huge_pages() {
        let sparse = |thp: &str| Sketch::new(40, 256).row(RowKind::HugePages, 0, 200).options(|o| o.thp = Some(thp.into()));
        assert_eq!(sparse("always").advise()[0].1.setting, "thp:never");
        assert!(!sparse("never").advise()[0].1.is_malloc_conf);
    }

    #[test]
    fn near_misses() {
        let mut dense = Sketch::new(40, 256).row(RowKind::HugePages, 0, 0);
        dense.ledger.anon_huge = vec![0, 200 << 20];
        dense.check(&[]);
    }
}
