//! The same input gives the same bytes: for any number of threads, any order of arguments, any run.

use super::entry_points::fixtures;
use super::program::{Run, calls};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

fn dumps() -> Vec<PathBuf> {
    let heap =
        |path: &PathBuf| path.parent().is_some_and(|folder| folder.ends_with("heap")) && path.extension().is_some_and(|e| e == "heap");
    fixtures().into_iter().filter(heap).collect()
}

fn outcome(args: &[OsString], jobs: &str) -> (Option<i32>, Vec<u8>, String) {
    let ran = Run::new(args.iter().cloned().chain(["--jobs".into(), jobs.into()]), None).go();
    (ran.code, ran.stdout, ran.stderr)
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let dumps = dumps();
    let base = &dumps[0];
    for (round, dump) in dumps.iter().enumerate() {
        for call in calls().iter().skip(round % 2).step_by(2) {
            let args = call.args(dump, base);
            let one = outcome(&args, "1");
            assert_eq!(one, outcome(&args, "16"), "{args:?}");
        }
    }
}

/// Many dumps at once are what threads share out.
#[test]
fn fifty_runs_over_a_capture_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/heap/jemalloc-5.3.0_unbias-on.heap");
    let text = std::fs::read_to_string(source).expect("a fixture");
    for index in 0..40_u64 {
        let grown = text.replace("@ 0x7f", &format!("@ 0x{:x} 0x7f", 0x1000 + (index % 7) * 0x100));
        std::fs::write(folder.path().join(format!("{}.heap", 1_763_650_000_000 + index * 1000)), grown).expect("writable");
    }
    let calls = calls();
    for format in ["text", "json"] {
        let args: Vec<OsString> = ["report", "--format", format].map(OsString::from).into_iter().chain([folder.path().into()]).collect();
        let first = outcome(&args, "1");
        assert_eq!(first.0, Some(0), "{}", first.2);
        for round in 0..25 {
            assert_eq!(first, outcome(&args, ["16", "2", "1"][round % 3]), "{args:?}, round {round}");
        }
    }
    for call in &calls {
        let args = call.args(folder.path(), &folder.path().join("1763650000000.heap"));
        assert_eq!(outcome(&args, "1"), outcome(&args, "16"), "{args:?}");
    }
}

/// Binaries are read by many threads too.
#[test]
fn fifty_runs_over_a_binary_give_the_same_bytes() {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/bin/quarryd");
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/segments");
    let given = ["--binary".into(), binary.clone().into_os_string(), "--no-cache".into()];
    let of_binary = |words: &[&str]| {
        let mut args: Vec<OsString> = words.iter().map(OsString::from).collect();
        args.insert(1, binary.clone().into());
        args.push("--no-cache".into());
        args
    };
    let report = ["report".into(), capture.into_os_string(), "--explain".into()].into_iter().chain(given).collect();
    for args in [of_binary(&["sites", "--json"]), of_binary(&["owners", "--cycles"]), of_binary(&["owners", "--roots", "--json"]), report] {
        let first = outcome(&args, "1");
        assert_eq!(first.0, Some(0), "{args:?}: {}", first.2);
        for round in 0..12 {
            assert_eq!(first, outcome(&args, ["16", "2", "4"][round % 3]), "{args:?}, round {round}");
        }
    }
}

/// The order of arguments does not matter to a series.
#[test]
fn any_order_of_dumps_gives_the_same_report() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/heap/jemalloc-5.3.0_unbias-on.heap");
    let mut files: Vec<OsString> = Vec::new();
    for index in 0..6_u64 {
        let path = folder.path().join(format!("{}.heap", 1_763_650_000_000 + index * 1000));
        std::fs::copy(&source, &path).expect("writable");
        files.push(path.into());
    }
    let run = |files: &[OsString]| Run::new(std::iter::once(OsString::from("report")).chain(files.iter().cloned()), None).go();
    let first = run(&files);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    files.reverse();
    assert_eq!(first.stdout, run(&files).stdout);
    files.swap(0, 3);
    files.swap(1, 4);
    assert_eq!(first.stdout, run(&files).stdout);
}
