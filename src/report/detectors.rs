//! The tables of detectors for people: `report --list-detectors` and docs/detectors.md.

use crate::analysis::detect::DETECTORS;
use crate::analysis::detect::pools::POOLS;
use crate::analysis::detect::setting::SETTING_DETECTORS;
use crate::analysis::finding::VerdictKind;
use crate::analysis::meanings::{Meaning, meaning};

/// One line each, in the order in which they are asked.
pub fn list() -> String {
    let verdicts = || VerdictKind::ALL.iter().map(|kind| (kind.word(), meaning(*kind).summary));
    let by_frames = DETECTORS.iter().map(|d| (d.id, d.summary));
    let all = || by_frames.clone().chain(SETTING_DETECTORS.iter().map(|d| (d.id, d.summary))).chain(verdicts());
    let width = all().map(|(id, _)| id.len()).max().unwrap_or(0);
    all().map(|(id, summary)| format!("{id:<width$}  {summary}\n")).collect()
}

/// docs/detectors.md; a test keeps the file equal to it.
pub fn page() -> String {
    let mut out = String::from(
        "# Detectors\n\n\
         Generated from the tables in `src/analysis/detect`; `heaptriage report --list-detectors` prints the words.\n\n\
         A detector never decides whether something leaks: statistics over the snapshots do. It names the mistake that a growth\n\
         looks like, says what to do, and what would show that it is none. The word of a detector can be written in a\n\
         suppression (`pattern = \"unbounded_map\"`).\n\n\
         ## By the frames of a growth\n\n\
         Between several that fit, the more specific one names the suspect: evidence from the binary before a call, a call\n\
         before a container's name; between equals the earlier one of this list.\n",
    );
    let mut section = |id: &str, summary: &str, shown_by: &str, near_misses: &str, fix: &str| {
        out.push_str(&format!(
            "\n### {id}\n\n{}.\n\n- Shown by: {shown_by}\n- Not to be confused with: {near_misses}\n- Fix: {fix}\n",
            sentence(summary)
        ));
    };
    for d in DETECTORS {
        section(d.id, d.summary, d.shown_by, d.near_misses, d.fix);
    }
    let mut verdicts = String::from(
        "\n## By the course of a growth and the rows of the ledger\n\nThe verdicts: what grew, and whether it ends. These words stand in `verdict.kind` and `cleared[].kind`.\n",
    );
    for kind in VerdictKind::ALL {
        let Meaning { summary, shown_by, near_misses, fix } = meaning(kind);
        verdicts.push_str(&format!(
            "\n### {}\n\n{}.\n\n- Shown by: {shown_by}\n- Not to be confused with: {near_misses}\n- Fix: {fix}\n",
            kind.word(),
            sentence(summary)
        ));
    }
    let mut settings =
        String::from("\n## By the ledger and the allocator's statistics\n\nEach names a setting, what it changes and what it costs.\n");
    for d in SETTING_DETECTORS {
        settings.push_str(&format!(
            "\n### {}\n\n- Shown by: {}\n- Not to be confused with: {}\n- Fix: {}\n",
            d.id, d.shown_by, d.near_misses, d.fix
        ));
    }
    out.push_str(&settings);
    out.push_str(&verdicts);
    out.push_str("\n## Known pools and arenas\n\nMemory that is kept for reuse, or freed only as a whole. A pool whose growth ends is fine; one that goes on growing is a suspect.\n\n| word | is | bounded by | where it grows and should not | source |\n|---|---|---|---|---|\n");
    for pool in POOLS {
        // A bar would end the cell.
        let cell = |text: &str| text.replace('|', "\\|");
        out.push_str(&format!(
            "| {} | {} ({}) | {} | {} | {} |\n",
            pool.id,
            cell(pool.what),
            pool.kind.word(),
            cell(pool.bounded_by),
            cell(pool.remedy),
            cell(pool.source)
        ));
    }
    out
}

/// The same with a capital letter.
fn sentence(summary: &str) -> String {
    let mut letters = summary.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_tables_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/detectors.md");
        if std::env::var_os("HEAPTRIAGE_BLESS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).expect("docs/detectors.md");
        assert_eq!(written, page(), "run the test with HEAPTRIAGE_BLESS=1 to write the page anew");
    }

    #[test]
    fn every_word_of_the_contract_has_a_detector() {
        const WORDS: &str = "bump_slice_skips_drop bump_alloc_skips_drop bump_arena_outlives_work mem_forget manually_drop box_leak into_raw \
            rc_cycle unbounded_map unbounded_vec unbounded_channel task_leak thread_local_growth interning c_allocation second_allocator \
            profiler_own_memory sampling_too_coarse background_thread_off decay_too_slow muzzy_lag too_many_arenas huge_pages";
        /// Advice on settings that the contract asks for without a word of its own.
        const MORE: [&str; 2] = ["large_thread_caches", "sampling_too_fine"];
        let list = list();
        let mut listed: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let mut wanted: Vec<&str> = WORDS.split_whitespace().chain(MORE).chain(VerdictKind::ALL.iter().map(|kind| kind.word())).collect();
        listed.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(listed, wanted);
        assert!(list.lines().all(|line| line.chars().count() <= 110));
    }
}
