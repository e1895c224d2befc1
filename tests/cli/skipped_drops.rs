//! The join of growing stacks with the binary: every case of `fixtures/programs/skipped-drops`, in many build profiles.
//!
//! The program profiles itself, so addresses, mappings and binary belong together. What each case must say is below, the lines
//! are those that the source marks `// SITE`.

use crate::programs::program;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a report must say of a case.
enum Expected {
    /// This pattern, with a site of this kind in this function first.
    Site(&'static str, &'static str, &'static str),
    /// The same, where the sources are at hand; without them no site.
    SiteOfSource(&'static str, &'static str, &'static str),
    /// No site, and this holds it.
    Held(&'static str),
    /// No site, and this type may be in a cycle.
    Cycle(&'static str),
    /// No site, no holder, no cycle.
    Nothing,
}
use Expected::{Cycle, Held, Nothing, Site, SiteOfSource};

const SLICE: &str = "bump_slice_skips_drop";
const ALLOC: &str = "bump_alloc_skips_drop";
const FREEZE: &str = "arena-freeze";

const CASES: &[(&str, Expected)] = &[
    ("letters_frozen_by_the_caller", Site(SLICE, FREEZE, "letters_frozen_by_the_caller")),
    ("crates_sealed_by_a_callee", Site(SLICE, FREEZE, "seal")),
    ("labels_through_a_wrapper", Site(SLICE, FREEZE, "labels_through_a_wrapper")),
    ("names_through_a_trait", Site(SLICE, FREEZE, "names_through_a_trait")),
    ("parcels_in_a_closure", Site(SLICE, FREEZE, "sort")),
    ("stamps_in_a_thread", Site(SLICE, FREEZE, "stamp")),
    ("notices_across_await", Site(SLICE, FREEZE, "notice")),
    ("routes_of_a_builder", Site(SLICE, FREEZE, "finish")),
    ("bundles_behind_an_error_path", Site(SLICE, FREEZE, "bundle")),
    ("weights_collected_in_place", Site(SLICE, FREEZE, "weights_collected_in_place")),
    ("tags_collected_into_the_arena", Site(SLICE, FREEZE, "tags_collected_into_the_arena")),
    ("one_vector_in_the_arena", Site(ALLOC, "arena-alloc", "one_vector_in_the_arena")),
    ("slice_filled_from_an_iterator", Site(ALLOC, "arena-alloc-slice", "slice_filled_from_an_iterator")),
    ("shared_ledgers", Site(SLICE, FREEZE, "shared_ledgers")),
    ("maps_of_two_sites", Site(SLICE, FREEZE, "maps_of_two_sites")),
    ("receipt_forgotten", SiteOfSource("mem_forget", "forget", "receipt_forgotten")),
    ("hook_given_to_c", SiteOfSource("into_raw", "box-leak", "hook_given_to_c")),
    ("count_given_away", SiteOfSource("into_raw", "arc-into-raw", "count_given_away")),
    ("upload_abandoned", Site("manually_drop", "manually-drop", "upload_abandoned")),
    ("address_leaked", SiteOfSource("box_leak", "string-leak", "address_leaked")),
    ("numbers_frozen_beside_a_log", Held("skipped_drops::kept::LOG")),
    ("file_forgotten_beside_a_log", Held("skipped_drops::kept::JOURNAL")),
    ("table_leaked_once_beside_a_log", Held("skipped_drops::kept::DIARY")),
    ("depot_with_an_arena", Held("skipped_drops::kept::DEPOT: OnceLock<RwLock<Depot>> .offices")),
    ("arena_of_the_thread", Held("skipped_drops::kept::BENCH")),
    ("offices_that_know_each_other", Cycle("skipped_drops::kept::Branch")),
    ("dropped_at_the_end", Nothing),
    ("drained_before", Nothing),
    ("consumed_by_its_iterator", Nothing),
    ("returned_and_dropped", Nothing),
    ("moved_into_a_value", Nothing),
    ("taken_back", Nothing),
    ("weak_parents", Nothing),
    ("arena_per_round", Nothing),
];

/// A built program with the reports on its cases.
struct Built {
    binary: PathBuf,
    runs: tempfile::TempDir,
}

impl Built {
    fn new(profile: &str) -> Built {
        let manifest = program("skipped-drops/Cargo.toml");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped-drops");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--profile", profile, "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target)
            .env_remove("RUSTFLAGS")
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{profile}: {}", String::from_utf8_lossy(&output.stderr));
        Built { binary: target.join(profile).join("skipped-drops"), runs: tempfile::tempdir().expect("a directory") }
    }

    /// The report on a case.
    fn report(&self, case: &str, sources: bool) -> Value {
        let prefix = self.runs.path().join(case);
        let dump = |number: u32| self.runs.path().join(format!("{case}.{number}.heap"));
        if !dump(2).exists() {
            let status = Command::new(&self.binary).args([case, "40"]).arg(&prefix).output().expect("the program runs").status;
            assert!(status.success(), "{case}");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
        command.args(["report", "--no-cache", "--json", "--binary"]).arg(&self.binary).arg(dump(1)).arg(dump(2));
        if sources {
            command.arg("--source-root").arg(program("skipped-drops"));
        }
        printed(&mut command)
    }
}

#[track_caller]
fn printed(command: &mut Command) -> Value {
    let output = command.output().expect("the built program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Whether the first suspect says what is expected, and no suspect anything else.
fn holds(report: &Value, expected: &Expected, sources: bool) -> bool {
    let suspects: Vec<&Value> = report["suspects"].as_array().expect("suspects").iter().collect();
    let silent = |suspect: &Value| suspect["sites"] == serde_json::json!([]);
    let says = |pattern: &str, kind: &str, function: &str| {
        suspects.first().is_some_and(|suspect| {
            let site = &suspect["sites"][0];
            let name = site["function"].as_str().unwrap_or_default();
            suspect["pattern"] == pattern && site["kind"] == kind && name.rsplit("::").next() == Some(function)
        })
    };
    match expected {
        Site(pattern, kind, function) => says(pattern, kind, function),
        SiteOfSource(pattern, kind, function) if sources => says(pattern, kind, function),
        SiteOfSource(..) => !suspects.is_empty() && suspects.iter().all(|suspect| silent(suspect)),
        Held(name) => suspects
            .first()
            .is_some_and(|suspect| silent(suspect) && suspect["holder"].as_str().is_some_and(|holder| holder.starts_with(name))),
        Cycle(name) => suspects.first().is_some_and(|suspect| silent(suspect) && suspect["cycle"][0] == *name),
        Nothing => {
            suspects.iter().all(|suspect| silent(suspect) && suspect["holder"].is_null() && suspect["cycle"] == serde_json::json!([]))
        }
    }
}

/// Every case in full: the answer of each, with and without the sources.
#[track_caller]
fn all(profile: &str) {
    let built = Built::new(profile);
    let mut wrong = Vec::new();
    for (case, expected) in CASES {
        let by_source = matches!(expected, SiteOfSource(..));
        for sources in if by_source { vec![false, true] } else { vec![false] } {
            let report = built.report(case, sources);
            if !holds(&report, expected, sources) {
                let first = &report["suspects"][0];
                wrong.push(format!("{case} (sources: {sources}): {} {} {}", first["pattern"], first["sites"], first["holder"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{profile}:\n{}", wrong.join("\n"));
}

/// Sites where types and names allow: at least so many of the arena cases, and no near miss taken for a site.
#[track_caller]
fn some(profile: &str, least: usize) {
    let built = Built::new(profile);
    let mut found = Vec::new();
    for (case, expected) in CASES {
        let report = built.report(case, false);
        match expected {
            Site(..) => found.extend(holds(&report, expected, false).then_some(*case)),
            SiteOfSource(..) | Cycle(_) => {}
            Held(_) | Nothing => {
                let suspects = report["suspects"].as_array().expect("suspects");
                assert!(suspects.iter().all(|suspect| suspect["sites"] == serde_json::json!([])), "{profile}: {case}: {report}");
            }
        }
    }
    assert!(found.len() >= least, "{profile}: only {found:?}");
}

#[test]
fn release() {
    all("release");
}

#[test]
fn abort() {
    some("abort", 15);
}

#[test]
fn thin() {
    some("thin", 15);
}

#[test]
fn debug1() {
    some("debug1", 13);
}

#[test]
fn lines() {
    some("lines", 9);
}

#[test]
fn symbols() {
    some("symbols", 8);
}

/// Debug information in a file of its own, found by the build-id: the join reads it too.
#[test]
fn debug_info_apart() {
    let built = Built::new("release");
    built.report("letters_frozen_by_the_caller", false);
    let sites = printed(Command::new(env!("CARGO_BIN_EXE_heaptriage")).args(["sites", "--json"]).arg(&built.binary));
    let id = sites["build_id"].as_str().expect("a build-id");
    // Without names of its debug sections a file has none.
    let mut bytes = std::fs::read(&built.binary).expect("the binary");
    let names: Vec<usize> = memchr::memmem::find_iter(&bytes, b".debug_").collect();
    names.into_iter().for_each(|at| bytes[at..at + 7].copy_from_slice(b".gone__"));
    let bare = built.runs.path().join("bare");
    std::fs::write(&bare, bytes).expect("the bare binary");
    let root = built.runs.path().join("debug");
    let tree = root.join(".build-id").join(&id[..2]);
    std::fs::create_dir_all(&tree).expect("a directory");
    std::fs::copy(&built.binary, tree.join(format!("{}.debug", &id[2..]))).expect("the debug file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
    command.args(["report", "--no-cache", "--json", "--binary"]).arg(&bare).arg("--debug-dir").arg(&root);
    command.args([1, 2].map(|number| built.runs.path().join(format!("letters_frozen_by_the_caller.{number}.heap"))));
    let (name, expected) = &CASES[0];
    let report = printed(&mut command);
    assert!(holds(&report, expected, false), "{name}: {}", report["suspects"][0]["sites"]);
    assert!(report["suspects"][0]["sites"][0]["line"].is_u64(), "{}", report["suspects"][0]["sites"]);
    // And the commands that are given the binary alone.
    let command = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
        command.args([name, "--json", "--debug-dir"]).arg(&root).arg(&bare);
        command
    };
    assert_eq!(printed(&mut command("sites"))["sites"], sites["sites"]);
    let roots = printed(command("owners").arg("--roots"));
    assert!(roots["roots"].as_array().is_some_and(|roots| !roots.is_empty()));
}

/// The line of the site is the marked one where the debug information or the source has it, and the report says what it could not see.
#[test]
fn what_is_said() {
    let built = Built::new("release");
    let source = std::fs::read_to_string(program("skipped-drops/src/lost.rs")).expect("the source");
    let line = |case: &str| 1 + source.lines().position(|line| line.ends_with(&format!("// SITE {case}"))).expect("a marked line");
    for case in ["receipt_forgotten", "hook_given_to_c", "one_vector_in_the_arena"] {
        let report = built.report(case, true);
        assert_eq!(report["suspects"][0]["sites"][0]["line"], line(case), "{case}");
    }
    let report = built.report("receipt_forgotten", false);
    let missing = report["missing"].as_array().expect("missing");
    assert!(missing.iter().any(|one| one["remedy"] == "pass the sources with --source-root DIR"), "{missing:?}");
    let claim = |report: &Value| report["suspects"][0]["evidence"][0]["claim"].as_str().unwrap_or_default().to_owned();
    let said = claim(&built.report("labels_through_a_wrapper", false));
    assert!(said.contains("its elements are never dropped; each owns an `alloc::string::String` on the global heap"), "{said}");
}
