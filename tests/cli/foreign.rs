//! Another allocator's heap: malloc_info tells a leak from what is merely kept, at every snapshot or at a few.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/foreign").join(name)
}

fn report(input: &Path) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage")).args(["report", "--json"]).arg(input).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn verdict(report: &serde_json::Value) -> (String, String) {
    let word = |key: &str| report["verdict"][key].as_str().unwrap().to_owned();
    (word("kind"), word("confidence"))
}

/// A copy in which only the snapshots at these positions have malloc_info.
fn with_info_at(name: &str, positions: &[usize]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = fs::read_dir(capture(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (infos, others): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|path| path.to_string_lossy().contains("malloc_info"));
    let kept = infos.iter().enumerate().filter(|(at, _)| positions.contains(at)).map(|(_, path)| path);
    for path in others.iter().chain(kept) {
        fs::copy(path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

#[test]
fn malloc_info_of_every_snapshot_decides() {
    let leak = report(&capture("leak"));
    assert_eq!(verdict(&leak), ("foreign_allocator_leak".to_owned(), "high".to_owned()));
    let evidence = leak["suspects"][0]["evidence"].to_string();
    // 39,000 objects in eight rounds, 1008 bytes each with malloc's own.
    assert!(
        evidence.contains("what is in use inside it grew by 37.5 MiB while the heap grew by 37.5 MiB")
            && evidence.contains("malloc_info of 9 snapshots"),
        "{evidence}"
    );
    assert!(!leak["suspects"][0]["remedy"].as_str().unwrap().contains("record malloc_info"));
    let burst = report(&capture("burst"));
    assert_eq!(verdict(&burst).0, "foreign_allocator_retention");
    assert!(
        burst["verdict"]["summary"].as_str().unwrap().contains("what is in use inside it does not grow (malloc_info: +"),
        "{}",
        burst["verdict"]
    );
    assert!(burst["suspects"].as_array().unwrap().is_empty());
}

#[test]
fn two_of_them_tell_what_is_kept_and_none_tells_little() {
    let burst = with_info_at("burst", &[0, 8]);
    assert_eq!(verdict(&report(burst.path())).0, "foreign_allocator_retention");
    // Two do not show a course: the shape is that of smaps, and so is the confidence.
    let leak = with_info_at("leak", &[0, 8]);
    assert_eq!(verdict(&report(leak.path())), ("foreign_allocator_leak".to_owned(), "medium".to_owned()));
    let blind = with_info_at("leak", &[]);
    let blind = report(blind.path());
    assert_eq!(verdict(&blind), ("foreign_allocator_leak".to_owned(), "medium".to_owned()));
    assert!(blind["suspects"][0]["remedy"].as_str().unwrap().contains("record malloc_info beside each snapshot"));
}
