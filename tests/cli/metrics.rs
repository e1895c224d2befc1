//! Prometheus metrics as a series: what a real server answered, and texts of `/metrics`.

use crate::inputs::fixture;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/metrics").join(name)
}

fn run(command: &str, files: &[PathBuf], args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heaptriage")).arg(command).args(files).args(args).output().unwrap()
}

fn json(files: &[PathBuf]) -> serde_json::Value {
    let output = run("rss", files, &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_range_is_a_series_whose_rows_add_up() {
    let rss = json(&[path("range.json.gz")]);
    // Read from the file with Python's json: the 1st and the 16th value of each series.
    let raw: serde_json::Value = serde_json::from_slice(&fixture("metrics/range.json.gz")).unwrap();
    let value = |name: &str, at: usize| -> i64 {
        let series = raw["data"]["result"].as_array().unwrap().iter().find(|series| series["metric"]["__name__"] == name).unwrap();
        series["values"][at][1].as_str().unwrap().parse().unwrap()
    };
    let ledger = &rss["ledger"];
    assert_eq!((rss["snapshots"].as_array().unwrap().len(), ledger["rss"]["source"].as_str()), (16, Some("metrics")));
    let rows = ledger["rows"].as_array().unwrap();
    let row = |kind: &str| rows.iter().find(|row| row["kind"] == kind).unwrap();
    for at in [0, 15] {
        assert_eq!(ledger["rss"]["bytes"][at], value("process_resident_memory_bytes", at));
        assert_eq!(row("live")["bytes"][at], value("jemalloc_allocated_bytes", at));
        assert_eq!(row("fragmentation")["bytes"][at], value("jemalloc_active_bytes", at) - value("jemalloc_allocated_bytes", at));
        let sum: i64 = rows.iter().map(|row| row["bytes"][at].as_i64().unwrap()).sum();
        assert_eq!(ledger["rss"]["bytes"][at], sum);
    }
    assert_eq!((row("dirty")["basis"].as_str(), rss["snapshots"][3]["time_source"].as_str()), (Some("inferred"), Some("content")));
}

#[test]
fn figures_asked_for_separately_meet() {
    let rss = json(&[path("rss.json.gz"), path("allocated.json.gz")]);
    assert_eq!(rss["snapshots"].as_array().unwrap().len(), 16);
    let sources = &rss["snapshots"][0]["sources"];
    let of = |part: &str| sources[part].as_str().unwrap().to_owned();
    assert!(of("stats").ends_with("allocated.json.gz") && of("metrics").ends_with("rss.json.gz"), "{sources}");
    assert_eq!(rss["ledger"]["rows"][0]["kind"], "live");
}

#[test]
fn texts_of_a_loop_and_a_single_one() {
    assert_eq!(json(&[path("scrapes.txt.gz")])["snapshots"].as_array().unwrap().len(), 3);
    let one = json(&[path("one.prom.gz")]);
    assert_eq!(one["ledger"]["rss"]["source"], "metrics");
    assert_eq!(one["snapshots"].as_array().unwrap().len(), 1);
    // Beside the real statistics of the same moment these are used, whichever is read first.
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("1763650000123.prom"), fixture("metrics/one.prom.gz")).unwrap();
    std::fs::write(scratch.path().join("1763650000123.stats.json"), fixture("statistics/jemalloc-5.3.0_full.json.gz")).unwrap();
    let both = json(&[scratch.path().to_owned()]);
    assert!(both["ledger"]["rows"][0]["source"].as_str().unwrap().starts_with("1763650000123.stats.json"), "{}", both["ledger"]["rows"][0]);
    assert_eq!(both["warnings"].as_array().unwrap().len(), 0);
}

#[test]
fn growth_shows_in_the_report_and_trend_says_what_it_lacks() {
    let report = run("report", &[path("range.json.gz")], &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["verdict"]["kind"], "growth");
    assert!(report["capture"]["sources"].as_array().unwrap().iter().any(|source| source == "metrics"));
    let trend = run("trend", &[path("range.json.gz")], &[]);
    assert_eq!(trend.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&trend.stderr).contains("no heap dump among the inputs"));
}

#[test]
fn answers_of_no_use_say_why() {
    for (name, words) in [
        ("sum.json.gz", "the series of this answer have no metric name: functions and sums drop it"),
        ("error.json.gz", "Prometheus answered with an error: `1:5: parse error: unclosed left parenthesis`"),
    ] {
        let output = run("rss", &[path(name)], &[]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(words), "{message}");
    }
}
