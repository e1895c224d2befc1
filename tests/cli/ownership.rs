//! `sites` and `owners` on the labelled program `fixtures/programs/warehouse`: every loss named, no near miss.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/programs/warehouse")
}

/// The binary of a build profile, unpacked: newer than its sources, as after a build.
fn unpack(profile: &str, into: &Path) -> PathBuf {
    let packed = std::fs::read(sources().join(format!("warehouse-{profile}.zst"))).unwrap();
    let mut reader = ruzstd::decoding::StreamingDecoder::new(packed.as_slice()).unwrap();
    let path = into.join("warehouse");
    std::io::copy(&mut reader, &mut std::fs::File::create(&path).unwrap()).unwrap();
    path
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heaptriage")).args(args).env("NO_COLOR", "1").output().unwrap()
}

#[track_caller]
fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(name: &str, args: &[&str]) -> Value {
    let value: Value = serde_json::from_str(&stdout(args)).unwrap();
    crate::schemas::conforms(name, &value);
    value
}

/// A labelled line: file, line, kind, type.
type Label = (String, u64, String, String);

/// The lines of a source file with a label: `// LOST kind type`.
fn labels(file: &str) -> Vec<Label> {
    let text = std::fs::read_to_string(sources().join(file)).unwrap();
    let label = |(line, text): (u64, &str)| {
        let (_, label) = text.split_once("// LOST ")?;
        let (kind, ty) = label.split_once(' ')?;
        Some((file.to_owned(), line, kind.to_owned(), ty.to_owned()))
    };
    (1..).zip(text.lines()).filter_map(label).collect()
}

/// Findings in user code, in the spelling of the labels.
fn findings(value: &Value) -> Vec<Label> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<Label> = value["sites"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|site| site["cleared"].is_null() && site["owns_heap"] != "no" && site["user_code"] == true)
        .map(|site| {
            (text(&site["file"]), site["line"].as_u64().unwrap_or(0), text(&site["kind"]), text(&site["type"]).replace("Bump<1>", "Bump"))
        })
        .collect();
    found.sort();
    found
}

#[track_caller]
fn check(profile: &str) {
    let dir = tempfile::tempdir().unwrap();
    let binary = unpack(profile, dir.path());
    let (binary, root) = (binary.to_str().unwrap().to_owned(), sources());
    let value = json("sites", &["sites", &binary, "--json", "--source-root", root.to_str().unwrap()]);
    let mut expected = labels("src/lost.rs");
    expected.sort();
    assert_eq!(expected.len(), 22);
    // Frozen in a closure's or chain's line, the type and function tell; lines of calls are exact.
    let without_line = |labels: &[Label]| -> Vec<(String, String, String)> {
        labels.iter().map(|(file, _, kind, ty)| (file.clone(), kind.clone(), ty.clone())).collect()
    };
    let found = findings(&value);
    let sorted = |mut list: Vec<(String, String, String)>| {
        list.sort();
        list
    };
    assert_eq!(sorted(without_line(&found)), sorted(without_line(&expected)), "{profile}");
    for label in found.iter().filter(|label| !label.2.starts_with("arena") && !label.3.starts_with("&")) {
        assert!(expected.contains(label), "{profile}: the line of {label:?}");
    }
}

#[test]
fn every_loss_and_no_near_miss_in_release() {
    check("release");
}

#[test]
fn every_loss_and_no_near_miss_with_fat_lto_and_abort() {
    check("tight");
}

/// Without sources: what the machine code shows, and the sentence that says what it cannot.
#[test]
fn without_sources_nothing_is_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let binary = unpack("release", dir.path());
    let value = json("sites", &["sites", binary.to_str().unwrap(), "--json"]);
    let found = findings(&value);
    assert!(found.iter().all(|(file, ..)| file == "src/lost.rs"), "{found:?}");
    assert!(found.iter().all(|(.., kind, _)| kind.starts_with("arena") || kind == "bump-box-leak"), "{found:?}");
    assert!(found.len() >= 11, "{found:?}");
    let text = stdout(&["sites", binary.to_str().unwrap()]);
    assert!(text.contains("pass the sources with --source-root"), "{text}");
    assert!(text.contains("some normal path leaves without dropping"), "{text}");
}

/// Sources that changed after the build are not what was built, whether the clock says so or their lines.
#[test]
fn other_sources_are_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let binary = unpack("release", dir.path());
    let tree = dir.path().join("repo/src");
    std::fs::create_dir_all(&tree).unwrap();
    let text = std::fs::read_to_string(sources().join("src/lost.rs")).unwrap();
    let file = tree.join("lost.rs");
    std::fs::write(&file, &text).unwrap();
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let set = |time| std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    let sites = || stdout(&["sites", binary.to_str().unwrap(), "--source-root", dir.path().join("repo").to_str().unwrap()]);
    let future = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    set(past);
    assert!(sites().contains("lost::Sketch::publish") && !sites().contains("newer"), "{}", sites());
    // A copy has any time: what stands where it stood is what was built.
    set(future);
    assert!(sites().contains("lost::Sketch::publish"), "{}", sites());
    assert!(sites().contains("1 file newer than the binary, used because"), "{}", sites());
    // Edited after the build: the last functions moved.
    let middle = text.match_indices("\n#[inline(never)]").nth(12).expect("functions").0;
    std::fs::write(&file, format!("{}\n\n{}", &text[..middle], &text[middle..])).unwrap();
    set(future);
    assert!(sites().contains("1 file newer than the binary and not used"), "{}", sites());
    assert!(!sites().contains("lost::Sketch::publish"));
    std::fs::write(&file, format!("\n\n\n{text}")).unwrap();
    set(past);
    assert!(sites().contains("functions stand on other lines"), "{}", sites());
    assert!(!sites().contains("lost::Sketch::publish"));
}

#[test]
fn owners_roots_and_cycles() {
    let dir = tempfile::tempdir().unwrap();
    for profile in ["release", "tight"] {
        let binary = unpack(profile, dir.path());
        let binary = binary.to_str().unwrap();
        let value = json("owners", &["owners", binary, "--type", "bumpalo::Bump", "--cycles", "--json"]);
        let names = |list: &str, key: &str| -> Vec<String> {
            value[list].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
        };
        let owners: Vec<String> = names("owners", "type").into_iter().filter(|name| name.starts_with("warehouse::")).collect();
        for owner in ["Arena", "Slot", "Pool", "Tenant", "Sorter", "Pipeline"] {
            assert!(owners.contains(&format!("warehouse::holders::{owner}")), "{profile} {owner}: {owners:?}");
        }
        assert_eq!(names("roots", "static"), ["warehouse::holders::SCRATCH", "warehouse::holders::TENANTS"], "{profile}");
        assert_eq!(value["roots"][1]["strong_counts"], 2, "{profile}");
        let cycles: Vec<(String, String)> = value["cycles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cycle| {
                (
                    cycle["types"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|t| t.as_str().unwrap().trim_start_matches("warehouse::holders::"))
                        .collect::<Vec<_>>()
                        .join(" "),
                    cycle["rank"].as_str().unwrap().to_owned(),
                )
            })
            .filter(|(types, _)| !types.contains("::"))
            .collect();
        let expected = [("Bus Speaker", "suspect"), ("Page Session", "suspect"), ("Widget", "suspect"), ("Chain", "low")];
        assert_eq!(cycles, expected.map(|(types, rank)| (types.to_owned(), rank.to_owned())), "{profile}");
        let dot = stdout(&["owners", binary, "--type", "Bump", "--format", "dot"]);
        assert!(dot.starts_with("digraph owners {") && dot.contains("\"warehouse::holders::Pool\" -> "), "{dot}");
    }
}

/// Without a type: whatever holds heap memory for the life of the program or of a thread.
#[test]
fn roots_of_every_type() {
    let dir = tempfile::tempdir().unwrap();
    let binary = unpack("release", dir.path());
    let binary = binary.to_str().unwrap();
    let value = json("owners", &["owners", binary, "--roots", "--json"]);
    let names: Vec<&str> = value["roots"].as_array().unwrap().iter().map(|root| root["static"].as_str().unwrap()).collect();
    for name in ["warehouse::holders::SCRATCH", "warehouse::holders::TENANTS"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(names.iter().all(|name| !name.starts_with("std::") && !name.starts_with("core::")), "{names:?}");
    assert_eq!(value["cycles"].as_array().unwrap().len(), 0);
    let text = stdout(&["owners", binary, "--roots"]);
    assert!(text.starts_with("Statics and thread-locals that hold heap memory\n  warehouse::"), "{text}");
    assert!(text.contains("  warehouse::holders::TENANTS (static)\n"), "{text}");
}
