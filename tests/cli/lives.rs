//! jemalloc's records of single objects: its allocation log, its recent allocations, and the line it prints at exit.

use crate::inputs::fixture;
use heaptriage::input::{self, Format, leak_line, prof_log, prof_recent};
use std::path::Path;
use std::process::{Command, Output};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lives")
}

fn run(command: &str, files: &[&str], args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
    program.arg(command).args(files.iter().map(|file| folder().join(file))).args(args);
    program.output().unwrap()
}

#[test]
fn logs_of_either_version_and_recent_allocations_are_read() {
    for (name, pid, stacks, objects) in
        [("prof_log_jemalloc-5.2.1.json", 1367, 2, 33), ("prof_log_jemalloc-5.3.0.json", 1163, 4, 43), ("lives.log.json", 32407, 4, 708)]
    {
        let text = fixture(&format!("lives/{name}.gz"));
        assert_eq!(input::sniff(&text), Some(Format::ProfLog), "{name}");
        let parsed = prof_log::parse(&text).unwrap();
        assert_eq!((parsed.value.pid, parsed.value.stacks.len(), parsed.value.objects.len()), (Some(pid), stacks, objects), "{name}");
        assert!(parsed.warnings.is_empty() && parsed.value.objects.iter().all(|o| o.released && o.freed_ns >= Some(o.born_ns)));
    }
    for (name, live, all) in [("prof_recent_jemalloc-5.3.0.json", 5, 5), ("lives.recent.json", 32, 40)] {
        let text = fixture(&format!("lives/{name}.gz"));
        assert_eq!(input::sniff(&text), Some(Format::ProfRecent), "{name}");
        let lives = prof_recent::parse(&text).unwrap().value;
        assert_eq!((lives.objects.iter().filter(|o| !o.released).count(), lives.objects.len()), (live, all), "{name}");
        assert!(lives.objects.iter().all(|o| o.requested.is_some_and(|asked| asked <= o.usable_size)));
    }
    let line = leak_line::parse(&fixture("lives/prof_leak_summary_jemalloc-5.3.0.txt.gz")).unwrap().value;
    assert_eq!((line.bytes, line.objects, line.contexts), (1_423_265, 22, 5));
}

#[test]
fn a_suspect_says_whether_its_objects_die() {
    let files = ["lives.0.heap.gz", "lives.2.heap.gz", "lives.4.heap.gz", "lives.log.json.gz", "lives.recent.json.gz"];
    let output = run("report", &files, &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let evidence: Vec<String> =
        report["suspects"][0]["evidence"].as_array().unwrap().iter().map(|e| format!("{} [{}]", e["claim"], e["source"])).collect();
    let says = |claim: &str, source: &str| evidence.iter().any(|e| e.contains(claim) && e.contains(source));
    assert!(
        says("none of its objects was freed during a log of 3.3 s, while 708 sampled objects of other stacks were", "lives.log.json"),
        "{evidence:#?}"
    );
    assert!(says("23 of its 23 latest sampled allocations are still live", "lives.recent.json"), "{evidence:#?}");
}

#[test]
fn a_record_alone_is_refused_with_what_it_needs() {
    let alone = run("report", &["lives.log.json.gz"], &[]);
    let message = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert_eq!(alone.status.code(), Some(2), "{message}");
    assert!(message.contains("has the lives of 708 sampled objects") && message.contains("give it with heap dumps of the same process"));
    let foreign = run("report", &["lives.0.heap.gz", "lives.4.heap.gz", "prof_log_jemalloc-5.3.0.json.gz"], &[]);
    assert!(String::from_utf8_lossy(&foreign.stderr).contains("names no stack that the dumps have"));
}

#[test]
fn the_exit_line_is_a_trigger_and_says_what_to_read() {
    let alone = run("report", &["prof_leak_summary_jemalloc-5.3.0.txt.gz"], &[]);
    let message = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert_eq!(alone.status.code(), Some(2));
    assert!(message.contains("1:1: jemalloc counted 1.4 MiB in 22 objects of 5 stacks live at exit"), "{message}");
    assert!(message.contains("no profile; read the final dump that was written with it (*.f.heap)"), "{message}");
    // In a log with statistics it stands beside them.
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("server.log");
    let mut text = fixture("lives/prof_leak_summary_jemalloc-5.3.0.txt.gz");
    text.extend(fixture("statistics/jemalloc-5.3.0.txt.gz"));
    std::fs::write(&log, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage")).arg("rss").arg(&log).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("live heap"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("server.log:1:1: jemalloc counted 1.4 MiB"));
}
