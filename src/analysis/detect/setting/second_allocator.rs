//! Memory in another allocator's heap, which the profile cannot see.

use super::{Advice, SettingDetector, Settings};
use crate::analysis::finding::Evidence;
use crate::analysis::ledger::RowKind;
use crate::units::{iec, signed_iec};

pub(super) const DETECTOR: SettingDetector = SettingDetector {
    id: "second_allocator",
    summary: "another allocator's heap holds memory that the profile cannot see",
    shown_by: "rows of another allocator (glibc's heap and arenas, mimalloc, tcmalloc) are material in smaps.",
    near_misses: "The little that the C library itself needs before the first allocation; memory that the program maps itself.",
    fix: "Measure it with malloc_info, or let one allocator serve the whole process.",
    examine,
};

fn examine(settings: &Settings<'_>) -> Option<Advice> {
    let bytes = settings.material(RowKind::ForeignHeap)?;
    let rows: Vec<_> = settings.ledger.rows.iter().filter(|row| row.kind == RowKind::ForeignHeap).collect();
    let growth: i64 = rows.iter().map(|row| row.growth()).sum();
    let largest = rows.iter().max_by_key(|row| row.last())?;
    let mut evidence = vec![Evidence::new(
        format!(
            "{} are in {} ({} since the first snapshot): no stack of the profile is about them",
            iec(bytes),
            largest.label,
            signed_iec(growth as f64)
        ),
        largest.source.clone(),
    )];
    if let Some(&in_use) = settings.ledger.foreign_in_use.last() {
        evidence.push(Evidence::new(
            format!("{} of it are in use, the rest is kept free", iec(in_use as f64)),
            "malloc_info of the last snapshot",
        ));
    }
    let glibc = largest.label.contains("glibc") || largest.label.contains("C library malloc") || largest.label.contains("[heap]");
    Some(Advice {
        evidence,
        setting: if glibc { "MALLOC_ARENA_MAX=2".to_owned() } else { "LD_PRELOAD=libjemalloc.so.2".to_owned() },
        is_malloc_conf: false,
        effect: if glibc {
            "glibc keeps fewer arenas with free space of their own; malloc_trim(0) gives back what is free; malloc_info tells used from free".to_owned()
        } else {
            "one allocator serves the whole process, and the profile sees all of it".to_owned()
        },
        cost: if glibc {
            "more contention where many threads allocate through C; it does not help where the bytes are in use".to_owned()
        } else {
            "the code that brought its own allocator must be built without it".to_owned()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;
    use crate::analysis::ledger::RowKind;

    #[test]
    fn a_large_foreign_heap() {
        let mut glibc = Sketch::new(16, 68).row(RowKind::ForeignHeap, 1, 50);
        glibc.ledger.rows[0].label = "glibc malloc".into();
        glibc.ledger.foreign_in_use = vec![1 << 20, 2 << 20];
        let advice = glibc.advise();
        assert_eq!((advice[0].0, advice[0].1.setting.as_str(), advice[0].1.evidence.len()), ("second_allocator", "MALLOC_ARENA_MAX=2", 2));
        assert!(advice[0].1.evidence[0].claim.contains("+49.0 MiB since the first snapshot"));
        let mut other = Sketch::new(16, 68).row(RowKind::ForeignHeap, 1, 50);
        other.ledger.rows[0].label = "mimalloc".into();
        assert!(other.advise()[0].1.setting.starts_with("LD_PRELOAD"));
    }

    #[test]
    fn near_misses() {
        Sketch::new(16, 68).row(RowKind::ForeignHeap, 1, 1).check(&[]);
        Sketch::new(16, 68).row(RowKind::OtherAnonymous, 1, 50).check(&[]);
    }
}
