//! Dirty pages that wait for a decay which nothing triggers.
//!
//! Without background threads decay runs only when a thread works in the arena; an idle arena keeps its dirty pages
//! for ever (measured: 35.5 MiB stayed for 24 s with a decay of 10 s; with background threads they were gone).

use super::{Advice, SettingDetector, Settings};
use crate::analysis::ledger::RowKind;
use crate::units::iec;

pub(super) const DETECTOR: SettingDetector = SettingDetector {
    id: "background_thread_off",
    summary: "freed pages wait for a decay that nothing triggers",
    shown_by: "dirty pages are material, a finite decay is set, and no background thread runs.",
    near_misses: "A decay of -1, which never returns pages (`decay_too_slow`); background threads that run; dirty pages below a tenth of RSS.",
    fix: "Set background_thread:true.",
    examine,
};

fn examine(settings: &Settings<'_>) -> Option<Advice> {
    let dirty = settings.material(RowKind::Dirty)?;
    let options = settings.options()?;
    let running = settings.stats?.background_threads.unwrap_or(0);
    let decay = options.dirty_decay_ms?;
    (options.background_thread == Some(false) && running == 0 && decay > 0).then(|| Advice {
        evidence: vec![
            settings.says(format!("background threads are off: dirty pages are returned only when a thread allocates in the same arena again, not {} after they were freed", span(decay)), "opt.background_thread, opt.dirty_decay_ms"),
            settings.says(format!("{} of freed pages wait", iec(dirty)), "pdirty"),
        ],
        setting: "background_thread:true".to_owned(),
        is_malloc_conf: true,
        effect: format!("up to {} return to the system {} after they were freed, idle or not", iec(dirty), span(decay)),
        cost: "one to four threads that wake up while pages decay; a process that forks without exec loses them in the child".to_owned(),
    })
}

/// `10 s`, `500 ms`.
fn span(ms: i64) -> String {
    if ms >= 1000 && ms % 1000 == 0 { format!("{} s", ms / 1000) } else { format!("{ms} ms") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sketch;
    use crate::analysis::ledger::RowKind;

    fn sketch(dirty: i64, background: bool, decay: i64) -> Sketch {
        Sketch::new(20, 240).row(RowKind::Dirty, 0, dirty).options(|o| {
            o.background_thread = Some(background);
            o.dirty_decay_ms = Some(decay);
        })
    }

    #[test]
    fn idle_dirty_pages() {
        let advice = sketch(180, false, 10_000).advise();
        assert_eq!((advice.len(), advice[0].0), (1, "background_thread_off"));
        assert_eq!(advice[0].1.setting, "background_thread:true");
        assert_eq!(advice[0].1.evidence[1].source, "9.stats.json: pdirty");
    }

    #[test]
    fn near_misses() {
        sketch(180, true, 10_000).check(&[]);
        sketch(20, false, 10_000).check(&[]); // below a tenth of RSS
        sketch(180, false, -1).check(&["decay_too_slow"]);
    }
}
