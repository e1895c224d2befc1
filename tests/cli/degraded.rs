//! Captures that lost a part: with less evidence the answer becomes less sure, never wrong and sure.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const LEAKS: [&str; 3] = ["leak", "bump_arena_growth", "foreign_allocator_leak"];

/// What is taken away.
#[derive(Clone, Copy, Debug)]
enum Less {
    /// All but these snapshots.
    Only(&'static [usize]),
    /// All files of one kind.
    Without(&'static str),
    /// One kind of each snapshot, in turn.
    Mixed,
    /// The end of the last dump.
    Cut,
}

/// What may be said.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// This, as sure as this at most.
    AtMost(&'static str, &'static str),
    /// A leak at this function, however sure.
    LeakAt(&'static str),
    /// Anything, but no leak above low confidence.
    NoLeak,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures")
}

fn degraded(name: &str, less: Less) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = std::fs::read_dir(root().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    let file_name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let stem = |path: &Path| Some(file_name(path).split('.').next()?.to_owned()).filter(|stem| stem.parse::<u64>().is_ok());
    let stems: Vec<String> = files.iter().filter_map(|path| stem(path)).collect::<BTreeSet<_>>().into_iter().collect();
    for path in &files {
        let (own, at) = (file_name(path), stem(path).and_then(|stem| stems.iter().position(|s| *s == stem)));
        let kept = at.is_none_or(|at| match less {
            Less::Only(kept) => kept.contains(&at),
            Less::Without(kind) => !own.contains(kind),
            Less::Mixed => !own.contains([".smaps", ".stats", ".heap"][at % 3]),
            Less::Cut => true,
        });
        if kept {
            let bytes = std::fs::read(path).unwrap();
            let cut = matches!(less, Less::Cut) && at == Some(stems.len() - 1) && own.contains(".heap");
            std::fs::write(directory.path().join(own), if cut { &bytes[..bytes.len() * 3 / 10] } else { &bytes[..] }).unwrap();
        }
    }
    directory
}

fn report(capture: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .args(["report", "--no-cache", "--format", "json", "--binary"])
        .arg(root().join("bin/quarryd"))
        .arg(capture)
        .output()
        .expect("the built program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn grade(word: &Value) -> usize {
    ["low", "medium", "high"].iter().position(|grade| word == grade).expect("a grade")
}

#[test]
fn less_evidence_is_never_more_certainty() {
    use Expected::{AtMost, LeakAt, NoLeak};
    let cases = [
        // Half of the dumps of a burst are missing: what survives it looks like a leak.
        ("facets", Less::Only(&[0, 1, 2, 6, 7, 8, 9]), NoLeak),
        ("facets", Less::Mixed, NoLeak),
        // A heap that fills for the whole of a short window.
        ("stem-learn", Less::Only(&[0, 1, 2, 3, 4, 5]), NoLeak),
        ("stem-learn", Less::Only(&[0, 1, 2, 3, 4, 5, 6]), NoLeak),
        // RSS stands still, and too little was looked at to say that nothing leaks.
        ("feed", Less::Only(&[0, 1, 2, 3, 4, 5]), AtMost("steady", "low")),
        ("feed", Less::Without(".heap"), AtMost("steady", "low")),
        // Chunks double: without what is touched in them their flat stretch says nothing.
        ("queries", Less::Without(".smaps"), AtMost("growth", "low")),
        ("queries", Less::Only(&[4, 5, 6, 7, 8, 9]), AtMost("growth", "low")),
        // A cache that fills and leaks beside it add up to something that slows down and goes on.
        ("catalog", Less::Without(".heap"), AtMost("growth", "low")),
        // The rest of the process was not seen.
        ("nested", Less::Without(".smaps"), AtMost("steady", "low")),
        // A cut dump lacks stacks, which are not gone.
        ("segments", Less::Cut, LeakAt("add_document")),
        ("feed", Less::Cut, LeakAt("bury")),
        ("crawl", Less::Mixed, LeakAt("fetch_page")),
    ];
    for (name, less, expected) in cases {
        let capture = degraded(name, less);
        let report = report(capture.path());
        let (verdict, suspects) = (&report["verdict"], report["suspects"].as_array().unwrap());
        let kind = verdict["kind"].as_str().unwrap();
        let loud = |s: &&Value| LEAKS.contains(&s["kind"].as_str().unwrap()) && s["confidence"] != "low";
        let alarm = suspects.iter().find(loud);
        match expected {
            NoLeak => assert!(alarm.is_none() && !LEAKS.contains(&kind), "{name} {less:?}: {verdict}"),
            AtMost(said, sure) => {
                assert_eq!(kind, said, "{name} {less:?}: {verdict}");
                assert!(alarm.is_none() && grade(&verdict["confidence"]) <= grade(&sure.into()), "{name} {less:?}: {verdict}");
            }
            LeakAt(function) => {
                let stack = alarm.unwrap_or_else(|| panic!("{name} {less:?}: {verdict}"))["stack"].to_string();
                assert!(stack.contains(function), "{name} {less:?}: {stack}");
            }
        }
        if matches!(less, Less::Cut) {
            let missing = report["missing"].as_array().unwrap();
            assert!(missing.iter().any(|m| m["fact"] == "the whole of 1 cut dump"), "{name}: {missing:?}");
        }
    }
}

#[test]
fn an_open_cause_says_what_would_tell() {
    let summary = |capture: &Path| report(capture)["verdict"]["summary"].as_str().unwrap().to_owned();
    let with_dumps = summary(degraded("segments", Less::Only(&[5, 6, 7, 8, 9])).path());
    assert!(!with_dumps.contains("only heap dumps"), "there are five: {with_dumps}");
    let without = summary(degraded("catalog", Less::Without(".heap")).path());
    assert!(without.contains("only heap dumps can tell"), "{without}");
    for text in [with_dumps, without] {
        assert!(text.matches("live heap").count() <= 2 && !text.contains("grew; the live heap grew"), "{text}");
    }
}
