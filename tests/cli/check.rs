//! `check`, suppressions, SARIF and source lines, on shipped captures of one leaking and one healthy program.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Leaks 1715 segments; `posting_mut` allocates what is lost.
const LEAKS: &str = "segments";
/// Nothing grows.
const STEADY: &str = "front";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures").join(name)
}

fn heaptriage(here: &Path, command: &str, capture: &str, extra: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .current_dir(here)
        .args([command, "--no-cache", "--binary"])
        .args([fixture("bin/quarryd"), fixture(capture)])
        .args(extra)
        .output()
        .expect("the built program runs")
}

/// Runs it and expects an exit code; the standard output.
#[track_caller]
fn run(here: &Path, command: &str, capture: &str, extra: &[&str], code: i32) -> String {
    let output = heaptriage(here, command, capture, extra);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{extra:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn gates_pass_and_fail_by_their_exit_code() {
    let here = tempfile::tempdir().unwrap();
    let text = run(here.path(), "check", LEAKS, &["--max-growth", "5MiB", "--max-rss", "1GiB"], 1);
    assert!(text.contains("FAILED: 1 of 2 gates.") && text.contains("Suspects that count"), "{text}");
    run(here.path(), "check", LEAKS, &["--max-growth", "1GiB"], 0);
    run(here.path(), "check", LEAKS, &[], 1);
    run(here.path(), "check", STEADY, &["--max-growth", "5MiB"], 0);
    run(here.path(), "check", STEADY, &[], 0);
    run(here.path(), "check", STEADY, &["--max-rss", "1MiB"], 1);
    run(here.path(), "check", LEAKS, &["--max-rate", "1B/hour"], 1);
    run(here.path(), "check", LEAKS, &["--max-rate", "1B/nonsense"], 2);
    let value = json(&run(here.path(), "check", LEAKS, &["--max-growth", "5MiB", "--json"], 1));
    assert_eq!((&value["schema"], &value["passed"]), (&"heaptriage/check/1".into(), &false.into()));
    assert!(value["gates"][0]["observed_bytes"]["low"].as_f64().unwrap() > 5.0 * 1048576.0);
    let junit = run(here.path(), "check", LEAKS, &["--max-growth", "5MiB", "--format", "junit"], 1);
    assert!(junit.contains("failures=\"1\"") && junit.trim_end().ends_with("</testsuites>"));
}

#[test]
fn a_baseline_accepts_what_is_there() {
    let here = tempfile::tempdir().unwrap();
    run(here.path(), "check", LEAKS, &["--write-baseline", "known.json"], 0);
    let text = run(here.path(), "check", LEAKS, &["--baseline", "known.json"], 0);
    assert!(text.contains("known from the baseline, not counted"), "{text}");
    std::fs::write(here.path().join("empty.json"), "{\"schema\":\"heaptriage/baseline/1\",\"suspects\":[]}").unwrap();
    run(here.path(), "check", LEAKS, &["--baseline", "empty.json"], 1);
    std::fs::write(here.path().join("other.json"), "{\"schema\":\"x\",\"suspects\":[]}").unwrap();
    run(here.path(), "check", LEAKS, &["--baseline", "other.json"], 2);
}

#[test]
fn suppressed_bytes_are_reported() {
    let here = tempfile::tempdir().unwrap();
    let before = json(&run(here.path(), "report", LEAKS, &["--json"], 0));
    let print = before["suspects"][0]["fingerprint"].as_str().unwrap();
    let rules = format!(
        "[[suppress]]\nfingerprint = \"{print}\"\nreason = \"known to us\"\n\n[[suppress]]\nframes = [\"nobody\"]\nreason = \"x\"\n"
    );
    std::fs::write(here.path().join("heaptriage.toml"), rules).unwrap();
    let after = json(&run(here.path(), "report", LEAKS, &["--json"], 0));
    let silenced = &after["suppressed"][0];
    assert_eq!(silenced["reason"].as_str().map(|reason| reason.starts_with("known to us (")), Some(true));
    assert_eq!(silenced["growth_bytes"], before["suspects"][0]["growth_bytes"]);
    assert!(after["suspects"].as_array().unwrap().iter().all(|suspect| suspect["fingerprint"] != print));
    assert!(after["suppression_remarks"][0].as_str().unwrap().ends_with("heaptriage.toml:5 matched no suspect"));
    let text = run(here.path(), "check", LEAKS, &["--max-growth", "5MiB"], 0);
    assert!(text.contains("suppressed, not counted: 1 with +"), "{text}");
    run(here.path(), "check", LEAKS, &["--max-growth", "5MiB", "--no-config"], 1);
    let owner = before["suspects"][0]["owner"]["function"].as_str().unwrap();
    std::fs::write(here.path().join("lsan.txt"), format!("leak:{owner}\n")).unwrap();
    run(here.path(), "check", LEAKS, &["--max-growth", "5MiB", "--no-config", "--suppress", "lsan.txt"], 0);
    std::fs::write(here.path().join("bad.toml"), "[[suppress]]\nframes = [\"f\"]\n").unwrap();
    let bad = heaptriage(here.path(), "report", LEAKS, &["--suppress", "bad.toml"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("bad.toml:1:1: a suppression needs a reason"));
}

#[test]
fn sarif_points_into_the_repository() {
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(here.path().join("src")).unwrap();
    std::fs::write(here.path().join("src/segment.rs"), "//\n".repeat(200)).unwrap();
    let value = json(&run(here.path(), "report", LEAKS, &["--format", "sarif"], 0));
    let result = &value["runs"][0]["results"][0];
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "src/segment.rs");
    assert!(result["partialFingerprints"]["primaryLocationLineHash"].as_str().unwrap().ends_with(":1"));
    let text = run(here.path(), "report", LEAKS, &["--source-root", "."], 0);
    assert!(text.contains("  Source   ") && text.contains(" | //"), "{text}");
}

#[test]
fn detectors_are_listed() {
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage")).args(["report", "--list-detectors"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/detectors.md")).unwrap();
    let documented = page.lines().filter_map(|line| line.strip_prefix("### "));
    let mut listed = text.lines().filter_map(|line| line.split_whitespace().next());
    assert!(output.status.success() && documented.eq(listed.by_ref()), "{text}");
}

/// The script of docs/ci.md runs as it is written there.
#[test]
fn the_documented_gate_runs() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci.md")).unwrap();
    let start = page.find("#!/bin/sh").expect("the script");
    let script = &page[start..start + page[start..].find("```").expect("its end")];
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("gate.sh"), script).unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_heaptriage")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let gate = |capture: &str| {
        let mut command = Command::new("sh");
        command.current_dir(here.path()).env("PATH", &path).arg("gate.sh").arg(fixture(capture));
        command.arg("--no-cache").arg("--binary").arg(fixture("bin/quarryd")).output().unwrap()
    };
    let failed = gate(LEAKS);
    assert_eq!(failed.status.code(), Some(1), "{}", String::from_utf8_lossy(&failed.stderr));
    assert!(String::from_utf8_lossy(&failed.stdout).contains("FAILED"));
    for file in ["heap-report.md", "heap.sarif", "heap.xml"] {
        assert!(std::fs::metadata(here.path().join(file)).is_ok_and(|meta| meta.len() > 0), "{file}");
    }
    assert_eq!(gate(STEADY).status.code(), Some(0));
}
