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
    if let Some(&(_, in_use)) = settings.ledger.foreign_in_use.last() {
        evidence.push(Evidence::new(format!("{} of it are in use, the rest is kept free", iec(in_use as f64)), "the last malloc_info"));
    }
    let in_use = settings.ledger.foreign_in_use.last().map_or(0.0, |&(_, in_use)| in_use as f64);
    let label = largest.label.as_str();
    let glibc = label.contains("glibc") || label.contains("C library malloc") || label.contains("[heap]");
    // What is in use cannot be given back by any setting, and only threads' arenas are multiplied by threads.
    let (setting, effect, cost) = match glibc && in_use < IN_USE * bytes {
        true if label.contains("arena") => (
            "MALLOC_ARENA_MAX=2",
            "glibc keeps fewer arenas with free space of their own; malloc_trim(0) gives back what is free; malloc_info tells used from free",
            "more contention where many threads allocate through C; it does not help where the bytes are in use",
        ),
        true => (
            "malloc_trim(0)",
            "called when the program is idle, glibc gives back the free pages inside its heap; malloc_info tells used from free",
            "some milliseconds under the heap's lock for each call, and page faults when the memory is used again; nothing where the bytes are in use",
        ),
        false => (
            "LD_PRELOAD=libjemalloc.so.2",
            "one allocator serves the whole process, and the profile sees all of it",
            "a restart; code that is linked with its own allocator must be built without it",
        ),
    };
    Some(Advice { evidence, setting: setting.to_owned(), is_malloc_conf: false, effect: effect.to_owned(), cost: cost.to_owned() })
}

/// From this share on the heap is full of what the program holds.
const IN_USE: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;
    use crate::analysis::ledger::RowKind;

    #[test]
    fn a_large_foreign_heap() {
        let mut glibc = Sketch::new(16, 68).row(RowKind::ForeignHeap, 1, 50);
        glibc.ledger.rows[0].label = "C library malloc, thread arenas".into();
        glibc.ledger.foreign_in_use = vec![(0, 1 << 20), (1, 2 << 20)];
        let advice = glibc.advise();
        assert_eq!((advice[0].0, advice[0].1.setting.as_str(), advice[0].1.evidence.len()), ("second_allocator", "MALLOC_ARENA_MAX=2", 2));
        assert!(advice[0].1.evidence[0].claim.contains("+49.0 MiB since the first snapshot"));
        glibc.ledger.rows[0].label = "C library malloc, main heap".into();
        assert_eq!(glibc.advise()[0].1.setting, "malloc_trim(0)");
        glibc.ledger.foreign_in_use = vec![(0, 1 << 20), (1, 49 << 20)];
        assert!(glibc.advise()[0].1.setting.starts_with("LD_PRELOAD"), "no setting gives back what is in use");
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
