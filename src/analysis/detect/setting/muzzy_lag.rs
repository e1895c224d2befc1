//! Pages given back with MADV_FREE that the kernel still counts.
//!
//! It takes them when it needs memory, not before: RSS stays, nothing is lost. A monitor or a memory limit that looks
//! at RSS sees it otherwise.

use super::{Advice, SettingDetector, Settings};
use crate::analysis::ledger::RowKind;
use crate::units::iec;

pub(super) const DETECTOR: SettingDetector = SettingDetector {
    id: "muzzy_lag",
    summary: "pages given back with MADV_FREE still count in RSS",
    shown_by: "LazyFree pages in smaps are material.",
    near_misses: "A muzzy decay of 0, the default since jemalloc 5.2: pages go back at once; LazyFree below a tenth of RSS.",
    fix: "Set muzzy_decay_ms:0 where RSS matters more than page faults.",
    examine,
};

fn examine(settings: &Settings<'_>) -> Option<Advice> {
    let lazy = settings.material(RowKind::LazyFree)?;
    let mut evidence = vec![crate::analysis::finding::Evidence::new(
        format!("{} were given back with MADV_FREE and are counted until the kernel needs them", iec(lazy)),
        "smaps LazyFree of the last snapshot",
    )];
    let decay = settings.options().and_then(|options| options.muzzy_decay_ms);
    if let Some(decay) = decay {
        evidence.push(settings.says(
            format!("muzzy_decay_ms is {decay}{}", if decay < 0 { ": pages stay in this state for ever" } else { "" }),
            "opt.muzzy_decay_ms",
        ));
    }
    (decay != Some(0)).then(|| Advice {
        evidence,
        setting: "muzzy_decay_ms:0".to_owned(),
        is_malloc_conf: true,
        effect: format!("up to {} leave RSS when dirty pages decay", iec(lazy)),
        cost: "a page fault and a zeroed page for each that is used again; nothing is gained where only the machine's free memory matters"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;
    use crate::analysis::ledger::RowKind;

    #[test]
    fn lazy_pages() {
        let lag = Sketch::new(20, 240).row(RowKind::LazyFree, 0, 160).options(|o| o.muzzy_decay_ms = Some(-1));
        let advice = lag.advise();
        assert_eq!((advice[0].0, advice[0].1.evidence.len()), ("muzzy_lag", 2));
    }

    #[test]
    fn near_misses() {
        Sketch::new(20, 240).row(RowKind::LazyFree, 0, 160).options(|o| o.muzzy_decay_ms = Some(0)).check(&[]);
        Sketch::new(20, 240).row(RowKind::LazyFree, 0, 3).options(|o| o.muzzy_decay_ms = Some(-1)).check(&[]);
    }
}
